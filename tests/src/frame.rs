//! UDP datagrams as whole Ethernet frames, with right checksums: what [`crate::inject`] sends. What is in them is the tests'
//! business.

use std::net::IpAddr;

use crate::lab::topology::{Host, Node, ipv4, ipv6, mac, xlink_address};

/// IANA `ha-cluster`, the agents' port unless configured.
pub const PORT: u16 = 694;
/// Of Ethernet, IPv4 without options and UDP together.
const IPV4_HEADERS: usize = 14 + 20 + 8;
const IPV6_HEADERS: usize = 14 + 40 + 8;
const UDP: u8 = 17;

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Ethernet and IP address of the sender.
    pub from: ([u8; 6], IpAddr),
    /// Those of the receiver.
    pub to: ([u8; 6], IpAddr),
    /// UDP port at both ends.
    pub port: u16,
}

impl Path {
    /// The path of the channel on network `number` (0: the dedicated cable) from controller `from` to its peer.
    #[must_use]
    pub fn channel(number: usize, from: Node) -> Self {
        let end = |node: Node| {
            let last = if node == Node::A { 1 } else { 2 };
            let ip = if number == 0 { xlink_address(node).into() } else { ipv4(number, last).into() };
            (mac(Host::Controller(node), number), ip)
        };
        Self { from: end(from), to: end(from.peer()), port: PORT }
    }

    /// The same over IPv6, where the network has both.
    #[must_use]
    pub fn channel_v6(number: usize, from: Node) -> Self {
        let mut path = Self::channel(number, from);
        let last = |node| if node == Node::A { 1 } else { 2 };
        if number != 0 {
            path.from.1 = ipv6(number, last(from)).into();
            path.to.1 = ipv6(number, last(from.peer())).into();
        }
        path
    }

    /// The frame that carries `payload`.
    ///
    /// # Panics
    /// The two addresses are of different families, or the payload is longer than a datagram.
    #[must_use]
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let udp_length = u16::try_from(payload.len() + 8).expect("a datagram has at most 65,535 bytes");
        let mut udp = [self.port.to_be_bytes(), self.port.to_be_bytes(), udp_length.to_be_bytes(), [0; 2]].concat();
        udp.extend(payload);
        let (ethertype, ip, addresses) = match (self.from.1, self.to.1) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = (udp_length + 20).to_be_bytes();
                let mut ip = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 255, UDP, 0, 0];
                ip.extend([from.octets(), to.octets()].concat());
                let sum = checksum(&ip).to_be_bytes();
                ip[10..12].copy_from_slice(&sum);
                (0x0800_u16, ip, [from.octets(), to.octets()].concat())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let length = udp_length.to_be_bytes();
                let mut ip = vec![0x60, 0, 0, 0, length[0], length[1], UDP, 255];
                ip.extend([from.octets(), to.octets()].concat());
                (0x86dd, ip, [from.octets(), to.octets()].concat())
            }
            _ => panic!("{} and {} are of different families", self.from.1, self.to.1),
        };
        // RFC 768 and RFC 8200, section 8.1: the pseudo header's sum is the same for both.
        let pseudo = [addresses, vec![0, UDP], udp_length.to_be_bytes().to_vec(), udp.clone()].concat();
        let sum = match checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        [&self.to.0[..], &self.from.0, &ethertype.to_be_bytes(), &ip, &udp].concat()
    }
}

/// The payload of a frame that is a UDP datagram to `port` without VLAN tags, options or extension headers.
#[must_use]
pub fn payload(frame: &[u8], port: u16) -> Option<&[u8]> {
    let headers = match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23) == Some(&UDP) => IPV4_HEADERS,
        [0x86, 0xdd] if frame.get(20) == Some(&UDP) => IPV6_HEADERS,
        _ => return None,
    };
    let to = frame.get(headers - 6..headers - 4)?;
    if to != port.to_be_bytes() {
        return None;
    }
    frame.get(headers..)
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gives_its_payload_back_and_its_sums_are_right() {
        for path in [Path::channel(1, Node::A), Path::channel_v6(1, Node::B), Path::channel(0, Node::A)] {
            let frame = path.frame(b"odd");
            assert_eq!(payload(&frame, PORT), Some(&b"odd"[..]));
            assert_eq!(payload(&frame, PORT + 1), None);
            assert_eq!((&frame[..6], &frame[6..12]), (&path.to.0[..], &path.from.0[..]));
        }
        let frame = Path::channel(1, Node::A).frame(b"even");
        assert_eq!(checksum(&frame[14..34]), 0);
        let pseudo = [&frame[26..34], &[0, UDP], &frame[38..40], &frame[34..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
