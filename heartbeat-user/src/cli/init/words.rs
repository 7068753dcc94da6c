//! What the flags of `heartbeat init` say.

use super::hosts::{self, End, Facts, listed};
use crate::{config::parse_node, types::Node};
use anyhow::{Context as _, Result, anyhow};
use std::{net::IpAddr, str::FromStr};

/// `eth0=192.0.2.2@enp3s0`: our interface, the other controller's address behind it, and its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathWords {
    interface: String,
    address: IpAddr,
    peers_interface: Option<String>,
}

impl FromStr for PathWords {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let right = "right would be such as eth0=192.0.2.2, or eth0=192.0.2.2@enp3s0";
        let (interface, rest) = word.split_once('=').ok_or_else(|| format!("no '='; {right}"))?;
        let (address, peers_interface) = match rest.split_once('@') {
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (rest, None),
        };
        if interface.is_empty() || peers_interface.as_deref() == Some("") {
            return Err(format!("an interface without a name; {right}"));
        }
        let address = address.parse().map_err(|_| format!("{address:?} is no address; {right}"))?;
        Ok(Self { interface: interface.to_owned(), address, peers_interface })
    }
}

impl PathWords {
    /// Both ends, ours being the address that is in one network with the other's.
    pub(super) fn ends(&self, own: &Facts, peer: Option<&Facts>) -> Result<[End; 2]> {
        let Self { interface, address, peers_interface } = self;
        let addresses = own.interfaces.get(interface).with_context(|| {
            format!(
                "{interface}: no interface here has this name and an address; right would be one of {}",
                listed(own.interfaces.keys())
            )
        })?;
        let said = peer.and_then(|facts| facts.interface_of(*address));
        let peers_interface = peers_interface.as_deref().or(said).unwrap_or(interface);
        hosts::ends(interface, addresses, peers_interface, *address).ok_or_else(|| {
            let shown = listed(addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")));
            anyhow!("{address}: in no network of {interface}, which has {shown}; right would be the other controller's address in one of them")
        })
    }
}

/// `storage-a=192.0.2.10/24,2001:db8::10/64@b`: a group, its addresses, and where it is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupWords {
    pub(super) name: String,
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) home: Node,
}

impl FromStr for GroupWords {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let right = "right would be such as storage-a=192.0.2.10/24, or storage-b=192.0.2.11/24,198.51.100.11/24@b";
        let (name, rest) = word.split_once('=').ok_or_else(|| format!("no '='; {right}"))?;
        let (addresses, home) = match rest.split_once('@') {
            Some((addresses, home)) => {
                (addresses, parse_node(home).map_err(|_| format!("{home:?} is no controller; {right}"))?)
            }
            None => (rest, Node::A),
        };
        let address = |word: &str| -> Option<(IpAddr, u8)> {
            let (address, prefix) = word.split_once('/')?;
            Some((address.parse().ok()?, prefix.parse().ok()?))
        };
        let parsed = |word: &str| address(word).ok_or_else(|| format!("{word:?} is no address with a prefix; {right}"));
        let addresses = addresses.split(',').map(parsed).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), addresses, home })
    }
}
