//! An agent that dies or stands still while its host lives: its kernel says so, serves on, and hands over without a moment in which
//! both answer.

use crate::world::{A, Assured, B, Random, World};
use heartbeat::{
    config::Profile,
    core::{Event, Exclusivity, Reason, Safe, Withheld},
    types::Nanos,
};

const SECOND: Nanos = Nanos::from_millis(1_000);

/// A pair whose hosts have kernels that stand in for their agents; a peer waits for so long.
fn guarded(profile: Profile, grace: Nanos) -> World {
    drifting(profile, grace, [0; 2])
}

/// The same, their clocks faster than the world's by so many thousandths.
fn drifting(profile: Profile, grace: Nanos, drifts: [i64; 2]) -> World {
    let mut world = World::new(profile.timing());
    for (side, drift) in world.sides.iter_mut().zip(drifts) {
        (side.host.guards, side.restart_grace, side.host.drift) = (true, grace, drift);
    }
    world.start(A);
    world.start(B);
    world.run(profile.timing().detection().times(3));
    world.assert_settled();
    world.sides.iter_mut().for_each(|s| s.events.clear());
    world
}

/// Runs in steps of a hundredth of an interval until b holds everything: when a was silent, when b answered; never both.
fn handed_over(world: &mut World, within: Nanos) -> [Nanos; 2] {
    let (began, step) = (world.now, Nanos(world.sides[A].timing.interval.0 / 100));
    let (mut silent, mut answers) = (None, None);
    while answers.is_none() {
        assert!(world.now.since(began) <= within, "it takes too long");
        world.run(step);
        let [a, b] = [A, B].map(|s| world.sides[s].answering(world.now) & 1);
        assert_eq!(a & b, 0, "both answer");
        silent = silent.or((a == 0).then_some(world.now));
        answers = answers.or((b != 0).then_some(world.now));
    }
    [silent, answers].map(|at| at.expect("it happened").since(began))
}

#[test]
fn without_a_grace_the_peer_of_an_agent_that_died_serves_within_two_intervals_and_never_do_both_answer() {
    for profile in [Profile::Lan, Profile::Fast, Profile::Ultra] {
        for part in 0..20 {
            let interval = profile.timing().interval;
            let mut world = guarded(profile, Nanos(0));
            world.latency = Nanos(interval.0 / 20);
            world.run(Nanos(interval.0 * part / 20));
            world.kill(A);
            let [silent, answers] = handed_over(&mut world, interval.times(2));
            assert!(silent <= answers, "{profile}: {silent} {answers}");
            let closed = |e: &Event| {
                matches!(e, Event::GroupAcquiring { reason: Reason::PeerDead, safe: Some(Safe::Closed), .. })
            };
            assert_eq!(world.told(B, closed).1, 1);
            assert_eq!(world.told(B, |e| matches!(e, Event::PeerDied { .. })).1, 1);
        }
    }
}

#[test]
fn an_agent_that_is_started_again_in_time_changes_nothing_and_one_that_is_not_is_waited_for_no_longer() {
    for profile in [Profile::Lan, Profile::Fast, Profile::Ultra] {
        let mut world = guarded(profile, SECOND.times(2));
        world.kill(A);
        world.run(SECOND);
        assert_eq!(world.sides[A].answering(world.now), 1, "its kernel serves");
        let waits = |e: &Event| matches!(e, Event::TakeoverWithheld { reason: Withheld::PeerDied, .. });
        assert_eq!(world.told(B, waits).1, 1);
        world.start(A);
        world.run(SECOND.times(4));
        assert_eq!(world.held(), [1, 2], "{profile}");
        let moves = |e: &Event| matches!(e, Event::GroupAcquiring { .. } | Event::GroupReleasing { .. });
        assert_eq!([A, B].map(|side| world.told(side, moves).1), [0, 0], "{profile}");

        world.kill(A);
        let [_, answers] = handed_over(&mut world, SECOND.times(3));
        assert!(answers >= Nanos::from_millis(1_900), "{profile}: {answers}");
        world.start(A);
        world.run(SECOND.times(4));
        world.assert_settled();
    }
}

#[test]
fn an_agent_that_stands_still_is_silent_when_the_peer_answers_and_yields_when_it_wakes() {
    for profile in [Profile::Lan, Profile::Fast] {
        let interval = profile.timing().interval;
        let mut world = guarded(profile, SECOND);
        world.stall(A, interval.times(40));
        handed_over(&mut world, interval.times(6));
        let until = world.now.after(interval.times(60));
        while world.now < until {
            world.run(Nanos(interval.0 / 50));
            let [a, b] = [A, B].map(|side| world.sides[side].answering(world.now) & 1);
            assert_eq!(a & b, 0, "both answer");
        }
        world.assert_settled();
    }
}

/// Dead and cut off, or standing still and cut off: nothing is heard of it, and its lease ends it before the peer serves.
#[test]
fn what_is_cut_off_and_cannot_decide_is_silent_before_the_peer_answers() {
    let mut random = Random::new(3);
    for profile in Profile::ALL {
        for dies in [true, false] {
            for _ in 0..20 {
                let interval = profile.timing().interval;
                let drifts = [0; 2].map(|_: i32| random.below(21) as i64 - 10);
                let mut world = drifting(profile, SECOND.times(100), drifts);
                world.latency = Nanos(random.below(interval.0 / 20));
                world.lateness = Nanos(random.below(interval.0 / 20));
                world.run(Nanos(random.below(interval.0 * 20)));
                if dies {
                    world.kill(A);
                } else {
                    world.stall(A, SECOND.times(1_000));
                }
                world.cut_all(true);
                let longest = profile.timing().detection().times(3);
                let [silent, answers] = handed_over(&mut world, longest);
                assert!(silent < answers, "{profile}: {silent} {answers}");
            }
        }
    }
}

/// A controller that is cut off lets go, and its peer takes what must not be held twice once it has.
#[test]
fn cut_off_a_controller_lets_go_and_its_peer_takes_over_once_it_must_have() {
    for profile in [Profile::Lan, Profile::Fast] {
        let mut world = World::new(profile.timing());
        world.assured = Assured::Promise;
        for side in &mut world.sides {
            side.host.guards = true;
            side.judging.networks = 0b111;
            side.guards.by_probe = true;
            side.hooks.has = [0b11; 4];
            side.hook_takes = Nanos::from_millis(300);
            side.exclusivity = Exclusivity {
                groups: 0b11,
                release_isolated: true,
                release_within: SECOND.times(3),
                ..Exclusivity::default()
            };
        }
        world.start(A);
        world.start(B);
        world.run(SECOND.times(5));
        assert_eq!(world.held(), [1, 2]);
        world.sides[A].answers = 0;
        world.cut_all(true);
        world.run(SECOND.times(2));
        assert_eq!((world.held(), world.sides[A].external), ([0, 2], 0), "{profile}: it lets go, hooks included");
        world.run(SECOND.times(4));
        assert_eq!(world.held(), [0, 3], "{profile}");
        let promised = |e: &Event| matches!(e, Event::GroupAcquiring { safe: Some(Safe::Promised), .. });
        assert_eq!(world.told(B, promised).1, 1);
        world.sides[A].answers = u64::MAX;
        world.cut_all(false);
        world.run(SECOND.times(5));
        world.assert_settled();
    }
}

/// Both took over while nothing passed between them; then one agent dies, or stands still, before it hears the other.
#[test]
fn of_two_that_hold_a_group_the_kernel_of_the_one_that_cannot_decide_yields_to_the_other_also_where_the_terms_are_equal()
 {
    for (dies, restarts) in [(true, 0), (false, 0), (true, 1), (true, 2)] {
        let mut world = guarded(Profile::Lan, SECOND.times(100));
        world.sides.iter_mut().for_each(|side| side.guards.stalled_grace = SECOND.times(100));
        world.cut_all(true);
        world.run(SECOND.times(5));
        for _ in 0..restarts {
            world.kill(A);
            world.run(SECOND);
            world.start(A);
            world.run(SECOND.times(5));
        }
        assert_eq!(world.held(), [0b11; 2]);
        if dies {
            world.kill(A);
        } else {
            world.stall(A, SECOND.times(4));
            world.run(SECOND);
        }
        world.cut_all(false);
        world.run(world.sides[A].timing.interval.times(4));
        let answering = [A, B].map(|side| world.sides[side].answering(world.now));
        assert_eq!(answering, [0, 0b11], "dies: {dies}, restarts: {restarts}");
        if dies {
            world.start(A);
        }
        world.run(SECOND.times(10));
        world.assert_settled();
    }
}
