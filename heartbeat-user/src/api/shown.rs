//! What the threads leave for whoever asks, so that nobody ever has to ask them.

use super::{
    known::{Known, WatchdogFacts},
    latest::Latest,
};
use crate::{
    config::Config,
    core::{ChannelView, Core, Differences, PeerState, Service, Verdict, Withheld},
    dataplane::Tables,
    events::{feed::Feed, sinks::Sinks},
    latency::{Counts, Latencies},
    probe::{ProbeFinding, ProbeState},
    types::{ChannelIndex, Nanos, Node, Sides, XdpMode},
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The judgement as of the pulse thread's last turn.
#[derive(Clone, Debug)]
pub struct CoreView {
    /// When that was.
    pub at: Nanos,
    /// Where the peer stands.
    pub peer: PeerState,
    /// Whether it said that it leaves.
    pub peer_left: bool,
    /// How long its agent has stood still, where its host answers although nothing is heard of it.
    pub peer_stalled: Option<Nanos>,
    /// How long its agent has been dead, where its kernel said so.
    pub peer_died: Option<Nanos>,
    /// Its incarnation; 0 before the first pairing.
    pub peer_incarnation: u64,
    /// The groups that it said it holds.
    pub peer_owned: u64,
    /// The groups that we hold or are about to.
    pub owned: u64,
    /// Those whose addresses are in place.
    pub held: u64,
    /// Those with hooks of which something runs, or is about to.
    pub busy: u64,
    /// Those that could not be let go of, or of which something is stuck.
    pub kept: u64,
    /// The prints of the keys that the peer said it has.
    pub peer_keys: Option<[u16; 2]>,
    /// Cut off, each lets go of everything within so long, as it says.
    pub release_within: Sides<Option<Nanos>>,
    /// What either can serve with; nothing before an analysis.
    pub services: Sides<Option<Service>>,
    /// Our health checks that fail, a bit each.
    pub failing_checks: u64,
    /// The channels on which the peer hears us.
    pub heard_there: u64,
    /// The peer says that something of its own host speaks against its taking over.
    pub peer_unfit: bool,
    /// Our term.
    pub term: u64,
    /// Why nothing is acquired, where something would be.
    pub withheld: Option<Withheld>,
    /// Until when, where time ends it.
    pub withheld_until: Option<Nanos>,
    /// What the configurations differ in.
    pub differences: Differences,
    /// Whether an operator wants nothing to move.
    pub maintenance: Sides<bool>,
    /// What the last analysis came to, while it stands.
    pub verdict: Option<Verdict>,
    /// One for each channel.
    pub channels: Vec<ChannelView>,
}

impl CoreView {
    /// The judgement of a core at its start.
    #[must_use]
    pub fn new(core: &Core, now: Nanos, channels: usize) -> Self {
        let channels = (0..channels).filter_map(|i| core.channel(ChannelIndex(i as u8))).collect();
        Self::of(core, now, channels)
    }

    /// The same from now on; allocates nothing.
    pub fn take(&mut self, core: &Core, now: Nanos) {
        let mut channels = std::mem::take(&mut self.channels);
        for (i, to) in channels.iter_mut().enumerate() {
            if let Some(channel) = core.channel(ChannelIndex(i as u8)) {
                *to = channel;
            }
        }
        *self = Self::of(core, now, channels);
    }

    fn of(core: &Core, now: Nanos, channels: Vec<ChannelView>) -> Self {
        Self {
            at: now,
            peer: core.peer(),
            peer_left: core.peer_left(),
            peer_stalled: core.peer_stalled(now),
            peer_died: core.peer_died(now),
            peer_incarnation: core.peer_incarnation(),
            peer_owned: core.peer_owned(),
            owned: core.owned(),
            held: core.held(),
            busy: core.busy(),
            kept: core.kept(),
            peer_keys: core.peer_key_prints(),
            release_within: core.release_within(),
            services: core.services(),
            failing_checks: core.failing_checks(),
            heard_there: core.heard_there(),
            peer_unfit: core.peer_is_unfit(),
            term: core.term(),
            withheld: core.withheld(),
            withheld_until: core.withheld_until(now),
            differences: core.differences(),
            maintenance: core.maintenance(),
            verdict: core.verdict(),
            channels,
        }
    }
}

/// What a network is judged by.
#[derive(Clone, Debug)]
pub struct JudgedBy {
    /// Who answered, or should have; or own facts.
    pub who: String,
    /// Its silence says nothing.
    pub own_facts_only: bool,
}

/// What the pulse thread shows without being asked.
pub struct Shared {
    /// The judgement.
    pub view: Latest<CoreView>,
    /// How long things took.
    pub latencies: Latencies,
    /// Events that the control side had no room for.
    pub events_lost: AtomicU64,
}

/// Everything that is shown, by whoever holds it.
pub struct Shown {
    /// The configuration.
    pub config: Config,
    /// Which controller this is.
    pub node: Node,
    /// This life's number.
    pub incarnation: u64,
    /// What the pulse thread shows.
    pub shared: Arc<Shared>,
    /// What the kernel counted.
    pub tables: Arc<Tables>,
    /// What each channel's network is judged by, as of the last analysis; nothing before the first.
    pub judged_by: Mutex<Vec<Option<JudgedBy>>>,
    /// How each channel is received; none: a serial line.
    pub modes: Mutex<Vec<Option<XdpMode>>>,
    /// What the control side knows.
    pub known: Mutex<Known>,
    /// The host's watchdog, where one is configured.
    pub watchdog: Option<WatchdogFacts>,
    /// The prints of our keys, by their ids.
    pub key_prints: [u16; 2],
    /// What happened.
    pub feed: Arc<Feed>,
    /// Where that goes.
    pub sinks: Sinks,
}

impl Shown {
    /// The judgement as it is now: of no turn before the one in which the core told its newest event.
    #[must_use]
    pub fn view(&self) -> CoreView {
        self.shared.view.get()
    }

    /// What is counted.
    #[must_use]
    pub fn counts(&self) -> Counts<'_> {
        Counts { latencies: &self.shared.latencies, tables: &self.tables, channels: &self.config.channels }
    }

    /// What the control side knows; whoever asks waits for nobody for long.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An analysis ended: this is what the networks are judged by.
    pub fn judge_by(&self, findings: &[ProbeFinding]) {
        let Ok(mut judged_by) = self.judged_by.lock() else { return };
        judged_by.resize(self.config.channels.len(), None);
        for ProbeFinding { channel, state, why } in findings {
            if let Some(to) = judged_by.get_mut(channel.usize()) {
                let who = match state {
                    ProbeState::Answers | ProbeState::Silent => why.clone(),
                    ProbeState::Nobody => format!("own facts only: {why}"),
                    ProbeState::Port | ProbeState::Cable => format!("own facts: {why}"),
                };
                *to = Some(JudgedBy { who, own_facts_only: *state == ProbeState::Nobody });
            }
        }
    }

    /// Events that were lost for want of room.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.shared.events_lost.load(Relaxed) + self.sinks.lost()
    }
}
