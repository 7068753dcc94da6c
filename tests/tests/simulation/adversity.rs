//! Recordings, put on the wire again by somebody who has no key.

use crate::world::{A, B, World};
use heartbeat::core::{Event, Nanos};

const SECOND: Nanos = Nanos::from_millis(1_000);

/// Everything that was ever sent, again, every ten milliseconds some of it.
fn replay_all(world: &mut World) {
    world.record = false;
    let recorded = world.recorded.clone();
    for (i, message) in recorded[A].iter().chain(&recorded[B]).enumerate() {
        world.replay(A, *message);
        world.replay(B, *message);
        if i % 10 == 0 {
            world.run(Nanos::from_millis(10));
        }
    }
}

#[test]
fn replays_of_any_time_change_nothing() {
    let mut world = World::lan();
    world.record = true;
    for _ in 0..5 {
        world.run(Nanos::from_millis(700));
        for side in [A, B] {
            world.kill(side);
            world.start(side);
            world.run(Nanos::from_millis(500));
        }
    }
    world.sides.iter_mut().for_each(|s| s.events.clear());
    replay_all(&mut world);
    assert_eq!([A, B].map(|s| world.sides[s].events.len()), [0, 0], "{:?}", world.sides[A].events);
    world.assert_settled();
}

#[test]
fn a_recorded_life_that_we_never_heard_does_not_end_a_pairing() {
    let mut world = World::lan();
    // b restarts twice; of its second life, a hears nothing, but somebody else does.
    world.paths[B].iter_mut().for_each(|p| p.cut = true);
    world.kill(B);
    world.record = true;
    world.start(B);
    world.run(Nanos::from_millis(150));
    world.kill(B);
    world.cut_all(false);
    world.record = false;
    assert!(!world.recorded[B].is_empty());
    world.start(B);
    world.run(SECOND.times(3));
    world.sides.iter_mut().for_each(|s| s.events.clear());
    replay_all(&mut world);
    world.run(SECOND);
    assert_eq!([A, B].map(|s| world.told(s, |e| matches!(e, Event::PeerPaired { .. })).1), [0, 0]);
    world.assert_settled();
}

#[test]
fn a_dead_peers_recordings_do_not_bring_it_back_nor_hinder_the_takeover() {
    let mut world = World::lan();
    world.record = true;
    world.run(SECOND.times(3));
    world.sides[B].power_off(world.now);
    replay_all(&mut world);
    world.run(SECOND);
    assert_eq!(world.held(), [3, 0]);
    assert_eq!(world.told(A, |e| matches!(e, Event::PeerDead { .. })).1, 1);
    assert_eq!(world.told(A, |e| matches!(e, Event::PeerGood | Event::PeerPaired { .. })).1, 0);
}

#[test]
fn under_a_flood_of_recordings_a_restarted_peer_is_still_paired_with() {
    let mut world = World::lan();
    world.record = true;
    world.run(SECOND);
    world.kill(B);
    world.start(B);
    replay_all(&mut world);
    world.run(SECOND);
    assert_eq!(world.held(), [1, 2]);
    world.assert_settled();
}

#[test]
fn our_own_messages_coming_back_are_nobody() {
    let mut world = World::lan();
    world.record = true;
    world.run(SECOND);
    world.record = false;
    let own = world.recorded[A].clone();
    world.sides[B].power_off(world.now);
    for message in own {
        world.replay(A, message);
        world.run(Nanos::from_millis(20));
    }
    assert_eq!(world.held(), [3, 0]);
}

/// Nothing is promised of who holds what meanwhile; but nobody panics, spins or grows, and a new life ends it.
#[test]
fn a_peer_that_contradicts_itself_harms_nobody_for_longer_than_it_lives() {
    for seed in 0..200 {
        let mut world = World::lan();
        world.random = crate::world::Random::new(seed);
        world.sides[A].judging = crate::judging::judging();
        world.stop(A);
        world.run(Nanos::from_millis(1_000));
        world.start(A);
        world.run(Nanos::from_millis(1_000));
        world.babbles[B] = true;
        world.run(Nanos::from_millis(5_000));
        world.sides[B].power_off(world.now);
        // Its last word may have been that it is in maintenance, or sends once a minute: that is believed.
        world.run(Nanos::from_millis(3_000));
        world.babbles[B] = false;
        world.start(B);
        world.run(Nanos::from_millis(30_000));
        world.assert_settled();
    }
}
