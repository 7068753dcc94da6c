//! Whose fault is it, and who serves: one cut after the other, what both controllers make of it, and who holds what after.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::topology::{Host, host_number, ipv4};
use heartbeat_tests::lab::{Config, Family, Lab, Node};
use heartbeat_tests::pair::{SOON, owners, running, until};

/// What is broken, the cable's or network's name, its channel, the place that each controller names, the holders after.
type Row = (Fault, &'static str, &'static str, [Option<&'static str>; 2], [&'static str; 2]);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The controller's end loses its carrier.
    Cut,
    /// Nothing gets through, and nobody loses a carrier.
    Silent,
    /// The switch loses power.
    SwitchOff,
}

const HERE: Option<&str> = Some("local_port_or_cable");
const THERE: Option<&str> = Some("remote_port_or_cable");
const NETWORK: Option<&str> = Some("network");

const TABLE: [Row; 12] = [
    (Fault::Cut, "a-net1", "net1", [HERE, THERE], ["b", "b"]),
    (Fault::Cut, "a-net2", "net2", [HERE, THERE], ["b", "b"]),
    (Fault::Cut, "b-net1", "net1", [THERE, HERE], ["a", "a"]),
    (Fault::Cut, "b-net2", "net2", [THERE, HERE], ["a", "a"]),
    (Fault::Silent, "a-net1", "net1", [HERE, THERE], ["b", "b"]),
    (Fault::Silent, "a-net2", "net2", [HERE, THERE], ["b", "b"]),
    (Fault::Silent, "b-net1", "net1", [THERE, HERE], ["a", "a"]),
    (Fault::Silent, "b-net2", "net2", [THERE, HERE], ["a", "a"]),
    (Fault::SwitchOff, "net1", "net1", [NETWORK, NETWORK], ["a", "b"]),
    (Fault::SwitchOff, "net2", "net2", [NETWORK, NETWORK], ["a", "b"]),
    (Fault::Cut, "xlink", "xlink", [None, None], ["a", "b"]),
    (Fault::Silent, "xlink", "xlink", [None, None], ["a", "b"]),
];

fn config() -> Config {
    let mut config = Config::pair(2, Family::V4).profile("lan");
    for (i, channel) in config.channels.iter_mut().filter(|channel| channel.kind == "network").enumerate() {
        channel.probe = vec![ipv4(i + 1, host_number(Host::Client)).to_string()];
    }
    config
}

#[test]
fn each_fault_is_placed_by_both_and_the_groups_go_where_the_service_is_better() {
    undisturbed(|| {
        for row in TABLE {
            one(&running(&config()).unwrap(), row);
        }
    });
}

fn one(lab: &Lab, (fault, name, channel, places, holders): Row) {
    // The first analysis is over: nothing is left to be said about the start.
    for node in Node::BOTH {
        lab.wait_event(node, |line| line.is("judged"), SOON).unwrap();
    }
    let marks = Node::BOTH.map(|node| lab.mark(node));
    match fault {
        Fault::Cut => lab.cut(name),
        Fault::Silent => lab.silence(name),
        Fault::SwitchOff => lab.switch_off(name),
    }
    .unwrap();
    for ((node, mark), place) in Node::BOTH.into_iter().zip(marks).zip(places) {
        let told = lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", channel), SOON);
        told.unwrap();
        if let Some(place) = place {
            let told = lab.wait_event_since(node, mark, |line| line.is_of("fault_placed", channel), SOON).unwrap();
            assert_eq!(told.raw["place"], place, "{fault:?} {name}, on {node}: {told:?}");
        }
    }
    for node in Node::BOTH {
        until(&format!("{fault:?} {name}: {holders:?} hold the groups"), || {
            Ok((owners(&lab.status(node)?.json) == holders).then_some(()))
        })
        .unwrap();
    }
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let events = lab.events_since(node, mark);
        assert!(!events.iter().any(|line| line.is("dual_ownership") || line.is("peer_dead")), "{events:#?}");
    }
}
