//! Estimates against samples whose properties are known.

use super::*;
use crate::{
    config::{Config, Profile},
    core::Nanos,
    status::histogram::empty,
};
use proptest::prelude::*;

/// Gaps in ns, each so many times.
fn recording(gaps: &[(u64, u64)]) -> Recording {
    let mut counts = empty();
    for (ns, n) in gaps {
        counts.record_n(*ns, *n).unwrap();
    }
    Recording { configured: Some(Nanos::from_millis(10)), ..Recording::new("net1", &counts) }
}

const MS: u64 = 1_000_000;

/// A channel at 10 ms that lost `share` of its heartbeats, each by itself: geometric runs.
fn independent(share: f64, n: u64) -> Recording {
    let mut gaps = vec![(9_900_000, n / 4), (10_000_000, n - n / 4 * 2), (10_100_000, n / 4)];
    let mut missing = 0;
    for lost in 1..8 {
        let runs = (n as f64 * share.powi(lost) * (1.0 - share)).round() as u64;
        gaps.push(((1 + lost as u64) * 10 * MS, runs));
        missing += runs * lost as u64;
    }
    Recording { counted: Some(Counted { received: n, missing }), ..recording(&gaps) }
}

fn channel(recording: &Recording) -> Channel {
    Channel::new(recording).unwrap()
}

#[test]
fn interval_delays_and_independent_losses_are_found() {
    let found = channel(&independent(0.05, 100_000));
    assert!((found.interval_s - 0.010).abs() < 0.000_2, "{}", found.interval_s);
    assert!((found.loss.share - 0.05).abs() < 0.005 && found.loss.share_bound > found.loss.share, "{:?}", found.loss);
    assert!((found.loss.repeated - 0.05).abs() < 0.005 && !found.loss.bursty && found.loss.counted, "{:?}", found.loss);
    // Half of the variance of gaps of which half are 0.1 ms off, one way or the other.
    assert!((found.delay_variance_s2.sqrt() - 0.000_05).abs() < 0.000_02, "{}", found.delay_variance_s2.sqrt());
}

#[test]
fn losses_that_follow_each_other_are_told_from_single_ones() {
    let gaps = [(10 * MS, 100_000), (20 * MS, 100), (60 * MS, 200)];
    let bursts = Recording { counted: Some(Counted { received: 100_300, missing: 1_100 }), ..recording(&gaps) };
    let found = channel(&bursts);
    assert!(found.loss.bursty && found.loss.repeated > 0.7, "{:?}", found.loss);
    let single = channel(&independent(0.011, 100_000));
    let setting = Setting::from(&Profile::Fast.timing());
    assert!(found.alarms(&setting).bound > 10.0 * single.alarms(&setting).bound);
}

#[test]
fn what_was_seen_is_promised_and_without_it_the_time_alone_speaks() {
    let lan = Setting::from(&Profile::Lan.timing());
    let mut seen = recording(&[(100 * MS, 10_000), (400 * MS, 3)]);
    seen.configured = Some(Nanos::from_millis(100));
    let alarms = channel(&seen).alarms(&lan);
    assert_eq!((alarms.seen, alarms.basis), (3, Basis::Observed));
    assert!(alarms.expected >= 3.0 / 1_002.0 && alarms.bound > alarms.expected, "{alarms:?}");
    let mut none = recording(&[(100 * MS, 10_000)]);
    none.configured = Some(Nanos::from_millis(100));
    let alarms = channel(&none).alarms(&lan);
    assert_eq!(alarms.seen, 0);
    // The rule of three, or less.
    assert!(alarms.bound <= 3.0 / 1_000.0 * 1.01 && alarms.bound > 0.0, "{alarms:?}");
}

#[test]
fn a_recording_that_says_nothing_is_refused_with_its_name() {
    for (gaps, words) in [
        (vec![], "net1: 0 times"),
        (vec![(10 * MS, 19)], "net1: 19 times between heartbeats; right would be at least 20"),
        (vec![(MS, 1_000)], "near the interval"),
    ] {
        let error = Channel::new(&recording(&gaps)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(recommend(&[], 1.0, 0.001).is_none());
    // All equal: no variance, no losses, and still no promise of nothing at all.
    let equal = channel(&recording(&[(10 * MS, 1_000)]));
    assert!(equal.alarms(&Setting::from(&Profile::Fast.timing())).bound > 0.0);
}

#[test]
fn a_short_recording_promises_little_and_a_long_one_more() {
    let most = 1.0 / 86_400.0;
    let found: Vec<_> = [20_000, 1_000_000, 50_000_000]
        .map(|n| recommend(&[channel(&independent(0.001, n))], most, 0.001).unwrap())
        .into();
    assert!(found.iter().all(|r| r.suffices));
    let detection: Vec<_> = found.iter().map(|r| r.promise.detection_s).collect();
    assert!(detection.windows(2).all(|pair| pair[0] > pair[1]), "{detection:?}");
    // One loss in ten seconds: whether a loss brings others with it, nobody knows.
    assert!(!recommend(&[channel(&independent(0.001, 1_000))], most, 0.001).unwrap().suffices);
}

#[test]
fn what_cannot_be_promised_is_not() {
    // Ten silences of a second in 100 s: no setting within the grid's short intervals forgives them once a year.
    let bad = recording(&[(10 * MS, 10_000), (60_000 * MS, 10)]);
    let found = recommend(&[channel(&bad)], 1.0 / YEAR_S, 0.001).unwrap();
    assert!(!found.suffices && found.promise.worst() > 1.0 / YEAR_S);
}

#[test]
fn all_channels_at_once_are_rarer_than_the_best_of_them() {
    let channels = [channel(&independent(0.05, 10_000)), channel(&independent(0.01, 10_000))];
    let found = promise(&channels, Profile::Fast.timing());
    let [apart, together] = pair(&found);
    assert!(apart < together && together <= found.channels[1].bound, "{apart} {together}");
}

#[test]
fn the_lines_that_are_printed_are_a_configuration() {
    for most in [1.0, 1.0 / 3_600.0, 1.0 / YEAR_S] {
        for share in [0.0, 0.01, 0.2] {
            let found = recommend(&[channel(&independent(share, 100_000))], most, 0.001).unwrap();
            let example = crate::config::EXAMPLE;
            let (before, rest) = example.split_once("[timing]").unwrap();
            let (_, after) = rest.split_once("[dataplane]").unwrap();
            let text = format!("{before}{}\n[dataplane]{after}", found.toml());
            let config = Config::parse(&text, "tuned").unwrap_or_else(|error| panic!("{error}\n{}", found.toml()));
            assert_eq!(config.timing, found.promise.timing, "{}", found.toml());
        }
    }
}

#[test]
fn an_interval_log_of_many_intervals_is_one_recording() {
    use crate::status::histogram::{Format, Snapshot};
    let snapshot = |name: &str, ns: u64| {
        let mut counts = empty();
        counts.record_n(ns, 50).unwrap();
        Snapshot { name: name.into(), channel: None, what: "".into(), since_ns: 0, until_ns: 1, counts, max_ns: ns }
    };
    let all =
        [snapshot("inter_arrival/net1", 10 * MS), snapshot("inter_arrival/net1", 20 * MS), snapshot("lateness", MS)];
    let found = read(&Format::Hlog.render(&all).unwrap()).unwrap();
    assert_eq!((found.recordings.len(), found.recordings[0].len()), (1, 100));
    assert!((found.lateness_s - 0.001).abs() < 0.000_02);
    let json = read(&Format::Json.render(&all).unwrap()).unwrap();
    assert_eq!(json.recordings[0].gaps, found.recordings[0].gaps);
    for (text, words) in [("", "right would be one for each channel"), ("{}", "not what"), ("x", "interval log")] {
        let error = format!("{:#}", read(text).unwrap_err());
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn who_waits_longer_is_never_promised_more_false_alarms(
        loss in 0.0..0.3f64, late in prop::collection::vec((11u64..2_000, 1u64..20), 0..6), interval_ms in 1u64..200,
    ) {
        let mut all = independent(loss, 20_000);
        let more = recording(&late.iter().map(|(ms, n)| (ms * MS, *n)).collect::<Vec<_>>());
        all.gaps.extend(more.gaps);
        all.gaps.sort_by_key(|bin| bin.lowest);
        let found = channel(&all);
        let at = |missed: f64| {
            let interval_s = interval_ms as f64 / 1e3;
            let tolerated_s = interval_s * missed;
            found.alarms(&Setting { interval_s, tolerated_s, detection_s: tolerated_s })
        };
        for missed in 2..40 {
            let (sooner, later) = (at(f64::from(missed)), at(f64::from(missed + 1)));
            prop_assert!(later.bound <= sooner.bound * 1.000_001, "{missed}: {sooner:?} {later:?}");
            prop_assert!(sooner.expected <= sooner.bound && sooner.bound >= 0.0);
        }
    }
}
