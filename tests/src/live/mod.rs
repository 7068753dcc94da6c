//! `cargo xtask run`: the real agent where there is a configuration, else a lab pair with a live view.
//!
//! SIGINT and SIGTERM are read from a signalfd, which also paces the view, so that every way out passes through the same
//! clean-up: the lab is dropped, and with it agents, namespaces, pins and folder.

mod event;
mod view;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::client::{Probe, ProbeOptions};
use crate::lab::control::Server;
use crate::lab::{Config, Family, Lab, Mark, Node, Options, binary, realtime_ns};
use event::Event;
use view::{Picture, Service};

/// Where an installed agent has its configuration.
const DEFAULT_CONFIG: &str = "/etc/heartbeat/heartbeat.toml";
/// How often the view is drawn on a terminal.
const REDRAW: Duration = Duration::from_millis(500);
/// At most so often a table is printed where there is no terminal.
const REPRINT: Duration = Duration::from_secs(1);
/// How long an agent has to come up.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Events remembered.
const EVENTS: usize = 100;

/// What `cargo xtask run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Run the agent itself with this configuration.
    pub config: Option<PathBuf>,
    /// Further arguments of `heartbeat run`; with any of them the agent itself is run.
    pub agent_arguments: Vec<OsString>,
    /// Bring the lab up even where `/etc/heartbeat/heartbeat.toml` exists.
    pub lab: bool,
    /// End the lab by itself after so long.
    pub run_for: Option<Duration>,
    /// Timing profile of the lab's pair; `lan` if `None`.
    pub profile: Option<String>,
}

/// Runs the agent, or the lab.
///
/// # Errors
/// The agent is not built; for the lab, not root; or an agent does not come up.
pub fn run(options: &RunOptions) -> Result<()> {
    let program = binary()?;
    let installed = Path::new(DEFAULT_CONFIG);
    let config = match &options.config {
        Some(config) => Some(config.as_path()),
        None if options.lab || !options.agent_arguments.is_empty() => None,
        None => installed.exists().then_some(installed),
    };
    if config.is_some() || !options.agent_arguments.is_empty() {
        let mut command = Command::new(&program);
        command.arg("run").args(config.iter().flat_map(|config| [Path::new("--config"), config]));
        command.args(&options.agent_arguments);
        let error = command.exec();
        return Err(error).with_context(|| format!("cannot run {}", program.display()));
    }
    let signals = Signals::block()?;
    let Some((lab, config)) = bring_up(options.profile.as_deref().unwrap_or("lan"), &signals)? else {
        println!("interrupted; the lab is removed");
        return Ok(());
    };
    let outcome = watch(&lab, &config, options, &signals);
    let id = lab.id().to_owned();
    drop(lab);
    println!("lab {id} is removed");
    outcome
}

/// SIGINT, SIGTERM and SIGHUP, as something to poll.
struct Signals(SignalFd);

impl Signals {
    fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        // Before any other thread exists: they all inherit it. Children get an empty mask again.
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self(fd.context("cannot make a signalfd")?))
    }

    /// Waits so long for a signal.
    fn arrives_within(&self, timeout: Duration) -> bool {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let _interrupted = poll(&mut ready, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// Builds the lab and starts both agents, saying so; `None` if a signal came first.
fn bring_up(profile: &str, signals: &Signals) -> Result<Option<(Arc<Lab>, Config)>> {
    say("no configuration on this machine: bringing up a lab pair");
    let begin = Instant::now();
    let lab = Arc::new(Lab::new(Options::default())?);
    say(&format!(
        "lab {}: controllers a and b, switches net1 and net2 with a client each, dedicated cable xlink ({:.1?})",
        lab.id(),
        begin.elapsed()
    ));
    let config = Config::pair(lab.options().networks, Family::V4).profile(profile);
    lab.configure(&config)?;
    say(&format!("key and configuration (profile {profile}) in {}", lab.folder().display()));
    for node in Node::BOTH {
        lab.start(node)?;
        say(&format!("agent {node} starts: loads its XDP program, listens for a full detection time"));
    }
    for node in Node::BOTH {
        let deadline = Instant::now() + READY_LIMIT;
        while let Err(error) = lab.wait_event(node, |line| line.is("ready"), Duration::from_millis(100)) {
            if signals.arrives_within(Duration::ZERO) {
                return Ok(None);
            }
            if lab.exit_status(node).is_some() || Instant::now() > deadline {
                return Err(error.context(format!("the agent on {node} does not get ready")));
            }
        }
        say(&format!("agent {node} is ready after {:.1?}", begin.elapsed()));
    }
    Ok(Some((lab, config)))
}

fn say(text: &str) {
    println!("· {text}");
}

/// Draws the view until a signal comes or the time is over.
fn watch(lab: &Arc<Lab>, config: &Config, options: &RunOptions, signals: &Signals) -> Result<()> {
    let services = services(lab, config)?;
    let (note, notes) = channel();
    let _server = Server::start(Arc::clone(lab), move |line, answer| {
        let _view_gone = note.send(Event { time_ns: realtime_ns(), text: format!("lab: {line}: {answer}") });
    })?;
    let begin = Instant::now();
    let mut news =
        News { marks: [Node::A, Node::B].map(|node| (node, lab.mark(node))), notes, events: VecDeque::new() };
    news.since_the_beginning(lab);
    let mut screen = Screen::new();
    loop {
        let fresh = news.collect(lab);
        let picture = Picture::take(lab, config, &services, begin.elapsed());
        screen.show(&picture, &news.events, &fresh)?;
        let left = options.run_for.map(|total| total.saturating_sub(begin.elapsed()));
        if left.is_some_and(|left| left.is_zero()) || signals.arrives_within(left.unwrap_or(REDRAW).min(REDRAW)) {
            return Ok(());
        }
    }
}

/// A probe of each group's first service address, from the client of its network.
fn services(lab: &Lab, config: &Config) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    for group in &config.groups {
        let Some((channel, cidr)) = group.addresses.first() else {
            continue;
        };
        let number = config.channels.iter().position(|known| known.name == *channel);
        let number = number.with_context(|| format!("group {} is on an unknown channel {channel}", group.name))? + 1;
        let address = cidr.split('/').next().unwrap_or_default().parse();
        let address = address.with_context(|| format!("group {} has a bad address {cidr}", group.name))?;
        let options = ProbeOptions { interval: Duration::from_millis(2), kept: 10_000 };
        let probe: Probe = lab.probe(number, address, options)?;
        services.push(Service {
            group: group.name.clone(),
            home: group.home,
            network: number,
            cidr: cidr.clone(),
            probe,
        });
    }
    Ok(services)
}

/// What happened: lines of both agents' logs and commands to the lab.
struct News {
    marks: [(Node, Mark); 2],
    notes: Receiver<Event>,
    events: VecDeque<Event>,
}

impl News {
    fn since_the_beginning(&mut self, lab: &Lab) {
        for (node, mark) in &mut self.marks {
            *mark = lab.run_begin(*node);
        }
    }

    fn collect(&mut self, lab: &Lab) -> Vec<Event> {
        let mut fresh: Vec<Event> = self.notes.try_iter().collect();
        for (node, mark) in &mut self.marks {
            let now = lab.mark(*node);
            let lines = lab.events_since(*node, *mark);
            fresh.extend(
                lines.iter().filter(|line| line.number < now.number()).filter_map(|line| Event::of(*node, line)),
            );
            *mark = now;
        }
        fresh.sort_by_key(|event| event.time_ns);
        self.events.extend(fresh.iter().cloned());
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
        fresh
    }
}

/// A terminal on which the view is redrawn in place, or a plain output that it is appended to.
struct Screen {
    terminal: bool,
    last: String,
    printed: Option<Instant>,
}

impl Screen {
    fn new() -> Self {
        let terminal = stdout().is_terminal();
        if terminal {
            // The alternate screen, without a cursor.
            print!("\x1b[?1049h\x1b[?25l");
        }
        Self { terminal, last: String::new(), printed: None }
    }

    fn show(&mut self, picture: &Picture, events: &VecDeque<Event>, fresh: &[Event]) -> Result<()> {
        let mut out = stdout().lock();
        if self.terminal {
            let size = crossterm::terminal::size().unwrap_or((80, 24));
            let text = picture.screen(events, size).replace('\n', "\x1b[K\r\n");
            write!(out, "\x1b[H{text}\x1b[J").context("cannot draw")?;
        } else {
            for event in fresh {
                writeln!(out, "{}", event.line()).context("cannot write")?;
            }
            let signature = picture.signature();
            if signature != self.last && self.printed.is_none_or(|at| at.elapsed() >= REPRINT) {
                writeln!(out, "{}", picture.plain()).context("cannot write")?;
                if self.printed.is_none() {
                    writeln!(out, "{}", view::footer(picture)).context("cannot write")?;
                }
                (self.last, self.printed) = (signature, Some(Instant::now()));
            }
        }
        out.flush().context("cannot write")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            print!("\x1b[?25h\x1b[?1049l");
            let _best_effort = stdout().flush();
        }
    }
}
