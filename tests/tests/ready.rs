//! `heartbeat ready`: would a failover work now? The reasons why not, as they come and go, on both controllers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, LogLine, Mark, Node, Options, heartbeat};
use heartbeat_tests::scenario::{SOON, Scripts, bring_up, running, settled, show, story, until};
use serde_json::Value;

/// What failed counts again once it has been well for so long, and is looked at in between.
const SETTLED: Duration = Duration::from_secs(40);

/// Exit code, the codes of all reasons but for stalls of this machine, and the answer.
fn asked(lab: &Lab, node: Node) -> (i32, Vec<String>, Value) {
    let folder = lab.runtime_dir(node).display().to_string();
    let (status, said, wrong) = heartbeat(["ready", "--json", "--runtime-dir", &folder], SOON).unwrap();
    let code = status.code().unwrap();
    if code == 2 {
        assert!(wrong.contains("no agent answers at"), "{wrong}");
        return (code, Vec::new(), Value::Null);
    }
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said:?}{wrong:?}"));
    let reasons = answer["reasons"].as_array().unwrap();
    assert_eq!((code, &answer["ready"]), (i32::from(!reasons.is_empty()), &reasons.is_empty().into()), "{answer}");
    let codes = reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned());
    (code, codes.filter(|code| code != "late").collect(), answer)
}

/// Waits until these are the codes of the reasons.
fn expect(lab: &Lab, node: Node, codes: &[&str]) -> Value {
    let mut last = Value::Null;
    let seen = until(&format!("{codes:?} on {node}"), || {
        let (_, found, answer) = asked(lab, node);
        last = answer;
        Ok((found == codes).then_some(()))
    });
    seen.unwrap_or_else(|error| panic!("{error:#}: {last:#}\n{}", story(lab)));
    last
}

/// Waits until it is told that it is not ready, for one of these reasons.
fn told(lab: &Lab, node: Node, mark: Mark, code: &str) -> LogLine {
    let named = |line: &LogLine| {
        line.is("not_ready") && line.raw["reasons"].as_array().unwrap().iter().any(|reason| reason["code"] == code)
    };
    lab.wait_event_since(node, mark, named, SOON).unwrap_or_else(|error| panic!("{code}: {error:#}\n{}", story(lab)))
}

fn told_again(lab: &Lab, node: Node, mark: Mark) {
    let again = lab.wait_event_since(node, mark, |line| line.is("ready_again"), SETTLED);
    again.unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
    expect(lab, node, &[]);
}

/// A pair whose networks are judged, whose group has a hook, and of which b has a command of its own for events.
fn pair() -> (Lab, Scripts) {
    let lab = Lab::new(Options::default()).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    let mut config = Config::usual().judged_by_clients();
    let hook = scripts.write("hook", "true").unwrap();
    config.groups[0].extra = format!("on_acquire = {hook}\non_release = {hook}\n");
    let page = scripts.write("page", "true").unwrap();
    lab.configure(&config).unwrap();
    let plain = config.clone();
    config.extra = format!("[events]\non_event = {page}\n");
    lab.configure_one(B, &config).unwrap();
    lab.start_both().unwrap();
    settled(&lab, &plain).unwrap();
    for node in Node::BOTH {
        expect(&lab, node, &[]);
    }
    (lab, scripts)
}

#[test]
fn a_pair_that_is_well_is_ready_and_a_channel_that_is_cut_is_the_reason_why_not_until_it_is_mended() {
    undisturbed(|| {
        let (lab, _scripts) = pair();
        let folder = lab.runtime_dir(A).display().to_string();
        let [mark, there] = lab.marks();
        lab.cut("xlink").unwrap();
        let event = told(&lab, A, mark, "channel_down");
        assert_eq!(event.raw["severity"], "warning", "{event:?}");
        let answer = expect(&lab, A, &["channel_down"]);
        let reason =
            answer["reasons"].as_array().unwrap().iter().find(|reason| reason["code"] == "channel_down").unwrap();
        assert_eq!(reason["thing"], "xlink");
        let text = reason["text"].as_str().unwrap();
        assert!(
            text.starts_with("xlink is BAD, silent for ") && text.contains("eth9 is down, or has no carrier"),
            "{text}"
        );
        told(&lab, B, there, "channel_down");
        let (status, said, _) = heartbeat(["ready", "--runtime-dir", &folder], SOON).unwrap();
        assert!(
            status.code() == Some(1)
                && said.starts_with(" NOT READY ")
                && said.contains("\n  channel_down  xlink is BAD"),
            "{said}"
        );
        let (_, said, _) = heartbeat(["status", "--runtime-dir", &folder], SOON).unwrap();
        assert!(said.contains("failover    a failover would not work now: xlink is BAD"), "{said}");
        lab.mend("xlink").unwrap();
        for (node, mark) in [(A, mark), (B, there)] {
            told_again(&lab, node, mark);
        }
        show(&format!("a cable that is cut: {text}"));
    });
}

#[test]
fn of_a_network_either_controller_says_whose_end_it_is() {
    undisturbed(|| {
        let (lab, _scripts) = pair();
        lab.cut("a-net2").unwrap();
        let here = expect(&lab, A, &["channel_down", "interface"]);
        let there = expect(&lab, B, &["channel_down", "network"]);
        let text = |answer: &Value, code: &str| {
            let reasons = answer["reasons"].as_array().unwrap();
            reasons.iter().find(|reason| reason["code"] == code).unwrap()["text"].as_str().unwrap().to_owned()
        };
        assert!(
            text(&here, "interface").starts_with("group storage-b could not be served here: eth1 is down"),
            "{here}"
        );
        assert!(
            text(&there, "network").starts_with("net2 does not work for controller a: it gives 100 of 200"),
            "{there}"
        );
    });
}

#[test]
fn maintenance_a_missing_program_and_a_peer_that_was_stopped_are_reasons_on_both_sides() {
    undisturbed(|| {
        let (lab, scripts) = pair();
        let mark = lab.mark(A);
        assert_eq!(lab.order(A, &["maintenance", "on"]).unwrap().0, Some(0));
        for node in Node::BOTH {
            let answer = expect(&lab, node, &["maintenance"]);
            assert_eq!(answer["reasons"][0]["controller"], "a", "{answer}");
        }
        told(&lab, A, mark, "maintenance");
        assert_eq!(lab.order(A, &["maintenance", "off"]).unwrap().0, Some(0));
        told_again(&lab, A, mark);

        // A program of b's: b knows which, and a that b knows of something.
        let there = lab.mark(B);
        fs::rename(scripts.path("page"), scripts.path("gone")).unwrap();
        let answer = expect(&lab, B, &["command"]);
        assert_eq!(answer["reasons"][0]["thing"], "events.on_event", "{answer}");
        let answer = expect(&lab, A, &["peer_unfit"]);
        assert!(answer["reasons"][0]["text"].as_str().unwrap().contains("`heartbeat ready` there"), "{answer}");
        told(&lab, B, there, "command");
        fs::rename(scripts.path("gone"), scripts.path("page")).unwrap();
        for node in Node::BOTH {
            expect(&lab, node, &[]);
        }
        // The hook of a group is both's.
        fs::set_permissions(scripts.path("hook"), Permissions::from_mode(0o644)).unwrap();
        for node in Node::BOTH {
            let answer = expect(&lab, node, &["peer_unfit", "command", "command"]);
            let text = answer["reasons"][1]["text"].as_str().unwrap();
            assert!(
                text.contains("group \"storage-a\": on_acquire") && text.contains("mode 0644 lets nobody run it"),
                "{text}"
            );
        }
        fs::set_permissions(scripts.path("hook"), Permissions::from_mode(0o755)).unwrap();
        for node in Node::BOTH {
            expect(&lab, node, &[]);
        }

        let mark = lab.mark(A);
        lab.stop(B).unwrap();
        told(&lab, A, mark, "peer");
        let answer = expect(&lab, A, &["peer"]);
        assert!(answer["reasons"][0]["text"].as_str().unwrap().contains("controller b has left"), "{answer}");
        assert_eq!(asked(&lab, B).0, 2);
    });
}

/// A group of the status of controller a.
fn group(lab: &Lab, name: &str) -> Value {
    let status = lab.status(A).unwrap().json;
    status["groups"].as_array().unwrap().iter().find(|group| group["name"] == name).unwrap().clone()
}

fn explained(lab: &Lab) -> String {
    let folder = lab.runtime_dir(A).display().to_string();
    heartbeat(["explain", "--runtime-dir", &folder], SOON).unwrap().1
}

#[test]
fn a_fence_that_does_not_answer_is_a_reason_before_it_is_needed_and_by_what_the_peer_was_fenced_is_named_after() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        let mut config = Config::usual().judged_by_clients();
        config.groups[1].exclusive = Some(true);
        config.extra = "[fence]\nagent = \"fence_dummy\"\nstatus_every = \"1s\"\npause = \"10ms\"\n".to_owned();
        for node in ["a", "b"] {
            fs::write(scripts.path(&format!("power-{node}")), "on").unwrap();
            let file = scripts.path(&format!("power-{node}")).display().to_string();
            config.extra += &format!("{node} = {{ status_file = \"{file}\" }}\n");
        }
        bring_up(&lab, &config).unwrap();
        let asked_once =
            until("it was asked", || Ok(Some(lab.status(A)?.json).filter(|json| json["fence"][0]["answers"] == true)));
        let status = asked_once.unwrap();
        assert_eq!((&status["fence"][0]["level"], &status["fence"][0]["by"]), (&"fence".into(), &"fence_dummy".into()));
        assert!(status["release_within_ms"] == 5_000.0 && status["peer"]["release_within_ms"] == 5_000.0, "{status}");
        expect(&lab, A, &[]);

        fs::write(scripts.path("power-b"), "smoke").unwrap();
        let answer = expect(&lab, A, &["fence"]);
        assert!(answer["reasons"][0]["text"].as_str().unwrap().contains("it ended with 1"), "{answer}");
        expect(&lab, B, &["peer_unfit"]);
        fs::write(scripts.path("power-b"), "on").unwrap();
        for node in Node::BOTH {
            expect(&lab, node, &[]);
        }

        let mark = lab.mark(A);
        lab.power_off(B).unwrap();
        let acquired = lab.wait_event_since(A, mark, |line| line.is_of("group_acquired", "storage-b"), SETTLED);
        acquired.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        let claim = &group(&lab, "storage-b")["claim"];
        assert_eq!((&claim["reason"], &claim["safe"]), (&"peer_dead".into(), &"fenced".into()), "{claim}");
        assert_eq!(claim["text"], "the peer is dead; the peer is fenced by fence_dummy");
        let said = explained(&lab);
        assert!(said.contains("storage-b: the peer is fenced by fence_dummy"), "{said}");
        show(&format!("after a fenced takeover:\n{said}"));
    });
}

#[test]
fn an_agent_that_died_is_told_from_a_host_that_did_and_its_silent_kernel_is_what_made_the_claim_safe() {
    undisturbed(|| {
        let mut config = Config::usual().judged_by_clients();
        config.restart_grace = Some("0s".to_owned());
        let lab = running(&config).unwrap();
        let mark = lab.mark(A);
        lab.kill(B).unwrap();
        let acquired = lab.wait_event_since(A, mark, |line| line.is_of("group_acquired", "storage-b"), SOON);
        acquired.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        let claim = &group(&lab, "storage-b")["claim"];
        assert_eq!(claim["safe"], "closed", "{claim}");
        let status = lab.status(A).unwrap().json;
        assert!(status["peer"]["died_ms"].as_f64().is_some(), "{status:#}");
        let answer = expect(&lab, A, &["peer"]);
        assert!(answer["reasons"][0]["text"].as_str().unwrap().contains("has no agent: it died "), "{answer}");
        let said = explained(&lab);
        for words in [
            "the agent of controller b died, as its kernel said",
            "What made it safe\n  storage-b: its agent died and its kernel keeps silent",
        ] {
            assert!(said.contains(words), "no {words:?} in:\n{said}");
        }
    });
}
