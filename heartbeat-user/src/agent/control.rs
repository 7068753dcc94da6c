//! The control side, where everything is that may take its time: it waits for what there is to do, and hands that to the job
//! that it is of. None of them knows of another.

use super::{
    arbitrating::Arbitrating,
    attaching::Attaching,
    checks,
    desk::Desk,
    disks,
    fencing::{self, Fencing},
    hooks::{self, Hooks},
    life,
    messages::{CheckNews, Command, FenceNews, Job, Report},
    options::{RunEnded, RunOptions},
    orders::Orders,
    probing::Probing,
    readiness,
    restart::{Busy, Restart},
    serving::Serving,
    silence::Silence,
    takeover_events,
    tenancy::Tenancy,
    threads::Threads,
    upkeep::Upkeep,
    watchdog,
};
use crate::{
    api::{Shown, server::Ordered},
    command::signals::{self, Signalled, Signals},
    core::Event,
    events::{ControlEvent, Journal},
    system::bell::{self, Bell},
    types::Nanos,
};
use anyhow::{Context as _, Result, bail};
use crossbeam_channel::Sender;
use libsystemd::daemon::NotifyState;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{io::unix::AsyncFd, sync::mpsc, time::sleep};

/// How often the threads are looked at, in case that their bells were missed.
const LOOK: Duration = Duration::from_secs(1);
/// The same where interfaces wait to be attached to.
const LOOK_ATTACHING: Duration = Duration::from_millis(20);
/// The same where they are about to end.
const LOOK_ENDING: Duration = Duration::from_millis(1);

/// What the control side is given at its start.
pub(super) struct Parts<'a> {
    pub(super) facts: Arc<Shown>,
    /// To the pulse thread, which takes commands when its bell rings.
    pub(super) commands: Sender<Command>,
    pub(super) pulse_bell: Bell,
    pub(super) threads: Threads,
    pub(super) tenancy: Tenancy<'a>,
    pub(super) attaching: Attaching,
    /// The interfaces on which the kernel is to keep silent where the agent cannot decide.
    pub(super) silent_on: BTreeSet<String>,
}

/// What comes to the control side from elsewhere than the real-time threads.
struct Incoming {
    ordered: mpsc::Receiver<Ordered>,
    of_fence: mpsc::UnboundedReceiver<FenceNews>,
    of_checks: mpsc::UnboundedReceiver<CheckNews>,
}

/// Runs until the pulse thread has ended.
pub(super) async fn run(
    options: &RunOptions,
    journal: Journal,
    parts: Parts<'_>,
    signals: &mut Signals,
) -> Result<RunEnded> {
    let Parts { facts, commands, pulse_bell, threads, tenancy, attaching, silent_on } = parts;
    let (orders_in, ordered) = mpsc::channel(1);
    let (fence_news, of_fence) = mpsc::unbounded_channel();
    let (checked, of_checks) = mpsc::unbounded_channel();
    let mut control = Control {
        desk: Desk::new(options, journal, facts, commands, pulse_bell),
        arbitrating: Arbitrating::new(&options.config, options.node),
        fencing: Fencing::new(fence_news),
        hooks: Hooks::new(),
        orders: Orders::default(),
        probing: Probing::new(&options.config, options.node),
        readiness: readiness::Told::new(),
        restart: Restart::new(attaching.kernel.is_err().then(|| tenancy.folder.clone())),
        serving: Serving::new(orders_in),
        silence: Silence::new(silent_on),
        upkeep: Upkeep::new(),
        threads,
        tenancy,
        attaching,
    };
    let served = match control.begin(&checked) {
        Ok(()) => control.serve(signals, Incoming { ordered, of_fence, of_checks }).await,
        Err(error) => Err(error),
    };
    control.end(served)
}

struct Control<'a> {
    desk: Desk<'a>,
    threads: Threads,
    tenancy: Tenancy<'a>,
    arbitrating: Arbitrating,
    attaching: Attaching,
    fencing: Fencing,
    hooks: Hooks,
    orders: Orders,
    probing: Probing,
    readiness: readiness::Told,
    restart: Restart,
    serving: Serving,
    silence: Silence,
    upkeep: Upkeep,
}

impl Control<'_> {
    fn begin(&mut self, checked: &mpsc::UnboundedSender<CheckNews>) -> Result<()> {
        self.serving.begin(&self.desk, &self.tenancy.folder)?;
        self.silence.keep(&self.desk, &mut self.attaching);
        checks::watch(&mut self.desk, checked);
        self.fencing.watch(&mut self.desk);
        signals::take();
        watchdog::tell_systemd(&[NotifyState::Ready]);
        Ok(())
    }

    async fn serve(&mut self, signals: &mut Signals, mut incoming: Incoming) -> Result<()> {
        let control_bell = bell::watch(self.threads.control_bell.clone())?;
        let mut logger = match &mut self.attaching.kernel {
            Ok(kernel) => Some(bell::watch(kernel.logger()?)?),
            Err(_) => None,
        };
        while !self.threads.pulse.is_finished() {
            let pause = self.pause();
            tokio::select! {
                told = signals.next(), if self.restart.takes_signals() => self.restart.told(&mut self.desk, told),
                rung = control_bell.readable() => {
                    rung?.clear_ready();
                    self.threads.control_bell.silence();
                    self.take_reports()?;
                }
                Some(order) = incoming.ordered.recv() => self.orders.take(&self.desk, self.restart.is_ending(), order),
                Some(news) = incoming.of_checks.recv() => checks::changed(&self.desk, news),
                Some(news) = incoming.of_fence.recv() => fencing::told(&self.desk, news),
                Some(Ok(job)) = self.desk.jobs.join_next(), if !self.desk.jobs.is_empty() => self.end_job(job),
                Ok(mut guard) = readable(&mut logger) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                // A thread that rang at its end may not have been quite at its end.
                () = sleep(pause) => {}
            }
            let busy = Busy { threads: &self.threads, arbitrating: &self.arbitrating };
            self.restart.go_on(&mut self.desk, busy);
            self.attaching.go_on(&self.desk, &mut self.tenancy);
            self.look_after();
            self.arbitrating.look(&mut self.desk);
            if self.threads.takeover.is_finished() && !self.restart.is_near() {
                bail!("the takeover thread died");
            }
        }
        self.take_reports()
    }

    const fn pause(&self) -> Duration {
        match self.restart.is_ending() {
            true => LOOK_ENDING,
            false if self.attaching.is_pending() => LOOK_ATTACHING,
            false => LOOK,
        }
    }

    fn take_reports(&mut self) -> Result<()> {
        while let Ok(report) = self.threads.reports.try_recv() {
            let desk = &mut self.desk;
            match report {
                Report::Event { time_ns, at, event } => self.event(time_ns, at, &event)?,
                Report::Answer(id, result) => self.orders.answered(&self.tenancy, id, result.into()),
                Report::Probe(analysis) => self.probing.analyse(desk, analysis),
                Report::Look(number) => self.probing.look(desk, number),
                Report::Hook(group, hook, reason) => self.hooks.run(desk, &mut self.tenancy, group, hook, reason),
                Report::Fence(number) => self.fencing.strike(desk, number),
                Report::FenceAbort(number) => self.fencing.call_off(number),
                Report::Arbitrate(number, question) => self.arbitrating.ask(desk, number, question),
                Report::Attach(channel) => self.attaching.want(channel.bit()),
                Report::NewMember(channel) => self.attaching.attach_quietly(desk, channel, false),
                Report::Unseen(channel) => self.attaching.attach_quietly(desk, channel, true),
                Report::Seek(channel) => self.attaching.seek(desk, channel),
                Report::DiskFailed(channel, why) => disks::failed(desk, channel, Some(why)),
                Report::DiskHangs(channel) => disks::failed(desk, channel, None),
                Report::Takeover(done) => takeover_events::tell(desk, done),
            }
        }
        Ok(())
    }

    fn event(&mut self, time_ns: u64, at: Nanos, event: &Event) -> Result<()> {
        self.hooks.note(event)?;
        self.readiness.note(&self.desk, time_ns, at, event);
        self.desk.journal.core(time_ns, at, event);
        Ok(())
    }

    fn end_job(&mut self, job: Job) {
        let desk = &mut self.desk;
        match job {
            Job::Probed(command) => desk.command(command),
            Job::Read(candidate) => {
                let busy = Busy { threads: &self.threads, arbitrating: &self.arbitrating };
                self.restart.was_read(desk, busy, *candidate);
            }
            Job::Sought(channel, index) => self.attaching.sought(desk, channel, index),
            Job::Arbitrated(number, question, answered) => self.arbitrating.answered(desk, number, question, answered),
            Job::ArbiterLooked(found) => self.arbitrating.looked(desk, found),
            Job::HostLooked(problems) => {
                let more = self.silence.problems(&desk.options.config, desk.options.node);
                self.readiness.host_looked(desk, problems, more);
            }
            Job::Fenced(number, succeeded) => fencing::ended(desk, number, succeeded),
            Job::Hook(group, hook, outcome, marks) => {
                self.tenancy.runs.end(&marks);
                hooks::ended(desk, group, hook, outcome.as_ref());
            }
        }
    }

    /// Every second, while nothing ends.
    fn look_after(&mut self) {
        if self.restart.is_ending() || !self.upkeep.is_due() {
            return;
        }
        self.upkeep.keep_folder(&self.desk, &mut self.tenancy, &mut self.serving);
        self.tenancy.remove_left(&self.desk.journal);
        self.silence.keep(&self.desk, &mut self.attaching);
        self.readiness.look(&mut self.desk);
        self.attaching.want_again();
    }

    /// Ends the threads, and takes everything away unless a new life follows. Where something failed, whoever started us lets
    /// go of what is held.
    fn end(self, served: Result<()>) -> Result<RunEnded> {
        let Self { desk, threads, mut tenancy, attaching, serving, restart, .. } = self;
        let remains = threads.end(served);
        serving.end(&tenancy.folder);
        let mut remains = remains?;
        let (ended, again) = restart.outcome();
        if ended == RunEnded::Restart {
            restart.hand_on();
            remains.end_watchdogs(ended, false, &desk.journal);
            if again {
                signals::raise(Signalled::Reload);
            }
            return Ok(ended);
        }
        remains.finish_disks();
        // What could not be let go of, a next life tries again.
        let kept = tenancy.keep_only(life::still_here(desk.facts.tables.agent()));
        let holds_nothing = kept.is_empty();
        remains.end_watchdogs(ended, holds_nothing, &desk.journal);
        tenancy.leave(holds_nothing)?;
        match attaching.kernel {
            Ok(kernel) => kernel.remove().context("taking the XDP program away")?,
            Err(_) => tenancy.folder.forget_pins(),
        }
        tenancy.folder.forget_tables();
        desk.journal.control(&ControlEvent::Stopped { kept });
        Ok(ended)
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
