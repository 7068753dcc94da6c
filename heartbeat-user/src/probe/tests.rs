//! Requests by hand; and, in namespaces of their own, networks that answer and networks that do not (root).

use super::{
    Asks, Network, PeerMac, Plan, ProbeState, Witnesses, analyse, any_witness,
    around::{self, Target},
    look,
    request::{Kind, LONGEST, Secret, build, is_reply},
};
use crate::{system::netlink::Netlink, types::ChannelIndex};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use std::{
    net::IpAddr,
    process::Command,
    sync::{Mutex, PoisonError},
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

/// `n` networks: the interface `p<i>` with 10.1.i.1, a cable to a namespace in which 10.1.i.2 answers; all of it ends with us. One
/// test at a time: the namespace is named by this process and `n`.
fn in_namespace(n: usize, test: impl FnOnce() + Send + 'static) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
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
        peer: address(7),
        peer_heard: false,
        peer_mac: PeerMac::default(),
        witnesses: Witnesses::default(),
        asks: Asks::Addresses(vec![address(target)]),
        avoid: Vec::new(),
        quorum: 1,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn probe(networks: &[Network]) -> (Vec<(ProbeState, String)>, Duration) {
    let began = Instant::now();
    let found = run(analyse(networks, PLAN, 5));
    (found.into_iter().map(|f| (f.state, f.why)).collect(), began.elapsed())
}

/// The same, where there is nothing to be waited for: it is over before a pause that no busy machine comes near.
fn probe_at_once(networks: &[Network]) -> Vec<(ProbeState, String)> {
    let plan = Plan { pause: Duration::from_secs(5), ..PLAN };
    let began = Instant::now();
    let found = run(analyse(networks, plan, 5));
    assert!(began.elapsed() < plan.pause, "{found:?} after {:?}", began.elapsed());
    found.into_iter().map(|f| (f.state, f.why)).collect()
}

fn far(arguments: &str) {
    ip(&format!("-n probe-test-{}-{arguments}", std::process::id()));
}

#[test]
fn a_network_that_answers_is_operational_and_one_that_does_not_is_not() {
    in_namespace(4, || {
        far("4 link set q2 down");
        ip("link set p3 down");
        let networks = [network(0, 2), network(1, 99), network(2, 2), network(3, 2)];
        let (found, took) = probe(&networks);
        assert_eq!(found[0], (ProbeState::Answers, "10.1.0.2 answered".into()));
        assert!(found[1].0 == ProbeState::Silent && found[1].1.contains("none of"), "{found:?}");
        assert_eq!(found[2], (ProbeState::Cable, "p2 has no carrier".into()));
        assert_eq!(found[3], (ProbeState::Port, "p3 is down".into()));
        assert!(took >= PLAN.pause * 3 && took < PLAN.pause * 6, "{took:?}");
        // Nobody to be asked: own facts decide. No such interface, or our address is not on it: no network.
        let alone = Network { asks: Asks::Nobody, ..network(0, 2) };
        let gone = Network { interface: "none0".into(), ..network(0, 2) };
        let bare = Network { own: IpAddr::from([10, 1, 0, 3]), ..network(0, 2) };
        let networks = [alone, gone, bare];
        let found = probe_at_once(&networks);
        let states: Vec<_> = found.iter().map(|(state, _)| *state).collect();
        assert_eq!(states, [ProbeState::Nobody, ProbeState::Port, ProbeState::Port], "{found:?}");
        assert_eq!(run(look(&networks, PLAN)).iter().map(|f| f.state).collect::<Vec<_>>(), states);
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
        let asked = |hosts: &[u8], quorum| Network { asks: Asks::Addresses(addresses(hosts)), quorum, ..network(0, 2) };
        let gateway = |i| Network { asks: Asks::Gateway, ..network(i, 2) };
        let (found, _) = probe(&[asked(&[2, 99], 1), asked(&[2, 99], 2), gateway(0)]);
        assert_eq!(found[0], (ProbeState::Answers, "10.1.0.2 answered".into()));
        let of_two = "of [10.1.0.2, 10.1.0.99] only 10.1.0.2 answered; 2 must";
        assert_eq!(found[1], (ProbeState::Silent, of_two.into()));
        assert_eq!(found[2], (ProbeState::Nobody, "it has no default route with a gateway".into()));
        ip("route add default via 10.1.0.99 dev p0 metric 200");
        ip("route add default via 10.1.0.2 dev p0 metric 100");
        ip("route add default via 10.1.1.2 dev p1 metric 50");
        let found = probe_at_once(&[gateway(0), gateway(1)]);
        assert_eq!(found.iter().map(|f| f.1.as_str()).collect::<Vec<_>>(), ["10.1.0.2 answered", "10.1.1.2 answered"]);
    });
}

#[test]
fn one_that_answers_arp_or_neighbour_discovery_but_no_echo_proves_the_network() {
    in_namespace(3, || {
        // Nobody far away answers an echo request any more.
        let within = format!("probe-test-{}-3", std::process::id());
        let drop = "add table inet f; add chain inet f i { type filter hook input priority 0; }; \
                    add rule inet f i icmp type echo-request drop; add rule inet f i icmpv6 type echo-request drop";
        let ruled = Command::new("ip").args(["netns", "exec", &within, "nft", drop]).output().unwrap();
        assert!(ruled.status.success(), "{ruled:?}");
        ip("addr add fe80::1/64 dev p1 nodad");
        ip("addr add fd00::1/64 dev p1 nodad");
        far("3 addr add fd00::2/64 dev q1 nodad");
        let six = Network {
            own: "fd00::1".parse().unwrap(),
            peer: "fd00::7".parse().unwrap(),
            asks: Asks::Addresses(vec!["fd00::2".parse().unwrap()]),
            ..network(1, 2)
        };
        for _ in 0..2 {
            // Once with an entry of the kernel's, once without.
            let (found, took) = probe(&[network(0, 2), six.clone(), network(2, 99)]);
            assert_eq!(found[0], (ProbeState::Answers, "10.1.0.2 (ARP, no echo) answered".into()));
            assert_eq!(found[1], (ProbeState::Answers, "fd00::2 (neighbour discovery, no echo) answered".into()));
            assert_eq!(found[2].0, ProbeState::Silent);
            assert!(took < PLAN.pause * 6, "{took:?}");
        }
        // An entry that says "reachable" is not believed: it answered then.
        far("3 link set q0 down");
        far("3 link set q0 up");
        far("3 addr flush dev q0");
        let (found, _) = probe(&[network(0, 2)]);
        assert_eq!(found[0].0, ProbeState::Silent, "{found:?}");
    });
}

#[test]
fn whoever_is_found_is_asked_routers_first_and_never_the_peer_or_one_of_us() {
    in_namespace(1, || {
        for (host, mac) in [(2, 2), (3, 3), (4, 4), (7, 7), (8, 7), (9, 9), (11, 11)] {
            ip(&format!("neigh add 10.1.0.{host} dev p0 lladdr 02:00:00:00:00:{mac:02x} nud stale"));
        }
        ip("neigh replace 10.1.0.4 dev p0 lladdr 02:00:00:00:00:04 nud reachable");
        ip("neigh replace 10.1.0.9 dev p0 nud failed");
        ip("route add 192.0.2.0/24 proto static nexthop via 10.1.0.20 dev p0 nexthop via 10.1.0.21 dev p0");
        ip("route add default via 10.1.0.22 dev p0 table 77");
        let avoid = vec![IpAddr::from([10, 1, 0, 3])];
        let found = Network { asks: Asks::Found, avoid, ..network(0, 2) };
        let mut netlink = Netlink::open().unwrap();
        let around = around::look_around(&mut netlink, &found).unwrap();
        assert!(around.all_hosts);
        // 7 is the peer, 8 has its Ethernet address, 3 is a service address, 9 does not answer.
        let expected = [22, 20, 21, 4].map(|host| Target { ip: IpAddr::from([10, 1, 0, host]), on_link: true });
        assert_eq!(around.targets[..4], expected, "{around:?}");
        let mut rest: Vec<_> = around.targets[4..].iter().map(|target| target.ip).collect();
        rest.sort_unstable();
        assert_eq!(rest, [IpAddr::from([10, 1, 0, 2]), IpAddr::from([10, 1, 0, 11])]);
    });
}

/// The kernel forgets the peer's Ethernet address soon after its death.
#[test]
fn the_peer_is_known_by_its_ethernet_address_of_when_it_was_heard_last_whatever_the_kernel_holds_of_it() {
    in_namespace(1, || {
        let entry = |host: u8, mac: u8| {
            ip(&format!("neigh replace 10.1.0.{host} dev p0 lladdr 02:00:00:00:00:{mac:02x} nud stale"))
        };
        let mut netlink = Netlink::open().unwrap();
        let mut asked = |network: &Network| {
            let around = around::look_around(&mut netlink, network).unwrap();
            let mut hosts: Vec<_> = around.targets.iter().map(|target| target.ip.to_string()).collect();
            hosts.sort_unstable();
            hosts
        };
        let silent = Network { asks: Asks::Found, ..network(0, 2) };
        let heard = Network { peer_heard: true, ..silent.clone() };
        // 7 is the peer's address that is configured, 8 another of the peer's, 9 somebody else's.
        for (host, mac) in [(7, 0x77), (8, 0x77), (9, 0x99)] {
            entry(host, mac);
        }
        assert_eq!(asked(&heard), ["10.1.0.9"]);
        ip("neigh replace 10.1.0.7 dev p0 nud failed");
        assert_eq!(asked(&silent), ["10.1.0.9"], "dead, and forgotten by the kernel");
        entry(7, 0x99);
        assert_eq!(asked(&silent), ["10.1.0.9"], "somebody else answers for it");
        // It is back with another NIC; what it had before is another's.
        entry(7, 0x88);
        assert_eq!(asked(&heard), ["10.1.0.8", "10.1.0.9"]);
        entry(8, 0x88);
        ip("neigh replace 10.1.0.7 dev p0 nud failed");
        assert_eq!(asked(&silent), ["10.1.0.9"]);
        let unknown = Network { peer_mac: PeerMac::default(), ..silent };
        assert_eq!(asked(&unknown), ["10.1.0.8", "10.1.0.9"], "never heard");
    });
}

#[test]
fn all_hosts_are_asked_where_nobody_is_known_and_the_peer_is_told_from_them() {
    in_namespace(2, || {
        // Of network 0, whoever is there is the peer; of network 1, it is somebody else.
        let within = format!("probe-test-{}-2", std::process::id());
        let answers = "echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_broadcasts";
        let set = Command::new("ip").args(["netns", "exec", &within, "sh", "-c", answers]).output().unwrap();
        assert!(set.status.success(), "{set:?}");
        far("2 addr add 10.1.0.7/24 dev q0");
        far("2 addr add 10.1.1.3/24 dev q1");
        ip("neigh add 10.1.1.7 dev p1 lladdr 02:00:00:00:00:07 nud stale");
        let found = |i| Network { asks: Asks::Found, ..network(i, 2) };
        let networks = [found(0), found(1)];
        let (found, _) = probe(&networks);
        assert_eq!(found[0], (ProbeState::Nobody, "nobody was found".into()));
        assert_eq!(found[1].0, ProbeState::Answers, "{found:?}");
        // From then on he is asked by name, also once the kernel has forgotten him.
        ip("neigh flush dev p1");
        let mut netlink = Netlink::open().unwrap();
        let mut asked = |network| around::look_around(&mut netlink, network).unwrap().targets;
        assert_eq!(asked(&networks[1]), [Target { ip: [10, 1, 1, 2].into(), on_link: true }]);
        let witness = run(any_witness(&networks, Plan { pause: Duration::from_secs(5), ..PLAN }, 6)).unwrap();
        assert_eq!((witness.channel, witness.why.as_str()), (ChannelIndex(1), "10.1.1.2 answered"));
        far("2 link set q1 down");
        assert_eq!(run(any_witness(&networks, PLAN, 7)), None);
    });
}

#[test]
fn a_neighbour_table_of_10_000_entries_and_routes_that_change_hold_nothing_up() {
    in_namespace(1, || {
        ip("addr add 10.2.0.1/16 dev p0");
        let entries: String = (0..10_000)
            .map(|i| {
                format!("neigh add 10.2.{}.{} dev p0 nud permanent lladdr 02:00:00:00:00:01\n", i / 250, i % 250 + 2)
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let batch = folder.path().join("batch");
        std::fs::write(&batch, entries).unwrap();
        ip(&format!("-force -batch {}", batch.display()));
        let changes =
            "while :; do ip route replace 192.0.2.0/24 via 10.1.0.2; ip route replace 192.0.2.0/24 via 10.1.0.3; done";
        let mut changing = Command::new("sh").args(["-c", changes]).spawn().unwrap();
        far("1 addr add 10.1.0.3/24 dev q0");
        let found = Network { asks: Asks::Found, ..network(0, 2) };
        let began = Instant::now();
        let (found, took) = probe(&[found]);
        changing.kill().unwrap();
        changing.wait().unwrap();
        println!("{found:?} after {took:?} ({:?})", began.elapsed());
        assert!(took < PLAN.pause * 6, "{took:?}");
        assert_eq!(found[0].0, ProbeState::Answers, "its router: {found:?}");
    });
}
