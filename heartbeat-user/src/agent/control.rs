//! The control side: everything that may take its time.

use super::{
    Ended, Options,
    arbitrating::Arbitrating,
    fencing::FenceNews,
    hooks, readiness,
    reload::Candidate,
    restart::Restart,
    shared::{Command, Report, group_of},
    start::Parts,
    upkeep::Upkeep,
    watchdog,
};
use crate::{
    api::{
        Problem,
        server::{Answer, Ordered, Request, Server},
    },
    arbiter::Answered,
    command::{
        self, CheckPlan, Outcome,
        signals::{self, Signals},
    },
    core::{Arbitrate, ChannelState, Event, Hook, OperatorOrder, Reason, is_quick},
    events::{ControlEvent, Journal},
    probe::{self, Network, Plan},
    system::bell,
    takeover::Done,
    types::{ChannelIndex, GroupIndex, Nanos},
};
use anyhow::{Result, bail};
use libsystemd::daemon::NotifyState;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Semaphore, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// How often the threads are looked at, in case that their bells were missed.
const LOOK: Duration = Duration::from_secs(1);
/// The same where interfaces wait to be attached to.
const LOOK_ATTACHING: Duration = Duration::from_millis(20);
/// The same where they are about to end.
const LOOK_ENDING: Duration = Duration::from_millis(1);

/// Runs until the pulse thread has ended.
pub(super) async fn run(options: &Options, journal: Journal, parts: Parts, signals: &mut Signals) -> Result<Ended> {
    let (ordered, orders) = mpsc::channel(1);
    let (fence_news, of_fence) = mpsc::unbounded_channel();
    let (unattached, attach_pending) = (parts.unattached, parts.attach_pending);
    let mut control = Control {
        options,
        journal,
        parts,
        watchers: JoinSet::new(),
        jobs: JoinSet::new(),
        verdict: "null".to_owned(),
        asking: HashMap::new(),
        asked: 0,
        fencing: None,
        arbitrating: Arbitrating::new(&options.config, options.node),
        fence_news,
        ended: Ended::Stopped,
        ending: false,
        restart: None,
        again: false,
        one_reader: Arc::new(Semaphore::new(1)),
        api: None,
        ordered,
        upkeep: Upkeep::new(),
        readiness: readiness::Told::new(),
        unattached,
        attach_pending,
        seeking: HashSet::new(),
        networks: probe::networks(&options.config, options.node),
    };
    let result = control.serve(signals, orders, of_fence).await;
    control.end(result)
}

pub(super) struct Control<'a> {
    pub(super) options: &'a Options,
    pub(super) journal: Journal,
    pub(super) parts: Parts,
    /// Health checks and questions to the fence's devices, for ever.
    pub(super) watchers: JoinSet<()>,
    /// What takes its time, and what follows from it.
    pub(super) jobs: JoinSet<Job>,
    pub(super) arbitrating: Arbitrating,
    /// The fencing that runs, by its number.
    pub(super) fencing: Option<(u32, AbortHandle)>,
    /// Where it is told how that goes, and what its devices say.
    pub(super) fence_news: mpsc::UnboundedSender<FenceNews>,
    /// The last verdict, with its evidence, as JSON.
    verdict: String,
    /// Who waits for an answer to which order.
    asking: HashMap<u64, (OperatorOrder, oneshot::Sender<Answer>)>,
    asked: u64,
    pub(super) ended: Ended,
    /// Threads are about to end.
    pub(super) ending: bool,
    pub(super) restart: Option<Restart>,
    /// Another reload was asked for meanwhile.
    pub(super) again: bool,
    /// Files are read by one at a time.
    pub(super) one_reader: Arc<Semaphore>,
    pub(super) api: Option<Server>,
    /// Where the API leaves orders.
    pub(super) ordered: mpsc::Sender<Ordered>,
    pub(super) upkeep: Upkeep,
    pub(super) readiness: readiness::Told,
    /// Channels that could not be attached to as configured, a bit each.
    pub(super) unattached: u64,
    /// Channels whose interfaces are to be attached to, a bit each.
    pub(super) attach_pending: u64,
    /// Channels whose interfaces are being looked for.
    pub(super) seeking: HashSet<u8>,
    /// The networks that are judged.
    networks: Vec<Network>,
}

/// The end of something that took its time.
pub(super) enum Job {
    Found(Command),
    Read(Box<Result<Candidate>>),
    /// The index of a channel's interface, if that is there.
    Sought(ChannelIndex, Option<u32>),
    Hook(GroupIndex, Hook, Outcome),
    Arbitrated(u32, Arbitrate, Answered),
    /// What a look at the arbiter found: it is well, or not.
    ArbiterLooked(Result<String, String>),
    /// What of this host is not as the configuration has it.
    HostLooked(Vec<Problem>),
    /// Whether the peer is off.
    Fence(u32, bool),
}

impl Control<'_> {
    async fn serve(
        &mut self,
        signals: &mut Signals,
        mut ordered: mpsc::Receiver<Ordered>,
        mut of_fence: mpsc::UnboundedReceiver<FenceNews>,
    ) -> Result<()> {
        self.serve_api()?;
        self.keep_silence();
        let (checked, mut checks) = mpsc::unbounded_channel();
        self.watch_checks(&checked);
        self.watch_fence();
        signals::take();
        watchdog::tell_systemd(&[NotifyState::Ready]);
        let control_bell = bell::watch(self.parts.control_bell.clone())?;
        let mut logger = match &mut self.parts.kernel {
            Some(kernel) => Some(bell::watch(kernel.logger()?)?),
            None => None,
        };
        while !self.parts.pulse.is_finished() {
            let pause = self.pause();
            tokio::select! {
                told = signals.next(), if self.takes_signals() => self.told(told),
                rung = control_bell.readable() => {
                    rung?.clear_ready();
                    self.parts.control_bell.silence();
                    self.take_reports()?;
                }
                Some(order) = ordered.recv() => self.order(order),
                Some((check, healthy, outcome)) = checks.recv() => self.checked(check, healthy, &outcome),
                Some(news) = of_fence.recv() => self.fence_told(news),
                Some(Ok(job)) = self.jobs.join_next(), if !self.jobs.is_empty() => self.end_job(job),
                Ok(mut guard) = readable(&mut logger) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                // A thread that rang at its end may not have been quite at its end.
                () = sleep(pause) => {}
            }
            self.go_on_restarting();
            self.go_on_attaching();
            self.look_after();
            self.look_at_arbiter();
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

    /// To the pulse thread. One that has ended needs no command, and that it has is noticed.
    pub(super) fn command(&self, command: Command) {
        let _ = self.parts.commands.send(command);
        self.parts.pulse_bell.ring();
    }

    fn take_reports(&mut self) -> Result<()> {
        while let Ok(report) = self.parts.reports.try_recv() {
            match report {
                Report::Event { time_ns, at, event } => {
                    if matches!(event, Event::Judged { .. }) {
                        self.verdict = serde_json::to_string(&event)?;
                    }
                    self.journal.core(time_ns, at, &event);
                    self.note(time_ns, at, &event);
                }
                Report::Answer(id, result) => self.answered(id, result.into()),
                Report::Probe(analysis) => self.probe(analysis),
                Report::Look(number) => self.look(number),
                Report::Hook(group, hook, reason) => self.hook(group, hook, reason),
                Report::Fence(number) => self.fence(number),
                Report::FenceAbort(number) => self.call_off_fencing(number),
                Report::Arbitrate(number, question) => self.arbitrate(number, question),
                Report::Attach(channel) => self.attach_pending |= channel.bit(),
                Report::NewMember(channel) => self.attach_quietly(channel, false),
                Report::Unseen(channel) => self.attach_quietly(channel, true),
                Report::Seek(channel) => self.seek(channel),
                Report::DiskFailed(channel, why) => self.disk_failed(channel, Some(why)),
                Report::DiskHangs(channel) => self.disk_failed(channel, None),
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

    fn end_job(&mut self, job: Job) {
        match job {
            Job::Found(command) => self.command(command),
            Job::Read(candidate) => self.was_read(*candidate),
            Job::Sought(channel, index) => {
                self.seeking.remove(&channel.0);
                if let Some(index) = index {
                    self.command(Command::Found { channel, index });
                }
            }
            Job::Arbitrated(number, question, answered) => self.arbitrated(number, question, answered),
            Job::ArbiterLooked(found) => self.arbiter_looked(found),
            Job::HostLooked(problems) => self.host_looked(problems),
            Job::Fence(number, succeeded) => self.command(Command::Fenced { number, succeeded }),
            Job::Hook(group, hook, outcome) => {
                self.journal.control(&hooks::told(hook.name(), Some(group), &outcome));
                self.command(Command::HookEnded { group, hook, succeeded: outcome.succeeded() });
            }
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

    fn checked(&self, check: usize, healthy: bool, outcome: &Outcome) {
        self.journal.control(&ControlEvent::CheckChanged {
            check: self.options.config.checks[check].name.clone(),
            healthy,
            how: outcome.ended.to_string(),
            output: outcome.output.clone(),
        });
        self.command(Command::Check { check, healthy });
    }

    /// An operator's order, on its way to the core.
    fn order(&mut self, (request, sender): Ordered) {
        let groups = &self.options.config.groups;
        let group = |name: String| {
            let known = || groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
            let found = groups.iter().find(|g| g.name == name && !g.departed).map(|g| g.index);
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
                self.command(Command::Order { id: self.asked, order });
            }
            Err(refusal) => {
                // Who does not wait any more need not know.
                let _ = sender.send(refusal);
            }
        }
    }

    /// What became of it.
    fn answered(&mut self, id: u64, answer: Answer) {
        let Some((order, sender)) = self.asking.remove(&id) else { return };
        if let (OperatorOrder::Maintenance(on), Answer::Accepted) = (order, &answer) {
            let folder = &self.parts.folder;
            if let Err(error) = folder.note_maintenance(on) {
                let path = folder.maintenance().display().to_string();
                log::warn!("{path}: {error}: the next life of the agent will not know of the maintenance");
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
                let own = probe::look(&networks, plan).await;
                probe::beside(own, probe::analyse(&networks, plan.at_once(), analysis).await)
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
        let judging = &self.options.config.judging;
        let view = self.parts.facts.view();
        let state = |channel: ChannelIndex| Some(view.as_ref()?.channels.get(channel.usize())?.state);
        let is_heard = |network: &Network| state(network.channel) == Some(ChannelState::Open);
        let networks = self.networks.iter().map(|n| Network { peer_heard: is_heard(n), ..n.clone() }).collect();
        (networks, Plan { rounds: judging.probe_rounds, pause: Duration::from_nanos(judging.probe_pause.0) })
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
}

/// An Ethernet address, as it is usually written.
fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

async fn readable<T: std::os::fd::AsRawFd>(
    fd: &mut Option<AsyncFd<T>>,
) -> std::io::Result<tokio::io::unix::AsyncFdReadyMutGuard<'_, T>> {
    match fd {
        Some(fd) => fd.readable_mut().await,
        None => std::future::pending().await,
    }
}
