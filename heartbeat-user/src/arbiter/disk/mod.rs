//! A lease on a disk that both controllers have: see [`lease`] for the protocol, [`record`] for what is written.
//!
//! A read or write may never return. So a thread of its own does each question's; it is left behind where it hangs, and nothing
//! more is asked of the disk until it has returned.

mod lease;
mod record;
#[cfg(test)]
mod still;
#[cfg(test)]
mod tests;

use super::{ArbiterAnswer, Pair};
use crate::{
    config::show,
    core::{Arbitrate, Arbitrated},
    disk::{self, Block, Busy, DiskError},
    system::clock,
    types::{Nanos, Node},
};
use futures_util::FutureExt as _;
use lease::{Device, Lease, Seen, Settled};
use record::{LeaseRecord, groups_digest};
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// A disk, as an arbiter.
pub(super) struct DiskArbiter {
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
    busy: Busy,
}

impl DiskArbiter {
    pub(super) fn new(path: &Path, pair: &Pair, io_timeout: Nanos) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            node: pair.node,
            pair: pair.id,
            groups: groups_digest(&pair.groups),
            io_timeout,
            lease: Mutex::default(),
            busy: Busy::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) async fn ask(&self, pair: &Pair, ask: Arbitrate) -> ArbiterAnswer {
        let settled = self.on_a_thread(move |shared, lease| {
            let mut disk = OnDisk::open(shared, true)?;
            let lease = shared.lease(&disk, lease)?;
            let settled = lease.settle(&mut disk, ask).at_once()?;
            Ok((settled, lease.peer_damage()))
        });
        let shown = self.shared.path.display();
        let (outcome, why) = match settled.await {
            Err(why) => return ArbiterAnswer::unreachable(format!("{shown}: {why}")),
            Ok((Settled::Granted { groups, until }, _)) => {
                (Arbitrated::Granted { groups, until }, format!("{} is written to be ours", pair.names(groups)))
            }
            Ok((Settled::Denied { silent_in }, damage)) => {
                let peer = pair.node.other();
                let has = match damage {
                    None => "has it there".to_owned(),
                    Some(why) => format!("may have it there: its block {} is damaged, {why}", disk::lease(peer)),
                };
                let why = format!("controller {peer} {has}; it counts as silent in {silent_in} if it stays silent");
                (Arbitrated::Denied, why)
            }
            Ok((Settled::Released, _)) => return ArbiterAnswer::released(format!("{shown}: given back")),
        };
        ArbiterAnswer { outcome, why: format!("{shown}: {why}") }
    }

    pub(super) async fn look(&self, pair: &Pair) -> Result<String, String> {
        let seen = self.on_a_thread(|shared, lease| {
            let mut disk = OnDisk::open(shared, false)?;
            shared.lease(&disk, lease)?.observe(&mut disk).at_once()
        });
        let shown = self.shared.path.display();
        match seen.await.and_then(|seen| told(&seen, pair)) {
            Ok(what) => Ok(format!("{shown}: can be read; {what}")),
            Err(why) => Err(format!("{shown}: {why}")),
        }
    }

    /// Tells for how long a read or write has not returned.
    pub(super) fn busy(&self) -> &Busy {
        &self.shared.busy
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared, &mut Option<Lease>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (done, result) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let lease = match shared.lease.try_lock() {
                Ok(lease) => Ok(lease),
                Err(TryLockError::Poisoned(lease)) => Ok(lease.into_inner()),
                Err(TryLockError::WouldBlock) => Err("an earlier read or write has not returned".to_owned()),
            };
            let result = lease.and_then(|mut lease| {
                let _reading = shared.busy.begin(clock::monotonic());
                job(&shared, &mut lease)
            });
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
        let area = disk.0.area();
        match lease {
            Some(lease) if lease.area() != area => Err(explained(&DiskError::Another)),
            Some(lease) => Ok(lease),
            None => {
                let life = getrandom::u64().map_err(|error| format!("no random number: {error}"))?;
                Ok(lease.insert(Lease::new(self.node, self.io_timeout, area, life, self.groups)))
            }
        }
    }
}

/// The disk, open for one question.
struct OnDisk(disk::Disk);

impl OnDisk {
    fn open(shared: &Shared, writing: bool) -> Result<Self, String> {
        disk::Disk::open(&shared.path, shared.pair, writing).map(Self).map_err(|error| explained(&error))
    }
}

impl Device for OnDisk {
    fn now(&self) -> Nanos {
        clock::monotonic()
    }

    async fn write(&mut self, number: u64, block: &Block) -> Result<(), String> {
        self.0.write(number, block).map_err(|error| explained(&error))
    }

    async fn read(&mut self) -> Result<[Block; 2], String> {
        self.0.read(disk::lease).map_err(|error| explained(&error))
    }

    async fn pause(&mut self, span: Nanos) {
        thread::sleep(Duration::from_nanos(span.0));
    }
}

fn explained(error: &DiskError) -> String {
    match error {
        // What was granted on the one before, this one does not know.
        DiskError::Another => format!("{error}; right would be a restart of both agents"),
        _ => error.to_string(),
    }
}

/// What a look at the disk showed.
fn told(seen: &Seen, pair: &Pair) -> Result<String, String> {
    let peer = pair.node.other();
    match seen {
        Seen::Nothing => Ok(format!("controller {peer} has nothing there")),
        Seen::Peers { groups, silence } => {
            let what = groups.map_or("something, by another table of groups,".to_owned(), |groups| pair.names(groups));
            let silence = show(*silence);
            Ok(format!(
                "controller {peer} has, or had, {what} there: it counts as silent once its block has not changed for {silence}"
            ))
        }
        Seen::Damaged { blocks, silence } => {
            let blocks = blocks.iter().map(|(node, why)| {
                format!("block {}, which is controller {node}'s lease, is damaged: {why}", disk::lease(*node))
            });
            Err(format!(
                "{}; somebody else writes there, or the disk is going bad. What is granted next is late by {}, and written anew by \
                 that; right would be a disk that nothing else uses, and, with both agents stopped, `heartbeat arbiter --prepare \
                 --force`",
                blocks.collect::<Vec<_>>().join("; "),
                show(*silence)
            ))
        }
    }
}

/// The blocks of the two controllers on a disk of that area: nobody has anything.
#[must_use]
pub fn blank(area: u64) -> [Block; 2] {
    [Node::A, Node::B].map(|node| LeaseRecord { area, ..LeaseRecord::default() }.block(disk::lease(node)))
}

/// What waits by itself, in this thread.
trait AtOnce: Future + Sized {
    fn at_once(self) -> Self::Output {
        self.now_or_never().expect("reads, writes and pauses of this thread's have ended when they return")
    }
}

impl<F: Future> AtOnce for F {}
