use super::*;
use crate::core::{
    Action, Resumed,
    testing::{Bench, SECOND, timing},
    transit::Transit,
};
use heartbeat_ebpf::wire::HELD_LONG;

/// As frames of a queue that stood still: authentic, new, and from before the sender died or took over.
#[test]
fn what_a_network_held_back_is_no_sign_of_life() {
    for (held_back_ms, lives) in [(0, true), (900, true), (1_200, false), (1_900, false)] {
        let mut bench = Bench::of(1, |_| {});
        bench.silence(SECOND.times(2));
        assert_eq!(bench.core.peer, PeerState::Bad);
        let sent = bench.now.since(Nanos::from_millis(held_back_ms));
        bench.hear(|message| {
            message.sent_ns = sent.0;
            (message.echo_sent_ns, message.echo_held_ns) = (sent.0, 0);
        });
        assert_eq!(bench.core.peer == PeerState::Good, lives, "held back for {held_back_ms} ms");
    }
}

#[test]
fn that_we_were_cut_off_is_forgotten_once_the_peer_hears_us_not_when_it_is_heard() {
    let mut bench = Bench::of(1, |_| {});
    let before = bench.now;
    bench.silence(SECOND.times(5));
    bench.core.alone.see_unmet(bench.now);
    bench.hear(|message| (message.echo_sent_ns, message.echo_held_ns) = (before.0, HELD_LONG));
    assert_eq!(bench.core.peer, PeerState::Good);
    assert!(bench.core.alone.has_missed_something());
    bench.hear(|_| {});
    assert!(!bench.core.alone.has_missed_something());
}

/// Nothing is known of it otherwise, and what nobody has is taken.
#[test]
fn nobody_is_paired_with_by_what_a_network_held_back() {
    for (held_back_ms, pairs) in [(900, true), (1_900, false)] {
        let mut bench = Bench::of(1, |_| {});
        bench.run(SECOND.times(2));
        let sent = bench.now.since(Nanos::from_millis(held_back_ms));
        let next = bench.message(|message| {
            (message.incarnation, message.sent_ns) = (message.incarnation + 1, sent.0);
            (message.echo_sent_ns, message.echo_held_ns) = (sent.0, 0);
        });
        bench.core.handle_handshake(bench.now, ChannelIndex(0), &next, bench.now);
        assert_eq!(bench.core.pairing.peer() == next.incarnation, pairs, "held back for {held_back_ms} ms");
        assert_eq!(bench.core.said.owned, 0b10, "what is known of it stays known");
    }
}

/// Of two that begin and were both played recordings of each other, each took the other's messages for old, as they answered to those.
#[test]
fn who_is_taken_to_have_been_held_back_is_answered_and_proves_that_it_was_not() {
    for names in [0, 1] {
        let mut bench = Bench::of(0, |setup| setup.resumed = None);
        bench.silence(SECOND.times(2));
        bench.core.channels[0].transit = Transit::default();
        let recorded = bench.now.since(Nanos::from_millis(1_900));
        let said = bench.message(|message| {
            message.peer_incarnation *= names;
            (message.echo_sent_ns, message.echo_held_ns) = (recorded.0, 0);
        });
        bench.core.handle_handshake(bench.now, ChannelIndex(0), &said, bench.now);
        assert_eq!(bench.core.pairing.peer(), 0);
        let answer = bench.core.message(bench.now, ChannelIndex(0)).unwrap();
        assert_eq!((answer.peer_incarnation, answer.echo_sent_ns), (said.incarnation, said.sent_ns), "{names}");
    }
}

/// Else the others are silent for as long as it takes until it says the next.
#[test]
fn a_new_life_that_is_heard_on_all_channels_at_once_lives_on_all_of_them() {
    let mut bench = Bench::of(1, |_| {});
    bench.run(SECOND);
    let next = bench.message(|message| message.incarnation += 1);
    bench.now = bench.now.after(timing().interval);
    for channel in 0..2 {
        bench.core.handle_handshake(bench.now, ChannelIndex(channel), &next, bench.now);
    }
    assert_eq!(bench.core.pairing.peer(), next.incarnation);
    let heard = [0, 1].map(|i: usize| bench.core.channels[i].counter.last_arrival());
    assert_eq!(heard, [Some(bench.now); 2]);
}

/// It may answer to what the life before was told: it has to hear us first.
#[test]
fn who_is_not_paired_with_us_is_answered_at_once_but_not_often() {
    let mut bench = Bench::of(1, |_| {});
    bench.run(SECOND);
    bench.now = bench.now.after(Nanos::from_millis(20));
    for (after_ms, said) in [(0, 1), (24, 0), (25, 1)] {
        let asked = bench.core.paired_at.0 - 1;
        let next = bench.message(|message| {
            (message.incarnation, message.echo_sent_ns) = (message.incarnation + 1 + after_ms, asked);
        });
        let now = bench.now.after(Nanos::from_millis(after_ms));
        bench.core.handle_handshake(now, ChannelIndex(0), &next, now);
        bench.core.handle_time(now);
        let sent = std::iter::from_fn(|| bench.core.poll_action()).filter(|action| matches!(action, Action::Send(_)));
        assert_eq!(sent.count(), said, "after {after_ms} ms");
    }
}

/// Else what it claims is by a term that the peer has seen already.
#[test]
fn a_life_goes_on_with_the_term_of_the_one_before() {
    let bench = Bench::of(1, |setup| {
        setup.resumed = setup.resumed.map(|resumed| Resumed { term: 7, ..resumed });
    });
    assert_eq!(bench.core.term(), 7);
}

/// Of a peer that this life does not hear, it knows that alone: what it claims by less, its kernel would not obey.
#[test]
fn what_the_life_before_heard_of_the_peers_term_is_gone_beyond() {
    let mut bench = Bench::of(1, |_| {});
    let said = bench.message(|message| (message.peer_incarnation, message.term) = (message.peer_incarnation - 1, 9));
    bench.core.handle_handshake(bench.now, ChannelIndex(0), &said, bench.now);
    bench.silence(SECOND.times(2));
    assert_eq!((bench.core.owned(), bench.core.term()), (0b11, 10));
}

/// Where it took over what we have, and would never learn that both do.
#[test]
fn a_peer_that_hears_nothing_of_us_is_left_what_it_took_within_a_detection_time() {
    let mut bench = Bench::of(1, |_| {});
    let began = bench.now;
    while bench.core.ownership.releasing() == 0 {
        assert!(bench.now.since(began) <= timing().detection(), "both serve");
        bench.silence(timing().interval);
        bench.hear(|message| (message.heard, message.owned, message.term) = (0, 0b11, 1));
    }
    assert_eq!(bench.core.ownership.releasing(), 0b01);
    assert!(bench.now.since(began) > timing().detection().since(timing().interval.times(2)), "it may hear us yet");
}

/// A real one names us once it has heard us, which it does in any case. Where the peer has missed a heartbeat, it may be its next life.
#[test]
fn a_recording_that_names_somebody_else_is_not_answered_while_the_peer_is_well_nor_any_on_a_slow_line() {
    for (names, lines, unheard_ms, answered) in [
        (0, 0, 20, true),
        (1, 0, 20, false),
        (0, 1, 20, false),
        (1, 0, 149, false),
        (1, 0, 151, true),
        (1, 1, 151, false),
    ] {
        let mut bench = Bench::of(1, |setup| setup.lines = lines);
        bench.run(SECOND);
        let heard = bench.core.channels.iter().filter_map(|c| c.counter.last_arrival()).max().unwrap();
        let now = heard.after(Nanos::from_millis(unheard_ms));
        let asked = bench.core.paired_at.0 - 1;
        let recorded = bench.message(|message| {
            (message.incarnation, message.echo_sent_ns) = (message.incarnation + 1, asked);
            message.peer_incarnation += names;
        });
        bench.core.handle_handshake(now, ChannelIndex(0), &recorded, now);
        assert_eq!(bench.core.channels[0].owes_answer, answered, "{names} {lines} {unheard_ms}");
    }
}
