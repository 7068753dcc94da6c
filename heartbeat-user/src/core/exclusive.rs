//! Groups that must never be held twice: what makes it safe to take one from a silent peer.
//!
//! | what is known | safe |
//! |---|---|
//! | the peer left, and did not keep it | at once |
//! | its fence succeeded | at once |
//! | its kernel says that it keeps silent for it, and it has no hooks | at once |
//! | its agent died, its host is silent, and it has no hooks | at once: the lease of its kernel is over, where it gave one |
//! | its agent died or stands still, and it has hooks, or no lease | once its watchdog's time is over; without one, not at all |
//! | the arbiter granted it | once the peer, to which it was not granted, must have let go of it |
//! | nothing of that, and there are neither fence nor arbiter | once the peer, cut off, must have let go of it as it promised |
//!
//! The last one holds for a peer that is dead or cut off from its networks; of a network that parts so that each half works for
//! one of the two only a fence or an arbiter knows. Whoever was cut off itself knows nothing, as one that starts: the peer
//! may have taken over since, or be back, and lose its networks just when ours work again. From then on it has the time to find that
//! out, and to let go.

use super::{Core, PeerState, Reason, Withheld, ownership::Guard, promise};
use crate::types::{GroupIndex, Nanos};
use heartbeat_ebpf::wire::flags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What made it safe to take a group from a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Safe {
    /// The peer's kernel keeps silent for it, in place of an agent that died or stands still.
    Closed,
    /// The peer's agent died, and the lease of its kernel, which hears us no more, is over.
    LeaseOver,
    /// The peer was fenced.
    Fenced,
    /// The arbiter granted it.
    Granted,
    /// The peer promised to let go of it within a time that is over.
    Promised,
}

/// What is known of a silent peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub groups: u64,
    pub hooked: u64,
    /// Those that it let go of before it left.
    pub left: u64,
    pub fenced: bool,
    pub has_fence: bool,
    pub has_arbiter: bool,
    pub granted: u64,
    pub denied: u64,
    pub unreachable: bool,
    /// The arbiter should have granted them by now, and did not: what is taken of these is let go of at once.
    pub ungranted: u64,
    /// Its kernel keeps silent for them.
    pub closed: u64,
    /// Its kernel may yet say so.
    pub confirms: bool,
    /// Its agent died or stands still.
    pub without_agent: bool,
    /// Of these, that agent may have something in use.
    pub left_behind: u64,
    /// Its agent died, and could not go on any more when its host answered last.
    pub dead_for_good: bool,
    /// Its kernel keeps silent once it hears us no more.
    pub leased: bool,
    /// Its host has answered lately.
    pub answers: bool,
    /// A watchdog ends its host.
    pub watched: bool,
    /// When it must have let go of everything, if it is cut off or was not granted it.
    pub gone_at: Option<Nanos>,
    /// None of our own networks works, as far as is known: perhaps it is us who are cut off.
    pub isolated: bool,
}

/// What follows from it for exclusive groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Safety {
    pub at_once: u64,
    pub closed: u64,
    pub lease_over: u64,
    pub fenced: u64,
    pub granted: u64,
    pub promised: u64,
    /// They may be claimed, to be had once the peer's kernel keeps silent for them.
    pub closable: u64,
    /// Why others are not safe; none where that is being found out.
    pub why: Option<Withheld>,
    /// When that ends by itself.
    pub until: Option<Nanos>,
}

impl Safety {
    /// Nothing is exclusive.
    #[cfg(test)]
    pub(super) const NONE: Self = Self {
        at_once: 0,
        closed: 0,
        lease_over: 0,
        fenced: 0,
        granted: 0,
        promised: 0,
        closable: 0,
        why: None,
        until: None,
    };

    /// Those that may be taken.
    pub(super) const fn safe(&self) -> u64 {
        self.at_once | self.closed | self.lease_over | self.fenced | self.granted | self.promised
    }

    /// What made it safe.
    pub(super) const fn because(&self, group: u64) -> Option<Safe> {
        if self.closed & group != 0 {
            Some(Safe::Closed)
        } else if self.fenced & group != 0 {
            Some(Safe::Fenced)
        } else if self.granted & group != 0 {
            Some(Safe::Granted)
        } else if self.lease_over & group != 0 {
            Some(Safe::LeaseOver)
        } else if self.promised & group != 0 {
            Some(Safe::Promised)
        } else {
            None
        }
    }
}

impl Known {
    /// What may be taken now, and why the rest may not.
    pub(super) fn weigh(&self, now: Nanos) -> Safety {
        let plain = !self.hooked;
        let gone = self.gone_at.is_some_and(|at| now >= at);
        // What an agent that is not there has in use, nobody lets go of.
        let in_use = match (self.without_agent, self.leased) {
            (false, _) => 0,
            (true, true) if !self.answers => self.hooked & self.left_behind,
            // It hears us, so that no lease ends: its kernel must say that it keeps silent.
            (true, _) => self.left_behind,
        };
        let of = |is: bool, groups: u64| if is { groups & self.groups & !self.ungranted } else { 0 };
        let mut safety = Safety {
            at_once: of(true, self.left),
            closed: of(true, self.closed & plain),
            lease_over: of(self.dead_for_good && self.leased && !self.answers, plain),
            fenced: of(self.fenced, u64::MAX),
            granted: of(gone, self.granted & !in_use),
            promised: of(gone && self.watched && !self.answers, in_use),
            closable: of(self.confirms, plain),
            ..Safety::default()
        };
        if !self.has_fence && !self.has_arbiter && !self.isolated {
            safety.promised |= of(gone, !in_use);
        }
        let unsafe_groups = self.groups & !safety.safe() & !safety.closable;
        (safety.why, safety.until) = self.objection(now, unsafe_groups, in_use);
        safety
    }

    /// Why these may not be taken.
    fn objection(&self, now: Nanos, groups: u64, in_use: u64) -> (Option<Withheld>, Option<Nanos>) {
        let until = self.gone_at.filter(|at| *at > now);
        let fence = self.has_fence.then_some(Withheld::NotFenced);
        if groups & in_use != 0 {
            return match until {
                Some(_) if self.watched => (Some(Withheld::Promised), until),
                _ => (fence.or(Some(Withheld::InUse)), None),
            };
        }
        if self.has_arbiter {
            if groups & self.denied != 0 {
                return (Some(Withheld::Denied), None);
            } else if self.unreachable {
                return (Some(Withheld::Unarbitrated), None);
            } else if groups & !self.granted != 0 {
                return (None, None);
            }
        } else if self.has_fence {
            return (fence, None);
        }
        match until {
            Some(_) if self.has_arbiter || !self.isolated => (Some(Withheld::Promised), until),
            _ => (Some(Withheld::Exclusive), None),
        }
    }
}

impl Core {
    /// What is known of the silent peer.
    pub(super) fn known(&self, now: Nanos) -> Known {
        let setup = &self.setup.exclusivity;
        let left = if self.has_surely_left() { !self.said.owned } else { 0 };
        let confirms = self.host_confirms(now);
        let leaves = self.said.flags & flags::LEAVING != 0;
        Known {
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
            left_behind: if self.host.ended(self.pairing.peer()) && leaves { self.said.owned } else { u64::MAX },
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
        let heard = self.channels.iter().filter_map(|c| c.counter.last_arrival()).max();
        let own = promise::heard(self.setup.exclusivity.promise());
        let isolated_at = self.alone.isolated_at();
        let (last, within, finds_out) = match heard {
            _ if self.said.keeps => return None,
            Some(heard) if isolated_at.is_none() => (heard, self.said.release_within?, Nanos(0)),
            // It may have been alone for long, and lost its networks only now.
            Some(heard) => {
                (heard.max(isolated_at?), own?.max(self.said.release_within?), self.setup.finds_out_within())
            }
            None => (self.started.max(isolated_at.unwrap_or_default()), own?, self.setup.finds_out_within()),
        };
        // What we say since we found it dead tells it that; or it finds us silent after it heard us, which may be that much later.
        // An arbiter's grant may have been its own until now.
        let told = last.after(self.takeover_after()).max(self.watch.dead_since);
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
