//! Requests by hand; and, in namespaces of their own, networks that answer and networks that do not (root).

use super::{
    Network, Plan, analyse,
    request::{Kind, LONGEST, Secret, build, is_reply},
};
use crate::core::ChannelIndex;
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use std::{
    net::IpAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const CHANNEL: ChannelIndex = ChannelIndex(3);

/// What the kernel of whoever was asked makes of a request.
fn reply(kind: Kind, request: &[u8]) -> Vec<u8> {
    let mut packet = request.to_vec();
    match kind {
        Kind::V4 => {
            packet[0] = 0;
            let mut header = vec![0; 20];
            header[0] = 0x45;
            header.append(&mut packet);
            header
        }
        Kind::V6 => {
            packet[0] = 129;
            packet
        }
    }
}

#[test]
fn only_the_reply_of_this_analysis_and_network_under_this_key_counts() {
    for kind in [Kind::V4, Kind::V6] {
        let secret = Secret::new();
        let good = reply(kind, &build(kind, secret, 9, CHANNEL, 2));
        assert!(good.len() <= LONGEST && is_reply(kind, secret, 9, CHANNEL, &good));
        assert!(!is_reply(kind, secret, 8, CHANNEL, &good), "late");
        assert!(!is_reply(kind, secret, 9, ChannelIndex(2), &good), "another network's");
        assert!(!is_reply(kind, Secret::new(), 9, CHANNEL, &good), "forged");
        assert!(!is_reply(kind, secret, 9, CHANNEL, &good[..good.len() - 1]), "cut short");
        let mut longer = good.clone();
        longer.push(0);
        assert!(!is_reply(kind, secret, 9, CHANNEL, &longer));
    }
}

#[test]
fn the_checksum_of_an_icmp_request_is_right() {
    let request = build(Kind::V4, Secret::new(), 1, CHANNEL, 0);
    let sum: u32 = request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

proptest! {
    #[test]
    fn no_packet_brings_the_receiver_down(packet: Vec<u8>) {
        prop_assert!(!is_reply(Kind::V4, Secret::new(), 1, CHANNEL, &packet));
        prop_assert!(!is_reply(Kind::V6, Secret::new(), 1, CHANNEL, &packet));
    }
}

const PLAN: Plan = Plan { rounds: 3, pause: Duration::from_millis(100) };

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("this test needs iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `n` networks: the interface `p<i>` with 10.1.i.1, a cable to a namespace in which 10.1.i.2 answers; all of it ends with us.
fn in_namespace(n: usize, test: impl FnOnce() + Send + 'static) {
    let far = format!("probe-test-{}-{n}", std::process::id());
    struct Far(String);
    impl Drop for Far {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
        }
    }
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes network namespaces: it must be run as root");
        ip(&format!("netns add {far}"));
        let far = Far(far);
        for i in 0..n {
            ip(&format!("link add p{i} type veth peer name q{i} netns {}", far.0));
            ip(&format!("addr add 10.1.{i}.1/24 dev p{i}"));
            ip(&format!("link set p{i} up"));
            ip(&format!("-n {} addr add 10.1.{i}.2/24 dev q{i}", far.0));
            ip(&format!("-n {} link set q{i} up", far.0));
        }
        test();
    };
    thread::spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn network(i: usize, target: u8) -> Network {
    let address = |host| IpAddr::from([10, 1, i as u8, host]);
    Network {
        channel: ChannelIndex(i as u8),
        interface: format!("p{i}"),
        own: address(1),
        targets: vec![address(target)],
        gateway: false,
        quorum: 1,
    }
}

fn probe(networks: &[Network]) -> (Vec<(bool, String)>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let found = runtime.block_on(analyse(networks, PLAN, 5));
    (found.into_iter().map(|f| (f.operational, f.why)).collect(), began.elapsed())
}

#[test]
fn a_network_that_answers_is_operational_and_one_that_does_not_is_not() {
    in_namespace(3, || {
        ip("link set p2 down");
        let networks = [network(0, 2), network(1, 99), network(2, 2)];
        let (found, took) = probe(&networks);
        assert_eq!(found[0], (true, "[10.1.0.2] answered".into()));
        assert!(!found[1].0 && found[1].1.contains("none of"), "{found:?}");
        assert_eq!(found[2], (false, "p2 has no carrier".into()));
        assert!(took >= PLAN.pause * 3 && took < PLAN.pause * 6, "{took:?}");
        // Nobody to be asked: the carrier decides. No such interface: no network.
        let alone = Network { targets: Vec::new(), ..network(0, 2) };
        let gone = Network { interface: "none0".into(), ..network(0, 2) };
        let (found, took) = probe(&[alone, gone]);
        assert!(found[0].0 && !found[1].0 && took < PLAN.pause, "{found:?} in {took:?}");
    });
}

#[test]
fn one_analysis_takes_the_same_time_for_1_8_and_60_networks() {
    in_namespace(60, || {
        let took = [1, 8, 60].map(|n| probe(&(0..n).map(|i| network(i, 99)).collect::<Vec<_>>()).1);
        println!("1, 8, 60 networks that do not answer: {took:?}");
        assert!(took.iter().all(|took| *took >= PLAN.pause * 3), "{took:?}");
    });
}

#[test]
fn with_a_quorum_so_many_must_answer_and_the_gateway_is_whoever_it_is_now() {
    in_namespace(2, || {
        let addresses = |hosts: &[u8]| hosts.iter().map(|host| IpAddr::from([10, 1, 0, *host])).collect();
        let asked = |hosts: &[u8], quorum| Network { targets: addresses(hosts), quorum, ..network(0, 2) };
        let gateway = |i| Network { targets: Vec::new(), gateway: true, ..network(i, 2) };
        let (found, _) = probe(&[asked(&[2, 99], 1), asked(&[2, 99], 2), gateway(0)]);
        assert_eq!(found[0], (true, "[10.1.0.2] answered".into()));
        assert_eq!(found[1], (false, "of [10.1.0.2, 10.1.0.99] only [10.1.0.2] answered; 2 must".into()));
        assert_eq!(found[2], (false, "p0: it has no default route with a gateway".into()));
        ip("route add default via 10.1.0.99 dev p0 metric 200");
        ip("route add default via 10.1.0.2 dev p0 metric 100");
        ip("route add default via 10.1.1.2 dev p1 metric 50");
        let (found, took) = probe(&[gateway(0), gateway(1)]);
        assert_eq!(
            found.iter().map(|f| f.1.as_str()).collect::<Vec<_>>(),
            ["[10.1.0.2] answered", "[10.1.1.2] answered"]
        );
        assert!(took < PLAN.pause, "{took:?}");
    });
}
