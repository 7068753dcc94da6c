use super::{in_namespace, remove_link, set_ipv4};
use crate::{
    core::Nanos,
    takeover::{Address, Watch, now},
};
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
        assert!(!lab.netlink.settle(&addresses, now()).unwrap(), "none is there");
        assert_eq!(lab.netlink.add(&addresses).unwrap(), [Ok(()); 3]);
        assert!(lab.netlink.settle(&addresses, now().after(Nanos::from_millis(2_000))).unwrap());
        // What never settles does not hold the takeover up beyond the deadline.
        let begun = now();
        assert!(!lab.netlink.settle(&[lab.at("2001:db8::12", 64)], begun.after(Nanos::from_millis(5))).unwrap());
        assert!(now().since(begun) >= Nanos::from_millis(5));
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
fn reconcile_puts_back_what_a_removed_primary_took_along() {
    in_namespace(|lab| {
        set_ipv4("near0", "promote_secondaries", "0");
        let [primary, secondary] = [lab.at("192.0.2.10", 24), lab.at("192.0.2.11", 24)];
        lab.netlink.add(&[primary, secondary]).unwrap();
        lab.netlink.remove(&[primary]).unwrap();
        assert_eq!(lab.present(), [] as [IpAddr; 0], "the kernel has taken the secondary away");
        assert_eq!(lab.netlink.reconcile(&[secondary]).unwrap(), [(secondary, Ok(()))]);
        assert_eq!(lab.present(), [secondary.ip]);
        assert_eq!(lab.netlink.reconcile(&[secondary]).unwrap(), []);
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
