//! A file of lines that is rotated before it grows beyond a size, and never has half a line in its middle.

use crate::config::Rotated;
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Readable for the group: whoever reads logs.
const MODE: u32 = 0o640;

/// What each file begins with.
pub type Header = fn() -> Result<String>;

/// The file, opened when it is first written to, and again where it is not the one at its path any more.
pub struct RotatedFile {
    to: Rotated,
    header: Option<Header>,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// As far as it was written.
    len: u64,
    /// Its last line has no end: somebody died while he wrote it.
    torn: bool,
}

impl RotatedFile {
    /// One that appends to what is there.
    #[must_use]
    pub const fn new(to: Rotated, header: Option<Header>) -> Self {
        Self { to, header, open: None }
    }

    /// Appends whole lines, all of them to the same file: they are in it, or nothing is.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn append(&mut self, lines: &str) -> Result<()> {
        let appended = self.try_append(lines);
        if appended.is_err() {
            // Whatever it was: the next attempt begins anew.
            self.open = None;
        }
        appended.with_context(|| self.to.path.display().to_string())
    }

    /// On the disk, not only in the system's memory.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn sync(&self) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        open.file.sync_data().with_context(|| self.to.path.display().to_string())
    }

    fn try_append(&mut self, lines: &str) -> Result<()> {
        let mut open = self.current()?;
        if open.len > 0 && open.len + lines.len() as u64 > self.to.bytes {
            drop(open);
            rotate(&self.to)?;
            open = self.current()?;
        }
        let mut text = String::new();
        if open.len == 0 {
            text += &self.header.map_or(Ok(String::new()), |header| header())?;
        } else if open.torn {
            text.push('\n');
        }
        text += lines;
        let written = write(&mut open, text.as_bytes());
        self.open = Some(open);
        written
    }

    /// The file at the path, as it is now.
    fn current(&mut self) -> Result<Open> {
        if let Some(mut open) = self.open.take()
            && let (Ok(there), Ok(ours)) = (fs::metadata(&self.to.path), open.file.metadata())
            && (there.dev(), there.ino()) == (ours.dev(), ours.ino())
        {
            if ours.len() != open.len {
                // Somebody cut it, or wrote to it, too.
                (open.len, open.torn) = (ours.len(), is_torn(&open.file, ours.len())?);
            }
            return Ok(open);
        }
        // Not blocking: a FIFO that nobody reads.
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(MODE)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&self.to.path)?;
        let found = file.metadata()?;
        ensure!(found.is_file(), "is not a regular file; right would be the path of one, or of none");
        let mut open = Open { len: found.len(), torn: is_torn(&file, found.len())?, file };
        if open.torn && self.header.is_some() {
            // Half a line is nothing in a log whose lines are read by programs alone.
            open.len = line_end(&mut open.file, open.len)?;
            open.file.set_len(open.len)?;
            open.torn = false;
        }
        Ok(open)
    }
}

/// All of it, or nothing.
fn write(open: &mut Open, bytes: &[u8]) -> Result<()> {
    if let Err(error) = open.file.write_all(bytes) {
        // The disk is full, as a rule, and nothing is gained by half a line. Where it stays, what follows begins a new one.
        open.file.set_len(open.len)?;
        return Err(error.into());
    }
    (open.len, open.torn) = (open.len + bytes.len() as u64, false);
    Ok(())
}

fn is_torn(file: &File, len: u64) -> io::Result<bool> {
    let mut last = [0];
    if len == 0 {
        return Ok(false);
    }
    file.read_exact_at(&mut last, len - 1)?;
    Ok(last != *b"\n")
}

/// Where the last whole line ends.
fn line_end(file: &mut File, len: u64) -> io::Result<u64> {
    let tail = tail(file, len)?;
    Ok(len - tail.len() as u64 + tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

/// The last bytes, as many as a line can have.
fn tail(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    const LONGEST: u64 = 256 * 1024;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(LONGEST)))?;
    file.take(LONGEST).read_to_end(&mut tail)?;
    Ok(tail)
}

/// `FILE.4` becomes `FILE.5`, and so on; the file itself becomes `FILE.1`.
fn rotate(to: &Rotated) -> Result<()> {
    for number in (0..to.kept).rev() {
        match fs::rename(numbered(&to.path, number), numbered(&to.path, number + 1)) {
            Err(error) if number == 0 || error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("making it .{}", number + 1));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The older file of that number; 0 is the file itself.
#[must_use]
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn rotated(folder: &tempfile::TempDir) -> Rotated {
        Rotated { path: folder.path().join("x"), bytes: 20, kept: 2 }
    }

    fn read(to: &Rotated, number: u32) -> String {
        fs::read_to_string(numbered(&to.path, number)).unwrap_or_default()
    }

    #[test]
    fn a_file_that_would_grow_too_large_becomes_an_older_one_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let to = rotated(&folder);
        let mut file = RotatedFile::new(to.clone(), None);
        for line in ["1234567\n", "2234567\n", "3234567\n", "4234567\n", "a line longer than a file\n", "6\n", "7\n"] {
            file.append(line).unwrap();
        }
        assert_eq!([0, 1, 2].map(|n| read(&to, n)), ["6\n7\n", "a line longer than a file\n", "3234567\n4234567\n"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(fs::metadata(&to.path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn each_file_begins_with_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let to = rotated(&folder);
        let mut file = RotatedFile::new(to.clone(), Some(|| Ok("#\n".into())));
        for line in ["1234567\n", "2234567\n", "3234567\n"] {
            file.append(line).unwrap();
        }
        assert_eq!([0, 1].map(|n| read(&to, n)), ["#\n3234567\n", "#\n1234567\n2234567\n"]);
    }

    #[test]
    fn half_a_line_spoils_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let to = rotated(&folder);
        fs::write(&to.path, "a\nhalf").unwrap();
        RotatedFile::new(to.clone(), None).append("b\n").unwrap();
        assert_eq!(read(&to, 0), "a\nhalf\nb\n");
        fs::write(&to.path, "a\nhalf").unwrap();
        RotatedFile::new(to.clone(), Some(|| Ok("#\n".into()))).append("b\n").unwrap();
        assert_eq!(read(&to, 0), "a\nb\n");
    }

    #[test]
    fn what_was_moved_removed_or_cut_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let to = rotated(&folder);
        let mut file = RotatedFile::new(to.clone(), None);
        file.append("1\n").unwrap();
        fs::rename(&to.path, folder.path().join("moved")).unwrap();
        file.append("2\n").unwrap();
        assert_eq!(read(&to, 0), "2\n");
        fs::remove_file(&to.path).unwrap();
        file.append("3\n").unwrap();
        assert_eq!(read(&to, 0), "3\n");
        File::create(&to.path).unwrap();
        file.append("4\n").unwrap();
        assert_eq!(read(&to, 0), "4\n");
        let moved = folder.path().join("folder");
        fs::create_dir(&moved).unwrap();
        let mut below = RotatedFile::new(Rotated { path: moved.join("x"), ..to.clone() }, None);
        below.append("1\n").unwrap();
        fs::remove_dir_all(&moved).unwrap();
        assert!(format!("{:#}", below.append("2\n").unwrap_err()).contains("folder/x: No such file"));
        fs::create_dir(&moved).unwrap();
        below.append("3\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("x")).unwrap(), "3\n");
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_anybody() {
        let folder = tempfile::tempdir().unwrap();
        let to = rotated(&folder);
        nix::unistd::mkfifo(&to.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = RotatedFile::new(to, None).append("1\n").unwrap_err();
        assert!(format!("{error:#}").contains("not a regular file"), "{error:#}");
    }
}
