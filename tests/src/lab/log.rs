//! What an agent says, line by line: kept, bounded, and waited for without sleeping.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

/// Lines kept in memory; older ones are forgotten.
const KEPT: usize = 20_000;
/// Bytes kept in the log file; what comes after is only kept in memory.
const FILE_LIMIT: usize = 64 << 20;
/// Lines that an error shows.
const SHOWN: usize = 30;

/// A line of an agent's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// Counts all lines of this controller's agents, over restarts as well.
    pub number: u64,
    /// What happened: `ready`, `channel_bad`, `group_acquired` and so on.
    pub event: Option<String>,
    /// The channel it happened to.
    pub channel: Option<String>,
    /// The group it happened to.
    pub group: Option<String>,
    /// CLOCK_REALTIME when it happened, 0 if the line does not say.
    pub time_ns: u64,
    /// The whole line; a string if it is not JSON.
    pub raw: Value,
}

impl LogLine {
    fn parse(number: u64, text: &str) -> Self {
        let raw = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let field = |key| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            number,
            event: field("event"),
            channel: field("channel"),
            group: field("group"),
            time_ns: raw.get("time_ns").and_then(Value::as_u64).unwrap_or(0),
            raw,
        }
    }

    /// Whether this is `event`.
    #[must_use]
    pub fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }

    /// Whether this is `event` of that channel or group.
    #[must_use]
    pub fn is_of(&self, event: &str, subject: &str) -> bool {
        self.is(event) && [&self.channel, &self.group].iter().any(|name| name.as_deref() == Some(subject))
    }
}

/// A place in an agent's log: everything up to now, or up to its last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// The [`LogLine::number`] that comes next here.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The log of one controller's agents.
#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<LogLine>,
    next: u64,
    /// First line of the agent that was started last.
    run_begins: u64,
    /// How many agents were started, and how many of them closed their output.
    started: u64,
    ended: u64,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new agent starts: its lines begin here.
    pub(super) fn begin_run(&self) {
        let mut state = self.state();
        state.run_begins = state.next;
        state.started += 1;
    }

    /// Reads an agent's output to its end. `file` gets a copy.
    pub(super) fn read_all(&self, output: PipeReader, mut file: File) {
        let mut room = FILE_LIMIT;
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            let text = String::from_utf8_lossy(&line);
            if room > line.len() {
                room -= line.len() + 1;
                let _best_effort = writeln!(file, "{text}");
            }
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.lines.push_back(LogLine::parse(number, &text));
            if state.lines.len() > KEPT {
                state.lines.pop_front();
            }
            drop(state);
            self.changed.notify_all();
        }
        self.end_run();
    }

    /// An agent's output ended, or it never started after all.
    pub(super) fn end_run(&self) {
        self.state().ended += 1;
        self.changed.notify_all();
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.state().next)
    }

    /// Where the lines of the agent that was started last begin.
    pub(super) fn run_begin(&self) -> Mark {
        Mark(self.state().run_begins)
    }

    pub(super) fn since(&self, mark: Mark) -> Vec<LogLine> {
        self.state().lines.iter().filter(|line| line.number >= mark.0).cloned().collect()
    }

    /// The first line from `mark` on that is `wanted`, waiting for it at most `timeout`, and no longer than the agent runs.
    pub(super) fn wait(&self, mark: Mark, timeout: Duration, wanted: impl Fn(&LogLine) -> bool) -> Result<LogLine> {
        let deadline = Instant::now() + timeout;
        let mut seen = mark.0;
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.iter().find(|line| line.number >= seen && wanted(line)) {
                return Ok(line.clone());
            }
            seen = seen.max(state.next);
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended == state.started {
                bail!("the agent ended without saying it; its last lines:\n{}", tail(&state));
            }
            if left.is_zero() {
                bail!("nothing of that kind within {timeout:?}; the agent's last lines:\n{}", tail(&state));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn tail(&self) -> String {
        tail(&self.state())
    }
}

fn tail(state: &State) -> String {
    let skip = state.lines.len().saturating_sub(SHOWN);
    let lines: Vec<String> = state
        .lines
        .iter()
        .skip(skip)
        .map(|line| match &line.raw {
            Value::String(text) => format!("  {text}"),
            json => format!("  {json}"),
        })
        .collect();
    if lines.is_empty() { "  (none)".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_line_is_waited_for_and_the_end_of_the_agent_ends_the_wait() {
        let log = Arc::new(Log::default());
        let (output, mut input) = pipe().unwrap();
        log.begin_run();
        let reading = Arc::clone(&log);
        let reader = thread::spawn(move || reading.read_all(output, File::create("/dev/null").unwrap()));
        writeln!(input, "no json").unwrap();
        writeln!(input, r#"{{"event":"channel_bad","channel":"net1","time_ns":5}}"#).unwrap();
        let line = log.wait(log.run_begin(), Duration::from_secs(5), |line| line.is_of("channel_bad", "net1")).unwrap();
        assert_eq!((line.number, line.time_ns), (1, 5));
        assert_eq!(log.since(Mark(0)).first().map(|line| line.raw.clone()), Some(Value::String("no json".to_owned())));
        let error = log.wait(log.mark(), Duration::from_millis(1), |_| true).unwrap_err().to_string();
        assert!(error.contains("within 1ms") && error.contains("no json"), "{error}");
        drop(input);
        reader.join().unwrap();
        let error = log.wait(log.mark(), Duration::from_secs(60), |_| true).unwrap_err().to_string();
        assert!(error.contains("ended"), "{error}");
    }
}
