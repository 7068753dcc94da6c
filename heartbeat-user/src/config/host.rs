//! What a configuration needs of the host that it is for: the interfaces, and this controller's own addresses on them.

use super::error::nearest;
use super::{ArbiterEngine, Channel, Config};
use crate::core::Node;
use crate::fence;
use anyhow::{Context, anyhow};
use nix::ifaddrs::getifaddrs;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A way in which a host does not fit its configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostProblem {
    /// The system does not tell which interfaces it has.
    #[error("cannot list this host's interfaces: {0}")]
    Unreadable(nix::Error),
    /// A channel's interface does not exist.
    #[error(
        "channel \"{channel}\": this host has no interface \"{interface}\"{}; it has {}",
        nearest(interface, present.iter().map(String::as_str))
            .map_or(String::new(), |near| format!(", did you mean \"{near}\"?")),
        listed(present)
    )]
    InterfaceMissing {
        /// The channel.
        channel: String,
        /// The interface that is configured.
        interface: String,
        /// Those that exist.
        present: Vec<String>,
    },
    /// This controller's own address is on no interface.
    #[error(
        "channel \"{channel}\": {address} is not an address of {interface}, which has {}; add it with \
         `ip addr add {address}/{prefix} dev {interface}` or correct the configuration",
        listed(present)
    )]
    AddressMissing {
        /// The channel.
        channel: String,
        /// The interface that is configured.
        interface: String,
        /// The address that is configured.
        address: IpAddr,
        /// The prefix that its network seems to have.
        prefix: u8,
        /// The addresses that the interface has.
        present: Vec<IpAddr>,
    },
    /// This controller's own address is on another interface.
    #[error(
        "channel \"{channel}\": {address} is an address of {found}, not of {interface}; correct the channel's interface \
         or move the address"
    )]
    AddressElsewhere {
        /// The channel.
        channel: String,
        /// The interface that is configured.
        interface: String,
        /// The address that is configured.
        address: IpAddr,
        /// The interface that has it.
        found: String,
    },
    /// The peer's address is on this host.
    #[error(
        "channel \"{channel}\": {address} belongs to controller {peer} but is an address of this host's {found}; is this \
         host controller {peer}?"
    )]
    PeerAddressHere {
        /// The channel.
        channel: String,
        /// The address that is configured for the peer.
        address: IpAddr,
        /// The controller whose address it is.
        peer: Node,
        /// The interface that has it.
        found: String,
    },
    /// A service address is on an interface other than its channel's. Nothing would ever remove it there.
    #[error(
        "group \"{group}\": service address {address} is on {found}, not on its channel's {interface}; remove it with \
         `ip addr del {address}/{prefix} dev {found}`"
    )]
    ServiceAddressElsewhere {
        /// The group.
        group: String,
        /// The service address.
        address: IpAddr,
        /// The prefix that it has there.
        prefix: u8,
        /// The interface of its channel.
        interface: String,
        /// The interface that has it.
        found: String,
    },
    /// A serial line's device does not exist.
    #[error("channel \"{channel}\": {device:?}: {reason}; right would be the path of this host's serial device")]
    DeviceMissing {
        /// The channel.
        channel: String,
        /// Its device.
        device: PathBuf,
        /// What the system says.
        reason: nix::Error,
    },
    /// What a serial line's path leads to is no device.
    #[error("channel \"{channel}\": {device:?} is no terminal device; right would be one such as /dev/ttyS0")]
    NotADevice {
        /// The channel.
        channel: String,
        /// Its path.
        device: PathBuf,
    },
    /// A disk does not exist.
    #[error(
        "channel \"{channel}\": {device:?}: {reason}; right would be this host's path of the disk that both controllers have"
    )]
    DiskMissing {
        /// The channel.
        channel: String,
        /// Its disk.
        device: PathBuf,
        /// What the system says.
        reason: nix::Error,
    },
    /// What a disk's path leads to is none.
    #[error(
        "channel \"{channel}\": {device:?} is no disk; right would be one such as /dev/disk/by-id/wwn-0x5000c500a1b2c3d4"
    )]
    NotADisk {
        /// The channel.
        channel: String,
        /// Its path.
        device: PathBuf,
    },
    /// A name that the kernel gives to disks in the order in which it finds them.
    #[error("{key}: {path:?} may be another disk after the next boot; right would be its name below /dev/disk/by-id")]
    PassingName {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
    },
    /// A command cannot be found.
    #[error("{key} = {path:?}: {reason}; put the command there, or correct its path")]
    CommandMissing {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        reason: nix::Error,
    },
    /// A fence agent cannot be found.
    #[error("{key}: {why}; right would be the name of an agent of the package fence-agents, or an absolute path")]
    AgentMissing {
        /// The key that names it.
        key: String,
        /// Where it is not.
        why: String,
    },
    /// What a command's path leads to cannot be one.
    #[error("{key} = {path:?}: not a file; right would be the path of a program or a script")]
    CommandNotAFile {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
    },
    /// A command may be run by nobody.
    #[error("{key} = {path:?}: mode {mode:04o} lets nobody run it; right would be `chmod 755 {}`", path.display())]
    CommandNotExecutable {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others than root can change what the agent, as root, runs or believes.
    #[error("{what} {path:?}: {how}: others than root can change it; right would be `{remedy}`")]
    Writable {
        /// What it is to us.
        what: String,
        /// Its path, or its folder's.
        path: PathBuf,
        /// Its owner or mode.
        how: String,
        /// A command that puts it right.
        remedy: String,
    },
    /// There is no watchdog device.
    #[error("watchdog.device = {path:?}: {reason}; right would be one such as /dev/watchdog, whose driver is loaded")]
    WatchdogMissing {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        reason: nix::Error,
    },
    /// The folder of a file that is to be written is not there.
    #[error("{key} = {path:?}: its folder: {reason}; right would be `mkdir -p {}`", path.parent().unwrap_or(path).display())]
    FolderMissing {
        /// The key that names the file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        reason: nix::Error,
    },
}

/// What is wrong with a channel's disk. What is on it is told by those who read it.
fn disk(channel: &Channel, device: &Path) -> Option<HostProblem> {
    let (channel, device) = (channel.name.clone(), device.to_owned());
    match std::fs::metadata(&device) {
        Ok(found) if found.file_type().is_block_device() || found.is_file() => None,
        Ok(_) => Some(HostProblem::NotADisk { channel, device }),
        Err(error) => {
            let reason = nix::Error::from_raw(error.raw_os_error().unwrap_or_default());
            Some(HostProblem::DiskMissing { channel, device, reason })
        }
    }
}

/// The disks of `config`, as `node` has them, whose names may be others' after the next boot. An agent runs all the same.
#[must_use]
pub fn check_disk_names(config: &Config, node: Node) -> Vec<HostProblem> {
    let channels = config.channels.iter().filter_map(|channel| {
        let (path, _) = channel.disk(node)?;
        Some((format!("channel \"{}\": {node}.device", channel.name), path.to_owned()))
    });
    let arbiter = config.arbiter.as_ref().and_then(|arbiter| match &arbiter.engine {
        ArbiterEngine::Disk(path) => Some(("arbiter.disk".to_owned(), path.clone())),
        _ => None,
    });
    let passing = |path: &Path| path.parent() == Some(Path::new("/dev"));
    let problems = channels.chain(arbiter).filter(|(_, path)| passing(path));
    problems.map(|(key, path)| HostProblem::PassingName { key, path }).collect()
}

/// What is wrong with a serial line's device.
fn device(channel: &Channel, device: PathBuf) -> Option<HostProblem> {
    let channel = channel.name.clone();
    match std::fs::metadata(&device) {
        Ok(found) if found.file_type().is_char_device() => None,
        Ok(_) => Some(HostProblem::NotADevice { channel, device }),
        Err(error) => {
            let reason = nix::Error::from_raw(error.raw_os_error().unwrap_or_default());
            Some(HostProblem::DeviceMissing { channel, device, reason })
        }
    }
}

fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

/// How this host does not fit `config` as controller `node`; empty if it does. Looks at the network namespace of the
/// calling thread.
#[must_use]
pub fn check_host(config: &Config, node: Node) -> Vec<HostProblem> {
    let mut problems = match Host::read() {
        Ok(host) => host.problems(config, node),
        Err(problem) => vec![problem],
    };
    problems.extend(check_commands(config));
    problems
}

/// The commands of `config` that could not be run on this host; empty if all could. Runs none.
#[must_use]
pub fn check_commands(config: &Config) -> Vec<HostProblem> {
    let problem = |(key, path): (String, PathBuf)| match std::fs::metadata(&path) {
        Err(error) => {
            let reason = nix::Error::from_raw(error.raw_os_error().unwrap_or_default());
            Some(HostProblem::CommandMissing { key, path, reason })
        }
        Ok(found) if !found.is_file() => Some(HostProblem::CommandNotAFile { key, path }),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Some(HostProblem::CommandNotExecutable { key, path, mode: found.permissions().mode() & 0o7777 })
        }
        Ok(_) => None,
    };
    let commands = config.commands().filter_map(|(key, words, _)| Some((key, PathBuf::from(words.first()?))));
    let agents = config.agents().map(|(key, name)| match fence::find(name) {
        Ok(path) => problem((key, path)),
        Err(why) => Some(HostProblem::AgentMissing { key, why }),
    });
    commands.filter_map(problem).chain(agents.flatten()).collect()
}

/// The files of `config` that could not be written, for their folders are not there. An agent runs all the same.
#[must_use]
pub fn check_folders(config: &Config) -> Vec<HostProblem> {
    let files = [("events.file", &config.events.file), ("histograms.log", &config.histograms.log)];
    let problem = |(key, path): (_, PathBuf)| {
        let reason = match std::fs::metadata(path.parent()?) {
            Ok(folder) if folder.is_dir() => return None,
            Ok(_) => nix::Error::ENOTDIR,
            Err(error) => nix::Error::from_raw(error.raw_os_error().unwrap_or_default()),
        };
        Some(HostProblem::FolderMissing { key, path, reason })
    };
    files.into_iter().filter_map(|(key, file)| problem((key, file.as_ref()?.path.clone()))).collect()
}

/// The watchdog of `config`, if it is not there. An agent runs all the same.
#[must_use]
pub fn check_watchdog(config: &Config) -> Option<HostProblem> {
    let path = config.watchdog.as_ref()?.device.clone();
    let reason = match std::fs::metadata(&path) {
        // A miscellaneous device, or one of the class that newer drivers have (Documentation/watchdog/watchdog-api.rst).
        Ok(found) if found.file_type().is_char_device() && !is_memory_or_terminal(found.rdev()) => return None,
        Ok(_) => nix::Error::ENOTTY,
        Err(error) => nix::Error::from_raw(error.raw_os_error().unwrap_or_default()),
    };
    Some(HostProblem::WatchdogMissing { path, reason })
}

/// Such as /dev/null and /dev/tty: character devices that are there on every host (Documentation/admin-guide/devices.txt).
fn is_memory_or_terminal(device: u64) -> bool {
    matches!(nix::sys::stat::major(device), 1 | 4 | 5)
}

/// The files that the agent reads or runs, `config_file` among them, that others than root (and who runs this) could change, or
/// put others in the place of.
#[must_use]
pub fn check_owners(config: &Config, config_file: &Path) -> Vec<HostProblem> {
    let mut files = vec![("the configuration".to_owned(), config_file.to_owned())];
    files.push(("pair.key_file".to_owned(), config.pair.key_file.clone()));
    files.extend(config.api.token_file.iter().map(|file| ("api.token_file".to_owned(), file.clone())));
    files.extend(config.arbiter.iter().flat_map(|a| a.files()).map(|(key, file)| (key.to_owned(), file.to_owned())));
    files.extend(config.commands().filter_map(|(key, words, _)| Some((key, PathBuf::from(words.first()?)))));
    files.extend(config.agents().filter_map(|(key, name)| Some((key, fence::find(name).ok()?))));
    let mut seen = BTreeSet::new();
    let places = files.into_iter().flat_map(|(what, path)| {
        let folder = path.parent().map(Path::to_owned).filter(|folder| folder.is_absolute());
        let folder = folder.map(|folder| (format!("{what}: its folder"), folder));
        [Some((what, path)), folder].into_iter().flatten()
    });
    places.filter(|(_, path)| seen.insert(path.clone())).filter_map(|(what, path)| writable(what, path)).collect()
}

fn writable(what: String, path: PathBuf) -> Option<HostProblem> {
    // What is not there is somebody else's to say.
    let found = std::fs::metadata(&path).ok()?;
    let (owner, mode) = (found.uid(), found.mode());
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let remedy = format!("chown root {}", path.display());
        return Some(HostProblem::Writable { what, path, how: format!("belongs to user {owner}"), remedy });
    }
    let others = if found.gid() == 0 { 0o002 } else { 0o022 };
    // In a folder such as /tmp nobody can replace what is another's.
    let guarded = found.is_dir() && mode & 0o1000 != 0;
    if mode & others == 0 || guarded {
        return None;
    }
    let remedy = format!("chmod go-w {}", path.display());
    Some(HostProblem::Writable { what, path, how: format!("mode {:04o}", mode & 0o7777), remedy })
}

/// A host's interfaces, each with its addresses and their prefix lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// By interface name.
    pub interfaces: BTreeMap<String, Vec<(IpAddr, u8)>>,
}

impl Host {
    /// The interfaces in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`HostProblem::Unreadable`].
    pub fn read() -> Result<Self, HostProblem> {
        let mut host = Self::default();
        for entry in getifaddrs().map_err(HostProblem::Unreadable)? {
            // An IPv4 address with a label stands under it: eth0:1 is on eth0.
            let name = entry.interface_name.split(':').next().unwrap_or_default();
            let addresses = host.interfaces.entry(name.to_owned()).or_default();
            let ip = |storage: Option<nix::sys::socket::SockaddrStorage>| -> Option<IpAddr> {
                let storage = storage?;
                let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            };
            if let Some(address) = ip(entry.address) {
                let prefix = match ip(entry.netmask) {
                    Some(IpAddr::V4(mask)) => mask.to_bits().leading_ones() as u8,
                    Some(IpAddr::V6(mask)) => mask.to_bits().leading_ones() as u8,
                    None if address.is_ipv4() => 32,
                    None => 128,
                };
                addresses.push((address, prefix));
            }
        }
        Ok(host)
    }

    /// How this host does not fit `config` as controller `node`.
    #[must_use]
    pub fn problems(&self, config: &Config, node: Node) -> Vec<HostProblem> {
        let channels = config.channels.iter().flat_map(|channel| {
            let own = channel.end(node);
            [
                own.and_then(|own| self.own_end(config, channel, &own.interface, own.address)),
                self.peer_end(channel, node),
                channel.line(node).and_then(|line| device(channel, line.device)),
                channel.disk(node).and_then(|(path, _)| disk(channel, path)),
            ]
        });
        let services = config.groups.iter().flat_map(|group| {
            group.addresses.iter().map(|service| {
                let interface = &config.channels[service.channel.usize()].end(node)?.interface;
                let (found, prefix) = self.elsewhere(service.address, interface)?;
                Some(HostProblem::ServiceAddressElsewhere {
                    group: group.name.clone(),
                    address: service.address,
                    prefix,
                    interface: interface.clone(),
                    found: found.to_owned(),
                })
            })
        });
        channels.chain(services).flatten().collect()
    }

    /// Whether this is the other controller's host: it has addresses of that one's channels, and none of `node`'s.
    #[must_use]
    pub fn is_the_others(&self, config: &Config, node: Node) -> bool {
        let here = |node: Node| {
            let mut ends = config.channels.iter().filter_map(|channel| channel.end(node));
            ends.any(|end| self.interfaces.values().any(|present| has(present, end.address)))
        };
        here(node.other()) && !here(node)
    }

    fn own_end(&self, config: &Config, channel: &Channel, interface: &str, address: IpAddr) -> Option<HostProblem> {
        let (name, interface) = (channel.name.clone(), interface.to_owned());
        let Some(present) = self.interfaces.get(&interface) else {
            let present = self.interfaces.keys().cloned().collect();
            return Some(HostProblem::InterfaceMissing { channel: name, interface, present });
        };
        if present.iter().any(|(found, _)| *found == address) {
            return None;
        }
        if let Some((found, _)) = self.elsewhere(address, &interface) {
            let found = found.to_owned();
            return Some(HostProblem::AddressElsewhere { channel: name, interface, address, found });
        }
        let prefix = usual_prefix(config, channel, address);
        let present = present.iter().map(|(address, _)| *address).collect();
        Some(HostProblem::AddressMissing { channel: name, interface, address, prefix, present })
    }

    fn peer_end(&self, channel: &Channel, node: Node) -> Option<HostProblem> {
        let (own, address) = (channel.end(node)?, channel.end(node.other())?.address);
        let on_interface = self.interfaces.get(&own.interface).is_some_and(|present| has(present, address));
        let found = match on_interface {
            true => &own.interface,
            false => self.elsewhere(address, &own.interface)?.0,
        };
        let (channel, peer, found) = (channel.name.clone(), node.other(), found.to_owned());
        Some(HostProblem::PeerAddressHere { channel, address, peer, found })
    }

    /// Which interface other than `interface` has `address`, and with which prefix. Link-local addresses elsewhere are
    /// other addresses.
    fn elsewhere(&self, address: IpAddr, interface: &str) -> Option<(&str, u8)> {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let mut others = self.interfaces.iter().filter(|(name, _)| !link_local && *name != interface);
        others.find_map(|(name, present)| {
            present.iter().find(|(found, _)| *found == address).map(|(_, prefix)| (name.as_str(), *prefix))
        })
    }
}

/// This host's name, as the kernel has it.
///
/// # Errors
/// Where the system does not say, or it is not text.
pub fn hostname() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("cannot read this host's name; say --node a or --node b")?;
    name.into_string().map_err(|name| anyhow!("this host's name {name:?} is not text; say --node a or --node b"))
}

fn has(present: &[(IpAddr, u8)], address: IpAddr) -> bool {
    present.iter().any(|(found, _)| *found == address)
}

/// The prefix of a service address on the same channel, else what is usual.
fn usual_prefix(config: &Config, channel: &Channel, address: IpAddr) -> u8 {
    let services = config.groups.iter().flat_map(|group| &group.addresses);
    let mut here = services.filter(|service| service.channel == channel.index);
    here.find(|service| service.address.is_ipv4() == address.is_ipv4())
        .map_or(if address.is_ipv4() { 24 } else { 64 }, |service| service.prefix)
}

#[cfg(test)]
mod tests;
