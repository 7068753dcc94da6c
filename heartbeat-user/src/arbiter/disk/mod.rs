//! A lease on a disk that both controllers have: see [`lease`] for the protocol, [`record`] for what stands where.
//!
//! A read or write may never return. So a thread of its own does each question's; it is left behind where it hangs, and nothing
//! more is asked of the disk until it has returned.

mod lease;
mod record;
#[cfg(test)]
mod tests;

use super::{Answered, Pair};
use crate::{
    config::show,
    core::{Arbitrate, Arbitrated, Nanos, Node},
    dataplane::clock,
};
use futures_util::FutureExt as _;
use lease::{Device, Lease, Settled, number};
use record::{BLOCK, Block, Header, Record, groups_digest};
use std::{
    fs::{File, OpenOptions},
    future::Future,
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// The blocks that are used.
const BLOCKS: usize = 3;
/// So many bytes of the disk are used, from its first one.
pub const LEASE_BYTES: usize = BLOCKS * BLOCK;

/// A disk, as an arbiter.
pub(super) struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    node: Node,
    pair: u32,
    groups: u64,
    io_timeout: Nanos,
    /// Locked by whoever reads or writes.
    lease: Mutex<Option<Lease>>,
}

impl Disk {
    pub(super) fn new(path: &Path, pair: &Pair, io_timeout: Nanos) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            node: pair.node,
            pair: pair.id,
            groups: groups_digest(&pair.groups),
            io_timeout,
            lease: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) async fn ask(&self, pair: &Pair, ask: Arbitrate) -> Answered {
        let settled = self.on_a_thread(move |shared, lease| {
            let mut disk = OnDisk::open(&shared.path, true)?;
            shared.lease(&disk, lease)?.settle(&mut disk, ask).at_once()
        });
        let shown = self.shared.path.display();
        let (outcome, why) = match settled.await {
            Err(why) => return Answered::unreachable(format!("{shown}: {why}")),
            Ok(Settled::Granted { groups, until }) => {
                (Arbitrated::Granted { groups, until }, format!("{} is written to be ours", pair.names(groups)))
            }
            Ok(Settled::Denied { silent_in }) => {
                let peer = pair.node.other();
                (
                    Arbitrated::Denied,
                    format!("controller {peer} has it there; it counts as silent in {silent_in} if it stays silent"),
                )
            }
            Ok(Settled::Released) => return Answered::released(format!("{shown}: given back")),
        };
        Answered { outcome, why: format!("{shown}: {why}") }
    }

    pub(super) async fn look(&self, pair: &Pair) -> Result<String, String> {
        let seen = self.on_a_thread(|shared, lease| {
            let mut disk = OnDisk::open(&shared.path, false)?;
            shared.lease(&disk, lease)?.observe(&mut disk).at_once()
        });
        let (shown, peer) = (self.shared.path.display(), pair.node.other());
        match seen.await.map_err(|why| format!("{shown}: {why}"))? {
            None => Ok(format!("{shown}: can be read; controller {peer} has nothing there")),
            Some(left) => {
                Ok(format!("{shown}: can be read; controller {peer} has, or had {left} ago, something there"))
            }
        }
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared, &mut Option<Lease>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (done, result) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let result = match shared.lease.try_lock() {
                Ok(mut lease) => job(&shared, &mut lease),
                Err(TryLockError::Poisoned(lease)) => job(&shared, &mut lease.into_inner()),
                Err(TryLockError::WouldBlock) => Err("an earlier read or write has not returned".to_owned()),
            };
            // Who does not wait any more knows nothing.
            let _ = done.send(result);
        };
        thread::Builder::new().name("arbiter".into()).spawn(run).map_err(|error| format!("no thread: {error}"))?;
        let patience = self.shared.io_timeout.times(7);
        match timeout(Duration::from_nanos(patience.0), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the thread that reads and writes panicked".to_owned()),
            Err(_) => Err(format!("no answer within {}", show(patience))),
        }
    }
}

impl Shared {
    /// Our part in the lease.
    fn lease<'l>(&self, disk: &OnDisk, lease: &'l mut Option<Lease>) -> Result<&'l mut Lease, String> {
        let Header { area, pair } = disk.header;
        if pair != self.pair {
            return Err(format!("is prepared for pair {pair}, this is pair {}", self.pair));
        }
        match lease {
            Some(lease) if lease.area() != area => Err(ANOTHER.to_owned()),
            Some(lease) => Ok(lease),
            None => {
                let life = getrandom::u64().map_err(|error| format!("no random number: {error}"))?;
                Ok(lease.insert(Lease::new(self.node, self.io_timeout, area, life, self.groups)))
            }
        }
    }
}

const ANOTHER: &str = "is another disk than before, or was prepared anew; right would be a restart of both agents";
const UNPREPARED: &str =
    "is not prepared, or is another disk; right would be `heartbeat arbiter --prepare` on one of the controllers";

/// The blocks in memory, as O_DIRECT wants them.
#[repr(C, align(4096))]
struct Blocks([u8; LEASE_BYTES]);

impl Blocks {
    fn read(file: &File) -> io::Result<[Block; BLOCKS]> {
        let mut bytes = Self([0; LEASE_BYTES]);
        file.read_exact_at(&mut bytes.0, 0)?;
        Ok([0, 1, 2].map(|i| {
            let mut block = Block::ZERO;
            block.0.copy_from_slice(&bytes.0[i * BLOCK..][..BLOCK]);
            block
        }))
    }
}

fn not_read(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => UNPREPARED.to_owned(),
        _ => format!("not read: {error}"),
    }
}

/// The disk, open for one question.
struct OnDisk {
    file: File,
    header: Header,
}

impl OnDisk {
    fn open(path: &Path, writing: bool) -> Result<Self, String> {
        let file = open(path, writing)?;
        let [header, ..] = Blocks::read(&file).map_err(not_read)?;
        Ok(Self { file, header: Header::read(&header).ok_or(UNPREPARED)? })
    }
}

impl Device for OnDisk {
    fn now(&self) -> Nanos {
        clock::monotonic()
    }

    async fn write(&mut self, number: u64, block: &Block) -> Result<(), String> {
        let written = self.file.write_all_at(&block.0, number * BLOCK as u64);
        written.map_err(|error| format!("block {number} not written: {error}"))
    }

    async fn read(&mut self) -> Result<[Block; 2], String> {
        let [header, a, b] = Blocks::read(&self.file).map_err(not_read)?;
        match Header::read(&header) {
            Some(header) if header == self.header => Ok([a, b]),
            _ => Err(ANOTHER.to_owned()),
        }
    }

    async fn pause(&mut self, span: Nanos) {
        thread::sleep(Duration::from_nanos(span.0));
    }
}

/// Past every cache of ours: what is read is what is there, and what was written is there.
fn open(path: &Path, writing: bool) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(writing).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path);
    let file = file.map_err(|error| format!("cannot be opened: {error}"))?;
    let kind = file.metadata().map_err(|error| error.to_string())?.file_type();
    match kind.is_block_device() || kind.is_file() {
        true => Ok(file),
        false => {
            Err("is no disk; right would be a block device, or a file on one that both controllers have".to_owned())
        }
    }
}

/// Writes on a disk what makes it an arbiter for `pair`. Whoever has something granted by it loses that, unnoticed.
///
/// # Errors
/// The system's, with the path; or there is something on it already, unless `force`.
pub fn prepare(path: &Path, pair: u32, force: bool) -> Result<(), String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let file = open(path, true).map_err(wrong)?;
    let there = match Blocks::read(&file) {
        // A file that is shorter.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => [Block::ZERO; BLOCKS],
        read => read.map_err(not_read).map_err(wrong)?,
    };
    if !force && there.iter().any(|block| !block.is_blank()) {
        let what = match Header::read(&there[0]) {
            Some(Header { pair, .. }) => format!("is prepared already, for pair {pair}"),
            None => "has something in its first 12 KiB".to_owned(),
        };
        return Err(wrong(format!("{what}; --force overwrites it, which nobody may be using")));
    }
    let area = getrandom::u64().map_err(|error| wrong(format!("no random number: {error}")))?;
    let records = [Node::A, Node::B].map(|node| {
        let number = number(node);
        (number, Record { area, ..Record::default() }.block(number))
    });
    // The header last: it says that the others are there.
    for (number, block) in records.into_iter().chain([(0, Header { area, pair }.block())]) {
        let written = file.write_all_at(&block.0, number * BLOCK as u64);
        written.map_err(|error| wrong(format!("block {number} not written: {error}")))?;
    }
    Ok(())
}

/// What waits by itself, in this thread.
trait AtOnce: Future + Sized {
    fn at_once(self) -> Self::Output {
        self.now_or_never().expect("reads, writes and pauses of this thread's have ended when they return")
    }
}

impl<F: Future> AtOnce for F {}
