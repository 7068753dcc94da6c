//! The configuration is changed and rolled out node by node, as everybody does it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::{interface_index, ipv4};
use heartbeat_tests::lab::{Config, GroupConfig, Lab, Node, realtime_ns};
use heartbeat_tests::scenario::{
    CHANNELS, Client, NOTICED, Run, SOON, channel, holders, reload_with, service, stays, story, take_over, until,
    wait_holders, wait_said,
};

use crate::{TOLD_WITHIN, nobody_noticed, pair};

/// Gives one controller after the other this file: each group stays at home, and is looked on there for so long.
fn roll_out(lab: &Lab, config: &Config, lasts: Duration) {
    for node in [A, B] {
        let before = lab.marks();
        reload_with(lab, node, config).unwrap();
        stays(lab, &[(service(1), A), (service(2), B)], lasts, before).unwrap();
    }
}

#[test]
fn groups_swapped_in_the_file_stay_where_they_are() {
    undisturbed(|| {
        let (lab, clients) = pair(&Config::usual());
        let mut swapped = Config::usual();
        swapped.groups.swap(0, 1);
        let began = realtime_ns();
        roll_out(&lab, &swapped, Duration::from_millis(700));
        nobody_noticed(&lab, &clients, "groups swapped", began);
    });
}

#[test]
fn a_group_inserted_before_the_others_is_served_and_the_others_stay_where_they_are() {
    undisturbed(|| {
        let (lab, clients) = pair(&Config::usual());
        let mut longer = Config::usual();
        let new: IpAddr = ipv4(1, 30).into();
        let group = GroupConfig {
            name: "archive".to_owned(),
            home: A,
            addresses: vec![("net1".to_owned(), format!("{new}/24"))],
            exclusive: None,
            extra: String::new(),
        };
        longer.groups.insert(0, group);
        let began = realtime_ns();
        roll_out(&lab, &longer, Duration::from_millis(500));
        wait_holders(&lab, new, &[A]).unwrap();
        // And taken out again.
        roll_out(&lab, &Config::usual(), Duration::from_millis(500));
        wait_holders(&lab, new, &[]).unwrap();
        nobody_noticed(&lab, &clients, "a group inserted and taken out", began);
    });
}

#[test]
fn the_first_channel_taken_out_on_one_node_makes_nobody_find_a_living_peer_dead() {
    undisturbed(|| {
        let mut both = Config::usual();
        // Both groups in the network that stays.
        both.groups[0].addresses = vec![("net2".to_owned(), format!("{}/24", ipv4(2, 11)))];
        let lab = heartbeat_tests::scenario::running(&both).unwrap();
        let addresses: [(IpAddr, _); 2] = [(ipv4(2, 11).into(), A), (ipv4(2, 10).into(), B)];
        let clients = addresses.map(|(address, _)| Client::start(&lab, 2, address).unwrap());
        let mut fewer = both.clone();
        fewer.channels.remove(0);
        let began = realtime_ns();
        let before = lab.marks();
        reload_with(&lab, A, &fewer).unwrap();
        wait_said(&lab, B, before[1], "configuration_differs").unwrap();
        stays(&lab, &addresses, Duration::from_millis(1_500), before).unwrap();
        reload_with(&lab, B, &fewer).unwrap();
        let before = lab.marks();
        stays(&lab, &addresses, Duration::from_millis(1_000), before).unwrap();
        nobody_noticed(&lab, &clients, "the first channel taken out", began);
    });
}

#[test]
fn an_address_taken_out_of_the_file_goes_and_a_changed_prefix_is_changed() {
    undisturbed(|| {
        let [kept, dropped, changed]: [IpAddr; 3] = [10, 12, 13].map(|last| ipv4(1, last).into());
        let with = |addresses: &[(IpAddr, u8)]| {
            let mut config = Config::usual();
            config.groups[0].addresses =
                addresses.iter().map(|(address, prefix)| ("net1".to_owned(), format!("{address}/{prefix}"))).collect();
            config
        };
        let (lab, [client, _]) = pair(&with(&[(kept, 24), (dropped, 24), (changed, 24)]));
        wait_holders(&lab, changed, &[A]).unwrap();
        let after = with(&[(kept, 24), (changed, 25)]);
        let began = realtime_ns();
        for node in [A, B] {
            reload_with(&lab, node, &after).unwrap();
        }
        wait_holders(&lab, dropped, &[]).unwrap();
        until("the new prefix alone", || {
            let entries = lab.controller(A)?.netlink().address_entries()?;
            let prefixes: Vec<_> =
                entries.iter().filter(|entry| entry.ip == changed).map(|entry| entry.prefix_len).collect();
            Ok((prefixes == [25]).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert_eq!(holders(&lab, kept).unwrap(), [A]);
        client.noticed_less_than(&lab, "an address taken out", began, NOTICED).unwrap();
        take_over(&lab, B, "storage-a").unwrap();
        for address in [kept, changed] {
            wait_holders(&lab, address, &[B]).unwrap();
        }
        let index = interface_index(1);
        let left = lab.controller(A).unwrap().netlink().addresses().unwrap();
        let left: Vec<_> = left.into_iter().filter(|(at, ip)| *at == index && ip.is_ipv4()).collect();
        assert_eq!(left, [(index, ipv4(1, 1).into())], "only its own address is left");
    });
}

#[test]
fn an_address_moved_to_another_channel_in_the_file_is_on_its_interface_and_no_more_on_the_old_one() {
    undisturbed(|| {
        let moved: IpAddr = ipv4(2, 12).into();
        let with = |channel: &str| {
            let mut config = Config::usual();
            config.groups[0].addresses.push((channel.to_owned(), format!("{moved}/24")));
            config
        };
        // By mistake: it is one of the second network.
        let (lab, clients) = pair(&with("net1"));
        let wait_on = |expected: [&[u32]; 2]| {
            until(&format!("{moved} on the interfaces {expected:?} of a and b"), || {
                for (node, expected) in [A, B].into_iter().zip(expected) {
                    let entries = lab.controller(node)?.netlink().address_entries()?;
                    let on: Vec<_> =
                        entries.iter().filter(|entry| entry.ip == moved).map(|entry| entry.index).collect();
                    if on != expected {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        };
        let [one, two] = [1, 2].map(interface_index);
        wait_on([&[one], &[]]);
        let began = realtime_ns();
        for node in [A, B] {
            reload_with(&lab, node, &with("net2")).unwrap();
        }
        wait_on([&[two], &[]]);
        let client = Client::start(&lab, 2, moved).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(A));
        nobody_noticed(&lab, &clients, "an address moved to another channel", began);
        // So it does on the other one, and its clients are told where they are.
        let taken = realtime_ns();
        take_over(&lab, B, "storage-a").unwrap();
        wait_on([&[], &[two]]);
        client.noticed_less_than(&lab, "the moved one taken over", taken, TOLD_WITHIN + Run::or(1).slack).unwrap();
        assert_eq!(client.server(&lab).unwrap(), Some(B));
    });
}

#[test]
fn a_reload_while_a_card_is_out_keeps_everything_else() {
    undisturbed(|| {
        let (lab, clients) = pair(&Config::usual());
        let (before, began) = (lab.marks(), realtime_ns());
        // No client is behind it: it moves nothing by itself.
        lab.remove_nic(A, "xlink").unwrap();
        let bad = |line: &heartbeat_tests::lab::LogLine| line.is_of("channel_bad", "xlink");
        lab.wait_event_since(A, before[0], bad, SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        let new: IpAddr = ipv4(1, 12).into();
        let mut longer = Config::usual();
        longer.groups[0].addresses.push(("net1".to_owned(), format!("{new}/24")));
        roll_out(&lab, &longer, Duration::from_millis(700));
        wait_holders(&lab, new, &[A]).unwrap();
        // That none comes is known after the waits of FIG. 4.
        for node in [A, B] {
            until(&format!("xlink alone is bad on {node}"), || {
                let status = lab.status(node)?.json;
                let good = CHANNELS.map(|name| channel(&status, name)["state"] == "good");
                let bad = channel(&status, "xlink")["state"] == "bad";
                Ok((good == [true, true, false] && bad).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        }
        let before = lab.marks();
        lab.insert_nic(A, "xlink").unwrap();
        for (node, mark) in [A, B].into_iter().zip(before) {
            lab.wait_event_since(node, mark, |line| line.is_of("channel_good", "xlink"), SOON)
                .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        }
        nobody_noticed(&lab, &clients, "a reload while a card was out", began);
    });
}

#[test]
fn a_reload_beside_a_file_that_differs_says_in_what_on_both_sides() {
    undisturbed(|| {
        let (lab, _clients) = pair(&Config::usual());
        let mut fewer = Config::usual();
        fewer.groups.truncate(1);
        let before = lab.marks();
        lab.configure_one(A, &fewer).unwrap();
        newer_than(&lab, A, B);
        lab.reload(A).unwrap();
        for (node, mark) in [A, B].into_iter().zip(before) {
            let told = lab.wait_event_since(node, mark, |line| line.is("configuration_differs"), SOON);
            let told = told.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
            let text = told.raw["text"].as_str().unwrap();
            assert!(text.contains("groups") && text.contains("a's file is the newer one"), "{node}: {text}");
            // Only b's file has its name.
            assert!(
                node == A || text.contains("storage-b") || told.raw["groups_only_here"][0] == "storage-b",
                "{told:?}"
            );
        }
    });
}

/// Makes the file of one controller the newer one by more than the second that a heartbeat tells it by.
fn newer_than(lab: &Lab, node: Node, other: Node) {
    let written = fs::metadata(lab.config_file(other)).unwrap().modified().unwrap();
    let file = File::options().write(true).open(lab.config_file(node)).unwrap();
    file.set_modified(written + Duration::from_secs(2)).unwrap();
}
