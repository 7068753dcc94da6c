//! The control side: everything that may take its time.

use super::{
    Ended, Options, api, hooks,
    setup::{Parts, attach, group_of, maintenance_file, plans, sweep},
    shared::{Command, Report},
};
use crate::{
    command::{self, CheckPlan, Outcome},
    config::{Config, PairKeys, check_host},
    core::{ChannelIndex, Event, GroupIndex, Hook, Nanos, OperatorOrder, Reason, is_quick},
    dataplane::{Kernel, XdpMode, bell, index_of},
    probe::{self, Network, Plan},
    status::{
        ControlEvent, Journal,
        server::{Answer, Ordered, Request, Server},
        socket_path,
    },
    takeover::{Done, Order},
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// How often the threads are looked at, in case that their bells were missed.
const LOOK: Duration = Duration::from_secs(1);
/// The same where interfaces wait to be attached to.
const LOOK_ATTACHING: Duration = Duration::from_millis(20);
/// The same where they are about to end.
const LOOK_ENDING: Duration = Duration::from_millis(1);

/// Who has not taken what was told before a restart by then gets it from the next life.
const SLOW: Duration = Duration::from_millis(200);

/// Runs until the pulse thread has ended.
pub(super) async fn run(options: &Options, journal: Journal, parts: Parts) -> Result<Ended> {
    let mut control = Control {
        options,
        journal,
        parts,
        watchers: JoinSet::new(),
        jobs: JoinSet::new(),
        fencing: None,
        verdict: "null".to_owned(),
        asking: HashMap::new(),
        asked: 0,
        attach_pending: 0,
        seeking: HashSet::new(),
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
    /// Health checks, for ever.
    watchers: JoinSet<()>,
    /// What takes its time, and what follows from it.
    jobs: JoinSet<Job>,
    /// The fencing that runs, by its number.
    fencing: Option<(u32, AbortHandle)>,
    /// The last verdict, with its evidence, as JSON.
    verdict: String,
    /// Who waits for an answer to which order.
    asking: HashMap<u64, (OperatorOrder, oneshot::Sender<Answer>)>,
    asked: u64,
    /// Channels whose interfaces are to be attached to, a bit each.
    attach_pending: u64,
    /// Channels whose interfaces are being looked for.
    seeking: HashSet<u8>,
    ended: Ended,
    /// Threads are about to end.
    ending: bool,
    restart: Option<Restart>,
}

/// The end of something that took its time.
enum Job {
    Found(Command),
    /// The index of a channel's interface, if that is there.
    Sought(ChannelIndex, Option<u32>),
    Hook(GroupIndex, Hook, Outcome),
    Fence(u32, Outcome),
}

/// How far a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    /// The operator's command for events ends, and what was told gets where it belongs; nothing else has changed yet.
    RecordsHold(Instant),
    TakeoverEnds,
    PulseEnds,
}

impl Control<'_> {
    async fn serve(&mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (orders, mut ordered) = mpsc::channel(1);
        let _api = Server::start(Arc::clone(&self.parts.facts), api::listeners(self.options)?, orders)?;
        let (checked, mut checks) = mpsc::unbounded_channel();
        self.watch_checks(&checked);
        let control_bell = bell::watch(self.parts.control_bell.clone())?;
        let mut logger = match &mut self.parts.kernel {
            Some(kernel) => Some(bell::watch(kernel.logger()?)?),
            None => None,
        };
        while !self.parts.pulse.is_finished() {
            let pause = self.pause();
            tokio::select! {
                _ = terminate.recv() => self.stop()?,
                _ = interrupt.recv() => self.stop()?,
                // One that is being stopped is not started again.
                _ = hangup.recv(), if !self.ending => self.reload()?,
                rung = control_bell.readable() => {
                    rung?.clear_ready();
                    self.parts.control_bell.silence();
                    self.take_reports()?;
                }
                Some(order) = ordered.recv() => self.order(order)?,
                Some((check, healthy, outcome)) = checks.recv() => self.checked(check, healthy, &outcome)?,
                Some(Ok(job)) = self.jobs.join_next(), if !self.jobs.is_empty() => self.end_job(job)?,
                Ok(mut guard) = readable(&mut logger) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                // A thread that rang at its end may not have been quite at its end.
                () = sleep(pause) => {}
            }
            self.go_on_restarting()?;
            self.go_on_attaching();
            if self.parts.takeover.is_finished() && self.restart.is_none() {
                bail!("the takeover thread died");
            }
        }
        self.take_reports()
    }

    const fn pause(&self) -> Duration {
        match self.ending {
            true => LOOK_ENDING,
            false if self.attach_pending != 0 => LOOK_ATTACHING,
            false => LOOK,
        }
    }

    fn stop(&mut self) -> Result<()> {
        self.ending = true;
        if matches!(self.restart, Some(Restart::RecordsHold(_))) {
            self.restart = None;
            self.ended = Ended::Stopped;
            self.journal.records.go_on();
        }
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
        let busy = self.busy().map(|group| self.options.config.groups[group.usize()].name.clone());
        let usable = usable.and_then(|()| match busy {
            Some(group) => Err(anyhow!("a hook of group \"{group}\" runs; try again when it has ended")),
            None => Ok(()),
        });
        match usable {
            Ok(()) => {
                self.ended = Ended::Restart;
                self.journal.control(&ControlEvent::Restarting);
                self.journal.records.hold();
                (self.ending, self.restart) = (true, Some(Restart::RecordsHold(Instant::now())));
                Ok(())
            }
            Err(error) => {
                self.journal.control(&ControlEvent::ReloadRefused { why: format!("{error:#}") });
                Ok(())
            }
        }
    }

    /// A group with hooks of which something runs, or is about to.
    fn busy(&self) -> Option<GroupIndex> {
        let busy = self.parts.facts.view().map_or(0, |view| view.busy);
        (busy != 0).then(|| GroupIndex(busy.trailing_zeros() as u8))
    }

    /// The takeover thread ends first: the kernel takes some 10 ms to close packet sockets, and the peer is to hear us
    /// meanwhile. What the pulse thread orders in that time, the next life finds in the agent's cell.
    fn go_on_restarting(&mut self) -> Result<()> {
        let records = &self.journal.records;
        if let Some(Restart::RecordsHold(since)) = self.restart
            && records.is_held()
            && (records.is_done() || since.elapsed() > SLOW)
            && self.busy().is_none()
        {
            self.restart = Some(Restart::TakeoverEnds);
            let _ = self.parts.orders.try_send(Order::Stop);
        }
        if self.restart == Some(Restart::TakeoverEnds) && self.parts.takeover.is_finished() {
            self.restart = Some(Restart::PulseEnds);
            self.command(Command::Restart)?;
        }
        Ok(())
    }

    fn take_reports(&mut self) -> Result<()> {
        while let Ok(report) = self.parts.reports.try_recv() {
            match report {
                Report::Event { time_ns, at, event } => {
                    if matches!(event, Event::Judged { .. }) {
                        self.verdict = serde_json::to_string(&event)?;
                    }
                    self.journal.core(time_ns, at, &event);
                }
                Report::Answer(id, result) => self.answered(id, result.into()),
                Report::Probe(analysis) => self.probe(analysis),
                Report::Look(number) => self.look(number),
                Report::Hook(group, hook, reason) => self.hook(group, hook, reason),
                Report::Fence(number) => self.fence(number),
                Report::FenceAbort(number) => self.call_off_fencing(number),
                Report::Attach(channel) => self.attach_pending |= channel.bit(),
                Report::NewMember(channel) => self.attach_quietly(channel, false),
                Report::Unseen(channel) => self.attach_quietly(channel, true),
                Report::Seek(channel) => self.seek(channel),
                Report::Takeover(done) => self.tell_takeover(done),
            }
        }
        Ok(())
    }

    fn hook(&mut self, group: GroupIndex, hook: Hook, reason: Reason) {
        let Options { config, node, .. } = self.options;
        let hooks = &config.groups[group.usize()].hooks;
        let words = hooks.words(hook).unwrap_or_default().to_vec();
        let environment = hooks::environment(config, *node, group, reason, &self.verdict);
        let patience = Duration::from_nanos(hooks.timeout.0);
        self.jobs.spawn(async move { Job::Hook(group, hook, command::run(&words, &environment, patience).await) });
    }

    fn end_job(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Found(command) => self.command(command),
            Job::Sought(channel, index) => {
                self.seeking.remove(&channel.0);
                index.map_or(Ok(()), |index| self.command(Command::Found { channel, index }))
            }
            Job::Fence(number, outcome) => {
                self.journal.control(&hooks::told("fence", None, &outcome));
                self.command(Command::Fenced { number, succeeded: outcome.succeeded() })
            }
            Job::Hook(group, hook, outcome) => {
                self.journal.control(&hooks::told(hook.name(), Some(group), &outcome));
                self.command(Command::HookEnded { group, hook, succeeded: outcome.succeeded() })
            }
        }
    }

    /// Ends the command with all that it started: dropping it does.
    fn call_off_fencing(&mut self, number: u32) {
        if let Some((running, job)) = self.fencing.take_if(|(running, _)| *running == number) {
            log::debug!("fencing {running} is ended");
            job.abort();
        }
    }

    fn fence(&mut self, number: u32) {
        let Options { config, node, .. } = self.options;
        let Some(fence) = config.fence.clone() else { return };
        let environment = hooks::peer(config, *node);
        let [timeout, pause] = [fence.timeout, fence.pause].map(|span| Duration::from_nanos(span.0));
        let job = self.jobs.spawn(async move {
            Job::Fence(number, command::insist(&fence.command, &environment, timeout, fence.retries, pause).await)
        });
        if let Some((_, before)) = self.fencing.replace((number, job)) {
            before.abort();
        }
    }

    fn watch_checks(&mut self, changes: &mpsc::UnboundedSender<(usize, bool, Outcome)>) {
        let Options { config, node, .. } = self.options;
        for (i, check) in config.checks.iter().enumerate() {
            let span = |span: Nanos| Duration::from_nanos(span.0);
            let plan = CheckPlan {
                command: check.command.clone(),
                interval: span(check.interval),
                timeout: span(check.timeout),
                rise: check.rise,
                fall: check.fall,
            };
            let changes = changes.clone();
            let report = move |healthy, outcome: &Outcome| {
                let _ = changes.send((i, healthy, outcome.clone()));
            };
            self.watchers.spawn(command::watch(plan, hooks::peer(config, *node), report));
        }
    }

    fn checked(&self, check: usize, healthy: bool, outcome: &Outcome) -> Result<()> {
        self.journal.control(&ControlEvent::CheckChanged {
            check: self.options.config.checks[check].name.clone(),
            healthy,
            how: outcome.ended.to_string(),
            output: outcome.output.clone(),
        });
        self.command(Command::Check { check, healthy })
    }

    /// An operator's order, on its way to the core.
    fn order(&mut self, (request, sender): Ordered) -> Result<()> {
        let groups = &self.options.config.groups;
        let group = |name: String| {
            let known = || groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
            let found = groups.iter().find(|g| g.name == name).map(|g| g.index);
            found.ok_or_else(|| {
                Answer::Unknown(format!("there is no group \"{name}\"; right would be one of: {}", known()))
            })
        };
        let order = match request {
            _ if self.ending => Err(Answer::Refused("the agent is ending".to_owned())),
            Request::Takeover(name) => group(name).map(OperatorOrder::Takeover),
            Request::TakeoverForced(name) => group(name).map(OperatorOrder::TakeoverForced),
            Request::Release(name) => group(name).map(OperatorOrder::Release),
            Request::Maintenance(on) => Ok(OperatorOrder::Maintenance(on)),
        };
        match order {
            Ok(order) => {
                // An answer that found no room is missed by nobody any more.
                self.asking.retain(|_, (_, sender)| !sender.is_closed());
                self.asked += 1;
                self.asking.insert(self.asked, (order, sender));
                self.command(Command::Order { id: self.asked, order })
            }
            Err(refusal) => {
                // Who does not wait any more need not know.
                let _ = sender.send(refusal);
                Ok(())
            }
        }
    }

    /// What became of it.
    fn answered(&mut self, id: u64, answer: Answer) {
        let Some((order, sender)) = self.asking.remove(&id) else { return };
        if let (OperatorOrder::Maintenance(on), Answer::Accepted) = (order, &answer) {
            let path = maintenance_file(&self.options.runtime_dir);
            let kept = if on { std::fs::write(&path, "") } else { remove(&path) };
            if let Err(error) = kept {
                log::warn!("{}: {error}: the next life of the agent will not know of the maintenance", path.display());
            }
        }
        let _ = sender.send(answer);
    }

    /// WO 01/82077, FIG. 7, step 714: the local analysis. Whoever asks waits for it, but not for ever.
    fn probe(&mut self, analysis: u32) {
        let (networks, plan) = self.networks();
        let facts = Arc::clone(&self.parts.facts);
        self.jobs.spawn(async move {
            let findings = if is_quick(analysis) {
                probe::look(&networks, plan).await
            } else {
                let findings = probe::analyse(&networks, plan, analysis).await;
                facts.judge_by(&findings);
                findings
            };
            Job::Found(Command::Probed { analysis, probed: probe::seen(&findings) })
        });
    }

    /// Whether it is us who are cut off.
    fn look(&mut self, number: u32) {
        let (networks, plan) = self.networks();
        self.jobs.spawn(async move {
            let findings = probe::any_answers(&networks, plan, number).await;
            Job::Found(Command::Looked { number, probed: probe::seen(&findings) })
        });
    }

    fn networks(&self) -> (Vec<Network>, Plan) {
        let Options { config, node, .. } = self.options;
        let pause = Duration::from_nanos(config.judging.probe_pause.0);
        (probe::networks(config, *node), Plan { rounds: config.judging.probe_rounds, pause })
    }

    /// Interfaces that are others than before are attached to one after the other, as fast as their links come back.
    fn go_on_attaching(&mut self) {
        while self.attach_pending != 0 && !self.parts.kernel.as_mut().is_some_and(Kernel::is_resting) {
            let channel = ChannelIndex(self.attach_pending.trailing_zeros() as u8);
            self.attach_pending &= !channel.bit();
            let config = &self.options.config;
            let Some(end) = config.channels[channel.usize()].end(self.options.node) else { continue };
            let attached = attach(self.parts.kernel.as_mut(), config.dataplane.xdp, channel, end, &self.journal);
            let mode = attached.unwrap_or_else(|error| {
                // At the start this is refused; now, hearing by the socket is better than not at all.
                log::warn!("channel {}: {error:#}", config.channels[channel.usize()].name);
                XdpMode::Socket
            });
            self.attached(channel, mode);
        }
    }

    /// The interface of a channel has members that it did not have; or (`unseen`) heartbeats come by the socket, as if it had.
    fn attach_quietly(&mut self, channel: ChannelIndex, unseen: bool) {
        let config = &self.options.config;
        let Some(end) = config.channels[channel.usize()].end(self.options.node) else { return };
        let Some(kernel) = self.parts.kernel.as_mut() else { return };
        let attached = match kernel.attach(channel, &end.interface, end.address, config.dataplane.xdp) {
            Ok(attached) => attached,
            Err(error) => {
                log::warn!("channel {}: {error:#}", config.channels[channel.usize()].name);
                return;
            }
        };
        let (mode, why) = if unseen && !attached.new_end {
            (XdpMode::Socket, Some(format!("{}: heartbeats come past the XDP program to the socket", attached.mode)))
        } else {
            (attached.mode, attached.why)
        };
        let before = self.parts.facts.modes.lock().ok().and_then(|modes| modes[channel.usize()]);
        if before != Some(mode) {
            self.journal.control(&ControlEvent::ChannelAttached { channel, xdp_mode: mode, why });
        }
        self.attached(channel, mode);
    }

    fn attached(&self, channel: ChannelIndex, mode: XdpMode) {
        if let Ok(mut modes) = self.parts.facts.modes.lock() {
            modes[channel.usize()] = Some(mode);
        }
        if let Err(error) = self.command(Command::Attached { channel, by_socket: mode == XdpMode::Socket }) {
            log::warn!("{error:#}");
        }
    }

    /// An absent interface is looked for by its name, which may wait for the kernel.
    fn seek(&mut self, channel: ChannelIndex) {
        let Some(end) = self.options.config.channels[channel.usize()].end(self.options.node) else { return };
        if !self.seeking.insert(channel.0) {
            return;
        }
        let name = end.interface.clone();
        self.jobs.spawn(async move {
            let found = tokio::task::spawn_blocking(move || index_of(&name)).await;
            Job::Sought(channel, found.ok().and_then(Result::ok).flatten())
        });
    }

    fn tell_takeover(&self, done: Done) {
        let group = group_of(&done);
        let addresses = self.options.config.groups.get(group.usize()).map_or(0, |g| g.addresses.len());
        let failures = match done {
            Done::Acquired { stages, failures, .. } => {
                let after = |at: Nanos| at.since(stages.ordered);
                let measured = [stages.first_address, stages.addresses_in_place, stages.announced].map(after);
                for (stage, took) in self.parts.facts.shared.latencies.takeover.iter().zip(measured) {
                    stage.record(took);
                }
                self.journal.control(&ControlEvent::TakeoverMeasured {
                    group,
                    addresses,
                    first_address_ns: after(stages.first_address),
                    addresses_in_place_ns: after(stages.addresses_in_place),
                    announced_ns: after(stages.announced),
                });
                failures
            }
            Done::AcquireFailed { failures, .. } | Done::Released { failures, .. } | Done::Failed { failures, .. } => {
                failures
            }
            Done::Restored { address, times, .. } => {
                self.journal.control(&ControlEvent::AddressRestored { group, address: address.to_string(), times });
                Vec::new()
            }
            Done::Swept { address, times, .. } => {
                self.journal.control(&ControlEvent::AddressSwept { group, address: address.to_string(), times });
                Vec::new()
            }
            Done::StillAnswered { told: false, .. } => Vec::new(),
            Done::StillAnswered { by, taken, .. } => {
                let by = by.iter().map(|(address, mac)| format!("{address} by {}", written(*mac))).collect();
                self.journal.control(&ControlEvent::StillAnswered { group, taken, by });
                Vec::new()
            }
            Done::Rival { address, mac, .. } => {
                let (address, mac) = (address.to_string(), written(mac));
                self.journal.control(&ControlEvent::Rival { group, address, mac });
                Vec::new()
            }
            Done::RivalGone { address, mac, first, last, .. } => {
                let (address, mac, lasted_ns) = (address.to_string(), written(mac), last.since(first));
                self.journal.control(&ControlEvent::RivalGone { group, address, mac, lasted_ns });
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

    /// Ends the takeover thread, and takes everything away unless a new life follows.
    fn end(self, served: Result<()>) -> Result<Ended> {
        let Self { options, journal, parts, ended, restart, .. } = self;
        let Parts { kernel, orders, reports, pulse, takeover, facts, lock, .. } = parts;
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
            facts.tables.agent().owned.set(0);
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
        journal.records.end(ended == Ended::Restart);
        drop(lock);
        Ok(ended)
    }
}

/// An Ethernet address, as it is usually written.
fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Also where there is nothing to remove.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn readable<T: std::os::fd::AsRawFd>(
    fd: &mut Option<AsyncFd<T>>,
) -> std::io::Result<tokio::io::unix::AsyncFdReadyMutGuard<'_, T>> {
    match fd {
        Some(fd) => fd.readable_mut().await,
        None => std::future::pending().await,
    }
}
