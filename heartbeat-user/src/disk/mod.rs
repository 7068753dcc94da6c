//! A disk that both controllers have, and what stands where on it: an arbiter's lease and a channel's heartbeats may share one.
//!
//! ```text
//! block 0    block 1    block 2    block 3         block 4             of 4096 bytes each, from the disk's first byte
//! +--------+ +--------+ +--------+ +-------------+ +-------------+
//! | whose  | | lease, | | lease, | | heartbeats, | | heartbeats, |    each written by that controller alone
//! | it is  | | a      | | b      | | a           | | b           |
//! +--------+ +--------+ +--------+ +-------------+ +-------------+
//! ```
//! Nothing is written on a disk that does not say in block 0 that it is this pair's; `heartbeat arbiter --prepare` makes it so.
//! Reads and writes go past every cache of ours (O_DIRECT, O_DSYNC): what is read is what is there, and what was written is there.
//! Any of them may never return: they are for threads that nobody waits for.

#![forbid(unsafe_code)]

mod block;

pub use block::{BLOCK, Block, Damage, Header, MOST};

use crate::types::{Nanos, Node};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The blocks that are used.
const BLOCKS: usize = 5;
/// So many bytes of the disk are used, from its first one.
pub const USED_BYTES: usize = BLOCKS * BLOCK;

/// The block of a controller's lease.
#[must_use]
pub const fn lease(node: Node) -> u64 {
    1 + node.wire() as u64
}

/// The block of a controller's heartbeats.
#[must_use]
pub const fn heartbeats(node: Node) -> u64 {
    3 + node.wire() as u64
}

/// What is wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system does not open it.
    #[error("cannot be opened: {}{}", .0, remedy(.0))]
    NotOpened(io::Error),
    /// It is something else.
    #[error("is no disk; right would be a block device, or a file on one that both controllers have")]
    NotADisk,
    /// The system does not read it.
    #[error("not read: {0}")]
    NotRead(io::Error),
    /// The system does not write it.
    #[error("block {0} not written: {1}")]
    NotWritten(u64, io::Error),
    /// It does not say whose it is.
    #[error(
        "is not prepared, or is another disk; right would be `heartbeat arbiter --prepare` on one of the controllers"
    )]
    Unprepared,
    /// It said so once.
    #[error(
        "is damaged: of what says whose disk it is (block 0) the checksum is wrong; right would be to find out who else writes there, \
         and, with both agents stopped, `heartbeat arbiter --prepare --force` on one of the controllers"
    )]
    Damaged,
    /// It ends before what is needed of it.
    #[error("has {0} bytes, and {USED_BYTES} are needed")]
    TooSmall(usize),
    /// It is another pair's.
    #[error(
        "is prepared for pair {0}, this is pair {1}; right would be a disk of this pair's own, or, where that pair is no more, \
         `heartbeat arbiter --prepare --force`"
    )]
    AnotherPairs(u32, u32),
    /// It has become another one.
    #[error("is another disk than before, or was prepared anew")]
    Another,
    /// There is something on it.
    #[error("{0}; --force overwrites it, which nobody may be using")]
    Occupied(String),
    /// The system gives none.
    #[error("no random number: {0}")]
    NoRandomNumber(getrandom::Error),
}

impl DiskError {
    /// As errno(3) has it.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotOpened(error) | Self::NotRead(error) | Self::NotWritten(_, error) => {
                error.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::NotADisk => libc::ENOTBLK,
            Self::TooSmall(_) => libc::ENOSPC,
            Self::Unprepared | Self::Damaged | Self::AnotherPairs(..) | Self::Another | Self::Occupied(_) => {
                libc::EMEDIUMTYPE
            }
            Self::NoRandomNumber(_) => libc::EIO,
        }
    }
}

/// What would be right where a disk cannot be opened.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => {
            "; right would be this host's path of the disk that both controllers have"
        }
        Some(libc::EACCES | libc::EPERM) => "; right would be to do this as root",
        Some(libc::EINVAL) => {
            "; right would be a disk, or a file on one whose file system reads past the cache (O_DIRECT)"
        }
        Some(libc::EROFS) => "; right would be one that can be written",
        Some(libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM) => "; right would be a disk that answers: it may be gone",
        _ => "",
    }
}

/// A disk of this pair's, open.
#[derive(Debug)]
pub struct Disk {
    file: File,
    header: Header,
}

impl Disk {
    /// Opens the disk of that pair.
    ///
    /// # Errors
    /// It is not there, no disk, not prepared, another pair's, or cannot be read, or, where that is asked for, written.
    pub fn open(path: &Path, pair: u32, writing: bool) -> Result<Self, DiskError> {
        let file = open(path, writing)?;
        let ([block, ..], there) = read(&file)?;
        let header = Header::read(&block).ok_or_else(|| match Header::damage(&block) {
            Some(Damage::Torn) => DiskError::Damaged,
            _ => DiskError::Unprepared,
        })?;
        if header.pair != pair {
            return Err(DiskError::AnotherPairs(header.pair, pair));
        }
        if there == USED_BYTES { Ok(Self { file, header }) } else { Err(DiskError::TooSmall(there)) }
    }

    /// What tells it from other disks.
    #[must_use]
    pub const fn area(&self) -> u64 {
        self.header.area
    }

    /// Writes a block, whole and durably.
    ///
    /// # Errors
    /// The system's. It may have been written all the same.
    pub fn write(&self, number: u64, block: &Block) -> Result<(), DiskError> {
        write(&self.file, number, block)
    }

    /// Reads two blocks of the two controllers: `place` says which.
    ///
    /// # Errors
    /// The system's, or it is not the disk any more that was opened.
    pub fn read(&self, place: impl Fn(Node) -> u64) -> Result<[Block; 2], DiskError> {
        let (blocks, there) = read(&self.file)?;
        if Header::read(&blocks[0]) != Some(self.header) || there != USED_BYTES {
            return Err(DiskError::Another);
        }
        Ok([Node::A, Node::B].map(|node| blocks[place(node) as usize].clone()))
    }
}

/// The blocks in memory, as O_DIRECT wants them.
#[repr(C, align(4096))]
struct Blocks([u8; USED_BYTES]);

/// The blocks, and how many bytes of them are there; what is not there is zeros.
fn read(file: &File) -> Result<([Block; BLOCKS], usize), DiskError> {
    let mut bytes = Blocks([0; USED_BYTES]);
    // Less comes only where there is no more: past the cache, what begins elsewhere than at a sector cannot be read.
    let there = loop {
        match file.read_at(&mut bytes.0, 0) {
            Ok(there) => break there,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DiskError::NotRead(error)),
        }
    };
    let blocks = std::array::from_fn(|i| {
        let mut block = Block::ZERO;
        block.0.copy_from_slice(&bytes.0[i * BLOCK..][..BLOCK]);
        block
    });
    Ok((blocks, there))
}

fn write(file: &File, number: u64, block: &Block) -> Result<(), DiskError> {
    file.write_all_at(&block.0, number * BLOCK as u64).map_err(|error| DiskError::NotWritten(number, error))
}

fn open(path: &Path, writing: bool) -> Result<File, DiskError> {
    // Before it is opened: that alone has consequences for some devices.
    let kind = fs::metadata(path).map_err(DiskError::NotOpened)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(DiskError::NotADisk);
    }
    let flags = libc::O_DIRECT | libc::O_DSYNC;
    OpenOptions::new().read(true).write(writing).custom_flags(flags).open(path).map_err(DiskError::NotOpened)
}

/// Writes on a disk what makes it a pair's; a lease on it has `leases` then, of a and of b. Whoever has something granted by it loses
/// that, unnoticed. Whether it was done: a disk that is prepared for that pair stays as it is, unless `force`.
///
/// # Errors
/// The system's; or there is something on it already, unless `force`.
pub fn prepare(path: &Path, pair: u32, force: bool, leases: impl FnOnce(u64) -> [Block; 2]) -> Result<bool, DiskError> {
    let file = open(path, true)?;
    let (blocks, there) = read(&file)?;
    if !force && blocks.iter().any(|block| *block != Block::ZERO) {
        return match Header::read(&blocks[0]) {
            Some(header) if header.pair == pair && there != USED_BYTES => Err(DiskError::TooSmall(there)),
            Some(header) if header.pair == pair => Ok(false),
            Some(header) => Err(DiskError::Occupied(format!("is prepared already, for pair {}", header.pair))),
            None => Err(DiskError::Occupied(format!("has something in its first {} KiB", USED_BYTES / 1024))),
        };
    }
    let area = getrandom::u64().map_err(DiskError::NoRandomNumber)?;
    let leases = [Node::A, Node::B].into_iter().zip(leases(area)).map(|(node, block)| (lease(node), block));
    let silent = [Node::A, Node::B].map(|node| (heartbeats(node), Block::ZERO));
    // The header last: it says that the others are there.
    for (number, block) in leases.chain(silent).chain([(0, Header { area, pair }.block())]) {
        write(&file, number, &block)?;
    }
    Ok(true)
}

/// Since when a thread reads or writes, for those who must not wait for it: a process whose thread hangs in the kernel neither ends
/// nor becomes another one (execve(2) waits for all threads).
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<AtomicU64>);

impl Busy {
    /// It begins, and ends when what this gives is dropped.
    #[must_use]
    pub fn begin(&self, now: Nanos) -> Reading<'_> {
        self.0.store(now.0.max(1), Relaxed);
        Reading(self)
    }

    /// For how long it has not returned; nothing where it does nothing.
    #[must_use]
    pub fn lasts(&self, now: Nanos) -> Nanos {
        match self.0.load(Relaxed) {
            0 => Nanos(0),
            since => now.since(Nanos(since)),
        }
    }
}

/// A thread reads or writes.
#[derive(Debug)]
pub struct Reading<'b>(&'b Busy);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests;
