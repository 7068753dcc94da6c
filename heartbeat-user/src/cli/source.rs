//! Where a service address would become the source address of this host's own connections, which then break when it goes.
//!
//! IPv6 addresses are deprecated from the start ([`Netlink::add`](crate::system::netlink::Netlink::add)). For IPv4 the kernel takes the primary
//! address of the destination's network on the interface, the first one that was added with that network
//! (`inet_select_addr`, `fib_add_ifaddr`), so it is for the configuration and the host to see to another.

use crate::{
    config::{Config, Host, ServiceAddress},
    types::Node,
};
use std::net::IpAddr;

/// For each of a controller's service addresses of which that is so: why, and what would be right.
pub(super) fn warnings(config: &Config, node: Node, host: &Host) -> Vec<String> {
    let services: Vec<_> = config.groups.iter().flat_map(|group| &group.addresses).collect();
    let is_service = |address| services.iter().any(|service| service.address == address);
    let warning = |service: &&ServiceAddress| {
        let ServiceAddress { address, prefix, channel } = service;
        let interface = &config.channels[channel.usize()].end(node)?.interface;
        let present = host.interfaces.get(interface)?;
        let (why, right) = match becomes_source((*address, *prefix), present, is_service)? {
            SourceReason::Alone => {
                ("no other there has its network", "an address of its own in that network, with that prefix")
            }
            SourceReason::First => {
                ("those of its network that stay came later", "to have them there first, as at a boot")
            }
        };
        Some(format!(
            "{interface}: this host's own connections come, or would come, from {address}/{prefix}, and break when it goes: {why}; right \
             would be {right}"
        ))
    };
    services.iter().filter_map(warning).collect()
}

/// Why a service address is, or would become, the source of the host's own connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceReason {
    /// No other address of the interface has its network, with the same prefix.
    Alone,
    /// It is there, before the others of its network.
    First,
}

/// Whether `service`, with that prefix, is or would become the source of the host's own connections. `present`: all addresses of
/// its interface with their prefixes, in the kernel's order; `is_service`: whether an address is one that may go.
fn becomes_source(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn reason(service: (&str, u8), present: &[(&str, u8)]) -> Option<SourceReason> {
        let present: Vec<(IpAddr, u8)> = present.iter().map(|(text, prefix)| (ip(text), *prefix)).collect();
        let services = [ip(service.0), ip("192.0.2.20")];
        becomes_source((ip(service.0), service.1), &present, |ip| services.contains(&ip))
    }

    #[test]
    fn a_service_address_beside_one_that_stays_in_the_same_network_is_no_source() {
        let own = ("192.0.2.1", 24);
        assert_eq!(reason(("192.0.2.10", 24), &[own]), None);
        assert_eq!(reason(("192.0.2.10", 24), &[own, ("192.0.2.10", 24)]), None);
        assert_eq!(reason(("198.51.100.10", 32), &[own]), None, "a network that nobody else is in");
        assert_eq!(reason(("2001:db8::10", 64), &[]), None, "deprecated from the start");
    }

    #[test]
    fn it_is_one_where_it_is_alone_or_first() {
        let own = ("192.0.2.1", 24);
        assert_eq!(reason(("192.0.2.10", 25), &[own]), Some(SourceReason::Alone), "another prefix");
        assert_eq!(reason(("198.51.100.10", 24), &[own]), Some(SourceReason::Alone));
        assert_eq!(
            reason(("192.0.2.10", 24), &[("192.0.2.20", 24)]),
            Some(SourceReason::Alone),
            "that one may go, too"
        );
        assert_eq!(reason(("192.0.2.10", 32), &[("2001:db8::1", 64)]), Some(SourceReason::Alone));
        assert_eq!(reason(("192.0.2.10", 24), &[("192.0.2.10", 24), own]), Some(SourceReason::First));
    }

    #[test]
    fn what_would_be_a_source_is_named_with_its_interface_and_what_would_be_right() {
        let config = Config::parse(EXAMPLE, "example.toml").unwrap();
        let told = |present: &[(&str, u8)]| {
            let present = present.iter().map(|(address, prefix)| (ip(address), *prefix)).collect();
            warnings(&config, Node::A, &Host { interfaces: [("eth0".to_owned(), present)].into() })
        };
        assert_eq!(told(&[("192.0.2.1", 24)]), Vec::<String>::new());
        assert_eq!(
            told(&[("192.0.2.1", 25)])[0],
            "eth0: this host's own connections come, or would come, from 192.0.2.10/24, and break when it goes: no other there has its \
             network; right would be an address of its own in that network, with that prefix"
        );
        assert_eq!(told(&[("192.0.2.11", 24), ("192.0.2.1", 24)]).len(), 1, "of one that is there first");
    }
}
