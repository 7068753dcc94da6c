//! What one life leaves for the next one that follows at once: records that are not where they belong, and what is damped.

use super::{
    health::{SinkKind, SinkStates},
    hook::Damping,
};
use crate::{
    events::{
        Record,
        feed::{Feed, RING},
    },
    types::Severity,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::Ordering::Relaxed,
};

/// What was left.
#[derive(Default)]
pub struct Left {
    pub damping: Damping,
    /// By sink: the id of the last event that is there.
    pub done: BTreeMap<String, u64>,
    /// Oldest first.
    pub records: Vec<Record>,
}

/// The first line; the records follow, one a line.
#[derive(Serialize, Deserialize)]
struct First {
    done: BTreeMap<String, u64>,
    damping: Damping,
}

/// Takes what is there; nothing is kept of it.
pub fn take(path: &Path) -> Left {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("{}: {error}: what the life before did not bring home is lost", path.display());
            }
            return Left::default();
        }
    };
    let _ = std::fs::remove_file(path);
    let mut lines = text.lines();
    let Some(Ok(First { done, damping })) = lines.next().map(serde_json::from_str) else { return Left::default() };
    Left { damping, done, records: lines.filter_map(|line| serde_json::from_str(line).ok()).collect() }
}

/// Writes down what is left, where anything is.
pub fn leave(path: &Path, state: &SinkStates, damping: &Damping, feed: &Feed) {
    let sinks = || state.all.iter().filter(|health| health.what != SinkKind::HistogramLog);
    let done: BTreeMap<_, _> =
        sinks().map(|health| (health.what.name().to_owned(), health.done.load(Relaxed))).collect();
    let newest = feed.since(None, Severity::Info, 1).0.last().map_or(0, |entry| entry.record.id);
    let least = done.values().copied().min().unwrap_or(newest);
    let (records, _) = if least < newest { feed.since(Some(least), Severity::Info, RING) } else { Default::default() };
    if records.is_empty() && damping.is_idle() {
        return;
    }
    let Ok(first) = serde_json::to_string(&First { done, damping: damping.clone() }) else { return };
    let lines: String =
        std::iter::once(&first).chain(records.iter().map(|entry| &entry.json)).flat_map(|line| [line, "\n"]).collect();
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(lines.as_bytes())) {
        log::warn!("{}: {error}: {} records are not where they belong", path.display(), records.len());
    }
}
