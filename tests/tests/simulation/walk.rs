//! A random walk over all faults at once.

use crate::{
    faults,
    side::HOOK_TIMEOUT,
    world::{A, Assured, B, Random, World},
};
use heartbeat::{
    config::Profile,
    core::{BothFaulted, Exclusivity, Guards, HookedGroups, Judging, Needs, OperatorOrder},
    types::Nanos,
};
use heartbeat_tests::scenario::show;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

/// The search takes so long; `HEARTBEAT_SECONDS` gives another time, `HEARTBEAT_SEEDS` a number of seeds, `HEARTBEAT_BASE` the
/// first of them, `HEARTBEAT_SEED` a single one, with [`switching`] where `HEARTBEAT_SWITCHES` is 1.
const SECONDS: u64 = if cfg!(debug_assertions) { 5 } else { 30 };
/// So many are walked each time, the same ones.
const REGRESSION: u64 = if cfg!(debug_assertions) { 100 } else { 2_000 };
/// In so many, each turn is made some more times before it is due.
const EARLY: u64 = if cfg!(debug_assertions) { 20 } else { 200 };
const FAULTS: u64 = 100;
const SECOND: Nanos = Nanos::from_millis(1_000);

/// Prints how to repeat a walk that fails.
struct Named {
    seed: u64,
    switches: bool,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat it: HEARTBEAT_SEED={} HEARTBEAT_SWITCHES={} cargo test --release -p heartbeat-tests --test simulation a_random",
                self.seed,
                u8::from(self.switches)
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn a_random_walk_over_all_faults_never_has_two_holders_while_a_channel_works_and_always_settles() {
    if let Some(seed) = number("HEARTBEAT_SEED") {
        return walk(seed, |world| {
            if number("HEARTBEAT_SWITCHES") == Some(1) {
                switching(world);
            }
            world.trace = true;
        });
    }
    let seeds = number("HEARTBEAT_SEEDS");
    let span = Duration::from_secs(number("HEARTBEAT_SECONDS").unwrap_or(SECONDS));
    let fresh = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() << 20);
    let (base, began) = (number("HEARTBEAT_BASE").unwrap_or_else(fresh), Instant::now());
    walk_all(base, searched, |walked| seeds.map_or_else(|| began.elapsed() < span, |seeds| walked < seeds));
}

#[test]
fn walks_over_all_faults_that_are_the_same_each_time() {
    walk_all(0, |_, _| {}, |walked| walked < REGRESSION);
    walk_all(0, |_, world| switching(world), |walked| walked < REGRESSION / 4);
}

/// How a world is searched: with all that there is, or with what there was when most of the seeds below failed.
fn searched(seed: u64, world: &mut World) {
    if seed % 2 == 1 {
        switching(world);
    }
}

/// XDP comes and goes between two lives of an agent, some of which end before they did anything.
fn switching(world: &mut World) {
    world.sides.iter_mut().for_each(|side| side.switches = true);
}

/// Walks one seed after the other, each with this change to the world, for as long as `goes_on` says so of their number.
fn walk_all(base: u64, change: impl Fn(u64, &mut World) + Sync, goes_on: impl Fn(u64) -> bool + Sync) {
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let walkers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..walkers {
            scope.spawn(|| {
                loop {
                    let walked = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(walked) {
                        return;
                    }
                    walk(base + walked, |world| change(base + walked, world));
                }
            });
        }
    });
    let walked = next.into_inner().saturating_sub(walkers as u64);
    let rate = walked as f64 / began.elapsed().as_secs_f64();
    show(&format!("{walked} seeds from {base}, {} faults, {rate:.0} seeds/s, no violation", walked * FAULTS));
}

#[test]
fn walks_that_once_failed_do_not_any_more() {
    // Maintenance ended, and both wished for a group that nobody held, for ever.
    walk(53_897, |_| {});
    // An agent that should have let go of something began another life, and had all the time once more.
    walk(1_882_941_791_676_106, |_| {});
    walk(1_882_941_791_705_993, |_| {});
    // Of one that fell silent, what it had taken, and could not be let go of here, was served again at once.
    walk(1_882_943_315_336_750, |_| {});
    // A message that was held back made a pairing, of which nothing was learnt.
    walk(1_882_947_426_794_715, |_| {});
    // Each had been played a recording of the other, and took what answered to it for old.
    walk(1_882_994_003_412_233, |_| {});
    // One that found us dead was heard saying so just before it would have been silent, and was given a detection time twice.
    walk(1_883_014_349_985_115, |_| {});
    // One agent died that had gone on using what the arbiter granted it, and its watchdog's time was counted from long before.
    walk(1_883_020_924_661_391, |_| {});
    // One that was to be granted what it held began another life, and asked for as long once more.
    walk(1_883_022_027_732_918, |_| {});
    // An agent died before it had learnt the names of the peer's file: its kernel did not know what was claimed, and served on.
    walk(1_883_023_830_197_045, |_| {});
    // One that could not let go of an address when it ended was taken for one that had nothing: its watchdog was thought stopped.
    walk(1_883_029_949_648_256, |_| {});
    // Hooks that had begun when they took long were measured by what they took since.
    walk(1_883_029_949_668_337, |_| {});
}

/// A time that some part of the core did not tell, and that so would be seen only with the next heartbeat, shows here.
#[test]
fn between_two_turns_nothing_follows_from_the_time_alone() {
    for seed in 0..EARLY {
        walk(seed, |world| world.sides.iter_mut().for_each(|side| side.looks_early = true));
    }
}

/// Walks one seed, with this change to the world.
fn walk(seed: u64, change: impl FnOnce(&mut World)) {
    let mut random = Random::new(seed + 1);
    let profile = [Profile::Lan, Profile::Lan, Profile::Fast, Profile::Classic][random.below(4) as usize];
    let timing = profile.timing();
    let mut world = World::with([timing; 2], 1 + random.below(3) as usize);
    world.record = true;
    change(&mut world);
    let named = Named { seed, switches: world.sides[A].switches };
    world.random = Random::new(seed + 2);
    world.latency = Nanos(random.below(timing.interval.0 / 10));
    // Without jitter, all that a peer says in one turn is heard in one turn.
    let most = if random.below(3) == 0 { 1 } else { timing.interval.0 / 10 };
    world.jitter = Nanos(random.below(most));
    world.lateness = Nanos(random.below(most));
    random_judging(&mut world, &mut random);
    random_hooks(&mut world, &mut random);
    random_hosts(&mut world, &mut random);
    random_exclusivity(&mut world, &mut random);
    for side in [A, B] {
        if side == A || random.below(2) == 0 {
            faults::start(&mut world, &mut random, side);
        }
    }
    for _ in 0..FAULTS {
        faults::random(&mut world, &mut random);
        let longest = if random.below(8) == 0 { 40 } else { 5 };
        world.run(Nanos(random.below(timing.interval.0 * longest)));
    }
    if random.below(4) == 0 {
        faults::mend_partly(&mut world, &mut random);
        world.run(world.unheld_bound().after(timing.interval.times(40)));
    }
    faults::mend(&mut world);
    for side in [A, B] {
        let _ = world.order(side, OperatorOrder::Maintenance(false));
        // Of one whose host was just fenced, too.
        world.sides[side].maintenance = false;
        (0..2).for_each(|check| world.check_health(side, check, true));
    }
    world.run(Nanos::from_millis(20_000).after(world.patience()).times(2).after(timing.interval.times(40)));
    // What could not be let go of is tried again, less and less often.
    for _ in 0..40 {
        if [A, B].iter().all(|&s| world.sides[s].owned() == world.held()[s]) {
            break;
        }
        world.run(Nanos::from_millis(10_000));
    }
    world.assert_settled();
    world.assert_all_channels_good();
    std::mem::forget(named);
}

/// Hooks of some groups, or of none.
fn random_hooks(world: &mut World, random: &mut Random) {
    if random.below(2) == 0 {
        return;
    }
    let all = random.below(2) == 0;
    let mut some = || if all { 7 } else { random.below(8) };
    let hooks = HookedGroups { has: [some(), some(), some(), some()], force: some() & if all { 0 } else { 7 } };
    let takes = Nanos(random.below(world.sides[A].timing.interval.0 * 3));
    for side in &mut world.sides {
        (side.hooks, side.hook_takes) = (hooks, takes);
    }
}

/// Kernels that stand in for their agents, or none; clocks that drift.
fn random_hosts(world: &mut World, random: &mut Random) {
    let guards = random.below(4) > 0;
    let interval = world.sides[A].timing.interval;
    let grace = Nanos(random.below(2) * random.below(interval.0 * 40));
    for side in &mut world.sides {
        side.host.guards = guards;
        side.host.drift = random.below(21) as i64 - 10;
        side.restart_grace = grace;
        side.exclusivity.release_isolated = random.below(2) == 0;
        side.exclusivity.release_within = HOOK_TIMEOUT.times(5);
    }
}

/// Groups that must never be held twice, by one of the ways in which that is made sure.
fn random_exclusivity(world: &mut World, random: &mut Random) {
    let (assured, fences) = match random.below(7) {
        0 => (Assured::Fence, true),
        1 | 2 => (Assured::Arbiter, false),
        3 => (Assured::Arbiter, true),
        4 => (Assured::Promise, false),
        _ => return,
    };
    world.assured = assured;
    world.fence_kills = fences;
    world.arbiter_ttl = Nanos::from_millis(500 + random.below(5_000));
    let all = random.below(2) == 0;
    let groups = if all { 7 } else { random.below(8) };
    let longest = [world.sides[A].timing.interval.times(40), HOOK_TIMEOUT.times(5)][random.below(2) as usize];
    let within = Nanos(random.below(longest.0));
    let watchdog = world.sides[A].timing.interval.times(4).after(Nanos(random.below(SECOND.0 * 3)));
    for side in &mut world.sides {
        side.exclusivity = Exclusivity {
            groups,
            arbiter: (assured == Assured::Arbiter).then_some(Nanos(0)),
            grant: world.arbiter_ttl,
            release_isolated: assured == Assured::Promise || side.exclusivity.release_isolated,
            release_within: within,
            watchdog: if assured == Assured::Fence { Nanos(0) } else { watchdog },
        };
        side.guards.fence = fences;
        if assured == Assured::Promise {
            // Whether its networks work is surely found out.
            side.judging.found = 0;
            side.judging.networks = u64::MAX >> (64 - side.links.len());
            side.guards.by_probe = true;
        }
    }
}

/// Networks, checks, guards and failback, or none of them.
fn random_judging(world: &mut World, random: &mut Random) {
    let channels = world.paths[A].len();
    let interval = world.sides[A].timing.interval;
    let mut some = |span: u64| Nanos(random.below(interval.0 * span));
    let (bound, again, rise, hold, grace) = (some(10), some(100).after(interval), some(50), some(100), some(20));
    let after = some(300);
    let judging = Judging {
        networks: random.below(1 << channels),
        found: random.below(1 << channels),
        weights: vec![100; channels],
        checks: vec![50; random.below(3) as usize],
        needs: vec![Needs { networks: random.below(1 << channels), qos: random.below(100) as u32 }; 3],
        both_faulted: [BothFaulted::Nothing, BothFaulted::Lesser, BothFaulted::Groups][random.below(3) as usize],
        bound,
        again,
        rise,
        hold,
    };
    let by_probe = judging.networks != 0 && random.below(2) == 0;
    let guards = Guards { by_probe, fence: random.below(4) == 0, stalled_grace: grace, ..Guards::default() };
    let failback = (random.below(3) == 0).then_some(after);
    for side in &mut world.sides {
        (side.judging, side.guards, side.failback) = (judging.clone(), guards, vec![failback; 3]);
    }
}
