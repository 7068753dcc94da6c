//! Groups that must never be held twice: what makes it safe to take one from a silent peer.
//!
//! | what is known | safe |
//! |---|---|
//! | the peer left, and did not keep it | at once |
//! | its fence succeeded | at once |
//! | its kernel says that it keeps silent for it, and it has no hooks | at once |
//! | its agent died, its host is silent, and it has no hooks | at once: the lease of its kernel is over, where it gave one |
//! | its agent died or stands still, and it has hooks, or no lease | once its watchdog's time is over, where there is an arbiter since it was granted; without one, not at all |
//! | the arbiter granted it | once the peer, to which it was not granted, must have let go of it |
//! | nothing of that, and there are neither fence nor arbiter | once the peer, cut off, must have let go of it as it promised |
//!
//! The last one holds for a peer that is dead or cut off from its networks; of a network that parts so that each half works for
//! one of the two only a fence or an arbiter knows. Whoever was cut off itself knows nothing, as one that starts: the peer
//! may have taken over since, or be back, and lose its networks just when ours work again. From then on it has the time to find that
//! out, and to let go.

use super::event::{Safe, Withheld};
use crate::types::Nanos;

/// What is known of a silent peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SilentPeer {
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

impl SilentPeer {
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
        // What a living agent was granted it need not let go of, so that its watchdog counts from then on only that others have it.
        let watched = gone && self.watched && !self.answers;
        let of = |is: bool, groups: u64| if is { groups & self.groups & !self.ungranted } else { 0 };
        let mut safety = Safety {
            at_once: of(true, self.left),
            closed: of(true, self.closed & plain),
            lease_over: of(self.dead_for_good && self.leased && !self.answers, plain),
            fenced: of(self.fenced, u64::MAX),
            granted: of(gone, self.granted & !in_use),
            promised: of(watched, if self.has_arbiter { in_use & self.granted } else { in_use }),
            closable: of(self.confirms, plain),
            ..Safety::default()
        };
        if !self.has_fence && !self.has_arbiter && !self.isolated {
            safety.promised |= of(gone, !in_use);
        }
        let unsafe_groups = self.groups & !safety.safe() & !safety.closable;
        let kept = if self.watched && self.has_arbiter && !self.answers { 0 } else { in_use };
        (safety.why, safety.until) = self.objection(now, unsafe_groups, kept);
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
