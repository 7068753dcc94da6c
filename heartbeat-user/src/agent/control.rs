//! The control side: everything that may take its time.

use super::{
    Ended, Options,
    setup::{Parts, attach, plans, sweep},
    shared::{Command, Report},
};
use crate::{
    config::{Channel, Config, PairKeys, check_host},
    core::ChannelIndex,
    dataplane::{XdpMode, bell, clock},
    probe::{self, Network, Plan},
    status::{ControlEvent, Journal, Sources, Status, socket_path},
    takeover::{Done, Order},
};
use anyhow::{Context, Result, anyhow, bail};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{
    io::{AsyncWriteExt, unix::AsyncFd},
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Readers of the status at a time; more are turned away.
const MAX_READERS: usize = 64;
/// A reader gets this long.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// How often the threads are looked at, in case that their bells were missed.
const LOOK: Duration = Duration::from_secs(1);
/// The same where they are about to end.
const LOOK_ENDING: Duration = Duration::from_millis(1);

/// Runs until the pulse thread has ended.
pub(super) async fn run(options: &Options, journal: Journal, parts: Parts) -> Result<Ended> {
    let mut control = Control {
        options,
        journal,
        parts,
        readers: JoinSet::new(),
        probes: JoinSet::new(),
        ended: Ended::Stopped,
        ending: false,
        restart: None,
    };
    let result = control.serve().await;
    control.end(result)
}

struct Control<'a> {
    options: &'a Options,
    journal: Journal,
    parts: Parts,
    readers: JoinSet<()>,
    probes: JoinSet<Command>,
    ended: Ended,
    /// Threads are about to end.
    ending: bool,
    restart: Option<Restart>,
}

/// How far a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    TakeoverEnds,
    PulseEnds,
}

impl Control<'_> {
    async fn serve(&mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let listener = listen(&self.options.runtime_dir)?;
        let control_bell = bell::watch(self.parts.control_bell.clone())?;
        let mut logger = match &mut self.parts.kernel {
            Some(kernel) => Some(bell::watch(kernel.logger()?)?),
            None => None,
        };
        while !self.parts.pulse.is_finished() {
            tokio::select! {
                _ = terminate.recv() => self.stop()?,
                _ = interrupt.recv() => self.stop()?,
                // One that is being stopped is not started again.
                _ = hangup.recv(), if !self.ending => self.reload()?,
                rung = control_bell.readable() => {
                    rung?.clear_ready();
                    self.parts.control_bell.silence();
                    self.take_reports();
                }
                Ok((stream, _)) = listener.accept() => self.answer(stream),
                Some(_) = self.readers.join_next(), if !self.readers.is_empty() => {}
                Some(Ok(found)) = self.probes.join_next(), if !self.probes.is_empty() => self.command(found)?,
                Ok(mut guard) = readable(&mut logger) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                // A thread that rang at its end may not have been quite at its end.
                () = sleep(if self.ending { LOOK_ENDING } else { LOOK }) => {}
            }
            self.go_on_restarting()?;
            if self.parts.takeover.is_finished() && self.restart.is_none() {
                bail!("the takeover thread died");
            }
        }
        self.take_reports();
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.ending = true;
        if self.restart.is_some() {
            // There may be nobody any more to release in order: this life ends as planned, and no other follows.
            self.ended = Ended::Stopped;
            return Ok(());
        }
        self.command(Command::Stop)
    }

    fn command(&self, command: Command) -> Result<()> {
        self.parts.commands.send(command).context("the pulse thread is gone")?;
        self.parts.pulse_bell.ring();
        Ok(())
    }

    /// A new life of the agent, with the configuration as it is now, if that is one that could start.
    fn reload(&mut self) -> Result<()> {
        let Options { config_file, node, .. } = self.options;
        let usable = Config::load(config_file).map_err(anyhow::Error::from).and_then(|config| {
            PairKeys::load(&config.pair.key_file)?;
            match check_host(&config, *node).first() {
                Some(problem) => Err(anyhow!("{problem}")),
                None => Ok(()),
            }
        });
        match usable {
            Ok(()) => {
                self.ended = Ended::Restart;
                self.journal.control(&ControlEvent::Restarting);
                (self.ending, self.restart) = (true, Some(Restart::TakeoverEnds));
                let _ = self.parts.orders.try_send(Order::Stop);
                Ok(())
            }
            Err(error) => {
                self.journal.control(&ControlEvent::ReloadRefused { why: format!("{error:#}") });
                Ok(())
            }
        }
    }

    /// The takeover thread ends first: the kernel takes some 10 ms to close packet sockets, and the peer is to hear us
    /// meanwhile. What the pulse thread orders in that time, the next life finds in the agent's cell.
    fn go_on_restarting(&mut self) -> Result<()> {
        if self.restart == Some(Restart::TakeoverEnds) && self.parts.takeover.is_finished() {
            self.restart = Some(Restart::PulseEnds);
            self.command(Command::Restart)?;
        }
        Ok(())
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.parts.reports.try_recv() {
            match report {
                Report::Event { time_ns, event } => self.journal.core(time_ns, &event),
                Report::Probe(analysis) => self.probe(analysis),
                Report::Look(number) => self.look(number),
                Report::Fence => {}
                Report::Attach(channel) => self.attach(channel),
                Report::Takeover(done) => self.tell_takeover(done),
            }
        }
    }

    /// WO 01/82077, FIG. 7, step 714: the local analysis. Whoever asks waits for it, but not for ever.
    fn probe(&mut self, analysis: u32) {
        let (networks, plan) = self.networks();
        self.probes.spawn(async move {
            let findings = probe::analyse(&networks, plan, analysis).await;
            let operational = findings.iter().filter(|f| f.operational).fold(0, |bits, f| bits | f.channel.bit());
            Command::Probed { analysis, operational }
        });
    }

    /// Whether it is us who are cut off.
    fn look(&mut self, number: u32) {
        let (networks, plan) = self.networks();
        self.probes.spawn(async move {
            let any = probe::any_answers(&networks, plan, number).await;
            Command::Looked { number, any }
        });
    }

    fn networks(&self) -> (Vec<Network>, Plan) {
        let Options { config, node, .. } = self.options;
        let network = |c: &Channel| Network {
            channel: c.index,
            interface: c.end(*node).interface.clone(),
            own: c.end(*node).address,
            targets: c.probe.clone(),
        };
        let judged = config.channels.iter().filter(|c| !c.probe.is_empty());
        let pause = Duration::from_nanos(config.judging.probe_pause.0);
        (judged.map(network).collect(), Plan { rounds: config.judging.probe_rounds, pause })
    }

    /// The interface is another one than before.
    fn attach(&mut self, channel: ChannelIndex) {
        let config = &self.options.config;
        let end = config.channels[channel.usize()].end(self.options.node);
        let attached = attach(self.parts.kernel.as_mut(), config.dataplane.xdp, channel, end, &self.journal);
        let mode = attached.unwrap_or_else(|error| {
            // At the start this is refused; now, hearing by the socket is better than not at all.
            log::warn!("channel {}: {error:#}", config.channels[channel.usize()].name);
            XdpMode::Socket
        });
        self.parts.modes[channel.usize()] = mode;
        if let Err(error) = self.command(Command::Attached { channel, by_socket: mode == XdpMode::Socket }) {
            log::warn!("{error:#}");
        }
    }

    fn tell_takeover(&self, done: Done) {
        let group_of = |done: &Done| match *done {
            Done::Acquired { group, .. }
            | Done::AcquireFailed { group, .. }
            | Done::Isolated { group, .. }
            | Done::Released { group, .. }
            | Done::Restored { group, .. } => group,
        };
        let group = group_of(&done);
        let addresses = self.options.config.groups.get(group.usize()).map_or(0, |g| g.addresses.len());
        let failures = match done {
            Done::Acquired { stages, failures, .. } => {
                let after = |at: crate::core::Nanos| at.since(stages.ordered);
                self.journal.control(&ControlEvent::TakeoverMeasured {
                    group,
                    addresses,
                    first_address_ns: after(stages.first_address),
                    addresses_in_place_ns: after(stages.addresses_in_place),
                    announced_ns: after(stages.announced),
                });
                failures
            }
            Done::AcquireFailed { failures, .. } | Done::Released { failures, .. } => failures,
            Done::Restored { address, .. } => {
                self.journal.control(&ControlEvent::AddressRestored { group, address: address.to_string() });
                Vec::new()
            }
            Done::Isolated { .. } => Vec::new(),
        };
        for failure in failures {
            let event = ControlEvent::AddressFailed {
                group,
                address: failure.address.to_string(),
                why: format!("not {}: {}", failure.step, failure.reason),
            };
            self.journal.control(&event);
        }
    }

    /// P1 to P3: one document, to whoever connects. Never asks the pulse thread.
    fn answer(&mut self, mut stream: UnixStream) {
        if self.readers.len() >= MAX_READERS {
            return;
        }
        let text = match self.status() {
            Ok(status) => status + "\n",
            Err(error) => return log::warn!("status: {error:#}"),
        };
        self.readers.spawn(async move {
            // A reader who does not read, or hangs up, loses.
            let _ = timeout(READER_PATIENCE, async {
                stream.write_all(text.as_bytes()).await?;
                stream.shutdown().await
            })
            .await;
        });
    }

    fn status(&self) -> Result<String> {
        let parts = &self.parts;
        let view = parts.shared.view.lock().map_err(|_| anyhow!("the pulse thread died"))?.clone();
        let status = Status::new(&Sources {
            config: &self.options.config,
            node: self.options.node,
            incarnation: parts.incarnation,
            view: &view,
            tables: &parts.tables,
            modes: &parts.modes,
            lateness: &parts.shared.lateness,
            events_lost: parts.shared.events_lost.load(Relaxed),
            now: clock::monotonic(),
        });
        Ok(serde_json::to_string_pretty(&status)?)
    }

    /// Ends the takeover thread, and takes everything away unless a new life follows.
    fn end(self, served: Result<()>) -> Result<Ended> {
        let Self { options, journal, parts, ended, restart, .. } = self;
        let Parts { kernel, orders, reports, pulse, takeover, tables, lock, .. } = parts;
        // Where something else failed, the pulse thread goes on until the process ends, which is at once.
        let pulse_died = pulse.is_finished().then(|| pulse.join()).and_then(|joined| match joined {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(anyhow!("the pulse thread failed: {error}")),
            Err(_) => Some(anyhow!("the pulse thread panicked")),
        });
        let _ = orders.send(Order::Stop);
        drop(reports);
        let takeover_died = takeover.join().is_err().then(|| anyhow!("the takeover thread panicked"));
        let failed = pulse_died.or(takeover_died).or(served.err());
        let _ = std::fs::remove_file(socket_path(&options.runtime_dir));
        if failed.is_some() || (ended == Ended::Stopped && restart.is_some()) {
            // Nobody guards any more what we hold, and soon nobody says that we are alive: it is the peer's.
            sweep(&plans(&options.config, options.node), 0, &journal)?;
            tables.agent().owned.set(0);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if ended == Ended::Stopped {
            if let Some(kernel) = kernel {
                kernel.remove().context("taking the XDP program away")?;
            }
            journal.control(&ControlEvent::Stopped);
        }
        drop(lock);
        Ok(ended)
    }
}

fn listen(runtime_dir: &std::path::Path) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let path = socket_path(runtime_dir);
    // Ours by the lock: an earlier life's.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("{}: cannot listen", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn readable<T: std::os::fd::AsRawFd>(
    fd: &mut Option<AsyncFd<T>>,
) -> std::io::Result<tokio::io::unix::AsyncFdReadyMutGuard<'_, T>> {
    match fd {
        Some(fd) => fd.readable_mut().await,
        None => std::future::pending().await,
    }
}
