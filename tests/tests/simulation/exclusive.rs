//! What must never be held twice, in every phase of a life and of a takeover: the world looks after each step whether it is.

use crate::world::{A, Assured, B, World};
use heartbeat::{
    config::Profile,
    core::{Exclusivity, OperatorOrder},
    types::{GroupIndex, Nanos},
};

const SECOND: Nanos = Nanos::from_millis(1_000);
/// What both promise, here.
const WITHIN: Nanos = Nanos::from_millis(3_000);

/// A pair all of whose groups are exclusive and have hooks, made sure of in this way; nobody runs yet.
fn pair(assured: Assured) -> World {
    let mut world = World::new(Profile::Lan.timing());
    world.assured = assured;
    world.trace = std::env::var_os("T").is_some();
    for side in &mut world.sides {
        side.host.guards = true;
        (side.judging.networks, side.guards.by_probe) = (0b111, true);
        (side.hooks.has, side.hook_takes) = ([0b11; 4], Nanos::from_millis(200));
        side.exclusivity = Exclusivity {
            groups: 0b11,
            arbiter: (assured == Assured::Arbiter).then_some(Nanos(0)),
            release_isolated: true,
            release_within: WITHIN,
            ..Exclusivity::default()
        };
    }
    world
}

/// The same, and both have run for a while.
fn settled(assured: Assured) -> World {
    let mut world = pair(assured);
    world.start(A);
    world.start(B);
    world.run(SECOND.times(5));
    world.assert_settled();
    world
}

/// Both hosts get a watchdog by a reload, and run on with it for a while.
fn watch(world: &mut World, watchdog: Nanos) {
    for side in &mut world.sides {
        (side.exclusivity.watchdog, side.fed) = (watchdog, Some(world.now));
    }
    for side in [A, B] {
        world.sides[side].reload(world.now, Nanos(0));
    }
    world.run(SECOND.times(5));
    world.assert_settled();
}

/// None of a side's networks works for it any more, or all do.
fn cut_off(world: &mut World, side: usize, cut: bool) {
    world.sides[side].answers = if cut { 0 } else { u64::MAX };
    let cut = world.sides.iter().any(|side| side.answers == 0);
    world.cut_all(cut);
}

/// Whoever left may be back, and knows nothing of one that is cut off.
#[test]
fn a_controller_that_is_cut_off_lets_go_also_where_its_peer_had_left() {
    let mut world = settled(Assured::Promise);
    world.stop(B);
    world.run(SECOND.times(5));
    assert_eq!((world.held(), world.sides[A].external), ([3, 0], 3));
    cut_off(&mut world, A, true);
    world.start(B);
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [0, 3], "one let go, the other took over");
    // It loses its networks just when the other one's work again: whoever had left then is not who it was.
    cut_off(&mut world, B, true);
    cut_off(&mut world, A, false);
    world.cut_all(true);
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [3, 0]);
    cut_off(&mut world, B, false);
    world.run(SECOND.times(5));
    world.assert_settled();
}

/// Nobody can have taken anything meanwhile.
#[test]
fn whoever_was_cut_off_for_a_moment_while_its_peer_is_away_serves_again_at_once() {
    let mut world = pair(Assured::Promise);
    world.sides.iter_mut().for_each(|side| side.exclusivity.release_within = SECOND.times(10));
    world.start(A);
    world.start(B);
    world.run(SECOND.times(5));
    world.stop(B);
    world.run(SECOND.times(5));
    cut_off(&mut world, A, true);
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [0, 0]);
    cut_off(&mut world, A, false);
    world.cut_all(true);
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn of_two_that_lose_and_find_their_networks_by_turns_never_both_have_what_only_one_may() {
    let mut world = settled(Assured::Promise);
    for (turn, part) in (0..40).zip((1..).step_by(7)) {
        let lost = turn % 2;
        cut_off(&mut world, lost, true);
        cut_off(&mut world, 1 - lost, false);
        if turn % 3 == 2 {
            let again = [A, B][turn / 3 % 2];
            world.kill(again);
            world.start(again);
        }
        world.run(Nanos::from_millis(500 + 350 * (part % 40)));
    }
    cut_off(&mut world, A, false);
    cut_off(&mut world, B, false);
    world.run(SECOND.times(10));
    world.assert_settled();
}

/// What lets go of it begins anew in a new life; the time by which it must be done does not.
#[test]
fn a_life_that_begins_while_a_group_is_let_go_of_has_no_more_time_for_that_than_the_one_before() {
    for part in 0..30 {
        let mut world = settled(Assured::Promise);
        // Three of them in a row take nearly as long as was promised.
        world.sides.iter_mut().for_each(|side| side.hook_takes = Nanos::from_millis(1_200));
        watch(&mut world, Nanos::from_millis(500));
        cut_off(&mut world, A, true);
        world.run(Nanos::from_millis(100 * part));
        world.sides[A].reload(world.now, Nanos::from_millis(1));
        world.run(SECOND.times(20));
        assert_eq!((world.held()[B], world.sides[A].external), (3, 0), "{part}");
    }
}

#[test]
fn who_cannot_find_out_whether_it_is_cut_off_lets_go_as_if_it_were() {
    let mut world = settled(Assured::Promise);
    world.sides[A].control_hangs = true;
    cut_off(&mut world, A, true);
    world.run(SECOND.times(20));
    assert_eq!((world.held(), world.sides[A].external), ([0, 3], 0));
    world.sides[A].control_hangs = false;
    cut_off(&mut world, A, false);
    world.run(SECOND.times(5));
    world.assert_settled();
}

/// It is asked on one side only: the other one holds what nobody granted, and knows that its peer had left.
#[test]
fn with_an_arbiter_out_of_reach_nothing_is_kept_although_the_peer_had_left() {
    let mut world = settled(Assured::Arbiter);
    world.sides[A].arbiter_reached = [false; 2];
    world.stop(B);
    world.run(SECOND.times(10));
    world.cut_all(true);
    world.start(B);
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [0, 3]);
    world.cut_all(false);
    world.sides[A].arbiter_reached = [true; 2];
    world.run(SECOND.times(10));
    world.assert_settled();
}

#[test]
fn of_two_that_start_at_once_and_alone_the_arbiter_lets_one_have_each_group() {
    for (late, reached) in [(0, [true; 2]), (0, [false, true]), (350, [true; 2]), (2_000, [true, false])] {
        let mut world = pair(Assured::Arbiter);
        world.cut_all(true);
        world.sides[B].arbiter_takes = Nanos::from_millis(late);
        world.sides[B].arbiter_reached = reached;
        world.start(A);
        world.start(B);
        world.run(SECOND.times(60));
        let [a, b] = world.held();
        assert_eq!((a & b, a | b), (0, 3), "{late} {reached:?}");
        world.cut_all(false);
        world.sides[B].arbiter_reached = [true; 2];
        world.run(SECOND.times(20));
        world.assert_settled();
    }
}

/// In each phase, after each thing that it does.
#[test]
fn an_agent_that_dies_at_any_point_of_a_start_a_takeover_a_release_or_a_reload_harms_nobody() {
    type Phase = fn(&mut World);
    let phases: [(&str, Phase); 5] = [
        ("starting", |world| {
            world.kill(A);
            world.start(A);
        }),
        ("acquiring", |world| world.sides[B].power_off(world.now)),
        ("releasing", |world| world.stop(A)),
        ("letting go", |world| cut_off(world, A, true)),
        ("reloading", |world| world.sides[A].reload(world.now, Nanos::from_millis(50))),
    ];
    for (what, phase) in phases {
        for assured in [Assured::Promise, Assured::Arbiter] {
            for dies_after in (0..24).chain([30, 40, 60, 90]) {
                let mut world = settled(assured);
                world.revives = true;
                watch(&mut world, Nanos::from_millis(700));
                phase(&mut world);
                world.sides[A].dies_after = Some(dies_after);
                world.run(SECOND.times(12));
                cut_off(&mut world, A, false);
                for side in [A, B] {
                    world.sides[side].dies_after = None;
                    if world.sides[side].core.is_none() {
                        world.start(side);
                    }
                }
                world.run(SECOND.times(20));
                assert_eq!(world.held()[A] | world.held()[B], 3, "{what} {assured:?} {dies_after}");
                world.assert_settled();
            }
        }
    }
}

#[test]
fn what_an_operator_forces_is_here_to_stay_also_without_a_grant() {
    let mut world = settled(Assured::Arbiter);
    world.sides[A].arbiter_reached = [false; 2];
    world.sides[B].power_off(world.now);
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [0, 0]);
    for group in 0..2 {
        assert_eq!(world.order(A, OperatorOrder::TakeoverForced(GroupIndex(group))), Ok(()));
    }
    for _ in 0..10 {
        world.run(SECOND.times(3));
        assert_eq!(world.held(), [3, 0]);
    }
    world.sides[A].arbiter_reached = [true; 2];
    world.start(B);
    world.run(SECOND.times(20));
    world.assert_settled();
}

/// As frames of a queue that stood still: from before it took over, and not known to us.
#[test]
fn what_a_network_delivers_long_after_it_was_sent_does_not_make_two_holders() {
    let mut world = settled(Assured::Arbiter);
    world.sides[A].arbiter_reached = [false; 2];
    world.record = true;
    world.cut_all(true);
    world.run(Nanos::from_millis(250));
    let held_back = world.recorded[B].clone();
    world.run(SECOND.times(20));
    assert_eq!(world.held(), [0, 3]);
    for datagram in held_back {
        world.replay(A, datagram);
    }
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [0, 3]);
    world.cut_all(false);
    world.sides[A].arbiter_reached = [true; 2];
    world.run(SECOND.times(10));
    world.assert_settled();
}

/// It hears its peer, which does not hear it, and then nobody.
#[test]
fn a_deaf_peers_count_goes_on_while_an_agent_that_cannot_let_go_begins_another_life() {
    for again_ms in (0..4_000).step_by(250) {
        let mut world = settled(Assured::Arbiter);
        world.revives = true;
        watch(&mut world, Nanos::from_millis(700));
        world.sides[A].release_fails = true;
        world.sides[A].hook_fails = [true; 4];
        world.sides[A].arbiter_reached = [false; 2];
        world.cut_side(A, true);
        world.run(Nanos::from_millis(again_ms));
        world.cut_all(true);
        world.run(Nanos::from_millis(310));
        world.sides[A].reload(world.now, Nanos::from_millis(50));
        world.run(SECOND.times(10));
        assert_eq!(world.held()[B], 3);
    }
}
