//! The smallest XDP program there is: everything passes. A veth wants one at its other end, or what is sent by `XDP_TX` stays
//! in its ring (`veth_xdp_flush` of the kernel); real switches need none.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc;

/// linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// r0 = XDP_PASS; exit. (linux/bpf.h: opcode, registers, offset, immediate.)
const PROGRAM: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The head of `union bpf_attr` for BPF_PROG_LOAD; what follows may be left out.
#[repr(C)]
struct Load {
    program_type: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The program, loaded; it stays for as long as it is attached somewhere.
#[expect(unsafe_code, reason = "no dependency of this crate loads a program")]
pub(super) fn load() -> Result<OwnedFd> {
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instructions: 2,
        program: PROGRAM.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: bpf(2) reads `load` and what it points to, all of which lives until it returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    let fd = libc::c_int::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("cannot load an XDP program for a switch");
    }
    // SAFETY: the kernel gave it to us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
