//! Ties a child process to our own life.

use nix::{
    errno::Errno,
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getpid, getppid},
};
use tokio::process::Command;

/// SIGKILL for it when the thread that starts it ends, however it does (prctl(2), PR_SET_PDEATHSIG): nobody could call it off
/// any more. Not for what it starts itself.
pub fn dies_with_us(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // We ended before that.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `prctl` and `getppid` are, and neither they nor
    // the conversion of their error codes allocates or locks.
    unsafe {
        command.pre_exec(prepare);
    }
}
