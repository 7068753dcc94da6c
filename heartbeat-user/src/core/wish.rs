//! What we wish to be handed, and why: by a verdict, an order, an offer, or failback.
//!
//! A wish is a bit in `wanted` of a group that we do not hold. One that rests on a verdict is granted by a peer that came to
//! the mirrored verdict; one that somebody asked us to have (flag `ASKED`) is granted by any peer that is not in
//! maintenance. A bit of a group that we do hold is an offer: the peer answers it with a wish. In every case the holder lets
//! go first, and the other claims when it has heard so from a peer that knew of the wish.

use super::{
    action::Actions,
    event::{Event, Reason},
    timers::{Wake, has_come},
};
use crate::types::{GroupIndex, MAX_GROUPS, Nanos, bits};

/// The groups that we wish to be handed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    groups: u64,
    /// When the last of them was added: what the peer sends in answer to something later, it sends knowing.
    since: Nanos,
    /// Why: one reason at a time, what an operator wants before all else.
    why: Reason,
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

/// What a wish rests on, as of now. Groups, a bit each.
pub(super) struct Situation<'a> {
    /// Groups may change hands: the peer is heard and has the same ones, nobody leaves, and nobody is in maintenance.
    pub(super) free: bool,
    /// Both controllers and all channels are well.
    pub(super) well: bool,
    pub(super) owned: u64,
    pub(super) held: u64,
    pub(super) peer_owned: u64,
    /// What the peer holds, and offers.
    pub(super) offers: u64,
    /// Of each group, how long both must have been well before it goes home by itself.
    pub(super) failback: &'a [Option<Nanos>],
    /// What may go home here.
    pub(super) at_home: u64,
    /// What nobody takes.
    pub(super) left_lying: u64,
    /// What a verdict wants here.
    pub(super) comes: u64,
    /// An order, and an offer, stand for so long.
    pub(super) patience: Nanos,
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
    /// When a group goes home by itself that does so `after` so long.
    fn failback_at(&self, after: Option<Nanos>) -> Option<Nanos> {
        Some(self.well_since?.after(after?))
    }

    /// When time alone may change a wish; `failback`: of each group, as it is set up.
    pub(super) fn times(&self, failback: &[Option<Nanos>], wake: &mut Wake) {
        let Self { groups: _, since: _, why: _, ordered, accepted, offered, until, accepted_until, well_since: _ } =
            *self;
        if ordered | offered != 0 {
            wake.due(until);
        }
        if accepted != 0 {
            wake.due(accepted_until.max(wake.now().after(Nanos::from_millis(1))));
        }
        failback.iter().for_each(|after| wake.ends(self.failback_at(*after)));
    }

    /// Whether somebody asked for it, whatever was judged. What nobody takes is asked of nobody: whoever takes it meanwhile is to keep
    /// it, for this wish is gone once that is heard, and each would let go of it for the other without end.
    pub(super) fn is_asked(&self) -> bool {
        self.groups != 0 && !matches!(self.why, Reason::PeerFailed | Reason::Unheld)
    }

    /// For the message: wishes, and offers of what is owned; of one that leaves, what it could not let go of instead; where both
    /// hold something, what of that was taken from the peer instead.
    pub(super) fn said(&self, owned: u64, kept: Option<u64>, taken: Option<u64>) -> u64 {
        self.groups & !owned | kept.or(taken).unwrap_or(self.offered) & owned
    }

    /// The groups that we wish to be handed.
    pub(super) const fn groups(&self) -> u64 {
        self.groups
    }

    /// When the last of them was added.
    pub(super) const fn since(&self) -> Nanos {
        self.since
    }

    /// Why we wish for them.
    pub(super) const fn why(&self) -> Reason {
        self.why
    }

    /// An operator ordered the group to be held here, or there; until then.
    pub(super) const fn order(&mut self, group: GroupIndex, here: bool, until: Nanos) {
        if here {
            self.ordered |= group.bit();
        } else {
            self.offered |= group.bit();
        }
        self.until = until;
    }

    /// What we wish to be handed as of now.
    pub(super) fn step(&mut self, now: Nanos, situation: &Situation<'_>, out: &mut Actions) {
        let Situation { free, owned, .. } = *situation;
        self.well_since = if situation.well { self.well_since.or(Some(now)) } else { None };
        self.end_orders(now, situation, out);
        let goes_home = |after: &Option<Nanos>| has_come(self.failback_at(*after), now);
        let causes = [
            (Reason::Ordered, self.ordered),
            (Reason::HandedOver, self.accepted),
            (Reason::FailedBack, bits(situation.failback.iter().map(goes_home)) & situation.at_home),
            (Reason::Unheld, situation.left_lying),
            (Reason::PeerFailed, situation.comes),
        ];
        let wished = causes.into_iter().map(|(why, groups)| (why, groups & !owned)).find(|(_, groups)| *groups != 0);
        let (why, groups) = wished.filter(|_| free).unwrap_or((Reason::PeerFailed, 0));
        if groups & !self.groups != 0 || why != self.why {
            self.since = now;
        }
        (self.groups, self.why) = (groups, why);
    }

    /// Orders that were carried out, or cannot be.
    fn end_orders(&mut self, now: Nanos, situation: &Situation<'_>, out: &mut Actions) {
        self.ordered &= !situation.held;
        self.offered &= situation.owned;
        self.accept_offers(now, situation);
        let left = self.ordered | self.offered;
        if left != 0 && (!situation.free || self.until <= now) {
            for group in (0..MAX_GROUPS as u8).map(GroupIndex).filter(|group| left & group.bit() != 0) {
                out.tell(now, Event::HandOverGivenUp { group });
            }
            (self.ordered, self.offered) = (0, 0);
        }
    }

    /// What could not be acquired is not ordered any more: nothing is tried again and again on behalf of somebody.
    pub(super) fn give_up(&mut self, now: Nanos, group: GroupIndex, out: &mut Actions) {
        self.accepted &= !group.bit();
        if self.ordered & group.bit() != 0 {
            self.ordered &= !group.bit();
            out.tell(now, Event::HandOverGivenUp { group });
        }
    }

    /// An offer is accepted until we hold the group, or the peer holds it and offers it no more.
    fn accept_offers(&mut self, now: Nanos, situation: &Situation<'_>) {
        let Situation { free, owned, peer_owned, offers, patience, .. } = *situation;
        let accepted = if free { (self.accepted | offers) & !owned } else { 0 };
        if accepted & !self.accepted != 0 {
            self.accepted_until = now.after(patience);
        }
        let stands = offers | if now < self.accepted_until { !peer_owned } else { 0 };
        self.accepted = accepted & stands;
    }
}

#[cfg(test)]
mod tests;
