use super::*;
use crate::{
    core::{
        Action, Exclusivity, HookedGroups, NoticeSaid, PeerState, Resumed, Setup,
        testing::{Bench, SECOND},
    },
    types::{ChannelIndex, GroupIndex},
};

/// The first group is let go of within 5 s where we are cut off, or a watchdog of 1 s ends the host.
fn promises() -> Exclusivity {
    Exclusivity {
        groups: 0b01,
        release_isolated: true,
        release_within: SECOND.times(5),
        watchdog: SECOND,
        ..Exclusivity::default()
    }
}

/// Of a life that begins long after the peer was heard, with an exclusive group to let go of.
fn begun(before: fn(Nanos) -> Resumed) -> (Core, Nanos) {
    let bench = Bench::of(0, |setup| {
        setup.hooks = HookedGroups { has: [0b01; 4], force: 0 };
        setup.exclusivity = promises();
    });
    let now = bench.now.after(SECOND.times(60));
    let resumed = Resumed { release: 0b01, heard: bench.now, alive: now, ..before(now) };
    let mut core = Core::new(Setup { resumed: Some(resumed), ..bench.core.setup.clone() }, now);
    core.handle_time(now);
    (core, now)
}

#[test]
fn what_the_life_before_was_letting_go_of_has_had_its_time_and_what_it_held_begins_it() {
    let (core, now) = begun(|_| Resumed::default());
    let due = now.since(SECOND).after(SECOND.times(5));
    assert!(core.may_feed(now) && core.may_feed(Nanos(due.0 - 1)) && !core.may_feed(due));
    let (core, now) = begun(|now| Resumed { letting_go_since: Some(now.since(SECOND.times(3))), ..Resumed::default() });
    let due = now.after(SECOND.times(2));
    assert!(core.may_feed(Nanos(due.0 - 1)) && !core.may_feed(due));
    assert_eq!(
        core.cell_state(now).letting_go_since,
        Some(now.since(SECOND.times(3))),
        "and the next one knows it, too"
    );
}

/// Whoever was alone, and is started again, has no more time than before.
#[test]
fn what_the_life_before_was_to_be_granted_by_then_the_next_one_is_to_be_granted_by_then_too() {
    let bench = Bench::of(0b01, |setup| {
        setup.exclusivity = Exclusivity { arbiter: Some(Nanos(0)), release_isolated: false, ..promises() };
    });
    let (now, within) = (bench.now.after(SECOND.times(60)), SECOND.times(5));
    let lets_go = |heard: Nanos, alive, serve_until| {
        let before = bench.core.setup.resumed.unwrap_or_default();
        let resumed = Resumed { heard, alive, serve_until, ..before };
        let mut core = Core::new(Setup { resumed: Some(resumed), ..bench.core.setup.clone() }, now);
        let mut at = now;
        loop {
            core.handle_time(at);
            if let Some(since) = core.cell_state(at).letting_go_since {
                assert!(!core.may_feed(since.after(within)) && core.may_feed(Nanos(since.after(within).0 - 1)));
                return (at, since);
            }
            at = core.deadline().max(Nanos(at.0 + 1));
        }
    };
    let (silence, arbitration) = (bench.core.longest_silence(), bench.core.setup.exclusivity.arbitration());
    let (heard, alone) = (now.since(SECOND), now.since(SECOND).after(silence));
    // It had found the peer silent; or nobody had, as it was dead by then.
    let found = (alone.after(arbitration), alone);
    assert_eq!(lets_go(heard, now, Some(alone.after(arbitration))), found);
    assert_eq!(lets_go(heard, heard, None), found);
    // Its host had answered.
    assert_eq!(lets_go(heard, now, None), (now.after(arbitration), alone));
    // And what was granted is, until then.
    let until = now.after(SECOND.times(20));
    assert_eq!(lets_go(heard, now, Some(until)), (until, until.since(SECOND)));
}

/// Also where no life ever heard the peer, so that no silence of its can be counted: by the first turn the kernel is told.
#[test]
fn whoever_was_alone_is_so_from_the_first_turn_of_the_next_life() {
    let bench = Bench::of(0b01, |setup| {
        setup.exclusivity = Exclusivity { arbiter: Some(Nanos(0)), release_isolated: false, ..promises() };
    });
    let (now, until) = (bench.now, bench.now.after(Nanos(1)));
    let resumed = bench.core.setup.resumed.map(|before| Resumed { serve_until: Some(until), ..before });
    let mut core = Core::new(Setup { resumed, ..bench.core.setup.clone() }, now);
    core.handle_time(now);
    let state = core.cell_state(now);
    assert_eq!((state.owned, state.limited, state.serve_until), (0b01, 0b01, until));
}

#[test]
fn what_was_heard_is_left_for_the_next_life() {
    let mut bench = Bench::of(0b01, |_| {});
    bench.silence(SECOND);
    bench.hear(|_| {});
    let heard = bench.now;
    bench.silence(SECOND);
    assert_eq!(bench.core.cell_state(bench.now).heard, heard);
}

/// Its agent was dead when this life began, and its host has answered since.
#[test]
fn a_peer_whose_host_answered_in_this_life_is_silent_only_since_it_does_not() {
    let mut bench = Bench::of(0b01, |setup| {
        setup.exclusivity = Exclusivity { arbiter: Some(Nanos(0)), release_isolated: false, ..promises() };
    });
    let resumed = bench.core.setup.resumed.map(|before| Resumed { alive: bench.now, ..before });
    bench.core = Core::new(Setup { resumed, ..bench.core.setup.clone() }, bench.now);
    for _ in 0..100 {
        bench.silence(Nanos::from_millis(100));
        let said = NoticeSaid {
            incarnation: bench.core.peer_incarnation(),
            asked: bench.now,
            died: true,
            leased: false,
            silent: SECOND.times(20),
            owned: 0,
            closed: 0,
            names_digest: bench.core.setup.names.digest(),
            term: 1,
            grace: SECOND,
        };
        bench.core.handle_notice(bench.now, &said);
        bench.turn();
    }
    assert_eq!((bench.core.peer(), bench.core.owned() & 0b01), (PeerState::Bad, 0b01));
    let arbitration = bench.core.setup.exclusivity.arbitration();
    bench.silence(arbitration);
    assert_eq!(bench.core.cell_state(bench.now).letting_go_since, None);
    bench.silence(bench.core.takeover_after());
    assert_ne!(bench.core.cell_state(bench.now).letting_go_since, None);
}

#[test]
fn once_the_peer_hears_us_what_the_life_before_had_to_let_go_of_is_forgotten() {
    let mut bench = Bench::of(0b01, |setup| {
        // Which has granted nothing yet: that the networks work is not enough.
        setup.exclusivity = Exclusivity { groups: 0b01, arbiter: Some(Nanos(0)), ..Exclusivity::default() };
    });
    let since = Some(bench.now.since(SECOND));
    let resumed = bench.core.setup.resumed.map(|resumed| Resumed { letting_go_since: since, ..resumed });
    let mut core = Core::new(Setup { resumed, ..bench.core.setup.clone() }, bench.now);
    core.handle_time(bench.now);
    assert_eq!((core.owned(), core.cell_state(bench.now).letting_go_since), (0b01, since));
    core.handle_heartbeat(bench.now, ChannelIndex(0), &bench.message(|_| {}), bench.now);
    core.handle_time(bench.now);
    assert_eq!((core.owned(), core.cell_state(bench.now).letting_go_since), (0b01, None));
}

#[test]
fn it_is_told_when_the_peer_finds_us_dead_and_when_we_must_have_been_granted_what_we_hold() {
    let next = |alone: &Alone, arbitration| {
        let mut wake = Wake::after(SECOND);
        alone.times(SECOND.times(3), arbitration, &mut wake);
        wake.earliest()
    };
    let unheard = Alone { unheard_since: Some(SECOND), ..Alone::default() };
    assert_eq!(next(&unheard, Some(SECOND)), SECOND.times(4), "alone only from then on");
    let unheard = Alone { finds_us_dead: true, ..unheard };
    assert_eq!([next(&unheard, Some(SECOND)), next(&unheard, None)], [SECOND.times(2), Nanos::NEVER]);
}

/// Cut off, of a peer that counts on it.
const ALONE: Signs = Signs {
    good: false,
    silent: true,
    silent_at: SECOND,
    unheard: false,
    heard_at: Nanos(0),
    heard_of_us: None,
    up_to_date: false,
    counts: true,
    isolated: true,
    perhaps_isolated: true,
    releases: true,
    detection: SECOND,
    takeover_after: SECOND,
    longest_silence: SECOND,
    unnoticed: SECOND,
};

#[test]
fn cut_off_for_certain_everything_goes_and_where_that_is_not_known_only_what_is_exclusive() {
    let mut bench = Bench::of(0b11, |setup| {
        setup.exclusivity = Exclusivity { groups: 0b01, release_isolated: true, ..Exclusivity::default() };
    });
    let unknown = Signs { isolated: false, ..ALONE };
    let left = Signs { counts: false, ..ALONE };
    let works = Signs { perhaps_isolated: false, ..unknown };
    let told_not_to = Signs { releases: false, ..ALONE };
    for (signs, goes) in [(ALONE, 0b11), (unknown, 0b01), (left, 0b01), (works, 0), (told_not_to, 0)] {
        bench.core.alone.step(bench.now, &signs);
        assert_eq!(bench.core.let_go(bench.now).cut_off, goes, "{signs:?}");
    }
}

/// Its words come through before ours do: it says that it hears us nowhere, as of all the silence, and that is over with our next one.
#[test]
fn one_that_is_back_is_given_the_time_to_hear_us() {
    let mut alone = Alone::default();
    let deaf = Signs { good: true, silent: false, unheard: true, isolated: false, perhaps_isolated: false, ..ALONE };
    let back = SECOND.times(60);
    alone.step(SECOND, &Signs { heard_of_us: Some(Nanos(1)), ..ALONE });
    let deaf = Signs { heard_at: back, heard_of_us: Some(Nanos(1)), ..deaf };
    for (at, dead) in [(back, false), (Nanos(back.after(SECOND).0 - 1), false), (back.after(SECOND), true)] {
        alone.step(at, &deaf);
        assert_eq!(alone.finds_us_dead(), dead, "{at}");
    }
}

/// What it counts on is done, and it is fenced: nobody is to take and let go of it again and again, with all its hooks.
#[test]
fn what_is_taken_from_a_peer_that_found_us_dead_once_that_is_safe_stays() {
    let mut bench = Bench::of(0b01, |setup| {
        setup.guards.fence = true;
        setup.exclusivity = Exclusivity { groups: 0b11, release_isolated: true, ..Exclusivity::default() };
    });
    for _ in 0..10 {
        bench.silence(Nanos::from_millis(100));
        bench.hear(|message| message.heard = 0);
    }
    let mut done = bench.done();
    bench.core.handle_released(bench.now, GroupIndex(0));
    for _ in 0..50 {
        bench.silence(Nanos::from_millis(100));
        for action in bench.done() {
            match action {
                Action::Fence(number) => bench.core.handle_fenced(bench.now, number, true),
                Action::Acquire(group, _) => bench.core.handle_acquired(bench.now, group, true),
                Action::Release(group, _) => bench.core.handle_released(bench.now, group),
                _ => continue,
            }
            done.push(action);
            bench.turn();
        }
    }
    let moved = done.iter().filter_map(|action| match action {
        Action::Acquire(group, _) => Some((group.0, true)),
        Action::Release(group, _) => Some((group.0, false)),
        _ => None,
    });
    assert_eq!(moved.collect::<Vec<_>>(), [(0, false), (0, true), (1, true)]);
}

/// We did not hear it just when it found us dead: what it counts on has begun all the same.
#[test]
fn what_is_to_be_let_go_of_is_so_by_the_count_of_a_peer_whose_word_came_late() {
    let mut bench = Bench::of(0b01, |setup| {
        setup.exclusivity = promises();
    });
    let (detection, heard_us) = (bench.core.detection(), bench.now);
    let late = detection.since(Nanos(1));
    bench.silence(late);
    // It finds us dead from now on at the earliest, and that is not heard.
    bench.hear(|message| message.echo_sent_ns = heard_us.0);
    bench.silence(late);
    let unheard = bench.now;
    while bench.core.cell_state(bench.now).letting_go_since.is_none() {
        assert!(bench.now < unheard.after(detection), "it begins when the peer has waited for longer than it says");
        bench.hear(|message| (message.heard, message.echo_sent_ns) = (0, heard_us.0));
        bench.silence(Nanos::from_millis(10));
    }
    let begun = bench.core.cell_state(bench.now).letting_go_since.unwrap();
    assert_eq!(begun, heard_us.after(detection).after(bench.core.longest_silence()).since(SECOND));
}

/// Something exclusive that comes here when the peer has long found us dead: nobody has counted on its going before.
#[test]
fn what_was_counted_long_ago_was_not_of_what_is_to_be_let_go_of_now() {
    let mut bench = Bench::of(0b01, |setup| setup.exclusivity = promises());
    let (now, detection) = (bench.now.after(SECOND.times(60)), bench.core.detection());
    let mut since = |counted: Nanos| {
        bench.core.alone = Alone { counted_until: Some(counted), finds_us_dead: true, ..Alone::default() };
        bench.core.promised_since(now)
    };
    let lately = Nanos(now.since(detection).0 + 1);
    assert_eq!([now, lately, now.since(detection)].map(&mut since), [now, lately, now].map(|at| at.since(SECOND)));
}
