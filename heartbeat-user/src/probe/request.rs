//! Echo requests and their replies: RFC 792 and RFC 4443, sections 4.1 and 4.2.
//!
//! The data of each request: analysis (4 bytes), channel (1), 0 (1), round (2), keyed hash over these eight (8). The key is
//! random and new for each analysis, so nobody who did not get the request can answer to it.

use crate::types::ChannelIndex;
use pnet_packet::{
    MutablePacket, Packet,
    icmp::{self, IcmpTypes, echo_reply::EchoReplyPacket, echo_request::MutableEchoRequestPacket},
    icmpv6::{Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet},
    ipv4::Ipv4Packet,
};
use siphasher::sip::SipHasher24;
use std::{hash::Hasher, net::IpAddr};

const HEADER: usize = 8;
const DATA: usize = 16;
/// The longest reply that is looked at: the longest IPv4 header, and the request.
pub const LONGEST: usize = 60 + HEADER + DATA;

/// Of which family a network's addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
}

impl Kind {
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The key of one analysis.
#[derive(Clone, Copy, Debug)]
pub struct Secret([u64; 2]);

impl Secret {
    pub fn new() -> Self {
        Self([0, 0].map(|_: u64| getrandom::u64().unwrap_or_default()))
    }

    fn data(self, analysis: u32, channel: ChannelIndex, round: u16) -> [u8; DATA] {
        let mut data = [0; DATA];
        data[..4].copy_from_slice(&analysis.to_be_bytes());
        data[4] = channel.0;
        data[6..8].copy_from_slice(&round.to_be_bytes());
        let mut hash = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        hash.write(&data[..8]);
        data[8..].copy_from_slice(&hash.finish().to_be_bytes());
        data
    }
}

/// A request, without IP header. ICMPv6's checksum is the kernel's to make (RFC 3542, section 3.1).
pub fn build(kind: Kind, secret: Secret, analysis: u32, channel: ChannelIndex, round: u16) -> [u8; HEADER + DATA] {
    let mut buffer = [0; HEADER + DATA];
    buffer[4..6].copy_from_slice(&(analysis as u16).to_be_bytes());
    buffer[6..8].copy_from_slice(&round.to_be_bytes());
    buffer[HEADER..].copy_from_slice(&secret.data(analysis, channel, round));
    match kind {
        Kind::V4 => {
            if let Some(mut packet) = MutableEchoRequestPacket::new(&mut buffer) {
                packet.set_icmp_type(IcmpTypes::EchoRequest);
                let checksum = icmp::IcmpPacket::new(packet.packet_mut()).map_or(0, |packet| icmp::checksum(&packet));
                packet.set_checksum(checksum);
            }
        }
        Kind::V6 => {
            if let Some(mut packet) = MutableIcmpv6Packet::new(&mut buffer) {
                packet.set_icmpv6_type(Icmpv6Types::EchoRequest);
            }
        }
    }
    buffer
}

/// Whether this is the reply to a request of this analysis to this network; IPv4 comes with its header.
pub fn is_reply(kind: Kind, secret: Secret, analysis: u32, channel: ChannelIndex, packet: &[u8]) -> bool {
    let data = match kind {
        Kind::V4 => Ipv4Packet::new(packet).and_then(|ip| {
            let header = usize::from(ip.get_header_length()) * 4;
            let reply = EchoReplyPacket::new(packet.get(header..)?)?;
            (reply.get_icmp_type() == IcmpTypes::EchoReply).then(|| reply.payload().to_vec())
        }),
        Kind::V6 => Icmpv6Packet::new(packet).and_then(|reply| {
            let data = reply.packet().get(HEADER..)?;
            (reply.get_icmpv6_type() == Icmpv6Types::EchoReply).then(|| data.to_vec())
        }),
    };
    data.is_some_and(|data| {
        let round = data.get(6..8).and_then(|round| Some(u16::from_be_bytes(round.try_into().ok()?)));
        round.is_some_and(|round| data == secret.data(analysis, channel, round))
    })
}
