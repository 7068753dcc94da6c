//! `[timing]` and `[takeover]`: how often, and for how long nobody says anything.

use super::pairs::Pair;
use super::{File, Said};
use crate::config::{Profile, show};
use crate::types::Nanos;

/// What `[timing]` is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) profile: Profile,
    /// Where it is not the profile's own.
    pub(super) interval: Option<Nanos>,
    /// Missed heartbeats that fail a channel, where they are not three.
    pub(super) missed: Option<u32>,
    /// For so many intervals a start waits for the first heartbeat, where it is not the profile's own.
    pub(super) failed_waits: Option<u32>,
    /// After so long a silence a channel fails.
    pub(super) detection: Nanos,
    /// Where the interval comes from.
    pub(super) from: String,
}

/// The longest interval that `[timing]` can have.
const LONGEST: Nanos = Nanos::from_millis(10_000);
/// The shortest wait for a first heartbeat at a start: that of all profiles but the slowest.
const WAIT: Nanos = Nanos::from_millis(3_000);

/// The profile, and what is set beside it: a channel fails after as many silent intervals as keepalived waits for.
pub(super) fn timing(pairs: &[Pair<'_>], files: &[File], said: &mut Said) -> Timing {
    let adverts = || pairs.iter().flat_map(Pair::both).map(|instance| &instance.advert);
    let least = adverts().min_by_key(|advert| advert.value).expect("there is an instance");
    for other in adverts().filter(|advert| advert.value != least.value) {
        said.note(
            &other.place,
            &format!("advert_int {}", show(other.value)),
            format!("all channels of a pair have one interval: {}, of {}", show(least.value), least.place),
        );
    }
    let interval = least.value.min(LONGEST);
    if interval != least.value {
        said.note(
            &least.place,
            &format!("advert_int {}", show(least.value)),
            format!("the longest interval is {}", show(LONGEST)),
        );
    }
    let profile = if interval < Profile::Lan.timing().interval { Profile::Fast } else { Profile::Lan };
    let missed = files.iter().find_map(|file| file.node.down_timer.as_ref());
    if let Some(one) = missed.filter(|missed| missed.value == 1) {
        said.note(&one.place, "down_timer_adverts 1", "two missed heartbeats fail a channel at least");
    }
    let missed = missed.map_or(3, |missed| missed.value.max(2));
    let waits = WAIT.0.div_ceil(interval.0).max(u64::from(missed) + 1) as u32;
    let own = profile.timing();
    Timing {
        profile,
        interval: (interval != own.interval).then_some(interval),
        missed: (missed != 3).then_some(missed),
        failed_waits: (waits != own.failed_waits).then_some(waits),
        detection: interval.times(missed.into()),
        from: format!("advert_int {} ({})", show(least.value), least.place),
    }
}

/// How often everything that is held is announced: the shorter time of both files.
pub(super) fn announce(files: &[File]) -> Option<Nanos> {
    let least = files.iter().filter_map(|file| file.node.refresh.as_ref()).map(|at| at.value).min();
    least.map(|span| span.max(Nanos::from_millis(1_000)))
}
