//! However an agent ends, its host's kernel says so to the peer: by a fault of its own, or by the kernel for want of memory.

use super::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

/// A cgroup with next to no memory for what its processes ask for from now on; gone with this.
struct Starving(PathBuf);

impl Starving {
    const MEMORY: &'static str = "262144";

    /// Of version 2 where that has memory to give, else of version 1.
    fn new(lab: &Lab) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let has_v2 = fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|list| list.contains("memory"));
        let (folder, limit) = if has_v2 {
            fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
            (root.to_owned(), "memory.max")
        } else {
            (root.join("memory"), "memory.limit_in_bytes")
        };
        let folder = folder.join(format!("heartbeat-{}", lab.id()));
        fs::create_dir(&folder).expect("a cgroup with memory, of version 2 or 1, below /sys/fs/cgroup");
        fs::write(folder.join(limit), Self::MEMORY).unwrap();
        Self(folder)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        let removed = until("its last process is gone", || Ok(fs::remove_dir(&self.0).ok()));
        assert!(removed.is_ok() || std::thread::panicking(), "{} is left", self.0.display());
    }
}

/// As by a fault: the first one takes the handler away that looks for an overflown stack, and a fault comes again.
fn signalled(lab: &Lab, signal: Signal) -> Signal {
    until("it ends", || {
        if let Some(pid) = lab.pid(A) {
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
        }
        Ok(lab.exit_status(A))
    })
    .unwrap();
    signal
}

/// Reading a file takes more memory than there is.
fn starve(lab: &Lab, cgroup: &Starving) -> Signal {
    cgroup.take(lab.pid(A).unwrap());
    lab.configure_text(A, &format!("#{}\n[pair]\nid = \"seven\"\n", "x".repeat(900_000))).unwrap();
    lab.reload(A).unwrap();
    Signal::SIGKILL
}

#[test]
fn an_agent_that_ends_by_a_fault_or_for_want_of_memory_leaves_the_mark_of_a_killed_one() {
    undisturbed(|| {
        for what in ["SIGSEGV", "SIGBUS", "out of memory"] {
            let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
            let cgroup = Starving::new(&lab);
            let (mark, ended) = (lab.mark(B), realtime_ns());
            let signal = match what {
                "SIGSEGV" => signalled(&lab, Signal::SIGSEGV),
                "SIGBUS" => signalled(&lab, Signal::SIGBUS),
                _ => starve(&lab, &cgroup),
            };
            let status = lab.wait_exit(A, SOON).unwrap();
            assert_eq!(status.signal(), Some(signal as i32), "{what}: {status}");
            lab.wait_event_since(B, mark, |line| line.is("peer_died"), SOON)
                .unwrap_or_else(|error| panic!("{what}: {error:#}"));
            wait(&lab, B, mark, "group_acquired", "storage-a");
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, ended, what);
        }
    });
}
