use super::{MAC, arp, in_namespace, remove_link};
use crate::{
    system::netlink::NetworkInterface,
    takeover::{
        Announcement, Announcer, arp_announcement, arp_announcing_reply, forwards_ipv6, unsolicited_advertisement,
    },
};
use nix::errno::Errno;
use pnet_packet::{
    Packet,
    icmpv6::{self, Icmpv6Packet},
    ipv6::Ipv6Packet,
};
use std::{fs, net::Ipv6Addr};

#[test]
fn an_arp_announcement_is_a_broadcast_request_from_and_for_the_address() {
    assert_eq!(arp_announcement(MAC, "192.0.2.10".parse().unwrap()), arp(1, [192, 0, 2, 10], [0; 6]));
}

#[test]
fn the_other_form_is_a_broadcast_reply_whose_target_is_its_sender() {
    assert_eq!(arp_announcing_reply(MAC, "192.0.2.10".parse().unwrap()), arp(2, [192, 0, 2, 10], MAC));
}

#[test]
fn an_unsolicited_advertisement_overrides_and_has_a_right_checksum() {
    let ip: Ipv6Addr = "2001:db8::10".parse().unwrap();
    #[rustfmt::skip]
    let expected = [
        0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0x5e, 0x10, 0, 0x01, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 32, 58, 255,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        136, 0, CHECKSUM[0], CHECKSUM[1], 0x20, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        2, 1, 0x02, 0, 0x5e, 0x10, 0, 0x01,
    ];
    // By hand: the one's complement of the sum of pseudo-header and message in 16-bit words.
    const CHECKSUM: [u8; 2] = [0x9a, 0xfc];
    assert_eq!(unsolicited_advertisement(MAC, ip, false), expected);
    assert_eq!(unsolicited_advertisement(MAC, ip, true)[58], 0xa0, "router and override");
}

#[test]
fn the_far_end_receives_all_forms_byte_for_byte() {
    in_namespace(|lab| {
        let mac = lab.near.mac.unwrap();
        let (ipv4, ipv6) = ("192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap());
        let announcement = |ip| Announcement { link: lab.near, ip, router: false };
        let outcomes = Announcer::open().unwrap().announce(&[announcement(ipv4), announcement(ipv6)]);
        assert_eq!(outcomes, [Ok(()), Ok(())]);
        let arp = lab.frame(|frame| frame[12..14] == [0x08, 0x06]);
        assert_eq!(arp, arp_announcement(mac, "192.0.2.10".parse().unwrap()));
        let reply = lab.frame(|frame| frame[12..14] == [0x08, 0x06]);
        assert_eq!(reply, arp_announcing_reply(mac, "192.0.2.10".parse().unwrap()));
        let advertisement = lab.frame(|frame| frame[12..14] == [0x86, 0xdd] && frame.get(54) == Some(&136));
        assert_eq!(advertisement, unsolicited_advertisement(mac, "2001:db8::10".parse().unwrap(), false));
        let packet = Ipv6Packet::new(&advertisement[14..]).unwrap();
        let icmp = Icmpv6Packet::new(packet.payload()).unwrap();
        assert_eq!(icmp.get_checksum(), icmpv6::checksum(&icmp, &packet.get_source(), &packet.get_destination()));
    });
}

#[test]
fn a_failed_announcement_is_named_and_the_others_are_sent() {
    in_namespace(|lab| {
        let mut announcer = Announcer::open().unwrap();
        let [first, bad, last] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap());
        let announcement = |ip, link| Announcement { link, ip, router: false };
        let gone = NetworkInterface { index: 9_999, ..lab.near };
        let down = lab.netlink.link("lo").unwrap();
        let down = NetworkInterface { mac: Some(MAC), ..down };
        let silent = NetworkInterface { mac: None, ..lab.near };
        let outcomes = announcer.announce(&[
            announcement(first, lab.near),
            announcement(bad, gone),
            announcement(bad, down),
            announcement(bad, silent),
            announcement(last, lab.near),
        ]);
        let refused = [Err(Errno::ENODEV), Err(Errno::ENETDOWN), Err(Errno::EOPNOTSUPP)];
        assert_eq!(outcomes, [&[Ok(())][..], &refused, &[Ok(())]].concat());
        for ip in [[192, 0, 2, 1], [192, 0, 2, 1], [192, 0, 2, 3], [192, 0, 2, 3]] {
            assert_eq!(lab.frame(|frame| frame[12..14] == [0x08, 0x06])[28..32], ip);
        }
        remove_link(&mut lab.netlink, "near0");
        assert!(announcer.announce(&[announcement(first, lab.near)])[0].is_err());
    });
}

#[test]
fn an_interface_that_came_later_is_announced_on() {
    in_namespace(|lab| {
        let mut announcer = Announcer::open().unwrap();
        super::add_cable(&mut lab.netlink, "near1", "far1");
        let link = lab.netlink.link("near1").unwrap();
        let announcement = Announcement { link, ip: "192.0.2.10".parse().unwrap(), router: false };
        assert_eq!(announcer.announce(&[announcement]), [Ok(())]);
    });
}

#[test]
fn the_router_flag_follows_forwarding() {
    in_namespace(|_| {
        assert!(!forwards_ipv6("near0"));
        fs::write("/proc/sys/net/ipv6/conf/near0/forwarding", "1").unwrap();
        assert!(forwards_ipv6("near0"));
        assert!(!forwards_ipv6("absent0"));
    });
}
