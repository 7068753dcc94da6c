//! How often heartbeats are sent, and which silence is borne.

use crate::types::{Nanos, Timing};

/// What of a timing matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// `eta`: between two heartbeats, in s.
    pub interval_s: f64,
    /// The least silence that fails a channel, in s.
    pub tolerated_s: f64,
    /// The longest silence before a dead channel is failed, in s. The same where checks begin at arrivals.
    pub detection_s: f64,
}

impl From<&Timing> for Setting {
    fn from(timing: &Timing) -> Self {
        let seconds = |span: Nanos| span.0 as f64 / 1e9;
        let detection = timing.detection();
        // WO 01/82077, FIG. 4, step 425: at fixed times, a silence may begin just before a check.
        let tolerated = if timing.from_arrival { detection } else { detection.since(timing.period) };
        Self { interval_s: seconds(timing.interval), tolerated_s: seconds(tolerated), detection_s: seconds(detection) }
    }
}
