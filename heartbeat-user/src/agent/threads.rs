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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::desk::tests::{in_namespace, shared},
        core::testing::Bench,
        system::clock,
        takeover::{Answering, TakeoverSettings},
        types::GroupIndex,
    };
    use crossbeam_channel::bounded;
    use std::{thread, time::Duration};

    const PATIENCE: Duration = Duration::from_secs(10);
    /// Reports that find room.
    const ROOM: usize = 1;

    #[test]
    fn a_takeover_thread_whose_reports_nobody_takes_goes_on_and_ends_when_it_is_told_to() {
        in_namespace(|| {
            let (orders, orders_in) = bounded(8);
            let (commands, commands_in) = bounded(8);
            let (reports, reports_in) = bounded(ROOM);
            let (control_bell, pulse_bell) = (Bell::new().unwrap(), Bell::new().unwrap());
            let shared = shared(&Bench::of(0, |_| {}).core);
            let ways = TakeoverWays {
                orders: orders_in,
                commands,
                pulse_bell,
                reports,
                control_bell: control_bell.clone(),
                shared: Arc::clone(&shared),
            };
            let takeover = takeover(Worker::open(TakeoverSettings::default()).unwrap(), 1, ways).unwrap();
            // Nothing is planned for it, so that fails at once, and is reported.
            let order = || Order::Acquire {
                group: GroupIndex(0),
                ordered: clock::monotonic(),
                unless_isolated: false,
                answering: Answering::Skip,
            };
            for number in 0..3 {
                orders.send(order()).unwrap();
                let told = commands_in.recv_timeout(PATIENCE);
                assert!(matches!(told, Ok(Command::Acquired { in_place: false, .. })), "{number}: {told:?}");
            }
            // The pulse thread has ended before it.
            drop(commands_in);
            orders.send(order()).unwrap();
            let pulse = thread::spawn(|| Ok(()));
            let threads =
                Threads { orders, reports: reports_in, control_bell, pulse, takeover, watchdogs: None, disks: None };
            let (end, ended) = bounded(1);
            thread::spawn(move || end.send(threads.end(Ok(())).is_ok()));
            assert_eq!(ended.recv_timeout(PATIENCE), Ok(true));
            assert_eq!(shared.events_lost.load(Relaxed), 4 - ROOM as u64);
        });
    }
}
