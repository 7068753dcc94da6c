use super::*;
use crate::core::{
    Exclusivity, HookedGroups, Resumed, Setup,
    testing::{Bench, SECOND},
};

/// Of a life that begins long after the peer was heard, with an exclusive group to let go of.
fn begun(closed: u64) -> (Core, Nanos) {
    let bench = Bench::of(0, |setup| {
        setup.hooks = HookedGroups { has: [0b01; 4], force: 0 };
        setup.exclusivity = Exclusivity {
            groups: 0b01,
            release_isolated: true,
            release_within: SECOND.times(5),
            watchdog: SECOND,
            ..Exclusivity::default()
        };
    });
    let now = bench.now.after(SECOND.times(60));
    let resumed = Resumed { release: 0b01, closed, heard: bench.now, alive: now, ..Resumed::default() };
    let mut core = Core::new(Setup { resumed: Some(resumed), ..bench.core.setup.clone() }, now);
    core.handle_time(now);
    (core, now)
}

#[test]
fn what_the_life_before_was_letting_go_of_has_had_its_time_and_what_it_held_begins_it() {
    let (core, now) = begun(0b01);
    assert!(!core.may_feed(now));
    let (core, now) = begun(0);
    let due = now.since(SECOND).after(SECOND.times(5));
    assert!(core.may_feed(now) && core.may_feed(Nanos(due.0 - 1)) && !core.may_feed(due));
}
