//! What a message of any kind has to stand before anything is looked at that it says: it is the peer's, for this channel, and
//! signed; and what may come of it. Nothing is remembered here: see [`crate::admit`], [`crate::echo`], [`crate::notice`].

use crate::{
    layout::{MessageCell, Outcome},
    siphash::Key,
    wire::{ECHO_SENT_WORD, PEER_INCARNATION_WORD, View},
};

/// Whoever is not the peer that we are paired with is answered at most this often on a channel, in ns: what was recorded in earlier
/// lives of the peer's agent can be played back in turns, and must neither be worth it nor use up what the genuine one needs.
pub const STRANGER_EVERY_NS: u64 = 10_000_000;

/// What a message is held against.
#[derive(Clone, Copy)]
pub struct Expected {
    /// Our pair.
    pub pair_id: u32,
    /// Our own node letter's number.
    pub node: u8,
    /// The id of the name of the channel that ends where it arrived.
    pub channel_id: u32,
}

/// What a message of any kind has to stand, cheapest first: that it is the peer's, for this channel, and signed.
/// `own` is our incarnation.
#[inline(always)]
pub(crate) fn authenticate(
    message: View<'_>,
    expected: Expected,
    own: u64,
    key: impl FnOnce(u8) -> Option<Key>,
) -> Result<(), Outcome> {
    if message.node() > 1 {
        return Err(Outcome::Malformed);
    }
    if message.pair_id() != expected.pair_id {
        return Err(Outcome::WrongPair);
    }
    if message.channel_id() != expected.channel_id {
        return Err(Outcome::WrongChannel);
    }
    if message.node() == expected.node {
        return Err(if message.incarnation() == own { Outcome::Reflected } else { Outcome::SameNode });
    }
    match key(message.key_id()) {
        Some(key) if !key.is_none() && message.tag_is_right(key) => Ok(()),
        _ => Err(Outcome::WrongTag),
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The outcome that was counted.
    pub outcome: Outcome,
    /// Whether the peer's public state differs from that of the message before: somebody should look at once.
    pub news: News,
}

/// What changed in the peer's public state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Flags, groups held or wanted, or the term.
    State,
    /// It is the first message of a new pairing.
    Pairing,
    /// Not of this pairing, but perhaps of one that is to come: its sender may wait for an answer.
    Greeting,
}

impl Received {
    /// Without news.
    #[inline(always)]
    pub(crate) const fn plain(outcome: Outcome) -> Self {
        Self { outcome, news: News::None }
    }
}

/// Whether what is on record answers the same life of ours, and the same or a later message.
#[inline(always)]
pub(crate) fn is_known(record: &MessageCell, answer: View<'_>) -> bool {
    record.word(PEER_INCARNATION_WORD) == answer.word(PEER_INCARNATION_WORD)
        && answer.echo_sent_ns() <= u64::from_be(record.word(ECHO_SENT_WORD))
}
