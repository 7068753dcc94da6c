//! The kernel's routing socket: many requests in one system call, the answers told apart by sequence number.

use netlink_packet_core::{
    DefaultNla, Emitable, ErrorBuffer, NLA_HEADER_SIZE, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, Parseable,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkLayerType, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    net::if_::if_indextoname,
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};
use std::{cell::RefCell, fmt::Display, io, net::IpAddr};

/// What became of one request.
pub type NetlinkResult = Result<(), Errno>;

/// Requests in one send: their refusals, about 1 KiB each in the kernel's accounting, fit any receive buffer.
const BATCH: usize = 128;
/// Room for 1,000s of refusals, so that none is lost.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel answers within microseconds; this bounds what a fault of its could cost the takeover thread.
const PATIENCE_S: i64 = 2;
/// The largest part of a dump that the kernel builds is 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// Dumps that were interrupted by a change are repeated this often; what the last one says is then good enough.
const DUMP_TRIALS: usize = 4;
/// Attributes of a link, `linux/if_link.h`.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_CARRIER_UP_COUNT: u16 = 47;
/// Within `IFLA_LINKINFO`; within that, what a bridge (`IFLA_BRPORT_STATE`) and a bond (`IFLA_BOND_SLAVE_STATE`) say of a port.
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const PORT_STATE: u16 = 1;
/// Within `AF_INET` of `IFLA_AF_SPEC`: the interface's settings, an array in answers, attributes in requests.
const IFLA_INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_PROMOTE_SECONDARIES`, `linux/ip.h`; the array begins with number 1.
const PROMOTE_SECONDARIES: u16 = 20;

/// One NETLINK_ROUTE socket, in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

/// A network interface as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its index.
    pub index: u32,
    /// Its Ethernet address; `None` where it has none, as the loopback interface: there nothing can be announced.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up and has a carrier, as of this moment.
    pub carrier: bool,
    /// How often it got a carrier: tells of one that was lost and found again between two looks.
    pub carriers: u32,
    /// Whether it is the loopback interface: nobody is behind it.
    pub loopback: bool,
    /// Whether its `promote_secondaries` is set: else the kernel removes the other addresses of a network with its primary one.
    pub promotes: bool,
}

/// An interface that is part of a bridge or bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its index.
    pub index: u32,
    /// Whether it is up and has a carrier.
    pub carrier: bool,
    /// As [`NetworkInterface::carriers`].
    pub carriers: u32,
    /// What its bridge (forwarding, blocking) or bond (active, backup) says of it, in the kernel's numbers.
    pub state: u8,
}

/// The index of the interface of this name, or of this other name (`altname`), if there is one. Not `if_nametoindex`: that
/// makes the kernel load modules for names that it does not know (net/core/dev_ioctl.c, `dev_load`).
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn index_of(name: &str) -> io::Result<Option<u32>> {
    Netlink::open()?.index_of(name)
}

/// The name of the interface that has this index now, if there is one.
#[must_use]
pub fn name_of(index: u32) -> Option<String> {
    // To nix 0.31, an index that nobody has is an interface without a name.
    let name = if_indextoname(index).ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// What the kernel says against a routing socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?; // nothing but the kernel is heard
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?; // dumps by interface
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_S, 0))?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(PATIENCE_S, 0))?;
        Ok(Self { socket, sequence: 0, outgoing: Vec::new(), incoming: Vec::with_capacity(DATAGRAM) })
    }

    /// The interface named `name`.
    ///
    /// # Errors
    /// `ENODEV` where there is none of that name; else as [`Netlink::add`].
    pub fn link(&mut self, name: &str) -> io::Result<NetworkInterface> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.ask(RouteNetlinkMessage::GetLink(request), link_from)
    }

    /// As [`index_of`].
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn index_of(&mut self, name: &str) -> io::Result<Option<u32>> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        match self.link(name) {
            Ok(link) => Ok(Some(link.index)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name that the interface of that index has now.
    ///
    /// # Errors
    /// `ENODEV` where there is none of that index; else as [`Netlink::add`].
    pub fn name(&mut self, index: u32) -> io::Result<String> {
        self.ask(RouteNetlinkMessage::GetLink(of_index(index)), |payload| {
            let name = attribute(payload.get(LINK_HEADER..).unwrap_or_default(), IFLA_IFNAME);
            let name =
                name.and_then(|name| name.strip_suffix(&[0])).ok_or_else(|| malformed("a link without a name"))?;
            Ok(String::from_utf8_lossy(name).into_owned())
        })
    }

    /// Sets `promote_secondaries` of the interfaces, and returns those where it was not set. One that is gone, or that refuses,
    /// is left out: what the kernel then removes with a primary address is for the caller to put back.
    pub(crate) fn promote(&mut self, interfaces: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut changed = Vec::new();
        for index in interfaces {
            let link = self.ask(RouteNetlinkMessage::GetLink(of_index(index)), link_from);
            if link.is_ok_and(|link| !link.promotes) {
                match self.set_promotion(&[index], true) {
                    Ok(()) => changed.push(index),
                    Err(error) => log::warn!("promote_secondaries of interface {index} cannot be set: {error}"),
                }
            }
        }
        changed
    }

    /// Sets or clears `promote_secondaries`, by the interface's index: its name may have changed.
    pub(crate) fn set_promotion(&mut self, interfaces: &[u32], on: bool) -> io::Result<()> {
        let requests = interfaces.iter().map(|index| {
            let mut request = LinkMessage::default();
            request.header.index = *index;
            let value = u32::from(on).to_ne_bytes().to_vec();
            let setting = nested(IFLA_INET_CONF, &DefaultNla::new(PROMOTE_SECONDARIES, value));
            let settings = nested(libc::AF_INET as u16, &setting);
            request.attributes.push(LinkAttribute::Other(nested(IFLA_AF_SPEC, &settings)));
            RouteNetlinkMessage::SetLink(request)
        });
        let outcomes = self.apply(requests.collect(), 0)?;
        let refused = outcomes.into_iter().filter_map(Result::err).find(|errno| *errno != Errno::ENODEV);
        refused.map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// The ports of the bridge or bond of that index.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn ports(&mut self, master: u32) -> io::Result<Vec<Port>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        request.attributes.push(LinkAttribute::Controller(master));
        let found = RefCell::new(Vec::new());
        self.dump(
            &RouteNetlinkMessage::GetLink(request),
            || found.borrow_mut().clear(),
            |payload| port_from(payload).map(|port| found.borrow_mut().push(port)),
        )?;
        Ok(found.into_inner())
    }

    /// All interfaces.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn links(&mut self) -> io::Result<Vec<NetworkInterface>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let found = RefCell::new(Vec::new());
        self.dump(
            &RouteNetlinkMessage::GetLink(request),
            || found.borrow_mut().clear(),
            |payload| link_from(payload).map(|link| found.borrow_mut().push(link)),
        )?;
        Ok(found.into_inner())
    }

    /// The gateway of the interface's default route of that family, of several the one with the lowest metric.
    ///
    /// # Errors
    /// As [`Netlink::add`].
    pub fn gateway(&mut self, interface: u32, v4: bool) -> io::Result<Option<IpAddr>> {
        let mut request = RouteMessage::default();
        request.header.address_family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let found = RefCell::new(Vec::new());
        self.dump(
            &RouteNetlinkMessage::GetRoute(request),
            || found.borrow_mut().clear(),
            |payload| {
                found.borrow_mut().extend(gateway_from(payload, interface));
                Ok(())
            },
        )?;
        Ok(found.into_inner().into_iter().min().map(|(_, gateway)| gateway))
    }

    /// Sends one request, and reads the payload of the one answer.
    pub(crate) fn ask<T>(
        &mut self,
        request: RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let asked = self.write(vec![request], 0, 0)?;
        self.read(|message| match message.message_type() {
            _ if message.sequence_number() != asked => Ok(None),
            NLMSG_ERROR => Err(refusal(&message)?.into()),
            _ => read(message.payload()).map(Some),
        })
    }

    /// Sends `requests`, at most [`BATCH`] at a time, and returns what became of each, in their order.
    pub(crate) fn apply(&mut self, requests: Vec<RouteNetlinkMessage>, flags: u16) -> io::Result<Vec<NetlinkResult>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            outcomes.extend(self.apply_batch(requests.by_ref().take(BATCH).collect(), flags)?);
        }
        Ok(outcomes)
    }

    fn apply_batch(&mut self, batch: Vec<RouteNetlinkMessage>, flags: u16) -> io::Result<Vec<NetlinkResult>> {
        let mut outcomes = vec![Ok(()); batch.len()];
        let last = self.write(batch, flags, NLM_F_ACK)?;
        let first = last.wrapping_sub(outcomes.len() as u32 - 1);
        self.read(|message| {
            let place = message.sequence_number().wrapping_sub(first) as usize;
            if message.message_type() == NLMSG_ERROR
                && let Some(outcome) = outcomes.get_mut(place)
            {
                *outcome = match refusal(&message)? {
                    Errno::UnknownErrno => Ok(()), // 0: the acknowledgement
                    errno => Err(errno),
                };
            }
            Ok((message.sequence_number() == last).then_some(()))
        })?;
        Ok(outcomes)
    }

    /// Sends a dump request and hands the payload of each message of the answer to `each`; `begin` is called before each
    /// trial.
    pub(crate) fn dump(
        &mut self,
        request: &RouteNetlinkMessage,
        mut begin: impl FnMut(),
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..DUMP_TRIALS {
            begin();
            let asked = self.write(vec![request.clone()], NLM_F_DUMP, 0)?;
            let mut interrupted = false;
            self.read(|message| {
                if message.sequence_number() != asked {
                    return Ok(None);
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_ERROR => Err(refusal(&message)?.into()),
                    NLMSG_DONE => Ok(Some(())),
                    _ => each(message.payload()).map(|()| None),
                }
            })?;
            if !interrupted {
                break;
            }
        }
        Ok(())
    }

    /// Sends all of `requests` in one datagram, each with `flags`, the last one with `last_flags`, too; returns its
    /// sequence number.
    fn write(&mut self, requests: Vec<RouteNetlinkMessage>, flags: u16, last_flags: u16) -> io::Result<u32> {
        self.outgoing.clear();
        let count = requests.len();
        for (place, request) in requests.into_iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(request);
            message.header.sequence_number = self.sequence;
            message.header.flags = flags | NLM_F_REQUEST;
            if place + 1 == count {
                message.header.flags |= last_flags;
            }
            message.finalize();
            let start = self.outgoing.len();
            self.outgoing.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut self.outgoing[start..]);
        }
        uninterrupted(|| self.socket.send(&self.outgoing, 0))?;
        Ok(self.sequence)
    }

    /// Receives until `each` has an answer. What is left of the datagram is of the same answer, and of no interest.
    fn read<T>(&mut self, mut each: impl FnMut(NetlinkBuffer<&[u8]>) -> io::Result<Option<T>>) -> io::Result<T> {
        loop {
            self.incoming.clear();
            let length = uninterrupted(|| self.socket.recv(&mut self.incoming, libc::MSG_TRUNC))?;
            let mut rest = self.incoming.get(..length).ok_or_else(|| malformed(format!("{length} bytes at once")))?;
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(malformed)?;
                let taken = (message.length() as usize).next_multiple_of(4).min(rest.len());
                if let Some(answer) = each(message)? {
                    return Ok(answer);
                }
                rest = &rest[taken..];
            }
        }
    }

    /// Throws away what waits to be received.
    pub(crate) fn forget_answers(&mut self) {
        self.incoming.clear();
        while !matches!(self.socket.recv(&mut self.incoming, libc::MSG_DONTWAIT), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
        {
            self.incoming.clear();
        }
    }

    /// The socket itself, to starve it in tests.
    #[cfg(test)]
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// The errno of an NLMSG_ERROR; 0, the acknowledgement, is `UnknownErrno`.
fn refusal(message: &NetlinkBuffer<&[u8]>) -> io::Result<Errno> {
    let error = ErrorBuffer::new_checked(message.payload()).map_err(malformed)?;
    Ok(Errno::from_raw(error.code().map_or(0, |code| -code.get())))
}

/// Metric and gateway of a default route by the interface. One that says something unheard of is none.
fn gateway_from(payload: &[u8], interface: u32) -> Option<(u32, IpAddr)> {
    let route = RouteMessage::parse(payload).ok()?;
    let (mut by, mut metric, mut gateway) = (None, 0, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => by = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => gateway = Some(IpAddr::V6(*v6)),
            _ => {}
        }
    }
    let is_default = route.header.destination_prefix_length == 0 && by == Some(interface);
    gateway.filter(|_| is_default).map(|gateway| (metric, gateway))
}

/// `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

fn of_index(index: u32) -> LinkMessage {
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    request
}

/// Reads only what is needed: a takeover must not fail because a newer kernel says something more about an interface.
fn link_from(payload: &[u8]) -> io::Result<NetworkInterface> {
    let header = LinkHeader::parse(payload).map_err(malformed)?;
    let attributes = payload.get(LINK_HEADER..).unwrap_or_default();
    let mac = attribute(attributes, IFLA_ADDRESS).and_then(|value| value.try_into().ok());
    let inet = attribute(attributes, IFLA_AF_SPEC).and_then(|spec| attribute(spec, libc::AF_INET as u16));
    let settings = inet.and_then(|inet| attribute(inet, IFLA_INET_CONF)).unwrap_or_default();
    let promotes = settings.chunks_exact(4).nth(usize::from(PROMOTE_SECONDARIES) - 1);
    Ok(NetworkInterface {
        index: header.index,
        mac: mac.filter(|_| header.link_layer_type == LinkLayerType::Ether),
        carrier: header.flags.contains(LinkFlags::LowerUp | LinkFlags::Up),
        carriers: number(attribute(attributes, IFLA_CARRIER_UP_COUNT)),
        loopback: header.flags.contains(LinkFlags::Loopback),
        promotes: number(promotes) != 0,
    })
}

fn port_from(payload: &[u8]) -> io::Result<Port> {
    let NetworkInterface { index, carrier, carriers, .. } = link_from(payload)?;
    let attributes = payload.get(LINK_HEADER..).unwrap_or_default();
    let info = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_SLAVE_DATA));
    let state = info.and_then(|data| attribute(data, PORT_STATE)).and_then(|value| value.first().copied());
    Ok(Port { index, carrier, carriers, state: state.unwrap_or(0) })
}

/// The value of the first attribute of that kind; none where the attributes before it are malformed.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [low, high, kind_low, kind_high, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = attributes.get(NLA_HEADER_SIZE..length)?;
        if u16::from_ne_bytes([kind_low, kind_high]) & NLA_TYPE_MASK == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(value: Option<&[u8]>) -> u32 {
    value.and_then(|value| value.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn nested(kind: u16, inner: &DefaultNla) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind, value)
}

/// Calls `system_call` until no signal interrupts it; a time-out says whose.
fn uninterrupted(mut system_call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match system_call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!("the kernel's routing socket did not answer within {PATIENCE_S} s");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            result => return result,
        }
    }
}

pub(crate) fn malformed(what: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("routing socket: {what}"))
}
