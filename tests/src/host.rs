//! Whether the machine under the tests stood still. The agents of the lab keep deadlines of milliseconds; where a hypervisor
//! takes the processors away for longer, a healthy agent is late, its peer rightly says so, and a test that expected
//! silence fails for a reason that is not in this code.

use std::fs;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// How often a test is tried that the host disturbs.
const TRIALS: u32 = 8;
/// For a failure to be put down to the hypervisor, it must have taken one part in so many of one processor's time while the
/// trial ran, such as 50 ms of 5 s. A share: what a long test loses in minutes says nothing about the moment of its failure.
const DISTURBED: u32 = 100;
/// USER_HZ, the unit of /proc/stat: 100 on every architecture that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Whether this is an acceptance run (`HEARTBEAT_TRIALS=20`): on a quiet host, at the profiles' own intervals and bounds.
#[must_use]
pub fn is_quiet() -> bool {
    std::env::var_os("HEARTBEAT_TRIALS").is_some()
}

/// Time that the hypervisor ran something else while this machine's processors had work: "steal" of proc_stat(5). None
/// where the kernel does not tell.
#[must_use]
pub fn stolen() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().next()?.split_whitespace().nth(8)?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

/// Runs a test in the lab, as [`counted`] does; an acceptance run, on a quiet host, counts as it is.
pub fn undisturbed<R>(test: impl Fn() -> R) -> R {
    if is_quiet() { test() } else { counted(test) }
}

/// What a trial gives. A failure during which the hypervisor held this machine up is said aloud, and the trial begins anew, a
/// few times at most; a failure without that, or the last one, is the trial's.
pub fn counted<R>(trial: impl Fn() -> R) -> R {
    let mut number = 1;
    loop {
        let (before, began) = (stolen(), Instant::now());
        let failure = match catch_unwind(AssertUnwindSafe(&trial)) {
            Ok(result) => return result,
            Err(failure) => failure,
        };
        let taken = stolen().zip(before).map_or(Duration::ZERO, |(after, before)| after.saturating_sub(before));
        if !disturbs(taken, began.elapsed()) || number == TRIALS {
            resume_unwind(failure);
        }
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        // Past the harness, so that nobody needs --nocapture to know.
        let _ = writeln!(
            io::stderr(),
            "{name}: NOT COUNTED: the hypervisor took {taken:?} of this machine's processors meanwhile; \
             trial {number} of at most {TRIALS}"
        );
        number += 1;
    }
}

/// Whether the hypervisor took so much of a trial that lasted so long that its failure says nothing.
fn disturbs(taken: Duration, lasted: Duration) -> bool {
    !taken.is_zero() && taken >= lasted / DISTURBED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_long_trial_loses_now_and_then_is_no_excuse() {
        let ms = Duration::from_millis;
        assert!(disturbs(ms(50), ms(5_000)) && disturbs(ms(10), ms(100)));
        assert!(!disturbs(ms(50), ms(60_000)) && !disturbs(ms(590), ms(60_000)));
        assert!(!disturbs(ms(0), ms(0)));
    }
}
