//! What happened, for whoever asks now or listens on: a bounded ring, and a channel that nobody can hold up.

use super::{Record, Role};
use crate::types::Severity;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

/// Events kept.
pub const RING: usize = 4_096;
/// And so many bytes of them, as JSON: those with a command's output are long.
const RING_BYTES: usize = 2 * 1024 * 1024;
/// Verdicts, and what goes with them, kept beside the ring.
pub const VERDICTS: usize = 64;
/// What one listener may be behind; then it is told to read the ring.
const BEHIND: usize = 1_024;

/// An event, and how it is written as JSON.
#[derive(Debug)]
pub struct Entry {
    /// It.
    pub record: Record,
    /// On one line.
    pub json: String,
}

/// Where events go.
pub struct Feed {
    kept: Mutex<Kept>,
    listeners: broadcast::Sender<Arc<Entry>>,
}

#[derive(Default)]
struct Kept {
    ring: VecDeque<Arc<Entry>>,
    ring_bytes: usize,
    verdicts: VecDeque<Arc<Entry>>,
    last_id: u64,
    /// The newest event that is not in the ring any more.
    forgotten: u64,
    counts: BTreeMap<Severity, u64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { kept: Mutex::default(), listeners: broadcast::channel(BEHIND).0 }
    }
}

impl Feed {
    /// Takes an event, and gives it its id: its time in us, or the next number where that is taken.
    pub fn publish(&self, mut record: Record) -> Arc<Entry> {
        let mut kept = self.kept();
        record.id = (record.time_ns / 1_000).max(kept.last_id + 1);
        kept.last_id = record.id;
        *kept.counts.entry(record.severity).or_default() += 1;
        let entry = kept.keep(record);
        drop(kept);
        // Nobody may be listening.
        let _ = self.listeners.send(Arc::clone(&entry));
        entry
    }

    /// The id of the newest event; 0 where there was none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.kept().last_id
    }

    /// What comes from now on comes after that id, of an earlier life, whose events may follow by [`Self::remember`].
    pub fn go_on_after(&self, id: u64) {
        let mut kept = self.kept();
        kept.last_id = kept.last_id.max(id);
        kept.forgotten = kept.forgotten.max(id);
    }

    /// Takes what earlier lives told, oldest first; its ids stay. Those that are not older than what is here are left out.
    pub fn remember(&self, records: impl IntoIterator<Item = Record>) {
        let mut kept = self.kept();
        let oldest = kept.ring.front().map_or(u64::MAX, |entry| entry.record.id);
        let mut earlier: Vec<Record> = Vec::new();
        for record in records {
            if record.id < oldest && earlier.last().is_none_or(|before| before.id < record.id) {
                earlier.push(record);
            }
        }
        kept.last_id = kept.last_id.max(earlier.last().map_or(0, |record| record.id));
        // Where there are as many as can be, there were more.
        let as_many = earlier.len() == RING - kept.ring.len();
        kept.forgotten = earlier.first().filter(|_| as_many).map_or(0, |first| first.id - 1);
        for record in earlier.into_iter().rev() {
            let entry = entry(record);
            if is_verdict(&entry.record) && kept.verdicts.len() < VERDICTS {
                kept.verdicts.push_front(Arc::clone(&entry));
            }
            // Once one has no room, no older one has.
            if kept.forgotten < entry.record.id && kept.has_room(&entry) {
                kept.ring_bytes += entry.json.len();
                kept.ring.push_front(entry);
            } else {
                kept.forgotten = kept.forgotten.max(entry.record.id);
            }
        }
    }

    /// The events after `since`, or else the last `limit`; of at least that severity, at most `limit`, oldest first. Whether some
    /// after `since` are not kept any more.
    #[must_use]
    pub fn since(&self, since: Option<u64>, severity: Severity, limit: usize) -> (Vec<Arc<Entry>>, bool) {
        let kept = self.kept();
        let fits = |entry: &&Arc<Entry>| entry.record.severity >= severity;
        let Some(since) = since else {
            let mut last: Vec<_> = kept.ring.iter().rev().filter(fits).take(limit).cloned().collect();
            last.reverse();
            return (last, false);
        };
        let from = kept.ring.partition_point(|entry| entry.record.id <= since);
        (kept.ring.range(from..).filter(fits).take(limit).cloned().collect(), kept.forgotten > since)
    }

    /// The last verdicts, oldest first.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Arc<Entry>> {
        self.kept().verdicts.iter().cloned().collect()
    }

    /// How many there were since the agent's start.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Severity, u64> {
        self.kept().counts.clone()
    }

    /// Every event from now on. Whoever is too slow misses some, and is told so.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.listeners.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked while it held this was about to push an event: the others are whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn has_room(&self, entry: &Entry) -> bool {
        self.ring.len() < RING && self.ring_bytes + entry.json.len() <= RING_BYTES
    }

    fn keep(&mut self, record: Record) -> Arc<Entry> {
        let entry = entry(record);
        if is_verdict(&entry.record) {
            if self.verdicts.len() == VERDICTS {
                self.verdicts.pop_front();
            }
            self.verdicts.push_back(Arc::clone(&entry));
        }
        self.ring_bytes += entry.json.len();
        self.ring.push_back(Arc::clone(&entry));
        while (self.ring.len() > RING || self.ring_bytes > RING_BYTES)
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_bytes -= oldest.json.len();
            self.forgotten = oldest.record.id;
        }
        entry
    }
}

fn entry(record: Record) -> Arc<Entry> {
    let json = serde_json::to_string(&record).unwrap_or_default();
    Arc::new(Entry { record, json })
}

fn is_verdict(record: &Record) -> bool {
    record.kind().is_some_and(|kind| kind.is(Role::Verdict))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::types::Node;

    pub(crate) fn record(time_us: u64, severity: Severity, event: &str) -> Record {
        Record {
            event: event.into(),
            time_ns: time_us * 1_000,
            monotonic_ns: 0,
            id: 0,
            severity,
            controller: Node::A,
            channel: None,
            group: None,
            text: String::new(),
            evidence: serde_json::Map::new(),
        }
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.record.id).collect()
    }

    #[test]
    fn ids_are_times_and_rise_even_where_the_clock_does_not() {
        let feed = Feed::default();
        for time in [5, 5, 3, 9] {
            feed.publish(record(time, Severity::Info, "x"));
        }
        assert_eq!(ids(&feed.since(None, Severity::Info, 10).0), [5, 6, 7, 9]);
        assert_eq!(ids(&feed.since(Some(6), Severity::Info, 10).0), [7, 9]);
        assert_eq!(ids(&feed.since(None, Severity::Info, 2).0), [7, 9]);
        assert_eq!(ids(&feed.since(Some(0), Severity::Info, 2).0), [5, 6]);
    }

    #[test]
    fn what_is_forgotten_is_said_to_be() {
        let feed = Feed::default();
        for time in 1..=RING as u64 + 3 {
            feed.publish(record(time, Severity::Info, "x"));
        }
        assert!(feed.since(Some(2), Severity::Info, 1).1);
        assert!(!feed.since(Some(3), Severity::Info, 1).1);
        assert_eq!(feed.since(Some(0), Severity::Info, usize::MAX).0.len(), RING);
    }

    #[test]
    fn long_events_are_fewer() {
        let feed = Feed::default();
        for time in 1_001..=2_000 {
            let text = "x".repeat(4_000);
            feed.publish(Record { text, ..record(time, Severity::Info, "command_ran") });
        }
        let (kept, lost) = feed.since(Some(0), Severity::Info, usize::MAX);
        assert!((400..525).contains(&kept.len()) && lost, "{}", kept.len());
        assert_eq!(kept[kept.len() - 1].record.id, 2_000);
        let later = Feed::default();
        later.publish(record(3_000, Severity::Info, "x"));
        later.remember(kept.iter().map(|entry| entry.record.clone()));
        later.remember(kept.iter().map(|entry| Record { id: entry.record.id - 600, ..entry.record.clone() }));
        let (remembered, lost) = later.since(Some(0), Severity::Info, usize::MAX);
        assert!(remembered.len().abs_diff(kept.len()) < 5 && lost, "{}", remembered.len());
    }

    #[test]
    fn verdicts_outlive_the_ring_and_severities_are_counted() {
        let feed = Feed::default();
        feed.publish(record(1, Severity::Warning, "fault_placed"));
        for time in 2..=RING as u64 + 2 {
            feed.publish(record(time, Severity::Info, "x"));
        }
        assert_eq!(ids(&feed.verdicts()), [1]);
        assert_eq!(feed.counts()[&Severity::Warning], 1);
        assert!(feed.since(None, Severity::Warning, 10).0.is_empty());
    }

    #[test]
    fn an_earlier_lifes_events_come_first_and_are_not_counted_nor_taken_twice() {
        let feed = Feed::default();
        let earlier: Vec<_> = [7, 8, 8].map(|id| Record { id, ..record(id, Severity::Info, "x") }).into();
        feed.remember(earlier);
        feed.publish(record(2, Severity::Info, "y"));
        assert_eq!(ids(&feed.since(None, Severity::Info, 10).0), [7, 8, 9]);
        assert_eq!(feed.counts().values().sum::<u64>(), 1);
    }

    #[test]
    fn what_is_remembered_late_comes_before_what_happened_meanwhile() {
        let feed = Feed::default();
        feed.go_on_after(9);
        feed.publish(record(2, Severity::Info, "y"));
        assert!(feed.since(Some(8), Severity::Info, 10).1, "they may be there, and are not known yet");
        feed.remember([7, 8, 9, 10].map(|id| Record { id, ..record(id, Severity::Warning, "judged") }));
        assert_eq!(ids(&feed.since(None, Severity::Info, 10).0), [7, 8, 9, 10]);
        assert_eq!(ids(&feed.verdicts()), [7, 8, 9]);
        assert!(!feed.since(Some(1), Severity::Info, 10).1);
    }

    #[test]
    fn of_what_is_remembered_the_oldest_have_no_room() {
        let feed = Feed::default();
        feed.publish(record(10_000, Severity::Info, "y"));
        feed.remember((1..=RING as u64).map(|id| Record { id, ..record(id, Severity::Info, "x") }));
        let (all, lost) = feed.since(Some(0), Severity::Info, usize::MAX);
        assert_eq!((all.len(), all[0].record.id, lost), (RING, 2, true));
        assert!(!feed.since(Some(1), Severity::Info, 1).1);
    }
}
