//! Networks that fail as networks do, for walks in which a promise is all that keeps a group with one controller: each answers a
//! controller's probes if and only if it works for that one, and carries heartbeats if and only if it works for both.
//!
//! What no promise covers does not happen here: that each controller has a network of its own and none in common with the other.
//! Of that only a fence or an arbiter knows.

use crate::{
    side::Side,
    world::{A, B, Random, World},
};
use heartbeat::{
    core::PeerState,
    types::{Link, Nanos},
};

/// Networks fail or come back; or nothing that one controller sends arrives, for a while.
pub fn change(world: &mut World, random: &mut Random, side: usize) {
    let mut works = [A, B].map(|side| world.sides[side].answers);
    let one = 1 << random.below(world.paths[A].len() as u64);
    match random.below(10) {
        0 => return lose_one_way(world, random, side),
        1..=3 => works[side] = 0,
        4 | 5 => works[side] = u64::MAX,
        6 => works[side] = random.next(),
        // A switch.
        7 => works = works.map(|works| works & !one),
        8 => works = works.map(|works| works | one),
        _ => works = if random.below(2) == 0 { [u64::MAX; 2] } else { [random.next(), random.next()] },
    }
    let carriers = random.next();
    if !parts(world, works) {
        set(world, works, carriers);
    }
}

/// Whether a controller would have a network of its own, and none in common with the other, if these work for them: by the files
/// that they run with, or by those that they would start with.
pub fn parts(world: &World, works: [u64; 2]) -> bool {
    let bits = |cables: &[usize]| cables.iter().fold(0_u64, |bits, cable| bits | 1 << cable);
    let lists = |side: usize| {
        let Side { running, file, .. } = &world.sides[side];
        [&running.cables, &file.cables].map(|cables| bits(cables) & works[side])
    };
    lists(A).iter().any(|a| lists(B).iter().any(|b| *a != 0 && *b != 0 && a & b == 0))
}

/// These work from now on, a bit each; of the others, some have no carrier.
pub fn set(world: &mut World, works: [u64; 2], carriers: u64) {
    for (side, works) in [A, B].into_iter().zip(works) {
        let s = &mut world.sides[side];
        s.answers = works;
        for (cable, link) in s.links.iter_mut().enumerate() {
            *link = Link::Present { index: 1, carrier: (works | carriers) >> cable & 1 == 1, address: true };
        }
    }
    carry(world);
    if world.trace {
        eprintln!("{} networks {:b} and {:b} work", world.now, works[A] & 7, works[B] & 7);
    }
}

fn carry(world: &mut World) {
    let both = world.sides[A].answers & world.sides[B].answers;
    for (cable, path) in world.paths.iter_mut().flat_map(|paths| paths.iter_mut().enumerate()) {
        path.cut = both >> cable & 1 == 0;
    }
}

/// Of two that never met, none knows that the other one lives, and no promise says what it does: who hears whom is decided by a
/// fence or an arbiter then.
fn lose_one_way(world: &mut World, random: &mut Random, side: usize) {
    if !world.sides.iter().all(met) {
        return;
    }
    world.cut_side(side, true);
    world.run(Nanos(random.below(world.detection().0 * 3)));
    carry(world);
    // Before the other one's turn, both hear each other again.
    world.run(world.sides[A].timing.interval.times(3));
}

/// It hears its peer, and goes on doing so.
fn met(side: &Side) -> bool {
    side.reload_takes.is_none() && side.core.as_ref().is_some_and(|core| core.peer() == PeerState::Good)
}
