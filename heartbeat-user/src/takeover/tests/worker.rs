use super::{
    Lab, add_cable, in_namespace, planned, remove_link,
    running::{FIRST, Running, SECOND, ip, near, plan},
    set_ipv4,
};
use crate::{
    system::clock,
    takeover::{ANNOUNCE_AGAIN, Answering, Done, GroupPlan, Order, Step, held_on_host, remove_unowned},
    types::Nanos,
};
use std::{net::IpAddr, time::Duration};

pub(super) fn sorted(lab: &mut Lab) -> Vec<IpAddr> {
    let mut present = lab.present();
    present.sort();
    present
}

/// Each announcement comes as a reply, too.
fn is_arp_request(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x06] && frame[21] == 1
}

pub(super) fn arp_for(last: u8) -> impl Fn(&[u8]) -> bool {
    move |frame| is_arp_request(frame) && frame[31] == last
}

#[test]
fn an_acquired_group_is_in_place_and_announced_and_a_released_one_is_gone() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10"), near("2001:db8::10")])]);
        let Done::Acquired { group, stages, failures } = running.acquire(FIRST) else { panic!("acquired") };
        assert_eq!((group, failures), (FIRST, vec![]));
        assert!(stages.ordered <= stages.first_address && stages.first_address <= stages.addresses_in_place);
        assert!(stages.addresses_in_place <= stages.announced && stages.announced <= clock::monotonic());
        assert_eq!(sorted(lab), [ip("192.0.2.10"), ip("2001:db8::10")]);
        lab.frame(arp_for(10));
        lab.frame(|frame| frame[12..14] == [0x86, 0xdd] && frame[6..12] == lab.near.mac.unwrap() && frame[54] == 136);
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        assert_eq!(sorted(lab), [] as [IpAddr; 0]);
    });
}

#[test]
fn a_held_group_is_announced_again_on_schedule() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        let Done::Acquired { stages, .. } = running.acquire(FIRST) else { panic!("acquired") };
        lab.frame(arp_for(10));
        for again in &ANNOUNCE_AGAIN[..2] {
            lab.frame(arp_for(10));
            assert!(clock::monotonic() >= stages.ordered.after(*again), "not before {again}");
        }
    });
}

/// IEEE 802.1D: a port listens, then learns, each for the forward delay (4 to 30 s, 15 s where nobody says otherwise), and
/// forwards nothing meanwhile.
#[test]
fn clients_behind_a_port_that_has_to_learn_first_are_told_soon_after_it_has() {
    assert!(ANNOUNCE_AGAIN.is_sorted());
    for forward_delay in [4_000, 15_000] {
        let forwards = Nanos::from_millis(2 * forward_delay);
        let told = ANNOUNCE_AGAIN.iter().find(|again| **again > forwards);
        let after = told.unwrap_or_else(|| panic!("nothing after {forwards}")).since(forwards);
        assert!(after <= Nanos::from_millis(7_000), "{after} after it forwards, at {forwards}");
    }
}

#[test]
fn a_released_group_is_not_announced_again() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        lab.frame(arp_for(10));
        running.release(FIRST);
        // The next two announcements would have come by then.
        let silence = Duration::from_nanos(ANNOUNCE_AGAIN[1].0) + Duration::from_millis(150);
        assert_eq!(lab.frame_within(silence, arp_for(10)), None);
    });
}

#[test]
fn a_thousand_addresses_are_announced_each_and_the_first_one_does_not_wait_for_the_last() {
    in_namespace(|lab| {
        let addresses = (0..1_000).map(|n| planned("near0", &format!("10.1.{}.{}", n / 250, n % 250 + 1), 16));
        let running = Running::new(vec![plan("storage", addresses)]);
        let Done::Acquired { stages, failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        assert_eq!(failures, []);
        assert!(stages.first_address < stages.addresses_in_place, "not all at once");
        assert_eq!(lab.present().len(), 1_000);
        for n in 0..1_000_u32 {
            let frame = lab.frame(is_arp_request);
            assert_eq!(frame[28..32], [10, 1, (n / 250) as u8, (n % 250 + 1) as u8]);
        }
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        assert_eq!(lab.present().len(), 0);
    });
}

#[test]
fn what_cannot_be_added_is_named_and_never_announced() {
    in_namespace(|lab| {
        let bad = [planned("near0", "192.0.2.11", 33), planned("absent0", "192.0.2.12", 24)];
        let plans = vec![plan("storage", [near("192.0.2.10"), bad[0].clone(), bad[1].clone(), near("192.0.2.13")])];
        let running = Running::new(plans);
        let Done::Acquired { failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        let named: Vec<_> = failures.iter().map(|failure| (failure.address.clone(), failure.step)).collect();
        assert_eq!(named.len(), 2);
        assert!(bad.iter().all(|address| named.contains(&(address.clone(), Step::Added))));
        assert!(
            failures.iter().any(|f| f.to_string() == "192.0.2.11/33 on near0 not added: Invalid argument (EINVAL)")
        );
        assert_eq!(sorted(lab), [ip("192.0.2.10"), ip("192.0.2.13")]);
        let arp = || lab.frame(is_arp_request)[31];
        assert_eq!([arp(), arp(), arp()], [10, 13, 10]);
    });
}

#[test]
fn a_group_of_which_nothing_can_be_added_is_not_acquired() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [planned("absent0", "192.0.2.12", 24)])]);
        let Done::AcquireFailed { failures, .. } = running.acquire(FIRST) else { panic!("failed") };
        assert_eq!(failures.len(), 1);
        assert!(failures[0].reason.contains("No such device"), "{}", failures[0]);
        assert_eq!(running.acquire(SECOND), Done::AcquireFailed { group: SECOND, failures: vec![] });
        assert_eq!(sorted(lab), [] as [IpAddr; 0]);
    });
}

#[test]
fn a_group_without_addresses_is_acquired() {
    in_namespace(|_| {
        let running = Running::new(vec![plan("hooks only", [])]);
        let Done::Acquired { stages, failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        assert_eq!(failures, []);
        assert_ne!(stages.addresses_in_place, Nanos::default());
    });
}

#[test]
fn a_released_primary_drags_no_other_groups_address_along() {
    in_namespace(|lab| {
        set_ipv4("near0", "promote_secondaries", "0");
        let plans = vec![plan("first", [near("192.0.2.10")]), plan("second", [near("192.0.2.11")])];
        let running = Running::new(plans);
        running.acquire(FIRST);
        running.acquire(SECOND);
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        assert_eq!(sorted(lab), [ip("192.0.2.11")]);
    });
}

#[test]
fn an_address_removed_by_hand_is_put_back() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10"), near("2001:db8::10")])]);
        running.acquire(FIRST);
        lab.netlink.remove(&[lab.at("2001:db8::10", 64)]).unwrap();
        assert_eq!(running.report(), Done::Restored { group: FIRST, address: near("2001:db8::10"), times: 1 });
        assert_eq!(sorted(lab), [ip("192.0.2.10"), ip("2001:db8::10")]);
    });
}

#[test]
fn a_replaced_interface_gets_its_addresses_back() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        remove_link(&mut lab.netlink, "near0");
        add_cable(&mut lab.netlink, "near0", "far0");
        assert_eq!(running.report(), Done::Restored { group: FIRST, address: near("192.0.2.10"), times: 1 });
        lab.near = lab.netlink.link("near0").unwrap();
        assert_eq!(sorted(lab), [ip("192.0.2.10")]);
    });
}

#[test]
fn an_address_whose_prefix_was_changed_by_hand_is_released_too() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        lab.netlink.add(&[lab.at("192.0.2.10", 25)]).unwrap();
        assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        assert_eq!(sorted(lab), [] as [IpAddr; 0]);
    });
}

#[test]
fn an_unconfigured_address_is_never_touched() {
    in_namespace(|lab| {
        add_cable(&mut lab.netlink, "near1", "far1");
        let other = lab.netlink.link("near1").unwrap();
        let mut elsewhere = lab.at("192.0.2.10", 24); // configured, but on the other interface
        elsewhere.interface = other.index;
        lab.netlink.add(&[lab.at("192.0.2.1", 24), lab.at("2001:db8::1", 64), elsewhere]).unwrap();
        let plans = vec![plan("first", [near("192.0.2.10")]), plan("second", [near("2001:db8::10")])];
        assert_eq!(remove_unowned(&plans, 0, &mut lab.netlink).unwrap().removed, []);
        let running = Running::new(plans);
        running.acquire(FIRST);
        running.acquire(SECOND);
        running.release(FIRST);
        running.release(SECOND);
        assert_eq!(sorted(lab), [ip("192.0.2.1"), ip("2001:db8::1")]);
        assert!(lab.netlink.list(Some(other.index)).unwrap().contains(&elsewhere));
    });
}

#[test]
fn at_start_what_is_held_but_not_owned_is_removed() {
    in_namespace(|lab| {
        set_ipv4("near0", "promote_secondaries", "0");
        let plans =
            vec![plan("first", [near("192.0.2.10")]), plan("second", [near("192.0.2.11"), near("2001:db8::11")])];
        // The unowned one is the primary of the owned one, and has another prefix elsewhere than configured.
        lab.netlink.add(&[lab.at("192.0.2.10", 24), lab.at("192.0.2.10", 25), lab.at("192.0.2.11", 24)]).unwrap();
        assert_eq!(held_on_host(&plans, &mut lab.netlink).unwrap().len(), 3);
        let swept = remove_unowned(&plans, SECOND.bit(), &mut lab.netlink).unwrap();
        assert_eq!(swept.failures, []);
        assert_eq!(swept.removed.len(), 2);
        assert!(swept.removed.iter().all(|(group, address)| *group == FIRST && address.ip == ip("192.0.2.10")));
        assert_eq!(sorted(lab), [ip("192.0.2.11")]);
        assert_eq!(held_on_host(&plans, &mut lab.netlink).unwrap(), [(SECOND, near("192.0.2.11"))]);
    });
}

#[test]
fn on_stop_what_is_held_stays() {
    in_namespace(|lab| {
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")])]);
        running.acquire(FIRST);
        running.orders.as_ref().unwrap().send(Order::Stop).unwrap();
        drop(running);
        assert_eq!(sorted(lab), [ip("192.0.2.10")]);
    });
}

#[test]
fn a_resumed_group_is_guarded_but_only_what_was_missing_is_announced() {
    in_namespace(|lab| {
        let plan = plan("storage", [near("192.0.2.10"), near("192.0.2.11")]);
        let earlier = Running::new(vec![GroupPlan { addresses: vec![near("192.0.2.10")], ..plan.clone() }]);
        earlier.acquire(FIRST);
        lab.frame(arp_for(10));
        drop(earlier);
        let running = Running::new(vec![plan]);
        let restored = running.order(Order::Resume { group: FIRST });
        assert_eq!(restored, Done::Restored { group: FIRST, address: near("192.0.2.11"), times: 1 });
        lab.frame(arp_for(11));
        let again = Duration::from_nanos(ANNOUNCE_AGAIN[0].0) + Duration::from_millis(100);
        assert_eq!(lab.frame_within(again, arp_for(10)), None);
        assert_eq!(sorted(lab), [ip("192.0.2.10"), ip("192.0.2.11")]);
    });
}

#[test]
fn without_a_carrier_on_any_own_channel_nothing_is_added_for_a_dead_peer() {
    in_namespace(|lab| {
        let order = Order::Acquire {
            group: FIRST,
            ordered: clock::monotonic(),
            unless_isolated: true,
            answering: Answering::Skip,
        };
        let plans = vec![plan("storage", [near("192.0.2.10")])];
        let running = |channels: &[&str]| {
            Running::with_channels(plans.clone(), channels.iter().map(|c| (*c).to_owned()).collect())
        };
        assert!(matches!(running(&["gone0"]).order(order), Done::Isolated { .. }));
        assert_eq!(sorted(lab), [] as [IpAddr; 0]);
        assert!(matches!(running(&["gone0", "near0"]).order(order), Done::Acquired { .. }));
        assert_eq!(sorted(lab), [ip("192.0.2.10")]);
    });
}
