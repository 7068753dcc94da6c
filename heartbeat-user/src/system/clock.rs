//! The two clocks: CLOCK_MONOTONIC, which the kernel stamps with, for judging; CLOCK_REALTIME, for operators.

use crate::types::Nanos;
use nix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has both clocks");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// CLOCK_MONOTONIC now.
#[must_use]
pub fn monotonic() -> Nanos {
    Nanos(read(ClockId::CLOCK_MONOTONIC))
}

/// CLOCK_REALTIME now, in ns since 1970.
#[must_use]
pub fn realtime_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// What CLOCK_REALTIME showed when CLOCK_MONOTONIC showed `at`, in ns since 1970.
#[must_use]
pub fn realtime_of(at: Nanos) -> u64 {
    let (real, mono) = (realtime_ns(), monotonic());
    real.wrapping_sub(mono.0.wrapping_sub(at.0))
}
