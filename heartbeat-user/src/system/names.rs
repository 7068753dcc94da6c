//! Names that one process of a network namespace has at a time, and its next life after it: abstract Unix sockets (unix(7)), which
//! go with the process.

use super::handed_on::{hand_on, left_open};
use nix::{
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, UnixCredentials, connect, getsockname, getsockopt, socket,
        sockopt::PeerCredentials,
    },
    unistd::geteuid,
};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
};

/// All of ours begin so.
const OURS: &str = "heartbeat:";

/// A name that is ours for as long as this lives.
#[derive(Debug)]
pub struct Name(UnixListener);

impl Name {
    /// Takes a name, which the life before may have left for us. None where the kernel has no room for it, or somebody else has it:
    /// anybody can take a name, and that must not keep us from starting.
    ///
    /// # Errors
    /// The process of our user that has it.
    pub fn take(what: &str) -> Result<Option<Self>, i32> {
        let name = format!("{OURS}{what}");
        if let Some(left) = left_open(|file| name_of(file).is_some_and(|of| of == name.as_bytes())) {
            return Ok(Some(Self(UnixListener::from(OwnedFd::from(left)))));
        }
        // sun_path has room for 107 bytes.
        let Ok(address) = SocketAddr::from_abstract_name(name.as_bytes()) else { return Ok(None) };
        let bound = UnixListener::bind_addr(&address).and_then(|name| name.set_nonblocking(true).map(|()| name));
        match bound {
            Ok(name) => Ok(Some(Self(name))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder(name.as_bytes()) {
                Some(holder) if holder.uid() == geteuid().as_raw() => Err(holder.pid()),
                other => {
                    log::debug!("somebody else ({other:?}) has the name {name:?}");
                    Ok(None)
                }
            },
            Err(error) => {
                log::debug!("no name {name:?}: {error}");
                Ok(None)
            }
        }
    }

    /// Turns away those who asked whose it is: they are a queue that has an end.
    pub fn turn_away(&self) {
        while self.0.accept().is_ok() {}
    }

    /// Leaves it for the next life of this process.
    pub fn hand_on(self) {
        if let Err(error) = hand_on(File::from(OwnedFd::from(self.0))) {
            log::warn!("a name in the kernel is not handed on: {error}");
        }
    }
}

/// Lets go of names that the life before left, and this one does not have.
pub fn forget_left() {
    while left_open(|file| name_of(file).is_some_and(|name| name.starts_with(OURS.as_bytes()))).is_some() {}
}

/// The abstract name of a socket.
fn name_of(file: &File) -> Option<Vec<u8>> {
    getsockname::<UnixAddr>(file.as_raw_fd()).ok()?.as_abstract().map(<[u8]>::to_vec)
}

/// Who has it. Where the queue of those who ask is full, that is not waited for.
fn holder(name: &[u8]) -> Option<UnixCredentials> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asks = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(asks.as_raw_fd(), &UnixAddr::new_abstract(name).ok()?).ok()?;
    getsockopt(&asks, PeerCredentials).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        std::process::id().cast_signed()
    }

    #[test]
    fn one_has_a_name_however_many_ask_and_the_next_life_has_it_without_a_gap() {
        let what = format!("test {}", own());
        let name = Name::take(&what).unwrap().unwrap();
        assert_eq!(Name::take(&what).map(|_| ()), Err(own()));
        // As many as the queue has room for.
        let asked = (0..10_000).take_while(|_| holder(format!("{OURS}{what}").as_bytes()).is_some()).count();
        assert!(asked < 10_000 && Name::take(&what).unwrap().is_none(), "nobody waits");
        name.turn_away();
        assert_eq!(Name::take(&what).map(|_| ()), Err(own()));
        name.hand_on();
        let next = Name::take(&what).unwrap().unwrap();
        assert_eq!(Name::take(&what).map(|_| ()), Err(own()), "it was left once");
        drop(next);
        drop(Name::take(&what).unwrap().unwrap());
    }
}
