//! What earlier lives of the agent left behind, whichever version, mode or runtime directory they had: what they held, so
//! that it can be resumed or let go of, and programs that go on consuming heartbeats which somebody else is to read.
//!
//! Who calls this has made sure that no other agent speaks for this controller: the UDP port was free.

use super::{
    bpf_link,
    interface::{self, Holder},
    pins::{LINK, ROOT, below, entries, unpin},
    silence,
    tables::{AGENT_AT, Header, KERNEL_AT, Tables},
};
use crate::system::netlink;
use anyhow::{Context as _, Result};
use aya::maps::MapData;
use heartbeat_ebpf::layout::{self, AgentCell, KernelCell, map};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::{
    fs::OpenOptions,
    mem::offset_of,
    num::NonZeroUsize,
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Words of the cell in the second version of the records, with which all later ones begin: incarnation, the peer's, last sign of
/// life, groups owned, term.
const SECOND: usize = 5;
/// In the third: hooks, the peer's flags, what it kept.
const THIRD: usize = 8;
const WORDS: usize = size_of::<AgentCell>() / 8;
/// Of the kernel's cell: closed groups, when the peer was heard, who died, when; and what it was told, until [`SERVE_UNTIL`].
const KERNEL_WORDS: usize = SERVE_UNTIL + 1;
const FIRST_OF_KERNEL: usize = 4;
const LIMITED: usize = offset_of!(KernelCell, orders.limited) / 8;
const SERVE_UNTIL: usize = offset_of!(KernelCell, orders.serve_until_ns) / 8;
const _: () = assert!(LIMITED < SERVE_UNTIL);

/// The agent's cell as an earlier life left it, in pinned maps or in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedCell {
    /// The version of the records that it is of.
    pub version: u32,
    words: [u64; WORDS],
    /// The first of the kernel's cell beside it; what its version did not have is 0.
    kernel: [u64; KERNEL_WORDS],
}

impl PinnedCell {
    /// The one in a folder of pins ([`super::pin_folder`]): of several versions, the one that lived last. To be called
    /// before [`super::Kernel::open`], which removes other versions. None where there is none that can be understood.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let version = |path: PathBuf| {
            let version = path.file_name()?.to_str()?.strip_prefix('v')?.parse().ok()?;
            Some((path, version))
        };
        let folders = entries(folder).ok()?.into_iter().filter_map(version);
        let cells = folders.filter_map(|(path, version)| {
            let cell = Self::of(version, &words_of_map(&path.join(map::AGENT)).ok()?)?;
            Some(cell.beside(&words_of_map(&path.join(map::KERNEL)).unwrap_or_default()))
        });
        cells.max_by_key(Self::alive_ns)
    }

    /// The one in a file of tables ([`super::Tables::in_file`]), which may be of another version, but not of another boot.
    #[must_use]
    pub fn read_file(path: &Path) -> Option<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
        let version = Header::version_of(&file)?;
        let read = |words, at: usize| {
            let mut bytes = vec![0; words * 8];
            file.read_exact_at(&mut bytes, at as u64).ok()?;
            Some(bytes.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_ne_bytes)).collect::<Vec<_>>())
        };
        let cell = Self::of(version, &read(WORDS, AGENT_AT)?)?;
        // Versions before this one had something else there, or nothing.
        let kernel = read(KERNEL_WORDS, KERNEL_AT).filter(|_| version == layout::VERSION);
        Some(cell.beside(&kernel.unwrap_or_default()))
    }

    /// What a life left in these tables; none where no agent has run.
    #[must_use]
    pub fn of_tables(tables: &Tables) -> Option<Self> {
        let (agent, kernel) = (tables.agent(), tables.kernel());
        let (agent, kernel) = (words(agent), words(kernel));
        let get = |word: &AtomicU64| word.load(Relaxed);
        let cell = Self::of(layout::VERSION, &agent.iter().map(get).collect::<Vec<_>>())?;
        Some(cell.beside(&kernel.iter().take(KERNEL_WORDS).map(get).collect::<Vec<_>>()))
    }

    /// Of another version's, only the first words mean the same.
    fn beside(self, kernel: &[u64]) -> Self {
        let known = if self.version == layout::VERSION { KERNEL_WORDS } else { FIRST_OF_KERNEL };
        let word = |i| kernel.get(i).copied().filter(|_| i < known).unwrap_or(0);
        Self { kernel: std::array::from_fn(word), ..self }
    }

    /// None where no agent has run.
    fn of(version: u32, from: &[u64]) -> Option<Self> {
        let known = match version {
            layout::VERSION => WORDS,
            3 => THIRD,
            2 => SECOND,
            _ => return None,
        };
        let mut words = [0; WORDS];
        words[..known].copy_from_slice(from.get(..known)?);
        (words[0] != 0).then_some(Self { version, words, kernel: [0; KERNEL_WORDS] })
    }

    /// For tests: one of nothing but that; none where no such version is understood.
    #[cfg(test)]
    pub(crate) fn sample(version: u32, incarnation: u64, alive_ns: u64) -> Option<Self> {
        let mut words = [0; WORDS];
        (words[0], words[2]) = (incarnation, alive_ns);
        Self::of(version, &words)
    }

    /// Its incarnation.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.words[0]
    }

    /// The peer's that it was paired with; 0 before.
    #[must_use]
    pub const fn peer_incarnation(&self) -> u64 {
        self.words[1]
    }

    /// Its last sign of life, on CLOCK_MONOTONIC of this boot.
    #[must_use]
    pub const fn alive_ns(&self) -> u64 {
        self.words[2]
    }

    /// The groups that it held.
    #[must_use]
    pub const fn owned(&self) -> u64 {
        self.words[3]
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.words[4]
    }

    /// The groups whose hooks may have left something in use; of a version before, none is known.
    #[must_use]
    pub const fn hooked(&self) -> u64 {
        self.words[5]
    }

    /// The flags that the peer said last.
    #[must_use]
    pub const fn peer_flags(&self) -> u64 {
        self.words[6]
    }

    /// The groups that the peer could not let go of when it left.
    #[must_use]
    pub const fn peer_kept(&self) -> u64 {
        self.words[7]
    }

    /// Since when, by the peer's count, exclusive groups had been to be let go of; 0: none were.
    #[must_use]
    pub const fn letting_go_ns(&self) -> u64 {
        self.words[8]
    }

    /// The groups that were here by an operator's order, whatever the silent peer had.
    #[must_use]
    pub const fn forced(&self) -> u64 {
        self.words[9]
    }

    /// When the silent peer had been fenced; 0: it was not.
    #[must_use]
    pub const fn fenced_ns(&self) -> u64 {
        self.words[10]
    }

    /// The groups that the kernel keeps silent about, by the order of the file that it was of.
    #[must_use]
    pub const fn closed(&self) -> u64 {
        self.kernel[0]
    }

    /// When the peer was heard last, on CLOCK_MONOTONIC of this boot; 0: never.
    #[must_use]
    pub const fn heard_ns(&self) -> u64 {
        self.kernel[1]
    }

    /// The groups that might be served until [`Self::serve_until_ns`] only.
    #[must_use]
    pub const fn limited(&self) -> u64 {
        self.kernel[LIMITED]
    }

    /// Until when they might, on CLOCK_MONOTONIC of this boot; 0: for ever.
    #[must_use]
    pub const fn serve_until_ns(&self) -> u64 {
        self.kernel[SERVE_UNTIL]
    }

    /// When the agent that it is of died, on CLOCK_MONOTONIC of this boot; none where that was not noted.
    #[must_use]
    pub const fn died_ns(&self) -> Option<u64> {
        if self.kernel[2] == self.words[0] { Some(self.kernel[3]) } else { None }
    }

    /// Puts it into other tables, as where the life that follows reads its channels another way: what its version did not have
    /// is 0, and of what the kernel was told only what might be served for a while, and until when. By the incarnation it is known,
    /// which comes last.
    pub fn restore(&self, tables: &Tables) {
        for i in (0..FIRST_OF_KERNEL).chain([LIMITED, SERVE_UNTIL]) {
            words(tables.kernel())[i].store(self.kernel[i], Relaxed);
        }
        words(tables.agent()).iter().zip(self.words).rev().for_each(|(to, word)| to.store(word, Relaxed));
    }

    /// What programs learnt of it after it was read, where these tables have it by then: nothing that they closed is opened.
    pub fn learn_from(&self, programs: &Tables, tables: &Tables) {
        if let Some(now) = Self::of_tables(programs).filter(|now| now.incarnation() == self.incarnation()) {
            let kernel = tables.kernel();
            kernel.closed.set_bits(now.closed());
            kernel.heard_ns.set(kernel.heard_ns.get().max(now.heard_ns()));
        }
    }

    /// Whether these tables have it.
    #[must_use]
    pub fn is_in(&self, tables: &Tables) -> bool {
        tables.agent().incarnation.get() == self.incarnation()
    }
}

/// The words that a cell is made of.
fn words<T: Cell>(cell: &T) -> &[AtomicU64] {
    // SAFETY: a cell is made of aligned words and nothing else, which are atomic or never written.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(cell).cast(), size_of::<T>() / 8) }
}

/// What is made of `Word`s only, and of zeroes.
trait Cell {}
impl Cell for AgentCell {}
impl Cell for KernelCell {}

/// The first value of a pinned array map of any value size, as words. The map is never written.
fn words_of_map(pin: &Path) -> Result<Vec<u64>> {
    // By its pin, not by its number: only CAP_SYS_ADMIN may ask for that, which a unit need not grant.
    let data = MapData::from_pin(pin)?;
    let len = NonZeroUsize::new(data.info()?.value_size() as usize & !7).context("no whole word")?;
    let fd = data.fd().as_fd();
    // SAFETY: a new mapping at a place that the kernel chooses, which refuses maps that cannot be mapped or are smaller;
    // read as words of any value, then gone.
    unsafe {
        let start = mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, 0)?;
        let words = (0..len.get() / 8).map(|i| start.cast::<u64>().add(i).read_volatile()).collect();
        munmap(start, len.get())?;
        Ok(words)
    }
}

/// Detaches the program that an earlier life left on `interface`, whatever runtime directory it had. What is attached there
/// then is somebody else's: in words, for whom it may concern. To be called before an interface is read by its socket.
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn release(interface: &str) -> Result<Option<String>> {
    let Some(ifindex) = netlink::index_of(interface)? else { return Ok(None) };
    silence::release(interface, ifindex);
    Ok(release_below(Path::new(ROOT), ifindex)?.map(|holder| held_by(interface, &holder)))
}

/// The same of an index, for pins below `root`: who holds it now.
pub(super) fn release_below(root: &Path, ifindex: u32) -> Result<Option<Holder>> {
    let Some(holder) = interface::holder(ifindex)? else { return Ok(None) };
    for pin in below(root, LINK) {
        // Another namespace has an interface of the same index, perhaps with another agent: but not with this program.
        if bpf_link::joined(&pin).is_ok_and(|of| of.ifindex == ifindex && of.program == holder.program_id) {
            unpin(&pin);
            return interface::holder(ifindex);
        }
    }
    Ok(Some(holder))
}

pub(super) fn held_by(interface: &str, holder: &Holder) -> String {
    format!("{interface} holds another XDP program, {holder}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cell_of_a_version_before_is_understood_and_of_a_later_one_is_not() {
        let words = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let before = PinnedCell::of(2, &words).unwrap();
        assert_eq!((before.incarnation(), before.peer_incarnation(), before.alive_ns()), (1, 2, 3));
        assert_eq!((before.owned(), before.term()), (4, 5));
        assert_eq!([before.hooked(), before.peer_flags(), before.peer_kept()], [0; 3], "it had none of these");
        let third = PinnedCell::of(3, &words[..8]).unwrap();
        assert_eq!([third.hooked(), third.peer_kept(), third.letting_go_ns()], [6, 8, 0]);
        let own = PinnedCell::of(layout::VERSION, &words).unwrap();
        assert_eq!([own.letting_go_ns(), own.forced(), own.fenced_ns()], [9, 10, 11]);
        let kernel: Vec<u64> = (0..KERNEL_WORDS as u64).map(|word| word + 20).collect();
        let (before, own) = (before.beside(&kernel), own.beside(&kernel));
        assert_eq!(
            (before.closed(), before.heard_ns(), before.serve_until_ns()),
            (20, 21, 0),
            "what follows was other words"
        );
        assert_eq!((own.closed(), own.heard_ns(), own.serve_until_ns()), (20, 21, kernel[SERVE_UNTIL]));
        assert_eq!(PinnedCell::of(layout::VERSION + 1, &words), None);
        assert_eq!(PinnedCell::of(1, &words), None);
        assert_eq!(PinnedCell::of(2, &words[..4]), None);
        assert_eq!(PinnedCell::of(2, &[0; 11]), None, "no agent has run");
    }

    #[test]
    fn the_cell_in_a_file_can_be_put_into_another_cell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables");
        assert_eq!(PinnedCell::read_file(&path), None);
        let (tables, _) = Tables::in_file(&path).unwrap();
        assert_eq!(PinnedCell::read_file(&path), None);
        tables.agent().incarnation.set(9);
        tables.agent().owned.set(3);
        tables.agent().term.set(77);
        tables.kernel().heard_ns.set(5);
        tables.kernel().orders.limited.set(1);
        tables.kernel().orders.serve_until_ns.set(8);
        let cell = PinnedCell::read_file(&path).unwrap();
        assert_eq!((cell.heard_ns(), cell.serve_until_ns()), (5, 8));
        drop(tables);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(KERNEL_AT as u64).unwrap();
        let short = PinnedCell::read_file(&path).unwrap();
        assert_eq!(
            (short.owned(), short.heard_ns(), short.serve_until_ns()),
            (3, 0, 0),
            "of before it was in the file"
        );
        assert_eq!((cell.version, cell.incarnation(), cell.owned(), cell.term()), (layout::VERSION, 9, 3, 77));
        let other = Tables::anonymous().unwrap();
        cell.restore(&other);
        assert!(cell.is_in(&other));
        assert_eq!(
            PinnedCell::of_tables(&other),
            Some(cell),
            "before a life has had a turn, the next one finds the same"
        );
        // Programs went on until they were taken away.
        let programs = Tables::anonymous().unwrap();
        cell.restore(&programs);
        programs.kernel().closed.set(0b10);
        programs.kernel().heard_ns.set(6);
        cell.learn_from(&programs, &other);
        assert_eq!((other.kernel().closed.get(), other.kernel().heard_ns.get()), (0b10, 6));
        programs.kernel().closed.set(0b110);
        programs.agent().incarnation.set(8);
        cell.learn_from(&programs, &other);
        assert_eq!(other.kernel().closed.get(), 0b10, "of another life");
    }
}
