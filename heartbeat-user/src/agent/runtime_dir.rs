//! The runtime directory: what is in it, whose it is, and that one agent only has it.
//!
//! | file | what | outlives |
//! |---|---|---|
//! | `lock` | the process that has it | nothing |
//! | `api.sock` | the API | nothing |
//! | `maintenance` | there while an operator wants nothing to move | the agent |
//! | `life.json` | what this life holds by which name ([`Life`](super::life::Life)) | the agent, until it is released |
//! | `runs.json` | which hooks run, by the marks in their environment ([`Runs`](super::runs::Runs)) | the agent, until they are gone |
//! | `tables` | what was counted, where there is no XDP | the agent, likewise |
//! | `records.left` | events that a life left for the next one | a restart |
//!
//! All of it is made anew where somebody empties the folder under a running agent. That no second agent begins in that moment
//! is what the name in the kernel is for: an abstract Unix socket with the folder's path in its name.

use crate::{
    config::Pair,
    dataplane::{self, PinnedCell, Tables},
    system::names::Name,
    types::Node,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// The names in it. `life.new` is `life.json` while that is written, and so on.
const LOCK: &str = "lock";
const SOCKET: &str = "api.sock";
const MAINTENANCE: &str = "maintenance";
const LIFE: &str = "life.json";
const RUNS: &str = "runs.json";
const TABLES: &str = "tables";
const RECORDS: &str = "records.left";

/// The socket in the runtime directory on which the API is served.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(SOCKET)
}

/// The folder, checked.
#[derive(Clone, Debug)]
pub(super) struct RuntimeDir {
    path: PathBuf,
}

/// How long the kernel may take to give back what a killed process had, and how often that is looked for.
const DYING: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(5);

/// That the folder is ours, for as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    lock: Flock<File>,
    /// Where the name in the kernel is to be had.
    name: Option<Name>,
    /// Whom this agent speaks for, once that is known.
    pair: Option<Name>,
}

impl RuntimeDir {
    /// The folder at `path`, made where it is not there.
    ///
    /// # Errors
    /// It cannot be made, is no folder, or others than its owner and root may put files there.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.with_context(|| format!("--runtime-dir {shown}: cannot be made"))?;
        let found = fs::metadata(path).with_context(|| format!("--runtime-dir {shown}"))?;
        let owner = found.uid();
        ensure!(
            owner == 0 || owner == geteuid().as_raw(),
            "--runtime-dir {shown} belongs to user {owner}; right would be one that belongs to root: `chown root {shown}`"
        );
        let group_is_roots = found.gid() == 0;
        let others = if group_is_roots { 0o002 } else { 0o022 };
        ensure!(
            found.mode() & others == 0,
            "--runtime-dir {shown} has mode {:04o}: others can put files there; right would be `chmod 755 {shown}`",
            found.mode() & 0o7777
        );
        Ok(Self { path: path.canonicalize().with_context(|| format!("--runtime-dir {shown}"))? })
    }

    /// The same, where an earlier life has left something in it; none where there is no such folder.
    pub(super) fn find(path: &Path) -> Option<Self> {
        path.exists().then(|| Self::open(path).ok()).flatten()
    }

    /// Its path, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// There while an operator wants nothing to move; it outlives the agent, not the host's boot.
    pub(super) fn maintenance(&self) -> PathBuf {
        self.path.join(MAINTENANCE)
    }

    /// The record of this life.
    pub(super) fn life(&self) -> PathBuf {
        self.path.join(LIFE)
    }

    /// Which hooks run.
    pub(super) fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// The records of what was counted, where there is no XDP.
    pub(super) fn tables(&self) -> PathBuf {
        self.path.join(TABLES)
    }

    /// Events that this life leaves for the next one.
    pub(super) fn records(&self) -> PathBuf {
        self.path.join(RECORDS)
    }

    /// Where the API is served.
    pub(super) fn socket(&self) -> PathBuf {
        socket_path(&self.path)
    }

    /// Where the kernel keeps what is shared with it.
    pub(super) fn pin_folder(&self) -> Result<PathBuf> {
        Ok(dataplane::pin_folder(&self.path)?)
    }

    /// The same, as versions before the third of the records had it.
    fn pin_folder_before(&self) -> PathBuf {
        let name = self.path.to_string_lossy();
        Path::new("/sys/fs/bpf/heartbeat").join(name.trim_start_matches('/').replace('/', "-").replace('.', "_"))
    }

    /// The cells of lives before, wherever they are.
    pub(super) fn cells(&self) -> Vec<PinnedCell> {
        let pins = [self.pin_folder().ok(), Some(self.pin_folder_before())];
        let cells = pins.into_iter().flatten().filter_map(|folder| PinnedCell::read(&folder));
        cells.chain(PinnedCell::read_file(&self.tables())).collect()
    }

    /// The records of the programs that a life of this version left; none where there are none.
    pub(super) fn pinned(&self) -> Option<Tables> {
        Tables::of_pins(&self.pin_folder().ok()?).ok().flatten()
    }

    /// Takes the pins away: whoever runs without XDP has no use for them.
    pub(super) fn forget_pins(&self) {
        for folder in [self.pin_folder().ok(), Some(self.pin_folder_before())].into_iter().flatten() {
            if let Err(error) = dataplane::remove_pins(&folder) {
                log::warn!("{error:#}");
            }
        }
    }

    /// Takes away what a version before the third of the records pinned, and no later one finds: its cell was read.
    pub(super) fn forget_pins_before(&self) {
        let (before, now) = (self.pin_folder_before(), self.pin_folder().ok());
        if now.as_ref() != Some(&before)
            && let Err(error) = dataplane::remove_pins(&before)
        {
            log::warn!("{error:#}");
        }
    }

    /// Takes the API's socket away: nobody is asked there any more.
    pub(super) fn forget_socket(&self) {
        let _ = fs::remove_file(self.socket());
    }

    /// Takes the file of tables away: whoever runs with XDP has no use for it.
    pub(super) fn forget_tables(&self) {
        if let Err(error) = remove(&self.tables()) {
            log::warn!("{}: {error}", self.tables().display());
        }
    }

    /// Whether an operator wants nothing to move.
    pub(super) fn is_in_maintenance(&self) -> bool {
        fs::symlink_metadata(self.maintenance()).is_ok()
    }

    /// Notes that, or that it is over.
    ///
    /// # Errors
    /// What the system says: the next life will not know.
    pub(super) fn note_maintenance(&self, on: bool) -> io::Result<()> {
        let path = self.maintenance();
        if on { own_file().open(&path).map(drop) } else { remove(&path) }
    }

    /// Whether what a running agent has in it is still there.
    pub(super) fn is_intact(&self, claim: &Claim) -> bool {
        let inode = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
        let there = fs::symlink_metadata(self.path.join(LOCK)).map(|file| (file.dev(), file.ino()));
        let same = matches!((inode(&claim.lock), there), (Ok(ours), Ok(there)) if ours == there);
        same && fs::symlink_metadata(self.socket()).is_ok()
    }

    /// Makes it ours.
    ///
    /// # Errors
    /// Another agent has it.
    pub(super) fn claim(&self) -> Result<Claim> {
        let claim = || Ok(Claim { name: self.name_in_the_kernel()?, lock: self.lock()?, pair: None });
        let begun = Instant::now();
        loop {
            match claim() {
                // One that was killed just now is not quite gone.
                Err(_) if begun.elapsed() < DYING => sleep(AGAIN),
                claimed => return claimed,
            }
        }
    }

    /// The same again, after somebody has emptied the folder.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub(super) fn claim_again(&self, claim: &mut Claim) -> Result<()> {
        Self::open(&self.path)?;
        claim.lock = self.lock()?;
        Ok(())
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.path.join(LOCK);
        let mut file = own_file()
            .read(true)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("{}: cannot be opened", path.display()))?;
        let mut holder = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut holder);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                let written = lock.set_len(0).and_then(|()| lock.rewind());
                let written = written.and_then(|()| writeln!(lock, "{}", std::process::id()));
                written.with_context(|| format!("{}: cannot be written", path.display()))?;
                Ok(lock)
            }
            Err((_, Errno::EWOULDBLOCK)) => bail!(self.taken(&format!("process {}", holder.trim()))),
            Err((_, error)) => Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
        }
    }

    fn taken(&self, by: &str) -> String {
        format!(
            "--runtime-dir {}: an agent ({by}) runs on it already; stop that one, or give each its own directory",
            self.path.display()
        )
    }

    /// A name that nobody can have at the same time in this network namespace.
    fn name_in_the_kernel(&self) -> Result<Option<Name>> {
        // A folder whose path is too long for it has the lock alone.
        Name::take(&self.path.display().to_string()).map_err(|pid| anyhow!(self.taken(&format!("process {pid}"))))
    }
}

impl Claim {
    /// Speaks for one controller of a pair, which another agent might, with another runtime directory: the process of that one.
    pub(super) fn speak_for(&mut self, pair: &Pair, node: Node) -> Result<(), i32> {
        if self.pair.is_none() {
            self.pair = Name::take(&format!("pair {} at port {}, {node}", pair.id, pair.port))?;
        }
        Ok(())
    }

    /// Nobody who asked whose all this is waits for an answer.
    pub(super) fn turn_away(&self) {
        [&self.name, &self.pair].into_iter().flatten().for_each(Name::turn_away);
    }

    /// Leaves it for the next life of this process: nobody else can begin between the two.
    pub(super) fn hand_on(self) {
        [self.name, self.pair].into_iter().flatten().for_each(Name::hand_on);
    }
}

/// A file of ours, to be written: what a link leads to is none.
fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Writes a file anew, so that whoever reads it finds all of the old one or all of the new one, also after a crash.
///
/// # Errors
/// What the system says; then the old one is still there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    remove(&new)?;
    let mut file = own_file().open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Also where there is nothing to remove.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn below(folder: &tempfile::TempDir) -> RuntimeDir {
        RuntimeDir::open(&folder.path().join("run")).unwrap()
    }

    #[test]
    fn a_folder_belongs_to_one_agent_also_after_it_was_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let dir = below(&folder);
        let mut claim = dir.claim().unwrap();
        let refused = format!("{:#}", dir.claim().unwrap_err());
        let pid = std::process::id();
        assert!(refused.contains(&format!("an agent (process {pid}) runs on it already")), "{refused}");

        fs::write(dir.socket(), "").unwrap();
        assert!(dir.is_intact(&claim));
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(!dir.is_intact(&claim));
        // Nobody else begins in it meanwhile.
        RuntimeDir::open(dir.path()).unwrap();
        assert!(dir.claim().is_err());
        dir.claim_again(&mut claim).unwrap();
        fs::write(dir.socket(), "").unwrap();
        assert!(dir.is_intact(&claim));
        // Somebody who put another lock there is not us.
        fs::remove_file(dir.path().join("lock")).unwrap();
        fs::write(dir.path().join("lock"), "1").unwrap();
        assert!(!dir.is_intact(&claim));
        drop(claim);
        drop(dir.claim().unwrap());
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused_with_what_would_be_right() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o757] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let said = format!("{:#}", RuntimeDir::open(folder.path()).unwrap_err());
            assert!(said.contains(&format!("mode {mode:04o}")) && said.contains("chmod 755"), "{said}");
        }
    }

    #[test]
    fn what_a_link_leads_to_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let dir = below(&folder);
        let other = folder.path().join("other");
        fs::write(&other, "theirs").unwrap();
        for name in ["lock", "maintenance"] {
            symlink(&other, dir.path().join(name)).unwrap();
        }
        assert!(dir.claim().is_err() && dir.note_maintenance(true).is_err());
        dir.note_maintenance(false).unwrap();
        assert!(!dir.is_in_maintenance());
        dir.note_maintenance(true).unwrap();
        assert!(dir.is_in_maintenance());
        symlink(&other, dir.path().join("life.new")).unwrap();
        replace(&dir.life(), b"ours").unwrap();
        assert_eq!((fs::read(&other).unwrap(), fs::read(dir.life()).unwrap()), (b"theirs".to_vec(), b"ours".to_vec()));
    }
}
