//! What can happen to a pair in a random walk, one thing at a time.

use crate::{
    file::File,
    host::{Datagram, KEY, PAIR},
    networks,
    side::HOOK_TIMEOUT,
    world::{A, Assured, B, Random, World},
};
use heartbeat::{
    core::{OperatorOrder, name_id},
    types::{GroupIndex, Link, Nanos},
};
use heartbeat_ebpf::{
    siphash::Key,
    wire::{LEN, Message},
};

const WELL: Link = Link::Present { index: 1, carrier: true, address: true };

/// Everything works again; whoever does not run is started.
pub fn mend(world: &mut World) {
    for side in [A, B] {
        world.paths[side].fill(Default::default());
        let s = &mut world.sides[side];
        s.links.fill(WELL);
        s.errno.fill(None);
        s.answers = u64::MAX;
        (s.arbiter_reached, s.arbiter_takes) = ([true; 2], Nanos::from_millis(1));
        heal(world, side);
    }
    world.revives = true;
    start_all(world);
}

/// Both can do what they are told and one cable works both ways; of the others, some work one way only, or not at all, and
/// what was judged of networks stays.
pub fn mend_partly(world: &mut World, random: &mut Random) {
    let works = random.below(world.paths[A].len() as u64) as usize;
    if world.assured == Assured::Promise {
        networks::set(world, [u64::MAX; 2], 0);
    }
    for side in [A, B] {
        for (cable, path) in world.paths[side].iter_mut().enumerate().filter(|_| world.assured != Assured::Promise) {
            (path.lost, path.cut) = (0, cable != works && random.below(2) == 0);
        }
        let s = &mut world.sides[side];
        (s.links[works], s.errno[works]) = (WELL, None);
        heal(world, side);
    }
    start_all(world);
    for side in [A, B] {
        let _ = world.order(side, OperatorOrder::Maintenance(false));
    }
}

fn heal(world: &mut World, side: usize) {
    let s = &mut world.sides[side];
    (s.acquire_fails, s.release_fails, s.fence_fails) = (false, false, false);
    (s.hook_fails, s.hook_hangs, s.control_hangs) = ([false; 4], [false; 4], false);
    (s.stalled_until, s.dies_after) = (world.now, None);
}

fn start_all(world: &mut World) {
    for side in [A, B] {
        world.run(world.sides[side].acquire_takes.times(6));
        while world.sides[side].leaving() {
            world.run(HOOK_TIMEOUT);
        }
        if world.sides[side].core.is_none() {
            world.start(side);
        } else if !world.sides[side].running.is_of(&world.sides[side].file) {
            world.sides[side].reload(world.now, Nanos(0));
        }
    }
}

/// A start, sometimes with parts missing.
pub fn start(world: &mut World, random: &mut Random, side: usize) {
    // A cable each that only one of them has parts the network, which a promise alone does not bear.
    if random.below(4) == 0 && world.assured != Assured::Promise {
        let s = &mut world.sides[side];
        for cable in 0..s.links.len() {
            match random.below(4) {
                0 => s.links[cable] = Link::Absent,
                1 => s.links[cable] = Link::Present { index: 2, carrier: false, address: true },
                2 => s.errno[cable] = Some(98),
                _ => {}
            }
        }
    }
    world.start(side);
}

/// One of all.
#[expect(clippy::too_many_lines, reason = "a flat match: a kind of fault an arm")]
pub fn random(world: &mut World, random: &mut Random) {
    let side = random.below(2) as usize;
    let channel = random.below(world.paths[0].len() as u64) as usize;
    let interval = world.sides[A].timing.interval;
    let group = GroupIndex(random.below(world.sides[side].running.groups.len() as u64) as u8);
    let path = &mut world.paths[side][channel];
    let promised = world.assured == Assured::Promise;
    if promised && random.below(3) == 0 {
        return networks::change(world, random, side);
    }
    let fault = match random.below(51) {
        // Networks fail as networks do where a promise is all that there is.
        0..=14 | 22 | 29 if promised => return,
        fault => fault,
    };
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
            world.sides[side].links[channel] = Link::Present { index: 1, carrier, address: true };
        }
        13 => world.carriers(side, random.below(3) > 0),
        14 => {
            let back = Link::Present { index: random.below(5) as u32, carrier: true, address: true };
            world.sides[side].links[channel] = if random.below(2) == 0 { Link::Absent } else { back };
        }
        15 => world.stall(side, Nanos(random.below(interval.0 * 60))),
        16 => {
            let span = Nanos(random.below(interval.0 * 60));
            world.stall(A, span);
            world.stall(B, span);
        }
        17 => world.kill(side),
        44 | 45 => {
            // The service manager brings it back.
            world.kill(side);
            world.sides[side].starts_at = Some(world.now.after(Nanos(random.below(interval.0 * 30))));
        }
        46 => world.sides[side].arbiter_reached = [random.below(3) > 0, random.below(3) > 0],
        47 => world.sides[side].arbiter_takes = Nanos(random.below(interval.0 * 20)),
        48 => world.sides[side].arbiter_reached = [true; 2],
        49 => world.sides[side].control_hangs = random.below(2) == 0,
        18 => world.sides[side].power_off(world.now),
        19 | 20 if world.sides[side].core.is_none() => start(world, random, side),
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
        29 if random.below(2) == 0 => world.sides[side].answers = u64::MAX,
        29 => {
            let networks = random.next();
            (world.sides[side].answers, world.sides[side].others) = (networks, networks >> 32);
        }
        30 => replay(world, random),
        31 => strangers(world, random, side, channel),
        32 => world.sides[side].dies_after = Some(random.below(12) as usize),
        33 => world.sides[side].reload(world.now, Nanos(random.below(interval.0 * 8))),
        34 => {
            // Both at once, or nearly so.
            for side in [A, B] {
                world.sides[side].reload(world.now, Nanos(random.below(interval.0 / 2)));
            }
        }
        35 | 36 => edit(world, random, side),
        37 | 38 => world.sides[side].hook_fails[random.below(4) as usize] = random.below(2) == 0,
        39 => world.sides[side].hook_hangs[random.below(4) as usize] = random.below(2) == 0,
        40 => {
            let longest = if random.below(2) == 0 { interval.0 / 2 } else { interval.0 * 15 };
            world.sides[side].hook_takes = Nanos(random.below(longest));
        }
        _ => world.sides[side].reload(world.now, Nanos(random.below(interval.0 / 2))),
    }
}

/// The file is changed on both nodes, and one of them loads it.
fn edit(world: &mut World, random: &mut Random, side: usize) {
    let mut file = world.sides[side].file.clone();
    if random.below(2) == 0 {
        let known = world.sides[side].homes.len();
        edit_list(&mut file.groups, known, random);
    } else {
        let known = world.paths[A].len();
        edit_list(&mut file.cables, known, random);
    }
    let before = std::array::from_fn(|side| std::mem::replace(&mut world.sides[side].file, file.clone()));
    let works = [A, B].map(|side| world.sides[side].answers);
    if world.assured == Assured::Promise && [works, [u64::MAX; 2]].iter().any(|works| networks::parts(world, *works)) {
        // A cable each that only one of them has parts them.
        world.sides.iter_mut().zip::<[File; 2]>(before).for_each(|(side, file)| side.file = file);
        return;
    }
    if world.trace {
        eprintln!("{} file {file:?} loaded by {side}", world.now);
    }
    let interval = world.sides[side].timing.interval;
    world.sides[side].reload(world.now, Nanos(random.below(interval.0 / 2)));
}

/// Another order, one more, or one less.
fn edit_list(list: &mut Vec<usize>, known: usize, random: &mut Random) {
    let mut place = |len: usize| random.below(len as u64) as usize;
    if place(2) == 0 {
        let (i, j) = (place(list.len()), place(list.len()));
        list.swap(i, j);
        return;
    }
    let entry = place(known);
    match list.iter().position(|e| *e == entry) {
        Some(i) if list.len() > 1 => drop(list.remove(i)),
        Some(_) => {}
        None => list.insert(place(list.len() + 1), entry),
    }
}

/// What was sent some time or other, again, to anybody.
fn replay(world: &mut World, random: &mut Random) {
    for _ in 0..random.below(50) {
        let (from, to) = (random.below(2) as usize, random.below(2) as usize);
        let sent = world.recorded[from].len() as u64;
        if sent > 0 {
            let datagram = world.recorded[from][random.below(sent) as usize];
            world.replay(to, datagram);
        }
    }
}

/// Heartbeats that are not the peer's: another key, pair, channel or letter, or bytes that fell over.
fn strangers(world: &mut World, random: &mut Random, to: usize, cable: usize) {
    for _ in 0..random.below(20) {
        let peer = world.sides[1 - to].host.node.wire();
        let own = world.sides[to].host.tables.agent().incarnation.get();
        let mut message = Message {
            pair_id: PAIR,
            node: peer,
            channel_id: name_id(&format!("cable{cable}")),
            incarnation: 1 + random.below(20),
            peer_incarnation: own,
            sequence: 1 + random.below(1_000),
            owned: random.below(4),
            ..Message::default()
        };
        let mut key = KEY;
        match random.below(5) {
            0 => key = Key::new([1; 16]),
            1 => message.key_id = 1,
            2 => message.pair_id += 1,
            3 => message.channel_id += 1,
            _ => message.node = 1 - peer,
        }
        let mut datagram = Datagram::of(cable, &message, key);
        if random.below(4) == 0 {
            datagram.bytes[random.below(LEN as u64) as usize] ^= 1 << random.below(8);
        }
        world.replay(to, datagram);
    }
}
