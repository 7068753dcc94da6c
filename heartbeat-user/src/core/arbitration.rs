//! What the arbiter is needed for, and what follows from its answers.

use super::{Arbitrated, Core, Exclusivity, arbiter::AGAIN};
use crate::types::Nanos;

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

impl Core {
    /// The arbiter answered the question of this number. A late answer to one that was overridden counts for nothing.
    pub fn handle_arbitrated(&mut self, now: Nanos, number: u32, outcome: Arbitrated) {
        if let Some(asked) = self.arbiter.answer(now, number, outcome, &mut self.actions) {
            self.heed_denial(asked);
        }
    }

    /// Whatever the peer had been granted before it was fenced runs out: where it has something after that, it has asked since.
    fn heed_denial(&mut self, asked: Nanos) {
        let lasting = self.setup.exclusivity.grant.after(self.setup.exclusivity.patience()).times(51);
        let over = self.watch.fenced_at().map_or(Nanos::NEVER, |at| at.after(Nanos(lasting.0 / 50)));
        if self.arbiter.denied() != 0 && asked > over {
            self.watch.is_up_again();
        }
    }

    /// Asks for `needed`, and gives back what is needed no more.
    pub(super) fn arbitrate(&mut self, now: Nanos, needed: u64) {
        if self.setup.exclusivity.arbiter.is_none() {
            return;
        }
        let patience = self.setup.exclusivity.patience();
        if let Some(asked) = self.arbiter.give_up(now, patience, &mut self.actions) {
            self.heed_denial(asked);
        }
        self.arbiter.step(now, needed, patience, &mut self.actions);
    }
}

#[cfg(test)]
mod tests;
