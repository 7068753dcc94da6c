//! Which timing a pair's channels can bear: from times between heartbeats to settings, and what they promise.
//!
//! ```text
//! histograms -> Recording -> Channel (interval, loss, delays, tail) -> Alarms of a Setting -> recommendation
//! ```
//! After Chen, Toueg, Aguilera, *On the Quality of Service of Failure Detectors*, IEEE Trans. Computers 51(5), 2002: their
//! configuration for unknown distributions, from loss probability and delay variance alone. Two things are added, for a promise
//! must hold: what was seen bounds what is expected without any model as far as the recording is long enough; and silences
//! that delays and losses of single messages do not explain (a host that stood still, a burst of loss) count per time, not
//! per message, with a tail that falls no faster than a second moment makes it.
//!
//! No I/O, no clock: numbers in, numbers out. Inside, times are f64 seconds and rates are per second.

#![forbid(unsafe_code)]

pub mod bounds;
mod model;
mod read;
mod recommend;
mod sample;
mod setting;
#[cfg(test)]
mod tests;

pub use model::{Alarms, Basis, ChannelModel, Loss, Unusable};
pub use read::{Read, read};
pub use recommend::{Promise, Recommendation, pair, promise, recommend};
pub use sample::{Bin, Counted, Recording};
pub use setting::Setting;

/// A year in seconds (of 365.25 days).
pub const YEAR_S: f64 = 31_557_600.0;
