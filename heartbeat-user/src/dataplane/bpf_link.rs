//! Pinned bpf_links: what aya does not do with them. The interface of one, detaching it at once, and pinning anew what is in the
//! kernel already.

use std::{
    ffi::CString,
    io,
    mem::size_of_val,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

// linux/bpf.h: commands, and the parts of `union bpf_attr` and `struct bpf_link_info` that they use.
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_MAP_GET_FD_BY_ID: libc::c_long = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;

#[repr(C)]
#[derive(Default)]
struct Get {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetById {
    id: u32,
    next_id: u32,
    open_flags: u32,
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
    /// Of these two types both.
    ifindex: u32,
    rest: [u32; 19],
}

#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// # Safety
/// All pointers in `attributes` must be valid for what the kernel does with them.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// What is in the kernel, by its id of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Map(u32),
    Program(u32),
    Link(u32),
}

impl Object {
    fn open(self) -> io::Result<OwnedFd> {
        let (command, id) = match self {
            Self::Map(id) => (BPF_MAP_GET_FD_BY_ID, id),
            Self::Program(id) => (BPF_PROG_GET_FD_BY_ID, id),
            Self::Link(id) => (BPF_LINK_GET_FD_BY_ID, id),
        };
        // SAFETY: no pointers; the descriptor that it gives is new, and ours.
        Ok(unsafe { OwnedFd::from_raw_fd(bpf(command, &GetById { id, ..GetById::default() })?) })
    }

    /// Pins it.
    pub(super) fn pin(self, path: &Path) -> io::Result<()> {
        let object = self.open()?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let pin = Get { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd() as u32, file_flags: 0 };
        // SAFETY: a string that lives until the call returns.
        unsafe { bpf(BPF_OBJ_PIN, &pin) }.map(drop)
    }
}

/// The interface that a link joins, pinned or not; 0 where that is gone, or somebody has detached the link.
pub(super) fn interface_of(link: u32) -> io::Result<u32> {
    Ok(info_of(&Object::Link(link).open()?)?.ifindex)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = Get { pathname: path.as_ptr() as u64, ..Get::default() };
    // SAFETY: a string that lives until the call returns; the descriptor that it gives is new, and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(bpf(BPF_OBJ_GET, &get)?) })
}

/// What a pinned link joins.
pub(super) struct Joined {
    /// The interface; 0 where that is gone.
    pub(super) ifindex: u32,
    /// The program's id.
    pub(super) program: u32,
}

/// What the pinned link of an XDP or a tc program joins.
pub(super) fn joined(path: &Path) -> io::Result<Joined> {
    let info = info(path)?;
    if ![BPF_LINK_TYPE_XDP, BPF_LINK_TYPE_TCX].contains(&info.link_type) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the link of an interface"));
    }
    Ok(Joined { ifindex: info.ifindex, program: info.prog_id })
}

fn info(path: &Path) -> io::Result<Info> {
    info_of(&open(path)?)
}

fn info_of(link: &OwnedFd) -> io::Result<Info> {
    let mut info = Info::default();
    let get_info =
        GetInfo { bpf_fd: link.as_raw_fd() as u32, info_len: size_of::<Info>() as u32, info: &raw mut info as u64 };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which lives until the call returns.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &get_info)? };
    Ok(info)
}

/// The program of a pinned link of whatever type.
pub(super) fn program(path: &Path) -> io::Result<u32> {
    Ok(info(path)?.prog_id)
}

/// Detaches a pinned link. Removing its pin would do it too, but some time later: the kernel frees links in a work queue,
/// and until then the interface is taken.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let link = open(path)?;
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_DETACH, &Detach { link_fd: link.as_raw_fd() as u32 }) }.map(drop)
}
