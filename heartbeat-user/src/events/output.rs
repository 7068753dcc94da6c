//! One line for each event and each log record: on a terminal for people, otherwise JSON.
//!
//! A JSON line of an event is a [`Record`]. One of a log record has `level`, `time_ns` and `message`.

use super::{
    Record,
    item::{Item, Line},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::{
    io::{IsTerminal, Write},
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
    pub(super) fn write(self, item: &Item) {
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

fn time(time_ns: u64) -> impl std::fmt::Display {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(time_ns))
}
