//! The arbiter: somebody else who grants each exclusive group to one controller at a time.

use super::{Core, Nanos};

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

impl Core {
    /// The arbiter answered the question of this number. A late answer to one that was overridden counts for nothing.
    pub fn handle_arbitrated(&mut self, _now: Nanos, _number: u32, _outcome: Arbitrated) {}
}
