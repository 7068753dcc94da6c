//! What the peer says of itself, and what that means: the newest of its messages over all channels.

use super::{evidence::Local, setup::Resumed};
use crate::types::Nanos;
use heartbeat_ebpf::wire::{self, Message, flags};

/// Beyond this, an interval that a peer says it has is a mistake.
pub(super) const LONGEST_INTERVAL: Nanos = Nanos::from_millis(60_000);

/// Where the peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Not heard yet, not waited for long enough.
    Unknown,
    /// Some channel works.
    Good,
    /// All channels are dead.
    Bad,
}

/// What the two controllers' configurations differ in (FIG. 9, step 908).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The channels.
    pub channels: bool,
    /// The groups: their names, homes or addresses. Nothing changes hands while that is so.
    pub groups: bool,
    /// The interval. The longer one counts.
    pub interval: bool,
}

/// What the peer lets us know of its own wishes: groups, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerWish {
    /// What it wishes to be handed.
    pub(super) groups: u64,
    /// Somebody asked for it, whatever was judged.
    pub(super) asked: bool,
    /// What it holds, and offers.
    pub(super) offers: u64,
    /// What it could not let go of before it left.
    pub(super) kept: u64,
}

/// What of the peer's message concerns the analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerFound {
    pub(super) wanted: u32,
    pub(super) done: u32,
    pub(super) heard: u64,
    pub(super) configured: u64,
    pub(super) local: Local,
    pub(super) qos: u32,
    pub(super) duties: u32,
    pub(super) recovering: bool,
}

impl PeerFound {
    /// `ours`: channels of the peer's as ours; `configured`: all that it has, likewise.
    pub(super) fn of(message: &Message, ours: impl Fn(u64) -> u64, configured: u64) -> Self {
        Self {
            wanted: message.analysis_wanted,
            done: message.analysis_done,
            heard: ours(message.heard),
            configured,
            local: Local { operational: ours(message.operational), certain: ours(message.certain) },
            qos: message.qos & !wire::RECOVERING,
            recovering: message.qos & wire::RECOVERING != 0,
            duties: message.duties_qos,
        }
    }
}

/// The peer's public state, from the newest of its messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeerSaid {
    pub(super) sent_ns: u64,
    pub(super) flags: u8,
    /// The groups that it may hold.
    pub(super) owned: u64,
    /// Those of them of which that is not known yet: its file's names are still being heard.
    pub(super) unknown: u64,
    pub(super) term: u64,
    pub(super) wanted: u64,
    pub(super) echo_sent_ns: u64,
    pub(super) found: PeerFound,
    /// What its configuration differs from ours in.
    pub(super) differs: Differences,
    pub(super) interval_us: u32,
    pub(super) key_prints: [u16; 2],
    /// It hears us on no channel.
    pub(super) deaf: bool,
    /// Cut off, it lets go within so long.
    pub(super) release_within: Option<Nanos>,
    /// It was in maintenance, in which it lets go of nothing, and that was ended here alone.
    pub(super) keeps: bool,
}

impl PeerSaid {
    /// What an earlier life heard last, and what stays true until something else is heard.
    pub(super) fn remembered(resumed: &Resumed) -> Self {
        let flags = resumed.peer_flags & (flags::MAINTENANCE | flags::LEAVING);
        let kept = if flags & flags::LEAVING == 0 { 0 } else { resumed.peer_kept };
        Self { flags, owned: kept, wanted: kept, ..Self::default() }
    }

    /// It is being stopped, or has been.
    pub(super) const fn is_leaving(&self) -> bool {
        self.flags & flags::LEAVING != 0
    }

    /// It is in maintenance, as far as it said.
    pub(super) const fn in_maintenance(&self) -> bool {
        self.flags & flags::MAINTENANCE != 0
    }

    /// What of the groups that both hold it took from us; none where it does not know of that.
    pub(super) fn taken(&self) -> Option<u64> {
        (self.flags & flags::CONTESTED != 0).then_some(self.wanted & self.owned)
    }

    /// What it wishes, offers and kept.
    pub(super) const fn wish(&self) -> PeerWish {
        let both = self.wanted & self.owned;
        let contested = self.flags & flags::CONTESTED != 0;
        let (offers, kept) = match (self.is_leaving(), contested) {
            (true, _) => (0, both),
            (false, true) => (0, 0),
            (false, false) => (both, 0),
        };
        PeerWish { groups: self.wanted & !self.owned, asked: self.flags & flags::ASKED != 0, offers, kept }
    }
}
