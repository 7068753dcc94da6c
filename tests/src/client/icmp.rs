//! Echo requests and replies, ICMP and ICMPv6, as bytes.

use std::net::IpAddr;

const REQUEST: usize = 32;
const MAGIC: [u8; 8] = *b"hb-probe";

/// An echo request: type, code, checksum, identifier, sequence number, then magic, instant of sending and count.
pub(super) fn request(target: IpAddr, ident: u16, count: u64, sent_ns: u64) -> [u8; REQUEST] {
    let mut packet = [0; REQUEST];
    let kind = if target.is_ipv4() { 8 } else { 128 };
    let sequence = count.to_be_bytes();
    let fields: [(usize, &[u8]); 6] = [
        (0, &[kind]),
        (4, &ident.to_be_bytes()),
        (6, sequence.get(6..).unwrap_or_default()),
        (8, &MAGIC),
        (16, &sent_ns.to_be_bytes()),
        (24, &sequence),
    ];
    for (offset, bytes) in fields {
        for (to, from) in packet.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }
    if target.is_ipv4() {
        // The kernel does it for ICMPv6.
        let [high, low] = checksum(&packet).to_be_bytes();
        (packet[2], packet[3]) = (high, low);
    }
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Number and instant of sending that our reply carries; `None` for everything else that a raw socket hears.
pub(super) fn reply_to_us(packet: &[u8], target: IpAddr, ident: u16) -> Option<(u64, u64)> {
    let (icmp, kind) = match target {
        // An IPv4 raw socket delivers the IP header as well.
        IpAddr::V4(ip) => {
            if packet.get(12..16)? != ip.octets() {
                return None;
            }
            (packet.get(usize::from(packet.first()? & 0xf) * 4..)?, 0)
        }
        IpAddr::V6(_) => (packet, 129),
    };
    let is_ours = *icmp.first()? == kind && icmp.get(4..6)? == ident.to_be_bytes() && icmp.get(8..16)? == MAGIC;
    let field = |range: std::ops::Range<usize>| Some(u64::from_be_bytes(icmp.get(range)?.try_into().ok()?));
    if is_ours { Some((field(24..32)?, field(16..24)?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_has_a_right_checksum_and_its_reply_is_recognized() {
        let target: IpAddr = "192.0.2.10".parse().unwrap();
        let mut packet = request(target, 7, 300, 12_345);
        assert_eq!(checksum(&packet), 0);
        packet[0] = 0;
        let mut datagram = vec![0x45; 20];
        datagram[12..16].copy_from_slice(&[192, 0, 2, 10]);
        datagram.extend(packet);
        assert_eq!(reply_to_us(&datagram, target, 7), Some((300, 12_345)));
        assert_eq!(reply_to_us(&datagram, target, 8), None);
        assert_eq!(reply_to_us(&datagram[..50], target, 7), None);
        assert_eq!(reply_to_us(&[], target, 7), None);
    }
}
