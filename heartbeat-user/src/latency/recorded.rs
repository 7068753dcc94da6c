//! Which durations the agent itself measures.

use super::Durations;

/// How long things took in this life of the agent.
pub struct Latencies {
    /// How late the pulse thread came to its appointments.
    pub lateness: Durations,
    /// From the drain to the verdict that followed.
    pub drain_to_verdict: Durations,
    /// By channel.
    pub channels: Vec<ChannelLatencies>,
    /// From the decision to the first address in place, to all, to all announced.
    pub takeover: [Durations; 3],
}

/// How long things took on one channel.
#[derive(Default)]
pub struct ChannelLatencies {
    /// There and back, without the time that the peer held it.
    pub rtt: Durations,
    /// By how much the one-way delays of successive heartbeats differed (RFC 3550, section 6.4.1, not smoothed).
    pub jitter: Durations,
    /// From the kernel's stamp to the drain.
    pub stamp_to_drain: Durations,
}

impl Latencies {
    /// Empty ones.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self {
            lateness: Durations::default(),
            drain_to_verdict: Durations::default(),
            channels: (0..channels).map(|_| ChannelLatencies::default()).collect(),
            takeover: Default::default(),
        }
    }
}
