//! `cargo xtask run`: the real agent where there is a configuration, else a lab pair with a live view, and each controller's
//! status page on this host's loopback.
//!
//! SIGINT and SIGTERM are read from a signalfd, which also paces the view, so that every way out passes through the same
//! clean-up: the lab is dropped, and with it agents, namespaces, pins and folder.

mod clients;
mod event;
mod output;
mod view;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
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

use crate::lab::control::Server;
use crate::lab::relay::Relay;
use crate::lab::{Config, Family, Lab, Mark, Node, Options, binary, realtime_ns};
use clients::{Service, Told};
use event::Event;
use output::Output;
use view::Picture;

/// Where an installed agent has its configuration.
const DEFAULT_CONFIG: &str = "/etc/heartbeat/heartbeat.toml";
/// How long an agent has to come up.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Where each agent serves its page, inside its controller.
const HTTP_PORT: u16 = 9694;
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
    let mut config = Config::pair(lab.options().networks, Family::V4).profile(profile);
    config.extra = format!("\n[api]\nhttp = \"127.0.0.1:{HTTP_PORT}\"\n");
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

/// Shows the lab until a signal comes or the time is over.
fn watch(lab: &Arc<Lab>, config: &Config, options: &RunOptions, signals: &Signals) -> Result<()> {
    let services = Service::all(lab, config)?;
    let (note, notes) = channel();
    let _server = Server::start(Arc::clone(lab), move |line, answer| {
        let _view_gone = note.send(Event { time_ns: realtime_ns(), text: format!("lab: {line}: {answer}") });
    })?;
    let [a, b] = Node::BOTH.map(|node| Relay::start(lab, node, HTTP_PORT));
    let relays = [a?, b?];
    let help = help(lab, &relays)?;
    let output = Output::new();
    if matches!(output, Output::Lines) {
        help.lines().for_each(say);
    }
    let begin = Instant::now();
    let mut news = News {
        marks: Node::BOTH.map(|node| (node, lab.run_begin(node))),
        told: services.iter().map(|_| Told::default()).collect(),
        notes,
        events: VecDeque::new(),
    };
    loop {
        let fresh = news.collect(lab, &services);
        output.show(|| Picture::take(lab, config, &services, begin.elapsed()), &help, &news.events, fresh)?;
        let left = options.run_for.map(|total| total.saturating_sub(begin.elapsed()));
        let pause = left.unwrap_or(Duration::MAX).min(output.pace());
        if left.is_some_and(|left| left.is_zero()) || signals.arrives_within(pause) {
            return Ok(());
        }
    }
}

/// How to look at the lab, and how to break it: all that one needs to type, as one would type it.
fn help(lab: &Lab, relays: &[Relay; 2]) -> Result<String> {
    let program = binary()?;
    let here = std::env::current_dir().unwrap_or_default();
    let program = program.strip_prefix(here).unwrap_or(&program).display();
    let [a, b] = Node::BOTH.map(|node| lab.runtime_dir(node).display());
    let [page_a, page_b] = relays.each_ref().map(Relay::address);
    let networks: Vec<_> = lab.networks().into_iter().filter(|name| name != "xlink").collect();
    let mut text = format!("look at it: the page of a http://{page_a}/  of b http://{page_b}/\n");
    for command in ["top", "status", "explain"] {
        writeln!(text, "  {program} {command} --runtime-dir {a}")?;
    }
    writeln!(text, "  and the same of b: --runtime-dir {b}")?;
    writeln!(text, "break it, from another terminal: cargo xtask lab VERB NAME")?;
    writeln!(text, "  cut | silence | mend              {}", lab.cables().join(", "))?;
    writeln!(text, "  off | on                          {}", networks.join(", "))?;
    writeln!(text, "  kill | stop | start | pause | resume | reload | down | up | power-off | power-on   a, b")?;
    writeln!(text, "Ctrl-C ends the lab and removes everything")?;
    Ok(text)
}

/// What happened: lines of both agents' logs, commands to the lab, and what its clients noticed.
struct News {
    marks: [(Node, Mark); 2],
    told: Vec<Told>,
    notes: Receiver<Event>,
    events: VecDeque<Event>,
}

impl News {
    /// Adds what is new; says how many that are.
    fn collect(&mut self, lab: &Lab, services: &[Service]) -> usize {
        let mut fresh: Vec<Event> = self.notes.try_iter().collect();
        for (node, mark) in &mut self.marks {
            let now = lab.mark(*node);
            let lines = lab.events_since(*node, *mark);
            fresh.extend(
                lines.iter().filter(|line| line.number < now.number()).filter_map(|line| Event::of(*node, line)),
            );
            *mark = now;
        }
        fresh.extend(services.iter().zip(&mut self.told).filter_map(|(service, told)| told.news(service, lab)));
        fresh.sort_by_key(|event| event.time_ns);
        let count = fresh.len();
        self.events.extend(fresh);
        self.events.drain(..self.events.len().saturating_sub(EVENTS.max(count)));
        count
    }
}
