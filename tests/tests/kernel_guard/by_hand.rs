//! `heartbeat unfence`: for where no agent can decide any more.

use super::*;
use heartbeat_tests::lab::{Options, binary, heartbeat};
use heartbeat_tests::scenario::{Scripts, bring_up, story};
use std::fs;
use std::os::unix::process::CommandExt as _;

/// What it says of these words, which it does not do.
fn refuses(lab: &Lab, words: &[&str], why: &str) {
    let (code, said) = lab.order(A, words).unwrap();
    assert!(code == Some(1) && said.contains(why), "{words:?}: {code:?}, {said}, not {why}");
}

#[test]
fn what_a_dead_agents_kernel_closed_is_opened_by_hand_where_the_peer_does_not_hold_it() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "");
        refuses(&lab, &["unfence"], "keeps silent about no group");
        let on_b = lab.mark(B);
        let killed = lab.kill(A).unwrap();
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        refuses(&lab, &["unfence", "storage-a"], "the peer is heard, and holds storage-a");
        refuses(
            &lab,
            &["unfence", "storage-x"],
            "there is no group \"storage-x\"; right would be one of: storage-a, storage-b",
        );
        refuses(
            &lab,
            &["unfence", "storage-b"],
            "does not keep silent about group \"storage-b\"; it does about: storage-a",
        );
        look_on(Duration::from_millis(200));
        expect_handed_over(&client, killed, "killed");
        // The other controller is gone, too: its address stands there, and nobody opens it.
        lab.power_off(B).unwrap();
        let opened_at = realtime_ns();
        assert_eq!(lab.order(A, &["unfence", "storage-a", "--force"]).unwrap().0, Some(0));
        wait_answer(&client, A, opened_at).unwrap();
    });
}

#[test]
fn whoever_insists_has_both_serve_it_until_an_agent_is_started() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
        let on_b = lab.mark(B);
        lab.kill(A).unwrap();
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        look_on(Duration::from_millis(300));
        assert_eq!(lab.order(A, &["unfence", "--force"]).unwrap().0, Some(0));
        let opened_at = realtime_ns();
        // The peer goes on saying that it holds it.
        look_on(profiles()[0].interval * 5);
        for node in Node::BOTH {
            let late = opened_at + u64::try_from(profiles()[0].interval.as_nanos() * 3).unwrap();
            assert!(!client.of(node, late, u64::MAX).is_empty(), "{node}");
        }
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("ready"), SOON).unwrap();
        let ready_at = realtime_ns();
        look_on(Duration::from_millis(500));
        assert_eq!(client.of(A, ready_at, u64::MAX), Vec::<u64>::new());
    });
}

#[test]
fn who_may_not_or_names_what_is_not_there_is_told_what_would_be_right() {
    undisturbed(|| {
        let nobody_ran = ["unfence", "--runtime-dir", "/run/heartbeat-of-nobody"];
        let (status, _, said) = heartbeat(nobody_ran, SOON).unwrap();
        let why =
            "--runtime-dir /run/heartbeat-of-nobody: there is none, so no agent has run with it since this host booted";
        assert!(status.code() == Some(1) && said.contains(why), "{said}");

        let (lab, _client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
        // Somebody else may run it where he can read it.
        let copy = lab.folder().join("heartbeat");
        fs::copy(binary().unwrap(), &copy).unwrap();
        let mut unprivileged = Command::new(&copy);
        unprivileged.args(["unfence", "storage-a", "--runtime-dir"]).arg(lab.runtime_dir(A)).uid(65_534).gid(65_534);
        let output = unprivileged.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("right would be `sudo heartbeat unfence storage-a`"),
            "{said}"
        );

        let on_b = lab.mark(B);
        lab.kill(A).unwrap();
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        until("it is closed", || {
            Ok(lab.order(A, &["unfence", "storage-a"])?.1.contains("the peer is heard").then_some(()))
        })
        .unwrap();
        fs::remove_file(lab.runtime_dir(A).join("life.json")).unwrap();
        refuses(&lab, &["unfence", "storage-a"], "group \"storage-a\" is not known: the agent's record");
        refuses(&lab, &["unfence"], "the peer is heard, and holds number 0");
    });
}

#[test]
fn where_an_agent_runs_it_is_the_one_to_decide() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let mut config = profiles()[0].config();
        config.groups[0].exclusive = Some(false);
        let release = Scripts::of(&lab).unwrap().write("release", "touch releasing; sleep 5").unwrap();
        config.groups[0].extra = format!("on_release = {release}\n");
        bring_up(&lab, &config).unwrap();
        // Cut off from everything: what it lets go of is silent meanwhile.
        for cable in lab.cables().iter().filter(|cable| cable.starts_with("a-") || *cable == "xlink") {
            lab.cut(cable).unwrap();
        }
        let why = "the agent runs, and decides by itself what this host serves: `heartbeat explain` says why it does not serve \
                   storage-a; right would be `heartbeat takeover storage-a`";
        let said = || lab.order(A, &["unfence", "storage-a"]).unwrap().1;
        until("it is silent", || Ok(said().contains("the agent runs").then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", said(), story(&lab)));
        refuses(&lab, &["unfence", "storage-a", "--force"], why);
    });
}
