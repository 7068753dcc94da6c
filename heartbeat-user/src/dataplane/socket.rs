//! A channel's UDP socket (FIG. 3 [314], [330]; FIG. 5, step 510): bound to its interface, never blocking. It sends; it
//! receives only where the channel has no XDP program, which otherwise consumes every heartbeat before the stack.

use heartbeat_ebpf::wire;
use nix::sys::{
    socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
    time::TimeSpec,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

/// DSCP CS6, network control (RFC 4594, section 3.2).
const CS6: u32 = 48 << 2;
/// linux/pkt_sched.h: the band that pfifo_fast and others serve first.
const TC_PRIO_CONTROL: u32 = 7;

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

    /// The next datagram: its length, and how long ago the kernel received it, in ns on CLOCK_REALTIME. None where there
    /// is none. What does not fit into `buffer` is cut off, and the length shows it.
    ///
    /// # Errors
    /// Whatever else the kernel says.
    pub fn receive(&self, buffer: &mut [u8; wire::LEN + 1]) -> io::Result<Option<(usize, Option<u64>)>> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(received) => {
                let stamp = received.cmsgs().ok().into_iter().flatten().find_map(|c| match c {
                    ControlMessageOwned::ScmTimestampns(t) => {
                        Some(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
                    }
                    _ => None,
                });
                Ok(Some((received.bytes, stamp)))
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}
