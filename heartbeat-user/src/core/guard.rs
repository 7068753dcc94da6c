//! The guards of a claim from a silent peer (DESIGN, ownership, rule 2): is it us? does its host still answer? is it fenced?
//!
//! What takes time is begun while the peer is only suspected, so that a claim rarely waits for it.

use super::{Action, Channel, ChannelState, Core, Event, PeerState, Probed, Setup, Withheld, ownership::Guard};
use crate::types::Nanos;
use heartbeat_ebpf::wire::flags;

/// A look at our own networks, or a fencing, that failed is repeated after this.
const AGAIN: Nanos = Nanos::from_millis(1_000);
/// The same of a fencing, which has its own retries.
const FENCE_AGAIN: Nanos = Nanos::from_millis(10_000);

/// How the guards are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// Some network of ours must answer.
    pub by_probe: bool,
    /// The peer must be fenced.
    pub fence: bool,
    /// With all its attempts, it takes no longer than this.
    pub fence_within: Nanos,
    /// A peer whose host answers keeps its groups for so long although its agent stands still.
    pub stalled_grace: Nanos,
}

impl Default for Guards {
    fn default() -> Self {
        Self { by_probe: false, fence: false, fence_within: Nanos::NEVER, stalled_grace: Nanos(0) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    #[default]
    Idle,
    Asked {
        at: Nanos,
    },
    Found {
        at: Nanos,
        any: bool,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fence {
    #[default]
    Idle,
    Running {
        since: Nanos,
    },
    Done {
        at: Nanos,
    },
    Failed {
        at: Nanos,
    },
}

/// What the guards know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    look: Look,
    /// Of the look that counts.
    number: u32,
    /// Since when looks have been asked for, and none ended.
    unanswered_since: Option<Nanos>,
    /// The last look that ended found that none of our networks works.
    none_answered: bool,
    fence: Fence,
    /// Of the fencing that counts.
    fencing: u32,
    /// Since when the peer has been dead.
    pub(super) dead_since: Nanos,
}

impl Watch {
    /// Of a life that begins; the one before, or another before that, had the silent peer fenced.
    pub(super) fn of(fenced_at: Option<Nanos>) -> Self {
        let fence = fenced_at.map_or(Fence::Idle, |at| Fence::Done { at });
        Self { fence, ..Self::default() }
    }

    /// When the silent peer was fenced.
    pub(super) const fn fenced_at(&self) -> Option<Nanos> {
        match self.fence {
            Fence::Done { at } => Some(at),
            _ => None,
        }
    }

    /// It is up again, though not heard.
    pub(super) const fn is_up_again(&mut self) {
        self.fence = Fence::Idle;
    }
}

impl Setup {
    fn late_look(&self) -> Nanos {
        self.judging.bound.times(2).after(AGAIN)
    }

    /// A controller that is alone finds out within so long that it is cut off.
    pub(super) fn finds_out_within(&self) -> Nanos {
        if self.guards.by_probe { AGAIN.after(self.late_look()) } else { Nanos(0) }
    }
}

impl Core {
    /// The peer is there.
    pub(super) fn peer_lives(&mut self, now: Nanos) {
        self.call_off_fencing(now);
        (self.watch.look, self.watch.none_answered) = (Look::Idle, false);
        self.watch.fence = Fence::Idle;
    }

    /// A look at our own networks, of this number, ended.
    pub fn handle_looked(&mut self, now: Nanos, number: u32, probed: Probed) {
        let any = self.is_connected(now, &probed);
        if number == self.watch.number && matches!(self.watch.look, Look::Asked { .. }) {
            if any && self.watch.none_answered {
                // It was us; the peer gets a full detection time to be heard again.
                self.ownership.listen(now.after(self.detection()));
            }
            self.watch.none_answered = !any;
            self.watch.look = Look::Found { at: now, any };
            self.watch.unanswered_since = None;
        }
    }

    /// The fencing of this number ended. The late end of one that was called off counts for nothing.
    pub fn handle_fenced(&mut self, now: Nanos, number: u32, succeeded: bool) {
        if number == self.watch.fencing && matches!(self.watch.fence, Fence::Running { .. }) {
            self.watch.fence = if succeeded { Fence::Done { at: now } } else { Fence::Failed { at: now } };
        }
    }

    /// Whether a channel that works has been silent for so long that something may be wrong.
    pub(super) fn is_silent(&self, channel: usize, now: Nanos) -> bool {
        let interval = self.setup.timing.interval.max(Nanos::from_micros(self.said.interval_us.into()));
        let Channel { counter, pace, .. } = &self.channels[channel];
        let (last, interval) = (counter.last_arrival(), interval.times((*pace).into()));
        last.is_some_and(|last| now.since(last) > Nanos(interval.0 + interval.0 / 2))
    }

    fn suspects(&self, now: Nanos) -> bool {
        let open = |i: &usize| self.channels[*i].counter.state() == ChannelState::Open;
        self.peer == PeerState::Good && (0..self.channels.len()).filter(open).all(|i| self.is_silent(i, now))
    }

    /// What the guards say now, of any claim and of one that needs the fence; asks what is to be asked.
    pub(super) fn guard(&mut self, now: Nanos) -> [Guard; 2] {
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
                (self.watch.look, self.watch.none_answered) = (Look::Idle, false);
            }
            self.watch.unanswered_since = None;
            self.call_off_fencing(now);
            return [if self.isolated() { Guard::Objects(Withheld::Isolated) } else { Guard::Clear }; 2];
        }
        if self.setup.guards.by_probe {
            self.look(now);
        }
        if gone {
            self.call_off_fencing(now);
            return [if self.isolated() { Guard::Objects(Withheld::Isolated) } else { Guard::Clear }; 2];
        }
        let guard = self.object(now);
        if !claims {
            self.call_off_fencing(now);
        }
        match guard {
            Guard::Clear if bad && claims && self.setup.guards.fence => [guard, self.fence(now)],
            guard => [guard; 2],
        }
    }

    /// What speaks against any claim from a peer that is silent or about to be.
    fn object(&self, now: Nanos) -> Guard {
        let by_probe = self.setup.guards.by_probe;
        let stranger_for = self.setup.timing.interval.times(self.setup.timing.failed_waits.into());
        let stranger = |c: &Channel| c.stranger_at.is_some_and(|at| now.since(at) <= stranger_for);
        let unanswered = self.watch.unanswered_since.filter(|_| by_probe).map(|since| now.since(since));
        let late = self.late_look();
        if self.isolated() {
            Guard::Objects(Withheld::Isolated)
        } else if !self.peer_known && self.channels.iter().any(stranger) {
            Guard::Objects(Withheld::Stranger)
        } else if unanswered.is_some_and(|waited| waited < late) {
            Guard::Asking
        } else if unanswered.is_some_and(|waited| waited < late.times(2)) {
            Guard::Objects(Withheld::Unanswered)
        } else if by_probe && matches!(self.watch.look, Look::Found { any: false, .. }) {
            Guard::Objects(Withheld::Isolated)
        } else if self.grace_ends(now).is_some_and(|at| now < at) {
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
        self.watch.dead_since.after(self.setup.guards.stalled_grace)
    }

    /// Until when the peer's kernel may serve on, as far as it was heard.
    fn leased_until(&self, now: Nanos) -> Nanos {
        // While its host answers, it is asked.
        let heard = self.channels.iter().filter_map(|c| c.counter.last_arrival()).max();
        heard.filter(|_| !self.host_answers(now)).map_or(Nanos(0), |at| at.after(self.takeover_after()))
    }

    /// Whether it is us who are cut off, as the carriers or a finished look say.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated() || self.setup.guards.by_probe && self.watch.none_answered
    }

    /// Whether some network of ours was seen to work.
    pub(super) fn is_surely_connected(&self) -> bool {
        let found = matches!(self.watch.look, Look::Found { any: true, .. });
        !self.isolated() && (found || !self.setup.guards.by_probe)
    }

    /// The same, or it should have been found out by now, and was not: whoever promised to let go cannot wait for longer.
    pub(super) fn may_be_isolated(&self, now: Nanos) -> bool {
        let unanswered = self.watch.unanswered_since.is_some_and(|since| now.since(since) >= self.late_look());
        self.is_isolated() || self.setup.guards.by_probe && unanswered
    }

    /// We began, perhaps with what an earlier life held, and have not heard the peer although it should have been by now.
    pub(super) fn is_unheard(&self, now: Nanos) -> bool {
        self.peer == PeerState::Unknown && now.since(self.started) >= self.setup.timing.interval.times(2)
    }

    /// Whether the silent peer is surely down.
    pub(super) const fn is_fenced(&self) -> bool {
        self.watch.fenced_at().is_some()
    }

    /// A look that has not ended by then is asked for again.
    fn late_look(&self) -> Nanos {
        self.setup.late_look()
    }

    fn look(&mut self, now: Nanos) {
        let late = self.late_look();
        let ask = match self.watch.look {
            Look::Idle => true,
            Look::Asked { at } => now.since(at) >= late,
            Look::Found { at, .. } => now.since(at) >= AGAIN,
        };
        if ask && self.is_connected_unasked(now) {
            (self.watch.look, self.watch.unanswered_since) = (Look::Found { at: now, any: true }, None);
        } else if ask {
            self.watch.number = self.watch.number.wrapping_add(1);
            self.watch.unanswered_since.get_or_insert(now);
            self.watch.look = Look::Asked { at: now };
            self.actions.push_back(Action::Look(self.watch.number));
        }
    }

    fn fence(&mut self, now: Nanos) -> Guard {
        match self.watch.fence {
            Fence::Done { .. } => return Guard::Clear,
            Fence::Running { since } if now.since(since) < self.setup.guards.fence_within => return Guard::Asking,
            Fence::Running { .. } => {
                self.actions.push_back(Action::FenceAbort(self.watch.fencing));
                self.watch.fence = Fence::Failed { at: now };
                return Guard::Objects(Withheld::NotFenced);
            }
            Fence::Failed { at } if now.since(at) < FENCE_AGAIN => return Guard::Objects(Withheld::NotFenced),
            Fence::Failed { .. } => {}
            Fence::Idle => self.tell(now, Event::Fencing),
        }
        self.watch.fence = Fence::Running { since: now };
        self.watch.fencing = self.watch.fencing.wrapping_add(1);
        self.actions.push_back(Action::Fence(self.watch.fencing));
        Guard::Asking
    }

    /// Nobody is to be fenced any more.
    fn call_off_fencing(&mut self, now: Nanos) {
        if matches!(self.watch.fence, Fence::Running { .. }) {
            self.watch.fence = Fence::Idle;
            self.actions.push_back(Action::FenceAbort(self.watch.fencing));
            self.tell(now, Event::FencingCalledOff);
        }
    }

    /// When a guard is to be asked again.
    pub(super) fn guard_deadline(&self, now: Nanos) -> Nanos {
        if self.peer != PeerState::Bad {
            return Nanos::NEVER;
        }
        let look = match self.watch.look {
            Look::Found { at, .. } => at.after(AGAIN),
            Look::Asked { at } => at.after(self.late_look()),
            _ => Nanos::NEVER,
        };
        let unanswered = self.watch.unanswered_since.unwrap_or(Nanos::NEVER);
        let [told, ended] = [1, 2].map(|n| unanswered.after(self.late_look().times(n)));
        let fence = match self.watch.fence {
            Fence::Failed { at } => at.after(FENCE_AGAIN),
            Fence::Running { since } => since.after(self.setup.guards.fence_within),
            _ => Nanos::NEVER,
        };
        let grace = self.stalled_ends();
        let leased = self.leased_until(now);
        let later = [look, told, ended, fence, grace, leased].into_iter();
        later.filter(|at| *at > now).min().unwrap_or(Nanos::NEVER)
    }
}

#[cfg(test)]
mod tests;
