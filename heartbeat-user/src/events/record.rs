//! One event as operators get it, in every place: standard output, file, journal, hooks, API, page.

use super::Kind;
use crate::types::{Node, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event, self-contained: who reads it needs nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Its kind, such as `channel_bad`.
    // As text: another version, whose events are read back, may have other kinds.
    #[schemars(with = "Kind")]
    pub event: String,
    /// When it happened, in ns since 1970 (CLOCK_REALTIME).
    pub time_ns: u64,
    /// The same on CLOCK_MONOTONIC, for differences.
    pub monotonic_ns: u64,
    /// Rises from event to event, also over lives of the agent: its time in us since 1970, made unique.
    pub id: u64,
    /// Whom it is for.
    pub severity: Severity,
    /// The controller that says so.
    pub controller: Node,
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

impl Record {
    /// Its kind; nothing where another version told it, which has kinds that this one has not.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_name(&self.event)
    }
}
