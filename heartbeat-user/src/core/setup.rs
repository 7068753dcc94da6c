//! What the judgement begins with: what the configuration comes to, and what an earlier life left.

use super::{
    judge::{BothFaulted, Needs},
    names::Names,
    promise,
};
use crate::types::{Link, Nanos, Node, Timing};

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
    /// Of each channel, the n of which every n-th heartbeat is sent: 1, or more where a serial line is slow.
    pub paces: Vec<u32>,
    /// The serial lines and disks, a bit each: a carrier there says nothing of our networks.
    pub lines: u64,
    /// The homes of the groups.
    pub homes: Vec<Node>,
    /// Of each group: how long both controllers must have been well before it goes home by itself.
    pub failback: Vec<Option<Nanos>>,
    /// The groups that the file has no more, a bit each: they are let go of, and never claimed.
    pub departed: u64,
    /// The guards of a claim from a silent peer.
    pub guards: Guards,
    /// How it is made sure that exclusive groups are held by one only.
    pub exclusivity: Exclusivity,
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
    /// What an earlier life of the agent left behind in its cell; what of that goes on was decided by when it ended.
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
    /// What the peer had said last of maintenance and of leaving ([`CellState::peer_flags`](super::CellState::peer_flags)).
    pub peer_flags: u8,
    /// The groups that the peer could not let go of when it left.
    pub peer_kept: u64,
    /// Since when, by the peer's count, exclusive groups had been to be let go of ([`CellState::letting_go_since`](super::CellState::letting_go_since)).
    pub letting_go_since: Option<Nanos>,
    /// Those of `owned` that an operator ordered to be here, whatever the silent peer has.
    pub forced: u64,
    /// When the peer, silent since, had been fenced.
    pub fenced_at: Option<Nanos>,
    /// The groups for which the kernel keeps silent.
    pub closed: u64,
    /// When the peer was heard last, by the kernel or without XDP by that life; 0: never.
    pub heard: Nanos,
    /// When that life gave its last sign of life.
    pub alive: Nanos,
    /// Alone, it was to be granted again by then what it held ([`CellState::serve_until`](super::CellState::serve_until)).
    pub serve_until: Option<Nanos>,
}

/// How this pair judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judging {
    /// The channels that are networks of clients, a bit each: the mask of FIG. 9, step 914.
    pub networks: u64,
    /// Those of them whom nobody is configured to be asked in: whoever is found is.
    pub found: u64,
    /// What each channel's network counts in QOS.
    pub weights: Vec<u32>,
    /// What each health check counts in QOS.
    pub checks: Vec<u32>,
    /// What each group needs: QOS, and the networks of its addresses.
    pub needs: Vec<Needs>,
    /// What to do where both have faults.
    pub both_faulted: BothFaulted,
    /// A local analysis takes at most this.
    pub bound: Nanos,
    /// While a network's channel is bad, the analysis is repeated this often.
    pub again: Nanos,
    /// A network that did not answer counts again only once it has answered for so long.
    pub rise: Nanos,
    /// A group that moved is not moved again by a verdict within this time.
    pub hold: Nanos,
}

/// How the guards are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// Some network of ours must answer.
    pub by_probe: bool,
    /// The peer must be fenced.
    pub fence: bool,
    /// With all its attempts, it takes no longer than this.
    pub fence_within: Nanos,
    /// A peer whose host answers keeps its groups for so long although its agent stands still.
    pub stalled_grace: Nanos,
}

impl Default for Guards {
    fn default() -> Self {
        Self { by_probe: false, fence: false, fence_within: Nanos::NEVER, stalled_grace: Nanos(0) }
    }
}

/// How it is made sure that exclusive groups are held by one only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusivity {
    /// The groups, a bit each.
    pub groups: u64,
    /// There is an arbiter, and it answers within so long.
    pub arbiter: Option<Nanos>,
    /// No grant of it lasts for longer.
    pub grant: Nanos,
    /// A controller that is cut off lets go of what it holds.
    pub release_isolated: bool,
    /// Within so long after it found its peer silent, hooks included.
    pub release_within: Nanos,
    /// Where that is not kept, the host is ended within so long; 0 without a watchdog.
    pub watchdog: Nanos,
}

impl Exclusivity {
    /// What the peer is told: how long after we found it silent we have let go at the latest, if we are cut off or the arbiter
    /// does not grant us what we hold.
    #[must_use]
    pub const fn promise(&self) -> u8 {
        let promises = self.release_isolated || self.arbiter.is_some();
        if promises { promise::said(self.release_within.after(self.watchdog)) } else { 0 }
    }
}

/// Which groups have which hooks, a bit for each group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookedGroups {
    /// By hook, in the order of [`Hook::ALL`](super::Hook::ALL).
    pub has: [u64; 4],
    /// Where `on_release` fails, these count as released all the same.
    pub force: u64,
}

impl HookedGroups {
    /// Those that have any.
    #[must_use]
    pub const fn any(&self) -> u64 {
        self.has[0] | self.has[1] | self.has[2] | self.has[3]
    }
}
