//! What an operator orders, what goes home by itself, and what cannot be let go of.

use crate::world::{A, B, World};
use heartbeat::{
    config::Profile,
    core::{Event, Guards, Judging, Needs, OperatorOrder, Reason, Refusal, Withheld},
    types::{GroupIndex, Nanos},
};

const SECOND: Nanos = Nanos::from_millis(1_000);
const G0: GroupIndex = GroupIndex(0);
const G1: GroupIndex = GroupIndex(1);

fn claimed(reason: Reason) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::GroupAcquiring { reason: r, .. } if *r == reason)
}

#[test]
fn a_takeover_on_command_is_release_first_and_needs_no_verdict() {
    let mut world = World::lan();
    let ordered = world.now;
    assert_eq!(world.order(B, OperatorOrder::Takeover(G0)), Ok(()));
    world.run(SECOND);
    assert_eq!(world.held(), [0, 3]);
    assert_eq!(world.told(B, claimed(Reason::Ordered)).1, 1);
    let let_go = world.told(A, |e| matches!(e, Event::GroupReleased { .. })).0;
    let claimed_at = world.told(B, claimed(Reason::Ordered)).0;
    assert!(let_go < claimed_at && claimed_at.is_some_and(|at| at.since(ordered) < Nanos::from_millis(10)));
    assert_eq!(world.watch.duals, 0);
    world.run(SECOND.times(100));
    assert_eq!(world.held(), [0, 3], "it does not go home by itself");
}

#[test]
fn a_release_on_command_is_an_offer_that_the_peer_takes_up() {
    let mut world = World::lan();
    assert_eq!(world.order(A, OperatorOrder::Release(G0)), Ok(()));
    world.run(SECOND);
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    assert_eq!(world.told(B, claimed(Reason::HandedOver)).1, 1);
}

#[test]
fn an_order_that_cannot_be_carried_out_is_refused_with_the_reason() {
    let mut world = World::lan();
    assert_eq!(world.order(A, OperatorOrder::Takeover(G0)), Err(Refusal::HeldHere));
    assert_eq!(world.order(A, OperatorOrder::Release(G1)), Err(Refusal::NotHeldHere));
    assert_eq!(world.order(B, OperatorOrder::Maintenance(true)), Ok(()));
    world.run(SECOND);
    assert_eq!(world.order(A, OperatorOrder::Takeover(G1)), Err(Refusal::Maintenance), "the peer's counts, too");
    assert_eq!(world.order(B, OperatorOrder::Maintenance(false)), Ok(()));
    world.cut_all(true);
    world.run(SECOND);
    assert_eq!(world.order(A, OperatorOrder::Release(G0)), Err(Refusal::NoPeer));
    let mut world = World::lan();
    world.sides[B].digest = 8;
    world.stop(B);
    world.run(SECOND);
    world.start(B);
    world.run(SECOND);
    assert_eq!(world.order(A, OperatorOrder::Release(G0)), Err(Refusal::GroupsDiffer));
}

#[test]
fn an_order_that_the_peer_cannot_follow_is_given_up() {
    let mut world = World::lan();
    world.sides[A].release_fails = true;
    assert_eq!(world.order(B, OperatorOrder::Takeover(G0)), Ok(()));
    world.run(SECOND.times(9));
    assert_eq!(world.held(), [1, 2]);
    assert_eq!(world.told(A, |e| matches!(e, Event::GroupKept { .. })).1, 1, "it is not tried again and again");
    world.run(SECOND.times(3));
    assert_eq!(world.told(B, |e| matches!(e, Event::HandOverGivenUp { .. })).1, 1);
    assert_eq!(world.held(), [1, 2]);
}

#[test]
fn an_order_whose_group_cannot_be_acquired_is_given_up_at_once_and_its_home_takes_it_back() {
    for takes in [1, 150] {
        let mut world = World::lan();
        world.sides[B].acquire_fails = true;
        world.sides[B].acquire_takes = Nanos::from_millis(takes);
        assert_eq!(world.order(B, OperatorOrder::Takeover(G0)), Ok(()));
        world.run(SECOND);
        assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
        assert_eq!(world.told(B, |e| matches!(e, Event::HandOverGivenUp { .. })).1, 1);
    }
}

#[test]
fn what_a_stopped_peer_could_not_let_go_of_stays_there() {
    let mut world = World::lan();
    world.sides[A].release_fails = true;
    world.stop(A);
    world.run(SECOND.times(100));
    assert!(world.sides[A].core.is_none());
    assert_eq!(world.held(), [0, 2]);
    assert_eq!(world.core(B).withheld(), Some(Withheld::Kept));
}

#[test]
fn what_the_peer_said_last_of_maintenance_and_of_what_it_kept_outlives_our_reload_and_our_crash() {
    for kill in [true, false] {
        let again = |world: &mut World| {
            if kill {
                world.kill(B);
                world.run(SECOND);
                world.start(B);
            } else {
                world.sides[B].reload(world.now, Nanos::from_millis(20));
            }
            world.run(SECOND.times(20));
        };
        let mut world = World::lan();
        world.sides[A].release_fails = true;
        world.stop(A);
        world.run(SECOND.times(10));
        // Each life is told by the one before it only.
        for _ in 0..3 {
            again(&mut world);
            assert_eq!((world.held(), world.core(B).withheld()), ([0, 2], Some(Withheld::Kept)));
            assert!(world.core(B).peer_left());
        }

        let mut world = World::lan();
        assert_eq!(world.order(A, OperatorOrder::Maintenance(true)), Ok(()));
        world.run(SECOND);
        world.sides[A].power_off(world.now);
        again(&mut world);
        assert_eq!(world.core(B).withheld(), Some(Withheld::Maintenance));
        assert_eq!(world.held()[B] & 1, 0);
        assert_eq!(world.order(B, OperatorOrder::Maintenance(false)), Ok(()));
        world.run(SECOND);
        again(&mut world);
        assert_eq!(world.held(), [0, 3], "the survivor ended it");
    }
}

#[test]
fn what_a_peer_kept_is_taken_by_force_and_only_from_a_silent_one() {
    let forced = OperatorOrder::TakeoverForced(G0);
    let mut world = World::lan();
    world.sides[A].release_fails = true;
    assert_eq!(world.order(A, forced), Err(Refusal::HeldHere));
    world.stop(A);
    world.run(SECOND.times(10));
    assert_eq!(world.order(B, OperatorOrder::Takeover(G0)), Err(Refusal::Stopping));
    assert_eq!((world.held(), world.order(B, forced)), ([0, 2], Ok(())));
    world.run(SECOND);
    assert_eq!((world.held(), world.core(B).withheld()), ([0, 3], None));
    assert_eq!(world.told(B, claimed(Reason::Forced)).1, 1);

    let mut world = World::lan();
    assert_eq!(world.order(B, forced), Ok(()));
    world.run(SECOND);
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0), "a peer that is there lets go of it first");
    assert_eq!(world.told(B, claimed(Reason::Forced)).1, 0);
}

#[test]
fn in_maintenance_nothing_moves_whoever_dies_and_the_survivor_can_end_it() {
    for (watcher, dies) in [(A, A), (B, A)] {
        let mut world = World::lan();
        assert_eq!(world.order(watcher, OperatorOrder::Maintenance(true)), Ok(()));
        world.run(SECOND);
        assert_eq!(world.told(1 - watcher, |e| matches!(e, Event::PeerMaintenance { on: true })).1, 1);
        world.sides[dies].power_off(world.now);
        world.run(SECOND.times(5));
        assert_eq!(world.held()[B], 2);
        assert_eq!(world.core(B).withheld(), Some(Withheld::Maintenance));
        assert_eq!(world.order(B, OperatorOrder::Maintenance(false)), Ok(()));
        world.run(SECOND);
        assert_eq!(world.held()[B], 3);
    }
}

#[test]
fn a_group_goes_home_after_both_have_been_well_for_as_long_as_configured() {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].failback = vec![Some(SECOND.times(30)), None];
        world.start(side);
    }
    world.run(SECOND.times(5));
    world.sides[A].power_off(world.now);
    world.run(SECOND);
    assert_eq!(world.held(), [0, 3]);
    world.start(A);
    let well = world.now;
    world.run(SECOND.times(20));
    // Not all is well for a moment: the time starts anew.
    world.cut(B, 1, true);
    world.run(SECOND);
    world.cut(B, 1, false);
    world.run(SECOND.times(29));
    assert_eq!(world.held(), [0, 3]);
    world.run(SECOND.times(3));
    assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
    assert!(world.told(A, claimed(Reason::FailedBack)).0.is_some_and(|at| at.since(well) > SECOND.times(50)));
}

#[test]
fn what_its_home_cannot_take_is_taken_by_the_other() {
    let mut world = World::new(Profile::Lan.timing());
    world.sides[A].acquire_fails = true;
    world.start(A);
    world.start(B);
    world.run(SECOND.times(8));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    assert_eq!(world.told(B, claimed(Reason::Unheld)).1, 1);
}

/// Two networks are judged.
fn two_networks() -> Judging {
    Judging {
        networks: 0b011,
        weights: vec![100; 3],
        needs: vec![Needs::default(); 2],
        bound: Nanos::from_millis(600),
        ..Judging::default()
    }
}

fn judged() -> World {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].judging =
            Judging { checks: vec![50, 70], again: SECOND, rise: SECOND.times(5), ..two_networks() };
        world.sides[side].guards = Guards { by_probe: true, fence: true, ..Guards::default() };
        world.start(side);
    }
    world.run(SECOND.times(5));
    world.assert_settled();
    world
}

#[test]
fn who_reaches_none_of_its_own_networks_takes_nothing_from_a_silent_peer() {
    let mut world = judged();
    world.sides[A].answers = 0;
    world.cut_all(true);
    world.run(SECOND.times(3));
    assert_eq!(world.held(), [1, 3], "the other side is not cut off, and cannot know");
    assert_eq!(world.core(A).withheld(), Some(Withheld::Isolated));
    assert_eq!(world.told(A, |e| matches!(e, Event::TakeoverWithheld { .. })).1, 1);
    world.sides[A].answers = 3;
    world.run(SECOND.times(3));
    assert_eq!(world.held(), [3, 3], "a network answers: it is the peer");
}

/// Half of each of its NICs is dead: it lets go, as it is cut off, and hears of no wish.
#[test]
fn what_a_controller_that_receives_nothing_lets_go_of_is_served_by_the_one_that_hears_it() {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].judging = two_networks();
        world.sides[side].guards = Guards { by_probe: true, ..Guards::default() };
        world.sides[side].exclusivity.release_isolated = true;
        world.start(side);
    }
    world.run(SECOND.times(5));
    world.assert_settled();
    world.sides[B].answers = 0;
    world.cut_side(A, true);
    world.run(SECOND.times(10));
    assert_eq!(world.held(), [3, 0]);
    world.sides[B].answers = u64::MAX;
    world.cut_all(false);
    world.run(SECOND.times(10));
    world.assert_settled();
}

#[test]
fn nothing_is_taken_from_a_silent_peer_before_it_is_fenced() {
    let mut world = judged();
    world.sides[B].fence_fails = true;
    world.sides[A].power_off(world.now);
    world.run(SECOND.times(9));
    assert_eq!((world.held(), world.core(B).withheld()), ([0, 2], Some(Withheld::NotFenced)));
    world.sides[B].fence_fails = false;
    world.run(SECOND.times(10));
    assert_eq!(world.held(), [0, 3], "it is tried again");
    assert_eq!(world.told(B, |e| *e == Event::Fencing).1, 1);
    // One that left in order is not fenced.
    let mut world = judged();
    world.sides[B].fence_fails = true;
    world.stop(A);
    world.run(SECOND);
    assert_eq!(world.held(), [0, 3]);
}

#[test]
fn a_fencing_that_runs_is_called_off_when_the_peer_is_heard_and_its_late_end_counts_for_nothing() {
    let mut world = judged();
    world.sides[B].fence_takes = SECOND.times(2);
    world.sides[A].fence_fails = true;
    world.cut_all(true);
    world.run(SECOND);
    assert_eq!((world.sides[B].fences.len(), world.held()[B]), (1, 2));
    let (_, first) = world.sides[B].fences[0];
    world.cut_all(false);
    world.run(SECOND.times(5));
    assert_eq!((world.sides[B].fenced, world.held()[B]), (0, 2), "nobody is shot");
    assert_eq!(world.told(B, |e| *e == Event::FencingCalledOff).1, 1);
    world.cut_all(true);
    world.run(SECOND);
    let now = world.sides[B].clock(world.now);
    world.sides[B].core.as_mut().expect("it runs").handle_fenced(now, first, true);
    world.run(Nanos::from_millis(500));
    assert_eq!(world.held()[B], 2, "that was of another time");
    world.run(SECOND);
    assert_eq!((world.held()[B], world.sides[B].fenced), (3, 1));
}

#[test]
fn a_fencing_that_never_ends_is_said_and_tried_again() {
    let mut world = judged();
    world.sides[B].guards.fence_within = SECOND.times(3);
    world.kill(B);
    world.start(B);
    world.run(SECOND.times(5));
    world.sides[B].fence_takes = SECOND.times(3_600);
    world.sides[A].power_off(world.now);
    world.run(SECOND.times(5));
    assert_eq!((world.held()[B], world.core(B).withheld()), (2, Some(Withheld::NotFenced)));
    world.sides[B].fence_takes = SECOND;
    world.run(SECOND.times(15));
    assert_eq!(world.held()[B], 3);
}

#[test]
fn where_the_control_side_stands_still_that_is_said_and_then_the_carrier_decides() {
    for carrier in [true, false] {
        let mut world = World::new(Profile::Lan.timing());
        for side in [A, B] {
            world.sides[side].judging = two_networks();
            world.sides[side].guards.by_probe = true;
            world.start(side);
        }
        world.run(SECOND.times(5));
        world.sides[B].control_hangs = true;
        world.sides[A].power_off(world.now);
        world.run(SECOND.times(2));
        assert_eq!((world.held()[B], world.core(B).withheld()), (2, None));
        world.run(SECOND.times(1));
        assert_eq!((world.held()[B], world.core(B).withheld()), (2, Some(Withheld::Unanswered)));
        world.carriers(B, carrier);
        world.run(SECOND.times(3));
        assert_eq!(world.held()[B], if carrier { 3 } else { 2 });
    }
}

#[test]
fn while_another_program_has_the_port_of_a_channel_nothing_is_claimed() {
    let mut world = World::new(Profile::Lan.timing());
    world.sides[A].errno[1] = Some(98);
    world.start(A);
    world.run(SECOND.times(10));
    assert_eq!((world.held(), world.core(A).withheld()), ([0, 0], Some(Withheld::Occupied)));
    assert_eq!(world.told(A, |e| matches!(e, Event::TakeoverWithheld { .. })).1, 1);
    world.start(B);
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [0, 2], "nor where the peer is there");
    world.sides[A].errno[1] = None;
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [1, 2]);
    world.assert_settled();
}

#[test]
fn what_could_not_be_acquired_is_tried_again_when_something_changed_here_or_after_a_minute() {
    for change in [true, false] {
        let mut world = World::new(Profile::Lan.timing());
        for side in [A, B] {
            world.sides[side].acquire_fails = true;
            world.start(side);
        }
        world.run(SECOND.times(20));
        assert_eq!(world.held(), [0, 0]);
        // Only b is mended; group 0 is at home on a.
        world.sides[B].acquire_fails = false;
        if change {
            world.carriers(B, false);
            world.run(Nanos::from_millis(120));
            world.carriers(B, true);
        }

        world.run(SECOND.times(if change { 10 } else { 75 }));
        assert_eq!((world.held(), world.watch.duals), ([0, 3], 0), "{change}");
    }
}

#[test]
fn a_failed_health_check_counts_as_a_fault() {
    let mut world = judged();
    world.check_health(A, 1, false);
    world.run(SECOND.times(3));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    world.check_health(A, 1, true);
    world.check_health(B, 1, false);
    world.check_health(A, 0, false);
    world.run(SECOND.times(3));
    assert_eq!(world.held(), [0, 3], "both have faults");
}

#[test]
fn a_network_that_comes_and_goes_counts_as_gone() {
    let mut world = judged();
    for _ in 0..5 {
        world.sides[A].answers = 0b10;
        world.cut(A, 0, true);
        world.run(SECOND.times(2));
        world.sides[A].answers = 0b11;
        world.cut(A, 0, false);
        world.run(SECOND.times(2));
        assert_eq!(world.held(), [0, 3]);
        let damped = |e: &Event| matches!(e, Event::NetworksProbed { answered: 3, operational: 2, .. });
        assert!(world.told(A, damped).1 > 0);
    }
    world.run(SECOND.times(7));
    assert!(world.core(A).verdict() == Some(heartbeat::core::Verdict::Nothing(heartbeat::core::Why::AllWell)));
}

#[test]
fn a_peer_that_stands_still_is_told_from_a_host_that_is_gone_and_gets_its_grace() {
    let stalled = |e: &Event| matches!(e, Event::PeerDead { stalled_ns: Some(_), .. });
    let gone = |e: &Event| matches!(e, Event::PeerDead { stalled_ns: None, .. });
    for grace in [Nanos(0), SECOND.times(2)] {
        let mut world = World::new(Profile::Lan.timing());
        for side in [A, B] {
            world.sides[side].guards.stalled_grace = grace;
            world.start(side);
        }
        world.run(SECOND.times(5));
        world.stall(A, SECOND.times(10));
        world.run(SECOND);
        assert_eq!((world.told(B, stalled).1, world.told(B, gone).1), (1, 0));
        if grace > Nanos(0) {
            assert_eq!((world.held()[B], world.core(B).withheld()), (2, Some(Withheld::PeerStalled)));
        }
        world.run(SECOND.times(2));
        assert_eq!(world.held()[B], 3);
        world.run(SECOND.times(20));
        world.sides[A].power_off(world.now);
        world.run(SECOND);
        assert_eq!(world.told(B, gone).1, 1);
    }
}
