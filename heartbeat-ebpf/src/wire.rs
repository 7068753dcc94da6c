//! The heartbeat message: UDP payload of 160 bytes, network byte order. State, not events: each one carries its sender's
//! whole public state, so nothing needs acknowledging, retrying or ordering (G6, G7). Echoes ([`crate::echo`]) and notices
//! ([`crate::notice`]) have the same shape.
//!
//! ```text
//!  0               8               16              24            31
//! +---------------+---------------+---------------+---------------+
//! |         magic 0x4842          |    version    |     kind      |   0
//! |                            pair_id                            |   4
//! |     node      |     entry     |     flags     |    key_id     |   8
//! |    entries    |                  interval_us                  |  12
//! |                          incarnation                          |  16
//! |                       peer_incarnation                        |  24
//! |                           sequence                            |  32
//! |                            sent_ns                            |  40
//! |                         echo_sent_ns                          |  48
//! |         echo_held_ns          |           file_time           |  56
//! |                            certain                            |  64
//! |                             heard                             |  72
//! |                          operational                          |  80
//! |        analysis_wanted        |        analysis_done          |  88
//! |r|  channels   |      qos      |release_within |  duties_qos   |  96
//! |                             owned                             | 104
//! |                             wanted                            | 112
//! |                             term                              | 120
//! |                        groups_digest                          | 128
//! |          channel_id           |         names_digest          | 136
//! |           entry_id            |  key_prints[0] | key_prints[1]| 144
//! |                 tag: SipHash-2-4 of 0..152                    | 152
//! +---------------+---------------+---------------+---------------+
//! ```
//! (From `incarnation` on, a row is 8 bytes; `release_within` and `duties_qos` have 8 and 24 bits. `r` is [`RECOVERING`],
//! `channels` the number of bits of `configured`, which are the lowest.)

use crate::{
    machine::load_u64,
    siphash::{Key, siphash_2_4},
};
use core::marker::PhantomData;

/// Length of a message in bytes.
pub const LEN: usize = 160;
/// Length of a message in words of eight bytes.
pub const WORDS: usize = LEN / 8;
/// Words that the tag covers: all but itself.
pub const TAGGED_WORDS: usize = WORDS - 1;
/// The first two bytes: "HB".
pub const MAGIC: u16 = 0x4842;
/// The version that this code speaks.
pub const VERSION: u8 = 2;
/// UDP port, IANA `ha-cluster`, unless configured.
pub const PORT: u16 = 694;
/// `kind` of a heartbeat.
pub const HEARTBEAT: u8 = 1;
/// `kind` of a request that the peer's XDP program answers.
pub const ECHO_REQUEST: u8 = 2;
/// `kind` of its answer, which never causes a message.
pub const ECHO_REPLY: u8 = 3;
/// `kind` of what the peer's XDP program answers a heartbeat with while its agent cannot ([`crate::notice`]); never answered.
pub const NOTICE: u8 = 4;

/// The words that more than one kind of message is looked up by.
pub(crate) const PEER_INCARNATION_WORD: usize = 3;
pub(crate) const ECHO_SENT_WORD: usize = 6;
/// The word that begins with `channel_id`.
pub(crate) const CHANNEL_WORD: usize = 17;
/// What `echo_held_ns` says of everything longer.
pub const HELD_LONG: u32 = u32::MAX;
/// The longest interval that a message can tell, in us.
pub const LONGEST_INTERVAL_US: u32 = (1 << 24) - 1;

/// Magic, version and `kind` together: the first four bytes of a message, as [`View::opening`] has them.
#[must_use]
pub const fn opening(kind: u8) -> u32 {
    (MAGIC as u32) << 16 | (VERSION as u32) << 8 | kind as u32
}

/// Bit of `qos`: everything answers and works, and some of it does not count yet since it failed shortly before.
pub const RECOVERING: u32 = 1 << 31;

/// The bits of `qos` that are a number.
pub const QOS: u32 = (1 << 24) - 1;
/// Seven bits say how many channels there are.
const MOST_CHANNELS: u8 = 0x7f;

/// The `n` lowest bits.
const fn lowest(n: u8) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// Bits of `flags`.
pub mod flags {
    /// The sender is the master of the pair (FIG. 6, step 610).
    pub const MASTER: u8 = 1;
    /// The sender watches but moves nothing.
    pub const MAINTENANCE: u8 = 2;
    /// The sender's agent is being restarted and will be back at once.
    pub const RESTARTING: u8 = 4;
    /// The sender's agent is being stopped for good: what it no longer owns may be taken at once.
    pub const LEAVING: u8 = 8;
    /// What the sender wants, somebody asked it to: whoever holds that lets go of it, whatever was judged.
    pub const ASKED: u8 = 16;
    /// Both hold something. What the sender wants of that, it took from the receiver, which it had found dead.
    pub const CONTESTED: u8 = 32;
    /// Of a notice: the agent is dead. Without it, it stands still.
    pub const DIED: u8 = 64;
    /// Of a heartbeat: something of the sender's own host speaks against its taking over, which the receiver cannot see.
    pub const UNFIT: u8 = 64;
    /// Of a notice: once the kernel hears the receiver no more, it keeps silent about all groups.
    pub const LEASED: u8 = 32;
    /// A watchdog ends the sender's host where what `release_within` promises is not kept.
    pub const WATCHED: u8 = 128;
}

/// A message where it lies: in a packet, in a map, in a buffer. Nothing is copied until a field is asked for.
#[derive(Clone, Copy)]
pub struct View<'a> {
    start: *const u8,
    _memory: PhantomData<&'a u8>,
}

impl<'a> View<'a> {
    /// The view of a message in a buffer.
    #[must_use]
    pub const fn new(bytes: &'a [u8; LEN]) -> Self {
        Self { start: bytes.as_ptr(), _memory: PhantomData }
    }

    /// The view of a message at an address.
    ///
    /// # Safety
    /// [`LEN`] bytes from `start` must be readable for `'a`; on BPF the verifier must have seen the bounds check.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn at(start: *const u8) -> Self {
        Self { start, _memory: PhantomData }
    }

    /// The `i`-th word of eight bytes, in memory order.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, i: usize) -> u64 {
        debug_assert!(i < WORDS);
        // SAFETY: the constructors promise LEN bytes, and every caller's `i` is below WORDS.
        unsafe { load_u64::<0>(self.start.wrapping_add(i * 8)) }
    }

    /// All words, in memory order.
    #[must_use]
    pub fn words(&self) -> [u64; WORDS] {
        core::array::from_fn(|i| self.word(i))
    }

    #[inline(always)]
    fn field(&self, i: usize) -> u64 {
        u64::from_be(self.word(i))
    }

    /// Magic, version and kind together, as [`opening`] has them.
    #[inline(always)]
    #[must_use]
    pub fn opening(&self) -> u32 {
        (self.field(0) >> 32) as u32
    }

    /// Whether it calls itself an echo request or reply of this version.
    #[inline(always)]
    #[must_use]
    pub fn is_echo(&self) -> bool {
        // The two kinds differ in the last bit.
        self.opening() | 1 == opening(ECHO_REPLY)
    }

    /// Whether it calls itself a notice of this version.
    #[inline(always)]
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.opening() == opening(NOTICE)
    }

    /// The pair that the message is for.
    #[inline(always)]
    #[must_use]
    pub fn pair_id(&self) -> u32 {
        self.field(0) as u32
    }

    /// The sender: 0 = a, 1 = b.
    #[inline(always)]
    #[must_use]
    pub fn node(&self) -> u8 {
        (self.field(1) >> 56) as u8
    }

    /// The id of the name of the channel that it was sent on.
    #[inline(always)]
    #[must_use]
    pub fn channel_id(&self) -> u32 {
        (self.field(CHANNEL_WORD) >> 32) as u32
    }

    /// The sender's [`flags`].
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u8 {
        (self.field(1) >> 40) as u8
    }

    /// Which of the two keys signed it.
    #[inline(always)]
    #[must_use]
    pub fn key_id(&self) -> u8 {
        (self.field(1) >> 32) as u8
    }

    /// The sender's incarnation.
    #[inline(always)]
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.field(2)
    }

    /// The receiver's incarnation, as the sender last heard it.
    #[inline(always)]
    #[must_use]
    pub fn peer_incarnation(&self) -> u64 {
        self.field(3)
    }

    /// The sequence number, per channel and incarnation, from 1.
    #[inline(always)]
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.field(4)
    }

    /// When it was sent, on the sender's CLOCK_MONOTONIC.
    #[inline(always)]
    #[must_use]
    pub fn sent_ns(&self) -> u64 {
        self.field(5)
    }

    /// `sent_ns` of what it answers to, on the receiver's CLOCK_MONOTONIC.
    #[inline(always)]
    #[must_use]
    pub fn echo_sent_ns(&self) -> u64 {
        self.field(6)
    }

    /// How long before `sent_ns` that had come, in ns.
    #[inline(always)]
    #[must_use]
    pub fn echo_held_ns(&self) -> u32 {
        (self.field(7) >> 32) as u32
    }

    /// The term of what the sender holds.
    #[inline(always)]
    #[must_use]
    pub fn term(&self) -> u64 {
        self.field(15)
    }

    /// Tells the sender's list of names from others.
    #[inline(always)]
    #[must_use]
    pub fn names_digest(&self) -> u32 {
        self.field(CHANNEL_WORD) as u32
    }

    /// The groups that the sender holds.
    #[inline(always)]
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.field(13)
    }

    /// Whether the tag is that of the other bytes under `key`.
    #[inline(always)]
    #[must_use]
    pub fn tag_is_right(&self, key: Key) -> bool {
        siphash_2_4(key, TAGGED_WORDS, |i| self.word(i).to_le()) == self.field(TAGGED_WORDS)
    }
}

/// A heartbeat, as values. The fields are those of the table in the module's description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above documents them")]
pub struct Message {
    pub pair_id: u32,
    pub node: u8,
    pub entry: u8,
    pub flags: u8,
    pub key_id: u8,
    pub entries: u8,
    pub interval_us: u32,
    pub incarnation: u64,
    pub peer_incarnation: u64,
    pub sequence: u64,
    pub sent_ns: u64,
    pub echo_sent_ns: u64,
    pub echo_held_ns: u32,
    pub file_time: u32,
    pub configured: u64,
    pub heard: u64,
    pub operational: u64,
    pub analysis_wanted: u32,
    pub analysis_done: u32,
    pub qos: u32,
    pub release_within: u8,
    pub duties_qos: u32,
    pub owned: u64,
    pub wanted: u64,
    pub term: u64,
    pub groups_digest: u64,
    pub channel_id: u32,
    pub names_digest: u32,
    pub entry_id: u32,
    pub key_prints: [u16; 2],
    pub certain: u64,
}

impl Message {
    /// What [`View::opening`] gives for a heartbeat of this version.
    pub const OPENING: u32 = opening(HEARTBEAT);

    /// The fields of a message whose opening and tag were checked before; `words` are in memory order.
    #[must_use]
    pub fn parse(words: &[u64; WORDS]) -> Self {
        let w = words.map(u64::from_be);
        Self {
            pair_id: w[0] as u32,
            node: (w[1] >> 56) as u8,
            entry: (w[1] >> 48) as u8,
            flags: (w[1] >> 40) as u8,
            key_id: (w[1] >> 32) as u8,
            entries: (w[1] >> 24) as u8,
            interval_us: w[1] as u32 & LONGEST_INTERVAL_US,
            incarnation: w[2],
            peer_incarnation: w[3],
            sequence: w[4],
            sent_ns: w[5],
            echo_sent_ns: w[6],
            echo_held_ns: (w[7] >> 32) as u32,
            file_time: w[7] as u32,
            certain: w[8],
            configured: lowest((w[12] >> 56) as u8 & MOST_CHANNELS),
            heard: w[9],
            operational: w[10],
            analysis_wanted: (w[11] >> 32) as u32,
            analysis_done: w[11] as u32,
            qos: (w[12] >> 32) as u32 & (RECOVERING | QOS),
            release_within: (w[12] >> 24) as u8,
            duties_qos: w[12] as u32 & QOS,
            owned: w[13],
            wanted: w[14],
            term: w[15],
            groups_digest: w[16],
            channel_id: (w[CHANNEL_WORD] >> 32) as u32,
            names_digest: w[CHANNEL_WORD] as u32,
            entry_id: (w[18] >> 32) as u32,
            key_prints: [(w[18] >> 16) as u16, w[18] as u16],
        }
    }

    /// Writes the message, signed with `key`, over whatever `buffer` held.
    pub fn emit(&self, key: Key, buffer: &mut [u8; LEN]) {
        let who = u32::from_be_bytes([self.node, self.entry, self.flags, self.key_id]);
        let interval = u32::from(self.entries) << 24 | self.interval_us.min(LONGEST_INTERVAL_US);
        let duties = u32::from(self.release_within) << 24 | self.duties_qos & QOS;
        let [print_0, print_1] = self.key_prints.map(u32::from);
        let words: [u64; TAGGED_WORDS] = [
            pair(Self::OPENING, self.pair_id),
            pair(who, interval),
            self.incarnation,
            self.peer_incarnation,
            self.sequence,
            self.sent_ns,
            self.echo_sent_ns,
            pair(self.echo_held_ns, self.file_time),
            self.certain,
            self.heard,
            self.operational,
            pair(self.analysis_wanted, self.analysis_done),
            pair(self.qos & (RECOVERING | QOS) | self.configured.count_ones() << 24, duties),
            self.owned,
            self.wanted,
            self.term,
            self.groups_digest,
            pair(self.channel_id, self.names_digest),
            pair(self.entry_id, print_0 << 16 | print_1),
        ];
        sign(&words, key, buffer);
    }
}

/// Two halves of a word.
#[inline(always)]
pub(crate) const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Writes the words of a message, as values, and the tag that `key` gives them.
pub(crate) fn sign(words: &[u64; TAGGED_WORDS], key: Key, buffer: &mut [u8; LEN]) {
    let tag = siphash_2_4(key, TAGGED_WORDS, |i| words[i].swap_bytes());
    for (place, word) in buffer.chunks_exact_mut(8).zip(words.iter().chain([&tag])) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
