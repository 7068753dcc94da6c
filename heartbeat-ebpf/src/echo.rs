//! Echoes: a request that the peer's XDP program answers by itself, with the age of its agent's last sign of life. So *host
//! dead*, *agent stalled* and *path dead* are three different findings.
//!
//! ```text
//!            request                        reply
//! kind       2                              3
//! node, incarnation      who asks           who answers (0: no agent has run there)
//! peer_incarnation       as last heard      who asked
//! sent_ns                its clock          the clock of who answers
//! echo_sent_ns           0                  sent_ns of the request
//! echo_held_ns           0                  age of the agent's last sign of life; u64::MAX: there was none
//! ```
//! Where each lies: [`crate::wire`]. All other fields are 0, the sequence number too: echoes are not heartbeats, count in no
//! window and are no life.
//!
//! What keeps echoes from being a weapon: only what is signed by the peer is answered, by as many bytes, at most once and
//! not too often ([`EVERY_NS`], [`STRANGER_EVERY_NS`]); a reply never causes a message.

use crate::{
    layout::{AgentCell, Answered, Outcome, Slot},
    siphash::Key,
    verify::{Expected, STRANGER_EVERY_NS, authenticate, is_known},
    wire::{self, CHANNEL_WORD, ECHO_REPLY, ECHO_REQUEST, LEN, TAGGED_WORDS, View, WORDS, opening, pair},
};

/// A channel answers the peer that we are paired with at most this often, in ns.
pub const EVERY_NS: u64 = 100_000;
/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EchoKind {
    /// Asks.
    Request = ECHO_REQUEST,
    /// Answers.
    Reply = ECHO_REPLY,
}

/// An echo, as values. The fields are those of the table in the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above documents them")]
pub struct Echo {
    pub kind: EchoKind,
    pub pair_id: u32,
    pub node: u8,
    pub channel_id: u32,
    pub key_id: u8,
    pub incarnation: u64,
    pub peer_incarnation: u64,
    pub sent_ns: u64,
    pub echo_sent_ns: u64,
    pub echo_held_ns: u64,
}

impl Echo {
    /// A request of `node`'s agent of `incarnation` on the channel of this id; `peer_incarnation` as last heard, or 0, `sent_ns` now on
    /// our CLOCK_MONOTONIC. The peer answers only what is newer than what it has answered in this incarnation.
    #[must_use]
    pub const fn request(
        pair_id: u32,
        node: u8,
        channel_id: u32,
        key_id: u8,
        incarnation: u64,
        peer_incarnation: u64,
        sent_ns: u64,
    ) -> Self {
        Self {
            kind: EchoKind::Request,
            pair_id,
            node,
            channel_id,
            key_id,
            incarnation,
            peer_incarnation,
            sent_ns,
            echo_sent_ns: 0,
            echo_held_ns: 0,
        }
    }

    /// The echo of a message whose tag was checked before; none where it is of another kind. `words` are in memory order,
    /// as [`crate::layout::MessageCell::read`] gives them.
    #[must_use]
    pub fn parse(words: &[u64; WORDS]) -> Option<Self> {
        let w = words.map(u64::from_be);
        let kind = match (w[0] >> 32) as u32 {
            o if o == opening(ECHO_REQUEST) => EchoKind::Request,
            o if o == opening(ECHO_REPLY) => EchoKind::Reply,
            _ => return None,
        };
        let [node, _, _, key_id] = ((w[1] >> 32) as u32).to_be_bytes();
        Some(Self {
            kind,
            pair_id: w[0] as u32,
            node,
            channel_id: (w[CHANNEL_WORD] >> 32) as u32,
            key_id,
            incarnation: w[2],
            peer_incarnation: w[3],
            sent_ns: w[5],
            echo_sent_ns: w[6],
            echo_held_ns: w[7],
        })
    }

    /// Of a reply: how long before it the agent of who answers last gave a sign of life, in ns; none where it never did.
    #[must_use]
    pub const fn alive_age_ns(&self) -> Option<u64> {
        if self.echo_held_ns == u64::MAX { None } else { Some(self.echo_held_ns) }
    }

    /// Writes the echo, signed with `key`, over whatever `buffer` held.
    pub fn emit(&self, key: Key, buffer: &mut [u8; LEN]) {
        wire::sign(&self.words(), key, buffer);
    }

    /// All words but the tag, as values.
    #[inline(always)]
    pub(crate) fn words(&self) -> [u64; TAGGED_WORDS] {
        let mut words = [0; TAGGED_WORDS];
        self.each_word(|i, word| words[i] = word);
        words
    }

    /// Gives each word that may be another than 0 to `set`, with its place.
    #[inline(always)]
    pub(crate) fn each_word(&self, mut set: impl FnMut(usize, u64)) {
        let who = u32::from_be_bytes([self.node, 0, 0, self.key_id]);
        set(0, pair(opening(self.kind as u8), self.pair_id));
        set(1, pair(who, 0));
        set(2, self.incarnation);
        set(3, self.peer_incarnation);
        set(5, self.sent_ns);
        set(6, self.echo_sent_ns);
        set(7, self.echo_held_ns);
        set(CHANNEL_WORD, pair(self.channel_id, 0));
    }
}

/// Whether the way back is known, if a message should be a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerable {
    /// By the socket, or in the frame itself.
    Yes,
    /// The frame cannot be turned round.
    No,
}

/// Takes an echo ([`View::is_echo`]) that came to a channel's end at `now_ns`: examines, records and counts it.
///
/// After [`Outcome::EchoRequest`] the caller owes the peer what [`answer`] gives.
#[inline(always)]
pub fn receive(
    message: View<'_>,
    expected: Expected,
    agent: &AgentCell,
    key: impl FnOnce(u8) -> Option<Key>,
    slot: &Slot,
    answerable: Answerable,
    now_ns: u64,
) -> Outcome {
    let own = agent.incarnation.get();
    let outcome = match authenticate(message, expected, own, key) {
        Err(why) => why,
        Ok(()) if message.opening() == opening(ECHO_REPLY) => {
            if keep(slot, own, message, now_ns) {
                Outcome::EchoReply
            } else {
                Outcome::EchoIgnored
            }
        }
        // Incarnation 0 is nobody's.
        Ok(()) if message.incarnation() == 0 => Outcome::Malformed,
        Ok(()) => {
            let paired = message.incarnation() == agent.peer_incarnation.get();
            let [peer, stranger] = &slot.answered;
            let (last, every_ns) = if paired { (peer, EVERY_NS) } else { (stranger, STRANGER_EVERY_NS) };
            if answerable == Answerable::Yes && is_due(last, every_ns, message, now_ns) {
                Outcome::EchoRequest
            } else {
                Outcome::EchoIgnored
            }
        }
    };
    slot.count(outcome);
    outcome
}

/// Whether a request is neither old nor too early; then it is the last one answered from now on. Of processors that have
/// the same request at the same time, one finds it due.
#[inline(always)]
fn is_due(last: &Answered, every_ns: u64, request: View<'_>, now_ns: u64) -> bool {
    let at_ns = last.at_ns.get();
    if now_ns.saturating_sub(at_ns) < every_ns
        || (last.incarnation.get() == request.incarnation() && request.sent_ns() <= last.sent_ns.get())
        || !last.at_ns.replace(at_ns, now_ns)
    {
        return false;
    }
    // Whoever looks before these are written finds it too early.
    last.incarnation.set(request.incarnation());
    last.sent_ns.set(request.sent_ns());
    true
}

/// Puts a reply on record, if it is to us as we are now and later than the one on record.
#[inline(always)]
fn keep(slot: &Slot, own: u64, reply: View<'_>, now_ns: u64) -> bool {
    // Looked at before taking the writer's place, so that repetitions never stand in the genuine one's way, and after.
    if own == 0 || reply.peer_incarnation() != own || is_known(&slot.echo, reply) || !slot.echo.lock() {
        return false;
    }
    let new = !is_known(&slot.echo, reply);
    if new {
        slot.echo.store(reply, now_ns);
    }
    slot.echo.unlock();
    new
}

/// The reply to a request that [`receive`] found due, to be signed with the key of the same id. `now_ns` is on
/// CLOCK_MONOTONIC, as the agent's signs of life are.
#[inline(always)]
#[must_use]
pub fn answer(request: View<'_>, expected: Expected, agent: &AgentCell, now_ns: u64) -> Echo {
    let alive_ns = agent.alive_ns.get();
    Echo {
        kind: EchoKind::Reply,
        pair_id: expected.pair_id,
        node: expected.node,
        channel_id: expected.channel_id,
        key_id: request.key_id(),
        incarnation: agent.incarnation.get(),
        peer_incarnation: request.incarnation(),
        sent_ns: now_ns,
        echo_sent_ns: request.sent_ns(),
        echo_held_ns: if alive_ns == 0 { u64::MAX } else { now_ns.saturating_sub(alive_ns) },
    }
}

#[cfg(test)]
mod tests;
