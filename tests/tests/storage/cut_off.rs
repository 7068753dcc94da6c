//! A controller that is cut off from everything lets go of what it has, hooks included, before its peer may take it: storage is
//! never in use on both, where nothing but that promise sees to it.

use std::time::Duration;

use heartbeat_tests::client::both::Both;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Config, Lab, LogLine};
use heartbeat_tests::scenario::{SOON, Scripts, between, settled, show, started, story};

/// A second user of the storage finds it locked, and says so.
const ACQUIRE: &str = "echo acquire $HEARTBEAT_NODE >> log; mkdir lock || touch doubly";
/// Exporting takes a while.
const RELEASE: &str = "sleep 0.3; rmdir lock || touch doubly; echo release $HEARTBEAT_NODE >> log";

/// How a is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// No cable has a carrier.
    Carrier,
    /// Nothing gets through any of them.
    Silence,
    /// Its switch ports pass nothing on: not what it says, nor what is said to it.
    Ports,
    /// One network after the other, each found BAD before the next.
    OneByOne,
}

impl Cut {
    fn strike(self, lab: &Lab) -> u64 {
        let cables = ["a-net1", "a-net2", "xlink"];
        match self {
            Self::Carrier => cables.map(|cable| lab.cut(cable).unwrap())[2],
            Self::Silence => cables.map(|cable| lab.silence(cable).unwrap())[2],
            Self::Ports => {
                for network in ["net1", "net2"] {
                    lab.mute(A, network).unwrap();
                    lab.deafen(A, network).unwrap();
                }
                lab.silence("xlink").unwrap()
            }
            Self::OneByOne => {
                let mut at = 0;
                for (cable, channel) in cables.into_iter().zip(["net1", "net2", "xlink"]) {
                    let mark = lab.mark(A);
                    at = lab.silence(cable).unwrap();
                    lab.wait_event_since(A, mark, |line| line.is_of("channel_bad", channel), SOON).unwrap();
                }
                at
            }
        }
    }
}

fn config(lab: &Lab, config: &mut Config) {
    let scripts = Scripts::of(lab).unwrap();
    *config = Config::usual().judged_by_clients();
    // Whichever of them has the storage, it is one.
    for (hook, text) in [("on_acquire", ACQUIRE), ("on_release", RELEASE)] {
        let command = scripts.write(hook, text).unwrap();
        config.groups[0].extra += &format!("{hook} = {command}\n");
    }
    config.groups[0].extra += "hook_timeout = \"2s\"\n";
    config.extra += "[judging]\nrelease_within = \"4s\"\n";
}

#[test]
fn whoever_has_no_carrier_lets_go_of_its_storage_before_its_peer_takes_it() {
    undisturbed(|| one(Cut::Carrier));
}

#[test]
fn whoever_hears_nothing_lets_go_of_its_storage_before_its_peer_takes_it() {
    undisturbed(|| one(Cut::Silence));
}

#[test]
fn whoever_hangs_on_dead_ports_lets_go_of_its_storage_before_its_peer_takes_it() {
    undisturbed(|| one(Cut::Ports));
}

#[test]
fn whoever_loses_one_network_after_the_other_lets_go_of_its_storage_before_its_peer_takes_it() {
    undisturbed(|| one(Cut::OneByOne));
}

fn one(cut: Cut) {
    let (lab, config) = started(config).unwrap();
    settled(&lab, &config).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    let client = Both::start(&lab, 1, ipv4(1, 10), Duration::from_micros(500)).unwrap();
    let (on_a, on_b) = (lab.mark(A), lab.mark(B));
    let struck = cut.strike(&lab);
    let storage = |event: &'static str| move |line: &LogLine| line.is_of(event, "storage-a");
    let said = |node, mark, event| {
        let found = lab.wait_event_since(node, mark, storage(event), SOON);
        found.unwrap_or_else(|error| panic!("{cut:?}: {error:#}\n{}\n{}", scripts.read("log"), story(&lab)))
    };
    let released = said(A, on_a, "group_released");
    let acquiring = said(B, on_b, "group_acquiring");
    let acquired = said(B, on_b, "group_acquired");
    show(&format!(
        "{cut:?}, a promise of 4 s: a's last release after {:?}, b's acquisition after {:?}",
        between(struck, released.time_ns),
        between(struck, acquired.time_ns)
    ));
    assert!(released.time_ns < acquiring.time_ns, "{cut:?}\n{}", story(&lab));
    assert_eq!(scripts.read("log"), "acquire a\nrelease a\nacquire b\n", "{cut:?}");
    assert!(!scripts.has("doubly"), "{cut:?}: in use on both\n{}", story(&lab));
    assert_eq!(client.both_answered(struck), Duration::ZERO, "{cut:?}");
    assert_eq!(acquiring.raw["safe"], "promised", "{cut:?}: {acquiring:?}");
}
