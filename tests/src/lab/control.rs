//! Breaking a running lab from another terminal: one line over a unix socket in its folder, one line back.
//!
//! ```text
//! cut a-net1\n        ->  ok a-net1 is cut\n
//! cut a-net3\n        ->  error no cable a-net3; there are a-net1, ...\n
//! ```

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::remains::{LABS, living};
use super::{Lab, Node};

/// The longest line either way, in bytes.
const LINE_LIMIT: u64 = 4096;
/// How long a command may take: a clean stop has ten seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What a verb acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A cable: `a-net1`, `xlink`.
    Cable,
    /// A cable or a whole network.
    CableOrNetwork,
    /// A network's switch: `net1`.
    Network,
    /// A controller or its agent: `a`, `b`.
    Node,
}

/// Something that can be done to a running lab.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// As it is typed.
    pub name: &'static str,
    /// What it acts on.
    pub subject: Subject,
    /// What it does, in a few words.
    pub does: &'static str,
}

const fn verb(name: &'static str, subject: Subject, does: &'static str) -> Verb {
    Verb { name, subject, does }
}

/// All verbs.
pub const VERBS: &[Verb] = &[
    verb("cut", Subject::Cable, "pull the cable: both ends lose the carrier"),
    verb("silence", Subject::CableOrNetwork, "lose every packet, keep the carrier"),
    verb("mend", Subject::CableOrNetwork, "undo cut and silence"),
    verb("off", Subject::Network, "switch the switch off"),
    verb("on", Subject::Network, "switch it on again"),
    verb("kill", Subject::Node, "SIGKILL the agent"),
    verb("stop", Subject::Node, "SIGTERM the agent: a clean hand-over"),
    verb("start", Subject::Node, "start the agent again"),
    verb("pause", Subject::Node, "SIGSTOP the agent"),
    verb("resume", Subject::Node, "SIGCONT the agent"),
    verb("reload", Subject::Node, "SIGHUP the agent"),
    verb("down", Subject::Node, "set all interfaces of the controller down"),
    verb("up", Subject::Node, "set them up again"),
    verb("power-off", Subject::Node, "cut the controller's power"),
    verb("power-on", Subject::Node, "boot it again, with its agent"),
];

/// Does one thing to a lab, as typed: `cut a-net1`.
///
/// # Errors
/// An unknown verb or name (the message has the right ones), or what the lab says.
pub fn perform(lab: &Lab, line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let (Some(verb), Some(name), None) = (words.next(), words.next(), words.next()) else {
        bail!("say a verb and a name; {}", help());
    };
    let node = || name.parse::<Node>();
    match verb {
        "cut" => lab.cut(name).map(|_| format!("{name} is cut")),
        "silence" => lab.silence(name).map(|_| format!("{name} loses everything")),
        "mend" => lab.mend(name).map(|_| format!("{name} is mended")),
        "off" => lab.switch_off(name).map(|_| format!("{name} is off")),
        "on" => lab.switch_on(name).map(|_| format!("{name} is on")),
        "kill" => lab.kill(node()?).map(|_| format!("the agent on {name} is killed")),
        "stop" => lab.stop(node()?).map(|status| format!("the agent on {name} stopped with {status}")),
        "start" => lab.start(node()?).map(|_| format!("the agent on {name} is started")),
        "pause" => lab.pause(node()?).map(|_| format!("the agent on {name} is paused")),
        "resume" => lab.resume(node()?).map(|_| format!("the agent on {name} goes on")),
        "reload" => lab.reload(node()?).map(|_| format!("the agent on {name} reloads")),
        "down" => lab.interfaces_down(node()?).map(|_| format!("the interfaces of {name} are down")),
        "up" => lab.interfaces_up(node()?).map(|_| format!("the interfaces of {name} are up")),
        "power-off" => lab.power_off(node()?).map(|_| format!("{name} has no power")),
        "power-on" => lab.power_on(node()?).and_then(|()| lab.start(node()?)).map(|_| format!("{name} boots")),
        _ => bail!("no verb {verb}; {}", help()),
    }
}

fn help() -> String {
    let mut text = "there are".to_owned();
    for (number, verb) in VERBS.iter().enumerate() {
        let _never_fails = write!(text, "{} {}", if number == 0 { "" } else { "," }, verb.name);
    }
    text
}

/// Listens on a lab's control socket; stops on drop.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens for `lab`; `note` hears of every command and its answer.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(lab: Arc<Lab>, note: impl Fn(&str, &str) + Send + 'static) -> Result<Self> {
        let path = socket_path(lab.id());
        let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        listener.set_nonblocking(true).context("cannot set up the control socket")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                let _timed_out = poll(&mut ready, PollTimeout::from(100_u8));
                if let Ok((stream, _)) = listener.accept() {
                    // A client that goes away while we answer is its own business.
                    let _client_gone = serve(&lab, &stream, &note);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn serve(lab: &Lab, stream: &UnixStream, note: &impl Fn(&str, &str)) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line)?;
    let answer = match perform(lab, &line) {
        Ok(done) => format!("ok {done}"),
        // One line: what follows is an agent's log, which the view shows anyway.
        Err(error) => format!("error {error:#}").lines().take(1).collect(),
    };
    note(line.trim(), &answer);
    let mut stream = stream;
    writeln!(stream, "{answer}")?;
    Ok(())
}

/// Says a line to a running lab, the newest one unless `id` names another, and returns what it answers.
///
/// # Errors
/// No lab runs, or none of that id; or what the lab says.
pub fn send(id: Option<&str>, line: &str) -> Result<String> {
    let running = running()?;
    let id = match id {
        Some(id) if running.iter().any(|lab| lab == id) => id,
        Some(id) if running.is_empty() => {
            bail!("no lab {id}; none is running. `cargo xtask run` brings one up")
        }
        Some(id) => bail!("no lab {id}; there are {}", running.join(", ")),
        None => running.last().ok_or_else(|| anyhow!("no lab is running; `cargo xtask run` brings one up"))?,
    };
    let path = socket_path(id);
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("cannot reach lab {id} at {}", path.display()))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_LIMIT))
        .read_line(&mut answer)
        .with_context(|| format!("lab {id} does not answer"))?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", done)) => Ok(done.to_owned()),
        Some(("error", wrong)) => bail!("{wrong}"),
        _ => bail!("lab {id} ended without an answer"),
    }
}

/// The ids of the labs that listen, oldest first; a test's lab does not.
///
/// # Errors
/// The folder of labs cannot be read.
pub fn running() -> Result<Vec<String>> {
    Ok(living()?.into_iter().filter(|id| socket_path(id).exists()).collect())
}

fn socket_path(id: &str) -> PathBuf {
    Path::new(LABS).join(id).join("control")
}
