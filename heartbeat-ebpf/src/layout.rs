//! The records in the maps, field by field. All fields are atomics: the kernel writes while the agent reads the same memory
//! (array maps with `BPF_F_MMAPABLE`), so a drain costs no system call.
//!
//! Who writes what: [`Slot`] and [`Histogram`], the XDP program (or, for a channel without XDP, the pulse thread);
//! [`AgentCell`] and [`Orders`], the pulse thread alone; the rest of [`KernelCell`], the programs, but that the agent closes and opens
//! groups as it decides, and notes when the peer was heard by channels that no program sees.

use crate::{frame::Address, histogram, machine::Word, wire};

/// Changes with every change of these records: maps pinned under another version are not adopted.
pub const VERSION: u32 = 4;
/// The most channels.
pub const CHANNELS: u32 = 64;
/// The most service addresses: as many as the groups of two files can have, while one follows the other.
pub const ADDRESSES: u32 = 4096;
/// The most places where channels end: of an interface that has members, each member too. Room for those of interfaces that
/// are made anew before the old ones are taken away.
pub const ENDS: u32 = 1024;
/// Interfaces of which it is noted who is heard there; two whose indices differ by a multiple of it share a note.
pub const INTERFACES: u32 = 1024;

/// Names of the maps in the object, and of their pins.
pub mod map {
    /// Array of one [`super::AgentCell`].
    pub const AGENT: &str = "AGENT";
    /// Hash map from [`super::End`] to `u32`, the channel.
    pub const CHANNEL_OF: &str = "CHANNEL_OF";
    /// Ring buffer of `u32`: channels on which the peer's public state changed.
    pub const DOORBELL: &str = "DOORBELL";
    /// Hash map from [`crate::frame::Address`], a service address, to `u64`: its groups, a bit each.
    pub const GUARDED: &str = "GUARDED";
    /// Array of [`super::Heard`], by the interface's index modulo [`super::INTERFACES`].
    pub const HEARD: &str = "HEARD";
    /// Array of [`super::Histogram`], one a channel.
    pub const INTER_ARRIVAL: &str = "INTER_ARRIVAL";
    /// Array of one [`super::KernelCell`].
    pub const KERNEL: &str = "KERNEL";
    /// Array of two [`crate::siphash::Key`]s, by `key_id`.
    pub const KEYS: &str = "KEYS";
    /// Array of [`super::Slot`], one a channel.
    pub const SLOTS: &str = "SLOTS";
}

/// Names of the program's read-only settings, and of the program itself.
pub mod program {
    /// The XDP program.
    pub const NAME: &str = "heartbeat";
    /// The one that passes everything, for measuring.
    pub const EMPTY: &str = "empty";
    /// The same for tc.
    pub const EMPTY_TC: &str = "empty_tc";
    /// The tc program for what leaves.
    pub const OUTGOING: &str = "heartbeat_out";
    /// The tc program for what comes in where the XDP program is not.
    pub const INCOMING: &str = "heartbeat_in";
    /// The one at the kernel's raw tracepoint `sched_process_exit`.
    pub const DEATH: &str = "heartbeat_death";
    /// `u16`: the UDP port.
    pub const PORT: &str = "PORT";
    /// `u32`: the pair.
    pub const PAIR_ID: &str = "PAIR_ID";
    /// `u8`: our own node, 0 = a, 1 = b.
    pub const NODE: &str = "NODE";
}

/// Where a channel ends on this controller: what tells our heartbeats from everybody else's, also on a host that forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct End {
    /// Index of the interface that it arrives on.
    pub interface: u32,
    /// Always 0.
    pub zero: u32,
    /// Our address there.
    pub address: Address,
}

/// What happened to a message for one of our channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Life: authentic, fresh, new.
    Accepted,
    /// Authentic, but not of this pairing: serves the handshake only.
    Handshake,
    /// Not a heartbeat: too short, too long, another magic, version or kind.
    Malformed,
    /// Another pair's.
    WrongPair,
    /// For another channel than the one it arrived on.
    WrongChannel,
    /// Our own, come back.
    Reflected,
    /// Another controller's with our letter.
    SameNode,
    /// The tag is not that of our key.
    WrongTag,
    /// Seen before, or older than the window of 64.
    Replayed,
    /// Authentic and fresh, but another processor was at the slot: lost, as on the wire.
    Busy,
    /// An authentic echo request, answered.
    EchoRequest,
    /// An authentic echo reply to what we asked in this life, and later than those before: on record.
    EchoReply,
    /// An authentic echo of no use: a request that came again, too soon after another, or in a frame that cannot be turned
    /// round; a reply that came again, or to what was asked in another life.
    EchoIgnored,
    /// An authentic notice that answers a heartbeat of ours of this life, and a later one than those before: on record.
    Notice,
    /// An authentic notice of no use: one that came again, or answers what was said in another life.
    NoticeIgnored,
}

impl Outcome {
    /// The number of outcomes.
    pub const COUNT: usize = 15;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Accepted,
        Self::Handshake,
        Self::Malformed,
        Self::WrongPair,
        Self::WrongChannel,
        Self::Reflected,
        Self::SameNode,
        Self::WrongTag,
        Self::Replayed,
        Self::Busy,
        Self::EchoRequest,
        Self::EchoReply,
        Self::EchoIgnored,
        Self::Notice,
        Self::NoticeIgnored,
    ];

    /// Whether such messages are turned away.
    #[must_use]
    pub const fn is_reject(self) -> bool {
        !matches!(self, Self::Accepted | Self::Handshake | Self::EchoRequest | Self::EchoReply | Self::Notice)
    }

    /// Its name in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Handshake => "handshake",
            Self::Malformed => "malformed",
            Self::WrongPair => "wrong_pair",
            Self::WrongChannel => "wrong_channel",
            Self::Reflected => "reflected",
            Self::SameNode => "same_node",
            Self::WrongTag => "wrong_tag",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
            Self::EchoRequest => "echo_request",
            Self::EchoReply => "echo_reply",
            Self::EchoIgnored => "echo_ignored",
            Self::Notice => "notice",
            Self::NoticeIgnored => "notice_ignored",
        }
    }
}

/// The last message of one sort, guarded by a sequence lock: odd while it is being written.
#[derive(Default)]
#[repr(C)]
pub struct MessageCell {
    guard: Word,
    stamp_ns: Word,
    words: [Word; wire::WORDS],
}

/// What one channel received. Zeroes are a channel that heard nothing.
#[derive(Default)]
#[repr(C)]
pub struct Slot {
    /// The id of the name of the channel that it is of: messages of others are not for it. Written by the agent.
    pub channel_id: Word,
    /// The last accepted message.
    pub live: MessageCell,
    /// The last authentic message that was not of this pairing and did not name us either: perhaps a recording.
    pub handshake: MessageCell,
    /// Of those that name us as we are now, the one that answers to the latest that we said: no recording outdoes the peer.
    pub answering: MessageCell,
    /// Always 0: what follows begins a line of the cache.
    pub gap: [u64; 5],
    /// Messages that the peer sent and we never accepted, by their sequence numbers (P2).
    pub missing: Word,
    /// The incarnation that the window is of.
    pub window_of: Word,
    /// The highest sequence number accepted.
    pub highest: Word,
    /// Bit `i`: sequence number `highest - i` was accepted.
    pub window: Word,
    /// How many messages met each [`Outcome`]. `Accepted`, M6's and P2's "received", is in the window's line of the cache.
    pub outcomes: [Word; Outcome::COUNT],
    /// The last echo request answered: of the peer that we are paired with, and of any other.
    pub answered: [Answered; 2],
    /// The last echo reply accepted.
    pub echo: MessageCell,
    /// The last notice accepted.
    pub notice: MessageCell,
    /// When a stranger's heartbeat was last answered with a notice, on our CLOCK_MONOTONIC.
    pub noticed_ns: Word,
    /// When a heartbeat that did not name us last rang, on our CLOCK_MONOTONIC; 0 where only a program before this wrote the slot.
    pub rang_ns: Word,
    /// Always 0: keeps slots apart in the cache.
    pub zero: [u64; 1],
}

/// The echo request that was answered last: what no request may repeat, nor follow too soon.
#[derive(Default)]
#[repr(C)]
pub struct Answered {
    /// The incarnation of who asked; 0 before.
    pub incarnation: Word,
    /// Its `sent_ns`, on the clock of who asked.
    pub sent_ns: Word,
    /// When it was answered, on our CLOCK_MONOTONIC.
    pub at_ns: Word,
}

/// The agent's cell: who we are, whom we are paired with, and its last sign of life.
#[derive(Default)]
#[repr(C)]
pub struct AgentCell {
    /// Our incarnation; 0 while no agent has run.
    pub incarnation: Word,
    /// The peer's that we are paired with; 0 before.
    pub peer_incarnation: Word,
    /// When the agent last gave a sign of life, on CLOCK_MONOTONIC.
    pub alive_ns: Word,
    /// The groups that it held, a bit each, in the order of the file that it ran with.
    pub owned: Word,
    /// Its term: the peer's kernel and its own obey the higher one.
    pub term: Word,
    /// The groups whose hooks may have left something in use: from the start of the first to the success of the last.
    pub hooked: Word,
    /// The flags that the peer said last ([`wire::flags`]).
    pub peer_flags: Word,
    /// The groups that the peer could not let go of when it left, in our order.
    pub peer_kept: Word,
    /// Since when, by the peer's count, exclusive groups have been to be let go of, on CLOCK_MONOTONIC; 0: none are.
    pub letting_go_ns: Word,
    /// The groups that an operator ordered to be here whatever the silent peer has.
    pub forced: Word,
    /// When the silent peer was fenced, on CLOCK_MONOTONIC; 0: it was not.
    pub fenced_ns: Word,
}

/// What the kernel does about the groups when the agent cannot ([`crate::guard`]).
#[derive(Default)]
#[repr(C)]
pub struct KernelCell {
    /// The groups for which it keeps silent, a bit each, in the order of the file that the agent runs with. The XDP program and the
    /// agent set bits; the agent alone clears them.
    pub closed: Word,
    /// When the peer can last have said what was accepted, on whichever channel, on our CLOCK_MONOTONIC.
    pub heard_ns: Word,
    /// The incarnation that died; 0 before. Who has another one lives.
    pub dead_of: Word,
    /// When it died, on our CLOCK_MONOTONIC.
    pub dead_ns: Word,
    /// Always 0: what follows begins a line of the cache.
    pub gap: [u64; 4],
    /// What the agent told it before.
    pub orders: Orders,
    /// Always 0: what follows begins a line of the cache.
    pub rest: [u64; 4],
    /// Of what is not in it, [`map::GUARDED`] has nothing.
    pub filter: Filter,
}

/// A set of addresses: what is not in it is told within a few ns. A Bloom filter of which each address has one word, chosen by its
/// [`Address::print`], and two bits of that (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters", 2007).
#[repr(C)]
pub struct Filter {
    /// The bits.
    pub words: [Word; FILTER],
}

/// Words of a [`Filter`], 2^9: of a thousand addresses, one frame of others in two hundred or more is looked up; of 256, one in five
/// hundred to two thousand.
pub const FILTER: usize = 512;

impl Filter {
    /// Whether an address may be in it.
    #[inline(always)]
    #[must_use]
    pub fn may_have(&self, address: &Address) -> bool {
        let (word, bits) = Self::place(address);
        self.words[word].get() & bits == bits
    }

    /// The word of an address, and its bits there: by bits of the print far below the word's, for of addresses in a row some have
    /// nearly the same upper ones.
    #[inline(always)]
    const fn place(address: &Address) -> (usize, u64) {
        let print = address.print();
        ((print >> 55) as usize % FILTER, 1 << (print >> 40 & 63) | 1 << (print >> 34 & 63))
    }

    /// Adds addresses.
    #[cfg(not(target_arch = "bpf"))]
    pub fn add<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>) {
        for (word, bits) in addresses.into_iter().map(Self::place) {
            self.words[word].set_bits(bits);
        }
    }

    /// Makes these the only ones, without missing any that it had and is to have.
    #[cfg(not(target_arch = "bpf"))]
    pub fn set<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>) {
        let only = Self::default();
        only.add(addresses);
        self.words.iter().zip(&only.words).for_each(|(to, from)| to.set(from.get()));
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self { words: [const { Word::new(0) }; FILTER] }
    }
}

/// What the agent tells the kernel for the time when it cannot.
#[derive(Default)]
#[repr(C)]
pub struct Orders {
    /// The groups of which something is in place here, or is about to be; [`AgentCell::owned`] are those that a next life may resume.
    pub active: Word,
    /// Not 0: the peer works, and would take over if it heard nothing. Else nobody does, and there is no lease.
    pub peer_good: Word,
    /// So long after the last of both, sign of life and heartbeat of the peer, silence sets in, in ns; 0: never.
    pub lease_ns: Word,
    /// Groups that may be served until `serve_until_ns` only.
    pub limited: Word,
    /// On our CLOCK_MONOTONIC; 0: for ever.
    pub serve_until_ns: Word,
    /// An agent that has given no sign of life for longer cannot decide for itself, in ns; 0: it always can.
    pub late_ns: Word,
    /// For so long the peer is asked to wait for an agent that died, in ms.
    pub grace_ms: Word,
    /// Tells our own list of names from others.
    pub names_digest: Word,
    /// The list of names that `places` is of, and [`Orders::KNOWN`]; 0 before one is known.
    pub peer_names: Word,
    /// The pulse thread, in its pid namespace; 0: none. Of one that starts, the thread that starts it.
    pub thread: Word,
    /// The device and the inode of that namespace.
    pub namespace: [Word; 2],
    /// Where each of our groups stands in the peer's list, a byte each, 64 and above where it does not or that is not known.
    pub places: [Word; 8],
}

impl Orders {
    /// Bit of `peer_names`.
    pub const KNOWN: u64 = 1 << 32;
    /// Of `places`: not in the list, or not known to be.
    pub const NOWHERE: u8 = u8::MAX;
}

/// Who else is on an interface's network: what XDP notes by the way.
#[derive(Default)]
#[repr(C)]
pub struct Heard {
    /// Not 0: since the agent set it to 0, a frame came in that was not the peer's.
    pub others: Word,
    /// The Ethernet address that the peer's last accepted heartbeat came from, in memory order; 0 before.
    pub peer: Word,
}

/// Times between accepted heartbeats of one channel.
#[repr(C)]
pub struct Histogram {
    /// The counts by [`histogram::bucket`].
    pub counts: [Word; histogram::BUCKETS],
}

const _: () = {
    assert!(size_of::<End>() == 24);
    assert!(size_of::<MessageCell>() == 176);
    assert!(size_of::<Answered>() == 24);
    assert!(size_of::<Slot>() == 1152 && size_of::<Slot>().is_multiple_of(64));
    assert!(size_of::<AgentCell>() == 88);
    assert!(size_of::<KernelCell>() == 256 + 8 * FILTER && core::mem::offset_of!(KernelCell, orders) == 64);
    assert!(core::mem::offset_of!(KernelCell, filter) == 256);
    assert!(size_of::<Histogram>() == 8 * histogram::BUCKETS);
    assert!(core::mem::offset_of!(Slot, outcomes) == 608 && core::mem::offset_of!(Slot, missing) == 576);
    assert!(core::mem::offset_of!(Slot, echo) == 776);
};

impl MessageCell {
    /// Takes the writer's place; false where another processor has it.
    #[inline(always)]
    pub fn lock(&self) -> bool {
        let guard = self.guard.get();
        guard & 1 == 0 && self.guard.replace(guard, guard + 1)
    }

    /// Gives the writer's place back.
    #[inline(always)]
    pub fn unlock(&self) {
        self.guard.add_and_order(1);
    }

    /// Makes a record readable again whose writer died within: only while no writer can be at work.
    pub fn repair(&self) {
        if self.guard.get() & 1 == 1 {
            self.unlock();
        }
    }

    /// Writes message and time of arrival; the caller holds the writer's place.
    #[inline(always)]
    pub fn store(&self, message: wire::View<'_>, stamp_ns: u64) {
        self.stamp_ns.set(stamp_ns);
        let mut i = 0;
        while i < wire::WORDS {
            self.words[i].set(message.word(i));
            i += 1;
        }
    }

    /// The time of arrival, for the writer.
    #[inline(always)]
    pub fn stamp_ns(&self) -> u64 {
        self.stamp_ns.get()
    }

    /// A field's word, for the writer.
    #[inline(always)]
    pub fn word(&self, i: usize) -> u64 {
        self.words[i].get()
    }

    #[cfg(not(target_arch = "bpf"))]
    /// A number that changes with each write: what tells a reader that there is something new.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.guard.get_and_order()
    }

    #[cfg(not(target_arch = "bpf"))]
    /// Message and time of arrival in ns, consistent; none while it is being written over and over.
    #[must_use]
    pub fn read(&self) -> Option<([u64; wire::WORDS], u64)> {
        const TRIES: usize = 1_000;
        for _ in 0..TRIES {
            let before = self.guard.get_and_order();
            if before & 1 == 1 {
                core::hint::spin_loop();
                continue;
            }
            let stamp_ns = self.stamp_ns.get();
            let words = core::array::from_fn(|i| self.words[i].get());
            core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
            if self.guard.get() == before {
                return Some((words, stamp_ns));
            }
        }
        None
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [const { Word::new(0) }; histogram::BUCKETS] }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    /// All records of it.
    #[must_use]
    pub const fn records(&self) -> [&MessageCell; 5] {
        [&self.live, &self.handshake, &self.answering, &self.echo, &self.notice]
    }

    /// Counts one message.
    #[inline(always)]
    pub fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].add(1);
    }

    /// How many messages met this outcome.
    #[must_use]
    pub fn counted(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }
}
