//! A file that is changed and loaded by one node after the other: names count, places do not.

use crate::{
    file::File,
    world::{A, B, World},
};
use heartbeat::{config::Profile, core::Event, types::Nanos};

const SECOND: Nanos = Nanos::from_millis(1_000);

fn file(cables: &[usize], groups: &[usize]) -> File {
    File { cables: cables.to_vec(), groups: groups.to_vec(), departed: 0 }
}

fn load(world: &mut World, side: usize, file: &File) {
    world.sides[side].file.clone_from(file);
    world.sides[side].reload(world.now, Nanos::from_millis(20));
    world.run(SECOND.times(3));
}

fn dead(event: &Event) -> bool {
    matches!(event, Event::PeerDead { .. })
}

fn moved(event: &Event) -> bool {
    matches!(event, Event::GroupAcquiring { .. } | Event::GroupReleasing { .. } | Event::DualOwnership { .. })
}

/// Nobody was found dead, and no group moved.
fn assert_calm(world: &World) {
    assert_eq!([A, B].map(|s| (world.told(s, dead).1, world.told(s, moved).1)), [(0, 0); 2]);
    assert_eq!((world.held(), world.watch.duals), ([1, 2], 0));
}

#[test]
fn groups_in_another_order_move_nothing_whoever_loads_them_first() {
    for first in [A, B] {
        let mut world = World::lan();
        for side in [first, 1 - first] {
            load(&mut world, side, &file(&[0, 1, 2], &[1, 0]));
            assert_calm(&world);
        }
        world.assert_settled();
    }
}

#[test]
fn channels_in_another_order_or_the_first_one_taken_out_find_nobody_dead() {
    for cables in [&[2, 0, 1][..], &[1, 2], &[2], &[2, 1]] {
        for first in [A, B] {
            let mut world = World::lan();
            for side in [first, 1 - first] {
                load(&mut world, side, &file(cables, &[0, 1]));
                assert_calm(&world);
            }
            world.assert_settled();
            world.assert_all_channels_good();
        }
    }
}

#[test]
fn a_group_inserted_before_the_others_moves_none_and_is_held_once_both_know_it() {
    for first in [A, B] {
        let mut world = World::lan();
        load(&mut world, first, &file(&[0, 1, 2], &[2, 0, 1]));
        assert_calm(&world);
        load(&mut world, 1 - first, &file(&[0, 1, 2], &[2, 0, 1]));
        world.run(SECOND.times(3));
        assert_eq!((world.held(), world.watch.duals), ([0b101, 0b010], 0));
        world.assert_settled();
    }
}

#[test]
fn a_group_taken_out_is_gone_where_it_was_held_and_the_others_stay() {
    for first in [A, B] {
        let mut world = World::lan();
        for side in [first, 1 - first] {
            load(&mut world, side, &file(&[0, 1, 2], &[1]));
            assert_eq!([A, B].map(|s| world.told(s, dead).1), [0, 0]);
        }
        assert_eq!((world.held(), world.sides[A].addresses, world.watch.duals), ([0, 2], 0, 0));
        world.assert_settled();
    }
}

#[test]
fn a_life_that_died_is_followed_by_one_with_another_order_that_holds_the_same() {
    for late in [false, true] {
        let mut world = World::lan();
        world.kill(A);
        world.sides[A].file = file(&[2, 1, 0], &[1, 0]);
        world.run(if late { SECOND } else { Nanos::from_millis(50) });
        world.start(A);
        world.run(SECOND.times(5));
        assert_eq!(world.held(), if late { [0, 3] } else { [1, 2] });
        assert_eq!(world.watch.duals, 0);
        world.assert_settled();
        world.assert_all_channels_good();
    }
}

#[test]
fn sixty_four_channels_and_groups_in_reversed_order_move_nothing() {
    let mut world = World::sized([Profile::Lan.timing(); 2], 64, 64);
    world.start(A);
    world.start(B);
    world.run(SECOND.times(3));
    world.assert_settled();
    let before = world.held();
    let reversed: Vec<usize> = (0..64).rev().collect();
    for side in [B, A] {
        load(&mut world, side, &file(&reversed, &reversed));
        assert_eq!((world.held(), world.watch.duals), (before, 0));
        assert_eq!([A, B].map(|s| world.told(s, dead).1), [0, 0]);
    }
    world.run(SECOND.times(20));
    world.assert_settled();
    world.assert_all_channels_good();
}
