//! What one channel does: its interval, losses, delays and long silences; and how often a setting would fail it wrongly.

use super::{
    Recording,
    bounds::{largest_share, most_events, smallest_share},
    setting::Setting,
};
use thiserror::Error;

/// Fewer gaps than this say nothing.
const LEAST_GAPS: u64 = 20;
/// The tail of long silences is never taken to begin below this, in s: whether schedulers and hypervisors take the
/// processor away for longer, shorter silences do not tell.
const STALL_S: f64 = 0.010;
/// Beyond what was seen, long silences become rarer with the square of their length at the most: so does anything with a
/// variance (the one-sided inequality that Chen et al. use for delays).
const STEEPEST: f64 = 2.0;
/// So many of the longest silences tell the index of the tail.
const LONGEST: u64 = 10;
/// Silences are told from the interval, in intervals: buckets are up to 0.8 % wide.
const FINEST: f64 = 0.02;
/// Runs of losses are told apart by length where there are so many.
const RUNS: u64 = 30;
/// Intervals that differ less are the same one.
const SAME: f64 = 0.05;

/// Why a recording says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Too short.
    #[error("{name}: {n} times between heartbeats; right would be at least {LEAST_GAPS}: record for longer")]
    TooFew {
        /// The channel.
        name: String,
        /// How many there are.
        n: u64,
    },
    /// There is no interval in it.
    #[error(
        "{name}: only {n} of its times between heartbeats are near the interval; right would be a channel that is heard most \
         of the time"
    )]
    Irregular {
        /// The channel.
        name: String,
        /// How many are near one interval.
        n: u64,
    },
}

/// How a channel loses heartbeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// `p_L`: the share that is lost.
    pub share: f64,
    /// The largest share that is compatible with it (95 %).
    pub share_bound: f64,
    /// Among lost ones, the share after which the next is lost, too. Equals `p_L` where losses are independent.
    pub repeated: f64,
    /// The largest such share that is compatible (95 %), never below `share_bound`; the worst one by length of run.
    pub repeated_bound: f64,
    /// Whether losses come in bursts: `repeated` is above `p_L` beyond chance (95 %).
    pub bursty: bool,
    /// Whether sequence numbers told them; otherwise every long gap counts as losses.
    pub counted: bool,
}

/// What is known of a channel.
#[derive(Clone, Debug)]
pub struct ChannelModel {
    /// Its name.
    pub name: String,
    /// Whether it is a serial line.
    pub serial: bool,
    /// How many gaps were recorded.
    pub gaps: u64,
    /// For how long, in s.
    pub lasted_s: f64,
    /// `eta`: the interval as it was, in s.
    pub interval_s: f64,
    /// Its losses.
    pub loss: Loss,
    /// `V(D)`: variance of the delay, in s^2; half the variance of gaps of about one interval, for each is the difference of
    /// two delays.
    pub delay_variance_s2: f64,
    /// The longest gap, in s.
    pub longest_s: f64,
    /// The index of the tail: the frequency of silences of length x falls as `x^-index`, at most 2.
    pub index: f64,
    tail: Vec<Tail>,
}

/// Gaps above a length.
#[derive(Clone, Copy, Debug)]
struct Tail {
    above_s: f64,
    seen: u64,
    /// The most per second that is compatible with it (95 %).
    bound: f64,
}

/// What a number of false alarms rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Gaps of this length were seen, or the recording is long enough to promise without a model that there are no more.
    Observed,
    /// No such gap was seen: beyond the recording, by the model.
    Model,
    /// Another interval than the recorded one: losses by the model, silences as they were seen in time.
    Transferred,
}

/// How often a setting fails a channel that works.
#[derive(Clone, Copy, Debug)]
pub struct Alarms {
    /// What is expected, per s.
    pub expected: f64,
    /// What is promised: no more than this (95 %), per s.
    pub bound: f64,
    /// What was seen of such gaps.
    pub seen: u64,
    /// What the bound rests on.
    pub basis: Basis,
}

impl ChannelModel {
    /// What a recording says.
    ///
    /// # Errors
    /// Too few gaps, or none near an interval.
    pub fn new(recording: &Recording) -> Result<Self, Unusable> {
        let (name, n) = (recording.name.clone(), recording.len());
        if n < LEAST_GAPS {
            return Err(Unusable::TooFew { name, n });
        }
        let about = recording.configured.map(|interval| interval.0 as f64 / 1e9);
        let about = about.or_else(|| recording.median_s(0.0, f64::INFINITY)).unwrap_or(0.0);
        let near = |bin: &&super::Bin| (about / 2.0..about * 1.5).contains(&bin.middle_s());
        let regular: u64 = recording.gaps.iter().filter(near).map(|bin| bin.count).sum();
        let interval_s = recording.median_s(about / 2.0, about * 1.5).filter(|interval| *interval > 0.0);
        let Some(interval_s) = interval_s.filter(|_| regular >= LEAST_GAPS) else {
            return Err(Unusable::Irregular { name, n: regular });
        };
        let squares =
            recording.gaps.iter().filter(near).map(|bin| (bin.middle_s() - interval_s).powi(2) * bin.count as f64);
        let delay_variance_s2 = squares.sum::<f64>() / (regular - 1) as f64 / 2.0;
        let lasted_s = recording.lasted_s();
        let (mut remaining, mut above_s) = (n, 0.0);
        let mut tail = Vec::with_capacity(recording.gaps.len() + 1);
        for bin in &recording.gaps {
            // Whatever is in the bucket may be as long as its highest value.
            tail.push(Tail { above_s, seen: remaining, bound: most_events(remaining) / lasted_s });
            remaining -= bin.count;
            above_s = bin.highest.0 as f64 / 1e9;
        }
        let longest_s = recording.gaps.last().map_or(0.0, |bin| bin.highest.0 as f64 / 1e9);
        tail.push(Tail { above_s: longest_s, seen: 0, bound: most_events(0) / lasted_s });
        Ok(Self {
            name,
            serial: recording.serial,
            gaps: n,
            lasted_s,
            interval_s,
            loss: loss(recording, interval_s),
            delay_variance_s2,
            longest_s,
            index: index(recording, interval_s),
            tail,
        })
    }

    /// How many gaps were longer than `gap_s`, at most.
    #[must_use]
    pub fn seen_above(&self, gap_s: f64) -> u64 {
        self.tail_at(gap_s).map_or(0, |tail| tail.seen)
    }

    /// How often `setting` would fail this channel while it works.
    ///
    /// At the recorded interval, a gap longer than the setting tolerates is a false alarm: so many were seen. Where none
    /// was, the model's bound holds if it is lower: losses in sequence plus the tail of long silences. At another interval
    /// `eta'`, a silence that ends a channel after `T` has cut off the path for more than `T - eta'`, so every recorded gap
    /// longer than that counts, and losses of single messages come on top. A silence may come with time (a host that stood
    /// still) or with messages (one that is late holds up those behind it), which a recording cannot tell apart: with
    /// more messages than were recorded, there are as many more silences.
    #[must_use]
    pub fn alarms(&self, setting: &Setting) -> Alarms {
        let Setting { interval_s, tolerated_s, .. } = setting.on(self);
        let same = (interval_s / self.interval_s - 1.0).abs() < SAME;
        let gap_s = if same { tolerated_s } else { tolerated_s - interval_s };
        let oftener = if same { 1.0 } else { (self.interval_s / interval_s).max(1.0) };
        let seen = self.seen_above(gap_s);
        let observed = self.bound_above(gap_s) * oftener;
        let lost = |share: f64, repeated: f64| self.lost(interval_s, tolerated_s, share, repeated);
        let Loss { share, share_bound, repeated, repeated_bound, bursty, .. } = self.loss;
        // In a burst, the next heartbeat is the more likely lost the sooner it comes.
        let sooner = (interval_s / self.interval_s).min(1.0);
        let sooner = |repeated: f64| if bursty { repeated.powf(sooner) } else { repeated };
        let (losses, losses_bound) = (lost(share, sooner(repeated)), lost(share_bound, sooner(repeated_bound)));
        let beyond = self.beyond(gap_s) * oftener;
        let (bound, basis) = match (same, seen) {
            (true, 0) if losses_bound + beyond < observed => (losses_bound + beyond, Basis::Model),
            (true, _) => (observed, Basis::Observed),
            (false, 0) => (losses_bound + beyond.min(observed), Basis::Transferred),
            (false, _) => (losses_bound + observed, Basis::Transferred),
        };
        let seen_rate = seen as f64 / self.lasted_s * oftener;
        let expected = match (same, seen) {
            (_, 0) => losses,
            (true, _) => seen_rate,
            (false, _) => losses + seen_rate,
        };
        Alarms { expected: expected.min(bound), bound, seen, basis }
    }

    /// False alarms by losses and delays of single messages, per s: Chen et al.'s bound for an unknown distribution,
    /// `E(T_MR) >= eta / beta` with `beta = product over j = 0 .. k0 of (V(D) + p_j x_j^2) / (V(D) + x_j^2)`,
    /// `x_j = T - eta - j eta` and `k0 = ceil((T - eta) / eta) - 1`; but `p_j` is `p_L` for the first one only, and
    /// after a loss the share of those after which the next is lost, too.
    fn lost(&self, interval_s: f64, tolerated_s: f64, share: f64, repeated: f64) -> f64 {
        let variance = self.delay_variance_s2;
        let slack = tolerated_s - interval_s;
        // A multiple of the interval to within rounding is one.
        let terms = (slack / interval_s - 1e-6).ceil().max(0.0) as u32;
        let factor = |j: u32| {
            let x = slack - f64::from(j) * interval_s;
            let p = if j == 0 { share } else { repeated };
            if variance + x * x > 0.0 { (variance + p * x * x) / (variance + x * x) } else { 1.0 }
        };
        (0..terms).map(factor).product::<f64>() / interval_s
    }

    /// Silences longer than `gap_s` beyond what was seen, per s: from where the recording still bounds them, with the tail's
    /// index. `min over u of R(u) (u / x)^index`, `u` and `x` above the interval.
    fn beyond(&self, gap_s: f64) -> f64 {
        let x = gap_s - self.interval_s;
        let from = self.interval_s + STALL_S.max(self.interval_s / 2.0);
        if gap_s <= from {
            return self.bound_above(gap_s);
        }
        let first = (from, self.bound_above(from));
        let known = self.tail.iter().map(|tail| (tail.above_s, tail.bound));
        let known = known.filter(|(above, _)| (from..=gap_s).contains(above)).chain([first]);
        known.map(|(u, rate)| rate * ((u - self.interval_s) / x).powf(self.index)).fold(f64::INFINITY, f64::min)
    }

    /// The most gaps longer than `gap_s`, per s, that are compatible with what was seen.
    fn bound_above(&self, gap_s: f64) -> f64 {
        self.tail_at(gap_s).map_or_else(|| most_events(0) / self.lasted_s, |tail| tail.bound)
    }

    /// The last entry that begins at or below `gap_s`: all gaps that may be longer.
    fn tail_at(&self, gap_s: f64) -> Option<&Tail> {
        let next = self.tail.partition_point(|tail| tail.above_s <= gap_s);
        self.tail.get(next.saturating_sub(1))
    }
}

/// Losses: by the counters where there are any, and in what sequence by the gaps near multiples of the interval.
fn loss(recording: &Recording, interval_s: f64) -> Loss {
    let lost_in = |gap_s: f64| (gap_s / interval_s).round().max(1.0) as u64 - 1;
    let mut runs: Vec<(u64, u64)> =
        recording.gaps.iter().map(|bin| (lost_in(bin.middle_s()), bin.count)).filter(|(lost, _)| *lost > 0).collect();
    let mut guessed: u64 = runs.iter().map(|(lost, count)| lost * count).sum();
    let (received, missing) = match recording.counted {
        Some(counted) => {
            // More silence than losses: the longest gaps were a sender that stood still. The tail of silences has them.
            while let Some((lost, count)) = runs.last_mut()
                && guessed.saturating_sub(counted.missing) >= *lost
            {
                guessed -= *lost;
                *count -= 1;
                if *count == 0 {
                    runs.pop();
                }
            }
            (counted.received, counted.missing)
        }
        None => (recording.len(), guessed),
    };
    let sent = received + missing;
    // How many runs have at least `length` losses, and how many losses have another one after them.
    let at_least = |length: u64| runs.iter().filter(|(lost, _)| *lost >= length).map(|(_, count)| *count).sum::<u64>();
    let from =
        |length: u64| -> u64 { runs.iter().map(|(lost, count)| (lost + 1).saturating_sub(length) * count).sum() };
    let (repeats, losses) = (from(2), from(1));
    let share_bound = largest_share(missing, sent);
    let mut repeated_bound = if losses == 0 { share_bound } else { largest_share(repeats, losses).max(share_bound) };
    // Where long runs go on more often than short ones do, the long ones count.
    let mut length = 2;
    while at_least(length) >= RUNS {
        repeated_bound = repeated_bound.max(largest_share(from(length + 1), from(length)));
        length += 1;
    }
    let share = if sent == 0 { 0.0 } else { missing as f64 / sent as f64 };
    let repeated = if losses == 0 { share } else { (repeats as f64 / losses as f64).max(share) };
    let bursty = smallest_share(repeats, losses) > share_bound;
    Loss { share, share_bound, repeated, repeated_bound, bursty, counted: recording.counted.is_some() }
}

/// The index of the tail by Hill's estimator over the longest silences, however short they are, less its standard error; at most [`STEEPEST`], and
/// that where there are too few to tell.
fn index(recording: &Recording, interval_s: f64) -> f64 {
    let least = interval_s * FINEST;
    let mut taken = 0;
    let (mut logs, mut lowest) = (0.0, 0.0);
    for bin in recording.gaps.iter().rev() {
        let excess = bin.middle_s() - interval_s;
        if excess < least || taken >= LONGEST {
            break;
        }
        taken += bin.count;
        logs += excess.ln() * bin.count as f64;
        lowest = excess;
    }
    if taken < LONGEST {
        return STEEPEST;
    }
    let n = taken as f64;
    let mean = logs / n - lowest.ln();
    if mean <= 0.0 {
        return STEEPEST;
    }
    (1.0 / mean * (1.0 - 1.0 / n.sqrt())).clamp(0.25, STEEPEST)
}

impl Setting {
    /// As it is on this channel: a serial line sends every n-th heartbeat, no more than were recorded.
    #[must_use]
    pub fn on(&self, channel: &ChannelModel) -> Self {
        let pace = if channel.serial { (channel.interval_s / self.interval_s - 0.05).ceil().max(1.0) } else { 1.0 };
        Self {
            interval_s: self.interval_s * pace,
            tolerated_s: self.tolerated_s * pace,
            detection_s: self.detection_s * pace,
        }
    }
}
