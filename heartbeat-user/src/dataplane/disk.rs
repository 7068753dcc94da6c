//! A disk that both controllers have as a channel: each writes its latest heartbeat into a block of its own, and looks at the other's
//! twice as often ([`crate::disk`] says where). It shares nothing with the networks, and is slow.
//!
//! ```text
//! pulse thread --- the latest heartbeat ---> thread of the disk --- write, then read ---> disk
//!      ^                                            |
//!      +------ sent, heard, failed; a bell ---------+
//! ```
//! A read or write may never return. So each disk has a thread of its own, which nobody waits for: one thing is under way at a time,
//! what is to be written is replaced by what is newer, and where the thread does not return in time, the channel has failed.
//!
//! The block's checksum tells what is torn from what is somebody else's; whether a heartbeat is the peer's, and new, is the business
//! of those who receive it. What stands there when the disk is opened may be of any time: only what is written later is heard.

use crate::{
    disk::{Block, Busy, Disk, DiskError, heartbeats},
    system::{bell::Bell, clock},
    types::{Nanos, Node},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use heartbeat_ebpf::wire::LEN;
use std::{convert::Infallible, io, path::PathBuf, thread, time::Duration};

/// A block with a heartbeat, as a text.
const HEARTBEAT: u64 = u64::from_le_bytes(*b"HBBEATS1");
/// What is told of a disk and has not been taken; beyond that its thread waits.
const TOLD: usize = 16;
/// A disk that failed again and again is tried again after this at the latest, so that one that is back is found soon.
const LONGEST_PAUSE: Nanos = Nanos::from_millis(16_000);
/// Whatever its pace, a disk may take so long for a read or write.
const LEAST_PATIENCE: Nanos = Nanos::from_millis(1_000);

/// Which disk, whose, and how often.
#[derive(Clone, Debug)]
pub struct DiskEnd {
    /// The disk; better a name that stays, below `/dev/disk/by-id`.
    pub path: PathBuf,
    /// The pair that it is prepared for.
    pub pair: u32,
    /// Which controller we are.
    pub node: Node,
    /// How often a heartbeat is written.
    pub every: Nanos,
}

impl DiskEnd {
    /// What takes longer counts as failed.
    #[must_use]
    pub const fn patience(&self) -> Nanos {
        let two = self.every.times(2);
        if two.0 > LEAST_PATIENCE.0 { two } else { LEAST_PATIENCE }
    }
}

/// What became of a disk, or came from it.
#[derive(Debug)]
pub enum DiskNews {
    /// It is open.
    Opened,
    /// A heartbeat was written.
    Sent,
    /// The peer's block has changed: its heartbeat, or none where it is torn or something else; and when it was looked at.
    Heard(Option<[u8; LEN]>, Nanos),
    /// It is closed: the error's number, as in errno(3), and what it is in words, where that is new.
    Failed(i32, Option<String>),
}

/// What a disk's thread is to do. Each overrides the one before, if that has not begun.
enum Order {
    Open(u32),
    Send([u8; LEN]),
    Close,
}

/// The disks of all channels, each with a thread.
pub struct Disks {
    disks: Vec<Port>,
    news: Receiver<(u8, u32, DiskNews)>,
    bell: Bell,
}

/// The pulse thread's end of a disk's thread.
struct Port {
    number: u8,
    patience: Nanos,
    orders: Sender<Order>,
    /// The same orders: what has not begun is taken back.
    pending: Receiver<Order>,
    busy: Busy,
    /// Counts openings: what is told of one before is of no interest.
    life: u32,
}

/// Tells of the disks' threads, to those who are about to end the process.
pub struct DiskThreads {
    /// Of each disk: its number, for how long it has not returned, and how long it may take.
    busy: Vec<(u8, Busy, Nanos)>,
    /// Nothing comes of it but that all threads have ended.
    ended: Receiver<Infallible>,
}

impl DiskThreads {
    /// The number of a disk whose thread has not returned in time: as long as it does not, the process cannot end, nor become
    /// another one.
    #[must_use]
    pub fn hanging(&self) -> Option<u8> {
        let now = clock::monotonic();
        self.busy.iter().find(|(_, busy, patience)| busy.lasts(now) > *patience).map(|(number, ..)| *number)
    }

    /// Waits until the threads have written what was told last, for so long at most; the [`Disks`] must be gone.
    pub fn wait(&self, patience: Duration) {
        let _ended = self.ended.recv_timeout(patience);
    }
}

impl Disks {
    /// For these disks, each with a number.
    ///
    /// # Errors
    /// When the process has no more threads or descriptors.
    pub fn new(disks: impl IntoIterator<Item = (u8, DiskEnd)>) -> io::Result<(Self, DiskThreads)> {
        Self::on(disks, |end| {
            let end = end.clone();
            move || {
                let (own, peers) = (heartbeats(end.node), usize::from(end.node.other().wire()));
                Disk::open(&end.path, end.pair, true).map(|disk| OnDisk { disk, own, peers })
            }
        })
    }

    fn on<D: Device, O: FnMut() -> Result<D, DiskError> + Send + 'static>(
        disks: impl IntoIterator<Item = (u8, DiskEnd)>,
        opener: impl Fn(&DiskEnd) -> O,
    ) -> io::Result<(Self, DiskThreads)> {
        let bell = Bell::new()?;
        let (told, news) = bounded(TOLD);
        let (alive, ended) = bounded::<Infallible>(0);
        let start = |(number, end): (u8, DiskEnd)| {
            let (orders, pending) = bounded(1);
            let busy = Busy::default();
            let thread = Thread {
                number,
                node: end.node,
                pause: Duration::from_nanos(end.every.0 / 2),
                every: end.every,
                orders: pending.clone(),
                told: told.clone(),
                bell: bell.clone(),
                busy: busy.clone(),
                life: 0,
                failures: Failures::default(),
                _alive: alive.clone(),
            };
            let open = opener(&end);
            thread::Builder::new().name(format!("disk {number}")).spawn(move || thread.run(open))?;
            Ok(Port { number, patience: end.patience(), orders, pending, busy, life: 0 })
        };
        let disks = disks.into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
        let busy = disks.iter().map(|port| (port.number, port.busy.clone(), port.patience)).collect();
        Ok((Self { disks, news, bell }, DiskThreads { busy, ended }))
    }

    /// Rings when there is something to [`Disks::take`].
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Has a disk opened, anew if it is open; [`Disks::take`] tells what came of it.
    ///
    /// # Errors
    /// ETIMEDOUT: an earlier read or write has not returned.
    pub fn open(&mut self, number: u8, now: Nanos) -> io::Result<()> {
        let port = self.port(number)?;
        port.life = port.life.wrapping_add(1);
        port.order(Order::Open(port.life), now)
    }

    /// Has a heartbeat written, in place of one that waits to be; [`Disks::take`] tells what came of it.
    ///
    /// # Errors
    /// ETIMEDOUT: an earlier read or write has not returned.
    pub fn send(&mut self, number: u8, message: &[u8; LEN], now: Nanos) -> io::Result<()> {
        self.port(number)?.order(Order::Send(*message), now)
    }

    /// Has a disk closed; nothing more is told of it.
    pub fn close(&mut self, number: u8, now: Nanos) {
        if let Ok(port) = self.port(number) {
            port.life = port.life.wrapping_add(1);
            // One that hangs is closed by what follows.
            let _ = port.order(Order::Close, now);
        }
    }

    /// What is new of the disks as they were opened last.
    pub fn take(&self) -> Option<(u8, DiskNews)> {
        let current = |number, life| self.disks.iter().any(|port| port.number == number && port.life == life);
        self.news.try_iter().find(|(number, life, _)| current(*number, *life)).map(|(number, _, news)| (number, news))
    }

    fn port(&mut self, number: u8) -> io::Result<&mut Port> {
        let port = self.disks.iter_mut().find(|port| port.number == number);
        port.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }
}

impl Port {
    fn order(&self, order: Order, now: Nanos) -> io::Result<()> {
        // What waits is old, whether or not this one is taken.
        let _older = self.pending.try_recv();
        // There is room: nobody else sends.
        let _ = self.orders.try_send(order);
        if self.busy.lasts(now) > self.patience { Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)) } else { Ok(()) }
    }
}

/// A disk that is open.
trait Device {
    fn write(&mut self, heartbeat: &[u8; LEN]) -> Result<(), DiskError>;
    /// The peer's block.
    fn read(&mut self) -> Result<Block, DiskError>;
}

struct OnDisk {
    disk: Disk,
    /// The number of our block.
    own: u64,
    /// The place of the peer's among the two.
    peers: usize,
}

impl Device for OnDisk {
    fn write(&mut self, heartbeat: &[u8; LEN]) -> Result<(), DiskError> {
        self.disk.write(self.own, &Block::of(HEARTBEAT, self.own, heartbeat))
    }

    fn read(&mut self) -> Result<Block, DiskError> {
        let blocks = self.disk.read(heartbeats)?;
        Ok(blocks[self.peers].clone())
    }
}

/// What failed so far, since it last worked.
#[derive(Default)]
struct Failures {
    count: u32,
    /// Not before then is it tried again.
    again: Nanos,
    said: String,
    errno: i32,
}

/// A disk's thread.
struct Thread {
    number: u8,
    node: Node,
    every: Nanos,
    /// From one look to the next.
    pause: Duration,
    orders: Receiver<Order>,
    told: Sender<(u8, u32, DiskNews)>,
    bell: Bell,
    busy: Busy,
    life: u32,
    failures: Failures,
    _alive: Sender<Infallible>,
}

/// A disk that is open, and the peer's block as it was seen last.
struct Opened<D> {
    device: D,
    seen: Block,
}

impl Thread {
    fn run<D: Device>(mut self, mut open: impl FnMut() -> Result<D, DiskError>) {
        let mut opened: Option<Opened<D>> = None;
        loop {
            let order = if opened.is_some() { self.orders.recv_timeout(self.pause) } else { self.next() };
            let now = clock::monotonic();
            let busy = self.busy.clone();
            let _reading = busy.begin(now);
            let done = match order {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Close) => {
                    opened = None;
                    continue;
                }
                Ok(Order::Open(life)) => {
                    self.life = life;
                    // Before the new one, for a device may be open only once.
                    opened = None;
                    if now < self.failures.again {
                        self.tell(DiskNews::Failed(self.failures.errno, None));
                        continue;
                    }
                    open().and_then(|mut device| {
                        let seen = device.read()?;
                        opened = Some(Opened { device, seen });
                        self.tell(DiskNews::Opened);
                        Ok(())
                    })
                }
                Ok(Order::Send(heartbeat)) => match &mut opened {
                    Some(to) => to.device.write(&heartbeat).and_then(|()| {
                        self.failures = Failures::default();
                        self.tell(DiskNews::Sent);
                        self.look(to)
                    }),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => match &mut opened {
                    Some(at) => self.look(at),
                    None => continue,
                },
            };
            if let Err(error) = done {
                opened = None;
                self.fail(&error);
            }
        }
    }

    fn next(&self) -> Result<Order, RecvTimeoutError> {
        self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    fn look<D: Device>(&self, at: &mut Opened<D>) -> Result<(), DiskError> {
        // It was there by then at the earliest: one that is seen late, because the disk is slow, is not taken for a fresh one.
        let looked = clock::monotonic();
        let block = at.device.read()?;
        if block != at.seen {
            let heartbeat = block.contents(HEARTBEAT, heartbeats(self.node.other()));
            self.tell(DiskNews::Heard(heartbeat.and_then(|contents| contents.first_chunk().copied()), looked));
            at.seen = block;
        }
        Ok(())
    }

    /// Tried again after a pause that grows.
    fn fail(&mut self, error: &DiskError) {
        let Failures { count, said, .. } = &self.failures;
        let pause = LONGEST_PAUSE.min(self.every.times(1 << count.min(&16)));
        let (text, errno) = (error.to_string(), error.errno());
        let new = (text != *said).then(|| text.clone());
        self.failures = Failures { count: count + 1, again: clock::monotonic().after(pause), said: text, errno };
        self.tell(DiskNews::Failed(errno, new));
    }

    fn tell(&self, news: DiskNews) {
        // Whoever does not take it any more is about to end.
        let _ = self.told.send((self.number, self.life, news));
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests;
