//! How a life ends: everything is released in order, or a new life of itself follows, which keeps everything.
//!
//! ```text
//!          SIGHUP            read, usable          nothing half-way        nothing on its way
//!  running ------> Reading -------------> Waiting ----------------> RecordsHold ---> TakeoverEnds --> PulseEnds --> exec
//!     ^              | not usable            | for too long              | SIGTERM
//!     +--------------+-----------------------+            stopping <-----+
//! ```
//! A SIGHUP during one of these stages means another reload after this one: what it asks for may have been read too early. A
//! signal from `TakeoverEnds` on is the next life's: it finds everything as it should be, and can release it in order.

use super::{
    arbitrating::Arbitrating,
    desk::Desk,
    disks,
    messages::{Command, Job},
    options::RunEnded,
    reload::{self, Candidate, Files, Standing},
    runtime_dir::RuntimeDir,
    threads::Threads,
    watchdog,
};
use crate::{
    command::signals::Signalled, core::ChannelState, events::ControlEvent, system::realtime, takeover::Order,
    types::GroupIndex,
};
use anyhow::Result;
use libsystemd::daemon::NotifyState;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Who has not taken what was told before a restart by then gets it from the next life.
const SLOW: Duration = Duration::from_millis(200);

/// How far a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The file is being read.
    Reading,
    /// A group is on its way: the agent must not be replaced meanwhile.
    Waiting(Instant),
    /// The operator's command for events ends, and what was told gets where it belongs; nothing else has changed yet.
    RecordsHold(Instant),
    TakeoverEnds,
    PulseEnds,
}

/// How this life is to end.
pub(super) struct Restart {
    /// That of a restart; none while nothing is to follow.
    stage: Option<Stage>,
    /// Another reload was asked for meanwhile.
    again: bool,
    /// What it comes to, as it stands.
    ended: RunEnded,
    /// Threads are about to end.
    ending: bool,
    /// Files are read by one at a time.
    one_reader: Arc<Semaphore>,
    /// The files that the next life is to begin with, whatever becomes of them meanwhile.
    checked: Option<Files>,
    /// Of a life without XDP, where the kernel would keep what is shared with it.
    without_xdp: Option<RuntimeDir>,
}

/// What must not be cut short by a restart, or would hold it up.
#[derive(Clone, Copy)]
pub(super) struct Busy<'a> {
    pub(super) threads: &'a Threads,
    pub(super) arbitrating: &'a Arbitrating,
}

impl Busy<'_> {
    /// It, in words.
    fn what(self, desk: &Desk<'_>) -> Option<String> {
        moving_group(desk).or_else(|| disks::hanging(desk.options, self.threads.disks.as_ref(), self.arbitrating))
    }
}

fn moving_group(desk: &Desk<'_>) -> Option<String> {
    let busy = desk.facts.view().busy;
    let group = (busy != 0).then(|| GroupIndex(busy.trailing_zeros() as u8))?;
    let name = &desk.options.config.groups.get(group.usize())?.name;
    Some(format!("group \"{name}\" is on its way, and a hook of it runs or is about to"))
}

impl Restart {
    /// It is not to end yet. `without_xdp`: the runtime directory of a life without XDP.
    pub(super) fn new(without_xdp: Option<RuntimeDir>) -> Self {
        let one_reader = Arc::new(Semaphore::new(1));
        Self {
            stage: None,
            again: false,
            ended: RunEnded::Stopped,
            ending: false,
            one_reader,
            checked: None,
            without_xdp,
        }
    }

    /// Whether threads are about to end.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether a restart is on its way.
    pub(super) const fn is_near(&self) -> bool {
        self.stage.is_some()
    }

    /// What this life comes to; and whether a reload was asked for that is the next life's.
    pub(super) const fn outcome(&self) -> (RunEnded, bool) {
        (self.ended, self.again)
    }

    /// Leaves the next life what it is to begin with. No command is started any more, which would have it as well.
    pub(super) fn hand_on(&self) {
        for (path, file) in self.checked.iter().flatten() {
            if let Err(error) = file.hand_on(path) {
                log::warn!("{}: {error}: the next life reads it as it is then", path.display());
            }
        }
    }

    /// Whether signals are taken; else they are the next life's.
    pub(super) const fn takes_signals(&self) -> bool {
        !matches!(self.stage, Some(Stage::TakeoverEnds | Stage::PulseEnds))
    }

    /// A signal.
    pub(super) fn told(&mut self, desk: &mut Desk<'_>, told: Signalled) {
        match told {
            Signalled::Stop => self.stop(desk),
            // One that is being stopped is not started again.
            Signalled::Reload if self.ending && self.stage.is_none() => {}
            Signalled::Reload if self.stage.is_some() => self.again = true,
            Signalled::Reload => self.read_file(desk),
        }
    }

    fn stop(&mut self, desk: &Desk<'_>) {
        if matches!(self.stage.take(), Some(Stage::RecordsHold(_))) {
            desk.journal.sinks.go_on();
        }
        (self.ending, self.ended, self.again) = (true, RunEnded::Stopped, false);
        watchdog::tell_systemd(&[NotifyState::Stopping]);
        desk.command(Command::Stop);
    }

    fn read_file(&mut self, desk: &mut Desk<'_>) {
        self.stage = Some(Stage::Reading);
        let pins = self.without_xdp.as_ref().and_then(|folder| folder.pin_folder().ok());
        let reading = reload::read(desk.options.clone(), Arc::clone(&self.one_reader), pins);
        desk.jobs.spawn(async move { Job::Read(Box::new(reading.await)) });
    }

    /// The file was read, or cannot be.
    pub(super) fn was_read(&mut self, desk: &mut Desk<'_>, busy: Busy<'_>, candidate: Result<Candidate>) {
        if self.stage != Some(Stage::Reading) {
            return;
        }
        if std::mem::take(&mut self.again) {
            // It may have been changed since.
            return self.read_file(desk);
        }
        match candidate.and_then(|candidate| judge(desk, &candidate).map(|()| candidate.files)) {
            Ok(files) => {
                self.checked = Some(files);
                self.stage = Some(Stage::Waiting(Instant::now()));
                if let Some(why) = busy.what(desk) {
                    desk.journal.control(&ControlEvent::ReloadWaits { why });
                }
            }
            Err(error) => self.refuse(desk, format!("{error:#}")),
        }
    }

    fn refuse(&mut self, desk: &mut Desk<'_>, why: String) {
        if matches!(self.stage.take(), Some(Stage::RecordsHold(_))) {
            desk.journal.sinks.go_on();
        }
        (self.ending, self.ended, self.checked) = (false, RunEnded::Stopped, None);
        desk.journal.control(&ControlEvent::ReloadRefused { why });
        if std::mem::take(&mut self.again) {
            self.read_file(desk);
        }
    }

    /// The takeover thread ends first: the kernel takes some 10 ms to close packet sockets, and the peer is to hear us
    /// meanwhile. What the pulse thread orders in that time, the next life finds in the agent's cell.
    pub(super) fn go_on(&mut self, desk: &mut Desk<'_>, busy: Busy<'_>) {
        let patience = Duration::from_nanos(desk.options.config.patience().0);
        match self.stage {
            Some(Stage::Waiting(since) | Stage::RecordsHold(since))
                if since.elapsed() > patience && busy.what(desk).is_some() =>
            {
                let why = busy.what(desk).unwrap_or_default();
                self.refuse(desk, format!("{why}, for longer than that should take; try again when it has ended"));
            }
            Some(Stage::Waiting(_)) if busy.what(desk).is_none() => {
                self.ended = RunEnded::Restart;
                desk.journal.control(&ControlEvent::Restarting);
                watchdog::tell_systemd_of_reload();
                desk.journal.sinks.hold();
                (self.ending, self.stage) = (true, Some(Stage::RecordsHold(Instant::now())));
            }
            Some(Stage::RecordsHold(since)) => {
                let sinks = &desk.journal.sinks;
                let told = sinks.is_held() && (sinks.is_done() || since.elapsed() > SLOW);
                if told && busy.what(desk).is_none() {
                    self.stage = Some(Stage::TakeoverEnds);
                    let _ = busy.threads.orders.try_send(Order::Stop);
                }
            }
            Some(Stage::TakeoverEnds) if busy.threads.takeover.is_finished() => {
                self.stage = Some(Stage::PulseEnds);
                // From the last heartbeat of this life to the first of the next one, this thread is all there is.
                let _ = realtime::be_fifo(desk.options.config.dataplane.priority - 1);
                desk.command(Command::Restart);
            }
            _ => {}
        }
    }
}

fn judge(desk: &Desk<'_>, candidate: &Candidate) -> Result<()> {
    let facts = &desk.facts;
    let modes = facts.modes.lock().map(|modes| modes.clone()).unwrap_or_default();
    let view = facts.view();
    let open = |i: usize| view.channels.get(i).is_some_and(|c| c.state == ChannelState::Open);
    let heard = (0..view.channels.len()).filter(|i| open(*i)).fold(0, |bits, i| bits | 1 << i);
    let standing = Standing {
        met: view.peer_incarnation != 0,
        left: view.peer_left,
        // One that is silent cannot be told to.
        maintenance: view.maintenance.own && (view.maintenance.peer || heard == 0),
        heard,
        peer_keys: view.peer_keys,
        modes: &modes,
    };
    reload::judge(&desk.options.config, desk.options.node, candidate, standing)
}
