//! What hosts say of themselves, and where they meet.

use crate::{
    config::{Host, host::hostname},
    probe::same_network,
};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) hostname: String,
    /// By interface: addresses, and the lengths of their networks' prefixes.
    pub(super) interfaces: BTreeMap<String, Vec<(IpAddr, u8)>>,
    /// Which of the files that would be written are there already.
    #[serde(default)]
    pub(super) taken: Vec<PathBuf>,
}

impl Facts {
    /// Of this host, with which of these files are there.
    pub(super) fn read<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self> {
        let mut interfaces = Host::read()?.interfaces;
        for addresses in interfaces.values_mut() {
            addresses.retain(|(address, _)| !address.is_loopback());
        }
        interfaces.retain(|_, addresses| !addresses.is_empty());
        let taken = files.into_iter().filter(|file| file.exists()).cloned().collect();
        Ok(Self { hostname: hostname()?, interfaces, taken })
    }
}

impl Facts {
    /// Which interface has it.
    pub(super) fn interface_of(&self, address: IpAddr) -> Option<&str> {
        let has = |addresses: &Vec<(IpAddr, u8)>| addresses.iter().any(|(own, _)| *own == address);
        self.interfaces.iter().find(|(_, addresses)| has(addresses)).map(|(name, _)| name.as_str())
    }
}

/// What a channel is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Others are there, too: it is judged.
    Network,
    /// A cable between the two.
    Cable,
}

/// Where a channel ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) interface: String,
    pub(super) address: IpAddr,
}

/// Both ends of a channel: of our addresses the one that is in one network with the other's.
pub(super) fn ends(
    interface: &str,
    addresses: &[(IpAddr, u8)],
    peers_interface: &str,
    peers: IpAddr,
) -> Option<[End; 2]> {
    let own = addresses.iter().find(|(own, prefix)| *own != peers && same_network(*own, peers, *prefix))?.0;
    let end = |interface: &str, address| End { interface: interface.to_owned(), address };
    Some([end(interface, own), end(peers_interface, peers)])
}

/// The network of ours and of the other host's that they have in common. Every interface has link-local addresses: they say
/// something only where both have nothing else there, under the same name.
pub(super) fn common(interface: &str, addresses: &[(IpAddr, u8)], peer: &Facts) -> Option<(Kind, [End; 2])> {
    let all = || peer.interfaces.iter().flat_map(|(name, theirs)| theirs.iter().map(move |(ip, _)| (name, *ip)));
    let global = |(_, ip): &(&String, IpAddr)| !is_link_local(*ip);
    let found = all().filter(global).find_map(|(name, ip)| ends(interface, addresses, name, ip));
    let bare = |of: &[(IpAddr, u8)]| of.iter().all(|(ip, _)| is_link_local(*ip));
    let found = found.or_else(|| {
        let theirs = peer.interfaces.get(interface).filter(|theirs| bare(theirs) && bare(addresses))?;
        theirs.iter().find_map(|(ip, _)| ends(interface, addresses, interface, *ip))
    })?;
    Some((kind(addresses, &found), found))
}

/// A network of two is a cable; and where there are only link-local addresses, nobody else is served.
pub(super) fn kind(addresses: &[(IpAddr, u8)], ends: &[End; 2]) -> Kind {
    let own = ends[0].address;
    let prefix = addresses.iter().find(|(address, _)| *address == own).map_or(0, |(_, prefix)| *prefix);
    let of_two = prefix >= if own.is_ipv4() { 30 } else { 126 };
    if of_two || is_link_local(own) { Kind::Cable } else { Kind::Network }
}

/// In a network of two, the other one.
pub(super) fn only_other(own: IpAddr, prefix: u8) -> Option<IpAddr> {
    match (own, prefix) {
        (IpAddr::V4(v4), 31) => Some(Ipv4Addr::from_bits(v4.to_bits() ^ 1).into()),
        (IpAddr::V4(v4), 30) if matches!(v4.to_bits() & 3, 1 | 2) => Some(Ipv4Addr::from_bits(v4.to_bits() ^ 3).into()),
        (IpAddr::V6(v6), 127) => Some(Ipv6Addr::from_bits(v6.to_bits() ^ 1).into()),
        _ => None,
    }
}

pub(super) const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

pub(super) fn listed<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
