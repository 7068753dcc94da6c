//! The configuration: one TOML file, the same on both controllers, read into values that need no further checking.
//!
//! [`EXAMPLE`] names every key with its default, unit, range and consequence. What this host must have beside the file
//! is checked in [`host`], the key file in [`key`].

#![forbid(unsafe_code)]

mod commands;
mod error;
mod fence;
pub mod host;
pub mod key;
mod profiles;
mod read;
mod records;
mod sections;
mod table;
#[cfg(test)]
mod tests;
mod topology;

pub(crate) use error::nearest;
pub use error::{ConfigError, Fault, Problem, Problems};
pub use fence::{AgentOptions, Fence, Level, Means};
pub use host::{Host, HostProblem, check_commands, check_folders, check_host, check_owners};
pub use key::{KeyError, PairKeys};
pub use profiles::{Overrides, Profile, show};
pub use records::{Events, Histograms, OnEvent, Rotated, SystemLog};

pub use crate::dataplane::{SerialLine, XdpPreference};

use crate::core::{BothFaulted, ChannelIndex, GroupIndex, Hook, HookedGroups, Names, Nanos, Needs, Node, Timing};
use crate::dataplane::least_interval;
use error::Report;
use serde::Serialize;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use table::Table;
use toml::de::DeTable;

/// A configuration with every key in it, commented.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The most service addresses that all groups together may have.
pub const MAX_ADDRESSES: usize = 4096;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

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
    pub judging: Judging,
    /// What must succeed before anything is taken from a silent peer.
    pub fence: Option<Fence>,
    /// Health checks, at most 32.
    pub checks: Vec<Check>,
    /// Who may ask, and where.
    pub api: Api,
    /// Where events go.
    pub events: Events,
    /// Where latencies go.
    pub histograms: Histograms,
    /// The channels: 1 to 64, each at the place that its index says.
    pub channels: Vec<Channel>,
    /// The groups: at most 64, each at the place that its index says.
    pub groups: Vec<Group>,
    /// When the file was changed last, in seconds since 1970; 0 where it is not known.
    pub file_time: u32,
}

/// `[pair]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Tells this pair's heartbeats from those of other pairs in the same networks.
    pub id: u32,
    /// Where the key is; see [`key`].
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
}

/// `[judging]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Judging {
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
    /// Where somebody still answers for an address that is to be taken over: wait (`true`), or take it (the default).
    pub wait_where_answered: bool,
    /// For how long at most; then it is taken all the same. Default 30 s.
    pub still_answering_for: Nanos,
}

/// `[[channel]]`: one network path between the two controllers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A network that clients use: the document's host network.
    Network,
    /// A path that only the two controllers use.
    Dedicated,
    /// A serial line between the two.
    Serial,
}

/// What a channel runs over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// Controller a's and controller b's end; their addresses are of one family.
    Interfaces([End; 2]),
    /// A serial line.
    Line {
        /// Controller a's and controller b's device.
        devices: [PathBuf; 2],
        /// In baud.
        speed: u32,
    },
}

impl ChannelKind {
    /// Its name in the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Dedicated => "dedicated",
            Self::Serial => "serial",
        }
    }
}

/// One controller's end of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// The interface: 1 to 15 characters. No other channel's on this controller.
    pub interface: String,
    /// The controller's own address on it. The scope of a link-local one is the interface.
    pub address: IpAddr,
}

/// `[[group]]`: service addresses that move together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
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

impl Config {
    /// Reads the file at `path`. A relative `key_file` is taken from the file's folder.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`NotRegular`](ConfigError::NotRegular), [`TooLarge`](ConfigError::TooLarge) (more than 1 MiB),
    /// [`Changing`](ConfigError::Changing), [`Exposed`](ConfigError::Exposed), [`NotUtf8`](ConfigError::NotUtf8), [`Invalid`](ConfigError::Invalid).
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let contents = read::read(path, MAX_FILE, 0).map_err(|fault| ConfigError::of_file(path, fault))?;
        let text = std::str::from_utf8(&contents.bytes).map_err(|error| {
            let before = &contents.bytes[..error.valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
            ConfigError::NotUtf8 { path: path.to_owned(), line, column }
        })?;
        let mut config = Self::parse(text, &path.display().to_string())?;
        config.file_time = contents.modified();
        let mode = contents.metadata.mode() & 0o7777;
        if mode & 0o077 != 0
            && let Some(key) = config.secret()
        {
            return Err(ConfigError::Exposed { path: path.to_owned(), mode, key });
        }
        if let Some(folder) = path.parent() {
            config.pair.key_file = folder.join(&config.pair.key_file);
            config.api.token_file = config.api.token_file.map(|file| folder.join(file));
        }
        Ok(config)
    }

    /// Reads `text`, which messages call `name`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem found.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut report = Report::new(name, text);
        let config = match DeTable::parse(text) {
            Ok(root) => Self::read(root.get_ref(), &mut report),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                report.syntax(offset, error.message());
                None
            }
        };
        report.into_result()?;
        Ok(config.expect("where nothing was reported, every part was read"))
    }

    fn read(root: &DeTable<'_>, report: &mut Report<'_>) -> Option<Self> {
        let known = [
            "pair",
            "controller",
            "timing",
            "dataplane",
            "takeover",
            "judging",
            "api",
            "events",
            "histograms",
            "fence",
            "check",
            "channel",
            "group",
        ];
        let root = Table::open(report, String::new(), 0, root, &known);
        let pair = sections::pair(&root, report);
        let hostnames = sections::hostnames(&root, report);
        let (profile, timing) = sections::timing(&root, report);
        let dataplane = sections::dataplane(&root, report);
        let takeover = sections::takeover(&root, report);
        let judging = sections::judging(&root, report, &timing);
        let api = sections::api(&root, report);
        let events = records::events(&root, report);
        let histograms = records::histograms(&root, report);
        let fence = fence::fence(&root, report);
        let checks = commands::checks(&root, report);
        let (channels, groups) = topology::read(&root, report)?;
        Some(Self {
            pair: pair?,
            hostnames,
            timing,
            profile,
            dataplane,
            takeover,
            judging,
            api,
            events,
            histograms,
            fence,
            checks,
            channels,
            groups,
            file_time: 0,
        })
    }

    /// Which controller this host is: `flag`, where given; otherwise the one whose name is `hostname`, in full or, where
    /// either of the two is a name without a domain, in its first label.
    ///
    /// # Errors
    /// [`ConfigError::UnknownHost`], [`ConfigError::AmbiguousHost`].
    pub fn node_for(&self, flag: Option<Node>, hostname: &str) -> Result<Node, ConfigError> {
        if let Some(node) = flag {
            return Ok(node);
        }
        let [a, b] = &self.hostnames;
        for fits in [same_name, same_first_label] {
            let fits = |name: &Option<String>| name.as_ref().filter(|name| fits(name, hostname)).cloned();
            match (fits(a), fits(b)) {
                (Some(_), None) => return Ok(Node::A),
                (None, Some(_)) => return Ok(Node::B),
                (Some(a), Some(b)) => {
                    return Err(ConfigError::AmbiguousHost { host: hostname.to_owned(), a, b });
                }
                (None, None) => {}
            }
        }
        Err(ConfigError::UnknownHost { host: hostname.to_owned(), a: a.clone(), b: b.clone() })
    }

    /// One bit for each channel.
    #[must_use]
    pub fn channel_mask(&self) -> u64 {
        self.channels.iter().fold(0, |mask, channel| mask | channel.index.bit())
    }

    /// The channels whose networks are judged (FIG. 9, step 914).
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.channels.iter().filter(|c| c.is_judged()).fold(0, |mask, channel| mask | channel.index.bit())
    }

    /// What each group needs of whoever is to hold it.
    fn needs(&self) -> Vec<Needs> {
        let networks = |g: &Group| g.addresses.iter().fold(0, |bits, address| bits | address.channel.bit());
        self.groups.iter().map(|g| Needs { networks: networks(g), qos: g.needs }).collect()
    }

    /// Silence on all channels after which the peer is dead: the slowest channel's detection time.
    #[must_use]
    pub fn detection(&self) -> Nanos {
        let slowest = self.channels.iter().map(|c| c.pace(self.timing.interval)).max().unwrap_or(1);
        self.timing.paced(slowest).detection()
    }

    /// What the judgement is set up with.
    #[must_use]
    pub fn core_judging(&self) -> crate::core::Judging {
        let Judging { both_faulted, probe_rounds, probe_pause, again, hold, rise, .. } = self.judging;
        crate::core::Judging {
            networks: self.judged(),
            found: self
                .channels
                .iter()
                .filter(|c| c.is_judged() && matches!(c.probe, Targets::Auto | Targets::None))
                .fold(0, |mask, channel| mask | channel.index.bit()),
            weights: self.channels.iter().map(|c| c.weight).collect(),
            checks: self.checks.iter().map(|c| c.weight).collect(),
            needs: self.needs(),
            rise,
            both_faulted,
            bound: probe_pause.times(probe_rounds.into()),
            again,
            hold,
        }
    }

    /// An order to hand a group over is given up after this: both sides' hooks, and ten seconds.
    #[must_use]
    pub fn patience(&self) -> Nanos {
        let hooks = |g: &Group| Hook::ALL.into_iter().filter(|hook| g.hooks.words(*hook).is_some()).count();
        let longest = self.groups.iter().map(|g| g.hooks.timeout.times(hooks(g) as u64)).max().unwrap_or_default();
        longest.after(Nanos::from_millis(10_000))
    }

    /// Which groups have which hooks.
    #[must_use]
    pub fn hooked(&self) -> HookedGroups {
        let those = |which: &dyn Fn(&Hooks) -> bool| {
            self.groups.iter().filter(|g| which(&g.hooks)).fold(0, |bits, g| bits | g.index.bit())
        };
        let has = Hook::ALL.map(|hook| those(&|hooks| hooks.words(hook).is_some()));
        HookedGroups { has, force: those(&|hooks| hooks.force) }
    }

    /// The names of channels and groups, as messages have them.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(self.channels.iter().map(|c| c.name.as_str()), self.groups.iter().map(|g| g.name.as_str()))
    }

    /// Tells two different group tables apart: names, homes, needs, channels and addresses; and what else both must share to
    /// come to the same verdict. In whatever order they stand in the file. The same on every host and in every version, for
    /// it is compared between the two controllers.
    #[must_use]
    pub fn groups_digest(&self) -> u64 {
        let mut digest = SipHasher24::new();
        digest.write(&[self.judging.both_faulted as u8]);
        // A channel that only one side has, and that is not judged, is told apart from this.
        let judged = self.channels.iter().filter(|channel| channel.is_judged());
        for channel in by_name(judged, |channel| &channel.name) {
            write_name(&mut digest, &channel.name);
            digest.write(&channel.weight.to_be_bytes());
        }
        for check in by_name(self.checks.iter(), |check| &check.name) {
            write_name(&mut digest, &check.name);
            digest.write(&check.weight.to_be_bytes());
        }
        // What is only there to be let go of, the file does not have.
        let groups = self.groups.iter().filter(|group| !group.departed);
        for group in by_name(groups, |group| &group.name) {
            write_name(&mut digest, &group.name);
            digest.write(&[group.home.wire()]);
            digest.write(&group.needs.to_be_bytes());
            if let Some(after) = group.failback {
                digest.write(b"failback");
                digest.write(&after.0.to_be_bytes());
            }
            digest.write(&(group.addresses.len() as u32).to_be_bytes());
            let mut addresses: Vec<_> = group.addresses.iter().collect();
            addresses.sort_by_key(|a| (&self.channels[a.channel.usize()].name, a.address, a.prefix));
            for address in addresses {
                write_name(&mut digest, &self.channels[address.channel.usize()].name);
                match address.address {
                    IpAddr::V4(v4) => digest.write(&[&[address.prefix, 4], &v4.octets()[..]].concat()),
                    IpAddr::V6(v6) => digest.write(&[&[address.prefix, 6], &v6.octets()[..]].concat()),
                }
            }
        }
        digest.finish()
    }
}

fn by_name<'c, T>(all: impl Iterator<Item = &'c T>, name: impl Fn(&T) -> &str) -> Vec<&'c T> {
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| name(a).cmp(name(b)));
    all
}

/// The length first, so that no two tables come to the same bytes.
fn write_name(digest: &mut SipHasher24, name: &str) {
    digest.write(&[name.len() as u8]);
    digest.write(name.as_bytes());
}

impl Channel {
    /// Whether its network is judged: clients use it.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        matches!(self.kind, ChannelKind::Network)
    }

    /// `node`'s end, unless it is a serial line.
    #[must_use]
    pub fn end(&self, node: Node) -> Option<&End> {
        match &self.wiring {
            Wiring::Interfaces(ends) => Some(&ends[usize::from(node.wire())]),
            Wiring::Line { .. } => None,
        }
    }

    /// The serial line, as `node` has it, where it is one.
    #[must_use]
    pub fn line(&self, node: Node) -> Option<SerialLine> {
        match &self.wiring {
            Wiring::Interfaces(_) => None,
            Wiring::Line { devices, speed } => {
                Some(SerialLine { device: devices[usize::from(node.wire())].clone(), speed: *speed })
            }
        }
    }

    /// The interface, or the device, that `node` has it on.
    #[must_use]
    pub fn port(&self, node: Node) -> String {
        match (self.end(node), self.line(node)) {
            (Some(end), _) => end.interface.clone(),
            (None, Some(line)) => line.device.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// Every so-manieth heartbeat is sent on it: a serial line may be too slow for all.
    #[must_use]
    pub fn pace(&self, interval: Nanos) -> u32 {
        match self.wiring {
            Wiring::Interfaces(_) => 1,
            Wiring::Line { speed, .. } => least_interval(speed).0.div_ceil(interval.0.max(1)).max(1) as u32,
        }
    }
}

/// The controller that `text` names: `a` or `b`. For clap's `value_parser`.
///
/// # Errors
/// A message that says what would be right.
pub fn parse_node(text: &str) -> Result<Node, String> {
    match text {
        "a" => Ok(Node::A),
        "b" => Ok(Node::B),
        _ => Err("right would be a or b".into()),
    }
}

fn same_name(configured: &str, host: &str) -> bool {
    configured.eq_ignore_ascii_case(host)
}

fn same_first_label(configured: &str, host: &str) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let one_has_no_domain = !configured.contains('.') || !host.contains('.');
    one_has_no_domain && first(configured) == first(host)
}
