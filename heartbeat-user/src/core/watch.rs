//! What the guards of a claim know: the looks at our own networks, the fencing, and since when the peer has been dead.

use super::{
    action::{Action, Actions},
    event::{Event, Withheld},
    inquiry::{Inquiry, Stage},
    ownership::Guard,
    setup::Guards,
    timers::{Wake, is_to_come},
};
use crate::types::Nanos;

/// A look at our own networks that ended is repeated after this.
pub(super) const AGAIN: Nanos = Nanos::from_millis(1_000);
/// The same of a fencing that failed, which has its own retries.
pub(super) const FENCE_AGAIN: Nanos = Nanos::from_millis(10_000);

/// What the guards know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Whether any network of ours works.
    look: Inquiry<bool>,
    /// Since when looks have been asked for, and none ended.
    unanswered_since: Option<Nanos>,
    /// The last look that ended found that none of our networks works.
    none_answered: bool,
    /// Whether the peer could be fenced.
    fence: Inquiry<bool>,
    /// Since when the peer has been dead.
    dead_since: Nanos,
}

impl Watch {
    /// Of a life that begins; the one before, or another before that, had the silent peer fenced.
    pub(super) fn of(fenced_at: Option<Nanos>) -> Self {
        let fence = fenced_at.map_or_else(Inquiry::default, |at| Inquiry::answered_before(at, true));
        Self { fence, ..Self::default() }
    }

    /// The peer is there: nothing is to be guarded against.
    pub(super) fn peer_lives(&mut self, now: Nanos, out: &mut Actions) {
        self.call_off_fencing(now, out);
        self.forget_looks();
        self.fence.forget();
    }

    /// The peer is dead from now on.
    pub(super) const fn peer_died(&mut self, now: Nanos) {
        self.dead_since = now;
    }

    /// Since when the peer has been dead, as far as it is.
    pub(super) const fn dead_since(&self) -> Nanos {
        self.dead_since
    }

    /// Until when a peer whose agent stands still keeps its groups.
    pub(super) const fn stalled_ends(&self, guards: &Guards) -> Nanos {
        self.dead_since.after(guards.stalled_grace)
    }

    /// Whether the last look is not good any more, or is given up after `late`.
    pub(super) fn is_look_due(&self, now: Nanos, late: Nanos) -> bool {
        !is_to_come(self.look_again_at(late), now)
    }

    /// A look is due. Where something is known to work without one, nobody is asked.
    pub(super) fn look(&mut self, now: Nanos, works: bool, out: &mut Actions) {
        if works {
            self.look.know(now, true);
            self.unanswered_since = None;
        } else {
            self.unanswered_since.get_or_insert(now);
            out.push(Action::Look(self.look.ask(now)));
        }
    }

    /// The look of this number ended. Whether something works although nothing did before: it was us.
    pub(super) fn looked(&mut self, now: Nanos, number: u32, any: bool) -> bool {
        if self.look.take(now, number, any).is_none() {
            return false;
        }
        self.unanswered_since = None;
        std::mem::replace(&mut self.none_answered, !any) && any
    }

    fn look_again_at(&self, late: Nanos) -> Option<Nanos> {
        self.look.again_at(late, |_| AGAIN)
    }

    /// No look is needed, and nothing is known of the last ones.
    pub(super) const fn forget_looks(&mut self) {
        self.look.forget();
        self.none_answered = false;
    }

    /// Nothing is waited for.
    pub(super) const fn wait_for_no_look(&mut self) {
        self.unanswered_since = None;
    }

    /// When looks will have gone unanswered for `n` times as long as one may take; none where none does.
    pub(super) fn unanswered_at(&self, late: Nanos, n: u64) -> Option<Nanos> {
        self.unanswered_since.map(|since| since.after(late.times(n)))
    }

    /// What the last look found, where it counts.
    pub(super) fn found(&self) -> Option<bool> {
        self.look.answer()
    }

    /// Whether none of our networks worked when that was looked at last.
    pub(super) const fn none_answered(&self) -> bool {
        self.none_answered
    }

    /// The fencing of this number ended.
    pub(super) fn fenced(&mut self, now: Nanos, number: u32, succeeded: bool) {
        self.fence.take(now, number, succeeded);
    }

    /// When the silent peer was fenced.
    pub(super) fn fenced_at(&self) -> Option<Nanos> {
        self.fence.answered().filter(|(_, succeeded)| *succeeded).map(|(at, _)| at)
    }

    /// It is up again, though not heard.
    pub(super) const fn is_up_again(&mut self) {
        self.fence.forget();
    }

    /// What the fence says of a claim; it is set in motion, or given up, as is due.
    pub(super) fn fence(&mut self, now: Nanos, guards: &Guards, out: &mut Actions) -> Guard {
        let waits = is_to_come(self.fence_again_at(guards), now);
        match self.fence.stage() {
            Stage::Answered { answer: true, .. } => return Guard::Clear,
            Stage::Answered { answer: false, .. } if waits => return Guard::Objects(Withheld::NotFenced),
            Stage::Answered { .. } => {}
            Stage::Asked { .. } if waits => return Guard::Asking,
            Stage::Asked { .. } => {
                let number = self.fence.number();
                out.push(Action::FenceAbort(number));
                self.fence.take(now, number, false);
                return Guard::Objects(Withheld::NotFenced);
            }
            Stage::Idle => out.tell(now, Event::Fencing),
        }
        out.push(Action::Fence(self.fence.ask(now)));
        Guard::Asking
    }

    fn fence_again_at(&self, guards: &Guards) -> Option<Nanos> {
        self.fence.again_at(guards.fence_within, |succeeded| if succeeded { Nanos::NEVER } else { FENCE_AGAIN })
    }

    /// Whether the peer is being fenced.
    pub(super) fn is_fencing(&self) -> bool {
        self.fence.asked().is_some()
    }

    /// Nobody is to be fenced any more.
    pub(super) fn call_off_fencing(&mut self, now: Nanos, out: &mut Actions) {
        if let Some(number) = self.fence.call_off() {
            out.push(Action::FenceAbort(number));
            out.tell(now, Event::FencingCalledOff);
        }
    }

    /// When a guard is to be asked again.
    pub(super) fn times(&self, guards: &Guards, late: Nanos, wake: &mut Wake) {
        let Self { look: _, unanswered_since: _, none_answered: _, fence: _, dead_since: _ } = self;
        wake.ends(self.look_again_at(late));
        [1, 2].into_iter().for_each(|n| wake.ends(self.unanswered_at(late, n)));
        wake.ends(self.fence_again_at(guards));
        wake.ends(self.stalled_ends(guards));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos::from_millis(1_000_000);
    const LATE: Nanos = Nanos::from_millis(2_000);
    const GUARDS: Guards =
        Guards { by_probe: true, fence: true, fence_within: Nanos::from_millis(5_000), stalled_grace: Nanos(0) };

    fn next(watch: &Watch, now: Nanos) -> Nanos {
        let mut wake = Wake::after(now);
        watch.times(&GUARDS, LATE, &mut wake);
        wake.earliest()
    }

    #[test]
    fn it_is_told_when_a_fencing_is_given_up_and_when_one_that_failed_is_tried_again() {
        let (mut watch, mut out) = (Watch::default(), Actions::with_room(4));
        assert_eq!(
            (watch.fence(NOW, &GUARDS, &mut out), next(&watch, NOW)),
            (Guard::Asking, NOW.after(GUARDS.fence_within))
        );
        watch.fenced(NOW, 1, false);
        assert_eq!(next(&watch, NOW), NOW.after(FENCE_AGAIN));
        watch.fence(NOW.after(FENCE_AGAIN), &GUARDS, &mut out);
        watch.fenced(NOW.after(FENCE_AGAIN), 2, true);
        assert_eq!(next(&watch, NOW), Nanos::NEVER);
    }

    #[test]
    fn it_is_told_when_looks_have_gone_unanswered_for_once_and_twice_as_long_as_they_may() {
        let (mut watch, mut out) = (Watch::default(), Actions::with_room(4));
        watch.look(NOW, false, &mut out);
        let once = NOW.after(LATE);
        assert_eq!(next(&watch, NOW), once);
        watch.look(once.after(Nanos(7)), false, &mut out);
        assert_eq!(next(&watch, once.after(Nanos(7))), once.after(LATE), "counted from the first of them");
        watch.looked(once.after(LATE), 2, true);
        assert_eq!(next(&watch, once.after(LATE)), once.after(LATE).after(AGAIN));
    }
}
