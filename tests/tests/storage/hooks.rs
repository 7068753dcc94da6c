//! Something outside the agents goes with a group: it must never be in use on both controllers.

use std::thread;
use std::time::Duration;

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, realtime_ns};
use heartbeat_tests::scenario::{
    Client, NOTICED, SOON, Scripts, between, holders, lose_heartbeats, reload_with, service, settled, show, started,
    story, until, wait_holders, wait_said,
};

/// Within so long of its cause, whatever clients have to learn is told them.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// Each controller that uses the storage has a file `in-use-NODE`.
const ACQUIRE: (&str, &str) = ("on_acquire", "echo acquire $HEARTBEAT_NODE >> log; touch in-use-$HEARTBEAT_NODE");
const RELEASE: (&str, &str) = ("on_release", "echo release $HEARTBEAT_NODE >> log; rm -f in-use-$HEARTBEAT_NODE");

fn until_file(lab: &Lab, scripts: &Scripts, name: &str, there: bool) {
    until(&format!("{name}: {there}"), || Ok((scripts.has(name) == there).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", scripts.read("log"), story(lab)));
}

/// A pair that has settled, with what `configure` gives it.
fn pair(configure: impl FnOnce(&Scripts, &mut Config)) -> (Lab, Config, Scripts) {
    let (lab, config) = started(|lab, config| configure(&Scripts::of(lab).unwrap(), config)).unwrap();
    settled(&lab, &config).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    (lab, config, scripts)
}

#[test]
fn an_agent_that_died_holding_a_group_releases_it_before_anything_else_when_it_is_started() {
    undisturbed(|| {
        let (lab, _, scripts) = pair(|scripts, config| scripts.hooks(config, &[ACQUIRE, RELEASE]).unwrap());
        let client = Client::start(&lab, 1, service(1)).unwrap();
        let killed = lab.kill(A).unwrap();
        until_file(&lab, &scripts, "in-use-b", true);
        wait_holders(&lab, service(1), &[A, B]).unwrap();
        assert!(scripts.has("in-use-a"), "nobody was there to let go of it");
        lab.start(A).unwrap();
        until_file(&lab, &scripts, "in-use-a", false);
        wait_holders(&lab, service(1), &[B]).unwrap();
        lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
        assert_eq!(scripts.read("log"), "acquire a\nacquire b\nrelease a\n");
        client.noticed_less_than(&lab, "killed, taken over, started again", killed, TOLD_WITHIN).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(B));
    });
}

#[test]
fn what_could_not_be_undone_after_a_failed_acquisition_is_not_started_elsewhere() {
    undisturbed(|| {
        // On a the pool is imported half, and cannot be exported until somebody helps.
        let acquire = (
            "on_acquire",
            "echo acquire $HEARTBEAT_NODE >> log; touch in-use-$HEARTBEAT_NODE; test $HEARTBEAT_NODE = b",
        );
        let release = (
            "on_release",
            "echo release $HEARTBEAT_NODE >> log; test $HEARTBEAT_NODE = b || test -e helped || exit 1\n\
             rm -f in-use-$HEARTBEAT_NODE",
        );
        let (lab, _) =
            started(|lab, config| Scripts::of(lab).unwrap().hooks(config, &[acquire, release]).unwrap()).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        // A client that asks from the beginning, and was never served before.
        let probe = lab.probe(1, service(1), ProbeOptions::default()).unwrap();
        until("the undo has failed", || Ok(scripts.read("log").contains("release a").then_some(()))).unwrap();
        // Longer than b would wait for a home that does not take its group.
        let end = realtime_ns() + 6_500_000_000;
        while realtime_ns() < end {
            assert!(!scripts.has("in-use-b"), "in use on both\n{}\n{}", scripts.read("log"), story(&lab));
            thread::sleep(heartbeat_tests::scenario::PACE);
        }
        assert_eq!(holders(&lab, service(1)).unwrap(), []);
        assert_eq!(probe.view().answered, 0, "{:?}\n{}", probe.view(), story(&lab));
        scripts.touch("helped").unwrap();
        let helped = realtime_ns();
        lab.wait_event(B, |line| line.is_of("group_acquired", "storage-a"), Duration::from_secs(60))
            .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", scripts.read("log"), story(&lab)));
        assert!(!scripts.has("in-use-a") && scripts.has("in-use-b"));
        let served = probe
            .wait_reply_after(helped, SOON)
            .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", scripts.read("log"), story(&lab)));
        assert_eq!(Client::start(&lab, 1, service(1)).unwrap().server(&lab).unwrap(), Some(B));
        let took = between(helped, served.received_ns);
        show(&format!("a failed undo that works at last: the client is served by the peer {took:?} after"));
    });
}

#[test]
fn a_survivor_that_is_reloaded_does_not_take_what_its_peer_kept_when_it_left() {
    undisturbed(|| {
        let release = ("on_release", "echo release $HEARTBEAT_NODE >> log; exit 1");
        let (lab, config, scripts) = pair(|scripts, config| {
            scripts.hooks(config, &[ACQUIRE, release]).unwrap();
            *config = config.clone().timing("failed_waits", "10");
        });
        let client = Client::start(&lab, 1, service(1)).unwrap();
        let (begin, began) = (lab.marks()[1], realtime_ns());
        lab.stop(A).unwrap();
        let withheld = wait_said(&lab, B, begin, "takeover_withheld").unwrap();
        assert_eq!(withheld.raw["reason"], "kept", "{withheld:?}");
        // What was kept has its addresses again: a's kernel answers for them without an agent.
        client.noticed_less_than(&lab, "kept by one that left", began, TOLD_WITHIN).unwrap();
        // Told anew, and by a crash as well.
        reload_with(&lab, B, &config).unwrap();
        thread::sleep(Duration::from_millis(2_000));
        assert!(!scripts.has("in-use-b"), "{}", story(&lab));
        client.noticed_less_than(&lab, "kept, and b is reloaded", began, TOLD_WITHIN).unwrap();
        lab.kill(B).unwrap();
        lab.start(B).unwrap();
        lab.wait_event(B, |line| line.is("ready"), SOON).unwrap();
        thread::sleep(Duration::from_millis(2_000));
        assert!(!scripts.has("in-use-b"), "{}", story(&lab));
        assert_eq!(holders(&lab, service(1)).unwrap(), [A], "{}", story(&lab));
        client.noticed_less_than(&lab, "kept, and b is killed and started again", began, TOLD_WITHIN).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(A));
    });
}

/// Each fences the other one with `script`, which makes `aimed-NODE` and strikes, if at all, only once there is a file `back`; so
/// often as `tries` says. They hear each other again before, and for so long nobody is shot.
fn back_before_anybody_is_shot(script: &str, tries: &str, lasts: Duration) {
    undisturbed(|| {
        let (lab, _, scripts) = pair(|scripts, config| {
            let fence = scripts.write("fence", script).unwrap();
            config.extra = format!("[fence]\ncommand = {fence}\n{tries}\n");
        });
        let client = Client::start(&lab, 1, service(1)).unwrap();
        let (before, began) = (lab.marks(), realtime_ns());
        lose_heartbeats(&lab, true).unwrap();
        for node in ["a", "b"] {
            until_file(&lab, &scripts, &format!("aimed-{node}"), true);
        }
        lose_heartbeats(&lab, false).unwrap();
        for (node, mark) in [A, B].into_iter().zip(before) {
            wait_said(&lab, node, mark, "peer_good").unwrap();
        }
        scripts.touch("back").unwrap();
        thread::sleep(lasts);
        assert!(!scripts.has("shot-a") && !scripts.has("shot-b"), "{}", story(&lab));
        assert_eq!(
            [holders(&lab, service(1)).unwrap(), holders(&lab, service(2)).unwrap()],
            [[A], [B]],
            "{}",
            story(&lab)
        );
        client.noticed_less_than(&lab, "a fence called off", began, NOTICED).unwrap();
    });
}

#[test]
fn a_peer_that_is_back_before_the_fence_has_struck_is_not_shot() {
    // Whatever still aims strikes then, and so would another attempt.
    let fence = "touch aimed-$HEARTBEAT_NODE; until test -e back; do sleep 0.1; done; touch shot-$HEARTBEAT_NODE";
    back_before_anybody_is_shot(fence, "retries = 2\npause = \"100ms\"", Duration::from_millis(1_500));
}

#[test]
fn a_fence_that_fails_once_is_not_tried_again_on_a_peer_that_is_back() {
    // Another attempt would strike.
    let fence = "test -e back && touch shot-$HEARTBEAT_NODE && exit 0\ntouch aimed-$HEARTBEAT_NODE; exit 1";
    back_before_anybody_is_shot(fence, "retries = 20\npause = \"1s\"", Duration::from_millis(2_500));
}

#[test]
fn the_keeper_of_a_group_that_both_held_is_told_so_by_its_hook() {
    undisturbed(|| {
        // The last one to have it moves something outside, such as a floating address of a provider.
        let acquired = ("on_acquired", "echo $HEARTBEAT_NODE > outside; echo acquired $HEARTBEAT_NODE >> log");
        let (lab, _, scripts) = pair(|scripts, config| scripts.hooks(config, &[ACQUIRE, RELEASE, acquired]).unwrap());
        let probe = lab.probe(1, service(1), ProbeOptions::default()).unwrap();
        let before = lab.marks();
        lose_heartbeats(&lab, true).unwrap();
        until("b's hook", || Ok((scripts.read("outside") == "b\n").then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        lose_heartbeats(&lab, false).unwrap();
        let kept_by =
            wait_said(&lab, A, before[0], "dual_ownership").unwrap().raw["kept_by"].as_str().unwrap().to_owned();
        until("the keeper's hook", || Ok((scripts.read("outside").trim() == kept_by).then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", scripts.read("log"), story(&lab)));
        let loser = if kept_by == "a" { "b" } else { "a" };
        until_file(&lab, &scripts, &format!("in-use-{loser}"), false);
        assert!(scripts.has(&format!("in-use-{kept_by}")));
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
    });
}
