//! A look at an interface without taking the kernel's big networking lock: two ioctls (netdevice(7)).

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// An interface that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its index: changes when it is made anew.
    pub index: u32,
    /// Whether it is up and operational. The kernel may show a lost carrier up to a second late here: it defers the
    /// change of operational state.
    pub carrier: bool,
}

/// Looks at interfaces of the network namespace that it was made in.
#[derive(Debug)]
pub struct Observer {
    socket: OwnedFd,
}

impl Observer {
    /// An observer.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { socket: socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)? })
    }

    /// The interface of this name (at most 15 bytes), if there is one.
    #[must_use]
    pub fn look(&self, name: &str) -> Option<Seen> {
        // SAFETY: ifreq is plain data.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return None;
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let fd = self.socket.as_raw_fd();
        // SAFETY: both requests read the name and write their member of the union, which is then the one that is read.
        unsafe {
            if libc::ioctl(fd, libc::SIOCGIFINDEX, &raw mut request) != 0 {
                return None;
            }
            let index = request.ifr_ifru.ifru_ifindex as u32;
            if libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request) != 0 {
                return None;
            }
            let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            Some(Seen { index, carrier: request.ifr_ifru.ifru_flags & up == up })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_nonsense_is_not() {
        let observer = Observer::new().unwrap();
        assert_eq!(observer.look("lo").unwrap().index, 1);
        assert_eq!(observer.look("no-such-if"), None);
        assert_eq!(observer.look("a-name-that-is-far-too-long"), None);
    }
}
