//! One set-up of a clone at a time: two at once would build the same tools in the same folders.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result};

/// The lock of a clone's set-up. The kernel gives it back once nobody has it open any more: neither this process, however
/// it ended, nor a program that it started [with it](Self::share).
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of the tools in `folder`, which is made where it is not there. Where another process has it, calls
    /// `waits`, then waits for as long as that works.
    ///
    /// # Errors
    /// The folder or its file `lock` cannot be made or locked.
    pub(crate) fn take(folder: &Path, waits: impl FnOnce()) -> Result<Self> {
        let path = folder.join("lock");
        let told = || format!("locking {}", path.display());
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).with_context(told)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waits();
                file.lock().with_context(told)?;
            }
            // As cargo does: where the file system has no locks, there is none to wait for.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(told),
        }
        Ok(Self(file))
    }

    /// The standard input of a program that writes into the folder: nothing to read, and the lock for as long as it runs,
    /// for whoever ends us alone leaves it writing.
    ///
    /// # Errors
    /// The process has no more descriptors.
    pub(crate) fn share(&self) -> Result<Stdio> {
        Ok(self.0.try_clone().context("handing the lock of the set-up on")?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        process::Command,
        sync::mpsc::{self, RecvTimeoutError},
        thread,
        time::Duration,
    };

    /// Takes the lock on another thread: what is sent once it waits, and once it has it.
    fn another(folder: &Path) -> mpsc::Receiver<&'static str> {
        let (said, heard) = mpsc::channel();
        let folder = folder.to_owned();
        thread::spawn(move || {
            let _lock = Lock::take(&folder, || said.send("waits").unwrap()).unwrap();
            said.send("has it").unwrap();
        });
        heard
    }

    #[test]
    fn a_second_set_up_says_that_it_waits_and_goes_on_once_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(&folder.path().join("tools"), || panic!("nobody else is there")).unwrap();
        let second = another(&folder.path().join("tools"));
        assert_eq!(second.recv(), Ok("waits"));
        assert_eq!(second.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
        drop(first);
        assert_eq!(second.recv(), Ok("has it"));
    }

    #[test]
    fn what_a_dead_set_up_has_started_still_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), || panic!("nobody else is there")).unwrap();
        let mut started = Command::new("sleep").arg("600").stdin(first.share().unwrap()).spawn().unwrap();
        drop(first);
        let second = another(folder.path());
        assert_eq!(second.recv(), Ok("waits"));
        assert_eq!(second.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
        started.kill().unwrap();
        started.wait().unwrap();
        assert_eq!(second.recv(), Ok("has it"));
    }
}
