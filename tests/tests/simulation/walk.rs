//! A random walk over all faults at once.

use crate::world::{A, B, Random, World};
use heartbeat::{
    config::Profile,
    core::{BothFaulted, GroupIndex, Guards, Judging, Link, Nanos, OperatorOrder},
};
use heartbeat_tests::trials::show;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A plain run takes so long; `HEARTBEAT_SECONDS` gives another time, `HEARTBEAT_SEEDS` a number of seeds, `HEARTBEAT_SEED`
/// a single one.
const SECONDS: u64 = if cfg!(debug_assertions) { 5 } else { 60 };
const FAULTS: u64 = 100;

/// Prints how to repeat a walk that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat it: HEARTBEAT_SEED={} cargo test --release -p heartbeat-tests --test simulation walk",
                self.0
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
        return walk(seed, true);
    }
    let seeds = number("HEARTBEAT_SEEDS");
    let span = Duration::from_secs(number("HEARTBEAT_SECONDS").unwrap_or(SECONDS));
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let goes_on = |seed: u64| seeds.map_or_else(|| began.elapsed() < span, |seeds| seed < seeds);
    let walkers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..walkers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed) {
                        return;
                    }
                    walk(seed, false);
                }
            });
        }
    });
    let walked = next.into_inner().saturating_sub(walkers as u64);
    let rate = walked as f64 / began.elapsed().as_secs_f64();
    show(&format!("{walked} seeds, {} faults, {rate:.0} seeds/s, no violation", walked * FAULTS));
}

#[test]
fn walks_that_once_failed_do_not_any_more() {
    // Maintenance ended, and both wished for a group that nobody held, for ever.
    walk(53_897, false);
}

fn walk(seed: u64, trace: bool) {
    let named = Named(seed);
    let mut random = Random::new(seed + 1);
    let profile = [Profile::Lan, Profile::Lan, Profile::Fast, Profile::Classic][random.below(4) as usize];
    let timing = profile.timing();
    let mut world = World::with([timing; 2], 1 + random.below(3) as usize);
    (world.record, world.trace) = (true, trace);
    world.random = Random::new(seed + 2);
    world.latency = Nanos(random.below(timing.interval.0 / 10));
    world.jitter = Nanos(random.below(timing.interval.0 / 10));
    world.lateness = Nanos(random.below(timing.interval.0 / 10));
    random_judging(&mut world, &mut random);
    world.start(A);
    if random.below(2) == 0 {
        world.start(B);
    }
    for _ in 0..FAULTS {
        fault(&mut world, &mut random);
        let longest = if random.below(8) == 0 { 40 } else { 5 };
        world.run(Nanos(random.below(timing.interval.0 * longest)));
    }
    mend(&mut world);
    for side in [A, B] {
        let _ = world.order(side, OperatorOrder::Maintenance(false));
        (0..2).for_each(|check| world.check_health(side, check, true));
    }
    world.run(Nanos::from_millis(20_000).after(world.patience()).times(2).after(timing.interval.times(40)));
    world.assert_settled();
    world.assert_all_channels_good();
    std::mem::forget(named);
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
        weights: vec![100; channels],
        checks: vec![50; random.below(3) as usize],
        needs: vec![random.below(100) as u32; 2],
        both_faulted: if random.below(2) == 0 { BothFaulted::Nothing } else { BothFaulted::Lesser },
        bound,
        again,
        rise,
        hold,
    };
    let by_probe = judging.networks != 0 && random.below(2) == 0;
    let guards = Guards { by_probe, fence: random.below(4) == 0, stalled_grace: grace };
    let failback = (random.below(3) == 0).then_some(after);
    for side in &mut world.sides {
        (side.judging, side.guards, side.failback) = (judging.clone(), guards, vec![failback; 2]);
    }
}

fn mend(world: &mut World) {
    for side in [A, B] {
        world.paths[side].fill(Default::default());
        let s = &mut world.sides[side];
        s.links.iter_mut().for_each(|l| *l = Link::Present { index: 1, carrier: true });
        s.errno.fill(None);
        (s.acquire_fails, s.release_fails, s.fence_fails, s.answers) = (false, false, false, u64::MAX);
        s.stalled_until = world.now;
    }
    for side in [A, B] {
        world.run(world.sides[side].acquire_takes.times(6));
        if world.sides[side].core.is_none() {
            world.start(side);
        }
    }
}

fn fault(world: &mut World, random: &mut Random) {
    let side = random.below(2) as usize;
    let channel = random.below(world.paths[0].len() as u64) as usize;
    let interval = world.sides[A].timing.interval;
    let group = GroupIndex(random.below(2) as u8);
    let path = &mut world.paths[side][channel];
    let fault = random.below(31);
    if world.trace {
        eprintln!("{} fault {fault} on {side}, channel {channel}", world.now);
    }
    match fault {
        0..=2 => path.cut = true,
        3..=5 => path.cut = false,
        6 => path.lost = random.below(500),
        7 => (path.lost, path.doubled) = (0, random.below(300)),
        8 => world.cut_all(true),
        9 => world.cut_all(false),
        10 => world.paths.iter_mut().for_each(|p| p[channel].cut = true),
        11 => world.paths[side].iter_mut().for_each(|p| p.cut = random.below(3) == 0),
        12 => {
            let carrier = random.below(2) == 0;
            world.sides[side].links[channel] = Link::Present { index: 1, carrier };
        }
        13 => world.carriers(side, random.below(3) > 0),
        14 => {
            let back = Link::Present { index: random.below(5) as u32, carrier: true };
            world.sides[side].links[channel] = if random.below(2) == 0 { Link::Absent } else { back };
        }
        15 => world.stall(side, Nanos(random.below(interval.0 * 60))),
        16 => {
            let span = Nanos(random.below(interval.0 * 60));
            world.stall(A, span);
            world.stall(B, span);
        }
        17 => world.sides[side].kill(),
        18 => world.sides[side].power_off(world.now),
        19 | 20 if world.sides[side].core.is_none() => world.start(side),
        19 => world.stop(side),
        20 => world.sides[side].acquire_takes = Nanos(random.below(interval.0 * 4)),
        21 => world.sides[side].acquire_fails = random.below(3) == 0,
        22 => world.sides[side].errno[channel] = (random.below(2) == 0).then_some(101),
        23 => {
            let _ = world.order(side, OperatorOrder::Takeover(group));
        }
        24 => {
            let _ = world.order(side, OperatorOrder::Release(group));
        }
        25 => {
            let on = random.below(4) == 0;
            let _ = world.order(side, OperatorOrder::Maintenance(on));
        }
        26 => world.sides[side].release_fails = random.below(3) == 0,
        27 => world.sides[side].fence_fails = random.below(3) == 0,
        28 => world.check_health(side, random.below(2) as usize, random.below(2) == 0),
        29 => world.sides[side].answers = if random.below(2) == 0 { u64::MAX } else { random.next() },
        _ => {
            for _ in 0..random.below(50) {
                let (from, to) = (random.below(2) as usize, random.below(2) as usize);
                let sent = world.recorded[from].len() as u64;
                if sent > 0 {
                    let message = world.recorded[from][random.below(sent) as usize];
                    world.replay(to, message);
                }
            }
        }
    }
}
