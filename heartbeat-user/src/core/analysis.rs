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

mod conclusion;
mod local;
mod rise;

use super::{
    Judging, Place, Verdict,
    action::{Action, Actions},
    event::Event,
    evidence::Memory,
    said::PeerFound,
    timers::{Wake, has_come},
};
use crate::types::{ChannelIndex, MAX_CHANNELS, Nanos};
use heartbeat_ebpf::wire;
use local::{Found, SURVEY, all};
use rise::Rise;

/// What an analysis rests on, as of now. Channels, and groups, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Situation {
    /// We are controller a, who says which full analysis is made.
    pub(super) master: bool,
    /// The peer is there.
    pub(super) peer_good: bool,
    /// Its life, and what that says.
    pub(super) life: u64,
    pub(super) peer: PeerFound,
    /// The channels that we have.
    pub(super) configured: u64,
    /// Those on which we hear it.
    pub(super) heard: u64,
    /// Those whose interface here is not as it should be.
    pub(super) unwell: u64,
    /// The groups that are ours, and those whose addresses are in place.
    pub(super) owned: u64,
    pub(super) held: u64,
    /// Time between two heartbeats.
    pub(super) interval: Nanos,
    /// Silence after which a channel fails, of the slowest one.
    pub(super) detection: Nanos,
}

impl Situation {
    /// The networks against which own facts speak.
    pub(super) const fn own_faults(&self, judging: &Judging) -> u64 {
        judging.networks & self.unwell
    }

    /// What failed together is noticed here within a detection time, the carrier first, the silence last; and the peer says what
    /// it noticed within an interval more.
    fn settled(&self, now: Nanos, judging: &Judging) -> Nanos {
        now.after(self.detection.after(self.interval.times(2)).min(judging.bound))
    }
}

impl Judging {
    /// Whether there is anything to judge.
    pub(super) const fn judges(&self) -> bool {
        self.networks != 0 || !self.checks.is_empty()
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    rise: Rise,
    /// The last one that was decided or given up.
    closed: u32,
    cause: Option<Cause>,
    /// When one is to be asked for.
    due: Option<Nanos>,
    /// When the one that is under way is given up.
    given_up_at: Option<Nanos>,
    /// What the last one came to, for as long as it stands.
    standing: Option<Verdict>,
    /// The places that were told, by channel.
    places: [Option<Place>; MAX_CHANNELS],
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
            rise: Rise::new(),
            closed: 0,
            cause: None,
            due: None,
            given_up_at: None,
            standing: None,
            places: [None; MAX_CHANNELS],
        }
    }

    /// What the next heartbeat says of it.
    pub(super) const fn said(&self) -> AnalysisSaid {
        let Found { id, local, qos, duties, recovering, .. } = self.found;
        let recovering = if recovering { wire::RECOVERING } else { 0 };
        let qos = qos & !wire::RECOVERING | recovering;
        AnalysisSaid {
            wanted: self.wanted,
            done: id,
            operational: local.operational,
            certain: local.certain,
            qos,
            duties,
        }
    }

    /// Where the channel's fault lies, where the last one found one.
    pub(super) const fn place(&self, channel: ChannelIndex) -> Option<Place> {
        self.places[channel.usize()]
    }

    /// What the last one came to, for as long as it stands.
    pub(super) const fn standing(&self) -> Option<Verdict> {
        self.standing
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
            rise: _,
            closed: _,
            cause: _,
            due,
            given_up_at,
            standing: _,
            places: _,
        } = self;
        // While one is under way, the next one waits for its end.
        wake.due(given_up_at.or(*due));
        wake.ends(*begins);
        wake.ends(*quick_again);
        wake.due(*survey_due);
    }

    /// A new life of the peer counts from the start, and so do we: whatever its earlier one said is over.
    pub(super) fn begin(&mut self) {
        (self.wanted, self.closed, self.running) = (0, 0, None);
        self.found = Found::default();
        (self.cause, self.due, self.given_up_at, self.standing) = (None, None, None, None);
    }

    /// Forgets what was under way: the peer is silent.
    fn reset(&mut self) {
        (self.cause, self.due, self.given_up_at, self.standing) = (None, None, None, None);
        self.closed = self.closed.max(self.wanted);
    }

    /// FIG. 6 from step 608 on: asks, runs, decides.
    pub(super) fn step(&mut self, now: Nanos, judging: &Judging, situation: &Situation, out: &mut Actions) {
        if !judging.judges() {
            return;
        }
        self.survey(now, judging, out);
        if !situation.peer_good {
            // WO 01/82077, FIG. 6, steps 604, 606: no analysis is run
            self.reset();
            return;
        }
        let peer = &situation.peer;
        let done = self.found.id;
        if done == peer.done && done > self.closed && done == self.wanted {
            self.conclude(now, judging, situation, out);
        } else if has_come(self.given_up_at, now) {
            self.give_up(now, judging, peer, out);
        }
        self.ask(now, judging, situation);
        self.ask_at_once(now, judging, situation);
        // WO 01/82077, FIG. 6, step 612, arrived at the master; or FIG. 7, step 712, at the slave
        if peer.wanted > self.wanted {
            self.want(now, peer.wanted, judging, situation);
            // What was asked for at once, and is overtaken, is asked for again at once.
            self.quick_again = now;
            self.ask_at_once(now, judging, situation);
        }
        let agreed = if situation.master || is_quick(self.wanted) { self.wanted } else { peer.wanted };
        let news = agreed > self.found.id.max(self.closed);
        if news && self.begins <= now && self.running.is_none() {
            self.running = Some(Running { id: agreed, since: now });
            out.push(Action::Probe(agreed));
        }
    }

    /// Between analyses, whom to ask is looked for: silence means nothing unless somebody answered before.
    fn survey(&mut self, now: Nanos, judging: &Judging, out: &mut Actions) {
        if self.survey_due > now {
            return;
        }
        self.survey_due = now.after(judging.again);
        if self.running.is_none() && self.given_up_at.is_none() {
            self.surveying = Some(now);
            out.push(Action::Probe(SURVEY));
        }
    }

    fn give_up(&mut self, now: Nanos, judging: &Judging, peer: &PeerFound, out: &mut Actions) {
        let analysis = self.wanted;
        self.closed = analysis;
        (self.given_up_at, self.standing, self.running) = (None, None, None);
        // A quick one is followed by a full one in any case.
        self.due = Some(if is_quick(analysis) { now } else { now.after(judging.again) });
        let (done_here, done_there) = (self.found.id == analysis, peer.done == analysis);
        out.tell(now, Event::AnalysisGivenUp { analysis, done_here, done_there });
    }

    /// Whether something happened that an analysis is to be made for, or it is time for the next.
    fn ask(&mut self, now: Nanos, judging: &Judging, situation: &Situation) {
        let Situation { peer, life, heard, .. } = *situation;
        let cause = Cause {
            heard: heard & judging.networks,
            heard_there: peer.heard & judging.networks,
            own: situation.own_faults(judging),
            healthy: self.healthy,
            peer: life,
        };
        if self.cause != Some(cause) {
            self.cause = Some(cause);
            self.cause_since = now;
            let settled = situation.settled(now, judging);
            self.due = Some(self.due.map_or(settled, |due| due.min(settled)));
        }
        let under_way = self.given_up_at.is_some();
        if !under_way && has_come(self.due, now) {
            // WO 01/82077, FIG. 6, steps 610, 612, 620
            let next = self.wanted.max(peer.wanted).saturating_add(1);
            self.want(now, next.saturating_add(next % 2), judging, situation);
        }
    }

    /// Whether a network that we told to be operational is not, by our own facts, and no look is under way that will tell so.
    fn ask_at_once(&mut self, now: Nanos, judging: &Judging, situation: &Situation) {
        let told = if self.found.id == 0 { judging.networks } else { self.found.local.operational };
        let will_be_told = is_quick(self.wanted) && self.wanted > self.closed.max(self.found.id);
        if situation.own_faults(judging) & told == 0 || will_be_told || self.quick_again > now {
            return;
        }
        self.quick_again = now.after(situation.interval);
        let next = self.wanted.max(situation.peer.wanted).saturating_add(1) | 1;
        self.want(now, next, judging, situation);
    }

    fn want(&mut self, now: Nanos, analysis: u32, judging: &Judging, situation: &Situation) {
        const MS: Nanos = Nanos::from_millis(1);
        let Situation { interval, detection, .. } = *situation;
        self.wanted = analysis;
        self.running = None;
        let patience = if is_quick(analysis) {
            // A switch that goes takes both controllers' carriers: both look once that can be seen by both.
            let together = interval.clamp(MS.times(5), MS.times(100));
            self.begins = now.after(together);
            self.due = self.due.or(Some(situation.settled(now, judging)));
            together.after(detection).after(interval)
        } else {
            self.begins = now;
            self.due = None;
            judging.bound.times(2).after(detection)
        };
        self.given_up_at = Some(now.after(patience));
    }
}

#[cfg(test)]
mod tests;
