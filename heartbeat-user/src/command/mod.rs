//! The operator's commands: hooks of groups, the fence, health checks.
//!
//! Each runs in a process group of its own, without a shell, with nothing on its standard input but what it is told there, and
//! nothing of ours in its environment. It is ended, with all that it started, when its time is over or nobody waits for it any
//! more; and what was killed has not ended before it is gone ([`Remains`]).
#![forbid(unsafe_code)]

mod health;
mod path;
mod remains;
pub mod signals;
#[cfg(test)]
mod tests;
mod tree;

pub use health::{CheckPlan, watch};
pub use path::{PATH, find};
pub use remains::{Remains, end_marked};

use crate::system::child;
use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};
use std::{
    fmt, io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
    time::{Instant, timeout},
};
use tree::Tree;

/// So much of its output is kept, from the end.
pub const KEPT: usize = 4 * 1024;
/// The most that a command may write whose answer is waited for, as that of a fence agent: one that never stops is not waited for.
pub const MOST: u64 = 16 * 1024 * 1024;
/// Has the mark of a run in its environment, by which [`Remains::end_marked`] finds whatever is left of it.
pub const MARK: &str = "HEARTBEAT_RUN";
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended after this time.
    TimedOut(Duration),
    /// It was ended when it had written more than so many bytes.
    TooMuch(u64),
    /// It did not begin.
    NotStarted(String),
    /// It began, and how it ended could not be seen.
    Unseen(String),
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
            Self::TooMuch(most) if *most >= 1024 * 1024 => {
                write!(f, "wrote more than {} MiB", most / 1024 / 1024)
            }
            Self::TooMuch(most) => write!(f, "wrote more than {} KiB", most / 1024),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unseen(why) => write!(f, "was ended, since its end could not be waited for: {why}"),
        }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// How it ended.
    pub ended: Ended,
    /// The last [`KEPT`] bytes of what it wrote to standard output and standard error.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl CommandOutcome {
    /// Whether it ended with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.ended == Ended::Exit(0)
    }

    /// Whether it was ended, and so may have left something half-way.
    const fn is_half_way(&self) -> bool {
        !matches!(self.ended, Ended::Exit(_) | Ended::NotStarted(_))
    }

    /// Of one that was not to begin, and why.
    #[must_use]
    pub const fn not_started(why: String) -> Self {
        Self { ended: Ended::NotStarted(why), output: String::new(), took: Duration::ZERO }
    }
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The path and the arguments.
    pub words: &'a [String],
    /// Its whole environment, but for PATH and LANG.
    pub environment: &'a [(&'a str, String)],
    /// What it finds on its standard input.
    pub input: &'a [u8],
    /// So many bytes of its output are kept, from the end.
    pub kept: usize,
    /// It is ended when it writes more bytes than these.
    pub most: u64,
    /// Whether what it writes to standard error counts as output; else it is lost.
    pub with_errors: bool,
    /// Whether it is ended when we die, however: it must not go on when nobody could call it off any more.
    pub dies_with_us: bool,
}

impl<'a> Task<'a> {
    /// A command with nothing on its standard input, which may write without end until its time is over.
    #[must_use]
    pub const fn new(words: &'a [String], environment: &'a [(&'a str, String)]) -> Self {
        Self { words, environment, input: &[], kept: KEPT, most: u64::MAX, with_errors: true, dies_with_us: false }
    }
}

/// Ends all of it when nobody waits for the command any more.
struct Running(Option<Tree>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(tree) = &mut self.0 {
            tree.kill();
        }
    }
}

/// Runs a command, whose first word is its path, for at most `patience`; with `environment` as its whole environment, but
/// for PATH and LANG. As [`finish`].
pub async fn run(words: &[String], environment: &[(&str, String)], patience: Duration) -> CommandOutcome {
    finish(Task::new(words, environment), patience).await
}

/// Runs it for at most `patience`. Where it was ended, so is whatever has its mark, and it has ended once all of that is gone, however
/// long that takes. Dropping the future ends it.
pub async fn finish(task: Task<'_>, patience: Duration) -> CommandOutcome {
    let (outcome, mut remains) = attempt(task, patience).await;
    remains.gone().await;
    let mark = task.environment.iter().find(|(name, _)| *name == MARK).filter(|_| outcome.is_half_way());
    if let Some((_, mark)) = mark {
        let program = task.words.first().map_or("", String::as_str);
        end_marked(program, mark).await;
    }
    outcome
}

/// Runs it for at most `patience`; where it was ended then, nobody waits until it is gone. Dropping the future ends it.
pub async fn perform(task: Task<'_>, patience: Duration) -> CommandOutcome {
    attempt(task, patience).await.0
}

/// Runs it for at most `patience`; where it was ended then, with what is left of it. Dropping the future ends it.
pub async fn attempt(task: Task<'_>, patience: Duration) -> (CommandOutcome, Remains) {
    let began = Instant::now();
    let outcome = |ended, output: &[u8]| CommandOutcome {
        ended,
        output: String::from_utf8_lossy(output).trim_end().to_owned(),
        took: began.elapsed(),
    };
    let (mut child, pipe) = match start(task) {
        Ok(started) => started,
        Err(error) => return (outcome(Ended::NotStarted(reason(&error)), &[]), Remains::none()),
    };
    let mut running = Running(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw).map(Tree::new));
    let input = child.stdin.take().map(|stdin| (stdin, task.input));
    let mut ways = Ways { input, pipe, output: Tail::new(task.kept), most: task.most };
    let ended = match timeout(patience, ways.until_ended(&mut child)).await {
        Ok(Ok(Some(status))) => {
            // What it leaves running, it leaves on purpose.
            running.0 = None;
            ways.drain();
            let ended = match status.code() {
                _ if ways.output.written > task.most => Ended::TooMuch(task.most),
                Some(code) => Ended::Exit(code),
                None => Ended::Signal(status.signal().unwrap_or(0)),
            };
            return (outcome(ended, &ways.output.bytes), Remains::none());
        }
        Ok(Err(error)) => Ended::Unseen(reason(&error)),
        Ok(Ok(None)) => Ended::TooMuch(task.most),
        Err(_) => Ended::TimedOut(patience),
    };
    if let Some(tree) = &mut running.0 {
        tree.terminate();
    }
    ways.most = u64::MAX;
    let _ = timeout(GRACE, ways.until_ended(&mut child)).await;
    let program = task.words.first().map_or("", String::as_str);
    let mut tree = running.0.take();
    tree.iter_mut().for_each(Tree::kill);
    ways.drain();
    let outcome = outcome(ended, &ways.output.bytes);
    (outcome, Remains::of(program.to_owned(), child, tree))
}

fn start(task: Task<'_>) -> io::Result<(Child, pipe::Receiver)> {
    let (program, arguments) = task.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (sender, receiver) = pipe::pipe()?;
    let out = sender.into_blocking_fd()?;
    let _unblocked = signals::Unblocked::new();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(task.environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(if task.input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stderr(if task.with_errors { out.try_clone()?.into() } else { Stdio::null() })
        .stdout(out)
        .process_group(0)
        .kill_on_drop(true);
    if task.dies_with_us {
        child::dies_with_us(&mut command);
    }
    Ok((command.spawn()?, receiver))
}

/// What goes in and comes out.
struct Ways<'a> {
    /// Closed once all of it is in.
    input: Option<(ChildStdin, &'a [u8])>,
    pipe: pipe::Receiver,
    output: Tail,
    most: u64,
}

impl Ways<'_> {
    /// Waits for its end, telling it what it is to know and taking what it writes meanwhile; until it has written too much (`None`).
    async fn until_ended(&mut self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut buffer = [0; 4096];
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                status = child.wait() => return status.map(Some),
                read = self.pipe.read(&mut buffer), if open => match read {
                    Ok(len) if len > 0 => {
                        self.output.keep(&buffer[..len]);
                        if self.output.written > self.most {
                            return Ok(None);
                        }
                    }
                    _ => open = false,
                },
                done = tell(&mut self.input), if self.input.is_some() => if done {
                    self.input = None;
                },
            }
        }
    }

    /// What is there already; somebody else may keep the pipe open, and go on writing.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..16.max(self.output.most / buffer.len()) {
            match self.pipe.try_read(&mut buffer) {
                Ok(len) if len > 0 => self.output.keep(&buffer[..len]),
                _ => return,
            }
        }
    }
}

/// Writes some of the input; whether that was all, or nobody wants it.
async fn tell(input: &mut Option<(ChildStdin, &[u8])>) -> bool {
    let Some((stdin, left)) = input else { return true };
    // What was written is taken off `left` at once: nothing is said twice where the future is dropped.
    stdin.write_buf(left).await.is_err() || left.is_empty()
}

/// The end of what was written.
struct Tail {
    bytes: Vec<u8>,
    most: usize,
    /// All of it, in bytes.
    written: u64,
}

impl Tail {
    const fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, written: 0 }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.bytes.drain(..self.bytes.len().saturating_sub(self.most));
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
        None => error.to_string(),
    }
}
