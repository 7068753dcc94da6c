//! What we wish to be handed, and why; and what an operator orders.
//!
//! A wish is a bit in `wanted` of a group that we do not hold. One that rests on a verdict is granted by a peer that came to
//! the mirrored verdict; one that somebody asked us to have (flag `ASKED`) is granted by any peer that is not in
//! maintenance. A bit of a group that we do hold is an offer: the peer answers it with a wish. In every case the holder lets
//! go first, and the other claims when it has heard so from a peer that knew of the wish.

use super::{Core, Event, PeerState, Reason, Verdict, Why};
use crate::types::{GroupIndex, MAX_GROUPS, Nanos};
use heartbeat_ebpf::wire::flags;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorOrder {
    /// The group is to be held here.
    Takeover(GroupIndex),
    /// The same, although the peer is silent and may have it: whoever orders that knows that it does not.
    TakeoverForced(GroupIndex),
    /// The group is to be held by the peer.
    Release(GroupIndex),
    /// Nothing is to move until further notice, or no longer so.
    Maintenance(bool),
}

/// Why an order is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// We hold the group.
    HeldHere,
    /// We do not hold the group.
    NotHeldHere,
    /// No channel works: there is nobody to agree with.
    NoPeer,
    /// The peer has other groups configured.
    GroupsDiffer,
    /// One of the controllers is in maintenance.
    Maintenance,
    /// One of the controllers is being stopped.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldHere => "this controller holds the group already",
            Self::NotHeldHere => "this controller does not hold the group; order it where it is held",
            Self::NoPeer => {
                "no channel hears the peer, and a group changes hands only between two that hear each other; if the peer \
                 surely does not have it any more: `heartbeat takeover GROUP --force`"
            }
            Self::GroupsDiffer => "the peer has other groups configured; nothing moves until both files agree",
            Self::Maintenance => "a controller is in maintenance; end that first with `heartbeat maintenance off`",
            Self::Stopping => "a controller is being stopped",
        })
    }
}

/// The groups that we wish to be handed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) groups: u64,
    /// When the last of them was added: what the peer sends in answer to something later, it sends knowing.
    pub(super) since: Nanos,
    /// Why: one reason at a time, what an operator wants before all else.
    pub(super) why: Reason,
    /// What an operator ordered to be held here, until when.
    ordered: u64,
    /// What the peer offered.
    accepted: u64,
    /// What an operator ordered to be held there.
    offered: u64,
    until: Nanos,
    accepted_until: Nanos,
    /// Since when both controllers and all channels have been well.
    well_since: Option<Nanos>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            groups: 0,
            since: Nanos(0),
            why: Reason::PeerFailed,
            ordered: 0,
            accepted: 0,
            offered: 0,
            until: Nanos::NEVER,
            accepted_until: Nanos(0),
            well_since: None,
        }
    }
}

impl Wish {
    /// Whether somebody asked for it, whatever was judged.
    pub(super) fn is_asked(&self) -> bool {
        self.groups != 0 && self.why != Reason::PeerFailed
    }

    /// For the message: wishes, and offers of what is owned; of one that leaves, what it could not let go of instead; where both
    /// hold something, what of that was taken from the peer instead.
    pub(super) fn said(&self, owned: u64, kept: Option<u64>, taken: Option<u64>) -> u64 {
        self.groups & !owned | kept.or(taken).unwrap_or(self.offered) & owned
    }
}

impl Core {
    /// Carries out an operator's order, or says why not. What follows is told as events.
    ///
    /// # Errors
    /// The reason for which nothing follows.
    pub fn handle_order(&mut self, now: Nanos, order: OperatorOrder) -> Result<(), Refusal> {
        let group = match order {
            OperatorOrder::Maintenance(on) => {
                self.maintain(now, on);
                return Ok(());
            }
            OperatorOrder::Takeover(group) | OperatorOrder::TakeoverForced(group) | OperatorOrder::Release(group) => {
                group
            }
        };
        let here = self.ownership.owned() & group.bit() != 0;
        let leaving = self.flags & flags::LEAVING != 0;
        if matches!(order, OperatorOrder::TakeoverForced(_)) && !here && !leaving && self.peer != PeerState::Good {
            self.ownership.force(group);
            self.tell(now, Event::HandOverOrdered { group, here: true });
            return Ok(());
        }
        let refusal = match order {
            _ if (self.flags | self.said.flags) & flags::LEAVING != 0 => Some(Refusal::Stopping),
            OperatorOrder::Takeover(_) | OperatorOrder::TakeoverForced(_) if here => Some(Refusal::HeldHere),
            OperatorOrder::Release(_) if !here => Some(Refusal::NotHeldHere),
            _ if self.peer != PeerState::Good => Some(Refusal::NoPeer),
            _ if self.said.differs[1] => Some(Refusal::GroupsDiffer),
            _ if self.in_maintenance() => Some(Refusal::Maintenance),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if here {
            self.wish.offered |= group.bit();
        } else {
            self.wish.ordered |= group.bit();
        }
        self.wish.until = now.after(self.setup.patience);
        self.tell(now, Event::HandOverOrdered { group, here: !here });
        Ok(())
    }

    fn maintain(&mut self, now: Nanos, on: bool) {
        let before = self.flags & flags::MAINTENANCE != 0;
        if on {
            self.flags |= flags::MAINTENANCE;
            self.maintained_since = if before { self.maintained_since } else { now };
        } else {
            self.flags &= !flags::MAINTENANCE;
            if self.peer != PeerState::Good {
                // It cannot end it itself any more, and did not promise to let go in it.
                self.said.keeps |= self.said.flags & flags::MAINTENANCE != 0;
                self.said.flags &= !flags::MAINTENANCE;
            }
        }
        if before != on {
            self.tell(now, Event::Maintenance { on });
        }
    }

    /// Whether an operator wants nothing to move, here or there.
    #[must_use]
    pub const fn in_maintenance(&self) -> bool {
        (self.flags | self.said.flags) & flags::MAINTENANCE != 0
    }

    /// What the peer lets us know of its own wishes: (wishes, somebody asked, offers, kept).
    pub(super) const fn peer_wish(&self) -> (u64, bool, u64, u64) {
        let said = &self.said;
        let both = said.wanted & said.owned;
        let (leaving, contested) = (said.flags & flags::LEAVING != 0, said.flags & flags::CONTESTED != 0);
        let (offers, kept) = match (leaving, contested) {
            (true, _) => (0, both),
            (false, true) => (0, 0),
            (false, false) => (both, 0),
        };
        (said.wanted & !said.owned, said.flags & flags::ASKED != 0, offers, kept)
    }

    /// What we wish to be handed as of now.
    pub(super) fn wish(&mut self, now: Nanos) {
        let leaving = (self.flags | self.said.flags) & flags::LEAVING != 0;
        let free = self.peer == PeerState::Good && !self.said.differs[1] && !leaving && !self.in_maintenance();
        self.note_wellness(now);
        self.end_orders(now, free);
        let owned = self.ownership.owned();
        // Who certainly cannot serve a group has no use for it, however short a time it has had it.
        let movable = self.ownership.movable(now) | self.out_of_reach_there();
        let comes = self.analysis.standing.map_or(0, Verdict::comes);
        let causes = [
            (Reason::Ordered, self.wish.ordered),
            (Reason::HandedOver, self.wish.accepted),
            // Where it could not be taken, nobody is asked to let go of it, nor kept from taking it.
            (Reason::FailedBack, self.home_coming(now) & movable & !self.ownership.failing(now)),
            // Two that wish for the same wait for each other: what the peer wishes for is not left lying.
            (Reason::Unheld, self.ownership.left_lying(now) & !self.peer_wish().0),
            (Reason::PeerFailed, comes & movable),
        ];
        let wished = causes.into_iter().map(|(why, groups)| (why, groups & !owned)).find(|(_, groups)| *groups != 0);
        let (why, groups) = wished.filter(|_| free).unwrap_or((Reason::PeerFailed, 0));
        if groups & !self.wish.groups != 0 || why != self.wish.why {
            self.wish.since = now;
        }
        (self.wish.groups, self.wish.why) = (groups, why);
    }

    fn note_wellness(&mut self, now: Nanos) {
        let judged = matches!(self.analysis.standing, Some(Verdict::Nothing(Why::AllWell)));
        let well = self.peer == PeerState::Good && self.heard() == self.configured() && (judged || !self.judges());
        self.wish.well_since = if well { self.wish.well_since.or(Some(now)) } else { None };
    }

    /// The groups at home here that have waited long enough.
    fn home_coming(&self, now: Nanos) -> u64 {
        let Some(since) = self.wish.well_since else { return 0 };
        let due =
            |i: &usize| self.setup.failback.get(*i).copied().flatten().is_some_and(|after| now.since(since) >= after);
        let due = (0..self.setup.homes.len()).filter(due).fold(0, |bits, i| bits | 1 << i);
        due & self.ownership.at_home()
    }

    /// Orders that were carried out, or cannot be.
    fn end_orders(&mut self, now: Nanos, free: bool) {
        let owned = self.ownership.owned();
        self.wish.ordered &= !self.ownership.held();
        self.wish.offered &= owned;
        self.accept_offers(now, free);
        let left = self.wish.ordered | self.wish.offered;
        if left != 0 && (!free || self.wish.until <= now) {
            for group in (0..MAX_GROUPS as u8).map(GroupIndex).filter(|group| left & group.bit() != 0) {
                self.tell(now, Event::HandOverGivenUp { group });
            }
            (self.wish.ordered, self.wish.offered) = (0, 0);
        }
    }

    /// What could not be acquired is not ordered any more: nothing is tried again and again on behalf of somebody.
    pub(super) fn give_up_order(&mut self, now: Nanos, group: GroupIndex) {
        self.wish.accepted &= !group.bit();
        if self.wish.ordered & group.bit() != 0 {
            self.wish.ordered &= !group.bit();
            self.tell(now, Event::HandOverGivenUp { group });
        }
    }

    /// An offer is accepted until we hold the group, or the peer holds it and offers it no more.
    fn accept_offers(&mut self, now: Nanos, free: bool) {
        let (.., offers, _) = self.peer_wish();
        let accepted = if free { (self.wish.accepted | offers) & !self.ownership.owned() } else { 0 };
        if accepted & !self.wish.accepted != 0 {
            self.wish.accepted_until = now.after(self.setup.patience);
        }
        let stands = offers | if now < self.wish.accepted_until { !self.said.owned } else { 0 };
        self.wish.accepted = accepted & stands;
    }

    /// When time alone may change a wish.
    pub(super) fn wish_deadline(&self, now: Nanos) -> Nanos {
        let ordered = self.wish.ordered | self.wish.offered != 0;
        let until = if ordered { self.wish.until } else { Nanos::NEVER };
        let failback = self.wish.well_since.into_iter().flat_map(|since| {
            self.setup.failback.iter().flatten().map(move |after| since.after(*after)).filter(|at| *at > now)
        });
        let accepted = if self.wish.accepted == 0 { Nanos::NEVER } else { self.wish.accepted_until };
        failback.min().unwrap_or(Nanos::NEVER).min(until).min(accepted.max(now.after(Nanos::from_millis(1))))
    }
}

#[cfg(test)]
mod tests;
