//! The operator's commands: hooks of groups, the fence, health checks.
//!
//! Each runs in a process group of its own, without a shell, with nothing on its standard input and nothing of ours in its
//! environment. It is ended, with all that it started, when its time is over or nobody waits for it any more.

mod health;
pub mod signals;
#[cfg(test)]
mod tests;

pub use health::{CheckPlan, watch};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fmt, io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// So much of its output is kept, from the end.
pub const KEPT: usize = 4 * 1024;
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(500);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended after this time.
    TimedOut(Duration),
    /// It did not begin.
    NotStarted(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was ended by {signal}"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
            Self::TimedOut(after) => write!(f, "did not end within {}", humantime::format_duration(*after)),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The last [`KEPT`] bytes of what it wrote to standard output and standard error.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether it ended with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.ended == Ended::Exit(0)
    }
}

/// Ends the process group when nobody waits for the command any more.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Runs a command, whose first word is its path, for at most `patience`; with `environment` as its whole environment, but
/// for PATH and LANG. Dropping the future ends the command.
pub async fn run(words: &[String], environment: &[(&str, String)], patience: Duration) -> Outcome {
    let began = Instant::now();
    let outcome = |ended, output: &[u8]| Outcome {
        ended,
        output: String::from_utf8_lossy(output).trim_end().to_owned(),
        took: began.elapsed(),
    };
    let (mut child, mut pipe) = match start(words, environment) {
        Ok(started) => started,
        Err(error) => return outcome(Ended::NotStarted(reason(&error)), &[]),
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let mut output = Tail::default();
    let ended = timeout(patience, ended(&mut child, &mut pipe, &mut output)).await;
    let ended = match ended {
        Ok(Ok(status)) => {
            // What it leaves running, it leaves on purpose.
            group.0 = None;
            output.drain(&pipe);
            status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or(0)), Ended::Exit)
        }
        Ok(Err(error)) => Ended::NotStarted(reason(&error)),
        Err(_) => {
            group.signal(Signal::SIGTERM);
            let _ = timeout(GRACE, self::ended(&mut child, &mut pipe, &mut output)).await;
            group.signal(Signal::SIGKILL);
            let _ = child.wait().await;
            output.drain(&pipe);
            Ended::TimedOut(patience)
        }
    };
    outcome(ended, &output.0)
}

/// Runs a command up to `retries` times more until it succeeds.
pub async fn insist(
    words: &[String],
    environment: &[(&str, String)],
    patience: Duration,
    retries: u32,
    pause: Duration,
) -> Outcome {
    let mut outcome = run(words, environment, patience).await;
    for _ in 0..retries {
        if outcome.succeeded() {
            break;
        }
        sleep(pause).await;
        outcome = run(words, environment, patience).await;
    }
    outcome
}

fn start(words: &[String], environment: &[(&str, String)]) -> io::Result<(Child, pipe::Receiver)> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (sender, receiver) = pipe::pipe()?;
    let out = sender.into_blocking_fd()?;
    let _unblocked = signals::Unblocked::new();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, receiver))
}

/// Waits for its end, taking what it writes meanwhile.
async fn ended(child: &mut Child, pipe: &mut pipe::Receiver, output: &mut Tail) -> io::Result<ExitStatus> {
    let mut buffer = [0; 4096];
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            read = pipe.read(&mut buffer), if open => match read {
                Ok(len) if len > 0 => output.keep(&buffer[..len]),
                _ => open = false,
            },
        }
    }
}

/// The end of what was written.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn keep(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
    }

    /// What is there already; somebody else may keep the pipe open, and go on writing.
    fn drain(&mut self, pipe: &pipe::Receiver) {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match pipe.try_read(&mut buffer) {
                Ok(len) if len > 0 => self.keep(&buffer[..len]),
                _ => return,
            }
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
        None => error.to_string(),
    }
}
