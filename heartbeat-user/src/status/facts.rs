//! What the pulse thread leaves for the status to read, so that nobody ever has to ask it.

use crate::core::{ChannelView, Nanos, PeerState, Verdict, Withheld};
use heartbeat_ebpf::{histogram, layout::Histogram};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The judgement as of the pulse thread's last turn.
#[derive(Clone, Debug)]
pub struct View {
    /// When that was.
    pub at: Nanos,
    /// Where the peer stands.
    pub peer: PeerState,
    /// Whether it said that it leaves.
    pub peer_left: bool,
    /// How long its agent has stood still, where its host answers although nothing is heard of it.
    pub peer_stalled: Option<Nanos>,
    /// Its incarnation; 0 before the first pairing.
    pub peer_incarnation: u64,
    /// The groups that it said it holds.
    pub peer_owned: u64,
    /// The groups that we hold or are about to.
    pub owned: u64,
    /// Those whose addresses are in place.
    pub held: u64,
    /// Our term.
    pub term: u64,
    /// Why nothing is acquired, where something would be.
    pub withheld: Option<Withheld>,
    /// What the configurations differ in: channels, groups, interval.
    pub differences: [bool; 3],
    /// Whether an operator wants nothing to move: here, there.
    pub maintenance: [bool; 2],
    /// What the last analysis came to, while it stands.
    pub verdict: Option<Verdict>,
    /// One for each channel.
    pub channels: Vec<ChannelView>,
}

/// Durations that one thread records and others read.
pub struct Lateness {
    counts: Box<Histogram>,
    max_ns: AtomicU64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: Box::new(Histogram::new()), max_ns: AtomicU64::new(0) }
    }
}

impl Lateness {
    /// Records one duration.
    pub fn record(&self, duration: Nanos) {
        self.counts.counts[histogram::bucket(duration.0)].add(1);
        self.max_ns.fetch_max(duration.0, Relaxed);
    }

    /// The longest one.
    #[must_use]
    pub fn max(&self) -> Nanos {
        Nanos(self.max_ns.load(Relaxed))
    }

    /// As an HdrHistogram in ns.
    #[must_use]
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        to_hdr(&self.counts)
    }
}

/// The counts as an HdrHistogram in ns: bucket by bucket the same, so nothing is lost.
#[must_use]
pub fn to_hdr(histogram: &Histogram) -> hdrhistogram::Histogram<u64> {
    let mut hdr = hdrhistogram::Histogram::new_with_bounds(1_024, histogram::MAX_NS, 2)
        .expect("these are the bounds of our buckets");
    for (bucket, count) in histogram.counts.iter().enumerate().map(|(i, c)| (i, c.get())).filter(|&(_, c)| c > 0) {
        hdr.record_n(histogram::lowest_ns(bucket), count).expect("every bucket is within the bounds");
    }
    hdr
}
