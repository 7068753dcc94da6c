//! The local fault analysis (WO 01/82077, FIG. 8; A4): own facts first, then questions to every network at once, in groups with
//! a pause after each, and a receiver that wakes on each reply. Networks that reply are operational.
//!
//! All networks are probed side by side: the time is bounded by rounds times pause, whatever their number, and shorter where
//! everybody answers. A reply counts only if it carries this analysis, its network and a keyed hash over both, and comes from
//! whom was asked: what is late, stray or forged says nothing. Whom to ask is looked up anew each time, on a thread that may
//! block.
#![forbid(unsafe_code)]

mod around;
mod ask;
mod request;
#[cfg(test)]
mod tests;

use crate::{
    config::{Config, Targets},
    core::Probed,
    system::netlink::Netlink,
    types::{ChannelIndex, Node},
};
use around::{Around, OwnFault, Target};
pub use around::{same_network, who_is_on};
use ask::{Asking, ProbeAnswer};
use request::Secret;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// One network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its channel.
    pub channel: ChannelIndex,
    /// Our interface on it.
    pub interface: String,
    /// Our own address.
    pub own: IpAddr,
    /// The peer's, who says nothing of the network.
    pub peer: IpAddr,
    /// Whether the peer is heard there now.
    pub peer_heard: bool,
    /// What tells it from others, whatever address it has.
    pub peer_mac: PeerMac,
    /// Whom to ask.
    pub asks: Asks,
    /// Who answered when it last did.
    pub witnesses: Witnesses,
    /// Addresses that one of the two controllers holds.
    pub avoid: Vec<IpAddr>,
    /// So many of those who are asked must answer; at least one.
    pub quorum: usize,
}

/// The peer's Ethernet address on a network as it was when the peer was heard there last. The kernel forgets it soon after the
/// peer's death, or takes that of a router which answers for absent hosts: then the peer's other addresses would pass for
/// somebody else's, and that router for the peer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct PeerMac(Arc<Mutex<Option<Vec<u8>>>>);

impl PeerMac {
    /// Where the kernel holds this of the peer's address `now`, and the peer is `heard`, or is not.
    fn learn(&self, now: Option<Vec<u8>>, heard: bool) -> Option<Vec<u8>> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard && now.is_some() {
            remembered.clone_from(&now);
        }
        remembered.clone().or(now)
    }
}

/// A network as it was when it last answered, with those alone who did. They are asked by name from then on, for an answer to all
/// hosts comes later, and says first whose it is; and where time presses, without a look into the kernel's tables, which wait for
/// whoever changes an interface. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Witnesses(Arc<Mutex<Option<Around>>>);

impl Witnesses {
    fn around(&self) -> Option<Around> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn list(&self) -> Vec<IpAddr> {
        self.around().into_iter().flat_map(|around| around.targets).map(|target| target.ip).collect()
    }

    fn remember(&self, around: Around, answered: &[ProbeAnswer]) {
        let on_link = |ip| around.targets.iter().find(|target| target.ip == ip).is_none_or(|target| target.on_link);
        let targets = answered.iter().map(|answer| Target { ip: answer.ip, on_link: on_link(answer.ip) }).collect();
        let around = Around { targets, all_hosts: false, ..around };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(around);
    }
}

/// Whom to ask in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Whoever is found.
    Found,
    /// These.
    Addresses(Vec<IpAddr>),
    /// The gateway of the interface's default route.
    Gateway,
    /// Nobody.
    Nobody,
}

/// How it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Groups of requests (814 to 818).
    pub rounds: u16,
    /// The pause after each (812).
    pub pause: Duration,
}

impl Plan {
    /// To ask once, and whoever is near: what is not answered at once says nothing.
    #[must_use]
    pub fn at_once(self) -> Self {
        const NEAR: Duration = Duration::from_millis(20);
        Self { rounds: 1, pause: self.pause.min(NEAR) }
    }

    fn bound(self) -> Duration {
        self.pause * u32::from(self.rounds)
    }
}

/// What was found of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeState {
    /// A fault of our own port.
    Port,
    /// A fault of our own cable.
    Cable,
    /// It answers.
    Answers,
    /// Nobody answers who was asked.
    Silent,
    /// Nobody was to be asked; or, of a look at own facts, nobody was asked.
    Nobody,
}

/// What was found of one network, and why that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFinding {
    /// Its channel.
    pub channel: ChannelIndex,
    /// What was found.
    pub state: ProbeState,
    /// Why, in words.
    pub why: String,
}

/// The networks that this controller judges.
#[must_use]
pub fn networks(config: &Config, node: Node) -> Vec<Network> {
    let avoid: Vec<_> = config.groups.iter().flat_map(|g| &g.addresses).map(|address| address.address).collect();
    let judged = config.channels.iter().filter(|channel| channel.is_judged());
    let network = |channel: &crate::config::ChannelConfig| {
        let (end, peer) = (channel.end(node)?, channel.end(node.other())?);
        Some(Network {
            channel: channel.index,
            interface: end.interface.clone(),
            own: end.address,
            peer: peer.address,
            peer_heard: false,
            peer_mac: PeerMac::default(),
            witnesses: Witnesses::default(),
            asks: match &channel.probe {
                Targets::Auto => Asks::Found,
                Targets::Addresses(addresses) => Asks::Addresses(addresses.clone()),
                Targets::Gateway => Asks::Gateway,
                Targets::None => Asks::Nobody,
            },
            avoid: avoid.clone(),
            quorum: channel.probe_quorum.into(),
        })
    };
    judged.filter_map(network).collect()
}

/// What a network would be judged by, beside own facts, if that were done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Its channel.
    pub channel: ChannelIndex,
    /// Whom would be asked.
    pub by: String,
    /// Nobody is known there.
    pub own_facts_only: bool,
}

/// What each network would be judged by: looks only, asks nobody.
#[must_use]
pub fn prospects(config: &Config, node: Node) -> Vec<Prospect> {
    let mut netlink = Netlink::open();
    let prospect = |network: Network| {
        let around = match &mut netlink {
            Ok(netlink) => around::look_around(netlink, &network),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let (by, own_facts_only) = match around {
            Ok(Around { own: Some(OwnFault::Port(why) | OwnFault::Cable(why)), .. }) => (format!("now: {why}"), false),
            Ok(Around { targets, all_hosts, .. }) => {
                let mut by: Vec<_> = targets.iter().map(|target| target.ip.to_string()).collect();
                let nobody = by.is_empty();
                by.extend(all_hosts.then(|| if nobody { "nobody known; all hosts" } else { "all hosts" }.to_owned()));
                let by = by.join(", ");
                (if by.is_empty() { "nobody".to_owned() } else { by }, nobody)
            }
            Err(error) => (error.to_string(), false),
        };
        Prospect { channel: network.channel, by, own_facts_only }
    };
    networks(config, node).into_iter().map(prospect).collect()
}

/// As the core takes it.
#[must_use]
pub fn seen(findings: &[ProbeFinding]) -> Probed {
    let of = |state| findings.iter().filter(|f| f.state == state).fold(0, |bits, f| bits | f.channel.bit());
    Probed {
        port: of(ProbeState::Port),
        cable: of(ProbeState::Cable),
        answered: of(ProbeState::Answers),
        nobody: of(ProbeState::Nobody),
    }
}

/// Probes all networks at once; a finding each, in their order. Takes at most `rounds` times `pause`, the same once more where
/// the kernel's tables are slow, and some scheduling.
pub async fn analyse(networks: &[Network], plan: Plan, analysis: u32) -> Vec<ProbeFinding> {
    let mut found: Vec<_> = networks
        .iter()
        .map(|n| ProbeFinding { channel: n.channel, state: ProbeState::Silent, why: "the probe ended early".into() })
        .collect();
    let mut tasks = all(networks, plan, analysis).await;
    while let Some(joined) = tasks.join_next().await {
        if let Ok((place, finding)) = joined {
            found[place] = finding;
        }
    }
    found
}

/// The same, but the first network that answers ends it: whether it is us who are cut off.
pub async fn any_answers(networks: &[Network], plan: Plan, analysis: u32) -> Vec<ProbeFinding> {
    let look = async {
        let mut found = Vec::new();
        let mut tasks = all(networks, plan, analysis).await;
        while let Some(joined) = tasks.join_next().await {
            if let Ok((_, finding)) = joined {
                let answers = finding.state == ProbeState::Answers;
                found.push(finding);
                if answers {
                    break;
                }
            }
        }
        found
    };
    tokio::select! {
        found = look => found,
        Some(finding) = any_witness(networks, plan, analysis) => vec![finding],
    }
}

/// The first network one of whose witnesses answers an echo request, however much changed since; none where none does.
async fn any_witness(networks: &[Network], plan: Plan, analysis: u32) -> Option<ProbeFinding> {
    let asking = Asking { plan, analysis, secret: Secret::new(), tables: false };
    let mut tasks = JoinSet::new();
    for network in networks {
        let Some(around) = network.witnesses.around().filter(|around| around.targets.len() >= network.quorum.max(1))
        else {
            continue;
        };
        let network = network.clone();
        tasks.spawn(async move {
            let quorum = network.quorum.max(1);
            let answered = ask::ask(&network, around, quorum, asking).await.ok()?;
            let answers = || ProbeFinding {
                channel: network.channel,
                state: ProbeState::Answers,
                why: format!("{} answered", listed(&answered)),
            };
            (answered.len() >= quorum).then(answers)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok(Some(finding)) = joined {
            return Some(finding);
        }
    }
    None
}

/// Our own facts alone, as of now.
pub async fn look(networks: &[Network], plan: Plan) -> Vec<ProbeFinding> {
    let around = looked(networks, plan, around::look).await;
    let finding = |(network, around): (&Network, io::Result<Around>)| {
        let (state, why) = match around {
            Ok(Around { own: Some(fault), .. }) => own_fault(fault),
            Ok(_) => (ProbeState::Nobody, "its own facts are well".into()),
            // What cannot be seen is no fault.
            Err(error) => (ProbeState::Nobody, error.to_string()),
        };
        ProbeFinding { channel: network.channel, state, why }
    };
    networks.iter().zip(around).map(finding).collect()
}

/// Own facts, and beside them who answered.
#[must_use]
pub fn beside(own: Vec<ProbeFinding>, asked: Vec<ProbeFinding>) -> Vec<ProbeFinding> {
    let answers = |own: &ProbeFinding, asked: &ProbeFinding| {
        own.state == ProbeState::Nobody && asked.state == ProbeState::Answers
    };
    own.into_iter().zip(asked).map(|(own, asked)| if answers(&own, &asked) { asked } else { own }).collect()
}

async fn all(networks: &[Network], plan: Plan, analysis: u32) -> JoinSet<(usize, ProbeFinding)> {
    let asking = Asking { plan, analysis, secret: Secret::new(), tables: true };
    let around = looked(networks, plan, around::look_around).await;
    let mut tasks = JoinSet::new();
    for (place, (network, around)) in networks.iter().cloned().zip(around).enumerate() {
        tasks.spawn(async move { (place, probe(&network, around, asking).await) });
    }
    tasks
}

/// Looks at each network, on a thread that may block, but not for longer than an analysis.
async fn looked(
    networks: &[Network],
    plan: Plan,
    look: impl Fn(&mut Netlink, &Network) -> io::Result<Around> + Send + 'static,
) -> Vec<io::Result<Around>> {
    let list = networks.to_vec();
    let work = ask::blocking(move || {
        let mut netlink = Netlink::open()?;
        Ok(list.iter().map(|network| look(&mut netlink, network)).collect::<Vec<_>>())
    });
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the kernel's tables could not be read in time");
    match timeout(plan.bound(), work).await.unwrap_or_else(|_| Err(late())) {
        Ok(around) => around,
        Err(error) => networks.iter().map(|_| Err(io::Error::new(error.kind(), error.to_string()))).collect(),
    }
}

fn own_fault(fault: OwnFault) -> (ProbeState, String) {
    match fault {
        OwnFault::Port(why) => (ProbeState::Port, why),
        OwnFault::Cable(why) => (ProbeState::Cable, why),
    }
}

fn listed(answers: &[ProbeAnswer]) -> String {
    answers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn probe(network: &Network, around: io::Result<Around>, asking: Asking) -> ProbeFinding {
    let finding = |state, why: String| ProbeFinding { channel: network.channel, state, why };
    let around = match around {
        Ok(Around { own: Some(fault), .. }) => {
            let (state, why) = own_fault(fault);
            return finding(state, why);
        }
        Ok(around) => around,
        Err(error) => return finding(ProbeState::Silent, format!("{}: {error}", network.interface)),
    };
    let targets: Vec<_> = around.targets.iter().map(|target| target.ip).collect();
    if targets.is_empty() && !around.all_hosts {
        return match network.asks {
            Asks::Gateway => finding(ProbeState::Nobody, "it has no default route with a gateway".into()),
            _ => finding(ProbeState::Nobody, "nobody is to be asked".into()),
        };
    }
    let quorum = network.quorum.clamp(1, targets.len().max(1));
    match ask::ask(network, around.clone(), quorum, asking).await {
        Ok(answered) if answered.len() >= quorum => {
            network.witnesses.remember(around, &answered);
            finding(ProbeState::Answers, format!("{} answered", listed(&answered)))
        }
        Ok(_) if targets.is_empty() => finding(ProbeState::Nobody, "nobody was found".into()),
        Ok(answered) if answered.is_empty() => finding(ProbeState::Silent, format!("none of {targets:?} answered")),
        Ok(answered) => {
            finding(ProbeState::Silent, format!("of {targets:?} only {} answered; {quorum} must", listed(&answered)))
        }
        Err(error) => finding(ProbeState::Silent, format!("{}: {error}", network.interface)),
    }
}
