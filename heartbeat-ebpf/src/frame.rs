//! From an Ethernet frame to the UDP datagram in it, and to the addresses that it is about: plain, 802.1Q and QinQ; IPv4 with
//! options; IPv6 with extension headers. Fragments are never ours: a heartbeat fits every network's MTU, and a fragment says nothing alone.

use crate::{
    headers::{
        ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, IPPROTO_ICMPV6, IPPROTO_UDP,
        MAX_TAGS,
    },
    machine::{load_u16, load_u32, load_u64},
};
use core::net::IpAddr;

/// RFC 4861, sections 4.3 and 4.4.
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// RFC 826, over Ethernet for IPv4: hardware and protocol with the lengths of their addresses, as one word.
const ARP_OF_IPV4: u64 = 0x0001_0800_0604;
const ARP_REQUEST: u64 = 1;
/// Most IPv6 extension headers that are looked behind.
const MAX_EXTENSIONS: usize = 6;

/// The memory of a frame, as XDP gives it: from `start` up to but not including `end`.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
}

/// An IP address as the maps have it: 16 bytes in memory order as two words; IPv4 as an IPv4-mapped IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Address {
    words: [u64; 2],
}

impl Address {
    /// From the 16 bytes of an IPv6 address, or of an IPv4-mapped one (RFC 4291, section 2.5.5.2).
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self { words: [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])] }
    }

    /// A number that most others do not have the bits of, but for the lowest (Knuth's multiplicative hash).
    #[inline(always)]
    #[must_use]
    pub const fn print(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        (self.words[0] ^ self.words[1].rotate_left(32)).wrapping_mul(GOLDEN)
    }

    /// The 16 bytes at `at`.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    unsafe fn at(at: *const u8) -> Self {
        // SAFETY: the caller vouches for the memory.
        Self { words: unsafe { [load_u64::<0>(at), load_u64::<8>(at)] } }
    }

    #[inline(always)]
    const fn mapped(ipv4_in_memory_order: u32) -> Self {
        let [a, b, c, d] = ipv4_in_memory_order.to_ne_bytes();
        Self { words: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])] }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::new(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To this host.
    In,
    /// From this host.
    Out,
}

/// A UDP datagram to the port that was asked for.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Where it is addressed.
    pub destination: Address,
    payload: *const u8,
    len: usize,
    end: usize,
}

impl Frame {
    /// The frame in a buffer.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let range = bytes.as_ptr_range();
        Self { start: range.start as usize, end: range.end as usize }
    }

    /// The frame between two addresses, as `xdp_md` has them.
    ///
    /// # Safety
    /// All bytes of `start..end` must be readable while the frame is used.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn between(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The address of `len` bytes at `offset`, if they lie within the frame.
    #[inline(always)]
    fn at(&self, offset: usize, len: usize) -> Option<*const u8> {
        let at = self.start + offset;
        (at + len <= self.end).then_some(at as *const u8)
    }

    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        // SAFETY: two bytes within the frame.
        self.at(offset, 2).map(|at| u16::from_be(unsafe { load_u16::<0>(at) }))
    }

    /// The Ethernet address that it came from, in memory order.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Option<u64> {
        const ADDRESS: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        // SAFETY: eight bytes within the frame.
        self.at(6, 8).map(|at| unsafe { load_u64::<0>(at) } & ADDRESS)
    }

    /// Whether it went no further than from the switch's port to ours: spanning tree, LLDP and their like (IEEE 802.1Q, table
    /// 8-1: 01-80-c2-00-00-00 to -0f), Cisco's too.
    #[inline(always)]
    #[must_use]
    pub fn is_link_control(&self) -> bool {
        const BRIDGES: u64 = u64::from_ne_bytes([0x01, 0x80, 0xc2, 0, 0, 0, 0, 0]);
        const OF_BRIDGES: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0, 0]);
        const CISCO: u64 = u64::from_ne_bytes([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc, 0, 0]);
        const OF_CISCO: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0, 0]);
        self.at(0, 8).is_some_and(|at| {
            // SAFETY: eight bytes within the frame.
            let to = unsafe { load_u64::<0>(at) };
            to & OF_BRIDGES == BRIDGES || to & OF_CISCO == CISCO
        })
    }

    /// What `groups` gives for the addresses that this frame is about, all together. Of what comes in: where it goes, and which
    /// address an ARP request or a neighbor solicitation asks for. Of what leaves: where it comes from, and which address an
    /// ARP packet or a neighbor advertisement says that we have.
    #[inline(always)]
    pub fn about(&self, way: Way, mut groups: impl FnMut(&Address) -> u64) -> u64 {
        let Some((ethertype, offset)) = self.network() else { return 0 };
        match ethertype {
            ETHERTYPE_IPV4 => {
                let Some(header) = self.at(offset, 20) else { return 0 };
                // SAFETY: 20 bytes within the frame.
                groups(&Address::mapped(unsafe { load_u32::<0>(header.add(if way == Way::In { 16 } else { 12 })) }))
            }
            ETHERTYPE_IPV6 => {
                let Some(header) = self.at(offset, 40) else { return 0 };
                // SAFETY: 40 bytes within the frame.
                let (next, address) =
                    unsafe { (*header.add(6), Address::at(header.add(if way == Way::In { 24 } else { 8 }))) };
                let mut found = groups(&address);
                // Its type, and the target 8 bytes on: with extension headers, nobody has to heed it (RFC 6980, section 5, of
                // fragments; hosts send none with others).
                if next == IPPROTO_ICMPV6
                    && let Some(message) = self.at(offset + 40, 24)
                {
                    // SAFETY: 24 bytes within the frame.
                    let (kind, target) = unsafe { (*message, Address::at(message.add(8))) };
                    if kind == (if way == Way::In { NEIGHBOR_SOLICITATION } else { NEIGHBOR_ADVERTISEMENT }) {
                        found |= groups(&target);
                    }
                }
                found
            }
            ETHERTYPE_ARP => {
                let Some(packet) = self.at(offset, 28) else { return 0 };
                // SAFETY: 28 bytes within the frame.
                let (opening, sender, target) =
                    unsafe { (u64::from_be(load_u64::<0>(packet)), load_u32::<14>(packet), load_u32::<24>(packet)) };
                match way {
                    _ if opening >> 16 != ARP_OF_IPV4 => 0,
                    Way::In if opening & 0xffff == ARP_REQUEST => groups(&Address::mapped(target)),
                    Way::In => 0,
                    Way::Out => groups(&Address::mapped(sender)),
                }
            }
            _ => 0,
        }
    }

    /// The UDP datagram to `port` in this frame; none where the frame is anything else.
    #[inline(always)]
    #[must_use]
    pub fn datagram(&self, port: u16) -> Option<Datagram> {
        match self.network()? {
            (ETHERTYPE_IPV4, offset) => self.ipv4(offset, port),
            (ETHERTYPE_IPV6, offset) => self.ipv6(offset, port),
            _ => None,
        }
    }

    /// The type of what is in the frame behind its VLAN tags, and where it begins.
    #[inline(always)]
    pub(crate) fn network(&self) -> Option<(u16, usize)> {
        let mut offset = 14;
        // SAFETY: 14 bytes within the frame.
        let mut ethertype = self.at(0, 14).map(|at| u16::from_be(unsafe { load_u16::<12>(at) }))?;
        // As most are.
        if ethertype == ETHERTYPE_IPV4 {
            return Some((ETHERTYPE_IPV4, offset));
        }
        let mut tags = 0;
        while tags < MAX_TAGS && (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ) {
            ethertype = self.u16(offset + 2)?;
            offset += 4;
            tags += 1;
        }
        Some((ethertype, offset))
    }

    /// RFC 791, section 3.1.
    #[inline(always)]
    fn ipv4(&self, offset: usize, port: u16) -> Option<Datagram> {
        // The shortest that holds a datagram.
        let header = self.at(offset, 28)?;
        // SAFETY: 28 bytes within the frame.
        let (first, protocol) = unsafe { (*header, *header.add(9)) };
        if protocol != IPPROTO_UDP {
            return None;
        }
        // Without options it lies within what was looked at: of what others send, most ends here, by its port.
        let datagram = match first {
            0x45 => header.wrapping_add(20),
            0x46..=0x4f => self.at(offset + usize::from(first & 0x0f) * 4, 8)?,
            _ => return None,
        };
        // SAFETY: 8 bytes within the frame; the others as above.
        let datagram = unsafe { self.udp(datagram, port, || Address::mapped(load_u32::<16>(header))) }?;
        // SAFETY: as above. Neither more fragments, nor not the first one.
        (u16::from_be(unsafe { load_u16::<6>(header) }) & 0x3fff == 0).then_some(datagram)
    }

    /// RFC 8200, sections 3 and 4.
    #[inline(always)]
    fn ipv6(&self, offset: usize, port: u16) -> Option<Datagram> {
        let header = self.at(offset, 40)?;
        // SAFETY: 40 bytes within the frame.
        let (first, mut next) = unsafe { (*header, *header.add(6)) };
        if first >> 4 != 6 {
            return None;
        }
        let mut offset = offset + 40;
        for _ in 0..MAX_EXTENSIONS {
            match next {
                // SAFETY: as above.
                IPPROTO_UDP => return unsafe { self.udp(self.at(offset, 8)?, port, || Address::at(header.add(24))) },
                // Hop-by-hop options, routing, destination options: next header, length in 8 bytes beyond the first 8.
                0 | 43 | 60 => {
                    let extension = self.at(offset, 8)?;
                    // SAFETY: two bytes within the frame.
                    let len = unsafe {
                        next = *extension;
                        *extension.add(1)
                    };
                    // At most 22 + 40 + 6 * 2048 bytes, said so that the verifier can follow.
                    offset = (offset + usize::from(len) * 8 + 8) & 0x3fff;
                }
                _ => return None,
            }
        }
        None
    }

    /// RFC 768. Of others' datagrams, nobody asks where they go.
    ///
    /// # Safety
    /// All 8 bytes of the header must be readable.
    #[inline(always)]
    unsafe fn udp(&self, header: *const u8, port: u16, destination: impl FnOnce() -> Address) -> Option<Datagram> {
        // SAFETY: the caller vouches for the memory.
        if unsafe { load_u16::<2>(header) } != port.to_be() {
            return None;
        }
        Some(Datagram {
            destination: destination(),
            payload: header.wrapping_add(8),
            // SAFETY: as above.
            len: usize::from(u16::from_be(unsafe { load_u16::<4>(header) })),
            end: self.end,
        })
    }
}

impl Datagram {
    /// The payload, if it is exactly `LEN` bytes long and whole within the frame.
    #[inline(always)]
    #[must_use]
    pub fn payload<const LEN: usize>(&self) -> Option<*const u8> {
        (self.len == LEN + 8 && self.payload as usize + LEN <= self.end).then_some(self.payload)
    }
}
