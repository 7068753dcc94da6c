//! What the pulse thread waits for, and how messages get out and in: sockets, serial lines, disks, interfaces. Nothing here waits
//! for anything but the next deadline.

use super::{Opened, Port, Pulse, Report};
use crate::{
    core::SocketResult,
    dataplane::{
        DiskNews, Disks, Opener,
        socket::{Batch, HeartbeatSocket},
    },
    system::{
        clock,
        link::Links,
        waiter::{Ready, Waiter},
    },
    types::{ChannelIndex, Link, Nanos},
};
use heartbeat_ebpf::{
    echo::{self, Echo},
    layout::{AgentCell, Outcome},
    receive,
    verify::{Expected, Received},
    wire::{LEN, View},
};
use std::io;

/// Interfaces are looked at this often where nothing is told of them; absent ones are looked for.
const LOOK_EVERY: Nanos = Nanos::from_millis(1_000);
/// Most batches of datagrams taken from a channel at once: a flood must not keep the thread from sending.
const MOST_BATCHES: usize = 8;

/// Numbers of what is waited for; channels have their own, below 64.
const BELL: u8 = 64;
const DOORBELL: u8 = 65;
const LINKS: u8 = 66;
const LINES: u8 = 67;
const DISKS: u8 = 68;

/// What the thread waits for, and what it reads with.
pub struct Transport {
    waiter: Waiter,
    /// The interfaces of the channels.
    pub links: Links,
    lines: Option<Opener>,
    disks: Option<Disks>,
    batch: Box<Batch>,
    ready: Ready,
    /// When sockets were looked at last.
    drained_at: Nanos,
    looked_at: Nanos,
}

impl Transport {
    /// For these interfaces, and these serial lines and disks if there are any.
    ///
    /// # Errors
    /// When the process has no more descriptors.
    pub fn new(links: Links, lines: Option<Opener>, disks: Option<Disks>) -> io::Result<Self> {
        let now = clock::monotonic();
        Ok(Self {
            waiter: Waiter::new()?,
            links,
            lines,
            disks,
            batch: Box::new(Batch::new()),
            ready: Ready::default(),
            drained_at: now,
            looked_at: now,
        })
    }
}

impl Pulse {
    /// From here on, what is there from the start is waited for.
    pub(super) fn watch(&self) -> io::Result<()> {
        let Transport { waiter, links, lines, disks, .. } = &self.transport;
        waiter.add(&self.bell, BELL)?;
        if let Some(doorbell) = &self.doorbell {
            waiter.add(doorbell, DOORBELL)?;
        }
        waiter.add(links, LINKS)?;
        lines.as_ref().map_or(Ok(()), |lines| waiter.add(lines.bell(), LINES))?;
        disks.as_ref().map_or(Ok(()), |disks| waiter.add(disks.bell(), DISKS))
    }

    /// Whether anything but the time woke us.
    pub(super) fn wait(&mut self, deadline: Nanos) -> io::Result<bool> {
        let ready = self.transport.waiter.wait(deadline)?;
        self.transport.ready = ready;
        if ready.has(BELL) {
            self.bell.silence();
        }
        if ready.has(DOORBELL)
            && let Some(doorbell) = &mut self.doorbell
        {
            // What changed is in the slots.
            while doorbell.next().is_some() {}
        }
        Ok(ready.any())
    }

    /// What no XDP program has consumed: the same checks, here.
    pub(super) fn receive(&mut self, channel: ChannelIndex, now: Nanos) {
        let i = channel.usize();
        let Transport { batch, ready, drained_at, .. } = &mut self.transport;
        let c = &mut self.channels[i];
        let (slot, histogram) = (self.tables.slot(channel), self.tables.inter_arrival(channel));
        let expected = Expected { channel_id: slot.channel_id.get() as u32, ..self.expected };
        let keys = self.keys;
        let key = move |id: u8| keys.get(usize::from(id)).copied().flatten();
        let agent = self.tables.agent();
        let (mut answer, mut unseen) = (None, false);
        let received = match &mut c.opened {
            Some(Opened::Line(line)) => line
                .receive(|message| {
                    let message = message.map(View::new);
                    let received = receive::receive(message, expected, agent, key, slot, histogram, || now.0);
                    answer = answer.or_else(|| owed(received, message, expected, agent, now));
                })
                .and_then(|()| line.flush_pending().map(drop)),
            Some(Opened::Socket(socket)) if ready.has(channel.0) => (|| {
                for _ in 0..MOST_BATCHES {
                    let datagrams = socket.receive(batch)?;
                    let (realtime, oldest) = (clock::realtime_ns(), now.since(*drained_at).0);
                    for datagram in datagrams {
                        let message = datagram.message().map(View::new);
                        let arrived = now.0.saturating_sub(age(datagram.stamp_ns, realtime, oldest));
                        let received = receive::receive(message, expected, agent, key, slot, histogram, || arrived);
                        answer = answer.or_else(|| owed(received, message, expected, agent, now));
                        unseen |= received.outcome == Outcome::Accepted && arrived > c.xdp_since.0;
                    }
                    if datagrams.len() < Batch::LEN {
                        break;
                    }
                }
                Ok(())
            })(),
            _ => return,
        };
        if unseen && !c.by_socket {
            c.by_socket = self.reports.try_send(Report::Unseen(channel)).is_ok();
            self.control.ring();
        }
        if let Err(e) = received {
            self.core.handle_socket(now, channel, failed(&e));
        } else if let Some(answer) = answer {
            self.echo(channel, &answer);
        }
    }

    /// All channels were looked at.
    pub(super) const fn drained(&mut self, now: Nanos) {
        self.transport.drained_at = now;
    }

    /// The control side has attached the program to a channel's interface, or not.
    pub(super) fn attached(&mut self, channel: ChannelIndex, by_socket: bool) {
        let c = &mut self.channels[channel.usize()];
        (c.by_socket, c.xdp_since) = (by_socket, clock::monotonic());
    }

    pub(super) fn look_at_links(&mut self, now: Nanos) {
        let transport = &mut self.transport;
        let (told, new_members) = transport.links.take_notices();
        let thorough = now.since(transport.looked_at) >= LOOK_EVERY;
        let all = thorough || self.core.silence_is_due(now);
        // Whoever is on note was heard since then, and perhaps not later.
        let noted_since = transport.looked_at;
        if thorough {
            transport.looked_at = now;
        }
        let mut rings = false;
        for i in 0..self.channels.len() {
            let channel = ChannelIndex(i as u8);
            if all || told & channel.bit() != 0 {
                // Of a line, only what arrives on it says whether it works: a cable of three wires has no carrier.
                let Some(link) = transport.links.look(channel, thorough) else { continue };
                // One that finds no room is sent with the next look.
                rings |= thorough && link == Link::Absent && self.reports.try_send(Report::Seek(channel)).is_ok();
                self.core.handle_link(now, channel, link);
            }
            if new_members & channel.bit() != 0 {
                rings |= self.reports.try_send(Report::NewMember(channel)).is_ok();
            }
        }
        if thorough {
            let heard = self.tables.third_parties();
            for i in (0..self.channels.len()).filter(|i| heard >> i & 1 == 1) {
                self.core.handle_third_party(noted_since, ChannelIndex(i as u8));
            }
        }
        if rings {
            self.control.ring();
        }
    }

    pub(super) fn open(&mut self, channel: ChannelIndex, now: Nanos) {
        let Transport { waiter, links, lines, disks, .. } = &mut self.transport;
        let c = &mut self.channels[channel.usize()];
        let opened = match &c.port {
            Port::Interface(ends) => {
                let index = match links.look(channel, false) {
                    Some(Link::Present { index, .. }) => index,
                    _ => 0,
                };
                HeartbeatSocket::open(ends, index).and_then(|socket| {
                    waiter.add(&socket, channel.0)?;
                    Ok(socket)
                })
            }
            // It is told when that is done.
            Port::Line => match lines.as_ref().map(|lines| lines.open(channel.0)) {
                Some(Err(e)) => Err(e),
                _ => return,
            },
            Port::Disk => match disks.as_mut().map(|disks| disks.open(channel.0, now)) {
                Some(Err(e)) => Err(e),
                _ => return,
            },
        };
        let result = match opened {
            Ok(opened) => {
                c.opened = Some(Opened::Socket(opened));
                if std::mem::take(&mut c.unattached) {
                    self.attach_pending |= channel.bit();
                }
                SocketResult::Opened
            }
            Err(e) => failed(&e),
        };
        self.core.handle_socket(now, channel, result);
    }

    /// Lines that were opened meanwhile.
    pub(super) fn take_lines(&mut self, now: Nanos) {
        let Transport { waiter, lines: Some(lines), ready, .. } = &mut self.transport else { return };
        if !ready.has(LINES) {
            return;
        }
        lines.bell().silence();
        while let Some((number, opened)) = lines.take() {
            let channel = ChannelIndex(number);
            let result = match opened {
                Ok(line) => {
                    let watched = waiter.add(&line, number);
                    self.channels[channel.usize()].opened = Some(Opened::Line(line));
                    watched.map_or_else(|e| failed(&e), |()| SocketResult::Opened)
                }
                Err(e) => failed(&e),
            };
            self.core.handle_socket(now, channel, result);
        }
    }

    /// What became of disks meanwhile, and what came from them.
    pub(super) fn take_disks(&mut self, now: Nanos) {
        let Transport { disks: Some(disks), ready, .. } = &self.transport else { return };
        if !ready.has(DISKS) {
            return;
        }
        disks.bell().silence();
        while let Some((number, news)) = self.transport.disks.as_ref().and_then(Disks::take) {
            let channel = ChannelIndex(number);
            let result = match news {
                DiskNews::Opened => {
                    self.channels[channel.usize()].opened = Some(Opened::Disk);
                    SocketResult::Opened
                }
                DiskNews::Sent => SocketResult::Sent,
                DiskNews::Heard(message, at) => {
                    self.admit(channel, message.as_ref().map(View::new), at);
                    continue;
                }
                DiskNews::Failed(errno, why) => {
                    if let Some(why) = why
                        && self.reports.try_send(Report::DiskFailed(channel, why)).is_ok()
                    {
                        self.control.ring();
                    }
                    SocketResult::Failed(errno)
                }
            };
            self.core.handle_socket(now, channel, result);
        }
    }

    /// A message that came by a disk. What asks for an answer gets none there: it would be too late.
    fn admit(&self, channel: ChannelIndex, message: Option<View<'_>>, at: Nanos) {
        let (slot, histogram) = (self.tables.slot(channel), self.tables.inter_arrival(channel));
        let expected = Expected { channel_id: slot.channel_id.get() as u32, ..self.expected };
        let key = |id: u8| self.keys.get(usize::from(id)).copied().flatten();
        receive::receive(message, expected, self.tables.agent(), key, slot, histogram, || at.0);
    }

    pub(super) fn close(&mut self, channel: ChannelIndex, now: Nanos) {
        let Transport { waiter, lines, disks, .. } = &mut self.transport;
        match self.channels[channel.usize()].opened.take() {
            Some(Opened::Line(line)) => {
                waiter.remove(&line);
                if let Some(lines) = lines {
                    lines.close(channel.0, line);
                }
            }
            Some(Opened::Disk) => {
                if let Some(disks) = disks {
                    disks.close(channel.0, now);
                }
            }
            // Closing a socket takes it out of what is waited for.
            Some(Opened::Socket(_)) | None => {}
        }
    }

    pub(super) fn send(&mut self, channel: ChannelIndex, now: Nanos) {
        let Some(message) = self.core.message(now, channel) else { return };
        let Some(opened) = &mut self.channels[channel.usize()].opened else { return };
        let mut buffer = [0; LEN];
        let key = self.keys.get(usize::from(message.key_id)).copied().flatten();
        message.emit(key.expect("the key that signs is one of ours"), &mut buffer);
        let sent = match opened {
            Opened::Socket(socket) => socket.send(&buffer),
            Opened::Line(line) => line.send(&buffer),
            // It is told when that is done.
            Opened::Disk => match self.transport.disks.as_mut().map(|disks| disks.send(channel.0, &buffer, now)) {
                Some(Err(e)) => {
                    self.tell_hanging(channel);
                    Err(e)
                }
                _ => return,
            },
        };
        let result = match sent {
            Ok(true) => SocketResult::Sent,
            Ok(false) => SocketResult::Full,
            Err(e) => failed(&e),
        };
        self.core.handle_socket(now, channel, result);
    }

    /// One that does not get out is lost: the next one follows within an interval.
    pub(super) fn echo(&mut self, channel: ChannelIndex, echo: &Echo) {
        let mut buffer = [0; LEN];
        let key = self.keys.get(usize::from(echo.key_id)).copied().flatten();
        let (Some(key), Some(opened)) = (key, &mut self.channels[channel.usize()].opened) else { return };
        echo.emit(key, &mut buffer);
        let _ = match opened {
            Opened::Socket(socket) => socket.send(&buffer),
            Opened::Line(line) => line.send(&buffer),
            Opened::Disk => return,
        };
    }

    /// A disk's thread has not returned in time.
    fn tell_hanging(&self, channel: ChannelIndex) {
        if self.reports.try_send(Report::DiskHangs(channel)).is_ok() {
            self.control.ring();
        }
    }
}

fn failed(error: &io::Error) -> SocketResult {
    SocketResult::Failed(error.raw_os_error().unwrap_or(libc::EIO))
}

/// How old a datagram is, by the kernel's stamp of it. One that came after the last look, `oldest_ns` ago, cannot be older than
/// that, whatever the clock was set to.
fn age(stamp_ns: Option<u64>, realtime_ns: u64, oldest_ns: u64) -> u64 {
    stamp_ns.map_or(0, |stamp| realtime_ns.saturating_sub(stamp).min(oldest_ns))
}

/// What the peer is owed where XDP does not answer for us: at most one answer a turn, so that echoes cannot hold us up.
fn owed(
    received: Received,
    message: Option<View<'_>>,
    expected: Expected,
    agent: &AgentCell,
    now: Nanos,
) -> Option<Echo> {
    let request = message.filter(|_| received.outcome == Outcome::EchoRequest)?;
    Some(echo::answer(request, expected, agent, now.0))
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn no_datagram_is_older_than_the_last_look_whatever_the_clock_was_set_to() {
        const OLDEST: u64 = 50_000_000;
        const STEP: u64 = 2_000_000_000;
        let (stamp, now) = (10 * STEP, 10 * STEP + 300);
        assert_eq!(age(Some(stamp), now, OLDEST), 300);
        assert_eq!(age(Some(stamp), now + STEP, OLDEST), OLDEST, "set forward meanwhile");
        assert_eq!(age(Some(stamp), now - STEP, OLDEST), 0, "set back meanwhile");
        assert_eq!(age(None, now, OLDEST), 0, "it has no stamp");
    }
}
