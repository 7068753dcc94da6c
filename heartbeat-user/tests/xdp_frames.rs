//! Crafted frames through the XDP program (BPF_PROG_TEST_RUN) and through the same shared code in this process: one table,
//! two executors, the same verdicts, counters, windows and records. Needs root.

#[expect(dead_code, reason = "shared with other tests and the benchmark")]
mod support;

use heartbeat::{
    core::ChannelIndex,
    dataplane::{Kernel, Tables, XdpMode, XdpPreference, Yardstick},
    status::histogram::to_hdr,
};
use heartbeat_ebpf::{
    admit::{self, Expected, News},
    frame::{Address, Frame},
    histogram,
    layout::{Outcome, Record, Slot},
    siphash::Key,
    wire::{self, Message, View},
};
use pnet_packet::ethernet::{EtherType, EtherTypes};
use proptest::prelude::*;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};
use support::*;

const DROP: u32 = 1;
const PASS: u32 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

/// Channel of frames to `ADDRESS_V4` and `ADDRESS_V6`, and one that ends at another interface.
const V4: u8 = 3;
const V6: u8 = 5;
const ELSEWHERE: u8 = 63;
const ADDRESS_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

struct Case {
    name: &'static str,
    frame: Vec<u8>,
    verdict: u32,
    /// What it is counted as, and for which channel.
    outcome: Option<(Outcome, u8)>,
    /// By how much the channel's `missing` changes.
    missing: i64,
}

/// The table. Cases build on those before them: sequence numbers of accepted ones are spent.
#[derive(Default)]
struct Table(Vec<Case>);

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
fn extended(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, next) in headers[1..].iter().chain([&UDP]).enumerate() {
        bytes.extend(extension(*next, (i % 3) as u8));
    }
    bytes.extend(udp6(payload));
    ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, headers[0], &bytes))
}

fn with(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

fn table() -> Table {
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

/// What one executor has to show after a case.
#[derive(Debug, PartialEq, Eq)]
struct State {
    outcomes: Vec<[u64; Outcome::COUNT]>,
    windows: Vec<[u64; 4]>,
    /// Message and whether it has a stamp, of live and handshake.
    records: Vec<Vec<([u64; wire::WORDS], bool)>>,
    intervals: Vec<u64>,
}

impl State {
    fn of(tables: &Tables) -> Self {
        let read = |record: &Record| record.read().map(|(words, stamp_ns)| (words, stamp_ns != 0)).expect("no writer");
        Self {
            outcomes: tables
                .channels()
                .map(|c| tables.slot(c))
                .map(|slot| Outcome::ALL.map(|outcome| slot.counted(outcome)))
                .collect(),
            windows: tables
                .channels()
                .map(|c| tables.slot(c))
                .map(|s| [&s.missing, &s.window_of, &s.highest, &s.window].map(|w| w.get()))
                .collect(),
            records: tables.channels().map(|c| tables.slot(c).records().map(read).to_vec()).collect(),
            intervals: tables
                .channels()
                .map(|c| tables.inter_arrival(c).counts.iter().map(|count| count.get()).sum())
                .collect(),
        }
    }
}

fn pair_up(tables: &Tables) {
    name_channels(tables);
    tables.agent().incarnation.set(OWN);
    tables.agent().peer_incarnation.set(PEER);
}

/// What the XDP program does with a frame on the loopback interface, in this process.
fn in_process(tables: &Tables, frame: &[u8], stamp_ns: u64) -> (u32, News) {
    let ends = [(IpAddr::from(ADDRESS_V4), V4), (ADDRESS_V6.into(), V6)];
    let Some(datagram) = Frame::new(frame).datagram(wire::PORT) else {
        return (PASS, News::None);
    };
    let is_end = |address: IpAddr| {
        let bytes = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Address::new(bytes) == datagram.destination
    };
    let Some((_, channel)) = ends.into_iter().find(|(address, _)| is_end(*address)) else {
        return (PASS, News::None);
    };
    // `payload` vouches for the bytes; found again in the frame, since views of raw addresses are for the kernel.
    let message: Option<&[u8; wire::LEN]> = datagram.payload::<{ wire::LEN }>().map(|at| {
        let offset = at as usize - frame.as_ptr() as usize;
        frame[offset..offset + wire::LEN].try_into().expect("a whole message")
    });
    let expected = Expected { pair_id: PAIR, node: 0, channel_id: channel.into() };
    let keys = [key(), second_key()];
    let index = ChannelIndex(channel);
    let received = admit::receive(
        message.map(View::new),
        expected,
        tables.agent(),
        |id| keys.get(usize::from(id)).copied(),
        tables.slot(index),
        tables.inter_arrival(index),
        || stamp_ns,
    );
    (DROP, received.news)
}

/// Holds what a case did to the counters against what it should have done.
fn check(case: &Case, before: &State, after: &State) {
    for channel in 0..64u8 {
        let index = usize::from(channel);
        for outcome in Outcome::ALL {
            let counted = after.outcomes[index][outcome as usize] - before.outcomes[index][outcome as usize];
            let expected = u64::from(case.outcome == Some((outcome, channel)));
            assert_eq!(counted, expected, "{}: {} of channel {channel}", case.name, outcome.name());
        }
        let missing = after.windows[index][0].wrapping_sub(before.windows[index][0]) as i64;
        let expected = if case.outcome.is_some_and(|(_, of)| of == channel) { case.missing } else { 0 };
        assert_eq!(missing, expected, "{}: missing of channel {channel}", case.name);
    }
}

#[test]
fn every_crafted_frame_has_its_verdict_and_counter_in_the_kernel_and_in_process() {
    let table = table();
    assert!(table.0.len() >= 100, "{} cases", table.0.len());
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, adopted) = Kernel::open(&settings(), pins.path()).unwrap();
        assert!(!adopted.maps);
        run("ip link add elsewhere type veth peer name far");
        for (channel, interface, address) in [
            (V4, "lo", ADDRESS_V4.into()),
            (V6, "lo", ADDRESS_V6.into()),
            (ELSEWHERE, "elsewhere", ADDRESS_ELSEWHERE.into()),
        ] {
            let attached = kernel.attach(ChannelIndex(channel), interface, address, XdpPreference::Auto).unwrap();
            assert_ne!(attached.mode, XdpMode::Socket, "{:?}", attached.why);
        }
        let in_kernel = kernel.tables();
        let here = Tables::anonymous().unwrap();
        pair_up(&in_kernel);
        pair_up(&here);
        let mut doorbell = kernel.doorbell().unwrap();
        for (number, case) in (1..).zip(&table.0) {
            let before = State::of(&in_kernel);
            let (verdict, _) = kernel.test_run(Yardstick::Heartbeat, &case.frame, 1).unwrap();
            assert_eq!(verdict, case.verdict, "{}: verdict in the kernel", case.name);
            let after = State::of(&in_kernel);
            check(case, &before, &after);

            let (verdict, news) = in_process(&here, &case.frame, number);
            assert_eq!(verdict, case.verdict, "{}: verdict in process", case.name);
            assert_eq!(State::of(&here), after, "{}: in process and in the kernel", case.name);
            let rung = doorbell.next().map(|bytes| bytes.to_vec());
            assert_eq!(rung.is_some(), news != News::None, "{}: {rung:?} at the doorbell", case.name);
            if let (Some(rung), Some((_, channel))) = (rung, case.outcome) {
                assert_eq!(rung, u32::from(channel).to_ne_bytes(), "{}", case.name);
            }
        }
        drop(doorbell);
        kernel.remove().unwrap();
        assert!(!pins.path().exists());
    });
}

/// Kernel and process, fed with the same frames on channel `V4`.
struct Both {
    kernel: Kernel,
    tables: [Arc<Tables>; 2],
    _pins: PinFolder,
}

impl Both {
    fn new() -> Self {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("opening");
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).expect("attaching");
        let tables = [kernel.tables(), Arc::new(Tables::anonymous().expect("memory"))];
        tables.iter().for_each(|tables| pair_up(tables));
        Self { kernel, tables, _pins: pins }
    }

    fn deliver(&mut self, message: Message) {
        let frame = over_ipv4(&signed(message));
        assert_eq!(self.kernel.test_run(Yardstick::Heartbeat, &frame, 1).expect("a run").0, DROP);
        assert_eq!(in_process(&self.tables[1], &frame, 1).0, DROP);
    }

    fn slots(&self) -> [&Slot; 2] {
        self.tables.each_ref().map(|tables| tables.slot(ChannelIndex(V4)))
    }
}

#[test]
fn a_heartbeat_that_finds_another_processor_at_its_record_is_lost_and_counted() {
    in_namespace(|| {
        let mut both = Both::new();
        both.deliver(heartbeat(V4, 1));
        for slot in both.slots() {
            assert!(slot.live.lock() && slot.handshake.lock());
        }
        both.deliver(heartbeat(V4, 2));
        both.deliver(Message { peer_incarnation: 0, ..heartbeat(V4, 3) });
        for slot in both.slots() {
            slot.live.unlock();
            slot.handshake.unlock();
        }
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Accepted), slot.counted(Outcome::Busy), slot.highest.get()), (1, 1, 1));
            assert_eq!(slot.counted(Outcome::Handshake), 1, "counted, though not stored");
            assert_eq!(slot.handshake.read().unwrap().0, [0; wire::WORDS]);
        }
        both.deliver(heartbeat(V4, 4));
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Accepted), slot.missing.get()), (2, 2));
        }
        both.kernel.remove().unwrap();
    });
}

#[test]
fn a_new_incarnation_of_the_peer_starts_a_new_window_and_the_old_one_is_not_heard_again() {
    in_namespace(|| {
        let mut both = Both::new();
        let new = |sequence| Message { incarnation: PEER + 1, ..heartbeat(V4, sequence) };
        both.deliver(heartbeat(V4, 500));
        both.deliver(new(3));
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Handshake), slot.highest.get()), (1, 500));
        }
        for tables in &both.tables {
            tables.agent().peer_incarnation.set(PEER + 1);
        }
        both.deliver(new(3));
        both.deliver(new(2));
        both.deliver(heartbeat(V4, 501));
        both.deliver(new(4));
        for slot in both.slots() {
            let counted = [Outcome::Accepted, Outcome::Replayed, Outcome::Handshake].map(|o| slot.counted(o));
            assert_eq!(counted, [3, 1, 2], "accepted, replayed, handshake");
            assert_eq!((slot.missing.get(), slot.highest.get(), slot.window_of.get()), (0, 4, PEER + 1));
        }
        both.kernel.remove().unwrap();
    });
}

/// Gives channel `V4` heartbeats with pauses between them; what the kernel stamped each with.
fn stamped(pauses: &[Duration], body: impl FnOnce(&Tables, &[u64]) + Send) {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("a program");
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).expect("attached");
        let tables = kernel.tables();
        pair_up(&tables);
        let slot = tables.slot(ChannelIndex(V4));
        let now = || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
            now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
        };
        let mut stamps = Vec::new();
        for (sequence, pause) in (1..).zip([Duration::ZERO].iter().chain(pauses)) {
            std::thread::sleep(*pause);
            let before = now();
            kernel.test_run(Yardstick::Heartbeat, &over_ipv4(&signed(heartbeat(V4, sequence))), 1).expect("a run");
            let (words, stamp) = slot.live.read().expect("no writer");
            assert_eq!(Message::parse(&words), heartbeat(V4, sequence));
            assert!((before..=now()).contains(&stamp), "{before} {stamp}");
            stamps.push(stamp);
        }
        body(&tables, &stamps);
        kernel.remove().expect("removed");
    });
}

#[test]
fn the_times_between_heartbeats_are_stamped_by_the_kernel() {
    stamped(&[Duration::from_millis(3); 2], |tables, stamps| {
        let histogram = tables.inter_arrival(ChannelIndex(V4));
        for pair in stamps.windows(2) {
            assert!(histogram.counts[histogram::bucket(pair[1] - pair[0])].get() >= 1);
        }
        assert_eq!(histogram.counts.iter().map(|count| count.get()).sum::<u64>(), 2);
    });
}

#[test]
fn every_percentile_of_the_kernels_histogram_is_the_exact_times_own_within_one_percent() {
    const HEARTBEATS: usize = 4_000;
    // Most near one interval, a few much longer, as on a network; none so short that a bucket is wider than 1 % of it.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let pauses: Vec<_> = (0..HEARTBEATS)
        .map(|i| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Duration::from_micros(150 + random % 400 + if i % 100 == 0 { random % 20_000 } else { 0 })
        })
        .collect();
    stamped(&pauses, |tables, stamps| {
        let mut exact: Vec<_> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        exact.sort_unstable();
        let counted = to_hdr(tables.inter_arrival(ChannelIndex(V4)));
        assert_eq!(counted.len(), HEARTBEATS as u64);
        let mut worst: f64 = 0.0;
        for (place, &ns) in exact.iter().enumerate() {
            let percentile = (place as f64 + 0.5) / HEARTBEATS as f64 * 100.0;
            let error = counted.value_at_percentile(percentile).abs_diff(ns) as f64 / ns as f64;
            assert!(error < 0.01, "{percentile} %: {ns} ns, off by {:.2} %", error * 100.0);
            worst = worst.max(error);
        }
        let (first, last) = (exact[0], exact[HEARTBEATS - 1]);
        println!("{HEARTBEATS} percentiles from {first} to {last} ns: off by at most {:.2} %", worst * 100.0);
    });
}

proptest! {
    #[test]
    fn no_bytes_can_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), port: u16) {
        if let Some(datagram) = Frame::new(&bytes).datagram(port)
            && let Some(at) = datagram.payload::<{ wire::LEN }>()
        {
            prop_assert!(bytes.as_ptr_range().contains(&at));
        }
    }

    #[test]
    fn no_change_of_a_good_frame_reaches_beyond_it(
        changes in prop::collection::vec((0usize..210, any::<u8>()), 1..6), six: bool, len in 0usize..220,
    ) {
        let mut frame = if six { extended(&[HOP_BY_HOP, ROUTING], &signed(heartbeat(V6, 1))) }
            else { over_ipv4(&signed(heartbeat(V4, 1))) };
        frame.truncate(len);
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let tables = Tables::anonymous().unwrap();
        pair_up(&tables);
        in_process(&tables, &frame, 1);
    }

    #[test]
    fn no_single_flipped_bit_of_a_heartbeat_is_accepted(bit in 0..wire::LEN * 8) {
        let mut payload = signed(heartbeat(V4, 1));
        payload[bit / 8] ^= 1 << (bit % 8);
        let tables = Tables::anonymous().unwrap();
        pair_up(&tables);
        prop_assert_eq!(in_process(&tables, &over_ipv4(&payload), 1).0, DROP);
        let slot = tables.slot(ChannelIndex(V4));
        prop_assert_eq!(slot.counted(Outcome::Accepted), 0);
        prop_assert_eq!(Outcome::ALL.iter().map(|outcome| slot.counted(*outcome)).sum::<u64>(), 1);
    }
}

/// What the network says by itself: somebody else than the peer is there.
#[test]
fn frames_of_others_than_the_peer_are_noted_once_a_heartbeat_has_shown_which_are_the_peers() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).unwrap();
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        kernel.attach(ChannelIndex(V6), "lo", ADDRESS_V6.into(), XdpPreference::Auto).unwrap();
        let tables = kernel.tables();
        name_channels(&tables);
        pair_up(&tables);
        let both = ChannelIndex(V4).bit() | ChannelIndex(V6).bit();
        let from = |last, frame: Vec<u8>| with(frame, |b| b[11] = last);
        let mut heard_after = |frame: Vec<u8>| {
            kernel.test_run(Yardstick::Heartbeat, &frame, 1).unwrap();
            tables.third_parties()
        };
        let arp = |last| from(last, ethernet(EtherTypes::Arp, &[0; 46]));
        const PEERS: u8 = 2;
        assert_eq!(heard_after(arp(9)), 0, "nothing is known of the peer yet");
        assert_eq!(heard_after(over_ipv4(&signed(heartbeat(V4, 1)))), 0);
        assert_eq!(heard_after(arp(PEERS)), 0);
        assert_eq!(heard_after(arp(9)), both, "one interface, two channels");
        assert_eq!(tables.third_parties(), 0, "told once");
        assert_eq!(heard_after(from(9, ethernet(EtherTypes::Lldp, &[0; 46]))), both);
        let elsewhere = udp_to(PEER_V4.into(), wire::PORT, &[]);
        assert_eq!(heard_after(from(9, ethernet(EtherTypes::Ipv4, &ipv4_with(PEER_V4, UDP, &[], &elsewhere)))), both);
        // What is for us is the peer's or pretends to be: no evidence of anybody else.
        assert_eq!(heard_after(from(9, over_ipv4(&signed_with(Key::new([9; 16]), heartbeat(V4, 2))))), 0);
        assert_eq!(heard_after(vec![0; 14]), both, "a frame of nothing but a header");
        // Its NIC was exchanged.
        assert_eq!(heard_after(from(7, over_ipv4(&signed(heartbeat(V4, 2))))), 0);
        assert_eq!(heard_after(arp(7)), 0);
        assert_eq!(heard_after(arp(PEERS)), both);
        kernel.remove().unwrap();
    });
}
