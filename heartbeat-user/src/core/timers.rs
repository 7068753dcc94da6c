//! When time alone may change something. Each part tells its times in one function, `times`, and asks by the same names whether
//! they have come; the core asks all parts after each turn, and sleeps until the earliest.
//!
//! `times` takes its part to pieces without `..`: whoever adds a field says there whether it is a time. What is told nowhere is
//! seen with the next heartbeat, an interval later at most.

use crate::types::Nanos;

/// The earliest time at which something is to be looked at again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wake {
    now: Nanos,
    earliest: Nanos,
}

impl Wake {
    /// Nothing is waited for yet.
    pub(super) const fn after(now: Nanos) -> Self {
        Self { now, earliest: Nanos::NEVER }
    }

    /// This turn's time.
    pub(super) const fn now(&self) -> Nanos {
        self.now
    }

    /// Something is to be done then: where that is past, at once.
    pub(super) fn due(&mut self, at: impl Into<Option<Nanos>>) {
        self.earliest = self.earliest.min(at.into().unwrap_or(Nanos::NEVER));
    }

    /// Something ends then. What ended before was seen by this turn.
    pub(super) fn ends(&mut self, at: impl Into<Option<Nanos>>) {
        self.due(at.into().filter(|at| *at > self.now));
    }

    /// The earliest of all; [`Nanos::NEVER`] where there is none.
    pub(super) const fn earliest(self) -> Nanos {
        self.earliest
    }
}

/// Whether a time is still to come. One that is not set never was.
pub(super) fn is_to_come(at: Option<Nanos>, now: Nanos) -> bool {
    at.is_some_and(|at| now < at)
}

/// Whether a time has come. One that is not set never does.
pub(super) fn has_come(at: Option<Nanos>, now: Nanos) -> bool {
    at.is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_counts_though_it_is_past_and_what_ended_does_not() {
        let at = |due: Option<u64>, ends: Option<u64>| {
            let mut wake = Wake::after(Nanos(10));
            wake.due(due.map(Nanos));
            wake.ends(ends.map(Nanos));
            wake.earliest()
        };
        assert_eq!(at(None, None), Nanos::NEVER);
        assert_eq!([at(Some(9), Some(11)), at(Some(12), Some(11))], [Nanos(9), Nanos(11)]);
        assert_eq!(
            [at(None, Some(9)), at(None, Some(10)), at(Some(12), Some(10))],
            [Nanos::NEVER, Nanos::NEVER, Nanos(12)]
        );
    }

    #[test]
    fn a_time_is_to_come_until_it_is_there_and_one_that_is_not_set_neither_is_nor_has() {
        for (at, to_come) in [(9, false), (10, false), (11, true)] {
            let at = Some(Nanos(at));
            assert_eq!([is_to_come(at, Nanos(10)), has_come(at, Nanos(10))], [to_come, !to_come]);
        }
        assert!(!is_to_come(None, Nanos(10)) && !has_come(None, Nanos(10)));
    }
}
