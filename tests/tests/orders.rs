//! What an operator orders, and the operator's own commands: hand-overs, maintenance, hooks, fence, health checks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::client::tcp::{Server, TcpProbe};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Config, Lab, Node, Options, realtime_ns};
use heartbeat_tests::scenario::{Measured, Run, SOON, Scripts, between, bring_up, owners, running, wait_owners};

/// With networks that are judged.
fn judged() -> Config {
    Config::usual().judged_by_clients()
}

fn ordered(lab: &Lab, node: Node, words: &[&str]) {
    assert_eq!(lab.order(node, words).unwrap(), (Some(0), String::new()), "{words:?} on {node}");
}

/// A lab whose agents run with that configuration, and a folder for scripts.
fn with_scripts(config: impl FnOnce(&Scripts) -> Config) -> (Lab, Scripts) {
    let lab = Lab::new(Options::default()).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    bring_up(&lab, &config(&scripts)).unwrap();
    (lab, scripts)
}

#[test]
fn a_group_is_handed_over_on_command_under_a_running_client() {
    let run = Run::or(4);
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let [a, b] = Node::BOTH.map(|node| Server::start(&lab.controller(node).unwrap()).unwrap());
        let target = ipv4(1, 10).into();
        let icmp = lab.probe(1, target, ProbeOptions::default()).unwrap();
        let tcp = TcpProbe::start(lab.client(1).unwrap(), target).unwrap();
        let mut measured = Measured::default();
        for trial in 0..run.trials {
            // Back and forth, in both ways that there are.
            let (from, to) = if trial % 2 == 0 { (Node::A, Node::B) } else { (Node::B, Node::A) };
            tcp.gap_since(realtime_ns(), SOON).unwrap();
            let at = realtime_ns();
            if trial % 4 < 2 {
                ordered(&lab, to, &["takeover", "storage-a"]);
            } else {
                ordered(&lab, from, &["release", "storage-a"]);
            }
            wait_owners(&lab, from, &[to.name(), "b"]).unwrap();
            let gap = tcp.gap_since(at, SOON).unwrap();
            measured.add("TCP client without service", gap.length());
            let end = icmp.wait_reply_after(gap.to_ns, SOON).unwrap().received_ns;
            measured.add("ICMP client without service", icmp.largest_gap(at, end).length());
            measured.add("order to first answer", between(at, gap.to_ns));
        }
        assert!(a.runs() && b.runs());
        for node in Node::BOTH {
            let events = lab.events_since(node, lab.run_begin(node));
            assert!(!events.iter().any(|line| line.is("dual_ownership")), "{events:#?}");
        }
        measured.print(&format!("{} hand-overs on command", run.trials));
    });
}

#[test]
fn orders_that_cannot_be_carried_out_say_why_and_change_nothing() {
    let lab = running(&Config::usual()).unwrap();
    for (node, words, why) in [
        (Node::A, &["takeover", "storage-a"][..], "holds the group already"),
        (Node::A, &["release", "storage-b"], "does not hold the group"),
        (
            Node::A,
            &["release", "storage"],
            "there is no group \"storage\"; right would be one of: storage-a, storage-b",
        ),
    ] {
        let (code, said) = lab.order(node, words).unwrap();
        assert!(code == Some(1) && said.contains(why), "{words:?}: {said}");
    }
    lab.stop(Node::B).unwrap();
    wait_owners(&lab, Node::A, &["a", "a"]).unwrap();
    let (code, said) = lab.order(Node::A, &["release", "storage-a"]).unwrap();
    assert!(
        code == Some(1) && said.contains("a controller is being stopped") || said.contains("no channel hears"),
        "{said}"
    );
    let (code, said) = lab.order(Node::B, &["maintenance", "on"]).unwrap();
    assert!(code == Some(1) && said.contains("no agent answers"), "{said}");
}

#[test]
fn in_maintenance_nothing_moves_and_it_outlives_the_agent() {
    let lab = running(&judged()).unwrap();
    ordered(&lab, Node::B, &["maintenance", "on"]);
    lab.wait_event(Node::A, |line| line.is("peer_maintenance"), SOON).unwrap();
    let mark = lab.mark(Node::B);
    lab.reload(Node::B).unwrap();
    lab.wait_event_since(Node::B, mark, |line| line.is("peer_good"), SOON).unwrap();
    assert_eq!(lab.status(Node::B).unwrap().json["maintenance"], true);
    // A cable that would move a group, then a death.
    lab.cut("a-net1").unwrap();
    lab.wait_event(Node::B, |line| line.is("judged") && line.raw["verdict"] == "fail_remote", SOON).unwrap();
    assert_eq!(owners(&lab.status(Node::B).unwrap().json), ["a", "b"]);
    let (code, said) = lab.order(Node::B, &["takeover", "storage-a"]).unwrap();
    assert!(code == Some(1) && said.contains("in maintenance"), "{said}");
    lab.power_off(Node::A).unwrap();
    let withheld = lab.wait_event(Node::B, |line| line.is("takeover_withheld"), SOON).unwrap();
    assert_eq!(withheld.raw["reason"], "maintenance");
    ordered(&lab, Node::B, &["maintenance", "off"]);
    wait_owners(&lab, Node::B, &["b", "b"]).unwrap();
}

#[test]
fn hooks_run_in_order_and_are_told_what_for() {
    let (lab, scripts) = with_scripts(|scripts| {
        let line = "$HEARTBEAT_NODE $HEARTBEAT_GROUP $HEARTBEAT_REASON $(ip -4 -o addr | grep -c ' 192.0.2.10/')";
        let acquire = scripts.write("acquire", &format!("echo acquire {line} >> log; echo imported")).unwrap();
        let release = scripts.write("release", &format!("echo release {line} >> log")).unwrap();
        let mut config = Config::usual();
        config.groups[0].extra = format!("on_acquire = {acquire}\non_release = {release}\n");
        config
    });
    assert_eq!(scripts.read("log"), "acquire a storage-a home 0\n", "before the address is there");
    ordered(&lab, Node::B, &["takeover", "storage-a"]);
    let expected = "acquire a storage-a home 0\nrelease a storage-a handed_over 0\nacquire b storage-a ordered 0\n";
    assert_eq!(scripts.read("log"), expected);
    let ran = lab.wait_event(Node::B, |line| line.is("command_ran"), SOON).unwrap();
    assert_eq!((&ran.raw["what"], &ran.raw["output"]), (&"on_acquire".into(), &"imported".into()), "{ran:?}");
}

#[test]
fn a_failing_acquire_hook_is_undone_and_the_other_controller_serves() {
    let (lab, scripts) = with_scripts(|scripts| {
        let acquire = scripts.write("acquire", "test $HEARTBEAT_NODE = a || ! test -e broken-on-b").unwrap();
        let release = scripts.write("release", "echo $HEARTBEAT_NODE >> released").unwrap();
        scripts.touch("broken-on-b").unwrap();
        let mut config = Config::usual();
        config.groups[0].extra = format!("on_acquire = {acquire}\non_release = {release}\n");
        config
    });
    let (code, said) = lab.order(Node::B, &["takeover", "storage-a", "--wait", "2s"]).unwrap();
    assert!(code == Some(1) && said.contains("has not moved within 2s"), "{said}");
    assert!(scripts.read("released").starts_with("a\nb\n"), "{}", scripts.read("released"));
    // It is not tried again: the home takes it back.
    lab.wait_event(Node::B, |line| line.is("hand_over_given_up"), SOON).unwrap();
    wait_owners(&lab, Node::A, &["a", "b"]).unwrap();
}

#[test]
fn a_failing_release_hook_keeps_the_group_or_is_forced() {
    for force in [false, true] {
        let (lab, _scripts) = with_scripts(|scripts| {
            let release = scripts.write("release", "echo busy; exit 1").unwrap();
            let mut config = Config::usual();
            let policy = if force { "on_release_failure = \"force\"\n" } else { "" };
            config.groups[0].extra = format!("on_release = {release}\n{policy}");
            config
        });
        let (code, _) = lab.order(Node::B, &["takeover", "storage-a", "--wait", "2s"]).unwrap();
        assert_eq!(code, Some(i32::from(!force)));
        let probe = lab.probe(1, ipv4(1, 10).into(), ProbeOptions::default()).unwrap();
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
        if !force {
            lab.wait_event(Node::A, |line| line.is("group_kept"), SOON).unwrap();
            assert_eq!(owners(&lab.status(Node::A).unwrap().json), ["a", "b"]);
            // It ends, and what it could not let go of is not taken from it.
            lab.stop(Node::A).unwrap();
            let withheld = lab.wait_event(Node::B, |line| line.is("takeover_withheld"), SOON).unwrap();
            assert_eq!(withheld.raw["reason"], "kept");
            // Nor is it said to be released.
            let stopped = lab.wait_event(Node::A, |line| line.is("stopped"), SOON).unwrap();
            assert_eq!(stopped.raw["kept"], serde_json::json!(["storage-a"]), "{stopped:?}");
        }
    }
}

#[test]
fn nothing_is_taken_from_a_silent_peer_before_the_fence_hook_succeeds() {
    let (lab, scripts) = with_scripts(|scripts| {
        let fence = scripts.write("fence", "echo x >> tries; test -e fenced").unwrap();
        let mut config = Config::usual();
        config.extra = format!("[fence]\ncommand = {fence}\nretries = 1\npause = \"10ms\"\n");
        config
    });
    lab.power_off(Node::A).unwrap();
    let withheld = lab.wait_event(Node::B, |line| line.is("takeover_withheld"), SOON).unwrap();
    assert_eq!((&withheld.raw["reason"], scripts.read("tries").as_str()), (&"not_fenced".into(), "x\nx\n"));
    assert_eq!(owners(&lab.status(Node::B).unwrap().json), ["", "b"]);
    scripts.touch("fenced").unwrap();
    lab.wait_event(Node::B, |line| line.is_of("group_acquired", "storage-a"), Duration::from_secs(30)).unwrap();
}

#[test]
fn what_somebody_still_answers_for_is_left_to_him_where_that_is_configured() {
    // Without programs its kernel obeys nobody.
    let mut config = Config::usual().xdp("socket");
    config.extra = "[judging]\nstill_answering = \"wait\"\n".to_owned();
    let lab = running(&config).unwrap();
    // The agent is gone, its addresses are not.
    lab.kill(Node::A).unwrap();
    let told = lab.wait_event(Node::B, |line| line.is("still_answered"), SOON).unwrap();
    assert_eq!(told.raw["taken"], false, "{told:?}");
    let by = told.raw["by"][0].as_str().unwrap_or_default().to_owned();
    assert!(by.starts_with("192.0.2.10/24 on eth0 by 02:"), "{by}");
    assert_eq!(owners(&lab.status(Node::B).unwrap().json)[1], "b");
    lab.power_off(Node::A).unwrap();
    lab.wait_event(Node::B, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
}

#[test]
fn a_failing_health_check_hands_over_and_on_both_sides_moves_nothing() {
    let (lab, scripts) = with_scripts(|scripts| {
        let check = scripts.write("check", "! test -e bad-$HEARTBEAT_NODE || { echo gone; false; }").unwrap();
        let mut config = judged();
        config.extra = format!("[[check]]\nname = \"pool\"\ncommand = {check}\ninterval = \"100ms\"\nfall = 2\n");
        config
    });
    scripts.touch("bad-a").unwrap();
    let changed = |line: &heartbeat_tests::lab::LogLine| line.is("check_changed") && line.raw["healthy"] == false;
    let told = lab.wait_event(Node::A, changed, SOON).unwrap();
    assert_eq!((&told.raw["check"], &told.raw["output"]), (&"pool".into(), &"gone".into()));
    wait_owners(&lab, Node::A, &["b", "b"]).unwrap();
    let mark = lab.mark(Node::A);
    scripts.touch("bad-b").unwrap();
    lab.wait_event(Node::B, changed, SOON).unwrap();
    let both =
        |line: &heartbeat_tests::lab::LogLine| line.is("judged") && line.raw["verdict"]["nothing"] == "both_faulted";
    lab.wait_event_since(Node::A, mark, both, SOON).unwrap();
    wait_owners(&lab, Node::A, &["b", "b"]).unwrap();
}
