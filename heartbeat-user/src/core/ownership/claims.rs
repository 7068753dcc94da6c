//! What is claimed: of what lies there (rule 1), and of what a silent peer had (rule 2).

use super::{
    Guard, Ownership, OwnershipFacts, Step,
    group::{Holding, REST, SETTLING},
};
use crate::{
    core::{Reason, Withheld},
    types::{GroupIndex, Nanos},
};

impl Ownership {
    /// Rule 1. A group that the peer wishes to be handed is its to claim, and one that we wish for is ours only once the
    /// peer has said, knowing of our wish, that it does not hold it: so two that hear each other never claim at once. One that does not
    /// hear us knows of no wish, and is not waited for: of what is not exclusive, and it takes as well, it is left what both have.
    pub(super) fn claim_unheld(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        for i in 0..self.groups.len() {
            let group = GroupIndex(i as u8);
            if self.groups[i].holding != Holding::Standby || facts.peer_owned & group.bit() != 0 {
                continue;
            }
            // Whoever hears nothing of us may be taking it.
            if facts.deaf && facts.exclusive & group.bit() != 0 {
                continue;
            }
            if facts.wants & group.bit() != 0 && facts.peer_wants & group.bit() == 0 {
                if facts.heeded {
                    self.groups[i].moved_at = Some(now);
                    self.claim(group, facts.wants_for, step);
                }
            } else if self.groups[i].home == self.node {
                if facts.peer_wants & group.bit() == 0 {
                    self.claim(group, Reason::Home, step);
                }
            } else if facts.peer_leaving {
                self.claim(group, Reason::PeerLeft, step);
            }
        }
    }

    pub(super) fn claim_forced(&mut self, step: &mut impl FnMut(Step)) {
        for group in (0..self.groups.len() as u8).map(GroupIndex) {
            if self.forced & group.bit() != 0 && self.groups[group.usize()].holding == Holding::Standby {
                self.forced &= !group.bit();
                self.by_force |= group.bit();
                self.claim(group, Reason::Forced, step);
            }
        }
    }

    /// Rule 2. WO 01/82077, FIG. 6, steps 604, 606: all channels failed, the remote is deemed failed.
    pub(super) fn claim_from_the_dead(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        if self.groups.iter().all(|g| g.holding != Holding::Standby) {
            // Of one that rests, nothing is known that was not before.
            if self.bits(|holding| matches!(holding, Holding::Resting { .. })) == 0 {
                self.withheld = None;
            }
            return;
        }
        let general = if facts.maintenance { Guard::Objects(Withheld::Maintenance) } else { facts.guard };
        let (mut objection, mut asking) = (None, false);
        for i in 0..self.groups.len() {
            let group = GroupIndex(i as u8);
            if self.groups[i].holding != Holding::Standby {
                continue;
            }
            let guard = match general {
                Guard::Clear if facts.kept & group.bit() != 0 => Guard::Objects(Withheld::Kept),
                Guard::Clear => facts.guard_of(group),
                guard => guard,
            };
            match guard {
                Guard::Clear => self.claim_one(now, facts, group, step),
                Guard::Asking => asking = true,
                Guard::Objects(reason) => objection = objection.or(Some(reason)),
            }
        }
        match objection {
            Some(reason) if self.withhold(reason) => step(Step::Withhold(reason)),
            Some(_) => {}
            None if asking => {}
            None => self.withheld = None,
        }
    }

    fn claim_one(&mut self, now: Nanos, facts: &OwnershipFacts, group: GroupIndex, step: &mut impl FnMut(Step)) {
        let bit = group.bit();
        let peers = facts.peer_owned & bit != 0;
        self.groups[group.usize()].taken = peers && facts.peer_unknown & bit == 0;
        let reason = match facts.peer_leaving {
            true => Reason::PeerLeft,
            false => Reason::PeerDead,
        };
        if facts.confirms && (peers || facts.served & bit != 0) && facts.closed & bit == 0 {
            let until = now.after(self.detection);
            self.raise_term(group, reason);
            self.groups[group.usize()].holding = Holding::Claiming { until, reason };
        } else {
            self.claim(group, reason, step);
        }
    }

    /// What is claimed, and waits for the peer's kernel to keep silent.
    pub(super) fn settle_claims(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        for i in 0..self.groups.len() {
            let group = GroupIndex(i as u8);
            let Holding::Claiming { until, reason } = self.groups[i].holding else { continue };
            let bit = group.bit();
            let waits = now < until;
            let outdone = facts.peer_owned & !facts.peer_unknown & bit != 0 && facts.peer_term > self.term;
            let after = if facts.peer_good && outdone {
                Err(Holding::Standby)
            } else if facts.peer_good {
                // It is back. Whoever has the lower term lets go, and then it is ours.
                match facts.peer_owned & bit != 0 {
                    true if waits || now < until.after(SETTLING) => continue,
                    true => Err(Holding::Standby),
                    false => Ok(()),
                }
            } else if facts.maintenance {
                Err(Holding::Standby)
            } else if facts.closed & bit != 0 {
                Ok(())
            } else if waits && facts.confirms {
                continue;
            } else if facts.exclusive & !facts.safety.safe() & bit != 0 {
                Err(Holding::Resting { until: now.after(REST) })
            } else {
                Ok(())
            };
            match after {
                Ok(()) => {
                    self.groups[i].holding = Holding::Acquiring;
                    step(Step::Acquire(group, reason));
                }
                Err(holding) => self.groups[i].holding = holding,
            }
        }
    }

    /// Whether there is anything to claim from a silent peer, or to serve again.
    #[must_use]
    pub fn would_claim(&self) -> bool {
        !self.stopping && (self.yielded != 0 || self.groups.iter().any(|g| g.holding == Holding::Standby))
    }

    fn claim(&mut self, group: GroupIndex, reason: Reason, step: &mut impl FnMut(Step)) {
        self.raise_term(group, reason);
        self.groups[group.usize()].holding = Holding::Acquiring;
        step(Step::Acquire(group, reason));
    }

    /// Trying again is not another acquisition, nor is taking the next one from the same silent peer.
    fn raise_term(&mut self, group: GroupIndex, reason: Reason) {
        let from_silent = matches!(reason, Reason::PeerDead | Reason::PeerLeft | Reason::Forced);
        let again = self.groups[group.usize()].failing || (from_silent && self.raised);
        if !again || self.highest_seen >= self.term {
            self.term = self.term.max(self.highest_seen).saturating_add(1);
        }
        self.raised |= from_silent;
    }
}

impl OwnershipFacts {
    /// What the guards say of a claim of this group, once nothing speaks against any.
    fn guard_of(&self, group: GroupIndex) -> Guard {
        let bit = group.bit();
        if self.exclusive & bit == 0 {
            return self.fence;
        }
        match (self.safety.why, (self.safety.safe() | self.safety.closable) & bit != 0) {
            (_, true) => Guard::Clear,
            // The fence that runs may make it so.
            (Some(_), false) if self.fence == Guard::Asking => Guard::Asking,
            (Some(reason), false) => Guard::Objects(reason),
            (None, false) => Guard::Asking,
        }
    }
}
