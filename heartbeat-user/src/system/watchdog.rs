//! The host's watchdog (Linux, Documentation/watchdog/watchdog-api.rst): a device that resets the host when nobody has written
//! to it for its timeout. It runs from when it is opened until it is closed after a `V`; closed without, it runs on.

use super::handed_on::{hand_on, left_open};
use crate::types::Nanos;
use rustix::{
    fs::fstat,
    ioctl::{Getter, Opcode, Updater, ioctl, opcode},
};
use std::{
    fs::{File, OpenOptions, metadata},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// `WDIOC_SETTIMEOUT`, `WDIOC_GETTIMEOUT` of linux/watchdog.h, in whole seconds.
const SET_TIMEOUT: Opcode = opcode::read_write::<libc::c_int>(b'W', 6);
const GET_TIMEOUT: Opcode = opcode::read::<libc::c_int>(b'W', 7);
/// What it may be fed with: anything but a `V`.
const FOOD: &[u8] = b"1";
/// Whoever closes it after this does so on purpose.
const MAGIC: &[u8] = b"V";

/// A watchdog that runs. Dropped, it runs on.
#[derive(Debug)]
pub struct WatchdogDevice {
    file: File,
    path: PathBuf,
    timeout: Nanos,
}

impl WatchdogDevice {
    /// The one that the life before left open, or else opens it, unless that is not `wanted`; from then on it is to be fed, and opening
    /// it is as good as that. Whether it was left. Called once in a process.
    ///
    /// # Errors
    /// EBUSY where another program has it; ENOTTY where it is none, which changes nothing about it; what else the system says.
    pub fn open(path: &Path, timeout: Nanos, wanted: bool) -> io::Result<(Self, bool)> {
        let left = left(path);
        let adopted = left.is_some();
        let file = match left {
            Some(file) => file,
            None if !wanted => {
                return Err(io::Error::other(
                    "what should have been let go of is still here, so it is left to run out",
                ));
            }
            None => OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?,
        };
        // Whatever is no watchdog does not know this, and is left alone.
        let before = get_timeout(&file)?;
        let seconds = i32::try_from(timeout.0 / 1_000_000_000).unwrap_or(i32::MAX);
        // To set it is to feed it.
        if before != seconds {
            set_timeout(&file, seconds)?;
        }
        let timeout = Nanos::from_millis(u64::try_from(get_timeout(&file)?).unwrap_or(0).saturating_mul(1_000));
        Ok((Self { file, path: path.to_owned(), timeout }, adopted))
    }

    /// The timeout that it has, which may be another one than was asked for.
    #[must_use]
    pub const fn timeout(&self) -> Nanos {
        self.timeout
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Feeds it. Some drivers take their time.
    ///
    /// # Errors
    /// What the system says.
    pub fn feed(&self) -> io::Result<()> {
        (&self.file).write_all(FOOD)
    }

    /// Ends it: the host is not reset.
    ///
    /// # Errors
    /// What the system says: it runs on.
    pub fn disarm(self) -> io::Result<()> {
        (&self.file).write_all(MAGIC)
    }

    /// Leaves it open for the next life of this process, which finds it.
    ///
    /// # Errors
    /// What the system says: it runs on, and the next life opens it anew.
    pub fn hand_on(self) -> io::Result<()> {
        hand_on(self.file)
    }
}

fn set_timeout(file: &File, mut seconds: i32) -> io::Result<()> {
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int, which is what the opcode says.
    match unsafe { ioctl(file, Updater::<SET_TIMEOUT, libc::c_int>::new(&mut seconds)) } {
        // One of a fixed timeout has that.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOTTY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn get_timeout(file: &File) -> io::Result<i32> {
    // SAFETY: WDIOC_GETTIMEOUT writes one int, which is what the opcode says.
    Ok(unsafe { ioctl(file, Getter::<GET_TIMEOUT, libc::c_int>::new()) }?)
}

/// The device at `path`, where the life before left it open.
fn left(path: &Path) -> Option<File> {
    let device = metadata(path).ok()?;
    let is_it =
        |file: &File| fstat(file).is_ok_and(|found| (found.st_dev, found.st_ino) == (device.dev(), device.ino()));
    left_open(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Nanos = Nanos::from_millis(10_000);

    #[test]
    fn what_is_no_watchdog_is_refused_and_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "data").unwrap();
        let refused = |path: &Path| WatchdogDevice::open(path, TEN, true).unwrap_err().raw_os_error().unwrap();
        assert_eq!(refused(&file), libc::ENOTTY);
        assert_eq!(WatchdogDevice::open(&file, TEN, false).unwrap_err().raw_os_error(), None, "it is not even opened");
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
        assert_eq!(refused(Path::new("/dev/null")), libc::ENOTTY);
        assert_eq!(refused(&folder.path().join("absent")), libc::ENOENT);
    }

    #[test]
    fn the_calls_are_those_of_linux_watchdog_h() {
        assert_eq!((SET_TIMEOUT, GET_TIMEOUT), (0xc004_5706, 0x8004_5707));
    }

    #[test]
    fn the_device_that_was_left_open_is_adopted_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["device", "other"].map(|name| folder.path().join(name));
        for path in [&path, &other] {
            hand_on(File::create(path).unwrap()).unwrap();
        }
        let found = left(&path).unwrap();
        assert_eq!(found.metadata().unwrap().ino(), metadata(&path).unwrap().ino());
        assert!(left(&path).is_none() && left(&other).is_some());
    }
}
