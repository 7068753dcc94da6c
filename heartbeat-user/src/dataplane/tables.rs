//! The records that kernel and agent share, as memory: reading them costs no system call.

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use heartbeat_ebpf::layout::{Agent, CHANNELS, Histogram, Slot};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::{
    ffi::c_void,
    num::NonZeroUsize,
    os::fd::{AsFd as _, BorrowedFd},
    ptr::NonNull,
};

/// The agent's cell, and a slot and a histogram for each channel: the memory of the maps, or of this process alone on
/// hosts without BPF.
pub struct Tables {
    agent: Region<Agent>,
    slots: Region<Slot>,
    inter_arrival: Region<Histogram>,
}

impl Tables {
    /// The memory of three array maps that were made with `BPF_F_MMAPABLE`.
    pub(super) fn of_maps(agent: &MapData, slots: &MapData, inter_arrival: &MapData) -> Result<Self> {
        Ok(Self {
            agent: Region::map(1, Some(agent.fd().as_fd())).context("mapping AGENT into memory")?,
            slots: Region::map(CHANNELS as usize, Some(slots.fd().as_fd())).context("mapping SLOTS into memory")?,
            inter_arrival: Region::map(CHANNELS as usize, Some(inter_arrival.fd().as_fd()))
                .context("mapping INTER_ARRIVAL into memory")?,
        })
    }

    /// The same records, all zero, in memory of this process. Pages that are never touched cost nothing.
    ///
    /// # Errors
    /// Where the system has no memory to give.
    pub fn anonymous() -> Result<Self> {
        Ok(Self {
            agent: Region::map(1, None).context("memory for the agent's cell")?,
            slots: Region::map(CHANNELS as usize, None).context("memory for slots")?,
            inter_arrival: Region::map(CHANNELS as usize, None).context("memory for histograms")?,
        })
    }

    /// The agent's cell.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent.records()[0]
    }

    /// What each channel received, by its index.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        self.slots.records()
    }

    /// Times between the heartbeats of each channel, by its index.
    #[must_use]
    pub fn inter_arrival(&self) -> &[Histogram] {
        self.inter_arrival.records()
    }
}

/// Records that consist of atomics only and for which all zeroes are a value.
///
/// # Safety
/// Both must be true, and the size a multiple of eight bytes (the stride of array maps).
unsafe trait Shared {}
// SAFETY: `Word`s only, which are atomics.
unsafe impl Shared for Agent {}
// SAFETY: `Word`s, and padding that nobody writes.
unsafe impl Shared for Slot {}
// SAFETY: `Word`s only.
unsafe impl Shared for Histogram {}

/// A row of records in memory that others may write at any time.
struct Region<T> {
    start: NonNull<T>,
    records: usize,
}

// SAFETY: the memory belongs to the region until it is dropped, whichever thread that happens in.
unsafe impl<T: Shared> Send for Region<T> {}
// SAFETY: all fields are atomics: any number of threads, and the kernel, may read and write them at once.
unsafe impl<T: Shared> Sync for Region<T> {}

impl<T: Shared> Region<T> {
    /// Maps `records` records of a map, or of fresh memory.
    fn map(records: usize, map: Option<BorrowedFd<'_>>) -> Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
        let len = NonZeroUsize::new(records * size_of::<T>()).context("no records")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses: nobody else's memory is touched. The kernel rounds
        // both its and our size up to whole pages.
        let start = unsafe {
            match map {
                Some(fd) => mmap(None, len, access, MapFlags::MAP_SHARED, fd, 0),
                None => mmap_anonymous(None, len, access, MapFlags::MAP_SHARED),
            }
        }?;
        Ok(Self { start: start.cast(), records })
    }

    fn records(&self) -> &[T] {
        // SAFETY: `map` asked for this many records; they start on a page, are valid as zeroes, and are atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.records) }
    }
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives the region.
        let unmapped = unsafe { munmap(self.start.cast::<c_void>(), self.records * size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_ebpf::layout::Outcome;

    #[test]
    fn anonymous_tables_are_zero_and_shared_between_threads() {
        let tables = Tables::anonymous().unwrap();
        assert_eq!((tables.slots().len(), tables.inter_arrival().len()), (64, 64));
        assert_eq!(tables.slots()[63].counted(Outcome::Busy), 0);
        assert_eq!(tables.agent().incarnation.get(), 0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1000).for_each(|_| tables.slots()[63].count(Outcome::Busy)));
            }
        });
        assert_eq!(tables.slots()[63].counted(Outcome::Busy), 2000);
        assert_eq!(tables.slots()[62].counted(Outcome::Busy), 0);
    }
}
