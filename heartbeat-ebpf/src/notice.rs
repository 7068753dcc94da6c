//! Notices: what the XDP program answers the peer's heartbeats with while its own agent cannot, so that the peer knows within
//! an interval that the agent is dead or stands still, that its host is well, and what this kernel keeps silent about.
//!
//! ```text
//! kind               4
//! node, incarnation  who tells: the incarnation of the agent that cannot
//! flags              DIED, or nothing: it stands still; LEASED: once the kernel hears the peer no more, it keeps silent
//! peer_incarnation   who is told
//! sent_ns            the clock of who tells
//! echo_sent_ns       sent_ns of the heartbeat that is answered
//! echo_held_ns       how long ago the agent died, or gave its last sign of life (with file_time: 64 bits)
//! analysis_wanted    for how long the peer is asked to wait for an agent that died, in ms
//! owned              the groups of which the agent left something in place
//! term               as the agent left it
//! wanted             the groups that the kernel keeps silent about
//! channel_id, names_digest  the channel, and the list of names that the bits are of
//! ```
//! Where each lies: [`crate::wire`]. All other fields are 0.
//!
//! What keeps notices from being a weapon: only what is signed by the peer is answered, by as many bytes, each heartbeat of the
//! pairing once and others not too often; a notice never causes a message; and one counts only if it answers a later heartbeat
//! of this life of ours than those before, so that a recording says nothing.

use crate::{
    guard::Guard,
    layout::{AgentCell, Outcome, Slot},
    siphash::Key,
    verify::{Expected, News, Received, authenticate, is_known},
    wire::{self, CHANNEL_WORD, LEN, NOTICE, TAGGED_WORDS, View, WORDS, flags, opening, pair},
};

/// A notice, as values. The fields are those of the table in the module's description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The pair.
    pub pair_id: u32,
    /// Who tells: 0 = a, 1 = b.
    pub node: u8,
    /// The channel's.
    pub channel_id: u32,
    /// The key that signs it.
    pub key_id: u8,
    /// The incarnation of the agent that cannot; 0: none has run.
    pub incarnation: u64,
    /// Who is told.
    pub peer_incarnation: u64,
    /// When it was sent, on the clock of who tells.
    pub sent_ns: u64,
    /// When the heartbeat was sent that it answers, on the clock of who is told.
    pub asked_ns: u64,
    /// The agent is dead; else it stands still.
    pub died: bool,
    /// Once the kernel hears nothing of the peer for a lease, it keeps silent about everything.
    pub leased: bool,
    /// For how long it has been, in ns.
    pub silent_ns: u64,
    /// For so long the peer is asked to wait for an agent that died, in ms.
    pub grace_ms: u32,
    /// The groups of which something is in place there, in the order of who tells.
    pub owned: u64,
    /// Those that the kernel keeps silent about, likewise.
    pub closed: u64,
    /// The term of the agent.
    pub term: u64,
    /// Tells the list of names that the bits are of from others.
    pub names_digest: u32,
}

impl Notice {
    /// The notice of a message whose tag was checked before; none where it is of another kind. `words` are in memory order,
    /// as [`crate::layout::MessageCell::read`] gives them.
    #[must_use]
    pub fn parse(words: &[u64; WORDS]) -> Option<Self> {
        let w = words.map(u64::from_be);
        if (w[0] >> 32) as u32 != opening(NOTICE) {
            return None;
        }
        let [node, _, flags, key_id] = ((w[1] >> 32) as u32).to_be_bytes();
        Some(Self {
            pair_id: w[0] as u32,
            node,
            channel_id: (w[CHANNEL_WORD] >> 32) as u32,
            key_id,
            incarnation: w[2],
            peer_incarnation: w[3],
            sent_ns: w[5],
            asked_ns: w[6],
            died: flags & flags::DIED != 0,
            leased: flags & flags::LEASED != 0,
            silent_ns: w[7],
            grace_ms: (w[11] >> 32) as u32,
            owned: w[13],
            closed: w[14],
            term: w[15],
            names_digest: w[CHANNEL_WORD] as u32,
        })
    }

    /// Writes the notice, signed with `key`, over whatever `buffer` held.
    pub fn emit(&self, key: Key, buffer: &mut [u8; LEN]) {
        let mut words = [0; TAGGED_WORDS];
        self.each_word(|i, word| words[i] = word);
        wire::sign(&words, key, buffer);
    }

    /// Gives each word that may be another than 0 to `set`, with its place.
    #[inline(always)]
    pub(crate) fn each_word(&self, mut set: impl FnMut(usize, u64)) {
        let flags = if self.died { flags::DIED } else { 0 } | if self.leased { flags::LEASED } else { 0 };
        let who = u32::from_be_bytes([self.node, 0, flags, self.key_id]);
        set(0, pair(opening(NOTICE), self.pair_id));
        set(1, pair(who, 0));
        set(2, self.incarnation);
        set(3, self.peer_incarnation);
        set(5, self.sent_ns);
        set(6, self.asked_ns);
        set(7, self.silent_ns);
        set(11, pair(self.grace_ms, 0));
        set(13, self.owned);
        set(14, self.closed);
        set(15, self.term);
        set(CHANNEL_WORD, pair(self.channel_id, self.names_digest));
    }
}

/// What a heartbeat is answered with after [`Guard::heard`] said that it is to be, to be signed with the key of the same id.
/// `now_ns` is on CLOCK_MONOTONIC, as the agent's signs of life are.
#[inline(always)]
#[must_use]
pub fn answer(heartbeat: View<'_>, expected: Expected, guard: Guard<'_>, now_ns: u64) -> Notice {
    let Guard { agent, kernel } = guard;
    let died = guard.is_dead();
    let since_ns = if died { kernel.dead_ns.get() } else { agent.alive_ns.get() };
    let orders = &kernel.orders;
    Notice {
        leased: orders.peer_good.get() != 0 && orders.lease_ns.get() != 0,
        pair_id: expected.pair_id,
        node: expected.node,
        channel_id: expected.channel_id,
        key_id: heartbeat.key_id(),
        incarnation: agent.incarnation.get(),
        peer_incarnation: heartbeat.incarnation(),
        sent_ns: now_ns,
        asked_ns: heartbeat.sent_ns(),
        died,
        silent_ns: now_ns.saturating_sub(since_ns),
        grace_ms: kernel.orders.grace_ms.get() as u32,
        owned: orders.active.get(),
        closed: kernel.closed.get(),
        term: agent.term.get(),
        names_digest: kernel.orders.names_digest.get() as u32,
    }
}

/// Takes a notice ([`View::is_notice`]) that came to a channel's end at `now_ns`: examines, records and counts it. News is
/// what says something else than the one before.
#[inline(always)]
pub fn receive(
    message: View<'_>,
    expected: Expected,
    agent: &AgentCell,
    key: impl FnOnce(u8) -> Option<Key>,
    slot: &Slot,
    now_ns: u64,
) -> Received {
    let own = agent.incarnation.get();
    let received = match authenticate(message, expected, own, key) {
        Err(why) => Received::plain(why),
        Ok(()) => keep(slot, own, message, now_ns),
    };
    slot.count(received.outcome);
    received
}

/// Puts a notice on record, if it answers what we said in this life, and something later than the one on record does.
#[inline(always)]
fn keep(slot: &Slot, own: u64, notice: View<'_>, now_ns: u64) -> Received {
    let ignored = Received::plain(Outcome::NoticeIgnored);
    let said = own != 0 && notice.peer_incarnation() == own && notice.echo_sent_ns() <= now_ns;
    // Looked at before taking the writer's place, so that repetitions never stand in the genuine one's way, and after.
    if !said || is_known(&slot.notice, notice) || !slot.notice.lock() {
        return ignored;
    }
    if is_known(&slot.notice, notice) {
        slot.notice.unlock();
        return ignored;
    }
    // Flags, who cannot, whom it tells, what is held and what is kept silent about.
    let mut differs = 0;
    let mut i = 0;
    while i < WHAT.len() {
        differs |= slot.notice.word(WHAT[i]) ^ notice.word(WHAT[i]);
        i += 1;
    }
    slot.notice.store(notice, now_ns);
    slot.notice.unlock();
    Received { outcome: Outcome::Notice, news: if differs == 0 { News::None } else { News::State } }
}

/// The words that make a notice news.
const WHAT: [usize; 5] = [1, 2, 3, 13, 14];
