//! A pair works the same however its heartbeats are received, and over IPv6 alone.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::time::Duration;

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::topology::{ipv4, ipv6};
use heartbeat_tests::lab::{Config, Family, Lab, Node, Options};
use heartbeat_tests::scenario::{
    CHANNELS, Profile, SOON, between, channel, expect_settled, healthy_pair, held, profiles, rejected, running,
    service, settled, start_apart, stays, story, take_over, until, wait_owners, wait_said, wait_said_of,
};

fn start(modes: [&str; 2], family: Family) -> Lab {
    let config = Config::pair(2, family);
    let lab = Lab::new(Options::default()).unwrap();
    let [a, b] = modes.map(|mode| config.clone().xdp(mode));
    start_apart(&lab, [&a, &b]).unwrap();
    settled(&lab, &config).unwrap();
    lab
}

/// Each counts what the other sends, then b dies, a takes over, and the client of network 2 is served again.
fn counts_and_takes_over(lab: &Lab, modes: [&str; 2], service: IpAddr) {
    for (node, mode) in Node::BOTH.into_iter().zip(modes) {
        let received = |name: &str| channel(&lab.status(node).unwrap().json, name)["received"].as_u64().unwrap();
        for name in ["net1", "net2", "xlink"] {
            let before = received(name);
            until("ten heartbeats more", || Ok((received(name) >= before + 10).then_some(()))).unwrap();
            let json = lab.status(node).unwrap().json;
            assert_eq!(channel(&json, name)["xdp_mode"], mode, "{node} {name}");
            assert_eq!(channel(&json, name)["missing"], 0, "{node} {name}");
            assert!(channel(&json, name)["inter_arrival"]["n"].as_u64().unwrap() >= 10, "{node} {name}");
            let mut refused = rejected(&json, name);
            refused.remove("handshake");
            assert!(refused.values().all(|n| *n == 0), "{node} {name}: {refused:?}");
        }
    }
    let probe = lab.probe(2, service, ProbeOptions::default()).unwrap();
    probe.wait_reply_after(0, SOON).unwrap();
    let mark = lab.mark(Node::A);
    let off = lab.power_off(Node::B).unwrap();
    let dead = lab.wait_event_since(Node::A, mark, |line| line.is("peer_dead"), SOON).unwrap();
    let acquired = lab.wait_event_since(Node::A, mark, |line| line.is("group_acquired"), SOON).unwrap();
    let served = probe.wait_reply_after(acquired.time_ns, SOON).unwrap();
    eprintln!(
        "{modes:?}: silent for {:.2} ms, found dead {:.2} ms after the cut; held {:.2} ms, served {:.2} ms after that",
        dead.raw["silent_ns"].as_u64().unwrap() as f64 / 1e6,
        (dead.time_ns - off) as f64 / 1e6,
        (acquired.time_ns - dead.time_ns) as f64 / 1e6,
        (served.received_ns - dead.time_ns) as f64 / 1e6
    );
    assert_eq!(held(&lab.status(Node::A).unwrap().json), [true, true]);
}

fn over_ipv4(modes: [&str; 2]) {
    let lab = start(modes, Family::V4);
    counts_and_takes_over(&lab, modes, ipv4(2, 10).into());
}

#[test]
fn one_by_socket_and_one_by_native_xdp_are_a_pair() {
    undisturbed(|| {
        over_ipv4(["socket", "native"]);
    });
}

#[test]
fn a_pair_by_sockets_alone_works() {
    undisturbed(|| {
        over_ipv4(["socket", "socket"]);
    });
}

#[test]
fn a_pair_by_generic_xdp_works() {
    undisturbed(|| {
        over_ipv4(["generic", "generic"]);
    });
}

#[test]
fn a_pair_over_ipv6_alone_takes_over_an_ipv6_address() {
    undisturbed(|| {
        let lab = start(["native", "native"], Family::V6);
        for node in Node::BOTH {
            let namespace = lab.controller(node).unwrap();
            for (index, address) in namespace.netlink().addresses().unwrap() {
                if address.is_ipv4() && !address.is_loopback() {
                    namespace.netlink().delete_address(index, address, 24).unwrap();
                }
            }
        }
        counts_and_takes_over(&lab, ["native", "native"], ipv6(2, 0x10).into());
    });
}

#[test]
fn auto_is_native_on_the_labs_cables() {
    undisturbed(|| {
        let lab = running(&Config::pair(1, Family::V4)).unwrap();
        let json = lab.status(Node::A).unwrap().json;
        assert_eq!(channel(&json, "net1")["xdp_mode"], "native");
    });
}

/// What the life before has attached goes on taking every heartbeat until it is let go of. `end_and_begin` kills a's agent and
/// starts the next one, which has no XDP.
fn the_next_life_hears_its_peer_by_socket(end_and_begin: impl Fn(&Lab, Profile)) {
    undisturbed(|| {
        let profile = profiles()[0];
        let lab = healthy_pair(profile).unwrap();
        assert_eq!(channel(&lab.status(Node::A).unwrap().json, "net1")["xdp_mode"], "native");
        let marks = lab.marks();
        end_and_begin(&lab, profile);
        let life = lab.run_begin(Node::A);
        let ready = wait_said(&lab, Node::A, life, "ready").unwrap();
        for name in CHANNELS {
            let heard = wait_said_of(&lab, Node::A, life, "channel_good", name).unwrap();
            let after = between(ready.time_ns, heard.time_ns);
            assert!(after < profile.detection(), "heard on {name} after {after:?}\n{}", story(&lab));
        }
        wait_said(&lab, Node::A, life, "peer_good").unwrap();
        wait_said(&lab, Node::B, marks[1], "peer_paired").unwrap();
        let keep = [(service(1), Node::A), (service(2), Node::B)];
        stays(&lab, &keep, profile.detection() * 2, marks).unwrap();
        expect_settled(&lab, Node::BOTH).unwrap();
        let received = |name: &str| {
            let json = lab.status(Node::A).unwrap().json;
            assert_eq!(channel(&json, name)["xdp_mode"], "socket", "{name}");
            channel(&json, name)["received"].as_u64().unwrap()
        };
        for name in CHANNELS {
            let before = received(name);
            until("two heartbeats more", || Ok((received(name) >= before + 2).then_some(()))).unwrap();
        }
    });
}

#[test]
fn an_agent_killed_and_started_again_by_socket_hears_its_peer_at_once_and_both_keep_what_they_hold() {
    the_next_life_hears_its_peer_by_socket(|lab, profile| {
        lab.configure_one(Node::A, &profile.config().xdp("socket")).unwrap();
        lab.kill(Node::A).unwrap();
        lab.start(Node::A).unwrap();
    });
}

/// As in a container: `xdp = "auto"` finds that the kernel refuses all of it.
#[test]
fn an_agent_killed_and_started_again_without_the_right_to_xdp_hears_its_peer_at_once_and_both_keep_what_they_hold() {
    const LESS: [&str; 3] =
        ["setpriv", "--inh-caps=-bpf,-perfmon,-sys_admin", "--bounding-set=-bpf,-perfmon,-sys_admin"];
    the_next_life_hears_its_peer_by_socket(|lab, _| {
        lab.kill(Node::A).unwrap();
        lab.start_by(Node::A, &LESS).unwrap();
    });
}

/// Each step of it is a message, and none waits for the next heartbeat of whoever receives it.
#[test]
fn a_hand_over_by_sockets_takes_a_small_part_of_an_interval() {
    const INTERVAL: Duration = Duration::from_secs(1);
    undisturbed(|| {
        let lab = running(&Config::usual().xdp("socket").timing("interval", "\"1s\"")).unwrap();
        // Accepted as soon as both agree about everything.
        take_over(&lab, Node::B, "storage-a").unwrap();
        for (from, to) in [(Node::B, Node::A), (Node::A, Node::B), (Node::B, Node::A), (Node::A, Node::B)] {
            wait_owners(&lab, to, &[from.name(), "b"]).unwrap();
            let mark = lab.mark(to);
            assert_eq!(lab.order(to, &["takeover", "storage-a"]).unwrap(), (Some(0), String::new()));
            let [ordered, acquired] = ["hand_over_ordered", "group_acquired"]
                .map(|event| wait_said_of(&lab, to, mark, event, "storage-a").unwrap().time_ns);
            let took = between(ordered, acquired);
            assert!(took < INTERVAL / 4, "from {from} to {to} in {took:?}\n{}", story(&lab));
        }
    });
}
