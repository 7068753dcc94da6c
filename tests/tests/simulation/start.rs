//! Starting: together, alone, late, and into doubtful company.

use crate::{
    host::KEY,
    world::{A, B, START, World},
};
use heartbeat::{
    config::Profile,
    core::{Event, PeerState, Reason, Withheld},
    types::Nanos,
};
use heartbeat_ebpf::wire::Message;

fn acquiring(event: &Event) -> bool {
    matches!(event, Event::GroupAcquiring { .. })
}

#[test]
fn both_start_and_each_claims_its_own_after_a_full_detection_time() {
    for profile in Profile::ALL {
        let timing = profile.timing();
        let mut world = World::new(timing);
        world.start(A);
        world.start(B);
        world.run(timing.detection().times(2));
        for side in [A, B] {
            let (at, times) = world.told(side, acquiring);
            assert!(at.is_some_and(|at| at >= START.after(timing.detection())), "{profile}: {at:?}");
            assert!(at.is_some_and(|at| at <= START.after(timing.detection()).after(timing.interval)), "{profile}");
            assert_eq!(times, 1);
        }
        assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
        world.assert_settled();
        world.assert_all_channels_good();
    }
}

#[test]
fn alone_it_claims_all_once_its_waits_have_failed() {
    for profile in Profile::ALL {
        let timing = profile.timing();
        let mut world = World::new(timing);
        world.start(A);
        world.run(Nanos::from_millis(120_000));
        let waited = timing.interval.times(timing.failed_waits.into()).max(timing.detection());
        assert_eq!(world.told(A, acquiring), (Some(START.after(waited)), 2), "{profile}");
        assert_eq!(world.held(), [3, 0]);
    }
}

#[test]
fn the_second_starts_an_hour_later_and_nothing_moves() {
    let mut world = World::new(Profile::Lan.timing());
    world.start(A);
    world.run(Nanos::from_millis(3_600_000));
    world.start(B);
    world.run(Nanos::from_millis(10_000));
    assert_eq!((world.held(), world.watch.duals), ([3, 0], 0));
    world.assert_settled();
    world.assert_all_channels_good();
}

#[test]
fn of_two_that_start_cut_off_in_one_direction_only_the_deaf_one_claims() {
    let mut world = World::new(Profile::Lan.timing());
    world.paths[A].iter_mut().for_each(|p| p.cut = true);
    world.start(A);
    world.start(B);
    world.run(Nanos::from_millis(60_000));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    assert_eq!(world.core(A).withheld(), Some(Withheld::Stranger));
    world.cut_all(false);
    world.run(Nanos::from_millis(5_000));
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    world.assert_settled();
}

/// Its term is the lower one, or the same, and nothing tells it so: whoever hears it lets go.
#[test]
fn whoever_begins_where_nothing_of_the_holder_reaches_it_is_left_what_it_takes() {
    for life in ["started again, late", "reloaded"] {
        let mut world = World::lan();
        if life == "reloaded" {
            world.cut_side(A, true);
            world.sides[B].reload(world.now, Nanos::from_millis(1));
        } else {
            world.kill(B);
            world.run(Nanos::from_millis(60_000));
            world.cut_side(A, true);
            world.start(B);
        }
        let mut both = Nanos(0);
        for _ in 0..10_000 {
            let [a, b] = world.held();
            both = if a & b == 0 { both } else { both.after(Nanos::from_millis(1)) };
            world.run(Nanos::from_millis(1));
        }
        assert_eq!(world.held(), [0, 3], "{life}");
        assert!(both <= world.detection(), "{life}: both held something for {both}");
        world.cut_all(false);
        world.run(Nanos::from_millis(5_000));
        assert_eq!(world.held(), [0, 3], "{life}");
        world.assert_settled();
    }
}

#[test]
fn a_stranger_at_the_start_withholds_the_claim_and_is_told_once() {
    let mut world = World::new(Profile::Lan.timing());
    world.start(A);
    for _ in 0..200 {
        let stranger = Message { node: 0, incarnation: 99, sequence: 1, ..Message::default() };
        world.forge(A, 0, &stranger, KEY);
        world.run(Nanos::from_millis(50));
    }
    let withheld = |e: &Event| matches!(e, Event::TakeoverWithheld { reason: Withheld::Stranger, .. });
    assert_eq!((world.held(), world.told(A, withheld).1), ([0, 0], 1));
    world.run(Nanos::from_millis(4_000));
    assert_eq!(world.held(), [3, 0], "it is gone");
}

#[test]
fn without_carrier_from_the_start_nothing_is_claimed_before_a_detection_time_with_one() {
    let timing = Profile::Lan.timing();
    let mut world = World::new(timing);
    world.carriers(A, false);
    world.start(A);
    world.run(Nanos::from_millis(60_000));
    assert_eq!((world.held(), world.core(A).withheld()), ([0, 0], Some(Withheld::Isolated)));
    world.carriers(A, true);
    let back = world.now;
    world.run(Nanos::from_millis(1_000));
    let (at, times) = world.told(A, acquiring);
    assert_eq!(times, 2);
    assert!(at.is_some_and(|at| at >= back.after(timing.detection())));
}

#[test]
fn with_one_channel_never_heard_the_peers_death_on_the_other_is_noticed_in_time() {
    let timing = Profile::Lan.timing();
    let mut world = World::with([timing; 2], 2);
    world.cut(A, 1, true);
    world.cut(B, 1, true);
    world.start(A);
    world.start(B);
    world.run(Nanos::from_millis(1_000));
    assert_eq!(world.held(), [1, 2]);
    world.sides[B].power_off(world.now);
    world.run(timing.detection().after(timing.interval));
    assert_eq!(world.core(A).peer(), PeerState::Bad);
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_claim_says_why() {
    let mut world = World::lan();
    world.kill(B);
    world.run(Nanos::from_millis(1_000));
    let dead = |e: &Event| matches!(e, Event::GroupAcquiring { reason: Reason::PeerDead, .. });
    assert_eq!(world.told(A, dead).1, 1);
    let place = |which: fn(&Event) -> bool| world.sides[A].events.iter().position(|(_, e)| which(e));
    assert!(place(|e| matches!(e, Event::PeerDead { .. })) < place(acquiring), "the verdict before what follows");
}
