//! What the threads leave for whoever asks, so that nobody ever has to ask them.

use super::{feed::Feed, histogram::Durations, records::Records};
use crate::{
    config::{Config, Device, Fence},
    core::{ChannelView, Nanos, Node, PeerState, Verdict, Withheld},
    dataplane::{Tables, XdpMode},
    probe::{Finding, State},
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The judgement as of the pulse thread's last turn.
#[derive(Clone, Debug)]
pub struct View {
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
    /// The prints of the keys that the peer said it has.
    pub peer_keys: Option<[u16; 2]>,
    /// Our term.
    pub term: u64,
    /// Why nothing is acquired, where something would be.
    pub withheld: Option<Withheld>,
    /// Until when, where time ends it.
    pub withheld_until: Option<Nanos>,
    /// What the configurations differ in: channels, groups, interval.
    pub differences: [bool; 3],
    /// Whether an operator wants nothing to move: here, there.
    pub maintenance: [bool; 2],
    /// What the last analysis came to, while it stands.
    pub verdict: Option<Verdict>,
    /// One for each channel.
    pub channels: Vec<ChannelView>,
}

/// What the pulse thread shows without being asked.
pub struct Shared {
    /// The judgement. The pulse thread only ever tries the lock.
    pub view: Mutex<View>,
    /// How long things took.
    pub latencies: Latencies,
    /// Events that the control side had no room for.
    pub events_lost: AtomicU64,
}

/// How long things took in this life of the agent.
pub struct Latencies {
    /// How late the pulse thread came to its appointments.
    pub lateness: Durations,
    /// From the drain to the verdict that followed.
    pub drain_to_verdict: Durations,
    /// By channel.
    pub channels: Vec<ChannelLatencies>,
    /// From the decision to the first address in place, to all, to all announced.
    pub takeover: [Durations; 3],
}

/// How long things took on one channel.
#[derive(Default)]
pub struct ChannelLatencies {
    /// There and back, without the time that the peer held it.
    pub rtt: Durations,
    /// By how much the one-way delays of successive heartbeats differed (RFC 3550, section 6.4.1, not smoothed).
    pub jitter: Durations,
    /// From the kernel's stamp to the drain.
    pub stamp_to_drain: Durations,
}

impl Latencies {
    /// Empty ones.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self {
            lateness: Durations::default(),
            drain_to_verdict: Durations::default(),
            channels: (0..channels).map(|_| ChannelLatencies::default()).collect(),
            takeover: Default::default(),
        }
    }
}

/// What is known of the fence.
#[derive(Clone, Debug, Default)]
pub struct FenceFacts {
    /// One for each device of all levels, in order.
    pub devices: Vec<FenceDevice>,
    /// By what the peer was switched off last in this life, and when.
    pub fenced: Option<(String, Nanos)>,
}

/// What is known of a device of the fence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceDevice {
    /// What it runs, by name.
    pub by: String,
    /// What of its options the agent will not take, or why that is not known; empty where all is well.
    pub unfit: String,
    /// Whether it could be relied on when it was asked last; nothing of a command, of an agent that cannot be asked, and before the
    /// first answer.
    pub answers: Option<bool>,
    /// Why not.
    pub how: String,
    /// When it was asked.
    pub at: Nanos,
}

impl FenceFacts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let device = |device: &Device| FenceDevice { by: device.runs().to_owned(), ..FenceDevice::default() };
        Self { devices: config.fence.iter().flat_map(Fence::devices).map(device).collect(), fenced: None }
    }
}

/// Everything that is shown, by whoever holds it.
pub struct Facts {
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
    /// What each channel's network is judged by, as of the last analysis, and whether that is own facts only; nothing before
    /// the first.
    pub judged_by: Mutex<Vec<Option<(String, bool)>>>,
    /// How each channel is received; none: a serial line.
    pub modes: Mutex<Vec<Option<XdpMode>>>,
    /// What is known of the fence.
    pub fence: Mutex<FenceFacts>,
    /// This host is reset within so long when the agent does not do its work any more; nothing without a watchdog of the host's.
    pub reset_within: Option<Nanos>,
    /// What happened.
    pub feed: Arc<Feed>,
    /// Where that goes.
    pub records: Records,
}

impl Facts {
    /// The judgement as it is now; none once the pulse thread has died.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.shared.view.lock().ok().map(|view| view.clone())
    }

    /// What is known of the fence; whoever asks waits for nobody for long.
    pub fn fence(&self) -> MutexGuard<'_, FenceFacts> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An analysis ended: this is what the networks are judged by.
    pub fn judge_by(&self, findings: &[Finding]) {
        let Ok(mut judged_by) = self.judged_by.lock() else { return };
        judged_by.resize(self.config.channels.len(), None);
        for Finding { channel, state, why } in findings {
            if let Some(to) = judged_by.get_mut(channel.usize()) {
                *to = Some(match state {
                    State::Answers | State::Silent => (why.clone(), false),
                    State::Nobody => (format!("own facts only: {why}"), true),
                    State::Port | State::Cable => (format!("own facts: {why}"), false),
                });
            }
        }
    }

    /// Events that were lost for want of room.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.shared.events_lost.load(Relaxed) + self.records.lost()
    }
}
