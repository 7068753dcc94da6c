//! A channel's UDP socket (FIG. 3, 314 and 330; FIG. 5, step 510): bound to its interface, never blocking. It sends; and it
//! receives whatever no XDP program has consumed before the stack: everything where the channel has none, else nothing.
//!
//! A filter in the kernel keeps the queue free for the peer: what comes from elsewhere, or is for another pair, may say that
//! somebody is there whom we cannot read, so some of it passes; what does not begin as a heartbeat never does.

use heartbeat_ebpf::wire;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

/// DSCP CS6, network control (RFC 4594, section 3.2).
const CS6: u32 = 48 << 2;
/// linux/pkt_sched.h: the band that pfifo_fast and others serve first.
const TC_PRIO_CONTROL: u32 = 7;
/// Bytes that may wait, with the kernel's overhead: some thousand datagrams, while the thread is kept from the processor.
const QUEUE: usize = 2 << 20;
/// Of what is not from the peer or not for our pair, one in so many passes; a power of two.
const SAMPLE: u32 = 4;

/// An open socket.
#[derive(Debug)]
pub struct HeartbeatSocket {
    socket: Socket,
    to: SockAddr,
}

/// Both ends of a channel.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The interface's name.
    pub interface: String,
    /// Our address on it.
    pub own: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// UDP port on both sides.
    pub port: u16,
    /// The pair.
    pub pair_id: u32,
}

impl HeartbeatSocket {
    /// Opens it; `index` is the interface's.
    ///
    /// # Errors
    /// ENODEV: no such interface; EADDRNOTAVAIL: our address is not on this host (yet); EADDRINUSE: another program has
    /// the port; EPERM: no right to bind to an interface or a port below 1024.
    pub fn open(ends: &Ends, index: u32) -> io::Result<Self> {
        let address = |ip| match ip {
            IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, ends.port)),
            IpAddr::V6(ip) => {
                let scope = if ip.is_unicast_link_local() { index } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(ip, ends.port, 0, scope))
            }
        };
        let (own, peer) = (address(ends.own), address(ends.peer));
        let socket = Socket::new(Domain::for_address(own), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.bind_device(Some(ends.interface.as_bytes()))?;
        match own {
            SocketAddr::V4(_) => {
                socket.set_tos_v4(CS6)?;
                socket.set_ttl_v4(255)?;
            }
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_tclass_v6(CS6)?;
                socket.set_unicast_hops_v6(255)?;
            }
        }
        setsockopt(&socket, sockopt::Priority, &(TC_PRIO_CONTROL as libc::c_int))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // Beyond the limit for everybody (net.core.rmem_max) where we may, else up to it.
        if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
        }
        socket.attach_filter(&filter(ends.peer, ends.pair_id))?;
        socket.bind(&own.into())?;
        Ok(Self { socket, to: peer.into() })
    }

    /// Sends one message; false where there was no room for it (EAGAIN, ENOBUFS), so that it is lost as on the wire.
    ///
    /// # Errors
    /// Whatever else the kernel says: the socket is to be replaced (claim 2).
    pub fn send(&self, message: &[u8; wire::LEN]) -> io::Result<bool> {
        match self.socket.send_to(message, &self.to) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The next datagrams, as many as are there, but at most [`Batch::LEN`].
    ///
    /// # Errors
    /// Whatever else the kernel says than that there is none.
    pub fn receive<'a>(&self, batch: &'a mut Batch) -> io::Result<&'a [Datagram]> {
        let count = batch.receive(self.socket.as_raw_fd())?;
        Ok(&batch.datagrams[..count])
    }
}

impl AsFd for HeartbeatSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One that was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    bytes: [u8; wire::LEN + 1],
    len: usize,
    /// When the kernel received it, in ns on CLOCK_REALTIME.
    pub stamp_ns: Option<u64>,
}

impl Datagram {
    /// The message, if it has the length of one.
    #[must_use]
    pub fn message(&self) -> Option<&[u8; wire::LEN]> {
        self.bytes.first_chunk().filter(|_| self.len == wire::LEN)
    }
}

/// Room for what one call receives, made once: nothing is allocated for a datagram.
#[derive(Debug)]
pub struct Batch {
    datagrams: [Datagram; Self::LEN],
    control: [Control; Self::LEN],
}

/// Room for a time stamp with its header, aligned as that must be.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// The most datagrams of one call.
    pub const LEN: usize = 32;

    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        let none = Datagram { bytes: [0; wire::LEN + 1], len: 0, stamp_ns: None };
        Self { datagrams: [none; Self::LEN], control: [Control([0; 64]); Self::LEN] }
    }

    fn receive(&mut self, socket: libc::c_int) -> io::Result<usize> {
        // SAFETY: both are plain data, for which zeroes are a value.
        let (mut parts, mut headers): ([libc::iovec; Self::LEN], [libc::mmsghdr; Self::LEN]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for (((datagram, control), part), header) in
            self.datagrams.iter_mut().zip(&mut self.control).zip(&mut parts).zip(&mut headers)
        {
            *part = libc::iovec { iov_base: datagram.bytes.as_mut_ptr().cast(), iov_len: datagram.bytes.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: all that the headers point to lives and is used by nobody else until the end of this function.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                Self::LEN as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(0),
                _ => Err(error),
            };
        }
        for (datagram, header) in self.datagrams.iter_mut().zip(&headers).take(count as usize) {
            datagram.len = header.msg_len as usize;
            // SAFETY: the kernel has filled it in, and what it points to is still there.
            datagram.stamp_ns = unsafe { stamp(&header.msg_hdr) };
        }
        Ok(count as usize)
    }
}

/// The time stamp among the control messages of what was received.
///
/// # Safety
/// The header must be one that the kernel has filled in, with its control messages in place.
unsafe fn stamp(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: as the caller promises; the macros stay within `msg_controllen`.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let time = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
            }
            next = libc::CMSG_NXTHDR(header, message);
        }
        None
    }
}

/// The filter of a socket, in classic BPF (Documentation/networking/filter.rst); what it sees begins with the UDP header.
fn filter(peer: IpAddr, pair_id: u32) -> Vec<SockFilter> {
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const IPV4_SOURCE: u32 = libc::SKF_NET_OFF as u32 + 12;
    const IPV6_SOURCE: u32 = libc::SKF_NET_OFF as u32 + 8;
    const PAYLOAD: u32 = 8;
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;

    let do_it = |code: u32, k: u32| SockFilter::new(code as u16, 0, 0, k);
    let (source, words): (u32, Vec<u32>) = match peer {
        IpAddr::V4(peer) => (IPV4_SOURCE, vec![peer.into()]),
        IpAddr::V6(peer) => {
            let words = peer.octets().chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
            (IPV6_SOURCE, words)
        }
    };
    let mut filter = vec![
        do_it(LOAD_HALF, PAYLOAD),
        SockFilter::new(IS as u16, 1, 0, wire::MAGIC.into()),
        // Not a heartbeat of any version.
        do_it(RETURN, 0),
    ];
    // What is not the peer's jumps to the sample, behind the rest of the comparisons, the pair's, and the acceptance.
    for (i, word) in words.iter().enumerate() {
        let behind = 2 * (words.len() - 1 - i) + 3;
        filter.push(do_it(LOAD, source + 4 * i as u32));
        filter.push(SockFilter::new(IS as u16, 0, behind as u8, *word));
    }
    filter.extend([
        do_it(LOAD, PAYLOAD + 4),
        SockFilter::new(IS as u16, 0, 1, pair_id),
        do_it(RETURN, u32::MAX),
        // The sample.
        do_it(LOAD, RANDOM),
        do_it(AND, SAMPLE - 1),
        SockFilter::new(IS as u16, 0, 1, 0),
        do_it(RETURN, u32::MAX),
        do_it(RETURN, 0),
    ]);
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        alloc::{GlobalAlloc, Layout, System},
        cell::Cell,
        hint::black_box,
        net::UdpSocket,
        time::{Duration, Instant},
    };

    /// The allocator of all tests of this crate, which counts what each thread asks of it.
    struct Counting;

    thread_local! {
        static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    // SAFETY: the system's, which gets all as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            // SAFETY: as the caller promises.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            // SAFETY: as the caller promises.
            unsafe { System.realloc(at, layout, size) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(at, layout) }
        }
    }

    const PAIR: u32 = 0x0102_0304;

    fn message(pair_id: u32) -> [u8; wire::LEN] {
        let mut message = [0; wire::LEN];
        message[..2].copy_from_slice(&wire::MAGIC.to_be_bytes());
        message[4..8].copy_from_slice(&pair_id.to_be_bytes());
        message
    }

    /// A socket of ours on the loopback interface, one at the peer's address and one at a stranger's.
    struct Loopback {
        socket: HeartbeatSocket,
        to: SocketAddr,
        peer: UdpSocket,
        stranger: UdpSocket,
    }

    impl Loopback {
        fn new(own: IpAddr, peer: IpAddr, stranger: IpAddr) -> Self {
            let port = UdpSocket::bind((own, 0)).unwrap().local_addr().unwrap().port();
            let ends = Ends { interface: "lo".into(), own, peer, port, pair_id: PAIR };
            let [peer, stranger] = [peer, stranger].map(|ip| UdpSocket::bind((ip, 0)).unwrap());
            Self { socket: HeartbeatSocket::open(&ends, 1).unwrap(), to: (own, port).into(), peer, stranger }
        }

        /// What has passed of all that was sent until now: a last message of the peer's, which passes always, comes behind it.
        fn received(&self) -> Vec<Datagram> {
            let mut last = message(PAIR);
            last[wire::LEN - 1] = 0xff;
            self.peer.send_to(&last, self.to).unwrap();
            let (mut all, mut batch): (Vec<Datagram>, _) = (Vec::new(), Batch::new());
            let deadline = Instant::now() + Duration::from_secs(10);
            while all.last().and_then(Datagram::message) != Some(&last) {
                assert!(Instant::now() < deadline, "{} came, and not the last one", all.len());
                all.extend(self.socket.receive(&mut batch).unwrap().iter().copied());
            }
            all.pop();
            all
        }
    }

    fn v4() -> Loopback {
        let ip = |last| IpAddr::from([127, 0, 9, last]);
        Loopback::new(ip(1), ip(2), ip(3))
    }

    #[test]
    fn the_peers_messages_pass_with_their_time_whatever_their_length() {
        let lo = v4();
        let before = crate::system::clock::realtime_ns();
        let long = [message(PAIR).as_slice(), &[0; 100]].concat();
        for payload in [&message(PAIR)[..], &message(PAIR)[..20], &long] {
            lo.peer.send_to(payload, lo.to).unwrap();
        }
        let received = lo.received();
        let messages: Vec<_> = received.iter().map(|d| d.message().is_some()).collect();
        assert_eq!(messages, [true, false, false]);
        let after = crate::system::clock::realtime_ns();
        assert!(received.iter().all(|d| (before..=after).contains(&d.stamp_ns.unwrap())));
        assert_eq!(received[0].message(), Some(&message(PAIR)));
    }

    #[test]
    fn what_is_no_heartbeat_never_reaches_the_queue() {
        let lo = v4();
        for _ in 0..100 {
            lo.peer.send_to(&[0x48; wire::LEN], lo.to).unwrap();
            lo.peer.send_to(&[], lo.to).unwrap();
            lo.stranger.send_to(&[0; wire::LEN], lo.to).unwrap();
        }
        assert_eq!(lo.received().len(), 0);
    }

    #[test]
    fn some_of_what_others_send_passes_so_that_they_are_noticed() {
        let own = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        // On the loopback interface IPv6 has one address: there the stranger is one of another pair.
        let v6 = Loopback::new(own, own, own);
        let v4 = v4();
        for (lo, from, pair) in [(&v4, &v4.stranger, PAIR), (&v4, &v4.peer, PAIR + 1), (&v6, &v6.peer, PAIR + 1)] {
            for _ in 0..400 {
                from.send_to(&message(pair), lo.to).unwrap();
            }
            let passed = lo.received().len();
            assert!((40..200).contains(&passed), "{passed} of 400");
        }
        for _ in 0..400 {
            v6.peer.send_to(&message(PAIR), v6.to).unwrap();
        }
        assert_eq!(v6.received().len(), 400);
    }

    #[test]
    fn nothing_is_allocated_for_a_datagram() {
        let lo = v4();
        let allocated = |what: &mut dyn FnMut()| {
            let before = ALLOCATIONS.get();
            what();
            ALLOCATIONS.get() - before
        };
        assert_eq!(allocated(&mut || drop(black_box(Vec::<u8>::with_capacity(black_box(64))))), 1, "it counts");
        const SENT: usize = 3 * Batch::LEN;
        for _ in 0..SENT {
            lo.peer.send_to(&message(PAIR), lo.to).unwrap();
        }
        let (mut batch, mut received, mut stamped) = (Batch::new(), 0, 0);
        let receive = &mut || {
            let deadline = Instant::now() + Duration::from_secs(10);
            while received < SENT && Instant::now() < deadline {
                let datagrams = lo.socket.receive(&mut batch).unwrap();
                received += datagrams.len();
                stamped += datagrams.iter().filter(|d| d.message().is_some() && d.stamp_ns.is_some()).count();
            }
        };
        assert_eq!(allocated(receive), 0, "to receive");
        assert_eq!((received, stamped), (SENT, SENT));
        assert_eq!(allocated(&mut || assert!(lo.socket.send(&message(PAIR)).unwrap())), 0, "to send");
    }
}
