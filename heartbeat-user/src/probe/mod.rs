//! The local fault analysis (WO 01/82077, FIG. 8; A4): echo requests to every network at once, in groups with a pause after
//! each, and a receiver that wakes on each reply. Networks that reply are operational.
//!
//! All networks are probed side by side: the time is bounded by rounds times pause, whatever their number, and shorter where
//! everybody answers. A reply counts only if it carries this analysis, its network and a keyed hash over both, and comes from
//! whom was asked: what is late, stray or forged says nothing.
#![forbid(unsafe_code)]

mod request;
#[cfg(test)]
mod tests;

use crate::{
    core::ChannelIndex,
    dataplane::bell,
    takeover::{Link, Netlink},
};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use request::{Kind, Secret};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::Interest,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its channel.
    pub channel: ChannelIndex,
    /// Our interface on it.
    pub interface: String,
    /// Our own address.
    pub own: IpAddr,
    /// Whom to ask; where there is nobody, the carrier decides alone.
    pub targets: Vec<IpAddr>,
    /// The gateway of the interface's default route, as it is then, is asked, too.
    pub gateway: bool,
    /// So many of them must answer; at least one.
    pub quorum: usize,
}

/// How it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Groups of requests (814 to 818).
    pub rounds: u16,
    /// The pause after each (812).
    pub pause: Duration,
}

/// What was found of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its channel.
    pub channel: ChannelIndex,
    /// Whether it is operational.
    pub operational: bool,
    /// Why, in words.
    pub why: String,
}

/// Probes all networks at once; a finding each, in their order. Takes at most `rounds` times `pause`, and some scheduling.
pub async fn analyse(networks: &[Network], plan: Plan, analysis: u32) -> Vec<Finding> {
    let mut tasks = all(networks, plan, analysis);
    let mut found: Vec<_> = networks
        .iter()
        .map(|n| Finding { channel: n.channel, operational: false, why: "the probe ended early".into() })
        .collect();
    while let Some(joined) = tasks.join_next().await {
        if let Ok((place, finding)) = joined {
            found[place] = finding;
        }
    }
    found
}

/// Whether any of the networks answers: the first one's answer ends it. Takes at most as long as an analysis.
pub async fn any_answers(networks: &[Network], plan: Plan, analysis: u32) -> bool {
    let mut tasks = all(networks, plan, analysis);
    while let Some(joined) = tasks.join_next().await {
        if joined.is_ok_and(|(_, finding)| finding.operational) {
            return true;
        }
    }
    false
}

fn all(networks: &[Network], plan: Plan, analysis: u32) -> JoinSet<(usize, Finding)> {
    let secret = Secret::new();
    let links = links(networks);
    let mut tasks = JoinSet::new();
    for (place, (network, link)) in networks.iter().cloned().zip(links).enumerate() {
        tasks.spawn(async move { (place, probe(&network, link, plan, analysis, secret).await) });
    }
    tasks
}

/// The interfaces as they are now, carriers brought up to date, and whom to ask on each.
fn links(networks: &[Network]) -> Vec<io::Result<(Link, Vec<IpAddr>)>> {
    let mut netlink = Netlink::open();
    let mut look = |network: &Network| match &mut netlink {
        Ok(netlink) => {
            let link = netlink.link(&network.interface)?;
            let mut targets = network.targets.clone();
            if network.gateway {
                let gateway = netlink.gateway(link.index, network.own.is_ipv4())?;
                targets.push(gateway.ok_or_else(|| io::Error::other("it has no default route with a gateway"))?);
            }
            Ok((link, targets))
        }
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    networks.iter().map(&mut look).collect()
}

async fn probe(
    network: &Network,
    link: io::Result<(Link, Vec<IpAddr>)>,
    plan: Plan,
    analysis: u32,
    secret: Secret,
) -> Finding {
    let finding = |operational, why: String| Finding { channel: network.channel, operational, why };
    let (link, targets) = match link {
        Ok((link, targets)) if link.carrier => (link, targets),
        Ok(_) => return finding(false, format!("{} has no carrier", network.interface)),
        Err(error) => return finding(false, format!("{}: {error}", network.interface)),
    };
    if targets.is_empty() {
        return finding(true, "its carrier is there, and nobody else is to be asked".into());
    }
    let quorum = network.quorum.clamp(1, targets.len());
    match ask(network, link.index, &targets, quorum, plan, analysis, secret).await {
        Ok(answered) if answered.len() >= quorum => finding(true, format!("{answered:?} answered")),
        Ok(answered) if answered.is_empty() => finding(false, format!("none of {targets:?} answered")),
        Ok(answered) => finding(false, format!("of {targets:?} only {answered:?} answered; {quorum} must")),
        Err(error) => finding(false, format!("{}: {error}", network.interface)),
    }
}

/// Who of the targets answered, within the time of the plan, or until as many as must had.
async fn ask(
    network: &Network,
    interface: u32,
    targets: &[IpAddr],
    quorum: usize,
    plan: Plan,
    analysis: u32,
    secret: Secret,
) -> io::Result<Vec<IpAddr>> {
    // WO 01/82077, FIG. 8, step 806
    let kind = Kind::of(network.own);
    let socket = bell::watch(open(network, interface, kind)?)?;
    let deadline = Instant::now() + plan.pause * u32::from(plan.rounds);
    let answered = Mutex::new(Vec::new());
    let send = async {
        let mut refused = None;
        for round in 0..plan.rounds {
            // WO 01/82077, FIG. 8, steps 810 to 818
            for target in targets {
                let request = request::build(kind, secret, analysis, network.channel, round);
                if let Err(error) = socket.get_ref().send_to(&request, &address(*target, interface)) {
                    refused = Some(error);
                }
            }
            sleep(plan.pause).await;
        }
        refused
    };
    // WO 01/82077, FIG. 8, step 820
    let receive = async {
        loop {
            let (from, buffer) = socket.async_io(Interest::READABLE, take).await?;
            let is_reply = request::is_reply(kind, secret, analysis, network.channel, &buffer);
            if is_reply && targets.contains(&from) && note(&answered, from) >= quorum {
                return io::Result::Ok(());
            }
            // A flood must not keep the others, or the end, from their turn.
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::select! {
        ended = timeout_at(deadline, receive) => match ended {
            Ok(Err(error)) => Some(error),
            _ => None,
        },
        refused = send => refused,
    };
    match (answered.into_inner().unwrap_or_else(PoisonError::into_inner), refused) {
        (answered, Some(error)) if answered.is_empty() => Err(error),
        (answered, _) => Ok(answered),
    }
}

/// How many different ones have answered by now.
fn note(answered: &Mutex<Vec<IpAddr>>, from: IpAddr) -> usize {
    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    if !answered.contains(&from) {
        answered.push(from);
    }
    answered.len()
}

fn open(network: &Network, interface: u32, kind: Kind) -> io::Result<Socket> {
    let (domain, protocol) = match kind {
        Kind::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Kind::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
    socket.bind_device(Some(network.interface.as_bytes()))?;
    socket.bind(&address(network.own, interface))?;
    Ok(socket)
}

/// An address; the scope of a link-local one is the interface.
fn address(ip: IpAddr, interface: u32) -> SockAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, 0).into(),
        IpAddr::V6(v6) => {
            let scope = if v6.is_unicast_link_local() { interface } else { 0 };
            SocketAddrV6::new(v6, 0, 0, scope).into()
        }
    }
}

/// One packet: whom it is from, and as much of it as a reply of ours could be.
fn take(socket: &Socket) -> io::Result<(IpAddr, Vec<u8>)> {
    let mut buffer = vec![0; request::LONGEST];
    let (len, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
    buffer.truncate(len);
    let from = from.ok_or(io::ErrorKind::InvalidData)?;
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    let from = v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())));
    Ok((from.ok_or(io::ErrorKind::InvalidData)?, buffer))
}
