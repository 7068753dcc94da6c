//! A recording: the times between heartbeats on one channel, by bucket, and what is known beside them.

use crate::types::Nanos;
use hdrhistogram::Histogram;

/// Gaps of about one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// The shortest gap that would be in it.
    pub lowest: Nanos,
    /// The longest one.
    pub highest: Nanos,
    /// How many are.
    pub count: u64,
}

impl Bin {
    /// Its middle, in s.
    #[must_use]
    pub fn middle_s(self) -> f64 {
        (self.lowest.0 as f64 + self.highest.0 as f64) / 2e9
    }
}

/// The receiver's own counters over the time of the recording, from sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Heartbeats that came.
    pub received: u64,
    /// Those that did not.
    pub missing: u64,
}

/// What was recorded of one channel.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The channel's name.
    pub name: String,
    /// Its gaps, rising, none empty.
    pub gaps: Vec<Bin>,
    /// Losses as they were counted; without, they are guessed from the gaps.
    pub counted: Option<Counted>,
    /// The interval that was configured while it was recorded, where that is known.
    pub configured: Option<Nanos>,
    /// A serial line: it does not carry more heartbeats than were recorded.
    pub serial: bool,
}

impl Recording {
    /// One of an HdrHistogram in ns.
    #[must_use]
    pub fn new(name: &str, counts: &Histogram<u64>) -> Self {
        let bin = |value: u64, count| Bin {
            lowest: Nanos(counts.lowest_equivalent(value)),
            highest: Nanos(counts.highest_equivalent(value)),
            count,
        };
        let gaps = counts.iter_recorded().map(|b| bin(b.value_iterated_to(), b.count_at_value())).collect();
        Self { name: name.to_owned(), gaps, counted: None, configured: None, serial: false }
    }

    /// How many gaps.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.gaps.iter().map(|bin| bin.count).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// How long the channel was watched: all gaps together, in s.
    #[must_use]
    pub fn lasted_s(&self) -> f64 {
        self.gaps.iter().map(|bin| bin.middle_s() * bin.count as f64).sum()
    }

    /// The median of the gaps between `from_s` and `to_s`, in s; `None` where there are none.
    #[must_use]
    pub fn median_s(&self, from_s: f64, to_s: f64) -> Option<f64> {
        let within = || self.gaps.iter().filter(|bin| (from_s..=to_s).contains(&bin.middle_s()));
        let half = within().map(|bin| bin.count).sum::<u64>().div_ceil(2);
        let mut before = 0;
        within()
            .find(|bin| {
                before += bin.count;
                before >= half
            })
            .map(|bin| bin.middle_s())
    }
}
