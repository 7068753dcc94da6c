//! What the agents say: the lines that matter to a test, waited for, and all of them in one story.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{CHANNELS, SOON};
use crate::lab::{Lab, LogLine, Mark, Node};

/// The lines since `mark` that say that something changed: all but late wake-ups and what these say of a failover, which change
/// nothing, and analyses that find that all is well.
#[must_use]
pub fn changes(lab: &Lab, node: Node, mark: Mark) -> Vec<LogLine> {
    lab.events_since(node, mark).into_iter().filter(is_change).collect()
}

/// Whether a line is one of [`changes`].
#[must_use]
pub fn is_change(line: &LogLine) -> bool {
    let well = line.is("judged") && line.raw["verdict"]["nothing"] == "all_well";
    let quiet = ["stalled", "networks_probed", "not_ready", "ready_again"];
    line.event.as_deref().is_some_and(|event| !quiet.contains(&event)) && !well
}

/// Everything that was said of groups and takeovers since `mark`.
#[must_use]
pub fn group_events(lab: &Lab, node: Node, mark: Mark) -> Vec<LogLine> {
    let moves = |line: &LogLine| {
        let event = line.event.as_deref().unwrap_or_default();
        event.starts_with("group_") || event.starts_with("takeover_") || event == "dual_ownership"
    };
    lab.events_since(node, mark).into_iter().filter(moves).collect()
}

/// The first line of that event since `mark`, waiting for it if need be.
///
/// # Errors
/// There is none soon; the message has the whole story.
pub fn wait_said(lab: &Lab, node: Node, mark: Mark, event: &str) -> Result<LogLine> {
    lab.wait_event_since(node, mark, |line| line.is(event), SOON).with_context(|| story(lab))
}

/// The same of an event of that channel or group.
///
/// # Errors
/// As [`wait_said`].
pub fn wait_said_of(lab: &Lab, node: Node, mark: Mark, event: &str, subject: &str) -> Result<LogLine> {
    lab.wait_event_since(node, mark, |line| line.is_of(event, subject), SOON).with_context(|| story(lab))
}

/// Waits until a controller has said since `mark` that every channel and the peer became good.
///
/// # Errors
/// It did not.
pub fn wait_all_good(lab: &Lab, node: Node, mark: Mark) -> Result<()> {
    for channel in CHANNELS {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_good", channel), SOON)?;
    }
    lab.wait_event_since(node, mark, |line| line.is("peer_good"), SOON).map(|_| ())
}

/// Everything that both agents said since they were started, for a failing test. The host has its part in the story: a peer
/// that stood still for longer than the profile allows is rightly found dead.
#[must_use]
pub fn story(lab: &Lab) -> String {
    let said =
        |node| lab.events_since(node, lab.run_begin(node)).into_iter().map(move |line| (line.time_ns, node, line));
    let mut lines: Vec<_> = Node::BOTH.into_iter().flat_map(said).collect();
    lines.sort_by_key(|(time_ns, ..)| *time_ns);
    let stall = lines.iter().filter_map(|(.., line)| nanos(line, "late_ns").ok()).max().unwrap_or_default();
    let text: String = lines.iter().map(|(_, node, line)| format!("{node} {}\n", line.raw)).collect();
    format!("{text}the host held an agent up for {stall:?} at most")
}

/// What a line says under `key`, in ns.
///
/// # Errors
/// Nothing, or no number.
pub fn nanos(line: &LogLine, key: &str) -> Result<Duration> {
    let value = line.raw.get(key).and_then(Value::as_u64);
    value.map(Duration::from_nanos).with_context(|| format!("no {key} in {}", line.raw))
}

/// From one time to a later one, both CLOCK_REALTIME in ns; zero if they are the other way round.
#[must_use]
pub fn between(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}
