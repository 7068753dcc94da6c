//! The hooks of groups: their order, what their failing leads to, and what an earlier life left.

use crate::world::{A, B, World};
use heartbeat::{
    config::Profile,
    core::{Event, Hook, HookedGroups, OperatorOrder, Reason},
    types::{GroupIndex, Nanos},
};

const SECOND: Nanos = Nanos::from_millis(1_000);
const G0: GroupIndex = GroupIndex(0);
const ALL: HookedGroups = HookedGroups { has: [3; 4], force: 0 };

/// Both groups have all hooks, on both sides; a holds group 0, b group 1.
fn hooked(hooks: HookedGroups) -> World {
    let mut world = World::new(Profile::Lan.timing());
    for side in [A, B] {
        world.sides[side].hooks = hooks;
        world.start(side);
    }
    world.run(SECOND.times(5));
    world.assert_settled();
    assert_eq!(world.held(), [1, 2]);
    forget(&mut world);
    world
}

fn forget(world: &mut World) {
    for side in &mut world.sides {
        side.hooks_began.clear();
        side.events.clear();
        side.announced.clear();
    }
}

fn began(world: &World, side: usize) -> Vec<(usize, Hook)> {
    world.sides[side].hooks_began.iter().map(|(group, hook, _)| (*group, *hook)).collect()
}

fn fail(world: &mut World, side: usize, hook: Hook, fails: bool) {
    world.sides[side].hook_fails[hook as usize] = fails;
}

fn kept(event: &Event) -> bool {
    matches!(event, Event::GroupKept { .. })
}

fn stuck(event: &Event) -> bool {
    matches!(event, Event::GroupStuck { .. })
}

#[test]
fn a_hand_over_runs_all_four_in_order_and_never_has_the_storage_on_both() {
    let mut world = hooked(ALL);
    world.sides.iter_mut().for_each(|side| side.hook_takes = Nanos::from_millis(300));
    assert_eq!(world.order(B, OperatorOrder::Takeover(G0)), Ok(()));
    for _ in 0..300 {
        world.run(Nanos::from_millis(10));
        assert_eq!(world.sides[A].external & world.sides[B].external, 0);
    }
    assert_eq!(began(&world, A), [(0, Hook::OnReleasing), (0, Hook::OnRelease)]);
    assert_eq!(began(&world, B), [(0, Hook::OnAcquire), (0, Hook::OnAcquired)]);
    assert_eq!(world.sides[B].hooks_began[0].2, Reason::Ordered);
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
    assert_eq!([A, B].map(|side| world.sides[side].external), [0, 3]);
}

#[test]
fn clients_are_served_while_on_acquired_runs_and_it_ends_before_the_group_goes() {
    let mut world = hooked(ALL);
    world.sides[B].hook_takes = SECOND;
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(Nanos::from_millis(1_100));
    assert_eq!((world.held(), world.sides[B].addresses, world.core(B).busy()), ([0, 3], 3, 1));
    world.order(A, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND.times(5));
    let expected = [Hook::OnAcquire, Hook::OnAcquired, Hook::OnReleasing, Hook::OnRelease].map(|hook| (0, hook));
    assert_eq!((began(&world, B), world.held()), (expected.to_vec(), [1, 2]));
}

#[test]
fn what_runs_beside_the_addresses_changes_nothing_by_failing() {
    let mut world = hooked(ALL);
    for side in [A, B] {
        fail(&mut world, side, Hook::OnAcquired, true);
        fail(&mut world, side, Hook::OnReleasing, true);
    }
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND);
    assert_eq!((world.held(), world.watch.duals), ([0, 3], 0));
}

#[test]
fn an_on_acquire_that_fails_is_undone_and_the_group_is_tried_elsewhere() {
    let mut world = hooked(ALL);
    fail(&mut world, B, Hook::OnAcquire, true);
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND);
    assert_eq!(began(&world, B)[..2], [(0, Hook::OnAcquire), (0, Hook::OnRelease)]);
    assert_eq!((world.held(), world.sides[B].external), ([1, 2], 2));
}

#[test]
fn an_undo_that_fails_leaves_the_group_to_nobody_until_it_succeeds() {
    let mut world = hooked(ALL);
    fail(&mut world, B, Hook::OnAcquire, true);
    fail(&mut world, B, Hook::OnRelease, true);
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND.times(60));
    assert_eq!(world.held(), [0, 2], "b may have its storage: a must not");
    assert_eq!((world.told(B, stuck).1, world.sides[B].external, world.sides[A].external), (1, 3, 0));
    let tried = began(&world, B).iter().filter(|(_, hook)| *hook == Hook::OnRelease).count();
    assert_eq!(tried, 3, "at once, and after 10 and 20 s more");
    fail(&mut world, B, Hook::OnRelease, false);
    world.run(SECOND.times(41));
    assert_eq!((world.held(), world.sides[B].external), ([1, 2], 2));
}

#[test]
fn with_force_what_could_not_be_undone_counts_as_released() {
    let mut world = hooked(HookedGroups { force: 3, ..ALL });
    fail(&mut world, B, Hook::OnAcquire, true);
    fail(&mut world, B, Hook::OnRelease, true);
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND);
    assert_eq!((world.held(), world.told(B, stuck).1), ([1, 2], 0));
}

#[test]
fn an_on_release_that_fails_keeps_the_group_here_and_is_tried_again_while_the_peer_wishes() {
    let mut world = hooked(ALL);
    fail(&mut world, A, Hook::OnRelease, true);
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND);
    assert_eq!((world.held(), world.sides[A].addresses, world.told(A, kept).1), ([1, 2], 1, 1));
    let all = [Hook::OnReleasing, Hook::OnRelease, Hook::OnAcquired].map(|hook| (0, hook));
    assert_eq!(began(&world, A), all, "it goes on, so what on_releasing ended begins again");
    fail(&mut world, A, Hook::OnRelease, false);
    world.run(SECOND.times(8));
    assert_eq!(world.held(), [1, 2], "not yet");
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND.times(2));
    assert_eq!(world.held(), [0, 3]);
}

#[test]
fn addresses_that_cannot_be_removed_keep_the_group_here() {
    let mut world = hooked(HookedGroups::default());
    world.sides[A].release_fails = true;
    world.order(B, OperatorOrder::Takeover(G0)).expect("it can");
    world.run(SECOND);
    assert_eq!((world.held(), world.watch.duals, world.told(A, kept).1), ([1, 2], 0, 1));
}

#[test]
fn a_stop_that_cannot_let_go_tries_once_more_then_says_what_it_kept() {
    for hook_fails in [true, false] {
        let mut world = hooked(ALL);
        fail(&mut world, A, Hook::OnRelease, hook_fails);
        world.sides[A].release_fails = !hook_fails;
        world.stop(A);
        world.run(SECOND);
        assert!(world.sides[A].core.is_none(), "it ends");
        assert_eq!((world.held(), world.sides[A].external), ([0, 2], 1));
        world.run(SECOND.times(30));
        assert_eq!(world.held(), [0, 2]);
    }
}

#[test]
fn after_a_kill_what_the_peer_took_is_let_go_of_here_hooks_included() {
    let mut world = hooked(ALL);
    world.kill(A);
    world.run(SECOND);
    assert_eq!((world.held(), world.sides[A].external), ([0, 3], 1), "nobody could end it there");
    forget(&mut world);
    world.start(A);
    world.run(SECOND.times(3));
    assert_eq!(began(&world, A), [(0, Hook::OnReleasing), (0, Hook::OnRelease)]);
    assert_eq!((world.held(), world.sides[A].external, world.sides[B].external), ([0, 3], 0, 3));
    world.assert_settled();
}

#[test]
fn what_a_killed_life_left_half_way_is_let_go_of_before_anything_is_claimed() {
    let mut world = World::new(Profile::Lan.timing());
    world.sides[A].hooks = ALL;
    world.sides[A].hook_takes = SECOND;
    world.start(A);
    while world.sides[A].hooks_began.is_empty() {
        world.run(Nanos::from_millis(10));
    }
    world.kill(A);
    world.run(Nanos::from_millis(50));
    forget(&mut world);
    world.start(A);
    world.run(SECOND.times(20));
    let leftover = |(_, _, reason): &&(usize, Hook, Reason)| *reason == Reason::Leftover;
    let began = &world.sides[A].hooks_began;
    let left = began.iter().take_while(leftover).count();
    assert!(left > 0 && began.iter().filter(leftover).count() == left, "{began:?}");
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_leftover_that_cannot_be_let_go_of_is_told_and_holds_up_nothing_else() {
    let mut world = hooked(ALL);
    fail(&mut world, A, Hook::OnRelease, true);
    world.kill(A);
    world.sides[B].power_off(world.now);
    world.run(SECOND);
    forget(&mut world);
    world.start(A);
    world.run(SECOND.times(8));
    assert_eq!((world.held(), world.told(A, stuck).1), ([2, 0], 1), "the peer's group is taken");
    fail(&mut world, A, Hook::OnRelease, false);
    world.run(SECOND.times(30));
    assert_eq!(world.held(), [3, 0]);
}

#[test]
fn a_restart_within_the_bound_runs_no_hook() {
    let mut world = hooked(ALL);
    world.kill(A);
    world.run(Nanos::from_millis(50));
    world.start(A);
    world.run(SECOND.times(3));
    assert_eq!((began(&world, A), world.held()), (vec![], [1, 2]));
}

#[test]
fn who_keeps_what_both_held_announces_it_and_runs_on_acquired_again() {
    let mut world = hooked(ALL);
    world.cut_all(true);
    world.run(SECOND);
    assert_eq!(world.held(), [3, 3]);
    forget(&mut world);
    world.cut_all(false);
    world.run(SECOND.times(3));
    world.assert_settled();
    for side in [A, B] {
        let held = world.held()[side];
        for group in (0..2).filter(|group| held >> group & 1 == 1) {
            let again = world.sides[side].hooks_began.iter().filter(|(g, ..)| *g == group);
            assert_eq!(again.map(|(_, hook, _)| *hook).collect::<Vec<_>>(), [Hook::OnAcquired]);
            let told = world.sides[side].announced.iter().filter(|g| **g == group).count();
            assert_eq!(told, 2, "when it is found, and when the other one is gone");
        }
    }
}
