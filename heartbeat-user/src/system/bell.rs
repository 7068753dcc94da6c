//! A bell: an eventfd that one thread rings and another waits for.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::Arc,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Cheap to clone: all clones are the same bell.
#[derive(Clone, Debug)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell that did not ring yet.
    ///
    /// # Errors
    /// When the process has no more file descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Rings. Never waits: a bell that rings already goes on ringing.
    pub fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Makes it silent again.
    pub fn silence(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What can be read of `inner` wakes a task.
///
/// # Errors
/// When the runtime cannot watch it.
pub fn watch<T: AsFd + AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `T` lends a descriptor that lives as long as it does (AsFd), and the AsyncFd owns it; none of the types that
    // are watched here (bells, ring buffers, sockets) ever exchanges its descriptor.
    unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }.map_err(io::Error::from)
}
