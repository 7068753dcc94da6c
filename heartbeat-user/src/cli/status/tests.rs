//! The screen of `heartbeat status`, as text.

use super::{
    super::paint::{Paint, When},
    sample, show,
};
use crate::{
    api::{Faulted, Health, Judged, Status},
    events::sinks::{SinkKind, SinkStatus},
};

fn screen(status: &Status, width: usize) -> String {
    let status = status.clone().concluded();
    let screen = show(&status, Paint::OFF, width);
    for line in screen.lines() {
        assert!(line.chars().count() <= width, "longer than {width}: {line}\n{screen}");
    }
    screen
}

#[test]
fn a_usual_pair_fits_a_terminal_of_80_by_24() {
    let screen = screen(&sample(4), 80);
    assert!(screen.starts_with(" GOOD  the peer is alive on all channels\n"), "{screen}");
    assert!(screen.lines().count() < 24, "{screen}");
    assert!(!screen.contains("explain") && !screen.contains('…'), "{screen}");
}

#[test]
fn what_is_bad_comes_first_with_its_place_and_the_next_command() {
    let mut status = sample(64);
    status.channels[40].state = Health::Bad;
    status.channels[40].fault = Some("the port, as it were: it does not answer".into());
    let screen = screen(&status, 80);
    assert!(screen.starts_with(" DEGRADED "), "{screen}");
    let at = |words: &str| screen.find(words).unwrap_or_else(|| panic!("no {words} in:\n{screen}"));
    assert!(at("heartbeat explain") < at("net41 "));
    assert!(at("net41 ") < at("└ the port, as it were"));
    assert!(at("└ the port") < at("net1 "), "{screen}");
}

#[test]
fn a_place_that_gets_no_events_is_told_with_its_reason() {
    let mut status = sample(2);
    let sink = |works: bool, why: Option<&str>| {
        let (what, target) = (SinkKind::EventFile, "/var/log/events".into());
        SinkStatus { what, target, works, lost: 0, failures: 1, why: why.map(str::to_owned) }
    };
    status.sinks = vec![sink(true, None), sink(false, Some("No space left on device"))];
    let shown = screen(&status, 80);
    assert_eq!(shown.matches("event_file (/var/log/events) does not work: No space left").count(), 1, "{shown}");
}

#[test]
fn the_word_says_how_it_is() {
    let word = |change: fn(&mut Status)| {
        let mut status = sample(3);
        change(&mut status);
        screen(&status, 80).split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(word(|_| {}), "GOOD");
    assert_eq!(word(|status| status.maintenance = true), "DEGRADED");
    assert_eq!(word(|status| status.channels[0].state = Health::Unknown), "DEGRADED");
    assert_eq!(word(|status| status.judged = Some(Judged::FailRemote)), "DEGRADED");
    assert_eq!(word(|status| status.groups[1].owner = None), "BAD");
    assert_eq!(word(|status| status.peer.state = Health::Bad), "BAD");
    assert_eq!(word(|status| status.peer.state = Health::Unknown), "UNKNOWN");
    assert_eq!(word(|status| status.age_ms = 3_000.0), "UNKNOWN");
}

#[test]
fn a_peer_with_other_channels_counts_as_faulted() {
    let line = |faulted| {
        let mut status = sample(2);
        status.peer.faulted = faulted;
        screen(&status, 120).lines().find(|line| line.starts_with("peer ")).unwrap().to_owned()
    };
    assert!(line(Some(Faulted::ConfiguredDifferently)).ends_with(", counts as faulted"));
    assert!(!line(None).contains("faulted"));
}

#[test]
fn long_names_are_cut_where_the_terminal_is_narrow_only() {
    let mut status = sample(2);
    status.channels[0].name = "the-channel-with-the-longest-name".into();
    assert!(screen(&status, 80).contains("the-channel-wit…"));
    assert!(screen(&status, 200).contains("the-channel-with-the-longest-name"));
    screen(&status, 40);
}

#[test]
fn a_painted_screen_is_the_plain_one_with_colours() {
    let painted = show(&sample(3), Paint::new(When::Always, false, false, false), 80);
    assert!(painted.contains("\u{1b}[32mGOOD"), "{painted}");
    let mut plain = String::new();
    for (i, part) in painted.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, show(&sample(3), Paint::OFF, 80));
}

#[test]
fn whether_a_failover_would_work_is_one_line_and_what_makes_one_safe_a_line_each() {
    let mut status = sample(2);
    assert!(screen(&status, 80).contains("\nfailover    a failover would work now\n"));
    assert!(!screen(&status, 80).contains("lets go"), "nothing is exclusive");
    status.fence = serde_json::from_value(serde_json::json!([
        { "level": "fence.level[1]", "by": "fence_ipmilan", "answers": true, "why": null, "asked_ms": 40_000.0 },
        { "level": "fence.level[2]", "by": "fence_apc", "answers": false, "why": "it ended with 1", "asked_ms": 5_000.0 },
        { "level": "fence.level[3]", "by": "/sbin/off", "answers": null, "why": null, "asked_ms": null },
    ]))
    .unwrap();
    let arbiter =
        serde_json::json!({ "by": "etcd", "well": true, "since_ms": 180_000.0, "how": "1 of 1 endpoints answer" });
    status.arbiter = serde_json::from_value(arbiter).unwrap();
    let watchdog = serde_json::json!({ "device": "/dev/watchdog", "timeout_ms": 10_000.0, "fed": true, "fed_ms": 900.0, "why": null });
    status.watchdog = serde_json::from_value(watchdog).unwrap();
    (status.groups[0].exclusive, status.release_within_ms) = (true, Some(65_000.0));
    status.groups[0].claim = serde_json::from_value(serde_json::json!({
        "reason": "peer_dead", "safe": "granted", "text": "the peer is dead; the arbiter granted it", "time_ns": 1,
    }))
    .unwrap();
    status.groups[1].silent = true;
    let shown = screen(&status, 120);
    for words in [
        "failover    a failover would not work now: fence.level[2]: fence_apc cannot be relied on 5.0 s ago: it ended with 1",
        "more: heartbeat ready",
        "fence       fence.level[1]: fence_ipmilan answered, 40.0 s ago\n",
        "fence       fence.level[2]: fence_apc cannot be relied on, 5.0 s ago: it ended with 1\n",
        "arbiter     etcd: well for 3 min: 1 of 1 endpoints answer\n",
        "watchdog    /dev/watchdog: fed 900 ms ago\n",
        "lets go     where cut off: here within 65.0 s, there not promised\n",
        "  └ taken: the peer is dead; the arbiter granted it\n",
        "  └ this host's kernel keeps silent for it\n",
    ] {
        assert!(shown.contains(words), "no {words:?} in:\n{shown}");
    }
    assert!(!shown.contains("/sbin/off"), "a command has no status");
    screen(&status, 40);
}
