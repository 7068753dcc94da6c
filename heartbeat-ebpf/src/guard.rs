//! What the kernel does about the groups when their agent cannot: it obeys the peer, ends the lease, and keeps silent.
//!
//! ```text
//!  the agent is          the peer says it holds a group of ours,     nothing is heard of the peer
//!                        by a higher term                            either, for a lease
//!  alive                 it decides for itself                       it decides for itself
//!  dead or late          silent about that group                     silent about all groups
//! ```
//! Silent about a group means: what comes in for its addresses is dropped by the XDP program (by the tc program where that is
//! not), what would leave from them by the tc program. The peer says that it holds a group before it adds the first address, so
//! the old kernel serves until the moment at which the new one begins, and never do both answer.

use crate::{
    layout::{AgentCell, KernelCell, Orders, Outcome, Slot},
    verify::STRANGER_EVERY_NS,
    wire::{HELD_LONG, View},
};

/// An agent is late after so many intervals without a sign of life.
pub const LATE: u64 = 2;

/// The records that it goes by.
#[derive(Clone, Copy)]
pub struct Guard<'a> {
    /// What the agent left.
    pub agent: &'a AgentCell,
    /// What the kernel found, and what it was told.
    pub kernel: &'a KernelCell,
}

impl KernelCell {
    /// Whether there is anything to keep silent about, perhaps.
    #[inline(always)]
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.orders.active.get() | self.closed.get() != 0
    }
}

impl Guard<'_> {
    /// A heartbeat of the peer came, and met `outcome`. Whether it is to be answered with [`crate::notice::answer`].
    #[inline(always)]
    pub fn heard(&self, heartbeat: View<'_>, outcome: Outcome, slot: &Slot, now_ns: u64) -> bool {
        let accepted = outcome == Outcome::Accepted;
        if !accepted && outcome != Outcome::Handshake {
            return false;
        }
        let heard_before_ns = self.kernel.heard_ns.get();
        // The peer may not have heard yet that a new life of our agent began: what it answers to tells that it is no recording.
        if accepted || heartbeat.incarnation() == self.agent.peer_incarnation.get() {
            let said_ns = self.said_ns(heartbeat, now_ns, accepted);
            if said_ns > self.kernel.heard_ns.get() {
                self.kernel.heard_ns.set(said_ns);
            }
        }
        if !self.is_out(now_ns) {
            return false;
        }
        self.obey(heartbeat, self.is_lease_over(heard_before_ns, now_ns));
        accepted || is_due(slot, now_ns)
    }

    /// The agent of this incarnation is dead.
    #[inline(always)]
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let own = self.agent.incarnation.get();
        own != 0 && self.kernel.dead_of.get() == own
    }

    /// The agent cannot decide: it is dead, or has given no sign of life for too long.
    #[inline(always)]
    #[must_use]
    pub fn is_out(&self, now_ns: u64) -> bool {
        let late_ns = self.kernel.orders.late_ns.get();
        self.is_dead() || late_ns != 0 && now_ns.saturating_sub(self.agent.alive_ns.get()) > late_ns
    }

    /// The thread with this number in the agent's pid namespace ends, at `now_ns`. A number that is given again later is not
    /// the agent's any more.
    #[inline(always)]
    pub fn ended(&self, thread: u32, now_ns: u64) {
        if self.kernel.orders.thread.get() == u64::from(thread) && !self.is_dead() {
            self.kernel.dead_ns.set(now_ns);
            // Whoever believes this believes the time.
            self.kernel.dead_of.set(self.agent.incarnation.get());
        }
    }

    /// Whether one of these groups is kept silent about. The time is asked for where it matters only: it takes longer than all else.
    #[inline(always)]
    pub fn is_silent(&self, groups: u64, now_ns: impl FnOnce() -> u64) -> bool {
        let Orders { lease_ns, peer_good, serve_until_ns, .. } = &self.kernel.orders;
        if groups & self.kernel.closed.get() != 0 {
            return true;
        }
        let ends = peer_good.get() != 0 && lease_ns.get() != 0 || serve_until_ns.get() != 0;
        ends && groups & self.silent(now_ns()) != 0
    }

    /// The groups that are kept silent about at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub fn silent(&self, now_ns: u64) -> u64 {
        let orders = &self.kernel.orders;
        let mut silent = self.kernel.closed.get();
        let until_ns = orders.serve_until_ns.get();
        if self.is_lease_over(self.kernel.heard_ns.get(), now_ns) {
            silent |= orders.active.get();
        }
        if until_ns != 0 && now_ns > until_ns {
            silent |= orders.limited.get();
        }
        silent
    }

    /// Whether neither a sign of life nor a heartbeat of the peer, heard last at `heard_ns`, came for too long.
    #[inline(always)]
    fn is_lease_over(&self, heard_ns: u64, now_ns: u64) -> bool {
        let orders = &self.kernel.orders;
        let (lease_ns, alive_ns) = (orders.lease_ns.get(), self.agent.alive_ns.get());
        let last_ns = if alive_ns > heard_ns { alive_ns } else { heard_ns };
        lease_ns != 0 && orders.peer_good.get() != 0 && now_ns.saturating_sub(last_ns) > lease_ns
    }

    /// When the peer can last have said it, on our clock: after it had what it answers to, for as long as it says, and what a
    /// network takes, an eighth of an interval. However long one kept it, a lease is not the longer for it. Where that is not
    /// known, when it came, if that is surely `new`.
    #[inline(always)]
    fn said_ns(&self, heartbeat: View<'_>, now_ns: u64, new: bool) -> u64 {
        let (asked_ns, held_ns) = (heartbeat.echo_sent_ns(), heartbeat.echo_held_ns());
        let late_ns = self.kernel.orders.late_ns.get();
        if asked_ns == 0 || asked_ns > now_ns || held_ns == HELD_LONG || late_ns == 0 {
            return if new { now_ns } else { 0 };
        }
        let said_ns = asked_ns.wrapping_add(held_ns as u64).wrapping_add(late_ns / (8 * LATE));
        if said_ns < now_ns { said_ns } else { now_ns }
    }

    /// Closes what the peer says it holds, by a higher term, and what is held here. What its bits stand for is known of one list of
    /// names only: by another, it may hold all of that where our lease had been over, and so was counted on (`lapsed`).
    #[inline(always)]
    fn obey(&self, heartbeat: View<'_>, lapsed: bool) {
        let orders = &self.kernel.orders;
        let claimed = heartbeat.owned();
        let open = orders.active.get() & !self.kernel.closed.get();
        if open == 0 || claimed == 0 || heartbeat.term() <= self.agent.term.get() {
            return;
        }
        let known = orders.peer_names.get() == Orders::KNOWN | u64::from(heartbeat.names_digest());
        let bits = match (known, lapsed) {
            (true, _) => claimed_of(open, claimed, orders),
            (false, true) => open,
            (false, false) => 0,
        };
        if bits != 0 {
            self.kernel.closed.set_bits(bits);
        }
    }
}

/// Those of `groups` that are in `claimed`, which is in the peer's order. Without a branch: the verifier follows both ways of each.
#[inline(always)]
#[must_use]
pub fn claimed_of(groups: u64, claimed: u64, orders: &Orders) -> u64 {
    let mut found = 0;
    let mut i = 0;
    while i < 64 {
        let place = orders.places[i / 8].get() >> (i % 8 * 8);
        let nowhere = place >> 7 | place >> 6;
        found |= (claimed >> (place & 63) & !nowhere & 1) << i;
        i += 1;
    }
    found & groups
}

/// Whether a heartbeat that is not of the pairing, perhaps recorded, may be answered yet; then none is for a while.
#[inline(always)]
fn is_due(slot: &Slot, now_ns: u64) -> bool {
    let last_ns = slot.noticed_ns.get();
    now_ns.saturating_sub(last_ns) >= STRANGER_EVERY_NS && slot.noticed_ns.replace(last_ns, now_ns)
}

#[cfg(test)]
mod tests;
