//! How files that people write are read: without waiting for whoever has the other end, never more than is asked for, and never
//! half an edit.

use crate::system::handed_on;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The largest configuration that is read, in bytes.
pub(super) const MAX_FILE: u64 = 1024 * 1024;

/// So often is a file read that changes meanwhile.
const TRIES: u32 = 5;
/// The pause before each further attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// The system says so.
    System(io::Error),
    /// A folder, device or pipe.
    NotRegular,
    /// Its mode, as permission bits, is one of those that are not allowed.
    Exposed(u32),
    /// It has more than so many bytes.
    TooLarge,
    /// It was written to each time that it was read.
    Changing,
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A file as it was at one moment.
pub struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) metadata: Metadata,
}

impl Contents {
    /// Leaves it for the next life of this process, which reads this where it would read the file at `path`: whatever becomes of
    /// that meanwhile.
    ///
    /// # Errors
    /// What the system says: the next life will read the file.
    pub fn hand_on(&self, path: &Path) -> io::Result<()> {
        handed_on::leave_copy(path, &self.bytes, &self.metadata)
    }

    /// When it was written, in seconds since 1970.
    pub(super) fn modified(&self) -> u32 {
        u32::try_from(self.metadata.mtime()).unwrap_or(0)
    }
}

/// Reads the regular file at `path`, of at most `limit` bytes, unless its mode has one of the bits in `forbidden`.
pub(super) fn read(path: &Path, limit: u64, forbidden: u32) -> Result<Contents, ReadFault> {
    let once = || -> Result<Option<Contents>, ReadFault> {
        let file = match handed_on::copy_of(path) {
            Some(as_it_was_checked) => as_it_was_checked,
            None => {
                // Not to wait for the other end of a pipe, nor become a terminal's; a regular file does not care.
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                OpenOptions::new().read(true).custom_flags(flags).open(path)?
            }
        };
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(ReadFault::NotRegular);
        }
        if before.mode() & forbidden != 0 {
            return Err(ReadFault::Exposed(before.mode() & 0o7777));
        }
        if before.len() > limit {
            return Err(ReadFault::TooLarge);
        }
        let mut bytes = Vec::new();
        (&file).take(limit + 1).read_to_end(&mut bytes)?;
        let after = file.metadata()?;
        let stamp = |file: &Metadata| (file.len(), file.mtime(), file.mtime_nsec());
        let unchanged = stamp(&before) == stamp(&after) && bytes.len() as u64 == after.len();
        Ok(unchanged.then_some(Contents { bytes, metadata: after }))
    };
    for trial in 0..TRIES {
        if trial > 0 {
            std::thread::sleep(PAUSE);
        }
        if let Some(contents) = once()? {
            return Ok(contents);
        }
    }
    Err(ReadFault::Changing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn a_file_is_read_with_the_time_at_which_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let contents = read(&path, 4, 0).unwrap();
        let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - u64::from(contents.modified());
        assert!(contents.bytes == b"text" && age < 60, "{age}");
    }

    #[test]
    fn what_was_left_of_a_file_is_read_in_its_place_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "checked").unwrap();
        let checked = read(&path, 100, 0).unwrap();
        checked.hand_on(&path).unwrap();
        fs::write(&path, "half").unwrap();
        let next = read(&path, 100, 0o077).map(|_| ());
        assert!(matches!(next, Err(ReadFault::Exposed(_))), "its mode is what it was");
        checked.hand_on(&path).unwrap();
        let next = read(&path, 100, 0).unwrap();
        assert_eq!((next.bytes.as_slice(), next.modified()), (&b"checked"[..], checked.modified()));
        assert_eq!(read(&path, 100, 0).unwrap().bytes, b"half");
    }

    #[test]
    fn what_is_no_regular_file_or_too_large_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, large) = (folder.path().join("pipe"), folder.path().join("large"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(&large, [b'x'; 11]).unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            assert!(matches!(read(path, 10, 0), Err(ReadFault::NotRegular)), "{}", path.display());
        }
        assert!(matches!(read(&large, 10, 0), Err(ReadFault::TooLarge)));
    }

    #[test]
    fn a_file_that_is_written_to_all_the_time_is_refused_and_one_that_was_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut size = 0;
                while !done.load(Relaxed) {
                    size += 1;
                    fs::write(&path, vec![b'x'; size % 1_000 + 200_000]).unwrap();
                }
            });
            while !path.exists() {
                std::thread::yield_now();
            }
            for _ in 0..3 {
                match read(&path, 1 << 20, 0) {
                    Err(ReadFault::Changing) => {}
                    // A writer that was not scheduled meanwhile.
                    Ok(contents) => assert!(contents.bytes.len() as u64 == contents.metadata.len()),
                    Err(fault) => panic!("{fault:?}"),
                }
            }
            done.store(true, Relaxed);
        });
        assert!(read(&path, 1 << 20, 0).unwrap().bytes.len() > 200_000);
    }
}
