//! Ends a process with all that descends from it: also what has a session of its own, as whatever an agent talks to over a
//! terminal has, and so is in another process group. Only what was left to itself (its parent ended before) is not found.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::{collections::BTreeMap, fs, os::fd::OwnedFd};

/// Rounds of looking for what was started while we looked.
const ROUNDS: usize = 8;

/// A process that we started and have not waited for, and leads a process group.
#[derive(Debug)]
pub(super) struct Tree {
    root: Pid,
    /// Its descendants, as far as they were looked for. Descriptors, not numbers: a number may be another's meanwhile.
    found: BTreeMap<i32, OwnedFd>,
}

impl Tree {
    pub(super) const fn new(root: Pid) -> Self {
        Self { root, found: BTreeMap::new() }
    }

    /// Asks the process group to end, and notes who would be left alone by that.
    pub(super) fn terminate(&mut self) {
        self.look();
        let _ = killpg(self.root, Signal::SIGTERM);
    }

    /// Ends all of it at once. Each is stopped first: whoever is stopped starts nothing more, and its children stay its own.
    pub(super) fn kill(&mut self) {
        let _ = killpg(self.root, Signal::SIGSTOP);
        for _ in 0..ROUNDS {
            if !self.look() {
                break;
            }
            self.signal(rustix::process::Signal::STOP);
        }
        let _ = killpg(self.root, Signal::SIGKILL);
        self.signal(rustix::process::Signal::KILL);
    }

    /// Whether there are descendants that were not known yet.
    fn look(&mut self) -> bool {
        let before = self.found.len();
        let parents = parents();
        let mut within: Vec<i32> = vec![self.root.as_raw()];
        within.extend(self.found.keys());
        let mut at = 0;
        while let Some(&parent) = within.get(at) {
            at += 1;
            for (&child, _) in parents.iter().filter(|(_, of)| **of == parent) {
                if within.contains(&child) {
                    continue;
                }
                within.push(child);
                let opened =
                    rustix::process::Pid::from_raw(child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                // Still the one that was seen.
                if let Some(fd) = opened.filter(|_| parent_of(child) == Some(parent)) {
                    self.found.insert(child, fd);
                }
            }
        }
        self.found.len() > before
    }

    fn signal(&self, signal: rustix::process::Signal) {
        for fd in self.found.values() {
            let _ = pidfd_send_signal(fd, signal);
        }
    }
}

/// The parent of each process of this host.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect()
}

/// proc_pid_stat(5): `PID (NAME) STATE PPID ...`; a name may have anything in it.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
