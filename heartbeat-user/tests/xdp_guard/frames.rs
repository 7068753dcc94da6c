//! Which frames are dropped while silence is kept about a group, and which never are.

use super::*;
use heartbeat::dataplane::Yardstick;
use heartbeat_ebpf::frame::{Frame, Way};
use pnet_packet::ethernet::{EtherType, EtherTypes};
use std::{thread, time::Duration};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
/// linux/pkt_cls.h: others have their say, and the end.
const TC_UNSPEC: u32 = u32::MAX;
const TC_SHOT: u32 = 2;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const STRANGER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

/// A frame, and whether it is about group 0 where it comes in, and where it leaves.
struct Case {
    name: &'static str,
    frame: Vec<u8>,
    about: [bool; 2],
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = ipv4_with(to, TCP, &[], &[0; 40]);
    packet[12..16].copy_from_slice(&from.octets());
    packet
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv6_with(to, next, payload);
    packet[8..24].copy_from_slice(&from.octets());
    packet
}

/// RFC 826.
fn arp_packet(operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    packet.extend([2, 0, 0, 0, 0, 2]);
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    packet
}

/// RFC 4861, sections 4.3 and 4.4.
fn neighbor(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1, 2, 0, 0, 0, 0, 2]);
    message
}

fn cases() -> Vec<Case> {
    let case = |name, frame, about| Case { name, frame, about };
    let v4 = |from, to| ethernet(EtherTypes::Ipv4, &ipv4(from, to));
    let v6 = |from, to| ethernet(EtherTypes::Ipv6, &ipv6(from, to, TCP, &[0; 40]));
    let arp = |operation, sender, target| ethernet(EtherTypes::Arp, &arp_packet(operation, sender, target));
    let icmp = |from, to, kind, target| ethernet(EtherTypes::Ipv6, &ipv6(from, to, ICMPV6, &neighbor(kind, target)));
    let mut odd = arp(1, STRANGER, SERVICE_V4);
    odd[14 + 4] = 8;
    let mut short = v4(STRANGER, SERVICE_V4);
    short.truncate(14 + 19);
    let mut cut = arp(1, STRANGER, SERVICE_V4);
    cut.truncate(14 + 27);
    vec![
        case("IPv4 to it", v4(STRANGER, SERVICE_V4), [true, false]),
        case("IPv4 from it", v4(SERVICE_V4, STRANGER), [false, true]),
        case("IPv4 of others", v4(STRANGER, ADDRESS_V4), [false, false]),
        case("IPv4 of another group", v4(OF_THE_OTHER, OF_THE_OTHER), [false, false]),
        case("IPv6 to it", v6(STRANGER_V6, SERVICE_V6), [true, false]),
        case("IPv6 from it", v6(SERVICE_V6, STRANGER_V6), [false, true]),
        case("IPv6 of others", v6(STRANGER_V6, ADDRESS_V6), [false, false]),
        case("tagged", tagged(&[VLAN], EtherTypes::Ipv4, &ipv4(STRANGER, SERVICE_V4)), [true, false]),
        case("twice", tagged(&[QINQ, VLAN], EtherTypes::Ipv4, &ipv4(SERVICE_V4, STRANGER)), [false, true]),
        case("thrice", tagged(&[QINQ, VLAN, VLAN], EtherTypes::Ipv4, &ipv4(SERVICE_V4, SERVICE_V4)), [false, false]),
        case("ARP: who has it", arp(1, STRANGER, SERVICE_V4), [true, false]),
        case(
            "ARP: who has it, behind a tag",
            tagged(&[VLAN], EtherTypes::Arp, &arp_packet(1, STRANGER, SERVICE_V4)),
            [true, false],
        ),
        case("ARP: who has another", arp(1, STRANGER, ADDRESS_V4), [false, false]),
        case("ARP: somebody else has it", arp(2, SERVICE_V4, STRANGER), [false, true]),
        case("ARP: an answer to who has it", arp(2, STRANGER, SERVICE_V4), [false, false]),
        case("ARP: it asks, or announces itself", arp(1, SERVICE_V4, SERVICE_V4), [true, true]),
        case("ARP: a probe", arp(1, Ipv4Addr::UNSPECIFIED, SERVICE_V4), [true, false]),
        case("ARP of something else than Ethernet", odd, [false, false]),
        case("ND: who has it", icmp(STRANGER_V6, ADDRESS_V6, 135, SERVICE_V6), [true, false]),
        case("ND: is it still there", icmp(STRANGER_V6, SERVICE_V6, 135, SERVICE_V6), [true, false]),
        case("ND: we have it", icmp(ADDRESS_V6, STRANGER_V6, 136, SERVICE_V6), [false, true]),
        case("ND: it says that it has another", icmp(SERVICE_V6, STRANGER_V6, 136, ADDRESS_V6), [false, true]),
        case("ND: somebody else has it", icmp(STRANGER_V6, ADDRESS_V6, 136, SERVICE_V6), [false, true]),
        case("ND: who has another", icmp(STRANGER_V6, ADDRESS_V6, 135, STRANGER_V6), [false, false]),
        case("an echo request that holds it by chance", icmp(STRANGER_V6, ADDRESS_V6, 128, SERVICE_V6), [false, false]),
        case("a header cut short", short, [false, false]),
        case("ARP cut short", cut, [false, false]),
        case("neither", ethernet(EtherType::new(0x88cc), &[0; 60]), [false, false]),
    ]
}

/// The verdicts of all three programs: XDP, tc in, tc out. Whether each drops.
fn drops(host: &mut Host, frame: &[u8]) -> [bool; 3] {
    let mut run = |yardstick, pass, drop| match host.kernel.test_run(yardstick, frame, 1).map(|(verdict, _)| verdict) {
        // The kernel does not run tc programs on less than a header.
        Err(_) if frame.len() < 14 + 20 && yardstick != Yardstick::Heartbeat => false,
        Err(error) => panic!("{yardstick:?}: {error:#}"),
        Ok(verdict) if verdict == pass => false,
        Ok(verdict) if verdict == drop => true,
        Ok(verdict) => panic!("{yardstick:?}: {verdict}"),
    };
    [
        run(Yardstick::Heartbeat, XDP_PASS, XDP_DROP),
        run(Yardstick::Incoming, TC_UNSPEC, TC_SHOT),
        run(Yardstick::Outgoing, TC_UNSPEC, TC_SHOT),
    ]
}

#[test]
fn what_is_about_a_group_is_dropped_while_silence_is_kept_about_it_and_nothing_else_is() {
    in_namespace(|| {
        let mut host = Host::new();
        for Case { name, frame, about: [comes, leaves] } in cases() {
            let group = |address: &_| {
                u64::from(
                    [SERVICE_V4.to_ipv6_mapped(), SERVICE_V6]
                        .iter()
                        .any(|ip| heartbeat_ebpf::frame::Address::new(ip.octets()) == *address),
                )
            };
            let found = [Way::In, Way::Out].map(|way| Frame::new(&frame).about(way, group) != 0);
            assert_eq!(found, [comes, leaves], "{name}: in process");
            host.tables.kernel().closed.set(0);
            assert_eq!(drops(&mut host, &frame), [false; 3], "{name}: nothing is silent");
            host.tables.kernel().closed.set(0b01);
            assert_eq!(drops(&mut host, &frame), [comes, comes, leaves], "{name}: silent");
            // No group of ours is in place, and one is still silent.
            mark(0).leave(host.tables.agent(), host.tables.kernel());
            assert_eq!(drops(&mut host, &frame), [comes, comes, leaves], "{name}: silent, not active");
            host.tables.kernel().closed.set(0);
            assert_eq!(drops(&mut host, &frame), [false; 3], "{name}: not armed");
            mark(0b11).leave(host.tables.agent(), host.tables.kernel());
        }
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn heartbeats_are_heard_whatever_is_silent_also_at_a_service_address() {
    in_namespace(|| {
        let mut host = Host::new();
        let all = [(ADDRESS_V4.into(), 0b01)].into();
        host.kernel.guard(&all).expect("room");
        host.tables.kernel().closed.set(0b11);
        let frame = over_ipv4(&signed(heartbeat(CHANNEL, 1)));
        host.kernel.test_run(Yardstick::Heartbeat, &frame, 1).expect("a run");
        let slot = host.tables.slot(ChannelIndex(CHANNEL));
        assert_eq!(slot.counted(heartbeat_ebpf::layout::Outcome::Accepted), 1);
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn when_neither_agent_nor_peer_gave_a_sign_for_a_lease_the_kernel_is_silent_about_all() {
    in_namespace(|| {
        let mut host = Host::new();
        let [ours, other] = [SERVICE_V4, OF_THE_OTHER].map(|to| ethernet(EtherTypes::Ipv4, &ipv4(STRANGER, to)));
        host.silent_for(LEASE.after(Nanos::from_millis(1)));
        assert_eq!([drops(&mut host, &ours)[0], drops(&mut host, &other)[0]], [true; 2]);
        // The peer is heard.
        host.tables.kernel().heard_ns.set(clock::monotonic().0);
        assert_eq!([drops(&mut host, &ours)[0], drops(&mut host, &other)[0]], [false; 2]);
        host.tables.kernel().heard_ns.set(0);
        // Or the agent lives.
        host.silent_for(Nanos(0));
        assert!(!drops(&mut host, &ours)[0]);
        // A grant that ran out.
        host.tables.kernel().orders.limited.set(0b10);
        host.tables.kernel().orders.serve_until_ns.set(clock::monotonic().0);
        thread::sleep(Duration::from_millis(1));
        assert_eq!([drops(&mut host, &ours)[0], drops(&mut host, &other)[0]], [false, true]);
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn addresses_that_are_set_anew_are_the_only_ones() {
    in_namespace(|| {
        let mut host = Host::new();
        host.tables.kernel().closed.set(0b01);
        let [before, after] = [SERVICE_V4, STRANGER].map(|to| ethernet(EtherTypes::Ipv4, &ipv4(ADDRESS_V4, to)));
        host.kernel.guard(&[(STRANGER.into(), 0b01), (OF_THE_OTHER.into(), 0b10)].into()).expect("room");
        assert_eq!([drops(&mut host, &before)[0], drops(&mut host, &after)[0]], [false, true]);
        host.kernel.guard(&addresses()).expect("room");
        assert_eq!([drops(&mut host, &before)[0], drops(&mut host, &after)[0]], [true, false]);
        host.kernel.remove().expect("removing");
    });
}
