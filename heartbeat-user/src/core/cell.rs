//! What the kernel is told of the judgement, and what a next life of the agent is left.

use super::{Core, Nanos, PeerState, promise};
use heartbeat_ebpf::wire::flags;

/// What outlives the agent, for its next life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellState {
    /// The groups that it may go on with, if it comes soon: those of which nothing is half-way done.
    pub owned: u64,
    /// The groups of which a hook may have left something: `on_acquire` began, `on_release` has not ended well.
    pub hooked: u64,
    /// What the peer said last of maintenance and of leaving.
    pub peer_flags: u8,
    /// The groups that it could not let go of when it left.
    pub peer_kept: u64,
    /// The groups for which the kernel is to serve again, where it keeps silent for them: they are ours, and not known to be the
    /// peer's.
    pub open: u64,
    /// The groups for which it is to keep silent from now on.
    pub shut: u64,
    /// The peer is there: the lease counts.
    pub peer_good: bool,
    /// Where neither the agent gives a sign of life nor the peer is heard for so long, the kernel keeps silent for all groups.
    pub lease: Nanos,
    /// The groups that are held on a grant, which runs out.
    pub limited: u64,
    /// When: from then on the kernel keeps silent for them. 0: never.
    pub serve_until: Nanos,
}

impl Core {
    /// What the kernel, and a next life, are to know.
    #[must_use]
    pub fn cell_state(&self, now: Nanos) -> CellState {
        let (owned, held) = (self.ownership.owned(), self.ownership.held());
        let (.., peer_kept) = self.peer_wish();
        let good = self.peer == PeerState::Good;
        let shut = self.shut;
        // What the peer claimed while we stood still is its own until it says otherwise; nobody knows that who has not heard it.
        let theirs = match self.peer {
            PeerState::Unknown => u64::MAX,
            PeerState::Good => self.said.owned,
            PeerState::Bad => 0,
        };
        let (limited, serve_until) = self.limits(now);
        CellState {
            owned: owned & !self.setup.hooks.any() & !self.ownership.claiming() | held,
            hooked: self.courses.left(),
            peer_flags: self.said.flags & (flags::MAINTENANCE | flags::LEAVING),
            peer_kept,
            open: self.ownership.serving() & !theirs & !shut,
            shut,
            peer_good: good,
            lease: promise::lease(&self.stretched()),
            limited,
            serve_until,
        }
    }
}
