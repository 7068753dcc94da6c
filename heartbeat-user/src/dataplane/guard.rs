//! What the kernel is told for the time when the agent cannot decide.

use super::Tables;
use crate::types::Nanos;
use heartbeat_ebpf::guard::LATE;
use nix::{
    sys::stat::{major, minor, stat},
    unistd::gettid,
};
use std::io;

/// What the kernel is told once a life; the rest is told at each turn ([`super::drain::Mark`]).
#[derive(Clone, Copy, Debug)]
pub struct Instructions {
    /// Between two turns of the pulse thread there are no more than this.
    pub interval: Nanos,
    /// For so long the peer is asked to wait for an agent that died.
    pub grace: Nanos,
    /// Tells our list of names from others.
    pub names_digest: u32,
}

impl Instructions {
    /// Tells the kernel.
    pub fn give(&self, tables: &Tables) {
        let orders = &tables.kernel().orders;
        orders.late_ns.set(self.interval.times(LATE).0);
        orders.grace_ms.set(u64::from(u32::try_from(self.grace.0 / 1_000_000).unwrap_or(u32::MAX)));
        orders.names_digest.set(self.names_digest.into());
    }
}

/// From now on, the end of this thread is the agent's death.
///
/// # Errors
/// Where it is not known which pid namespace it is in: then a death shows as a silence only.
pub fn watch_this_thread(tables: &Tables) -> io::Result<()> {
    let namespace = stat("/proc/thread-self/ns/pid")?;
    let orders = &tables.kernel().orders;
    // As the kernel has it inside (linux/kdev_t.h, MKDEV), which is not as it shows it.
    let device = major(namespace.st_dev) << 20 | minor(namespace.st_dev);
    // The number last: nobody's end is looked for in the wrong namespace.
    orders.thread.set(0);
    let [of_device, of_inode] = &orders.namespace;
    of_device.set(device);
    of_inode.set(namespace.st_ino);
    orders.thread.set(u64::from(gettid().as_raw().unsigned_abs()));
    Ok(())
}
