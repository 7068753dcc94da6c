//! Two controllers and a disk in virtual time: seeded runs in which reads and writes are slow, torn, lost and late, in which agents
//! die at any point and begin anew, and whose clocks drift; never do both have a group.

use super::{
    blank,
    lease::{Device, Lease, Settled, TTL},
};
use crate::{
    core::Arbitrate,
    disk::{self, Block},
    types::{Nanos, Node},
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// How long a read or write may take, in ns of virtual time.
pub(super) const IO: u64 = 1_000_000;
pub(super) const LEASE: u64 = IO * TTL;
pub(super) const AREA: u64 = 7;

/// xorshift64*: the runs are the same on every machine.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }
}

/// What is done to the disk at a time.
#[derive(Clone)]
enum Effect {
    /// A write's block is there, up to that byte of it.
    Land(usize, Box<Block>, usize),
    /// A read of that controller sees that block as it is now.
    See(usize, usize),
    /// A read, write or pause of that controller returns, and whether well.
    Return(usize, bool),
    /// The agent of that controller begins a new life.
    Begin(usize),
    /// The agent of that controller dies, with whatever it is doing.
    Die(usize),
}

/// The disk, its faults, and the time.
struct World {
    now: u64,
    random: Random,
    blocks: [Block; 2],
    /// By time, then by when they were added.
    effects: Vec<(u64, u64, Effect)>,
    added: u64,
    /// What each controller's read has seen.
    seen: [[Block; 2]; 2],
    returned: [Option<bool>; 2],
    /// One in so many reads and writes: is slow, fails, is torn, fails but is done.
    faults: u64,
}

impl World {
    fn add(&mut self, after: u64, effect: Effect) {
        self.added += 1;
        self.effects.push((self.now + after, self.added, effect));
    }

    /// How long a read or write takes, and whether it returns well.
    fn course(&mut self) -> (u64, bool) {
        let took = match () {
            () if self.random.one_in(self.faults) => IO + self.random.below(3 * LEASE),
            () if self.random.one_in(self.faults) => IO - 1 - self.random.below(IO / 50),
            () => 1 + self.random.below(IO / 20),
        };
        (took, !self.random.one_in(self.faults))
    }

    /// Lets the next thing happen: the controller that goes on, or dies.
    fn step(&mut self) -> Option<(usize, bool)> {
        let next = (0..self.effects.len()).min_by_key(|i| (self.effects[*i].0, self.effects[*i].1))?;
        let (at, _, effect) = self.effects.swap_remove(next);
        self.now = at;
        match effect {
            Effect::Land(number, block, bytes) => {
                self.blocks[number].0[..bytes].copy_from_slice(&block.0[..bytes]);
                None
            }
            Effect::See(node, number) => {
                self.seen[node][number] = self.blocks[number].clone();
                None
            }
            Effect::Return(node, well) => {
                self.returned[node] = Some(well);
                Some((node, false))
            }
            Effect::Begin(node) => Some((node, false)),
            Effect::Die(node) => Some((node, true)),
        }
    }
}

/// A controller's way to the disk, and its clock.
#[derive(Clone)]
struct Port {
    world: Rc<RefCell<World>>,
    node: usize,
    /// Its clock gains so many ns in 1,000, or loses.
    drift: i64,
    offset: u64,
}

impl Port {
    /// Its clock at a point of virtual time.
    fn clock(&self, at: u64) -> Nanos {
        Nanos((at as i64 + at as i64 * self.drift / 1_000) as u64 + self.offset)
    }

    /// The virtual time at which its clock shows that.
    fn virtual_time(&self, clock: Nanos) -> u64 {
        ((clock.0 - self.offset) as i64 * 1_000 / (1_000 + self.drift)) as u64
    }

    async fn returned(&self) -> bool {
        std::future::poll_fn(|_| match self.world.borrow_mut().returned[self.node].take() {
            Some(well) => Poll::Ready(well),
            None => Poll::Pending,
        })
        .await
    }
}

impl Device for Port {
    fn now(&self) -> Nanos {
        self.clock(self.world.borrow().now)
    }

    async fn write(&mut self, number: u64, block: &Block) -> Result<(), String> {
        {
            let mut world = self.world.borrow_mut();
            let place = usize::try_from(number).unwrap() - 1;
            assert_eq!(place, self.node, "a controller writes its own block only");
            let (took, well) = world.course();
            let faults = world.faults;
            let lands = world.random.below(took);
            let half = 1 + world.random.below(510) as usize;
            // Whoever reads meanwhile may see a part of it.
            if world.random.one_in(2) {
                let early = world.random.below(lands + 1);
                world.add(early, Effect::Land(place, Box::new(block.clone()), half));
            }
            if well || world.random.one_in(2) {
                // Rarely is it torn, and said to be well.
                let bytes = if world.random.one_in(faults * 4) { half } else { block.0.len() };
                world.add(lands, Effect::Land(place, Box::new(block.clone()), bytes));
            }
            world.add(took, Effect::Return(self.node, well));
        }
        if self.returned().await { Ok(()) } else { Err("EIO".to_owned()) }
    }

    async fn read(&mut self) -> Result<[Block; 2], String> {
        {
            let mut world = self.world.borrow_mut();
            let (took, well) = world.course();
            for number in 0..2 {
                let at = world.random.below(took);
                world.add(at, Effect::See(self.node, number));
            }
            world.add(took, Effect::Return(self.node, well));
        }
        let well = self.returned().await;
        if well { Ok(self.world.borrow().seen[self.node].clone()) } else { Err("EIO".to_owned()) }
    }

    async fn pause(&mut self, span: Nanos) {
        self.world.borrow_mut().add(span.0, Effect::Return(self.node, true));
        self.returned().await;
    }
}

/// A group was a controller's from one point of virtual time to another.
#[derive(Clone, Copy, Debug)]
struct Held {
    node: usize,
    groups: u64,
    from: u64,
    until: u64,
}

/// What a run came to.
#[derive(Default)]
struct History {
    held: Vec<Held>,
    /// How often each of the two was granted something.
    granted: [u32; 2],
    denied: u32,
    failed: u32,
    deaths: u32,
}

impl History {
    fn grant(&mut self, node: usize, groups: u64, from: u64, until: u64) {
        self.granted[node] += 1;
        self.held.push(Held { node, groups, from, until });
    }

    /// What it has of these groups ends now.
    fn end(&mut self, node: usize, groups: u64, now: u64) {
        let kept = self.held.iter().filter(|held| held.node == node && held.until > now && held.groups & !groups != 0);
        let kept: Vec<_> = kept.map(|held| Held { groups: held.groups & !groups, from: now, ..*held }).collect();
        for held in self.held.iter_mut().filter(|held| held.node == node) {
            held.until = held.until.min(now);
        }
        self.held.extend(kept);
    }

    /// Two that had a group at one time.
    fn both(&self) -> Option<(Held, Held)> {
        let of = |node| self.held.iter().filter(move |held| held.node == node);
        let both = of(0).flat_map(|a| of(1).map(move |b| (*a, *b)));
        both.into_iter().find(|(a, b)| a.groups & b.groups != 0 && a.from.max(b.from) < a.until.min(b.until))
    }
}

/// A life of an agent: asks for what it likes, again and again.
async fn live(mut port: Port, life: u64, history: Rc<RefCell<History>>) {
    let node = if port.node == 0 { Node::A } else { Node::B };
    // Rarely do the two have different tables.
    let table = u64::from(port.world.borrow_mut().random.one_in(20));
    let mut lease = Lease::new(node, Nanos(IO), AREA, life, table);
    loop {
        let (ask, pause) = {
            let random = &mut port.world.borrow_mut().random;
            let groups = 1 + random.below(3);
            let ask = if random.one_in(6) { Arbitrate::Release(groups) } else { Arbitrate::Acquire(groups) };
            let longest = if random.one_in(4) { 2 * LEASE } else { LEASE / 4 };
            (ask, 1 + random.below(longest))
        };
        port.pause(Nanos(pause)).await;
        if let Arbitrate::Release(groups) = ask {
            let now = port.world.borrow().now;
            history.borrow_mut().end(port.node, groups, now);
        }
        let settled = lease.settle(&mut port, ask).await;
        let now = port.world.borrow().now;
        let mut history = history.borrow_mut();
        match settled {
            // What is over when it is said, ends as it begins.
            Ok(Settled::Granted { groups, until }) => {
                assert_ne!(groups, 0);
                let until = port.virtual_time(until);
                history.grant(port.node, groups, now, until.max(now));
            }
            Ok(Settled::Denied { .. }) => history.denied += 1,
            Ok(Settled::Released) => {}
            Err(_) => history.failed += 1,
        }
    }
}

type Life = Pin<Box<dyn Future<Output = ()>>>;

/// A run of that seed, in which one in `faults` reads and writes goes wrong (0: none).
fn run(seed: u64, faults: u64) -> History {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let blocks = blank(AREA);
    let drifts = [0; 2].map(|_: i32| random.below(21) as i64 - 10);
    let offsets = [0; 2].map(|_: i32| random.below(1 << 40));
    let world = World {
        now: 0,
        random,
        seen: [blocks.clone(), blocks.clone()],
        blocks,
        effects: Vec::new(),
        added: 0,
        returned: [None; 2],
        faults,
    };
    let world = Rc::new(RefCell::new(world));
    let history = Rc::new(RefCell::new(History::default()));
    let ports = [0, 1].map(|node| Port { world: Rc::clone(&world), node, drift: drifts[node], offset: offsets[node] });
    let mut number_of_lives = 0;
    let mut begin = |node: usize| -> Life {
        number_of_lives += 1;
        Box::pin(live(ports[node].clone(), number_of_lives, Rc::clone(&history)))
    };
    let mut lives = [begin(0), begin(1)];
    let mut going: VecDeque<usize> = VecDeque::from([0, 1]);
    if faults != 0 {
        for node in 0..2 {
            let at = world.borrow_mut().random.below(6 * LEASE);
            world.borrow_mut().add(at, Effect::Die(node));
        }
    }
    for _ in 0..2_000 {
        while let Some(node) = going.pop_front() {
            let mut context = Context::from_waker(Waker::noop());
            assert!(lives[node].as_mut().poll(&mut context).is_pending());
        }
        let stepped = world.borrow_mut().step();
        match stepped {
            None => {}
            Some((node, false)) => going.push_back(node),
            Some((node, true)) => {
                // The new life begins once nothing of the old one's is under way: the kernel ends no process before that. What it
                // had, it serves on until the time is over, as its kernel may.
                let world = &mut *world.borrow_mut();
                let own = |effect: &Effect| match effect {
                    Effect::Return(whose, _) | Effect::Begin(whose) => *whose == node,
                    _ => false,
                };
                // Not to return to the new one.
                let under_way = world.effects.iter().find(|(.., effect)| own(effect)).map(|(at, ..)| *at);
                world.effects.retain(|(.., effect)| !own(effect));
                let pause = under_way.map_or(0, |at| at - world.now) + world.random.below(3 * LEASE);
                world.returned[node] = None;
                world.add(pause, Effect::Begin(node));
                let again = pause + world.random.below(12 * LEASE);
                world.add(again, Effect::Die(node));
                history.borrow_mut().deaths += 1;
                lives[node] = begin(node);
            }
        }
    }
    drop(lives);
    Rc::try_unwrap(history).ok().expect("both lives are over").into_inner()
}

/// Runs of these seeds: how often each of the two was granted something, denials, failures, deaths.
fn runs(seeds: std::ops::Range<u64>, faults: u64) -> (u32, u32, u32, u32, u32) {
    let mut sums = (0, 0, 0, 0, 0);
    for seed in seeds {
        let history = run(seed, faults);
        assert!(history.both().is_none(), "seed {seed}, one fault in {faults}: {:?}", history.both());
        let History { granted: [a, b], denied, failed, deaths, .. } = history;
        sums = (sums.0 + a, sums.1 + b, sums.2 + denied, sums.3 + failed, sums.4 + deaths);
    }
    sums
}

#[test]
fn two_controllers_never_have_a_group_both_whatever_the_disk_does() {
    for faults in [3, 6, 20, 100] {
        let (a, b, denied, failed, deaths) = runs(0..500, faults);
        println!("one fault in {faults}: {a} and {b} grants, {denied} denials, {failed} failures, {deaths} deaths");
        assert!(a.min(b).min(denied).min(failed).min(deaths) > 100, "{:?}", (a, b, denied, failed, deaths));
    }
}

#[test]
fn without_faults_nothing_fails_but_what_is_prolonged_too_late_and_both_have_their_turns() {
    let (a, b, denied, failed, _) = runs(0..200, 0);
    assert!(a.min(b).min(denied) > 1_000 && failed < (a + b) / 100, "{:?}", (a, b, denied, failed));
}

fn on_a_file() -> (tempfile::TempDir, super::DiskArbiter, super::Pair) {
    // On a disk: in memory, some kernels cannot read and write past the cache.
    let program = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, "").unwrap();
    disk::prepare(&path, 7, false, blank).unwrap();
    let groups = vec!["g1".into()];
    let pair = super::Pair { id: 7, node: Node::A, hostname: String::new(), groups, ttl: Nanos(0) };
    let disk = super::DiskArbiter::new(&path, &pair, Nanos::from_millis(100));
    (folder, disk, pair)
}

#[test]
fn nothing_more_is_asked_of_a_disk_that_has_not_returned() {
    let (_folder, disk, pair) = on_a_file();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = || runtime.block_on(disk.ask(&pair, Arbitrate::Acquire(1)));
    assert!(matches!(ask().outcome, super::Arbitrated::Granted { groups: 1, .. }));
    let hangs = disk.shared.lease.lock().unwrap();
    let answered = ask();
    assert!(answered.why.ends_with("disk: an earlier read or write has not returned"), "{answered:?}");
    assert_eq!(answered.outcome, super::Arbitrated::Unreachable);
    drop(hangs);
    assert!(matches!(ask().outcome, super::Arbitrated::Granted { groups: 1, .. }));
}

#[test]
fn a_question_to_a_disk_that_does_not_return_is_bounded() {
    let (_folder, disk, _) = on_a_file();
    let (ends, hangs) = std::sync::mpsc::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let job = move |_: &super::Shared, _: &mut Option<Lease>| {
        // Until the other end is dropped.
        let _ = hangs.recv();
        Ok(())
    };
    let answered = runtime.block_on(disk.on_a_thread(job));
    assert_eq!(answered, Err("no answer within 700ms".to_owned()));
    drop(ends);
}
