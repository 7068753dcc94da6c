//! Service addresses: into the kernel and out of it, and a look at what is there.

use crate::{
    system::{
        clock,
        netlink::{Netlink, NetlinkResult, malformed},
    },
    types::Nanos,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};
use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

/// Between two looks whether an address has settled.
const SETTLE_STEP: Duration = Duration::from_micros(50);

/// An IP address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The interface's index.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of its network's prefix, in bits.
    pub prefix: u8,
}

impl Netlink {
    /// Puts `addresses` in place (WO 01/82077, S3); one that is there already counts as put. IPv6 addresses can be used
    /// at once: no duplicate address detection, for the pair itself has settled who holds them; and they are deprecated from
    /// the start (RFC 4862 §5.5.4): they answer, but this host's own connections come from other addresses, which stay when
    /// these go. Returns one outcome an address, in their order.
    ///
    /// # Errors
    /// The routing socket failed, or did not answer within 2 s: what became of the addresses is not known.
    pub fn add(&mut self, addresses: &[Address]) -> io::Result<Vec<NetlinkResult>> {
        let requests = addresses.iter().map(|a| RouteNetlinkMessage::NewAddress(new_address(a))).collect();
        self.apply(requests, NLM_F_CREATE | NLM_F_REPLACE).or_else(|error| self.look_after(error, addresses, true))
    }

    /// Takes `addresses` away, the last one first: the first one of a network is its primary address in the kernel's eyes,
    /// and each removal of a primary costs a promotion. One that is not there, or whose interface is not, counts as taken
    /// away. Returns one outcome an address, in their order.
    ///
    /// Nothing else goes: where the kernel would remove the other addresses of a network with its primary one, the interface's
    /// `promote_secondaries` is set meanwhile. They may be this host's own, and are not lost even for a moment.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn remove(&mut self, addresses: &[Address]) -> io::Result<Vec<NetlinkResult>> {
        let interfaces: BTreeSet<u32> = addresses.iter().filter(|a| a.ip.is_ipv4()).map(|a| a.interface).collect();
        let promoting = self.promote(interfaces);
        let outcomes = self.delete(addresses);
        if let Err(error) = self.set_promotion(&promoting, false) {
            log::warn!("promote_secondaries of interfaces {promoting:?} stays set: {error}");
        }
        outcomes
    }

    fn delete(&mut self, addresses: &[Address]) -> io::Result<Vec<NetlinkResult>> {
        let requests = addresses.iter().rev().map(|a| RouteNetlinkMessage::DelAddress(message(a))).collect();
        let mut outcomes = self.apply(requests, 0).or_else(|error| {
            let mut outcomes = self.look_after(error, addresses, false)?;
            outcomes.reverse();
            Ok::<_, io::Error>(outcomes)
        })?;
        outcomes.reverse();
        for outcome in &mut outcomes {
            if matches!(outcome, Err(Errno::EADDRNOTAVAIL | Errno::ENODEV)) {
                *outcome = Ok(());
            }
        }
        Ok(outcomes)
    }

    /// The addresses on the interface of this index, or on all.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn list(&mut self, interface: Option<u32>) -> io::Result<Vec<Address>> {
        let mut request = AddressMessage::default();
        request.header.index = interface.unwrap_or(0);
        let found = std::cell::RefCell::new(Vec::new());
        self.dump(
            &RouteNetlinkMessage::GetAddress(request),
            || found.borrow_mut().clear(),
            |payload| {
                found.borrow_mut().extend(address_from(&AddressMessage::parse(payload).map_err(malformed)?));
                Ok(())
            },
        )?;
        Ok(found.into_inner())
    }

    /// Puts back whichever of the `held` addresses is not there, and returns those with their outcomes.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn reconcile(&mut self, held: &[Address]) -> io::Result<Vec<(Address, NetlinkResult)>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let present: HashSet<Address> = self.list(None)?.into_iter().collect();
        let missing: Vec<Address> = held.iter().filter(|a| !present.contains(a)).copied().collect();
        let outcomes = self.add(&missing)?;
        Ok(missing.into_iter().zip(outcomes).collect())
    }

    /// Waits, until `deadline` at most, until the host answers for each of `addresses`; returns whether it does for all. The kernel
    /// adds an IPv6 address at once, but its local route and its multicast group by a worker thread a little
    /// later: a packet that an announcement brings in before that would be lost, and cost a client a second.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn settle(&mut self, addresses: &[Address], deadline: Nanos) -> io::Result<bool> {
        for address in addresses.iter().filter(|address| address.ip.is_ipv6()) {
            while !self.answers_for(address)? {
                if clock::monotonic() >= deadline {
                    return Ok(false);
                }
                thread::sleep(SETTLE_STEP); // the worker thread may be waiting for this very processor
            }
        }
        Ok(true)
    }

    /// Whether packets to the address are delivered on this host: its route is a local one.
    fn answers_for(&mut self, address: &Address) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(address);
        request.header.destination_prefix_length = 128;
        request.attributes.push(RouteAttribute::Destination(address.ip.into()));
        // Also the interface's own table is asked, where it has one (VRF), and a link-local address is meant on this interface.
        request.attributes.push(RouteAttribute::Oif(address.interface));
        self.ask(RouteNetlinkMessage::GetRoute(request), |payload| {
            Ok(RouteHeader::parse(payload).map_err(malformed)?.kind == RouteType::Local)
        })
        .or_else(|error| match error.raw_os_error() {
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Ok(false),
            _ => Err(error),
        })
    }

    /// Answers were lost (ENOBUFS): what is there says what became of the requests.
    fn look_after(&mut self, error: io::Error, addresses: &[Address], wanted: bool) -> io::Result<Vec<NetlinkResult>> {
        if error.raw_os_error() != Some(libc::ENOBUFS) {
            return Err(error);
        }
        self.forget_answers();
        let present: HashSet<Address> = self.list(None)?.into_iter().collect();
        let outcome = |a| {
            if present.contains(a) == wanted { Ok(()) } else { Err(Errno::ENOBUFS) }
        };
        Ok(addresses.iter().map(outcome).collect())
    }
}

/// Tells that addresses or interfaces changed, in one system call where nothing did; not which.
pub struct Watch(Socket);

impl Watch {
    /// Begins to watch, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel says against a routing socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Only whether something came is of interest, and an overrun says so too: a few messages are enough.
        setsockopt(&socket, sockopt::RcvBuf, &4096)?;
        for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
            socket.add_membership(group)?;
        }
        Ok(Self(socket))
    }

    /// Whether anything changed since the last call.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        let mut start = Vec::with_capacity(64);
        loop {
            start.clear();
            match self.0.recv(&mut start, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                _ => changed = true, // a change; ENOBUFS, many changes
            }
        }
    }
}

pub(super) fn new_address(address: &Address) -> AddressMessage {
    let mut message = message(address);
    match address.ip {
        IpAddr::V4(ip) => message.attributes.extend(broadcast(ip, address.prefix).map(AddressAttribute::Broadcast)),
        IpAddr::V6(_) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX); // in s; valid for ever
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
    }
    message
}

fn message(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = address.interface;
    message.header.prefix_len = address.prefix;
    message.header.family = family(address);
    message.header.scope = match address.ip {
        IpAddr::V4(ip) if ip.is_loopback() => AddressScope::Host,
        IpAddr::V4(ip) if ip.is_link_local() => AddressScope::Link,
        _ => AddressScope::Universe, // the kernel itself finds the scope of an IPv6 address
    };
    message.attributes = vec![AddressAttribute::Local(address.ip), AddressAttribute::Address(address.ip)];
    message
}

fn family(address: &Address) -> AddressFamily {
    if address.ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The network's broadcast address; networks of one or two addresses have none (RFC 3021).
fn broadcast(ip: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    (1..31).contains(&prefix).then(|| Ipv4Addr::from(u32::from(ip) | (u32::MAX >> prefix)))
}

/// The address itself is IFA_LOCAL; IFA_ADDRESS is the peer's on a point-to-point link, but all that most IPv6 ones have.
fn address_from(message: &AddressMessage) -> Option<Address> {
    let local =
        message.attributes.iter().find_map(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None });
    let other =
        message.attributes.iter().find_map(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None });
    let ip = local.or(other)?;
    Some(Address { interface: message.header.index, ip, prefix: message.header.prefix_len })
}
