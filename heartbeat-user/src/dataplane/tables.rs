//! The records that kernel and agent share, as memory: reading them costs no system call.

use super::pins;
use crate::types::ChannelIndex;
use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use heartbeat_ebpf::layout::{
    self, AgentCell, CHANNELS, Heard, Histogram, INTERFACES, KernelCell, MessageCell, Slot, map,
};
use nix::{
    fcntl::{FallocateFlags, fallocate},
    sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
    unistd::geteuid,
};
use std::{
    ffi::c_void,
    fs::{self, File, OpenOptions},
    num::NonZeroUsize,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// As many as there can be channels.
const SLOTS: usize = CHANNELS as usize;
/// Which slot each channel has, by the channel's index: a permutation.
pub type SlotOrder = [u8; SLOTS];
/// The order of the configuration file.
pub const IN_FILE_ORDER: SlotOrder = {
    let mut order = [0; SLOTS];
    let mut i = 0;
    while i < SLOTS {
        order[i] = i as u8;
        i += 1;
    }
    order
};

/// The agent's cell, the kernel's, and a slot and a histogram for each channel: the memory of the maps, of a file, or of this process
/// alone.
///
/// A channel keeps its slot over the lives of the agent by its name, wherever it stands in the configuration file: only
/// here it is known which.
#[derive(Clone)]
pub struct Tables {
    memory: Arc<Memory>,
    order: SlotOrder,
}

struct Memory {
    agent: Region<AgentCell>,
    kernel: Region<KernelCell>,
    slots: Region<Slot>,
    inter_arrival: Region<Histogram>,
    /// Where there is XDP.
    heard: Option<Region<Heard>>,
    /// The interfaces that a channel's frames come in at, by the channel's index: their indices, and zeroes.
    interfaces: [[AtomicU32; MEMBERS]; SLOTS],
}

/// The most interfaces of a channel that are watched for others.
const MEMBERS: usize = 9;

impl Tables {
    /// The memory of array maps that were made with `BPF_F_MMAPABLE`: agent, kernel, slots, histograms, who is heard.
    pub(super) fn of_maps([agent, kernel, slots, inter_arrival, heard]: [&MapData; 5]) -> Result<Self> {
        Ok(Self::of(
            Region::map(1, Some((agent.fd().as_fd(), 0))).context("mapping AGENT into memory")?,
            Region::map(1, Some((kernel.fd().as_fd(), 0))).context("mapping KERNEL into memory")?,
            Region::map(SLOTS, Some((slots.fd().as_fd(), 0))).context("mapping SLOTS into memory")?,
            Region::map(SLOTS, Some((inter_arrival.fd().as_fd(), 0))).context("mapping INTER_ARRIVAL into memory")?,
            Some(Region::map(INTERFACES as usize, Some((heard.fd().as_fd(), 0))).context("mapping HEARD into memory")?),
        ))
    }

    /// The memory of the maps that an agent has pinned; none where there are none that this version knows.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_pins(pin_folder: &Path) -> Result<Option<Self>> {
        let folder = pin_folder.join(format!("v{}", layout::VERSION));
        if !pins::all_adoptable(&folder) {
            return Ok(None);
        }
        let pinned =
            |name: &str| MapData::from_pin(folder.join(name)).with_context(|| format!("the pinned map {name}"));
        Ok(Some(Self::of(
            Region::map(1, Some((pinned(map::AGENT)?.fd().as_fd(), 0)))?,
            Region::map(1, Some((pinned(map::KERNEL)?.fd().as_fd(), 0)))?,
            Region::map(SLOTS, Some((pinned(map::SLOTS)?.fd().as_fd(), 0)))?,
            Region::map(SLOTS, Some((pinned(map::INTER_ARRIVAL)?.fd().as_fd(), 0)))?,
            None,
        )))
    }

    /// The same records, all zero, in memory of this process. Pages that are never touched cost nothing.
    ///
    /// # Errors
    /// Where the system has no memory to give.
    pub fn anonymous() -> Result<Self> {
        Ok(Self::of(
            Region::map(1, None).context("memory for cells")?,
            Region::map(1, None).context("memory for cells")?,
            Region::map(SLOTS, None).context("memory for slots")?,
            Region::map(SLOTS, None).context("memory for histograms")?,
            None,
        ))
    }

    /// The same records in a file, for hosts without XDP: what outlives the agent, not the host's boot. Also whether an
    /// earlier life's were there; of another version or boot, or of a size that it never had, they are not, and all are zero.
    ///
    /// The pulse thread writes there: the file is to be in a file system in memory, as /run is.
    ///
    /// # Errors
    /// Where the file cannot be made, is a link or somebody else's, or its file system is full.
    pub fn in_file(path: &Path) -> Result<(Self, bool)> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path);
        let file = open.with_context(|| format!("{}: cannot be opened", path.display()))?;
        let status = file.metadata().with_context(|| format!("{}: cannot be looked at", path.display()))?;
        ensure!(
            status.is_file() && status.uid() == geteuid().as_raw() && status.mode() & 0o077 == 0,
            "{}: is to be a file of our own with mode 0600; remove it",
            path.display()
        );
        let header = Header::now()?;
        // One of before the kernel's cell was in it gets one of zeroes, which is what a life of then had.
        let adopted = [FILE_LEN, KERNEL_AT as u64].contains(&status.len()) && Header::of(&file) == Some(header);
        if !adopted {
            file.set_len(0).with_context(|| format!("{}: cannot be emptied", path.display()))?;
        }
        if !adopted || status.len() != FILE_LEN {
            // What is not there when it is touched would end the agent (SIGBUS): so it is allocated now.
            fallocate(&file, FallocateFlags::empty(), 0, FILE_LEN as i64)
                .with_context(|| format!("{}: no room for {FILE_LEN} bytes", path.display()))?;
            file.write_all_at(&header.0, 0).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        let at = |offset| Some((file.as_fd(), offset));
        let tables = Self::of(
            Region::map(1, at(AGENT_AT)).context("mapping the agent's cell")?,
            // There is no program that would act on it; what the agent told it is the next life's to know all the same.
            Region::map(1, at(KERNEL_AT)).context("mapping the kernel's cell")?,
            Region::map(SLOTS, at(SLOTS_AT)).context("mapping slots")?,
            Region::map(SLOTS, at(INTER_ARRIVAL_AT)).context("mapping histograms")?,
            None,
        );
        Ok((tables, adopted))
    }

    fn of(
        agent: Region<AgentCell>,
        kernel: Region<KernelCell>,
        slots: Region<Slot>,
        inter_arrival: Region<Histogram>,
        heard: Option<Region<Heard>>,
    ) -> Self {
        let memory = Memory {
            agent,
            kernel,
            slots,
            inter_arrival,
            heard,
            interfaces: [const { [const { AtomicU32::new(0) }; MEMBERS] }; SLOTS],
        };
        Self { memory: Arc::new(memory), order: IN_FILE_ORDER }
    }

    /// Whether they are those of XDP programs.
    #[must_use]
    pub fn are_of_programs(&self) -> bool {
        self.memory.heard.is_some()
    }

    /// The interfaces that a channel's frames come in at.
    pub(super) fn set_interfaces(&self, channel: ChannelIndex, interfaces: &[u32]) {
        let indices = interfaces.iter().copied().chain(std::iter::repeat(0));
        for (to, index) in self.memory.interfaces[channel.usize()].iter().zip(indices) {
            to.store(index, Relaxed);
        }
    }

    /// The channels, a bit each, on whose networks a frame of somebody else than the peer came in since the last call: so
    /// they work towards us. Only where XDP sees them, and once a heartbeat has shown which frames are the peer's.
    #[must_use]
    pub fn third_parties(&self) -> u64 {
        let Some(heard) = &self.memory.heard else { return 0 };
        let notes = |channel: ChannelIndex| {
            let indices = self.memory.interfaces[channel.usize()].iter().map(|index| index.load(Relaxed));
            indices.take_while(|&index| index != 0).map(|index| &heard.records()[(index % INTERFACES) as usize])
        };
        let is_heard = |note: &Heard| note.others.get() != 0 && note.peer.get() != 0;
        let found = self.channels().filter(|&channel| notes(channel).any(is_heard));
        let bits = found.fold(0, |bits, channel| bits | channel.bit());
        // Channels may share an interface.
        self.channels().flat_map(notes).filter(|note| note.others.get() != 0).for_each(|note| note.others.set(0));
        bits
    }

    /// The same memory, where the channel of index `i` has slot `order[i]`.
    ///
    /// # Panics
    /// Where `order` is no permutation of 0..64: a programming error.
    #[must_use]
    pub fn arranged(&self, order: SlotOrder) -> Self {
        let all = order.iter().fold(0_u64, |bits, &slot| bits | 1_u64.checked_shl(slot.into()).unwrap_or(0));
        assert!(all == u64::MAX, "an order of slots names each once");
        Self { memory: Arc::clone(&self.memory), order }
    }

    /// The number of a channel's slot.
    #[must_use]
    pub const fn number(&self, channel: ChannelIndex) -> u8 {
        self.order[channel.0 as usize]
    }

    /// The agent's cell.
    #[must_use]
    pub fn agent(&self) -> &AgentCell {
        &self.memory.agent.records()[0]
    }

    /// The kernel's.
    #[must_use]
    pub fn kernel(&self) -> &KernelCell {
        &self.memory.kernel.records()[0]
    }

    /// What a channel received.
    #[must_use]
    pub fn slot(&self, channel: ChannelIndex) -> &Slot {
        &self.memory.slots.records()[usize::from(self.number(channel))]
    }

    /// Times between the heartbeats of a channel.
    #[must_use]
    pub fn inter_arrival(&self, channel: ChannelIndex) -> &Histogram {
        &self.memory.inter_arrival.records()[usize::from(self.number(channel))]
    }

    /// Every channel that there can be.
    pub fn channels(&self) -> impl Iterator<Item = ChannelIndex> + use<> {
        (0..CHANNELS as u8).map(ChannelIndex)
    }

    /// Forgets all that a channel received: its slot was another channel's. Nobody may be receiving on it.
    pub fn clear(&self, channel: ChannelIndex) {
        let number = usize::from(self.number(channel));
        self.memory.slots.clear(number);
        self.memory.inter_arrival.clear(number);
    }

    /// Makes records readable again that a writer has left odd; the channels that they are of. A program that is at work
    /// finishes within microseconds: only what is still the same after a pause was left by an agent that died while it
    /// wrote (as the reader of a socket).
    #[must_use]
    pub fn repair(&self) -> Vec<ChannelIndex> {
        const PAUSE: Duration = Duration::from_millis(20);
        let records =
            || self.channels().flat_map(|channel| self.slot(channel).records().map(|record| (channel, record)));
        let versions = || records().map(|(_, record)| record.version());
        let before: Vec<_> = versions().collect();
        if before.iter().all(|version| version & 1 == 0) {
            return Vec::new();
        }
        thread::sleep(PAUSE);
        let left_odd = |((_, record), before): &((ChannelIndex, &MessageCell), u64)| {
            *before & 1 == 1 && record.version() == *before
        };
        let repair = |((channel, record), _): ((ChannelIndex, &MessageCell), u64)| {
            record.repair();
            channel
        };
        records().zip(before).filter(left_odd).map(repair).collect()
    }
}

/// Regions of the file begin at multiples of the largest page that Linux has.
const PAGE: usize = 65_536;
pub(super) const AGENT_AT: usize = PAGE;
const SLOTS_AT: usize = AGENT_AT + size_of::<AgentCell>().next_multiple_of(PAGE);
const INTER_ARRIVAL_AT: usize = SLOTS_AT + (SLOTS * size_of::<Slot>()).next_multiple_of(PAGE);
pub(super) const KERNEL_AT: usize = INTER_ARRIVAL_AT + (SLOTS * size_of::<Histogram>()).next_multiple_of(PAGE);
const FILE_LEN: u64 = (KERNEL_AT + size_of::<KernelCell>().next_multiple_of(PAGE)) as u64;

/// What the file begins with: whose records these are, of which version, since which boot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Header([u8; Self::LEN]);

impl Header {
    const LEN: usize = 64;
    const MAGIC: [u8; 8] = *b"hbtables";

    /// That of a file that is written now.
    fn now() -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("no id of this boot")?;
        let mut header = [0; Self::LEN];
        header[..8].copy_from_slice(&Self::MAGIC);
        header[8..12].copy_from_slice(&layout::VERSION.to_le_bytes());
        for (to, from) in header[16..].iter_mut().zip(boot.trim().bytes()) {
            *to = from;
        }
        Ok(Self(header))
    }

    fn of(file: &File) -> Option<Self> {
        let mut header = [0; Self::LEN];
        file.read_exact_at(&mut header, 0).ok()?;
        Some(Self(header))
    }

    /// The version of the records in a file of this boot, whichever it is.
    pub(super) fn version_of(file: &File) -> Option<u32> {
        let (there, now) = (Self::of(file)?.0, Self::now().ok()?.0);
        (there[..8] == now[..8] && there[16..] == now[16..])
            .then(|| u32::from_le_bytes([there[8], there[9], there[10], there[11]]))
    }
}

/// Records that consist of atomics only and for which all zeroes are a value.
///
/// # Safety
/// Both must be true, and the size a multiple of eight bytes (the stride of array maps).
unsafe trait Shared {}
// SAFETY: `Word`s only, which are atomics.
unsafe impl Shared for AgentCell {}
// SAFETY: `Word`s, and padding that nobody writes.
unsafe impl Shared for KernelCell {}
// SAFETY: `Word`s, and padding that nobody writes.
unsafe impl Shared for Slot {}
// SAFETY: `Word`s only.
unsafe impl Shared for Histogram {}
// SAFETY: `Word`s only.
unsafe impl Shared for Heard {}

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
    /// Maps `records` records of a map or a file, from an offset on, or of fresh memory.
    fn map(records: usize, of: Option<(BorrowedFd<'_>, usize)>) -> Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
        let len = NonZeroUsize::new(records * size_of::<T>()).context("no records")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses: nobody else's memory is touched. The kernel rounds
        // both its and our size up to whole pages.
        let start = unsafe {
            match of {
                Some((fd, offset)) => mmap(None, len, access, MapFlags::MAP_SHARED, fd, offset as i64),
                None => mmap_anonymous(None, len, access, MapFlags::MAP_SHARED),
            }
        }?;
        Ok(Self { start: start.cast(), records })
    }

    /// Sets all words of a record to zero.
    fn clear(&self, record: usize) {
        assert!(record < self.records, "there is such a record");
        let words = self.start.as_ptr().wrapping_add(record).cast::<AtomicU64>();
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: a word within the record, which is made of words, those that nobody uses included.
            unsafe { (*words.wrapping_add(i)).store(0, Relaxed) };
        }
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

    const FIRST: ChannelIndex = ChannelIndex(0);
    const LAST: ChannelIndex = ChannelIndex(63);

    #[test]
    fn anonymous_tables_are_zero_and_shared_between_threads() {
        let tables = Tables::anonymous().unwrap();
        assert_eq!(tables.slot(LAST).counted(Outcome::Busy), 0);
        assert_eq!(tables.agent().incarnation.get(), 0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1000).for_each(|_| tables.slot(LAST).count(Outcome::Busy)));
            }
        });
        assert_eq!(tables.slot(LAST).counted(Outcome::Busy), 2000);
        assert_eq!(tables.slot(ChannelIndex(62)).counted(Outcome::Busy), 0);
    }

    #[test]
    fn a_channel_keeps_its_slot_wherever_it_stands_in_the_file() {
        let before = Tables::anonymous().unwrap();
        before.slot(FIRST).count(Outcome::Accepted);
        before.inter_arrival(FIRST).counts[7].set(3);
        let mut order = IN_FILE_ORDER;
        order.reverse();
        let now = before.arranged(order);
        assert_eq!((now.number(LAST), now.number(FIRST)), (0, 63));
        assert_eq!(now.slot(LAST).counted(Outcome::Accepted), 1);
        assert_eq!(now.inter_arrival(LAST).counts[7].get(), 3);
        assert_eq!(now.slot(FIRST).counted(Outcome::Accepted), 0);
        now.clear(LAST);
        assert_eq!(before.slot(FIRST).counted(Outcome::Accepted), 0);
        assert_eq!(before.inter_arrival(FIRST).counts[7].get(), 0);
    }

    #[test]
    #[should_panic(expected = "names each once")]
    fn an_order_that_gives_two_channels_one_slot_is_refused() {
        let _ = Tables::anonymous().unwrap().arranged([0; 64]);
    }

    #[test]
    fn tables_in_a_file_are_what_the_life_before_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables");
        let (tables, adopted) = Tables::in_file(&path).unwrap();
        assert!(!adopted);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        tables.agent().owned.set(5);
        tables.slot(LAST).count(Outcome::Accepted);
        tables.inter_arrival(LAST).counts[0].set(9);
        assert!(tables.slot(ChannelIndex(4)).live.lock());
        drop(tables);

        let (tables, adopted) = Tables::in_file(&path).unwrap();
        assert!(adopted);
        assert_eq!(tables.repair(), [ChannelIndex(4)]);
        assert!(tables.slot(ChannelIndex(4)).live.read().is_some());
        assert_eq!((tables.agent().owned.get(), tables.slot(LAST).counted(Outcome::Accepted)), (5, 1));
        assert_eq!(tables.inter_arrival(LAST).counts[0].get(), 9);
    }

    /// As it was before the kernel's cell was in it.
    #[test]
    fn a_file_without_the_kernels_cell_is_adopted_and_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables");
        let (tables, _) = Tables::in_file(&path).unwrap();
        tables.agent().owned.set(5);
        tables.kernel().heard_ns.set(9);
        drop(tables);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(KERNEL_AT as u64).unwrap();
        let (tables, adopted) = Tables::in_file(&path).unwrap();
        assert_eq!((adopted, tables.agent().owned.get(), tables.kernel().heard_ns.get()), (true, 5, 0));
        tables.kernel().heard_ns.set(7);
        drop(tables);
        let (tables, adopted) = Tables::in_file(&path).unwrap();
        assert_eq!((adopted, tables.agent().owned.get(), tables.kernel().heard_ns.get()), (true, 5, 7));
    }

    #[test]
    fn a_file_of_another_version_or_boot_or_of_no_length_of_ours_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables");
        let change = |at: u64| {
            let (tables, _) = Tables::in_file(&path).unwrap();
            tables.agent().owned.set(5);
            drop(tables);
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            let (tables, adopted) = Tables::in_file(&path).unwrap();
            assert_eq!((adopted, tables.agent().owned.get()), (false, 0), "byte {at}");
        };
        for at in [0, 8, 16, 51] {
            change(at);
        }
        let (tables, _) = Tables::in_file(&path).unwrap();
        tables.agent().owned.set(5);
        drop(tables);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(FILE_LEN - 1).unwrap();
        let (tables, adopted) = Tables::in_file(&path).unwrap();
        assert_eq!((adopted, tables.agent().owned.get()), (false, 0));
    }

    #[test]
    fn a_file_that_somebody_else_could_have_put_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("tables"), folder.path().join("other"));
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Tables::in_file(&path).is_err());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(format!("{:#}", Tables::in_file(&path).err().unwrap()).contains("mode 0600"));
        assert_eq!(fs::read(&other).unwrap(), b"");
    }
}
