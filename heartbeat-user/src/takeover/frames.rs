//! The frames that a takeover sends and hears: announcements, questions, and the claims of neighbours. Bytes only.
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | announcement | an ARP announcement, broadcast, whose sender and target are both the address (RFC 5227 §3) | an unsolicited Neighbor Advertisement to all nodes, override set (RFC 4861 §7.2.6) |
//! | question | an ARP probe, whose sender address is 0.0.0.0 so that it leaves no trace in any cache (RFC 5227 §2.1.1) | a Neighbor Solicitation for duplicate address detection, from `::` (RFC 4862 §5.4.2) |
//! | claim | any ARP packet, request or reply, whose sender has the address (RFC 5227 §2.1.1, §2.4) | any valid Neighbor Advertisement whose target is the address (RFC 4862 §5.4.4) |
//!
//! Whose claim it is the Ethernet address tells that the claim itself names, as in RFC 5227: not that of the frame, which a bridge
//! of a wireless network may have changed.

use pnet_packet::{
    MutablePacket, Packet,
    arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket},
    ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket},
    icmpv6::{
        self, Icmpv6Packet, Icmpv6Types,
        ndp::{
            MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionTypes, NeighborAdvertFlags,
            NeighborAdvertPacket,
        },
    },
    ip::IpNextHeaderProtocols,
    ipv6::{Ipv6Packet, MutableIpv6Packet},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ETHERNET: usize = 14;
pub(super) const IPV6: usize = 40;
const ADVERTISEMENT: usize = 24;
const SOLICITATION: usize = 24;
/// Length of an ARP announcement, in bytes.
pub const ARP_FRAME: usize = ETHERNET + 28;
/// Length of an unsolicited advertisement, in bytes: with one option, the target's Ethernet address.
pub const ADVERTISEMENT_FRAME: usize = ETHERNET + IPV6 + ADVERTISEMENT + 8;
/// Length of a Neighbor Solicitation without options, in bytes.
pub const SOLICITATION_FRAME: usize = ETHERNET + IPV6 + SOLICITATION;

/// `ff02::1`, and the Ethernet multicast address that it maps to (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// A neighbour's word that it has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressClaim {
    /// The address.
    pub ip: IpAddr,
    /// The neighbour's Ethernet address.
    pub mac: [u8; 6],
}

/// The ARP announcement of `ip` at `mac` (RFC 5227 §3): an Ethernet frame, without padding and check sequence.
#[must_use]
pub fn arp_announcement(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp_request(mac, ip, ip)
}

/// The same as a reply that nobody asked for. Its target's hardware address is the sender's.
#[must_use]
pub fn arp_announcing_reply(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = arp_announcement(mac, ip);
    let mut arp = MutableArpPacket::new(&mut frame[ETHERNET..]).expect("the frame has room for it");
    arp.set_operation(ArpOperations::Reply);
    arp.set_target_hw_addr(mac.into());
    frame
}

/// The ARP request for `target` from `sender` at `mac`, broadcast.
fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    ethernet(&mut frame, mac, BROADCAST_MAC, EtherTypes::Arp);
    let mut arp = MutableArpPacket::new(&mut frame[ETHERNET..]).expect("the frame has room for it");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(mac.into());
    arp.set_sender_proto_addr(sender);
    arp.set_target_hw_addr([0; 6].into()); // RFC 5227 §2.1.1, §2.3: ignored, and SHOULD be zero
    arp.set_target_proto_addr(target);
    frame
}

/// The unsolicited Neighbor Advertisement of `ip` at `mac` (RFC 4861 §4.4, §7.2.6): an Ethernet frame, without check
/// sequence.
#[must_use]
pub fn unsolicited_advertisement(mac: [u8; 6], ip: Ipv6Addr, router: bool) -> [u8; ADVERTISEMENT_FRAME] {
    let mut frame = [0; ADVERTISEMENT_FRAME];
    ethernet(&mut frame, mac, ALL_NODES_MAC, EtherTypes::Ipv6);
    let mut ipv6 = MutableIpv6Packet::new(&mut frame[ETHERNET..]).expect("the frame has room for it");
    ipv6.set_version(6);
    ipv6.set_payload_length((ADVERTISEMENT + 8) as u16);
    ipv6.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ipv6.set_hop_limit(255);
    ipv6.set_source(ip);
    ipv6.set_destination(ALL_NODES);
    let mut advertisement = MutableNeighborAdvertPacket::new(ipv6.payload_mut()).expect("the packet has room for it");
    advertisement.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advertisement.set_flags(NeighborAdvertFlags::Override | if router { NeighborAdvertFlags::Router } else { 0 });
    advertisement.set_target_addr(ip);
    advertisement.set_options(&[NdpOption {
        option_type: NdpOptionTypes::TargetLLAddr,
        length: 1,
        data: mac.to_vec(),
    }]);
    let checksum = Icmpv6Packet::new(advertisement.packet()).map(|icmp| icmpv6::checksum(&icmp, &ip, &ALL_NODES));
    advertisement.set_checksum(checksum.expect("an advertisement is an ICMPv6 packet"));
    frame
}

/// The question whether somebody has `ip`, from the interface with `mac`: an Ethernet frame, without padding and check
/// sequence.
#[must_use]
pub fn probe(mac: [u8; 6], ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp_probe(mac, ip).to_vec(),
        IpAddr::V6(ip) => neighbor_solicitation(mac, ip).to_vec(),
    }
}

/// The ARP probe for `ip` (RFC 5227 §2.1.1): a broadcast request whose sender address is all zero.
#[must_use]
pub fn arp_probe(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp_request(mac, Ipv4Addr::UNSPECIFIED, ip)
}

/// The Neighbor Solicitation that detects a duplicate of `ip` (RFC 4862 §5.4.2): from `::` to the solicited-node multicast
/// address, and so without the option that would name `mac` (RFC 4861 §4.3).
#[must_use]
pub fn neighbor_solicitation(mac: [u8; 6], ip: Ipv6Addr) -> [u8; SOLICITATION_FRAME] {
    let [.., a, b, c] = ip.octets();
    let solicited_node = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c)); // RFC 4291 §2.7.1
    let mut frame = [0; SOLICITATION_FRAME];
    ethernet(&mut frame, mac, [0x33, 0x33, 0xff, a, b, c], EtherTypes::Ipv6); // RFC 2464 §7
    let mut ipv6 = MutableIpv6Packet::new(&mut frame[ETHERNET..]).expect("the frame has room for it");
    ipv6.set_version(6);
    ipv6.set_payload_length(SOLICITATION as u16);
    ipv6.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ipv6.set_hop_limit(255);
    ipv6.set_destination(solicited_node);
    let mut solicitation = MutableNeighborSolicitPacket::new(ipv6.payload_mut()).expect("the packet has room for it");
    solicitation.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    solicitation.set_target_addr(ip);
    let checksum = Icmpv6Packet::new(solicitation.packet())
        .map(|icmp| icmpv6::checksum(&icmp, &Ipv6Addr::UNSPECIFIED, &solicited_node));
    solicitation.set_checksum(checksum.expect("a solicitation is an ICMPv6 packet"));
    frame
}

/// The claim that an Ethernet frame makes. None where it makes none, or is malformed.
#[must_use]
pub fn claim_in(frame: &[u8]) -> Option<AddressClaim> {
    let ethernet = EthernetPacket::new(frame)?;
    match ethernet.get_ethertype() {
        EtherTypes::Arp => arp_claim(ethernet.payload()),
        EtherTypes::Ipv6 => advertised(ethernet.payload(), ethernet.get_source().octets()),
        _ => None,
    }
}

fn arp_claim(packet: &[u8]) -> Option<AddressClaim> {
    let arp = ArpPacket::new(packet)?;
    let form = (arp.get_hardware_type(), arp.get_protocol_type(), arp.get_hw_addr_len(), arp.get_proto_addr_len());
    let known = matches!(arp.get_operation(), ArpOperations::Request | ArpOperations::Reply);
    let ip = arp.get_sender_proto_addr();
    let claims = form == (ArpHardwareTypes::Ethernet, EtherTypes::Ipv4, 6, 4) && known && !ip.is_unspecified();
    claims.then(|| AddressClaim { ip: ip.into(), mac: arp.get_sender_hw_addr().octets() })
}

/// Obeys RFC 4861 §7.1.2, the checks of a received advertisement.
fn advertised(packet: &[u8], source: [u8; 6]) -> Option<AddressClaim> {
    let ipv6 = Ipv6Packet::new(packet)?;
    let length = usize::from(ipv6.get_payload_length());
    let message = packet.get(IPV6..)?.get(..length)?;
    let advertisement = NeighborAdvertPacket::new(message)?;
    let options = message.get(ADVERTISEMENT..)?;
    let (to, ip) = (ipv6.get_destination(), advertisement.get_target_addr());
    let solicited = advertisement.get_flags() & NeighborAdvertFlags::Solicited != 0;
    let checksum = icmpv6::checksum(&Icmpv6Packet::new(message)?, &ipv6.get_source(), &to);
    let valid = ipv6.get_version() == 6
        && ipv6.get_next_header() == IpNextHeaderProtocols::Icmpv6
        && ipv6.get_hop_limit() == 255
        && advertisement.get_icmpv6_type() == Icmpv6Types::NeighborAdvert
        && advertisement.get_icmpv6_code().0 == 0
        && advertisement.get_checksum() == checksum
        && !ip.is_multicast()
        && !(solicited && to.is_multicast());
    let target = valid.then(|| target_mac(options)).flatten()?;
    Some(AddressClaim { ip: ip.into(), mac: target.unwrap_or(source) })
}

/// The Ethernet address in the option that names the target's (RFC 4861 §4.6.1), if there is one. None where the options are
/// malformed: one of length 0, or longer than the message.
fn target_mac(mut options: &[u8]) -> Option<Option<[u8; 6]>> {
    let mut mac = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if kind == NdpOptionTypes::TargetLLAddr.0 && length == 8 {
            mac = option[2..].try_into().ok();
        }
        options = &options[length..];
    }
    options.is_empty().then_some(mac)
}

fn ethernet(frame: &mut [u8], source: [u8; 6], destination: [u8; 6], ethertype: EtherType) {
    let mut header = MutableEthernetPacket::new(frame).expect("a frame begins with an Ethernet header");
    header.set_source(source.into());
    header.set_destination(destination.into());
    header.set_ethertype(ethertype);
}
