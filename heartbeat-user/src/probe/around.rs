//! What there is of a network now, as the kernel's tables have it: our own interface and address, and whom to ask.
//!
//! All of it blocks for as long as the kernel's networking lock is held, and reads at most so much of each table.

use super::{Asks, Network};
use crate::system::netlink::{Netlink, malformed};
use netlink_packet_core::{NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia},
};
use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// So many are asked in one network at most.
pub const MOST: usize = 8;
/// So many entries of a table are read at most: a table that changes all the time, or a full routing table, must not hold up an
/// analysis.
const MOST_READ: usize = 16_384;

/// A network as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Our interface's index.
    pub index: u32,
    /// What our own facts say against it.
    pub own: Option<OwnFault>,
    /// Whom to ask, the most promising first.
    pub targets: Vec<Target>,
    /// Whether all hosts are to be asked, too.
    pub all_hosts: bool,
    /// Ourselves.
    pub own_addresses: Vec<IpAddr>,
}

/// A fault of our own port or cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnFault {
    /// The interface is gone, or down, or our address on it is gone.
    Port(String),
    /// It has no carrier.
    Cable(String),
}

/// Somebody to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub ip: IpAddr,
    /// Whether it is in our own network, so that it answers ARP or neighbour discovery.
    pub on_link: bool,
}

impl Target {
    const fn near(ip: IpAddr) -> Self {
        Self { ip, on_link: true }
    }
}

/// Our own facts of the network.
///
/// # Errors
/// The routing socket's.
pub fn look(netlink: &mut Netlink, network: &Network) -> io::Result<Around> {
    let Network { interface, own, .. } = network;
    let port = |why: &str| Ok(Around { own: Some(OwnFault::Port(format!("{interface} {why}"))), ..Around::default() });
    let (index, flags) = match flags(netlink, interface) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return port("is gone"),
        Err(error) => return Err(error),
    };
    if !flags.contains(LinkFlags::Up) {
        return port("is down");
    }
    if !flags.contains(LinkFlags::LowerUp) {
        let own = Some(OwnFault::Cable(format!("{interface} has no carrier")));
        return Ok(Around { own, index, ..Around::default() });
    }
    let addresses = netlink.list(Some(index))?;
    if !addresses.iter().any(|address| address.ip == *own) {
        return port(&format!("has lost our address {own}"));
    }
    let near = |ip: IpAddr| addresses.iter().any(|address| same_network(address.ip, ip, address.prefix));
    let targets = match &network.asks {
        Asks::Addresses(list) => list.iter().map(|ip| Target { ip: *ip, on_link: near(*ip) }).collect(),
        _ => Vec::new(),
    };
    let own_addresses = addresses.iter().map(|address| address.ip).collect();
    Ok(Around { index, own: None, targets, all_hosts: false, own_addresses })
}

/// The same, and whom to ask.
///
/// # Errors
/// The routing socket's.
pub fn look_around(netlink: &mut Netlink, network: &Network) -> io::Result<Around> {
    let mut around = look(netlink, network)?;
    if around.own.is_some() {
        return Ok(around);
    }
    match network.asks {
        Asks::Gateway => {
            let gateway = netlink.gateway(around.index, network.own.is_ipv4())?;
            around.targets = gateway.into_iter().map(Target::near).collect();
        }
        Asks::Found => {
            around.all_hosts = true;
            let (peer_mac, neighbours) = neighbours(netlink, around.index, network)?;
            let known = |ip: IpAddr| neighbours.iter().find(|n| n.ip == ip);
            let is_peer = |ip: IpAddr| peer_mac.is_some() && known(ip).is_some_and(|n| n.mac == peer_mac);
            let routers =
                [AddressFamily::Inet, AddressFamily::Inet6].map(|family| next_hops(netlink, around.index, family));
            let routers = routers.into_iter().flatten().flatten();
            let witnesses = network.witnesses.list().into_iter();
            for ip in witnesses.chain(routers).chain(neighbours.iter().map(|n| n.ip)) {
                let ours = around.own_addresses.contains(&ip) || network.avoid.contains(&ip) || ip == network.peer;
                let twice = around.targets.iter().any(|target| target.ip == ip);
                if around.targets.len() < MOST && !ours && !twice && !is_peer(ip) {
                    around.targets.push(Target::near(ip));
                }
            }
        }
        Asks::Addresses(_) | Asks::Nobody => {}
    }
    Ok(around)
}

impl Network {
    /// The peer's Ethernet address, where this is known of the neighbours now.
    pub(super) fn mac_of_peer(&self, known: &[Neighbour]) -> Option<Vec<u8>> {
        let now = known.iter().find(|n| n.ip == self.peer).and_then(|n| n.mac.clone());
        self.peer_mac.learn(now, self.peer_heard)
    }
}

fn flags(netlink: &mut Netlink, interface: &str) -> io::Result<(u32, LinkFlags)> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(interface.to_owned()));
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    netlink.ask(RouteNetlinkMessage::GetLink(request), |payload| {
        let header = LinkHeader::parse(payload).map_err(malformed)?;
        Ok((header.index, header.flags))
    })
}

/// A neighbour as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its Ethernet address.
    pub mac: Option<Vec<u8>>,
    /// What the kernel holds of it.
    pub state: NeighbourState,
    /// How long ago it was last known to be there, in the kernel's ticks.
    confirmed: u32,
}

/// The peer's Ethernet address, and the neighbours that may answer: those first that the kernel heard of last.
fn neighbours(netlink: &mut Netlink, index: u32, network: &Network) -> io::Result<(Option<Vec<u8>>, Vec<Neighbour>)> {
    let found = all_known(netlink, index)?;
    Ok((network.mac_of_peer(&found), best_first(found)))
}

/// All that the kernel holds of neighbours on the interface.
fn all_known(netlink: &mut Netlink, index: u32) -> io::Result<Vec<Neighbour>> {
    let mut request = NeighbourMessage::default();
    request.attributes.push(NeighbourAttribute::IfIndex(index));
    some_of(netlink, &RouteNetlinkMessage::GetNeighbour(request), |payload| {
        NeighbourMessage::parse(payload).ok().filter(|n| n.header.ifindex == index).as_ref().and_then(neighbour_from)
    })
}

/// Those that may answer, the one first that the kernel heard of last.
fn best_first(mut found: Vec<Neighbour>) -> Vec<Neighbour> {
    let rank = |state| match state {
        NeighbourState::Reachable | NeighbourState::Permanent => Some(0),
        NeighbourState::Delay | NeighbourState::Probe => Some(1),
        NeighbourState::Stale => Some(2),
        _ => None,
    };
    found.retain(|n| rank(n.state).is_some() && !n.ip.is_multicast());
    found.sort_by_key(|n| (rank(n.state), n.confirmed));
    found
}

/// Who is on an interface's networks, as far as the kernel knows without asking: the gateways of default routes, and neighbours, the
/// one first that was heard of last.
///
/// # Errors
/// The routing socket's; ENODEV where there is no such interface.
pub fn who_is_on(interface: &str) -> io::Result<(Vec<IpAddr>, Vec<IpAddr>)> {
    let mut netlink = Netlink::open()?;
    let index = netlink.link(interface)?.index;
    let gateways = [netlink.gateway(index, true)?, netlink.gateway(index, false)?];
    let neighbours = best_first(all_known(&mut netlink, index)?);
    Ok((gateways.into_iter().flatten().collect(), neighbours.into_iter().map(|n| n.ip).collect()))
}

/// The gateways of the routes over the interface: default routes first, then by metric.
fn next_hops(netlink: &mut Netlink, index: u32, family: AddressFamily) -> io::Result<Vec<IpAddr>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request.attributes.push(RouteAttribute::Oif(index));
    let routes = some_of(netlink, &RouteNetlinkMessage::GetRoute(request), |payload| {
        RouteMessage::parse(payload).ok().map(|route| hops(&route, index)).filter(|hops| !hops.is_empty())
    })?;
    let mut hops: Vec<_> = routes.into_iter().flatten().collect();
    hops.sort_unstable();
    Ok(hops.into_iter().map(|(.., ip)| ip).collect())
}

/// Of a route: length of its prefix, metric and gateway, once for each gateway by the interface.
fn hops(route: &RouteMessage, index: u32) -> Vec<(u8, u32, IpAddr)> {
    let prefix = route.header.destination_prefix_length;
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let by = |attributes: &[RouteAttribute]| {
        attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Oif(oif) if *oif == index))
    };
    let mut gateways: Vec<_> = if by(&route.attributes) { gateways(&route.attributes) } else { Vec::new() };
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(paths) = attribute {
            let ours = paths.iter().filter(|path| path.interface_index == index);
            gateways.extend(ours.flat_map(|path| self::gateways(&path.attributes)));
        }
    }
    gateways.into_iter().map(|ip| (prefix, metric.unwrap_or(0), ip)).collect()
}

fn gateways(attributes: &[RouteAttribute]) -> Vec<IpAddr> {
    let gateway = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
            Some(IpAddr::V4(*ip))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
            Some(IpAddr::V6(*ip))
        }
        _ => None,
    };
    attributes.iter().filter_map(gateway).filter(|ip| !ip.is_unspecified()).collect()
}

/// What the kernel holds of these addresses on the interface now; of some it may hold nothing.
///
/// # Errors
/// The routing socket's.
pub fn known(netlink: &mut Netlink, index: u32, addresses: &[IpAddr]) -> io::Result<Vec<Neighbour>> {
    let mut found = Vec::new();
    for ip in addresses {
        let request = RouteNetlinkMessage::GetNeighbour(message(index, *ip));
        let read = |payload: &[u8]| NeighbourMessage::parse(payload).map_err(malformed);
        match netlink.ask(request, read) {
            Ok(message) => found.extend(neighbour_from(&message)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Makes the kernel ask the neighbours that it knows whether they are there (ARP, neighbour discovery): who answers is
/// [`NeighbourState::Reachable`] soon after. Whom it does not know it asks because of the echo requests. Returns whose
/// answer will be seen: not that of one whom an administrator has set, nor of one who is known to have answered and cannot be
/// asked again. `can_solicit`: there is a link-local address to ask from, without which the kernel asks nobody by itself
/// (`ndisc_solicit`).
///
/// # Errors
/// The routing socket's.
pub fn provoke(netlink: &mut Netlink, index: u32, addresses: &[IpAddr], can_solicit: bool) -> io::Result<Vec<IpAddr>> {
    let known = known(netlink, index, addresses)?;
    let mut asked = Vec::new();
    for ip in addresses {
        let visible = match known.iter().find(|n| n.ip == *ip) {
            Some(n) if matches!(n.state, NeighbourState::Permanent | NeighbourState::Noarp) => false,
            Some(Neighbour {
                mac: Some(mac),
                state: NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay,
                ..
            }) => {
                let mut request = message(index, *ip);
                request.header.state = NeighbourState::Probe;
                request.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.clone()));
                let request = RouteNetlinkMessage::NewNeighbour(request);
                (ip.is_ipv4() || can_solicit) && netlink.apply(vec![request], NLM_F_REPLACE)?.iter().all(Result::is_ok)
            }
            _ => true,
        };
        if visible {
            asked.push(*ip);
        }
    }
    Ok(asked)
}

fn message(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn neighbour_from(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut ip, mut mac, mut confirmed) = (None, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(bytes.clone()),
            NeighbourAttribute::CacheInfo(info) => confirmed = info.confirmed,
            _ => {}
        }
    }
    Some(Neighbour { ip: ip?, mac, state: message.header.state, confirmed })
}

/// What `read` makes of a dump's messages, of the first [`MOST_READ`] that it makes something of.
fn some_of<T>(
    netlink: &mut Netlink,
    request: &RouteNetlinkMessage,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let found = RefCell::new(Vec::new());
    let enough = || io::Error::from(io::ErrorKind::FileTooLarge);
    let each = |payload: &[u8]| {
        let mut found = found.borrow_mut();
        found.extend(read(payload));
        if found.len() < MOST_READ { Ok(()) } else { Err(enough()) }
    };
    match netlink.dump(request, || found.borrow_mut().clear(), each) {
        Err(error) if error.kind() == enough().kind() => *netlink = Netlink::open()?,
        other => other?,
    }
    Ok(found.into_inner())
}

/// Whether two addresses are in one network of this prefix length.
#[must_use]
pub fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (one.to_bits() ^ other.to_bits()) & mask == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            (one.to_bits() ^ other.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// Everybody in the network.
pub const ALL_HOSTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))];
