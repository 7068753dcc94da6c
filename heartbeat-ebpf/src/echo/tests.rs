use super::*;
use crate::{
    histogram::BUCKETS,
    layout::{Histogram, MessageCell},
    receive,
    verify::News,
};
use proptest::prelude::*;

const OWN: u64 = 11;
const PEER: u64 = 22;
const CHANNEL: u32 = 3;
const EXPECTED: Expected = Expected { pair_id: 7, node: 0, channel_id: CHANNEL };
/// Some time on our clock.
const NOW: u64 = 1_000_000_000;

fn key() -> Key {
    Key::new([1; 16])
}

fn agent() -> AgentCell {
    let agent = AgentCell::default();
    agent.incarnation.set(OWN);
    agent.peer_incarnation.set(PEER);
    agent.alive_ns.set(NOW - 500);
    agent
}

fn request(sent_ns: u64) -> Echo {
    Echo::request(7, 1, CHANNEL, 0, PEER, OWN, sent_ns)
}

fn reply(asked_ns: u64) -> Echo {
    Echo { kind: EchoKind::Reply, echo_sent_ns: asked_ns, echo_held_ns: 9, ..request(5) }
}

/// By the way that userspace takes, where nothing but echoes may be touched.
fn receive_at(slot: &Slot, agent: &AgentCell, echo: Echo, now_ns: u64) -> Outcome {
    let mut bytes = [0; LEN];
    echo.emit(key(), &mut bytes);
    let histogram = Histogram::new();
    let received = receive::receive(
        Some(View::new(&bytes)),
        EXPECTED,
        agent,
        |id| (id == 0).then(key),
        slot,
        &histogram,
        || now_ns,
    );
    assert_eq!(received.news, News::None);
    assert_eq!((slot.live.version(), slot.handshake.version(), slot.highest.get(), slot.window_of.get()), (0, 0, 0, 0));
    assert!((0..BUCKETS).all(|bucket| histogram.counts[bucket].get() == 0));
    received.outcome
}

fn recorded(record: &MessageCell) -> (Option<Echo>, u64) {
    let (words, stamp_ns) = record.read().expect("no writer");
    (Echo::parse(&words), stamp_ns)
}

fn any_echo() -> impl Strategy<Value = Echo> {
    (any::<bool>(), any::<u32>(), any::<[u8; 3]>(), any::<[u64; 5]>()).prop_map(|(reply, pair_id, b, w)| Echo {
        kind: if reply { EchoKind::Reply } else { EchoKind::Request },
        pair_id,
        node: b[0],
        channel_id: b[1].into(),
        key_id: b[2],
        incarnation: w[0],
        peer_incarnation: w[1],
        sent_ns: w[2],
        echo_sent_ns: w[3],
        echo_held_ns: w[4],
    })
}

proptest! {
    #[test]
    fn what_is_emitted_into_a_dirty_buffer_parses_back(echo in any_echo(), key: [u8; 16], dirt: u8) {
        let mut buffer = [dirt; LEN];
        echo.emit(Key::new(key), &mut buffer);
        let view = View::new(&buffer);
        prop_assert!(view.is_echo() && view.tag_is_right(Key::new(key)));
        prop_assert_eq!(view.opening(), opening(echo.kind as u8));
        prop_assert_eq!((view.sent_ns(), view.echo_sent_ns(), view.sequence()), (echo.sent_ns, echo.echo_sent_ns, 0));
        prop_assert_eq!(Echo::parse(&view.words()), Some(echo));
        // The fields lie where a heartbeat has them.
        let message = wire::Message::parse(&view.words());
        prop_assert_eq!((message.pair_id, message.node, message.channel_id), (echo.pair_id, echo.node, echo.channel_id));
        let held = u64::from(message.echo_held_ns) << 32 | u64::from(message.file_time);
        prop_assert_eq!((message.incarnation, held), (echo.incarnation, echo.echo_held_ns));
    }

    #[test]
    fn an_opening_is_that_of_an_echo_for_two_kinds_only(first: u32, kind: u8) {
        let is_echo = |first: u32| {
            let mut bytes = [0; LEN];
            bytes[..4].copy_from_slice(&first.to_be_bytes());
            let view = View::new(&bytes);
            assert_eq!(view.is_echo(), Echo::parse(&view.words()).is_some());
            view.is_echo()
        };
        prop_assert_eq!(is_echo(opening(kind)), kind == 2 || kind == 3);
        prop_assert_eq!(is_echo(first), first == opening(2) || first == opening(3));
    }
}

#[test]
fn a_request_is_answered_with_the_age_of_the_agents_last_sign_of_life() {
    let (slot, agent) = (Slot::default(), agent());
    assert_eq!(receive_at(&slot, &agent, request(40), NOW), Outcome::EchoRequest);
    assert_eq!(slot.counted(Outcome::EchoRequest), 1);
    assert_eq!(slot.echo.version(), 0, "a request is not put on record");
    let mut bytes = [0; LEN];
    request(40).emit(key(), &mut bytes);
    let reply = answer(View::new(&bytes), EXPECTED, &agent, NOW);
    let expected = Echo {
        kind: EchoKind::Reply,
        pair_id: 7,
        node: 0,
        channel_id: CHANNEL,
        key_id: 0,
        incarnation: OWN,
        peer_incarnation: PEER,
        sent_ns: NOW,
        echo_sent_ns: 40,
        echo_held_ns: 500,
    };
    assert_eq!(reply, expected);
    assert_eq!(reply.alive_age_ns(), Some(500));
    agent.alive_ns.set(NOW + 1);
    assert_eq!(answer(View::new(&bytes), EXPECTED, &agent, NOW).alive_age_ns(), Some(0));
    agent.alive_ns.set(0);
    assert_eq!(answer(View::new(&bytes), EXPECTED, &agent, NOW).alive_age_ns(), None);
}

#[test]
fn the_peer_is_answered_every_100_us_and_a_stranger_every_10_ms() {
    for (incarnation, every_ns) in [(PEER, 100_000), (PEER + 1, 10_000_000)] {
        let (slot, agent) = (Slot::default(), agent());
        let request = |sent_ns| Echo { incarnation, ..request(sent_ns) };
        assert_eq!(receive_at(&slot, &agent, request(1), NOW), Outcome::EchoRequest);
        assert_eq!(receive_at(&slot, &agent, request(2), NOW + every_ns - 1), Outcome::EchoIgnored);
        assert_eq!(receive_at(&slot, &agent, request(2), NOW + every_ns), Outcome::EchoRequest);
        assert_eq!(receive_at(&slot, &agent, request(3), NOW), Outcome::EchoIgnored, "a clock that seems to go back");
    }
}

#[test]
fn a_request_that_is_not_newer_is_not_answered() {
    let (slot, agent) = (Slot::default(), agent());
    let later = |n: u64| NOW + n * STRANGER_EVERY_NS;
    assert_eq!(receive_at(&slot, &agent, request(50), later(0)), Outcome::EchoRequest);
    assert_eq!(receive_at(&slot, &agent, request(50), later(1)), Outcome::EchoIgnored);
    assert_eq!(receive_at(&slot, &agent, request(49), later(1)), Outcome::EchoIgnored);
    assert_eq!(receive_at(&slot, &agent, request(51), later(1)), Outcome::EchoRequest);
    // The peer's host has started anew: its clock, too.
    agent.peer_incarnation.set(PEER + 1);
    let reborn = |sent_ns| Echo { incarnation: PEER + 1, ..request(sent_ns) };
    assert_eq!(receive_at(&slot, &agent, reborn(2), later(2)), Outcome::EchoRequest);
    assert_eq!(receive_at(&slot, &agent, reborn(2), later(3)), Outcome::EchoIgnored);
    assert_eq!([Outcome::EchoRequest, Outcome::EchoIgnored].map(|outcome| slot.counted(outcome)), [3, 3]);
}

#[test]
fn what_is_not_the_peers_is_refused_before_it_spends_anything() {
    let (slot, agent) = (Slot::default(), agent());
    let refused = [
        (Echo { pair_id: 8, ..request(60) }, Outcome::WrongPair),
        (Echo { channel_id: 4, ..request(60) }, Outcome::WrongChannel),
        (Echo { node: 2, ..request(60) }, Outcome::Malformed),
        (Echo { node: 0, incarnation: OWN, ..request(60) }, Outcome::Reflected),
        (Echo { node: 0, ..request(60) }, Outcome::SameNode),
        (Echo { key_id: 1, ..request(60) }, Outcome::WrongTag),
        (Echo { incarnation: 0, ..request(60) }, Outcome::Malformed),
        (Echo { pair_id: 8, ..reply(60) }, Outcome::WrongPair),
        (Echo { node: 0, ..reply(60) }, Outcome::SameNode),
        (Echo { key_id: 1, ..reply(60) }, Outcome::WrongTag),
    ];
    for (echo, outcome) in refused {
        assert_eq!(receive_at(&slot, &agent, echo, NOW), outcome, "{echo:?}");
    }
    for echo in [request(60), reply(60)] {
        let mut bytes = [0; LEN];
        echo.emit(Key::new([9; 16]), &mut bytes);
        let forged = receive(View::new(&bytes), EXPECTED, &agent, |_| Some(key()), &slot, Answerable::Yes, NOW);
        assert_eq!(forged, Outcome::WrongTag);
    }
    assert!(slot.answered.iter().all(|last| last.at_ns.get() == 0) && slot.echo.version() == 0);
}

#[test]
fn what_cannot_be_answered_spends_nothing() {
    let (slot, agent) = (Slot::default(), agent());
    let mut bytes = [0; LEN];
    request(1).emit(key(), &mut bytes);
    let receive = |way| receive(View::new(&bytes), EXPECTED, &agent, |_| Some(key()), &slot, way, NOW);
    assert_eq!(receive(Answerable::No), Outcome::EchoIgnored);
    assert_eq!(receive(Answerable::Yes), Outcome::EchoRequest);
}

#[test]
fn the_latest_reply_to_this_life_of_ours_is_on_record() {
    let (slot, agent) = (Slot::default(), agent());
    assert_eq!(receive_at(&slot, &agent, reply(30), NOW), Outcome::EchoReply);
    assert_eq!(recorded(&slot.echo), (Some(reply(30)), NOW));
    for echo in [reply(30), reply(29), Echo { peer_incarnation: OWN + 1, ..reply(31) }] {
        assert_eq!(receive_at(&slot, &agent, echo, NOW + 1), Outcome::EchoIgnored);
    }
    assert_eq!(recorded(&slot.echo), (Some(reply(30)), NOW));
    assert_eq!(receive_at(&slot, &agent, reply(31), NOW + 2), Outcome::EchoReply);
    assert_eq!(recorded(&slot.echo), (Some(reply(31)), NOW + 2));
    // Our host has started anew: our clock, too.
    agent.incarnation.set(OWN + 1);
    let ours = Echo { peer_incarnation: OWN + 1, ..reply(2) };
    assert_eq!(receive_at(&slot, &agent, ours, NOW), Outcome::EchoReply);
    assert_eq!(recorded(&slot.echo), (Some(ours), NOW));
    agent.incarnation.set(0);
    assert_eq!(receive_at(&slot, &agent, Echo { peer_incarnation: 0, ..reply(99) }, NOW), Outcome::EchoIgnored);
    assert!(slot.answered.iter().all(|last| last.at_ns.get() == 0), "no reply is taken for a request");
}

#[test]
fn two_processors_with_the_same_request_find_it_due_once() {
    extern crate std;
    use std::{
        sync::atomic::{AtomicU64, Ordering::SeqCst},
        thread::{scope, yield_now},
    };
    const ROUNDS: u64 = 20_000;
    let last = Answered::default();
    let (arrived, due) = (AtomicU64::new(0), AtomicU64::new(0));
    let processor = || {
        for round in 1..=ROUNDS {
            let mut bytes = [0; LEN];
            request(round).emit(key(), &mut bytes);
            // Both begin at once, also where there is one processor only.
            arrived.fetch_add(1, SeqCst);
            while arrived.load(SeqCst) < 2 * round {
                yield_now();
            }
            due.fetch_add(is_due(&last, EVERY_NS, View::new(&bytes), round * EVERY_NS).into(), SeqCst);
        }
    };
    scope(|scope| {
        scope.spawn(processor);
        scope.spawn(processor);
    });
    assert_eq!(due.into_inner(), ROUNDS);
}
