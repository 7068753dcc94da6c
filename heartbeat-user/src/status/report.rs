//! The status (P1 to P3): what the agent knows now, as one JSON document.

use super::{Facts, View, histogram::to_hdr, records::Sink, telling::withheld};
use crate::{
    config::Config,
    core::{ChannelState, Link, Nanos, Node, PeerState, Verdict, Withheld},
    dataplane::{XdpMode, clock},
};
use hdrhistogram::Histogram;
use heartbeat_ebpf::layout::Outcome;
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
            || judged.as_str().is_some_and(|judged| judged.starts_with("fail") || judged == BY_GROUP)
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

/// [`Status::judged`] where each group goes by itself.
const BY_GROUP: &str = "by_group";

/// The status document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are what operators read; README.md explains them")]
pub struct Status {
    pub node: String,
    /// Controller a's and controller b's host name, where the configuration has them.
    pub hostnames: [Option<String>; 2],
    /// When these facts were put together, in ns since 1970.
    pub time_ns: u64,
    pub pair_id: u32,
    pub version: String,
    pub pid: u32,
    /// How old these facts are.
    pub age_ms: f64,
    pub profile: String,
    pub interval_ms: f64,
    pub detection_ms: f64,
    pub incarnation: String,
    pub term: u64,
    /// Whether an operator wants nothing to move.
    pub maintenance: bool,
    /// What both controllers' analyses came to, as an event says it; nothing while none stands.
    pub judged: serde_json::Value,
    pub peer: Peer,
    pub channels: Vec<Channel>,
    pub groups: Vec<Group>,
    /// How late the pulse thread came to its appointments.
    pub lateness: Distribution,
    pub events_lost: u64,
    /// Where events and latencies go, and whether that works.
    #[serde(default)]
    pub sinks: Vec<Sink>,
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
    pub incarnation: String,
    /// In what its configuration differs from ours: channels, groups, interval.
    pub differs: Vec<String>,
    /// Why it counts as faulted (FIG. 9, steps 910, 938), where it does: `configured_differently` or `judged`.
    #[serde(default)]
    pub faulted: Option<String>,
    /// Whether an operator wants nothing to move there.
    pub maintenance: bool,
}

/// A channel (P2).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "as above")]
pub struct Channel {
    pub name: String,
    pub kind: String,
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
    /// Where its fault lies (A7), where an analysis found one.
    pub fault: Option<String>,
    pub xdp_mode: String,
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
    pub home: String,
    /// Who holds it, as far as this controller knows.
    pub owner: Option<String>,
    /// Whether its addresses are in place here.
    pub held: bool,
    pub addresses: Vec<String>,
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
    /// The status as it is now, whose facts are those of `view`.
    #[must_use]
    pub fn new(facts: &Facts, view: &View) -> Self {
        let Facts { config, node, .. } = facts;
        let (node, now) = (*node, clock::monotonic());
        let modes = facts.modes.lock().map(|modes| modes.clone()).unwrap_or_default();
        let channels: Vec<_> =
            (0..config.channels.len()).map(|i| channel(facts, view, modes.get(i).copied().flatten(), now, i)).collect();
        let lateness = &facts.shared.latencies.lateness;
        let names = ["channels", "groups", "interval"];
        let differs = names.iter().zip(view.differences).filter(|(_, d)| *d).map(|(n, _)| (*n).to_owned()).collect();
        // What the file has no more is shown until it is let go of.
        let shown = config.groups.iter().filter(|g| !g.departed || view.owned & g.index.bit() != 0);
        let status = Self {
            node: node.to_string(),
            hostnames: config.hostnames.clone(),
            time_ns: clock::realtime_ns(),
            pair_id: config.pair.id,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            age_ms: ms(now.since(view.at)),
            profile: config.profile.to_string(),
            interval_ms: ms(config.timing.interval),
            detection_ms: ms(config.detection()),
            incarnation: format!("{:016x}", facts.incarnation),
            term: view.term,
            maintenance: view.maintenance[0],
            judged: match view.verdict {
                Some(Verdict::ByGroup { .. }) => BY_GROUP.into(),
                verdict => serde_json::to_value(verdict).unwrap_or_default(),
            },
            peer: Peer {
                state: view.peer.into(),
                left: view.peer_left,
                stalled_ms: view.peer_stalled.map(ms),
                incarnation: format!("{:016x}", view.peer_incarnation),
                differs,
                faulted: match view.verdict {
                    // WO 01/82077, FIG. 9, step 910
                    Some(Verdict::ConfigurationError) => Some("configured_differently".into()),
                    _ if view.peer == PeerState::Good && view.differences[0] => Some("configured_differently".into()),
                    Some(Verdict::FailRemote) => Some("judged".into()),
                    _ => None,
                },
                maintenance: view.maintenance[1],
            },
            verdict: verdict(config, view, &channels, now),
            groups: shown.map(|g| group(config, node, view, g)).collect(),
            lateness: Distribution::new(&lateness.to_hdr(), Some(lateness.max())),
            events_lost: facts.events_lost(),
            sinks: facts.records.sinks(),
            channels,
            answer: Answer::Unknown,
        };
        Self { answer: Answer::of(&status), ..status }
    }

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

fn channel(facts: &Facts, view: &View, mode: Option<XdpMode>, now: Nanos, i: usize) -> Channel {
    let Facts { config, node, tables, .. } = facts;
    let (configured, seen) = (&config.channels[i], &view.channels[i]);
    let slot = tables.slot(configured.index);
    let rtt = &facts.shared.latencies.channels[i].rtt;
    let judged_by = facts.judged_by.lock().ok().and_then(|by| by.get(i).cloned().flatten());
    Channel {
        name: configured.name.clone(),
        kind: configured.kind.name().into(),
        state: seen.state.into(),
        interface: configured.port(*node),
        ends: [Node::A, Node::B].map(|node| End {
            port: configured.port(node),
            address: configured.end(node).map(|end| end.address.to_string()),
        }),
        judged: configured.is_judged(),
        own_facts_only: judged_by.as_ref().is_some_and(|(_, only)| *only),
        judged_by: judged_by.map(|(by, _)| by),
        carrier: matches!(seen.link, Link::Present { carrier: true, .. }),
        fault: seen.place.map(|place| place.to_string()),
        xdp_mode: match mode {
            Some(mode) => mode.to_string(),
            // No network, or one that is not attached to.
            None if configured.end(*node).is_none() => configured.kind.name().to_owned(),
            None => "none".to_owned(),
        },
        sent: seen.sent,
        received: slot.counted(Outcome::Accepted),
        missing: slot.missing.get(),
        highest_sequence: slot.highest.get(),
        counter: seen.count,
        last_heard_ms: seen.last_arrival.map(|at| ms(now.since(at))),
        handshakes: slot.counted(Outcome::Handshake),
        rejected: Outcome::ALL
            .into_iter()
            .filter(|o| o.is_reject())
            .map(|o| (o.name().to_owned(), slot.counted(o)))
            .collect(),
        inter_arrival: Distribution::new(&to_hdr(tables.inter_arrival(configured.index)), None),
        rtt: Distribution::new(&rtt.to_hdr(), Some(rtt.max())),
    }
}

fn group(config: &Config, node: Node, view: &View, group: &crate::config::Group) -> Group {
    let bit = group.index.bit();
    let owner = if view.owned & bit != 0 {
        Some(node)
    } else if view.peer == PeerState::Good && view.peer_owned & bit != 0 {
        Some(node.other())
    } else {
        None
    };
    Group {
        name: group.name.clone(),
        home: group.home.to_string(),
        owner: owner.map(|o| o.to_string()),
        held: view.held & bit != 0,
        addresses: group
            .addresses
            .iter()
            .map(|a| format!("{}/{} on {}", a.address, a.prefix, config.channels[a.channel.usize()].name))
            .collect(),
    }
}

fn verdict(config: &Config, view: &View, channels: &[Channel], now: Nanos) -> String {
    let silent: Vec<_> = channels.iter().filter(|c| c.state == Health::Bad).collect();
    let mut parts = Vec::new();
    match view.peer {
        PeerState::Unknown => parts.push("waiting for the peer's first heartbeat".to_owned()),
        PeerState::Bad if view.peer_left => parts.push("the peer has left".to_owned()),
        PeerState::Bad => {
            let last = view.channels.iter().filter_map(|c| c.last_arrival).max();
            parts.push(match last {
                Some(last) => format!("the peer is dead: no heartbeat on any channel for {}", now.since(last)),
                None => "the peer is not there: no heartbeat on any channel since the start".to_owned(),
            });
            if let Some(stalled) = view.peer_stalled {
                parts.push(format!("its host answers, its agent has stood still for {stalled}"));
            }
        }
        PeerState::Good if silent.is_empty() => parts.push("the peer is alive on all channels".to_owned()),
        PeerState::Good => {
            let list: Vec<_> = silent
                .iter()
                .map(|c| {
                    let carrier = if c.carrier { "" } else { ", no carrier here" };
                    match c.last_heard_ms {
                        Some(ms) => format!("{} (silent for {:.1} s{carrier})", c.name, ms / 1e3),
                        None => format!("{} (never heard{carrier})", c.name),
                    }
                })
                .collect();
            let works = channels.len() - silent.len();
            parts.push(format!(
                "the peer is alive on {works} of {} channels; BAD: {}",
                channels.len(),
                list.join(", ")
            ));
        }
    }
    for channel in channels {
        if let Some(fault) = &channel.fault {
            parts.push(format!("{}: {fault}", channel.name));
        }
    }
    match (view.maintenance, view.verdict) {
        ([false, false], Some(Verdict::FailLocal)) => parts.push("both judged this controller to be failed".into()),
        ([false, false], Some(Verdict::FailRemote)) => parts.push("both judged the peer to be failed".into()),
        ([false, false], Some(Verdict::ByGroup { groups_here, groups_there })) => {
            let of = |bits: u64| {
                let names = config.groups.iter().filter(|g| g.index.bit() & bits != 0).map(|g| g.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                if names.is_empty() { "nothing".to_owned() } else { names }
            };
            parts.push(format!(
                "both have faults: {} is better off here, {} with the peer",
                of(groups_here),
                of(groups_there)
            ));
        }
        ([false, false], Some(Verdict::ConfigurationError)) => {
            parts.push("the peer counts as faulted: it is configured differently, nothing moves".into());
        }
        ([false, false], _) => {}
        ([true, _], _) => parts.push("in maintenance: nothing moves".into()),
        ([false, true], _) => parts.push("the peer is in maintenance: nothing moves".into()),
    }
    match view.withheld {
        Some(Withheld::Isolated) => parts.push(
            "no takeover: no network of our own answers, or none has a carrier (`heartbeat takeover GROUP --force` where \
             the peer is off for sure)"
                .into(),
        ),
        Some(Withheld::Stranger) => parts.push(
            "no takeover: heartbeats arrive that are not our peer's (another key, pair, channel or node letter), or from a \
             peer that does not hear us"
                .into(),
        ),
        Some(Withheld::Maintenance) => parts.push("no takeover: a controller is in maintenance".into()),
        Some(Withheld::Kept) => parts.push("no takeover of what the peer could not let go of when it left".into()),
        Some(Withheld::PeerStalled) => {
            parts.push("no takeover yet: the peer's host answers, its agent stands still".into());
        }
        Some(Withheld::Unanswered) => {
            parts.push("no takeover: whether a network of our own answers could not be found out in time".into());
        }
        Some(Withheld::Occupied) => parts.push(
            "nothing is taken: another program, perhaps another agent, has the UDP port of one of our channels".into(),
        ),
        Some(Withheld::NotFenced) => parts.push("no takeover: the fence hook failed".into()),
        Some(reason) => parts.push(format!("no takeover: {}", withheld(reason))),
        None => {}
    }
    if view.peer == PeerState::Good && view.differences[1] {
        parts.push("no group moves: the peer has other groups configured".into());
    }
    if view.peer == PeerState::Good && view.differences[0] {
        parts.push(format!("the peer does not have the same {} channels configured", config.channels.len()));
    }
    parts.join("; ")
}
