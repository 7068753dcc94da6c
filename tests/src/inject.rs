//! Raw Ethernet frames into and out of any namespace: what an attacker with a cable can do.
//!
//! To hit a controller, inject at the client or at the far end of its cable: the switch's port ([`crate::lab::Lab::switch`]).
//! A frame sent out of a switch's port arrives at the controller's NIC and so at its XDP program.

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, bind, recv, send, sendmmsg,
    setsockopt, socket, sockopt,
};
use std::os::fd::AsFd as _;

use crate::lab::Namespace;

/// Frames handed to the kernel in one call.
const BATCH: usize = 64;
/// The most frames of one [`Injector::flood`].
const LIMIT: u64 = 10_000_000;
/// A flood that the kernel does not take for so long has failed.
const STUCK: Duration = Duration::from_secs(5);

/// A raw socket on one interface that sends whole Ethernet frames.
pub struct Injector {
    socket: OwnedFd,
}

/// What a flood came to.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Frames that the kernel took.
    pub sent: u64,
    /// In how long.
    pub elapsed: Duration,
}

impl Injector {
    /// Opens `interface` of `namespace`, and gives it a queue. A veth whose far end runs XDP takes 256 frames and then drops
    /// without a word; with a queue it makes us wait, so that what [`Self::flood`] counts as sent does arrive.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let netlink = namespace.netlink();
        netlink.add_queue(netlink.link(interface)?.index)?;
        // Protocol 0: it sends, and hears nothing.
        Ok(Self { socket: open(namespace, interface, None)? })
    }

    /// Sends one frame, from the destination address on, without check sequence.
    ///
    /// # Errors
    /// The kernel's own, such as EMSGSIZE or ENETDOWN.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).context("cannot send a frame")?;
        Ok(())
    }

    /// Sends `count` frames as fast as the kernel takes them, going round `frames`.
    ///
    /// # Errors
    /// No frames, more than ten million, or the kernel's own.
    pub fn flood(&self, frames: &[Vec<u8>], count: u64) -> Result<Flood> {
        anyhow::ensure!(!frames.is_empty(), "a flood wants at least one frame");
        anyhow::ensure!(count <= LIMIT, "a flood has at most {LIMIT} frames, not {count}");
        // Whole rounds, so that every frame is sent as often as any other, and enough of them for full batches.
        let rounds = (16 * BATCH).div_ceil(frames.len());
        let slices: Vec<[IoSlice<'_>; 1]> =
            frames.iter().cycle().take(rounds * frames.len()).map(|frame| [IoSlice::new(frame)]).collect();
        let none: [Option<LinkAddr>; BATCH] = [None; BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let start = Instant::now();
        let (mut sent, mut progress) = (0_u64, start);
        let mut position = 0;
        while sent < count {
            if position >= slices.len() {
                position = 0;
            }
            let left = usize::try_from(count - sent).unwrap_or(BATCH);
            let end = (position + BATCH.min(left)).min(slices.len());
            let batch = slices.get(position..end).unwrap_or_default();
            match sendmmsg(self.socket.as_raw_fd(), &mut headers, batch, none, [], MsgFlags::MSG_DONTWAIT) {
                Ok(results) => {
                    let taken = results.count();
                    position += taken;
                    sent += taken as u64;
                    progress = Instant::now();
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) if progress.elapsed() < STUCK => {
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut ready, PollTimeout::from(10_u8)).context("cannot wait for the socket")?;
                }
                Err(error) => bail!("the flood stopped after {sent} of {count} frames: {error}"),
            }
        }
        Ok(Flood { sent, elapsed: start.elapsed() })
    }
}

/// A raw socket that hears every frame of one interface, both ways, to inspect them or play them again.
///
/// What a controller's XDP program drops or consumes is never heard in the controller: listen at the switch's port.
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Opens `interface` of `namespace`; frames are kept from now on, as many as 8 MiB hold.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = open(namespace, interface, Some(SockProtocol::EthAll))?;
        setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).context("cannot size a socket buffer")?;
        Ok(Self { socket })
    }

    /// The next frame that is `wanted`.
    ///
    /// # Errors
    /// None comes in time.
    pub fn next(&self, wanted: impl Fn(&[u8]) -> bool, timeout: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0; 65_536];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => match buffer.get(..length) {
                    Some(frame) if wanted(frame) => return Ok(frame.to_vec()),
                    _ => {}
                },
                Err(Errno::EAGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    anyhow::ensure!(!left.is_zero(), "no such frame within {timeout:?}");
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    let wait = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
                    poll(&mut ready, wait).context("cannot wait for the socket")?;
                }
                Err(Errno::EINTR) => {}
                Err(error) => bail!("cannot receive a frame: {error}"),
            }
        }
    }
}

/// A packet socket on one interface; without a protocol, it hears nothing.
pub(crate) fn open(namespace: &Namespace, interface: &str, protocol: Option<SockProtocol>) -> Result<OwnedFd> {
    let name = interface.to_owned();
    let opened = namespace.run(move || -> Result<OwnedFd> {
        let address = link_address(&name)?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .context("cannot open a packet socket")?;
        bind(socket.as_raw_fd(), &address).with_context(|| format!("cannot bind to {name}"))?;
        Ok(socket)
    })?;
    opened.with_context(|| format!("namespace {}", namespace.name()))
}

/// The packet socket address of an interface; `getifaddrs` is the way to one without unsafe code.
fn link_address(interface: &str) -> Result<LinkAddr> {
    let found = getifaddrs()
        .context("cannot list interfaces")?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address.and_then(|address| address.as_link_addr().copied()));
    found.with_context(|| format!("no interface {interface}"))
}
