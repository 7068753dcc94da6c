//! Heartbeats that find no agent: obeyed, and answered; and the answers, as they arrive at the other end.

use super::*;
use heartbeat::dataplane::guard;
use heartbeat_ebpf::{
    layout::Outcome,
    notice::Notice,
    wire::{self, View},
};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const DROP: u32 = 1;
const TX: u32 = 3;

/// What a heartbeat over IPv4 or IPv6 is answered with.
fn answer(host: &mut Host, message: Message) -> Option<Notice> {
    let frame = over_ipv4(&signed(message));
    let (verdict, out) = host.kernel.test_turn(&frame).expect("a run");
    if verdict == DROP {
        assert_eq!(out, frame, "what is not answered is not changed");
        return None;
    }
    assert_eq!((verdict, out.len()), (TX, frame.len()), "as many bytes out as in");
    assert_eq!((&out[..6], &out[6..12]), (&frame[6..12], &frame[..6]), "MAC addresses change sides");
    assert_eq!((&out[26..30], &out[30..34]), (&frame[30..34], &frame[26..30]), "and IP addresses");
    let view = View::new(out[42..].try_into().expect("a whole message"));
    assert!(view.is_notice() && view.tag_is_right(key()));
    Notice::parse(&view.words())
}

#[test]
fn a_live_agents_kernel_neither_obeys_nor_answers() {
    in_namespace(|| {
        let mut host = Host::new();
        assert_eq!((answer(&mut host, claim(1, 0b11)), host.closed()), (None, 0));
        assert_eq!(host.tables.slot(ChannelIndex(CHANNEL)).counted(Outcome::Accepted), 1);
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn a_dead_or_late_agents_kernel_obeys_and_says_so_in_the_same_frame() {
    for died in [true, false] {
        in_namespace(|| {
            let mut host = Host::new();
            host.silent_for(INTERVAL.times(3));
            if died {
                host.dead();
            }
            let asked = claim(1, 0b10);
            let told = answer(&mut host, asked).expect("a notice");
            // The peer's second group is our first.
            assert_eq!((host.closed(), told.closed), (0b01, 0b01));
            let silent_ns = if died { 0..1_000_000_000 } else { 60_000_000..1_060_000_000 };
            assert!(silent_ns.contains(&told.silent_ns), "{told:?}");
            let expected = Notice {
                pair_id: PAIR,
                node: 0,
                channel_id: CHANNEL.into(),
                key_id: 0,
                incarnation: OWN,
                peer_incarnation: PEER,
                sent_ns: told.sent_ns,
                asked_ns: asked.sent_ns,
                died,
                leased: true,
                silent_ns: told.silent_ns,
                grace_ms: 2_000,
                owned: 0b11,
                closed: 0b01,
                term: 5,
                names_digest: 88,
            };
            assert_eq!(told, expected);
            assert_eq!(answer(&mut host, claim(1, 0b11)), None, "a replay");
            assert_eq!(host.closed(), 0b01);
            assert_eq!(answer(&mut host, claim(2, 0b11)).expect("a notice").closed, 0b11);
            host.kernel.remove().expect("removing");
        });
    }
}

#[test]
fn forged_claims_close_nothing_and_are_not_answered() {
    in_namespace(|| {
        let mut host = Host::new();
        host.dead();
        let forged = over_ipv4(&signed_with(second_key(), claim(1, 0b11)));
        let (verdict, out) = host.kernel.test_turn(&forged).expect("a run");
        assert_eq!((verdict, out == forged, host.closed()), (DROP, true, 0));
        for other in [Message { pair_id: PAIR + 1, ..claim(1, 0b11) }, Message { node: 0, ..claim(1, 0b11) }] {
            assert_eq!((answer(&mut host, other), host.closed()), (None, 0), "{other:?}");
        }
        assert!(answer(&mut host, claim(1, 0b11)).is_some());
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn of_an_unknown_life_of_the_peer_one_heartbeat_is_answered_now_and_then() {
    in_namespace(|| {
        let mut host = Host::new();
        host.dead();
        let begun = Instant::now();
        let answers = (1..200).filter(|n| {
            answer(&mut host, Message { incarnation: PEER + 1, peer_incarnation: 0, ..claim(*n, 0b10) }).is_some()
        });
        let answers = answers.count() as u128;
        assert!((1..=1 + begun.elapsed().as_millis() / 10).contains(&answers), "{answers} in {:?}", begun.elapsed());
        assert_eq!((host.closed(), host.tables.kernel().heard_ns.get()), (0b01, 0));
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn over_ipv6_a_notice_has_a_right_checksum() {
    use pnet_packet::{Packet as _, ipv6::Ipv6Packet, udp};
    in_namespace(|| {
        let mut host = Host::new();
        host.kernel.attach(ChannelIndex(1), "lo", ADDRESS_V6.into(), XdpPreference::Auto).expect("attaching");
        host.dead();
        let message = Message { channel_id: 1, ..claim(1, 0b10) };
        let (verdict, out) = host.kernel.test_turn(&over_ipv6(&signed(message))).expect("a run");
        assert_eq!(verdict, TX);
        let ip = Ipv6Packet::new(&out[14..]).expect("whole");
        let packet = udp::UdpPacket::new(ip.payload()).expect("whole");
        assert_eq!(packet.get_checksum(), udp::ipv6_checksum(&packet, &ADDRESS_V6, &PEER_V6));
        assert!(View::new(packet.payload().try_into().expect("whole")).tag_is_right(key()));
        host.kernel.remove().expect("removing");
    });
}

/// What the peer's kernel answers what we said at `asked_ns`.
fn notice(asked_ns: u64) -> Notice {
    Notice {
        pair_id: PAIR,
        node: 1,
        channel_id: CHANNEL.into(),
        incarnation: PEER,
        peer_incarnation: OWN,
        asked_ns,
        died: true,
        ..Notice::default()
    }
}

#[test]
fn a_notice_is_put_on_record_rings_where_it_is_news_and_is_never_answered() {
    in_namespace(|| {
        let mut host = Host::new();
        // Also where the agent that is told cannot hear it: two kernels that tell each other would never end.
        host.dead();
        let mut doorbell = host.kernel.doorbell().expect("the first caller has it");
        let mut takes = |key, notice: Notice, outcome: Outcome, rings: bool| {
            let mut bytes = [0; wire::LEN];
            notice.emit(key, &mut bytes);
            let slot = host.tables.slot(ChannelIndex(CHANNEL));
            let before = slot.counted(outcome);
            let frame = over_ipv4(&bytes);
            assert_eq!(host.kernel.test_turn(&frame).expect("a run"), (DROP, frame), "{notice:?}");
            assert_eq!(slot.counted(outcome), before + 1, "{notice:?}: {}", outcome.name());
            assert_eq!(doorbell.next().is_some(), rings, "{notice:?}");
        };
        let now = clock::monotonic().0;
        takes(key(), notice(now), Outcome::Notice, true);
        takes(key(), notice(now), Outcome::NoticeIgnored, false);
        takes(key(), notice(now - 1), Outcome::NoticeIgnored, false);
        takes(key(), notice(now + 60_000_000_000), Outcome::NoticeIgnored, false);
        takes(key(), notice(now + 1), Outcome::Notice, false);
        takes(key(), Notice { closed: 1, ..notice(now + 2) }, Outcome::Notice, true);
        takes(key(), Notice { peer_incarnation: OWN - 1, ..notice(now + 3) }, Outcome::NoticeIgnored, false);
        takes(second_key(), notice(now + 3), Outcome::WrongTag, false);
        takes(key(), Notice { node: 0, ..notice(now + 3) }, Outcome::SameNode, false);
        let slot = host.tables.slot(ChannelIndex(CHANNEL));
        let (words, _) = slot.notice.read().expect("no writer");
        assert_eq!(Notice::parse(&words), Some(Notice { closed: 1, ..notice(now + 2) }));
        assert_eq!((slot.live.version(), host.tables.kernel().heard_ns.get()), (0, 0), "a notice is no life");
        drop(doorbell);
        host.kernel.remove().expect("removing");
    });
}

#[test]
fn the_end_of_the_watched_thread_is_noted_at_once_and_of_no_other() {
    in_namespace(|| {
        let mut host = Host::new();
        assert_eq!(host.kernel.keep_silent_on(&[].into()), Mended::default());
        let tables = Arc::clone(&host.tables);
        let (ready, is_ready) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let watched = thread::spawn(move || {
            guard::watch_this_thread(&tables).expect("a namespace");
            ready.send(()).expect("a test");
            let _ = ends.recv();
        });
        is_ready.recv().expect("it runs");
        thread::spawn(|| ()).join().expect("no panic");
        assert_eq!(host.tables.kernel().dead_of.get(), 0);
        let before = clock::monotonic().0;
        drop(end);
        watched.join().expect("no panic");
        // Whoever joins it may be faster than its end.
        let deadline = Instant::now() + Duration::from_secs(2);
        while host.tables.kernel().dead_of.get() == 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(host.tables.kernel().dead_of.get(), OWN);
        assert!((before..clock::monotonic().0).contains(&host.tables.kernel().dead_ns.get()));
        host.kernel.remove().expect("removing");
    });
}
