//! The agent's two real-time threads: how they begin, and what the takeover thread does with what it did.

use super::shared::{Command, Report};
use crate::{
    api::Shared,
    system::{bell::Bell, realtime},
    takeover::{Order, Worker},
};
use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};

/// Pages of stack are touched when they are used; this is what a thread may use at most.
const STACK: usize = 256 * 1024;

/// Also when a thread panics, the control side must look.
pub(super) struct RingsAtTheEnd(pub(super) Bell);

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
    spawn("takeover", priority, move || {
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
    })
}

/// A thread with a real-time priority, where that is to be had.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    priority: u8,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let name = name.to_owned();
    let builder = std::thread::Builder::new().name(name.clone()).stack_size(STACK);
    let what = format!("the {name} thread");
    let begun = builder.spawn(move || {
        if let Err(error) = realtime::be_fifo(priority) {
            log::warn!("the {name} thread gets no real-time priority {priority} ({error}): it may be late under load");
        }
        realtime::no_timer_slack();
        body()
    });
    begun.with_context(|| format!("{what} cannot begin"))
}
