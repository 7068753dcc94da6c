//! Who resets this host, or this agent, when it does not do its work any more: the host's watchdog, and systemd's.
//!
//! The pulse thread says that all is well; a thread of its own writes that to the device and to systemd, for some drivers
//! take milliseconds. It writes nothing that was not just said: a pulse thread that stands still feeds nobody.

use super::options::RunOptions;
use crate::{
    api::WatchdogFacts,
    events::{ControlEvent, Journal},
    system::{clock, realtime, watchdog::WatchdogDevice},
    types::Nanos,
};
use anyhow::{Context as _, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use libsystemd::daemon::{NotifyState, notify, watchdog_enabled};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

/// It is fed so often within its timeout.
const OFTEN: u64 = 4;

/// What is fed.
pub(super) struct Watchdogs {
    device: Option<WatchdogDevice>,
    /// What is shown of it, where it is configured.
    facts: Option<WatchdogFacts>,
    /// What systemd waits for (sd_watchdog_enabled(3)), where it does.
    service: Option<Nanos>,
}

/// What the pulse thread feeds by.
#[derive(Debug)]
pub struct Feeder {
    said: Sender<Nanos>,
    every: Nanos,
    next: Nanos,
}

impl Feeder {
    fn new(said: Sender<Nanos>, every: Nanos) -> Self {
        Self { said, every, next: Nanos(0) }
    }

    /// When it is to be called next.
    #[must_use]
    pub const fn deadline(&self) -> Nanos {
        self.next
    }

    /// All is well, if `may`. Neither waits nor allocates.
    pub fn feed(&mut self, now: Nanos, may: bool) {
        if now < self.next {
            return;
        }
        self.next = now.after(self.every);
        if may {
            // Where the one before was not taken yet, this one would come too late as well.
            let _ = self.said.try_send(now);
        }
    }
}

impl Watchdogs {
    /// What is configured and to be had: from now on it is to be fed. What is not is told. `overdue`: what the life before had to let go
    /// of should be gone by now.
    pub(super) fn open(options: &RunOptions, overdue: bool, journal: &Journal) -> Self {
        let (mut device, mut facts) = (None, None);
        if let Some(wanted) = &options.config.watchdog {
            let path = wanted.device.display().to_string();
            let timeout = match WatchdogDevice::open(&wanted.device, wanted.timeout, !overdue) {
                Ok((watchdog, adopted)) => {
                    let timeout_ns = watchdog.timeout();
                    journal.control(&ControlEvent::WatchdogRuns { device: path.clone(), timeout_ns, adopted });
                    device = Some(watchdog);
                    Ok(timeout_ns)
                }
                Err(error) => {
                    let why = why(&error);
                    journal.control(&ControlEvent::WatchdogMissing { device: path.clone(), why: why.clone() });
                    Err(why)
                }
            };
            // Opening it is as good as feeding it.
            let fed_ns = Arc::new(AtomicU64::new(clock::monotonic().0));
            facts = Some(WatchdogFacts { device: path, timeout, fed_ns });
        }
        let service = watchdog_enabled(false).map(|span| Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)));
        Self { device, facts, service }
    }

    /// What is shown of the host's.
    pub(super) fn facts(&self) -> Option<WatchdogFacts> {
        self.facts.clone()
    }

    /// The host is reset within so long after the pulse thread said for the last time that all is well; nothing without a device.
    pub(super) fn within(&self) -> Option<Nanos> {
        // What was said just before it stopped may be written as late as this.
        self.device.as_ref().map(|device| device.timeout().after(every(device.timeout())))
    }

    /// The thread that feeds them; it ends with the [`Feeder`]. None where there is nothing to feed.
    pub(super) fn start(self, priority: u8) -> Result<(Option<Feeder>, Option<JoinHandle<Self>>)> {
        let timeouts = [self.device.as_ref().map(WatchdogDevice::timeout), self.service];
        let Some(every) = timeouts.into_iter().flatten().min().map(every) else { return Ok((None, None)) };
        let (said, heard) = bounded(1);
        let thread = realtime::spawn("watchdog", priority, move || {
            self.serve(&heard, every);
            self
        })
        .context("the watchdog thread cannot begin")?;
        Ok((Some(Feeder::new(said, every)), Some(thread)))
    }

    fn serve(&self, heard: &Receiver<Nanos>, every: Nanos) {
        let mut failed = false;
        for at in heard {
            if clock::monotonic().since(at) >= every {
                continue;
            }
            match self.device.as_ref().map(WatchdogDevice::feed) {
                Some(Ok(())) => self.facts.iter().for_each(|facts| facts.fed_ns.store(clock::monotonic().0, Relaxed)),
                Some(Err(error)) if !std::mem::replace(&mut failed, true) => {
                    log::error!("the watchdog cannot be fed, and will reset this host: {error}");
                }
                _ => {}
            }
            if self.service.is_some() {
                tell_systemd(&[NotifyState::Watchdog]);
            }
        }
    }

    /// The agent ended in order, holding nothing: the host is not reset.
    pub(super) fn disarm(self) {
        if let Some(Err(error)) = self.device.map(WatchdogDevice::disarm) {
            log::error!("the watchdog cannot be stopped, and will reset this host: {error}");
        }
    }

    /// The agent ended, and could not let go of everything: the watchdog runs on.
    pub(super) fn leave(self, journal: &Journal) {
        if let Some(device) = self.device {
            let (timeout_ns, device) = (device.timeout(), device.path().display().to_string());
            journal.control(&ControlEvent::WatchdogLeft { device, timeout_ns });
        }
    }

    /// The next life feeds it: it is fed once more, and stays open.
    pub(super) fn hand_on(self) {
        let Some(device) = self.device else { return };
        if let Err(error) = device.feed().and_then(|()| device.hand_on()) {
            log::warn!("the watchdog cannot be handed on ({error}): the next life opens it anew");
        }
    }
}

fn every(timeout: Nanos) -> Nanos {
    Nanos(timeout.0 / OFTEN)
}

/// What the system says, and what it may mean.
fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "another program has it; right would be none but this agent (systemd has it where RuntimeWatchdogSec= is set)".to_owned()
        }
        Some(libc::ENOTTY) => "it is no watchdog; right would be one such as /dev/watchdog".to_owned(),
        Some(libc::ENOENT) => {
            "there is no such device; right would be one such as /dev/watchdog, whose driver is loaded \
                               (where the host has none: softdog)"
                .to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => format!("{error}; right would be an agent that runs as root"),
        Some(libc::EINVAL) => format!("{error}; right would be a timeout that this device can have"),
        _ => error.to_string(),
    }
}

/// How far the agent is, for systemd (sd_notify(3)); nobody waits for that.
pub(super) fn tell_systemd(states: &[NotifyState]) {
    if let Err(error) = notify(false, states) {
        log::debug!("systemd cannot be told: {error}");
    }
}

/// That a new life begins: systemd wants to know since when (Type=notify-reload).
pub(super) fn tell_systemd_of_reload() {
    let since = NotifyState::Other(format!("MONOTONIC_USEC={}", clock::monotonic().0 / 1_000));
    tell_systemd(&[NotifyState::Reloading, since]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Nanos = Nanos::from_millis;

    #[test]
    fn it_is_said_a_few_times_within_the_timeout_and_only_while_all_is_well() {
        let (said, heard) = bounded(1);
        let mut feeder = Feeder::new(said, MS(500));
        let mut fed = Vec::new();
        for ms in (1_000..3_000).step_by(100) {
            feeder.feed(MS(ms), ms < 2_000);
            fed.extend(heard.try_iter().map(|at| at.0 / 1_000_000));
            assert!(feeder.deadline() > MS(ms) && feeder.deadline() <= MS(ms + 500));
        }
        assert_eq!(fed, [1_000, 1_500]);
        // Nobody takes it: nobody waits.
        feeder.feed(MS(4_000), true);
        feeder.feed(MS(5_000), true);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [MS(4_000)]);
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        let said = |errno| why(&io::Error::from_raw_os_error(errno));
        assert!(said(libc::EBUSY).contains("another program") && said(libc::ENOTTY).contains("no watchdog"));
        assert!(said(libc::ENOENT).contains("softdog") && said(libc::EACCES).contains("as root"));
    }
}
