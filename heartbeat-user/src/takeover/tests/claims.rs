use super::{MAC, arp, in_namespace, running::ip};
use crate::takeover::{
    ARP_FRAME, AddressClaim, Announcement, Announcer, arp_announcement, arp_probe, claim_in, claims::ClaimListener,
    neighbor_solicitation, probe, unsolicited_advertisement,
};
use pnet_packet::icmpv6::{self, Icmpv6Packet};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

const OTHER: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x02];
const IPV4: &str = "192.0.2.10";
const IPV6: &str = "2001:db8::10";

fn announced() -> Vec<u8> {
    arp_announcement(MAC, IPV4.parse().unwrap()).to_vec()
}

/// With the ICMPv6 message changed, and a right checksum all the same.
fn advertisement(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = unsolicited_advertisement(MAC, IPV6.parse().unwrap(), false).to_vec();
    change(&mut frame);
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    let [from, to] = [22, 38].map(|at| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap()));
    let checksum = icmpv6::checksum(&Icmpv6Packet::new(&frame[54..]).unwrap(), &from, &to);
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn an_arp_probe_is_a_broadcast_request_from_nobody() {
    let expected = arp(1, [0; 4], [0; 6]);
    assert_eq!(arp_probe(MAC, IPV4.parse().unwrap()), expected);
    assert_eq!(probe(MAC, ip(IPV4)), expected);
    assert_eq!(claim_in(&expected), None, "a question is no claim");
}

#[test]
fn a_solicitation_comes_from_nobody_and_has_a_right_checksum() {
    #[rustfmt::skip]
    let expected = [
        0x33, 0x33, 0xff, 0xab, 0xcd, 0xef, 0x02, 0, 0x5e, 0x10, 0, 0x01, 0x86, 0xdd,
        0x60, 0, 0, 0, 0, 24, 58, 255,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xab, 0xcd, 0xef,
        135, 0, CHECKSUM[0], CHECKSUM[1], 0, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0xab, 0xcd, 0xef,
    ];
    // By hand: the one's complement of the sum of pseudo-header (ff02 + 1 + ffab + cdef + 24 + 58) and message (8700 + 2001 +
    // 0db8 + 12ab + cdef) in 16-bit words.
    const CHECKSUM: [u8; 2] = [0x9d, 0xb9];
    let ip = "2001:db8::12ab:cdef".parse().unwrap();
    assert_eq!(neighbor_solicitation(MAC, ip), expected);
    assert_eq!(probe(MAC, ip.into()), expected);
    assert_eq!(claim_in(&expected), None, "a question is no claim");
}

#[test]
fn requests_and_replies_claim_their_senders_address() {
    let claim = Some(AddressClaim { ip: ip(IPV4), mac: MAC });
    let mut frame = announced();
    assert_eq!(claim_in(&frame), claim);
    frame[21] = 2; // a reply
    frame[38..42].copy_from_slice(&[192, 0, 2, 99]); // to somebody else
    frame[6..12].copy_from_slice(&OTHER); // by way of a bridge
    assert_eq!(claim_in(&frame), claim);
    frame.extend([0; 18]); // padding
    assert_eq!(claim_in(&frame), claim);
}

#[test]
fn advertisements_claim_their_target() {
    let claim = |mac| Some(AddressClaim { ip: ip(IPV6), mac });
    assert_eq!(claim_in(&advertisement(|_| ())), claim(MAC));
    let relayed = |frame: &mut Vec<u8>| frame[6..12].copy_from_slice(&OTHER);
    assert_eq!(claim_in(&advertisement(relayed)), claim(MAC), "the option says whose");
    let bare = |frame: &mut Vec<u8>| frame.truncate(78);
    assert_eq!(claim_in(&advertisement(bare)), claim(MAC), "else the frame does");
    let solicited = |frame: &mut Vec<u8>| {
        frame[38..54].copy_from_slice(&"2001:db8::99".parse::<Ipv6Addr>().unwrap().octets());
        frame[58] = 0x40;
    };
    assert_eq!(claim_in(&advertisement(solicited)), claim(MAC));
    let another_option_first = |frame: &mut Vec<u8>| {
        frame.splice(78..78, [14, 1, 1, 2, 3, 4, 5, 6]);
        frame[6..12].copy_from_slice(&OTHER);
    };
    assert_eq!(claim_in(&advertisement(another_option_first)), claim(MAC));
    let mut padded = advertisement(|_| ());
    padded.extend([0; 8]);
    assert_eq!(claim_in(&padded), claim(MAC));
}

#[test]
fn malformed_arp_claims_nothing() {
    let broken =
        [(15, 2, "hardware"), (16, 9, "protocol"), (18, 8, "length"), (19, 16, "length"), (21, 3, "operation")];
    for (at, byte, what) in broken {
        let mut frame = announced();
        frame[at] = byte;
        assert_eq!(claim_in(&frame), None, "{what}");
    }
    let frame = announced();
    assert_eq!(frame.len(), ARP_FRAME);
    (0..frame.len()).for_each(|length| assert_eq!(claim_in(&frame[..length]), None, "{length} bytes"));
}

#[test]
fn malformed_advertisements_claim_nothing() {
    type Change = fn(&mut Vec<u8>);
    let broken: [(&str, Change); 9] = [
        ("version", |frame| frame[14] = 0x40),
        ("next header", |frame| frame[20] = 17),
        ("hop limit: it came through a router", |frame| frame[21] = 254),
        ("type", |frame| frame[54] = 135),
        ("code", |frame| frame[55] = 1),
        ("solicited, and to all", |frame| frame[58] = 0x40),
        ("multicast target", |frame| frame[62] = 0xff),
        ("option of length 0", |frame| frame[79] = 0),
        ("option beyond the end", |frame| frame[79] = 2),
    ];
    for (what, change) in broken {
        assert_eq!(claim_in(&advertisement(change)), None, "{what}");
    }
    let whole = advertisement(|_| ());
    (0..whole.len()).for_each(|length| assert_eq!(claim_in(&whole[..length]), None, "{length} bytes"));
    let mut wrong = whole.clone();
    wrong[56] ^= 1;
    assert_eq!(claim_in(&wrong), None, "checksum");
    let half_an_option = |frame: &mut Vec<u8>| frame.truncate(79);
    assert_eq!(claim_in(&advertisement(half_an_option)), None);
}

#[test]
fn the_ears_hear_what_they_are_told_to_and_nothing_else_reaches_them() {
    in_namespace(|lab| {
        let far = lab.netlink.link("far0").unwrap();
        let mut announcer = Announcer::open().unwrap();
        let mut claimed = |ips: &[&str]| {
            let announcements: Vec<_> =
                ips.iter().map(|text| Announcement { link: far, ip: ip(text), router: false }).collect();
            assert!(announcer.announce(&announcements).iter().all(Result::is_ok));
        };
        let all = ["192.0.2.9", IPV4, "192.0.2.11", "2001:db8::f", IPV6, "2001:db8::11"];
        let mut listener = ClaimListener::open().unwrap();
        // One frame more may be read than should come: were another one let through, it would be that.
        claimed(&all);
        assert_eq!(listener.next(&mut 1), None, "closed at first");
        for (text, forms) in [(IPV4, 2), (IPV6, 1)] {
            listener.listen_only([(lab.near.index, ip(text))]).unwrap();
            claimed(&all);
            listener.wait(super::PATIENCE);
            let mut patience = forms + 1;
            let heard = Some((lab.near.index, AddressClaim { ip: ip(text), mac: far.mac.unwrap() }));
            (0..forms).for_each(|_| assert_eq!(listener.next(&mut patience), heard));
            assert_eq!((listener.next(&mut patience), patience), (None, 1));
        }
        listener.listen_only([(far.index, ip(IPV4)), (far.index, ip(IPV6))]).unwrap();
        claimed(&all);
        assert_eq!(listener.next(&mut 1), None, "another interface");
        listener.listen_also([(lab.near.index, ip(IPV6))]).unwrap();
        claimed(&[IPV4, IPV6]);
        listener.wait(super::PATIENCE);
        let mut patience = 9;
        assert_eq!(
            [listener.next(&mut patience), listener.next(&mut patience)].map(|h| h.map(|(_, c)| c.ip)),
            [Some(ip(IPV6)), None]
        );
        listener.listen_only([]).unwrap();
        claimed(&all);
        assert_eq!((listener.next(&mut patience), patience), (None, 8), "closed again");
    });
}

proptest! {
    #[test]
    fn no_frame_makes_the_parser_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), form in 0..3) {
        if frame.len() >= 60 {
            match form {
                0 => frame[12..22].copy_from_slice(&announced()[12..22]),
                1 => frame[12..22].copy_from_slice(&advertisement(|_| ())[12..22]),
                _ => {}
            }
        }
        if let Some(AddressClaim { ip: IpAddr::V4(ip), .. }) = claim_in(&frame) {
            prop_assert_eq!(&frame[28..32], &ip.octets());
        }
    }
}
