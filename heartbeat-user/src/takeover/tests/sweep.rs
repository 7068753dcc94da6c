use super::running::{FIRST, SECOND, ip, near, plan};
use super::worker::sorted;
use super::{add_cable, in_namespace, planned, remove_link, rename, set_ipv4};
use crate::takeover::{Recorded, let_go, remove_unowned};
use std::net::IpAddr;

fn recorded(index: u32, interface: &str, text: &str) -> Recorded {
    Recorded { planned: planned(interface, text, if text.contains(':') { 64 } else { 24 }), index }
}

#[test]
fn what_an_earlier_life_left_goes_from_where_it_was_put_whatever_became_of_it() {
    in_namespace(|lab| {
        set_ipv4("near0", "promote_secondaries", "0");
        let own = lab.at("192.0.2.1", 24);
        // One with its prefix changed by hand; one that is not there; and the primary of the host's own address.
        lab.netlink
            .add(&[lab.at("192.0.2.10", 24), lab.at("192.0.2.11", 25), lab.at("2001:db8::10", 64), own])
            .unwrap();
        rename(&mut lab.netlink, "near0", "lan0");
        let index = lab.near.index;
        let all = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::10"].map(|text| recorded(index, "near0", text));
        let gone = let_go(&all, &mut lab.netlink).unwrap();
        assert_eq!(gone.failures, []);
        assert_eq!(gone.removed, [&all[0], &all[1], &all[3]].map(|recorded| recorded.planned.clone()));
        assert_eq!(sorted(lab), [own.ip]);
        assert_eq!(let_go(&all, &mut lab.netlink).unwrap(), Default::default(), "once more, for it is nothing new");
    });
}

#[test]
fn it_goes_also_from_an_interface_that_was_made_anew() {
    in_namespace(|lab| {
        let was = lab.near.index;
        remove_link(&mut lab.netlink, "near0");
        add_cable(&mut lab.netlink, "near0", "far0");
        lab.near = lab.netlink.link("near0").unwrap();
        lab.netlink.add(&[lab.at("192.0.2.10", 24)]).unwrap();
        let gone = let_go(&[recorded(was, "near0", "192.0.2.10")], &mut lab.netlink).unwrap();
        assert_eq!((gone.removed.len(), gone.failures.len()), (1, 0));
        assert_eq!(sorted(lab), [] as [IpAddr; 0]);
        // An interface that is gone took everything along.
        let gone = let_go(&[recorded(was, "gone0", "192.0.2.10")], &mut lab.netlink).unwrap();
        assert_eq!(gone, Default::default());
    });
}

#[test]
fn what_was_not_recorded_stays() {
    in_namespace(|lab| {
        lab.netlink.add(&[lab.at("192.0.2.10", 24), lab.at("192.0.2.11", 24)]).unwrap();
        let_go(&[recorded(lab.near.index, "near0", "192.0.2.10")], &mut lab.netlink).unwrap();
        assert_eq!(sorted(lab), [ip("192.0.2.11")]);
    });
}

#[test]
fn at_start_no_other_address_goes_with_what_is_not_owned() {
    in_namespace(|lab| {
        set_ipv4("near0", "promote_secondaries", "0");
        let plans = vec![plan("first", [near("192.0.2.10")]), plan("second", [near("192.0.2.11")])];
        lab.netlink.add(&[lab.at("192.0.2.10", 24), lab.at("192.0.2.1", 24), lab.at("192.0.2.11", 24)]).unwrap();
        let swept = remove_unowned(&plans, SECOND.bit(), &mut lab.netlink).unwrap();
        assert_eq!(swept.removed, [(FIRST, near("192.0.2.10"))]);
        assert_eq!(sorted(lab), [ip("192.0.2.1"), ip("192.0.2.11")]);
    });
}
