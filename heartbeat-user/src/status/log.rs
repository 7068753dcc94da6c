//! The agent's output: one line for each change of state and each log record. On a terminal for people, otherwise JSON.
//!
//! A JSON line of an event is a [`Record`]. One of a log record has `level`, `time_ns` and `message`.

use super::{
    Record,
    feed::{Entry, Feed},
    telling::{Names, Tell},
};
use crate::{
    core::{Event, Nanos},
    dataplane::clock,
};
use log::{Level, LevelFilter, Log, Metadata};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

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

    /// One event.
    pub fn event(self, entry: &Entry) {
        let Record { time_ns, severity, event, text, .. } = &entry.record;
        if self.human {
            self.line(&format!("{} {:<8} {event:<18} {text}", time(*time_ns), severity.name()));
        } else {
            self.line(&entry.json);
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

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time_ns = clock::realtime_ns();
        let level = record.level().as_str().to_lowercase();
        if self.human {
            self.line(&format!("{} {level:<18} {}", time(time_ns), record.args()));
        } else {
            self.line(&json!({"level": level, "time_ns": time_ns, "message": record.args().to_string()}).to_string());
        }
    }

    fn flush(&self) {}
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

/// Tells both kinds of events.
#[derive(Clone)]
pub struct Journal {
    /// The names behind indices.
    pub names: Names,
    /// Standard output.
    pub output: Output,
    /// Whoever asks or listens.
    pub feed: Arc<Feed>,
}

impl Journal {
    /// An event of the core, that happened then.
    pub fn core(&self, time_ns: u64, monotonic: Nanos, event: &Event) {
        self.tell(time_ns, monotonic, event);
    }

    /// An event of the control side, now.
    pub fn control(&self, event: &ControlEvent) {
        self.tell(clock::realtime_ns(), clock::monotonic(), event);
    }

    fn tell(&self, time_ns: u64, monotonic: Nanos, event: &impl Tell) {
        let mut evidence = self.names.fields(event);
        let mut take = |key| match evidence.remove(key) {
            Some(Value::String(text)) => Some(text),
            other => other.filter(|value| !value.is_null()).map(|value| value.to_string()),
        };
        let (name, channel, group) = (take("event").unwrap_or_default(), take("channel"), take("group"));
        let text = event.sentence(channel.as_ref().or(group.as_ref()).map_or("", String::as_str));
        let severity = event.severity();
        let controller = self.names.node.to_string();
        let monotonic_ns = monotonic.0;
        let record =
            Record { event: name, time_ns, monotonic_ns, id: 0, severity, controller, channel, group, text, evidence };
        self.output.event(&self.feed.publish(record));
    }
}
