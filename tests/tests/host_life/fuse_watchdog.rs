//! A watchdog as linux/watchdog.h has it, where the kernel has none: a file of a FUSE file system that takes the same calls. It
//! resets nothing, and remembers whether it would have.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fuser::{
    BackgroundSession, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, IoctlFlags, LockOwner, OpenFlags, ReplyAttr,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use heartbeat_tests::lab::fuse;

const SET_TIMEOUT: u32 = 0xc004_5706;
const GET_TIMEOUT: u32 = 0x8004_5707;

/// A device that is there until this is dropped.
pub struct FuseWatchdog {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// In seconds.
    pub timeout: i32,
    /// Whether it counts.
    pub runs: bool,
    /// How often it was opened.
    pub opened: u32,
    /// Somebody has it open.
    pub is_open: bool,
    /// How often it was fed.
    pub fed: u32,
    /// Whether it would have reset the host by now.
    pub struck: bool,
    last: Instant,
    magic: bool,
}

impl State {
    /// Whatever happens, first time goes on.
    fn at(&mut self, now: Instant) -> &mut Self {
        let patience = Duration::from_secs(u64::try_from(self.timeout).unwrap());
        self.struck |= self.runs && now.duration_since(self.last) > patience;
        self
    }

    fn feed(&mut self, now: Instant) {
        self.at(now).last = now;
        self.fed += 1;
    }
}

impl FuseWatchdog {
    /// A new one, in a folder that is made for it.
    pub fn new(folder: &Path) -> Self {
        let state = State {
            timeout: 60,
            runs: false,
            opened: 0,
            is_open: false,
            fed: 0,
            struck: false,
            last: Instant::now(),
            magic: false,
        };
        let state = Arc::new(Mutex::new(state));
        let session = fuse::mount(Device(Arc::clone(&state)), folder);
        Self { path: folder.join("watchdog"), state, _session: session }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is now.
    pub fn state(&self) -> State {
        *lock(&self.state).at(Instant::now())
    }
}

struct Device(Arc<Mutex<State>>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        fuse::look_up(name, "watchdog", reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &fuse::attributes(ino));
    }

    /// As watchdog_open(): one at a time; it counts from then on.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let now = Instant::now();
        let mut state = lock(&self.0);
        if state.at(now).is_open {
            return reply.error(Errno::EBUSY);
        }
        state.opened += 1;
        (state.is_open, state.runs, state.magic) = (true, true, false);
        state.last = now;
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NONSEEKABLE);
    }

    /// As watchdog_write(): whatever is written feeds it, and a `V` last allows it to be stopped.
    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.0);
        state.feed(Instant::now());
        state.magic = data.contains(&b'V');
        reply.written(data.len() as u32);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        command: u32,
        data: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        let mut state = lock(&self.0);
        if command == SET_TIMEOUT {
            state.timeout = i32::from_ne_bytes(data.try_into().unwrap());
            state.feed(Instant::now());
        }
        match command {
            SET_TIMEOUT | GET_TIMEOUT => reply.ioctl(0, &state.timeout.to_ne_bytes()),
            _ => reply.error(Errno::ENOTTY),
        }
    }

    /// As watchdog_release(): it counts on, unless it was allowed to be stopped.
    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = lock(&self.0);
        state.at(Instant::now());
        (state.is_open, state.runs) = (false, !state.magic);
        reply.ok();
    }
}
