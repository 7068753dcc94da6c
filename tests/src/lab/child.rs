//! The one thing that safe Rust cannot do for a child process: tie its life to ours.

use std::process::Command;

/// Before the program starts: SIGKILL when the thread that spawned it ends (a killed lab takes its agents along), no
/// signal blocked (the live view blocks the ones that it reads from a signalfd), and a process group of its own, so that
/// a Ctrl-C on the terminal reaches the lab and not the agents behind its back.
#[expect(unsafe_code, reason = "std offers no safe way to run code in the child before exec")]
pub(super) fn bind_life_to_thread(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let prepare = || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `prctl` and `pthread_sigmask` are, and neither
    // they nor the conversion of their error code allocates or locks.
    unsafe {
        command.pre_exec(prepare);
    }
}
