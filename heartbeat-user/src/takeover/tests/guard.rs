//! What is here and should not be, and what should be and is not.

use super::addresses::AddressesLost;
use super::running::{FIRST, Running, SECOND, ip, near, plan};
use super::worker::{arp_for, sorted};
use super::{add_cable, in_namespace, planned, remove_link, rename, set_ipv4};
use crate::takeover::{Done, GroupPlan, Order, Step, TakeoverSettings};
use std::{
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

fn two_groups() -> Vec<GroupPlan> {
    vec![plan("first", [near("192.0.2.10"), near("2001:db8::10")]), plan("second", [near("192.0.2.11")])]
}

#[test]
fn a_renamed_interface_is_let_go_of_by_its_index() {
    in_namespace(|lab| {
        let running = Running::new(two_groups());
        running.acquire(FIRST);
        running.acquire(SECOND);
        rename(&mut lab.netlink, "near0", "lan0");
        let mut told: Vec<_> = (0..3).map(|_| running.report()).collect();
        told.sort_by_key(|done| format!("{done:?}"));
        for done in &told {
            let Done::Failed { failures, .. } = done else { panic!("told: {done:?}") };
            assert_eq!(failures[0].step, Step::Guarded);
            assert!(failures[0].reason.contains("is called lan0 now"), "{}", failures[0]);
        }
        assert_eq!(sorted(lab).len(), 3, "they answer for their clients until somebody decides otherwise");
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        assert_eq!(sorted(lab), [ip("192.0.2.11")]);
    });
}

#[test]
fn addresses_follow_a_name_that_another_interface_has_now() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        rename(&mut lab.netlink, "near0", "lan0");
        add_cable(&mut lab.netlink, "near0", "far1");
        loop {
            match running.report() {
                Done::Restored { address, .. } if address == near("192.0.2.10") => break,
                Done::Failed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let deadline = Instant::now() + super::PATIENCE;
        while !sorted(lab).is_empty() {
            assert!(Instant::now() < deadline, "gone from where it was");
        }
        lab.near = lab.netlink.link("near0").unwrap();
        assert_eq!(sorted(lab), [ip("192.0.2.10")]);
    });
}

#[test]
fn an_interface_that_is_gone_took_its_addresses_along() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        remove_link(&mut lab.netlink, "near0");
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
    });
}

#[test]
fn what_appears_without_being_held_is_removed_and_told() {
    in_namespace(|lab| {
        let running = Running::new(two_groups());
        // Nothing is held yet; and with another prefix.
        lab.netlink.add(&[lab.at("192.0.2.10", 25), lab.at("192.0.2.99", 24)]).unwrap();
        assert_eq!(running.report(), Done::Swept { group: FIRST, address: near("192.0.2.10"), times: 1 });
        assert_eq!(sorted(lab), [ip("192.0.2.99")]);
        running.acquire(SECOND);
        lab.netlink.add(&[lab.at("2001:db8::10", 64)]).unwrap();
        assert_eq!(running.report(), Done::Swept { group: FIRST, address: near("2001:db8::10"), times: 1 });
        assert_eq!(sorted(lab), [ip("192.0.2.11"), ip("192.0.2.99")]);
        // And what was let go of.
        running.release(SECOND);
        lab.netlink.add(&[lab.at("192.0.2.11", 24)]).unwrap();
        assert_eq!(running.report(), Done::Swept { group: SECOND, address: near("192.0.2.11"), times: 1 });
    });
}

#[test]
fn what_is_taken_away_again_and_again_is_put_back_each_time_and_told_ever_more_rarely() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        let end = Instant::now() + Duration::from_millis(2_500);
        let mut removed = 0;
        while Instant::now() < end {
            if !sorted(lab).is_empty() {
                lab.netlink.remove(&[lab.at("192.0.2.10", 24)]).unwrap();
                removed += 1;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut told: u32 = 0;
        let mut reports = 0;
        while told < removed {
            let Done::Restored { times, .. } = running.report() else { panic!("restored") };
            (told, reports) = (told + times, reports + 1);
        }
        assert!(removed >= 5 && reports <= 4, "{removed} in {reports}");
        assert_eq!((told, sorted(lab)), (removed, vec![ip("192.0.2.10")]));
    });
}

#[test]
fn a_release_takes_nothing_of_the_hosts_own_along() {
    for promote in ["0", "1"] {
        in_namespace(move |lab| {
            set_ipv4("near0", "promote_secondaries", promote);
            let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
            running.acquire(FIRST);
            lab.netlink.add(&[lab.at("192.0.2.1", 24)]).unwrap();
            let own = UdpSocket::bind("192.0.2.1:0").unwrap();
            running.release(FIRST);
            assert_eq!(sorted(lab), [ip("192.0.2.1")]);
            own.connect("192.0.2.99:9").unwrap();
        });
    }
}

#[test]
fn a_resumed_group_gets_the_prefix_that_the_file_has_now() {
    in_namespace(|lab| {
        lab.netlink.add(&[lab.at("192.0.2.10", 25), lab.at("2001:db8::10", 80)]).unwrap();
        let running = Running::new(vec![plan("storage", [near("192.0.2.10"), near("2001:db8::10")])]);
        let orders = running.orders.as_ref().unwrap();
        orders.send(Order::Resume { group: FIRST }).unwrap();
        assert!(matches!(running.report(), Done::Restored { .. }));
        assert!(matches!(running.report(), Done::Restored { .. }));
        assert!(matches!(running.release(SECOND), Done::Released { .. }), "all orders before are served");
        let mut listed = lab.netlink.list(Some(lab.near.index)).unwrap();
        listed.retain(|a| [ip("192.0.2.10"), ip("2001:db8::10")].contains(&a.ip));
        assert_eq!(listed, [lab.at("192.0.2.10", 24), lab.at("2001:db8::10", 64)]);
    });
}

#[test]
fn to_resume_one_group_takes_nothing_of_the_next_away() {
    in_namespace(|lab| {
        lab.netlink.add(&[lab.at("192.0.2.10", 24), lab.at("2001:db8::10", 64), lab.at("192.0.2.11", 24)]).unwrap();
        let mut watch = AddressesLost::open();
        let running = Running::new(two_groups());
        for group in [FIRST, SECOND] {
            running.orders.as_ref().unwrap().send(Order::Resume { group }).unwrap();
        }
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!((watch.lost(), running.done.try_recv().ok()), (vec![], None));
    });
}

#[test]
fn what_could_not_be_added_is_tried_again_though_nothing_changes() {
    in_namespace(|lab| {
        // IPv6 is off for the interface when the group is taken over; and when it is on again, no other address appears, nor
        // does one at the far end become ready meanwhile.
        let set = |knob: &str, value| std::fs::write(format!("/proc/sys/net/ipv6/conf/{knob}"), value).unwrap();
        let off = |value| set("near0/disable_ipv6", value);
        set("far0/disable_ipv6", "1");
        set("near0/addr_gen_mode", "1");
        off("1");
        let running = Running::new(vec![plan("storage", [near("192.0.2.10"), near("2001:db8::10")])]);
        let Done::Acquired { failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        assert_eq!(failures.iter().map(|failure| failure.step).collect::<Vec<_>>(), [Step::Added]);
        std::thread::sleep(Duration::from_millis(400));
        off("0");
        assert_eq!(running.report(), Done::Restored { group: FIRST, address: near("2001:db8::10"), times: 1 });
        assert_eq!(sorted(lab), [ip("192.0.2.10"), ip("2001:db8::10")]);
    });
}

#[test]
fn a_release_that_is_not_sure_of_every_address_is_none_and_left_to_who_ordered_it() {
    in_namespace(|lab| {
        // Its interface cannot be looked up, and the reason is not that there is none.
        let odd = planned("a-name-that-is-too-long", "192.0.2.12", 24);
        let running = Running::new(vec![plan("storage", [near("192.0.2.10"), odd.clone()])]);
        running.acquire(FIRST);
        for _ in 0..2 {
            let Done::Released { failures, .. } = running.release(FIRST) else { panic!("released") };
            let failed: Vec<_> = failures.iter().map(|failure| (failure.address.clone(), failure.step)).collect();
            assert_eq!(failed, [(odd.clone(), Step::Removed)]);
            assert_eq!(sorted(lab), [] as [IpAddr; 0]);
            // Neither guarded nor swept until somebody decides; then tried again.
            lab.netlink.add(&[lab.at("192.0.2.10", 24)]).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(sorted(lab), [ip("192.0.2.10")]);
        }
    });
}

#[test]
fn a_group_that_is_not_held_is_not_put_back() {
    in_namespace(|lab| {
        let running = Running::with(TakeoverSettings { plans: two_groups(), ..TakeoverSettings::default() });
        running.acquire(SECOND);
        running.orders.as_ref().unwrap().send(Order::Announce { group: FIRST }).unwrap();
        assert_eq!(lab.frame_within(Duration::from_millis(300), arp_for(10)), None);
        assert_eq!(sorted(lab), [ip("192.0.2.11")]);
    });
}
