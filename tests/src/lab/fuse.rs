//! A file system of one file, where a test needs a device or a disk that no host has. Needs /dev/fuse, and root.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{BackgroundSession, Config, Errno, FileAttr, FileType, Filesystem, Generation, INodeNo, ReplyEntry};

const FILE: INodeNo = INodeNo(2);

/// Serves it in a folder that is made for it, until the session is dropped.
pub fn mount(files: impl Filesystem + 'static, folder: &Path) -> BackgroundSession {
    fs::create_dir_all(folder).expect("the folder can be made");
    fuser::spawn_mount(files, folder, &Config::default())
        .unwrap_or_else(|error| panic!("no FUSE ({error}): this test needs /dev/fuse, and root"))
}

/// The answer to who looks for `name`, where the one file's is `file`.
pub fn look_up(name: &OsStr, file: &str, reply: ReplyEntry) {
    if name == file {
        reply.entry(&Duration::ZERO, &attributes(FILE), Generation(0));
    } else {
        reply.error(Errno::ENOENT);
    }
}

/// Those of the one file, or of the folder that it is in.
#[must_use]
pub fn attributes(ino: INodeNo) -> FileAttr {
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
