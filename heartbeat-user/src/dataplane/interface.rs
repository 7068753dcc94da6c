//! What the kernel says about interfaces and their XDP programs.

use anyhow::{Context as _, Result, bail};
use aya::programs::loaded_programs;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a channel's heartbeats are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// By the XDP program, in the network driver.
    Native,
    /// By the XDP program, in the network stack: every driver has it.
    Generic,
    /// By the agent, from a UDP socket, with the same checks.
    Socket,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        })
    }
}

/// Which mode a channel is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpPreference {
    /// Native, else generic, else socket.
    #[default]
    Auto,
    /// Native or nothing.
    Native,
    /// Generic or nothing.
    Generic,
    /// The socket, whatever the interface can do.
    Socket,
}

impl XdpPreference {
    /// Every preference.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Generic, Self::Socket];

    /// Its name in the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        }
    }

    /// Whether it is content with `mode`.
    #[must_use]
    pub const fn allows(self, mode: XdpMode) -> bool {
        match self {
            Self::Auto => true,
            Self::Native => matches!(mode, XdpMode::Native),
            Self::Generic => matches!(mode, XdpMode::Generic),
            Self::Socket => matches!(mode, XdpMode::Socket),
        }
    }
}

/// The XDP program that an interface runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) mode: XdpMode,
    program_id: u32,
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

/// The XDP program on interface `ifindex`, if any (rtnetlink, `IFLA_XDP`).
pub(super) fn holder(ifindex: u32) -> Result<Option<Holder>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, RouteNetlinkMessage::GetLink(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;
    socket.bind_auto().context("binding a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("connecting a netlink socket")?;
    socket.send(&bytes, 0).context("asking for the interface")?;
    let (reply, _) = socket.recv_from_full().context("reading about the interface")?;
    let link = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)?.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => link,
        NetlinkPayload::Error(error) => return Err(error.to_io()).context(format!("interface {ifindex}")),
        other => bail!("unexpected answer about interface {ifindex}: {other:?}"),
    };
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
