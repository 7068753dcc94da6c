use super::*;
use crate::{
    core::{
        Action, Event, Guards, OperatorOrder, Reason,
        testing::{Bench, SECOND},
        watch::FENCE_AGAIN,
    },
    types::{ChannelIndex, GroupIndex, Link},
};

const FENCE: Guards = Guards { by_probe: false, fence: true, fence_within: Nanos::NEVER, stalled_grace: Nanos(0) };
const PROBE: Guards = Guards { by_probe: true, fence: false, fence_within: Nanos::NEVER, stalled_grace: Nanos(0) };

/// The peer has died: longer than a detection time, shorter than a look.
fn died(guards: Guards) -> Bench {
    let mut bench = Bench::new(1, guards);
    bench.silence(Nanos::from_millis(400));
    assert_eq!(bench.core.peer(), PeerState::Bad);
    bench
}

fn claimed(bench: &mut Bench) -> bool {
    bench.turn();
    bench.done().contains(&Action::Acquire(GroupIndex(1), Reason::PeerDead))
}

#[test]
fn without_guards_a_claim_follows_at_once() {
    assert!(claimed(&mut died(Guards::default())));
}

#[test]
fn nothing_is_taken_before_the_fencing_that_runs_has_succeeded() {
    let mut bench = died(FENCE);
    assert_eq!(bench.done(), [Action::Fence(1)]);
    bench.silence(SECOND.times(100));
    assert_eq!((bench.done(), bench.core.withheld()), (vec![], None), "it may take its time");
    bench.core.handle_fenced(bench.now, 1, true);
    assert!(claimed(&mut bench));
}

#[test]
fn a_fencing_that_failed_is_said_and_tried_again_by_another_number() {
    let mut bench = died(FENCE);
    bench.core.handle_fenced(bench.now, 1, false);
    bench.silence(SECOND);
    assert_eq!((bench.done(), bench.core.withheld()), (vec![Action::Fence(1)], Some(Withheld::NotFenced)));
    bench.silence(FENCE_AGAIN);
    assert_eq!(bench.done(), [Action::Fence(2)]);
    bench.core.handle_fenced(bench.now, 1, true);
    assert!(!claimed(&mut bench), "that was another one");
    bench.core.handle_fenced(bench.now, 2, true);
    assert!(claimed(&mut bench));
}

#[test]
fn a_fencing_that_runs_is_called_off_whatever_ends_the_need_for_it() {
    type End = fn(&mut Bench);
    let ends: [(&str, End); 3] = [
        ("heard", |bench| bench.hear(|_| {})),
        ("maintenance", |bench| {
            assert_eq!(bench.core.handle_order(bench.now, OperatorOrder::Maintenance(true)), Ok(()))
        }),
        ("stop", |bench| bench.core.handle_stop(bench.now)),
    ];
    for (why, end) in ends {
        let mut bench = died(FENCE);
        bench.done();
        end(&mut bench);
        bench.turn();
        assert!(bench.actions.contains(&Action::FenceAbort(1)), "{why}");
        assert!(bench.told().contains(&Event::FencingCalledOff), "{why}");
        bench.core.handle_fenced(bench.now, 1, true);
        assert!(!claimed(&mut bench), "{why}");
    }
}

#[test]
fn one_that_is_over_is_not_called_off() {
    let mut bench = died(FENCE);
    bench.core.handle_fenced(bench.now, 1, true);
    assert!(claimed(&mut bench));
    bench.hear(|_| {});
    assert!(!bench.done().iter().any(|action| matches!(action, Action::FenceAbort(_))));
}

#[test]
fn a_fencing_that_never_ends_is_ended_said_and_tried_again() {
    let mut bench = died(Guards { fence_within: SECOND.times(3), ..FENCE });
    bench.silence(SECOND.times(3));
    assert_eq!(bench.core.withheld(), Some(Withheld::NotFenced));
    assert_eq!(bench.done(), [Action::Fence(1), Action::FenceAbort(1)]);
    bench.silence(FENCE_AGAIN);
    assert_eq!(bench.done(), [Action::Fence(2)]);
}

#[test]
fn a_look_decides_and_only_the_one_that_was_asked_for_last() {
    for any in [true, false] {
        let mut bench = died(PROBE);
        // It was asked for when the peer began to be silent.
        let Some(Action::Look(number)) = bench.done().pop() else { panic!("no look") };
        bench.core.handle_looked(bench.now, number.wrapping_sub(1), Probed { answered: 1, ..Probed::default() });
        assert!(!claimed(&mut bench));
        bench.core.handle_looked(bench.now, number, Probed { answered: u64::from(any), ..Probed::default() });
        assert_eq!(claimed(&mut bench), any);
        assert_eq!(bench.core.withheld(), (!any).then_some(Withheld::Isolated));
    }
}

#[test]
fn a_look_that_never_ends_is_said_and_after_as_long_again_a_carrier_is_enough() {
    for carrier in [true, false] {
        let mut bench = died(PROBE);
        let late = bench.core.setup.late_look();
        bench.silence(late);
        assert!(!claimed(&mut bench));
        assert_eq!(bench.core.withheld(), Some(Withheld::Unanswered));
        for channel in 0..2 {
            bench.core.handle_link(
                bench.now,
                ChannelIndex(channel),
                Link::Present { index: 1, carrier, address: true },
            );
        }
        bench.silence(late);
        assert_eq!(claimed(&mut bench), carrier);
        assert_eq!(bench.core.withheld(), (!carrier).then_some(Withheld::Isolated));
    }
}

#[test]
fn where_nobody_is_expected_to_answer_own_facts_decide_and_nobody_is_waited_for() {
    for well in [true, false] {
        let mut bench = Bench::new(1, PROBE);
        // Whoever is there is found, and nobody ever was.
        bench.core.setup.judging.found = 0b11;
        for channel in 0..2 {
            // A serial line or a cable of their own may still carry heartbeats: it is not all carriers that are gone.
            let link = Link::Present { index: 1, carrier: true, address: well };
            bench.core.handle_link(bench.now, ChannelIndex(channel), link);
        }
        bench.done();
        bench.silence(Nanos::from_millis(400));
        let done = bench.done();
        assert_eq!(done.contains(&Action::Acquire(GroupIndex(1), Reason::PeerDead)), well, "{done:?}");
        assert_eq!(done.iter().any(|action| matches!(action, Action::Look(_))), !well, "{done:?}");
    }
}

#[test]
fn whoever_was_heard_before_the_silence_does_not_spare_the_question() {
    for after in [false, true] {
        let mut bench = Bench::new(1, PROBE);
        bench.core.setup.judging.found = 0b11;
        // Ports that have just come up may not forward yet.
        for carrier in [false, true] {
            for channel in 0..2 {
                let link = Link::Present { index: 1, carrier, address: true };
                bench.core.handle_link(bench.now, ChannelIndex(channel), link);
            }
        }
        bench.hear(|_| {});
        bench.core.handle_third_party(Nanos(bench.now.0 - u64::from(!after)), ChannelIndex(0));
        bench.done();
        bench.silence(Nanos::from_millis(400));
        let done = bench.done();
        assert_eq!(done.iter().any(|action| matches!(action, Action::Look(_))), !after, "{done:?}");
    }
}
