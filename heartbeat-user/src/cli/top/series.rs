//! What was measured in each of the last seconds: the difference of two histograms.

use crate::latency::Document;
use std::collections::{HashMap, VecDeque};

/// So many seconds are kept.
pub(super) const KEPT: usize = 120;

/// What one second's values were, in ns, to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) median_ns: u64,
    pub(super) max_ns: u64,
}

/// Some seconds in a row; one in which nothing was measured is a gap.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    seconds: VecDeque<Option<Second>>,
    /// The number of the newest one.
    last: Option<u64>,
}

impl Series {
    /// Notes what was measured in second `number`; those since the last one that was noted are gaps.
    pub(super) fn note(&mut self, number: u64, second: Option<Second>) {
        match self.last {
            // Twice in a second: the later one has what the former left over.
            Some(last) if number <= last => {
                if let (Some(newest), Some(second)) = (self.seconds.back_mut(), second) {
                    *newest =
                        Some(newest.map_or(second, |was| Second { max_ns: was.max_ns.max(second.max_ns), ..second }));
                }
                return;
            }
            Some(last) => self.seconds.extend(std::iter::repeat_n(None, ((number - last - 1) as usize).min(KEPT))),
            None => {}
        }
        self.seconds.push_back(second);
        self.last = Some(number);
        self.seconds.drain(..self.seconds.len().saturating_sub(KEPT));
    }

    /// Up to second `now`, the newest first.
    pub(super) fn newest_first(&self, now: u64) -> impl Iterator<Item = Option<Second>> {
        // The present second is not over.
        let missed = self.last.map_or(0, |last| now.saturating_sub(last + 1) as usize).min(KEPT);
        std::iter::repeat_n(None, missed).chain(self.seconds.iter().rev().copied()).take(KEPT)
    }

    /// The newest one, where it is not a gap: of a heart that beats slowly, the last beat's.
    pub(super) fn newest(&self, now: u64) -> Option<Second> {
        self.newest_first(now).take(3).flatten().next()
    }

    /// The longest of all that are kept.
    pub(super) fn max_ns(&self, now: u64) -> Option<u64> {
        self.newest_first(now).flatten().map(|second| second.max_ns).max()
    }
}

/// What came between two histograms of the same life of the agent.
pub(super) fn between(before: &Document, after: &Document) -> Option<Second> {
    if before.since_ns != after.since_ns {
        return None;
    }
    let known: HashMap<u64, u64> = before.buckets.iter().map(|[lowest, _, count]| (*lowest, *count)).collect();
    let fresh: Vec<_> = after
        .buckets
        .iter()
        .map(|[lowest, highest, count]| (*highest, count.saturating_sub(known.get(lowest).copied().unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect();
    let all: u64 = fresh.iter().map(|(_, count)| count).sum();
    let mut passed = 0;
    let median = fresh.iter().find(|(_, count)| {
        passed += count;
        passed * 2 >= all
    });
    // The highest value of a bucket may lie beyond the longest one in it.
    let exact = |ns: u64| ns.min(after.max_ns.max(1));
    Some(Second { median_ns: exact(median?.0), max_ns: exact(fresh.last()?.0) })
}
