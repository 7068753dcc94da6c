//! A core alone, with a peer whose messages a test writes: for the tests of its parts.

use super::{
    Action, Core, Event, Exclusivity, Guards, HookedGroups, Judging, Names, Needs, Probed, Resumed, Setup, SocketResult,
};
use crate::{
    config::Profile,
    types::{ChannelIndex, Link, Nanos, Node, Timing},
};
use heartbeat_ebpf::wire::Message;

pub(crate) const SECOND: Nanos = Nanos::from_millis(1_000);
const OWN: u64 = 11;
const PEER: u64 = 12;
/// Not just after a boot.
const BEGIN: Nanos = Nanos::from_millis(500_000);

/// Controller a of a pair with two channels, both judged, and two groups, the second at home on b. It is paired already, and holds
/// what it says it resumes.
pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) now: Nanos,
    pub(crate) actions: Vec<Action>,
    sequence: u64,
    names: Names,
    groups: u64,
}

pub(super) fn timing() -> Timing {
    Profile::Lan.timing()
}

fn names() -> Names {
    Names::new(["net1", "net2"], ["storage-a", "storage-b"])
}

impl Bench {
    pub(super) fn new(owned: u64, guards: Guards) -> Self {
        Self::of(owned, |setup| setup.guards = guards)
    }

    /// The same, set up otherwise.
    pub(crate) fn of(owned: u64, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            departed: 0,
            node: Node::A,
            pair_id: 7,
            key_id: 0,
            key_prints: [1, 0],
            names: names(),
            file_time: 0,
            timing: timing(),
            links: vec![Link::Present { index: 1, carrier: true, address: true }; 2],
            paces: vec![1; 2],
            lines: 0,
            homes: vec![Node::A, Node::B],
            failback: vec![None; 2],
            guards: Guards::default(),
            exclusivity: Exclusivity::default(),
            hooks: HookedGroups::default(),
            patience: SECOND.times(10),
            maintenance: false,
            groups_digest: 5,
            judging: Judging {
                networks: 0b11,
                weights: vec![100; 2],
                needs: vec![Needs::default(); 2],
                bound: Nanos::from_millis(500),
                ..Judging::default()
            },
            incarnation: OWN,
            resumed: Some(Resumed { peer_incarnation: PEER, owned, term: 1, ..Resumed::default() }),
        };
        change(&mut setup);
        let (names, groups) = (setup.names.clone(), (1 << setup.homes.len()) - 1);
        let core = Core::new(setup, BEGIN);
        let mut bench = Self { core, now: BEGIN, actions: Vec::new(), sequence: 0, names, groups };
        bench.hear(|_| {});
        bench.run(SECOND);
        bench.actions.clear();
        bench
    }

    /// What the peer says now: that it is well, has the other groups, and knows what we said last; but for `change`.
    pub(super) fn message(&mut self, change: impl FnOnce(&mut Message)) -> Message {
        self.sequence += 1;
        let mut message = Message {
            pair_id: 7,
            node: Node::B.wire(),
            interval_us: (timing().interval.0 / 1_000) as u32,
            incarnation: PEER,
            peer_incarnation: OWN,
            sequence: self.sequence,
            sent_ns: self.now.0 + self.sequence,
            echo_sent_ns: self.now.0,
            configured: 0b11,
            heard: 0b11,
            owned: self.groups & !self.core.owned(),
            term: 1,
            groups_digest: 5,
            names_digest: self.names.digest(),
            entries: 2 + self.groups.count_ones() as u8,
            entry_id: self.names.channels()[0],
            ..Message::default()
        };
        change(&mut message);
        message
    }

    /// It says that on both channels.
    pub(super) fn hear(&mut self, change: impl FnOnce(&mut Message)) {
        let message = self.message(change);
        for channel in 0..2 {
            self.core.handle_heartbeat(self.now, ChannelIndex(channel), &message, self.now);
        }
        self.turn();
    }

    /// Time goes by, and the peer says nothing.
    pub(crate) fn silence(&mut self, span: Nanos) {
        let until = self.now.after(span);
        while self.core.deadline() <= until {
            self.assert_nothing_follows_sooner();
            self.now = self.core.deadline();
            self.turn();
        }
        self.now = until;
        self.turn();
    }

    /// Nothing follows from the time alone before the core's deadline, as the walks of the simulation look for it; but for a look, and a
    /// question to the arbiter, which wait for the next heartbeat.
    fn assert_nothing_follows_sooner(&self) {
        let waits = |action: &Action| matches!(action, Action::Look(_) | Action::Arbitrate(..));
        let mut core = self.core.clone();
        let mut follows = |at| {
            core.handle_time(at);
            std::iter::from_fn(|| core.poll_action()).filter(|action| !waits(action)).last()
        };
        while follows(self.now).is_some() {}
        let early = Nanos(self.core.deadline().0 - 1);
        assert_eq!(follows(early), None, "at {early}, after {}", self.now);
    }

    /// Time goes by, and the peer goes on saying that all is well.
    pub(super) fn run(&mut self, span: Nanos) {
        let until = self.now.after(span);
        while self.now < until {
            self.silence(timing().interval);
            self.hear(|_| {});
        }
    }

    pub(crate) fn turn(&mut self) {
        self.core.handle_time(self.now);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenSocket(channel) => self.core.handle_socket(self.now, channel, SocketResult::Opened),
                Action::Send(channel) => {
                    self.core.message(self.now, channel);
                    self.core.handle_socket(self.now, channel, SocketResult::Sent);
                }
                // No network has a fault.
                Action::Probe(analysis) => {
                    self.core.handle_probed(self.now, analysis, Probed { answered: 0b11, ..Probed::default() })
                }
                Action::Echo(_) | Action::CloseSocket(_) => {}
                other => self.actions.push(other),
            }
        }
    }

    /// What it was to do since the last time, events aside.
    pub(crate) fn done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions).into_iter().filter(|action| !matches!(action, Action::Tell(..))).collect()
    }

    /// What it told since the last time; with [`Bench::done`], whichever comes first has both.
    pub(super) fn told(&mut self) -> Vec<Event> {
        let told = |action| if let Action::Tell(_, event) = action { Some(event) } else { None };
        std::mem::take(&mut self.actions).into_iter().filter_map(told).collect()
    }
}

/// This is what the file of that name under docs/ says. Where HEARTBEAT_WRITE is set, it does from now on.
pub(super) fn assert_documented(name: &str, text: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HEARTBEAT_WRITE").is_some() {
        std::fs::write(path, text).expect("docs/ is there");
        return;
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    for (now, before) in text.lines().zip(before.lines()) {
        assert_eq!(now, before, "{name}");
    }
    assert_eq!(text.lines().count(), before.lines().count(), "{name}");
}
