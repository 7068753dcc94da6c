//! The devices that keys of the configuration name: disks, serial lines, the watchdog.

use super::{
    super::{ArbiterEngine, Config},
    HostProblem,
};
use crate::types::Node;
use nix::errno::Errno;
use std::fmt;
use std::fs::{Metadata, metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Whose device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The channel of that name.
    Channel(String),
    /// The arbiter.
    Arbiter,
}

impl Owner {
    /// By what it is known.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Channel(name) => name,
            Self::Arbiter => "arbiter.disk",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(f, "channel \"{name}\""),
            Self::Arbiter => f.write_str("arbiter.disk"),
        }
    }
}

/// What is wrong with the devices of `config`, as `node` has them. What is on disks is told by those who read them.
pub(super) fn check_devices(config: &Config, node: Node) -> Vec<HostProblem> {
    let lines = config.channels.iter().filter_map(|channel| {
        let owner = Owner::Channel(channel.name.clone());
        Some((owner, channel.line(node)?.device))
    });
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (owner, path, is_disk) in lines.map(|(owner, path)| (owner, path, false)).chain(disks(config, node)) {
        match look(&path, is_disk) {
            Ok(id) => found.push((id, owner, path)),
            Err(Some(reason)) => problems.push(HostProblem::DeviceMissing { owner, path, is_disk, reason }),
            Err(None) => problems.push(HostProblem::NotADevice { owner, path, is_disk }),
        }
    }
    problems.extend(twice(&found));
    problems
}

/// The disks of the channels and of the arbiter.
fn disks(config: &Config, node: Node) -> Vec<(Owner, PathBuf, bool)> {
    let channels = config.channels.iter().filter_map(|channel| {
        let (path, _) = channel.disk(node)?;
        Some((Owner::Channel(channel.name.clone()), path.to_owned(), true))
    });
    let arbiter = config.arbiter.iter().filter_map(|arbiter| match &arbiter.engine {
        ArbiterEngine::Disk(path) => Some((Owner::Arbiter, path.clone(), true)),
        _ => None,
    });
    channels.chain(arbiter).collect()
}

/// Tells devices apart, whatever they are called: a device's number, or where a file is.
type Id = (bool, u64, u64);

/// What it is; else what the system says, or nothing where it is something else.
fn look(path: &Path, is_disk: bool) -> Result<Id, Option<Errno>> {
    let found = metadata(path).map_err(|error| Some(errno(&error)))?;
    let (kind, id) = (found.file_type(), |found: &Metadata| (true, found.rdev(), 0));
    match is_disk {
        true if kind.is_block_device() => Ok(id(&found)),
        true if kind.is_file() => Ok((false, found.dev(), found.ino())),
        false if kind.is_char_device() => Ok(id(&found)),
        _ => Err(None),
    }
}

/// The channels whose devices are one under two names: each would write where the other one does. A lease has its own place.
fn twice(found: &[(Id, Owner, PathBuf)]) -> Vec<HostProblem> {
    let channels: Vec<_> = found.iter().filter(|(_, owner, _)| *owner != Owner::Arbiter).collect();
    let again = |(i, (id, owner, path)): (usize, &&(Id, Owner, PathBuf))| {
        let (_, first, at) = channels[..i].iter().find(|(other, ..)| other == id)?;
        let (owner, path, first, at) = (owner.clone(), path.clone(), first.clone(), at.clone());
        Some(HostProblem::SameDevice { owner, path, first, at })
    };
    channels.iter().enumerate().filter_map(again).collect()
}

/// The disks of `config`, as `node` has them, whose names may be others' after the next boot. An agent runs all the same.
#[must_use]
pub fn check_disk_names(config: &Config, node: Node) -> Vec<HostProblem> {
    let passing = |(owner, path, _): (Owner, PathBuf, bool)| {
        let key = match owner {
            Owner::Channel(_) => format!("{owner}: {node}.device"),
            Owner::Arbiter => owner.to_string(),
        };
        (path.parent() == Some(Path::new("/dev"))).then_some(HostProblem::PassingName { key, path })
    };
    disks(config, node).into_iter().filter_map(passing).collect()
}

/// The watchdog of `config`, if it is not there. An agent runs all the same.
#[must_use]
pub fn check_watchdog(config: &Config) -> Option<HostProblem> {
    let path = config.watchdog.as_ref()?.device.clone();
    let reason = match metadata(&path) {
        // A miscellaneous device, or one of the class that newer drivers have (Documentation/watchdog/watchdog-api.rst).
        Ok(found) if found.file_type().is_char_device() && !is_memory_or_terminal(found.rdev()) => return None,
        Ok(_) => Errno::ENOTTY,
        Err(error) => errno(&error),
    };
    Some(HostProblem::WatchdogMissing { path, reason })
}

/// Such as /dev/null and /dev/tty: character devices that are there on every host (Documentation/admin-guide/devices.txt).
fn is_memory_or_terminal(device: u64) -> bool {
    matches!(nix::sys::stat::major(device), 1 | 4 | 5)
}
