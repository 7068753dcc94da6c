//! A serial cable between two pseudo-terminals, one for each controller, with somebody in between who can pull it or make
//! noise. Bytes pass as fast as they come: a pseudo-terminal knows no speed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;

/// The cable; its devices are gone when it is.
pub struct SerialCable {
    devices: [PathBuf; 2],
    shared: Arc<Shared>,
    masters: [File; 2],
    /// So that the lines are not hung up while no agent has them open.
    _slaves: [OwnedFd; 2],
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    plugged: AtomicBool,
    passed: [AtomicU64; 2],
}

impl SerialCable {
    /// A cable, plugged in at both ends.
    ///
    /// # Errors
    /// No pseudo-terminals to be had.
    pub fn new() -> Result<Self> {
        let shared = Shared {
            stop: AtomicBool::new(false),
            plugged: AtomicBool::new(true),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        let ends = [openpty(None, None), openpty(None, None)].map(|end| -> Result<_> {
            let end = end.context("no pseudo-terminal")?;
            let mut settings = tcgetattr(&end.slave)?;
            cfmakeraw(&mut settings);
            tcsetattr(&end.slave, SetArg::TCSANOW, &settings)?;
            Ok((ttyname(&end.slave)?, File::from(end.master), end.slave))
        });
        let [a, b] = ends;
        let ((device_a, master_a, slave_a), (device_b, master_b, slave_b)) = (a?, b?);
        let shared = Arc::new(shared);
        let relay = Relay { shared: Arc::clone(&shared), masters: [master_a.try_clone()?, master_b.try_clone()?] };
        Ok(Self {
            devices: [device_a, device_b],
            shared,
            masters: [master_a, master_b],
            _slaves: [slave_a, slave_b],
            thread: Some(thread::spawn(move || relay.run())),
        })
    }

    /// The controllers' devices.
    #[must_use]
    pub fn devices(&self) -> [String; 2] {
        self.devices.each_ref().map(|device| device.display().to_string())
    }

    /// Pulls it, or plugs it in again: bytes get lost meanwhile, also half a message.
    pub fn plug(&self, plugged: bool) {
        self.shared.plugged.store(plugged, Ordering::Relaxed);
    }

    /// Noise on the line to a controller (0 or 1).
    ///
    /// # Errors
    /// The line is gone.
    pub fn noise(&self, to: usize, bytes: &[u8]) -> Result<()> {
        (&self.masters[to]).write_all(bytes).context("noise")
    }

    /// Bytes that each controller has sent.
    #[must_use]
    pub fn passed(&self) -> [u64; 2] {
        self.shared.passed.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for SerialCable {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Relay {
    shared: Arc<Shared>,
    masters: [File; 2],
}

impl Relay {
    fn run(&self) {
        let mut buffer = [0; 4096];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut fds = self.masters.each_ref().map(|master| PollFd::new(master.as_fd(), PollFlags::POLLIN));
            let Ok(1..) = poll(&mut fds, PollTimeout::from(50_u8)) else { continue };
            let ready = fds.map(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN)));
            for from in (0..2).filter(|from| ready[*from]) {
                let Ok(length) = (&self.masters[from]).read(&mut buffer) else { continue };
                self.shared.passed[from].fetch_add(length as u64, Ordering::Relaxed);
                if self.shared.plugged.load(Ordering::Relaxed) {
                    let _lost_where_nobody_reads = (&self.masters[1 - from]).write_all(&buffer[..length]);
                }
            }
        }
    }
}
