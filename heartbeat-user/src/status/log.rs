//! The agent's output: one line for each change of state and each log record. On a terminal for people, otherwise JSON.
//!
//! A JSON line of an event has `event`, `time_ns` (CLOCK_REALTIME when it happened) and the event's own fields, with
//! `channel` and `group` by name. One of a log record has `level`, `time_ns` and `message`.

use crate::{
    config::Config,
    core::{Event, Nanos},
};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, UNIX_EPOCH},
};

/// The names behind the indices of events.
#[derive(Clone, Debug, Default)]
pub struct Names {
    channels: Vec<String>,
    groups: Vec<String>,
}

impl Names {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            channels: config.channels.iter().map(|c| c.name.clone()).collect(),
            groups: config.groups.iter().map(|g| g.name.clone()).collect(),
        }
    }

    /// The fields of an event, by name.
    #[must_use]
    pub fn fields(&self, event: &impl Serialize) -> Map<String, Value> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else { return Map::new() };
        for (key, names) in [("channel", &self.channels), ("group", &self.groups)] {
            if let Some(value) = fields.get_mut(key)
                && let Some(name) = value.as_u64().and_then(|i| names.get(i as usize))
            {
                *value = name.as_str().into();
            }
        }
        fields
    }
}

/// Writes the lines.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    human: bool,
}

impl Output {
    /// To standard output: for people where that is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self { human: std::io::stdout().is_terminal() }
    }

    /// Makes log records of this process, and of the kernel program, come out the same way.
    pub fn take_log_records(self) {
        if log::set_boxed_logger(Box::new(self)).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
    }

    /// One event, with its fields by name.
    pub fn event(&self, time_ns: u64, fields: &Map<String, Value>) {
        let name = fields.get("event").and_then(Value::as_str).unwrap_or_default();
        if self.human {
            let rest = fields.iter().filter(|(key, _)| *key != "event").filter_map(|(k, v)| human(k, v));
            self.line(&format!("{} {name:<18} {}", time(time_ns), rest.collect::<Vec<_>>().join("  ")));
        } else {
            let mut line = Map::new();
            line.insert("event".into(), name.into());
            line.insert("time_ns".into(), time_ns.into());
            line.extend(fields.iter().filter(|(key, _)| *key != "event").map(|(k, v)| (k.clone(), v.clone())));
            self.line(&Value::Object(line).to_string());
        }
    }

    fn line(self, line: &str) {
        // Nobody reads any more: that is no reason to stop guarding.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for Output {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time_ns = crate::dataplane::clock::realtime_ns();
        let level = record.level().as_str().to_lowercase();
        if self.human {
            self.line(&format!("{} {level:<18} {}", time(time_ns), record.args()));
        } else {
            self.line(&json!({"level": level, "time_ns": time_ns, "message": record.args().to_string()}).to_string());
        }
    }

    fn flush(&self) {}
}

/// `key value`, where there is one; durations readable, identities as hexadecimal.
fn human(key: &str, value: &Value) -> Option<String> {
    match (key.strip_suffix("_ns"), value) {
        (_, Value::Null) => None,
        (Some(name), Value::Number(n)) => Some(format!("{name} {}", Nanos(n.as_u64()?))),
        (None, Value::Number(n)) if key == "incarnation" || key == "before" => Some(format!("{key} {:x}", n.as_u64()?)),
        (_, Value::String(text)) if key == "channel" || key == "group" => Some(text.clone()),
        (_, Value::String(text)) => Some(format!("{key} {text}")),
        (_, other) => Some(format!("{key} {other}")),
    }
}

fn time(time_ns: u64) -> impl std::fmt::Display {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(time_ns))
}

/// An event of the control side, beside the core's own.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum ControlEvent {
    /// How a channel's heartbeats are received, and why not in a better way.
    ChannelAttached { channel: crate::core::ChannelIndex, xdp_mode: crate::dataplane::XdpMode, why: Option<String> },
    /// The course of a takeover, counted from the decision.
    TakeoverMeasured {
        group: crate::core::GroupIndex,
        addresses: usize,
        first_address_ns: Nanos,
        addresses_in_place_ns: Nanos,
        announced_ns: Nanos,
    },
    /// An address could not be added, announced or removed.
    AddressFailed { group: crate::core::GroupIndex, address: String, why: String },
    /// Somebody else answers for addresses that were to be taken over: they are, or they are not.
    StillAnswered { group: crate::core::GroupIndex, taken: bool, by: Vec<String> },
    /// A neighbour claims an address that we hold (RFC 5227): two hold it.
    Rival { group: crate::core::GroupIndex, address: String, mac: String },
    /// It is not heard any more, or we let go of the group.
    RivalGone { group: crate::core::GroupIndex, address: String, mac: String, lasted_ns: Nanos },
    /// An address that somebody had taken away was put back.
    AddressRestored { group: crate::core::GroupIndex, address: String },
    /// An address that we do not own was on this host, and was removed.
    AddressSwept { group: crate::core::GroupIndex, address: String },
    /// A hook, or the fence, ended.
    CommandRan {
        what: &'static str,
        group: Option<crate::core::GroupIndex>,
        succeeded: bool,
        how: String,
        took_ns: Nanos,
        output: String,
    },
    /// A health check succeeds from now on, or fails.
    CheckChanged { check: String, healthy: bool, how: String, output: String },
    /// A reload was asked for and cannot be done: everything stays as it is.
    ReloadRefused { why: String },
    /// The agent ends; everything is released.
    Stopped,
    /// The agent is replaced by a new life of itself.
    Restarting,
}

/// Writes both kinds of events.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The names behind indices.
    pub names: Names,
    /// Where it goes.
    pub output: Output,
}

impl Journal {
    /// An event of the core.
    pub fn core(&self, time_ns: u64, event: &Event) {
        self.output.event(time_ns, &self.names.fields(event));
    }

    /// An event of the control side, now.
    pub fn control(&self, event: &ControlEvent) {
        self.output.event(crate::dataplane::clock::realtime_ns(), &self.names.fields(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ChannelIndex;

    #[test]
    fn events_name_their_channel_and_keep_their_fields() {
        let names = Names { channels: vec!["net1".into()], groups: vec![] };
        let event = Event::ChannelBad { channel: ChannelIndex(0), silent_ns: Some(Nanos(300_000_000)) };
        let fields = names.fields(&event);
        assert_eq!(
            Value::Object(fields.clone()),
            json!({"event": "channel_bad", "channel": "net1", "silent_ns": 300_000_000})
        );
        let text = fields.iter().filter_map(|(k, v)| human(k, v)).collect::<Vec<_>>().join(" ");
        assert!(text.contains("silent 300.000 ms"), "{text}");
    }

    #[test]
    fn an_index_without_a_name_stays_a_number() {
        let event = Event::ChannelGood { channel: ChannelIndex(7) };
        assert_eq!(Names::default().fields(&event)["channel"], 7);
    }
}
