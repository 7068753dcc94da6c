//! Latencies of one interval after the other, as HdrHistogram's interval log.

use crate::latency::Snapshot;
use anyhow::{Result, anyhow};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

/// What each file begins with: times are since 1970, values in ns.
///
/// # Errors
/// None, in practice.
pub fn header() -> Result<String> {
    let mut bytes = Vec::new();
    let now = UNIX_EPOCH + Duration::from_nanos(crate::system::clock::realtime_ns());
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("heartbeat: latencies in ns, tagged with the name of the histogram")
        .with_start_time(now)
        .with_base_time(UNIX_EPOCH)
        .begin_log_with(&mut bytes, &mut V2DeflateSerializer::new())?;
    Ok(String::from_utf8(bytes)?)
}

/// Takes since-start counts apart into intervals. What could not be written belongs to the next interval, so the intervals'
/// sum is always the whole.
pub struct Intervals {
    since_ns: u64,
    before: HashMap<String, Histogram<u64>>,
}

impl Intervals {
    /// The first one begins at `since_ns`, when `there` was there already.
    #[must_use]
    pub fn new(since_ns: u64, there: Vec<Snapshot>) -> Self {
        Self { since_ns, before: counts(there) }
    }

    /// The lines of the interval that ends with these snapshots; nothing where nothing was recorded.
    ///
    /// # Errors
    /// A name that cannot be a tag.
    pub fn lines(&self, now: &[Snapshot]) -> Result<String> {
        let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut bytes, &mut serializer)?;
        let start = Duration::from_nanos(self.since_ns);
        for snapshot in now {
            let mut during = snapshot.counts.clone();
            if let Some(before) = self.before.get(&snapshot.name)
                && during.subtract(before).is_err()
            {
                // They went back, as after a new attachment: all are since then.
                during = snapshot.counts.clone();
            }
            if during.is_empty() {
                continue;
            }
            let name = &snapshot.name;
            let tag = Tag::new(name).ok_or_else(|| anyhow!("{name:?} cannot be a tag"))?;
            let lasted = Duration::from_nanos(snapshot.until_ns.saturating_sub(self.since_ns));
            log.write_histogram(&during, start, lasted, Some(tag)).map_err(|error| anyhow!("{name}: {error:?}"))?;
        }
        drop(log);
        Ok(String::from_utf8(bytes)?)
    }

    /// They are written: the next interval begins.
    pub fn written(&mut self, now: Vec<Snapshot>) {
        self.since_ns = now.iter().map(|snapshot| snapshot.until_ns).max().unwrap_or(self.since_ns);
        self.before = counts(now);
    }
}

fn counts(snapshots: Vec<Snapshot>) -> HashMap<String, Histogram<u64>> {
    snapshots.into_iter().map(|snapshot| (snapshot.name, snapshot.counts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::empty;
    use base64::Engine as _;
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    fn snapshot(values: &[u64], until_s: u64) -> Snapshot {
        let mut counts = empty();
        for value in values {
            counts.record(*value).unwrap();
        }
        Snapshot {
            name: "rtt/net1".into(),
            channel: None,
            what: "there and back".into(),
            since_ns: 0,
            until_ns: until_s * 1_000_000_000,
            max_ns: counts.max(),
            counts,
        }
    }

    /// Tag, start and length in s, and the counts of each line.
    fn read(log: &str) -> Vec<(String, u64, u64, Histogram<u64>)> {
        let line = |entry| match entry {
            LogEntry::Interval(interval) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
                let counts = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                let tag = interval.tag().unwrap().as_str().to_owned();
                Some((tag, interval.start_timestamp().as_secs(), interval.duration().as_secs(), counts))
            }
            _ => None,
        };
        IntervalLogIterator::new(log.as_bytes()).filter_map(|entry| line(entry.unwrap())).collect()
    }

    #[test]
    fn intervals_have_what_came_since_the_one_before_and_their_sum_is_the_whole() {
        let mut log = header().unwrap();
        let mut intervals = Intervals::new(100_000_000_000, vec![snapshot(&[5_000], 100)]);
        let mut take = |values: &[u64], until_s, written| {
            let now = vec![snapshot(values, until_s)];
            let lines = intervals.lines(&now).unwrap();
            if written {
                log += &lines;
                intervals.written(now);
            }
        };
        take(&[5_000, 6_000, 7_000], 110, true);
        take(&[5_000, 6_000, 7_000], 120, true);
        // The disk was full; the next one has it all.
        take(&[5_000, 6_000, 7_000, 8_000], 130, false);
        take(&[5_000, 6_000, 7_000, 8_000, 9_000], 140, true);
        // A new program counts from nothing.
        take(&[4_000], 150, true);
        let lines = read(&log);
        let shape: Vec<_> =
            lines.iter().map(|(tag, start, lasted, c)| (tag.as_str(), *start, *lasted, c.len())).collect();
        assert_eq!(shape, [("rtt/net1", 100, 10, 2), ("rtt/net1", 120, 20, 2), ("rtt/net1", 140, 10, 1)]);
        assert!(lines[1].3.equivalent(lines[1].3.max(), 9_000) && lines[1].3.equivalent(lines[1].3.min(), 8_000));
    }
}
