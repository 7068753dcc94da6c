//! Whose fault is it, and who serves: one fault after the other, what both controllers make of it, who holds what after, how
//! long a client was without service, and how long both controllers, or none, held an address.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod pairs;

use std::fs;
use std::time::Duration;

use heartbeat_tests::client::{Probe, ProbeOptions, both as client};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::serial::SerialCable;
use heartbeat_tests::lab::topology::{Host, interface, interface_index, ipv4, link_local, mac};
use heartbeat_tests::lab::{ChannelConfig, Config, Lab, LogLine, Mark, Node, Options, realtime_ns};
use heartbeat_tests::scenario::{LAN, SOON, bring_up, held, look_on, settled, show, story, until};
use serde_json::json;

use Fault::{
    Bad, Both, Cut, Deaf, Differ, Kill, Line, Mute, NicDown, PowerOff, Silent, Stall, Stop, SwitchHangs, SwitchOff,
};

/// What is broken.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The cable's ends lose their carrier.
    Cut(&'static str),
    /// Nothing gets through the cable, and nobody loses a carrier.
    Silent(&'static str),
    /// The switch loses power.
    SwitchOff(&'static str),
    /// It forwards nothing any more.
    SwitchHangs(&'static str),
    /// An administrator sets the interface down.
    NicDown(Node, &'static str),
    /// What the controller sends to the other gets lost.
    Mute(Node, &'static str),
    /// What anybody sends to the controller gets lost.
    Deaf(Node, &'static str),
    /// Two at once.
    Both(&'static Fault, &'static Fault),
    /// The agent gets no CPU.
    Stall(Node),
    /// SIGKILL.
    Kill(Node),
    /// The host is gone.
    PowerOff(Node),
    /// A clean stop.
    Stop(Node),
    /// It comes back with other groups configured.
    Differ(Node),
    /// Its health check fails.
    Bad(Node),
    /// The serial cable is pulled.
    Line,
}

/// A fault; the places that a and b name, by channel; which groups a and b hold after.
type Row = (Fault, &'static [(&'static str, [&'static str; 2])], [[bool; 2]; 2]);

/// Each controller is asked by each client, whatever the network has learnt: what both answer is measured no finer.
const ASKED_EVERY: Duration = Duration::from_micros(500);
const THERE: &str = "remote_port_or_cable";
const AT_A: [&str; 2] = ["local_port_or_cable", THERE];
const AT_B: [&str; 2] = [THERE, "local_port_or_cable"];
/// No carrier; down.
const CABLE_A: [&str; 2] = ["local_cable", THERE];
const CABLE_B: [&str; 2] = [THERE, "local_cable"];
const PORT_A: [&str; 2] = ["local_port", THERE];
const PORT_B: [&str; 2] = [THERE, "local_port"];
const NETWORK: [&str; 2] = ["network", "network"];
const TO_B_LOST: [&str; 2] = ["one_way_to_peer", "one_way_to_us"];
const TO_A_LOST: [&str; 2] = ["one_way_to_us", "one_way_to_peer"];
/// Held by a and by b: storage-a is at home on a, storage-b on b.
const HOME: [[bool; 2]; 2] = [[true, false], [false, true]];
const ALL_A: [[bool; 2]; 2] = [[true, true], [false, false]];
const ALL_B: [[bool; 2]; 2] = [[false, false], [true, true]];
/// Each is cut off from everything, and lets go.
const NOBODY: [[bool; 2]; 2] = [[false, false], [false, false]];
const SWAPPED: [[bool; 2]; 2] = [[false, true], [true, false]];
use Node::{A, B};

/// Between two groups of echo requests, of which an analysis has three: by default, and where a test waits for many analyses.
const DEFAULT_PAUSE: Duration = Duration::from_millis(200);
const BRISK: Duration = Duration::from_millis(100);

fn untouched(_: &Lab) -> Config {
    Config::usual()
}

fn config(lab: &Lab) -> Config {
    let mut config = Config::usual().judged_by_clients();
    let bad = lab.folder().join("bad");
    config.extra = format!(
        "[[check]]\nname = \"pool\"\ncommand = [\"/bin/sh\", \"-c\", \"! test -e {}-$HEARTBEAT_NODE\"]\ninterval = \"100ms\"\n\
         fall = 1\n",
        bad.display()
    );
    config
}

/// The same, judged in half the time.
fn brisk(lab: &Lab) -> Config {
    let mut config = config(lab);
    config.extra += &format!("[judging]\nprobe_pause = \"{}ms\"\n", BRISK.as_millis());
    config
}

fn strike(lab: &Lab, line: &SerialCable, fault: Fault) -> anyhow::Result<()> {
    let touch = |node: Node| fs::write(lab.folder().join(format!("bad-{node}")), "");
    match fault {
        Cut(cable) => lab.cut(cable).map(drop),
        Silent(name) | SwitchHangs(name) => lab.silence(name).map(drop),
        SwitchOff(name) => lab.switch_off(name).map(drop),
        NicDown(node, network) => lab.nic_down(node, network).map(drop),
        Mute(node, network) => lab.mute(node, network).map(drop),
        Deaf(node, network) => lab.deafen(node, network).map(drop),
        Both(one, other) => strike(lab, line, *one).and_then(|()| strike(lab, line, *other)),
        Stall(node) => lab.pause(node).map(drop),
        Kill(node) => lab.kill(node).map(drop),
        PowerOff(node) => lab.power_off(node).map(drop),
        Stop(node) => lab.stop(node).map(drop),
        Differ(node) => {
            let mut other = brisk(lab);
            other.groups.truncate(1);
            lab.configure_one(node, &other)?;
            let mark = lab.mark(node);
            lab.reload(node)?;
            lab.wait_event_since(node, mark, |line| line.is("configuration_differs"), SOON).map(drop)
        }
        Bad(node) => Ok(touch(node)?),
        Line => {
            line.plug(false);
            lab.wait_event(B, |told| told.is_of("channel_bad", "tty"), SOON).map(drop)
        }
    }
}

/// Whether its agent can be asked, and counts.
fn answers(fault: Fault, node: Node) -> bool {
    match fault {
        Stall(at) | Kill(at) | PowerOff(at) | Stop(at) => at != node,
        Both(one, other) => answers(*one, node) && answers(*other, node),
        _ => true,
    }
}

/// Each fault is placed on both controllers, and the groups are held where the row says.
fn wait_settled(lab: &Lab, row: &Row, marks: [Mark; 2]) {
    let (fault, places, holders) = *row;
    for (i, (node, mark)) in Node::BOTH.into_iter().zip(marks).enumerate() {
        for (channel, place) in places {
            // Two cables are not pulled in one moment: the last word counts.
            until(&format!("{fault:?}: {} for {channel} on {node}", place[i]), || {
                let told = lab.events_since(node, mark).into_iter().rfind(|line| line.is_of("fault_placed", channel));
                Ok(told.filter(|line| line.raw["place"] == place[i]).map(drop))
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{:#?}", lab.events_since(node, mark)));
        }
    }
    for (node, expected) in Node::BOTH.into_iter().zip(holders) {
        if answers(fault, node) {
            until(&format!("{fault:?}: {expected:?} held on {node}"), || {
                let seen = held(&lab.status(node)?.json);
                Ok((seen == expected[..seen.len()]).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{:#?}", lab.events_since(node, mark_of(marks, node))));
        }
    }
}

/// And nothing follows.
fn stays(lab: &Lab, row: &Row, marks: [Mark; 2], pause: Duration) {
    let (fault, _, holders) = *row;
    // Whatever else is to come of it comes within a detection time and an analysis; and as much again for a busy host.
    look_on(LAN.detection() * 2 + pause * 3);
    for (node, expected) in Node::BOTH.into_iter().zip(holders).filter(|(node, _)| answers(fault, *node)) {
        let seen = held(&lab.status(node).unwrap().json);
        assert_eq!(seen, expected[..seen.len()], "{fault:?}: {node} does not stay as it was");
    }
    if let Stall(victim) | Kill(victim) | PowerOff(victim) = fault {
        let (node, mark) = (victim.peer(), mark_of(marks, victim.peer()));
        let known = if matches!(fault, Kill(_)) { "peer_died" } else { "peer_dead" };
        let dead = lab.wait_event_since(node, mark, |line| line.is(known), SOON).unwrap();
        let status = lab.status(node).unwrap().json;
        assert_eq!(!dead.raw["stalled_ns"].is_null(), matches!(fault, Stall(_)), "{fault:?}: {dead:?} {status:#}");
        // Its kernel keeps silent for what it had, so that nobody answers for it still.
        let answered = lab.events_since(node, mark).iter().any(|line| line.is("still_answered"));
        assert!(!answered, "{:#?}", lab.events_since(node, mark));
    }
}

fn one(row: &Row, config: fn(&Lab) -> Config, pause: Duration) {
    let (fault, places, holders) = *row;
    let lab = Lab::new(Options::default()).unwrap();
    let line = SerialCable::new().unwrap();
    let mut config = config(&lab);
    if matches!(fault, Line) {
        config.channels.push(ChannelConfig::serial("tty", line.devices(), 115_200));
    }
    bring_up(&lab, &config).unwrap();
    // The first analysis is over: nothing is left to be said about the start.
    for node in Node::BOTH {
        lab.wait_event(node, |line| line.is("judged"), SOON).unwrap();
    }
    let clients = [1, 2].map(|number| {
        let target = ipv4(number, 10).into();
        let client = lab.probe(number, target, ProbeOptions::default()).unwrap();
        client.wait_reply_after(realtime_ns(), SOON).unwrap();
        client
    });
    let asked = [1, 2].map(|number| client::Both::start(&lab, number, ipv4(number, 10), ASKED_EVERY).unwrap());
    let marks = lab.marks();
    let struck = realtime_ns();
    strike(&lab, &line, fault).unwrap();

    wait_settled(&lab, row, marks);
    stays(&lab, row, marks, pause);
    let [both, none] = shares(&lab, struck, fault);
    let answered = asked.each_ref().map(|client| client.both_answered(struck));
    assert_eq!(answered, [Duration::ZERO; 2], "{fault:?}: both answered\n{}", story(&lab));
    let duals = Node::BOTH
        .iter()
        .any(|node| lab.events_since(*node, mark_of(marks, *node)).iter().any(|line| line.is("dual_ownership")));
    // Three faults are all channels; and who is silent may still have its addresses.
    let works = !matches!(fault, Both(_, Both(..)) | Stall(_) | Kill(_));
    assert!(!works || (!duals && both.iter().all(|held| held.is_zero())), "{fault:?}: both held for {both:?}");
    let said = |place: &(&str, [&str; 2])| format!("{}: {} on a, {} on b", place.0, place.1[0], place.1[1]);
    let ms = |spans: [Duration; 2]| spans.map(|span| format!("{:.1}", span.as_secs_f64() * 1e3)).join(" and ");
    let holds = holders.map(|node| node.map(|held| if held { "x" } else { "-" }).concat()).join(" ");
    show(&format!(
        "{}: {}; a and b hold {holds}; clients were without service for {} and {} ms, both answered for {} ms, both said so for {} ms, none \
         for {} ms",
        name(fault),
        places.iter().map(said).collect::<Vec<_>>().join(", "),
        gap(&clients[0], struck),
        gap(&clients[1], struck),
        ms(answered),
        ms(both),
        ms(none),
    ));
}

/// Both switches are started anew again and again: `HEARTBEAT_FLAP` is how many seconds each takes.
#[test]
fn switches_that_reboot_move_no_address_and_each_flap_is_told() {
    undisturbed(|| {
        let seconds = std::env::var("HEARTBEAT_FLAP").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
        let lab = Lab::new(Options::default()).unwrap();
        let mut config = config(&lab);
        config.extra += "[judging]\nrise = \"2s\"\nagain = \"1s\"\n";
        bring_up(&lab, &config).unwrap();
        let begin = lab.marks();
        for _ in 0..5 {
            let marks = lab.marks();
            for network in ["net1", "net2"] {
                lab.switch_off(network).unwrap();
            }
            for (node, mark) in Node::BOTH.into_iter().zip(marks) {
                for network in ["net1", "net2"] {
                    lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", network), SOON).unwrap();
                }
            }
            // What a switch takes to start.
            std::thread::sleep(Duration::from_secs(seconds));
            for network in ["net1", "net2"] {
                lab.switch_on(network).unwrap();
            }
            for (node, mark) in Node::BOTH.into_iter().zip(marks) {
                for network in ["net1", "net2"] {
                    lab.wait_event_since(node, mark, |line| line.is_of("channel_good", network), SOON).unwrap();
                }
                // It answers again, and does not count yet.
                let damped = |line: &LogLine| {
                    line.is("networks_probed")
                        && line.raw["answered"] == json!(["net1", "net2"])
                        && line.raw["operational"] == json!([])
                };
                lab.wait_event_since(node, mark, damped, SOON).unwrap();
            }
        }
        let bad = |line: &&LogLine| line.is("channel_bad") && line.channel.as_deref() != Some("xlink");
        for (node, mark) in Node::BOTH.into_iter().zip(begin) {
            lab.wait_event_since(
                node,
                mark,
                |line| line.is("networks_probed") && line.raw["operational"] == json!(["net1", "net2"]),
                SOON,
            )
            .unwrap();
            let events = lab.events_since(node, mark);
            assert_eq!(events.iter().filter(bad).count(), 10, "two networks, five times");
            assert!(!events.iter().any(|line| line.is("group_releasing") || line.is("group_acquiring")), "{events:#?}");
        }
        let owners = Node::BOTH.map(|node| held(&lab.status(node).unwrap().json));
        assert_eq!(owners, [vec![true, false], vec![false, true]]);
    });
}

/// The kernel forgets the Ethernet address of a peer that does not answer ARP: what answers in its place may be it all the same,
/// under the address that its kernel made, and is no witness of the network who falls silent when it dies.
#[test]
fn a_peer_is_not_waited_for_after_its_death_under_another_address_of_its() {
    undisturbed(|| {
        let lab = Lab::new(Options { clients: 0, ..Options::default() }).unwrap();
        let mut config = untouched(&lab);
        config.extra += "[judging]\nagain = \"1s\"\n";
        lab.configure(&config).unwrap();
        Node::BOTH.iter().for_each(|node| lab.start(*node).map(drop).unwrap());
        settled(&lab, &config).unwrap();
        lab.wait_event(B, |line| line.is("judged"), SOON).unwrap();
        let [a, b] = Node::BOTH.map(|node| lab.controller(node).unwrap());
        for number in [1, 2] {
            let (nic, at_b) = (interface(number), mac(Host::Controller(B), number));
            a.set(&format!("ipv4/conf/{nic}/arp_ignore"), "8").unwrap();
            a.netlink().pin_neighbour(interface_index(number), ipv4(number, 2).into(), at_b).unwrap();
            b.netlink().forget_neighbour(interface_index(number), ipv4(number, 1).into()).unwrap();
        }
        for _ in 0..3 {
            let full = |line: &LogLine| line.is("networks_probed") && line.raw["quick"] == false;
            lab.wait_event_since(B, lab.mark(B), full, SOON).unwrap();
        }
        assert_eq!(b.netlink().neighbour(ipv4(1, 1).into()).unwrap(), None, "it is forgotten");
        let there = link_local(mac(Host::Controller(A), 1));
        assert!(b.netlink().neighbour(there.into()).unwrap().is_some(), "and known by its other address");
        lab.power_off(A).unwrap();
        lab.wait_event(B, |line| line.is_of("group_acquired", "storage-a"), SOON)
            .unwrap_or_else(|error| panic!("{error:#}\n{:#?}", lab.status(B)));
    });
}

/// A look at own facts is made at once, and whoever does not answer within a moment may be as well as ever: a host that is busy just
/// then keeps what it holds, although the other one can prove that its own network works.
#[test]
fn what_does_not_answer_at_once_loses_nothing_to_a_controller_whose_port_fails() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        bring_up(&lab, &untouched(&lab)).unwrap();
        let answered = |line: &LogLine| line.is("networks_probed") && line.raw["answered"] == json!(["net1", "net2"]);
        lab.wait_event(B, answered, SOON).unwrap();
        let marks = lab.marks();
        let cables = ["b-net1", "b-net2"];
        cables.iter().for_each(|cable| lab.silence(cable).map(drop).unwrap());
        lab.nic_down(A, "net1").unwrap();
        let quick = |line: &LogLine| line.is("networks_probed") && line.raw["quick"] == true;
        let looked = lab.wait_event_since(B, mark_of(marks, B), quick, SOON).unwrap();
        assert_eq!(looked.raw["operational"], json!([]), "{}", story(&lab));
        cables.iter().for_each(|cable| lab.mend(cable).map(drop).unwrap());
        until("b serves both", || Ok((held(&lab.status(B)?.json) == [true, true]).then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        let moved = |node: Node, event: &str| {
            let told = lab.events_since(node, mark_of(marks, node));
            told.into_iter().filter(|line| line.is(event)).filter_map(|line| line.group).collect::<Vec<_>>()
        };
        let moves = [moved(A, "group_acquiring"), moved(B, "group_releasing")];
        assert_eq!(moves, [[""; 0]; 2], "{}", story(&lab));
    });
}

fn mark_of(marks: [Mark; 2], node: Node) -> Mark {
    marks[usize::from(node == B)]
}

fn name(fault: Fault) -> String {
    match fault {
        Both(one, other) => format!("{}, {}", name(*one), name(*other)),
        other => format!("{other:?}").replace(['(', ')', '"', ','], " ").trim().to_owned(),
    }
}

/// How long a client was without service; whether it still is.
fn gap(client: &Probe, struck: u64) -> String {
    let now = realtime_ns();
    let length = client.largest_gap(struck, now).length();
    if client.view().answering(Duration::from_millis(200)) {
        format!("{:.1}", length.as_secs_f64() * 1e3)
    } else {
        "until mended".to_owned()
    }
}

/// How long both controllers, and how long none, held each group since `struck`: by what they said themselves. One that
/// cannot say anything any more holds on, or is gone.
fn shares(lab: &Lab, struck: u64, fault: Fault) -> [[Duration; 2]; 2] {
    let now = realtime_ns();
    let spans = ["storage-a", "storage-b"].map(|group| {
        let mut changes = Vec::new();
        for node in Node::BOTH {
            for line in lab.events_since(node, lab.run_begin(node)) {
                if let Some(change) = change(&line, group) {
                    changes.push((line.time_ns, change));
                }
            }
        }
        if let PowerOff(node) = fault
            && (group == "storage-a") == (node == A)
        {
            changes.push((struck, -1));
        }
        changes.sort_unstable();
        let (mut holders, mut since, mut spans) = (0_i32, struck, [0_u64; 3]);
        for (at, change) in changes.into_iter().chain([(now, 0)]) {
            if at > struck {
                spans[usize::try_from(holders.clamp(0, 2)).unwrap()] += at - since.max(struck);
            }
            since = at;
            holders += change;
        }
        spans.map(Duration::from_nanos)
    });
    [[spans[0][2], spans[1][2]], [spans[0][0], spans[1][0]]]
}

fn change(line: &LogLine, group: &str) -> Option<i32> {
    if line.is_of("group_acquired", group) {
        Some(1)
    } else if line.is_of("group_releasing", group) {
        Some(-1)
    } else {
        None
    }
}
