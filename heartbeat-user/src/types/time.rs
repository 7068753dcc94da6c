//! Points in time and spans of it, and those that FIG. 4 and FIG. 5 are run by.

use serde::Serialize;
use std::fmt;

/// A point on CLOCK_MONOTONIC, or a span of it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A time that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// A span of `us` microseconds.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// A span of `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// This time, `span` later; saturates at [`Nanos::NEVER`].
    #[must_use]
    pub const fn after(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This span, `n` times over.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1_000_000 => write!(f, "{:.1} us", ns as f64 / 1e3),
            ns if ns < 1_000_000_000 => write!(f, "{:.3} ms", ns as f64 / 1e6),
            ns => write!(f, "{:.3} s", ns as f64 / 1e9),
        }
    }
}

/// The parameters of FIG. 4 and FIG. 5 (M7). `classic` has the document's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// One heartbeat is sent per channel and interval (G2).
    pub interval: Nanos,
    /// The counter's value when a channel opens (FIG. 4, step 416).
    pub initial: u32,
    /// The time between two checks of the counter (FIG. 4, step 425).
    pub period: Nanos,
    /// The most that a counter holds at a check (FIG. 4, steps 428, 430).
    pub max: u32,
    /// What each check takes away (FIG. 4, step 432).
    pub decrement: u32,
    /// Where checks start: `false`, at fixed times (the document); `true`, one period after the last heartbeat, so that
    /// a channel fails exactly (max / decrement + 1) periods after it.
    pub from_arrival: bool,
    /// Intervals to wait for a first heartbeat before a channel is failed (FIG. 4, steps 410 to 414).
    pub failed_waits: u32,
    /// Messages sent before the generator asks whether the peer is heard (FIG. 5, steps 514 to 520).
    pub disconnect: u32,
    /// How long a socket stays closed before a new one is tried (FIG. 5, step 526).
    pub retry: Nanos,
}

impl Timing {
    /// The same for a channel on which only every `pace`-th heartbeat is sent.
    #[must_use]
    pub const fn paced(self, pace: u32) -> Self {
        Self { interval: self.interval.times(pace as u64), period: self.period.times(pace as u64), ..self }
    }

    /// Silence after which a channel that was at its maximum is failed, counted from its last heartbeat: at most this
    /// plus one period where checks do not start at arrivals.
    #[must_use]
    pub const fn detection(&self) -> Nanos {
        self.period.times((self.max.div_ceil(self.decrement) + 1) as u64)
    }
}
