//! A client that asks both controllers for one service address, each by its own Ethernet address, whatever the network has
//! learnt: who answers, and whether both ever do.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::sockopt::{ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockProtocol, recvmsg, send, setsockopt};
use nix::sys::time::TimeVal;
use std::io::IoSliceMut;

use super::icmp::{reply_to_us, request};
use crate::frame::checksum;
use crate::inject;
use crate::lab::topology::{Host, Node, host_number, interface, ipv4, mac, owner_of};
use crate::lab::{Lab, realtime_ns};

const IDENT: u16 = 0xb07b;

/// Asks until it is dropped.
pub struct Both {
    every: Duration,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: Mutex<Vec<Answered>>,
}

/// Who answered, and when the kernel received it; CLOCK_REALTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// By its Ethernet address.
    pub by: Node,
    /// When.
    pub at_ns: u64,
}

impl Both {
    /// The client of network `number` asks for `target`, each controller once in `every`.
    ///
    /// # Errors
    /// That network has no client, or no packet socket is to be had.
    pub fn start(lab: &Lab, number: usize, target: Ipv4Addr, every: Duration) -> Result<Self> {
        let namespace = lab.client(number)?;
        // A client has one interface.
        let open = |protocol| inject::open(namespace, &interface(1), protocol);
        let (sender, receiver) = (open(None)?, open(Some(SockProtocol::EthAll))?);
        setsockopt(&receiver, ReceiveTimestampns, &true).context("no stamps of arrival")?;
        setsockopt(&receiver, ReceiveTimeout, &TimeVal::new(0, 20_000)).context("no timeout")?;
        let shared = Arc::new(Shared::default());
        let (asks, hears) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || ask(&sender, number, target, every, &asks)),
            thread::spawn(move || hear(&receiver, target, &hears)),
        ];
        Ok(Self { every, shared, threads })
    }

    /// All answers so far, in the order in which they came.
    fn noted(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers of one of them between two instants.
    #[must_use]
    pub fn of(&self, by: Node, from_ns: u64, to_ns: u64) -> Vec<u64> {
        let within = |answer: &&Answered| answer.by == by && (from_ns..to_ns).contains(&answer.at_ns);
        self.noted().iter().filter(within).map(|answer| answer.at_ns).collect()
    }

    /// For how long since an instant both answered: so many answers came between two of the other one's that are not far apart.
    #[must_use]
    pub fn both_answered(&self, since_ns: u64) -> Duration {
        let mut answers = self.noted().clone();
        answers.retain(|answer| answer.at_ns >= since_ns);
        answers.sort_unstable_by_key(|answer| answer.at_ns);
        // Each of the two is asked once in that time.
        self.every * u32::try_from(between_others(&answers, self.every * 10).div_ceil(2)).unwrap_or(u32::MAX)
    }

    /// For how long after the first answer of `new` since an instant `old` still answered, if it did at all; and for how long
    /// nobody did between the last answer of `old` and the first of `new`. None where `new` has not answered.
    #[must_use]
    pub fn hand_over(&self, old: Node, new: Node, since_ns: u64) -> Option<(Duration, Duration)> {
        let first_ns = *self.of(new, since_ns, u64::MAX).first()?;
        let of_old = self.of(old, 0, u64::MAX);
        let last_ns = of_old.last().copied().unwrap_or_default();
        let span = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        Some((span(first_ns, last_ns), span(last_ns, first_ns)))
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

/// How many answers came between two of the other one's that are at most so far apart; `answers` are in the order of their times.
fn between_others(answers: &[Answered], apart: Duration) -> usize {
    // Of one after the other by the same, all are between the same two.
    let runs: Vec<_> = answers.chunk_by(|one, next| one.by == next.by).collect();
    let close = |before: &[Answered], after: &[Answered]| {
        before
            .last()
            .zip(after.first())
            .is_some_and(|(before, after)| Duration::from_nanos(after.at_ns.saturating_sub(before.at_ns)) <= apart)
    };
    runs.windows(3).filter(|around| close(around[0], around[2])).map(|around| around[1].len()).sum()
}

fn ask(socket: &OwnedFd, number: usize, target: Ipv4Addr, every: Duration, shared: &Shared) {
    let from = ipv4(number, host_number(Host::Client));
    let mut count = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        for node in Node::BOTH {
            let message = request(target.into(), IDENT, count, realtime_ns());
            let length = u16::try_from(20 + message.len()).unwrap_or_default().to_be_bytes();
            let mut ip = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 1, 0, 0];
            ip.extend([from.octets(), target.octets()].concat());
            let sum = checksum(&ip).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            let to = mac(Host::Controller(node), number);
            let frame = [&to[..], &mac(Host::Client, number), &[8, 0], &ip, &message].concat();
            // A cable that is cut, or no room: then it is the next one.
            let _lost = send(socket.as_raw_fd(), &frame, MsgFlags::empty());
        }
        count += 1;
        thread::sleep(every);
    }
}

fn hear(socket: &OwnedFd, target: Ipv4Addr, shared: &Shared) {
    let mut buffer = [0; 2_048];
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
        let at_ns = stamp.and_then(|at| u64::try_from(at.as_nanos()).ok()).unwrap_or_else(realtime_ns);
        let frame = buffer.get(..length).unwrap_or_default();
        let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]));
        let is_ours = packet.is_some_and(|packet| reply_to_us(packet, IpAddr::V4(target), IDENT).is_some());
        let source = frame.get(6..12).and_then(|source| source.try_into().ok());
        if let Some(by) = source.filter(|_| is_ours).and_then(owner_of) {
            shared.answers.lock().unwrap_or_else(PoisonError::into_inner).push(Answered { by, at_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Vec<Answered> {
        let by = |letter| if letter == 'a' { Node::A } else { Node::B };
        // One a millisecond; a dot is a millisecond without an answer.
        let ms = (0..).step_by(1_000_000);
        ms.zip(text.chars()).filter(|(_, c)| *c != '.').map(|(at_ns, c)| Answered { by: by(c), at_ns }).collect()
    }

    #[test]
    fn only_what_lies_between_two_answers_of_the_others_counts_and_only_where_these_are_close() {
        let apart = Duration::from_millis(5);
        for (text, expected) in [
            ("", 0),
            ("aaaa", 0),
            ("aaabbb", 0),
            // One that is late at a hand-over, on either side.
            ("aaababbb", 2),
            ("ab.....a", 0),
            ("abbbba", 4),
            ("abbbbba", 0),
            ("ababab", 4),
            ("aab....b.a.b", 1),
        ] {
            assert_eq!(between_others(&answers(text), apart), expected, "{text}");
        }
    }
}
