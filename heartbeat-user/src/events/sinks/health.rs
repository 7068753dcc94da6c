//! How the sinks fare: for the status, and for whoever waits until everything is told.

use crate::system::clock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// Who has not taken a record for so long does not work.
const HANGS_NS: u64 = 2_000_000_000;

/// What sort of place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// The agent's own.
    #[default]
    StandardOutput,
    /// A file of JSON lines.
    EventFile,
    /// The host's own log.
    SystemLog,
    /// The operator's command.
    OnEvent,
    /// Latencies, not events.
    HistogramLog,
}

impl SinkKind {
    /// As the status, metrics and messages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StandardOutput => "standard_output",
            Self::EventFile => "event_file",
            Self::SystemLog => "system_log",
            Self::OnEvent => "on_event",
            Self::HistogramLog => "histogram_log",
        }
    }
}

/// A place where records go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sink")]
pub struct SinkStatus {
    /// What sort of place.
    pub what: SinkKind,
    /// Where that is: a path, a command, `journal`, `syslog`.
    pub target: String,
    /// Whether the last attempt succeeded, and none hangs.
    pub works: bool,
    /// Records that did not get there and never will.
    pub lost: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Why it does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How one sink fares.
#[derive(Default)]
pub struct SinkHealth {
    pub what: SinkKind,
    target: String,
    /// How many were dealt with.
    pub position: AtomicU64,
    /// The id of the last event among them.
    pub done: AtomicU64,
    pub lost: AtomicU64,
    failures: AtomicU64,
    why: Mutex<Option<String>>,
    /// Since when it has been at work, on CLOCK_MONOTONIC; 0 where it is not.
    busy_since: AtomicU64,
}

impl SinkHealth {
    pub fn new(what: SinkKind, target: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { what, target: target.into(), ..Self::default() })
    }

    pub fn begins(&self) {
        self.busy_since.store(clock::monotonic().0.max(1), Relaxed);
    }

    pub fn ended(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// An attempt failed; true where the one before did not.
    pub fn failed(&self, why: String) -> bool {
        self.failures.fetch_add(1, Relaxed);
        lock(&self.why).replace(why).is_none()
    }

    /// An attempt succeeded; true where the one before did not.
    pub fn succeeded(&self) -> bool {
        lock(&self.why).take().is_some()
    }

    /// For messages.
    pub fn name(&self) -> String {
        format!("{} ({})", self.what.name(), self.target)
    }

    fn hangs_for(&self) -> Option<u64> {
        let since = self.busy_since.load(Relaxed);
        let ns = clock::monotonic().0.saturating_sub(since);
        (since != 0 && ns > HANGS_NS).then_some(ns / 1_000_000_000)
    }

    fn status(&self) -> SinkStatus {
        let why = lock(&self.why).clone();
        let why = why.or_else(|| self.hangs_for().map(|s| format!("what was begun {s} s ago has not ended")));
        SinkStatus {
            what: self.what,
            target: self.target.clone(),
            works: why.is_none(),
            lost: self.lost.load(Relaxed),
            failures: self.failures.load(Relaxed),
            why,
        }
    }
}

/// How all fare.
pub struct SinkStates {
    /// Records taken from whoever tells.
    pub told: AtomicU64,
    /// Those for which there was no room.
    pub lost: AtomicU64,
    /// Nothing that takes its time is running, and nothing will be begun.
    pub held: AtomicBool,
    pub all: Vec<Arc<SinkHealth>>,
}

impl SinkStates {
    pub const fn new(all: Vec<Arc<SinkHealth>>) -> Self {
        Self { told: AtomicU64::new(0), lost: AtomicU64::new(0), held: AtomicBool::new(false), all }
    }

    /// Those of the sinks that have not got everything yet.
    pub fn behind(&self) -> impl Iterator<Item = &Arc<SinkHealth>> {
        let told = self.told.load(Relaxed);
        let takes_records = |health: &&Arc<SinkHealth>| health.what != SinkKind::HistogramLog;
        self.all.iter().filter(takes_records).filter(move |health| health.position.load(Relaxed) < told)
    }

    /// Whether there are none but those that do not work.
    pub fn is_done(&self) -> bool {
        self.behind().all(|health| lock(&health.why).is_some())
    }

    pub fn status(&self) -> Vec<SinkStatus> {
        self.all.iter().map(|health| health.status()).collect()
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked while holding it left it whole: each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
