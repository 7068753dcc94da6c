//! A file on a disk that does not answer: whoever opens it waits, and cannot be ended, until the disk does.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, OpenFlags,
    ReplyAttr, ReplyEntry, ReplyOpen, Request,
};

const FILE: INodeNo = INodeNo(2);

/// Those who wait; none any more, once it answers.
type Waiting = Arc<Mutex<Option<Vec<ReplyOpen>>>>;

/// The file, until this is dropped.
pub struct StuckFile {
    path: PathBuf,
    waiting: Waiting,
    _session: BackgroundSession,
}

impl StuckFile {
    /// A new one, in a folder that is made for it.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let waiting: Waiting = Arc::new(Mutex::new(Some(Vec::new())));
        let session = fuser::spawn_mount(Disk(Arc::clone(&waiting)), folder, &Config::default());
        let session = session.unwrap_or_else(|error| panic!("no FUSE ({error}): this test needs /dev/fuse, and root"));
        Self { path: folder.join("file"), waiting, _session: session }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// So many wait for it.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// From now on the disk answers: by an error.
    pub fn answer(&self) {
        for reply in self.waiting.lock().unwrap().take().into_iter().flatten() {
            reply.error(Errno::EIO);
        }
    }
}

impl Drop for StuckFile {
    fn drop(&mut self) {
        self.answer();
    }
}

struct Disk(Waiting);

fn attributes(ino: INodeNo) -> FileAttr {
    let never = SystemTime::UNIX_EPOCH;
    let kind = if ino == FILE { FileType::RegularFile } else { FileType::Directory };
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 512,
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("file") => reply.entry(&Duration::ZERO, &attributes(FILE), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match &mut *self.0.lock().unwrap() {
            Some(waiting) => waiting.push(reply),
            None => reply.error(Errno::EIO),
        }
    }
}
