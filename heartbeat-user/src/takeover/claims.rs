//! Listens to who else has an address: the claims of neighbours, in answer or unasked.

use super::frames::{AddressClaim, ETHERNET, IPV6, claim_in};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{LinkAddr, recvfrom},
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

/// What the kernel keeps for each socket while the thread is busy, in bytes (it doubles that): 100s of claims.
const RECEIVE_BUFFER: usize = 128 << 10;
/// More frames than the buffers of both sockets hold, at the 768 bytes that the kernel accounts for the smallest: who has read
/// this many has read all that came before.
pub(super) const BACKLOG: usize = 1_024;

/// A planned address where it lives: the interface's index, and the address.
pub(super) type On = (u32, IpAddr);

/// Hears the claims of neighbours, on the interfaces and for the range of addresses that it is told.
///
/// Two packet sockets, which never send: ARP, and the advertisements among IPv6. They are bound to no interface and closed by a
/// filter while nothing is to be heard, but open as long as the thread lives: to bind or to close one can wait for all CPUs
/// (`synchronize_net`), 10s of milliseconds that no takeover has; an interface may be replaced; and no takeover
/// can fail for want of a socket. What the filter lets through that nobody wants is for the caller to ignore.
pub(super) struct ClaimListener {
    ipv4: Listener,
    ipv6: Listener,
    ipv6_first: bool,
    frame: Box<[u8; 2048]>,
}

struct Listener {
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

impl ClaimListener {
    /// Opens both sockets, in the network namespace of this thread; nothing is heard yet.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, `EPERM`.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            ipv4: Listener::open(libc::ETH_P_ARP, &[], (ETHERNET + 14) as u32)?,
            ipv6: Listener::open(
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
    pub(super) fn listen_also(&mut self, addresses: impl IntoIterator<Item = On>) -> io::Result<()> {
        let ranges = [self.ipv4.range.clone(), self.ipv6.range.clone()];
        self.set(ranges, addresses)
    }

    /// Hears claims for `addresses`, and no others.
    ///
    /// # Errors
    /// As [`ClaimListener::listen_also`].
    pub(super) fn listen_only(&mut self, addresses: impl IntoIterator<Item = On>) -> io::Result<()> {
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
    pub(super) fn next(&mut self, patience: &mut usize) -> Option<(u32, AddressClaim)> {
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
        let mut sockets = [&self.ipv4, &self.ipv6].map(|one| PollFd::new(one.socket.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut sockets, Some(TimeSpec::from_duration(longest)), None); // after a signal the caller waits on
    }
}

impl Listener {
    fn open(ethertype: i32, form: &'static [(u32, u32)], word: u32) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from((ethertype as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let mut listener = Self { socket, form, word, range: Range::default() };
        listener.attach(&Range::default())?;
        while listener.receive(&mut [0]).is_some() {} // what came before the filter
        Ok(listener)
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
