//! The status (P1 to P3): what the agent knows now, as one JSON document.

pub(super) mod gather;
mod guards;
mod verdict;

pub use guards::{Arbiter, Claimed, FenceLevel, Served, Stall, Watchdog, Withholding};

use super::{Problem, Readiness};
use crate::{
    config::{ChannelKind, Profile},
    core::{ChannelState, Difference, PeerState, Place, Verdict, Why},
    events::sinks::SinkStatus,
    types::{Link, Nanos, Node, XdpMode},
};
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// GOOD, BAD, or not known yet (P1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Works.
    Good,
    /// Does not.
    Bad,
    /// Not heard yet, not waited for long enough.
    Unknown,
}

impl From<ChannelState> for Health {
    fn from(state: ChannelState) -> Self {
        match state {
            ChannelState::Waiting => Self::Unknown,
            ChannelState::Open => Self::Good,
            ChannelState::Failed => Self::Bad,
        }
    }
}

impl From<PeerState> for Health {
    fn from(state: PeerState) -> Self {
        match state {
            PeerState::Unknown => Self::Unknown,
            PeerState::Good => Self::Good,
            PeerState::Bad => Self::Bad,
        }
    }
}

/// How it stands with the pair, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// All works, and a fault would be met.
    Good,
    /// The groups are served; something is to be mended, or nothing would move.
    Degraded,
    /// A group is served by nobody, or nobody is left to take over.
    Bad,
    /// The facts are old, or the peer was not heard yet.
    #[default]
    Unknown,
}

impl Answer {
    /// What the rest of the status comes to.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let Status { peer, groups, channels, maintenance, judged, .. } = status;
        if !status.is_fresh() || peer.state == Health::Unknown {
            Self::Unknown
        } else if peer.state == Health::Bad || groups.iter().any(|group| group.owner.is_none()) {
            Self::Bad
        } else if channels.iter().any(|channel| channel.state != Health::Good)
            || *maintenance
            || peer.maintenance
            || !peer.differs.is_empty()
            || status.readiness.is_to_be_mended()
            || judged.is_some_and(Judged::moves)
        {
            Self::Degraded
        } else {
            Self::Good
        }
    }

    /// As people see it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Degraded => "DEGRADED",
            Self::Bad => "BAD",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What both controllers' analyses came to, as an event says it, without the groups that go either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The controllers are configured with other channels.
    ConfigurationError,
    /// Nothing moves.
    Nothing(Why),
    /// This controller is failed.
    FailLocal,
    /// The peer is failed.
    FailRemote,
    /// Both have faults, and each group goes by itself.
    ByGroup,
}

impl Judged {
    /// Whether some group is to change hands by it.
    #[must_use]
    pub const fn moves(self) -> bool {
        matches!(self, Self::FailLocal | Self::FailRemote | Self::ByGroup)
    }
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::ConfigurationError => Self::ConfigurationError,
            Verdict::Nothing(why) => Self::Nothing(why),
            Verdict::FailLocal => Self::FailLocal,
            Verdict::FailRemote => Self::FailRemote,
            Verdict::ByGroup { .. } => Self::ByGroup,
        }
    }
}

/// The status document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are what operators read; docs/api.md explains them")]
pub struct Status {
    pub node: Node,
    /// Controller a's and controller b's host name, where the configuration has them.
    pub hostnames: [Option<String>; 2],
    /// When these facts were put together, in ns since 1970.
    pub time_ns: u64,
    pub pair_id: u32,
    pub version: String,
    pub pid: u32,
    /// How old these facts are.
    pub age_ms: f64,
    pub profile: Profile,
    pub interval_ms: f64,
    pub detection_ms: f64,
    pub incarnation: String,
    pub term: u64,
    /// Whether an operator wants nothing to move.
    pub maintenance: bool,
    /// What both controllers' analyses came to; nothing while none stands.
    pub judged: Option<Judged>,
    pub peer: Peer,
    pub channels: Vec<Channel>,
    pub groups: Vec<Group>,
    /// How late the pulse thread came to its appointments.
    pub lateness: Distribution,
    /// The longest time for which this agent, or its host, stood still in the last ten minutes while the peer was heard.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// What this controller can serve with, by its last analysis.
    #[serde(default)]
    pub service: Option<Served>,
    /// Cut off, this controller lets go of everything within so long; nothing where it promises nothing.
    #[serde(default)]
    pub release_within_ms: Option<f64>,
    /// Why nothing is taken from a silent peer.
    #[serde(default)]
    pub withheld: Option<Withholding>,
    /// The levels of the fence, in order.
    #[serde(default)]
    pub fence: Vec<FenceLevel>,
    #[serde(default)]
    pub arbiter: Option<Arbiter>,
    /// The host's watchdog, where one is configured.
    #[serde(default)]
    pub watchdog: Option<Watchdog>,
    /// What of this host is not as the configuration has it, as of the last look.
    #[serde(default)]
    pub problems: Vec<Problem>,
    pub events_lost: u64,
    /// Where events and latencies go, and whether that works.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
    /// Whether a failover would work now, and every reason why not.
    #[serde(default)]
    pub readiness: Readiness,
    /// What follows from all that, in one word.
    #[serde(default)]
    pub answer: Answer,
    /// The same in one line.
    pub verdict: String,
}

/// The other controller.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "as above")]
pub struct Peer {
    pub state: Health,
    pub left: bool,
    /// How long its agent has stood still, where its host answers although nothing is heard of it.
    pub stalled_ms: Option<f64>,
    /// How long it has been dead, where its kernel says so.
    #[serde(default)]
    pub died_ms: Option<f64>,
    pub incarnation: String,
    /// In what its configuration differs from ours.
    pub differs: Vec<Difference>,
    /// Why it counts as faulted, where it does.
    #[serde(default)]
    pub faulted: Option<Faulted>,
    /// Whether an operator wants nothing to move there.
    pub maintenance: bool,
    /// What it says that it can serve with, by its last analysis.
    #[serde(default)]
    pub service: Option<Served>,
    /// Cut off, it lets go of everything within so long, as it says; nothing where it promises nothing.
    #[serde(default)]
    pub release_within_ms: Option<f64>,
    /// Whether it has other keys than this controller, or has them in another order.
    #[serde(default)]
    pub keys_differ: bool,
    /// Whether it says that something of its own host speaks against its taking over.
    #[serde(default)]
    pub unfit: bool,
}

/// Why the peer counts as faulted (FIG. 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Faulted {
    /// It has other channels (step 910).
    ConfiguredDifferently,
    /// Both judged it to be failed (step 938).
    Judged,
}

/// How an interface of our own is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnEnd {
    /// There, up, with a carrier and with our address.
    #[default]
    Well,
    /// Without our address.
    NoAddress,
    /// Down, or without a carrier.
    NoCarrier,
    /// There is none of that name.
    Absent,
}

impl From<Link> for OwnEnd {
    fn from(link: Link) -> Self {
        match link {
            Link::Absent => Self::Absent,
            Link::Present { carrier: false, .. } => Self::NoCarrier,
            Link::Present { address: false, .. } => Self::NoAddress,
            Link::Present { .. } => Self::Well,
        }
    }
}

/// By what a channel's heartbeats are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceivedBy {
    /// The XDP program, in the network driver.
    Native,
    /// The XDP program, in the network stack.
    Generic,
    /// The agent, from a UDP socket.
    Socket,
    /// The agent, from a serial line.
    Serial,
    /// The agent, from a disk.
    Disk,
    /// Nothing: its interface is not attached to.
    None,
}

impl ReceivedBy {
    fn new(mode: Option<XdpMode>, kind: ChannelKind) -> Self {
        match (mode, kind) {
            (Some(XdpMode::Native), _) => Self::Native,
            (Some(XdpMode::Generic), _) => Self::Generic,
            (Some(XdpMode::Socket), _) => Self::Socket,
            (None, ChannelKind::Serial) => Self::Serial,
            (None, ChannelKind::Disk) => Self::Disk,
            (None, ChannelKind::Network | ChannelKind::Dedicated) => Self::None,
        }
    }

    /// As the document has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
            Self::Serial => "serial",
            Self::Disk => "disk",
            Self::None => "none",
        }
    }
}

/// A channel (P2).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "as above")]
pub struct Channel {
    pub name: String,
    pub kind: ChannelKind,
    pub state: Health,
    pub interface: String,
    /// Controller a's end and controller b's.
    pub ends: [End; 2],
    /// Whether its network counts in verdicts.
    pub judged: bool,
    /// What it is judged by: who answered last, or own facts only; nothing before the first analysis.
    #[serde(default)]
    pub judged_by: Option<String>,
    /// Whether that is own facts only: its silence moves nothing.
    #[serde(default)]
    pub own_facts_only: bool,
    pub carrier: bool,
    /// How our own end is.
    #[serde(default)]
    pub own_end: OwnEnd,
    /// Whether the peer says that it hears us on it; nothing while it is not heard itself.
    #[serde(default)]
    pub heard_there: Option<bool>,
    /// Where its fault lies (A7), where an analysis found one, as events say it.
    #[serde(default)]
    pub fault_place: Option<Place>,
    /// The same as a sentence, for people: its words may change.
    pub fault: Option<String>,
    pub xdp_mode: ReceivedBy,
    pub sent: u64,
    pub received: u64,
    pub missing: u64,
    /// Sequence number of the newest heartbeat of the peer's present life.
    pub highest_sequence: u64,
    /// FIG. 4's counter.
    pub counter: u32,
    pub last_heard_ms: Option<f64>,
    /// Authentic messages of no pairing yet: they serve the handshake.
    pub handshakes: u64,
    /// Messages that were not life, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Times between heartbeats, as the kernel stamped them.
    pub inter_arrival: Distribution,
    /// There and back, without the time that the peer held it.
    pub rtt: Distribution,
}

/// One controller's end of a channel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// The interface, or the serial device.
    pub port: String,
    /// Its address; a serial line has none.
    pub address: Option<String>,
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "as above")]
pub struct Group {
    pub name: String,
    pub home: Node,
    /// Who holds it, as far as this controller knows.
    pub owner: Option<Node>,
    /// Whether its addresses are in place here.
    pub held: bool,
    pub addresses: Vec<String>,
    /// The channels on whose interfaces they are.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Whether it must never be held twice.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether this host's kernel keeps silent for it, though it is ours.
    #[serde(default)]
    pub silent: bool,
    /// Whether it could not be let go of here: it is held on, or nobody has it.
    #[serde(default)]
    pub kept: bool,
    /// Whether the peer says that it holds what we hold.
    #[serde(default)]
    pub held_twice: bool,
    /// How it came to be ours.
    #[serde(default)]
    pub claim: Option<Claimed>,
}

/// A distribution in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct Distribution {
    pub n: u64,
    pub median_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Distribution {
    fn new(histogram: &Histogram<u64>, max: Option<Nanos>) -> Self {
        let us = |ns: u64| (ns as f64 / 1e3 * 10.0).round() / 10.0;
        if histogram.is_empty() {
            return Self::default();
        }
        // The longest one is known exactly, and no percentile is beyond it.
        let max = max.map_or(histogram.max(), |max| max.0);
        let at = |quantile| us(histogram.value_at_quantile(quantile).min(max));
        Self { n: histogram.len(), median_us: at(0.5), p99_us: at(0.99), max_us: us(max) }
    }
}

impl Status {
    /// Whether all is GOOD: fresh facts, the peer, all channels.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.peer.state == Health::Good && self.channels.iter().all(|c| c.state == Health::Good) && self.is_fresh()
    }

    /// Whether these are the facts of now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        /// Facts older than this many intervals, and than a second, are none.
        const STALE: f64 = 3.0;
        self.age_ms <= (self.interval_ms * STALE).max(1_000.0)
    }
}

fn ms(span: Nanos) -> f64 {
    (span.0 as f64 / 1e3).round() / 1e3
}
