//! Which events the operator's command is run for, and when: at most once in a while for events alike, and never so that the
//! last state stays hidden. Time is passed in.

use crate::{
    events::Record,
    types::{Nanos, Severity},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Runs within [`MINUTE`], of whatever kind.
const RUNS: usize = 10;
const MINUTE: Nanos = Nanos::from_millis(60_000);
/// Runs that may wait for their turn.
const WAITING: usize = 64;

/// Events alike.
type Key = (String, Option<String>, Option<String>, Severity);

/// A run of the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What for.
    pub record: Record,
    /// How many events beside that one were left out since the run before.
    pub suppressed: u64,
}

/// What was told, and what waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Damping {
    /// Those that were told lately. As a list: JSON has no other keys than texts.
    #[serde(with = "as_list")]
    alike: BTreeMap<Key, Alike>,
    waiting: VecDeque<Run>,
    /// When there were runs.
    runs: VecDeque<u64>,
    /// One run for all that was too much.
    summary: Option<Run>,
    /// The newest of those, whether shown or not.
    newest: Option<Record>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Alike {
    until_ns: u64,
    suppressed: Option<Run>,
}

mod as_list {
    use super::{Alike, BTreeMap, Key};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(map: &BTreeMap<Key, Alike>, serializer: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Key, Alike>, D::Error> {
        Vec::<(Key, Alike)>::deserialize(deserializer).map(|list| list.into_iter().collect())
    }
}

impl Damping {
    /// An event, now: it gets a run, or waits for the end of the damping time.
    pub fn take(&mut self, now: Nanos, damping: Nanos, record: &Record) {
        let key = (record.event.clone(), record.channel.clone(), record.group.clone(), record.severity);
        self.release(now, damping);
        match self.alike.get_mut(&key) {
            Some(alike) => {
                let suppressed = alike.suppressed.as_ref().map_or(0, |run| run.suppressed + 1);
                alike.suppressed = Some(Run { record: record.clone(), suppressed });
            }
            None => {
                if damping > Nanos(0) {
                    self.alike.insert(key, Alike { until_ns: now.after(damping).0, suppressed: None });
                }
                self.wait(Run { record: record.clone(), suppressed: 0 });
            }
        }
    }

    /// The run that is due now, if any.
    pub fn due(&mut self, now: Nanos, damping: Nanos) -> Option<Run> {
        self.release(now, damping);
        while self.runs.front().is_some_and(|at| now.since(Nanos(*at)) >= MINUTE) {
            self.runs.pop_front();
        }
        if self.runs.len() >= RUNS {
            // When their turn came they would be old: one run is to tell of all of them.
            while let Some(run) = self.waiting.pop_front() {
                self.add_to_summary(run);
            }
            return None;
        }
        self.newest = None;
        let run = self.summary.take().or_else(|| self.waiting.pop_front())?;
        self.runs.push_back(now.0);
        Some(run)
    }

    /// When something may be due, if nothing happens until then.
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        let alike = self.alike.values().map(|alike| Nanos(alike.until_ns)).min();
        let room = match (self.runs.front(), &self.summary, self.waiting.is_empty()) {
            (_, None, true) => None,
            (Some(first), ..) if self.runs.len() >= RUNS => Some(Nanos(*first).after(MINUTE)),
            _ => Some(Nanos(0)),
        };
        alike.into_iter().chain(room).min()
    }

    /// Whether nothing waits, and nothing is remembered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.alike.is_empty() && self.waiting.is_empty() && self.summary.is_none()
    }

    /// What is still to be told when the agent ends, whatever the damping says: one run for all, then the last event.
    #[must_use]
    pub fn last(mut self) -> Vec<Run> {
        let mut last = self.waiting.pop_back();
        for run in self.waiting.drain(..).collect::<Vec<_>>() {
            self.add_to_summary(run);
        }
        for alike in std::mem::take(&mut self.alike).into_values() {
            alike.suppressed.into_iter().for_each(|run| self.add_to_summary(run));
        }
        if last.is_none()
            && let Some((summary, newest)) = self.summary.as_mut().zip(self.newest)
            && summary.record.id != newest.id
        {
            summary.suppressed -= 1;
            last = Some(Run { record: newest, suppressed: 0 });
        }
        self.summary.into_iter().chain(last).collect()
    }

    /// Damping times that are over.
    fn release(&mut self, now: Nanos, damping: Nanos) {
        let over: Vec<_> =
            self.alike.iter().filter(|(_, alike)| alike.until_ns <= now.0).map(|(k, _)| k.clone()).collect();
        for key in over {
            let run = self.alike.remove(&key).and_then(|alike| alike.suppressed);
            if let Some(run) = run {
                // It is told now, and its like not again for as long.
                self.alike.insert(key, Alike { until_ns: now.after(damping).0, suppressed: None });
                self.wait(run);
            }
        }
    }

    fn wait(&mut self, run: Run) {
        if self.waiting.len() < WAITING { self.waiting.push_back(run) } else { self.add_to_summary(run) }
    }

    /// Of what was too much, the newest of the worst is shown.
    fn add_to_summary(&mut self, run: Run) {
        if self.newest.as_ref().is_none_or(|newest| newest.id < run.record.id) {
            self.newest = Some(run.record.clone());
        }
        self.summary = Some(match self.summary.take() {
            None => run,
            Some(before) => {
                let suppressed = before.suppressed + run.suppressed + 1;
                let newer = (run.record.severity, run.record.id) >= (before.record.severity, before.record.id);
                Run { record: if newer { run.record } else { before.record }, suppressed }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;

    const DAMPING: Nanos = Nanos::from_millis(10_000);
    const S: fn(u64) -> Nanos = |s| Nanos::from_millis(s * 1_000);

    fn record(id: u64, event: &str, severity: Severity) -> Record {
        Record {
            event: event.into(),
            time_ns: 0,
            monotonic_ns: 0,
            id,
            severity,
            controller: Node::A,
            channel: Some("net1".into()),
            group: None,
            text: String::new(),
            evidence: serde_json::Map::new(),
        }
    }

    fn bad(id: u64) -> Record {
        record(id, "channel_bad", Severity::Warning)
    }

    /// All that is due: ids, and how many were left out.
    fn due(damping: &mut Damping, now: Nanos) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| damping.due(now, DAMPING)).map(|run| (run.record.id, run.suppressed)).collect()
    }

    #[test]
    fn events_alike_are_told_once_and_the_last_one_at_the_end_of_the_damping_time() {
        let mut damping = Damping::default();
        for (second, id) in [(0, 1), (1, 2), (2, 3), (9, 4)] {
            damping.take(S(second), DAMPING, &bad(id));
        }
        damping.take(S(9), DAMPING, &record(5, "channel_good", Severity::Notice));
        assert_eq!(due(&mut damping, S(9)), [(1, 0), (5, 0)]);
        assert_eq!(damping.next(), Some(S(10)));
        assert_eq!(due(&mut damping, Nanos(S(10).0 - 1)), []);
        assert_eq!(due(&mut damping, S(10)), [(4, 2)]);
        // And its like again no sooner than after another damping time.
        damping.take(S(15), DAMPING, &bad(6));
        assert_eq!(due(&mut damping, Nanos(S(20).0 - 1)), []);
        assert_eq!(due(&mut damping, S(20)), [(6, 0)]);
        assert_eq!(due(&mut damping, S(30)), []);
        // Nothing is kept of what is over.
        assert_eq!((damping.next(), damping.alike.len()), (None, 0));
        damping.take(S(31), DAMPING, &bad(7));
        assert_eq!(due(&mut damping, S(31)), [(7, 0)]);
    }

    #[test]
    fn other_channels_and_severities_are_not_alike() {
        let mut damping = Damping::default();
        damping.take(S(0), DAMPING, &bad(1));
        damping.take(S(0), DAMPING, &Record { channel: Some("net2".into()), ..bad(2) });
        damping.take(S(0), DAMPING, &Record { severity: Severity::Critical, ..bad(3) });
        damping.take(S(0), DAMPING, &Record { group: Some("g".into()), ..bad(4) });
        assert_eq!(due(&mut damping, S(0)).len(), 4);
    }

    #[test]
    fn without_damping_each_is_told() {
        let mut damping = Damping::default();
        for id in 1..=3 {
            damping.take(S(0), Nanos(0), &bad(id));
        }
        assert_eq!(std::iter::from_fn(|| damping.due(S(0), Nanos(0))).count(), 3);
        assert_eq!(damping.next(), None);
    }

    #[test]
    fn beyond_ten_runs_a_minute_one_tells_of_all_others_and_shows_the_worst() {
        let mut damping = Damping::default();
        for id in 1..=30 {
            let severity = if id == 20 { Severity::Critical } else { Severity::Warning };
            damping.take(S(0), DAMPING, &record(id, &format!("event {id}"), severity));
        }
        assert_eq!(due(&mut damping, S(0)), (1..=10).map(|id| (id, 0)).collect::<Vec<_>>());
        assert_eq!(damping.next(), Some(S(10)), "damping times end first");
        assert_eq!(due(&mut damping, S(59)), []);
        assert_eq!(damping.next(), Some(S(60)));
        assert_eq!(due(&mut damping, S(60)), [(20, 19)]);
        assert_eq!(damping.next(), None);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_none_is_forgotten() {
        let mut damping = Damping::default();
        for id in 1..=1_000 {
            damping.take(S(0), DAMPING, &record(id, &format!("event {id}"), Severity::Warning));
        }
        assert_eq!(damping.waiting.len(), WAITING);
        let told = due(&mut damping, S(0)).into_iter().chain(due(&mut damping, S(60)));
        assert_eq!(told.map(|(_, suppressed)| suppressed + 1).sum::<u64>(), 1_000);
    }

    #[test]
    fn at_the_end_one_run_tells_of_what_was_left_out_and_one_of_the_last_event() {
        let mut damping = Damping::default();
        for id in 1..=3 {
            damping.take(S(0), DAMPING, &bad(id));
        }
        assert_eq!(due(&mut damping, S(0)), [(1, 0)]);
        damping.take(S(1), DAMPING, &record(4, "stopping", Severity::Notice));
        damping.take(S(1), DAMPING, &record(5, "stopped", Severity::Notice));
        let kept: Damping = serde_json::from_str(&serde_json::to_string(&damping).unwrap()).unwrap();
        let told: Vec<_> = kept.last().into_iter().map(|run| (run.record.id, run.suppressed)).collect();
        assert_eq!(told, [(3, 2), (5, 0)]);
        // Also where there were too many in this minute.
        let mut damping = Damping::default();
        for id in 1..=12 {
            damping.take(S(0), DAMPING, &record(id, &format!("event {id}"), Severity::Warning));
        }
        damping.take(S(0), DAMPING, &record(13, "stopped", Severity::Notice));
        assert_eq!(due(&mut damping, S(0)).len(), 10);
        let told: Vec<_> = damping.last().into_iter().map(|run| (run.record.id, run.suppressed)).collect();
        assert_eq!(told, [(12, 1), (13, 0)]);
    }
}
