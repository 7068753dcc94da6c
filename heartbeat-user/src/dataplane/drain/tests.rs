use super::*;
use heartbeat_ebpf::{
    echo::EchoKind,
    layout::Histogram,
    receive,
    siphash::Key,
    verify::{Expected, News},
    wire::{LEN, View},
};

const OURS: Expected = Expected { pair_id: 7, node: 0, channel_id: 0 };
/// Our life, and the peer's.
const OWN: u64 = 100;
const PEER: u64 = 200;

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Heartbeat(u64, u64),
    Handshake(u64, u64),
    Echo(u64, u64),
    Notice(u64, u64),
    Stranger,
}

/// Takes whoever names us for the peer.
struct Ear {
    peer: u64,
    told: Vec<Told>,
}

impl Handler for Ear {
    fn heartbeat(&mut self, message: &Message, arrived_ns: u64) {
        self.told.push(Told::Heartbeat(message.sequence, arrived_ns));
    }
    fn handshake(&mut self, message: &Message, arrived_ns: u64) -> u64 {
        self.told.push(Told::Handshake(message.incarnation, arrived_ns));
        if message.peer_incarnation == OWN {
            self.peer = message.incarnation;
        }
        self.peer
    }
    fn echo(&mut self, asked_ns: u64, silent_ns: u64) {
        self.told.push(Told::Echo(asked_ns, silent_ns));
    }
    fn notice(&mut self, notice: &Notice, arrived_ns: u64) {
        self.told.push(Told::Notice(notice.asked_ns, arrived_ns));
    }
    fn stranger(&mut self) {
        self.told.push(Told::Stranger);
    }
}

/// One channel with its kernel, an agent's cell, and what that is told.
struct Channel {
    slot: Slot,
    histogram: Histogram,
    agent: AgentCell,
    drain: Drain,
    ear: Ear,
}

impl Channel {
    fn new(peer: u64) -> Self {
        let (slot, agent) = (Slot::default(), AgentCell::default());
        Mark::begin(&agent, OWN, peer);
        let (drain, ear) = (Drain::new(&slot), Ear { peer, told: Vec::new() });
        Self { slot, histogram: Histogram::new(), agent, drain, ear }
    }

    fn receive(&self, bytes: &[u8; LEN], now: u64) -> News {
        let key = |id| (id == 0).then(|| Key::new([1; 16]));
        let Self { slot, histogram, agent, .. } = self;
        receive::receive(Some(View::new(bytes)), OURS, agent, key, slot, histogram, || now).news
    }

    /// A message of the peer's life `incarnation` that names `names`.
    fn heartbeat(&self, incarnation: u64, names: u64, sequence: u64, now: u64) {
        let message =
            Message { pair_id: 7, node: 1, incarnation, peer_incarnation: names, sequence, ..Message::default() };
        let mut bytes = [0; LEN];
        message.emit(Key::new([1; 16]), &mut bytes);
        self.receive(&bytes, now);
    }

    fn told(&mut self) -> Vec<Told> {
        self.drain.drain(&self.slot, &self.agent, &mut self.ear);
        std::mem::take(&mut self.ear.told)
    }
}

#[test]
fn a_heartbeat_is_told_once_and_of_several_the_newest() {
    let mut channel = Channel::new(PEER);
    assert_eq!(channel.told(), []);
    channel.heartbeat(PEER, OWN, 1, 10);
    channel.heartbeat(PEER, OWN, 2, 20);
    assert_eq!(channel.told(), [Told::Heartbeat(2, 20)]);
    channel.heartbeat(PEER, OWN, 2, 30);
    assert_eq!(channel.told(), [], "a replay is nothing");
}

#[test]
fn a_new_pairing_is_in_the_cell_before_the_next_message_is_looked_at() {
    let mut channel = Channel::new(0);
    channel.heartbeat(PEER, OWN, 1, 10);
    assert_eq!(channel.told(), [Told::Handshake(PEER, 10)]);
    assert_eq!(channel.agent.peer_incarnation.get(), PEER);
    channel.heartbeat(PEER, OWN, 2, 20);
    assert_eq!(channel.told(), [Told::Heartbeat(2, 20)]);
}

#[test]
fn a_message_that_was_alive_for_an_earlier_pairing_serves_the_handshake() {
    let mut channel = Channel::new(PEER);
    channel.heartbeat(PEER, OWN, 1, 10);
    // Before anybody looks, the peer's next life is paired with on this very channel.
    channel.heartbeat(PEER + 1, OWN, 1, 20);
    assert_eq!(channel.told(), [Told::Handshake(PEER + 1, 20), Told::Handshake(PEER, 10)]);
    // And a next life of ours finds what the last one heard.
    Mark::begin(&channel.agent, OWN + 1, PEER);
    channel.drain = Drain::new(&channel.slot);
    assert_eq!(channel.told(), [Told::Handshake(PEER, 10)]);
}

#[test]
fn a_life_that_begins_is_told_of_the_last_heartbeat_and_of_nothing_else_that_came_before() {
    let mut channel = Channel::new(PEER);
    channel.heartbeat(PEER, OWN, 1, 10);
    channel.heartbeat(PEER + 5, OWN, 1, 10);
    channel.heartbeat(PEER + 6, OWN - 1, 1, 10);
    channel.receive(&[0xff; LEN], 11);
    let mut wrong = [0; LEN];
    Message { pair_id: 8, node: 1, ..Message::default() }.emit(Key::new([1; 16]), &mut wrong);
    channel.receive(&wrong, 12);
    channel.drain = Drain::new(&channel.slot);
    assert_eq!(channel.told(), [Told::Heartbeat(1, 10)]);
}

#[test]
fn strangers_are_told_once_a_turn_and_what_is_no_heartbeat_at_all_is_not() {
    let mut channel = Channel::new(PEER);
    channel.receive(&[0xff; LEN], 10);
    assert_eq!(channel.told(), []);
    for message in [
        Message { pair_id: 8, node: 1, ..Message::default() },
        Message { pair_id: 7, node: 1, channel_id: 3, ..Message::default() },
        Message { pair_id: 7, node: 0, incarnation: 5, ..Message::default() },
        Message { pair_id: 7, node: 1, key_id: 1, ..Message::default() },
    ] {
        let mut bytes = [0; LEN];
        message.emit(Key::new([1; 16]), &mut bytes);
        channel.receive(&bytes, 20);
        channel.receive(&bytes, 21);
        assert_eq!(channel.told(), [Told::Stranger], "{message:?}");
    }
    assert_eq!(channel.told(), []);
}

#[test]
fn an_answer_of_the_peers_host_is_told_if_an_agent_ever_ran_there() {
    let mut channel = Channel::new(PEER);
    for (asked, held, told) in [(50, u64::MAX, vec![]), (60, 9, vec![Told::Echo(60, 9)])] {
        let answer = Echo {
            kind: EchoKind::Reply,
            pair_id: 7,
            node: 1,
            channel_id: 0,
            key_id: 0,
            incarnation: PEER,
            peer_incarnation: OWN,
            sent_ns: 1,
            echo_sent_ns: asked,
            echo_held_ns: held,
        };
        let mut bytes = [0; LEN];
        answer.emit(Key::new([1; 16]), &mut bytes);
        channel.receive(&bytes, 70);
        assert_eq!(channel.told(), told);
    }
}

#[test]
fn a_mark_is_what_a_next_life_finds() {
    let (agent, kernel) = (AgentCell::default(), KernelCell::default());
    mark().leave(&agent, &kernel);
    let found = [&agent.peer_incarnation, &agent.owned, &agent.term, &agent.alive_ns].map(|word| word.get());
    assert_eq!(found, [PEER, 5, 9, 1_000]);
    let orders = &kernel.orders;
    let found = [&orders.active, &orders.peer_good, &orders.lease_ns, &orders.limited, &orders.serve_until_ns];
    assert_eq!(found.map(|word| word.get()), [7, 1, 300, 4, 9_000]);
    assert_eq!((orders.peer_names.get(), orders.places[0].get()), (Orders::KNOWN | 77, 0xff02_0100_ffff_ffff));
}

#[test]
fn a_mark_takes_the_place_of_the_one_before_whole() {
    let (agent, kernel) = (AgentCell::default(), KernelCell::default());
    let words = |agent: &AgentCell| {
        let AgentCell {
            peer_incarnation,
            owned,
            hooked,
            peer_flags,
            peer_kept,
            letting_go_ns,
            forced,
            fenced_ns,
            term,
            ..
        } = agent;
        [peer_incarnation, owned, hooked, peer_flags, peer_kept, letting_go_ns, forced, fenced_ns, term]
            .map(|word| word.get())
    };
    mark().leave(&agent, &kernel);
    assert_eq!(words(&agent), [PEER, 5, 6, 2, 8, 9, 1, 7, 9]);
    let nothing = Mark {
        peer_incarnation: 0,
        owned: 0,
        hooked: 0,
        peer_flags: 0,
        peer_kept: 0,
        letting_go_ns: 0,
        forced: 0,
        fenced_ns: 0,
        term: 0,
        ..mark()
    };
    assert_eq!(kernel.heard_ns.get(), 900);
    // What the XDP program has noted since.
    kernel.heard_ns.set(901);
    nothing.leave(&agent, &kernel);
    assert_eq!(kernel.heard_ns.get(), 901);
    assert_eq!(words(&agent), [0; 9]);
}

fn mark() -> Mark {
    let mut places = [Orders::NOWHERE; 64];
    places[4..7].copy_from_slice(&[0, 1, 2]);
    let orders = KernelOrders {
        active: 7,
        open: 0b0110,
        shut: 0b1000,
        closed: 0b0011,
        peer_good: true,
        lease_ns: 300,
        limited: 4,
        serve_until_ns: 9_000,
        peer_names: Some(77),
        places,
    };
    let (peer_incarnation, term, alive_ns) = (PEER, 9, 1_000);
    Mark {
        peer_incarnation,
        owned: 5,
        hooked: 6,
        peer_flags: 2,
        peer_kept: 8,
        letting_go_ns: 9,
        forced: 1,
        fenced_ns: 7,
        term,
        alive_ns,
        heard_ns: 900,
        orders,
    }
}

#[test]
fn what_the_kernel_closed_during_a_turn_is_not_opened_by_it() {
    let (agent, kernel) = (AgentCell::default(), KernelCell::default());
    // Group 0 is not to be opened, 1 is, 2 was closed while the turn was already deciding.
    kernel.closed.set(0b0111);
    mark().leave(&agent, &kernel);
    assert_eq!(kernel.closed.get(), 0b1101, "and 3 is shut");
    let next = Mark { orders: KernelOrders { closed: 0b1101, shut: 0, ..mark().orders }, ..mark() };
    next.leave(&agent, &kernel);
    assert_eq!(kernel.closed.get(), 0b1001);
}

#[test]
fn a_notice_is_told_once_with_its_time() {
    let mut channel = Channel::new(PEER);
    let notice = Notice {
        pair_id: 7,
        node: 1,
        incarnation: PEER,
        peer_incarnation: OWN,
        asked_ns: 60,
        died: true,
        ..Notice::default()
    };
    let mut bytes = [0; LEN];
    notice.emit(Key::new([1; 16]), &mut bytes);
    channel.receive(&bytes, 70);
    assert_eq!(channel.told(), [Told::Notice(60, 70)]);
    channel.receive(&bytes, 80);
    assert_eq!(channel.told(), []);
}

/// A life of the peer's names one of ours, at `now`, and answers to what we said at `echo_sent_ns`.
fn say(channel: &Channel, incarnation: u64, names: u64, echo_sent_ns: u64, now: u64) -> News {
    let message = Message {
        pair_id: 7,
        node: 1,
        incarnation,
        peer_incarnation: names,
        sequence: 1,
        echo_sent_ns,
        ..Message::default()
    };
    let mut bytes = [0; LEN];
    message.emit(Key::new([1; 16]), &mut bytes);
    channel.receive(&bytes, now)
}

/// Whatever was recorded is authentic, too.
#[test]
fn recordings_do_not_hide_the_one_who_names_us_however_many_there_are() {
    let mut channel = Channel::new(0);
    say(&channel, PEER, OWN, 1_000, 5_000);
    for recorded in 1..50 {
        // Of lives that named an earlier life of ours, and of lives that named this one before the peer's last did.
        say(&channel, recorded, OWN - 1, 2_000, 5_000);
        say(&channel, recorded, OWN, 999, 5_000);
    }
    assert_eq!(channel.told(), [Told::Handshake(49, 5_000), Told::Handshake(PEER, 5_000)]);
    assert_eq!(channel.agent.peer_incarnation.get(), PEER);
    // The peer's next life answers to something later.
    say(&channel, PEER + 1, OWN, 1_001, 5_000);
    assert_eq!(channel.told(), [Told::Handshake(PEER + 1, 5_000)]);
}

/// A host's clock begins anew with a boot: what was answered on the clock of then is of no time that was yet.
#[test]
fn what_answers_to_something_that_was_not_said_yet_hides_nobody() {
    let mut channel = Channel::new(0);
    for (incarnation, echo_sent_ns) in [(PEER, 501_000_000), (PEER + 1, 600), (PEER + 2, 4_000), (PEER + 3, 3_000)] {
        say(&channel, incarnation, OWN, echo_sent_ns, 5_000);
        let told = if incarnation == PEER + 3 { vec![] } else { vec![Told::Handshake(incarnation, 5_000)] };
        assert_eq!(channel.told(), told);
    }
}

/// Its sender may wait for an answer; recordings must not make the agent busy.
#[test]
fn who_may_become_the_peer_rings_once_for_each_thing_that_he_answers_to_and_else_not_often() {
    let channel = Channel::new(PEER);
    let (next, ms) = (PEER + 1, 1_000_000);
    for (names, answers_to, now, news) in [
        (OWN, 10 * ms, 20 * ms, News::Greeting),
        (OWN, 10 * ms, 21 * ms, News::None),
        (OWN, 20 * ms, 22 * ms, News::Greeting),
        // Round trips are short: whoever says more is not kept waiting.
        (OWN, 21 * ms, 22 * ms + 50_000, News::Greeting),
        (OWN, 10 * ms, 60 * ms, News::None),
        (OWN - 1, 0, 61 * ms, News::Greeting),
        (OWN - 1, 0, 62 * ms, News::None),
        (OWN - 1, 0, 72 * ms, News::Greeting),
        (OWN - 1, 1, 73 * ms, News::None),
        (OWN - 1, 2, 74 * ms, News::None),
        // What comes between the rings does not put off the next one.
        (OWN - 1, 1, 81 * ms, News::None),
        (0, 0, 82 * ms, News::Greeting),
    ] {
        assert_eq!(say(&channel, next, names, answers_to, now), news, "at {now} ns");
    }
}
