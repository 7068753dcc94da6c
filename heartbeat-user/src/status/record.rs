//! One event as operators get it, in every place: standard output, file, journal, hooks, API, page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whom an event is for. Ordered: a later one is worse.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The course of things: who reads the day after. Syslog's info.
    Info,
    /// Something moved, or works again. Syslog's notice.
    Notice,
    /// A fault that nobody notices yet: to be mended in working hours. Syslog's warning.
    Warning,
    /// The service is, or may be, affected; or nothing stands between it and the next fault. Syslog's crit.
    Critical,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An event, self-contained: who reads it needs nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Its name, such as `channel_bad`.
    pub event: String,
    /// When it happened, in ns since 1970 (CLOCK_REALTIME).
    pub time_ns: u64,
    /// The same on CLOCK_MONOTONIC, for differences.
    pub monotonic_ns: u64,
    /// Rises from event to event, also over lives of the agent: its time in us since 1970, made unique.
    pub id: u64,
    /// Whom it is for.
    pub severity: Severity,
    /// The controller that says so: `a` or `b`.
    pub controller: String,
    /// The channel that it is about, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The group that it is about, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What happened, as one sentence.
    pub text: String,
    /// The event's own fields: the evidence. Durations end in `_ns`.
    #[serde(flatten)]
    pub evidence: Map<String, Value>,
}
