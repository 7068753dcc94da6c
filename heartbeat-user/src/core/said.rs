//! What the peer says of itself, and what that means: the newest of its messages over all channels.

use super::{
    Differences, Setup, action::Actions, event::Event, evidence::Local, names::PeerNames, promise, setup::Resumed,
};
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

impl PeerState {
    /// WO 01/82077, FIG. 6, steps 604, 606. `works`: some channel does; `failed`: all of them have; `died`: its kernel said that
    /// the agent did, and of a life that died nothing comes any more: nobody waits for the counters.
    pub(super) const fn judged(self, works: bool, failed: bool, died: bool) -> Self {
        match self {
            _ if works && !died => Self::Good,
            _ if failed || died => Self::Bad,
            // Where the last one that worked failed, one that still waits for its first heartbeat changes nothing.
            Self::Good => Self::Bad,
            unchanged => unchanged,
        }
    }
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
    /// What the message says, the newest over all channels, in our own terms: by `names`, which has learnt of it. `self`: what was
    /// said before. `configured`: our channels, a bit each.
    pub(super) fn next(&self, message: &Message, names: &PeerNames, setup: &Setup, configured: u64) -> Self {
        let own = &setup.names;
        let found = PeerFound::of(message, |bits| names.channels(bits, own), names.configured(message.configured, own));
        let same_channels = found.configured == configured;
        let own_interval_us = setup.timing.interval.0 / 1_000;
        let differs = Differences {
            channels: if names.is_complete() { !same_channels } else { self.differs.channels },
            groups: message.groups_digest != setup.groups_digest,
            interval: u64::from(message.interval_us) != own_interval_us,
        };
        Self {
            sent_ns: message.sent_ns,
            flags: message.flags,
            owned: names.groups(message.owned, own, true),
            unknown: names.unknown_groups(own),
            term: message.term,
            wanted: names.groups(message.wanted, own, false),
            // What it had heard on one channel by then, it knows on all: of a channel that does not reach it, it knows nothing.
            echo_sent_ns: self.echo_sent_ns.max(message.echo_sent_ns),
            found,
            differs,
            interval_us: message.interval_us,
            key_prints: message.key_prints,
            deaf: message.heard == 0,
            release_within: promise::heard(message.release_within),
            keeps: false,
        }
    }

    /// Tells what it says of its state that it did not say before.
    pub(super) fn tell_changes(&self, now: Nanos, before: &Self, out: &mut Actions) {
        let (began, ended) = (!before.flags & self.flags, before.flags & !self.flags);
        for (on, changed) in [(true, began), (false, ended)] {
            if changed & flags::MAINTENANCE != 0 {
                out.tell(now, Event::PeerMaintenance { on });
            }
        }
        if began & flags::LEAVING != 0 {
            out.tell(now, Event::PeerLeft);
        }
        if began & flags::RESTARTING != 0 {
            out.tell(now, Event::PeerRestarting);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Action;

    #[test]
    fn the_peer_is_there_while_some_channel_works_and_dead_once_none_does_that_did() {
        use PeerState::{Bad, Good, Unknown};
        for (before, works, failed, died, judged) in [
            (Unknown, false, false, false, Unknown),
            (Unknown, true, false, false, Good),
            (Unknown, false, true, false, Bad),
            (Good, true, false, false, Good),
            (Good, false, false, false, Bad),
            (Good, false, true, false, Bad),
            (Bad, false, false, false, Bad),
            (Bad, true, false, false, Good),
            // Of a life that died nothing comes any more, whatever the counters say.
            (Good, true, false, true, Bad),
            (Unknown, false, false, true, Bad),
        ] {
            assert_eq!(before.judged(works, failed, died), judged, "{before:?} {works} {failed} {died}");
        }
    }

    #[test]
    fn what_the_peer_says_of_itself_is_told_when_it_begins_and_maintenance_when_it_ends() {
        let said = |flags| PeerSaid { flags, ..PeerSaid::default() };
        let told = |before, after| {
            let mut out = Actions::with_room(4);
            said(after).tell_changes(Nanos(7), &said(before), &mut out);
            let event = |action| if let Action::Tell(Nanos(7), event) = action { Some(event) } else { None };
            std::iter::from_fn(|| out.pop()).filter_map(event).collect::<Vec<_>>()
        };
        let all = flags::MAINTENANCE | flags::LEAVING | flags::RESTARTING;
        let on = Event::PeerMaintenance { on: true };
        assert_eq!(told(0, all), [on, Event::PeerLeft, Event::PeerRestarting]);
        assert_eq!(told(all, all), []);
        assert_eq!(told(all, 0), [Event::PeerMaintenance { on: false }]);
    }
}
