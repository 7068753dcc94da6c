//! What a configuration needs of the host that it is for: the interfaces, and this controller's own addresses on them; devices; files
//! and programs.

mod devices;
mod files;

pub use devices::{Owner, check_disk_names, check_watchdog};
pub use files::{FileFault, check_commands, check_files, check_owners, read_file, read_secret, read_token};

use super::{ChannelConfig, Config, Use, error::nearest};
use crate::types::Node;
use anyhow::{Context, anyhow};
use devices::check_devices;
use nix::ifaddrs::getifaddrs;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

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
    /// The device of a channel or of the arbiter does not exist.
    #[error("{owner}: {path:?}: {reason}; right would be {}", if *is_disk {
        "this host's path of the disk that both controllers have"
    } else {
        "the path of this host's serial device"
    })]
    DeviceMissing {
        /// Whose it is.
        owner: Owner,
        /// Its path.
        path: PathBuf,
        /// Whether it is a disk; else a serial line.
        is_disk: bool,
        /// What the system says.
        reason: nix::Error,
    },
    /// What a device's path leads to is none of its kind.
    #[error("{owner}: {path:?} is no {}", if *is_disk {
        "disk; right would be one such as /dev/disk/by-id/wwn-0x5000c500a1b2c3d4"
    } else {
        "terminal device; right would be one such as /dev/ttyS0"
    })]
    NotADevice {
        /// Whose it is.
        owner: Owner,
        /// Its path.
        path: PathBuf,
        /// Whether it is a disk; else a serial line.
        is_disk: bool,
    },
    /// Two channels have one device, under two names.
    #[error(
        "{owner}: {path:?} is the device that {first} has as {at:?}: what one writes, the other one reads, and neither works; right \
         would be another device, or one channel"
    )]
    SameDevice {
        /// The channel.
        owner: Owner,
        /// Its path of it.
        path: PathBuf,
        /// The channel that has it already.
        first: Owner,
        /// That one's path of it.
        at: PathBuf,
    },
    /// A name that the kernel gives to disks in the order in which it finds them.
    #[error("{key}: {path:?} may be another disk after the next boot; right would be its name below /dev/disk/by-id")]
    PassingName {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
    },
    /// A file or a program that a key names.
    #[error("{key} = {path:?}: {}", fault.said(*of, path))]
    File {
        /// The key that names it.
        key: String,
        /// Its path.
        path: PathBuf,
        /// What it is for.
        of: Use,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// A fence agent cannot be found.
    #[error("{key}: {why}; right would be the name of an agent of the package fence-agents, or an absolute path")]
    AgentMissing {
        /// The key that names it.
        key: String,
        /// Where it is not.
        why: String,
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
        channels.chain(services).flatten().chain(check_devices(config, node)).collect()
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

    fn own_end(
        &self,
        config: &Config,
        channel: &ChannelConfig,
        interface: &str,
        address: IpAddr,
    ) -> Option<HostProblem> {
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

    fn peer_end(&self, channel: &ChannelConfig, node: Node) -> Option<HostProblem> {
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
fn usual_prefix(config: &Config, channel: &ChannelConfig, address: IpAddr) -> u8 {
    let services = config.groups.iter().flat_map(|group| &group.addresses);
    let mut here = services.filter(|service| service.channel == channel.index);
    here.find(|service| service.address.is_ipv4() == address.is_ipv4())
        .map_or(if address.is_ipv4() { 24 } else { 64 }, |service| service.prefix)
}

#[cfg(test)]
mod tests;
