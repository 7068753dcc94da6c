//! What the tests and the benchmark of the XDP program share: frames, byte by byte, and a place to run them in.

use anyhow::{Context as _, Result};
use heartbeat::{
    dataplane::{ProgramSettings, Tables},
    types::Node,
};
use heartbeat_ebpf::{
    siphash::Key,
    wire::{self, Message},
};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket},
};
use pnet_packet::{
    MutablePacket as _,
    ethernet::{EtherType, EtherTypes, MutableEthernetPacket},
    ip::IpNextHeaderProtocol,
    ipv4::{self, MutableIpv4Packet},
    ipv6::MutableIpv6Packet,
    udp::{self, MutableUdpPacket},
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

pub(crate) const PAIR: u32 = 7;
pub(crate) const OWN: u64 = 0x0a0a_0a0a_0a0a_0a0a;
pub(crate) const PEER: u64 = 0x0b0b_0b0b_0b0b_0b0b;
pub(crate) const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const PEER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const UDP: u8 = 17;

pub(crate) fn key() -> Key {
    Key::new([1; 16])
}

pub(crate) fn second_key() -> Key {
    Key::new([2; 16])
}

pub(crate) fn settings() -> ProgramSettings {
    ProgramSettings { port: wire::PORT, pair_id: PAIR, node: Node::A, keys: [Some(key()), Some(second_key())] }
}

/// A heartbeat of the peer's on a channel, as it is when all is well.
pub(crate) fn heartbeat(channel: u8, sequence: u64) -> Message {
    Message {
        pair_id: PAIR,
        node: Node::B.wire(),
        channel_id: channel.into(),
        interval_us: 33_000,
        incarnation: PEER,
        peer_incarnation: OWN,
        sequence,
        sent_ns: sequence.wrapping_mul(1_000),
        ..Message::default()
    }
}

/// Lets the id of each channel's name be its number.
pub(crate) fn name_channels(tables: &Tables) {
    for (id, slot) in (0..).zip(tables.channels().map(|channel| tables.slot(channel))) {
        slot.channel_id.set(id);
    }
}

pub(crate) fn signed(message: Message) -> Vec<u8> {
    signed_with(key(), message)
}

pub(crate) fn signed_with(key: Key, message: Message) -> Vec<u8> {
    let mut bytes = [0; wire::LEN];
    message.emit(key, &mut bytes);
    bytes.to_vec()
}

/// A UDP datagram with a right checksum.
pub(crate) fn udp_to(address: IpAddr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let len = bytes.len() as u16;
    let mut packet = MutableUdpPacket::new(&mut bytes).expect("long enough");
    packet.set_source(wire::PORT);
    packet.set_destination(port);
    packet.set_length(len);
    packet.payload_mut().copy_from_slice(payload);
    let checksum = match address {
        IpAddr::V4(address) => udp::ipv4_checksum(&packet.to_immutable(), &PEER_V4, &address),
        IpAddr::V6(address) => udp::ipv6_checksum(&packet.to_immutable(), &PEER_V6, &address),
    };
    packet.set_checksum(checksum);
    bytes
}

/// An IPv4 packet with `options` (a multiple of four bytes).
pub(crate) fn ipv4_with(to: Ipv4Addr, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut bytes = vec![0; header + payload.len()];
    let len = bytes.len() as u16;
    bytes[20..header].copy_from_slice(options);
    bytes[header..].copy_from_slice(payload);
    let mut packet = MutableIpv4Packet::new(&mut bytes).expect("long enough");
    packet.set_version(4);
    packet.set_header_length((header / 4) as u8);
    packet.set_total_length(len);
    packet.set_ttl(64);
    packet.set_next_level_protocol(IpNextHeaderProtocol::new(protocol));
    packet.set_source(PEER_V4);
    packet.set_destination(to);
    let checksum = ipv4::checksum(&packet.to_immutable());
    packet.set_checksum(checksum);
    bytes
}

/// An IPv6 packet; `payload` starts with the header that `next` names.
pub(crate) fn ipv6_with(to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload.len()];
    let mut packet = MutableIpv6Packet::new(&mut bytes).expect("long enough");
    packet.set_version(6);
    packet.set_payload_length(payload.len() as u16);
    packet.set_next_header(IpNextHeaderProtocol::new(next));
    packet.set_hop_limit(255);
    packet.set_source(PEER_V6);
    packet.set_destination(to);
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

pub(crate) fn ethernet(ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ethertype, payload)
}

/// An Ethernet frame behind VLAN tags of these types.
pub(crate) fn tagged(tags: &[u16], ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 4 * tags.len() + payload.len()];
    let types: Vec<u16> = tags.iter().copied().chain([ethertype.0]).collect();
    {
        let mut packet = MutableEthernetPacket::new(&mut bytes).expect("long enough");
        packet.set_destination([2, 0, 0, 0, 0, 1].into());
        packet.set_source([2, 0, 0, 0, 0, 2].into());
        packet.set_ethertype(EtherType::new(types[0]));
    }
    for (i, ethertype) in types[1..].iter().enumerate() {
        let at = 14 + 4 * i;
        bytes[at..at + 2].copy_from_slice(&100u16.to_be_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&ethertype.to_be_bytes());
    }
    bytes[14 + 4 * tags.len()..].copy_from_slice(payload);
    bytes
}

/// Payload to our port and address, over plain IPv4.
pub(crate) fn over_ipv4(payload: &[u8]) -> Vec<u8> {
    ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, UDP, &[], &udp_to(ADDRESS_V4.into(), wire::PORT, payload)))
}

/// Payload to our port and address, over plain IPv6.
pub(crate) fn over_ipv6(payload: &[u8]) -> Vec<u8> {
    ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, UDP, &udp_to(ADDRESS_V6.into(), wire::PORT, payload)))
}

/// Runs `body` in a network namespace of its own, which goes with it.
pub(crate) fn in_namespace<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: run this as root");
            body()
        };
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A folder for pins that nobody else uses, gone with all that is in it when dropped.
pub(crate) struct PinFolder(PathBuf);

impl PinFolder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/sys/fs/bpf/heartbeat-test-{}-{number}", process::id())))
    }

    /// The same where those of agents are.
    pub(crate) fn below_root() -> Self {
        let name = Self::new().0.file_name().expect("a name").to_owned();
        Self(Path::new("/sys/fs/bpf/heartbeat").join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The names of all pins in it.
    pub(crate) fn pins(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|version| fs::read_dir(version.path()).into_iter().flatten().flatten())
            .map(|pin| pin.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// bpffs cannot be removed recursively by the standard library's way of doing it: files, then folders.
fn remove(folder: &Path) -> Result<()> {
    for version in fs::read_dir(folder)? {
        let version = version?.path();
        for pin in fs::read_dir(&version)? {
            fs::remove_file(pin?.path())?;
        }
        fs::remove_dir(&version)?;
    }
    fs::remove_dir(folder).context("removing the pin folder")
}

/// Runs a command in the calling thread's namespace; it must succeed.
pub(crate) fn run(command: &str) {
    let mut words = command.split(' ');
    let output = process::Command::new(words.next().expect("a command")).args(words).output().expect(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends a frame as it is out of an interface (packet(7)); whether it got out.
pub(crate) fn send_frame(interface: &str, frame: &[u8]) -> bool {
    let of_interface = getifaddrs()
        .expect("the interfaces")
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .expect("its link-level address");
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("a packet socket");
    match sendto(socket.as_raw_fd(), frame, &of_interface, MsgFlags::empty()) {
        Err(Errno::ENOBUFS) => false,
        sent => sent.expect("room") == frame.len(),
    }
}
