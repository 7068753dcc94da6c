//! The distributed fault analysis (FIG. 6, 7; A1 to A3), as state that travels in the heartbeats.
//!
//! ```text
//!  slave: something failed -> analysis_wanted = n   (612)      master: adopts n, or takes the next number itself (620)
//!  both, once the master wants n: local analysis n  (714)  ->  analysis_done = n, operational, qos (716)
//!  both, once both have done n: decide              (718)      by the same function, on the same facts
//! ```
//! Controller a is the master. Many channels that fail together change the facts together, and one analysis follows. One
//! that is not done on both sides in time is given up: nothing follows from half of the facts.
//!
//! Analyses of odd numbers are *quick*: one's own port or cable needs no probe to be a fault. Their local part is a fresh look
//! at the own interfaces, and for the rest what the last full one found; whoever wants one begins it, master or not. A full
//! one follows.

use super::{
    Action, Core, Event, Judging, Needs, PeerState, Probed, Verdict,
    evidence::{Circumstances, Local, Memory},
    said::PeerFound,
    timers::{Wake, has_come},
    weigh,
};
use crate::types::{ChannelIndex, MAX_CHANNELS, Nanos, Node, bits};
use heartbeat_ebpf::wire;

/// What a local analysis found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    id: u32,
    local: Local,
    /// Our ports and cables that have a fault of their own.
    own: Probed,
    qos: u32,
    duties: u32,
    recovering: bool,
}

/// What an analysis is made for: where that changes, it is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cause {
    /// The networks on which we hear the peer.
    heard: u64,
    /// The networks on which it hears us.
    heard_there: u64,
    /// The networks against which own facts speak.
    own: u64,
    /// The health checks that succeed.
    healthy: u64,
    /// The peer's life.
    peer: u64,
}

/// The local part of an analysis, under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    id: u32,
    since: Nanos,
}

/// What a heartbeat says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnalysisSaid {
    pub(super) wanted: u32,
    pub(super) done: u32,
    pub(super) operational: u64,
    pub(super) certain: u64,
    /// With the flag that says whether it is recovering.
    pub(super) qos: u32,
    pub(super) duties: u32,
}

/// Whether an analysis of this number rests on own facts, and on what is known already.
#[must_use]
pub const fn is_quick(analysis: u32) -> bool {
    analysis % 2 == 1
}

/// The number of a look at our own networks that is no analysis: whom to ask is known from it when one is made.
const SURVEY: u32 = 0;

/// Where the analysis stands.
#[derive(Clone, Debug)]
pub(super) struct Analysis {
    /// The analysis that we ask for.
    wanted: u32,
    /// When its local part may begin.
    begins: Nanos,
    running: Option<Running>,
    found: Found,
    pub(super) memory: Memory,
    /// Since when a survey has been under way.
    surveying: Option<Nanos>,
    /// When the next one is due.
    survey_due: Nanos,
    /// No quick one is asked for before: a carrier that comes and goes asks for one an interval.
    quick_again: Nanos,
    /// Since when the cause has been what it is.
    cause_since: Nanos,
    /// The health checks that succeed, a bit each.
    healthy: u64,
    /// Since when each network has answered again; none: it never failed to.
    rising: [Option<Rising>; MAX_CHANNELS],
    /// The last one that was decided or given up.
    closed: u32,
    cause: Option<Cause>,
    /// When one is to be asked for.
    due: Option<Nanos>,
    /// When the one that is under way is given up.
    give_up: Option<Nanos>,
    /// What the last one came to, for as long as it stands.
    pub(super) standing: Option<Verdict>,
    /// The places that were told, by channel.
    places: [Option<super::Place>; MAX_CHANNELS],
}

/// Of a network that failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rising {
    Silent,
    Answers { since: Nanos },
}

impl Analysis {
    pub(super) fn new(judging: &Judging, memory: Memory) -> Self {
        Self {
            wanted: 0,
            begins: Nanos(0),
            running: None,
            found: Found::default(),
            memory,
            surveying: None,
            survey_due: if judging.found & judging.networks == 0 { Nanos::NEVER } else { Nanos(0) },
            quick_again: Nanos(0),
            cause_since: Nanos(0),
            healthy: all(&judging.checks),
            rising: [None; MAX_CHANNELS],
            closed: 0,
            cause: None,
            due: None,
            give_up: None,
            standing: None,
            places: [None; MAX_CHANNELS],
        }
    }

    /// The networks that count, of those that answered: those that failed only once they have answered for long enough.
    fn damp(&mut self, now: Nanos, networks: u64, answered: u64, rise: Nanos) -> u64 {
        let mut counted = answered;
        for i in (0..MAX_CHANNELS).filter(|i| networks >> i & 1 == 1) {
            let rising = &mut self.rising[i];
            *rising = match *rising {
                _ if answered >> i & 1 == 0 => Some(Rising::Silent),
                None => None,
                Some(_) if rise == Nanos(0) => None,
                Some(Rising::Silent) => Some(Rising::Answers { since: now }),
                Some(Rising::Answers { since }) if now.since(since) >= rise => None,
                answers => answers,
            };
            if rising.is_some() {
                counted &= !(1 << i);
            }
        }
        counted
    }

    /// The first time at which a network that answers again counts.
    fn risen(&self, rise: Nanos) -> Option<Nanos> {
        let since = |r: &Option<Rising>| match *r {
            Some(Rising::Answers { since }) => Some(since.after(rise)),
            _ => None,
        };
        self.rising.iter().filter_map(since).min()
    }

    /// What the next heartbeat says of it.
    pub(super) const fn said(&self) -> AnalysisSaid {
        let Found { id, local: Local { operational, certain }, qos, duties, recovering, .. } = self.found;
        let recovering = if recovering { wire::RECOVERING } else { 0 };
        let qos = qos & !wire::RECOVERING | recovering;
        AnalysisSaid { wanted: self.wanted, done: id, operational, certain, qos, duties }
    }

    pub(super) const fn place(&self, channel: ChannelIndex) -> Option<super::Place> {
        self.places[channel.usize()]
    }

    /// When something of it is due by time alone.
    pub(super) fn times(&self, wake: &mut Wake) {
        let Self {
            wanted: _,
            begins,
            running: _,
            found: _,
            memory: _,
            surveying: _,
            survey_due,
            quick_again,
            cause_since: _,
            healthy: _,
            rising: _,
            closed: _,
            cause: _,
            due,
            give_up,
            standing: _,
            places: _,
        } = self;
        // While one is under way, the next one waits for its end.
        wake.due(give_up.or(*due));
        wake.ends(*begins);
        wake.ends(*quick_again);
        wake.due(*survey_due);
    }

    /// A new life of the peer counts from the start, and so do we: whatever its earlier one said is over.
    pub(super) fn begin(&mut self) {
        (self.wanted, self.closed, self.running) = (0, 0, None);
        self.found = Found::default();
        (self.cause, self.due, self.give_up, self.standing) = (None, None, None, None);
    }

    /// Forgets what was under way: the peer is silent.
    fn reset(&mut self) {
        (self.cause, self.due, self.give_up, self.standing) = (None, None, None, None);
        self.closed = self.closed.max(self.wanted);
    }
}

/// All of a list's bits.
const fn all(weights: &[u32]) -> u64 {
    if weights.len() >= 64 { u64::MAX } else { (1 << weights.len()) - 1 }
}

const MS: Nanos = Nanos::from_millis(1);

impl Core {
    /// A local analysis ended (FIG. 8).
    pub fn handle_probed(&mut self, now: Nanos, analysis: u32, probed: Probed) {
        if analysis == SURVEY {
            if let Some(since) = self.analysis.surveying.take() {
                let circumstances = self.circumstances(since);
                self.analysis.memory.learn(now, &probed, &circumstances);
            }
            return;
        }
        let Some(Running { since, .. }) = self.analysis.running.filter(|running| running.id == analysis) else {
            return;
        };
        // What speaks against a network here is told, even where the look at it saw it otherwise: else each analysis would
        // take back what the one before said.
        let probed = Probed { port: probed.port | self.own_faults() & !probed.broken(), ..probed };
        let circumstances = self.circumstances(since);
        let judging = &self.setup.judging;
        let networks = judging.networks;
        let (local, unsure) = if is_quick(analysis) {
            self.analysis.memory.quick(&probed, networks)
        } else {
            (self.analysis.memory.full(now, &probed, &circumstances), 0)
        };
        // One question that was not answered is no fault yet that has to be got over.
        let operational = self.analysis.damp(now, networks, local.operational | unsure, judging.rise) & !unsure;
        let healthy = self.analysis.healthy;
        let qos = weigh(operational, &judging.weights).saturating_add(weigh(healthy, &judging.checks));
        let owned = self.ownership.owned();
        let held = self.setup.judging.needs.iter().enumerate().filter(|(i, _)| owned >> i & 1 == 1);
        let duties = held.fold(0_u32, |sum, (_, needs)| sum.saturating_add(needs.qos));
        self.analysis.running = None;
        // What works is told; whether it counts is in the QOS.
        let works = local.operational == networks;
        let recovering = works && operational != local.operational && healthy == all(&judging.checks);
        self.analysis.found = Found { id: analysis, local, own: probed, qos, duties, recovering };
        let quick = is_quick(analysis);
        let answered = local.operational;
        self.tell(now, Event::NetworksProbed { analysis, quick, answered, operational, healthy, qos });
        self.urgent = true;
    }

    /// Somebody else than the peer was heard on a channel's interface, at `since` or later.
    pub fn handle_third_party(&mut self, since: Nanos, channel: ChannelIndex) {
        self.analysis.memory.overhear(since, channel);
        let Analysis { standing, found, give_up, .. } = self.analysis;
        let unproven = self.setup.judging.found & !found.local.certain & !self.heard() & channel.bit() != 0;
        if unproven && standing.is_some() && give_up.is_none() {
            // A silence that nobody could make anything of: now somebody can.
            let soon = since.after(self.setup.timing.interval);
            self.analysis.due = self.analysis.due.map(|due| due.min(soon));
        }
    }

    /// What else is known of the networks, where a local analysis began at `since`.
    fn circumstances(&self, since: Nanos) -> Circumstances {
        let judging = &self.setup.judging;
        let peer = self.said.found;
        let passing = bits(self.channels.iter().map(|c| c.returned >= since));
        // Whoever was heard since what it is about began: at least as long ago as the analysis before.
        let overheard = self.analysis.cause_since.max(since.since(judging.again));
        Circumstances {
            networks: judging.networks,
            found: judging.found,
            overheard: self.analysis.memory.overheard(overheard),
            passing,
            unheard: if self.peer == PeerState::Good { judging.networks & !peer.heard } else { 0 },
        }
    }

    /// Whether some network of ours works whatever is asked there: by own facts, on one where nobody is expected to answer.
    pub(super) fn is_connected_unasked(&self, now: Nanos) -> bool {
        let port = bits(self.channels.iter().map(|c| !c.link.is_well()));
        let own = Probed { port, ..Probed::default() };
        self.analysis.memory.is_connected(now, &own, &self.since_silence(now))
    }

    /// Whether some network of ours works, by what a look at them showed: else it is us who are cut off.
    pub(super) fn is_connected(&mut self, now: Nanos, probed: &Probed) -> bool {
        let networks = self.setup.judging.networks;
        // The first network that answers ends a look: of the others nothing is known then.
        self.analysis.memory.asked(now, if probed.answered & networks == 0 { networks } else { 0 }, probed);
        self.analysis.memory.is_connected(now, probed, &self.since_silence(now))
    }

    /// What is known beside the answers since the peer fell silent: whoever was heard before that proves nothing.
    fn since_silence(&self, now: Nanos) -> Circumstances {
        let last = self.channels.iter().filter_map(|c| c.counter.last_arrival()).max();
        let overheard = self.analysis.memory.overheard(last.unwrap_or(now.since(self.setup.judging.again)));
        Circumstances { overheard, ..self.circumstances(now) }
    }

    /// The groups of which some network has, for certain, a fault of the peer's own, and none of ours.
    pub(super) fn out_of_reach_there(&self) -> u64 {
        let broken = self.said.found.local.certain & !self.said.found.local.operational;
        let here = self.analysis.found.local.operational & !self.own_faults();
        let lost = |needs: &Needs| needs.networks & broken != 0 && needs.networks & !here == 0;
        bits(self.setup.judging.needs.iter().map(lost))
    }

    /// The networks against which own facts speak.
    fn own_faults(&self) -> u64 {
        self.setup.judging.networks & !bits(self.channels.iter().map(|c| c.link.is_well()))
    }

    /// A health check succeeds from now on, or fails.
    pub fn handle_check(&mut self, _now: Nanos, check: usize, healthy: bool) {
        let bit = all(&self.setup.judging.checks) & 1_u64.checked_shl(check as u32).unwrap_or(0);
        self.analysis.healthy = if healthy { self.analysis.healthy | bit } else { self.analysis.healthy & !bit };
    }

    /// Whether there is anything to judge.
    pub(super) fn judges(&self) -> bool {
        self.setup.judging.networks != 0 || !self.setup.judging.checks.is_empty()
    }

    /// The verdict that stands, where the last analysis came to one and the peer is there.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.analysis.standing
    }

    /// FIG. 6 from step 608 on: asks, runs, decides.
    pub(super) fn analyse(&mut self, now: Nanos) {
        if !self.judges() {
            return;
        }
        self.survey(now);
        if self.peer != PeerState::Good {
            // WO 01/82077, FIG. 6, steps 604, 606: no analysis is run
            self.analysis.reset();
            return;
        }
        let peer = self.said.found;
        let master = self.setup.node == Node::A;
        let done = self.analysis.found.id;
        if done == peer.done && done > self.analysis.closed && done == self.analysis.wanted {
            self.conclude(now, done, peer);
        } else if has_come(self.analysis.give_up, now) {
            self.give_up(now, peer);
        }
        self.ask(now, peer);
        self.ask_at_once(now, peer);
        // WO 01/82077, FIG. 6, step 612, arrived at the master; or FIG. 7, step 712, at the slave
        if peer.wanted > self.analysis.wanted {
            self.want(now, peer.wanted);
            // What was asked for at once, and is overtaken, is asked for again at once.
            self.analysis.quick_again = now;
            self.ask_at_once(now, peer);
        }
        let Analysis { wanted, begins, .. } = self.analysis;
        let agreed = if master || is_quick(wanted) { wanted } else { peer.wanted };
        let news = agreed > self.analysis.found.id.max(self.analysis.closed);
        if news && begins <= now && self.analysis.running.is_none() {
            self.analysis.running = Some(Running { id: agreed, since: now });
            self.actions.push(Action::Probe(agreed));
        }
    }

    /// Between analyses, whom to ask is looked for: silence means nothing unless somebody answered before.
    fn survey(&mut self, now: Nanos) {
        let Analysis { survey_due, running, give_up, .. } = self.analysis;
        if survey_due > now {
            return;
        }
        self.analysis.survey_due = now.after(self.setup.judging.again);
        if running.is_none() && give_up.is_none() {
            self.analysis.surveying = Some(now);
            self.actions.push(Action::Probe(SURVEY));
        }
    }

    fn give_up(&mut self, now: Nanos, peer: PeerFound) {
        let analysis = self.analysis.wanted;
        self.analysis.closed = analysis;
        (self.analysis.give_up, self.analysis.standing, self.analysis.running) = (None, None, None);
        // A quick one is followed by a full one in any case.
        let again = if is_quick(analysis) { now } else { now.after(self.setup.judging.again) };
        self.analysis.due = Some(again);
        let (done_here, done_there) = (self.analysis.found.id == analysis, peer.done == analysis);
        self.tell(now, Event::AnalysisGivenUp { analysis, done_here, done_there });
    }

    /// Whether something happened that an analysis is to be made for, or it is time for the next.
    fn ask(&mut self, now: Nanos, peer: PeerFound) {
        let networks = self.setup.judging.networks;
        let (heard, own, healthy) = (self.heard() & networks, self.own_faults(), self.analysis.healthy);
        let heard_there = peer.heard & networks;
        let cause = Cause { heard, heard_there, own, healthy, peer: self.pairing.peer() };
        if self.analysis.cause != Some(cause) {
            self.analysis.cause = Some(cause);
            self.analysis.cause_since = now;
            let settled = self.settled(now);
            self.analysis.due = Some(self.analysis.due.map_or(settled, |due| due.min(settled)));
        }
        let under_way = self.analysis.give_up.is_some();
        if !under_way && has_come(self.analysis.due, now) {
            // WO 01/82077, FIG. 6, steps 610, 612, 620
            let next = self.analysis.wanted.max(peer.wanted).saturating_add(1);
            self.want(now, next.saturating_add(next % 2));
        }
    }

    /// What failed together is noticed here within a detection time, the carrier first, the silence last; and the peer says what
    /// it noticed within an interval more.
    fn settled(&self, now: Nanos) -> Nanos {
        let noticed = self.detection().after(self.setup.timing.interval.times(2));
        now.after(noticed.min(self.setup.judging.bound))
    }

    /// Whether a network that we told to be operational is not, by our own facts, and no look is under way that will tell so.
    fn ask_at_once(&mut self, now: Nanos, peer: PeerFound) {
        let Analysis { found, wanted, closed, quick_again, .. } = self.analysis;
        let told = if found.id == 0 { self.setup.judging.networks } else { found.local.operational };
        let will_be_told = is_quick(wanted) && wanted > closed && wanted > found.id;
        if self.own_faults() & told == 0 || will_be_told || quick_again > now {
            return;
        }
        self.analysis.quick_again = now.after(self.setup.timing.interval);
        self.want(now, wanted.max(peer.wanted).saturating_add(1) | 1);
    }

    fn want(&mut self, now: Nanos, analysis: u32) {
        self.analysis.wanted = analysis;
        self.analysis.running = None;
        let patience = if is_quick(analysis) {
            // A switch that goes takes both controllers' carriers: both look once that can be seen by both.
            let together = self.setup.timing.interval.clamp(MS.times(5), MS.times(100));
            self.analysis.begins = now.after(together);
            self.analysis.due = self.analysis.due.or(Some(self.settled(now)));
            together.after(self.detection()).after(self.setup.timing.interval)
        } else {
            self.analysis.begins = now;
            self.analysis.due = None;
            self.setup.judging.bound.times(2).after(self.detection())
        };
        self.analysis.give_up = Some(now.after(patience));
        self.urgent = true;
    }
}

mod conclusion;
mod service;

pub use service::Service;
