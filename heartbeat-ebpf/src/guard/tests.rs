use super::*;
use crate::{
    frame::Address,
    layout::{Filter, Histogram},
    notice::{self, Notice},
    receive,
    siphash::Key,
    verify::{Expected, News, Received},
    wire::{LEN, Message, View},
};
use proptest::prelude::*;

const OWN: u64 = 11;
const PEER: u64 = 22;
const EXPECTED: Expected = Expected { pair_id: 7, node: 0, channel_id: 3 };
/// Some time on our clock.
const NOW: u64 = 1_000_000_000;
const INTERVAL: u64 = 1_000_000;
const LEASE: u64 = 3_000_000;
/// The peer's list of names: it has our groups 0 to 7 in the opposite order, and no others.
const NAMES: u32 = 99;

fn key() -> Key {
    Key::new([1; 16])
}

/// A host's records.
#[derive(Default)]
struct Host {
    agent: AgentCell,
    kernel: KernelCell,
    slot: Slot,
}

impl Host {
    /// An agent that holds groups 0 and 1, and gave a sign of life `silent_ns` ago.
    fn holding(silent_ns: u64) -> Self {
        let host = Self::default();
        host.agent.incarnation.set(OWN);
        host.agent.peer_incarnation.set(PEER);
        host.agent.alive_ns.set(NOW - silent_ns);
        host.agent.owned.set(0b11);
        host.agent.term.set(5);
        host.slot.channel_id.set(3);
        let orders = &host.kernel.orders;
        orders.active.set(0b11);
        orders.peer_good.set(1);
        orders.lease_ns.set(LEASE);
        orders.late_ns.set(LATE * INTERVAL);
        orders.grace_ms.set(2_000);
        orders.names_digest.set(88);
        orders.thread.set(4_711);
        orders.peer_names.set(Orders::KNOWN | u64::from(NAMES));
        orders.places.iter().for_each(|places| places.set(u64::MAX));
        orders.places[0].set(u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        host
    }

    fn guard(&self) -> Guard<'_> {
        Guard { agent: &self.agent, kernel: &self.kernel }
    }

    /// The pulse thread ends.
    fn killed_at(self, now_ns: u64) -> Self {
        self.guard().ended(4_711, now_ns);
        self
    }

    /// What a heartbeat is answered with.
    fn hears(&self, message: &Message, now_ns: u64) -> Option<Notice> {
        let mut bytes = [0; LEN];
        message.emit(key(), &mut bytes);
        let view = View::new(&bytes);
        let histogram = Histogram::new();
        let received =
            receive::receive(Some(view), EXPECTED, &self.agent, |_| Some(key()), &self.slot, &histogram, || now_ns);
        let owed = self.guard().heard(view, received.outcome, &self.slot, now_ns);
        owed.then(|| notice::answer(view, EXPECTED, self.guard(), now_ns))
    }

    fn closed(&self) -> u64 {
        self.kernel.closed.get()
    }
}

/// The peer holds our group 0, by a higher term.
fn claim(sequence: u64) -> Message {
    Message {
        pair_id: 7,
        node: 1,
        channel_id: 3,
        incarnation: PEER,
        peer_incarnation: OWN,
        sequence,
        sent_ns: 40 + sequence,
        names_digest: NAMES,
        owned: 0b1000_0000,
        term: 6,
        ..Message::default()
    }
}

#[test]
fn a_live_agent_decides_for_itself_and_its_kernel_says_nothing() {
    let host = Host::holding(LATE * INTERVAL);
    assert_eq!((host.hears(&claim(1), NOW), host.closed(), host.guard().silent(NOW)), (None, 0, 0));
    let host = Host::holding(u64::MAX / 2 % NOW);
    host.kernel.orders.late_ns.set(0);
    assert_eq!((host.hears(&claim(1), NOW), host.closed()), (None, 0), "whom nobody told how late is late");
}

#[test]
fn an_agent_that_is_late_or_dead_gives_up_what_the_peer_says_it_holds_and_nothing_else() {
    let late = Host::holding(LATE * INTERVAL + 1);
    let dead = Host::holding(10).killed_at(NOW - 5);
    for host in [late, dead] {
        let notice = host.hears(&claim(1), NOW).expect("a notice");
        assert_eq!((host.closed(), host.guard().silent(NOW), notice.closed), (0b01, 0b01, 0b01));
        host.hears(&Message { owned: 0b1100_0000, ..claim(2) }, NOW).expect("a notice of the next one");
        assert_eq!(host.closed(), 0b11);
        // It is not taken back: that is the agent's.
        host.hears(&Message { owned: 0, ..claim(3) }, NOW).expect("a notice");
        assert_eq!(host.closed(), 0b11);
    }
}

#[test]
fn while_a_new_life_begins_the_peer_that_names_the_old_one_keeps_the_lease_and_its_recordings_do_not() {
    let named_before = |asked_ns: u64| Message {
        peer_incarnation: OWN - 1,
        echo_sent_ns: asked_ns,
        echo_held_ns: 10,
        owned: 0,
        ..claim(1)
    };
    for (what, message, serves) in [
        ("it answers to what the life before said last", named_before(NOW - 1_000), true),
        ("a recording", named_before(NOW - 2 * LEASE), false),
        ("of the time before our host was booted", named_before(NOW + 1), false),
        ("it answers to nothing", Message { echo_sent_ns: 0, ..named_before(0) }, false),
        ("another life of the peer's", Message { incarnation: PEER + 1, ..named_before(NOW - 1_000) }, false),
    ] {
        let host = Host::holding(LEASE + 1);
        host.hears(&message, NOW);
        assert_eq!(host.guard().silent(NOW) == 0, serves, "{what}");
    }
}

#[test]
fn what_is_no_claim_on_what_is_held_here_closes_nothing() {
    let refused = [
        ("our own term", Message { term: 5, ..claim(1) }),
        ("a lower one", Message { term: 0, ..claim(1) }),
        ("nothing is held", Message { owned: 0, ..claim(1) }),
        ("another group", Message { owned: 0b0010_0000, ..claim(1) }),
        ("a group that is not ours", Message { owned: 1 << 8, ..claim(1) }),
        ("of another list of names", Message { names_digest: NAMES + 1, ..claim(1) }),
    ];
    for (name, message) in refused {
        let host = Host::holding(10).killed_at(NOW - 5);
        assert!(host.hears(&message, NOW).is_some(), "{name}: told all the same");
        assert_eq!(host.closed(), 0, "{name}");
    }
}

/// What its bits stand for is not known: its file was edited since, or our agent died before it had heard all of its names.
#[test]
fn once_the_lease_was_over_a_claim_by_a_list_of_names_that_is_not_known_closes_all_that_is_held_here() {
    for (known, said) in [(Orders::KNOWN | u64::from(NAMES), NAMES + 1), (0, 0), (0, NAMES)] {
        let message = |term| Message { names_digest: said, owned: 0b0010_0000, term, ..claim(1) };
        for (term, silent_ns, closed) in [(5, LEASE + 1, 0), (6, LEASE, 0), (6, LEASE + 1, 0b11)] {
            let host = Host::holding(silent_ns).killed_at(NOW - 5);
            host.kernel.orders.peer_names.set(known);
            assert!(host.hears(&message(term), NOW).is_some());
            assert_eq!(host.closed(), closed, "{known:x} {said:x} {term} {silent_ns}");
        }
    }
}

#[test]
fn what_is_not_the_peers_closes_nothing_and_is_not_answered() {
    let refused = [
        Message { pair_id: 8, ..claim(1) },
        Message { node: 0, ..claim(1) },
        Message { channel_id: 4, ..claim(1) },
        Message { sequence: 0, ..claim(1) },
    ];
    for message in refused {
        let host = Host::holding(10).killed_at(NOW - 5);
        assert_eq!((host.hears(&message, NOW), host.closed(), host.kernel.heard_ns.get()), (None, 0, 0), "{message:?}");
    }
    // A replay was counted before.
    let host = Host::holding(10).killed_at(NOW - 5);
    host.hears(&Message { owned: 0, ..claim(1) }, NOW).expect("a notice");
    assert_eq!((host.hears(&claim(1), NOW + 1), host.closed()), (None, 0));
    assert_eq!(host.kernel.heard_ns.get(), NOW);
}

#[test]
fn a_peer_that_began_anew_is_obeyed_and_answered_now_and_then() {
    let host = Host::holding(10).killed_at(NOW - 5);
    let other = |sequence| Message { incarnation: PEER + 1, ..claim(sequence) };
    let notice = host.hears(&other(1), NOW + STRANGER_EVERY_NS).expect("a notice");
    assert_eq!((notice.peer_incarnation, host.closed()), (PEER + 1, 0b01));
    assert_eq!(host.kernel.heard_ns.get(), 0, "perhaps a recording: it does not prolong the lease");
    assert_eq!(host.hears(&other(2), NOW + 2 * STRANGER_EVERY_NS - 1), None);
    assert!(host.hears(&other(3), NOW + 2 * STRANGER_EVERY_NS).is_some());
}

#[test]
fn a_lease_ends_when_neither_agent_nor_peer_gave_a_sign_for_so_long() {
    let host = Host::holding(LEASE);
    assert_eq!((host.guard().silent(NOW), host.guard().silent(NOW + 1)), (0, 0b11));
    host.hears(&Message { owned: 0, ..claim(1) }, NOW + 10);
    assert_eq!((host.guard().silent(NOW + 10 + LEASE), host.guard().silent(NOW + 11 + LEASE)), (0, 0b11));
    // It is computed, not stored: a heartbeat that comes late opens, and the peer that has it says so.
    host.hears(&Message { owned: 0, ..claim(2) }, NOW + 20 + LEASE);
    assert_eq!(host.guard().silent(NOW + 20 + LEASE), 0);
    // Where the peer is dead, nobody would take over.
    host.kernel.orders.peer_good.set(0);
    assert_eq!(host.guard().silent(NOW * 9), 0);
    host.kernel.orders.peer_good.set(1);
    host.kernel.orders.lease_ns.set(0);
    assert_eq!(host.guard().silent(NOW * 9), 0);
}

#[test]
fn a_heartbeat_that_the_network_kept_does_not_prolong_the_lease() {
    let host = Host::holding(10).killed_at(NOW - 5);
    let network = INTERVAL / 8;
    // It answers what we said at 900 ms, and waited there for 50 us.
    let said = Message { owned: 0, echo_sent_ns: 900_000_000, echo_held_ns: 50_000, ..claim(1) };
    host.hears(&said, NOW);
    assert_eq!(host.kernel.heard_ns.get(), 900_050_000 + network);
    // An older one does not take anything back; one of which it is not known counts from its arrival.
    host.hears(&Message { sequence: 2, echo_sent_ns: 800_000_000, ..said }, NOW);
    assert_eq!(host.kernel.heard_ns.get(), 900_050_000 + network);
    host.hears(&Message { sequence: 3, echo_held_ns: HELD_LONG, ..said }, NOW + 1);
    assert_eq!(host.kernel.heard_ns.get(), NOW + 1);
    host.hears(&Message { sequence: 4, echo_sent_ns: NOW * 2, ..said }, NOW + 2);
    assert_eq!(host.kernel.heard_ns.get(), NOW + 2, "who answers to what is to come counts from its arrival");
    host.hears(&Message { sequence: 5, echo_sent_ns: NOW, echo_held_ns: 1, ..said }, NOW + 3);
    assert_eq!(host.kernel.heard_ns.get(), NOW + 3, "never later than now");
    // It keeps ours for longer than it can say.
    let late = NOW + 2 * u64::from(HELD_LONG);
    host.hears(&Message { sequence: 6, echo_sent_ns: NOW, echo_held_ns: HELD_LONG, ..said }, late);
    assert_eq!(host.kernel.heard_ns.get(), late);
    // Without an interval it is not known what a network takes.
    host.kernel.orders.late_ns.set(0);
    host.hears(&Message { sequence: 7, echo_sent_ns: late, echo_held_ns: 0, ..said }, late + INTERVAL);
    assert_eq!(host.kernel.heard_ns.get(), late + INTERVAL);
}

#[test]
fn a_grant_that_runs_out_silences_its_groups_whatever_the_agent_does() {
    let host = Host::holding(0);
    host.kernel.orders.limited.set(0b10);
    host.kernel.orders.serve_until_ns.set(NOW);
    assert_eq!((host.guard().silent(NOW), host.guard().silent(NOW + 1)), (0, 0b10));
}

#[test]
fn the_time_is_asked_for_only_where_it_ends_something() {
    let host = Host::holding(LEASE);
    let silent = |groups, now_ns: Option<u64>| host.guard().is_silent(groups, || now_ns.expect("nobody needs it"));
    assert!(!silent(0b01, Some(NOW)) && silent(0b01, Some(NOW + 1)) && !silent(0b100, Some(NOW + 1)));
    host.kernel.closed.set(0b10);
    assert!(silent(0b10, None) && !silent(0b01, Some(NOW)));
    host.kernel.orders.peer_good.set(0);
    assert!(silent(0b10, None) && !silent(0b01, None));
    host.kernel.orders.limited.set(0b01);
    host.kernel.orders.serve_until_ns.set(NOW);
    assert!(!silent(0b01, Some(NOW)) && silent(0b01, Some(NOW + 1)));
}

#[test]
fn where_nothing_is_in_place_nothing_is_looked_at() {
    let host = Host::holding(0);
    assert!(host.guard().kernel.is_armed());
    host.kernel.orders.active.set(0);
    assert!(!host.guard().kernel.is_armed());
    host.kernel.closed.set_bits(1);
    assert!(host.guard().kernel.is_armed());
}

#[test]
fn a_death_is_of_the_agents_thread_and_of_its_life() {
    let host = Host::holding(10);
    host.guard().ended(4_712, NOW);
    assert!(!host.guard().is_dead() && !host.guard().is_out(NOW));
    let host = host.killed_at(NOW);
    assert!(host.guard().is_dead() && host.guard().is_out(NOW));
    // The number is somebody else's by now.
    host.guard().ended(4_711, NOW + 7);
    assert_eq!(host.kernel.dead_ns.get(), NOW);
    host.agent.incarnation.set(OWN + 1);
    assert!(!host.guard().is_dead());
    let nobody = Host::default().killed_at(NOW);
    nobody.guard().ended(0, NOW);
    assert!(!nobody.guard().is_dead(), "no agent has run");
}

#[test]
fn a_notice_says_what_the_agent_left_and_since_when_it_cannot() {
    let host = Host::holding(10).killed_at(NOW - 5);
    let told = host.hears(&claim(1), NOW).expect("a notice");
    let dead = Notice {
        pair_id: 7,
        node: 0,
        channel_id: 3,
        key_id: 0,
        incarnation: OWN,
        peer_incarnation: PEER,
        sent_ns: NOW,
        asked_ns: 41,
        died: true,
        leased: true,
        silent_ns: 5,
        grace_ms: 2_000,
        owned: 0b11,
        closed: 0b01,
        term: 5,
        names_digest: 88,
    };
    assert_eq!(told, dead);
    let told = Host::holding(LATE * INTERVAL + 1).hears(&claim(1), NOW).expect("a notice");
    assert_eq!(told, Notice { died: false, silent_ns: LATE * INTERVAL + 1, ..dead });
}

/// What the peer told us in answer to what we said at `asked_ns`, taken at `now_ns`.
fn take(host: &Host, notice: Notice, now_ns: u64) -> Received {
    let mut bytes = [0; LEN];
    notice.emit(key(), &mut bytes);
    let histogram = Histogram::new();
    let key = |id| (id == 0).then(key);
    receive::receive(Some(View::new(&bytes)), EXPECTED, &host.agent, key, &host.slot, &histogram, || now_ns)
}

fn of_the_peer(asked_ns: u64) -> Notice {
    Notice {
        pair_id: 7,
        node: 1,
        channel_id: 3,
        incarnation: PEER,
        peer_incarnation: OWN,
        asked_ns,
        died: true,
        owned: 0b11,
        ..Notice::default()
    }
}

#[test]
fn of_notices_only_those_that_answer_something_later_of_this_life_count() {
    let host = Host::holding(0);
    let taken = |notice, outcome, news| assert_eq!(take(&host, notice, NOW), Received { outcome, news }, "{notice:?}");
    taken(of_the_peer(NOW + 1), Outcome::NoticeIgnored, News::None);
    taken(of_the_peer(100), Outcome::Notice, News::State);
    taken(of_the_peer(100), Outcome::NoticeIgnored, News::None);
    taken(of_the_peer(99), Outcome::NoticeIgnored, News::None);
    taken(of_the_peer(101), Outcome::Notice, News::None);
    taken(Notice { closed: 1, ..of_the_peer(102) }, Outcome::Notice, News::State);
    taken(Notice { died: false, closed: 1, ..of_the_peer(103) }, Outcome::Notice, News::State);
    taken(Notice { peer_incarnation: OWN - 1, ..of_the_peer(104) }, Outcome::NoticeIgnored, News::None);
    taken(Notice { node: 0, ..of_the_peer(104) }, Outcome::SameNode, News::None);
    taken(Notice { pair_id: 8, ..of_the_peer(104) }, Outcome::WrongPair, News::None);
    taken(Notice { channel_id: 4, ..of_the_peer(104) }, Outcome::WrongChannel, News::None);
    taken(Notice { key_id: 1, ..of_the_peer(104) }, Outcome::WrongTag, News::None);
    let (words, stamp_ns) = host.slot.notice.read().expect("no writer");
    assert_eq!((Notice::parse(&words), stamp_ns), (Some(Notice { died: false, closed: 1, ..of_the_peer(103) }), NOW));
    // Nothing else was touched: a notice is no life.
    assert_eq!((host.slot.live.version(), host.slot.echo.version(), host.kernel.heard_ns.get()), (0, 0, 0));
    host.agent.incarnation.set(OWN + 1);
    taken(of_the_peer(900), Outcome::NoticeIgnored, News::None);
    taken(Notice { peer_incarnation: OWN + 1, ..of_the_peer(5) }, Outcome::Notice, News::State);
}

proptest! {
    #[test]
    fn a_filter_has_all_that_is_set_and_of_others_hardly_any(set: [[u8; 16]; 8], net: u32, others: [[u8; 16]; 64]) {
        let mapped = |i: u32| Address::new((0xffff_0000_0000_u128 | u128::from(net.wrapping_add(i))).to_be_bytes());
        let set: [_; 24] = core::array::from_fn(|i| set.get(i).map_or_else(|| mapped(i as u32), |ip| Address::new(*ip)));
        let filter = Filter::default();
        filter.add(&[Address::new([7; 16])]);
        filter.set(&set);
        prop_assert!(set.iter().all(|address| filter.may_have(address)));
        let near = (32..96).map(mapped);
        let found = others.into_iter().map(Address::new).chain(near).filter(|other| filter.may_have(other)).count();
        prop_assert!(found < 4, "{}", found);
    }

    #[test]
    fn a_notice_that_is_emitted_into_a_dirty_buffer_parses_back(
        b: [u8; 2], h: [u32; 4], w: [u64; 8], died: bool, leased: bool, key: [u8; 16], dirt: u8,
    ) {
        let notice = Notice {
            pair_id: h[0],
            node: b[0],
            channel_id: h[1],
            key_id: b[1],
            incarnation: w[0],
            peer_incarnation: w[1],
            sent_ns: w[2],
            asked_ns: w[3],
            died,
            leased,
            silent_ns: w[4],
            grace_ms: h[2],
            owned: w[5],
            closed: w[6],
            term: w[7],
            names_digest: h[3],
        };
        let mut buffer = [dirt; LEN];
        notice.emit(Key::new(key), &mut buffer);
        let view = View::new(&buffer);
        prop_assert!(view.is_notice() && !view.is_echo() && view.tag_is_right(Key::new(key)));
        prop_assert_eq!(Notice::parse(&view.words()), Some(notice));
        // The fields lie where a heartbeat has them.
        let message = Message::parse(&view.words());
        prop_assert_eq!((message.owned, message.wanted, message.term), (w[5], w[6], w[7]));
        prop_assert_eq!((message.analysis_wanted, message.names_digest, message.echo_sent_ns), (h[2], h[3], w[3]));
    }

    #[test]
    fn bits_are_translated_by_place(places: [u8; 64], claimed: u64, groups: u64) {
        let orders = Orders::default();
        for (word, places) in orders.places.iter().zip(places.chunks_exact(8)) {
            word.set(u64::from_le_bytes(places.try_into().expect("eight")));
        }
        let is_claimed = |place: u8| place < 64 && claimed >> place & 1 == 1;
        let expected = (0..64).filter(|i| is_claimed(places[*i])).fold(0, |bits, i| bits | 1_u64 << i) & groups;
        prop_assert_eq!(claimed_of(groups, claimed, &orders), expected);
    }
}

#[test]
fn a_notice_tells_of_all_of_which_something_is_in_place_not_only_of_what_a_next_life_may_go_on_with() {
    let host = Host::holding(10).killed_at(NOW - 5);
    host.agent.owned.set(0b01);
    assert_eq!(host.hears(&Message { owned: 0, ..claim(1) }, NOW).expect("a notice").owned, 0b11);
}
