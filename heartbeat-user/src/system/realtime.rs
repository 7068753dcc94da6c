//! What keeps a thread on time: a real-time priority, memory that stays, no timer slack.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// Pages of stack are touched when they are used; this is what a thread may use at most, in bytes.
const STACK: usize = 256 * 1024;

/// Starts a thread with a real-time priority (1..=99), where that is to be had; else that is logged.
///
/// # Errors
/// The system has no thread for us.
pub fn spawn<T: Send + 'static>(
    name: &str,
    priority: u8,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let name = name.to_owned();
    Builder::new().name(name.clone()).stack_size(STACK).spawn(move || {
        if let Err(error) = be_fifo(priority) {
            log::warn!("the {name} thread gets no real-time priority {priority} ({error}): it may be late under load");
        }
        no_timer_slack();
        body()
    })
}

/// Gives the calling thread SCHED_FIFO at `priority` (1..=99); children that it starts get the ordinary policy again.
///
/// # Errors
/// EPERM without CAP_SYS_NICE or RLIMIT_RTPRIO.
pub fn be_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: a plain system call on the calling thread with a valid pointer.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes it from the calling thread again, where it had it by that; what it was started with otherwise, it keeps.
pub fn be_ordinary_again() {
    // SAFETY: a plain system call on the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy == libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: a plain system call on the calling thread with a valid pointer. It cannot fail: this asks for no privilege.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) };
    }
}

/// Makes the calling thread's sleeps end when they should (prctl(2), PR_SET_TIMERSLACK), also without a real-time policy.
pub fn no_timer_slack() {
    // SAFETY: a plain system call without pointers; cannot fail with this argument.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}

/// Keeps every page of the process that is in memory there, and every one that comes (MCL_ONFAULT: not those that nobody
/// touches, so that the process stays small).
///
/// # Errors
/// EPERM or ENOMEM without CAP_IPC_LOCK or RLIMIT_MEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: a plain system call without pointers.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
