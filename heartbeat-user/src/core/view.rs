//! What the judgement shows: to the peer in each message, to the kernel, to the status.

use super::{ChannelState, Core, Differences, PeerState, Place, Setup, Withheld};
use crate::types::{ChannelIndex, Link, Nanos, Node, Sides, bits};
use heartbeat_ebpf::{
    echo::Echo,
    wire::{HELD_LONG, Message, QOS, flags},
};

/// What the status shows of a channel's judgement.
#[derive(Clone, Copy, Debug)]
pub struct ChannelView {
    /// Where it stands.
    pub state: ChannelState,
    /// The counter of FIG. 4.
    pub count: u32,
    /// Messages sent on it.
    pub sent: u64,
    /// When its last heartbeat arrived.
    pub last_arrival: Option<Nanos>,
    /// Its interface.
    pub link: Link,
    /// Where its fault lies, where the last analysis found one.
    pub place: Option<Place>,
}

/// What the status, and the kernel, are shown of the judgement.
impl Core {
    /// The message that is due on a channel: one more is sent (FIG. 5, step 516).
    pub fn message(&mut self, now: Nanos, channel: ChannelIndex) -> Option<Message> {
        let working = self.peer == PeerState::Good;
        let wanted = self.wanted();
        let flags = self.flags_said();
        let configured = self.configured();
        let heard = self.heard();
        let said = self.analysis.said();
        // Of what is only being let go of, nothing is claimed: it outdoes nobody.
        let holds = self.leftovers == 0 || self.ownership.held() != 0;
        let channel_id = self.setup.names.channels().get(channel.usize()).copied().unwrap_or_default();
        let c = self.channels.get_mut(channel.usize())?;
        if !c.generator.is_open() {
            return None;
        }
        let peer_incarnation = self.pairing.name(channel, working);
        // Nobody is told of what another life of its host said, perhaps on another clock.
        let last = c.echo.filter(|last| last.incarnation == peer_incarnation);
        let (echo_sent_ns, arrived) = last.map_or((0, now), |last| (last.sent_ns, last.arrived));
        let sequence = c.generator.next_sequence();
        let (entry, entries, entry_id) = self.setup.names.entry(sequence, channel);
        let key_id = self.signing(sequence);
        Some(Message {
            pair_id: self.setup.pair_id,
            node: self.setup.node.wire(),
            entry,
            entries,
            entry_id,
            channel_id,
            names_digest: self.setup.names.digest(),
            key_prints: self.setup.key_prints,
            file_time: self.setup.file_time,
            flags,
            key_id,
            interval_us: u32::try_from(self.setup.timing.interval.0 / 1_000).unwrap_or(u32::MAX),
            incarnation: self.pairing.own(),
            peer_incarnation,
            sequence,
            sent_ns: now.0,
            echo_sent_ns,
            echo_held_ns: u32::try_from(now.since(arrived).0).unwrap_or(HELD_LONG),
            configured,
            heard,
            owned: self.ownership.owned(),
            term: if holds { self.ownership.term() } else { 0 },
            groups_digest: self.setup.groups_digest,
            operational: said.operational,
            certain: said.certain,
            analysis_wanted: said.wanted,
            analysis_done: said.done,
            qos: said.qos,
            release_within: self.setup.exclusivity.promise(),
            duties_qos: said.duties & QOS,
            wanted,
        })
    }

    /// A question to the peer's host.
    #[must_use]
    pub fn echo_request(&self, now: Nanos, channel: ChannelIndex) -> Echo {
        let Setup { pair_id, node, ref names, .. } = self.setup;
        let channel_id = names.channels().get(channel.usize()).copied().unwrap_or_default();
        Echo::request(pair_id, node.wire(), channel_id, self.signing(1), self.pairing.own(), self.pairing.peer(), now.0)
    }

    /// A channel.
    #[must_use]
    pub fn channel(&self, channel: ChannelIndex) -> Option<ChannelView> {
        self.channels.get(channel.usize()).map(|c| ChannelView {
            state: c.counter.state(),
            count: c.counter.count(),
            sent: c.generator.sent(),
            last_arrival: c.counter.last_arrival(),
            link: c.link,
            place: self.analysis.place(channel),
        })
    }

    /// Where the peer stands.
    #[must_use]
    pub const fn peer(&self) -> PeerState {
        self.peer
    }

    /// The peer's incarnation that counts as life; 0 before the first pairing.
    #[must_use]
    pub const fn peer_incarnation(&self) -> u64 {
        self.pairing.peer()
    }

    /// The groups that the peer said it holds.
    #[must_use]
    pub const fn peer_owned(&self) -> u64 {
        self.said.owned & !self.said.unknown
    }

    /// Whether the peer said that it leaves.
    #[must_use]
    pub const fn peer_left(&self) -> bool {
        self.said.flags & flags::LEAVING != 0
    }

    /// Groups that we hold or are about to.
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.ownership.owned()
    }

    /// Groups whose addresses are in place.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.ownership.held()
    }

    /// Groups that we wish to be handed.
    #[must_use]
    pub const fn wished(&self) -> u64 {
        self.wish.groups()
    }

    /// Groups that we tried to let go of, and hold on.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.ownership.kept()
    }

    /// Whether the agent is being stopped.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.flags & flags::LEAVING != 0
    }

    /// The actions that there is room for; it never changes, for nothing is allocated after the start.
    #[must_use]
    pub fn room(&self) -> usize {
        self.actions.room()
    }

    /// Our term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.ownership.term()
    }

    /// Why nothing is acquired, where something would be.
    #[must_use]
    pub const fn withheld(&self) -> Option<Withheld> {
        self.ownership.withheld()
    }

    /// Whether an operator wants nothing to move.
    #[must_use]
    pub const fn maintenance(&self) -> Sides<bool> {
        Sides { own: self.flags & flags::MAINTENANCE != 0, peer: self.said.in_maintenance() }
    }

    /// What the configurations differ in.
    #[must_use]
    pub const fn differences(&self) -> Differences {
        self.said.differs
    }

    /// The keys that the peer said it has, as [`Setup::key_prints`]; none before it was heard.
    #[must_use]
    pub fn peer_key_prints(&self) -> Option<[u16; 2]> {
        Some(self.said.key_prints).filter(|prints| *prints != [0; 2])
    }

    /// The key to sign a channel's `n`-th message with, from 1: the one that is set to, if the peer has it. While nothing is
    /// heard, each of ours in turn: a peer that is to be reached has one of them. So keys can be replaced in any order.
    fn signing(&self, n: u64) -> u8 {
        let (own, set) = (self.setup.key_prints, self.setup.key_id);
        let other = 1 - set.min(1);
        let has = |id: u8| own[usize::from(id)] != 0 && own[usize::from(id)] == self.said.key_prints[usize::from(id)];
        let use_other = match self.peer {
            PeerState::Good => !has(set) && has(other),
            _ => own[usize::from(other)] != 0 && n.is_multiple_of(2),
        };
        if use_other { other } else { set }
    }

    /// The wishes and offers that the peer is told of.
    pub(super) fn wanted(&self) -> u64 {
        let kept = self.is_leaving().then(|| self.ownership.kept());
        self.wish.said(self.ownership.owned(), kept, self.ownership.contested())
    }

    /// The flags that it is told.
    pub(super) fn flags_said(&self) -> u8 {
        let master = if self.setup.node == Node::A { flags::MASTER } else { 0 };
        let asked = if self.wish.is_asked() { flags::ASKED } else { 0 };
        let contested = if self.ownership.contested().is_some() && !self.is_leaving() { flags::CONTESTED } else { 0 };
        let watched = if self.setup.exclusivity.watchdog == Nanos(0) { 0 } else { flags::WATCHED };
        self.flags | master | asked | contested | watched
    }

    pub(super) fn configured(&self) -> u64 {
        bits(self.channels.iter().map(|_| true))
    }

    pub(super) fn heard(&self) -> u64 {
        bits(self.channels.iter().map(|c| c.counter.state() == ChannelState::Open))
    }

    /// When the peer was heard last, on whatever channel.
    pub(super) fn last_heard(&self) -> Option<Nanos> {
        self.channels.iter().filter_map(|c| c.counter.last_arrival()).max()
    }

    pub(super) fn isolated(&self) -> bool {
        let lines = self.setup.lines;
        !self.channels.iter().enumerate().any(|(i, c)| c.link.carrier() && lines >> i & 1 == 0)
    }
}
