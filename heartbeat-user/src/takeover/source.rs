//! Where a service address would become the source address of this host's own connections, which then break when it goes.
//!
//! IPv6 addresses are deprecated from the start ([`Netlink::add`](crate::system::netlink::Netlink::add)). For IPv4 the kernel takes the primary
//! address of the destination's network on the interface, the first one that was added with that network
//! (`inet_select_addr`, `fib_add_ifaddr`), so it is for the configuration and the host to see to another.

use std::net::IpAddr;

/// Why a service address is, or would become, the source of the host's own connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceReason {
    /// No other address of the interface has its network, with the same prefix.
    Alone,
    /// It is there, before the others of its network.
    First,
}

/// Whether `service`, with that prefix, is or would become the source of the host's own connections. `present`: all addresses of
/// its interface with their prefixes, in the kernel's order; `is_service`: whether an address is one that may go.
#[must_use]
pub fn becomes_source(
    service: (IpAddr, u8),
    present: &[(IpAddr, u8)],
    is_service: impl Fn(IpAddr) -> bool,
) -> Option<SourceReason> {
    let (IpAddr::V4(ip), prefix) = service else { return None };
    let network = |ip: std::net::Ipv4Addr| ip.to_bits().checked_shr(32 - u32::from(prefix)).unwrap_or(0);
    let same = |other: &(IpAddr, u8)| match *other {
        (IpAddr::V4(other), length) => length == prefix && network(other) == network(ip),
        (IpAddr::V6(_), _) => false,
    };
    let stays = |other: &(IpAddr, u8)| !is_service(other.0);
    if prefix >= 32 {
        // A network of nobody else: the source only where the interface has no other address at all.
        return (!present.iter().any(|other| other.0.is_ipv4() && stays(other))).then_some(SourceReason::Alone);
    }
    let Some(other) = present.iter().position(|other| same(other) && stays(other)) else {
        return Some(SourceReason::Alone);
    };
    let own = present.iter().position(|other| same(other) && other.0 == service.0);
    own.is_some_and(|own| own < other).then_some(SourceReason::First)
}
