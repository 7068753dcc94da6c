//! Who holds which group (WO 01/82077: a resource belongs to one controller at a time).
//!
//! ```text
//!                    the peer's kernel keeps silent
//!          Claiming --------+
//!         ^                 v
//!         |   claim                addresses in place
//!  Standby ----------> Acquiring ---------------------> Held
//!     ^                   | none could be added           | precedence, stopping
//!     |  wait over        v                               v
//!     +------------- Resting          Standby <------ Releasing <----> Stuck
//!                                                        | could not be let go of
//!                                                        +------> Held, or Stuck: tried again after a while
//! ```
//! 1. While any channel works, a group changes hands only by release first, acquire after; and an unheld group is claimed
//!    only by its home, or by the other where the home has left: so two never claim at once.
//! 2. When all channels are dead, the survivor claims, unless a guard objects. Of a peer whose host answers, its kernel is
//!    waited for; an exclusive group is claimed only where that is [safe](super::safety).
//! 3. If both hold one after a partition, the higher term keeps it. A term goes up by one in each silence of the peer in which
//!    anything is claimed: so of two that found each other dead, the terms tie, and each group stays with the one that had it
//!    first, where one of them took it from the other; else it is kept at home. Where the agent of one of them died or stands still
//!    meanwhile, the other goes beyond its term, and its kernel obeys. Whoever hears a peer that does not hear it
//!    leaves it what both hold after a detection time, whatever the terms: that one cannot know that it should let go.

use super::{
    event::{Reason, Withheld},
    timers::{Wake, has_come},
};
use crate::types::{GroupIndex, Nanos, Node, bits};

/// All groups of the pair, as this controller holds them.
#[derive(Clone, Debug)]
pub struct Ownership {
    node: Node,
    groups: Vec<Group>,
    /// Our epoch: plus one at each acquisition.
    term: u64,
    highest_seen: u64,
    /// It went up in this silence of the peer.
    raised: bool,
    /// The groups that both hold.
    both: u64,
    detection: Nanos,
    /// Nothing is claimed before.
    listen_until: Nanos,
    withheld: Option<Withheld>,
    stopping: bool,
    /// To be claimed whatever the silent peer may have: an operator ordered it.
    forced: u64,
    /// What was claimed so in this silence.
    by_force: u64,
    /// What we hold, and the peer had by a higher term when it fell silent: its kernel may serve it yet.
    yielded: u64,
    hold: Nanos,
    unheld: Nanos,
}

impl Ownership {
    /// Groups by their homes; `held` and `term` are those of a life before that is resumed, else 0.
    #[must_use]
    pub fn new(node: Node, homes: &[Node], held: u64, term: u64, listen_until: Nanos) -> Self {
        let groups = homes.iter().enumerate().map(|(i, &home)| Group::new(home, held >> i & 1 == 1)).collect();
        Self {
            node,
            groups,
            term,
            highest_seen: term,
            raised: false,
            both: 0,
            detection: Nanos(0),
            listen_until,
            withheld: None,
            stopping: false,
            forced: 0,
            by_force: 0,
            yielded: 0,
            hold: Nanos(0),
            unheld: UNHELD,
        }
    }

    /// A group that moved is not moved again by a verdict within `hold`; its home listens for `detection` at its start.
    #[must_use]
    pub const fn holding(mut self, hold: Nanos, detection: Nanos) -> Self {
        self.detection = detection;
        (self.hold, self.unheld) = (hold, UNHELD.after(detection.times(2)));
        self
    }

    /// The file has these groups no more: once they are let go of, they rest for good.
    pub fn departed(&mut self, departed: u64) {
        for (_, g) in self.groups.iter_mut().enumerate().filter(|(i, _)| departed >> i & 1 == 1) {
            g.departed = true;
            if g.holding == Holding::Standby {
                g.holding = Holding::Resting { until: Nanos::NEVER };
            }
        }
    }

    /// A life before left these groups: they are being let go of.
    pub fn letting_go_of(&mut self, left: u64) {
        let left = self.groups.iter_mut().enumerate().filter(|(i, _)| left >> i & 1 == 1);
        left.for_each(|(_, g)| g.holding = Holding::Releasing);
    }

    /// The group is to be claimed, if the peer stays silent, whatever speaks against it.
    pub const fn force(&mut self, group: GroupIndex) {
        self.forced |= group.bit();
    }

    /// A life before held these by such an order.
    pub const fn forced_before(&mut self, groups: u64) {
        self.by_force |= groups;
    }

    /// The groups that are here because an operator ordered that, whatever the silent peer may have.
    #[must_use]
    pub fn by_force(&self) -> u64 {
        self.by_force & self.owned()
    }

    /// The groups that the silent peer took by a higher term, and that are still here: not to be served before that is safe.
    #[must_use]
    pub const fn yielded(&self) -> u64 {
        self.yielded
    }

    /// The groups that are at home here.
    #[must_use]
    pub fn at_home(&self) -> u64 {
        self.which(|g| g.home == self.node)
    }

    /// The groups that are not taken up by their home, and that nothing failed with here.
    #[must_use]
    pub fn left_lying(&self, now: Nanos) -> u64 {
        let lies = |g: &Group| {
            let at = g.lies_at(self.unheld);
            at.is_some() && g.let_go >= TRIES || has_come(at, now)
        };
        self.which(|g| lies(g) && g.home != self.node && !g.failed(now) && g.holding == Holding::Standby)
    }

    /// The groups that we hold, or what the hooks left of them, although we tried to let go of them.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.which(|g| match g.holding {
            Holding::Held => g.kept_until.is_some(),
            Holding::Stuck { .. } => true,
            _ => false,
        })
    }

    /// The groups that a verdict may move now.
    #[must_use]
    pub fn movable(&self, now: Nanos) -> u64 {
        let rested = |g: &Group| g.moved_at.is_none_or(|at| now.since(at) >= self.hold);
        self.which(rested)
    }

    /// Our term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// The groups that we hold or are about to: set before the first hook runs or address is added, cleared after the last
    /// address is gone and the last hook has ended well.
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.bits(|h| !matches!(h, Holding::Standby | Holding::Resting { .. }))
    }

    /// The groups that we say are ours, and of which nothing is here yet.
    #[must_use]
    pub fn claiming(&self) -> u64 {
        self.bits(|h| matches!(h, Holding::Claiming { .. }))
    }

    /// The groups that are being had.
    #[must_use]
    pub fn acquiring(&self) -> u64 {
        self.bits(|h| h == Holding::Acquiring)
    }

    /// The groups that are being let go of.
    #[must_use]
    pub fn releasing(&self) -> u64 {
        self.bits(|h| h == Holding::Releasing)
    }

    /// The groups that could neither be had nor let go of.
    #[must_use]
    pub fn stuck_groups(&self) -> u64 {
        self.bits(|h| matches!(h, Holding::Stuck { .. }))
    }

    /// The groups that we have or are getting, and do not let go of.
    #[must_use]
    pub fn serving(&self) -> u64 {
        self.bits(|h| matches!(h, Holding::Acquiring | Holding::Held))
    }

    /// The groups that we might claim.
    #[must_use]
    pub fn standing_by(&self) -> u64 {
        self.bits(|h| h == Holding::Standby)
    }

    /// The groups whose addresses are in place.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.bits(|h| h == Holding::Held)
    }

    /// Why nothing is acquired, where something would be.
    #[must_use]
    pub const fn withheld(&self) -> Option<Withheld> {
        self.withheld
    }

    fn bits(&self, which: impl Fn(Holding) -> bool) -> u64 {
        self.which(|g| which(g.holding))
    }

    fn which(&self, which: impl Fn(&Group) -> bool) -> u64 {
        bits(self.groups.iter().map(which))
    }

    /// The peer's term was heard: what we claim from now on goes beyond it.
    pub fn see_term(&mut self, term: u64) {
        self.highest_seen = self.highest_seen.max(term);
    }

    /// Claims nothing before `until`.
    pub fn listen(&mut self, until: Nanos) {
        self.listen_until = self.listen_until.max(until);
    }

    /// Lets go of everything and claims nothing any more. What could not be let go of before is tried once more.
    pub fn stop(&mut self) {
        self.stopping = true;
        for g in &mut self.groups {
            g.kept_until = None;
            if let Holding::Stuck { until } = &mut g.holding {
                *until = Nanos(0);
            }
        }
    }

    /// When time alone may change a decision.
    #[cfg(test)]
    pub(super) fn deadline(&self, now: Nanos) -> Nanos {
        let mut wake = Wake::after(now);
        self.times(&mut wake);
        wake.earliest()
    }

    /// When time alone may change a decision.
    pub(super) fn times(&self, wake: &mut Wake) {
        let Self {
            node: _,
            groups,
            term: _,
            highest_seen: _,
            raised: _,
            both: _,
            detection,
            listen_until,
            withheld: _,
            stopping: _,
            forced: _,
            by_force: _,
            yielded: _,
            hold: _,
            unheld,
        } = self;
        wake.ends(*listen_until);
        groups.iter().for_each(|g| g.times(*detection, *unheld, wake));
    }

    /// What follows from the facts, given to `step` in order.
    pub fn decide(&mut self, now: Nanos, facts: &OwnershipFacts, mut step: impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            match g.holding {
                Holding::Resting { until } if until <= now => g.holding = Holding::Standby,
                Holding::Stuck { until } if until <= now => {
                    g.holding = Holding::Releasing;
                    step(Step::Retry(GroupIndex(i as u8)));
                }
                _ => {}
            }
        }
        self.note(now, facts);
        if self.stopping {
            self.release_all(&mut step);
            return;
        }
        self.let_go(now, facts, &mut step);
        self.settle_claims(now, facts, &mut step);
        let conflict = self.settle_conflicts(now, facts, &mut step);
        self.yield_to_the_silent(facts, &mut step);
        self.outdo(facts);
        if facts.peer_good {
            (self.forced, self.by_force, self.raised) = (0, 0, false);
        }
        if conflict || facts.leftovers {
            return;
        }
        self.claim_forced(&mut step);
        if now < self.listen_until {
            return;
        }
        let occupied = facts.occupied && self.would_claim();
        if occupied && self.withhold(Withheld::Occupied) {
            step(Step::Withhold(Withheld::Occupied));
        }
        if facts.peer_good {
            if !occupied {
                self.withheld = None;
            }
            if facts.same_groups && !facts.maintenance {
                self.hand_over(now, facts, &mut step);
                if !occupied {
                    self.claim_unheld(now, facts, &mut step);
                }
            }
        } else if facts.peer_dead && !occupied {
            self.claim_from_the_dead(now, facts, &mut step);
        }
    }

    /// Of what is of no use here, or may be somebody else's by now.
    fn let_go(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        let LetGo { cut_off, not_granted } = facts.let_go;
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            let reason = if cut_off & group.bit() != 0 { Reason::CutOff } else { Reason::GrantLost };
            if (cut_off | not_granted) & group.bit() == 0 {
                continue;
            }
            if g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                g.moved_at = Some(now);
                step(Step::Release(group, reason));
            } else if matches!(g.holding, Holding::Claiming { .. }) {
                g.holding = Holding::Standby;
            }
        }
    }

    /// Since when a group lies there, and whether one that is kept may be let go of again.
    fn note(&mut self, now: Nanos, facts: &OwnershipFacts) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            let bit = GroupIndex(i as u8).bit();
            let ours = !matches!(g.holding, Holding::Standby | Holding::Resting { .. });
            let lies = facts.peer_good && facts.same_groups && !ours && facts.peer_owned & bit == 0;
            g.unheld_since = if lies { g.unheld_since.or(Some(now)) } else { None };
            let peers = facts.peer_good && facts.peer_owned & bit != 0;
            let known = facts.peer_unknown & bit == 0;
            let since = if peers { g.peers_since.or(known.then_some(now)) } else { None };
            match std::mem::replace(&mut g.peers_since, since) {
                Some(began) if !peers && now.since(began) < TRY => g.let_go = g.let_go.saturating_add(1),
                Some(began) if now.since(began) >= TRY => g.let_go = 0,
                _ => {}
            }
            if ours {
                g.let_go = 0;
            }
            if !ours || (facts.peer_good && facts.peer_owned & bit == 0) {
                g.taken = false;
            }
            if g.holding != Holding::Held || has_come(g.kept_until, now) {
                g.kept_until = None;
            }
            let asked = facts.peer_good && (facts.granted | facts.peer_owned) & bit != 0;
            if g.holding == Holding::Held && g.kept_until.is_none() && !asked {
                g.kept_for = Nanos(0);
            }
        }
    }

    /// WO 01/82077, FIG. 6, steps 642, 644: both judged that the remote takes over from the local, and it wishes to; or it
    /// asks on behalf of somebody.
    fn hand_over(&mut self, now: Nanos, facts: &OwnershipFacts, step: &mut impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            if facts.granted & group.bit() != 0 && g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                g.moved_at = Some(now);
                step(Step::Release(group, facts.granted_for));
            }
        }
    }

    fn release_all(&mut self, step: &mut impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            if g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                step(Step::Release(GroupIndex(i as u8), Reason::Stopping));
            } else if matches!(g.holding, Holding::Claiming { .. }) {
                g.holding = Holding::Standby;
            }
        }
    }
}

pub use facts::{Guard, LetGo, OwnershipFacts, Step};
use group::{Group, Holding, TRIES, TRY, UNHELD};

mod answers;
mod claims;
mod conflict;
mod facts;
mod group;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
