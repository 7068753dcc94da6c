//! Cables, NICs and addresses: what an administrator or a fault does to them.

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::{interface, interface_index, ipv4};
use heartbeat_tests::lab::{Config, Lab, Options, realtime_ns};
use heartbeat_tests::scenario::{
    CHANNELS, Client, FAST, LAN, NOTICED, Run, SOON, channel, holders, nobody_died, reload_with, service, settled,
    stays, story, take_over, until, wait_all_good, wait_holders, wait_said_of,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::{TOLD_WITHIN, nobody_noticed, pair};

#[test]
fn a_cut_cable_moves_the_service_of_a_pair_that_nobody_told_what_to_probe() {
    for (profile, bound) in [(LAN, Duration::from_secs(1)), (FAST, Duration::from_millis(100))] {
        undisturbed(|| {
            let (lab, [client, other]) = pair(&Config::usual().profile(profile.name));
            let cut = lab.cut("a-net1").unwrap();
            wait_holders(&lab, service(1), &[B]).unwrap();
            let what = format!("cut a-net1 at `{}`", profile.name);
            client.noticed_less_than(&lab, &what, cut, bound + Run::or(1).slack).unwrap();
            other.noticed_less_than(&lab, &what, cut, NOTICED).unwrap();
            assert_eq!(client.server(&lab).unwrap(), Some(B));
            assert_eq!(holders(&lab, service(2)).unwrap(), [B], "{}", story(&lab));
        });
    }
}

#[test]
fn a_renamed_interface_leaves_no_service_address_behind() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual());
        let a = lab.controller(A).unwrap();
        let renamed = realtime_ns();
        a.netlink().rename("eth0", "lan0").unwrap();
        wait_holders(&lab, service(1), &[B]).unwrap();
        client.noticed_less_than(&lab, "interface renamed", renamed, TOLD_WITHIN + Run::or(1).slack).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(B));
        // Whoever renames it back has the network again.
        let mark = lab.mark(A);
        a.netlink().rename("lan0", "eth0").unwrap();
        lab.wait_event_since(A, mark, |line| line.is_of("interface_back", "net1"), SOON)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        // It may have been away for less than a detection time.
        until("net1 is good on both", || {
            let good =
                |node| -> anyhow::Result<bool> { Ok(channel(&lab.status(node)?.json, "net1")["state"] == "good") };
            Ok((good(A)? && good(B)?).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert_eq!(holders(&lab, service(1)).unwrap(), [B]);
    });
}

#[test]
fn a_service_address_put_on_the_standby_by_hand_is_removed_and_told() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual());
        let before = lab.marks();
        let added = realtime_ns();
        lab.controller(B).unwrap().netlink().add_address(interface_index(1), service(1), 24).unwrap();
        wait_holders(&lab, service(1), &[A]).unwrap();
        let told = |line: &heartbeat_tests::lab::LogLine| {
            line.is_of("address_swept", "storage-a")
                && line.raw["address"].as_str().is_some_and(|a| a.starts_with("192.0.2.10"))
        };
        lab.wait_event_since(B, before[1], told, SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        client.noticed_less_than(&lab, "address put on the standby", added, NOTICED).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(A));
        stays(&lab, &[(service(1), A), (service(2), B)], Duration::from_millis(500), before).unwrap();
    });
}

#[test]
fn one_nic_missing_at_the_start_is_one_bad_channel() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        lab.configure(&Config::usual()).unwrap();
        // Not that of its own group's network; but a controller with a fault hands its groups to one without.
        lab.remove_nic(A, "net2").unwrap();
        lab.start(A).unwrap();
        lab.start(B).unwrap();
        for number in [1, 2] {
            wait_holders(&lab, service(number), &[B]).unwrap();
        }
        let [one, other] = [1, 2].map(|number| Client::start(&lab, number, service(number)).unwrap());
        // The first heartbeat of the others comes at once; that none comes is known after the waits of FIG. 4.
        until("net2 alone is bad", || {
            let status = lab.status(A)?.json;
            let states = CHANNELS.map(|name| channel(&status, name)["state"].as_str().unwrap_or_default().to_owned());
            Ok((states == ["good", "bad", "good"]).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        let before = lab.marks();
        let inserted = lab.insert_nic(A, "net2").unwrap();
        for (node, mark) in [A, B].into_iter().zip(before) {
            lab.wait_event_since(node, mark, |line| line.is_of("channel_good", "net2"), SOON)
                .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        }
        for client in [one, other] {
            client.noticed_less_than(&lab, "missing NIC put in", inserted, NOTICED).unwrap();
        }
        stays(&lab, &[(service(1), B), (service(2), B)], Duration::from_millis(500), before).unwrap();
    });
}

#[test]
fn an_agent_whose_own_group_has_no_nic_at_the_start_leaves_it_to_the_peer() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        lab.configure(&Config::usual()).unwrap();
        lab.remove_nic(A, "net1").unwrap();
        lab.start(A).unwrap();
        lab.start(B).unwrap();
        for number in [1, 2] {
            wait_holders(&lab, service(number), &[B]).unwrap();
        }
        let client = Client::start(&lab, 1, service(1)).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(B));
    });
}

/// The ioctls about interfaces in what strace(1) wrote down so far, each with its time in seconds since 1970.
fn asked(trace: &Path) -> Vec<(f64, String)> {
    let text = fs::read_to_string(trace).unwrap();
    // The last line may still be written.
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let lines = whole.lines().filter(|line| line.contains("SIOC"));
    lines.map(|line| (line.split_whitespace().nth(1).unwrap().parse().unwrap(), line.to_owned())).collect()
}

/// A name that nobody has makes the kernel load a module of that name, and each look costs a part of an interval, here 100 ms.
#[test]
fn while_a_card_is_out_nothing_is_asked_by_its_name_and_the_others_are_looked_at_about_once_a_second() {
    const LOOKED_ON_S: f64 = 3.0;
    const MOST_A_SECOND: f64 = 3.0;
    undisturbed(|| {
        let (lab, config) = (Lab::new(Options::default()).unwrap(), LAN.config());
        let trace = lab.folder().join("ioctls");
        let strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "trace=ioctl", "-o"];
        lab.configure(&config).unwrap();
        lab.start_by(A, &[&strace[..], &[trace.to_str().unwrap()]].concat())
            .expect("strace is needed: apt-get install strace");
        lab.start(B).unwrap();
        settled(&lab, &config).unwrap();
        // No client is behind it: it moves nothing.
        lab.remove_nic(A, "xlink").unwrap();
        let gone = wait_said_of(&lab, A, lab.run_begin(A), "interface_gone", "xlink").unwrap().time_ns as f64 / 1e9;
        let named = |name: &str| format!("ifr_name=\"{name}\"");
        for name in [1, 2].map(interface) {
            let looks = until(&format!("looks at {name} for {LOOKED_ON_S} s"), || {
                let mut looks = asked(&trace);
                looks.retain(|(at, ioctl)| {
                    *at > gone && ioctl.contains("SIOCGIFFLAGS") && ioctl.contains(&named(&name))
                });
                let times: Vec<_> = looks.iter().map(|(at, _)| *at).collect();
                let lasted = times.last().zip(times.first()).map_or(0.0, |(last, first)| last - first);
                Ok((lasted >= LOOKED_ON_S).then(|| (times.len() - 1) as f64 / lasted))
            });
            let a_second = looks.unwrap_or_else(|error| panic!("{error:#}\n{:#?}\n{}", asked(&trace), story(&lab)));
            assert!(a_second <= MOST_A_SECOND, "{name}: {a_second:.1} looks a second\n{}", story(&lab));
        }
        let absent = named(&interface(0));
        let (before, since): (Vec<_>, Vec<_>) =
            asked(&trace).into_iter().filter(|(_, ioctl)| ioctl.contains(&absent)).partition(|(at, _)| *at <= gone);
        assert!(!before.is_empty(), "it was looked at while it was there");
        assert!(since.is_empty(), "{since:#?}");
    });
}

#[test]
fn a_reload_from_xdp_to_sockets_is_heard_by_both() {
    undisturbed(|| {
        let (lab, clients) = pair(&Config::usual());
        let (before, began) = (lab.marks(), realtime_ns());
        reload_with(&lab, A, &Config::usual().xdp("socket")).unwrap();
        wait_all_good(&lab, A, before[0]).unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        stays(&lab, &[(service(1), A), (service(2), B)], Duration::from_secs(2), before).unwrap();
        let received = |name: &str| {
            let status = lab.status(A).unwrap().json;
            assert_eq!(channel(&status, name)["xdp_mode"], "socket", "{status:#}");
            channel(&status, name)["received"].as_u64().unwrap()
        };
        for name in CHANNELS {
            let heard = received(name);
            until(&format!("more heartbeats on {name}"), || Ok((received(name) > heard + 2).then_some(()))).unwrap();
        }
        // And back.
        reload_with(&lab, A, &Config::usual()).unwrap();
        let again = lab.marks();
        stays(&lab, &[(service(1), A), (service(2), B)], Duration::from_secs(1), again).unwrap();
        nobody_noticed(&lab, &clients, "xdp to socket and back", began);
        let status = lab.status(A).unwrap().json;
        assert_eq!(channel(&status, "net1")["xdp_mode"], "native");
    });
}

#[test]
fn own_addresses_outlive_service_addresses_on_a_host_that_promotes_nothing() {
    undisturbed(|| {
        let lab = Lab::new(Options { promote_secondaries: false, ..Options::default() }).unwrap();
        let config = Config::usual();
        lab.configure(&config).unwrap();
        let a = lab.controller(A).unwrap();
        // The service address is there first, as after a crash and a network manager that starts late: the own one is
        // secondary to it, and so is one of somebody else.
        let (index, own, other) = (interface_index(1), ipv4(1, 1).into(), ipv4(1, 77).into());
        a.netlink().delete_address(index, own, 24).unwrap();
        for address in [service(1), own, other] {
            a.netlink().add_address(index, address, 24).unwrap();
        }
        lab.start_both().unwrap();
        wait_holders(&lab, service(1), &[A]).unwrap();
        let before = lab.marks();
        take_over(&lab, B, "storage-a").unwrap();
        wait_holders(&lab, service(1), &[B]).unwrap();
        for address in [own, other] {
            assert!(holders(&lab, address).unwrap().contains(&A), "{address} is lost\n{}", story(&lab));
        }
        nobody_died(&lab, before).unwrap();
    });
}
