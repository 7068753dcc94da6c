//! Echo requests that the XDP program answers by turning their frames round, and replies that it puts on record. Crafted
//! frames by BPF_PROG_TEST_RUN, and once over a cable with a program at either end. Needs root.

mod cable;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with other tests and the benchmark")]
mod support;

use heartbeat::{
    dataplane::{Kernel, Tables},
    system::clock,
    types::{ChannelIndex, Node, XdpMode, XdpPreference},
};
use heartbeat_ebpf::{
    echo::{Echo, EchoKind},
    layout::{Outcome, Slot},
    siphash::Key,
    wire::{self, Message, View},
};
use pnet_packet::{
    Packet as _,
    ethernet::EtherTypes,
    ipv4::{self, Ipv4Packet},
    ipv6::Ipv6Packet,
    udp::{self, UdpPacket},
};
use std::{sync::Arc, thread, time::Duration};
use support::*;

const DROP: u32 = 1;
const TX: u32 = 3;
const V4: u8 = 3;
const V6: u8 = 5;
const UDP: u8 = 17;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
/// Longer than a channel has to be quiet before it answers a stranger.
const QUIET: Duration = Duration::from_millis(11);

/// A request of the peer's, as it is when all is well.
fn request(channel: u8, sent_ns: u64) -> Echo {
    Echo::request(PAIR, Node::B.wire(), channel.into(), 0, PEER, OWN, sent_ns)
}

/// A reply of the peer's to what we asked at `asked_ns`.
fn reply(channel: u8, asked_ns: u64) -> Echo {
    Echo { kind: EchoKind::Reply, echo_sent_ns: asked_ns, echo_held_ns: 5_000_000, ..request(channel, 77) }
}

fn sealed(echo: Echo) -> Vec<u8> {
    sealed_with(key(), echo)
}

fn sealed_with(key: Key, echo: Echo) -> Vec<u8> {
    let mut bytes = [0x55; wire::LEN];
    echo.emit(key, &mut bytes);
    bytes.to_vec()
}

/// The program on the loopback interface, where channels `V4` and `V6` end.
struct Reflector {
    kernel: Kernel,
    tables: Arc<Tables>,
    _pins: PinFolder,
}

impl Reflector {
    fn new() -> Self {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("opening");
        for (channel, address) in [(V4, ADDRESS_V4.into()), (V6, ADDRESS_V6.into())] {
            let attached = kernel.attach(ChannelIndex(channel), "lo", address, XdpPreference::Auto).expect("attaching");
            assert_ne!(attached.mode, XdpMode::Socket, "{:?}", attached.why);
        }
        let tables = kernel.tables();
        name_channels(&tables);
        tables.agent().incarnation.set(OWN);
        tables.agent().peer_incarnation.set(PEER);
        tables.agent().alive_ns.set(clock::monotonic().0 - 3_000_000_000);
        Self { kernel, tables, _pins: pins }
    }

    fn slot(&self, channel: u8) -> &Slot {
        self.tables.slot(ChannelIndex(channel))
    }

    /// The frame that a frame is answered with, if it is.
    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (verdict, out) = self.kernel.test_turn(frame).expect("a run");
        if verdict == DROP {
            assert_eq!(out, frame, "what is not answered is not changed");
            return None;
        }
        assert_eq!(verdict, TX);
        Some(out)
    }

    /// One more of `outcome` on `channel` and nothing else, and whether there was an answer.
    fn counts(&mut self, name: &str, frame: &[u8], channel: u8, outcome: Outcome) -> bool {
        let counted = |slot: &Slot| Outcome::ALL.map(|outcome| slot.counted(outcome));
        let mut expected = counted(self.slot(channel));
        expected[outcome as usize] += 1;
        let answered = self.answer(frame).is_some();
        assert_eq!(counted(self.slot(channel)), expected, "{name}: {} and nothing else", outcome.name());
        assert_eq!(answered, outcome == Outcome::EchoRequest, "{name}: answered");
        answered
    }

    /// Echoes are no heartbeats, whatever else they are.
    fn no_life(&self) {
        for slot in self.tables.channels().map(|c| self.tables.slot(c)) {
            assert_eq!((slot.live.version(), slot.handshake.version()), (0, 0));
            assert_eq!([&slot.missing, &slot.window_of, &slot.highest, &slot.window].map(|word| word.get()), [0; 4]);
            assert_eq!(slot.counted(Outcome::Accepted) + slot.counted(Outcome::Handshake), 0);
        }
        assert!(
            self.tables.channels().all(|c| self.tables.inter_arrival(c).counts.iter().all(|count| count.get() == 0))
        );
    }

    fn remove(self) {
        self.kernel.remove().expect("removing");
    }
}

/// Holds the message of a reply to `asked` against what it should be.
fn check_message(message: &[u8], asked: Echo, alive_age: std::ops::Range<u64>) {
    let view = View::new(message.try_into().expect("a whole message"));
    assert_eq!(view.opening(), wire::opening(3));
    assert!(view.tag_is_right(key()), "tag");
    let answer = Echo::parse(&view.words()).expect("an echo");
    let age = answer.alive_age_ns().expect("an agent that lived");
    assert!(alive_age.contains(&age), "{age}");
    assert!(clock::monotonic().0 - answer.sent_ns < 1_000_000_000, "{answer:?}");
    let expected = Echo {
        kind: EchoKind::Reply,
        node: Node::A.wire(),
        incarnation: OWN,
        peer_incarnation: asked.incarnation,
        sent_ns: answer.sent_ns,
        echo_sent_ns: asked.sent_ns,
        echo_held_ns: age,
        ..asked
    };
    assert_eq!(answer, expected);
    // As a heartbeat it would say nothing else.
    let rest = Message::parse(&view.words());
    let said = Message {
        pair_id: PAIR,
        channel_id: asked.channel_id,
        incarnation: OWN,
        peer_incarnation: asked.incarnation,
        sent_ns: answer.sent_ns,
        echo_sent_ns: asked.sent_ns,
        // One word of an echo, two fields of a heartbeat.
        echo_held_ns: (age >> 32) as u32,
        file_time: age as u32,
        ..Message::default()
    };
    assert_eq!(rest, said);
}

/// What [`Reflector::new`] says, and for how long a test may run on a busy machine.
const AGE: std::ops::Range<u64> = 3_000_000_000..60_000_000_000;

fn check_ethernet(sent: &[u8], got: &[u8], to_ip: usize) {
    assert_eq!(got.len(), sent.len(), "as many bytes out as in");
    assert_eq!((&got[..6], &got[6..12]), (&sent[6..12], &sent[..6]), "MAC addresses change sides");
    assert_eq!(got[12..to_ip], sent[12..to_ip], "tags and type stay");
}

#[test]
fn a_request_over_ipv4_comes_back_as_its_reply() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let wrap = |payload: &[u8]| udp_to(ADDRESS_V4.into(), wire::PORT, payload);
        for (i, tags) in [&[][..], &[VLAN], &[QINQ, VLAN]].into_iter().enumerate() {
            let asked = request(V4, 1_000 + i as u64);
            let mut datagram = wrap(&sealed(asked));
            // From another port, so that it shows where it goes.
            datagram[..2].copy_from_slice(&4_000u16.to_be_bytes());
            // A frame of the local stack's has half a checksum.
            datagram[6..8].copy_from_slice(&[0x12, 0x34]);
            let mut packet = ipv4_with(ADDRESS_V4, UDP, &[], &datagram);
            // All that is left to a packet from afar, and bits that make the sums carry.
            packet[1] = 0xc0;
            packet[4..9].copy_from_slice(&[0xff, 0xfe, 0x40, 0, 1 + i as u8]);
            let checksum = ipv4::checksum(&Ipv4Packet::new(&packet).unwrap());
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            let frame = [tagged(tags, EtherTypes::Ipv4, &packet), vec![0xee; 3]].concat();
            thread::sleep(Duration::from_micros(200));
            let got = reflector.answer(&frame).expect("an answer");

            let to_ip = 14 + 4 * tags.len();
            check_ethernet(&frame, &got, to_ip);
            let ip = Ipv4Packet::new(&got[to_ip..]).unwrap();
            assert_eq!((ip.get_source(), ip.get_destination()), (ADDRESS_V4, PEER_V4));
            assert_eq!((ip.get_ttl(), ip.get_dscp(), ip.get_identification()), (255, 0x30, 0xfffe));
            assert_eq!(ip.get_checksum(), ipv4::checksum(&ip), "IPv4 checksum");
            let udp = UdpPacket::new(ip.payload()).unwrap();
            assert_eq!(
                (udp.get_source(), udp.get_destination(), udp.get_length()),
                (wire::PORT, 4_000, 8 + wire::LEN as u16)
            );
            assert_eq!(udp.get_checksum(), 0);
            check_message(udp.payload(), asked, AGE);
            assert_eq!(got[got.len() - 3..], [0xee; 3], "padding stays");
        }
        assert_eq!(reflector.slot(V4).counted(Outcome::EchoRequest), 3);
        reflector.no_life();
        reflector.remove();
    });
}

#[test]
fn a_request_over_ipv6_comes_back_with_a_right_checksum() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        // Many messages: sums with and without carries, short of 0 and beyond.
        for i in 0..300u64 {
            let asked = request(V6, 1 + i * 0x0123_4567_89ab);
            let mut datagram = udp_to(ADDRESS_V6.into(), wire::PORT, &sealed(asked));
            datagram[..2].copy_from_slice(&(4_000 + i as u16).to_be_bytes());
            datagram[6..8].copy_from_slice(&[0x12, 0x34]);
            let mut packet = ipv6_with(ADDRESS_V6, UDP, &datagram);
            packet[7] = 1;
            let tags = if i % 2 == 0 { &[][..] } else { &[VLAN] };
            let frame = tagged(tags, EtherTypes::Ipv6, &packet);
            thread::sleep(Duration::from_micros(110));
            let got = reflector.answer(&frame).expect("an answer");

            let to_ip = 14 + 4 * tags.len();
            check_ethernet(&frame, &got, to_ip);
            let ip = Ipv6Packet::new(&got[to_ip..]).unwrap();
            assert_eq!((ip.get_source(), ip.get_destination()), (ADDRESS_V6, PEER_V6));
            assert_eq!(ip.get_hop_limit(), 255);
            let udp = UdpPacket::new(ip.payload()).unwrap();
            assert_eq!((udp.get_source(), udp.get_destination()), (wire::PORT, 4_000 + i as u16));
            // RFC 8200, 8.1: a sum of zero is sent as its complement, which pnet does not say.
            let sum = match udp::ipv6_checksum(&udp, &ADDRESS_V6, &PEER_V6) {
                0 => u16::MAX,
                sum => sum,
            };
            assert_eq!(udp.get_checksum(), sum, "UDP checksum");
            check_message(udp.payload(), asked, AGE);
        }
        reflector.no_life();
        reflector.remove();
    });
}

#[test]
fn only_the_peers_own_requests_are_answered() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let good = request(V4, 1_000);
        let mut refused = |name: &str, echo: Echo, outcome| {
            reflector.counts(name, &over_ipv4(&sealed(echo)), V4, outcome);
        };
        refused("another pair", Echo { pair_id: PAIR + 1, ..good }, Outcome::WrongPair);
        refused("another channel", Echo { channel_id: V6.into(), ..good }, Outcome::WrongChannel);
        refused("our own, come back", Echo { node: 0, incarnation: OWN, ..good }, Outcome::Reflected);
        refused("another with our letter", Echo { node: 0, incarnation: 9, ..good }, Outcome::SameNode);
        refused("no node", Echo { node: 2, ..good }, Outcome::Malformed);
        refused("the other key's tag", Echo { key_id: 1, ..good }, Outcome::WrongTag);
        refused("no key", Echo { key_id: 2, ..good }, Outcome::WrongTag);
        refused("nobody's incarnation", Echo { incarnation: 0, ..good }, Outcome::Malformed);
        let forged = over_ipv4(&sealed_with(Key::new([9; 16]), good));
        reflector.counts("forged", &forged, V4, Outcome::WrongTag);
        for at in [42 + 40, 42 + 64, 42 + wire::LEN - 1] {
            let mut frame = over_ipv4(&sealed(good));
            frame[at] ^= 1;
            reflector.counts("a flipped bit", &frame, V4, Outcome::WrongTag);
        }
        let mut short = sealed(good);
        short.pop();
        reflector.counts("a byte short", &over_ipv4(&short), V4, Outcome::Malformed);
        // None of them has spent anything: the genuine one is answered, also with the other key.
        assert!(reflector.counts("genuine", &over_ipv4(&sealed(good)), V4, Outcome::EchoRequest));
        thread::sleep(QUIET);
        let second = sealed_with(second_key(), Echo { key_id: 1, ..request(V4, 2_000) });
        let got = reflector.answer(&over_ipv4(&second)).expect("an answer");
        let message = View::new(got[42..].try_into().unwrap());
        assert!(message.key_id() == 1 && message.tag_is_right(second_key()), "signed with the same key");
        reflector.no_life();
        reflector.remove();
    });
}

#[test]
fn frames_that_cannot_be_turned_round_are_not_answered() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let (four, six) = (sealed(request(V4, 1_000)), sealed(request(V6, 1_000)));
        let udp4 = udp_to(ADDRESS_V4.into(), wire::PORT, &four);
        let udp6 = udp_to(ADDRESS_V6.into(), wire::PORT, &six);
        let optional = ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, UDP, &[1; 4], &udp4));
        let extended = [&[UDP, 0, 0, 0, 0, 0, 0, 0][..], &udp6].concat();
        let extended = ethernet(EtherTypes::Ipv6, &ipv6_with(ADDRESS_V6, 60, &extended));
        let with = |mut frame: Vec<u8>, at: usize, value| {
            frame[at] = value;
            frame
        };
        let (plain4, plain6) = (over_ipv4(&four), over_ipv6(&six));
        for (name, frame, channel) in [
            ("IP options", optional, V4),
            ("extension header", extended, V6),
            ("from a group of stations", with(plain4.clone(), 6, 3), V4),
            ("to a group of stations", with(plain4.clone(), 0, 3), V4),
            ("from everybody", with(plain4.clone(), 26, 255), V4),
            ("from a group", with(plain4.clone(), 26, 224), V4),
            ("from nobody", with(plain4.clone(), 26, 0), V4),
            ("from itself", with(plain4.clone(), 26, 127), V4),
            ("from a group over IPv6", with(plain6.clone(), 22, 0xff), V6),
            ("IP length beyond the datagram's", with(plain4.clone(), 17, 173), V4),
            ("IPv6 length beyond the datagram's", with(plain6.clone(), 19, 153), V6),
        ] {
            reflector.counts(name, &frame, channel, Outcome::EchoIgnored);
        }
        reflector.counts("plain", &plain4, V4, Outcome::EchoRequest);
        reflector.counts("plain IPv6", &plain6, V6, Outcome::EchoRequest);
        reflector.remove();
    });
}

#[test]
fn a_request_is_answered_once_and_none_too_soon_after_another() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let frame = |echo| over_ipv4(&sealed(echo));
        let (first, second) = (frame(request(V4, 1_000)), frame(request(V4, 2_000)));
        assert!(reflector.counts("the first", &first, V4, Outcome::EchoRequest));
        // As if it had just been: what is between two runs is not for this test to say.
        reflector.slot(V4).answered[0].at_ns.set(clock::monotonic().0 + 60_000_000_000);
        reflector.counts("too soon", &second, V4, Outcome::EchoIgnored);
        reflector.slot(V4).answered[0].at_ns.set(clock::monotonic().0 - 100_000);
        reflector.counts("the first again", &first, V4, Outcome::EchoIgnored);
        reflector.counts("before the first", &frame(request(V4, 999)), V4, Outcome::EchoIgnored);
        assert!(reflector.counts("in time", &second, V4, Outcome::EchoRequest));
        // A channel's limit is its own.
        assert!(reflector.counts("another channel", &over_ipv6(&sealed(request(V6, 1))), V6, Outcome::EchoRequest));
        reflector.no_life();
        reflector.remove();
    });
}

#[test]
fn requests_recorded_in_other_lives_of_the_peer_do_not_use_up_what_the_genuine_ones_need() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let frame = |incarnation, sent_ns| over_ipv4(&sealed(Echo { incarnation, ..request(V4, sent_ns) }));
        assert!(reflector.counts("a new life", &frame(PEER + 1, 500), V4, Outcome::EchoRequest));
        reflector.slot(V4).answered[1].at_ns.set(clock::monotonic().0 - 5_000_000);
        reflector.counts("an older one, too soon", &frame(PEER - 1, 900), V4, Outcome::EchoIgnored);
        assert!(reflector.counts("the genuine one", &frame(PEER, 400), V4, Outcome::EchoRequest));
        thread::sleep(QUIET);
        assert!(reflector.counts("an older one", &frame(PEER - 1, 900), V4, Outcome::EchoRequest));
        thread::sleep(QUIET);
        reflector.counts("the older one again", &frame(PEER - 1, 900), V4, Outcome::EchoIgnored);
        reflector.counts("the genuine one again", &frame(PEER, 400), V4, Outcome::EchoIgnored);
        assert!(reflector.counts("the next genuine one", &frame(PEER, 401), V4, Outcome::EchoRequest));
        reflector.remove();
    });
}

#[test]
fn a_reply_says_how_long_the_agent_has_been_still_or_that_it_never_lived() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let mut age = |alive_ns, sent_ns| {
            reflector.tables.agent().alive_ns.set(alive_ns);
            thread::sleep(QUIET);
            let got = reflector.answer(&over_ipv4(&sealed(request(V4, sent_ns)))).expect("an answer");
            Echo::parse(&View::new(got[42..].try_into().unwrap()).words()).unwrap().alive_age_ns()
        };
        assert_eq!(age(0, 1), None);
        assert_eq!(age(clock::monotonic().0 + 60_000_000_000, 2), Some(0), "never in the past's past");
        let hour = age(clock::monotonic().0 - 3_600_000_000_000, 3).unwrap();
        assert!((3_600_000_000_000..3_601_000_000_000).contains(&hour), "{hour}");
        // No agent has run at all: the host lives, and says so.
        reflector.tables.agent().incarnation.set(0);
        reflector.tables.agent().alive_ns.set(0);
        reflector.slot(V4).answered[0].at_ns.set(0);
        let got = reflector.answer(&over_ipv4(&sealed(request(V4, 9)))).expect("an answer");
        let answer = Echo::parse(&View::new(got[42..].try_into().unwrap()).words()).unwrap();
        assert_eq!((answer.incarnation, answer.alive_age_ns()), (0, None));
        reflector.remove();
    });
}

#[test]
fn a_reply_is_put_on_record_and_never_answered() {
    in_namespace(|| {
        let mut reflector = Reflector::new();
        let mut doorbell = reflector.kernel.doorbell().unwrap();
        let record = |reflector: &Reflector| {
            let (words, stamp_ns) = reflector.slot(V6).echo.read().expect("no writer");
            (Echo::parse(&words), stamp_ns)
        };
        let frame = |echo| over_ipv6(&sealed(echo));
        let before = clock::monotonic().0;
        reflector.counts("a reply", &frame(reply(V6, 1_000)), V6, Outcome::EchoReply);
        let (echo, stamp_ns) = record(&reflector);
        assert_eq!(echo, Some(reply(V6, 1_000)));
        assert!((before..=clock::monotonic().0).contains(&stamp_ns));

        let version = reflector.slot(V6).echo.version();
        let ignored = [
            ("again", reply(V6, 1_000)),
            ("an earlier one", reply(V6, 999)),
            ("to another life of ours", Echo { peer_incarnation: OWN - 1, ..reply(V6, 2_000) }),
            ("to nobody", Echo { peer_incarnation: 0, ..reply(V6, 2_000) }),
        ];
        for (name, echo) in ignored {
            reflector.counts(name, &frame(echo), V6, Outcome::EchoIgnored);
        }
        let refused = [
            ("another pair", Echo { pair_id: 1, ..reply(V6, 2_000) }, Outcome::WrongPair),
            ("another channel", Echo { channel_id: V4.into(), ..reply(V6, 2_000) }, Outcome::WrongChannel),
            ("ours, come back", Echo { node: 0, incarnation: OWN, ..reply(V6, 2_000) }, Outcome::Reflected),
            ("the other key's tag", Echo { key_id: 1, ..reply(V6, 2_000) }, Outcome::WrongTag),
        ];
        for (name, echo, outcome) in refused {
            reflector.counts(name, &frame(echo), V6, outcome);
        }
        assert_eq!((record(&reflector), reflector.slot(V6).echo.version()), ((echo, stamp_ns), version));

        // Whatever life of the peer's answers, and if none has been.
        let of_nobody = Echo { incarnation: 0, echo_held_ns: u64::MAX, ..reply(V6, 1_001) };
        reflector.counts("of a host whose agent never ran", &frame(of_nobody), V6, Outcome::EchoReply);
        assert_eq!(record(&reflector).0, Some(of_nobody));
        // A new life of ours asks anew.
        reflector.tables.agent().incarnation.set(OWN + 1);
        reflector.counts("to the life before", &frame(reply(V6, 3_000)), V6, Outcome::EchoIgnored);
        let new = Echo { peer_incarnation: OWN + 1, ..reply(V6, 5) };
        reflector.counts("to the new life", &frame(new), V6, Outcome::EchoReply);
        assert_eq!(record(&reflector).0, Some(new));
        // No agent, no question.
        reflector.tables.agent().incarnation.set(0);
        let unasked = Echo { peer_incarnation: 0, ..reply(V6, 9_000) };
        reflector.counts("unasked", &frame(unasked), V6, Outcome::EchoIgnored);
        // Another processor writes: the reply is lost, the record is not.
        reflector.tables.agent().incarnation.set(OWN + 1);
        assert!(reflector.slot(V6).echo.lock());
        let late = Echo { peer_incarnation: OWN + 1, ..reply(V6, 6) };
        reflector.counts("at the same time", &frame(late), V6, Outcome::EchoIgnored);
        reflector.slot(V6).echo.unlock();
        assert_eq!(record(&reflector).0, Some(new));

        assert!(doorbell.next().is_none(), "replies wait for the agent");
        reflector.no_life();
        drop(doorbell);
        reflector.remove();
    });
}
