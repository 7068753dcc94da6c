//! The judging: plain data in, plain data out; no I/O, no clock, no thread, no allocation after the start.
//!
//! The driver calls `handle_*` with what it saw and when, then [`Core::handle_time`], then takes actions with
//! [`Core::poll_action`] until there are none, and comes back at [`Core::deadline`] at the latest. The pulse thread, the
//! tests and whoever replays a record drive it the same way.

mod analysis;
mod counter;
mod event;
mod evidence;
mod flaps;
mod generator;
mod guard;
mod hooks;
mod judge;
mod names;
mod ownership;
mod pairing;
mod peer;
mod sending;
#[cfg(test)]
mod testing;
mod types;
mod view;
mod wish;

pub use analysis::{Judging, is_quick};
pub use counter::{Change as ChannelChange, Counter, State as ChannelState};
pub use event::{Difference, Event, Reason, Withheld};
pub use evidence::Probed;
pub use guard::Guards;
pub use hooks::{Hook, HookedGroups};
pub use judge::{
    BothFaulted, Evidence, Needs, PathFacts, Place, Side, Verdict, Why, judge, judge_groups, place, weigh,
};
pub use names::{Names, name_id};
pub use peer::PeerState;
pub use types::*;
pub use view::{CellState, ChannelView};
pub use wish::{OperatorOrder, Refusal};

use analysis::Analysis;
use counter::Change;
use evidence::Memory;
use flaps::Flaps;
use generator::Generator;
use guard::Watch;
use heartbeat_ebpf::wire::{Message, flags};
use hooks::{Courses, Input};
use names::PeerNames;
use ownership::{Facts, Ownership, Step};
use pairing::Pairing;
use peer::PeerSaid;
use std::collections::VecDeque;
use wish::Wish;

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the channel's socket, then say [`Core::handle_socket`].
    OpenSocket(ChannelIndex),
    /// Close it.
    CloseSocket(ChannelIndex),
    /// Send what [`Core::message`] gives on the channel.
    Send(ChannelIndex),
    /// The channel's interface is another one than before: attach the XDP program anew.
    Attach(ChannelIndex),
    /// Add and announce the group's addresses, then say [`Core::handle_acquired`]. Where the reason is a dead peer, first
    /// take a fresh look whether any own channel has a carrier; if none has, say [`Core::handle_isolated`] instead.
    Acquire(GroupIndex, Reason),
    /// Remove the group's addresses, then say [`Core::handle_released`]; or, where some of them stay,
    /// [`Core::handle_release_failed`].
    Release(GroupIndex, Reason),
    /// Announce the group's addresses again: somebody else may have done so meanwhile.
    Announce(GroupIndex),
    /// Run a hook of the group, then say [`Core::handle_hook_ended`]. For each group there is one at a time.
    RunHook(GroupIndex, Hook, Reason),
    /// Run the local analysis of this number (FIG. 8), then say [`Core::handle_probed`]. Of one that [`is_quick`], only look
    /// afresh at our own interfaces and addresses.
    Probe(u32),
    /// Look whether any of our networks answers, then say [`Core::handle_looked`] with this number.
    Look(u32),
    /// Ask the peer's host for a sign of life, then say [`Core::handle_echo`] if there is one.
    Echo(ChannelIndex),
    /// Run the fence hook, then say [`Core::handle_fenced`] with this number.
    Fence(u32),
    /// End the fence hook of this number: it has nothing to do any more.
    FenceAbort(u32),
    /// Tell the operator; it happened at this time.
    Tell(Nanos, Event),
    /// Everything is released and said: end.
    Exit,
}

/// What the agent is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which controller we are.
    pub node: Node,
    /// The pair's id, for messages.
    pub pair_id: u32,
    /// The key that is to sign.
    pub key_id: u8,
    /// By key id, what tells a key from others; 0 where there is none.
    pub key_prints: [u16; 2],
    /// The names of channels and groups.
    pub names: Names,
    /// When the configuration was changed last, in seconds since 1970.
    pub file_time: u32,
    /// FIG. 4 and 5's parameters.
    pub timing: Timing,
    /// The interfaces of the channels, as they are now.
    pub links: Vec<Link>,
    /// On each channel, every so-manieth heartbeat is sent: 1, or more where a serial line is slow.
    pub paces: Vec<u32>,
    /// The serial lines, a bit each: a carrier there says nothing of our networks.
    pub lines: u64,
    /// The homes of the groups.
    pub homes: Vec<Node>,
    /// Of each group: how long both controllers must have been well before it goes home by itself.
    pub failback: Vec<Option<Nanos>>,
    /// The groups that the file has no more, a bit each: they are let go of, and never claimed.
    pub departed: u64,
    /// The guards of a claim from a silent peer.
    pub guards: Guards,
    /// Which groups have which hooks.
    pub hooks: HookedGroups,
    /// An order to hand over is given up after this.
    pub patience: Nanos,
    /// Whether an operator wants nothing to move.
    pub maintenance: bool,
    /// A digest of the groups' definitions.
    pub groups_digest: u64,
    /// How this pair judges.
    pub judging: Judging,
    /// Ours: random, never 0.
    pub incarnation: u64,
    /// What an earlier life of the agent left behind, where it was ended less than a detection time ago.
    pub resumed: Option<Resumed>,
}

/// What an earlier life of the agent left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// The peer's incarnation that it was paired with.
    pub peer_incarnation: u64,
    /// The groups that it held, whose addresses are still in place.
    pub owned: u64,
    /// The groups that it had, or had begun to have, and that are not ours any more: they are let go of, hooks included,
    /// before anything is claimed.
    pub release: u64,
    /// Its term.
    pub term: u64,
    /// What the peer had said last of maintenance and of leaving ([`CellState::peer_flags`]).
    pub peer_flags: u8,
    /// The groups that the peer could not let go of when it left.
    pub peer_kept: u64,
}

/// A channel's interface, as the driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none of that name.
    Absent,
    /// It is there.
    Present {
        /// Its index: changes when it is made anew.
        index: u32,
        /// Whether it is up and has a carrier.
        carrier: bool,
        /// Whether our own address is on it.
        address: bool,
    },
}

impl Link {
    const fn carrier(self) -> bool {
        matches!(self, Self::Present { carrier: true, .. })
    }

    /// Whether nothing of our own speaks against it.
    const fn is_well(self) -> bool {
        matches!(self, Self::Present { carrier: true, address: true, .. })
    }
}

/// How an operation on a socket went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketResult {
    /// It was opened.
    Opened,
    /// The message was taken.
    Sent,
    /// No room: the message is lost, the socket is not.
    Full,
    /// Neither: the error number.
    Failed(i32),
}

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
    peer: PeerState,
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
    said_state: (u64, u64, u8),
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
    pub fn new(setup: Setup, now: Nanos) -> Self {
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
            watch: Watch::default(),
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
            said_state: (resumed.owned, 0, 0),
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

    /// Heartbeats that are not our peer's, or not provably so, arrived on this channel.
    pub fn handle_stranger(&mut self, now: Nanos, channel: ChannelIndex) {
        if let Some(c) = self.channels.get_mut(channel.usize()) {
            c.stranger_at = Some(now);
        }
    }

    /// A channel's interface was looked at.
    pub fn handle_link(&mut self, now: Nanos, channel: ChannelIndex, link: Link) {
        let was_isolated = self.isolated();
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        let before = c.link;
        if before == link {
            return;
        }
        c.link = link;
        self.ownership.forget_failures();
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        let index = |link| match link {
            Link::Absent => None,
            Link::Present { index, .. } => Some(index),
        };
        if index(before) != index(link) {
            if c.generator.is_open() {
                c.generator.close(&c.timing, now);
                self.actions.push_back(Action::CloseSocket(channel));
            }
            match link {
                Link::Absent => self.tell(now, Event::InterfaceGone { channel }),
                Link::Present { .. } => {
                    self.actions.push_back(Action::Attach(channel));
                    self.tell(now, Event::InterfaceBack { channel });
                }
            }
        }
        if before.carrier() != link.carrier() {
            self.analysis.memory.carrier(now, channel, link.carrier());
        }
        match (before.carrier(), link.carrier()) {
            (true, false) => self.tell(now, Event::CarrierLost { channel }),
            (false, true) => self.tell(now, Event::CarrierFound { channel }),
            _ => {}
        }
        let lost = |link| matches!(link, Link::Present { address: false, .. });
        match (lost(before), lost(link)) {
            (false, true) => self.tell(now, Event::OwnAddressGone { channel }),
            (true, false) => self.tell(now, Event::OwnAddressBack { channel }),
            _ => {}
        }
        if was_isolated && !self.isolated() {
            // It was us; the peer gets a full detection time to be heard again.
            self.ownership.listen(now.after(self.detection()));
        }
    }

    /// How an operation on a channel's socket went.
    pub fn handle_socket(&mut self, now: Nanos, channel: ChannelIndex, result: SocketResult) {
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        match result {
            SocketResult::Opened => {
                c.generator.opened(&c.timing);
                self.actions.push_back(Action::Send(channel));
            }
            SocketResult::Full => {}
            SocketResult::Sent => {
                if c.errno.take().is_some() {
                    self.tell(now, Event::SocketWorks { channel });
                }
            }
            SocketResult::Failed(errno) => {
                // WO 01/82077, claim 2: a socket error is recognised and leads to a new socket.
                if c.generator.is_open() {
                    self.actions.push_back(Action::CloseSocket(channel));
                }
                c.generator.close(&c.timing, now);
                if c.errno.replace(errno) != Some(errno) {
                    self.tell(now, Event::SocketFailed { channel, errno });
                }
            }
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
            guard: self.guard(now),
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
        let state = (self.ownership.owned(), self.wanted(), self.flags_said());
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
            .max(now)
    }
}
