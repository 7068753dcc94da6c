//! What the kernel counted since the last time, told apart: life, handshake, echo, stranger; and the other way, what the agent
//! leaves in its cell. The pulse thread and the simulation use the same. No system call, no allocation, no clock.

use heartbeat_ebpf::{
    echo::Echo,
    layout::{AgentCell, KernelCell, MessageCell, Orders, Outcome, Slot},
    notice::Notice,
    wire::{Message, WORDS},
};

/// Who is told what a drain finds. Times are in ns, of our CLOCK_MONOTONIC.
pub trait Handler {
    /// A heartbeat of the peer that we are paired with, the newest on this channel.
    fn heartbeat(&mut self, message: &Message, arrived_ns: u64);

    /// An authentic message that is not of this pairing. Gives the peer's incarnation that we are paired with from then on.
    fn handshake(&mut self, message: &Message, arrived_ns: u64) -> u64;

    /// The peer's host answered what we asked at `asked_ns`; its agent had given no sign of life for `silent_ns` by then.
    fn echo(&mut self, asked_ns: u64, silent_ns: u64);

    /// The peer's kernel answered a heartbeat of ours in the place of its agent, which is dead or stands still. Authentic, and an
    /// answer to something later than those before on this channel; whose it is, and how old, is for the one who is told.
    fn notice(&mut self, notice: &Notice, arrived_ns: u64);

    /// Heartbeats arrived that are not our peer's: somebody is there whom we cannot read.
    fn stranger(&mut self);
}

/// How much of one channel's slot was seen.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    live: u64,
    handshake: u64,
    answering: u64,
    echo: u64,
    notice: u64,
    strangers: u64,
}

impl Drain {
    /// For a life that begins. What the slot already holds counts as seen, but for the last live message: a peer that was
    /// heard shortly before need not be heard again.
    #[must_use]
    pub fn new(slot: &Slot) -> Self {
        Self {
            live: 0,
            handshake: slot.handshake.version(),
            answering: slot.answering.version(),
            echo: slot.echo.version(),
            notice: slot.notice.version(),
            strangers: strangers(slot),
        }
    }

    /// Everything that is new in the slot. `agent` is the cell that the kernel holds messages against: a new pairing is in it
    /// before anything else is told.
    #[inline]
    pub fn drain(&mut self, slot: &Slot, agent: &AgentCell, handler: &mut impl Handler) {
        // A new pairing first: it makes sense of what follows.
        if let Some((words, arrived_ns)) = changed(&slot.handshake, &mut self.handshake) {
            handshake(&Message::parse(&words), arrived_ns, agent, handler);
        }
        // Last, what names us: whom it is from is then named, and not whoever was recorded.
        if let Some((words, arrived_ns)) = changed(&slot.answering, &mut self.answering) {
            handshake(&Message::parse(&words), arrived_ns, agent, handler);
        }
        if let Some((words, arrived_ns)) = changed(&slot.live, &mut self.live) {
            let message = Message::parse(&words);
            let (own, peer) = (agent.incarnation.get(), agent.peer_incarnation.get());
            if message.incarnation == peer && message.peer_incarnation == own {
                handler.heartbeat(&message, arrived_ns);
            } else {
                // Of an earlier pairing: after a restart, it is what our first message can answer to.
                handshake(&message, arrived_ns, agent, handler);
            }
        }
        if let Some((words, _)) = changed(&slot.echo, &mut self.echo)
            && let Some(echo) = Echo::parse(&words)
            && let Some(silent_ns) = echo.alive_age_ns()
        {
            handler.echo(echo.echo_sent_ns, silent_ns);
        }
        if let Some((words, arrived_ns)) = changed(&slot.notice, &mut self.notice)
            && let Some(notice) = Notice::parse(&words)
        {
            handler.notice(&notice, arrived_ns);
        }
        let strangers = strangers(slot);
        if std::mem::replace(&mut self.strangers, strangers) != strangers {
            handler.stranger();
        }
    }
}

#[inline]
fn handshake(message: &Message, arrived_ns: u64, agent: &AgentCell, handler: &mut impl Handler) {
    agent.peer_incarnation.set(handler.handshake(message, arrived_ns));
}

/// The words of a record and when they came, where they are others than last time.
#[inline]
fn changed(record: &MessageCell, version: &mut u64) -> Option<([u64; WORDS], u64)> {
    let current = record.version();
    if current == *version {
        return None;
    }
    let read = record.read()?;
    // Whatever was written after `current` shows up as another version next time.
    *version = current;
    Some(read)
}

/// Heartbeats that are not our peer's.
#[inline]
fn strangers(slot: &Slot) -> u64 {
    [Outcome::WrongPair, Outcome::WrongChannel, Outcome::SameNode, Outcome::WrongTag]
        .into_iter()
        .map(|outcome| slot.counted(outcome))
        .sum()
}

/// What the agent leaves in its cell at each turn, before it says or does anything: what the kernel holds messages against,
/// and what a next life may resume.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The peer's incarnation that we are paired with.
    pub peer_incarnation: u64,
    /// The groups that the next life may go on with.
    pub owned: u64,
    /// The groups of which a hook may have left something here.
    pub hooked: u64,
    /// What the peer said last of maintenance and of leaving, and of which groups it could not let go.
    pub peer_flags: u64,
    /// See `peer_flags`.
    pub peer_kept: u64,
    /// Since when exclusive groups have been to be let go of; 0: none are.
    pub letting_go_ns: u64,
    /// The groups that are here by an operator's order, whatever the silent peer has.
    pub forced: u64,
    /// When the silent peer was fenced; 0: it was not.
    pub fenced_ns: u64,
    /// Our term.
    pub term: u64,
    /// Now, on CLOCK_MONOTONIC.
    pub alive_ns: u64,
    /// When the peer can last have said what was heard, likewise; of what the XDP program sees, it has noted that itself.
    pub heard_ns: u64,
    /// What the kernel is to do when the agent cannot.
    pub orders: KernelOrders,
}

/// What the kernel is told at each turn ([`Orders`]).
#[derive(Clone, Copy, Debug)]
pub struct KernelOrders {
    /// The groups of which something is in place here, or is about to be.
    pub active: u64,
    /// The groups that it is no longer to keep silent about; of these, those that it did before the drain, for which the peer may
    /// since have said something else, are opened.
    pub open: u64,
    /// The groups that it is to keep silent about from now on.
    pub shut: u64,
    /// What it kept silent about before the drain.
    pub closed: u64,
    /// The peer works, and would take over if it heard nothing.
    pub peer_good: bool,
    /// So long after the last of both, sign of life and heartbeat of the peer, silence sets in; 0: never.
    pub lease_ns: u64,
    /// The groups that may be served until `serve_until_ns` only; 0 is for ever.
    pub limited: u64,
    /// See `limited`.
    pub serve_until_ns: u64,
    /// The peer's list of names that `places` is of, once it is known.
    pub peer_names: Option<u32>,
    /// Where each of our groups stands in it, or [`Orders::NOWHERE`].
    pub places: [u8; 64],
}

impl KernelOrders {
    fn leave(&self, kernel: &KernelCell) {
        let orders = &kernel.orders;
        kernel.closed.clear_bits(self.open & self.closed & !self.shut);
        if self.shut != 0 {
            kernel.closed.set_bits(self.shut);
        }
        orders.active.set(self.active);
        orders.peer_good.set(self.peer_good.into());
        orders.lease_ns.set(self.lease_ns);
        if self.serve_until_ns == 0 {
            // The end last, when there is one; first, when there is none any more.
            orders.serve_until_ns.set(0);
        }
        orders.limited.set(self.limited);
        orders.serve_until_ns.set(self.serve_until_ns);
        // Nothing is translated by a list that is being written.
        orders.peer_names.set(0);
        for (to, places) in orders.places.iter().zip(self.places.chunks_exact(8)) {
            to.set(places.iter().rev().fold(0, |word, place| word << 8 | u64::from(*place)));
        }
        orders.peer_names.set(self.peer_names.map_or(0, |digest| Orders::KNOWN | u64::from(digest)));
    }
}

impl Mark {
    /// Writes it. The sign of life comes last: whoever believes that believes the rest.
    #[inline]
    pub fn leave(&self, agent: &AgentCell, kernel: &KernelCell) {
        self.orders.leave(kernel);
        agent.peer_incarnation.set(self.peer_incarnation);
        agent.owned.set(self.owned);
        agent.hooked.set(self.hooked);
        agent.peer_flags.set(self.peer_flags);
        agent.peer_kept.set(self.peer_kept);
        agent.letting_go_ns.set(self.letting_go_ns);
        agent.forced.set(self.forced);
        agent.fenced_ns.set(self.fenced_ns);
        agent.term.set(self.term);
        agent.alive_ns.set(self.alive_ns);
        if self.heard_ns > kernel.heard_ns.get() {
            kernel.heard_ns.set(self.heard_ns);
        }
    }

    /// A life of its own number begins: from here on the kernel counts for it, and what names an earlier one serves the
    /// handshake. `peer_incarnation` is what that life was paired with, if this one resumes it, else 0.
    pub fn begin(agent: &AgentCell, incarnation: u64, peer_incarnation: u64) {
        agent.incarnation.set(incarnation);
        agent.peer_incarnation.set(peer_incarnation);
    }
}

#[cfg(test)]
mod tests;
