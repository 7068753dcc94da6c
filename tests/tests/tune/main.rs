//! `heartbeat tune` keeps what it promises: its recommendation for a short recording is replayed over a much longer one of the
//! same network, in virtual time through the agent's own counter; and on a real lossy network with real agents.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod network;

use std::time::Duration;

use heartbeat::core::{ChannelChange, Counter, Nanos};
use heartbeat::status::histogram::empty;
use heartbeat::tune::{Channel, Counted, Recording, Setting, promise, recommend};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Family, Lab, Node, Options, heartbeat};
use heartbeat_tests::pair::{SOON, settled};
use network::{Network, arrivals};
use serde_json::Value;

const RECORDED_S: u64 = 600;
/// Twenty times as long, and more.
const REPLAYED_S: u64 = 12_600;
const HOUR_S: f64 = 3_600.0;

/// What an agent would have recorded.
fn record(network: &Network, interval: Nanos, seed: u64) -> Recording {
    let mut gaps = empty();
    let (mut last, mut received, mut highest) = (None, 0, 0);
    arrivals(network, interval, RECORDED_S, seed, |sequence, at| {
        if let Some(before) = last.replace(at) {
            gaps.record(at.since(before).0).unwrap();
        }
        received += 1;
        highest = highest.max(sequence);
    });
    let counted = Some(Counted { received, missing: highest - received });
    Recording { counted, configured: Some(interval), ..Recording::new("net1", &gaps) }
}

/// How often the counter fails the channel, which works all the time.
fn replay(network: &Network, timing: &heartbeat::core::Timing, seed: u64) -> u64 {
    let mut counter = Counter::new(timing, Nanos(0));
    let mut failures = 0;
    arrivals(network, timing.interval, REPLAYED_S, seed, |sequence, at| {
        // What was due before it came.
        failures += u64::from(counter.check(timing, at, false) == Some(ChannelChange::Failed));
        counter.heard(timing, sequence, at);
    });
    failures
}

#[test]
fn a_recommendation_keeps_its_promise_over_a_recording_twenty_times_as_long() {
    println!(
        "{:<34} {:>9} {:>10} {:>12} {:>9} {:>6}   by",
        "network, recorded at 10 ms", "interval", "detection", "asked for/h", "promised", "seen"
    );
    for (i, network) in Network::all().iter().enumerate() {
        let seed = 0x5eed + i as u64;
        let recording = record(network, Nanos::from_millis(10), seed);
        let channel = Channel::new(&recording).unwrap();
        for asked in [60.0, 2.0] {
            let found = recommend(std::slice::from_ref(&channel), asked / HOUR_S, 0.001).unwrap();
            let alarms = found.promise.channels[0];
            let promised = alarms.bound * REPLAYED_S as f64;
            let seen = replay(network, &found.promise.timing, seed + 1_000);
            println!(
                "{:<34} {:>9} {:>10} {asked:>12} {promised:>9.1} {seen:>6}   {:?}",
                network.name,
                found.promise.timing.interval.to_string(),
                Nanos((found.promise.detection_s * 1e9) as u64).to_string(),
                alarms.basis
            );
            assert!(seen as f64 <= promised, "{}: {seen} of {promised} promised", network.name);
            assert!(!found.suffices || alarms.bound <= asked / HOUR_S);
            assert!(found.suffices, "{}: nothing is promised", network.name);
        }
        // And what is said of settings that nobody recommends is true of them, too.
        for profile in ["lan", "fast"] {
            let timing = heartbeat::config::Profile::ALL.into_iter().find(|p| p.name() == profile).unwrap().timing();
            let said = promise(std::slice::from_ref(&channel), timing).channels[0];
            let seen = replay(network, &timing, seed + 2_000);
            let promised = said.bound * REPLAYED_S as f64;
            println!("{:<34} {profile:>9} {:>10} {:>12} {promised:>9.1} {seen:>6}   {:?}", "", "", "", said.basis);
            assert!(seen as f64 <= promised, "{} at {profile}: {seen} of {promised} promised", network.name);
        }
    }
}

#[test]
fn a_longer_wait_would_not_have_been_needed() {
    // What is promised must not be so careful that it is of no use: one lost in a hundred, each by itself.
    let recording = record(&Network::independent("1 %", 0.01), Nanos::from_millis(10), 7);
    let found = recommend(&[Channel::new(&recording).unwrap()], 60.0 / HOUR_S, 0.001).unwrap();
    assert!(found.promise.detection_s <= 0.1, "{:?}", found.promise);
    let fast = Setting::from(&heartbeat::config::Profile::Fast.timing());
    let alarms = Channel::new(&recording).unwrap().alarms(&fast);
    // Two in sequence make a gap of three intervals, of which half are a little longer, and all in the same bucket.
    assert!((0.004..0.02).contains(&alarms.expected), "{alarms:?}");
}

/// Loses so many percent of the heartbeats in a network, at its switch.
fn lose(lab: &Lab, number: usize, percent: u32) {
    let rules = format!(
        "add table bridge loss; add chain bridge loss c {{ type filter hook forward priority 0; }}; \
         add rule bridge loss c udp dport 694 numgen random mod 1000 < {} drop",
        percent * 10
    );
    let run = move || std::process::Command::new("nft").arg(rules).output();
    let output = lab.switch(number).unwrap().run(run).unwrap();
    let output = output.expect("nft is needed: apt-get install nftables");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tune(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = lab.runtime_dir(Node::A).display().to_string();
    let all = [&["tune", "--runtime-dir", &folder], arguments].concat();
    let (status, said, wrong) = heartbeat(all, Duration::from_secs(60)).unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    (status.code(), said)
}

#[test]
fn on_a_lossy_network_it_finds_the_loss_and_recommends_what_holds() {
    /// Of what is lost on net1 and net2, in percent.
    const LOST: [u32; 2] = [1, 10];
    const RECORDED: Duration = Duration::from_secs(20);
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let mut config = Config::pair(2, Family::V4).profile("fast");
        lab.configure(&config).unwrap();
        for node in Node::BOTH {
            lab.start(node).unwrap();
        }
        settled(&lab, &config).unwrap();
        for (i, percent) in LOST.into_iter().enumerate() {
            lose(&lab, i + 1, percent);
        }
        let lasting = humantime::format_duration(RECORDED).to_string();
        let (code, said) = tune(&lab, &["--for", &lasting, "--false-positives", "1/day", "--json"]);
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(code, Some(0), "{report:#}");
        let sent = RECORDED.as_secs_f64() * 100.0;
        for (i, percent) in LOST.into_iter().enumerate() {
            let channel = &report["channels"][i];
            let (loss, expected) = (channel["loss"].as_f64().unwrap(), f64::from(percent) / 100.0);
            let deviation = (expected * (1.0 - expected) / sent).sqrt();
            assert!((loss - expected).abs() < 5.0 * deviation, "{percent} %: {loss}");
            assert_eq!(channel["counted"], true);
            println!("net{}: {percent} % lost on purpose, {:.2} % found", i + 1, loss * 100.0);
        }
        let recommended = &report["recommended"];
        let promised_s = recommended["promised_per_year"].as_f64().unwrap() / heartbeat::tune::YEAR_S;
        assert!(promised_s <= 1.0 / 86_400.0 && recommended["suffices"] == true, "{recommended}");
        // For people: the channels, the profiles, and the lines.
        let (code, text) = tune(&lab, &["--false-positives", "1/day"]);
        assert_eq!(code, Some(0), "{text}");
        for words in ["net2", "classic", "ultra", "[timing]", "Chen, Toueg, Aguilera", "Recommended:"] {
            assert!(text.contains(words), "no {words:?} in:\n{text}");
        }
        println!("{text}");

        // As it is printed, so it is set.
        let lines = recommended["toml"].as_str().unwrap();
        config.timing.clear();
        for (key, value) in lines.lines().filter_map(|line| line.split_once(" = ")) {
            config = config.timing(key, value);
        }
        lab.configure(&config).unwrap();
        for node in Node::BOTH {
            lab.reload(node).unwrap();
            lab.wait_event_since(node, lab.run_begin(node), |line| line.is("ready"), SOON).unwrap();
        }
        settled(&lab, &config).unwrap();
        let marks = Node::BOTH.map(|node| lab.mark(node));
        std::thread::sleep(RECORDED);
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let bad = lab.events_since(node, mark).into_iter().filter(|line| line.is("channel_bad")).count();
            assert_eq!(bad, 0, "{node:?}: 0.0003 were promised");
        }
        println!("{RECORDED:?} with\n{lines}no channel failed");
    });
}

#[test]
fn what_says_nothing_is_told_so() {
    let file = std::env::temp_dir().join(format!("heartbeat-tune-{}", std::process::id()));
    std::fs::write(&file, "{\"age_ms\": 0, \"histograms\": []}").unwrap();
    let (status, _, wrong) = heartbeat(["tune", "--from", file.to_str().unwrap()], SOON).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(status.code() == Some(2) && wrong.contains("inter_arrival/"), "{wrong}");
    let (status, _, wrong) = heartbeat(["tune", "--false-positives", "often"], SOON).unwrap();
    assert!(status.code() == Some(2) && wrong.contains("such as 1/year"), "{wrong}");
}
