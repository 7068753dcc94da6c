use super::*;
use crate::{echo::EchoKind, frame::Frame, wire::ECHO_REPLY};
use proptest::prelude::*;
extern crate std;
use std::{vec, vec::Vec};

const PORT: u16 = 694;

fn reply() -> Echo {
    Echo {
        kind: EchoKind::Reply,
        pair_id: 7,
        node: 0,
        channel_id: 3,
        key_id: 0,
        incarnation: 1,
        peer_incarnation: 2,
        sent_ns: 3,
        echo_sent_ns: 4,
        echo_held_ns: 5,
    }
}

fn key() -> Key {
    Key::new([1; 16])
}

/// A frame as it comes in, with these numbers of tags and of hops left; addresses and message from `noise`.
fn frame(is_ipv6: bool, tags: usize, hops: u8, noise: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 11, 12, 13, 14, 1, 2, 21, 22, 23, 24, 2];
    for _ in 0..tags {
        bytes.extend([0x81, 0, 0, 100]);
    }
    let noise = |range: core::ops::Range<usize>| range.map(|i| noise[i % noise.len()].wrapping_add(i as u8));
    if is_ipv6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 168, 17, hops, 0xfd]);
        bytes.extend(noise(0..31));
    } else {
        let mut header = vec![0x45, 0xc0, 0, 188, 0, 0, 0x40, 0, hops, 17, 0, 0, 10];
        header.extend(noise(0..7));
        let sum = !ones_sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([0x08, 0]);
        bytes.extend(header);
    }
    bytes.extend([0x0f, 0xa0, 0x02, 0xb6, 0, 168, 0x12, 0x34]);
    bytes.extend(noise(0..LEN));
    bytes
}

/// RFC 1071, byte by byte.
fn ones_sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(*b.get(1).unwrap_or(&0))).sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

proptest! {
    #[test]
    fn every_sum_of_a_frame_turned_round_is_right(
        is_ipv6: bool, tags in 0usize..=2, hops: u8, noise in prop::collection::vec(any::<u8>(), 1..40), held: u64,
    ) {
        let before = frame(is_ipv6, tags, hops, &noise);
        let mut after = before.clone();
        let reply = Echo { echo_held_ns: held, ..reply() };
        ReplyFrame::of(&mut after).expect("a plain frame").into_reply(&reply, key());
        prop_assert_eq!(after.len(), before.len());
        prop_assert_eq!((&after[..6], &after[6..12]), (&before[6..12], &before[..6]));
        let ip = 14 + 4 * tags;
        let udp = ip + if is_ipv6 { 40 } else { 20 };
        prop_assert_eq!(&after[12..ip], &before[12..ip]);
        if is_ipv6 {
            prop_assert_eq!(after[ip + 7], 255);
            prop_assert_eq!((&after[ip + 8..ip + 24], &after[ip + 24..udp]), (&before[ip + 24..udp], &before[ip + 8..ip + 24]));
            let pseudo = [&after[ip + 8..], &[0, 0, 0, 168, 0, 0, 0, 17][..]].concat();
            prop_assert_eq!(ones_sum(&pseudo), 0xffff);
        } else {
            prop_assert_eq!(after[ip + 8], 255);
            prop_assert_eq!((&after[ip + 12..ip + 16], &after[ip + 16..udp]), (&before[ip + 16..udp], &before[ip + 12..ip + 16]));
            prop_assert_eq!(ones_sum(&after[ip..udp]), 0xffff);
            prop_assert_eq!(&after[udp + 6..udp + 8], &[0, 0]);
        }
        prop_assert_eq!(&after[udp..udp + 6], &[0x02, 0xb6, 0x0f, 0xa0, 0, 168]);
        let view = View::new(after[udp + 8..].try_into().unwrap());
        prop_assert!(view.tag_is_right(key()));
        prop_assert_eq!(Echo::parse(&view.words()), Some(reply));
    }

    #[test]
    fn no_bytes_are_written_beyond_a_frame_and_no_turned_frame_is_another_than_that_received(
        changes in prop::collection::vec((0usize..70, any::<u8>()), 0..4),
        is_ipv6: bool, tags in 0usize..=2, cut in 0usize..40, noise in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut bytes = frame(is_ipv6, tags, 64, &noise);
        bytes.truncate(bytes.len() - cut);
        for (at, value) in changes {
            bytes[at] = value;
        }
        let len = bytes.len();
        // The message that receiving sees is the one that turning writes.
        let at = Frame::new(&bytes)
            .datagram(PORT)
            .and_then(|datagram| datagram.payload::<LEN>())
            .map(|at| at as usize - bytes.as_ptr() as usize);
        bytes.extend([0xee; 300]);
        if let Some(turn) = ReplyFrame::of(&mut bytes[..len]) {
            turn.into_reply(&reply(), key());
            if let Some(at) = at {
                let view = View::new(bytes[at..at + LEN].try_into().unwrap());
                prop_assert_eq!(view.opening(), crate::wire::opening(ECHO_REPLY));
            }
        }
        prop_assert_eq!(&bytes[len..], &[0xee; 300]);
    }
}

#[test]
fn a_sum_of_zero_is_sent_as_all_ones() {
    // Addresses of one bit more for each try: one of 65,536 sums is 0.
    let mut frame = frame(true, 0, 64, &[1]);
    let seen = (0..=u16::MAX).filter(|low| {
        frame[14 + 38..14 + 40].copy_from_slice(&low.to_be_bytes());
        let mut turned = frame.clone();
        ReplyFrame::of(&mut turned).expect("a plain frame").into_reply(&reply(), key());
        assert_ne!(turned[14 + 46..14 + 48], [0, 0], "no checksum, which IPv6 does not allow");
        turned[14 + 46..14 + 48] == [0xff, 0xff]
    });
    assert!(seen.count() >= 1);
}

#[test]
fn only_plain_frames_between_two_hosts_are_turned_round() {
    let refused = |is_ipv6: bool, tags: usize, changes: &[(usize, u8)]| {
        let mut bytes = frame(is_ipv6, tags, 64, &[1]);
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        ReplyFrame::of(&mut bytes).is_none()
    };
    assert!(!refused(false, 2, &[]) && !refused(true, 2, &[]));
    assert!(refused(false, 3, &[]), "three tags");
    for (at, value, why) in [
        (0, 3, "to a group of stations"),
        (6, 3, "from a group of stations"),
        (12, 9, "another ethertype"),
        (14, 0x46, "options"),
        (14, 0x65, "another version"),
        (17, 189, "an IP length beyond the datagram's"),
        (20, 0x20, "more fragments"),
        (21, 1, "not the first fragment"),
        (23, 6, "TCP"),
        (26, 0, "from this network"),
        (26, 127, "from loopback"),
        (26, 224, "from a group"),
        (26, 255, "from everybody"),
        (39, 167, "a datagram of another length"),
    ] {
        assert!(refused(false, 0, &[(at, value)]), "{why}");
    }
    for (at, value, why) in [
        (14, 0x45, "another version"),
        (19, 169, "an IP length beyond the datagram's"),
        (20, 60, "an extension header"),
        (22, 0xff, "from a group"),
        (59, 167, "a datagram of another length"),
    ] {
        assert!(refused(true, 0, &[(at, value)]), "over IPv6: {why}");
    }
    for len in 0..frame(false, 2, 64, &[1]).len() {
        assert!(ReplyFrame::of(&mut frame(false, 2, 64, &[1])[..len]).is_none(), "cut to {len}");
    }
    for len in 0..frame(true, 2, 64, &[1]).len() {
        assert!(ReplyFrame::of(&mut frame(true, 2, 64, &[1])[..len]).is_none(), "cut to {len} over IPv6");
    }
}
