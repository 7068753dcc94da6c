//! What a configuration says, key by key, as types. Most defaults are given where each table is read.

use super::{
    arbiter::ArbiterConfig,
    fence::Fence,
    profiles::Profile,
    records::{Events, HistogramsConfig},
};
use crate::{
    core::{BothFaulted, Hook},
    types::{ChannelIndex, GroupIndex, Nanos, Node, SerialLine, Timing, XdpPreference, least_interval},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// A configuration that has been checked as far as that is possible without looking at a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Which pair this is.
    pub pair: Pair,
    /// The controllers' host names: a, b. They differ.
    pub hostnames: [Option<String>; 2],
    /// What the profile and the overrides come to.
    pub timing: Timing,
    /// The profile that `timing` was derived from.
    pub profile: Profile,
    /// How heartbeats are received and sent.
    pub dataplane: Dataplane,
    /// How clients are told where the addresses are.
    pub takeover: Takeover,
    /// How faults are judged.
    pub judging: JudgingConfig,
    /// What must succeed before anything is taken from a silent peer.
    pub fence: Option<Fence>,
    /// Who decides between two controllers that do not hear each other.
    pub arbiter: Option<ArbiterConfig>,
    /// The host's watchdog.
    pub watchdog: Option<WatchdogConfig>,
    /// Health checks, at most 32.
    pub checks: Vec<Check>,
    /// Who may ask, and where.
    pub api: Api,
    /// Where events go.
    pub events: Events,
    /// Where latencies go.
    pub histograms: HistogramsConfig,
    /// The channels: 1 to 64, each at the place that its index says.
    pub channels: Vec<ChannelConfig>,
    /// The groups: at most 64, each at the place that its index says.
    pub groups: Vec<GroupConfig>,
    /// When the file was changed last, in seconds since 1970; 0 where it is not known.
    pub file_time: u32,
}

/// `[pair]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Tells this pair's heartbeats from those of other pairs in the same networks.
    pub id: u32,
    /// Where the key is; see [`key`](super::key).
    pub key_file: PathBuf,
    /// UDP port of the heartbeats. Default 694, IANA's `ha-cluster`.
    pub port: u16,
}

/// `[dataplane]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dataplane {
    /// How heartbeats are received. Default `auto`.
    pub xdp: XdpPreference,
    /// SCHED_FIFO priority of the pulse thread, 1 to 98; the takeover thread has one less. Default 60. Lower than that
    /// of another busy real-time thread, heartbeats are late.
    pub priority: u8,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { xdp: XdpPreference::Auto, priority: 60 }
    }
}

/// `[takeover]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Takeover {
    /// How often everything that is held is announced, beyond what happens. Default: not at all.
    pub announce_every: Option<Nanos>,
    /// For so long after its agent died, the peer waits for it to come back. Default 2 s, 10 s where a group has hooks.
    pub restart_grace: Option<Nanos>,
}

/// `[judging]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JudgingConfig {
    /// What to do where both controllers have faults (D5, D6). Default: each group by itself.
    pub both_faulted: BothFaulted,
    /// Groups of requests in one analysis (FIG. 8, steps 814 to 818). Default 3.
    pub probe_rounds: u16,
    /// The pause after each (812). Default: twice the interval, 20 ms to 1 s.
    pub probe_pause: Nanos,
    /// How often an analysis is repeated while a network has a fault. Default 10 s.
    pub again: Nanos,
    /// A group that moved is not moved again by a verdict within this time. Default 60 s.
    pub hold: Nanos,
    /// Whether one of our own judged networks must answer before anything is taken from a silent peer (`"probe"`, the
    /// default), or only one of our channels have a carrier (`"carrier"`).
    pub isolation_by_probe: bool,
    /// A network that did not answer counts again only once it has answered for so long. Default 5 s.
    pub rise: Nanos,
    /// A peer whose agent stands still while its host answers keeps its groups for so long. Default 0.
    pub stalled_grace: Nanos,
    /// A controller that is cut off lets go of what it holds (`"release"`, the default), or does not (`"keep"`).
    pub release_isolated: bool,
    /// Within so long, hooks included. Default: the longest that a group's hooks may take, twice what the arbiter may, and 5 s.
    pub release_within: Option<Nanos>,
    /// Where somebody still answers for an address that is to be taken over: wait (`true`), or take it (the default).
    pub wait_where_answered: bool,
    /// For how long at most; then it is taken all the same. Default 30 s.
    pub still_answering_for: Nanos,
}

/// `[[channel]]`: one network path between the two controllers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelConfig {
    /// Its place in the file.
    pub index: ChannelIndex,
    /// Its name: 1 to 32 of A-Z a-z 0-9 . _ -, no other channel's.
    pub name: String,
    /// What else uses the path.
    pub kind: ChannelKind,
    /// What it runs over.
    pub wiring: Wiring,
    /// Who is asked whether the network works (FIG. 8). Default: whoever is found.
    pub probe: Targets,
    /// So many of the addresses must answer. Default 1.
    pub probe_quorum: u8,
    /// What its network counts in QOS (A5). Default 100.
    pub weight: u32,
}

impl ChannelConfig {
    /// Whether its network is judged: clients use it.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        matches!(self.kind, ChannelKind::Network)
    }

    /// `node`'s end, unless it is no network.
    #[must_use]
    pub fn end(&self, node: Node) -> Option<&ChannelEnd> {
        match &self.wiring {
            Wiring::Interfaces(ends) => Some(&ends[usize::from(node.wire())]),
            Wiring::Line { .. } | Wiring::Disk { .. } => None,
        }
    }

    /// The serial line, as `node` has it, where it is one.
    #[must_use]
    pub fn line(&self, node: Node) -> Option<SerialLine> {
        match &self.wiring {
            Wiring::Interfaces(_) | Wiring::Disk { .. } => None,
            Wiring::Line { devices, speed } => {
                Some(SerialLine { device: devices[usize::from(node.wire())].clone(), speed: *speed })
            }
        }
    }

    /// The disk, as `node` has it, and how often a heartbeat is written on it, where it is one.
    #[must_use]
    pub fn disk(&self, node: Node) -> Option<(&Path, Nanos)> {
        match &self.wiring {
            Wiring::Interfaces(_) | Wiring::Line { .. } => None,
            Wiring::Disk { devices, every } => Some((&devices[usize::from(node.wire())], *every)),
        }
    }

    /// The interface, or the device, that `node` has it on.
    #[must_use]
    pub fn port(&self, node: Node) -> String {
        match &self.wiring {
            Wiring::Interfaces(ends) => ends[usize::from(node.wire())].interface.clone(),
            Wiring::Line { devices, .. } | Wiring::Disk { devices, .. } => {
                devices[usize::from(node.wire())].display().to_string()
            }
        }
    }

    /// Every n-th heartbeat is sent on it: a serial line may be too slow for all, and a disk is.
    #[must_use]
    pub fn pace(&self, interval: Nanos) -> u32 {
        let least = match self.wiring {
            Wiring::Interfaces(_) => return 1,
            Wiring::Line { speed, .. } => least_interval(speed),
            Wiring::Disk { every, .. } => every,
        };
        least.0.div_ceil(interval.0.max(1)).max(1) as u32
    }
}

/// Who is asked whether a network works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// Whoever is found then: routers, neighbours, all hosts.
    Auto,
    /// These, of the ends' family: they answer as long as the network works.
    Addresses(Vec<IpAddr>),
    /// The gateway of the interface's default route, as it is then.
    Gateway,
    /// Nobody: own facts decide.
    None,
}

/// What a channel's path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A network that clients use: the document's host network.
    Network,
    /// A path that only the two controllers use.
    Dedicated,
    /// A serial line between the two.
    Serial,
    /// A disk that both have.
    Disk,
}

impl ChannelKind {
    /// Its name in the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Dedicated => "dedicated",
            Self::Serial => "serial",
            Self::Disk => "disk",
        }
    }
}

/// What a channel runs over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// Controller a's and controller b's end; their addresses are of one family.
    Interfaces([ChannelEnd; 2]),
    /// A serial line.
    Line {
        /// Controller a's and controller b's device.
        devices: [PathBuf; 2],
        /// In baud.
        speed: u32,
    },
    /// A disk that both have.
    Disk {
        /// Its path on controller a and on controller b.
        devices: [PathBuf; 2],
        /// How often each writes a heartbeat; a multiple of the pair's interval is used. Default 1 s.
        every: Nanos,
    },
}

/// One controller's end of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelEnd {
    /// The interface: 1 to 15 characters. No other channel's on this controller.
    pub interface: String,
    /// The controller's own address on it. The scope of a link-local one is the interface.
    pub address: IpAddr,
}

/// `[[group]]`: service addresses that move together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupConfig {
    /// Its place in the file.
    pub index: GroupIndex,
    /// Its name: 1 to 32 of A-Z a-z 0-9 . _ -, no other group's.
    pub name: String,
    /// The controller that holds it when both are well.
    pub home: Node,
    /// At least one.
    pub addresses: Vec<ServiceAddress>,
    /// The QOS that it needs (A6). Default 0.
    pub needs: u32,
    /// What is run when it comes and goes.
    pub hooks: Hooks,
    /// How long both must have been well before it goes home by itself; by default it never does.
    pub failback: Option<Nanos>,
    /// It must never be held twice. Default: where it has `on_acquire` or `on_release`.
    pub exclusive: bool,
    /// The file has none of that name: an earlier life left it, and it is only there to be let go of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub departed: bool,
}

/// A group's hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// Run before the addresses are added; where it fails, they are not.
    pub on_acquire: Option<Vec<String>>,
    /// Run once the addresses are in place.
    pub on_acquired: Option<Vec<String>>,
    /// Run before the addresses are removed.
    pub on_releasing: Option<Vec<String>>,
    /// Run after the addresses are removed.
    pub on_release: Option<Vec<String>>,
    /// Each may take so long. Default 30 s.
    pub timeout: Nanos,
    /// Where `on_release` fails, the group counts as released all the same; by default it is kept.
    pub force: bool,
}

impl Hooks {
    /// The words of a hook, where the group has it.
    #[must_use]
    pub fn words(&self, hook: Hook) -> Option<&[String]> {
        let words = match hook {
            Hook::OnAcquire => &self.on_acquire,
            Hook::OnAcquired => &self.on_acquired,
            Hook::OnReleasing => &self.on_releasing,
            Hook::OnRelease => &self.on_release,
        };
        words.as_deref()
    }
}

/// `[watchdog]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchdogConfig {
    /// The host's watchdog device.
    pub device: PathBuf,
    /// It resets the host when it was not fed for so long, in whole seconds. Default 10 s.
    pub timeout: Nanos,
}

/// `[api]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Api {
    /// The group whose members may ask over the Unix socket. Default: the agent's own.
    pub group: Option<String>,
    /// Where HTTP is served, without encryption. Default: nowhere.
    pub http: Option<SocketAddr>,
    /// Holds what an order over HTTP must bring; without it there are none.
    pub token_file: Option<PathBuf>,
}

/// `[[check]]`: a command that tells whether this controller can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, no other check's.
    pub name: String,
    /// It must end with 0.
    pub command: Vec<String>,
    /// It is started this often. Default 5 s.
    pub interval: Nanos,
    /// It may take so long. Default 3 s.
    pub timeout: Nanos,
    /// So many successes on end make it good. Default 2.
    pub rise: u32,
    /// So many failures on end make it bad. Default 3.
    pub fall: u32,
    /// What it counts in QOS (A5). Default 100.
    pub weight: u32,
}

/// An address that clients use, on whichever controller holds its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAddress {
    /// The channel on whose interfaces it appears; of kind [`ChannelKind::Network`].
    pub channel: ChannelIndex,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix: 1 to 32, or 1 to 128.
    pub prefix: u8,
}
