//! The interfaces that channels end at: whether they are there, with a carrier and our address. Nothing here waits, neither
//! for the kernel's big networking lock nor for a module to be loaded: what changes is told by rtnetlink, and then looked at
//! by ioctls (netdevice(7)) by an index that is known. Whoever may wait finds an absent interface by its name
//! ([`super::netlink::index_of`]).

use crate::types::{ChannelIndex, Link};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// What one datagram of rtnetlink's may have at most.
const DATAGRAM: usize = 32 * 1024;
/// Bytes of notices that may wait.
const QUEUE: usize = 1 << 20;
/// Members of an interface that are known by their indices; one more costs another look.
const MEMBERS: usize = 16;

/// What is told by rtnetlink: linux/rtnetlink.h, linux/if_link.h.
const GROUPS: u32 = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
const HEADER: usize = 16;
const BODY_OF_LINK: usize = 16;

/// An interface name as the kernel has it, with zeroes behind.
type Name = [u8; libc::IFNAMSIZ];

/// Looks at the interfaces of the network namespace that it was made in.
#[derive(Debug)]
pub struct Links {
    ioctl: OwnedFd,
    notices: OwnedFd,
    buffer: Box<[u8; DATAGRAM]>,
    ports: Vec<Port>,
}

/// Where a channel ends.
#[derive(Debug)]
struct Port {
    channel: ChannelIndex,
    name: Name,
    own: IpAddr,
    /// The index and the kernel's own name for it, which is another than `name` where that is an alternative one.
    at: Option<(u32, Name)>,
    address: bool,
    /// Something was told of it since the last look.
    stale: bool,
    members: [u32; MEMBERS],
    /// One that was not known before.
    new_member: bool,
}

impl Links {
    /// For channels with the name of their interface and our address there. It looks for all of them: this may wait.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open<'a>(ports: impl IntoIterator<Item = (ChannelIndex, &'a str, IpAddr)>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let ioctl = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let notices = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let _ = setsockopt(&notices, sockopt::RcvBufForce, &QUEUE);
        // Before the first look: what changes after it is told.
        bind(notices.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        let mut links = Self { ioctl, notices, buffer: Box::new([0; DATAGRAM]), ports: Vec::new() };
        for (channel, name, own) in ports {
            let at = super::netlink::index_of(name)?;
            let name = padded(name.as_bytes());
            links.ports.push(Port {
                channel,
                name,
                own,
                at: None,
                address: false,
                stale: true,
                members: [0; MEMBERS],
                new_member: false,
            });
            if let Some(index) = at {
                links.found(channel, index);
            }
        }
        Ok(links)
    }

    /// The channel's interface was found at this index by whoever may wait.
    pub fn found(&mut self, channel: ChannelIndex, index: u32) {
        let kernels = name_of(&self.ioctl, index);
        if let (Some(port), Some(kernels)) = (self.ports.iter_mut().find(|port| port.channel == channel), kernels) {
            port.at = Some((index, kernels));
            port.stale = true;
        }
    }

    /// Channels of which something was told since the last look, a bit each; and those whose interface has a new member.
    pub fn take_notices(&mut self) -> (u64, u64) {
        loop {
            // SAFETY: the buffer is as long as is said.
            let len = unsafe {
                libc::recv(
                    self.notices.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                )
            };
            match usize::try_from(len) {
                Ok(len) if len <= self.buffer.len() => {
                    let Self { buffer, ports, .. } = &mut *self;
                    for notice in notices(&buffer[..len]) {
                        ports.iter_mut().for_each(|port| port.hear(&notice));
                    }
                }
                Err(_) if io::Error::last_os_error().raw_os_error() != Some(libc::ENOBUFS) => break,
                // Some were lost: everything is to be looked at.
                _ => self.ports.iter_mut().for_each(|port| port.stale = true),
            }
        }
        let bits = |is: fn(&Port) -> bool| {
            self.ports.iter().filter(|port| is(port)).fold(0, |bits, port| bits | port.channel.bit())
        };
        let told = (bits(|port| port.stale), bits(|port| port.new_member));
        self.ports.iter_mut().for_each(|port| port.new_member = false);
        told
    }

    /// How the channel's interface is now. `thorough`: whether our address is on it is looked at anew also where nothing
    /// was told of it. Of an interface that is absent it is not known whether it is back before it is told or
    /// [`Links::found`].
    pub fn look(&mut self, channel: ChannelIndex, thorough: bool) -> Option<Link> {
        let Self { ioctl, ports, .. } = self;
        let port = ports.iter_mut().find(|port| port.channel == channel)?;
        let seen = port.at.filter(|(index, name)| name_of(ioctl, *index).as_ref() == Some(name));
        // Gone, or called otherwise: then it is another one's name.
        port.at = seen;
        let Some((index, name)) = seen else {
            port.stale = false;
            return Some(Link::Absent);
        };
        if std::mem::take(&mut port.stale) || thorough {
            port.address = has_address(&name, index, port.own);
        }
        Some(Link::Present { index, carrier: carrier(ioctl, &name), address: port.address })
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl Port {
    fn hear(&mut self, notice: &Notice) {
        match *notice {
            Notice::Address { index } => self.stale |= self.index() == Some(index),
            Notice::Link { index, name, controller, gone } => {
                self.stale |= self.index() == Some(index);
                if !gone && self.at.is_none() && name == Some(self.name) {
                    self.at = Some((index, self.name));
                    self.stale = true;
                }
                if !gone && controller.is_some() && controller == self.index() && !self.members.contains(&index) {
                    self.members.rotate_right(1);
                    self.members[0] = index;
                    self.new_member = true;
                }
            }
        }
    }

    fn index(&self) -> Option<u32> {
        self.at.map(|(index, _)| index)
    }
}

/// What one message of rtnetlink's says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Link { index: u32, name: Option<Name>, controller: Option<u32>, gone: bool },
    Address { index: u32 },
}

/// The notices in a datagram (netlink(7), rtnetlink(7)). What is cut short or of another kind is passed over.
fn notices(mut bytes: &[u8]) -> impl Iterator<Item = Notice> {
    std::iter::from_fn(move || {
        loop {
            let len = word(bytes, 0)? as usize;
            let message = bytes.get(..len).filter(|_| len >= HEADER)?;
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
            let kind = u16::from_ne_bytes([message[4], message[5]]);
            // Both bodies have the index at their fifth byte.
            let Some(index) = word(message, HEADER + 4) else { continue };
            match kind {
                libc::RTM_NEWADDR | libc::RTM_DELADDR => return Some(Notice::Address { index }),
                libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                    let attributes = message.get(HEADER + BODY_OF_LINK..).unwrap_or_default();
                    return Some(Notice::Link {
                        index,
                        name: attribute(attributes, libc::IFLA_IFNAME).map(padded),
                        controller: attribute(attributes, libc::IFLA_MASTER).and_then(|value| word(value, 0)),
                        gone: kind == libc::RTM_DELLINK,
                    });
                }
                _ => {}
            }
        }
    })
}

/// The value of an attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = match *bytes {
            [a, b, c, d, ..] => (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d])),
            _ => return None,
        };
        let value = bytes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// With zeroes behind; one that is too long is nobody's.
fn padded(name: &[u8]) -> Name {
    let mut padded = [0; libc::IFNAMSIZ];
    if name.len() < padded.len() || name.ends_with(&[0]) && name.len() == padded.len() {
        padded[..name.len()].copy_from_slice(name);
    }
    padded
}

fn request(name: &Name) -> libc::ifreq {
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request
}

/// The kernel's name for the interface of an index: SIOCGIFNAME loads no module.
fn name_of(ioctl: &OwnedFd, index: u32) -> Option<Name> {
    let mut request = request(&[0; libc::IFNAMSIZ]);
    request.ifr_ifru.ifru_ifindex = index as libc::c_int;
    // SAFETY: it reads the index and writes the name.
    let found = unsafe { libc::ioctl(ioctl.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) } == 0;
    found.then(|| request.ifr_name.map(|c| c as u8))
}

/// Whether an interface that is there is up and operational. The kernel may show a lost carrier up to a second late here: it
/// defers the change of operational state.
fn carrier(ioctl: &OwnedFd, name: &Name) -> bool {
    const UP: libc::c_short = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let mut request = request(name);
    // SAFETY: it reads the name and writes the flags, which are then what is read.
    unsafe {
        libc::ioctl(ioctl.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) == 0
            && request.ifr_ifru.ifru_flags & UP == UP
    }
}

/// Whether our address is there: whether a socket can be bound to it. Of IPv4 it is not known on which interface, and an IPv6
/// address that is still being tried is not there.
fn has_address(name: &Name, index: u32, own: IpAddr) -> bool {
    let bind = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address((own, 0).into()), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        socket.bind_device(Some(&name[..len]))?;
        let address: SocketAddr = match own {
            IpAddr::V6(own) => SocketAddrV6::new(own, 0, 0, if own.is_unicast_link_local() { index } else { 0 }).into(),
            IpAddr::V4(_) => (own, 0).into(),
        };
        socket.bind(&SockAddr::from(address))
    };
    match bind() {
        Ok(()) => true,
        // Whatever else is wrong says nothing of the address.
        Err(error) => error.raw_os_error() != Some(libc::EADDRNOTAVAIL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::{
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    const CHANNEL: ChannelIndex = ChannelIndex(3);
    const OTHER: ChannelIndex = ChannelIndex(4);

    fn ip(arguments: &str) {
        let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// In a namespace with a veth pair, `near` and `far`.
    fn in_namespace(body: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let run = || {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: run this as root");
                ip("link add near type veth peer name far");
                ip("link set far up");
                // A host without any address at all would take every one for its own.
                ip("link set lo up");
                body();
            };
            scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    fn links() -> Links {
        let own = "192.0.2.1".parse().unwrap();
        Links::open([(CHANNEL, "near", own), (OTHER, "spare", own)]).unwrap()
    }

    fn state(links: &mut Links, channel: ChannelIndex) -> (bool, bool, bool) {
        match links.look(channel, false).unwrap() {
            Link::Absent => (false, false, false),
            Link::Present { carrier, address, .. } => (true, carrier, address),
        }
    }

    /// A carrier comes and goes a moment after its cause: the kernel looks at that in a worker of its own.
    fn becomes(links: &mut Links, expected: (bool, bool, bool)) {
        let end = Instant::now() + Duration::from_secs(10);
        while state(links, CHANNEL) != expected {
            assert!(Instant::now() < end, "{:?}, not {expected:?}", state(links, CHANNEL));
            thread::yield_now();
        }
    }

    #[test]
    fn what_changes_is_told_and_then_seen() {
        in_namespace(|| {
            let mut links = links();
            assert_eq!(state(&mut links, CHANNEL), (true, false, false));
            assert_eq!(state(&mut links, OTHER), (false, false, false));
            assert_eq!(links.take_notices(), (0, 0));
            ip("link set near up");
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            becomes(&mut links, (true, true, false));
            let _ = links.take_notices();
            ip("address add 192.0.2.1/24 dev near");
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            assert_eq!(state(&mut links, CHANNEL), (true, true, true));
            ip("address del 192.0.2.1/24 dev near");
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            assert_eq!(state(&mut links, CHANNEL), (true, true, false));
            ip("link set far down");
            becomes(&mut links, (true, false, false));
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            ip("link delete near");
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            assert_eq!(links.look(CHANNEL, false), Some(Link::Absent));
            assert_eq!(links.look(ChannelIndex(9), false), None);
        });
    }

    #[test]
    fn an_interface_that_is_renamed_is_absent_until_one_has_the_name_again() {
        in_namespace(|| {
            let mut links = links();
            ip("link set near name aside");
            assert_eq!(state(&mut links, CHANNEL), (false, false, false));
            let _ = links.take_notices();
            assert_eq!(state(&mut links, CHANNEL), (false, false, false));
            // An interface that comes is found by what is told, without a question for its name.
            ip("link add spare type veth peer name spare-far");
            assert_eq!(links.take_notices().0, OTHER.bit());
            assert!(state(&mut links, OTHER).0);
            ip("link set aside name near");
            assert_eq!(links.take_notices().0, CHANNEL.bit());
            assert!(state(&mut links, CHANNEL).0);
        });
    }

    #[test]
    fn an_interface_may_be_known_by_its_alternative_name() {
        in_namespace(|| {
            ip("link property add dev near altname storage-link");
            let own = "192.0.2.1".parse().unwrap();
            let mut links = Links::open([(CHANNEL, "storage-link", own)]).unwrap();
            assert!(state(&mut links, CHANNEL).0);
            ip("link set near name aside");
            assert!(!state(&mut links, CHANNEL).0, "somebody is to look who may wait");
            links.found(CHANNEL, super::super::netlink::index_of("storage-link").unwrap().unwrap());
            assert!(state(&mut links, CHANNEL).0);
        });
    }

    #[test]
    fn a_new_member_is_told_once() {
        in_namespace(|| {
            ip("link add bridge type bridge");
            let mut links = Links::open([(CHANNEL, "bridge", "192.0.2.1".parse().unwrap())]).unwrap();
            ip("link set near master bridge");
            assert_eq!(links.take_notices().1, CHANNEL.bit());
            ip("link set near up");
            assert_eq!(links.take_notices().1, 0);
        });
    }

    #[test]
    fn notices_that_were_lost_make_everything_looked_at() {
        in_namespace(|| {
            let mut links = links();
            setsockopt(&links.notices, sockopt::RcvBufForce, &2_048).unwrap();
            let _ = (links.look(CHANNEL, false), links.look(OTHER, false));
            for _ in 0..20 {
                ip("link set lo up");
                ip("link set lo down");
            }
            assert_eq!(links.take_notices().0, CHANNEL.bit() | OTHER.bit());
        });
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut message = [0_u8; 40];
        message[0] = 40;
        message[4] = libc::RTM_NEWLINK as u8;
        message[20] = 7;
        let link = Notice::Link { index: 7, name: None, controller: None, gone: false };
        assert!(notices(&message).eq([link]));
        for (at, value) in [(0, 41), (0, 15), (0, 0), (3, 255), (4, 99)] {
            let mut other = message;
            other[at] = value;
            assert!(notices(&other).next().is_none(), "{at} {value}");
        }
        for len in 0..40 {
            assert!(notices(&message[..len]).next().is_none(), "{len}");
        }
        // Attributes of no length, or beyond the message.
        message[32] = 0;
        assert_eq!(attribute(&message[32..], 3), None);
        message[32] = 200;
        assert_eq!(attribute(&message[32..], 0), None);
    }
}
