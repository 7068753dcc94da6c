//! The host's watchdog (Linux, Documentation/watchdog/watchdog-api.rst): a device that resets the host when nobody has written
//! to it for its timeout. It runs from when it is opened until it is closed after a `V`; closed without, it runs on.

use crate::core::Nanos;
use rustix::{
    fs::fstat,
    io::{FdFlags, fcntl_setfd},
    ioctl::{Getter, Opcode, Updater, ioctl, opcode},
};
use std::{
    fs::{File, OpenOptions, metadata, read_dir},
    io::{self, Write as _},
    os::{
        fd::{FromRawFd as _, IntoRawFd as _, RawFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
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
pub struct Watchdog {
    file: File,
    path: PathBuf,
    timeout: Nanos,
}

impl Watchdog {
    /// The one that the life before left open, or else opens it, unless that is not `wanted`; from then on it is to be fed, and opening
    /// it is as good as that. Whether it was left. Called once in a process.
    ///
    /// # Errors
    /// EBUSY where another program has it; ENOTTY where it is none, which changes nothing about it; what else the system says.
    pub fn open(path: &Path, timeout: Nanos, wanted: bool) -> io::Result<(Self, bool)> {
        let left = left_open(path);
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
        fcntl_setfd(&self.file, FdFlags::empty())?;
        let _stays_open: RawFd = self.file.into_raw_fd();
        Ok(())
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

/// A descriptor of this process that is the device at `path` and would have survived the start of this program: nobody in it
/// opens any without close-on-exec.
fn left_open(path: &Path) -> Option<File> {
    let device = metadata(path).ok()?;
    let numbers =
        read_dir("/proc/self/fd").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number: &RawFd| *number > 2) {
        // SAFETY: it is looked at as it is, and given back below unless it is the one that is looked for: then nobody else has it,
        // for nobody else opens that device, and this is called once.
        let file = unsafe { File::from_raw_fd(number) };
        let is_it = fstat(&file).is_ok_and(|found| (found.st_dev, found.st_ino) == (device.dev(), device.ino()));
        let survives = rustix::io::fcntl_getfd(&file).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC));
        if is_it && survives && fcntl_setfd(&file, FdFlags::CLOEXEC).is_ok() {
            return Some(file);
        }
        let _not_ours: RawFd = file.into_raw_fd();
    }
    None
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
        let refused = |path: &Path| Watchdog::open(path, TEN, true).unwrap_err().raw_os_error().unwrap();
        assert_eq!(refused(&file), libc::ENOTTY);
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
        assert_eq!(refused(Path::new("/dev/null")), libc::ENOTTY);
        assert_eq!(refused(&folder.path().join("absent")), libc::ENOENT);
    }

    #[test]
    fn the_calls_are_those_of_linux_watchdog_h() {
        assert_eq!((SET_TIMEOUT, GET_TIMEOUT), (0xc004_5706, 0x8004_5707));
    }

    #[test]
    fn only_what_was_left_open_on_purpose_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let file = File::create(&path).unwrap();
        assert!(left_open(&path).is_none(), "that one ends with this program");
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let number = file.into_raw_fd();
        let left = left_open(&path).unwrap();
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&left), number);
        assert!(left_open(&path).is_none(), "it is adopted once");
    }
}
