//! Asking in one network: echo requests in groups with a pause after each, and the kernel's own questions to neighbours beside
//! them, for many routers answer the one and drop the other.

use super::{
    Network, Plan,
    around::{self, ALL_HOSTS, Around},
    request::{self, Kind, Secret},
};
use crate::system::{bell, netlink::Netlink};
use netlink_packet_route::neighbour::NeighbourState;
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::Interest,
    sync::Notify,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};

/// The first pause between two looks at what the kernel has heard of neighbours; each is twice as long as the one before.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// How somebody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// To an echo request.
    Echo,
    /// To ARP or neighbour discovery.
    Neighbour,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    pub ip: IpAddr,
    pub how: How,
}

impl fmt::Display for ProbeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.how, self.ip) {
            (How::Echo, ip) => write!(f, "{ip}"),
            (How::Neighbour, IpAddr::V4(ip)) => write!(f, "{ip} (ARP, no echo)"),
            (How::Neighbour, IpAddr::V6(ip)) => write!(f, "{ip} (neighbour discovery, no echo)"),
        }
    }
}

/// What has come in so far.
#[derive(Default)]
struct Heard {
    answers: Mutex<Vec<ProbeAnswer>>,
    /// Whoever answered a question to all hosts, and may be the peer under another address.
    unknown: Mutex<Vec<IpAddr>>,
    /// There is one more of them.
    met: Notify,
    refused: Mutex<Option<io::Error>>,
    changed: Notify,
}

impl Heard {
    fn note(&self, ip: IpAddr, how: How) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.iter_mut().find(|answer| answer.ip == ip) {
            Some(answer) if how == How::Echo => answer.how = How::Echo,
            Some(_) => {}
            None => answers.push(ProbeAnswer { ip, how }),
        }
        self.changed.notify_one();
    }

    fn count(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Everything that a part of the asking needs.
#[derive(Clone)]
struct Question {
    network: Network,
    around: Around,
    asking: Asking,
    deadline: Instant,
}

/// How somebody is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// How often, and how long.
    pub plan: Plan,
    /// For which analysis.
    pub analysis: u32,
    /// What tells our requests' replies.
    pub secret: Secret,
    /// Whether the kernel's tables are asked, too: that may wait for whoever changes an interface.
    pub tables: bool,
}

/// Who answered, within the time of the plan, or until as many as must had.
///
/// # Errors
/// Nobody answered, and a socket's reason why nobody could be asked.
pub async fn ask(network: &Network, around: Around, quorum: usize, asking: Asking) -> io::Result<Vec<ProbeAnswer>> {
    let plan = asking.plan;
    let deadline = Instant::now() + plan.pause * u32::from(plan.rounds);
    let question = Question { network: network.clone(), around, asking, deadline };
    let heard = Arc::new(Heard::default());
    let mut parts = JoinSet::new();
    for kind in [Kind::V4, Kind::V6].into_iter().filter(|kind| question.of(*kind).next().is_some()) {
        let (question, heard) = (question.clone(), Arc::clone(&heard));
        parts.spawn(async move {
            if let Err(error) = echo(&question, kind, &heard).await {
                // Of a family that this host does not have nobody is found.
                heard.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
    }
    if asking.tables {
        let (question, heard) = (question.clone(), Arc::clone(&heard));
        parts.spawn(async move {
            // Where the kernel's tables cannot be asked, echoes decide.
            let _ = resolve(&question, &heard).await;
        });
    }
    let enough = async {
        while heard.count() < quorum {
            heard.changed.notified().await;
        }
    };
    let _ = timeout_at(deadline, enough).await;
    parts.shutdown().await;
    let answers = std::mem::take(&mut *heard.answers.lock().unwrap_or_else(PoisonError::into_inner));
    match heard.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if answers.is_empty() => Err(error),
        _ => Ok(answers),
    }
}

impl Question {
    /// Whom to send echo requests of this family to.
    fn of(&self, kind: Kind) -> impl Iterator<Item = IpAddr> + '_ {
        let all = if self.around.all_hosts { &ALL_HOSTS[..] } else { &[] };
        let own_families = &self.around.own_addresses;
        let possible = move |ip: &IpAddr| own_families.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
        let each = self.around.targets.iter().map(|target| target.ip).chain(all.iter().copied().filter(possible));
        each.filter(move |ip| Kind::of(*ip) == kind)
    }

    /// Whether it may be anybody in the network, but not us.
    fn is_unknown(&self, ip: IpAddr) -> bool {
        let Network { peer, avoid, .. } = &self.network;
        self.around.all_hosts && ip != *peer && !avoid.contains(&ip) && !self.around.own_addresses.contains(&ip)
    }
}

/// Echo requests of one family, until nothing is left to come.
async fn echo(question: &Question, kind: Kind, heard: &Heard) -> io::Result<()> {
    let Question { network, around, asking: Asking { plan, analysis, secret, .. }, .. } = question;
    // WO 01/82077, FIG. 8, step 806
    let socket = bell::watch(open(network, around.index, kind)?)?;
    let send = async {
        let mut refused = None;
        for round in 0..plan.rounds {
            // WO 01/82077, FIG. 8, steps 810 to 818
            for target in question.of(kind) {
                let request = request::build(kind, *secret, *analysis, network.channel, round);
                if let Err(error) = socket.get_ref().send_to(&request, &address(target, around.index)) {
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
            if request::is_reply(kind, *secret, *analysis, network.channel, &buffer) {
                if around.targets.iter().any(|target| target.ip == from) {
                    heard.note(from, How::Echo);
                } else if question.is_unknown(from) {
                    let mut unknown = heard.unknown.lock().unwrap_or_else(PoisonError::into_inner);
                    if unknown.len() < around::MOST && !unknown.contains(&from) {
                        unknown.push(from);
                        heard.met.notify_one();
                    }
                }
            }
            // A flood must not keep the others, or the end, from their turn.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = receive => ended,
        refused = send => refused.map_or(Ok(()), Err),
    }
}

/// Makes the kernel ask the neighbours, and looks who has answered; whoever answered for all hosts is told from the peer by its
/// Ethernet address.
async fn resolve(question: &Question, heard: &Heard) -> io::Result<()> {
    let index = question.around.index;
    let near = question.around.targets.iter().filter(|target| target.on_link);
    let near: Vec<_> = near.map(|target| target.ip).collect();
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let can_solicit = question.around.own_addresses.iter().any(link_local);
    let (mut netlink, near) = blocking(move || {
        let mut netlink = Netlink::open()?;
        let near = around::provoke(&mut netlink, index, &near, can_solicit)?;
        Ok((netlink, near))
    })
    .await?;
    let peer = question.network.peer;
    let mut pause = FIRST_LOOK;
    while Instant::now() < question.deadline {
        // Whoever has just answered is told at once: the kernel has had to learn of him, or will soon.
        tokio::select! {
            () = sleep(pause) => pause *= 2,
            () = heard.met.notified() => pause = FIRST_LOOK,
        }
        let unknown = heard.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked: Vec<_> = near.iter().chain(&unknown).copied().chain([peer]).collect();
        let known;
        (netlink, known) = blocking(move || {
            let known = around::known(&mut netlink, index, &asked)?;
            Ok((netlink, known))
        })
        .await?;
        let peer_mac = question.network.mac_of_peer(&known);
        for neighbour in &known {
            if near.contains(&neighbour.ip) && neighbour.state == NeighbourState::Reachable {
                heard.note(neighbour.ip, How::Neighbour);
            }
            let stranger = unknown.contains(&neighbour.ip) && neighbour.mac.is_some() && peer_mac.is_some();
            if stranger && neighbour.mac != peer_mac {
                heard.note(neighbour.ip, How::Echo);
            }
        }
    }
    Ok(())
}

/// What may block does so elsewhere.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn open(network: &Network, interface: u32, kind: Kind) -> io::Result<Socket> {
    let (domain, protocol) = match kind {
        Kind::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Kind::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
    socket.bind_device(Some(network.interface.as_bytes()))?;
    // In the other family, the kernel chooses an address of the interface.
    if Kind::of(network.own) == kind {
        socket.bind(&address(network.own, interface))?;
    }
    match kind {
        Kind::V4 => socket.set_multicast_loop_v4(false)?,
        Kind::V6 => socket.set_multicast_loop_v6(false)?,
    }
    Ok(socket)
}

/// An address; the scope of a link-local one, or of a group, is the interface.
fn address(ip: IpAddr, interface: u32) -> SockAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, 0).into(),
        IpAddr::V6(v6) => {
            let scope = if v6.is_unicast_link_local() || v6.is_multicast() { interface } else { 0 };
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
