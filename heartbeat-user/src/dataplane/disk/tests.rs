//! Disks that are torn, slow, hang and fail; and a real one.

use super::*;
use crate::{arbiter::blank, disk, system::waiter::Waiter};
use std::sync::{Arc, Mutex};

const EVERY: Nanos = Nanos::from_millis(40);
const NUMBER: u8 = 3;

/// What two disks' threads read and write.
#[derive(Default)]
struct Shared {
    blocks: [Option<Block>; 2],
    written: Vec<u8>,
    opened: u32,
    /// Errors of the next operations.
    fails: Vec<i32>,
    /// Reads and writes wait here.
    hangs: Option<Receiver<Infallible>>,
}

#[derive(Clone)]
struct Fake {
    shared: Arc<Mutex<Shared>>,
    own: usize,
}

impl Fake {
    /// Waits as long as it hangs, and fails if it is to.
    fn operate(&self) -> io::Result<()> {
        let hangs = self.shared.lock().unwrap().hangs.clone();
        if let Some(hangs) = hangs {
            let _ = hangs.recv();
        }
        match self.shared.lock().unwrap().fails.pop() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

impl Device for Fake {
    fn write(&mut self, heartbeat: &[u8; LEN]) -> Result<(), DiskError> {
        let number = heartbeats(node(self.own));
        self.operate().map_err(|error| DiskError::NotWritten(number, error))?;
        let mut shared = self.shared.lock().unwrap();
        shared.written.push(heartbeat[0]);
        shared.blocks[self.own] = Some(Block::of(HEARTBEAT, number, heartbeat));
        Ok(())
    }

    fn read(&mut self) -> Result<Block, DiskError> {
        self.operate().map_err(DiskError::NotRead)?;
        Ok(self.shared.lock().unwrap().blocks[1 - self.own].clone().unwrap_or(Block::ZERO))
    }
}

fn node(number: usize) -> Node {
    [Node::A, Node::B][number]
}

fn end(node: Node) -> DiskEnd {
    DiskEnd { path: "/nonexistent".into(), pair: 7, node, every: EVERY }
}

/// A controller's end of a disk.
struct Side {
    disks: Disks,
    threads: DiskThreads,
    waiter: Waiter,
}

impl Side {
    fn new(shared: &Arc<Mutex<Shared>>, own: usize) -> Self {
        let fake = Fake { shared: Arc::clone(shared), own };
        let made = Disks::on([(NUMBER, end(node(own)))], |_| {
            let fake = fake.clone();
            move || {
                fake.shared.lock().unwrap().opened += 1;
                fake.operate().map_err(DiskError::NotOpened).map(|()| fake.clone())
            }
        });
        Self::of(made.unwrap())
    }

    fn of((disks, threads): (Disks, DiskThreads)) -> Self {
        let waiter = Waiter::new().unwrap();
        waiter.add(disks.bell(), 64).unwrap();
        Self { disks, threads, waiter }
    }

    fn open(&mut self) {
        self.disks.open(NUMBER, clock::monotonic()).unwrap();
        assert!(matches!(self.next(), DiskNews::Opened));
    }

    fn send(&mut self, number: u8) -> io::Result<()> {
        self.disks.send(NUMBER, &[number; LEN], clock::monotonic())
    }

    /// What is told next.
    fn next(&self) -> DiskNews {
        loop {
            self.disks.bell().silence();
            if let Some((number, news)) = self.disks.take() {
                assert_eq!(number, NUMBER);
                return news;
            }
            self.waiter.wait(Nanos::NEVER).unwrap();
        }
    }

    /// What is heard next: the first byte of each heartbeat, none where it is none.
    fn heard(&self) -> Option<u8> {
        loop {
            match self.next() {
                DiskNews::Heard(heartbeat, at) => {
                    assert!(at <= clock::monotonic());
                    return heartbeat.map(|bytes| bytes[0]);
                }
                DiskNews::Opened | DiskNews::Sent => {}
                DiskNews::Failed(errno, why) => panic!("{errno}: {why:?}"),
            }
        }
    }

    /// Nothing is heard, while it looks some ten times.
    fn hears_nothing(&self) {
        let end = clock::monotonic().after(EVERY.times(5));
        while clock::monotonic() < end {
            self.waiter.wait(end).unwrap();
            self.disks.bell().silence();
            let news = self.disks.take();
            assert!(matches!(news, None | Some((_, DiskNews::Sent))), "{news:?}");
        }
    }

    /// How it fails next.
    fn failed(&self) -> (i32, Option<String>) {
        loop {
            if let DiskNews::Failed(errno, why) = self.next() {
                return (errno, why);
            }
        }
    }
}

fn pair() -> (Arc<Mutex<Shared>>, Side, Side) {
    let shared = Arc::default();
    let (a, b) = (Side::new(&shared, 0), Side::new(&shared, 1));
    (shared, a, b)
}

/// A disk of its own hangs until what this gives is dropped.
fn hang(shared: &Mutex<Shared>) -> Sender<Infallible> {
    let (ends, hangs) = bounded(0);
    shared.lock().unwrap().hangs = Some(hangs);
    ends
}

#[test]
fn each_hears_what_the_other_writes_once() {
    let (_, mut a, mut b) = pair();
    a.open();
    b.open();
    for number in 1..5 {
        a.send(number).unwrap();
        assert_eq!(b.heard(), Some(number));
        b.send(number + 100).unwrap();
        assert_eq!(a.heard(), Some(number + 100));
    }
    // Looked at many times meanwhile, it is not told again.
    b.hears_nothing();
}

#[test]
fn what_was_written_before_it_was_opened_is_not_heard() {
    let (_, mut a, mut b) = pair();
    a.open();
    a.send(1).unwrap();
    assert!(matches!(a.next(), DiskNews::Sent));
    b.open();
    b.hears_nothing();
    a.send(2).unwrap();
    assert_eq!(b.heard(), Some(2));
    assert!(matches!(a.next(), DiskNews::Sent));
    // Nor is what was written while it was closed.
    b.disks.close(NUMBER, clock::monotonic());
    a.send(3).unwrap();
    while !matches!(a.next(), DiskNews::Sent) {}
    b.open();
    b.hears_nothing();
    a.send(4).unwrap();
    assert_eq!(b.heard(), Some(4));
}

#[test]
fn a_torn_block_is_no_heartbeat_and_the_next_whole_one_is() {
    let (shared, _, mut b) = pair();
    b.open();
    let (old, new) = (Block::of(HEARTBEAT, 3, &[1; LEN]), Block::of(HEARTBEAT, 3, &[2; LEN]));
    for cut in [8, 9, 100, 8 + LEN - 1, 504, 511] {
        let mut torn = old.clone();
        torn.0[..cut].copy_from_slice(&new.0[..cut]);
        let whole = torn == old;
        for (block, heard) in [(torn, whole.then_some(1)), (new.clone(), Some(2)), (old.clone(), Some(1))] {
            let before = shared.lock().unwrap().blocks[0].replace(block.clone());
            if before.as_ref() != Some(&block) {
                assert_eq!(b.heard(), heard, "{cut}");
            }
        }
    }
    // Something else altogether, and what is written at the other one's place.
    for block in [Block([0xa5; disk::BLOCK]), Block::of(HEARTBEAT, 4, &[1; LEN]), Block::of(1, 3, &[1; LEN])] {
        shared.lock().unwrap().blocks[0] = Some(block);
        assert_eq!(b.heard(), None);
    }
}

#[test]
fn while_a_write_hangs_nothing_else_is_begun_and_only_the_latest_is_written_then() {
    let (shared, mut a, _b) = pair();
    a.open();
    let ends = hang(&shared);
    a.send(1).unwrap();
    let begun = clock::monotonic();
    // As the pulse thread does, which never waits.
    let mut number = 1;
    let hangs = loop {
        let before = clock::monotonic();
        number += 1;
        let sent = a.send(number);
        assert!(clock::monotonic().since(before) < Nanos::from_millis(500));
        match sent {
            Ok(()) => {
                a.waiter.wait(clock::monotonic().after(EVERY)).unwrap();
            }
            Err(error) => break error,
        }
    };
    let patience = end(Node::A).patience();
    assert_eq!(hangs.raw_os_error(), Some(libc::ETIMEDOUT));
    assert!(clock::monotonic().since(begun) >= patience, "{patience}");
    assert_eq!(a.threads.hanging(), Some(NUMBER));
    assert_eq!(a.disks.open(NUMBER, clock::monotonic()).unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT));
    shared.lock().unwrap().hangs = None;
    drop(ends);
    // What was asked for last is done as soon as that is possible.
    assert!(matches!(a.next(), DiskNews::Opened));
    // None, where it was a look that hung.
    let written = shared.lock().unwrap().written.clone();
    assert!(written.len() <= 1, "{number} were handed over, {written:?} was written");
    a.send(200).unwrap();
    assert!(matches!(a.next(), DiskNews::Sent));
    assert_eq!(shared.lock().unwrap().written, [&written[..], &[200]].concat());
    assert_eq!(a.threads.hanging(), None);
}

#[test]
fn what_a_slow_look_shows_is_no_fresher_than_the_looks_beginning() {
    let (shared, _, mut b) = pair();
    b.open();
    let ends = hang(&shared);
    while b.threads.busy[0].1.lasts(clock::monotonic()) < Nanos::from_millis(100) {
        b.waiter.wait(clock::monotonic().after(Nanos::from_millis(10))).unwrap();
    }
    let before = clock::monotonic();
    {
        let mut shared = shared.lock().unwrap();
        shared.blocks[0] = Some(Block::of(HEARTBEAT, 3, &[1; LEN]));
        shared.hangs = None;
    }
    drop(ends);
    let DiskNews::Heard(Some(_), at) = b.next() else { panic!("not heard") };
    assert!(before.since(at) >= Nanos::from_millis(90), "{}", before.since(at));
}

#[test]
fn what_waits_is_replaced_by_what_is_newer() {
    let (shared, mut a, _b) = pair();
    a.open();
    let ends = hang(&shared);
    for number in 1..=9 {
        a.send(number).unwrap();
        if number == 1 {
            while a.threads.busy[0].1.lasts(clock::monotonic()) == Nanos(0) {
                thread::yield_now();
            }
        }
    }
    shared.lock().unwrap().hangs = None;
    drop(ends);
    while shared.lock().unwrap().written.last() != Some(&9) {
        while !matches!(a.next(), DiskNews::Sent) {}
    }
    let written = shared.lock().unwrap().written.clone();
    assert!(written == [1, 9] || written == [9], "{written:?}");
}

#[test]
fn a_fault_is_said_once_in_words_closes_the_disk_and_is_tried_again_after_a_pause_that_grows() {
    let (shared, mut a, _b) = pair();
    shared.lock().unwrap().fails = vec![libc::EIO, libc::EIO, libc::ENXIO];
    let mut told = Vec::new();
    let begun = clock::monotonic();
    loop {
        a.disks.open(NUMBER, clock::monotonic()).unwrap();
        match a.next() {
            DiskNews::Failed(errno, why) => told.push((errno, why)),
            DiskNews::Opened => break,
            other => panic!("{other:?}"),
        }
        a.waiter.wait(clock::monotonic().after(Nanos::from_millis(5))).unwrap();
    }
    assert!(clock::monotonic().since(begun) >= EVERY.times(1 + 2 + 4));
    // The disk was touched four times, however often it was asked for.
    assert_eq!(shared.lock().unwrap().opened, 4);
    let words: Vec<_> = told.iter().filter_map(|(errno, why)| Some((*errno, why.as_deref()?))).collect();
    let gone = "No such device or address (os error 6); right would be a disk that answers: it may be gone";
    let expected = [gone, "Input/output error (os error 5)"];
    let expected = expected.map(|why| format!("cannot be opened: {why}"));
    assert_eq!(words, [(libc::ENXIO, &*expected[0]), (libc::EIO, &*expected[1])]);
    assert!(told.len() > 4, "{told:?}");

    shared.lock().unwrap().fails = vec![libc::EROFS];
    a.send(1).unwrap();
    let why = Some("block 3 not written: Read-only file system (os error 30)".to_owned());
    let failed = a.failed();
    assert!(
        failed == (libc::EROFS, why) || failed.1.as_ref().is_some_and(|why| why.starts_with("not read")),
        "{failed:?}"
    );
    // It is closed: nothing is written.
    a.send(2).unwrap();
    a.hears_nothing();
    assert!(shared.lock().unwrap().written.is_empty());
}

#[test]
fn what_is_told_of_an_opening_before_is_of_no_interest() {
    let (shared, mut a, _b) = pair();
    shared.lock().unwrap().fails = vec![libc::EIO];
    a.disks.open(NUMBER, clock::monotonic()).unwrap();
    while !a.waiter.wait(Nanos::NEVER).unwrap().has(64) {}
    a.disks.close(NUMBER, clock::monotonic());
    assert!(a.disks.take().is_none());
}

#[test]
fn what_was_said_last_is_written_before_the_threads_end() {
    let (shared, mut a, _b) = pair();
    a.open();
    for number in 1..=3 {
        a.send(number).unwrap();
    }
    let Side { disks, threads, .. } = a;
    drop(disks);
    threads.wait(Duration::from_secs(20));
    assert_eq!(shared.lock().unwrap().written.last(), Some(&3));
    // One that hangs is not waited for.
    let (shared, mut a, _b) = pair();
    a.open();
    let _hangs = hang(&shared);
    a.send(1).unwrap();
    let Side { disks, threads, .. } = a;
    drop(disks);
    let begun = clock::monotonic();
    threads.wait(Duration::from_millis(50));
    assert!(clock::monotonic().since(begun) < Nanos::from_millis(5_000));
}

#[test]
fn two_controllers_hear_each_other_by_a_file_and_one_that_is_not_prepared_stays_as_it_is() {
    // On a disk: in memory, some kernels cannot read and write past the cache.
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, [0x42; disk::USED_BYTES]).unwrap();
    let side = |node| Side::of(Disks::new([(NUMBER, DiskEnd { path: path.clone(), ..end(node) })]).unwrap());
    let (mut a, mut b) = (side(Node::A), side(Node::B));
    a.disks.open(NUMBER, clock::monotonic()).unwrap();
    let (errno, why) = a.failed();
    assert!(errno == libc::EMEDIUMTYPE && why.unwrap().contains("heartbeat arbiter --prepare"));
    assert_eq!(std::fs::read(&path).unwrap(), [0x42; disk::USED_BYTES]);

    disk::prepare(&path, 7, true, blank).unwrap();
    let mut a = side(Node::A);
    a.open();
    b.open();
    for number in 1..20 {
        a.send(number).unwrap();
        assert_eq!(b.heard(), Some(number));
        b.send(number).unwrap();
        assert_eq!(a.heard(), Some(number));
    }
    // Under an agent that runs, it becomes another disk: that is noticed, and it goes on with that.
    disk::prepare(&path, 7, true, blank).unwrap();
    a.send(50).unwrap();
    let (errno, why) = a.failed();
    assert!(errno == libc::EMEDIUMTYPE && why.unwrap().contains("is another disk than before"));
}
