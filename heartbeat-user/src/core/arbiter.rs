//! The arbiter: somebody else who grants each exclusive group to one controller at a time. It is asked only where the peer is
//! silent, or does not hear us; while both hear each other, nobody has a grant and nobody needs one.
//!
//! ```text
//!          needed                      granted                       both are well
//!  Idle ----------> asked, Acquire ------------> granted, Renew at each third -------> Release, Idle
//!                     |  denied, unreachable         |  runs out, denied
//!                     +-- after a second, again      +--> lost: what is held on it is let go of
//! ```

use super::{
    action::{Action, Actions, Arbitrate, Arbitrated},
    event::Event,
    inquiry::Inquiry,
    timers::{Wake, is_to_come},
};
use crate::types::Nanos;

/// Asked again after this, where it did not grant what is needed.
pub(super) const AGAIN: Nanos = Nanos::from_millis(1_000);

/// What the arbiter was asked and said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ArbiterInquiry {
    inquiry: Inquiry<()>,
    /// What it was asked last.
    question: Option<Arbitrate>,
    granted: u64,
    until: Nanos,
    /// When the grant that counts was asked for.
    renewed: Nanos,
    /// When a group was granted last that had not been.
    since: Nanos,
    denied: u64,
    unreachable: bool,
    /// Something may be granted to us there.
    owes: u64,
}

impl ArbiterInquiry {
    /// What is granted now.
    pub(super) const fn granted(&self, now: Nanos) -> u64 {
        if now.0 < self.until.0 { self.granted } else { 0 }
    }

    /// When the grants that there are run out.
    pub(super) const fn until(&self) -> Nanos {
        self.until
    }

    /// When a group was granted last that had not been: whoever had it before may still be letting go.
    pub(super) const fn since(&self) -> Nanos {
        self.since
    }

    /// Whether something was asked for that is not given back yet.
    pub(super) const fn is_needed(&self) -> bool {
        self.owes != 0
    }

    /// The groups that the other controller has.
    pub(super) const fn denied(&self) -> u64 {
        self.denied
    }

    /// Whether the last question was not answered.
    pub(super) const fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    /// Groups that were granted, and are not any more.
    pub(super) const fn ran_out(&self, now: Nanos) -> u64 {
        if now.0 < self.until.0 { 0 } else { self.granted }
    }

    /// The arbiter answered the question of this number; a late answer to one that was overridden counts for nothing. When the question
    /// had been asked, unless it was only to give back.
    pub(super) fn answer(&mut self, now: Nanos, number: u32, answer: Arbitrated, out: &mut Actions) -> Option<Nanos> {
        let question = self.question?;
        let asked = self.inquiry.take(now, number, ())?;
        if matches!(question, Arbitrate::Release(_)) {
            self.inquiry.forget();
            return None;
        }
        let before = *self;
        self.take(now, question.groups(), asked, answer);
        let new = self.granted(now) & !before.granted(now);
        if new != 0 {
            out.tell(now, Event::ArbiterGranted { groups_here: new, for_ns: self.until.since(now) });
        }
        if self.denied & !before.denied != 0 {
            out.tell(now, Event::ArbiterDenied { groups_there: self.denied });
        }
        if self.unreachable && !before.unreachable {
            out.tell(now, Event::ArbiterUnreachable);
        }
        Some(asked)
    }

    fn take(&mut self, now: Nanos, groups: u64, asked: Nanos, answer: Arbitrated) {
        self.unreachable = false;
        match answer {
            Arbitrated::Granted { groups: granted, until } if until > now => {
                let granted = granted & groups;
                if granted & !self.granted(now) != 0 {
                    self.since = now;
                }
                (self.granted, self.denied, self.until) = (granted, groups & !granted, until);
                self.renewed = asked;
            }
            // One that has run out already, as by a clock that is wrong, grants nothing.
            Arbitrated::Granted { .. } | Arbitrated::Unreachable => self.unreachable = true,
            Arbitrated::Denied => (self.granted, self.denied) = (0, groups),
        }
    }

    /// A question that was not answered in time is not waited for any more. When it had been asked, as [`Self::answer`] says it.
    pub(super) fn give_up(&mut self, now: Nanos, patience: Nanos, out: &mut Actions) -> Option<Nanos> {
        let question = self.question?;
        if self.inquiry.asked().is_none() || is_to_come(self.again_at(patience), now) {
            return None;
        }
        let asked = self.answer(now, self.inquiry.number(), Arbitrated::Unreachable, out);
        self.owes |= question.groups();
        asked
    }

    /// Asks for `needed`, and gives back what is needed no more.
    pub(super) fn step(&mut self, now: Nanos, needed: u64, patience: Nanos, out: &mut Actions) {
        if needed == 0 {
            if self.owes != 0 {
                let owes = self.owes;
                *self = Self { inquiry: self.inquiry, ..Self::default() };
                self.ask(now, Arbitrate::Release(owes), out);
            }
            return;
        }
        // Neither is what is given back waited for in vain: it must not undo what is granted after it.
        if self.inquiry.asked().is_some() || is_to_come(self.again_at(patience), now) {
            return;
        }
        let granted = self.granted(now);
        if needed & !granted != 0 {
            self.ask(now, Arbitrate::Acquire(needed | granted), out);
        } else if granted != 0 && now >= self.renewal() {
            self.ask(now, Arbitrate::Renew(granted), out);
        }
    }

    fn ask(&mut self, now: Nanos, question: Arbitrate, out: &mut Actions) {
        self.question = Some(question);
        if !matches!(question, Arbitrate::Release(_)) {
            self.owes |= question.groups();
        }
        out.push(Action::Arbitrate(self.inquiry.ask(now), question));
    }

    fn again_at(&self, patience: Nanos) -> Option<Nanos> {
        self.inquiry.again_at(patience, |()| AGAIN)
    }

    fn renewal(&self) -> Nanos {
        self.renewed.after(Nanos(self.until.since(self.renewed).0 / 3))
    }

    /// When it is to be asked again.
    pub(super) fn times(&self, patience: Nanos, wake: &mut Wake) {
        let Self { inquiry, question: _, granted: _, until, renewed: _, since: _, denied: _, unreachable: _, owes } =
            self;
        let again = self.again_at(patience);
        if inquiry.asked().is_some() {
            wake.ends(again);
        } else if *owes != 0 {
            wake.ends(again.map(|again| again.min(self.renewal()).min(*until)));
        }
    }
}
