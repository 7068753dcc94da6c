//! A file on a disk that does not answer: whoever opens it waits, and cannot be ended, until the disk does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{
    BackgroundSession, Errno, FileHandle, Filesystem, INodeNo, OpenFlags, ReplyAttr, ReplyEntry, ReplyOpen, Request,
};
use heartbeat_tests::lab::fuse;

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
        let waiting: Waiting = Arc::new(Mutex::new(Some(Vec::new())));
        let session = fuse::mount(Disk(Arc::clone(&waiting)), folder);
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

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        fuse::look_up(name, "file", reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &fuse::attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match &mut *self.0.lock().unwrap() {
            Some(waiting) => waiting.push(reply),
            None => reply.error(Errno::EIO),
        }
    }
}
