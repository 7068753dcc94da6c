//! The distributed fault analysis (FIG. 6, 7; A1 to A3), as state that travels in the heartbeats.
//!
//! ```text
//!  slave: something failed -> analysis_wanted = n   (612)      master: adopts n, or takes the next number itself (620)
//!  both, once the master wants n: local analysis n  (714)  ->  analysis_done = n, operational, qos (716)
//!  both, once both have done n: decide              (718)      by the same function, on the same facts
//! ```
//! Controller a is the master. Many channels that fail together change the facts together, and one analysis follows. One
//! that is not done on both sides in time is given up: nothing follows from half of the facts.

use super::{Action, ChannelIndex, Core, Event, Evidence, Nanos, Node, PathFacts, PeerState, Side, Verdict, judge};
use super::{BothFaulted, MAX_CHANNELS, place, weigh};
use heartbeat_ebpf::wire::{self, Message};

/// How this pair judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judging {
    /// The channels that are networks of clients, a bit each: the mask of FIG. 9, step 914.
    pub networks: u64,
    /// What each channel's network counts in QOS.
    pub weights: Vec<u32>,
    /// What each health check counts in QOS.
    pub checks: Vec<u32>,
    /// The QOS that each group needs.
    pub needs: Vec<u32>,
    /// What to do where both have faults.
    pub both_faulted: BothFaulted,
    /// A local analysis takes at most this.
    pub bound: Nanos,
    /// While a network's channel is bad, the analysis is repeated this often.
    pub again: Nanos,
    /// A network that did not answer counts again only once it has answered for so long.
    pub rise: Nanos,
    /// A group that moved is not moved again by a verdict within this time.
    pub hold: Nanos,
}

/// What a local analysis found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    id: u32,
    operational: u64,
    qos: u32,
    duties: u32,
    recovering: bool,
}

/// What of the peer's message concerns the analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerFound {
    wanted: u32,
    done: u32,
    heard: u64,
    pub(super) configured: u64,
    operational: u64,
    qos: u32,
    duties: u32,
    recovering: bool,
}

impl PeerFound {
    /// `ours`: channels of the peer's as ours; `configured`: all that it has, likewise.
    pub(super) fn of(message: &Message, ours: impl Fn(u64) -> u64, configured: u64) -> Self {
        Self {
            wanted: message.analysis_wanted,
            done: message.analysis_done,
            heard: ours(message.heard),
            configured,
            operational: ours(message.operational),
            qos: message.qos & !wire::RECOVERING,
            recovering: message.qos & wire::RECOVERING != 0,
            duties: message.duties_qos,
        }
    }
}

/// What an analysis would be made anew for: channels heard here and there, carriers, health checks, the peer's life.
type Cause = (u64, u64, u64, u64, u64);

/// Where the analysis stands.
#[derive(Clone, Debug)]
pub(super) struct Analysis {
    /// The analysis that we ask for.
    wanted: u32,
    /// The one that the local part is running of.
    running: Option<u32>,
    found: Found,
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
    pub(super) fn new(judging: &Judging) -> Self {
        Self {
            wanted: 0,
            running: None,
            found: Found::default(),
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

    /// For the message: wanted, done, operational, QOS, duties.
    pub(super) const fn said(&self) -> (u32, u32, u64, u32, u32) {
        let Found { id, operational, qos, duties, recovering } = self.found;
        let recovering = if recovering { wire::RECOVERING } else { 0 };
        (self.wanted, id, operational, qos & !wire::RECOVERING | recovering, duties)
    }

    pub(super) const fn place(&self, channel: ChannelIndex) -> Option<super::Place> {
        self.places[channel.usize()]
    }

    pub(super) fn deadline(&self) -> Nanos {
        // While one is under way, the next one waits for its end.
        self.give_up.or(self.due).unwrap_or(Nanos::NEVER)
    }

    /// A new life of the peer counts from the start, and so do we: whatever its earlier one said is over.
    pub(super) const fn begin(&mut self) {
        (self.wanted, self.closed, self.running) = (0, 0, None);
        self.found = Found { id: 0, operational: 0, qos: 0, duties: 0, recovering: false };
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
    /// A local analysis ended: the networks that answered, a bit each (FIG. 8).
    pub fn handle_probed(&mut self, now: Nanos, analysis: u32, operational: u64) {
        if self.analysis.running != Some(analysis) {
            return;
        }
        let judging = &self.setup.judging;
        let answered = operational & judging.networks;
        let operational = self.analysis.damp(now, judging.networks, answered, judging.rise);
        let healthy = self.analysis.healthy;
        let qos = weigh(operational, &judging.weights).saturating_add(weigh(healthy, &judging.checks));
        let duties = weigh(self.ownership.owned(), &self.setup.judging.needs);
        self.analysis.running = None;
        // What answers is told; whether it counts is in the QOS.
        let recovering = answered == judging.networks && operational != answered && healthy == all(&judging.checks);
        self.analysis.found = Found { id: analysis, operational: answered, qos, duties, recovering };
        self.tell(now, Event::NetworksProbed { analysis, answered, operational, healthy, qos });
        self.urgent = true;
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
        } else if self.analysis.give_up.is_some_and(|at| at <= now) {
            self.give_up(now, peer);
        }
        self.ask(now, peer);
        // WO 01/82077, FIG. 6, step 612, arrived at the master; or FIG. 7, step 712, at the slave
        if peer.wanted > self.analysis.wanted {
            self.want(now, peer.wanted);
        }
        let agreed = if master { self.analysis.wanted } else { peer.wanted };
        if agreed > self.analysis.found.id.max(self.analysis.closed) && self.analysis.running.is_none() {
            self.analysis.running = Some(agreed);
            self.actions.push_back(Action::Probe(agreed));
        }
    }

    fn give_up(&mut self, now: Nanos, peer: PeerFound) {
        let analysis = self.analysis.wanted;
        self.analysis.closed = analysis;
        (self.analysis.give_up, self.analysis.standing, self.analysis.running) = (None, None, None);
        self.analysis.due = Some(now.after(self.setup.judging.again));
        let (done_here, done_there) = (self.analysis.found.id == analysis, peer.done == analysis);
        self.tell(now, Event::AnalysisGivenUp { analysis, done_here, done_there });
    }

    /// Whether something happened that an analysis is to be made for, or it is time for the next.
    fn ask(&mut self, now: Nanos, peer: PeerFound) {
        let networks = self.setup.judging.networks;
        let (heard, carriers, healthy) = (self.heard() & networks, self.carriers() & networks, self.analysis.healthy);
        let cause = (heard, peer.heard & networks, carriers, healthy, self.pairing.peer());
        if self.analysis.cause != Some(cause) {
            self.analysis.cause = Some(cause);
            // What failed together is noticed here within a detection time, the carrier first, the silence last; and the
            // peer says what it noticed within an interval more.
            let noticed = self.detection().after(self.setup.timing.interval.times(2));
            let settled = now.after(noticed.min(self.setup.judging.bound));
            self.analysis.due = Some(self.analysis.due.map_or(settled, |due| due.min(settled)));
        }
        let under_way = self.analysis.give_up.is_some();
        if !under_way && self.analysis.due.is_some_and(|due| due <= now) {
            self.analysis.due = None;
            // WO 01/82077, FIG. 6, steps 610, 612, 620
            let next = self.analysis.wanted.max(peer.wanted).saturating_add(1);
            self.want(now, next);
        }
    }

    fn want(&mut self, now: Nanos, analysis: u32) {
        self.analysis.wanted = analysis;
        self.analysis.due = None;
        let patience = self.setup.judging.bound.times(2).after(self.detection());
        self.analysis.give_up = Some(now.after(patience));
        self.urgent = true;
    }

    /// WO 01/82077, FIG. 7, step 718
    fn conclude(&mut self, now: Nanos, analysis: u32, peer: PeerFound) {
        let judging = &self.setup.judging;
        let found = self.analysis.found;
        let evidence = Evidence {
            networks: judging.networks,
            full_qos: weigh(judging.networks, &judging.weights)
                .saturating_add(weigh(all(&judging.checks), &judging.checks)),
            both_faulted: judging.both_faulted,
            local: Side {
                configured: self.configured(),
                operational: found.operational,
                qos: found.qos,
                duties: found.duties,
                recovering: found.recovering,
            },
            remote: Side {
                configured: peer.configured,
                operational: peer.operational,
                qos: peer.qos,
                duties: peer.duties,
                recovering: peer.recovering,
            },
        };
        let verdict = judge(&evidence);
        let networks = judging.networks;
        let (again, rise) = (judging.again, judging.rise);
        self.analysis.closed = analysis;
        self.analysis.give_up = None;
        self.analysis.standing = Some(verdict);
        self.tell(now, Event::Judged { analysis, verdict, evidence });
        let mut bad = false;
        for i in (0..self.channels.len()).filter(|i| networks >> i & 1 == 1) {
            let channel = ChannelIndex(i as u8);
            let is = |bits: u64| bits & channel.bit() != 0;
            let facts = PathFacts {
                carrier: is(self.carriers()),
                heard: is(self.heard()),
                peer_hears: is(peer.heard),
                operational: is(found.operational),
                peer_operational: is(peer.operational),
            };
            let placed = place(facts);
            bad |= placed.is_some();
            if std::mem::replace(&mut self.analysis.places[i], placed) != placed {
                match placed {
                    Some(place) => self.tell(now, Event::FaultPlaced { channel, place, facts }),
                    None => self.tell(now, Event::FaultGone { channel }),
                }
            }
        }
        let risen = self.analysis.risen(rise);
        bad |= found.qos < evidence.full_qos;
        if (bad || risen.is_some()) && self.analysis.due.is_none() {
            self.analysis.due = Some(now.after(again).min(risen.unwrap_or(Nanos::NEVER).max(now.after(MS))));
        }
    }
}
