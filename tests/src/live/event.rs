//! What happened, as one line of the live view, from an agent's event.

use serde_json::Value;

use crate::lab::{LogLine, Node, realtime_ns};

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) time_ns: u64,
    pub(super) text: String,
}

impl Event {
    /// An event line of an agent's log, or a line that is no JSON at all, which is never good news.
    pub(super) fn of(node: Node, line: &LogLine) -> Option<Self> {
        let text = match (&line.event, &line.raw) {
            (Some(event), raw) if raw.get("text").is_some_and(Value::is_string) => {
                format!("{node}: {event}: {}", raw.get("text").and_then(Value::as_str).unwrap_or_default())
            }
            (Some(event), raw) => {
                let subject = line.channel.as_deref().or(line.group.as_deref()).unwrap_or_default();
                let why = ["message", "reason", "verdict"].iter().find_map(|key| raw.get(key)?.as_str());
                let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
                format!("{node}: {event}{subject}{}", why.map(|why| format!(" ({why})")).unwrap_or_default())
            }
            (None, Value::String(text)) => format!("{node}: {text}"),
            _ => return None,
        };
        let time_ns = if line.time_ns == 0 { realtime_ns() } else { line.time_ns };
        Some(Self { time_ns, text })
    }

    /// With the time of day (UTC) to the millisecond.
    pub(super) fn line(&self) -> String {
        let ms = self.time_ns / 1_000_000;
        let (hours, minutes, seconds) = (ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60);
        format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z  {}", ms % 1000, self.text)
    }
}
