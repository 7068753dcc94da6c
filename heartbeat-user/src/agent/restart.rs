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
    Ended,
    control::{Control, Job},
    disks,
    life::Life,
    reload::{self, Candidate, Standing},
    shared::Command,
    start::Parts,
    watchdog,
};
use crate::{
    command::signals::{self, Told},
    events::ControlEvent,
    system::realtime,
    takeover::Order,
    types::GroupIndex,
};
use anyhow::{Context, Result, anyhow};
use libsystemd::daemon::NotifyState;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Who has not taken what was told before a restart by then gets it from the next life.
const SLOW: Duration = Duration::from_millis(200);

/// How far a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// The file is being read.
    Reading,
    /// A group is on its way: the agent must not be replaced meanwhile.
    Waiting(Instant),
    /// The operator's command for events ends, and what was told gets where it belongs; nothing else has changed yet.
    RecordsHold(Instant),
    TakeoverEnds,
    PulseEnds,
}

impl Control<'_> {
    /// Whether signals are taken; else they are the next life's.
    pub(super) const fn takes_signals(&self) -> bool {
        !matches!(self.restart, Some(Restart::TakeoverEnds | Restart::PulseEnds))
    }

    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::Stop => self.stop(),
            // One that is being stopped is not started again.
            Told::Reload if self.ending && self.restart.is_none() => {}
            Told::Reload if self.restart.is_some() => self.again = true,
            Told::Reload => self.read_file(),
        }
    }

    fn stop(&mut self) {
        if matches!(self.restart.take(), Some(Restart::RecordsHold(_))) {
            self.journal.records.go_on();
        }
        (self.ending, self.ended, self.again) = (true, Ended::Stopped, false);
        watchdog::tell_systemd(&[NotifyState::Stopping]);
        self.command(Command::Stop);
    }

    fn read_file(&mut self) {
        self.restart = Some(Restart::Reading);
        let pins = self.parts.kernel.is_none().then(|| self.parts.folder.pin_folder().ok()).flatten();
        let reading = reload::read(self.options.clone(), Arc::clone(&self.one_reader), pins);
        self.jobs.spawn(async move { Job::Read(Box::new(reading.await)) });
    }

    /// The file was read, or cannot be.
    pub(super) fn was_read(&mut self, candidate: Result<Candidate>) {
        if self.restart != Some(Restart::Reading) {
            return;
        }
        if std::mem::take(&mut self.again) {
            // It may have been changed since.
            return self.read_file();
        }
        let usable = candidate.and_then(|candidate| self.judge(&candidate));
        match usable {
            Ok(()) => {
                self.restart = Some(Restart::Waiting(Instant::now()));
                if let Some(why) = self.on_its_way() {
                    self.journal.control(&ControlEvent::ReloadWaits { why });
                }
            }
            Err(error) => self.refuse(format!("{error:#}")),
        }
    }

    fn judge(&self, candidate: &Candidate) -> Result<()> {
        let facts = &self.parts.facts;
        let modes = facts.modes.lock().map(|modes| modes.clone()).unwrap_or_default();
        let view = facts.view().context("the judgement cannot be read")?;
        let open = |i: usize| view.channels.get(i).is_some_and(|c| c.state == crate::core::ChannelState::Open);
        let heard = (0..view.channels.len()).filter(|i| open(*i)).fold(0, |bits, i| bits | 1 << i);
        let standing = Standing {
            met: view.peer_incarnation != 0,
            left: view.peer_left,
            // One that is silent cannot be told to.
            maintenance: view.maintenance == [true; 2] || view.maintenance[0] && heard == 0,
            heard,
            peer_keys: view.peer_keys,
            modes: &modes,
        };
        reload::judge(&self.options.config, self.options.node, candidate, standing)
    }

    fn refuse(&mut self, why: String) {
        if matches!(self.restart.take(), Some(Restart::RecordsHold(_))) {
            self.journal.records.go_on();
        }
        (self.ending, self.ended) = (false, Ended::Stopped);
        self.journal.control(&ControlEvent::ReloadRefused { why });
        if std::mem::take(&mut self.again) {
            self.read_file();
        }
    }

    /// What must not be cut short by a restart, or would hold it up, in words.
    fn on_its_way(&self) -> Option<String> {
        self.moving_group().or_else(|| self.hanging_disk())
    }

    fn moving_group(&self) -> Option<String> {
        let busy = self.parts.facts.view().map_or(0, |view| view.busy);
        let group = (busy != 0).then(|| GroupIndex(busy.trailing_zeros() as u8))?;
        let name = &self.options.config.groups.get(group.usize())?.name;
        Some(format!("group \"{name}\" is on its way, and a hook of it runs or is about to"))
    }

    /// The takeover thread ends first: the kernel takes some 10 ms to close packet sockets, and the peer is to hear us
    /// meanwhile. What the pulse thread orders in that time, the next life finds in the agent's cell.
    pub(super) fn go_on_restarting(&mut self) {
        let patience = Duration::from_nanos(self.options.config.patience().0);
        match self.restart {
            Some(Restart::Waiting(since) | Restart::RecordsHold(since))
                if since.elapsed() > patience && self.on_its_way().is_some() =>
            {
                let why = self.on_its_way().unwrap_or_default();
                self.refuse(format!("{why}, for longer than that should take; try again when it has ended"));
            }
            Some(Restart::Waiting(_)) if self.on_its_way().is_none() => {
                self.ended = Ended::Restart;
                self.journal.control(&ControlEvent::Restarting);
                watchdog::tell_systemd_of_reload();
                self.journal.records.hold();
                (self.ending, self.restart) = (true, Some(Restart::RecordsHold(Instant::now())));
            }
            Some(Restart::RecordsHold(since)) => {
                let records = &self.journal.records;
                let told = records.is_held() && (records.is_done() || since.elapsed() > SLOW);
                if told && self.on_its_way().is_none() {
                    self.restart = Some(Restart::TakeoverEnds);
                    let _ = self.parts.orders.try_send(Order::Stop);
                }
            }
            Some(Restart::TakeoverEnds) if self.parts.takeover.is_finished() => {
                self.restart = Some(Restart::PulseEnds);
                // From the last heartbeat of this life to the first of the next one, this thread is all there is.
                let _ = realtime::be_fifo(self.options.config.dataplane.priority - 1);
                self.command(Command::Restart);
            }
            _ => {}
        }
    }

    /// Ends the takeover thread, and takes everything away unless a new life follows. Where something failed, whoever started
    /// us lets go of what is held.
    pub(super) fn end(self, served: Result<()>) -> Result<Ended> {
        let Self { journal, parts, ended, api, again, .. } = self;
        let Parts {
            kernel, orders, reports, pulse, takeover, watchdogs, disks, facts, folder, claim, mut life, ..
        } = parts;
        // Where something else failed, the pulse thread goes on until the process ends: the peer hears what is held until it
        // is let go of.
        let pulse_died = pulse.is_finished().then(|| pulse.join()).and_then(|joined| match joined {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(anyhow!("the pulse thread failed: {error}")),
            Err(_) => Some(anyhow!("the pulse thread panicked")),
        });
        let _ = orders.send(Order::Stop);
        drop(reports);
        let takeover_died = takeover.join().is_err().then(|| anyhow!("the takeover thread panicked"));
        // Where something failed it is left as it is: it runs on, and resets the host unless somebody feeds it soon.
        let in_order = pulse_died.is_none() && served.is_ok();
        let watchdogs = watchdogs.filter(|_| in_order).and_then(|thread| thread.join().ok());
        drop(api);
        let _ = std::fs::remove_file(folder.socket());
        if let Some(error) = pulse_died.or(takeover_died).or(served.err()) {
            return Err(error);
        }
        match ended {
            Ended::Stopped => {
                disks::finish(disks);
                // What could not be let go of, a next life tries again.
                let agent = facts.tables.agent();
                let kept = agent.owned.get() | agent.hooked.get();
                life.keep_only(kept);
                let holds_nothing = kept == 0 && life.left.is_empty();
                match watchdogs {
                    Some(watchdogs) if holds_nothing => watchdogs.disarm(),
                    Some(watchdogs) => watchdogs.leave(&journal),
                    None => {}
                }
                if !holds_nothing {
                    life.write(&folder)?;
                } else {
                    Life::forget(&folder);
                }
                match kernel {
                    Some(kernel) => kernel.remove().context("taking the XDP program away")?,
                    None => folder.forget_pins(),
                }
                folder.forget_tables();
                journal.control(&ControlEvent::Stopped);
            }
            Ended::Restart => {
                if let Some(watchdogs) = watchdogs {
                    watchdogs.hand_on();
                }
                if again {
                    signals::raise(Told::Reload);
                }
            }
        }
        journal.records.end(ended == Ended::Restart);
        drop(claim);
        Ok(ended)
    }
}
