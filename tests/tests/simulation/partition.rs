//! Both alive and none hears the other; and what becomes of it.

use crate::world::{A, B, World};
use heartbeat::{
    core::{Differences, Event, OperatorOrder, Reason},
    types::{GroupIndex, Nanos, Node},
};

const SECOND: Nanos = Nanos::from_millis(1_000);

fn dual(event: &Event) -> bool {
    matches!(event, Event::DualOwnership { .. })
}

#[test]
fn after_a_partition_each_group_stays_with_one_by_term_and_then_home() {
    let mut world = World::lan();
    world.cut_all(true);
    world.run(SECOND.times(10));
    assert_eq!(world.held(), [3, 3], "both claim all: neither can know");
    world.cut_all(false);
    let healed = world.now;
    world.run(SECOND.times(2));
    world.assert_settled();
    assert_eq!(world.held(), [1, 2], "the terms are equal, so each is at home again");
    for side in [A, B] {
        let at_most = |e: &Event| match e {
            Event::DualOwnership { at_most_ns, kept_by, group } => {
                assert_eq!(*kept_by, [Node::A, Node::B][group.usize()]);
                // They parted 10 s ago, and the verdict took 0.3 s: it says no less than it was.
                assert!(*at_most_ns >= Nanos::from_millis(9_700) && *at_most_ns < Nanos::from_millis(10_700));
                true
            }
            _ => false,
        };
        assert_eq!(world.told(side, at_most).1, 2);
        let yields = |e: &Event| matches!(e, Event::GroupReleasing { reason: Reason::PeerHasPrecedence, .. });
        let (at, times) = world.told(side, yields);
        assert!(times == 1 && at.is_some_and(|at| at <= healed.after(Nanos::from_millis(150))));
    }
}

#[test]
fn of_two_that_found_each_other_dead_each_keeps_what_it_had_whatever_its_home() {
    let mut world = World::lan();
    for (side, group) in [(A, 1), (B, 0)] {
        assert_eq!(world.order(side, OperatorOrder::Takeover(GroupIndex(group))), Ok(()));
        world.run(SECOND);
    }
    assert_eq!(world.held(), [2, 1]);
    // By turns, so that the terms are those of a long life.
    for _ in 0..3 {
        world.cut_all(true);
        world.run(SECOND.times(10));
        assert_eq!(world.held(), [3, 3]);
        world.cut_all(false);
        world.run(SECOND.times(2));
        world.assert_settled();
        assert_eq!(world.held(), [2, 1], "nothing has moved");
    }
}

#[test]
fn how_long_both_held_a_group_is_never_understated() {
    for part in 0..20 {
        let mut world = World::lan();
        world.latency = Nanos::from_millis(70);
        world.run(Nanos::from_millis(500 + 5 * part));
        world.paths[A].iter_mut().for_each(|p| p.cut = true);
        // b finds a dead and claims; a hears b all the time, so the conflict is told as soon as it exists.
        let mut began = None;
        while world.told(A, dual).1 == 0 {
            world.run(Nanos::from_millis(1));
            if began.is_none() && world.sides[B].owned() & 1 != 0 {
                began = Some(world.now);
            }
        }
        let told = world.now.since(began.expect("b holds it"));
        let covers = |e: &Event| matches!(e, Event::DualOwnership { at_most_ns, .. } if *at_most_ns >= told);
        assert_eq!(world.told(A, covers).1, 1);
    }
}

#[test]
fn the_one_that_acquired_later_keeps_what_both_hold() {
    let mut world = World::lan();
    // a cannot claim for want of carriers, b claims: its term is the higher one.
    world.carriers(A, false);
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [1, 3]);
    world.carriers(A, true);
    world.run(SECOND.times(2));
    world.assert_settled();
    assert_eq!(world.held(), [0, 3]);
}

#[test]
fn a_controller_without_a_past_claims_beyond_the_terms_it_heard() {
    let mut world = World::lan();
    world.sides[B].power_off(world.now);
    world.run(SECOND);
    world.start(B);
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [3, 0]);
    world.carriers(A, false);
    world.run(SECOND.times(5));
    world.carriers(A, true);
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [0, 3]);
}

#[test]
fn a_conflict_found_while_addresses_are_still_being_added_is_settled_after_that() {
    let mut world = World::lan();
    world.sides.iter_mut().for_each(|s| s.acquire_takes = Nanos::from_millis(700));
    world.cut_all(true);
    world.run(Nanos::from_millis(400));
    world.cut_all(false);
    world.run(SECOND.times(6));
    world.assert_settled();
}

#[test]
fn with_other_groups_on_the_other_side_nothing_moves_until_it_is_dead() {
    let mut world = World::lan();
    world.kill(B);
    world.sides[B].digest = 8;
    world.start(B);
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [1, 2]);
    assert_eq!(world.core(A).differences(), Differences { groups: true, ..Differences::default() });
    world.stop(B);
    world.run(Nanos::from_millis(200));
    assert_eq!(world.held(), [1, 0], "not even when it leaves");
    world.run(SECOND);
    assert_eq!(world.held(), [3, 0]);
}
