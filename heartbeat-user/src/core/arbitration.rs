//! The arbiter: somebody else who grants each exclusive group to one controller at a time. It is asked only where the peer is
//! silent, or does not hear us; while both hear each other, nobody has a grant and nobody needs one.
//!
//! ```text
//!          needed                      granted                       both are well
//!  Idle ----------> asked, Acquire ------------> granted, Renew at each third -------> Release, Idle
//!                     |  denied, unreachable         |  runs out, denied
//!                     +-- after a second, again      +--> lost: what is held on it is let go of
//! ```

use super::{Action, Core, Event, Exclusivity};
use crate::types::Nanos;

/// What the arbiter is asked for: groups, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbitrate {
    /// To have them granted; those that are granted to us already stay so.
    Acquire(u64),
    /// To have the grant of them prolonged. What cannot be prolonged, because it ran out, may be granted anew.
    Renew(u64),
    /// To give them back. What comes of it need not be known, but that it is over is.
    Release(u64),
}

impl Arbitrate {
    /// The groups that it is about.
    #[must_use]
    pub const fn groups(self) -> u64 {
        match self {
            Self::Acquire(groups) | Self::Renew(groups) | Self::Release(groups) => groups,
        }
    }
}

/// What the arbiter said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbitrated {
    /// Nobody else has these groups before `until`, on CLOCK_MONOTONIC: counted from before the question was sent, less what
    /// clocks may drift. Those that were asked for and are not among them are denied. After a release, whatever it says.
    Granted {
        /// A bit each.
        groups: u64,
        /// When the grant runs out.
        until: Nanos,
    },
    /// The other controller has them.
    Denied,
    /// It did not answer in time, or not in a way that says anything.
    Unreachable,
}

/// Asked again after this, where it did not grant what is needed.
const AGAIN: Nanos = Nanos::from_millis(1_000);

impl Exclusivity {
    /// An answer that takes longer is none: its own time, and some to start what asks.
    pub(super) fn patience(&self) -> Nanos {
        self.arbiter.unwrap_or_default().after(AGAIN)
    }

    /// The arbiter is waited for so long before what it did not grant is let go of: one question may go unanswered, as where the host
    /// that fell silent was also the one that led it. But where less was promised, half of that is left for the letting go.
    pub(super) fn arbitration(&self) -> Nanos {
        let twice = self.patience().times(2);
        if twice < self.release_within { twice } else { Nanos(self.release_within.0 / 2) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Question {
    at: Nanos,
    what: Arbitrate,
}

/// What the arbiter was asked and said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arbiter {
    number: u32,
    asked: Option<Question>,
    granted: u64,
    until: Nanos,
    /// When the grant that counts was asked for.
    renewed: Nanos,
    /// When a group was granted last that had not been.
    since: Nanos,
    denied: u64,
    unreachable: bool,
    /// When it answered last, or should have.
    answered: Nanos,
    /// Something may be granted to us there.
    owes: u64,
}

impl Arbiter {
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

    fn take(&mut self, now: Nanos, question: Question, outcome: Arbitrated) {
        self.answered = now;
        let groups = question.what.groups();
        self.unreachable = false;
        match outcome {
            Arbitrated::Granted { groups: granted, until } if until > now => {
                let granted = granted & groups;
                if granted & !self.granted(now) != 0 {
                    self.since = now;
                }
                (self.granted, self.denied, self.until) = (granted, groups & !granted, until);
                self.renewed = question.at;
            }
            // One that has run out already, as by a clock that is wrong, grants nothing.
            Arbitrated::Granted { .. } | Arbitrated::Unreachable => self.unreachable = true,
            Arbitrated::Denied => (self.granted, self.denied) = (0, groups),
        }
    }

    /// When it is to be asked again.
    pub(super) fn deadline(&self, patience: Nanos) -> Nanos {
        match self.asked {
            Some(question) => question.at.after(patience),
            None if self.owes == 0 => Nanos::NEVER,
            None => self.renewal().min(self.answered.after(AGAIN)).min(self.until),
        }
    }

    fn renewal(&self) -> Nanos {
        self.renewed.after(Nanos(self.until.since(self.renewed).0 / 3))
    }
}

impl Core {
    /// The arbiter answered the question of this number. A late answer to one that was overridden counts for nothing.
    pub fn handle_arbitrated(&mut self, now: Nanos, number: u32, outcome: Arbitrated) {
        let Some(question) = self.arbiter.asked.filter(|_| number == self.arbiter.number) else { return };
        self.arbiter.asked = None;
        if matches!(question.what, Arbitrate::Release(_)) {
            return;
        }
        let before = self.arbiter;
        self.arbiter.take(now, question, outcome);
        let after = self.arbiter;
        let lasting = self.setup.exclusivity.grant.after(self.setup.exclusivity.patience()).times(51);
        let over = self.watch.fenced_at().map_or(Nanos::NEVER, |at| at.after(Nanos(lasting.0 / 50)));
        if after.denied != 0 && question.at > over {
            // Whatever it had been granted before it was fenced has run out: it has asked since.
            self.watch.is_up_again();
        }
        let new = after.granted(now) & !before.granted(now);
        if new != 0 {
            self.tell(now, Event::ArbiterGranted { groups_here: new, for_ns: after.until.since(now) });
        }
        if after.denied & !before.denied != 0 {
            self.tell(now, Event::ArbiterDenied { groups_there: after.denied });
        }
        if after.unreachable && !before.unreachable {
            self.tell(now, Event::ArbiterUnreachable);
        }
    }

    /// Asks for `needed`, and gives back what is needed no more.
    pub(super) fn arbitrate(&mut self, now: Nanos, needed: u64) {
        if self.setup.exclusivity.arbiter.is_none() {
            return;
        }
        if let Some(question) =
            self.arbiter.asked.filter(|question| now.since(question.at) >= self.setup.exclusivity.patience())
        {
            let number = self.arbiter.number;
            self.handle_arbitrated(now, number, Arbitrated::Unreachable);
            self.arbiter.owes |= question.what.groups();
        }
        if needed == 0 {
            if self.arbiter.owes != 0 {
                let owes = std::mem::take(&mut self.arbiter.owes);
                self.arbiter = Arbiter { number: self.arbiter.number, ..Arbiter::default() };
                self.question(now, Arbitrate::Release(owes));
            }
            return;
        }
        let Arbiter { asked, answered, .. } = self.arbiter;
        let granted = self.arbiter.granted(now);
        // Neither is what is given back waited for in vain: it must not undo what is granted after it.
        if asked.is_some() {
            return;
        }
        let rested = answered == Nanos(0) || now.since(answered) >= AGAIN;
        if needed & !granted != 0 && rested {
            self.question(now, Arbitrate::Acquire(needed | granted));
        } else if granted != 0 && now >= self.arbiter.renewal() && rested {
            self.question(now, Arbitrate::Renew(granted));
        }
    }

    fn question(&mut self, now: Nanos, what: Arbitrate) {
        self.arbiter.number = self.arbiter.number.wrapping_add(1);
        self.arbiter.asked = Some(Question { at: now, what });
        if !matches!(what, Arbitrate::Release(_)) {
            self.arbiter.owes |= what.groups();
        }
        self.actions.push_back(Action::Arbitrate(self.arbiter.number, what));
    }
}

#[cfg(test)]
mod tests;
