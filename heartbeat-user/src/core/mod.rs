//! The judging: plain data in, plain data out; no I/O, no clock, no thread, no allocation after the start.
//!
//! The driver calls `handle_*` with what it saw and when, then [`Core::handle_time`], then takes actions with
//! [`Core::poll_action`] until there are none, and comes back at [`Core::deadline`] at the latest. The pulse thread and
//! the simulation drive it the same way.
#![forbid(unsafe_code)]

mod action;
mod alone;
mod analysis;
mod arbiter;
mod arbitration;
mod cell;
mod counter;
mod differences;
mod event;
mod evidence;
mod exclusive;
mod flaps;
mod generator;
mod guard;
mod hooks;
mod inquiry;
mod invariants;
mod judge;
mod links;
mod names;
mod networks;
mod orders;
mod ownership;
mod pairing;
mod peer;
mod peer_host;
pub mod promise;
mod safety;
mod said;
mod sending;
mod service;
mod setup;
#[cfg(test)]
pub(crate) mod testing;
mod timers;
mod transit;
mod view;
mod watch;
mod wish;

pub use action::{Action, Arbitrate, Arbitrated, Hook, SocketResult};
pub use analysis::is_quick;
pub use cell::CellState;
pub use counter::{ChannelChange, ChannelState, Counter};
pub use differences::Differences;
pub use event::{Difference, Event, Reason, Safe, Withheld};
pub use evidence::Probed;
pub use judge::{
    BothFaulted, Evidence, Needs, PathFacts, Place, Side, Verdict, Why, judge, judge_groups, place, weigh,
};
pub use names::{Names, name_id};
pub use orders::{OperatorOrder, Refusal};
pub use peer_host::NoticeSaid;
pub use said::PeerState;
pub use service::Service;
pub use setup::{Exclusivity, Guards, HookedGroups, Judging, Resumed, Setup};
pub use view::ChannelView;

use crate::types::{ChannelIndex, GroupIndex, Link, Nanos, Timing};
use action::Actions;
use alone::Alone;
use analysis::{Analysis, AnalysisSaid};
use arbiter::ArbiterInquiry;
use evidence::Memory;
use flaps::Flaps;
use generator::Generator;
use guard::Objections;
use heartbeat_ebpf::wire::{Message, flags};
use hooks::{Courses, Input};
use names::PeerNames;
use ownership::{LetGo, Ownership, OwnershipFacts, Step};
use pairing::Pairing;
use peer_host::PeerHost;
use safety::Safety;
use said::PeerSaid;
use timers::Wake;
use transit::Transit;
use watch::Watch;
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
    /// When somebody was last answered who is not paired with us; one is to be answered now.
    answered_at: Nanos,
    owes_answer: bool,
}

impl Channel {
    fn new(timing: Timing, link: Link, pace: u32, now: Nanos) -> Self {
        let timing = timing.paced(pace);
        Self {
            timing,
            pace,
            counter: Counter::new(&timing, now),
            generator: Generator::new(),
            link,
            errno: None,
            flaps: Flaps::default(),
            echo: None,
            transit: Transit::default(),
            stranger_at: None,
            answered_at: Nanos(0),
            owes_answer: false,
        }
    }

    /// When time alone may change something of it. It sends when the core does.
    fn times(&self, wake: &mut Wake) {
        wake.due(self.counter.deadline(&self.timing));
        wake.due(self.flaps.deadline());
    }
}

/// Of what each heartbeat says, that which the peer is told at once where it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PublicState {
    owned: u64,
    term: u64,
    wanted: u64,
    flags: u8,
    analysis: AnalysisSaid,
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
    arbiter: ArbiterInquiry,
    alone: Alone,
    /// What makes it safe to take exclusive groups, as of the last decision.
    safety: Safety,
    /// Groups of ours for which the kernel is to keep silent.
    shut: u64,
    started: Nanos,
    /// When the peer can last have said what was heard.
    said_at: Nanos,
    /// When the peer was heard last before that; when we started, where it never was.
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
    told: differences::Told,
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
    public: PublicState,
    /// Messages still to send before the end.
    farewells: Option<u8>,
    actions: Actions,
}

/// Stalls shorter than this are for the histogram, not for the operator.
const NOTEWORTHY: Nanos = Nanos::from_millis(10);
/// EADDRINUSE, errno(3) on Linux.
const ADDRESS_IN_USE: i32 = 98;
/// Copies of the last message of a life: one lost must not cost a detection time.
const FAREWELLS: u8 = 3;

/// The groups of a life that begins now, with what one before left.
fn begun(setup: &Setup, detection: Nanos, now: Nanos) -> Ownership {
    let resumed = setup.resumed.unwrap_or_default();
    let mut ownership = Ownership::new(setup.node, &setup.homes, resumed.owned, resumed.term, now.after(detection))
        .holding(setup.judging.hold, detection);
    ownership.letting_go_of(resumed.release & !resumed.owned);
    ownership.departed(setup.departed);
    ownership.forced_before(resumed.forced & resumed.owned);
    ownership
}

impl Core {
    /// Starts to listen at `now`.
    #[must_use]
    pub fn new(mut setup: Setup, now: Nanos) -> Self {
        // Nobody lets go of anything before it knows that it is cut off.
        setup.exclusivity.release_within = setup.exclusivity.release_within.max(setup.finds_out_within());
        let timing = setup.timing;
        let resumed = setup.resumed.unwrap_or_default();
        let slowest = setup.paces.iter().copied().max().unwrap_or(1);
        let leftovers = resumed.release & !resumed.owned;
        let ends = setup.links.iter().zip(&setup.paces);
        let channels: Vec<_> = ends.map(|(&link, &pace)| Channel::new(timing, link, pace, now)).collect();
        let mut core = Self {
            pairing: Pairing::new(setup.incarnation, resumed.peer_incarnation),
            // Room for everything that one turn can cause: fourteen actions a channel, a dozen a group, and the rest.
            actions: Actions::with_room(channels.len() * 16 + setup.homes.len() * 12 + 32),
            courses: Courses::new(setup.homes.len(), setup.hooks, resumed.owned),
            leftovers,
            steps: Vec::with_capacity(setup.homes.len() * 4 + 4),
            channels,
            ownership: begun(&setup, timing.paced(slowest).detection(), now),
            analysis: Analysis::new(&setup.judging, Memory::new(now, &setup.links)),
            wish: Wish::default(),
            watch: Watch::of(resumed.fenced_at),
            arbiter: ArbiterInquiry::default(),
            alone: Alone::of(resumed.letting_go_since),
            safety: Safety::default(),
            shut: 0,
            started: now,
            said_at: Nanos(0),
            heard_before: if resumed.heard == Nanos(0) { now } else { resumed.heard },
            maintained_since: now,
            host: PeerHost::default(),
            peer: PeerState::Unknown,
            peer_known: false,
            paired_at: now,
            said: PeerSaid::remembered(&resumed),
            peer_names: PeerNames::default(),
            told: differences::Told::default(),
            alone_at: now,
            next_send: now,
            expected: now,
            period: timing.period,
            slowest,
            ticks: 0,
            flags: if setup.maintenance { flags::MAINTENANCE } else { 0 },
            urgent: false,
            public: PublicState { owned: resumed.owned, ..PublicState::default() },
            farewells: None,
            setup,
        };
        core.begin_life(now);
        core
    }

    /// What was left is let go of before all else.
    fn begin_life(&mut self, now: Nanos) {
        let Setup { node, incarnation, .. } = self.setup;
        self.tell(now, Event::Ready { node, incarnation, resumed: self.setup.resumed.is_some() });
        let leftovers = self.leftovers;
        for group in (0..self.setup.homes.len() as u8).map(GroupIndex).filter(|g| leftovers & g.bit() != 0) {
            self.tell(now, Event::GroupReleasing { group, reason: Reason::Leftover });
            self.begin(now, group, Input::ReleaseLeftover, Reason::Leftover);
        }
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
        let (timing, term) = (self.setup.timing, self.term());
        let late = now.since(self.expected);
        let stalled = late.0 > timing.interval.0 / 2;
        if late >= timing.interval.max(NOTEWORTHY) {
            self.tell(now, Event::Stalled { late_ns: late });
        }
        for i in 0..self.channels.len() {
            let channel = ChannelIndex(i as u8);
            let c = &mut self.channels[i];
            if c.counter.check(&c.timing, now, stalled) == Some(ChannelChange::Failed) {
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
        self.assert_invariants(now, term);
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
        self.actions.pop()
    }

    fn tell(&mut self, now: Nanos, event: Event) {
        self.actions.tell(now, event);
    }

    fn decide(&mut self, now: Nanos) {
        self.wish(now);
        let objections = self.guard(now);
        self.note_alone(now);
        self.arbitrate(now, self.to_be_granted(now, objections.any));
        self.safety = self.known(now).weigh(now);
        let let_go = self.let_go(now);
        self.shut = self.ownership.owned() & (let_go.cut_off | let_go.not_granted);
        let facts = self.facts(now, objections, let_go);
        let mut steps = std::mem::take(&mut self.steps);
        self.ownership.decide(now, &facts, |step| steps.push(step));
        steps.drain(..).for_each(|step| self.take_step(now, step));
        self.steps = steps;
        if self.is_leaving() && self.farewells.is_none() && self.ownership.owned() & !self.ownership.kept() == 0 {
            self.farewells = Some(FAREWELLS);
        }
        let public = self.public_state();
        self.urgent |= std::mem::replace(&mut self.public, public) != public;
    }

    /// What the ownership of groups is decided by.
    fn facts(&self, now: Nanos, objections: Objections, let_go: LetGo) -> OwnershipFacts {
        let said = &self.said;
        let wish = said.wish();
        let goes = self.verdict().map_or(0, Verdict::goes);
        OwnershipFacts {
            peer_good: self.peer == PeerState::Good,
            peer_dead: self.peer == PeerState::Bad,
            peer_leaving: said.is_leaving(),
            peer_owned: said.owned,
            peer_unknown: said.unknown,
            peer_term: said.term,
            peer_taken: said.taken(),
            wants: self.wish.groups(),
            // One that hears nothing of us never heeds it.
            heeded: said.echo_sent_ns >= self.wish.since().0 || self.alone.finds_us_dead(),
            peer_wants: wish.groups,
            granted: if wish.asked { wish.groups } else { wish.groups & goes },
            granted_for: if wish.asked { Reason::HandedOver } else { Reason::WeFailed },
            wants_for: self.wish.why(),
            maintenance: self.in_maintenance(),
            kept: wish.kept,
            guard: objections.any,
            fence: objections.fenced,
            exclusive: self.setup.exclusivity.groups,
            safety: self.safety,
            confirms: self.host_confirms(now),
            closed: self.host.closed(),
            served: self.host.owned(),
            host_term: self.host.term(),
            deaf: self.peer == PeerState::Good && said.deaf,
            deaf_keeps: self.deaf_peer_keeps(now),
            let_go,
            same_groups: !said.differs.groups,
            leftovers: self.leftovers != 0,
            occupied: self.is_occupied(),
        }
    }

    /// Whether somebody else speaks for this controller.
    fn is_occupied(&self) -> bool {
        self.channels.iter().any(|c| c.errno == Some(ADDRESS_IN_USE))
    }

    fn public_state(&self) -> PublicState {
        PublicState {
            owned: self.ownership.owned(),
            term: self.ownership.term(),
            wanted: self.wanted(),
            flags: self.flags_said(),
            analysis: self.analysis.said(),
        }
    }

    /// When time alone may change something next.
    fn next_wake(&self, now: Nanos) -> Nanos {
        let Exclusivity { arbiter, .. } = self.setup.exclusivity;
        let mut wake = Wake::after(now);
        wake.due(self.next_send);
        self.channels.iter().for_each(|c| c.times(&mut wake));
        self.ownership.times(&mut wake);
        self.analysis.times(&mut wake);
        self.wish.times(&self.setup.failback, &mut wake);
        self.guard_times(&mut wake);
        self.host.times(self.takeover_after(), &mut wake);
        self.alone.times(self.detection(), arbiter.map(|_| self.setup.exclusivity.arbitration()), &mut wake);
        self.arbiter.times(self.setup.exclusivity.patience(), &mut wake);
        wake.ends(self.safety.until);
        wake.earliest().max(now)
    }
}
