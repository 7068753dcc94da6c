//! Both hold a group, after a partition: one of them yields, and both come to the same one; or whoever is not heard does (rule 3).

use super::{
    Guard, Ownership, OwnershipFacts, Step,
    group::{Group, Holding, SETTLING},
};
use crate::{
    core::{event::Reason, timers::is_to_come},
    types::{GroupIndex, Nanos, Node},
};
use std::cmp::Ordering;

impl Ownership {
    /// What we hold, and a host whose agent cannot decide serves beside us: its kernel obeys the higher term only.
    pub(super) fn outdo(&mut self, facts: &OwnershipFacts) {
        let beside_us = self.serving() & !self.yielded & facts.served & !facts.closed;
        if !facts.peer_good && facts.confirms && beside_us != 0 && facts.host_term >= self.term {
            self.term = self.term.max(self.highest_seen).saturating_add(1);
        }
    }

    /// As a claim would wait for it to be safe, so does what is still here of what the peer took while we stood still, and before we could
    /// let go of it.
    pub(super) fn yield_to_the_silent(&mut self, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        let theirs = if facts.peer_term > self.term { facts.peer_owned & !facts.peer_unknown } else { 0 };
        let plain = if facts.fence == Guard::Clear { !facts.exclusive } else { 0 };
        let safe = facts.exclusive & facts.safety.safe() | plain | self.by_force;
        self.yielded =
            if facts.peer_good { 0 } else { (self.yielded | theirs) & self.owned() & !self.claiming() & !safe };
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            let goes = self.yielded & facts.exclusive & group.bit() != 0;
            if goes && g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                step(Step::Release(group, Reason::PeerHasPrecedence));
            }
        }
    }

    /// Whether both hold something; and what of that was taken from the peer, which had been found dead.
    #[must_use]
    pub fn contested(&self) -> Option<u64> {
        (self.both != 0).then(|| self.both & self.which(|g| g.taken))
    }

    /// Rule 3. Whether there is a conflict: nothing new is claimed meanwhile.
    pub(super) fn settle_conflicts(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) -> bool {
        let peers = facts.peer_owned & !facts.peer_unknown;
        // A group of one name is one group, however else the two files may define it.
        let both = if facts.peer_good { self.owned() & !self.claiming() & peers } else { 0 };
        self.both = both;
        let (node, term) = (self.node, self.term);
        // Both must come to the same, also where the files name different homes.
        let at_home = |g: &Group| if facts.same_groups { g.home } else { Node::A };
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            if both & group.bit() == 0 {
                g.dual_since = None;
                if std::mem::replace(&mut g.dual, false) && g.holding == Holding::Held {
                    step(Step::Settled(group));
                }
                continue;
            }
            g.dual_since.get_or_insert(now);
            let waits = is_to_come(g.heard_out_at(self.detection), now);
            let keeper = match (term.cmp(&facts.peer_term), facts.peer_taken) {
                // It does not learn of us, and goes on serving.
                _ if facts.deaf_keeps & group.bit() != 0 && !waits => node.other(),
                (Ordering::Greater, _) => node,
                (Ordering::Less, _) => node.other(),
                (Ordering::Equal, Some(taken)) => match (g.taken, taken & group.bit() != 0) {
                    (true, false) => node.other(),
                    (false, true) => node,
                    _ => at_home(g),
                },
                // It says so as soon as it hears us.
                (Ordering::Equal, None) if waits => continue,
                (Ordering::Equal, None) => at_home(g),
            };
            if !g.dual {
                g.dual = true;
                step(Step::Dual(group, keeper));
            }
            if keeper != node && g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                step(Step::Release(group, Reason::PeerHasPrecedence));
            }
        }
        // One that cannot let go of what it should must not keep all else from moving.
        self.groups.iter().any(|g| g.dual_since.is_some_and(|since| now.since(since) < SETTLING))
    }
}
