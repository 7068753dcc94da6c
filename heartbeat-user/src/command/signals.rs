//! The signals that an agent is told what to do by: SIGTERM, SIGINT, SIGHUP. None may be lost, and none may end the agent before
//! it has let go of what it holds.
//!
//! They are blocked from the agent's first line on, and in all its threads but the one that takes them while it does: what
//! comes before that waits in the kernel. They are blocked again before the agent is replaced by a new life of itself,
//! which finds them waiting; one that was taken and not acted on is raised again. Commands begin with none blocked.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::getpid;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    signal::unix::{self, SignalKind, signal},
    time::sleep,
};

/// Whether somebody takes them: else they would end the process.
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// A signal's handler has ended, and what it said has arrived, after this.
const SETTLED: Duration = Duration::from_millis(1);

/// What we are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// SIGTERM, SIGINT: release everything and end.
    Stop,
    /// SIGHUP: go on as a new life, with the configuration as it is then.
    Reload,
}

fn ours() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Lets them wait, in this thread and all that it starts from now on.
pub fn hold() {
    // It cannot fail: the set is a valid one.
    let _ = ours().thread_block();
}

/// Takes those that wait, and those that come, in this thread; what it starts is to be started before that.
pub fn take() {
    debug_assert!(CAUGHT.load(Relaxed), "they would end us");
    let _ = ours().thread_unblock();
}

/// Whoever takes them.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// From now on they do not end the process any more, but still wait until somebody [`take`]s them. Called within a runtime.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn catch() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        CAUGHT.store(true, Relaxed);
        Ok(signals)
    }

    /// The next one. Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Signalled {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }

    /// Lets them wait for the next life of this process: also what was taken and nobody has asked for yet.
    pub async fn give_back(mut self) {
        hold();
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                biased;
                told = self.next() => taken.push(told),
                () = sleep(SETTLED) => break,
            }
        }
        // Only now: it would come back as long as anybody takes it.
        taken.dedup();
        taken.into_iter().for_each(raise);
    }
}

/// Says it again, to whoever takes it next.
pub fn raise(told: Signalled) {
    let again = match told {
        Signalled::Stop => Signal::SIGTERM,
        Signalled::Reload => Signal::SIGHUP,
    };
    let _ = kill(getpid(), again);
}

/// While this lives, this thread starts processes that have none of them blocked.
pub(super) struct Unblocked(Option<SigSet>);

impl Unblocked {
    pub(super) fn new() -> Self {
        let before = SigSet::thread_get_mask().ok().filter(|_| CAUGHT.load(Relaxed));
        if before.is_some() {
            let _ = ours().thread_unblock();
        }
        Self(before)
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _ = before.thread_set_mask();
        }
    }
}
