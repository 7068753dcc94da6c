//! What the kernel says about interfaces and their XDP programs.

use crate::types::XdpMode;
use anyhow::{Context as _, Result, bail};
use aya::programs::loaded_programs;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
    tc::{TcAttribute, TcHandle, TcMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::{fmt, io};

/// The XDP program that an interface runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) mode: XdpMode,
    pub(super) program_id: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id {}", self.program_id)?;
        let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == self.program_id);
        match program.as_ref().and_then(|program| program.name_as_str()) {
            Some(name) => write!(f, " '{name}', {} mode", self.mode),
            None => write!(f, ", {} mode", self.mode),
        }
    }
}

/// What the kernel says of interface `ifindex` (RTM_GETLINK). It takes the networking lock: not for the pulse thread.
fn link(ifindex: u32) -> Result<LinkMessage> {
    ask(ifindex, &[], 0)?.pop().with_context(|| format!("no answer about interface {ifindex}"))
}

/// Whether an interface has a carrier, as its driver says: its flags would show it up to a second late.
pub(super) fn carrier(ifindex: u32) -> Result<bool> {
    Ok(link(ifindex)?.attributes.contains(&LinkAttribute::Carrier(1)))
}

/// Why frames of `ifindex` are not for the XDP program, which reads Ethernet: none where they are.
pub(super) fn without_ethernet(ifindex: u32) -> Result<Option<String>> {
    Ok(match link(ifindex)?.header.link_layer_type {
        LinkLayerType::Ether | LinkLayerType::Loopback => None,
        other => Some(format!("its frames have no Ethernet header (link type {other})")),
    })
}

/// The interfaces whose frames become those of `ifindex`: members of a bond, the virtual function behind a `netvsc` device,
/// ports of a bridge; and theirs. Native XDP on a bond runs in the members, with their indices.
pub(super) fn members(ifindex: u32) -> Result<Vec<u32>> {
    let controllers: Vec<_> = ask(0, &[], NLM_F_DUMP)?
        .into_iter()
        .filter_map(|link| {
            let controller =
                link.attributes.iter().find_map(|a| if let LinkAttribute::Controller(c) = a { Some(*c) } else { None });
            Some((link.header.index, controller?))
        })
        .collect();
    let mut found = Vec::new();
    let mut of = vec![ifindex];
    while let Some(controller) = of.pop() {
        for &(member, its_controller) in &controllers {
            if its_controller == controller && !found.contains(&member) {
                found.push(member);
                of.push(member);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a BPF filter with this priority and handle is at the `clsact` qdisc of an interface (RTM_GETTFILTER).
pub(super) fn has_filter(ifindex: u32, egress: bool, priority: u16, handle: u32) -> Result<bool> {
    // linux/if_ether.h, in network order.
    const ETH_P_ALL: u16 = 3;
    let mut request = TcMessage::default();
    request.header.index = ifindex as i32;
    request.header.handle = TcHandle::from(handle);
    let minor = if egress { TcHandle::MIN_EGRESS } else { TcHandle::MIN_INGRESS };
    request.header.parent = TcHandle { minor, ..TcHandle::CLSACT };
    request.header.info = u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be());
    let is_ours = |message| match message {
        RouteNetlinkMessage::NewTrafficFilter(filter) => {
            Ok(filter.attributes.contains(&TcAttribute::Kind("bpf".into()))
                && filter.header.handle == TcHandle::from(handle))
        }
        other => bail!("unexpected answer about filters: {other:?}"),
    };
    match exchange(RouteNetlinkMessage::GetTrafficFilter(request), 0, is_ours) {
        Ok(found) => Ok(found.contains(&true)),
        // No such filter, or none with this priority, or no such qdisc.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.raw_os_error().is_some()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks rtnetlink for one interface, or with NLM_F_DUMP for all.
fn ask(ifindex: u32, attributes: &[LinkAttribute], flags: u16) -> Result<Vec<LinkMessage>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    request.attributes = attributes.to_vec();
    let link = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Ok(link),
        other => bail!("unexpected answer about interfaces: {other:?}"),
    };
    exchange(RouteNetlinkMessage::GetLink(request), flags, link).with_context(|| format!("interface {ifindex}"))
}

/// Asks rtnetlink, for one thing or with NLM_F_DUMP for all.
fn exchange<T>(
    request: RouteNetlinkMessage,
    flags: u16,
    read: impl Fn(RouteNetlinkMessage) -> Result<T>,
) -> Result<Vec<T>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;
    socket.bind_auto().context("binding a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("connecting a netlink socket")?;
    socket.send(&bytes, 0).context("asking for interfaces")?;
    let mut found = Vec::new();
    loop {
        let (reply, _) = socket.recv_from_full().context("reading about interfaces")?;
        let mut rest = &reply[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            // Messages lie at multiples of four bytes.
            let len = (message.header.length as usize).max(1).next_multiple_of(4).min(rest.len());
            rest = &rest[len..];
            match message.payload {
                NetlinkPayload::InnerMessage(message) => found.push(read(message)?),
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                other => bail!("unexpected answer about interfaces: {other:?}"),
            }
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(found);
        }
    }
}

/// The XDP program on interface `ifindex`, if any (rtnetlink, `IFLA_XDP`).
pub(super) fn holder(ifindex: u32) -> Result<Option<Holder>> {
    let link = link(ifindex)?;
    let mut mode = None;
    let mut program_id = 0;
    for attribute in
        link.attributes.iter().filter_map(|a| if let LinkAttribute::Xdp(xdp) = a { Some(xdp) } else { None })
    {
        for xdp in attribute {
            match xdp {
                LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(XdpMode::Generic),
                LinkXdp::Attached(XdpAttached::None) => {}
                LinkXdp::Attached(_) => mode = Some(XdpMode::Native),
                // Where several modes hold a program each, there is no single id: the native one's, then.
                LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) => program_id = *id,
                _ => {}
            }
        }
    }
    Ok(mode.map(|mode| Holder { mode, program_id }))
}
