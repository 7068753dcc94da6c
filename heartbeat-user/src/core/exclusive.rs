//! What is known of the silent peer that makes it [safe](super::safety) to take an exclusive group from it.

use super::{Core, PeerState, Reason, Withheld, event::Safe, ownership::Guard, promise, safety::SilentPeer};
use crate::types::{GroupIndex, Nanos};
use heartbeat_ebpf::wire::flags;

impl Core {
    /// All of that.
    pub(super) fn known(&self, now: Nanos) -> SilentPeer {
        let setup = &self.setup.exclusivity;
        let left = if self.has_surely_left() { !self.said.owned } else { 0 };
        let confirms = self.host_confirms(now);
        SilentPeer {
            groups: setup.groups,
            hooked: self.setup.hooks.any(),
            left,
            fenced: self.is_fenced(),
            has_fence: self.setup.guards.fence,
            has_arbiter: setup.arbiter.is_some(),
            granted: self.arbiter.granted(now),
            denied: self.arbiter.denied(),
            unreachable: self.arbiter.is_unreachable(),
            ungranted: self.ungranted(now),
            // What it said once, a next life of its agent may have undone.
            closed: if confirms { self.host.closed() } else { 0 },
            confirms,
            without_agent: self.host.is_without_agent(),
            // One that ended in order has let go of the rest.
            left_behind: if self.host.ended(self.pairing.peer()) && self.said.is_leaving() {
                self.said.owned
            } else {
                u64::MAX
            },
            dead_for_good: self.host.dead_for_good(self.detection()),
            leased: self.host.leased(),
            answers: self.host_answers(now),
            watched: self.said.flags & flags::WATCHED != 0,
            gone_at: self.gone_at(),
            isolated: self.alone.is_isolated(),
        }
    }

    /// When the peer must have let go of everything, if it is cut off or what it holds is not granted to it. Of one that was never
    /// heard in this life, or has perhaps been another since, nothing is known but that it has the same file.
    fn gone_at(&self) -> Option<Nanos> {
        let heard = self.last_heard();
        let own = promise::heard(self.setup.exclusivity.promise());
        let isolated_at = self.alone.isolated_at();
        let (last, within, finds_out) = match heard {
            _ if self.said.keeps => return None,
            Some(heard) if isolated_at.is_none() && !self.said.deaf => (heard, self.said.release_within?, Nanos(0)),
            // It may have been alone for long, and lost its networks only now.
            Some(heard) => {
                let last = heard.max(isolated_at.unwrap_or_default());
                (last, own?.max(self.said.release_within?), self.setup.finds_out_within())
            }
            None => (self.started.max(isolated_at.unwrap_or_default()), own?, self.setup.finds_out_within()),
        };
        // What we say since we found it dead tells it that; or it finds us silent after it heard us, which may be that much later.
        // An arbiter's grant may have been its own until now.
        let told = last.after(self.takeover_after()).max(self.watch.dead_since());
        let alone = told.after(self.longest_silence().max(finds_out));
        let from = if self.setup.exclusivity.arbiter.is_some() { alone.max(self.arbiter.since()) } else { alone };
        Some(from.after(within).after(Nanos(within.0 / 50)))
    }

    /// What makes sure that a silent peer does not serve a group that is claimed for this reason.
    pub(super) fn made_safe(&self, group: GroupIndex, reason: Reason) -> Option<Safe> {
        if !matches!(reason, Reason::PeerDead | Reason::PeerLeft) {
            return None;
        }
        let closed = (self.host.closed() & group.bit() != 0).then_some(Safe::Closed);
        let fenced = self.is_fenced().then_some(Safe::Fenced);
        closed.or_else(|| self.safety.because(group.bit())).or(fenced)
    }

    /// Until when what is withheld now is withheld, where time ends it.
    #[must_use]
    pub fn withheld_until(&self, now: Nanos) -> Option<Nanos> {
        match self.withheld()? {
            Withheld::PeerDied => self.grace_ends(now),
            Withheld::PeerStalled => Some(self.stalled_ends()),
            Withheld::Promised => self.safety.until,
            _ => None,
        }
    }

    /// What is to be granted to us: what we hold while the peer does not hear us, and what we would take from it.
    pub(super) fn to_be_granted(&self, now: Nanos, guard: Guard) -> u64 {
        let groups = self.setup.exclusivity.groups;
        let held = if self.alone.is_alone() { self.ownership.owned() } else { 0 };
        let bad = self.peer == PeerState::Bad && !self.host_answers(now);
        let clear = match guard {
            Guard::Clear => true,
            // What was asked for is not given back for each look at our own networks.
            Guard::Asking => self.arbiter.is_needed(),
            Guard::Objects(_) => false,
        };
        let claims = if bad && clear && !self.in_maintenance() { self.ownership.standing_by() } else { 0 };
        groups & (held | claims)
    }
}

#[cfg(test)]
mod tests;
