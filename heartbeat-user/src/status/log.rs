//! The agent's output: one line for each change of state and each log record. On a terminal for people, otherwise JSON.
//!
//! A JSON line of an event is a [`Record`]. One of a log record has `level`, `time_ns` and `message`.

use super::{
    Obstacle, Record,
    feed::Feed,
    records::{Item, Line, Records},
    telling::{Names, Tell},
};
use crate::{core::Event, system::clock, types::Nanos};
use log::{Level, LevelFilter, Log, Metadata};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// How lines are written.
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

    /// Makes log records of this process, and of the kernel program, go where events go.
    pub fn take_log_records(self, records: Records) {
        if log::set_boxed_logger(Box::new(Logger { output: self, records })).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
    }

    /// As one line, without its end.
    #[must_use]
    pub fn written(self, item: &Item) -> String {
        match item {
            Item::Event(entry) if self.human => {
                let Record { time_ns, severity, event, text, .. } = &entry.record;
                format!("{} {:<8} {event:<18} {text}", time(*time_ns), severity.name())
            }
            Item::Event(entry) => entry.json.clone(),
            Item::Line(line) => {
                let Line { level, time_ns, message } = &**line;
                let level = level.as_str().to_lowercase();
                match self.human {
                    true => format!("{} {level:<18} {message}", time(*time_ns)),
                    false => json!({"level": level, "time_ns": time_ns, "message": message}).to_string(),
                }
            }
        }
    }

    /// Straight to standard output, when nobody else does it any more; not where nobody reads.
    fn write(self, item: &Item) {
        const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        let stdout = std::io::stdout();
        let mut room = [PollFd::new(&stdout, PollFlags::OUT)];
        if matches!(poll(&mut room, Some(&PATIENCE)), Ok(1..)) {
            let _ = writeln!(stdout.lock(), "{}", self.written(item));
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes log records.
struct Logger {
    output: Output,
    records: Records,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, time_ns, message) = (record.level(), clock::realtime_ns(), record.args().to_string());
        let line = Item::Line(Arc::new(Line { level, time_ns, message }));
        if let Err(line) = self.records.tell(line) {
            self.output.write(&line);
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
    ChannelAttached { channel: crate::types::ChannelIndex, xdp_mode: crate::types::XdpMode, why: Option<String> },
    /// The course of a takeover, counted from the decision.
    TakeoverMeasured {
        group: crate::types::GroupIndex,
        addresses: usize,
        first_address_ns: Nanos,
        addresses_in_place_ns: Nanos,
        announced_ns: Nanos,
    },
    /// An address could not be added, announced or removed.
    AddressFailed { group: crate::types::GroupIndex, address: String, why: String },
    /// Somebody else answers for addresses that were to be taken over: they are, or they are not.
    StillAnswered { group: crate::types::GroupIndex, taken: bool, by: Vec<String> },
    /// A neighbour claims an address that we hold (RFC 5227): two hold it.
    Rival { group: crate::types::GroupIndex, address: String, mac: String },
    /// It is not heard any more, or we let go of the group.
    RivalGone { group: crate::types::GroupIndex, address: String, mac: String, lasted_ns: Nanos },
    /// An address that somebody had taken away was put back, so often since that was told last.
    AddressRestored { group: crate::types::GroupIndex, address: String, times: u32 },
    /// An address that we do not own was on this host, and was removed, so often since that was told last.
    AddressSwept { group: crate::types::GroupIndex, address: String, times: u32 },
    /// A hook ended.
    CommandRan {
        what: &'static str,
        group: Option<crate::types::GroupIndex>,
        succeeded: bool,
        how: String,
        took_ns: Nanos,
        output: String,
    },
    /// A level of the fence ended: the peer is switched off, or the next one's turn has come.
    FenceRan { level: String, by: String, succeeded: bool, how: String, took_ns: Nanos, output: String },
    /// A fence agent cannot be had, or does not take its options.
    FenceUnfit { level: String, by: String, why: String },
    /// A fence device could not be relied on from now on, or can again.
    FenceDevice { level: String, by: String, answers: bool, how: String, output: String },
    /// The host's watchdog runs, and is fed; `adopted`: as the life before did.
    WatchdogRuns { device: String, timeout_ns: Nanos, adopted: bool },
    /// It cannot be had.
    WatchdogMissing { device: String, why: String },
    /// The agent ended without having let go of everything, and nobody feeds it any more.
    WatchdogLeft { device: String, timeout_ns: Nanos },
    /// A health check succeeds from now on, or fails.
    CheckChanged { check: String, healthy: bool, how: String, output: String },
    /// What the arbiter answered, where that is something else than before, and what that rests on.
    ArbiterAnswered { said: &'static str, why: String },
    /// A look found that the arbiter would answer from now on, or that something of it would not.
    ArbiterChecked { well: bool, how: String },
    /// A failover would not work from now on, or for other reasons than was said before: all of them.
    NotReady { reasons: Vec<Obstacle> },
    /// It would, from now on.
    ReadyAgain,
    /// Something of this host is not as the configuration has it: the agent goes on without, and looks again.
    HostProblem { what: String },
    /// An address that an earlier life had, and that nothing is to have any more, was removed.
    AddressForgotten { address: String },
    /// It could not be: the host goes on answering for it. Tried again.
    AddressStays { address: String, why: String },
    /// A reload was asked for and waits.
    ReloadWaits { why: String },
    /// A reload was asked for and cannot be done: everything stays as it is.
    ReloadRefused { why: String },
    /// The runtime directory was emptied; what belongs there is there again.
    RuntimeDirRestored { path: String },
    /// Somebody had removed programs or pins from the kernel; they are there again.
    KernelRestored { what: String },
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
    /// How lines are written.
    pub output: Output,
    /// Where they go.
    pub records: Records,
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
        if let Err(event) = self.records.tell(Item::Event(self.feed.publish(record))) {
            self.output.write(&event);
        }
    }
}
