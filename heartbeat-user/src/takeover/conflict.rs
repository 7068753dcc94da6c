//! Who else has an address: the question, the answers and claims of neighbours, and the ears that hear them.
//!
//! - **IPv4**: an ARP probe (RFC 5227 §2.1.1), whose sender address is 0.0.0.0 so that it leaves no trace in any cache. A claim
//!   is any ARP packet, request or reply, whose sender has the address (§2.1.1, §2.4).
//! - **IPv6**: a Neighbor Solicitation for duplicate address detection (RFC 4862 §5.4.2), from `::`. A claim is any valid
//!   Neighbor Advertisement whose target is the address (RFC 4862 §5.4.4).
//!
//! Whose claim it is the Ethernet address tells that the claim itself names, as in RFC 5227: not that of the frame, which a bridge
//! of a wireless network may have changed.

use super::announce::{ARP_FRAME, ETHERNET, IPV6, arp_request, ethernet};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{LinkAddr, recvfrom},
        time::TimeSpec,
    },
};
use pnet_packet::{
    MutablePacket, Packet,
    arp::{ArpHardwareTypes, ArpOperations, ArpPacket},
    ethernet::{EtherTypes, EthernetPacket},
    icmpv6::{
        self, Icmpv6Packet, Icmpv6Types,
        ndp::{MutableNeighborSolicitPacket, NdpOptionTypes, NeighborAdvertFlags, NeighborAdvertPacket},
    },
    ip::IpNextHeaderProtocols,
    ipv6::{Ipv6Packet, MutableIpv6Packet},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

const SOLICITATION: usize = 24;
const ADVERTISEMENT: usize = 24;
/// Length of a Neighbor Solicitation without options, in bytes.
pub const SOLICITATION_FRAME: usize = ETHERNET + IPV6 + SOLICITATION;
/// What the kernel keeps for each socket while the thread is busy, in bytes (it doubles that): 100s of claims.
const RECEIVE_BUFFER: usize = 128 << 10;
/// More frames than the buffers of both sockets hold, at the 768 bytes that the kernel accounts for the smallest: who has read
/// this many has read all that came before.
pub(super) const BACKLOG: usize = 1_024;

/// A neighbour's word that it has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub ip: IpAddr,
    /// The neighbour's Ethernet address.
    pub mac: [u8; 6],
}

/// A planned address where it lives: the interface's index, and the address.
pub(super) type On = (u32, IpAddr);

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
pub fn claim_in(frame: &[u8]) -> Option<Claim> {
    let ethernet = EthernetPacket::new(frame)?;
    match ethernet.get_ethertype() {
        EtherTypes::Arp => arp_claim(ethernet.payload()),
        EtherTypes::Ipv6 => advertised(ethernet.payload(), ethernet.get_source().octets()),
        _ => None,
    }
}

fn arp_claim(packet: &[u8]) -> Option<Claim> {
    let arp = ArpPacket::new(packet)?;
    let form = (arp.get_hardware_type(), arp.get_protocol_type(), arp.get_hw_addr_len(), arp.get_proto_addr_len());
    let known = matches!(arp.get_operation(), ArpOperations::Request | ArpOperations::Reply);
    let ip = arp.get_sender_proto_addr();
    let claims = form == (ArpHardwareTypes::Ethernet, EtherTypes::Ipv4, 6, 4) && known && !ip.is_unspecified();
    claims.then(|| Claim { ip: ip.into(), mac: arp.get_sender_hw_addr().octets() })
}

/// Obeys RFC 4861 §7.1.2, the checks of a received advertisement.
fn advertised(packet: &[u8], source: [u8; 6]) -> Option<Claim> {
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
    Some(Claim { ip: ip.into(), mac: target.unwrap_or(source) })
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

/// Hears the claims of neighbours, on the interfaces and for the range of addresses that it is told.
///
/// Two packet sockets, which never send: ARP, and the advertisements among IPv6. They are bound to no interface and closed by a
/// filter while nothing is to be heard, but open as long as the thread lives: to bind or to close one can wait for all CPUs
/// (`synchronize_net`), 10s of milliseconds that no takeover has; an interface may be replaced; and no takeover
/// can fail for want of a socket. What the filter lets through that nobody wants is for the caller to ignore.
pub(super) struct Ears {
    ipv4: Ear,
    ipv6: Ear,
    ipv6_first: bool,
    frame: Box<[u8; 2048]>,
}

struct Ear {
    socket: Socket,
    /// What to check first: offsets from the frame's begin, and the bytes that must be there.
    form: &'static [(u32, u32)],
    /// Where the 32 bits are that [`Range`] is about.
    word: u32,
    range: Range,
}

/// What a filter lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Range {
    interfaces: BTreeSet<u32>,
    /// The least and the largest of the addresses' last 32 bits: neighbours that speak of other addresses, however many, do
    /// not even wake the socket.
    words: Option<(u32, u32)>,
}

impl Ears {
    /// Opens both sockets, in the network namespace of this thread; nothing is heard yet.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, `EPERM`.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            ipv4: Ear::open(libc::ETH_P_ARP, &[], (ETHERNET + 14) as u32)?,
            ipv6: Ear::open(
                libc::ETH_P_IPV6,
                // Next header, and ICMPv6 type: an advertisement behind extension headers is not looked for.
                &[(ETHERNET as u32 + 6, 58), ((ETHERNET + IPV6) as u32, 136)],
                (ETHERNET + IPV6 + 20) as u32,
            )?,
            ipv6_first: false,
            frame: Box::new([0; 2048]),
        })
    }

    /// Hears claims for `addresses`, too.
    ///
    /// # Errors
    /// The kernel has no memory for a filter: what was heard before is still heard.
    pub(super) fn hear_too(&mut self, addresses: impl IntoIterator<Item = On>) -> io::Result<()> {
        let ranges = [self.ipv4.range.clone(), self.ipv6.range.clone()];
        self.set(ranges, addresses)
    }

    /// Hears claims for `addresses`, and no others.
    ///
    /// # Errors
    /// As [`Ears::hear_too`].
    pub(super) fn hear_only(&mut self, addresses: impl IntoIterator<Item = On>) -> io::Result<()> {
        self.set(Default::default(), addresses)
    }

    fn set(&mut self, [mut ipv4, mut ipv6]: [Range; 2], addresses: impl IntoIterator<Item = On>) -> io::Result<()> {
        for (interface, ip) in addresses {
            match ip {
                IpAddr::V4(ip) => ipv4.add(interface, ip.to_bits()),
                IpAddr::V6(ip) => ipv6.add(interface, ip.to_bits() as u32),
            }
        }
        self.ipv4.set(ipv4)?;
        self.ipv6.set(ipv6)
    }

    /// The next claim that waits to be heard, with the index of its interface; skips at most `patience` frames that make none,
    /// which it counts down, as it does the one that it returns. Does not wait.
    pub(super) fn next(&mut self, patience: &mut usize) -> Option<(u32, Claim)> {
        while *patience > 0 {
            self.ipv6_first ^= true; // in turn: a flood in the one must not hide the other
            let (one, other) = if self.ipv6_first { (&self.ipv6, &self.ipv4) } else { (&self.ipv4, &self.ipv6) };
            let (length, from) = one.receive(&mut *self.frame).or_else(|| other.receive(&mut *self.frame))?;
            *patience -= 1;
            if let Some(claim) = claim_in(&self.frame[..length]) {
                return Some((from, claim));
            }
        }
        None
    }

    /// Waits until something can be heard, for `longest` at most.
    pub(super) fn wait(&self, longest: Duration) {
        let mut sockets = [&self.ipv4, &self.ipv6].map(|ear| PollFd::new(ear.socket.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut sockets, Some(TimeSpec::from_duration(longest)), None); // after a signal the caller waits on
    }
}

impl Ear {
    fn open(ethertype: i32, form: &'static [(u32, u32)], word: u32) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from((ethertype as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let mut ear = Self { socket, form, word, range: Range::default() };
        ear.attach(&Range::default())?;
        while ear.receive(&mut [0]).is_some() {} // what came before the filter
        Ok(ear)
    }

    fn set(&mut self, range: Range) -> io::Result<()> {
        if range != self.range {
            self.attach(&range)?;
            self.range = range;
        }
        Ok(())
    }

    fn attach(&mut self, range: &Range) -> io::Result<()> {
        self.socket.attach_filter(&range.filter(self.form, self.word))
    }

    /// The length of the next frame, and the index of the interface that it came in by; cut off where `frame` ends.
    fn receive(&self, frame: &mut [u8]) -> Option<(usize, u32)> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), frame) {
                Ok((length, from)) => return Some((length, from.map_or(0, |from| from.ifindex() as u32))),
                Err(Errno::EINTR) => {}
                Err(_) => return None, // EAGAIN: there is none
            }
        }
    }
}

impl Range {
    fn add(&mut self, interface: u32, word: u32) {
        self.interfaces.insert(interface);
        let (least, largest) = self.words.unwrap_or((word, word));
        self.words = Some((least.min(word), largest.max(word)));
    }

    /// The classic BPF program. What it loads from beyond the frame's end drops the frame.
    fn filter(&self, form: &[(u32, u32)], word: u32) -> Vec<SockFilter> {
        const DROP: SockFilter = SockFilter::new(libc::BPF_RET as u16, 0, 0, 0);
        const KEEP: SockFilter = SockFilter::new(libc::BPF_RET as u16, 0, 0, u32::MAX);
        let load = |size, offset| SockFilter::new((libc::BPF_LD | size | libc::BPF_ABS) as u16, 0, 0, offset);
        let jump = |on, value, then, otherwise| SockFilter::new((libc::BPF_JMP | on) as u16, then, otherwise, value);
        let mut program = Vec::new();
        if let Some((least, largest)) = self.words {
            for (offset, byte) in form {
                program.extend([load(libc::BPF_B, *offset), jump(libc::BPF_JEQ, *byte, 1, 0), DROP]);
            }
            program.extend([load(libc::BPF_W, word), jump(libc::BPF_JGE, least, 1, 0), DROP]);
            program.extend([jump(libc::BPF_JGT, largest, 0, 1), DROP]);
            program.push(load(libc::BPF_W, (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32));
            for interface in &self.interfaces {
                program.extend([jump(libc::BPF_JEQ, *interface, 0, 1), KEEP]);
            }
        }
        program.push(DROP);
        program
    }
}
