//! When the neighbours are told again.

use super::{
    Lab, add_bridge, add_cable, add_tunnel, enslave, in_namespace, planned, remove_link,
    running::{FIRST, Running, SECOND, near, plan},
    set_down, set_mac, set_up,
    worker::arp_for,
};
use crate::{
    takeover::{ANNOUNCE_AGAIN, Done, Order, Step, TakeoverSettings},
    types::Nanos,
};
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x77];

/// Holds 192.0.2.10, and has announced it until the round after half a second.
fn holding(lab: &Lab) -> Running {
    let running = Running::new(vec![plan("storage", [near("192.0.2.10")]), plan("other", [near("192.0.2.11")])]);
    running.acquire(FIRST);
    quiet(lab);
    running
}

/// The next round is not due for 1.5 s.
fn quiet(lab: &Lab) {
    (0..3).for_each(|_| drop(lab.frame(arp_for(10))));
    assert_eq!(lab.frame_within(Duration::from_millis(300), arp_for(10)), None);
}

/// Three times: of the takeover's own rounds, two are still to come.
fn announced_from(lab: &Lab, mac: [u8; 6]) {
    for _ in 0..3 {
        let frame = lab.frame(arp_for(10));
        assert_eq!((&frame[6..12], &frame[22..28]), (&mac[..], &mac[..]));
    }
}

#[test]
fn what_is_held_is_announced_again_when_that_is_ordered() {
    in_namespace(|lab| {
        let running = holding(lab);
        for group in [SECOND, FIRST] {
            running.orders.as_ref().unwrap().send(Order::Announce { group }).unwrap();
        }
        announced_from(lab, lab.near.mac.unwrap());
        running.release(FIRST);
        running.orders.as_ref().unwrap().send(Order::Announce { group: FIRST }).unwrap();
        assert_eq!(lab.frame_within(Duration::from_millis(500), arp_for(10)), None);
    });
}

#[test]
fn another_ethernet_address_is_announced() {
    in_namespace(|lab| {
        let _running = holding(lab);
        set_mac(&mut lab.netlink, "near0", MAC);
        announced_from(lab, MAC);
    });
}

#[test]
fn a_carrier_that_is_back_is_announced_on_also_after_a_moment() {
    in_namespace(|lab| {
        let _running = holding(lab);
        // Shorter than the time between two looks.
        set_down(&mut lab.netlink, "far0");
        set_up(&mut lab.netlink, &["far0"]);
        announced_from(lab, lab.near.mac.unwrap());
    });
}

#[test]
fn a_takeover_without_a_carrier_is_announced_when_there_is_one() {
    in_namespace(|lab| {
        set_down(&mut lab.netlink, "far0");
        let addresses = (10..50).map(|n| near(&format!("192.0.2.{n}")));
        let running = Running::new(vec![plan("storage", addresses)]);
        let Done::Acquired { failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        let told: Vec<_> = failures.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.10/24 on near0 not announced: near0 has no carrier; it will be when there is one"]);
        std::thread::sleep(Duration::from_nanos(ANNOUNCE_AGAIN[1].0) + Duration::from_millis(200));
        set_up(&mut lab.netlink, &["far0"]);
        announced_from(lab, lab.near.mac.unwrap());
    });
}

#[test]
fn an_interface_made_anew_is_announced_on() {
    in_namespace(|lab| {
        let _running = holding(lab);
        remove_link(&mut lab.netlink, "near0");
        add_cable(&mut lab.netlink, "near0", "far0");
        lab.relay();
        announced_from(lab, lab.near.mac.unwrap());
    });
}

#[test]
fn a_bridge_with_another_port_is_announced_on() {
    in_namespace(|lab| {
        // near0 is a port of br0, which has the address.
        add_bridge(&mut lab.netlink, "br0");
        let bridge = lab.netlink.link("br0").unwrap();
        set_mac(&mut lab.netlink, "br0", MAC);
        enslave(&mut lab.netlink, "near0", bridge.index);
        add_cable(&mut lab.netlink, "near1", "far1");
        std::thread::sleep(Duration::from_millis(300));
        let running = Running::new(vec![plan("storage", [planned("br0", "192.0.2.10", 24)])]);
        running.acquire(FIRST);
        quiet(lab);
        enslave(&mut lab.netlink, "near1", bridge.index);
        announced_from(lab, MAC);
        enslave(&mut lab.netlink, "near1", 0);
        announced_from(lab, MAC);
    });
}

#[test]
fn a_flapping_interface_is_announced_on_once_a_second_at_most_and_at_the_end() {
    in_namespace(|lab| {
        let _running = holding(lab);
        for n in 0..8 {
            set_mac(&mut lab.netlink, "near0", [MAC[0], 0, 0, 0, 0, n]);
            std::thread::sleep(Duration::from_millis(250));
        }
        let mut frames = 0;
        while let Some(frame) = lab.frame_within(Duration::from_millis(1_200), arp_for(10)) {
            frames += 1;
            if frame[11] == 7 && frames > 3 {
                break;
            }
        }
        assert!((5..=12).contains(&frames), "{frames}");
    });
}

#[test]
fn everything_is_announced_now_and_then_where_that_is_wished() {
    in_namespace(|lab| {
        let every = Some(Nanos::from_millis(200));
        let settings = || TakeoverSettings {
            plans: vec![plan("storage", [near("192.0.2.10")])],
            announce_every: every,
            ..TakeoverSettings::default()
        };
        let running = Running::with(settings());
        assert_eq!(lab.frame_within(Duration::from_millis(500), arp_for(10)), None, "nothing is held");
        running.acquire(FIRST);
        // The schedule's own rounds are at 0, 0.1, 0.5 and 2 s.
        let begun = Instant::now();
        let frames = || lab.frame_within(Duration::from_millis(500), arp_for(10)).is_some();
        let count = (0..9).take_while(|_| frames()).count();
        assert!(count == 9 && begun.elapsed() < Duration::from_millis(2_500), "{count} in {:?}", begun.elapsed());
    });
}

#[test]
fn what_is_resumed_is_announced_when_the_peer_has_had_its_say() {
    in_namespace(|lab| {
        lab.netlink.add(&[lab.at("192.0.2.10", 24), lab.at("192.0.2.11", 24)]).unwrap();
        let running = Running::new(vec![plan("storage", [near("192.0.2.10")]), plan("other", [near("192.0.2.11")])]);
        for group in [FIRST, SECOND] {
            running.orders.as_ref().unwrap().send(Order::Resume { group }).unwrap();
        }
        running.release(SECOND);
        assert_eq!(lab.frame_within(Duration::from_millis(2_500), arp_for(10)), None);
        announced_from(lab, lab.near.mac.unwrap());
        assert_eq!(lab.frame_within(Duration::from_millis(500), arp_for(11)), None, "that was the peer's");
    });
}

#[test]
fn where_nothing_can_be_announced_that_is_said_once_an_interface() {
    in_namespace(|lab| {
        add_tunnel(&mut lab.netlink, "tun0");
        let addresses =
            [planned("tun0", "198.51.100.10", 24), planned("tun0", "198.51.100.11", 24), near("192.0.2.10")];
        let running = Running::new(vec![plan("storage", addresses), plan("own", [planned("lo", "198.51.100.1", 32)])]);
        let Done::Acquired { failures, .. } = running.acquire(FIRST) else { panic!("acquired") };
        let told: Vec<_> = failures.iter().map(|failure| (failure.step, failure.reason.as_str())).collect();
        assert_eq!(told, [(Step::Announced, "tun0 has no Ethernet address to announce")]);
        lab.frame(arp_for(10));
        let Done::Acquired { failures, .. } = running.acquire(SECOND) else { panic!("acquired") };
        assert_eq!(failures, [], "nobody is behind the loopback interface");
    });
}
