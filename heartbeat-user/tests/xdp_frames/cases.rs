//! The table: a frame a row, what becomes of it, and what it is counted as.

use super::{ADDRESS_ELSEWHERE, DROP, ELSEWHERE, PASS, UDP, V4, V6, support::*};
use heartbeat_ebpf::{
    layout::Outcome,
    siphash::Key,
    wire::{self, Message},
};
use pnet_packet::ethernet::{EtherType, EtherTypes};
use std::net::{Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) frame: Vec<u8>,
    pub(crate) verdict: u32,
    /// What it is counted as, and for which channel.
    pub(crate) outcome: Option<(Outcome, u8)>,
    /// By how much the channel's `missing` changes.
    pub(crate) missing: i64,
}

/// The table. Cases build on those before them: sequence numbers of accepted ones are spent.
#[derive(Default)]
pub(crate) struct Table(pub(crate) Vec<Case>);

impl Table {
    fn add(&mut self, name: &'static str, frame: Vec<u8>, verdict: u32, outcome: Option<(Outcome, u8)>, missing: i64) {
        self.0.push(Case { name, frame, verdict, outcome, missing });
    }

    fn passes(&mut self, name: &'static str, frame: Vec<u8>) {
        self.add(name, frame, PASS, None, 0);
    }

    fn drops(&mut self, name: &'static str, frame: Vec<u8>, outcome: Outcome) {
        self.add(name, frame, DROP, Some((outcome, V4)), 0);
    }

    fn accepts(&mut self, name: &'static str, frame: Vec<u8>, channel: u8) {
        self.add(name, frame, DROP, Some((Outcome::Accepted, channel)), 0);
    }
}

fn udp4(payload: &[u8]) -> Vec<u8> {
    udp_to(ADDRESS_V4.into(), wire::PORT, payload)
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    udp_to(ADDRESS_V6.into(), wire::PORT, payload)
}

fn ip4(payload: &[u8]) -> Vec<u8> {
    ipv4_with(ADDRESS_V4, UDP, &[], &udp4(payload))
}

/// An IPv6 extension header of `8 * (1 + more)` bytes.
fn extension(next: u8, more: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 * (1 + usize::from(more))];
    bytes[0] = next;
    bytes[1] = more;
    bytes
}

/// An IPv6 frame with these extension headers before our datagram; 0 to 2 units of 8 bytes longer than the shortest.
pub(crate) fn extended(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, next) in headers[1..].iter().chain([&UDP]).enumerate() {
        bytes.extend(extension(*next, (i % 3) as u8));
    }
    bytes.extend(udp6(payload));
    ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, headers[0], &bytes))
}

pub(crate) fn with(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

#[expect(clippy::too_many_lines, reason = "a flat table: a case a line")]
pub(crate) fn table() -> Table {
    let mut t = Table::default();
    let v4 = |sequence| signed(heartbeat(V4, sequence));
    let v6 = |sequence| signed(heartbeat(V6, sequence));
    let m = |change: fn(&mut Message)| {
        let mut message = heartbeat(V4, 90);
        change(&mut message);
        over_ipv4(&signed(message))
    };
    let good = over_ipv4(&v4(90));

    // Ethernet.
    t.accepts("plain", over_ipv4(&v4(1)), V4);
    t.accepts("802.1Q", tagged(&[VLAN], EtherTypes::Ipv4, &ip4(&v4(2))), V4);
    t.accepts("QinQ, 802.1ad outside", tagged(&[QINQ, VLAN], EtherTypes::Ipv4, &ip4(&v4(3))), V4);
    t.accepts("QinQ, 802.1Q twice", tagged(&[VLAN, VLAN], EtherTypes::Ipv4, &ip4(&v4(4))), V4);
    t.passes("three tags", tagged(&[QINQ, VLAN, VLAN], EtherTypes::Ipv4, &ip4(&v4(90))));
    t.passes("ARP", ethernet(EtherTypes::Arp, &[0; 46]));
    t.passes("LLDP", ethernet(EtherTypes::Lldp, &[0; 46]));
    t.passes("802.3 with a length", ethernet(EtherType::new(46), &[0; 46]));
    t.passes("MPLS", ethernet(EtherTypes::Mpls, &ip4(&v4(90))));
    t.passes("nothing behind Ethernet", ethernet(EtherTypes::Ipv4, &[]));
    t.passes("nothing behind a tag", tagged(&[VLAN], EtherTypes::Ipv4, &[]));
    t.passes("half a tag", cut(tagged(&[VLAN], EtherTypes::Ipv4, &[]), 17));

    // IPv4.
    t.accepts("options", ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, UDP, &[1; 4], &udp4(&v4(5)))), V4);
    t.accepts("most options", ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, UDP, &[1; 40], &udp4(&v4(6)))), V4);
    t.passes("IHL below 5", with(good.clone(), |b| b[14] = 0x44));
    t.passes("IHL 0", with(good.clone(), |b| b[14] = 0x40));
    t.passes("IHL beyond the frame", cut(with(good.clone(), |b| b[14] = 0x4f), 14 + 60 + 7));
    t.passes("IPv4 of version 6", with(good.clone(), |b| b[14] = 0x65));
    t.passes("TCP", ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, TCP, &[], &udp4(&v4(90)))));
    t.passes("ICMP", ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, 1, &[], &udp4(&v4(90)))));
    t.passes("first fragment", with(good.clone(), |b| b[20] = 0x20));
    t.passes("later fragment", with(good.clone(), |b| b[21] = 0x01));
    t.passes("fragment far behind", with(good.clone(), |b| b[20] = 0x1f));
    t.accepts("don't fragment", with(over_ipv4(&v4(7)), |b| b[20] = 0x40), V4);
    t.passes("cut within IPv4", cut(good.clone(), 14 + 19));
    t.passes("cut within UDP", cut(good.clone(), 14 + 20 + 7));
    t.passes("another destination", {
        let to = Ipv4Addr::new(192, 0, 2, 3);
        ethernet(EtherTypes::Ipv4, &ipv4_with(to, UDP, &[], &udp_to(to.into(), wire::PORT, &v4(90))))
    });
    t.passes("a channel of another interface", {
        let payload = udp_to(ADDRESS_ELSEWHERE.into(), wire::PORT, &signed(heartbeat(ELSEWHERE, 1)));
        ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_ELSEWHERE, UDP, &[], &payload))
    });
    t.passes("another port", {
        let payload = udp_to(ADDRESS_V4.into(), wire::PORT + 1, &v4(90));
        ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, UDP, &[], &payload))
    });

    // IPv6.
    t.accepts("IPv6", over_ipv6(&v6(1)), V6);
    t.accepts("IPv6 behind a tag", tagged(&[VLAN], EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, UDP, &udp6(&v6(2)))), V6);
    t.accepts("hop-by-hop options", extended(&[HOP_BY_HOP], &v6(3)), V6);
    t.accepts("routing header", extended(&[ROUTING], &v6(4)), V6);
    t.accepts("destination options", extended(&[DESTINATION], &v6(5)), V6);
    t.accepts("two extensions", extended(&[HOP_BY_HOP, DESTINATION], &v6(6)), V6);
    t.accepts("three extensions", extended(&[HOP_BY_HOP, ROUTING, DESTINATION], &v6(7)), V6);
    t.accepts("five extensions", extended(&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION, ROUTING], &v6(8)), V6);
    t.passes("too many extensions", extended(&[DESTINATION; 6], &v6(90)));
    t.passes("ICMPv6", ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, 58, &udp6(&v6(90)))));
    t.passes("fragment header", extended(&[FRAGMENT], &v6(90)));
    t.passes("fragment header behind another", extended(&[HOP_BY_HOP, FRAGMENT], &v6(90)));
    t.passes("unknown extension", extended(&[140], &v6(90)));
    t.passes("no next header", ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, NO_NEXT, &udp6(&v6(90)))));
    t.passes("extension beyond the frame", cut(extended(&[HOP_BY_HOP], &v6(90)), 14 + 40 + 7));
    t.passes("an extension's length beyond the frame", with(extended(&[HOP_BY_HOP], &v6(90)), |b| b[14 + 41] = 255));
    t.passes("IPv6 of version 4", with(over_ipv6(&v6(90)), |b| b[14] = 0x45));
    t.passes("cut within IPv6", cut(over_ipv6(&v6(90)), 14 + 39));
    t.passes("cut within UDP over IPv6", cut(over_ipv6(&v6(90)), 14 + 40 + 7));
    t.passes("IPv6 to another destination", {
        let to = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
        ethernet(EtherTypes::Ipv6, &ipv6_with(to, UDP, &udp_to(to.into(), wire::PORT, &v6(90))))
    });

    // UDP and the length of the message.
    t.drops("empty datagram", over_ipv4(&[]), Outcome::Malformed);
    t.drops("one byte", over_ipv4(&[0x48]), Outcome::Malformed);
    t.drops("a byte too short", over_ipv4(&v4(90)[..wire::LEN - 1]), Outcome::Malformed);
    t.drops("a byte too long", over_ipv4(&[v4(90), vec![0]].concat()), Outcome::Malformed);
    t.drops("oversized", over_ipv4(&[0; 1400]), Outcome::Malformed);
    t.drops("UDP length too short", with(good.clone(), |b| b[39] -= 1), Outcome::Malformed);
    t.drops("UDP length too long", with(good.clone(), |b| b[39] += 1), Outcome::Malformed);
    t.drops("UDP length 0", with(good.clone(), |b| b[38..40].fill(0)), Outcome::Malformed);
    t.drops("payload cut by a byte", cut(good.clone(), 14 + 20 + 8 + wire::LEN - 1), Outcome::Malformed);
    t.drops("payload cut away", cut(good.clone(), 14 + 20 + 8), Outcome::Malformed);
    t.accepts("padding behind the datagram", [over_ipv4(&v4(8)), vec![0; 20]].concat(), V4);

    // What the message says.
    t.drops("wrong magic", with(good.clone(), |b| b[42] ^= 1), Outcome::Malformed);
    t.drops("wrong version", with(good.clone(), |b| b[44] = 1), Outcome::Malformed);
    t.drops("no kind", with(good.clone(), |b| b[45] = 0), Outcome::Malformed);
    t.drops("unknown kind", with(good.clone(), |b| b[45] = 5), Outcome::Malformed);
    t.drops("a heartbeat made an echo request", with(good.clone(), |b| b[45] = 2), Outcome::WrongTag);
    t.drops("a heartbeat made an echo reply", with(good.clone(), |b| b[45] = 3), Outcome::WrongTag);
    t.drops("a heartbeat made a notice", with(good.clone(), |b| b[45] = 4), Outcome::WrongTag);
    t.drops("wrong pair", m(|m| m.pair_id = PAIR + 1), Outcome::WrongPair);
    t.drops("wrong channel", m(|m| m.channel_id = V6.into()), Outcome::WrongChannel);
    t.drops("channel beyond all", m(|m| m.channel_id = 255), Outcome::WrongChannel);
    t.drops("node 2", m(|m| m.node = 2), Outcome::Malformed);
    t.drops("node 255", m(|m| m.node = 255), Outcome::Malformed);
    let of_our_letter = |incarnation| Message { node: 0, incarnation, ..heartbeat(V4, 90) };
    t.drops("our own, come back", over_ipv4(&signed(of_our_letter(OWN))), Outcome::Reflected);
    t.drops("another with our letter", over_ipv4(&signed(of_our_letter(77))), Outcome::SameNode);
    t.drops("tag of another key", over_ipv4(&signed_with(Key::new([9; 16]), heartbeat(V4, 90))), Outcome::WrongTag);
    t.drops("tag of no key", over_ipv4(&signed_with(Key::NONE, heartbeat(V4, 90))), Outcome::WrongTag);
    t.drops("first bit of the tag flipped", with(good.clone(), |b| b[42 + wire::LEN - 8] ^= 0x80), Outcome::WrongTag);
    t.drops("last bit of the tag flipped", with(good.clone(), |b| b[42 + wire::LEN - 1] ^= 1), Outcome::WrongTag);
    t.drops("a bit of the state flipped", with(good.clone(), |b| b[42 + 64] ^= 4), Outcome::WrongTag);
    t.drops("a bit of the sequence flipped", with(good.clone(), |b| b[42 + 39] ^= 1), Outcome::WrongTag);
    t.drops("second key's id, first key's tag", m(|m| m.key_id = 1), Outcome::WrongTag);
    t.drops("unknown key id", m(|m| m.key_id = 2), Outcome::WrongTag);
    t.drops("key id 255", m(|m| m.key_id = 255), Outcome::WrongTag);
    let second = signed_with(second_key(), Message { key_id: 1, ..heartbeat(V4, 9) });
    t.accepts("second key", over_ipv4(&second), V4);
    t.drops("incarnation 0", m(|m| m.incarnation = 0), Outcome::Malformed);
    t.drops("sequence 0", m(|m| m.sequence = 0), Outcome::Malformed);
    t.drops("names nobody yet", m(|m| m.peer_incarnation = 0), Outcome::Handshake);
    t.drops("names an incarnation of ours before", m(|m| m.peer_incarnation = OWN - 1), Outcome::Handshake);
    t.drops("names us, a new incarnation of its own", m(|m| m.incarnation = PEER + 1), Outcome::Handshake);

    // Sequence and window: 9 was the highest so far.
    t.accepts("the next", over_ipv4(&v4(10)), V4);
    t.drops("the same again", over_ipv4(&v4(10)), Outcome::Replayed);
    t.drops("the first again", over_ipv4(&v4(1)), Outcome::Replayed);
    t.add("three lost", over_ipv4(&v4(14)), DROP, Some((Outcome::Accepted, V4)), 3);
    t.add("one of them late", over_ipv4(&v4(12)), DROP, Some((Outcome::Accepted, V4)), -1);
    t.drops("the late one again", over_ipv4(&v4(12)), Outcome::Replayed);
    t.add("jump of 63", over_ipv4(&v4(77)), DROP, Some((Outcome::Accepted, V4)), 62);
    t.drops("oldest of the window, seen", over_ipv4(&v4(14)), Outcome::Replayed);
    t.drops("out of the window, never seen", over_ipv4(&v4(13)), Outcome::Replayed);
    t.add("second oldest, not seen", over_ipv4(&v4(15)), DROP, Some((Outcome::Accepted, V4)), -1);
    t.add("jump of 64", over_ipv4(&v4(141)), DROP, Some((Outcome::Accepted, V4)), 63);
    t.drops("behind a jump, seen", over_ipv4(&v4(77)), Outcome::Replayed);
    t.add("behind a jump, not seen", over_ipv4(&v4(78)), DROP, Some((Outcome::Accepted, V4)), -1);
    t.add("a huge jump", over_ipv4(&v4(u64::MAX)), DROP, Some((Outcome::Accepted, V4)), (u64::MAX - 142) as i64);
    t.drops("before a huge jump", over_ipv4(&v4(141)), Outcome::Replayed);
    t.add("replayed over IPv6", over_ipv6(&v6(8)), DROP, Some((Outcome::Replayed, V6)), 0);
    t.add("forged over IPv6", with(over_ipv6(&v6(9)), |b| b[170] ^= 1), DROP, Some((Outcome::WrongTag, V6)), 0);
    t.add("of the other channel", over_ipv6(&v4(90)), DROP, Some((Outcome::WrongChannel, V6)), 0);
    let news = signed(Message { owned: 1, term: 4, ..heartbeat(V6, 9) });
    t.accepts("news", over_ipv6(&news), V6);
    t
}
