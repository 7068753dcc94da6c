use super::*;
use crate::core::testing::{Bench, SECOND};
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
