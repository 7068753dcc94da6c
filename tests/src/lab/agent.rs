//! One controller's agent: the `heartbeat` binary as a process inside the controller's namespace.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, pipe};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use super::log::Log;
use super::netns::Namespace;
use super::topology::Node;

/// What `heartbeat status` said.
#[derive(Debug, Clone)]
pub struct Status {
    /// Exit code: 0 all good, 1 something bad, 2 no agent.
    pub code: i32,
    /// The JSON document; null where there is none.
    pub json: Value,
    /// What it said beside that.
    pub stderr: String,
}

/// The `heartbeat` binary: `HEARTBEAT_BIN`, or what `cargo xtask build` left.
///
/// # Errors
/// It is not there.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HEARTBEAT_BIN") {
        let path = PathBuf::from(path);
        anyhow::ensure!(path.is_file(), "HEARTBEAT_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
    let path = target.join("release/heartbeat");
    anyhow::ensure!(
        path.is_file(),
        "the agent is not built: no {}; run `cargo xtask build` first, or set HEARTBEAT_BIN",
        path.display()
    );
    Ok(path)
}

/// Runs `heartbeat` with these arguments and collects its output, for at most `limit`.
///
/// # Errors
/// The binary is missing, or did not end in time (it is killed then).
pub fn heartbeat<I: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = I>,
    limit: Duration,
) -> Result<(ExitStatus, String, String)> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    super::child::bind_life_to_thread(&mut command);
    let mut child = command.spawn().context("cannot start heartbeat")?;
    let pid = pid_of(&child);
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (done, result) = channel();
    // The thread that waits is also the one that reaps, and we only ever signal before it has said that it did.
    let reader = thread::spawn(move || {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let _as_far_as_it_goes = out.as_mut().map(|out| out.read_to_string(&mut stdout));
        let _as_far_as_it_goes = err.as_mut().map(|err| err.read_to_string(&mut stderr));
        let _closed = done.send((stdout, stderr));
        child.wait()
    });
    let output = result.recv_timeout(limit);
    if output.is_err() {
        let _already_ended = kill(pid, Signal::SIGKILL);
    }
    let status = reader.join().map_err(|_| anyhow!("a reader panicked"))?.context("cannot wait for heartbeat")?;
    let (stdout, stderr) = output.map_err(|_| anyhow!("heartbeat did not answer within {limit:?}"))?;
    Ok((status, stdout, stderr))
}

/// A running agent, or how the last one ended.
pub(super) struct Agent {
    node: Node,
    folder: PathBuf,
    pub(super) runtime_dir: PathBuf,
    pub(super) log: Arc<Log>,
    process: Arc<Process>,
}

#[derive(Default)]
struct Process {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    NeverStarted,
    Running(Pid),
    Ended(ExitStatus),
}

impl Process {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end without reaping, then reaps under the lock: whoever sees `Running` under the lock may signal that pid.
    fn wait_for_end(&self, mut child: Child) {
        let _end = waitid(Id::Pid(pid_of(&child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let mut state = self.state();
        *state = State::Ended(child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00)));
        self.ended.notify_all();
    }
}

impl Agent {
    pub(super) fn new(node: Node, folder: &Path) -> Self {
        Self {
            node,
            folder: folder.to_owned(),
            runtime_dir: folder.join(node.name()),
            log: Arc::default(),
            process: Arc::default(),
        }
    }

    /// `command` runs the agent, wherever it is; what it is to do comes here.
    pub(super) fn start(&self, namespace: &Namespace, mut command: Command, config: &Path, letter: Node) -> Result<()> {
        let mut state = self.process.state();
        if let State::Running(pid) = *state {
            bail!("the agent on {} is running already (pid {pid})", self.node);
        }
        let (output, input) = pipe().context("cannot make a pipe")?;
        let copy = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", self.node)))
            .context("cannot open the agent's log")?;
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--node", letter.name(), "--runtime-dir"])
            .arg(&self.runtime_dir)
            .stdin(Stdio::null())
            .stdout(input.try_clone().context("cannot clone a pipe")?)
            .stderr(input);
        self.log.begin_run();
        let child = namespace.spawn(command).inspect_err(|_| self.log.end_run())?;
        let pid = pid_of(&child);
        *state = State::Running(pid);
        drop(state);
        fs::write(self.folder.join(format!("agent-{}.pid", self.node)), format!("{pid}\n"))
            .context("cannot note the agent's pid")?;
        let log = Arc::clone(&self.log);
        thread::spawn(move || log.read_all(output, copy));
        let process = Arc::clone(&self.process);
        thread::spawn(move || process.wait_for_end(child));
        Ok(())
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match *self.process.state() {
            State::Running(pid) => u32::try_from(pid.as_raw()).ok(),
            _ => None,
        }
    }

    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        match *self.process.state() {
            State::Ended(status) => Some(status),
            _ => None,
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match *self.process.state() {
            State::Running(pid) => {
                kill(pid, signal).with_context(|| format!("cannot send {signal} to the agent on {}", self.node))
            }
            State::Ended(status) => bail!("the agent on {} is not running: it ended with {status}", self.node),
            State::NeverStarted => bail!("the agent on {} was not started", self.node),
        }
    }

    pub(super) fn wait_end(&self, limit: Duration) -> Result<ExitStatus> {
        let running = |state: &mut State| matches!(state, State::Running(_));
        let (state, _) = self
            .process
            .ended
            .wait_timeout_while(self.process.state(), limit, running)
            .unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Ended(status) => Ok(status),
            State::NeverStarted => bail!("the agent on {} was not started", self.node),
            State::Running(pid) => bail!(
                "the agent on {} (pid {pid}) did not end within {limit:?}; its last lines:\n{}",
                self.node,
                self.log.tail()
            ),
        }
    }

    pub(super) fn status(&self, limit: Duration) -> Result<Status> {
        let arguments: [&OsStr; 4] =
            ["status".as_ref(), "--json".as_ref(), "--runtime-dir".as_ref(), self.runtime_dir.as_os_str()];
        let (status, stdout, stderr) = heartbeat(arguments, limit)?;
        let code = status.code().with_context(|| format!("heartbeat status ended with {status}: {stderr}"))?;
        let json = match stdout.trim() {
            "" => Value::Null,
            text => {
                serde_json::from_str(text).with_context(|| format!("heartbeat status --json wrote no JSON: {text}"))?
            }
        };
        Ok(Status { code, json, stderr })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.signal(Signal::SIGKILL).is_ok() {
            let _best_effort = self.wait_end(Duration::from_secs(5));
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid is a positive i32"))
}
