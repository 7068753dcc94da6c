//! Whether a heartbeat for one of our channels is life, serves the handshake, or is nothing; and the window of sequence numbers that
//! has the last word on it (G7, M4). Shared by the XDP program and by channels without XDP.

use crate::{
    histogram,
    layout::{AgentCell, Histogram, MessageCell, Outcome, Slot},
    machine::opaque,
    siphash::Key,
    verify::{Expected, News, Received, STRANGER_EVERY_NS, authenticate},
    wire::{ECHO_SENT_WORD, Message, PEER_INCARNATION_WORD, View},
};

/// The checks before the slot is touched, cheapest first. `key` gives the key of an id.
///
/// Gives `Accepted` for what may be life: the replay window has the last word on it.
#[inline(always)]
pub fn examine(
    message: View<'_>,
    expected: Expected,
    agent: &AgentCell,
    key: impl FnOnce(u8) -> Option<Key>,
) -> Outcome {
    if message.opening() != Message::OPENING {
        return Outcome::Malformed;
    }
    let own = agent.incarnation.get();
    if let Err(why) = authenticate(message, expected, own, key) {
        return why;
    }
    // Incarnation 0 is nobody's, and sequences start at 1: nothing of ours was ever like that.
    if message.incarnation() == 0 || message.sequence() == 0 {
        return Outcome::Malformed;
    }
    // Fresh: it names us as we are now, and is of the peer that we are paired with.
    if own != 0 && message.peer_incarnation() == own && message.incarnation() == agent.peer_incarnation.get() {
        Outcome::Accepted
    } else {
        Outcome::Handshake
    }
}

/// Takes a heartbeat that came to a channel's end: examines, records and counts it. None is a datagram that has not the length of
/// a message. `now` gives the time of arrival in ns and is asked only where something is stored.
#[inline(always)]
pub fn receive(
    message: Option<View<'_>>,
    expected: Expected,
    agent: &AgentCell,
    key: impl FnOnce(u8) -> Option<Key>,
    slot: &Slot,
    histogram: &Histogram,
    now: impl FnOnce() -> u64,
) -> Received {
    let Some(message) = message else {
        slot.count(Outcome::Malformed);
        return Received::plain(Outcome::Malformed);
    };
    match examine(message, expected, agent, key) {
        Outcome::Accepted => {
            // A replay never takes the writer's place: on a NIC with several queues, a flood of them would make the
            // genuine heartbeat find it taken. What is not seen to be one here is looked at again below.
            if is_replay(slot, message) {
                slot.count(Outcome::Replayed);
                return Received::plain(Outcome::Replayed);
            }
            if !slot.live.lock() {
                slot.count(Outcome::Busy);
                return Received::plain(Outcome::Busy);
            }
            let received = accept(slot, histogram, message, now);
            slot.live.unlock();
            slot.count(received.outcome);
            received
        }
        outcome => {
            if outcome == Outcome::Handshake {
                let own = agent.incarnation.get();
                let names_us = own != 0 && message.peer_incarnation() == own;
                let record = if names_us { &slot.answering } else { &slot.handshake };
                // A contended handshake is a lost one: the next comes with the next heartbeat.
                if !(names_us && is_outdone(record, message)) && record.lock() {
                    let now_ns = now();
                    let greets = if names_us { says_more(record, message) } else { rings_again(slot, now_ns) };
                    record.store(message, now_ns);
                    record.unlock();
                    slot.count(outcome);
                    return Received { outcome, news: if greets { News::Greeting } else { News::None } };
                }
            }
            slot.count(outcome);
            Received::plain(outcome)
        }
    }
}

/// Whether what is on record was made for us as we are now, too, and answers to something later: times are on our clock, so
/// that whatever was recorded before, in whatever numbers it is played back, stands behind what the peer says now. What
/// claims to answer to something that we had not said yet when it came, outdoes nothing: our clock begins anew with a boot.
#[inline(always)]
fn is_outdone(record: &MessageCell, message: View<'_>) -> bool {
    let answered_ns = u64::from_be(record.word(ECHO_SENT_WORD));
    record.word(PEER_INCARNATION_WORD) == message.word(PEER_INCARNATION_WORD)
        && answered_ns > message.echo_sent_ns()
        && answered_ns <= record.stamp_ns()
}

/// Whether somebody should look at once at what takes this record's place: it is the first that names us as we are now, or answers to
/// something later. It is on record then, so that no recording does it twice.
#[inline(always)]
fn says_more(record: &MessageCell, message: View<'_>) -> bool {
    record.word(PEER_INCARNATION_WORD) != message.word(PEER_INCARNATION_WORD)
        || message.echo_sent_ns() > u64::from_be(record.word(ECHO_SENT_WORD))
}

/// Whether somebody should look at once at what does not name us: perhaps a newcomer, perhaps one of any number of recordings. The
/// caller has the writer's place of `slot.handshake`, and with it that of the time of the last one.
#[inline(always)]
fn rings_again(slot: &Slot, now_ns: u64) -> bool {
    let again = now_ns.saturating_sub(slot.rang_ns.get()) >= STRANGER_EVERY_NS;
    if again {
        slot.rang_ns.set(now_ns);
    }
    again
}

/// Whether the window already has this sequence number, or is beyond it. Without the writer's place, a window that moves
/// meanwhile can make a late message look like a replay: it is lost, as on the wire. A replay never looks new for long: it
/// is looked at again by whoever has the place.
#[inline(always)]
fn is_replay(slot: &Slot, message: View<'_>) -> bool {
    let sequence = message.sequence();
    let highest = slot.highest.get();
    slot.window_of.get() == message.incarnation() && sequence <= highest && {
        let age = highest - sequence;
        age >= 64 || slot.window.get() >> age & 1 == 1
    }
}

/// The window of 64 sequence numbers (G7, M4), and what follows from an accepted one. The caller has the writer's place of
/// `slot.live`, and with it that of window, missing and histogram.
#[inline(always)]
fn accept(slot: &Slot, histogram: &Histogram, message: View<'_>, now: impl FnOnce() -> u64) -> Received {
    let sequence = message.sequence();
    let highest = slot.highest.get();
    let window = slot.window.get();
    if slot.window_of.get() != message.incarnation() {
        // The first of a new pairing. What the peer sent before it is neither missing nor welcome.
        slot.window_of.set(message.incarnation());
        slot.highest.set(sequence);
        slot.window.set(u64::MAX);
        slot.live.store(message, now());
        return Received { outcome: Outcome::Accepted, news: News::Pairing };
    }
    if is_replay(slot, message) {
        return Received::plain(Outcome::Replayed);
    }
    if sequence <= highest {
        let age = highest - sequence;
        // Late, but not lost after all. An older state than the one on record: counted, not stored.
        slot.window.set(window | 1 << age);
        slot.missing.add_alone(u64::MAX);
        return Received::plain(Outcome::Accepted);
    }
    let step = sequence - highest;
    slot.window.set(if step < 64 { window << step | 1 } else { 1 });
    slot.highest.set(sequence);
    slot.missing.add_alone(step - 1);
    let stamp_ns = now();
    let gap_ns = stamp_ns.saturating_sub(slot.live.stamp_ns());
    // Always within; the verifier wants to see it.
    if let Some(count) = histogram.counts.get(opaque(histogram::bucket(gap_ns))) {
        count.add_alone(1);
    }
    let news = if is_news(slot, message) { News::State } else { News::None };
    slot.live.store(message, stamp_ns);
    Received { outcome: Outcome::Accepted, news }
}

/// Whether the peer's public state differs from that of the message on record: flags, what it hears, its analysis, what it
/// holds and wishes for, its term.
#[inline(always)]
fn is_news(slot: &Slot, message: View<'_>) -> bool {
    /// All of the word of node, entry, flags, key_id, entries and interval but the entry, which is another one each time.
    const BUT_ENTRY: u64 = !u64::from_be(0xff << 48);
    const STATE: core::ops::Range<usize> = 9..16;
    let mut differs = (slot.live.word(1) ^ message.word(1)) & BUT_ENTRY;
    let mut i = STATE.start;
    while i < STATE.end {
        differs |= slot.live.word(i) ^ message.word(i);
        i += 1;
    }
    differs != 0
}
