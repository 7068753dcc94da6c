//! The judging: plain data in, plain data out; no I/O, no clock, no thread, no allocation after the start.
//!
//! The driver calls `handle_*` with what it saw and when, then [`Core::handle_time`], then takes actions with
//! [`Core::poll_action`] until there are none, and comes back at [`Core::deadline`] at the latest. The pulse thread, the
//! tests and whoever replays a record drive it the same way.
#![forbid(unsafe_code)]

mod action;
mod alone;
mod analysis;
mod arbitration;
mod cell;
mod counter;
mod event;
mod evidence;
mod exclusive;
mod flaps;
mod generator;
mod guard;
mod hooks;
mod judge;
mod links;
mod names;
mod ownership;
mod pairing;
mod peer;
mod peer_host;
pub mod promise;
mod sending;
mod setup;
#[cfg(test)]
mod testing;
mod transit;
mod view;
mod wish;

pub use action::{Action, SocketResult};
pub use analysis::{Judging, Service, is_quick};
pub use arbitration::{Arbitrate, Arbitrated};
pub use cell::CellState;
pub use counter::{Change as ChannelChange, Counter, State as ChannelState};
pub use event::{Difference, Event, Reason, Withheld};
pub use evidence::Probed;
pub use exclusive::{Exclusivity, Safe};
pub use guard::Guards;
pub use hooks::{Hook, HookedGroups};
pub use judge::{
    BothFaulted, Evidence, Needs, PathFacts, Place, Side, Verdict, Why, judge, judge_groups, place, weigh,
};
pub use names::{Names, name_id};
pub use peer::PeerState;
pub use peer_host::NoticeSaid;
pub use setup::{Resumed, Setup};
pub use view::ChannelView;
pub use wish::{OperatorOrder, Refusal};

use crate::types::{ChannelIndex, GroupIndex, Link, Nanos, Timing};
use alone::Alone;
use analysis::Analysis;
use arbitration::Arbiter;
use counter::Change;
use evidence::Memory;
use exclusive::Safety;
use flaps::Flaps;
use generator::Generator;
use guard::Watch;
use heartbeat_ebpf::wire::{Message, flags};
use hooks::{Courses, Input};
use names::PeerNames;
use ownership::{Facts, Ownership, Step};
use pairing::Pairing;
use peer::PeerSaid;
use peer_host::PeerHost;
use std::collections::VecDeque;
use transit::Transit;
use wish::Wish;

/// Of a message heard: who sent it, when it was sent there, when it arrived here.
#[derive(Clone, Copy, Debug)]
struct Heard {
    incarnation: u64,
    sent_ns: u64,
    arrived: Nanos,
}

impl Heard {
    const fn of(message: &Message, arrived: Nanos) -> Self {
        Self { incarnation: message.incarnation, sent_ns: message.sent_ns, arrived }
    }
}

#[derive(Clone, Debug)]
struct Channel {
    /// At its own pace.
    timing: Timing,
    pace: u32,
    counter: Counter,
    generator: Generator,
    link: Link,
    errno: Option<i32>,
    flaps: Flaps,
    /// The last message heard.
    echo: Option<Heard>,
    /// How long the peer's messages take.
    transit: Transit,
    stranger_at: Option<Nanos>,
    /// The newest of our own messages that came back on it: until then it passed heartbeats both ways.
    returned: Nanos,
}

/// The agent's judgement.
#[derive(Clone, Debug)]
pub struct Core {
    setup: Setup,
    channels: Vec<Channel>,
    pairing: Pairing,
    ownership: Ownership,
    courses: Courses,
    /// What an earlier life left and is not let go of yet.
    leftovers: u64,
    /// Reused at each decision.
    steps: Vec<Step>,
    analysis: Analysis,
    wish: Wish,
    watch: Watch,
    arbiter: Arbiter,
    alone: Alone,
    /// What makes it safe to take exclusive groups, as of the last decision.
    safety: Safety,
    /// Groups of ours for which the kernel is to keep silent.
    shut: u64,
    started: Nanos,
    /// When the kernel heard the peer last before that; when we started, where it never did.
    heard_before: Nanos,
    maintained_since: Nanos,
    peer: PeerState,
    /// What its host says although its agent does not.
    host: PeerHost,
    peer_known: bool,
    /// When this pairing began: what its peer sends from then on answers to something later.
    paired_at: Nanos,
    said: PeerSaid,
    peer_names: PeerNames,
    /// The differences of the configurations that were told.
    told: [bool; 3],
    /// The last time at which the peer surely did not hold what we hold.
    alone_at: Nanos,
    next_send: Nanos,
    /// The wake-up that we asked for: coming later than that is our own stall.
    expected: Nanos,
    /// The time between two checks: ours, or longer where the peer's interval is.
    period: Nanos,
    /// The longest of the channels' paces.
    slowest: u32,
    /// Of the generators, so far.
    ticks: u64,
    flags: u8,
    /// What we say changed: say it at once, not at the next interval.
    urgent: bool,
    /// When somebody was last answered who is not paired with us.
    answered_at: Nanos,
    said_state: (u64, u64, u64, u8),
    /// Messages still to send before the end.
    farewells: Option<u8>,
    actions: VecDeque<Action>,
}

/// Stalls shorter than this are for the histogram, not for the operator.
const NOTEWORTHY: Nanos = Nanos::from_millis(10);
/// EADDRINUSE, errno(3) on Linux.
const ADDRESS_IN_USE: i32 = 98;
/// Copies of the last message of a life: one lost must not cost a detection time.
const FAREWELLS: u8 = 3;

impl Core {
    /// Starts to listen at `now`.
    #[must_use]
    pub fn new(mut setup: Setup, now: Nanos) -> Self {
        // Nobody lets go of anything before it knows that it is cut off.
        setup.exclusivity.release_within = setup.exclusivity.release_within.max(setup.finds_out_within());
        let timing = setup.timing;
        let resumed = setup.resumed.unwrap_or_default();
        let slowest = setup.paces.iter().copied().max().unwrap_or(1);
        let detection = timing.paced(slowest).detection();
        let listen_until = now.after(detection);
        let mut ownership = Ownership::new(setup.node, &setup.homes, resumed.owned, resumed.term, listen_until)
            .holding(setup.judging.hold, detection);
        let leftovers = resumed.release & !resumed.owned;
        ownership.letting_go_of(leftovers);
        ownership.departed(setup.departed);
        ownership.forced_before(resumed.forced & resumed.owned);
        let channels = setup
            .links
            .iter()
            .zip(&setup.paces)
            .map(|(&link, &pace)| Channel {
                timing: timing.paced(pace),
                pace,
                counter: Counter::new(&timing.paced(pace), now),
                generator: Generator::new(),
                link,
                errno: None,
                flaps: Flaps::default(),
                echo: None,
                transit: Transit::default(),
                stranger_at: None,
                returned: Nanos(0),
            })
            .collect::<Vec<_>>();
        let mut core = Self {
            pairing: Pairing::new(setup.incarnation, resumed.peer_incarnation),
            // Room for everything that one turn can cause: fourteen actions a channel, a dozen a group, and the rest.
            actions: VecDeque::with_capacity(channels.len() * 16 + setup.homes.len() * 12 + 32),
            courses: Courses::new(setup.homes.len(), setup.hooks, resumed.owned),
            leftovers,
            steps: Vec::with_capacity(setup.homes.len() * 4 + 4),
            channels,
            ownership,
            analysis: Analysis::new(&setup.judging, Memory::new(now, &setup.links)),
            wish: Wish::default(),
            watch: Watch::of(resumed.fenced_at),
            arbiter: Arbiter::default(),
            alone: Alone::of(resumed.letting_go_since),
            safety: Safety::default(),
            shut: 0,
            started: now,
            heard_before: if resumed.heard == Nanos(0) { now } else { resumed.heard },
            maintained_since: now,
            host: PeerHost::default(),
            peer: PeerState::Unknown,
            peer_known: false,
            paired_at: now,
            said: PeerSaid::remembered(&resumed),
            peer_names: PeerNames::default(),
            told: [false; 3],
            alone_at: now,
            next_send: now,
            expected: now,
            period: timing.period,
            slowest,
            ticks: 0,
            flags: if setup.maintenance { flags::MAINTENANCE } else { 0 },
            urgent: false,
            answered_at: Nanos(0),
            said_state: (resumed.owned, 0, 0, 0),
            farewells: None,
            setup,
        };
        core.tell(
            now,
            Event::Ready {
                node: core.setup.node,
                incarnation: core.setup.incarnation,
                resumed: core.setup.resumed.is_some(),
            },
        );
        for group in (0..core.setup.homes.len() as u8).map(GroupIndex).filter(|g| leftovers & g.bit() != 0) {
            core.tell(now, Event::GroupReleasing { group, reason: Reason::Leftover });
            core.begin(now, group, Input::ReleaseLeftover, Reason::Leftover);
        }
        core
    }

    /// The group's addresses are in place (`true`), or none of them could be added.
    pub fn handle_acquired(&mut self, now: Nanos, group: GroupIndex, in_place: bool) {
        self.happen(now, group, if in_place { Input::InPlace } else { Input::NotInPlace });
    }

    /// A fresh look showed that none of our own channels has a carrier: it is us, and nothing was added.
    pub fn handle_isolated(&mut self, now: Nanos, group: GroupIndex) {
        self.happen(now, group, Input::Isolated);
    }

    /// The group's addresses are gone.
    pub fn handle_released(&mut self, now: Nanos, group: GroupIndex) {
        self.happen(now, group, Input::Gone);
    }

    /// Some of the group's addresses could not be removed: it was not let go of.
    pub fn handle_release_failed(&mut self, now: Nanos, group: GroupIndex) {
        self.happen(now, group, Input::NotGone);
    }

    /// The agent is to end for good: release, say `leaving`, exit.
    pub fn handle_stop(&mut self, now: Nanos) {
        if self.flags & flags::LEAVING == 0 {
            self.flags |= flags::LEAVING;
            self.ownership.stop();
            self.tell(now, Event::Stopping);
        }
    }

    /// The agent is to be replaced by a new life of itself: keep everything, say so once, exit.
    /// One that is already leaving leaves.
    pub fn handle_restart(&mut self) {
        if self.flags & flags::LEAVING == 0 {
            self.flags |= flags::RESTARTING;
            self.farewells.get_or_insert(1);
        }
    }

    /// Everything that follows from the time, and from what was handled before it.
    pub fn handle_time(&mut self, now: Nanos) {
        let timing = self.setup.timing;
        let late = now.since(self.expected);
        let stalled = late.0 > timing.interval.0 / 2;
        if late >= timing.interval.max(NOTEWORTHY) {
            self.tell(now, Event::Stalled { late_ns: late });
        }
        for i in 0..self.channels.len() {
            let channel = ChannelIndex(i as u8);
            let c = &mut self.channels[i];
            if c.counter.check(&c.timing, now, stalled) == Some(Change::Failed) {
                self.tell_change(now, channel);
            } else if c.flaps.calms(now) {
                self.tell_state(now, channel);
            }
        }
        self.judge_peer(now);
        self.analyse(now);
        self.decide(now);
        self.generate(now);
        self.expected = self.next_wake(now);
    }

    /// Whether some channel is about to be failed: the moment for a look at the interfaces.
    #[must_use]
    pub fn silence_is_due(&self, now: Nanos) -> bool {
        self.channels.iter().any(|c| c.counter.deadline(&c.timing) <= now)
    }

    /// When to call [`Core::handle_time`] again at the latest.
    #[must_use]
    pub const fn deadline(&self) -> Nanos {
        self.expected
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn tell(&mut self, now: Nanos, event: Event) {
        self.actions.push_back(Action::Tell(now, event));
    }

    fn decide(&mut self, now: Nanos) {
        self.wish(now);
        let (peer_wants, asked, _, kept) = self.peer_wish();
        let [guard, fence] = self.guard(now);
        self.note_alone(now);
        self.arbitrate(now, self.to_be_granted(now, guard));
        self.safety = self.known(now).weigh(now);
        let let_go = self.let_go(now);
        self.shut = self.ownership.owned() & (let_go.cut_off | let_go.not_granted);
        let goes = self.analysis.standing.map_or(0, Verdict::goes);
        let facts = Facts {
            peer_good: self.peer == PeerState::Good,
            wants: self.wish.groups,
            wants_for: self.wish.why,
            heeded: self.said.echo_sent_ns >= self.wish.since.0,
            peer_wants,
            granted: if asked { peer_wants } else { peer_wants & goes },
            granted_for: if asked { Reason::HandedOver } else { Reason::WeFailed },
            maintenance: self.in_maintenance(),
            kept,
            guard,
            fence,
            exclusive: self.setup.exclusivity.groups,
            safety: self.safety,
            confirms: self.host_confirms(now),
            closed: self.host.closed(),
            served: self.host.owned(),
            host_term: self.host.term(),
            deaf: self.peer == PeerState::Good && self.said.deaf,
            let_go,
            peer_dead: self.peer == PeerState::Bad,
            peer_leaving: self.said.flags & flags::LEAVING != 0,
            peer_owned: self.said.owned,
            peer_unknown: self.said.unknown,
            peer_term: self.said.term,
            peer_taken: (self.said.flags & flags::CONTESTED != 0).then_some(self.said.wanted & self.said.owned),
            same_groups: !self.said.differs[1],
            leftovers: self.leftovers != 0,
            occupied: self.channels.iter().any(|c| c.errno == Some(ADDRESS_IN_USE)),
        };
        let mut steps = std::mem::take(&mut self.steps);
        self.ownership.decide(now, &facts, |step| steps.push(step));
        steps.drain(..).for_each(|step| self.take_step(now, step));
        self.steps = steps;
        let leaving = self.flags & flags::LEAVING != 0;
        if leaving && self.farewells.is_none() && self.ownership.owned() & !self.ownership.kept() == 0 {
            self.farewells = Some(FAREWELLS);
        }
        let state = (self.ownership.owned(), self.ownership.term(), self.wanted(), self.flags_said());
        if state != self.said_state {
            self.said_state = state;
            self.urgent = true;
        }
    }

    fn next_wake(&self, now: Nanos) -> Nanos {
        let silence = self.channels.iter().map(|c| c.counter.deadline(&c.timing).min(c.flaps.deadline())).min();
        silence
            .unwrap_or(Nanos::NEVER)
            .min(self.next_send)
            .min(self.ownership.deadline(now))
            .min(self.analysis.deadline(now))
            .min(self.wish_deadline(now))
            .min(self.guard_deadline(now))
            .min(self.waits_until(now))
            .max(now)
    }

    /// When what is waited for of the silent peer, its host, the arbiter may change by time alone.
    fn waits_until(&self, now: Nanos) -> Nanos {
        let promised = self.safety.until.unwrap_or(Nanos::NEVER);
        let host = self.host_deadlines().into_iter().chain(self.alone_deadlines());
        let waits = host.chain([promised, self.arbiter.deadline(self.setup.exclusivity.patience())]);
        waits.filter(|at| *at > now).min().unwrap_or(Nanos::NEVER)
    }
}
