use super::{in_namespace, remove_link, set_ipv4};
use crate::{
    system::clock,
    takeover::{Address, Watch, addresses::new_address},
    types::Nanos,
};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{RouteNetlinkMessage, address::AddressAttribute};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, TcpListener},
};

/// 10.1.x.y/16, `count` of them.
fn many(interface: u32, count: u32) -> Vec<Address> {
    let ip = |n: u32| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 1)) + n));
    (0..count).map(|n| Address { interface, ip: ip(n), prefix: 16 }).collect()
}

#[test]
fn a_thousand_addresses_are_added_and_removed() {
    in_namespace(|lab| {
        let addresses = many(lab.near.index, 1_000);
        assert_eq!(lab.netlink.add(&addresses).unwrap(), vec![Ok(()); 1_000]);
        let present: HashSet<Address> = lab.netlink.list(Some(lab.near.index)).unwrap().into_iter().collect();
        assert!(addresses.iter().all(|address| present.contains(address)));
        assert_eq!(lab.netlink.remove(&addresses).unwrap(), vec![Ok(()); 1_000]);
        assert_eq!(lab.present(), [] as [IpAddr; 0]);
    });
}

#[test]
fn bad_addresses_in_a_batch_are_named_and_the_others_are_in_place() {
    in_namespace(|lab| {
        let mut addresses = many(lab.near.index, 300);
        addresses[0].prefix = 33;
        addresses[130].ip = "ff02::5".parse().unwrap();
        addresses[130].prefix = 64;
        addresses[299].interface = 9_999;
        let outcomes = lab.netlink.add(&addresses).unwrap();
        let refused: Vec<usize> = (0..300).filter(|place| outcomes[*place].is_err()).collect();
        assert_eq!(refused, [0, 130, 299]);
        assert_eq!(outcomes[0], Err(Errno::EINVAL));
        assert_eq!(outcomes[299], Err(Errno::ENODEV));
        assert_eq!(lab.present().len(), 297);
    });
}

#[test]
fn to_add_what_is_there_and_to_remove_what_is_not_is_success() {
    in_namespace(|lab| {
        let addresses = [lab.at("192.0.2.10", 24), lab.at("2001:db8::10", 64)];
        assert_eq!(lab.netlink.add(&addresses).unwrap(), [Ok(()), Ok(())]);
        assert_eq!(lab.netlink.add(&addresses).unwrap(), [Ok(()), Ok(())]);
        assert_eq!(lab.netlink.remove(&addresses).unwrap(), [Ok(()), Ok(())]);
        assert_eq!(lab.netlink.remove(&addresses).unwrap(), [Ok(()), Ok(())]);
        let nowhere = Address { interface: 9_999, ..addresses[0] };
        assert_eq!(lab.netlink.remove(&[nowhere]).unwrap(), [Ok(())]);
    });
}

#[test]
fn no_addresses_are_no_work() {
    in_namespace(|lab| {
        assert_eq!(lab.netlink.add(&[]).unwrap(), []);
        assert_eq!(lab.netlink.remove(&[]).unwrap(), []);
        assert_eq!(lab.netlink.reconcile(&[]).unwrap(), []);
    });
}

#[test]
fn an_ipv6_address_can_be_used_at_once() {
    in_namespace(|lab| {
        let address = lab.at("2001:db8::10", 64);
        assert_eq!(lab.netlink.add(&[address]).unwrap(), [Ok(())]);
        // A tentative address would be refused: EADDRNOTAVAIL.
        TcpListener::bind((address.ip, 80)).expect("a listener on the new address");
    });
}

#[test]
fn a_settled_ipv6_address_is_delivered_here() {
    in_namespace(|lab| {
        let addresses = [lab.at("2001:db8::10", 64), lab.at("fe80::10", 64), lab.at("2001:db8::11", 128)];
        assert!(!lab.netlink.settle(&addresses, clock::monotonic()).unwrap(), "none is there");
        assert_eq!(lab.netlink.add(&addresses).unwrap(), [Ok(()); 3]);
        assert!(lab.netlink.settle(&addresses, clock::monotonic().after(Nanos::from_millis(2_000))).unwrap());
        // What never settles does not hold the takeover up beyond the deadline.
        let begun = clock::monotonic();
        assert!(!lab.netlink.settle(&[lab.at("2001:db8::12", 64)], begun.after(Nanos::from_millis(5))).unwrap());
        assert!(clock::monotonic().since(begun) >= Nanos::from_millis(5));
    });
}

#[test]
fn lost_answers_are_replaced_by_a_look_at_what_is_there() {
    in_namespace(|lab| {
        let mut addresses = many(lab.near.index, 128);
        addresses.iter_mut().step_by(2).for_each(|address| address.prefix = 33);
        setsockopt(lab.netlink.socket(), sockopt::RcvBuf, &0).unwrap(); // the kernel's least, 2,304 bytes
        let outcomes = lab.netlink.add(&addresses).unwrap();
        let expected: Vec<_> = (0..128).map(|n| if n % 2 == 0 { Err(Errno::ENOBUFS) } else { Ok(()) }).collect();
        assert_eq!(outcomes, expected);
    });
}

#[test]
fn the_interface_must_exist() {
    in_namespace(|lab| {
        let error = lab.netlink.link("absent0").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENODEV as i32));
        assert_eq!(lab.netlink.link("lo").unwrap().mac, None, "nothing can be announced on the loopback interface");
    });
}

#[test]
fn reconcile_puts_back_what_is_missing() {
    in_namespace(|lab| {
        let held = [lab.at("192.0.2.10", 24), lab.at("192.0.2.11", 24)];
        lab.netlink.add(&held).unwrap();
        lab.netlink.remove(&held[..1]).unwrap();
        assert_eq!(lab.netlink.reconcile(&held).unwrap(), [(held[0], Ok(()))]);
        assert_eq!(lab.netlink.reconcile(&held).unwrap(), []);
    });
}

#[test]
fn nothing_else_goes_with_a_primary_address_and_the_setting_stays_as_it_was() {
    for promote in ["0", "1"] {
        in_namespace(move |lab| {
            set_ipv4("all", "promote_secondaries", "0");
            set_ipv4("near0", "promote_secondaries", promote);
            // The service address came first; the host's own one, from a slow DHCP server, is its secondary.
            let [service, own, label] = [lab.at("192.0.2.10", 24), lab.at("192.0.2.1", 24), lab.at("192.0.2.2", 24)];
            lab.netlink.add(&[service, own, label]).unwrap();
            let mut watch = AddressesLost::open();
            assert_eq!(lab.netlink.remove(&[service]).unwrap(), [Ok(())]);
            assert_eq!(lab.present(), [own.ip, label.ip]);
            assert_eq!(watch.lost(), [service.ip], "not even for a moment");
            let path = "/proc/sys/net/ipv4/conf/near0/promote_secondaries";
            assert_eq!(std::fs::read_to_string(path).unwrap().trim(), promote);
        });
    }
}

/// What the kernel tells whoever listens of addresses that go.
pub(super) struct AddressesLost(netlink_sys::Socket);

impl AddressesLost {
    pub(super) fn open() -> Self {
        let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        socket.set_non_blocking(true).unwrap();
        socket.add_membership(libc::RTNLGRP_IPV4_IFADDR).unwrap();
        Self(socket)
    }

    pub(super) fn lost(&mut self) -> Vec<IpAddr> {
        const DELETED: u8 = 21; // RTM_DELADDR
        let mut lost = Vec::new();
        while let Ok((message, _)) = self.0.recv_from_full() {
            if message[4] == DELETED {
                // Header, struct ifaddrmsg, and the header of the first attribute, IFA_ADDRESS.
                let ip: [u8; 4] = message[16 + 8 + 4..][..4].try_into().unwrap();
                lost.push(ip.into());
            }
        }
        lost
    }
}

#[test]
fn ipv6_addresses_are_never_a_source_of_our_own_connections() {
    in_namespace(|lab| {
        let (own, service) = (lab.at("2001:db8::1", 64), lab.at("2001:db8::10", 64));
        let source = || {
            let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
            socket.connect("[2001:db8::99]:9").unwrap();
            socket.local_addr().unwrap().ip()
        };
        let mut request = new_address(&own);
        request.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::CacheInfo(_)));
        lab.netlink.apply(vec![RouteNetlinkMessage::NewAddress(request)], NLM_F_CREATE).unwrap();
        lab.netlink.add(&[service]).unwrap();
        assert_eq!(source(), own.ip);
        // Also when it is the only other one, or is put in place again.
        lab.netlink.add(&[service]).unwrap();
        assert_eq!(source(), own.ip);
        TcpListener::bind((service.ip, 80)).expect("it answers all the same");
    });
}

#[test]
fn the_ports_of_a_bridge_are_told_apart() {
    in_namespace(|lab| {
        super::add_bridge(&mut lab.netlink, "br0");
        let bridge = lab.netlink.link("br0").unwrap();
        assert_eq!(lab.netlink.ports(bridge.index).unwrap(), []);
        super::enslave(&mut lab.netlink, "near0", bridge.index);
        let ports = lab.netlink.ports(bridge.index).unwrap();
        assert_eq!(ports.iter().map(|port| port.index).collect::<Vec<_>>(), [lab.near.index]);
        super::enslave(&mut lab.netlink, "near0", 0);
        assert_eq!(lab.netlink.ports(bridge.index).unwrap(), []);
    });
}

#[test]
fn an_interface_keeps_its_index_under_another_name() {
    in_namespace(|lab| {
        super::rename(&mut lab.netlink, "near0", "lan0");
        assert_eq!(lab.netlink.name(lab.near.index).unwrap(), "lan0");
        assert_eq!(lab.netlink.name(9_999).unwrap_err().raw_os_error(), Some(Errno::ENODEV as i32));
    });
}

#[test]
fn the_watch_tells_of_changes_only() {
    in_namespace(|lab| {
        let mut watch = Watch::open().unwrap();
        assert!(!watch.changed());
        lab.netlink.add(&many(lab.near.index, 200)).unwrap(); // more than its buffer holds
        assert!(watch.changed());
        assert!(!watch.changed());
        remove_link(&mut lab.netlink, "near0");
        assert!(watch.changed());
    });
}
