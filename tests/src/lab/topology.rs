//! What is plugged into what: switches, controllers, clients, and the names, indices and addresses of everything.
//!
//! ```text
//!   client1 ──── net1 ────┬── eth0  a  eth9 ──┐
//!                         └── eth0  b  eth9 ──┤ xlink
//!   client2 ──── net2 ────┬── eth1  a         │
//!                         └── eth1  b         │   (each box is a network namespace, each net and
//!                                             │    xlink a bridge in a namespace of its own)
//! ```
//!
//! The dedicated cable has a box in its middle as well. That is what makes it a cable: it can be pulled, so that both
//! ends lose their carrier while both interfaces stay up and keep their addresses; or go silent while the carrier stays.
//!
//! Indices are chosen here. Those of a switch's ports differ from those of the far ends on purpose: the kernel takes a
//! veth whose two ends have the same index for a real NIC and reports its loss of carrier up to a second late.

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::netlink::{Mac, Veth, Which};
use super::netns::Namespace;

/// The most networks that a lab has: with the dedicated cable, 64 channels.
pub const MAX_NETWORKS: usize = 63;

pub(super) const XLINK: usize = 0;
const BRIDGE: &str = "br0";
const BRIDGE_INDEX: u32 = 2;
/// Interface group of all ports of a switch.
const PORTS: u32 = 1;
/// Interface group of all NICs of a controller or client.
pub(super) const NICS: u32 = 2;

/// One of the two controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// Controller a.
    A,
    /// Controller b.
    B,
}

impl Node {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// `a` or `b`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other one.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => bail!("no controller {name}; there are a and b"),
        }
    }
}

/// Something with one NIC on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// A controller.
    Controller(Node),
    /// The network's client.
    Client,
}

/// Network `number` (from 1), or [`XLINK`]: `net1`, `xlink`.
pub(super) fn network_name(number: usize) -> String {
    if number == XLINK { "xlink".to_owned() } else { format!("net{number}") }
}

/// The interface by which a controller is on network `number`: net1 is eth0, and eth9 is always the dedicated cable.
#[must_use]
pub fn interface(number: usize) -> String {
    match number {
        XLINK => "eth9".to_owned(),
        1..=9 => format!("eth{}", number - 1),
        _ => format!("eth{number}"),
    }
}

/// The index of that interface inside its controller; a client's only NIC has [`interface_index`]`(1)`.
#[must_use]
pub fn interface_index(number: usize) -> u32 {
    10 + u32::try_from(number).expect("a network number is at most 63")
}

/// The Ethernet address of a host on network `number`, made to be recognized: `02:48:42:` then `0a`, `0b` or `0c` for who.
#[must_use]
pub fn mac(host: Host, number: usize) -> Mac {
    let who = match host {
        Host::Controller(Node::A) => 0x0a,
        Host::Controller(Node::B) => 0x0b,
        Host::Client => 0x0c,
    };
    [0x02, 0x48, 0x42, who, 0, u8::try_from(number).unwrap_or(u8::MAX)]
}

/// Which controller has this Ethernet address.
#[must_use]
pub fn owner_of(mac: Mac) -> Option<Node> {
    match mac {
        [0x02, 0x48, 0x42, 0x0a, ..] => Some(Node::A),
        [0x02, 0x48, 0x42, 0x0b, ..] => Some(Node::B),
        _ => None,
    }
}

/// The IPv4 address `host_number` of network `number`: 192.0.2.x, 198.51.100.x, then 10.77.number.x; always a /24.
#[must_use]
pub fn ipv4(number: usize, host_number: u8) -> Ipv4Addr {
    match number {
        1 => Ipv4Addr::new(192, 0, 2, host_number),
        2 => Ipv4Addr::new(198, 51, 100, host_number),
        _ => Ipv4Addr::new(10, 77, u8::try_from(number).unwrap_or(u8::MAX), host_number),
    }
}

/// The unique local IPv6 address `host_number` of network `number`: fd00:77:number::x, always a /64.
#[must_use]
pub fn ipv6(number: usize, host_number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, u16::try_from(number).unwrap_or(u16::MAX), 0, 0, 0, 0, host_number)
}

/// The link-local address of a controller on the dedicated cable, always a /64: fe80::1 and fe80::2.
#[must_use]
pub fn xlink_address(node: Node) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host_number(Host::Controller(node))))
}

/// Service address `index` (from 0, below 60,000) of network `number` when a network has many: 10.(100 + number).0.0/16.
/// Its client has the last address of that /16, so that it reaches them without a router.
#[must_use]
pub fn many_ipv4(number: usize, index: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(index + 256).unwrap_or(u16::MAX - 1).to_be_bytes();
    Ipv4Addr::new(10, 100 + u8::try_from(number).unwrap_or(100), high, low)
}

/// The last part of a host's addresses: 1 and 2 for the controllers, 100 for a client.
#[must_use]
pub fn host_number(host: Host) -> u8 {
    match host {
        Host::Controller(Node::A) => 1,
        Host::Controller(Node::B) => 2,
        Host::Client => 100,
    }
}

/// The link-local address that the kernel makes of an Ethernet address (RFC 4291, appendix A).
#[must_use]
pub fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

/// Every address of `host` on network `number`, with prefix length, but for those that the kernel makes itself.
pub(super) fn addresses(host: Host, number: usize) -> Vec<(IpAddr, u8)> {
    let last = host_number(host);
    if let (XLINK, Host::Controller(node)) = (number, host) {
        return vec![(xlink_address(node).into(), 64)];
    }
    let mut addresses = vec![(ipv4(number, last).into(), 24), (ipv6(number, last.into()).into(), 64)];
    if host == Host::Client {
        addresses.push((many_ipv4(number, 65_278).into(), 16));
    }
    addresses
}

/// Settings of the namespaces of controllers and clients. They are those of ordinary hosts, which are born with worse ones
/// than a lab would choose: IPv6 addresses go with an interface that is set down, and are tentative at first; replies may
/// come by any interface that leads to the sender. Only, a lab's addresses are its own and those that the kernel makes, and
/// it waits for nobody.
pub(super) fn host_sysctls(promote_secondaries: bool) -> Vec<(&'static str, &'static str)> {
    let promote = if promote_secondaries { "1" } else { "0" };
    vec![
        ("ipv6/conf/all/accept_dad", "1"),
        ("ipv6/conf/default/accept_dad", "1"),
        ("ipv6/conf/all/keep_addr_on_down", "0"),
        ("ipv6/conf/default/keep_addr_on_down", "0"),
        // Link-local ones from the Ethernet address (EUI-64), without which the kernel asks no IPv6 neighbour by itself.
        ("ipv6/conf/default/addr_gen_mode", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("ipv6/conf/default/router_solicitation_delay", "0"),
        ("ipv4/conf/all/rp_filter", "2"),
        ("ipv4/conf/default/rp_filter", "2"),
        ("ipv4/conf/all/promote_secondaries", promote),
        ("ipv4/conf/default/promote_secondaries", promote),
    ]
}

/// How long duplicate address detection listens: as it is everywhere, and while the lab itself waits for it.
const DAD: [&str; 2] = ["1000", "20"];

/// Settings of a switch: it has no stack of its own.
const SWITCH_SYSCTLS: &[(&str, &str)] = &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// A switch, or the box in the middle of the dedicated cable.
pub(super) struct Switch {
    pub(super) number: usize,
    pub(super) namespace: Namespace,
    mtu: u32,
    queues: u32,
}

impl Switch {
    pub(super) fn new(lab: &str, number: usize, mtu: u32, queues: u32) -> Result<Self> {
        let namespace = Namespace::create(&format!("{lab}-{}", network_name(number)), SWITCH_SYSCTLS)?;
        namespace.netlink().add_bridge(BRIDGE, BRIDGE_INDEX)?;
        Ok(Self { number, namespace, mtu, queues })
    }

    /// Plugs a host in: lays the cable, and gives the host's NIC its addresses.
    pub(super) fn plug(&self, host: Host, far: &Namespace) -> Result<()> {
        let (far_name, far_index) = self.nic(host);
        let port = self.port(host);
        let file = File::open(far.path()).with_context(|| format!("namespace {} is gone", far.name()))?;
        self.namespace.netlink().add_veth(&Veth {
            name: &port,
            index: 1000 + u32::from(host_number(host)),
            group: PORTS,
            bridge: BRIDGE_INDEX,
            mtu: self.mtu,
            queues: self.queues,
            far_name: &far_name,
            far_index,
            far_group: NICS,
            far_mac: mac(host, self.number),
            far: file.as_raw_fd(),
        })?;
        if matches!(host, Host::Controller(_)) {
            // So that the controller's XDP program can answer (XDP_TX).
            self.namespace.netlink().attach_xdp(&port, super::xdp_pass::load()?.as_raw_fd())?;
        }
        self.hasten_addresses(host, far)?;
        far.netlink().set_up(&Which::Name(&far_name), true)?;
        self.address(host, far)
    }

    /// From now until [`settle_addresses`], duplicate address detection on a host's NIC takes no time: to be said before it
    /// is set up.
    pub(super) fn hasten_addresses(&self, host: Host, far: &Namespace) -> Result<()> {
        far.set(&format!("ipv6/neigh/{}/retrans_time_ms", self.nic(host).0), DAD[1])
    }

    /// Gives a host's NIC its addresses. They can be used once [`settle_addresses`] has returned.
    pub(super) fn address(&self, host: Host, far: &Namespace) -> Result<()> {
        let (_, index) = self.nic(host);
        for (address, prefix_len) in addresses(host, self.number) {
            far.netlink().add_address(index, address, prefix_len)?;
        }
        Ok(())
    }

    /// Name and index of a host's NIC.
    fn nic(&self, host: Host) -> (String, u32) {
        let number = if host == Host::Client { 1 } else { self.number };
        (interface(number), interface_index(number))
    }

    /// The name of a host's port: `a`, `b`, `client1`.
    pub(super) fn port(&self, host: Host) -> String {
        match host {
            Host::Controller(node) => node.name().to_owned(),
            Host::Client => format!("client{}", self.number),
        }
    }

    /// A port loses or gets its carrier, which the far end sees at once.
    pub(super) fn set_port(&self, port: &str, up: bool) -> Result<()> {
        self.namespace.netlink().set_up(&Which::Name(port), up)
    }

    /// All ports at once.
    pub(super) fn set_ports(&self, up: bool) -> Result<()> {
        self.namespace.netlink().set_up(&Which::Group(PORTS), up)
    }

    /// A port that is not plugged into the bridge keeps its carrier and swallows everything.
    pub(super) fn set_plugged(&self, port: &str, plugged: bool) -> Result<()> {
        self.namespace.netlink().set_bridge(port, plugged.then_some(BRIDGE_INDEX))
    }

    /// A bridge that is down forwards nothing while every port keeps its carrier.
    pub(super) fn set_forwarding(&self, on: bool) -> Result<()> {
        self.namespace.netlink().set_up(&Which::Name(BRIDGE), on)
    }

    /// Waits until a port that has carrier forwards: the kernel finishes that on a worker of its own, within a millisecond or so.
    pub(super) fn wait_operational(&self, port: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let link = self.namespace.netlink().link(port)?;
            if link.operational || !link.carrier {
                break;
            }
            if Instant::now() > deadline {
                bail!("port {port} of {} does not come up", self.namespace.name());
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

/// Waits until the addresses that `switches` gave a host can be used, as far as they have a carrier.
pub(super) fn settle_addresses<'a>(
    switches: impl IntoIterator<Item = &'a Switch>,
    host: Host,
    namespace: &Namespace,
) -> Result<()> {
    namespace.wait_addresses()?;
    switches
        .into_iter()
        .try_for_each(|switch| namespace.set(&format!("ipv6/neigh/{}/retrans_time_ms", switch.nic(host).0), DAD[0]))
}
