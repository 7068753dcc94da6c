use super::*;
use crate::core::{BothFaulted, Needs, PathFacts, Probed, Why, evidence::Local};

const ALL: u64 = 0b11;
const WELL: Probed = Probed { port: 0, cable: 0, answered: ALL, nobody: 0 };
const INTERVAL: u64 = 50;
const DETECTION: u64 = 150;
const AGAIN: u64 = 2_000;
const BOUND: u64 = 500;
/// What failed together is noticed on both sides within so long.
const SETTLED: u64 = DETECTION + 2 * INTERVAL;

/// An analysis of two networks, the second one's targets found, and a group on the first one; and what it rests on.
struct Bench {
    analysis: Analysis,
    judging: Judging,
    situation: Situation,
    out: Actions,
}

const fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(1_000_000 + ms)
}

impl Bench {
    /// Both controllers are well.
    fn new(master: bool) -> Self {
        let judging = Judging {
            networks: ALL,
            weights: vec![100; 2],
            checks: vec![50],
            needs: vec![Needs { networks: 0b01, qos: 70 }],
            bound: Nanos::from_millis(BOUND),
            again: Nanos::from_millis(AGAIN),
            ..Judging::default()
        };
        let local = Local { operational: ALL, certain: ALL };
        let peer = PeerFound { heard: ALL, configured: ALL, local, qos: 250, ..PeerFound::default() };
        let situation = Situation {
            master,
            peer_good: true,
            life: 12,
            peer,
            configured: ALL,
            heard: ALL,
            interval: Nanos::from_millis(INTERVAL),
            detection: Nanos::from_millis(DETECTION),
            ..Situation::default()
        };
        let memory = Memory::new(ms(0), &[]);
        Self { analysis: Analysis::new(&judging, memory), judging, situation, out: Actions::with_room(32) }
    }

    /// What is to be done at that time.
    fn at(&mut self, now: u64) -> Vec<Action> {
        self.analysis.step(ms(now), &self.judging, &self.situation, &mut self.out);
        std::iter::from_fn(|| self.out.pop()).collect()
    }

    /// The local part ended; what is told.
    fn probed(&mut self, now: u64, analysis: u32, probed: Probed) -> Vec<Action> {
        let Self { analysis: it, judging, situation, out } = self;
        it.probed(ms(now), analysis, probed, judging, situation, out);
        std::iter::from_fn(|| out.pop()).collect()
    }

    /// The first full one, asked for at `SETTLED`, is done here and there; what follows.
    fn conclude(&mut self, now: u64, probed: Probed) -> Vec<Action> {
        self.at(now);
        self.at(now + SETTLED);
        let id = self.analysis.said().wanted;
        self.situation.peer.wanted = id;
        self.at(now + SETTLED);
        self.probed(now + SETTLED + 1, id, probed);
        self.situation.peer.done = id;
        self.at(now + SETTLED + 2)
    }

    fn next(&self, now: u64) -> Nanos {
        let mut wake = Wake::after(ms(now));
        self.analysis.times(&mut wake);
        wake.earliest()
    }
}

#[test]
fn what_fails_together_is_one_analysis_once_both_can_have_noticed_and_the_master_begins_it() {
    for master in [true, false] {
        let mut bench = Bench::new(master);
        assert_eq!((bench.at(0), bench.next(0)), (vec![], ms(SETTLED)));
        bench.situation.heard = 0b01;
        assert_eq!((bench.at(100), bench.at(SETTLED - 1), bench.analysis.said().wanted), (vec![], vec![], 0));
        let begins = if master { vec![Action::Probe(2)] } else { vec![] };
        assert_eq!((bench.at(SETTLED), bench.analysis.said().wanted), (begins, 2), "full ones are even");
        bench.situation.peer.wanted = 2;
        assert_eq!(bench.at(SETTLED + 1), if master { vec![] } else { vec![Action::Probe(2)] });
        assert_eq!(bench.at(SETTLED + 2), vec![], "once");
    }
}

#[test]
fn a_fault_of_our_own_is_looked_at_at_once_whoever_is_master_and_a_full_one_follows() {
    for master in [true, false] {
        let mut bench = Bench::new(master);
        bench.at(0);
        bench.situation.unwell = 0b01;
        assert_eq!((bench.at(10), bench.analysis.said().wanted), (vec![], 1));
        assert_eq!(
            (bench.next(10), bench.at(10 + INTERVAL - 1)),
            (ms(10 + INTERVAL), vec![]),
            "so that both can see it"
        );
        assert_eq!(bench.at(10 + INTERVAL), [Action::Probe(1)]);
        bench.probed(70, 1, Probed { cable: 0b01, answered: 0b10, ..WELL });
        let said = bench.analysis.said();
        assert_eq!((said.done, said.operational, said.certain & 0b01), (1, 0b10, 0b01));
        assert_eq!(bench.at(75), vec![], "what was told is not asked for again");
        bench.situation.peer.done = 1;
        let judged = bench.at(80);
        assert!(matches!(judged[0], Action::Tell(_, Event::Judged { analysis: 1, verdict: Verdict::FailLocal, .. })));
        bench.at(SETTLED);
        assert_eq!(bench.analysis.said().wanted, 2);
    }
}

#[test]
fn what_does_not_answer_at_once_beside_a_fault_of_our_own_moves_nothing_to_us() {
    // What follows from a quick look where our port on network 0 has a fault, and of the peer's networks none answered at once;
    // `certain`: those that it knows to have a fault.
    let judged = |certain| {
        let mut bench = Bench::new(true);
        bench.judging.both_faulted = BothFaulted::Groups;
        bench.judging.needs.push(Needs { networks: 0b10, qos: 0 });
        bench.conclude(0, WELL);
        bench.situation.unwell = 0b01;
        bench.at(1_000);
        bench.at(1_000 + INTERVAL);
        let id = bench.analysis.said().wanted;
        assert!(is_quick(id));
        bench.probed(1_000 + INTERVAL, id, Probed { port: 0b01, answered: 0b10, ..WELL });
        let local = Local { operational: 0, certain };
        bench.situation.peer = PeerFound { done: id, local, qos: 50, ..bench.situation.peer };
        let told = bench.at(1_000 + INTERVAL + 1);
        let Action::Tell(_, Event::Judged { verdict, evidence, .. }) = told[0] else { panic!("{told:?}") };
        let placed = told.iter().filter_map(|action| match action {
            Action::Tell(_, Event::FaultPlaced { channel, place, .. }) => Some((channel.0, *place)),
            _ => None,
        });
        (verdict, evidence.remote.unsure, placed.collect::<Vec<_>>())
    };
    let here = (0, Place::LocalPort);
    assert_eq!(judged(0), (Verdict::Nothing(Why::BothFaulted), ALL, vec![here]));
    // What it knows is another matter.
    let group = Verdict::ByGroup { groups_here: 0b10, groups_there: 0 };
    assert_eq!(judged(0b10), (group, 0b01, vec![here, (1, Place::RemotePortOrCable)]));
}

#[test]
fn what_one_side_does_not_finish_in_time_is_given_up_and_nothing_stands() {
    let mut bench = Bench::new(true);
    bench.conclude(0, WELL);
    assert_eq!(bench.analysis.standing(), Some(Verdict::Nothing(Why::AllWell)));
    bench.situation.heard = 0b01;
    let asked = 1_000 + SETTLED;
    assert_eq!((bench.at(1_000), bench.at(asked)), (vec![], vec![Action::Probe(4)]));
    bench.probed(asked + 1, 4, WELL);
    let patience = 2 * BOUND + DETECTION;
    assert_eq!((bench.next(asked), bench.at(asked + patience - 1)), (ms(asked + patience), vec![]));
    let event = Event::AnalysisGivenUp { analysis: 4, done_here: true, done_there: false };
    assert_eq!(bench.at(asked + patience), [Action::Tell(ms(asked + patience), event)]);
    assert_eq!((bench.analysis.standing(), bench.next(asked + patience)), (None, ms(asked + patience + AGAIN)));
    bench.situation.peer.done = 4;
    assert_eq!(bench.at(asked + patience + 1), vec![], "too late");
}

#[test]
fn a_fault_is_placed_once_repeated_while_it_stands_and_announced_on_when_it_is_gone() {
    let mut bench = Bench::new(true);
    bench.situation.held = 0b1;
    (bench.situation.heard, bench.situation.peer.heard) = (0b10, 0b10);
    let placed = bench.conclude(0, WELL);
    let facts = PathFacts {
        port: true,
        carrier: true,
        heard: false,
        peer_hears: false,
        operational: true,
        peer_operational: true,
        proven: true,
    };
    let fault = Event::FaultPlaced { channel: ChannelIndex(0), place: Place::PathBetween, facts };
    assert_eq!(placed[1..], [Action::Tell(ms(SETTLED + 2), fault)]);
    assert_eq!(bench.analysis.place(ChannelIndex(0)), Some(Place::PathBetween));
    assert_eq!(bench.next(SETTLED + 2), ms(SETTLED + 2 + AGAIN));
    assert_eq!(bench.conclude(AGAIN, WELL).len(), 1, "it is judged again, and the place told no more");
    (bench.situation.heard, bench.situation.peer.heard) = (ALL, ALL);
    let gone = bench.conclude(2 * AGAIN, WELL);
    let told = Action::Tell(ms(2 * AGAIN + SETTLED + 2), Event::FaultGone { channel: ChannelIndex(0) });
    assert_eq!(gone[1..], [told, Action::Announce(crate::types::GroupIndex(0))]);
}

#[test]
fn nothing_is_analysed_with_a_peer_that_is_silent_and_nothing_stands_then() {
    let mut bench = Bench::new(true);
    bench.conclude(0, Probed { answered: 0b10, ..WELL });
    assert!(bench.analysis.standing().is_some());
    bench.situation.peer_good = false;
    assert_eq!((bench.at(1_000), bench.analysis.standing(), bench.next(1_000)), (vec![], None, Nanos::NEVER));
}

#[test]
fn a_check_that_fails_costs_its_weight_and_is_told_by_the_next_analysis() {
    let mut bench = Bench::new(true);
    bench.conclude(0, WELL);
    bench.situation.owned = 0b1;
    bench.analysis.check(0, false, &bench.judging);
    bench.analysis.check(7, false, &bench.judging);
    assert_eq!(bench.analysis.failing_checks(&bench.judging), 0b1, "there is one check");
    let judged = bench.conclude(1_000, WELL);
    assert!(matches!(judged[0], Action::Tell(_, Event::Judged { verdict: Verdict::FailLocal, .. })), "{judged:?}");
    let (said, service) = (bench.analysis.said(), bench.analysis.service().unwrap());
    assert_eq!((said.qos, said.duties, service.qos, service.operational), (200, 70, 200, ALL));
}

#[test]
fn somebody_who_is_heard_where_a_silence_said_nothing_has_it_looked_at_sooner() {
    let mut bench = Bench::new(true);
    bench.judging.found = 0b10;
    (bench.situation.heard, bench.situation.peer.heard) = (0b01, 0b01);
    bench.conclude(0, Probed { answered: 0b01, nobody: 0b10, ..WELL });
    let again = bench.next(SETTLED + 2);
    let interval = bench.situation.interval;
    for (channel, at) in [(0, again), (1, ms(600 + INTERVAL))] {
        bench.analysis.overhear(ms(600), ChannelIndex(channel), 0b01, &bench.judging, interval);
        assert_eq!(bench.next(SETTLED + 2), at, "channel {channel}");
    }
}
