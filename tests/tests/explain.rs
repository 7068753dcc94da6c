//! `heartbeat explain` names the cut: ten faults of the lab, each from the events of controller a alone.

use std::fs;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options, heartbeat};
use heartbeat_tests::scenario::{SOON, bring_up, until};

type Break = fn(&Lab) -> anyhow::Result<()>;

/// What is broken, and what it is called.
const FAULTS: [(&str, Break, &str); 10] = [
    ("our cable", |lab| lab.cut("a-net1").map(drop), "net1: no carrier at controller a\n"),
    ("the peer's cable", |lab| lab.cut("b-net2").map(drop), "net2: the port or cable of controller b\n"),
    ("a switch", |lab| lab.switch_off("net1").map(drop), "net1: the network itself"),
    ("the direct cable", |lab| lab.cut("xlink").map(drop), "xlink: no carrier at controller a"),
    ("our interface", |lab| lab.remove_nic(Node::A, "net1").map(drop), "net1: the interface of controller a is gone"),
    ("what we send", |lab| lab.mute(Node::A, "net1").map(drop), "net1: one way: a hears b, b does not hear a"),
    ("what it sends", |lab| lab.mute(Node::B, "net2").map(drop), "net2: one way: b hears a, a does not hear b"),
    ("the peer's power", |lab| lab.power_off(Node::B).map(drop), "controller b is down"),
    ("the peer's agent", |lab| lab.stop(Node::B).map(drop), "the agent of controller b was stopped"),
    ("our service", |lab| Ok(fs::write(lab.folder().join("bad-a"), "")?), "health check pool of controller a"),
];

#[test]
fn the_cut_behind_each_of_ten_faults_is_named_from_the_events_alone() {
    for (name, fault, words) in FAULTS {
        undisturbed(|| {
            let lab = Lab::new(Options::default()).unwrap();
            let mut config = Config::usual().judged_by_clients();
            let bad = lab.folder().join("bad");
            config.extra = format!(
                "[[check]]\nname = \"pool\"\ncommand = [\"/bin/sh\", \"-c\", \"! test -e {}-$HEARTBEAT_NODE\"]\n\
                 interval = \"100ms\"\nfall = 1\n",
                bad.display()
            );
            bring_up(&lab, &config).unwrap();
            let explained = || {
                let folder = lab.runtime_dir(Node::A).display().to_string();
                let (status, said, _) = heartbeat(["explain", "--runtime-dir", &folder], SOON).unwrap();
                assert!(status.success());
                said
            };
            assert_eq!(explained(), "Nothing is wrong: no fault stands.\n", "{name}");
            fault(&lab).unwrap();
            let mut last = String::new();
            let named = until(name, || {
                last = explained();
                Ok(last.contains(words).then_some(()))
            });
            assert!(named.is_ok(), "{name}: no {words:?} in:\n{last}");
            println!("{name}:\n{last}");
        });
    }
}
