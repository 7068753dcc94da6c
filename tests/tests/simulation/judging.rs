//! The distributed analysis and what follows from it, on a pair with two networks and a dedicated channel.

use crate::world::{A, B, World};
use heartbeat::{
    config::Profile,
    core::{BothFaulted, Event, Judging, Needs, Place, Reason, Verdict, Why, Withheld},
    types::{Link, Nanos},
};

const SECOND: Nanos = Nanos::from_millis(1_000);
const BOUND: Nanos = Nanos::from_millis(600);

pub fn judging() -> Judging {
    Judging {
        networks: 0b011,
        found: 0,
        weights: vec![100; 3],
        checks: Vec::new(),
        rise: Nanos(0),
        needs: vec![Needs { networks: 0b001, qos: 0 }, Needs { networks: 0b010, qos: 0 }],
        both_faulted: BothFaulted::Nothing,
        bound: BOUND,
        again: SECOND.times(10),
        hold: Nanos(0),
    }
}

fn world_with(judging: Judging) -> World {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].judging = judging.clone();
        world.start(side);
    }
    world.run(SECOND.times(5));
    world.assert_settled();
    for side in [A, B] {
        assert_eq!(
            world.core(side).verdict(),
            Some(Verdict::Nothing(Why::AllWell)),
            "the first analysis is made at once"
        );
        world.sides[side].events.clear();
    }
    world
}

fn world() -> World {
    world_with(judging())
}

/// A side's cable on a channel: both ways are cut, and its own carrier is gone.
fn unplug(world: &mut World, side: usize, channel: usize, unplugged: bool) {
    world.cut(A, channel, unplugged);
    world.cut(B, channel, unplugged);
    world.sides[side].links[channel] = Link::Present { index: 1, carrier: !unplugged, address: true };
}

fn judged(event: &Event) -> bool {
    matches!(event, Event::Judged { .. })
}

fn placed(world: &World, side: usize, at: u8) -> Option<Place> {
    world.sides[side].events.iter().rev().find_map(|(_, event)| match event {
        Event::FaultPlaced { channel, place, .. } if channel.0 == at => Some(*place),
        _ => None,
    })
}

#[test]
fn a_cable_of_one_side_fails_that_side_on_evidence_from_both_and_its_groups_move_by_release_first() {
    for side in [A, B] {
        let mut world = world();
        let cut_at = world.now;
        unplug(&mut world, side, 0, true);
        world.run(SECOND.times(5));
        let mut held = [3, 3];
        held[side] = 0;
        assert_eq!(world.held(), held);
        assert_eq!(world.core(side).verdict(), Some(Verdict::FailLocal));
        assert_eq!(world.core(1 - side).verdict(), Some(Verdict::FailRemote));
        assert_eq!(placed(&world, side, 0), Some(Place::LocalCable));
        assert_eq!(placed(&world, 1 - side, 0), Some(Place::RemotePortOrCable));
        let group = side as u64;
        let let_go = |e: &Event| matches!(e, Event::GroupReleased { group: g } if g.bit() == 1 << group);
        let claimed = |e: &Event| matches!(e, Event::GroupAcquiring { reason: Reason::PeerFailed, .. });
        let (let_go, claimed) = (world.told(side, let_go), world.told(1 - side, claimed));
        assert!(let_go.1 == 1 && claimed.1 == 1 && let_go.0 < claimed.0);
        // Noticed by the next look, decided within two intervals.
        let soon = Nanos::from_millis(50 + 200).after(Nanos::from_millis(50));
        assert!(claimed.0 < Some(cut_at.after(soon)), "{claimed:?} after {cut_at}");
        assert_eq!(world.watch.duals, 0);
        // The cable is back: it is told, and nothing moves back by itself.
        unplug(&mut world, side, 0, false);
        world.run(SECOND.times(5));
        assert_eq!(world.held(), held);
        assert_eq!(world.core(side).verdict(), Some(Verdict::Nothing(Why::AllWell)));
        assert_eq!(world.told(side, |e| matches!(e, Event::FaultGone { .. })).1, 1);
        let analyses = (world.told(A, judged).1, world.told(B, judged).1);
        assert_eq!(analyses, (3, 3), "a quick one and a full one for the fault, and one for its end");
    }
}

#[test]
fn a_network_that_failed_for_both_and_a_path_between_move_nothing() {
    for (answers, place, verdict) in
        [(0b110, Place::Network, Why::BothFaulted), (0b111, Place::PathBetween, Why::AllWell)]
    {
        let mut world = world();
        world.cut(A, 0, true);
        world.cut(B, 0, true);
        world.sides.iter_mut().for_each(|s| s.answers = answers);
        world.run(SECOND.times(5));
        assert_eq!(world.held(), [1, 2]);
        for side in [A, B] {
            assert_eq!(placed(&world, side, 0), Some(place));
            assert_eq!(world.core(side).verdict(), Some(Verdict::Nothing(verdict)));
        }
    }
}

#[test]
fn a_one_way_path_is_named_with_its_direction_and_moves_nothing() {
    let mut world = world();
    world.cut(A, 1, true);
    world.run(SECOND.times(5));
    assert_eq!((placed(&world, A, 1), placed(&world, B, 1)), (Some(Place::OneWayToPeer), Some(Place::OneWayToUs)));
    assert_eq!(world.held(), [1, 2]);
}

#[test]
fn a_channel_that_is_one_way_keeps_no_group_that_is_handed_over_from_being_served() {
    for (deaf, held) in [(A, [0, 3]), (B, [3, 0])] {
        for channel in 1..3 {
            // All that is said in one turn is heard in one turn: what the channels say of each other has to be put together.
            let mut world = world();
            world.cut(1 - deaf, channel, true);
            unplug(&mut world, deaf, 0, true);
            world.run(SECOND.times(60));
            assert_eq!(world.held(), held, "channel {channel} to {deaf}");
        }
    }
}

#[test]
fn a_dead_dedicated_channel_is_an_event_and_nothing_else() {
    let mut world = world();
    unplug(&mut world, A, 2, true);
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [1, 2]);
    assert_eq!(world.told(A, judged).1 + world.told(B, judged).1, 0);
    assert_eq!(world.told(B, |e| matches!(e, Event::ChannelBad { .. })).1, 1);
}

#[test]
fn faults_on_both_sides_move_nothing_or_each_group_or_all_to_the_lesser_faulted() {
    let policies = [(BothFaulted::Nothing, [1, 2]), (BothFaulted::Groups, [2, 1]), (BothFaulted::Lesser, [3, 0])];
    for (both_faulted, held) in policies {
        let mut world = world_with(Judging { both_faulted, weights: vec![100, 200, 0], ..judging() });
        world.sides[A].answers = 0b110;
        world.sides[B].answers = 0b101;
        for side in [A, B] {
            world.cut(side, 0, true);
            world.cut(side, 1, true);
        }
        world.run(SECOND.times(5));
        assert_eq!(world.held(), held);
    }
}

#[test]
fn too_little_qos_for_both_duties_moves_nothing() {
    let mut world =
        world_with(Judging { needs: [150, 100].map(|qos| Needs { networks: 0b011, qos }).to_vec(), ..judging() });
    unplug(&mut world, B, 1, true);
    world.run(SECOND.times(5));
    assert_eq!(world.core(A).verdict(), Some(Verdict::Nothing(Why::NotSufficient)));
    assert_eq!(world.held(), [1, 2]);
}

#[test]
fn many_channels_that_fail_at_once_cause_one_analysis() {
    let mut world = world();
    unplug(&mut world, B, 0, true);
    unplug(&mut world, B, 1, true);
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [3, 0]);
    assert!(world.told(A, judged).1 <= 3, "one at once, and carriers and silence may be noticed an analysis apart");
}

/// All messages of one turn have one time, and each echoes its own channel; a deaf channel's must not undo what the
/// others' said.
#[test]
fn a_handed_over_group_is_taken_although_the_last_channel_works_one_way_only() {
    let mut world = World::with([Profile::Lan.timing(); 2], 2);
    for side in [A, B] {
        world.sides[side].judging = Judging { networks: 0b11, weights: vec![100; 2], ..judging() };
        world.start(side);
    }
    world.run(SECOND.times(5));
    assert_eq!(world.held(), [1, 2]);
    world.cut(A, 1, true);
    world.sides[B].answers = 0b01;
    world.run(SECOND.times(60));
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_peer_that_falls_silent_in_an_analysis_ends_it_and_is_judged_by_its_silence() {
    let mut world = world();
    unplug(&mut world, B, 0, true);
    world.run(Nanos::from_millis(500));
    world.sides[B].power_off(world.now);
    world.run(SECOND.times(3));
    assert_eq!(world.held(), [3, 0]);
    assert_eq!(world.core(A).verdict(), None);
}

#[test]
fn an_analysis_that_the_other_side_never_finishes_is_given_up_and_asked_for_again() {
    let mut world = world();
    world.sides[B].judging.bound = SECOND.times(3_600);
    // No carrier is lost: that would need no analysis of B's that takes its time.
    world.cut(A, 0, true);
    world.cut(B, 0, true);
    world.sides[A].answers = 0b110;
    world.run(SECOND.times(30));
    assert_eq!(world.held(), [1, 2], "half of the facts move nothing");
    assert!(world.told(A, |e| matches!(e, Event::AnalysisGivenUp { done_there: false, .. })).1 >= 2);
}

#[test]
fn within_the_hold_time_a_verdict_moves_no_group_again_that_can_be_served_where_it_is() {
    let on = |networks| Needs { networks, ..Needs::default() };
    for (needs, held) in [([on(0b10), on(0b10)], [2, 1]), ([on(0b01), on(0b10)], [3, 0])] {
        let needs = needs.to_vec();
        let mut world = world_with(Judging { hold: SECOND.times(60), again: SECOND, needs, ..judging() });
        unplug(&mut world, A, 0, true);
        world.run(SECOND.times(3));
        assert_eq!(world.held(), [0, 3]);
        unplug(&mut world, A, 0, false);
        world.run(SECOND.times(10));
        unplug(&mut world, B, 0, true);
        world.run(SECOND.times(20));
        assert_eq!(world.held(), held, "group 0 just moved: it stays unless its network has certainly gone there");
    }
}

/// Own facts of both, a random moment apart: a switch that goes takes both controllers' carriers.
#[test]
fn a_switch_that_takes_both_carriers_moves_nothing_whoever_notices_first() {
    for apart in [0, 1, 20, 45] {
        for first in [A, B] {
            let mut world = world();
            carriers_go_apart_and_nothing_moves(&mut world, first, apart);
        }
    }
}

/// The carriers of network 0 go `apart` milliseconds apart, that of `first` first: its switch died, and nothing moves.
fn carriers_go_apart_and_nothing_moves(world: &mut World, first: usize, apart: u64) {
    unplug(world, first, 0, true);
    world.run(Nanos::from_millis(apart));
    unplug(world, 1 - first, 0, true);
    world.run(SECOND.times(30));
    assert_eq!(world.held(), [1, 2], "{apart} ms apart");
    let moved = |e: &Event| matches!(e, Event::GroupReleasing { .. });
    assert_eq!(world.told(A, moved).1 + world.told(B, moved).1, 0, "{apart} ms apart");
    assert_eq!(placed(world, A, 0), Some(Place::Network));
}

/// 1000BASE-T may take 350 ms to tell that a link is down, or 750: who answered before is asked once more.
#[test]
fn a_switch_that_dies_moves_nothing_though_one_side_sees_its_carrier_go_much_later() {
    for apart in [100, 400, 750] {
        for first in [A, B] {
            let mut world = world();
            world.run(SECOND.times(15));
            world.sides.iter_mut().for_each(|s| s.answers &= !1);
            for side in [A, B] {
                world.cut(side, 0, true);
            }
            carriers_go_apart_and_nothing_moves(&mut world, first, apart);
        }
    }
}

#[test]
fn an_own_address_or_an_interface_that_is_gone_is_a_fault_of_the_port_at_once() {
    for link in [Link::Absent, Link::Present { index: 1, carrier: true, address: false }] {
        let mut world = world();
        let lost_at = world.now;
        world.sides[A].links[0] = link;
        world.run(SECOND.times(3));
        assert_eq!(world.held(), [0, 3]);
        assert_eq!(placed(&world, A, 0), Some(Place::LocalPort));
        assert_eq!(placed(&world, B, 0), Some(Place::RemotePortOrCable));
        let judged = |e: &Event| matches!(e, Event::Judged { verdict: Verdict::FailLocal, .. });
        let first = world.sides[A].events.iter().find(|(_, event)| judged(event)).map(|(at, _)| *at);
        assert!(first < Some(lost_at.after(Nanos::from_millis(50 + 200))), "{first:?} after {lost_at}");
    }
}

#[test]
fn a_quick_analysis_overtakes_a_full_one_that_is_under_way_and_a_full_one_follows() {
    for other in [A, B] {
        let mut world = world();
        // Heartbeats on network 1 get lost: a full analysis begins.
        world.cut(A, 1, true);
        world.cut(B, 1, true);
        world.run(Nanos::from_millis(900));
        let cut_at = world.now;
        unplug(&mut world, other, 0, true);
        world.run(Nanos::from_millis(400));
        let mut held = [3, 3];
        held[other] = 0;
        assert_eq!(world.held(), held, "from {cut_at} on");
        world.run(SECOND.times(3));
        let last = world.sides[A].events.iter().rev().find_map(|(_, event)| match event {
            Event::Judged { analysis, .. } => Some(*analysis),
            _ => None,
        });
        assert!(last.is_some_and(|analysis| analysis % 2 == 0), "{last:?}");
        assert_eq!(world.held(), held);
    }
}

/// Nobody is configured to be asked: silence moves nothing unless somebody answered before, and to the other still does.
#[test]
fn a_network_on_which_nobody_but_the_peer_was_ever_seen_is_judged_by_own_facts() {
    let found = || Judging { found: 0b011, again: SECOND, ..judging() };
    for (answers, held) in [([0, 0], [1, 2]), ([0b011, 0], [1, 2]), ([0b011, 0b011], [0, 3])] {
        let mut world = World::new(Profile::Lan.timing());
        for side in [A, B] {
            world.sides[side].judging = found();
            world.sides[side].answers = answers[side];
            world.start(side);
        }
        world.run(SECOND.times(10));
        world.assert_settled();
        // a's port on network 0 forwards nothing any more.
        world.cut(A, 0, true);
        world.cut(B, 0, true);
        world.sides[A].answers &= !1;
        world.run(SECOND.times(10));
        assert_eq!(world.held(), held, "{answers:?}");
        // A lost carrier is a fault whoever was seen.
        unplug(&mut world, A, 0, true);
        world.run(SECOND.times(5));
        assert_eq!(world.held(), [0, 3], "{answers:?}");
    }
}

#[test]
fn a_target_that_vanishes_while_heartbeats_pass_neither_moves_nor_isolates() {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].judging = Judging { found: 0b011, again: SECOND, ..judging() };
        world.sides[side].guards.by_probe = true;
        world.start(side);
    }
    world.run(SECOND.times(10));
    world.sides.iter_mut().for_each(|side| side.answers = 0);
    world.run(SECOND.times(10));
    assert_eq!(world.held(), [1, 2]);
    let now = world.now;
    world.sides[A].power_off(now);
    world.run(SECOND.times(3));
    assert_eq!(world.held(), [0, 3]);
}

#[test]
fn a_target_that_vanishes_with_the_peer_is_waited_for_35_s_where_others_are_heard_and_else_for_ever() {
    for others in [0b001, 0] {
        let mut world = World::new(Profile::Lan.timing());
        for side in [A, B] {
            world.sides[side].judging = Judging { found: 0b011, again: SECOND, ..judging() };
            world.sides[side].guards.by_probe = true;
            world.sides[side].others = others;
            world.start(side);
        }
        world.run(SECOND.times(10));
        let died_at = world.now;
        world.sides[A].power_off(died_at);
        world.sides[B].answers = 0;
        world.run(SECOND.times(3_000));
        let withheld = |e: &Event| matches!(e, Event::TakeoverWithheld { reason: Withheld::Isolated, .. });
        assert_eq!(world.told(B, withheld).1, 1);
        let (claimed, _) = world.told(B, |e| matches!(e, Event::GroupAcquiring { reason: Reason::PeerDead, .. }));
        let waited = claimed.map(|at| at.since(died_at));
        if others == 0 {
            assert_eq!((waited, world.held()), (None, [0, 2]));
            assert_eq!(world.core(B).withheld(), Some(Withheld::Isolated));
            // Somebody is heard at last.
            world.sides[B].others = 0b010;
            world.run(SECOND.times(2));
        } else {
            assert!(waited >= Some(SECOND.times(35)) && waited <= Some(SECOND.times(37)), "{waited:?}");
        }
        assert_eq!(world.held(), [0, 3]);
    }
}

/// Cables, networks, directions, stalls, crashes and loss at random; `World::check` after every step.
#[test]
fn whatever_fails_no_group_has_two_holders_while_a_channel_works() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let only = number("HEARTBEAT_SEED");
    let seeds = only.map_or(0..number("HEARTBEAT_SEEDS").unwrap_or(60), |seed| seed..seed + 1);
    for seed in seeds {
        println!("replay with HEARTBEAT_SEED={seed}");
        let mut world = world();
        world.trace = only.is_some();
        world.random = crate::world::Random::new(seed);
        for _ in 0..100 {
            let (side, channel) = (world.random.below(2) as usize, world.random.below(3) as usize);
            let on = world.random.below(2) == 0;
            match world.random.below(8) {
                0 => world.sides[side].links[channel] = Link::Present { index: 1, carrier: on, address: true },
                1 => world.sides[side].answers ^= 1 << channel,
                2 => world.cut(side, channel, on),
                3 => {
                    let span = Nanos::from_millis(world.random.below(900));
                    world.stall(side, span);
                }
                4 if world.sides[side].core.is_some() => world.kill(side),
                4 | 5 if world.sides[side].core.is_none() => world.start(side),
                6 => world.paths[side][channel].lost = if on { 0 } else { world.random.below(1_000) },
                _ => world.cut_all(false),
            }
            let span = Nanos::from_millis(world.random.below(1_500));
            world.run(span);
        }
    }
}
