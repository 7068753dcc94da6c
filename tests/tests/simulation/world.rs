//! The simulated pair in virtual time: two hosts, the cables between them, and what can be done to both.

use crate::{
    host::{Datagram, KEY},
    invariants::Watch,
    side::{Sent, Side},
};
use heartbeat::{
    config::Profile,
    core::{Arbitrate, Arbitrated, ChannelState, ChannelView, Core, Event, OperatorOrder, Refusal},
    types::{ChannelIndex, Link, Nanos, Node, Timing},
};
use heartbeat_ebpf::{
    siphash::Key,
    wire::{LONGEST_INTERVAL_US, Message},
};
use std::collections::BTreeMap;

/// A tiny generator (xorshift64*): the same seed, the same run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
}

/// What makes sure that an exclusive group is held by one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assured {
    /// Nothing: no group is exclusive.
    Not,
    Fence,
    Arbiter,
    /// What both promise: only where a network fails as a controller's own, for what parts so that each has its half of it decides
    /// nobody.
    Promise,
}

pub const A: usize = 0;
pub const B: usize = 1;
/// Both start at this time, unless a test wants otherwise.
pub const START: Nanos = Nanos::from_millis(1_000_000);

/// Of one direction of one channel.
#[derive(Clone, Copy, Default)]
pub struct Path {
    pub cut: bool,
    /// Of a thousand messages.
    pub lost: u64,
    /// Of a thousand messages, so many come twice.
    pub doubled: u64,
}

/// What is on its way.
enum Flight {
    Datagram(usize, Datagram),
    Question(Question),
}

/// What a life of a side's asks the arbiter.
struct Question {
    side: usize,
    life: u64,
    /// On the side's own clock.
    asked: Nanos,
    number: u32,
    /// In the world's bits.
    groups: u64,
    /// It gives them back.
    releases: bool,
}

pub struct World {
    pub now: Nanos,
    pub sides: [Side; 2],
    pub random: Random,
    pub latency: Nanos,
    pub jitter: Nanos,
    /// Each turn of a pulse thread comes late by up to this.
    pub lateness: Nanos,
    /// By sender, then channel.
    pub paths: [Vec<Path>; 2],
    /// Everything ever sent, by sender, where `record` is on.
    pub recorded: [Vec<Datagram>; 2],
    pub record: bool,
    /// What this side sends contradicts itself: authentic, and nonsense.
    pub babbles: [bool; 2],
    /// A fencing that succeeds takes the peer's power away.
    pub fence_kills: bool,
    /// A host whose power was taken away is up again soon, and its agent, too.
    pub revives: bool,
    /// What makes sure that an exclusive group is held by one only.
    pub assured: Assured,
    /// What the arbiter has granted to whom, until when, by group.
    pub arbiter: Vec<Option<(usize, Nanos)>>,
    pub arbiter_ttl: Nanos,
    /// Everything told is printed.
    pub trace: bool,
    /// What must always hold.
    pub watch: Watch,
    flights: BTreeMap<(Nanos, u64), Flight>,
    /// Room for what one turn sends.
    sent: Vec<Sent>,
    flown: u64,
    next_incarnation: u64,
}

impl World {
    /// A pair with three channels and two groups, each at home on one side; nobody runs yet.
    pub fn new(timing: Timing) -> Self {
        Self::with([timing; 2], 3)
    }

    pub fn with(timings: [Timing; 2], channels: usize) -> Self {
        let mut world = Self::sized(timings, channels, 3);
        world.sides.iter_mut().for_each(|s| s.file.groups.truncate(2));
        world
    }

    /// The same with more of both; every other group is at home on a.
    pub fn sized(timings: [Timing; 2], channels: usize, groups: usize) -> Self {
        let homes: Vec<_> = [Node::A, Node::B].into_iter().cycle().take(groups).collect();
        let side = |node, timing, booted| Side::new(node, timing, channels, &homes, Nanos::from_millis(booted));
        Self {
            now: START,
            sides: [side(Node::A, timings[0], 0), side(Node::B, timings[1], 500_000)],
            random: Random::new(1),
            latency: Nanos::from_micros(100),
            jitter: Nanos(0),
            lateness: Nanos(0),
            paths: [vec![Path::default(); channels], vec![Path::default(); channels]],
            recorded: [Vec::new(), Vec::new()],
            record: false,
            babbles: [false; 2],
            fence_kills: false,
            revives: false,
            assured: Assured::Not,
            arbiter: vec![None; homes.len()],
            arbiter_ttl: Nanos::from_millis(3_000),
            trace: false,
            flights: BTreeMap::new(),
            sent: Vec::new(),
            flown: 0,
            next_incarnation: 1,
            watch: Watch::new(channels, homes.len()),
        }
    }

    /// Both have run for long; a holds group 0, b group 1.
    pub fn settled(timing: Timing) -> Self {
        let mut world = Self::new(timing);
        world.start(A);
        world.start(B);
        world.run(timing.detection().times(3));
        world.assert_settled();
        assert_eq!(world.held(), [1, 2]);
        world.sides.iter_mut().for_each(|s| s.events.clear());
        world
    }

    pub fn lan() -> Self {
        Self::settled(Profile::Lan.timing())
    }

    pub fn start(&mut self, side: usize) {
        self.next_incarnation += 1;
        let incarnation = self.next_incarnation;
        self.sides[side].start(self.now, incarnation);
        if self.sides[side].switches && incarnation.is_multiple_of(5) {
            // It ends before its first turn, and is started again at once.
            self.kill(side);
            self.start(side);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, side: usize) {
        self.sides[side].kill(self.now);
    }

    /// Clean stop.
    pub fn stop(&mut self, side: usize) {
        let now = self.sides[side].clock(self.now);
        if let Some(core) = &mut self.sides[side].core {
            core.handle_stop(now);
            self.sides[side].wake = self.now;
        }
    }

    /// An operator orders something.
    pub fn order(&mut self, side: usize, order: OperatorOrder) -> Result<(), Refusal> {
        let now = self.sides[side].clock(self.now);
        let Some(core) = &mut self.sides[side].core else { return Err(Refusal::Stopping) };
        let result = core.handle_order(now, order);
        self.sides[side].wake = self.now;
        if let (Ok(()), OperatorOrder::Maintenance(on)) = (result, order) {
            self.sides[side].maintenance = on;
        }
        result
    }

    /// A health check has a new result.
    pub fn check_health(&mut self, side: usize, check: usize, healthy: bool) {
        if let Some(core) = &mut self.sides[side].core {
            core.handle_check(check, healthy);
            self.sides[side].wake = self.now;
        }
    }

    pub fn stall(&mut self, side: usize, span: Nanos) {
        self.sides[side].stalled_until = self.now.after(span);
    }

    pub fn cut(&mut self, from: usize, channel: usize, cut: bool) {
        self.paths[from][channel].cut = cut;
    }

    /// Nothing that a side sends arrives.
    pub fn cut_side(&mut self, from: usize, cut: bool) {
        self.paths[from].iter_mut().for_each(|p| p.cut = cut);
    }

    pub fn cut_all(&mut self, cut: bool) {
        self.paths.iter_mut().flatten().for_each(|p| p.cut = cut);
    }

    pub fn carriers(&mut self, side: usize, carrier: bool) {
        self.sides[side].links.fill(Link::Present { index: 1, carrier, address: true });
    }

    pub fn core(&self, side: usize) -> &Core {
        self.sides[side].core.as_ref().expect("it runs")
    }

    /// What its status shows of its channels.
    pub fn channels(&self, side: usize) -> impl Iterator<Item = ChannelView> {
        let core = self.core(side);
        (0..self.paths[side].len()).filter_map(|i| core.channel(ChannelIndex(i as u8)))
    }

    pub fn held(&self) -> [u64; 2] {
        [A, B].map(|s| self.sides[s].held())
    }

    /// When something was told for the first time, and how often.
    pub fn told(&self, side: usize, which: impl Fn(&Event) -> bool) -> (Option<Nanos>, usize) {
        let mut times = self.sides[side].events.iter().filter(|(_, e)| which(e)).map(|(at, _)| *at);
        let first = times.next();
        (first, times.count() + usize::from(first.is_some()))
    }

    /// A datagram of an earlier time is put on the wire again.
    pub fn replay(&mut self, to: usize, datagram: Datagram) {
        self.fly(to, datagram, Nanos(0));
    }

    /// Somebody with this key puts a message on the wire.
    pub fn forge(&mut self, to: usize, cable: usize, message: &Message, key: Key) {
        self.fly(to, Datagram::of(cable, message, key), Nanos(0));
    }

    fn fly(&mut self, to: usize, datagram: Datagram, delay: Nanos) {
        self.flown += 1;
        let jitter = Nanos(if self.jitter.0 == 0 { 0 } else { self.random.below(self.jitter.0) });
        let due = self.now.after(self.latency).after(jitter).after(delay);
        self.flights.insert((due, self.flown), Flight::Datagram(to, datagram));
    }

    pub fn run(&mut self, span: Nanos) {
        self.run_until(self.now.after(span));
    }

    pub fn run_until(&mut self, until: Nanos) {
        loop {
            let flight = self.flights.first_key_value().map_or(Nanos::NEVER, |((due, _), _)| *due);
            let turn = [A, B].map(|s| (self.turn(s), s)).into_iter().min();
            let (due, side) = turn.expect("two sides");
            let bites = [A, B].map(|s| (self.bites(s), s)).into_iter().min();
            let (bite, bitten) = bites.expect("two sides");
            if bite <= flight.min(due).min(until) {
                self.now = self.now.max(bite);
                self.power_off(bitten);
                self.check();
                continue;
            }
            if flight.min(due) > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(flight.min(due));
            if flight <= due {
                self.land();
            } else {
                self.drive(side);
            }
            self.check();
        }
    }

    /// By its fence or its watchdog.
    fn power_off(&mut self, side: usize) {
        if self.trace {
            eprintln!("{} side {side} is powered off", self.now);
        }
        self.sides[side].power_off(self.now);
        self.sides[side].starts_at = self.revives.then_some(self.now.after(self.detection()));
    }

    /// When a side's watchdog ends its host.
    fn bites(&self, side: usize) -> Nanos {
        let Side { fed, exclusivity, .. } = &self.sides[side];
        fed.map_or(Nanos::NEVER, |fed| fed.after(exclusivity.watchdog))
    }

    /// When a side is driven next.
    fn turn(&self, side: usize) -> Nanos {
        let side = &self.sides[side];
        if side.core.is_none() {
            return side.starts_at.unwrap_or(Nanos::NEVER).max(side.stalled_until);
        }
        let host = &side.host;
        let arbiter = side.answers_of_arbiter.iter().map(|(due, ..)| host.world(*due)).min().unwrap_or(Nanos::NEVER);
        let order = side.orders.iter().map(|o| host.world(o.due)).min().unwrap_or(Nanos::NEVER);
        let probe = side.probes.iter().map(|(due, _)| host.world(*due)).min().unwrap_or(Nanos::NEVER);
        let look = side.looks.iter().map(|(due, _)| host.world(*due)).min().unwrap_or(Nanos::NEVER);
        let fence = side.fences.iter().map(|(due, _)| host.world(*due)).min().unwrap_or(Nanos::NEVER);
        let hook = side.hooks_run.iter().map(|(due, ..)| host.world(*due)).min().unwrap_or(Nanos::NEVER);
        side.wake.min(arbiter).min(hook).min(order).min(probe).min(look).min(fence).max(side.stalled_until)
    }

    fn land(&mut self) {
        let (to, datagram) = match self.flights.pop_first() {
            Some((_, Flight::Datagram(to, datagram))) => (to, datagram),
            Some((_, Flight::Question(question))) => return self.arbitrate(question),
            None => return,
        };
        if !self.sides[to].carrier(datagram.cable) {
            return;
        }
        if let Some(answer) = self.sides[to].receive(self.now, &datagram) {
            self.wire(to, answer);
        }
    }

    fn drive(&mut self, side: usize) {
        if self.sides[side].core.is_none() {
            self.start(side);
            return;
        }
        let mut sent = std::mem::take(&mut self.sent);
        let told = self.sides[side].events.len();
        let fenced = self.sides[side].fenced;
        self.sides[side].drive(self.now, |message| sent.push(message));
        if self.fence_kills && self.sides[side].fenced != fenced {
            self.power_off(1 - side);
        }
        if self.trace {
            let node = self.sides[side].host.node;
            self.sides[side].events[told..].iter().for_each(|(at, event)| eprintln!("{at} {node}: {event:?}"));
            if told < self.sides[side].events.len() {
                let [a, b] = [A, B].map(|s| (self.sides[s].owned(), self.sides[s].held(), self.sides[s].external));
                eprintln!("    owned, held, in use: a {a:?} b {b:?}");
            }
        }
        self.check_told(side, told);
        if self.lateness.0 > 0 && self.sides[side].wake != Nanos::NEVER {
            let late = Nanos(self.random.below(self.lateness.0));
            self.sides[side].wake = self.sides[side].wake.after(late);
        }
        for message in sent.drain(..) {
            let datagram = match message {
                Sent::Question(number, what) => {
                    self.ask(side, number, what);
                    continue;
                }
                Sent::Echo(channel, echo) => Datagram::echo(self.sides[side].running.cable(channel), &echo, KEY),
                Sent::Heartbeat(channel, mut message) => {
                    if self.babbles[side] {
                        self.babble(&mut message);
                    }
                    Datagram::of(self.sides[side].running.cable(channel), &message, KEY)
                }
            };
            self.wire(side, datagram);
        }
        self.sent = sent;
    }

    /// A side asks the arbiter: that is on its way, and arrives also where it is overridden meanwhile.
    fn ask(&mut self, side: usize, number: u32, what: Arbitrate) {
        let Side { host, running, arbiter_reached, arbiter_takes, .. } = &self.sides[side];
        let asked = host.clock(self.now);
        if !arbiter_reached[0] {
            let due = asked.after(*arbiter_takes);
            return self.sides[side].answers_of_arbiter.push((due, number, Arbitrated::Unreachable));
        }
        let (life, groups) = (host.tables.agent().incarnation.get(), running.to_world(what.groups()));
        let releases = matches!(what, Arbitrate::Release(_));
        let due = self.now.after(Nanos(self.random.below(arbiter_takes.0 + 1)));
        self.flown += 1;
        let question = Question { side, life, asked, number, groups, releases };
        self.flights.insert((due, self.flown), Flight::Question(question));
    }

    /// The arbiter decides; its answer is on its way.
    fn arbitrate(&mut self, question: Question) {
        let Question { side, life, asked, number, groups, releases } = question;
        let (mut granted, until) = (0, self.now.after(self.arbiter_ttl));
        for (group, holder) in self.arbiter.iter_mut().enumerate().filter(|(i, _)| groups >> i & 1 == 1) {
            if holder.is_none_or(|(by, until)| by == side || until <= self.now) {
                *holder = (!releases).then_some((side, until));
                granted |= 1 << group;
            }
        }
        let s = &mut self.sides[side];
        if s.core.is_none() || s.host.tables.agent().incarnation.get() != life {
            return;
        }
        let outcome = match (s.arbiter_reached[1], granted) {
            (false, _) => Arbitrated::Unreachable,
            (true, 0) => Arbitrated::Denied,
            (true, granted) => {
                let until = asked.after(Nanos(self.arbiter_ttl.0 / 100 * 97));
                Arbitrated::Granted { groups: s.running.groups_of(granted), until }
            }
        };
        let due = s.clock(self.now).after(Nanos(self.random.below(s.arbiter_takes.0 + 1)));
        s.answers_of_arbiter.push((due, number, outcome));
    }

    /// A side puts a datagram on the wire.
    fn wire(&mut self, side: usize, datagram: Datagram) {
        if self.record {
            self.recorded[side].push(datagram);
        }
        let Path { cut, lost, doubled } = self.paths[side][datagram.cable];
        if cut || !self.sides[side].carrier(datagram.cable) || self.random.below(1_000) < lost {
            return;
        }
        self.fly(1 - side, datagram, Nanos(0));
        if self.random.below(1_000) < doubled {
            let delay = Nanos(self.random.below(self.sides[side].timing.interval.0));
            self.fly(1 - side, datagram, delay);
        }
    }

    /// Any field that is not what makes it count as life may be anything.
    fn babble(&mut self, message: &mut Message) {
        let mut word = || match self.random.below(4) {
            0 => 0,
            1 => u64::MAX,
            2 => self.random.below(4),
            _ => self.random.next(),
        };
        match word() % 12 {
            0 => message.configured = word(),
            1 => message.heard = word(),
            2 => message.operational = word(),
            3 => message.analysis_wanted = word() as u32,
            4 => message.analysis_done = word() as u32,
            5 => (message.qos, message.duties_qos) = (word() as u32, word() as u32),
            6 => message.owned = word(),
            7 => message.wanted = word(),
            8 => message.term = word(),
            9 => message.groups_digest = word(),
            10 => message.flags = word() as u8,
            _ => {
                message.interval_us = word() as u32 & LONGEST_INTERVAL_US;
                (message.echo_sent_ns, message.echo_held_ns) = (word(), word() as u32);
            }
        }
    }

    /// The longer of the two detection times.
    pub fn detection(&self) -> Nanos {
        let slowest = self.sides.iter().map(|s| s.timing.interval).max().expect("two sides");
        self.sides.iter().map(|s| Nanos(s.timing.detection().0 / s.timing.interval.0 * slowest.0)).max().expect("two")
    }

    pub fn assert_all_channels_good(&self) {
        for side in [A, B] {
            assert!(self.channels(side).all(|c| c.state == ChannelState::Open), "side {side}");
        }
    }
}
