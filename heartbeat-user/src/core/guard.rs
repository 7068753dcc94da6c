//! The guards of a claim from a silent peer (ownership, rule 2): is it us? does its host still answer? is it fenced?
//!
//! What takes time is begun while the peer is only suspected, so that a claim rarely waits for it.

use super::{
    Channel, ChannelState, Core, PeerState, Probed, Setup, Withheld,
    ownership::Guard,
    timers::{Wake, has_come, is_to_come},
    watch::AGAIN,
};
use crate::types::Nanos;
use heartbeat_ebpf::wire::flags;

/// What the guards say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Objections {
    /// Of any.
    pub(super) any: Guard,
    /// Of one that needs the fence, where there is one.
    pub(super) fenced: Guard,
}

impl Objections {
    /// Whatever the claim.
    const fn all(guard: Guard) -> Self {
        Self { any: guard, fenced: guard }
    }
}

impl Setup {
    /// A look that has not ended by then is given up.
    pub(super) fn late_look(&self) -> Nanos {
        self.judging.bound.times(2).after(AGAIN)
    }

    /// A controller that is alone finds out within so long that it is cut off.
    pub(super) fn finds_out_within(&self) -> Nanos {
        if self.guards.by_probe { AGAIN.after(self.late_look()) } else { Nanos(0) }
    }
}

impl Core {
    /// A look at our own networks, of this number, ended.
    pub fn handle_looked(&mut self, now: Nanos, number: u32, probed: Probed) {
        let any = self.is_connected(now, &probed);
        if self.watch.looked(now, number, any) {
            // It was us; the peer gets a full detection time to be heard again.
            self.ownership.listen(now.after(self.detection()));
        }
    }

    /// The fencing of this number ended. The late end of one that was called off counts for nothing.
    pub fn handle_fenced(&mut self, now: Nanos, number: u32, succeeded: bool) {
        self.watch.fenced(now, number, succeeded);
    }

    /// Whether a channel that works has been silent for so long that something may be wrong.
    pub(super) fn is_silent(&self, channel: usize, now: Nanos) -> bool {
        let interval = self.setup.timing.interval.max(Nanos::from_micros(self.said.interval_us.into()));
        let Channel { counter, pace, .. } = &self.channels[channel];
        let (last, interval) = (counter.last_arrival(), interval.times((*pace).into()));
        last.is_some_and(|last| now.since(last) > Nanos(interval.0 + interval.0 / 2))
    }

    /// Whether a peer that counts as well has missed a heartbeat on all channels.
    pub(super) fn suspects(&self, now: Nanos) -> bool {
        let open = |i: &usize| self.channels[*i].counter.state() == ChannelState::Open;
        self.peer == PeerState::Good && (0..self.channels.len()).filter(open).all(|i| self.is_silent(i, now))
    }

    /// What the guards say now, of any claim and of one that needs the fence; asks what is to be asked.
    pub(super) fn guard(&mut self, now: Nanos) -> Objections {
        let left = self.said.flags & flags::LEAVING != 0 && self.said.owned == 0;
        let exclusive = self.setup.exclusivity.groups;
        // Whoever left may be back, unheard: for what must not be held twice, it counts as long as it was surely not.
        let gone = left && (self.has_surely_left() || self.ownership.standing_by() & exclusive == 0);
        let bad = self.peer == PeerState::Bad;
        let owned = self.ownership.owned() & if gone { exclusive } else { u64::MAX };
        let would_let_go = self.setup.exclusivity.release_isolated && owned != 0;
        let claims = self.ownership.would_claim() && !gone && !self.in_maintenance();
        if !(claims || would_let_go) || !(bad || self.suspects(now) || would_let_go && self.is_unheard(now)) {
            if !bad {
                self.watch.forget_looks();
            }
            self.watch.wait_for_no_look();
            self.call_off_fencing(now);
            return Objections::all(self.carriers_say());
        }
        if self.setup.guards.by_probe && self.watch.is_look_due(now, self.setup.late_look()) {
            let works = self.is_connected_unasked(now);
            self.watch.look(now, works, &mut self.actions);
        }
        if gone {
            self.call_off_fencing(now);
            return Objections::all(self.carriers_say());
        }
        let guard = self.object(now);
        if !claims {
            self.call_off_fencing(now);
        }
        match guard {
            Guard::Clear if bad && claims && self.setup.guards.fence => {
                let fenced = self.watch.fence(now, &self.setup.guards, &mut self.actions);
                Objections { any: guard, fenced }
            }
            guard => Objections::all(guard),
        }
    }

    /// What speaks against a claim where nothing has to be found out.
    fn carriers_say(&self) -> Guard {
        if self.isolated() { Guard::Objects(Withheld::Isolated) } else { Guard::Clear }
    }

    /// What speaks against any claim from a peer that is silent or about to be.
    fn object(&self, now: Nanos) -> Guard {
        let by_probe = self.setup.guards.by_probe;
        let stranger_for = self.setup.timing.interval.times(self.setup.timing.failed_waits.into());
        let stranger = |c: &Channel| c.stranger_at.is_some_and(|at| now.since(at) <= stranger_for);
        let unanswered = |n| self.watch.unanswered_at(self.setup.late_look(), n).filter(|_| by_probe);
        if self.isolated() {
            Guard::Objects(Withheld::Isolated)
        } else if !self.peer_known && self.channels.iter().any(stranger) {
            Guard::Objects(Withheld::Stranger)
        } else if is_to_come(unanswered(1), now) {
            Guard::Asking
        } else if is_to_come(unanswered(2), now) {
            Guard::Objects(Withheld::Unanswered)
        } else if by_probe && self.watch.found() == Some(false) {
            Guard::Objects(Withheld::Isolated)
        } else if is_to_come(self.grace_ends(now), now) {
            Guard::Objects(Withheld::PeerDied)
        } else if self.peer_stalled(now).is_some() && now < self.stalled_ends() {
            Guard::Objects(Withheld::PeerStalled)
        } else if self.leased_until(now) > now {
            Guard::Asking
        } else {
            Guard::Clear
        }
    }

    /// Until when a peer whose agent stands still keeps its groups.
    pub(super) const fn stalled_ends(&self) -> Nanos {
        self.watch.stalled_ends(&self.setup.guards)
    }

    /// Until when the peer's kernel may serve on, as far as it was heard.
    fn leased_until(&self, now: Nanos) -> Nanos {
        // While its host answers, it is asked.
        let heard = self.last_heard();
        heard.filter(|_| !self.host_answers(now)).map_or(Nanos(0), |at| at.after(self.takeover_after()))
    }

    /// Whether it is us who are cut off, as the carriers or a finished look say.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated() || self.setup.guards.by_probe && self.watch.none_answered()
    }

    /// Whether some network of ours was seen to work.
    pub(super) fn is_surely_connected(&self) -> bool {
        !self.isolated() && (self.watch.found() == Some(true) || !self.setup.guards.by_probe)
    }

    /// The same, or it should have been found out by now, and was not: whoever promised to let go cannot wait for longer.
    pub(super) fn may_be_isolated(&self, now: Nanos) -> bool {
        let unanswered = has_come(self.watch.unanswered_at(self.setup.late_look(), 1), now);
        self.is_isolated() || self.setup.guards.by_probe && unanswered
    }

    /// We began, perhaps with what an earlier life held, and have not heard the peer although it should have been by now.
    pub(super) fn is_unheard(&self, now: Nanos) -> bool {
        self.peer == PeerState::Unknown && now.since(self.started) >= self.setup.timing.interval.times(2)
    }

    /// Whether the silent peer is surely down.
    pub(super) fn is_fenced(&self) -> bool {
        self.watch.fenced_at().is_some()
    }

    /// Nobody is to be fenced any more.
    fn call_off_fencing(&mut self, now: Nanos) {
        self.watch.call_off_fencing(now, &mut self.actions);
    }

    /// When a guard is to be asked again.
    pub(super) fn guard_times(&self, wake: &mut Wake) {
        if self.peer == PeerState::Bad {
            self.watch.times(&self.setup.guards, self.setup.late_look(), wake);
            wake.ends(self.leased_until(wake.now()));
        }
    }
}

#[cfg(test)]
mod tests;
