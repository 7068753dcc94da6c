//! Known losses are found, short samples are refused, and no bound is below what was seen.

use super::*;
use crate::{
    config::{Config, EXAMPLE, Profile},
    latency::{Durations, Format, Snapshot, empty},
    types::Nanos,
};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn recording(gaps_ns: impl IntoIterator<Item = u64>) -> Recording {
    let durations = Durations::default();
    for gap in gaps_ns {
        durations.record(Nanos(gap));
    }
    Recording::new("net1", &durations.to_hdr())
}

/// Gaps of a channel with an interval of 10 ms that loses independently, and its counters.
fn lossy(share: f64, sent: u64, seed: u64) -> Recording {
    let mut state = seed;
    let mut uniform = || {
        // Numerical Recipes' quick generator: enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let (mut gaps, mut run, mut missing) = (Vec::new(), 1, 0);
    for _ in 0..sent {
        if uniform() < share {
            run += 1;
            missing += 1;
        } else {
            gaps.push(run * 10 * MS + (uniform() * 100_000.0) as u64);
            run = 1;
        }
    }
    let received = gaps.len() as u64;
    Recording { counted: Some(Counted { received, missing }), ..recording(gaps) }
}

#[test]
fn a_known_loss_is_found_and_seen_to_be_independent() {
    for (share, seed) in [(0.001, 1), (0.01, 2), (0.05, 3), (0.2, 4)] {
        let counted = lossy(share, 200_000, seed);
        let guessed = Recording { counted: None, ..counted.clone() };
        for recording in [counted, guessed] {
            let channel = ChannelModel::new(&recording).unwrap();
            let Loss { share: found, share_bound, repeated, bursty, .. } = channel.loss;
            let error = 4.0 * (share / 200_000.0).sqrt();
            assert!((found - share).abs() < error && share_bound > found, "{share}: {:?}", channel.loss);
            assert!(!bursty && repeated < share + 0.1, "{share}: {:?}", channel.loss);
            assert!((channel.interval_s / 0.010 - 1.0).abs() < 0.02, "{}", channel.interval_s);
        }
    }
}

#[test]
fn bursts_are_seen_and_promise_less_than_as_much_independent_loss() {
    // 1 % in runs of five.
    let gaps = (0..40_000).map(|i| if i % 400 == 0 { 60 * MS } else { 10 * MS });
    let bursts = ChannelModel::new(&recording(gaps)).unwrap();
    assert!(bursts.loss.bursty && bursts.loss.repeated > 0.7, "{:?}", bursts.loss);
    let alone = ChannelModel::new(&lossy(0.0125, 40_000, 5)).unwrap();
    let setting = Setting { interval_s: 0.010, tolerated_s: 0.100, detection_s: 0.100 };
    assert!(bursts.alarms(&setting).bound > 10.0 * alone.alarms(&setting).bound);
}

#[test]
fn a_sender_that_stood_still_is_no_loss_and_counts_in_time() {
    let gaps = (0..10_000).map(|i| if i % 1_000 == 999 { 305 * MS } else { 10 * MS });
    let stalls = Recording { counted: Some(Counted { received: 10_000, missing: 0 }), ..recording(gaps) };
    let channel = ChannelModel::new(&stalls).unwrap();
    assert_eq!((channel.loss.share, channel.loss.repeated), (0.0, 0.0));
    // At any interval, ten of 300 ms in 103 s end a channel that bears 250 ms.
    for interval_s in [0.001, 0.010, 0.050] {
        let alarms = channel.alarms(&Setting { interval_s, tolerated_s: 0.250, detection_s: 0.250 });
        assert!(alarms.seen == 10 && alarms.bound > 10.0 / 103.0, "{interval_s}: {alarms:?}");
    }
}

#[test]
fn a_sample_that_says_nothing_is_refused_with_what_would_be_right() {
    for gaps in [vec![], vec![10 * MS], vec![10 * MS; 19]] {
        let error = ChannelModel::new(&recording(gaps)).unwrap_err().to_string();
        assert!(error.contains("net1") && error.contains("at least 20"), "{error}");
    }
    let irregular = Recording { configured: Some(Nanos::from_millis(10)), ..recording(vec![5_000 * MS; 50]) };
    assert!(matches!(ChannelModel::new(&irregular), Err(Unusable::Irregular { n: 0, .. })));
    assert!(recommend(&[], 1.0, 0.0).is_none());
}

#[test]
fn a_sample_without_any_difference_promises_what_its_length_supports_and_no_more() {
    let channel = ChannelModel::new(&recording(vec![10 * MS; 100])).unwrap();
    let alarms = channel.alarms(&Setting::from(&Profile::Fast.timing()));
    // None in a second: 3.0 a second at the most, and by the model a quarter of that, for it is twice as long as a stall is.
    assert_eq!((alarms.seen, alarms.basis), (0, Basis::Model));
    assert!((0.7..3.1).contains(&alarms.bound), "{alarms:?}");
    let [short, long] = [12, 24].map(|ms| f64::from(ms) / 1e3);
    let alarms = [short, long].map(|t| channel.alarms(&Setting { interval_s: 0.010, tolerated_s: t, detection_s: t }));
    assert!(alarms[0].basis == Basis::Observed && (2.9..3.1).contains(&alarms[0].bound), "{alarms:?}");
    assert_eq!(alarms[1].basis, Basis::Model);
    let recommended = recommend(std::slice::from_ref(&channel), 1.0 / YEAR_S, 0.0).unwrap();
    assert!(recommended.promise.detection_s > 1.0, "{recommended:?}");
}

#[test]
fn the_recorded_interval_is_the_shortest_a_serial_line_gets() {
    let line = Recording { serial: true, ..recording(vec![30 * MS; 1_000]) };
    let line = ChannelModel::new(&line).unwrap();
    let setting = Setting::from(&Profile::Fast.timing()).on(&line);
    assert!((setting.interval_s - 0.030).abs() < 1e-9 && (setting.detection_s - 0.090).abs() < 1e-9, "{setting:?}");
}

#[test]
fn what_is_recommended_is_a_configuration_that_means_the_same() {
    for share in [0.0, 0.01, 0.1] {
        let channels = [ChannelModel::new(&lossy(share, 100_000, 9)).unwrap()];
        for (most, least) in [(1.0 / 60.0, 0.0), (1.0 / 3_600.0, 0.015), (1.0 / YEAR_S, 0.3), (1.0, 0.0)] {
            let recommended = recommend(&channels, most, least).unwrap();
            let text = EXAMPLE.replace("[timing]\n", &recommended.toml()).replace("\nprofile = \"lan\"\n#", "\n#");
            let config = Config::parse(&text, "hb.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(config.timing, recommended.promise.timing);
            assert!(config.timing.interval.0 as f64 / 1e9 >= least.min(1.0));
        }
    }
}

#[test]
fn where_nothing_can_be_promised_the_best_is_given() {
    let channels = [ChannelModel::new(&recording(vec![10 * MS; 100])).unwrap()];
    let recommended = recommend(&channels, 1e-15, 0.0).unwrap();
    assert!(!recommended.suffices && recommended.promise.detection_s > 10.0);
}

#[test]
fn classic_is_judged_by_the_least_silence_that_fails_it() {
    let setting = Setting::from(&Profile::Classic.timing());
    assert_eq!((setting.tolerated_s, setting.detection_s), (60.0, 65.0));
}

#[test]
fn a_pair_is_dead_less_often_than_its_best_channel() {
    let channels = [0.01, 0.1].map(|share| ChannelModel::new(&lossy(share, 100_000, 7)).unwrap());
    let promise = promise(&channels, Profile::Fast.timing());
    let [independent, worst] = pair(&promise);
    assert!(independent < worst && worst == promise.channels[0].bound, "{promise:?}");
}

#[test]
fn a_file_is_read_back_in_either_format_and_intervals_are_summed() {
    let snapshot = |name: &str| {
        let mut counts = empty();
        counts.record_n(10 * MS, 500).unwrap();
        Snapshot {
            name: name.into(),
            channel: None,
            what: "".into(),
            since_ns: 0,
            until_ns: 5_000_000_000,
            max_ns: counts.max(),
            counts,
        }
    };
    let all = [snapshot("inter_arrival/net1"), snapshot("inter_arrival/tty"), snapshot("lateness")];
    let json = read(&Format::Json.render(&all).unwrap()).unwrap();
    let hlog = Format::Hlog.render(&all).unwrap();
    let log = read(&hlog).unwrap();
    for read in [&json, &log] {
        let names: Vec<_> = read.recordings.iter().map(|r| (r.name.as_str(), r.len())).collect();
        assert_eq!(names, [("net1", 500), ("tty", 500)]);
        assert!(read.lateness_s > 0.009);
    }
    let lines: Vec<_> = hlog.lines().filter(|line| line.starts_with("Tag=")).collect();
    assert_eq!(read(&format!("{hlog}{}\n", lines.join("\n"))).unwrap().recordings[0].len(), 1_000);
    for wrong in ["", "{}", "nonsense", "Tag=inter_arrival/net1,0.0,1.0,1.0,%%%"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_longer_detection_time_never_has_more_false_alarms_and_no_bound_is_below_what_was_seen(
        extra in proptest::collection::vec(1..2_000_u64, 0..40),
        regular in 30..3_000_u64,
        interval in prop::sample::select(vec![1_u64, 5, 10, 20, 100]),
    ) {
        let gaps = (0..regular).map(|i| 10 * MS + i % 50 * 1_000).chain(extra.iter().map(|ms| ms * MS));
        // An interval is known; what is longer is whatever it is.
        let recording = Recording { configured: Some(Nanos::from_millis(10)), ..recording(gaps) };
        let channel = ChannelModel::new(&recording).unwrap();
        let mut before = f64::INFINITY;
        for missed in 2..=48 {
            let tolerated_s = (interval * missed) as f64 / 1e3;
            let setting = Setting { interval_s: interval as f64 / 1e3, tolerated_s, detection_s: tolerated_s };
            let Alarms { expected, bound, .. } = channel.alarms(&setting);
            prop_assert!(bound <= before * (1.0 + 1e-9), "{missed}: {bound} > {before}");
            prop_assert!(expected <= bound);
            if interval == 10 {
                let longer = extra.iter().filter(|ms| (**ms * MS) as f64 / 1e9 > tolerated_s).count();
                prop_assert!(bound >= longer as f64 / channel.lasted_s);
            }
            before = bound;
        }
    }
}
