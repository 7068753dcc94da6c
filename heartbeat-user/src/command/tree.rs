//! Ends processes with all that descends from them, and knows when the last of them is gone: one that was killed while it waits for
//! a disk goes on until the disk answers, and so does what it is doing there.
//!
//! What belongs to a command: what descends from it, whatever session it is in, as whatever an agent talks to over a terminal has one
//! of its own; and its process group. What was left to itself in a session of its own (its parent ended before) is not found by that,
//! but by a mark in its environment, where it was given one.

use super::MARK;
use crate::system::bell;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};
use tokio::time::sleep;

/// Rounds of looking for what was started while we looked.
const ROUNDS: usize = 8;
/// Of an environment. execve(2) takes at most 6 MiB of it; a process may say of itself that it has more.
const MOST: u64 = 8 << 20;
/// From one look to the next, where the kernel cannot tell us.
const AGAIN: Duration = Duration::from_millis(20);

/// By what processes are known to belong together.
#[derive(Debug)]
enum Of {
    /// A child of ours that leads a process group. It is not looked for once it was waited for: its number may be another's then.
    Child(Pid),
    /// They have this mark in their environment.
    Mark(String),
}

/// Processes that are to end together.
#[derive(Debug)]
pub(super) struct Tree {
    of: Of,
    /// Those that were found. Descriptors, not numbers: a number may be another's meanwhile.
    found: BTreeMap<i32, OwnedFd>,
}

/// Whose child a process is, and in which process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kin {
    parent: i32,
    group: i32,
}

impl Tree {
    /// Of a process that we started and have not waited for, and that leads a process group.
    pub(super) const fn new(root: Pid) -> Self {
        Self { of: Of::Child(root), found: BTreeMap::new() }
    }

    /// Of all that have this mark.
    pub(super) const fn marked(mark: String) -> Self {
        Self { of: Of::Mark(mark), found: BTreeMap::new() }
    }

    /// Asks the process group to end, and notes who would be left alone by that.
    pub(super) fn terminate(&mut self) {
        self.look();
        self.signal_group(Signal::SIGTERM);
    }

    /// Ends all of it at once. Each is stopped first.
    pub(super) fn kill(&mut self) {
        self.stop();
        self.signal_group(Signal::SIGKILL);
        self.signal(rustix::process::Signal::KILL);
    }

    /// Stops all of it: whoever is stopped starts nothing more, and its children stay its own.
    pub(super) fn stop(&mut self) {
        self.signal_group(Signal::SIGSTOP);
        for _ in 0..ROUNDS {
            if !self.look() {
                break;
            }
            self.signal(rustix::process::Signal::STOP);
        }
    }

    /// Those that are not gone yet.
    pub(super) fn there(&self) -> Vec<i32> {
        self.found.iter().filter(|(_, fd)| !is_gone(fd, Duration::ZERO)).map(|(pid, _)| *pid).collect()
    }

    /// Waits until all of them are gone.
    pub(super) async fn gone(&self) {
        for fd in self.found.values() {
            // pidfd_open(2): it can be read once the process has ended.
            if let Ok(end) = bell::watch(fd.as_fd()) {
                let _ = end.readable().await;
            }
            while !is_gone(fd, Duration::ZERO) {
                sleep(AGAIN).await;
            }
        }
    }

    /// The same here and now, for each of them at most so long; whether they are.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        self.found.values().all(|fd| is_gone(fd, patience))
    }

    /// Whether there are some that were not known yet.
    fn look(&mut self) -> bool {
        // The number of one that is gone may be another's; of one that goes from here on, the children are still its own below.
        let there = self.there();
        let all = processes();
        let root = match self.of {
            Of::Child(root) => Some(root.as_raw()),
            Of::Mark(_) => None,
        };
        let mut within: BTreeSet<i32> = there.iter().copied().chain(root).collect();
        within.extend(all.keys().filter(|pid| self.has_mark(**pid)));
        let within = with_descent(&all, within, root, std::process::id().cast_signed());
        let mut new = false;
        for pid in within.into_iter().filter(|pid| Some(*pid) != root && !there.contains(pid)) {
            let opened = rustix::process::Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // Still the one that was seen.
            if let Some(fd) = opened.filter(|_| kin_of(pid).is_some() && kin_of(pid) == all.get(&pid).copied()) {
                self.found.insert(pid, fd);
                new = true;
            }
        }
        new
    }

    fn has_mark(&self, pid: i32) -> bool {
        let Of::Mark(mark) = &self.of else { return false };
        let wanted = format!("{MARK}={mark}");
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{pid}/environ")).and_then(|file| file.take(MOST).read_to_end(&mut text));
        read.is_ok() && text.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        for fd in self.found.values() {
            let _ = pidfd_send_signal(fd, signal);
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Of::Child(root) = self.of {
            let _ = killpg(root, signal);
        }
    }
}

fn is_gone(fd: &OwnedFd, patience: Duration) -> bool {
    let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

/// These, what descends from them, and this process group with what descends from it. But never `us`: whoever ends what is marked may
/// have been started by one of them, and is not to stop itself.
fn with_descent(all: &BTreeMap<i32, Kin>, mut within: BTreeSet<i32>, group: Option<i32>, us: i32) -> BTreeSet<i32> {
    within.remove(&us);
    loop {
        let belongs = |kin: &Kin| within.contains(&kin.parent) || Some(kin.group) == group;
        let more = all.iter().filter(|(pid, kin)| **pid != us && !within.contains(pid) && belongs(kin));
        let more: Vec<_> = more.map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            return within;
        }
        within.extend(more);
    }
}

/// All of this host.
fn processes() -> BTreeMap<i32, Kin> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, kin_of(pid)?))).collect()
}

/// proc_pid_stat(5): `PID (NAME) STATE PPID PGRP ...`; a name may have anything in it.
fn kin_of(pid: i32) -> Option<Kin> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some(Kin { parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hook that starts an agent, or `heartbeat let-go`, while it is on record itself.
    #[test]
    fn whoever_ends_what_is_marked_does_not_end_itself_nor_what_it_started() {
        let all = [(10, 1), (11, 10), (20, 10), (21, 20), (30, 1)];
        let all = all.map(|(pid, parent)| (pid, Kin { parent, group: 10 })).into();
        let marked = BTreeSet::from([10, 20]);
        assert_eq!(with_descent(&all, marked, None, 20), BTreeSet::from([10, 11]));
        assert_eq!(with_descent(&all, BTreeSet::from([10]), Some(10), 20), BTreeSet::from([10, 11, 21, 30]));
    }
}
