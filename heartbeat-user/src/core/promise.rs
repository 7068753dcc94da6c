//! Both ends of a promise: how long a kernel serves on whose agent gives no sign of life and whose peer is silent, and when that
//! peer takes over at the earliest. The first is over before the second begins, whatever the profile and though clocks drift.
//!
//! ```text
//!  cut off          the kernel hears the last heartbeat     lease is over: it keeps silent
//!     |<- at most 1.5 intervals ->|------ lease ------|<- margin ->|
//!     |----------------- takeover_after, as the peer counts it ------------------>| the peer may serve
//!  the peer hears the last sign of life
//! ```
//! Heartbeats go out once an interval, and a sender that is later than half of one counts that as its own stall: so whatever the
//! kernel heard last was sent at most one and a half intervals after the last one whose answer the peer heard.

use crate::types::{Nanos, Timing};

/// Hundredths of an interval that the last heartbeat heard here may be younger than the last sign of life heard there, with what
/// networks take: 150 for the former.
const APART: u64 = 165;
/// Hundredths of an interval that a kernel waits for a heartbeat at least: one comes every hundred.
const LEAST: u64 = 125;
/// Two clocks that drift by 1 % each: of a hundred, so much is left.
const DRIFTED: u64 = 98;

/// Silence on all channels after which a peer may be found dead, at the earliest: counted from its last sign of life.
const fn verdict_after(timing: &Timing) -> Nanos {
    // Where checks come at fixed times, one that follows a late heartbeat may find its count used up.
    if timing.from_arrival { timing.detection() } else { timing.period }
}

/// `n` hundredths of a span.
const fn hundredths(span: Nanos, n: u64) -> u64 {
    (span.0 as u128 * n as u128 / 100) as u64
}

/// How long a kernel serves on since it heard the peer last, where its agent gives no sign of life either.
#[must_use]
pub const fn lease(timing: &Timing) -> Nanos {
    let (least, apart) = (hundredths(timing.interval, LEAST), hundredths(timing.interval, APART));
    let most = hundredths(verdict_after(timing), DRIFTED).saturating_sub(apart);
    Nanos(if most > least { most } else { least })
}

/// No group of a peer that is silent is taken before so long after its last sign of life.
#[must_use]
pub const fn takeover_after(timing: &Timing) -> Nanos {
    let needed = lease(timing).after(Nanos(hundredths(timing.interval, APART)));
    let (needed, verdict) = (Nanos(needed.0 / DRIFTED * 100), verdict_after(timing));
    if verdict.0 > needed.0 { verdict } else { needed }
}

/// Seconds up to here are said as such, longer promises in minutes beyond it.
const SECONDS: u64 = 120;
const SECOND: u64 = 1_000_000_000;

/// A promise as a heartbeat says it, in `release_within`; rounded up, and none where it is too long to be said.
#[must_use]
pub const fn said(within: Nanos) -> u8 {
    let seconds = within.0.div_ceil(SECOND);
    let said = if seconds <= SECONDS { seconds } else { SECONDS + seconds.div_ceil(60) };
    if said <= u8::MAX as u64 { said as u8 } else { 0 }
}

/// What was promised so; none where nothing was.
#[must_use]
pub const fn heard(said: u8) -> Option<Nanos> {
    let seconds = match said as u64 {
        0 => return None,
        n if n <= SECONDS => n,
        n => (n - SECONDS) * 60,
    };
    Some(Nanos(seconds * SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Profile};

    /// The latest time at which the kernel serves, and the earliest at which the peer does, each since the last sign of life that
    /// the peer heard; one clock slow and the other fast by 1 %.
    fn ends(timing: &Timing) -> [u64; 2] {
        let last_heard = timing.interval.0 * 3 / 2;
        [last_heard + lease(timing).0 * 101 / 100, takeover_after(timing).0 * 99 / 100]
    }

    #[test]
    fn in_every_profile_and_with_all_overrides_a_kernel_is_silent_before_its_peer_serves() {
        let intervals = [1, 5, 20, 100, 1_000, 10_000].map(Nanos::from_millis);
        for profile in Profile::ALL {
            let mut all = vec![Overrides::default()];
            for interval in intervals {
                all.push(Overrides { interval: Some(interval), ..Overrides::default() });
                for (max, decrement) in [(1, 1), (2, 1), (4, 4), (9, 2), (1_000, 1)] {
                    let counts = Overrides { max: Some(max), decrement: Some(decrement), ..Overrides::default() };
                    all.push(Overrides { interval: Some(interval), ..counts });
                    let period = Some(interval.times(3).min(Nanos::from_millis(60_000)));
                    all.push(Overrides { interval: Some(interval), period, ..counts });
                }
            }
            for set in all {
                let timing = set.applied_to(profile);
                let [silent, serves] = ends(&timing);
                assert!(silent < serves, "{profile} {set:?}: silent at {silent}, the peer serves at {serves}");
                assert!(lease(&timing) > timing.interval, "{profile} {set:?}: between two heartbeats it serves");
            }
        }
    }

    #[test]
    fn in_the_usual_profiles_nobody_waits_for_it() {
        for profile in [Profile::Lan, Profile::Fast, Profile::Ultra] {
            let timing = profile.timing();
            assert_eq!(takeover_after(&timing), timing.detection());
            assert_eq!(lease(&timing).0, timing.interval.0 * 129 / 100);
        }
    }

    #[test]
    fn a_promise_is_never_heard_as_a_shorter_one() {
        for ms in [1, 999, 1_000, 1_001, 65_000, 120_000, 120_001, 179_000, 3_605_000, 8_100_000] {
            let within = Nanos::from_millis(ms);
            let heard = heard(said(within)).unwrap();
            assert!(heard >= within && heard.0 <= within.0 + 60 * SECOND, "{within}: {heard}");
        }
        assert_eq!([Nanos(0), Nanos::from_millis(8_100_001)].map(said), [0; 2], "too long to be said");
        assert_eq!(heard(0), None);
    }
}
