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
use std::{
    ffi::CString,
    fmt, io,
    mem::size_of_val,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

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

/// The interface that a pinned bpf_link is attached to; 0 where that interface is gone.
pub(super) fn ifindex_of_pinned_link(path: &Path) -> io::Result<u32> {
    // linux/bpf.h: commands, and the parts of `union bpf_attr` and `struct bpf_link_info` that they use.
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    const BPF_LINK_TYPE_XDP: u32 = 6;
    #[repr(C)]
    #[derive(Default)]
    struct Get {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    #[repr(C)]
    #[derive(Default)]
    struct GetInfo {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        link_type: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        xdp_ifindex: u32,
        rest: [u32; 19],
    }

    /// # Safety
    /// All pointers in `attributes` must be valid for what the kernel does with them.
    unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
        // SAFETY: the kernel reads `size_of::<T>()` bytes; the rest is the caller's promise.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of_val(attributes)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    }

    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = Get { pathname: path.as_ptr() as u64, ..Get::default() };
    // SAFETY: a string that lives until the call returns; the descriptor that it gives is new, and ours.
    let link = unsafe { OwnedFd::from_raw_fd(bpf(BPF_OBJ_GET, &get)?) };
    let mut info = Info::default();
    let get_info =
        GetInfo { bpf_fd: link.as_raw_fd() as u32, info_len: size_of::<Info>() as u32, info: &raw mut info as u64 };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which lives until the call returns.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &get_info)? };
    if info.link_type != BPF_LINK_TYPE_XDP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an XDP link"));
    }
    Ok(info.xdp_ifindex)
}
