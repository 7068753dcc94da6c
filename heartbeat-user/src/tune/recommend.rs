//! Settings, what they promise for all channels, and the quickest one that promises enough.

use super::{Alarms, Basis, ChannelModel, setting::Setting};
use crate::{
    config::{Profile, show},
    types::{Nanos, Timing},
};

/// Intervals that are tried, in ms.
const INTERVALS_MS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
/// Intervals without a heartbeat that are tried.
const MISSED: std::ops::RangeInclusive<u32> = 2..=48;
/// A peer's first heartbeat is waited for as long as the profiles do.
const FIRST: Nanos = Nanos::from_millis(3_000);

/// What a timing comes to.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The timing.
    pub timing: Timing,
    /// How long a dead peer goes unnoticed on the slowest channel, in s.
    pub detection_s: f64,
    /// Each channel's false alarms.
    pub channels: Vec<Alarms>,
}

impl Promise {
    /// The worst channel's bound, per s.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.channels.iter().map(|alarms| alarms.bound).fold(0.0, f64::max)
    }

    /// Whether all of it was observed.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.channels.iter().all(|alarms| alarms.basis == Basis::Observed)
    }
}

/// What `timing` promises on these channels.
#[must_use]
pub fn promise(channels: &[ChannelModel], timing: Timing) -> Promise {
    let setting = Setting::from(&timing);
    let slowest = channels.iter().map(|channel| setting.on(channel).detection_s).fold(setting.detection_s, f64::max);
    let alarms = channels.iter().map(|channel| channel.alarms(&setting)).collect();
    Promise { timing, detection_s: slowest, channels: alarms }
}

/// False alarms of the pair, that is of all channels at once, per s: if they are independent, and at worst, if whatever
/// silences one silences all.
///
/// Independent: alarms of rate `r_i` that last `d` coincide at `product of (r_i d) * n / d`. Each is taken to last as
/// long as the silence that caused it.
#[must_use]
pub fn pair(promise: &Promise) -> [f64; 2] {
    let at_worst = promise.channels.iter().map(|alarms| alarms.bound).fold(f64::INFINITY, f64::min);
    let shares: f64 = promise.channels.iter().map(|alarms| (alarms.bound * promise.detection_s).min(1.0)).product();
    let independent = shares * promise.channels.len() as f64 / promise.detection_s;
    [independent.min(at_worst), at_worst]
}

/// A timing, and how it is written down.
#[derive(Clone, Debug)]
pub struct Recommendation {
    /// What it promises.
    pub promise: Promise,
    /// The profile that it is derived from.
    pub profile: Profile,
    /// Whether the promise is within what was asked for; otherwise it is the best there is.
    pub suffices: bool,
}

/// The least detection time that promises at most `most` false alarms per s on the worst channel; of equals, the one with
/// the fewest packets. No interval below `least_interval_s`. Where none promises it, the one that promises most.
///
/// `None` without channels.
#[must_use]
pub fn recommend(channels: &[ChannelModel], most: f64, least_interval_s: f64) -> Option<Recommendation> {
    let candidates = INTERVALS_MS
        .into_iter()
        .filter(|ms| *ms as f64 / 1e3 >= least_interval_s.min(1.0))
        .flat_map(|ms| MISSED.map(move |missed| timing(Nanos::from_millis(ms), missed)))
        .map(|(profile, timing)| (profile, promise(channels, timing)));
    let key = |promise: &Promise| {
        let fails = promise.worst() > most;
        // Of those that do not suffice, the one that fails least often is best.
        let first = if fails { promise.worst() } else { promise.detection_s };
        (fails, first, promise.detection_s, u64::MAX - promise.timing.interval.0)
    };
    let best = candidates.min_by(|(_, a), (_, b)| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)).then(a.3.cmp(&b.3))
    });
    let (profile, promise) = best.filter(|_| !channels.is_empty())?;
    let suffices = promise.worst() <= most;
    Some(Recommendation { promise, profile, suffices })
}

/// A channel fails exactly `missed` intervals after its last heartbeat.
fn timing(interval: Nanos, missed: u32) -> (Profile, Timing) {
    let profile = match interval {
        i if i >= Profile::Lan.timing().interval => Profile::Lan,
        i if i >= Profile::Fast.timing().interval => Profile::Fast,
        _ => Profile::Ultra,
    };
    let base = profile.timing();
    let max = missed - 1;
    let waits = u32::try_from(FIRST.0 / interval.0).unwrap_or(u32::MAX).max(missed);
    let timing = Timing { interval, period: interval, retry: interval, initial: max, max, failed_waits: waits, ..base };
    (profile, timing)
}

impl Recommendation {
    /// The lines of the configuration file: what differs from the profile.
    #[must_use]
    pub fn toml(&self) -> String {
        let (base, timing) = (self.profile.timing(), &self.promise.timing);
        let mut lines = vec!["[timing]".to_owned(), format!("profile = \"{}\"", self.profile)];
        if timing.interval != base.interval {
            lines.push(format!("interval = \"{}\"", show(timing.interval)));
        }
        let counts = [
            ("initial", base.initial, timing.initial),
            ("max", base.max, timing.max),
            ("decrement", base.decrement, timing.decrement),
            ("failed_waits", base.failed_waits, timing.failed_waits),
        ];
        lines.extend(counts.iter().filter(|(_, was, is)| was != is).map(|(key, _, is)| format!("{key} = {is}")));
        lines.join("\n") + "\n"
    }
}
