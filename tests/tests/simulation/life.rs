//! Stops, restarts, stalls, and takeovers that do not work.

use crate::world::{A, B, World};
use heartbeat::{
    config::Profile,
    core::Event,
    types::{Nanos, Timing},
};

const SECOND: Nanos = Nanos::from_millis(1_000);

fn dead(event: &Event) -> bool {
    matches!(event, Event::PeerDead { .. })
}

#[test]
fn a_clean_stop_hands_over_at_once_and_never_to_two() {
    let mut world = World::lan();
    world.stop(B);
    world.run(Nanos::from_millis(1));
    assert_eq!((world.held(), world.watch.duals), ([3, 0], 0), "within release, latency and acquisition");
    assert!(world.sides[B].core.is_none() && world.sides[B].addresses == 0);
    assert_eq!(world.told(A, |e| matches!(e, Event::PeerLeft)).1, 1);
}

#[test]
fn a_stop_without_any_socket_still_ends() {
    let mut world = World::lan();
    world.sides[B].errno.fill(Some(100));
    world.run(SECOND);
    world.stop(B);
    world.run(SECOND);
    assert!(world.sides[B].core.is_none());
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_stop_while_acquiring_first_finishes_then_releases() {
    let mut world = World::lan();
    world.sides[A].acquire_takes = SECOND;
    world.kill(B);
    world.run(Nanos::from_millis(500));
    assert_eq!((world.sides[A].owned(), world.held()), (3, [1, 0]));
    world.stop(A);
    world.run(SECOND.times(4));
    assert!(world.sides[A].core.is_none() && world.sides[A].addresses == 0);
}

#[test]
fn a_restart_does_not_end_a_stop_before_everything_is_released() {
    let mut world = World::lan();
    world.sides[B].acquire_takes = Nanos::from_millis(500);
    world.stop(B);
    world.run(Nanos::from_millis(10));
    world.sides[B].core.as_mut().expect("it still releases").handle_restart();
    world.run(SECOND.times(2));
    assert_eq!((world.sides[B].addresses, world.held()), (0, [3, 0]));
}

#[test]
fn the_one_that_left_comes_back_and_is_not_taken_to_be_leaving() {
    let mut world = World::lan();
    world.stop(B);
    world.run(SECOND);
    world.start(B);
    world.run(SECOND.times(5));
    world.assert_settled();
    assert_eq!((world.held(), world.core(A).peer_left(), world.watch.duals), ([3, 0], false, 0));
}

#[test]
fn a_restart_within_the_bound_moves_nothing() {
    for profile in Profile::ALL {
        for part in 0..10 {
            let timing = profile.timing();
            let mut world = World::settled(timing);
            world.run(timing.interval.times(20).after(Nanos(timing.interval.0 / 10 * part)));
            world.kill(B);
            world.run(Nanos(timing.interval.0 * 3 / 4));
            world.start(B);
            world.run(timing.detection().times(3));
            assert_eq!((world.held(), world.told(A, dead).1), ([1, 2], 0), "{profile}, {part}");
            assert_eq!(world.told(A, |e| matches!(e, Event::ChannelBad { .. })).1, 0);
            assert_eq!(world.told(A, |e| matches!(e, Event::PeerPaired { .. })).1, 1);
            world.assert_settled();
        }
    }
}

#[test]
fn a_restart_that_comes_too_late_leaves_the_peer_what_it_took() {
    for resumed in [true, false] {
        let mut world = World::lan();
        if resumed {
            world.kill(B)
        } else {
            world.sides[B].power_off(world.now)
        }
        world.run(Nanos::from_millis(450));
        world.start(B);
        world.run(SECOND.times(5));
        assert_eq!((world.held(), world.watch.duals), ([3, 0], 0));
        world.assert_settled();
    }
}

#[test]
fn a_peer_that_restarts_twice_before_it_is_heard_again_is_paired_with_its_last_life() {
    for cold in [true, false] {
        let mut world = World::lan();
        for _ in 0..2 {
            if cold {
                world.sides[B].power_off(world.now)
            } else {
                world.kill(B)
            }
            world.start(B);
            world.run(Nanos::from_millis(30));
        }
        world.run(SECOND.times(6));
        world.assert_settled();
        assert_eq!(world.watch.duals, 0);
    }
}

#[test]
fn a_thousand_and_more_restarts_are_all_paired_with() {
    let mut world = World::lan();
    for _ in 0..1_100 {
        world.kill(B);
        world.run(Nanos::from_millis(60));
        world.start(B);
        world.run(Nanos::from_millis(400));
    }
    assert_eq!((world.held(), world.told(A, dead).1), ([1, 2], 0));
    world.assert_settled();
}

#[test]
fn a_stall_of_our_own_of_twenty_detection_times_finds_nobody_dead() {
    for profile in Profile::ALL {
        let timing = profile.timing();
        let mut world = World::settled(timing);
        world.stall(A, timing.detection().times(20));
        world.run(timing.detection().times(30));
        assert_eq!((world.told(A, dead).1, world.told(B, dead).1), (0, 1), "{profile}");
        world.assert_settled();
        assert_eq!(world.held(), [0, 3], "{profile}: b took over, a yields");
    }
}

#[test]
fn when_both_stand_still_as_on_one_paused_host_nothing_moves() {
    for profile in Profile::ALL {
        for part in 0..20 {
            let timing = profile.timing();
            let mut world = World::settled(timing);
            world.run(Nanos(timing.interval.0 / 20 * part));
            world.stall(A, timing.detection().times(20));
            world.stall(B, timing.detection().times(20));
            world.run(timing.detection().times(30));
            assert_eq!([A, B].map(|s| world.told(s, dead).1), [0, 0], "{profile}");
            assert_eq!(world.held(), [1, 2]);
        }
    }
}

#[test]
fn a_peer_that_stood_still_first_and_wakes_with_us_is_not_dead() {
    let timing = Profile::Lan.timing();
    for silent in 0..29 {
        let mut world = World::new(timing);
        world.start(A);
        world.run(Nanos::from_millis(50));
        world.start(B);
        // It has just sent one.
        world.run(SECOND);
        let until = SECOND.times(10);
        world.stall(B, until);
        let before = Nanos::from_millis(10 * silent);
        world.run(before);
        world.stall(A, until.since(before));
        world.run(SECOND.times(15));
        assert_eq!([A, B].map(|s| world.told(s, dead).1), [0, 0], "after {before}");
    }
}

#[test]
fn a_host_that_is_always_late_still_finds_a_dead_peer() {
    let timing = Profile::Ultra.timing();
    let mut world = World::settled(timing);
    world.sides[B].power_off(world.now);
    for _ in 0..20 {
        world.stall(A, Nanos(timing.interval.0 * 2));
        world.run(Nanos(timing.interval.0 * 2));
    }
    assert_eq!((world.told(A, dead).1, world.held()), (1, [3, 0]));
}

#[test]
fn an_acquisition_that_always_fails_rests_tries_again_and_is_told_once() {
    let mut world = World::lan();
    world.sides[A].acquire_fails = true;
    world.kill(B);
    world.run(SECOND.times(60));
    let term = world.core(A).term();
    assert_eq!(world.held(), [1, 0]);
    assert!(world.sides[A].events.len() < 12, "{:?}", world.sides[A].events);
    world.run(SECOND.times(60));
    assert_eq!(world.core(A).term(), term, "trying again is not another acquisition");
    world.sides[A].acquire_fails = false;
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [3, 0]);
    assert_eq!(world.told(A, |e| matches!(e, Event::GroupAcquired { .. })).1, 1);
}

#[test]
fn a_resumed_group_whose_addresses_cannot_be_added_is_not_called_held() {
    let mut world = World::lan();
    world.kill(B);
    world.sides[B].acquire_fails = true;
    world.start(B);
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [1, 0]);
    world.sides[B].acquire_fails = false;
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [1, 2]);
    world.assert_settled();
}

#[test]
fn a_stall_shorter_than_the_bound_during_a_long_wait_for_sockets_moves_nothing() {
    let timing = Timing { disconnect: 1, ..Profile::Lan.timing() };
    let mut world = World::settled(timing);
    for _ in 0..50 {
        world.stall(A, Nanos::from_millis(150));
        world.run(Nanos::from_millis(800));
    }
    assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
}

/// The host's clock begins anew with a boot: what its earlier life said, on the clock of then, must not outdo what is said now.
#[test]
fn after_a_boot_of_its_host_a_peer_still_follows_our_restarts() {
    let mut world = World::lan();
    // It is back before it is missed: it is heard as a stranger first.
    world.sides[B].power_off(world.now);
    world.start(B);
    world.run(SECOND.times(5));
    world.assert_settled();
    let moment = Nanos::from_millis(20);
    for _ in 0..5 {
        let (now, before) = (world.now, world.told(B, |e| matches!(e, Event::PeerPaired { .. })).1);
        world.sides[A].reload(now, moment);
        world.run(SECOND);
        let paired = |e: &Event| matches!(e, Event::PeerPaired { .. });
        assert_eq!((world.told(B, dead).1, world.told(B, paired).1), (0, before + 1));
    }
}
