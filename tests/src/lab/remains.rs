//! A lab's folder, and the removal of what labs leave behind that died without cleaning up.
//!
//! Everything of a lab has its id in its name: the folder `/run/heartbeat-lab/ID`, namespaces `/run/netns/ID-*`, pins below
//! `/sys/fs/bpf/heartbeat/run%2fheartbeat-lab%2fID%2f*`, and its agents have the folder on their command lines. A lab is alive
//! while the process named in its `lab.pid` is, which is one with that pid *and* that start time: pids come back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::netns;

/// Below it each lab has its folder.
pub const LABS: &str = "/run/heartbeat-lab";
const PINS: &str = "/sys/fs/bpf/heartbeat";
/// What stands for a slash in names there.
const SLASH: &str = "%2f";

/// A lab's id and folder; the folder, the pins and forgotten namespaces go on drop.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) id: String,
    pub(super) folder: PathBuf,
}

impl Home {
    /// Removes the remains of dead labs, then claims a new id.
    pub(super) fn claim() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        anyhow::ensure!(geteuid().is_root(), "the lab needs root: it makes network namespaces and loads XDP programs");
        fs::create_dir_all(LABS).with_context(|| format!("cannot create {LABS}"))?;
        let _one_at_a_time = lock()?;
        sweep_locked()?;
        let pid = process::id();
        let id = format!("hb{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(LABS).join(&id);
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let home = Self { id, folder };
        let start = start_time(pid).context("cannot read our own /proc/PID/stat")?;
        fs::write(home.folder.join("lab.pid"), format!("{pid} {start}\n")).context("cannot write lab.pid")?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        remove(&self.id);
    }
}

/// The ids of the labs that are alive, oldest first.
///
/// # Errors
/// The folder of labs cannot be read.
pub fn living() -> Result<Vec<String>> {
    let mut found: Vec<_> = ids()?.into_iter().filter(|id| is_alive(id)).collect();
    found
        .sort_by_key(|id| fs::metadata(Path::new(LABS).join(id).join("lab.pid")).and_then(|file| file.modified()).ok());
    Ok(found)
}

/// Removes whatever dead labs left. A new lab does this first; it is public for a clean-up by hand.
///
/// # Errors
/// The folder of labs cannot be read or locked.
pub fn sweep() -> Result<Vec<String>> {
    if !Path::new(LABS).exists() {
        return Ok(Vec::new());
    }
    let _one_at_a_time = lock()?;
    sweep_locked()
}

fn lock() -> Result<Flock<File>> {
    Flock::lock(File::open(LABS)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {LABS}"))
}

fn sweep_locked() -> Result<Vec<String>> {
    let dead: Vec<_> = ids()?.into_iter().filter(|id| !is_alive(id)).collect();
    for id in &dead {
        kill_orphans(id);
        remove(id);
    }
    Ok(dead)
}

/// Ids that something is left of: a folder, or at least a namespace, or pins.
fn ids() -> Result<Vec<String>> {
    let mut found = names(Path::new(LABS)).context("cannot list the labs")?;
    for namespace in names(Path::new(netns::FOLDER)).unwrap_or_default() {
        let mut parts = namespace.splitn(3, '-');
        if let (Some(pid), Some(count), Some(_)) = (parts.next(), parts.next(), parts.next()) {
            found.push(format!("{pid}-{count}"));
        }
    }
    let within = pins_of(&Path::new(LABS).join(""));
    for pins in names(Path::new(PINS)).unwrap_or_default() {
        let id = pins.strip_prefix(&within).and_then(|rest| rest.split_once(SLASH));
        found.extend(id.map(|(id, _)| id.to_owned()));
    }
    found.retain(|id| is_id(id));
    found.sort();
    found.dedup();
    Ok(found)
}

fn is_id(name: &str) -> bool {
    let numbers = name.strip_prefix("hb").and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(pid, count)| pid.parse::<u32>().is_ok() && count.parse::<u32>().is_ok())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn is_alive(id: &str) -> bool {
    let written = fs::read_to_string(Path::new(LABS).join(id).join("lab.pid")).unwrap_or_default();
    let Some((pid, start)) = written.trim().split_once(' ') else {
        return false;
    };
    pid.parse().ok().and_then(start_time).is_some_and(|now| now.to_string() == start)
}

/// Field 22 of `/proc/PID/stat`: clock ticks from boot to the start of the process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may hold anything, blanks and parentheses included.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// Kills the agents that a dead lab noted, if they are still what they were: processes that work in that lab's folder.
fn kill_orphans(id: &str) {
    let folder = Path::new(LABS).join(id);
    let within = format!("{}/", folder.display());
    for note in names(&folder).unwrap_or_default() {
        if !(note.starts_with("agent-") && note.ends_with(".pid")) {
            continue;
        }
        let Some(pid) = fs::read_to_string(folder.join(note)).ok().and_then(|text| text.trim().parse::<i32>().ok())
        else {
            continue;
        };
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if pid > 1 && String::from_utf8_lossy(&command_line).contains(&within) {
            let _already_gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// What a lab's agent left in bpffs below its runtime directory's name.
pub(super) fn remove_pins(runtime_dir: &Path) {
    let _never_pinned = fs::remove_dir_all(Path::new(PINS).join(pins_of(runtime_dir)));
}

/// The name of the folder in which an agent pins its maps: its runtime directory, without slashes.
fn pins_of(runtime_dir: &Path) -> String {
    runtime_dir.display().to_string().trim_start_matches('/').replace('/', SLASH)
}

fn remove(id: &str) {
    let own = format!("{id}-");
    for name in names(Path::new(netns::FOLDER)).unwrap_or_default() {
        if name.starts_with(&own) {
            netns::remove_file(&Path::new(netns::FOLDER).join(name));
        }
    }
    let folder = Path::new(LABS).join(id);
    for node in ["a", "b"] {
        remove_pins(&folder.join(node));
    }
    unmount_within(&folder);
    let _already_gone = fs::remove_dir_all(folder);
}

/// What is mounted in a lab's folder, as a file system of FUSE whose process died with the lab: nobody gets in there any more,
/// and nothing could remove the folder.
fn unmount_within(folder: &Path) {
    let within = format!("{}/", folder.display());
    // proc_pid_mountinfo(5): the fifth field. The later ones first: one may be in another.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).filter(|at| at.starts_with(&within)) {
        let _already_gone = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
}
