//! What one life of the agent leaves open for the next one, which the same process becomes: the only descriptors without
//! close-on-exec, so they are told from all others.

use rustix::{
    fs::{MemfdFlags, fstat, memfd_create},
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
};
use std::{
    fs::{File, Metadata, read_dir, read_link},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Seek as _, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, RawFd},
    path::{Path, PathBuf},
};

/// Leaves it open for the next life of this process, which finds it.
///
/// # Errors
/// What the system says: it is closed.
pub(super) fn hand_on(file: File) -> io::Result<()> {
    fcntl_setfd(&file, FdFlags::empty())?;
    let _stays_open: RawFd = file.into_raw_fd();
    Ok(())
}

/// A descriptor of this process that `is` what is looked for and would have survived the start of this program: nobody in it
/// opens any without close-on-exec. Of one that is looked for there is one at most, and one who looks.
pub(super) fn left_open(is: impl Fn(&File) -> bool) -> Option<File> {
    let numbers =
        read_dir("/proc/self/fd").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number: &RawFd| *number > 2) {
        // SAFETY: it is looked at as it is, and given back below unless it is the one that is looked for: then nobody else has it,
        // for nobody else opens what survives, and looks for the same.
        let file = unsafe { File::from_raw_fd(number) };
        let survives = fcntl_getfd(&file).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC));
        if survives && is(&file) && fcntl_setfd(&file, FdFlags::CLOEXEC).is_ok() {
            return Some(file);
        }
        let _not_ours: RawFd = file.into_raw_fd();
    }
    None
}

/// Leaves a file as it was read, with its mode and time, for the next life of this process, which is to read that.
///
/// # Errors
/// What the system says: it is not left.
pub fn leave_copy(path: &Path, bytes: &[u8], of: &Metadata) -> io::Result<()> {
    let mut copy = File::from(memfd_create(copy_name(path), MemfdFlags::CLOEXEC)?);
    copy.write_all(bytes)?;
    copy.rewind()?;
    copy.set_permissions(of.permissions())?;
    copy.set_modified(of.modified()?)?;
    hand_on(copy)
}

/// What the life before left of the file at `path`, once.
#[must_use]
pub fn copy_of(path: &Path) -> Option<File> {
    let link = format!("/memfd:{} (deleted)", copy_name(path));
    left_open(|file| link_of(file).is_ok_and(|of| of.as_os_str() == link.as_str()))
}

/// memfd_create(2) has room for 249 bytes, and a path may be longer.
fn copy_name(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("heartbeat {:016x}", hasher.finish())
}

fn link_of(file: &File) -> io::Result<PathBuf> {
    read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Keeps the binary that runs, where another one has taken its place: once nobody has it any more, the kernel gives its blocks
/// free, and takes tens of ms for 100 MB in the middle of the start that replaces it, in which nobody sends heartbeats.
pub fn keep_replaced_binary() {
    // Where that cannot be, the start takes longer.
    let Ok(binary) = File::open("/proc/self/exe") else { return };
    if fstat(&binary).is_ok_and(|found| found.st_nlink == 0) {
        let _ = hand_on(binary);
    }
}

/// Lets go of the one that the life before was, whose path `program` was.
pub fn close_replaced_binary(program: &Path) {
    let mut was = program.as_os_str().to_owned();
    was.push(" (deleted)");
    drop(left_open(|file| link_of(file).is_ok_and(|link| link.as_os_str() == was)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::remove_file;

    #[test]
    fn only_what_was_left_open_on_purpose_is_found_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let file = File::create(&path).unwrap();
        let number = file.as_raw_fd();
        let is_it = |found: &File| found.as_raw_fd() == number;
        assert!(left_open(is_it).is_none(), "that one ends with this program");
        hand_on(file).unwrap();
        assert!(left_open(|_| false).is_none());
        assert_eq!(left_open(is_it).unwrap().into_raw_fd(), number);
        assert!(left_open(is_it).is_none(), "it is adopted once");
    }

    #[test]
    fn a_binary_that_was_replaced_is_let_go_of_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let [binary, other] = ["heartbeat", "other"].map(|name| folder.path().join(name));
        let numbers = [&binary, &other].map(|path| {
            let file = File::create(path).unwrap();
            let number = file.as_raw_fd();
            hand_on(file).unwrap();
            number
        });
        let open = || numbers.map(|number| Path::new(&format!("/proc/self/fd/{number}")).exists());
        close_replaced_binary(&binary);
        // What is there still is somebody's.
        let found = numbers.map(|number| read_link(format!("/proc/self/fd/{number}")).ok());
        assert_eq!(found, [Some(binary.clone()), Some(other.clone())]);
        remove_file(&binary).unwrap();
        remove_file(&other).unwrap();
        close_replaced_binary(&binary);
        assert_eq!(open(), [false, true]);
    }
}
