//! Interfaces, addresses and neighbours over one blocking rtnetlink socket: a request goes out, its answer comes back.
//!
//! The lab asks for one thing at a time and wants to know at once whether it worked, so there is no runtime here and
//! nothing asynchronous. Interface indices are chosen by us, never looked up: see [`super::topology`].

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, State,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// One rtnetlink socket; belongs for good to the namespace of the thread that opened it.
pub struct Netlink {
    inner: Mutex<Inner>,
}

struct Inner {
    socket: Socket,
    sequence: u32,
}

/// What the kernel says about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Set up by an administrator.
    pub up: bool,
    /// The cable is connected and the far end is up.
    pub carrier: bool,
    /// Ready to carry packets.
    pub operational: bool,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// What the kernel says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressEntry {
    /// Its interface's.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix, in bits.
    pub prefix_len: u8,
    /// Duplicate address detection goes on, or found another one.
    pub tentative: bool,
}

/// A cable to be laid: an interface here, and its other end in another namespace.
pub(super) struct Veth<'a> {
    pub(super) name: &'a str,
    pub(super) index: u32,
    pub(super) group: u32,
    /// The bridge to plug into.
    pub(super) bridge: u32,
    pub(super) mtu: u32,
    pub(super) queues: u32,
    pub(super) far_name: &'a str,
    pub(super) far_index: u32,
    pub(super) far_group: u32,
    pub(super) far_mac: Mac,
    /// The namespace of the far end.
    pub(super) far: RawFd,
}

/// A change of interfaces: which ones, and what to change.
pub(super) enum Which<'a> {
    Name(&'a str),
    /// All of this group, in one request.
    Group(u32),
}

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open an rtnetlink socket")?;
        socket.bind_auto().context("cannot bind an rtnetlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).context("cannot connect an rtnetlink socket")?;
        Ok(Self { inner: Mutex::new(Inner { socket, sequence: 0 }) })
    }

    pub(super) fn loopback_up(&self) -> Result<()> {
        self.set_up(&Which::Name("lo"), true)
    }

    /// A bridge without spanning tree, delay or multicast snooping: a plain switch.
    pub(super) fn add_bridge(&self, name: &str, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        set_flag_up(&mut message, true);
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("cannot make bridge {name}"))
    }

    /// Lays a cable, its near end up and plugged into the bridge. The far end is down: the kernel refuses to set it up
    /// (ENOTCONN) in the same request.
    pub(super) fn add_veth(&self, veth: &Veth<'_>) -> Result<()> {
        let mut far = LinkMessage::default();
        far.header.index = veth.far_index;
        far.attributes = vec![
            LinkAttribute::IfName(veth.far_name.to_owned()),
            LinkAttribute::Address(veth.far_mac.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NumTxQueues(veth.queues),
            LinkAttribute::NumRxQueues(veth.queues),
            LinkAttribute::Group(veth.far_group),
            LinkAttribute::NetNsFd(veth.far),
        ];
        let mut near = LinkMessage::default();
        near.header.index = veth.index;
        set_flag_up(&mut near, true);
        near.attributes = vec![
            LinkAttribute::IfName(veth.name.to_owned()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NumTxQueues(veth.queues),
            LinkAttribute::NumRxQueues(veth.queues),
            LinkAttribute::Group(veth.group),
            LinkAttribute::Controller(veth.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("cannot lay a cable from port {} to {}", veth.name, veth.far_name))
    }

    /// Gives an interface a queue, so that a sender waits where a bare veth would drop.
    pub(crate) fn add_queue(&self, index: u32) -> Result<()> {
        let mut message = TcMessage::default();
        message.header.index = i32::try_from(index).context("an interface index is a positive i32")?;
        message.header.handle = TcHandle { major: 1, minor: 0 };
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind("pfifo".to_owned()));
        self.change(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
            .context("cannot add a queue")
    }

    /// Sets interfaces up or down.
    pub(super) fn set_up(&self, which: &Which<'_>, up: bool) -> Result<()> {
        let mut message = selecting(which);
        set_flag_up(&mut message, up);
        self.change(RouteNetlinkMessage::NewLink(message), 0)
            .with_context(|| format!("cannot set {which} {}", if up { "up" } else { "down" }))
    }

    /// Plugs a port into a bridge, or with `None` takes it out while its carrier stays.
    pub(super) fn set_bridge(&self, port: &str, bridge: Option<u32>) -> Result<()> {
        let mut message = selecting(&Which::Name(port));
        message.attributes.push(LinkAttribute::Controller(bridge.unwrap_or(0)));
        self.change(RouteNetlinkMessage::NewLink(message), 0).with_context(|| format!("cannot move port {port}"))
    }

    /// Deletes an interface.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        let message = selecting(&Which::Name(name));
        self.change(RouteNetlinkMessage::DelLink(message), 0).with_context(|| format!("cannot delete {name}"))
    }

    /// Deletes every interface of a group in one go, so that all far ends lose their carrier together.
    pub(super) fn delete_group(&self, group: u32) -> Result<()> {
        let message = selecting(&Which::Group(group));
        self.change(RouteNetlinkMessage::DelLink(message), 0).context("cannot delete the interfaces")
    }

    /// Adds an address (or confirms it), as an administrator would: one of IPv6 is tentative at first, see
    /// [`Namespace::wait_addresses`](super::Namespace::wait_addresses).
    ///
    /// # Errors
    /// The kernel's own.
    pub fn add_address(&self, index: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
        let message = address_message(index, address, prefix_len);
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("cannot add {address}/{prefix_len}"))
    }

    /// Removes an address.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn delete_address(&self, index: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
        let message = address_message(index, address, prefix_len);
        self.change(RouteNetlinkMessage::DelAddress(message), 0)
            .with_context(|| format!("cannot delete {address}/{prefix_len}"))
    }

    /// Every address of the namespace, with its interface index.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn addresses(&self) -> Result<Vec<(u32, IpAddr)>> {
        Ok(self.address_entries()?.into_iter().map(|entry| (entry.index, entry.ip)).collect())
    }

    /// Everything that the kernel says of every address of the namespace.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn address_entries(&self) -> Result<Vec<AddressEntry>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let entries = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => AddressEntry::of(message),
            _ => None,
        });
        Ok(entries.collect())
    }

    /// The IPv6 addresses on interfaces with a carrier that duplicate address detection is not through with. Without a
    /// carrier it does not begin.
    pub(super) fn tentative_addresses(&self) -> Result<Vec<AddressEntry>> {
        let mut entries = self.address_entries()?;
        entries.retain(|entry| entry.tentative);
        let mut tentative = Vec::new();
        for entry in entries {
            if self.link_at(entry.index)?.carrier {
                tentative.push(entry);
            }
        }
        Ok(tentative)
    }

    /// The state of the interface `name`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn link(&self, name: &str) -> Result<Link> {
        self.look_at(selecting(&Which::Name(name))).with_context(|| format!("no interface {name}"))
    }

    fn link_at(&self, index: u32) -> Result<Link> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.look_at(message).with_context(|| format!("no interface {index}"))
    }

    fn look_at(&self, which: LinkMessage) -> Result<Link> {
        let answers = self.request(RouteNetlinkMessage::GetLink(which), NLM_F_REQUEST)?;
        let Some(RouteNetlinkMessage::NewLink(message)) = answers.first() else { bail!("no answer") };
        let mut link = Link {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            operational: false,
            mac: Mac::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::OperState(state) => link.operational = *state == State::Up,
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or_default(),
                _ => {}
            }
        }
        Ok(link)
    }

    /// The Ethernet address at which this namespace would reach `address`, if it knows one.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn neighbour(&self, address: IpAddr) -> Result<Option<Mac>> {
        let message = neighbour_message(address);
        let wanted = message.attributes[0].clone();
        let answers = self.dump(RouteNetlinkMessage::GetNeighbour(message))?;
        Ok(answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) if message.attributes.contains(&wanted) => {
                message.attributes.iter().find_map(|attribute| match attribute {
                    NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
                    _ => None,
                })
            }
            _ => None,
        }))
    }

    /// Gives an interface another name; it may be up.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn rename(&self, name: &str, to: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.link(name)?.index;
        message.attributes.push(LinkAttribute::IfName(to.to_owned()));
        self.change(RouteNetlinkMessage::SetLink(message), 0).with_context(|| format!("cannot rename {name} to {to}"))
    }

    /// Gives an interface another Ethernet address.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set_mac(&self, name: &str, mac: Mac) -> Result<()> {
        let mut message = selecting(&Which::Name(name));
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        self.change(RouteNetlinkMessage::SetLink(message), 0)
            .with_context(|| format!("cannot change the MAC of {name}"))
    }

    /// Attaches an XDP program to an interface.
    pub(super) fn attach_xdp(&self, name: &str, program: RawFd) -> Result<()> {
        let mut message = selecting(&Which::Name(name));
        message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program)]));
        self.change(RouteNetlinkMessage::SetLink(message), 0).with_context(|| format!("cannot attach XDP to {name}"))
    }

    /// Whoever sends to `address` by the interface `index` sends to `mac` from now on, whatever anybody answers.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn pin_neighbour(&self, index: u32, address: IpAddr, mac: Mac) -> Result<()> {
        self.pin(neighbour_message(address), index, mac).with_context(|| format!("cannot pin the neighbour {address}"))
    }

    /// Whoever sends to `address` by the interface `index` has to ask for it first.
    ///
    /// # Errors
    /// It is not known.
    pub fn forget_neighbour(&self, index: u32, address: IpAddr) -> Result<()> {
        let mut message = neighbour_message(address);
        message.header.ifindex = index;
        self.change(RouteNetlinkMessage::DelNeighbour(message), 0)
            .with_context(|| format!("cannot forget the neighbour {address}"))
    }

    /// The bridge that the port `index` is plugged into sends what is for `mac` to that port, wherever `mac` is.
    pub(super) fn pin_forwarding(&self, index: u32, mac: Mac) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.flags = NeighbourFlags::Controller;
        self.pin(message, index, mac).context("cannot pin an entry of a forwarding table")
    }

    fn pin(&self, mut message: NeighbourMessage, index: u32, mac: Mac) -> Result<()> {
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Sends one request and collects its answers: until the acknowledgement, the end of the dump, or the one message.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>> {
        let mut inner = self.inner.lock().map_err(|_| anyhow!("a lock is poisoned"))?;
        inner.sequence = inner.sequence.wrapping_add(1);
        let sequence = inner.sequence;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        inner.socket.send(&bytes, 0).context("cannot send a netlink request")?;
        let many = flags & NLM_F_DUMP == NLM_F_DUMP || flags & NLM_F_ACK != 0;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = inner.socket.recv_from_full().context("cannot receive a netlink answer")?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| anyhow!("cannot read a netlink answer: {error}"))?;
                let length = (answer.header.length as usize).next_multiple_of(4).clamp(16, rest.len().max(16));
                rest = rest.get(length..).unwrap_or_default();
                if answer.header.sequence_number != sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    _ => {}
                }
            }
            if !many && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

impl AddressEntry {
    fn of(message: &AddressMessage) -> Option<Self> {
        let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
        let ip = find(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None })
            .or_else(|| find(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None }))?;
        let flags = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        Some(Self {
            index: message.header.index,
            ip,
            prefix_len: message.header.prefix_len,
            tentative: flags.is_some_and(|flags| flags.contains(AddressFlags::Tentative)),
        })
    }
}

impl std::fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "interface {name}"),
            Self::Group(group) => write!(f, "the interfaces of group {group}"),
        }
    }
}

fn selecting(which: &Which<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(match which {
        Which::Name(name) => LinkAttribute::IfName((*name).to_owned()),
        Which::Group(group) => LinkAttribute::Group(*group),
    });
    message
}

fn set_flag_up(message: &mut LinkMessage, up: bool) {
    message.header.change_mask |= LinkFlags::Up;
    message.header.flags.set(LinkFlags::Up, up);
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn neighbour_message(address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn address_message(index: u32, address: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix_len;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    if matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        message.header.scope = AddressScope::Link;
    }
    message
}
