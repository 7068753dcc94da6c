//! The lab's agents: configure, start, signal, ask and listen.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::agent::{Status, binary, heartbeat};
use super::config::Config;
use super::log::{LogLine, Mark};
use super::topology::Node;
use super::{Lab, realtime_ns};

/// How long a clean stop may take.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long an order may take.
const ORDER_LIMIT: Duration = Duration::from_secs(70);
/// How long `heartbeat status` may take.
const STATUS_LIMIT: Duration = Duration::from_secs(5);

/// A signal that ends a process has ended it by then.
const SOON_GONE: Duration = Duration::from_millis(200);

impl Lab {
    /// Writes the configuration of both agents, and makes the pair's key if there is none yet.
    ///
    /// # Errors
    /// The agent's binary is missing, or cannot make a key.
    pub fn configure(&self, config: &Config) -> Result<()> {
        self.make_key()?;
        Node::BOTH.into_iter().try_for_each(|node| self.configure_one(node, config))
    }

    /// Writes the configuration of one agent; the pair's key is there already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure_one(&self, node: Node, config: &Config) -> Result<()> {
        self.configure_text(node, &config.to_toml(&self.key_file()))
    }

    /// Writes one agent's configuration, whatever it says.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure_text(&self, node: Node, text: &str) -> Result<()> {
        let path = self.config_file(node);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        // It may have secrets in it.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).context("cannot keep a configuration to ourselves")
    }

    /// Where an agent's configuration is.
    #[must_use]
    pub fn config_file(&self, node: Node) -> PathBuf {
        self.folder().join(format!("{node}.toml"))
    }

    /// Where the pair's key is.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder().join("pair.key")
    }

    /// An agent's `--runtime-dir`.
    #[must_use]
    pub fn runtime_dir(&self, node: Node) -> &Path {
        &self.agent(node).runtime_dir
    }

    /// Makes the pair's key if there is none yet.
    ///
    /// # Errors
    /// The agent's binary is missing, or cannot make a key.
    pub fn make_key(&self) -> Result<()> {
        let key = self.key_file();
        if key.exists() {
            return Ok(());
        }
        let (status, stdout, stderr) = heartbeat(["keygen".as_ref(), key.as_os_str()], STATUS_LIMIT)?;
        ensure!(status.success(), "heartbeat keygen failed with {status}: {stdout}{stderr}");
        Ok(())
    }

    /// Starts an agent; [`Self::configure`] comes first. Returns as soon as the process runs: wait for its event `ready`.
    ///
    /// # Errors
    /// It runs already, its controller is off, or the binary is missing.
    pub fn start(&self, node: Node) -> Result<u64> {
        self.start_as(node, node)
    }

    /// Starts both agents, as [`Self::start`] does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_both(&self) -> Result<()> {
        Node::BOTH.into_iter().try_for_each(|node| self.start(node).map(drop))
    }

    /// As [`Self::start`], but the agent is told that it is `letter`: as by an operator who mixes them up.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(&self, node: Node, letter: Node) -> Result<u64> {
        self.start_from(node, letter, &binary()?)
    }

    /// The same, of a binary of the test's own, which it can replace.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_from(&self, node: Node, letter: Node, program: &Path) -> Result<u64> {
        self.start_command(node, letter, Command::new(program))
    }

    /// As [`Self::start`], by a program that becomes the agent, such as setpriv(1): its name and its options.
    ///
    /// # Errors
    /// As [`Self::start`], or there is no such program.
    pub fn start_by(&self, node: Node, by: &[&str]) -> Result<u64> {
        let (program, options) = by.split_first().context("by no program")?;
        let mut command = Command::new(program);
        command.args(options).arg(binary()?);
        self.start_command(node, node, command)
    }

    fn start_command(&self, node: Node, letter: Node, command: Command) -> Result<u64> {
        let namespace = self.controller(node)?;
        let at = realtime_ns();
        self.agent(node).start(&namespace, command, &self.config_file(node), letter).map(|()| at)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&self, node: Node) -> Result<u64> {
        let at = realtime_ns();
        self.agent(node).signal(Signal::SIGKILL)?;
        self.agent(node).wait_end(STOP_LIMIT).map(|_| at)
    }

    /// SIGSEGV, and waits until the process is gone. The first one finds Rust's handler, which leaves the next one to the kernel:
    /// whoever touched what is not there would do so again.
    ///
    /// # Errors
    /// It is not running.
    pub fn crash(&self, node: Node) -> Result<u64> {
        self.agent(node).signal(Signal::SIGSEGV)?;
        loop {
            let at = realtime_ns();
            if self.agent(node).signal(Signal::SIGSEGV).is_err() || self.agent(node).wait_end(SOON_GONE).is_ok() {
                return self.agent(node).wait_end(STOP_LIMIT).map(|_| at);
            }
        }
    }

    /// SIGTERM, and waits for the clean end.
    ///
    /// # Errors
    /// It is not running, or does not end in ten seconds.
    pub fn stop(&self, node: Node) -> Result<ExitStatus> {
        self.agent(node).signal(Signal::SIGTERM)?;
        self.agent(node).wait_end(STOP_LIMIT)
    }

    /// SIGSTOP: the agent gets no CPU until [`Self::resume`].
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self, node: Node) -> Result<u64> {
        let at = realtime_ns();
        self.agent(node).signal(Signal::SIGSTOP).map(|()| at)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self, node: Node) -> Result<u64> {
        let at = realtime_ns();
        self.agent(node).signal(Signal::SIGCONT).map(|()| at)
    }

    /// SIGHUP: read the configuration again.
    ///
    /// # Errors
    /// It is not running.
    pub fn reload(&self, node: Node) -> Result<u64> {
        let at = realtime_ns();
        self.agent(node).signal(Signal::SIGHUP).map(|()| at)
    }

    /// The pid of a running agent.
    #[must_use]
    pub fn pid(&self, node: Node) -> Option<u32> {
        self.agent(node).pid()
    }

    /// How the last agent ended; `None` while one runs, or none ever did.
    #[must_use]
    pub fn exit_status(&self, node: Node) -> Option<ExitStatus> {
        self.agent(node).exit_status()
    }

    /// Waits for an agent to end by itself.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_exit(&self, node: Node, timeout: Duration) -> Result<ExitStatus> {
        self.agent(node).wait_end(timeout)
    }

    /// `heartbeat status --json`.
    ///
    /// # Errors
    /// It does not answer within five seconds, or writes something that is no JSON.
    pub fn status(&self, node: Node) -> Result<Status> {
        self.status_within(node, STATUS_LIMIT)
    }

    /// `heartbeat takeover GROUP` and the like, to a controller's agent: the exit code, and what it wrote to standard error.
    ///
    /// # Errors
    /// The binary is missing, or does not end within a minute.
    pub fn order(&self, node: Node, words: &[&str]) -> Result<(Option<i32>, String)> {
        let mut arguments: Vec<_> = words.iter().map(std::ffi::OsStr::new).collect();
        arguments.extend(["--runtime-dir".as_ref(), self.agent(node).runtime_dir.as_os_str()]);
        let (status, _, stderr) = heartbeat(arguments, ORDER_LIMIT)?;
        Ok((status.code(), stderr))
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn status_within(&self, node: Node, limit: Duration) -> Result<Status> {
        self.agent(node).status(limit)
    }

    /// The place in a controller's log after everything that was said up to now.
    #[must_use]
    pub fn mark(&self, node: Node) -> Mark {
        self.agent(node).log.mark()
    }

    /// The same in both controllers' logs.
    #[must_use]
    pub fn marks(&self) -> [Mark; 2] {
        Node::BOTH.map(|node| self.mark(node))
    }

    /// The place where the agent that was started last begins.
    #[must_use]
    pub fn run_begin(&self, node: Node) -> Mark {
        self.agent(node).log.run_begin()
    }

    /// What was said since.
    #[must_use]
    pub fn events_since(&self, node: Node, mark: Mark) -> Vec<LogLine> {
        self.agent(node).log.since(mark)
    }

    /// The first line that is `wanted` since the agent was last started, waiting for it if need be.
    ///
    /// # Errors
    /// Nothing of the kind in time, or the agent ended; the message shows its last 30 lines.
    pub fn wait_event(&self, node: Node, wanted: impl Fn(&LogLine) -> bool, timeout: Duration) -> Result<LogLine> {
        self.wait_event_since(node, self.run_begin(node), wanted, timeout)
    }

    /// The first line that is `wanted` since `mark`.
    ///
    /// # Errors
    /// As [`Self::wait_event`].
    pub fn wait_event_since(
        &self,
        node: Node,
        mark: Mark,
        wanted: impl Fn(&LogLine) -> bool,
        timeout: Duration,
    ) -> Result<LogLine> {
        let log = &self.agent(node).log;
        log.wait(mark, timeout, wanted).with_context(|| format!("waiting for the agent on {node}"))
    }
}
