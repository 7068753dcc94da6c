//! Where events and latencies go beside the API: `[events]`, `[histograms]`.

use super::{error::Report, table::Table, values::command};
use crate::types::{Nanos, Severity};
use serde::Serialize;
use std::path::PathBuf;

const MS: fn(u64) -> Nanos = Nanos::from_millis;
const PATH: &str = "an absolute path, in a folder that is there";
const MIB: std::ops::RangeInclusive<u64> = 1..=1_024;
const KEPT: std::ops::RangeInclusive<u64> = 1..=100;

/// A file that is begun anew before it grows beyond a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// Where it is.
    pub path: PathBuf,
    /// It holds at most so many bytes. Default 10 MiB.
    pub bytes: u64,
    /// So many older ones are kept beside it. Default 5.
    pub kept: u32,
}

/// The host's own log, where events may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemLog {
    /// The journal, where it is what standard output leads to; otherwise nothing.
    #[default]
    Auto,
    /// systemd's journal, by its own protocol.
    Journal,
    /// Whatever listens on /dev/log.
    Syslog,
    /// Nothing.
    None,
}

/// What is run when something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnEvent {
    /// In words.
    pub command: Vec<String>,
    /// For events of at least this severity. Default `warning`.
    pub severity: Severity,
    /// For events alike at most once within this time. Default 1 min.
    pub damping: Nanos,
    /// It may take so long. Default 10 s.
    pub timeout: Nanos,
}

/// `[events]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// A file of JSON lines. Default: none.
    pub file: Option<Rotated>,
    /// The host's own log. Default `auto`.
    pub system_log: SystemLog,
    /// What is run. Default: nothing.
    pub on_event: Option<OnEvent>,
}

/// `[histograms]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistogramsConfig {
    /// HdrHistogram's interval log. Default: none.
    pub log: Option<Rotated>,
    /// How long one interval is. Default 10 s.
    pub every: Nanos,
}

impl Default for HistogramsConfig {
    fn default() -> Self {
        Self { log: None, every: MS(10_000) }
    }
}

/// `[events]`: where they go.
pub(super) fn events(root: &Table<'_>, report: &mut Report<'_>) -> Events {
    const KNOWN: [&str; 8] = [
        "file",
        "file_mib",
        "files",
        "system_log",
        "on_event",
        "on_event_severity",
        "on_event_damping",
        "on_event_timeout",
    ];
    let Some(table) = root.table(report, "events", &KNOWN, "a table [events]") else {
        return Events::default();
    };
    let file = rotated(&table, report, ["file", "file_mib", "files"]);
    let choices = [
        ("auto", SystemLog::Auto),
        ("journal", SystemLog::Journal),
        ("syslog", SystemLog::Syslog),
        ("none", SystemLog::None),
    ];
    let system_log = table.choice(report, "system_log", "\"auto\", \"journal\", \"syslog\" or \"none\"", &choices);
    let command = command(&table, report, "on_event");
    let choices = Severity::ALL.map(|s| (s.name(), s));
    let severity = table.choice(report, "on_event_severity", "a severity, such as \"warning\"", &choices);
    let damping = table.duration(report, "on_event_damping", Nanos(0)..=MS(86_400_000));
    let timeout = table.duration(report, "on_event_timeout", MS(100)..=MS(60_000));
    Events {
        file,
        system_log: system_log.unwrap_or_default(),
        on_event: command.map(|command| OnEvent {
            command,
            severity: severity.unwrap_or(Severity::Warning),
            damping: damping.map_or(MS(60_000), |damping| damping.value),
            timeout: timeout.map_or(MS(10_000), |timeout| timeout.value),
        }),
    }
}

/// `[histograms]`: the continuous log of latencies.
pub(super) fn histograms(root: &Table<'_>, report: &mut Report<'_>) -> HistogramsConfig {
    let Some(table) = root.table(report, "histograms", &["log", "every", "log_mib", "logs"], "a table [histograms]")
    else {
        return HistogramsConfig::default();
    };
    let log = rotated(&table, report, ["log", "log_mib", "logs"]);
    let every = table.duration(report, "every", MS(1_000)..=MS(3_600_000));
    HistogramsConfig { log, every: every.map_or(HistogramsConfig::default().every, |every| every.value) }
}

fn rotated(table: &Table<'_>, report: &mut Report<'_>, [path, mib, kept]: [&str; 3]) -> Option<Rotated> {
    let usable = |path: &str| path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    let path = table.text(report, path, PATH, usable);
    let mib = table.integer(report, mib, MIB).map_or(10, |mib| mib.value);
    let kept = table.integer(report, kept, KEPT).map_or(5, |kept| kept.value as u32);
    Some(Rotated { path: PathBuf::from(path?.value), bytes: mib << 20, kept })
}
