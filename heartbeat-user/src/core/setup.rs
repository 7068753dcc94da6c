//! What the judgement begins with.

use super::{Exclusivity, Guards, HookedGroups, Judging, Names};
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
    /// On each channel, every so-manieth heartbeat is sent: 1, or more where a serial line is slow.
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
    /// Since when, by the peer's count, exclusive groups had been to be let go of ([`CellState::letting_go_since`]).
    pub letting_go_since: Option<Nanos>,
    /// Those of `owned` that an operator ordered to be here, whatever the silent peer has.
    pub forced: u64,
    /// When the peer, silent since, had been fenced.
    pub fenced_at: Option<Nanos>,
    /// The groups for which the kernel keeps silent.
    pub closed: u64,
    /// When the kernel heard the peer last; 0: never.
    pub heard: Nanos,
    /// When that life gave its last sign of life.
    pub alive: Nanos,
}
