//! Recordings, put on the wire again by somebody who has no key.

use crate::{
    host::{Datagram, PAIR},
    world::{A, B, World},
};
use heartbeat::{
    config::Profile,
    core::{Event, name_id},
    types::Nanos,
};
use heartbeat_ebpf::{notice::Notice, wire::View};

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

/// Whom it names is then whoever may live, as well as the one that it is paired with.
#[test]
fn whoever_hears_nobody_but_recordings_is_heard_on_by_its_peer() {
    let mut world = World::lan();
    // Of b's second life, a hears nothing, but somebody else does.
    world.cut_side(B, true);
    world.kill(B);
    world.record = true;
    world.start(B);
    world.run(SECOND);
    world.record = false;
    world.cut_side(B, false);
    world.kill(B);
    world.start(B);
    world.run(SECOND.times(5));
    world.assert_settled();
    world.sides.iter_mut().for_each(|side| side.events.clear());
    let recorded = world.recorded[B].clone();
    world.cut_side(B, true);
    for part in 0..600 {
        let datagram = recorded[part % recorded.len()];
        world.replay(A, datagram);
        world.run(Nanos::from_millis(50));
    }
    let dead = |event: &Event| matches!(event, Event::PeerDead { .. });
    assert_eq!([A, B].map(|side| world.told(side, dead).1), [1, 0]);
    world.cut_side(B, false);
    world.run(SECOND.times(5));
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

/// A pair whose kernels stand in for their agents: each of these dies and is back in time, and what was said of that is on record.
fn after_deaths() -> World {
    let mut world = World::new(Profile::Lan.timing());
    world.sides.iter_mut().for_each(|side| (side.host.guards, side.restart_grace) = (true, SECOND.times(3)));
    world.start(A);
    world.start(B);
    world.run(SECOND.times(2));
    world.record = true;
    for side in [A, B, A] {
        world.kill(side);
        world.run(SECOND);
        world.start(side);
        world.run(SECOND);
    }
    world.record = false;
    world.assert_settled();
    world.sides.iter_mut().for_each(|side| side.events.clear());
    world
}

#[test]
fn recorded_notices_of_any_life_change_nothing() {
    let mut world = after_deaths();
    let notices = world.recorded.iter().flatten().filter(|datagram| View::new(&datagram.bytes).is_notice());
    assert!(notices.count() > 20);
    replay_all(&mut world);
    assert_eq!([A, B].map(|side| world.sides[side].events.len()), [0, 0], "{:?}", world.sides[A].events);
    world.assert_settled();
}

#[test]
fn a_forged_notice_or_one_of_another_life_changes_nothing() {
    type Change = fn(&mut Notice);
    let changes: [(&str, Change); 6] = [
        ("of another life", |notice| notice.incarnation += 1),
        ("to another life", |notice| notice.peer_incarnation += 1),
        ("of another pair", |notice| notice.pair_id += 1),
        ("of our own letter", |notice| notice.node = 0),
        ("an answer to what was not asked yet", |notice| notice.asked_ns += SECOND.0),
        ("an answer to what the peer answered itself", |notice| notice.asked_ns -= SECOND.0),
    ];
    let mut world = after_deaths();
    let incarnation = |world: &World, side: usize| world.sides[side].host.tables.agent().incarnation.get();
    let genuine = |world: &World| Notice {
        pair_id: PAIR,
        node: 1,
        channel_id: name_id("cable0"),
        incarnation: incarnation(world, B),
        peer_incarnation: incarnation(world, A),
        asked_ns: world.sides[A].clock(world.now).0,
        died: true,
        owned: 0b10,
        closed: 0b11,
        term: 1_000,
        ..Notice::default()
    };
    for (why, change) in changes {
        let mut notice = genuine(&world);
        change(&mut notice);
        world.replay(A, Datagram::notice(0, &notice));
        world.run(SECOND);
        assert!(world.sides[A].events.is_empty() && world.core(A).term() < 1_000, "{why}: {:?}", world.sides[A].events);
    }
    let mut unsigned = Datagram::notice(0, &genuine(&world));
    unsigned.bytes[100] ^= 1;
    world.replay(A, unsigned);
    world.run(SECOND);
    assert!(world.sides[A].events.is_empty());
    // What the pair's key signed is believed, until the peer answers itself.
    world.stall(B, SECOND.times(2));
    world.run(SECOND);
    world.replay(A, Datagram::notice(0, &genuine(&world)));
    world.run(SECOND);
    assert_eq!(world.told(A, |event| matches!(event, Event::PeerDied { .. })).1, 1);
    world.run(SECOND.times(10));
    world.assert_settled();
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
