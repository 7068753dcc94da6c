//! The timing profiles, and what each of their parameters may be set to.

use crate::types::{Nanos, Timing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// A named set of timing parameters. Each can be overridden under `[timing]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The document's own values: a heartbeat a second, a dead channel noticed after 60 to 65 s.
    Classic,
    /// A heartbeat every 100 ms, three missed ones end a channel: for any network.
    #[default]
    Lan,
    /// A heartbeat every 10 ms, three missed ones end a channel: for a quiet switched network.
    Fast,
    /// A heartbeat every millisecond, three missed ones end a channel: for direct cables, with XDP in native mode.
    Ultra,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Classic, Self::Lan, Self::Fast, Self::Ultra];

    /// Its name in the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Lan => "lan",
            Self::Fast => "fast",
            Self::Ultra => "ultra",
        }
    }

    /// Its parameters, nothing overridden.
    #[must_use]
    pub const fn timing(self) -> Timing {
        match self {
            // WO 01/82077, FIG. 4, steps 414, 416, 425, 430, 432, and FIG. 5, steps 514, 526
            Self::Classic => Timing {
                interval: Nanos::from_millis(1_000),
                initial: 20,
                period: Nanos::from_millis(5_000),
                max: 48,
                decrement: 4,
                from_arrival: false,
                failed_waits: 20,
                disconnect: 20,
                retry: Nanos::from_millis(1_000),
            },
            Self::Lan => three_missed(Nanos::from_millis(100), 30),
            Self::Fast => three_missed(Nanos::from_millis(10), 300),
            Self::Ultra => three_missed(Nanos::from_millis(1), 3_000),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A channel fails exactly three intervals after its last heartbeat.
const fn three_missed(interval: Nanos, failed_waits: u32) -> Timing {
    Timing {
        interval,
        initial: 2,
        period: interval,
        max: 2,
        decrement: 1,
        from_arrival: true,
        failed_waits,
        disconnect: 20,
        retry: interval,
    }
}

/// What `[timing]` sets beside the profile. `None`: the profile's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Time between two heartbeats on a channel: 1 ms to 10 s. Shorter notices sooner and costs more CPU and packets;
    /// `period` and `retry` scale with it where they are not set themselves; counts do not.
    pub interval: Option<Nanos>,
    /// The counter when a channel opens: 1 to 1000. Higher tolerates more losses right after the start.
    pub initial: Option<u32>,
    /// Time between two checks of the counter: `interval` to 60 s. Longer notices later.
    pub period: Option<Nanos>,
    /// The most that the counter holds: `decrement` to 1000. Higher tolerates longer silence, notices later.
    pub max: Option<u32>,
    /// What a check takes from the counter: 1 to `max`. Higher notices sooner.
    pub decrement: Option<u32>,
    /// Intervals to wait for a peer's first heartbeat: 1 to 100000. Fewer claim a dead peer's groups sooner after boot,
    /// and risk finding a slowly booting one dead.
    pub failed_waits: Option<u32>,
    /// Heartbeats sent before the sender of an unheard channel reopens its socket: 1 to 100000. Fewer recover sooner
    /// from a broken socket, and reopen more often while the peer is away.
    pub disconnect: Option<u32>,
    /// How long a broken socket stays closed before the next try: 1 ms to 60 s. Shorter recovers sooner and tries more.
    pub retry: Option<Nanos>,
}

impl Overrides {
    pub(super) const INTERVAL: RangeInclusive<Nanos> = Nanos::from_millis(1)..=Nanos::from_millis(10_000);
    pub(super) const LONGEST_PERIOD: Nanos = Nanos::from_millis(60_000);
    pub(super) const RETRY: RangeInclusive<Nanos> = Nanos::from_millis(1)..=Nanos::from_millis(60_000);
    pub(super) const COUNTER: RangeInclusive<u64> = 1..=1_000;
    pub(super) const INTERVALS: RangeInclusive<u64> = 1..=100_000;

    /// `profile`'s parameters with these in their place.
    #[must_use]
    pub fn applied_to(&self, profile: Profile) -> Timing {
        let base = profile.timing();
        let interval = self.interval.unwrap_or(base.interval);
        let scaled = |span: Nanos| interval.times(span.0 / base.interval.0);
        Timing {
            interval,
            initial: self.initial.unwrap_or(base.initial),
            period: self.period.unwrap_or_else(|| scaled(base.period)),
            max: self.max.unwrap_or(base.max),
            decrement: self.decrement.unwrap_or(base.decrement),
            from_arrival: base.from_arrival,
            failed_waits: self.failed_waits.unwrap_or(base.failed_waits),
            disconnect: self.disconnect.unwrap_or(base.disconnect),
            retry: self.retry.unwrap_or_else(|| scaled(base.retry)),
        }
    }
}

/// `span` as the configuration file would have it, in the largest unit that needs no fraction: `100ms`, `65s`.
#[must_use]
pub fn show(span: Nanos) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let fits = units.into_iter().find(|(unit, _)| span.0.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{}ns", span.0), |(unit, name)| format!("{}{name}", span.0 / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_has_the_documents_values() {
        let timing = Profile::Classic.timing();
        assert_eq!((timing.initial, timing.max, timing.decrement), (20, 48, 4));
        assert_eq!((timing.interval, timing.period), (Nanos::from_millis(1_000), Nanos::from_millis(5_000)));
        assert_eq!((timing.failed_waits, timing.disconnect, timing.retry), (20, 20, Nanos::from_millis(1_000)));
        assert!(!timing.from_arrival);
    }

    #[test]
    fn the_other_profiles_fail_a_channel_after_exactly_three_intervals_and_wait_three_seconds_for_the_first() {
        for profile in [Profile::Lan, Profile::Fast, Profile::Ultra] {
            let timing = profile.timing();
            assert!(timing.from_arrival);
            assert_eq!(timing.detection(), timing.interval.times(3), "{profile}");
            assert_eq!(timing.interval.times(timing.failed_waits.into()), Nanos::from_millis(3_000), "{profile}");
        }
    }

    #[test]
    fn period_and_retry_scale_with_an_overridden_interval() {
        let overrides = Overrides { interval: Some(Nanos::from_millis(10)), ..Overrides::default() };
        let timing = overrides.applied_to(Profile::Classic);
        assert_eq!((timing.period, timing.retry), (Nanos::from_millis(50), Nanos::from_millis(10)));
        assert_eq!((timing.initial, timing.max, timing.decrement), (20, 48, 4));
    }

    #[test]
    fn what_is_overridden_does_not_scale() {
        let overrides = Overrides {
            interval: Some(Nanos::from_millis(10)),
            period: Some(Nanos::from_millis(70)),
            retry: Some(Nanos::from_millis(900)),
            ..Overrides::default()
        };
        let timing = overrides.applied_to(Profile::Classic);
        assert_eq!((timing.period, timing.retry), (Nanos::from_millis(70), Nanos::from_millis(900)));
    }

    #[test]
    fn a_duration_is_shown_in_the_largest_unit_without_a_fraction() {
        let shown = [65_000_000_000, 1_500_000_000, 250_000, 1].map(|ns| show(Nanos(ns)));
        assert_eq!(shown, ["65s", "1500ms", "250us", "1ns"]);
    }

    #[test]
    fn no_profile_is_outside_the_ranges_even_at_the_longest_interval() {
        for profile in Profile::ALL {
            let overrides = Overrides { interval: Some(*Overrides::INTERVAL.end()), ..Overrides::default() };
            for timing in [profile.timing(), overrides.applied_to(profile)] {
                assert!(Overrides::INTERVAL.contains(&timing.interval));
                assert!((timing.interval..=Overrides::LONGEST_PERIOD).contains(&timing.period));
                assert!(Overrides::RETRY.contains(&timing.retry));
                assert!(Overrides::INTERVALS.contains(&timing.failed_waits.into()));
                assert!(timing.decrement <= timing.max);
            }
        }
    }
}
