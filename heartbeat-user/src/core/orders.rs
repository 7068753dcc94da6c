//! What an operator orders, and why an order is refused; and the situation that our wishes rest on.

use super::{Core, Event, PeerState, Verdict, Why, wish::Situation};
use crate::types::{GroupIndex, Nanos};
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
    /// One of the controllers is being stopped, or has been.
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
            Self::GroupsDiffer => {
                "the peer has other groups configured, or judges them by other networks or checks; nothing moves until both \
                 files agree"
            }
            Self::Maintenance => "a controller is in maintenance; end that first with `heartbeat maintenance off`",
            Self::Stopping => {
                "a controller is being stopped, or has been: nothing is handed over; start it again, or if the peer, which \
                 is stopped, surely does not have it any more: `heartbeat takeover GROUP --force`"
            }
        })
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
            _ if self.said.differs.groups => Some(Refusal::GroupsDiffer),
            _ if self.in_maintenance() => Some(Refusal::Maintenance),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        self.wish.order(group, !here, now.after(self.setup.patience));
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

    /// What we wish to be handed as of now.
    pub(super) fn wish(&mut self, now: Nanos) {
        let (peer_good, peers) = (self.peer == PeerState::Good, self.said.wish());
        let judged = matches!(self.verdict(), Some(Verdict::Nothing(Why::AllWell)));
        let leaving = (self.flags | self.said.flags) & flags::LEAVING != 0;
        // Its home does not take up what we wish for.
        let acts = self.leftovers == 0 && !self.is_occupied();
        // Who certainly cannot serve a group has no use for it, however short a time it has had it.
        let movable = self.ownership.movable(now) | self.out_of_reach_there();
        let situation = Situation {
            free: peer_good && !self.said.differs.groups && !leaving && !self.in_maintenance(),
            well: peer_good && self.heard() == self.configured() && (judged || !self.setup.judging.judges()),
            owned: self.ownership.owned(),
            held: self.ownership.held(),
            peer_owned: self.said.owned,
            offers: peers.offers,
            failback: &self.setup.failback,
            // Where it could not be taken, nobody is asked to let go of it, nor kept from taking it.
            at_home: self.ownership.at_home() & movable & !self.ownership.failing(now),
            // Two that wish for the same wait for each other: what the peer wishes for is not left lying.
            left_lying: if acts { self.ownership.left_lying(now) & !peers.groups } else { 0 },
            comes: self.verdict().map_or(0, Verdict::comes) & movable,
            patience: self.setup.patience,
        };
        self.wish.step(now, &situation, &mut self.actions);
    }
}
