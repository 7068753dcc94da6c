//! `heartbeat tune`: what it recommends from a sample keeps its promise over what comes after, in virtual time and in the lab.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use heartbeat::latency::Durations;
use heartbeat::tune::{ChannelModel, Counted, Recording, recommend};
use heartbeat::{
    core::{ChannelChange, Counter},
    types::{Nanos, Timing},
};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options, heartbeat};
use heartbeat_tests::scenario::{bring_up, nft};
use serde_json::Value;

const HOUR_S: f64 = 3_600.0;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

/// What a path does, in time: the same whatever the interval.
#[derive(Clone, Copy)]
struct Condition {
    name: &'static str,
    /// Share lost independently.
    loss: f64,
    /// Bursts: so often (s between), so long (s), and lost therein.
    bursts: Option<(f64, f64, f64)>,
    /// Index of the Pareto tail of delays from 50 us on; 0 for uniform ones up to 100 us.
    tail: f64,
    /// The sender stands still: so often (s between), for so long (s, mean of an exponential).
    stalls: Option<(f64, f64)>,
}

const WELL: Condition = Condition { name: "well", loss: 0.0, bursts: None, tail: 0.0, stalls: None };
const CONDITIONS: [Condition; 8] = [
    WELL,
    Condition { name: "loss 0.1 %", loss: 0.001, ..WELL },
    Condition { name: "loss 1 %", loss: 0.01, ..WELL },
    Condition { name: "loss 5 %", loss: 0.05, ..WELL },
    Condition { name: "bursts", loss: 0.001, bursts: Some((20.0, 0.040, 0.9)), ..WELL },
    Condition { name: "heavy tail", tail: 1.5, ..WELL },
    Condition { name: "stalls", stalls: Some((120.0, 0.020)), ..WELL },
    Condition { name: "loss and stalls", loss: 0.01, stalls: Some((300.0, 0.030)), ..WELL },
];

/// Spans of time that come at random and last at random.
struct Spans {
    every_s: f64,
    lasting_s: f64,
    begin: f64,
    end: f64,
}

impl Spans {
    fn new((every_s, lasting_s): (f64, f64), random: &mut Random) -> Self {
        let begin = random.exponential(every_s);
        Self { every_s, lasting_s, begin, end: begin + random.exponential(lasting_s) }
    }

    /// The end of the span that has `t` in it. Times only rise.
    fn at(&mut self, t: f64, random: &mut Random) -> Option<f64> {
        while t >= self.end {
            self.begin = self.end + random.exponential(self.every_s);
            self.end = self.begin + random.exponential(self.lasting_s);
        }
        (t >= self.begin).then_some(self.end)
    }
}

/// Sequence number and time of each heartbeat that arrives over `lasting_s`, in order; and how many were sent.
fn arrivals(condition: Condition, interval_s: f64, lasting_s: f64, seed: u64, mut each: impl FnMut(u64, Nanos)) -> u64 {
    let mut random = Random(seed);
    let mut bursts = condition.bursts.map(|(every, lasting, _)| Spans::new((every, lasting), &mut random));
    let mut stalls = condition.stalls.map(|spans| Spans::new(spans, &mut random));
    let (mut sequence, mut free_at, mut last) = (0, 0.0_f64, 0.0_f64);
    for tick in 1..=(lasting_s / interval_s) as u64 {
        let due = tick as f64 * interval_s;
        if due < free_at {
            // Ticks during which the sender stood still are not made up for.
            continue;
        }
        let sent = stalls.as_mut().and_then(|stalls| stalls.at(due, &mut random)).unwrap_or(due);
        free_at = sent;
        sequence += 1;
        let in_burst = bursts.as_mut().is_some_and(|bursts| bursts.at(sent, &mut random).is_some());
        let share = if in_burst { condition.bursts.map_or(0.0, |(_, _, share)| share) } else { condition.loss };
        let lost = random.uniform() < share;
        let u = random.uniform();
        let delay = if condition.tail > 0.0 { 50e-6 * (1.0 - u).powf(-1.0 / condition.tail) } else { u * 100e-6 };
        if !lost {
            last = last.max(sent + delay);
            each(sequence, Nanos((last * 1e9) as u64));
        }
    }
    sequence
}

/// What the kernel and the counters would have of it.
fn recorded(condition: Condition, interval_s: f64, lasting_s: f64, seed: u64) -> ChannelModel {
    let gaps = Durations::default();
    let (mut before, mut received) = (None, 0);
    let sent = arrivals(condition, interval_s, lasting_s, seed, |_, at| {
        if let Some(before) = before.replace(at) {
            gaps.record(at.since(before));
        }
        received += 1;
    });
    let mut recording = Recording::new(condition.name, &gaps.to_hdr());
    recording.counted = Some(Counted { received, missing: sent - received });
    ChannelModel::new(&recording).unwrap()
}

/// How often the core's own counter fails the channel meanwhile.
fn replayed(condition: Condition, timing: &Timing, lasting_s: f64, seed: u64) -> u64 {
    let mut counter = Counter::new(timing, Nanos(0));
    let mut failures = 0;
    arrivals(condition, timing.interval.0 as f64 / 1e9, lasting_s, seed, |sequence, at| {
        failures += u64::from(counter.check(timing, at, false) == Some(ChannelChange::Failed));
        counter.heard(timing, sequence, at);
    });
    failures
}

#[test]
fn what_is_recommended_from_a_sample_keeps_its_promise_over_one_that_is_much_longer() {
    println!("condition         recorded  asked/h   setting       by           expected  promised  seen");
    let mut broken = Vec::new();
    for (i, condition) in CONDITIONS.into_iter().enumerate() {
        // An hour supports 3 an hour by itself; one in ten hours is extrapolated.
        for (recorded_ms, asked, hours) in [(10.0, 6.0, 20.0), (10.0, 0.1, 40.0), (100.0, 0.1, 40.0)] {
            let channel = recorded(condition, recorded_ms / 1e3, HOUR_S, 1 + i as u64);
            let found = recommend(std::slice::from_ref(&channel), asked / HOUR_S, 0.0).unwrap();
            let (timing, alarms) = (&found.promise.timing, found.promise.channels[0]);
            let [expected, promised] = [alarms.expected, alarms.bound].map(|rate| rate * hours * HOUR_S);
            let seen = replayed(condition, timing, hours * HOUR_S, 1_000 + i as u64);
            println!(
                "{:<16}  {recorded_ms:>5} ms  {asked:>7}  {:>4} ms x {:<3}  {:<11}  {expected:>8.3}  {promised:>8.3}  {seen:>4}{}",
                condition.name,
                timing.interval.0 / 1_000_000,
                timing.max + 1,
                format!("{:?}", alarms.basis),
                if found.suffices { "" } else { "  (best there is)" }
            );
            if seen as f64 > promised {
                broken.push(format!("{}: {seen} of {promised}", condition.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn a_setting_that_is_too_quick_for_a_path_is_found_out_by_the_same_replay() {
    let condition = CONDITIONS[3];
    let timing = heartbeat::config::Profile::Fast.timing();
    let seen = replayed(condition, &timing, HOUR_S, 77);
    let channel = recorded(condition, 0.010, HOUR_S, 78);
    let bound = channel.alarms(&(&timing).into()).bound * HOUR_S;
    // 100 a second times 0.05^2, half of which the late third heartbeat ends in time.
    assert!(seen > 300 && bound > seen as f64 * 0.8, "{seen} seen, {bound} promised");
}

/// The switch of network `number` loses this many of a thousand heartbeats of b's from now on.
fn lose(lab: &Lab, number: usize, of_a_thousand: u32) {
    let rule = format!(
        "add table netdev loss\n\
         add chain netdev loss in {{ type filter hook ingress device \"b\" priority 0; }}\n\
         add rule netdev loss in udp dport 694 numgen random mod 1000 < {of_a_thousand} drop\n"
    );
    nft(lab.switch(number).unwrap(), &rule).unwrap();
}

/// What `heartbeat tune` says of the agent on a: its exit code and its JSON.
fn tune(lab: &Lab, more: &[&str]) -> (Option<i32>, Value) {
    let dir = lab.runtime_dir(Node::A).to_str().unwrap();
    let arguments = ["tune", "--json", "--runtime-dir", dir].into_iter().chain(more.iter().copied());
    let (status, said, error) = heartbeat(arguments, Duration::from_secs(60)).unwrap();
    (status.code(), serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}")))
}

#[test]
fn tune_finds_the_loss_of_a_lossy_network_and_what_it_recommends_holds() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let mut config = Config::usual().profile("fast");
        bring_up(&lab, &config).unwrap();
        lose(&lab, 1, 10);
        lose(&lab, 2, 100);
        // One false alarm a minute, at most.
        let (code, found) = tune(&lab, &["--for", "20s", "--false-positives", "60/hour"]);
        let channels = found["channels"].as_array().unwrap();
        for (channel, loss) in channels.iter().zip([0.01, 0.1, 0.0]) {
            let seen = channel["loss"].as_f64().unwrap();
            // Four standard deviations of 2,000 trials.
            let tolerance = 4.0 * (loss * (1.0 - loss) / 2_000.0_f64).sqrt();
            assert!((seen - loss).abs() <= tolerance + 1e-9, "{seen} is not {loss}: {found:#}");
            let lasted = channel["recorded_s"].as_f64().unwrap();
            assert!((19.0..22.0).contains(&lasted), "{channel}");
        }
        let recommended = &found["recommended"];
        assert_eq!((code, &recommended["suffices"]), (Some(0), &Value::Bool(true)), "{found:#}");
        println!("{:#}", recommended);

        // Asked for more than can be had, it says so.
        assert_eq!(tune(&lab, &["--false-positives", "0.0000000001/year"]).0, Some(1));

        let lines: toml::Table = recommended["toml"].as_str().unwrap().parse().unwrap();
        config.timing.clear();
        for (key, value) in lines["timing"].as_table().unwrap() {
            config = config.timing(key, &value.to_string());
        }
        for node in Node::BOTH {
            lab.stop(node).unwrap();
        }
        bring_up(&lab, &config).unwrap();
        let since = lab.mark(Node::A);
        let watched = Duration::from_secs(30);
        // Half a false alarm is promised for this time and channel: none, that is.
        let bad = lab.wait_event_since(Node::A, since, |line| line.is("channel_bad"), watched);
        assert!(bad.is_err(), "a false alarm at {recommended:#}: {bad:?}");
        assert!(lab.exit_status(Node::A).is_none() && lab.exit_status(Node::B).is_none());
        let (_, after) = tune(&lab, &[]);
        assert!(after["channels"][0]["loss"].as_f64().unwrap() > 0.001, "the loss went away: {after:#}");
    });
}
