//! A door from this host's loopback to a TCP port inside a controller: a browser here sees what an agent serves there.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Lab, Node};

/// Directions of connections that are copied at a time, each by a thread; who comes then waits in the kernel.
const COPIES: usize = 128;

/// Listens on a free port of 127.0.0.1; stops on drop, and connections end with either of their ends.
pub struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Passes on what comes to 127.0.0.1:`port` inside a controller. While its power is off, nobody answers.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(lab: &Arc<Lab>, node: Node, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback")?;
        listener.set_nonblocking(true).context("cannot set up a listener")?;
        let address = listener.local_addr().context("a listener without an address")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, lab) = (Arc::clone(&stop), Arc::downgrade(lab));
        let thread = thread::spawn(move || {
            let open = Arc::new(AtomicUsize::new(0));
            while !stopping.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                let _timed_out = poll(&mut ready, PollTimeout::from(100_u8));
                if open.load(Ordering::Relaxed) >= COPIES {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                let Ok((near, _)) = listener.accept() else { continue };
                let Some(lab) = lab.upgrade() else { break };
                // Whoever came hears by the end of the connection that nobody is there.
                if let Ok(far) = connect(&lab, node, port) {
                    let _gone_already = pass(near, far, &open);
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn connect(lab: &Lab, node: Node, port: u16) -> Result<TcpStream> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A paused agent's kernel answers for it, as long as there is room.
    let connect = move || TcpStream::connect_timeout(&to, Duration::from_millis(500));
    lab.controller(node)?.run(connect)?.with_context(|| format!("nobody listens at {to} on {node}"))
}

/// Copies both ways until both have said all that they had to say.
fn pass(near: TcpStream, far: TcpStream, open: &Arc<AtomicUsize>) -> io::Result<()> {
    near.set_nonblocking(false)?;
    let ways = [(near.try_clone()?, far.try_clone()?), (far, near)];
    for (mut from, mut to) in ways {
        open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(open);
        thread::spawn(move || {
            let complete = io::copy(&mut from, &mut to).is_ok();
            // Who ends abruptly takes the other way along.
            let _already_closed = to.shutdown(if complete { Shutdown::Write } else { Shutdown::Both });
            if !complete {
                let _already_closed = from.shutdown(Shutdown::Both);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}
