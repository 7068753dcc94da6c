//! Dead cables, lossy ones, no carrier, no interface, no socket; and the peer's death.

use crate::world::{A, B, World};
use heartbeat::{
    config::Profile,
    core::{ChannelState, Differences, Event, PeerState, Withheld},
    types::{Link, Nanos, Timing},
};

const SECOND: Nanos = Nanos::from_millis(1_000);

fn dead(event: &Event) -> bool {
    matches!(event, Event::PeerDead { .. })
}

fn bad(event: &Event) -> bool {
    matches!(event, Event::ChannelBad { .. })
}

#[test]
fn a_dead_peer_is_found_exactly_three_intervals_after_its_last_heartbeat() {
    for profile in [Profile::Lan, Profile::Fast, Profile::Ultra] {
        let timing = profile.timing();
        let mut world = World::settled(timing);
        world.run(Nanos(timing.interval.0 * 7 / 3));
        world.sides[B].power_off(world.now);
        world.run(timing.interval);
        let last = world.channels(A).filter_map(|c| c.last_arrival).max();
        world.run(timing.detection());
        assert_eq!(world.told(A, dead), (last.map(|last| last.after(timing.detection())), 1), "{profile}");
        let exact = |e: &Event| matches!(e, Event::PeerDead { overshoot_ns: Some(Nanos(0)), .. });
        assert_eq!(world.told(A, exact).1, 1);
        assert_eq!(world.held(), [3, 0]);
    }
}

#[test]
fn in_classic_a_dead_peer_is_found_60_to_65_s_after_its_last_heartbeat() {
    let mut world = World::settled(Profile::Classic.timing());
    world.run(SECOND.times(200));
    world.sides[B].power_off(world.now);
    world.run(SECOND);
    let last = world.channels(A).filter_map(|c| c.last_arrival).max();
    world.run(SECOND.times(70));
    let silent = world.told(A, dead).0.expect("found").since(last.expect("heard"));
    assert!((SECOND.times(60)..=SECOND.times(65)).contains(&silent), "{silent}");
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_cut_channel_is_bad_on_both_sides_and_nothing_moves() {
    for channel in 0..3 {
        let mut world = World::lan();
        world.cut(A, channel, true);
        world.cut(B, channel, true);
        world.run(SECOND.times(30));
        assert_eq!([A, B].map(|s| world.told(s, bad).1), [1, 1]);
        assert_eq!(world.held(), [1, 2]);
        world.cut_all(false);
        world.run(SECOND);
        world.assert_settled();
        world.assert_all_channels_good();
    }
}

#[test]
fn a_channel_cut_in_one_direction_is_bad_on_the_deaf_side_only() {
    for (from, to) in [(A, B), (B, A)] {
        for profile in Profile::ALL {
            let mut world = World::settled(profile.timing());
            world.lateness = Nanos(profile.timing().interval.0 / 20);
            world.cut(from, 1, true);
            world.run(profile.timing().interval.times(600));
            assert_eq!((world.told(from, bad).1, world.told(to, bad).1), (0, 1), "{profile}");
            assert_eq!(world.held(), [1, 2]);
        }
    }
}

#[test]
fn a_long_wait_before_a_new_socket_does_not_fail_the_channel_for_a_peer_that_hears_us() {
    let timing = Timing { retry: SECOND, ..Profile::Lan.timing() };
    let mut world = World::settled(timing);
    world.cut(A, 1, true);
    world.run(SECOND.times(60));
    assert_eq!((world.told(A, bad).1, world.told(B, bad).1), (0, 1));
}

#[test]
fn cut_in_one_direction_on_all_channels_the_deaf_side_takes_over_and_the_other_yields() {
    let mut world = World::lan();
    world.paths[A].iter_mut().for_each(|p| p.cut = true);
    world.run(SECOND.times(60));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 1));
    assert_eq!(world.told(A, bad).1, 0);
    world.cut_all(false);
    world.run(SECOND.times(5));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 1));
    world.assert_settled();
}

#[test]
fn a_fifth_of_all_messages_lost_on_every_channel_moves_nothing() {
    let mut world = World::lan();
    world.paths.iter_mut().flatten().for_each(|p| p.lost = 200);
    world.run(SECOND.times(120));
    assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
}

#[test]
fn without_any_carrier_of_our_own_nothing_is_claimed_and_afterwards_not_before_a_detection_time() {
    let timing = Profile::Lan.timing();
    let mut world = World::lan();
    world.carriers(A, false);
    world.run(SECOND.times(20));
    let withheld = |e: &Event| matches!(e, Event::TakeoverWithheld { reason: Withheld::Isolated, .. });
    assert_eq!((world.held(), world.told(A, withheld).1), ([1, 3], 1), "b cannot know, and claims");
    // The peer is gone for good meanwhile.
    world.sides[B].power_off(world.now);
    world.carriers(A, true);
    let back = world.now;
    world.run(SECOND);
    let (at, _) = world.told(A, |e| matches!(e, Event::GroupAcquiring { .. }));
    assert!(at.is_some_and(|at| at >= back.after(timing.detection())), "{at:?}");
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn after_isolation_a_peer_that_sends_seldom_gets_its_own_detection_time() {
    let (fast, slow) = (Profile::Lan.timing(), Profile::Classic.timing());
    let slow = Timing { period: slow.interval, interval: slow.interval, retry: slow.retry, ..fast };
    let mut world = World::with([fast, slow], 3);
    world.start(A);
    world.start(B);
    world.run(SECOND.times(20));
    world.assert_settled();
    assert_eq!([A, B].map(|s| world.told(s, bad).1), [0, 0], "no flapping");
    for part in 0..10 {
        world.carriers(A, false);
        world.run(SECOND.times(10).after(Nanos(SECOND.0 / 10 * part)));
        let term = world.core(A).term();
        world.carriers(A, true);
        world.run(SECOND.times(10));
        assert_eq!(world.core(A).term(), term, "it claimed nothing");
        world.assert_settled();
    }
}

#[test]
fn intervals_that_differ_are_told_and_the_longer_one_counts() {
    let (fast, slow) = (Profile::Fast.timing(), Profile::Lan.timing());
    let mut world = World::with([fast, slow], 2);
    world.start(A);
    world.start(B);
    world.run(SECOND.times(60));
    world.assert_settled();
    assert_eq!([A, B].map(|s| world.told(s, bad).1), [0, 0]);
    assert_eq!(world.core(A).differences(), Differences { interval: true, ..Differences::default() });
    world.sides[B].power_off(world.now);
    world.run(SECOND);
    let exact = |e: &Event| matches!(e, Event::PeerDead { overshoot_ns: Some(Nanos(0)), .. });
    assert_eq!(world.told(A, exact).1, 1, "late by nothing, by the peer's interval");
}

#[test]
fn an_interface_that_goes_and_comes_back_opens_a_new_socket_and_moves_nothing() {
    let mut world = World::lan();
    world.sides[A].links[0] = Link::Absent;
    world.run(SECOND.times(10));
    assert_eq!(world.channels(A).next().unwrap().state, ChannelState::Failed);
    world.sides[A].links[0] = Link::Present { index: 9, carrier: true, address: true };
    world.run(SECOND);
    world.assert_settled();
    world.assert_all_channels_good();
    for (which, times) in [
        (world.told(A, |e| matches!(e, Event::InterfaceGone { .. })).1, 1),
        (world.told(A, |e| matches!(e, Event::InterfaceBack { .. })).1, 1),
        (world.told(A, |e| matches!(e, Event::SocketFailed { .. })).1, 1),
        (world.told(A, |e| matches!(e, Event::SocketWorks { .. })).1, 1),
    ] {
        assert_eq!(which, times);
    }
}

#[test]
fn a_socket_that_fails_is_closed_tried_again_and_told_once() {
    let mut world = World::lan();
    world.sides[A].errno[2] = Some(100);
    world.run(SECOND.times(60));
    assert_eq!(world.told(A, |e| matches!(e, Event::SocketFailed { errno: 100, .. })).1, 1);
    assert_eq!(world.held(), [1, 2]);
    world.sides[A].errno[2] = None;
    world.run(SECOND);
    assert_eq!(world.told(A, |e| matches!(e, Event::SocketWorks { .. })).1, 1);
    world.assert_all_channels_good();
    assert_eq!(world.core(B).peer(), PeerState::Good);
}

#[test]
fn what_a_slow_channel_says_late_does_not_undo_what_a_quick_one_said_since() {
    let mut world = World::lan();
    world.cut(B, 1, true);
    world.record = true;
    world.run(Nanos::from_millis(150));
    let slow = *world.recorded[B].iter().rfind(|m| m.cable == 1).expect("sent");
    world.stop(B);
    world.run(Nanos::from_millis(1));
    assert_eq!(world.held(), [3, 0]);
    world.replay(A, slow);
    world.run(Nanos::from_millis(120));
    assert_eq!(world.core(A).peer_owned(), 0);
    assert_eq!(world.told(A, |e| matches!(e, Event::DualOwnership { .. })).1, 0);
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_channel_that_comes_and_goes_is_told_of_within_bounds_and_what_it_comes_to_at_last() {
    let mut world = World::lan();
    for _ in 0..200 {
        for cut in [true, false] {
            world.cut(A, 1, cut);
            world.run(Nanos::from_millis(450));
        }
    }
    let of = |world: &World, which: fn(&Event) -> bool| world.told(B, which);
    let good = |e: &Event| matches!(e, Event::ChannelGood { .. });
    let bad = |e: &Event| matches!(e, Event::ChannelBad { .. });
    assert_eq!(of(&world, |e| matches!(e, Event::ChannelFlapping { .. })).1, 1);
    assert!(of(&world, good).1 + of(&world, bad).1 <= 10, "{:?}", world.sides[B].events);
    let before = of(&world, good).1;
    world.run(Nanos::from_millis(11_000));
    assert_eq!(of(&world, good).1, before + 1, "it is good at last");
    assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
}
