//! What the kernel says about interfaces and their XDP programs.

use crate::{
    system::netlink::{Netlink, malformed},
    types::XdpMode,
};
use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use netlink_packet_core::Parseable;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
    tc::{TcAttribute, TcHandle, TcMessage},
};
use std::{cell::RefCell, fmt, io};

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
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let answer = Netlink::open().and_then(|mut netlink| netlink.ask(RouteNetlinkMessage::GetLink(request), parsed));
    answer.with_context(|| format!("interface {ifindex}"))
}

/// The interfaces that are part of another one, each with that (RTM_GETLINK, all).
fn controllers() -> io::Result<Vec<(u32, u32)>> {
    let found = RefCell::new(Vec::new());
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    Netlink::open()?.dump(
        &request,
        || found.borrow_mut().clear(),
        |payload| {
            let link: LinkMessage = parsed(payload)?;
            let controller = |a: &LinkAttribute| if let LinkAttribute::Controller(c) = a { Some(*c) } else { None };
            let controller = link.attributes.iter().find_map(controller);
            found.borrow_mut().extend(controller.map(|controller| (link.header.index, controller)));
            Ok(())
        },
    )?;
    Ok(found.into_inner())
}

fn parsed<T: Parseable<[u8]>>(payload: &[u8]) -> io::Result<T> {
    T::parse(payload).map_err(malformed)
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
    let controllers = controllers().context("asking for all interfaces")?;
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
    let answer = Netlink::open()?.ask(RouteNetlinkMessage::GetTrafficFilter(request), parsed::<TcMessage>);
    match answer {
        Ok(filter) => Ok(filter.attributes.contains(&TcAttribute::Kind("bpf".into()))
            && filter.header.handle == TcHandle::from(handle)),
        // No such filter; or none with this priority, or no such qdisc; or no such interface.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("filters of interface {ifindex}")),
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
