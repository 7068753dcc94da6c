//! The agent's threads: how the takeover thread and the pulse thread begin, what is held of those that run, and how they end.

use super::{
    disks,
    messages::{Command, Report},
    options::RunEnded,
    pulse::Pulse,
    watchdog::Watchdogs,
};
use crate::{
    api::Shared,
    dataplane::DiskThreads,
    events::Journal,
    system::{bell::Bell, realtime},
    takeover::{Order, Worker},
};
use anyhow::{Context, Error, Result, anyhow};
use crossbeam_channel::{Receiver, Sender};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};

/// Those that run, as the control side holds them.
pub(super) struct Threads {
    /// To the takeover thread.
    pub(super) orders: Sender<Order>,
    /// To the control side, which looks when its bell rings.
    pub(super) reports: Receiver<Report>,
    pub(super) control_bell: Bell,
    pub(super) pulse: JoinHandle<io::Result<()>>,
    pub(super) takeover: JoinHandle<()>,
    /// The thread that feeds the watchdogs, where there are any; it ends after the pulse thread.
    pub(super) watchdogs: Option<JoinHandle<Watchdogs>>,
    /// The threads of channels over disks, where there are any.
    pub(super) disks: Option<DiskThreads>,
}

/// What is left of them when all have ended in order.
pub(super) struct Remains {
    watchdogs: Option<Watchdogs>,
    disks: Option<DiskThreads>,
}

impl Threads {
    /// Ends the takeover thread, and the others where `served` and they themselves are well.
    ///
    /// # Errors
    /// That a thread died, else that of `served`. Then the watchdogs are left as they are: they run on, and reset the host unless
    /// somebody feeds them soon.
    pub(super) fn end(self, served: Result<()>) -> Result<Remains> {
        let Self { orders, reports, pulse, takeover, watchdogs, disks, .. } = self;
        // Where something else failed, the pulse thread goes on until the process ends: the peer hears what is held until it
        // is let go of.
        let pulse_died = pulse.is_finished().then(|| how_it_died(pulse)).flatten();
        let _ = orders.send(Order::Stop);
        drop(reports);
        let takeover_died = takeover.join().is_err().then(|| anyhow!("the takeover thread panicked"));
        let in_order = pulse_died.is_none() && served.is_ok();
        let watchdogs = watchdogs.filter(|_| in_order).and_then(|thread| thread.join().ok());
        match pulse_died.or(takeover_died).or(served.err()) {
            Some(error) => Err(error),
            None => Ok(Remains { watchdogs, disks }),
        }
    }
}

fn how_it_died(pulse: JoinHandle<io::Result<()>>) -> Option<Error> {
    match pulse.join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(anyhow!("the pulse thread failed: {error}")),
        Err(_) => Some(anyhow!("the pulse thread panicked")),
    }
}

impl Remains {
    /// What was said last is written before anything is taken away.
    pub(super) fn finish_disks(&mut self) {
        disks::finish(self.disks.take());
    }

    /// The watchdogs, after a life that ended so.
    pub(super) fn end_watchdogs(self, ended: RunEnded, holds_nothing: bool, journal: &Journal) {
        match (self.watchdogs, ended) {
            (Some(watchdogs), RunEnded::Restart) => watchdogs.hand_on(),
            (Some(watchdogs), RunEnded::Stopped) if holds_nothing => watchdogs.disarm(),
            (Some(watchdogs), RunEnded::Stopped) => watchdogs.leave(journal),
            (None, _) => {}
        }
    }
}

/// Also when a thread panics, the control side must look.
struct RingsAtTheEnd(Bell);

impl Drop for RingsAtTheEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// What the takeover thread is told by, and tells by.
pub(super) struct TakeoverWays {
    pub(super) orders: Receiver<Order>,
    pub(super) commands: Sender<Command>,
    pub(super) pulse_bell: Bell,
    pub(super) reports: Sender<Report>,
    pub(super) control_bell: Bell,
    pub(super) shared: Arc<Shared>,
}

/// The thread that adds, removes and announces addresses.
pub(super) fn takeover(worker: Worker, priority: u8, ways: TakeoverWays) -> Result<JoinHandle<()>> {
    let TakeoverWays { orders, commands, pulse_bell, reports, control_bell, shared } = ways;
    let begun = realtime::spawn("takeover", priority, move || {
        let _ended = RingsAtTheEnd(control_bell.clone());
        worker.run(&orders, |done| {
            if let Some(command) = Command::of(&done) {
                // The pulse thread takes them, whatever else happens.
                let _ = commands.send(command);
                pulse_bell.ring();
            }
            // Never waits for the control side.
            if reports.try_send(Report::Takeover(done)).is_err() {
                shared.events_lost.fetch_add(1, Relaxed);
            }
            control_bell.ring();
        });
    });
    begun.context("the takeover thread cannot begin")
}

/// The thread that sends, drains and judges.
pub(super) fn pulse(pulse: Pulse, priority: u8) -> Result<JoinHandle<io::Result<()>>> {
    let ended = pulse.control.clone();
    let begun = realtime::spawn("pulse", priority, move || {
        let _ended = RingsAtTheEnd(ended);
        pulse.run()
    });
    begun.context("the pulse thread cannot begin")
}
