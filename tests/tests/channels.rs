//! One channel of three is lost: a fault that is shown on both sides, and no failover.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::host::{counted, undisturbed};
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Lab, LogLine, Node, realtime_ns};
use heartbeat_tests::scenario::{
    CHANNELS, Measured, Profile, Run, SOON, between, expect_holders, expect_settled, group_events, healthy_pair, named,
    network_of, profiles, story,
};

/// Every cable that one channel needs, with that channel.
const CABLES: [(&str, &str); 5] =
    [("a-net1", "net1"), ("b-net1", "net1"), ("a-net2", "net2"), ("b-net2", "net2"), ("xlink", "xlink")];
/// A client that was not answered for so long has noticed something; below that, the host was busy.
const NOTICED: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Both ends lose their carrier, or the one that hangs on a switch.
    Cut,
    /// Nothing gets through, and nobody loses a carrier.
    Silent,
}

#[test]
fn a_lost_channel_is_bad_on_both_sides_until_it_is_mended_and_no_address_moves() {
    undisturbed(|| {
        profiles().iter().for_each(|profile| all_channels(*profile));
    });
}

fn all_channels(profile: Profile) {
    let run = Run::or(1);
    let mut measured = Measured::default();
    for trial in 0..run.trials {
        for fault in [Fault::Cut, Fault::Silent] {
            // One pair for all of them: each is mended, and all is well again before the next.
            measured.append(counted(|| {
                let (lab, mut of_these) = (in_maintenance(profile), Measured::default());
                for (cable, channel) in CABLES {
                    for (node, bad) in one_fault(&lab, fault, cable, channel, &mut of_these) {
                        assert!(
                            bad <= profile.bound() + run.slack,
                            "beyond the bound: {fault:?} {cable}, trial {trial}: BAD on {node} after {bad:?}"
                        );
                    }
                }
                of_these
            }));
        }
    }
    measured.print(&format!("One channel lost at `{}` (BAD within {:?})", profile.name, profile.bound()));
}

/// A healthy pair. What a fault moves is another test's: here it is in maintenance, and nothing moves.
fn in_maintenance(profile: Profile) -> Lab {
    let lab = healthy_pair(profile).unwrap();
    assert_eq!(lab.order(Node::A, &["maintenance", "on"]).unwrap().0, Some(0));
    lab.wait_event(Node::B, |line| line.is("peer_maintenance"), SOON).unwrap();
    lab
}

/// How long each side took to notice.
fn one_fault(lab: &Lab, fault: Fault, cable: &str, channel: &str, measured: &mut Measured) -> [(Node, Duration); 2] {
    let probes = &Node::BOTH.map(|node| {
        let number = network_of(node);
        let probe = lab.probe(number, ipv4(number, 10).into(), ProbeOptions::default()).unwrap();
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
        (node, probe)
    });
    let begins = lab.marks();
    let broken = match fault {
        Fault::Cut => lab.cut(cable).unwrap(),
        Fault::Silent => lab.silence(cable).unwrap(),
    };
    let noticed = [Node::A, Node::B].map(|node| {
        let begin = begins[usize::from(node == Node::B)];
        let bad = lab.wait_event_since(node, begin, |line| line.is_of("channel_bad", channel), SOON).unwrap();
        (node, between(broken, bad.time_ns))
    });
    for (node, after) in noticed {
        measured.add(&format!("{fault:?} {channel}: BAD"), after);
        let status = lab.status(node).unwrap();
        assert_eq!(status.code, 1, "{fault:?} {cable}: {:#}", status.json);
        assert_eq!(status.json["peer"]["state"], "good", "{fault:?} {cable}: {:#}", status.json);
        for name in CHANNELS {
            let expected = if name == channel { "bad" } else { "good" };
            let state = &named(&status.json, "channels", name).unwrap()["state"];
            assert_eq!(state, expected, "{fault:?} {cable}: {name} on {node}");
        }
        let verdict = status.json["verdict"].as_str().unwrap();
        assert!(verdict.contains(channel), "{fault:?} {cable}: {verdict}");
        expect_holders(&status, node, Node::BOTH).unwrap();
    }
    let marks = lab.marks();
    let mended = lab.mend(cable).unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let good = lab.wait_event_since(node, mark, |line| line.is_of("channel_good", channel), SOON).unwrap();
        measured.add(&format!("{fault:?} {channel}: GOOD after mending"), between(mended, good.time_ns));
    }
    expect_settled(lab, Node::BOTH).unwrap();
    for (node, begin) in Node::BOTH.into_iter().zip(begins) {
        let moves = group_events(lab, node, begin);
        assert!(moves.is_empty(), "{fault:?} {cable}, on {node}: {moves:#?}\n{}", story(lab));
        let verdict = |line: &LogLine| ["peer_dead", "peer_good", "peer_left"].iter().any(|event| line.is(event));
        assert!(!lab.events_since(node, begin).iter().any(verdict), "{}", story(lab));
    }
    for (owner, probe) in probes {
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
        if cable != format!("{owner}-net{}", network_of(*owner)) {
            let gap = probe.largest_gap(broken, mended).length();
            assert!(gap < NOTICED, "{fault:?} {cable}: {} did not answer for {gap:?}", probe.target());
        }
    }
    noticed
}
