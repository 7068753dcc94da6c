//! The kernel's part of one controller, as the XDP program plays it: admission, records, replay window. It outlives the
//! agent; only a loss of power clears it.

use heartbeat::core::Nanos;
use heartbeat_ebpf::wire::Message;

/// A record: what was stored last, and how often something was.
#[derive(Clone, Copy, Default)]
pub struct Record {
    pub message: Message,
    pub arrived: Nanos,
    pub version: u64,
}

impl Record {
    fn store(&mut self, message: Message, arrived: Nanos) {
        *self = Self { message, arrived, version: self.version + 1 };
    }

    /// The message, where it is another one than last time.
    pub fn news(&self, version: &mut u64) -> Option<(Message, Nanos)> {
        (std::mem::replace(version, self.version) != self.version).then_some((self.message, self.arrived))
    }
}

#[derive(Clone, Default)]
pub struct Slot {
    pub live: Record,
    pub handshake: Record,
    pub strangers: u64,
    window_of: u64,
    highest: u64,
    window: u64,
}

/// The agent's cell.
#[derive(Clone, Copy, Default)]
pub struct Cell {
    pub incarnation: u64,
    pub peer_incarnation: u64,
    pub alive: Nanos,
    pub owned: u64,
    pub term: u64,
}

impl Slot {
    /// As `admit::receive`. Whether the doorbell rings.
    pub fn receive(&mut self, cell: &Cell, node: u8, message: Message, now: Nanos) -> bool {
        if message.node == node {
            self.strangers += u64::from(message.incarnation != cell.incarnation);
            return false;
        }
        if message.peer_incarnation != cell.incarnation || message.incarnation != cell.peer_incarnation {
            self.handshake.store(message, now);
            return false;
        }
        if self.window_of != message.incarnation {
            (self.window_of, self.highest, self.window) = (message.incarnation, message.sequence, u64::MAX);
            self.live.store(message, now);
            return true;
        }
        if message.sequence <= self.highest {
            let age = self.highest - message.sequence;
            if age < 64 {
                self.window |= 1 << age;
            }
            return false;
        }
        let step = message.sequence - self.highest;
        self.window = if step < 64 { self.window << step | 1 } else { 1 };
        self.highest = message.sequence;
        let public = |m: &Message| (m.flags, m.interval_us, m.owned, m.wanted, m.term);
        let news = public(&self.live.message) != public(&message);
        self.live.store(message, now);
        news
    }
}
