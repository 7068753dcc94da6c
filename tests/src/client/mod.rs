//! A client that pings a service address all the time and remembers when it was answered, and for how long it was not.
//!
//! What an operator's users see of a takeover is the gap between two answers. A [`Probe`] measures it from inside the
//! client's namespace: one thread sends echo requests at a fixed pace, another collects the replies with the kernel's own
//! receive stamps (SO_TIMESTAMPNS). Number and instant of sending travel inside the request, so nothing has to be matched
//! up, and a client that was late itself does not blame the controller (see [`Gap`]).

pub mod both;
mod icmp;
pub mod tcp;

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Namespace, realtime_ns};
use icmp::{reply_to_us, request};

/// How to ping.
#[derive(Debug, Clone, Copy)]
pub struct ProbeOptions {
    /// From one request to the next; default 1 ms.
    pub interval: Duration,
    /// Replies remembered; older ones are forgotten. Default 600,000, ten minutes' worth.
    pub kept: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { interval: Duration::from_millis(1), kept: 600_000 }
    }
}

/// An answered request; CLOCK_REALTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Number of the request, from 0.
    pub number: u64,
    /// When the request was sent.
    pub sent_ns: u64,
    /// When the kernel received the reply.
    pub received_ns: u64,
}

/// A time without replies: from the last one before to the first one after if requests were lost between them. Where
/// none was lost, from when the answered request was sent: what the client did not ask, nobody could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Last reply before.
    pub from_ns: u64,
    /// First reply after.
    pub to_ns: u64,
}

impl Gap {
    fn between(before: Reply, after: Reply) -> Self {
        let late_ourselves = after.number == before.number + 1;
        let asked_ns = if late_ourselves { after.sent_ns } else { 0 };
        Self { from_ns: before.received_ns.max(asked_ns), to_ns: after.received_ns }
    }

    /// How long nobody answered.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_nanos(self.to_ns.saturating_sub(self.from_ns))
    }
}

/// Everything in a few numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// Requests sent, and refused by our own kernel (no route, no neighbour).
    pub sent: u64,
    /// Requests that our own kernel refused to send.
    pub refused: u64,
    /// Replies received.
    pub answered: u64,
    /// The last one, if any.
    pub last: Option<Reply>,
    /// The longest gap between two replies.
    pub largest_gap: Gap,
    /// The latest gap of at least ten intervals.
    pub last_gap: Option<Gap>,
}

impl View {
    /// Whether there was a reply within the last `within`.
    #[must_use]
    pub fn answering(&self, within: Duration) -> bool {
        let age = |reply: Reply| Duration::from_nanos(realtime_ns().saturating_sub(reply.received_ns));
        self.last.is_some_and(|reply| age(reply) <= within)
    }
}

/// A client that pings one address; stops on drop.
pub struct Probe {
    target: IpAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    options: ProbeOptions,
    stop: AtomicBool,
    sent: AtomicU64,
    refused: AtomicU64,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    view: View,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, reply: Reply) {
        let mut state = self.state();
        if let Some(last) = state.view.last {
            let gap = Gap::between(last, reply);
            if gap.length() > state.view.largest_gap.length() {
                state.view.largest_gap = gap;
            }
            if gap.length() >= self.options.interval * 10 {
                state.view.last_gap = Some(gap);
            }
        }
        state.view.last = Some(reply);
        state.view.answered += 1;
        if state.replies.len() >= self.options.kept {
            state.replies.pop_front();
        }
        state.replies.push_back(reply);
        drop(state);
        self.news.notify_all();
    }
}

impl Probe {
    /// Starts pinging `target` from inside `namespace`.
    ///
    /// # Errors
    /// No raw sockets for us, or the namespace is gone.
    pub fn start(namespace: &Namespace, target: IpAddr, options: ProbeOptions) -> Result<Self> {
        static NEXT_IDENT: AtomicU16 = AtomicU16::new(1);
        let ident = NEXT_IDENT.fetch_add(1, Ordering::Relaxed);
        let socket = namespace.run(move || open(target))?.with_context(|| format!("cannot ping {target}"))?;
        let receiver = socket.try_clone().context("cannot clone a socket")?;
        let shared = Arc::new(Shared {
            options,
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            state: Mutex::default(),
            news: Condvar::new(),
        });
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || send_all(&socket, target, ident, &shared)
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || receive_all(&receiver, target, ident, &shared)
            }),
        ];
        Ok(Self { target, shared, threads })
    }

    /// Whom it pings.
    #[must_use]
    pub fn target(&self) -> IpAddr {
        self.target
    }

    /// All replies that it remembers, in the order in which they came.
    #[must_use]
    pub fn replies(&self) -> Vec<Reply> {
        self.shared.state().replies.iter().copied().collect()
    }

    /// The last reply received before `at_ns`.
    #[must_use]
    pub fn last_before(&self, at_ns: u64) -> Option<Reply> {
        self.shared.state().replies.iter().rev().find(|reply| reply.received_ns < at_ns).copied()
    }

    /// The first reply received at or after `at_ns`.
    #[must_use]
    pub fn first_after(&self, at_ns: u64) -> Option<Reply> {
        self.shared.state().replies.iter().find(|reply| reply.received_ns >= at_ns).copied()
    }

    /// The same, waiting for it if need be.
    ///
    /// # Errors
    /// None comes in time.
    pub fn wait_reply_after(&self, at_ns: u64, timeout: Duration) -> Result<Reply> {
        let late = |state: &mut State| state.view.last.is_none_or(|reply| reply.received_ns < at_ns);
        let waited = self.shared.news.wait_timeout_while(self.shared.state(), timeout, late);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.replies.iter().find(|reply| reply.received_ns >= at_ns) {
            Some(reply) => Ok(*reply),
            None => bail!("{} did not answer within {timeout:?}; so far: {:?}", self.target, state.view),
        }
    }

    /// The longest time without a reply between two instants; the time before the first reply and after the last one count
    /// as well.
    #[must_use]
    pub fn largest_gap(&self, from_ns: u64, to_ns: u64) -> Gap {
        let state = self.shared.state();
        let mut largest = Gap::default();
        let mut consider = |gap: Gap| {
            let inside = Gap { from_ns: gap.from_ns.max(from_ns), to_ns: gap.to_ns.min(to_ns) };
            if inside.length() > largest.length() {
                largest = inside;
            }
        };
        let mut before = None;
        for reply in &state.replies {
            consider(before.map_or(Gap { from_ns, to_ns: reply.received_ns }, |before| Gap::between(before, *reply)));
            before = Some(*reply);
        }
        consider(Gap { from_ns: before.map_or(from_ns, |last| last.received_ns), to_ns });
        largest
    }

    /// How it stands right now.
    #[must_use]
    pub fn view(&self) -> View {
        let mut view = self.shared.state().view;
        view.sent = self.shared.sent.load(Ordering::Relaxed);
        view.refused = self.shared.refused.load(Ordering::Relaxed);
        view
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

fn open(target: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.set_recv_buffer_size(1 << 20)?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    Ok(socket)
}

fn send_all(socket: &Socket, target: IpAddr, ident: u16, shared: &Shared) {
    let to = SocketAddr::new(target, 0).into();
    let start = Instant::now();
    let mut slot = 0_u32;
    while !shared.stop.load(Ordering::Relaxed) {
        let count = shared.sent.fetch_add(1, Ordering::Relaxed);
        if socket.send_to(&request(target, ident, count, realtime_ns()), &to).is_err() {
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        // Keep the pace, but do not make up for what was missed.
        slot = slot.wrapping_add(1);
        let now = start.elapsed();
        let due = shared.options.interval.saturating_mul(slot);
        match due.checked_sub(now) {
            Some(wait) => thread::sleep(wait.min(shared.options.interval)),
            None => slot = u32::try_from(now.as_nanos() / shared.options.interval.as_nanos().max(1)).unwrap_or(0),
        }
    }
}

fn receive_all(socket: &Socket, target: IpAddr, ident: u16, shared: &Shared) {
    let mut buffer = [0; 512];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !shared.stop.load(Ordering::Relaxed) {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty());
        let Ok(message) = received else { continue };
        let stamp = message.cmsgs().into_iter().flatten().find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let length = message.bytes;
        let received_ns = stamp.and_then(|at| u64::try_from(at.as_nanos()).ok()).unwrap_or_else(realtime_ns);
        if let Some((number, sent_ns)) = reply_to_us(buffer.get(..length).unwrap_or_default(), target, ident) {
            shared.note(Reply { number, sent_ns, received_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn reply(number: u64, sent_ms: u64, received_ms: u64) -> Reply {
        Reply { number, sent_ns: sent_ms * MS, received_ns: received_ms * MS }
    }

    #[test]
    fn lost_requests_make_a_gap_from_reply_to_reply() {
        assert_eq!(Gap::between(reply(4, 4, 5), reply(9, 39, 40)).length(), Duration::from_millis(35));
    }

    #[test]
    fn a_client_that_was_late_itself_finds_no_gap() {
        assert_eq!(Gap::between(reply(4, 4, 5), reply(5, 39, 40)).length(), Duration::from_millis(1));
    }

    #[test]
    fn a_request_that_waited_for_its_answer_makes_a_gap() {
        assert_eq!(Gap::between(reply(4, 4, 5), reply(5, 6, 40)).length(), Duration::from_millis(34));
    }
}
