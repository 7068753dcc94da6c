//! A disk that both controllers have: a loop device, where this kernel has them, else the file behind it, read and written past
//! all caches.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The size of its blocks in bytes.
pub const BLOCK: u64 = 4096;

/// A disk of 1 MiB, of zeros at first; gone when this is.
pub struct SharedDisk {
    /// Where it is, on every host of the lab.
    pub path: PathBuf,
    /// Whether it is a loop device.
    pub is_loop: bool,
    folder: TempDir,
}

impl SharedDisk {
    /// A new one.
    ///
    /// # Errors
    /// No file can be made.
    pub fn new() -> Result<Self> {
        // Beside the program: in memory, some kernels cannot read and write past the cache.
        let program = std::env::current_exe()?;
        let folder = tempfile::tempdir_in(program.parent().context("a program is in a folder")?)?;
        let file = folder.path().join("disk");
        File::create(&file)?.set_len(1 << 20)?;
        let made = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&file).output();
        match made {
            Ok(made) if made.status.success() => {
                let path = PathBuf::from(String::from_utf8(made.stdout)?.trim());
                Ok(Self { path, is_loop: true, folder })
            }
            other => {
                eprintln!("NOT ON A LOOP DEVICE, but on the file: {other:?}");
                Ok(Self { path: file, is_loop: false, folder })
            }
        }
    }

    /// The file behind it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Overwrites bytes of a block, past whoever uses it.
    ///
    /// # Errors
    /// The system's.
    pub fn damage(&self, block: u64, at: usize, bytes: &[u8]) -> Result<()> {
        let mut whole = Aligned([0; BLOCK as usize]);
        let file = direct(&self.path)?;
        file.read_exact_at(&mut whole.0, block * BLOCK)?;
        whole.0[at..][..bytes.len()].copy_from_slice(bytes);
        Ok(file.write_all_at(&whole.0, block * BLOCK)?)
    }
}

impl Drop for SharedDisk {
    fn drop(&mut self) {
        if self.is_loop {
            let _ = Command::new("losetup").arg("--detach").arg(&self.path).output();
        }
    }
}

#[repr(align(4096))]
struct Aligned([u8; BLOCK as usize]);

fn direct(path: &Path) -> Result<File> {
    let flags = nix::fcntl::OFlag::O_DIRECT.bits();
    Ok(File::options().read(true).write(true).custom_flags(flags).open(path)?)
}
