//! What the kernel is told of the judgement, and what a next life of the agent is left.

use super::{Core, PeerState, promise};
use crate::types::{MAX_GROUPS, Nanos};
use heartbeat_ebpf::wire::flags;

/// What outlives the agent, for its next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellState {
    /// The groups that it may go on with, if it comes soon: those of which nothing is half-way done.
    pub owned: u64,
    /// The groups of which a hook may have left something: `on_acquire` began, `on_release` has not ended well.
    pub hooked: u64,
    /// What the peer said last of maintenance and of leaving.
    pub peer_flags: u8,
    /// The groups that it could not let go of when it left.
    pub peer_kept: u64,
    /// Since when, by the peer's count, exclusive groups have been to be let go of.
    pub letting_go_since: Option<Nanos>,
    /// The groups that are here by an operator's order, whatever the silent peer has.
    pub forced: u64,
    /// When the silent peer was fenced.
    pub fenced_at: Option<Nanos>,
    /// The groups of which something is in place here, or is about to be.
    pub active: u64,
    /// The groups that the kernel need not keep silent about any more, if it does: those that are ours and not the peer's, as far
    /// as it can be heard, and those of which nothing is left here.
    pub open: u64,
    /// The groups that it is to keep silent about at once.
    pub shut: u64,
    /// When the peer can last have said what was heard.
    pub heard: Nanos,
    /// The peer works, and takes over what it hears nothing of.
    pub peer_good: bool,
    /// Where neither the agent gives a sign of life nor the peer is heard for so long, the kernel keeps silent about all groups.
    pub lease: Nanos,
    /// The groups that may be served until `serve_until` only.
    pub limited: u64,
    /// On our own clock; 0: for ever.
    pub serve_until: Nanos,
    /// Tells the peer's list of names, once it is known whole.
    pub peer_names: Option<u32>,
    /// Where each of our groups stands in it; 255: nowhere.
    pub places: [u8; MAX_GROUPS],
}

impl Core {
    /// What the kernel, and a next life, are to know.
    #[must_use]
    pub fn cell_state(&self, now: Nanos) -> CellState {
        let (owned, held) = (self.ownership.owned(), self.ownership.held());
        let peer_kept = self.said.wish().kept;
        let good = self.peer == PeerState::Good;
        let shut = self.shut;
        // What the peer claimed while we stood still is its own until it says otherwise; nobody knows that who has not heard it.
        let theirs = match self.peer {
            PeerState::Unknown => u64::MAX,
            PeerState::Good => self.said.owned,
            PeerState::Bad => 0,
        };
        let limit = self.limit(now);
        let (peer_names, places) = self.peer_names.group_places(&self.setup.names);
        let active = owned & !self.ownership.claiming();
        // One that left may be back, where we could not hear that; but what it could not let go of, it has.
        let left = if self.alone.has_missed_something() && peer_kept == 0 { 0 } else { flags::LEAVING };
        CellState {
            owned: active & !self.setup.hooks.any() | held,
            hooked: self.courses.left(),
            peer_flags: self.said.flags & (flags::MAINTENANCE | left),
            peer_kept,
            letting_go_since: self.alone.letting_go_since(),
            forced: self.ownership.by_force(),
            fenced_at: self.watch.fenced_at(),
            active,
            open: !active | self.ownership.serving() & !theirs & !shut & !self.ownership.yielded(),
            shut,
            heard: self.said_at,
            peer_good: good,
            lease: promise::lease(&self.stretched()),
            limited: limit.groups,
            serve_until: limit.until,
            peer_names,
            places,
        }
    }
}
