//! Durations that one thread records and others read, without a lock.

use crate::types::Nanos;
use heartbeat_ebpf::{histogram, layout::Histogram};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts by bucket, the same buckets as in the kernel, and the longest one exactly.
pub struct Durations {
    counts: Box<Histogram>,
    max_ns: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: Box::new(Histogram::new()), max_ns: AtomicU64::new(0) }
    }
}

impl Durations {
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
    let mut hdr = empty();
    for (bucket, count) in histogram.counts.iter().enumerate().map(|(i, c)| (i, c.get())).filter(|&(_, c)| c > 0) {
        hdr.record_n(histogram::lowest_ns(bucket), count).expect("every bucket is within the bounds");
    }
    hdr
}

/// One with our buckets and nothing in them.
#[must_use]
pub fn empty() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new_with_bounds(1_024, histogram::MAX_NS, 2).expect("these are the bounds of our buckets")
}
