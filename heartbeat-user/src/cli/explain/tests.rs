//! What is said of events that tests write.

use super::*;
use crate::{
    core::Safe,
    events::{samples, text::made_safe},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Events of controller a, in this order.
fn events(lines: &[&str]) -> Vec<Record> {
    let record = |(i, line): (usize, &&str)| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let defaults = serde_json::json!({
            "time_ns": i, "monotonic_ns": i, "id": i, "severity": "warning", "controller": "a", "text": "so it was"
        });
        for (key, default) in defaults.as_object().unwrap() {
            value.as_object_mut().unwrap().entry(key).or_insert(default.clone());
        }
        serde_json::from_value(value).unwrap()
    };
    lines.iter().enumerate().map(record).collect()
}

fn explained(events: &[Record]) -> String {
    explain(events, &Now::default(), Paint::OFF)
}

const READY: &str = r#"{"event": "ready"}"#;
const GOOD: &str = r#"{"event": "peer_good"}"#;
const BAD: &str = r#"{"event": "channel_bad", "channel": "net1", "silent_ns": 300000000}"#;
const PLACED: &str = r#"{"event": "fault_placed", "channel": "net1", "place": "remote_port_or_cable",
    "facts": {"carrier": true, "heard": false, "peer_hears": false, "operational": true, "peer_operational": false}}"#;
const JUDGED: &str = r#"{"event": "judged", "severity": "critical", "verdict": "fail_remote",
    "evidence": {"local": {"qos": 200, "duties": 0}, "remote": {"qos": 100, "duties": 50}}}"#;
const ACQUIRED: &str = r#"{"event": "group_acquired", "group": "storage-b", "text": "storage-b is held here"}"#;

#[test]
fn a_placed_fault_is_named_with_its_side_its_evidence_and_what_followed() {
    let text = explained(&events(&[READY, GOOD, BAD, PLACED, JUDGED, ACQUIRED]));
    for words in [
        "net1: the port or cable of controller b\n",
        "carrier, hears nothing, network answers",
        "hears nothing, network silent",
        "storage-b is held here",
        "check the cable, the interface and the switch port of net1 at controller b",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    let before = r#"{"event": "group_acquired", "group": "storage-a", "text": "held before"}"#;
    let later = explained(&events(&[READY, GOOD, before, BAD, PLACED]));
    assert!(later.contains("nothing moves") && !later.contains("held before"), "{later}");
    assert_eq!(text.matches("net1: ").count(), 1, "a placed fault is not told twice:\n{text}");
    assert!(
        text.lines().any(|line| line.contains("quality of service") && line.contains("200") && line.contains("100"))
    );
}

/// The lines of the evidence, their columns parted by bars.
fn evidence_of(events: &[Record], now: &Now) -> Vec<String> {
    let text = explain(events, now, Paint::OFF);
    let lines = text.lines().skip_while(|line| *line != "Evidence").skip(2).take_while(|line| !line.is_empty());
    let columns =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ");
    lines.map(columns).collect()
}

/// As of a cut cable of the peer's, which it knows itself before anybody has missed a heartbeat.
#[test]
fn what_was_not_yet_so_when_a_fault_was_placed_is_said_beside_what_it_was_placed_by() {
    let early =
        PLACED.replace("false", "true").replacen(r#"peer_operational": true"#, r#"peer_operational": false"#, 1);
    let judged = "net1, as judged | carrier, hears, network answers | hears, network silent";
    let bad = BAD.replace('}', r#", "time_ns": 1000000000}"#);
    let heard_there = BTreeMap::from([("net1".to_owned(), false)]);
    let now = Now { time_ns: 9_800_000_000, heard_there };
    let same = evidence_of(&events(&[READY, GOOD, &early]), &Now::default());
    assert_eq!(same, ["net1 | carrier, hears, network answers | hears, network silent"]);
    let by_now = evidence_of(&events(&[READY, GOOD, &early, &bad]), &now);
    assert_eq!(by_now, [judged, "net1, now | hears nothing for 9.1 s | hears nothing"]);
    // Of an earlier moment, as of a file, what the peer hears is not known.
    let then = evidence_of(&events(&[READY, GOOD, &early, &bad]), &Now { time_ns: 1_000_000_000, ..Now::default() });
    assert_eq!(then, [judged, "net1, now | hears nothing for 0.3 s | as judged"]);
    let never = BAD.replace("300000000", "null");
    let lost = r#"{"event": "carrier_lost", "channel": "net1"}"#;
    let other = r#"{"event": "channel_bad", "channel": "net2", "silent_ns": 1}"#;
    let more = evidence_of(&events(&[READY, GOOD, &early, &never, lost, other]), &Now::default());
    assert_eq!(more, [judged, "net1, now | no carrier, hears nothing | as judged"]);
}

#[test]
fn what_is_better_than_when_a_fault_was_placed_is_said_too_and_that_a_channel_comes_and_goes() {
    let judged = "net1, as judged | carrier, hears nothing, network answers | hears nothing, network silent";
    let good = r#"{"event": "channel_good", "channel": "net1"}"#;
    let flapping = r#"{"event": "channel_flapping", "channel": "net1"}"#;
    let now = |hears| Now { time_ns: 9, heard_there: BTreeMap::from([("net1".to_owned(), hears)]) };
    let of = |more: &[&str], hears| evidence_of(&events(&[&[READY, GOOD, BAD, PLACED], more].concat()), &now(hears));
    assert_eq!(of(&[], false), ["net1 | carrier, hears nothing, network answers | hears nothing, network silent"]);
    assert_eq!(of(&[], true), [judged, "net1, now | as judged | hears"]);
    assert_eq!(of(&[good], false), [judged, "net1, now | hears | as judged"]);
    assert_eq!(of(&[good, flapping], false), [judged, "net1, now | comes and goes | as judged"]);
}

#[test]
fn what_was_mended_and_what_an_earlier_life_saw_is_no_fault() {
    let gone = r#"{"event": "fault_gone", "channel": "net1"}"#;
    let good = r#"{"event": "channel_good", "channel": "net1"}"#;
    let text = explained(&events(&[READY, GOOD, BAD, PLACED, gone, good]));
    assert_eq!(text, "Nothing is wrong: no fault stands.\n");
    assert_eq!(explained(&events(&[READY, BAD, PLACED, READY, GOOD])), text);
}

#[test]
fn a_dead_peer_is_told_from_a_stalled_one_and_from_our_own_isolation() {
    let dead = r#"{"event": "peer_dead", "silent_ns": 300000000, "stalled_ns": null}"#;
    let stalled = r#"{"event": "peer_dead", "silent_ns": 300000000, "stalled_ns": 400000000}"#;
    let carrier = r#"{"event": "carrier_lost", "channel": "net1"}"#;
    assert!(explained(&events(&[READY, GOOD, BAD, dead])).contains("controller b is down"));
    assert!(explained(&events(&[READY, GOOD, BAD, stalled])).contains("the agent of controller b stands still"));
    assert!(explained(&events(&[READY, GOOD, carrier, BAD, dead])).contains("all ports or cables of controller a"));
}

#[test]
fn a_takeover_that_is_withheld_since_no_network_answers_says_what_an_operator_can_do_until_it_is_made() {
    let dead = r#"{"event": "peer_dead", "silent_ns": 300000000, "stalled_ns": null}"#;
    let withheld = r#"{"event": "takeover_withheld", "reason": "isolated",
        "text": "nothing is taken over: nobody answers"}"#;
    let acquiring = r#"{"event": "group_acquiring", "group": "storage-b", "reason": "peer_dead"}"#;
    let text = explained(&events(&[READY, GOOD, BAD, dead, withheld]));
    for words in ["nothing is taken over: nobody answers", "heartbeat takeover GROUP --force", "controller b is down"] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    let other = withheld.replace("isolated", "maintenance");
    for later in [[withheld, acquiring], [withheld, GOOD], [withheld, &other]] {
        assert!(
            !explained(&events(&[&[READY, GOOD, BAD, dead], &later[..]].concat())).contains("--force"),
            "{later:?}"
        );
    }
}

const DIED: &str = r#"{"event": "peer_died", "dead_ns": 1000, "left_ns": 0}"#;
const DEAD: &str = r#"{"event": "peer_dead", "silent_ns": 300000000, "stalled_ns": null}"#;
const STALLED: &str = r#"{"event": "peer_dead", "silent_ns": 300000000, "stalled_ns": 400000000}"#;

fn acquiring(safe: &str) -> String {
    format!(
        r#"{{"event": "group_acquiring", "group": "storage-b", "reason": "peer_dead", "safe": {safe}, "text": "it comes"}}"#
    )
}

#[test]
fn an_agent_that_died_is_told_and_what_made_the_claim_safe_is_named() {
    let text = explained(&events(&[READY, GOOD, DIED, &acquiring(r#""closed""#)]));
    for words in [
        "the agent of controller b died, as its kernel said",
        "storage-b: its agent died and its kernel keeps silent",
        "see why on controller b",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    for (safe, words) in [
        (r#""closed""#, "its agent stands still and its kernel keeps silent"),
        (r#""lease_over""#, "its agent died and the lease of its kernel is over"),
        (r#""granted""#, made_safe(Safe::Granted)),
        (r#""promised""#, made_safe(Safe::Promised)),
        (r#""fenced""#, &format!("{}\n", made_safe(Safe::Fenced))),
    ] {
        let text = explained(&events(&[READY, GOOD, STALLED, &acquiring(safe)]));
        assert!(text.contains(&format!("What made it safe\n  storage-b: {words}")), "{text}");
    }
    let ran = |by: &str, succeeded: bool| {
        format!(
            r#"{{"event": "fence_ran", "level": "fence", "by": "{by}", "succeeded": {succeeded}, "text": "it ran"}}"#
        )
    };
    let (fails, works) = (ran("fence_of_nobody", false), ran("fence_dummy", true));
    let text = explained(&events(&[READY, GOOD, DEAD, &fails, &works, &acquiring(r#""fenced""#)]));
    assert!(text.contains(&format!("storage-b: {} by fence_dummy", made_safe(Safe::Fenced))), "{text}");
    let released = r#"{"event": "group_released", "group": "storage-b"}"#;
    for not in
        [&[READY, GOOD, DEAD, &acquiring("null")][..], &[READY, GOOD, DEAD, &acquiring(r#""granted""#), released]]
    {
        assert!(!explained(&events(not)).contains("What made it safe"), "{not:?}");
    }
}

#[test]
fn why_a_takeover_waits_is_told_with_the_time_left_and_what_to_do_until_it_is_over() {
    for (reason, todo) in [
        ("promised", "wait until that is over"),
        ("peer_died", "wait until that is over"),
        ("not_fenced", "see what the fence said"),
        ("in_use", "switch it off"),
        ("denied", "see whether it runs"),
        ("unarbitrated", "see why the arbiter does not"),
        ("kept", "why its on_release fails"),
        ("exclusive", "[fence] or an [arbiter]"),
        ("unanswered", "it looks again by itself"),
        ("occupied", "ss -lunp"),
        ("stranger", "find who sends them"),
        ("maintenance", "heartbeat maintenance off"),
    ] {
        let withheld = format!(
            r#"{{"event": "takeover_withheld", "reason": "{reason}", "left_ns": 3000000000, "text": "nothing is taken over for 3.000 s: so"}}"#
        );
        let text = explained(&events(&[READY, GOOD, DEAD, &withheld]));
        assert!(text.contains("  nothing is taken over for 3.000 s: so\n") && text.contains(todo), "{reason}: {text}");
        for later in [acquiring("null"), GOOD.to_owned()] {
            let over = explained(&events(&[READY, GOOD, DEAD, &withheld, &later]));
            assert!(
                !over.contains(&format!("What to do\n  {todo}")) && !over.contains("wrong\n  nothing"),
                "{reason}: {over}"
            );
        }
    }
}

#[test]
fn a_fence_device_an_arbiter_and_a_group_that_stays_are_told_until_they_are_well() {
    let device = |answers: bool| {
        format!(
            r#"{{"event": "fence_device", "level": "fence.level[2]", "by": "fence_ipmilan", "answers": {answers},
                 "text": "fence.level[2]: the device of fence_ipmilan cannot be relied on"}}"#
        )
    };
    let arbiter = |well: bool| {
        format!(r#"{{"event": "arbiter_checked", "well": {well}, "text": "the arbiter is not well: no answer"}}"#)
    };
    let stuck =
        r#"{"event": "group_stuck", "group": "storage-a", "text": "storage-a could neither be had nor let go of"}"#;
    let released = r#"{"event": "group_released", "group": "storage-a"}"#;
    for (begins, ends, what, todo) in [
        (
            device(false),
            device(true),
            "fence_ipmilan cannot be relied on",
            "`fence_ipmilan -o status` with the options of fence.level[2]",
        ),
        (arbiter(false), arbiter(true), "the arbiter is not well", "heartbeat arbiter --config FILE"),
        (stuck.to_owned(), released.to_owned(), "could neither be had", "run its on_release on controller a"),
    ] {
        let text = explained(&events(&[READY, GOOD, &begins]));
        assert!(text.contains(what) && text.contains(todo), "{text}");
        let over = explained(&events(&[READY, GOOD, &begins, &ends]));
        assert_eq!(over, "Nothing is wrong: no fault stands.\n");
    }
}

#[test]
fn what_no_other_event_says_stands_in_the_way_until_it_does_not() {
    let not_ready = r#"{"event": "not_ready", "reasons": [
        {"code": "channel_down", "controller": null, "thing": "net1", "text": "net1 is BAD; right would be GOOD"},
        {"code": "keys_differ", "controller": null, "thing": "key_file",
         "text": "the two key files differ; right would be the same lines in both"},
        {"code": "command", "controller": "a", "thing": "fence.command", "text": "fence.command is not there; put it there"}]}"#;
    let text = explained(&events(&[READY, GOOD, not_ready]));
    for words in [
        "  not ready: the two key files differ\n",
        "  right would be the same lines in both\n",
        "  not ready: fence.command is not there; put it there\n",
        "heartbeat check --config FILE on controller a",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    assert!(!text.contains("net1"), "other events say so:\n{text}");
    let again = explained(&events(&[READY, GOOD, not_ready, r#"{"event": "ready_again"}"#]));
    assert_eq!(again, "Nothing is wrong: no fault stands.\n");
}

#[test]
fn no_test_of_what_is_explained_depends_on_a_sentence_of_an_event() {
    for sentence in samples::sentences() {
        assert!(!include_str!("tests.rs").contains(&sentence), "{sentence}");
    }
}

#[test]
fn events_of_kinds_that_this_version_does_not_know_are_passed_over() {
    let unknown = r#"{"event": "never_heard_of", "channel": "net1", "text": "so it was"}"#;
    let all = [READY, GOOD, BAD, PLACED, JUDGED, ACQUIRED];
    let with: Vec<_> = all.iter().flat_map(|line| [unknown, *line, unknown]).collect();
    // Ids are places in the list, and do not show.
    let shown = |text: String| text.lines().map(|line| line.split("  ").last().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(shown(explained(&events(&with))), shown(explained(&events(&all))));
}
