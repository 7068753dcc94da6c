//! The simulated pair in virtual time, and what must always hold for it.

use crate::side::Side;
use heartbeat::{
    config::Profile,
    core::{
        ChannelIndex, ChannelState, ChannelView, Core, Event, Link, Nanos, Node, OperatorOrder, PeerState, Refusal,
        Timing,
    },
};
use heartbeat_ebpf::wire::{LONGEST_INTERVAL_US, Message};
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
    pub recorded: [Vec<Message>; 2],
    pub record: bool,
    /// What this side sends contradicts itself: authentic, and nonsense.
    pub babbles: [bool; 2],
    /// Everything told is printed.
    pub trace: bool,
    flights: BTreeMap<(Nanos, u64), (usize, Message)>,
    flown: u64,
    next_incarnation: u64,
    working_since: Vec<Nanos>,
    willing_since: Nanos,
    /// When a side last wished to be handed something.
    wished_at: Nanos,
    dual: u64,
    /// How often both began to hold a group.
    pub duals: u32,
}

impl World {
    /// A pair with three channels and two groups, each at home on one side; nobody runs yet.
    pub fn new(timing: Timing) -> Self {
        Self::with([timing; 2], 3)
    }

    pub fn with(timings: [Timing; 2], channels: usize) -> Self {
        let homes = [Node::A, Node::B];
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
            trace: false,
            flights: BTreeMap::new(),
            flown: 0,
            next_incarnation: 1,
            willing_since: Nanos::NEVER,
            wished_at: Nanos(0),
            working_since: vec![Nanos::NEVER; channels],
            dual: 0,
            duals: 0,
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
        let now = self.sides[side].clock(self.now);
        if let Some(core) = &mut self.sides[side].core {
            core.handle_check(now, check, healthy);
            self.sides[side].wake = self.now;
        }
    }

    pub fn stall(&mut self, side: usize, span: Nanos) {
        self.sides[side].stalled_until = self.now.after(span);
    }

    pub fn cut(&mut self, from: usize, channel: usize, cut: bool) {
        self.paths[from][channel].cut = cut;
    }

    pub fn cut_all(&mut self, cut: bool) {
        self.paths.iter_mut().flatten().for_each(|p| p.cut = cut);
    }

    pub fn carriers(&mut self, side: usize, carrier: bool) {
        self.sides[side].links.fill(Link::Present { index: 1, carrier });
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
        [A, B].map(|s| self.sides[s].core.as_ref().map_or(0, Core::held))
    }

    /// When something was told for the first time, and how often.
    pub fn told(&self, side: usize, which: impl Fn(&Event) -> bool) -> (Option<Nanos>, usize) {
        let mut times = self.sides[side].events.iter().filter(|(_, e)| which(e)).map(|(at, _)| *at);
        let first = times.next();
        (first, times.count() + usize::from(first.is_some()))
    }

    /// A message of an earlier time is put on the wire again.
    pub fn replay(&mut self, to: usize, message: Message) {
        self.fly(to, message, Nanos(0));
    }

    fn fly(&mut self, to: usize, message: Message, delay: Nanos) {
        self.flown += 1;
        let jitter = Nanos(if self.jitter.0 == 0 { 0 } else { self.random.below(self.jitter.0) });
        let due = self.now.after(self.latency).after(jitter).after(delay);
        self.flights.insert((due, self.flown), (to, message));
    }

    pub fn run(&mut self, span: Nanos) {
        self.run_until(self.now.after(span));
    }

    pub fn run_until(&mut self, until: Nanos) {
        loop {
            let flight = self.flights.first_key_value().map_or(Nanos::NEVER, |((due, _), _)| *due);
            let turn = [A, B].map(|s| (self.turn(s), s)).into_iter().min();
            let (due, side) = turn.expect("two sides");
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

    /// When a side is driven next.
    fn turn(&self, side: usize) -> Nanos {
        let side = &self.sides[side];
        if side.core.is_none() {
            return Nanos::NEVER;
        }
        let order = side.orders.iter().map(|o| o.due.after(side.booted)).min().unwrap_or(Nanos::NEVER);
        let probe = side.probes.iter().map(|(due, _)| due.after(side.booted)).min().unwrap_or(Nanos::NEVER);
        let look = side.looks.iter().map(|(due, _)| due.after(side.booted)).min().unwrap_or(Nanos::NEVER);
        let fence = side.fences.iter().map(|due| due.after(side.booted)).min().unwrap_or(Nanos::NEVER);
        side.wake.min(order).min(probe).min(look).min(fence).max(side.stalled_until)
    }

    fn land(&mut self) {
        let Some((_, (to, message))) = self.flights.pop_first() else { return };
        let channel = self.sides[A].channel_of(&message);
        if self.sides[to].carrier(channel) {
            self.sides[to].receive(self.now, message);
        }
    }

    fn drive(&mut self, side: usize) {
        let mut sent = Vec::new();
        let told = self.sides[side].events.len();
        self.sides[side].drive(self.now, |message| sent.push(message));
        if self.trace {
            let node = self.sides[side].node;
            self.sides[side].events[told..].iter().for_each(|(at, event)| eprintln!("{at} {node}: {event:?}"));
        }
        if self.lateness.0 > 0 && self.sides[side].wake != Nanos::NEVER {
            let late = Nanos(self.random.below(self.lateness.0));
            self.sides[side].wake = self.sides[side].wake.after(late);
        }
        for channel in std::mem::take(&mut self.sides[side].echoes) {
            self.echo(side, channel);
        }
        for mut message in sent {
            if self.babbles[side] {
                self.babble(&mut message);
            }
            if self.record {
                self.recorded[side].push(message);
            }
            let channel = self.sides[A].channel_of(&message);
            let Path { cut, lost, doubled } = self.paths[side][channel];
            if cut || !self.sides[side].carrier(channel) || self.random.below(1_000) < lost {
                continue;
            }
            self.fly(1 - side, message, Nanos(0));
            if self.random.below(1_000) < doubled {
                let delay = Nanos(self.random.below(self.sides[side].timing.interval.0));
                self.fly(1 - side, message, delay);
            }
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
                (message.interval_us, message.echo_sent_ns, message.echo_held_ns) =
                    (word() as u32 & LONGEST_INTERVAL_US, word(), word() as u32)
            }
        }
    }

    /// An echo request of `side`: the other host answers it, whatever its agent does, if both directions work.
    fn echo(&mut self, side: usize, channel: ChannelIndex) {
        let i = channel.usize();
        let works = [A, B].iter().all(|s| !self.paths[*s][i].cut && self.sides[*s].carrier(i));
        let cell = self.sides[1 - side].cell;
        if works && cell.incarnation != 0 && self.random.below(1_000) >= self.paths[side][i].lost {
            let stalled = self.sides[1 - side].clock(self.now).since(cell.alive);
            let sent = self.sides[side].clock(self.now);
            self.sides[side].answers_to_echo.push((sent.after(self.latency.times(2)), channel, sent, stalled));
        }
    }

    /// The longer of the two detection times.
    pub fn detection(&self) -> Nanos {
        let slowest = self.sides.iter().map(|s| s.timing.interval).max().expect("two sides");
        self.sides.iter().map(|s| Nanos(s.timing.detection().0 / s.timing.interval.0 * slowest.0)).max().expect("two")
    }

    /// How long some channel has worked both ways between two agents that were in time.
    pub fn working_for(&self) -> Nanos {
        self.working_since.iter().map(|since| self.now.since(*since)).max().expect("a channel")
    }

    fn check(&mut self) {
        let sane = self.sides.iter().all(|s| s.core.is_some() && s.stalled_until <= self.now);
        let since = self.sides[A].sane_since.max(self.sides[B].sane_since);
        for (channel, working) in self.working_since.iter_mut().enumerate() {
            let end = |s: usize| {
                let path = self.paths[s][channel];
                let side = &self.sides[s];
                !path.cut && path.lost == 0 && side.carrier(channel) && side.errno[channel].is_none()
            };
            if !sane || !end(A) || !end(B) {
                *working = Nanos::NEVER;
            } else if *working == Nanos::NEVER || *working < since {
                *working = self.now;
            }
        }
        if self.babbles != [false; 2] {
            return;
        }
        let both = self.sides[A].owned() & self.sides[B].owned();
        let slack = self.detection().after(self.sides[A].timing.interval.max(self.sides[B].timing.interval));
        if both & !self.dual != 0 {
            self.duals += 1;
            assert!(self.working_for() <= slack, "both began to hold a group although a channel works");
        }
        self.dual = both;
        let takes = self.sides[A].acquire_takes.max(self.sides[B].acquire_takes);
        let settling = slack.after(takes.times(6)).after(self.detection());
        let settles = self.working_for().min(self.now.since(self.willing_since)) > settling;
        assert!(both == 0 || !settles, "both hold a group for too long");
        let willing = self.sides.iter().all(|s| !s.acquire_fails && !s.release_fails && !s.maintains() && !s.leaving());
        let kept = self.sides.iter().any(|s| s.core.as_ref().is_some_and(|core| core.kept() != 0));
        if !willing || kept || self.sides[A].digest != self.sides[B].digest {
            self.willing_since = Nanos::NEVER;
        } else if self.willing_since == Nanos::NEVER {
            self.willing_since = self.now;
        }
        if self.sides.iter().any(|s| s.core.as_ref().is_some_and(|core| core.wished() != 0)) {
            self.wished_at = self.now;
        }
        let handed_over = self.wished_at.after(takes.times(6)).after(slack) < self.now;
        if self.working_for().min(self.now.since(self.willing_since)) > self.patience() && handed_over {
            self.assert_settled();
        }
    }

    /// Within this after the last fault, everything is as it should be.
    pub fn patience(&self) -> Nanos {
        let takes = self.sides[A].acquire_takes.max(self.sides[B].acquire_takes);
        let rest = Nanos::from_millis(1_000);
        self.detection().times(5).after(takes.times(8)).after(rest)
    }

    /// Every group has one holder, and both agree on who it is.
    pub fn assert_settled(&self) {
        let [a, b] = self.held();
        let all = (1 << self.sides[A].homes.len()) - 1;
        assert_eq!((a & b, a | b), (0, all), "holders {a:b} and {b:b}");
        assert_eq!([self.sides[A].addresses, self.sides[B].addresses], [a, b], "addresses are where the holders are");
        assert_eq!([self.core(A).peer_owned(), self.core(B).peer_owned()], [b, a], "both views agree");
        assert!([A, B].iter().all(|&s| self.core(s).peer() == PeerState::Good), "each is alive to the other");
    }

    pub fn assert_all_channels_good(&self) {
        for side in [A, B] {
            assert!(self.channels(side).all(|c| c.state == ChannelState::Open), "side {side}");
        }
    }
}
