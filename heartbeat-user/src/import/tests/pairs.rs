//! Two files as those of one pair.

use super::*;
use crate::types::Node;

#[test]
fn the_other_file_says_the_other_address_and_who_is_preferred() {
    let multicast = |text: String| {
        let lines = text.lines().filter(|line| !line.contains("unicast_peer"));
        lines.collect::<Vec<_>>().join("\n").replace("unicast_src_ip", "mcast_src_ip").replace('%', "")
    };
    let imported = both(&multicast(A.into()), &multicast(b())).unwrap();
    assert!(imported.is_whole(), "{}", losses(&imported));
    let config = config(&imported);
    let ends = [Node::A, Node::B].map(|node| config.channels[0].end(node).unwrap().address.to_string());
    assert_eq!((ends, config.groups[0].home), (["192.0.2.1".into(), "192.0.2.2".into()], Node::A));
    let imported = both(&multicast(b()), &multicast(A.into())).unwrap();
    assert_eq!(super::config(&imported).groups[0].home, Node::B);
}

#[test]
fn an_instance_is_known_by_its_addresses_its_id_or_its_name() {
    let a = A.replace('%', "");
    for (from, to) in [
        ("VI_1", "other"),
        ("virtual_router_id 51", "virtual_router_id 9"),
        ("eth0", "ens3"),
        ("192.0.2.10/24", "192.0.2.10"),
    ] {
        let imported = both(&a, &b().replace(from, to).replace('%', "")).unwrap();
        assert_eq!(config(&imported).groups.len(), 1, "{to}");
    }
    let imported = both(&a, &b().replace("eth0", "ens3").replace('%', "")).unwrap();
    assert_eq!(config(&imported).channels[0].end(Node::B).unwrap().interface, "ens3");
    let imported = both(&a, &b().replace("192.0.2.10/24", "192.0.2.11/24").replace('%', "")).unwrap();
    assert_eq!(group(&imported).addresses.len(), 2);
    assert!(
        notes(&imported).contains("b.conf:1: note: vrrp_instance VI_1: not the same addresses as at a.conf:1"),
        "{}",
        notes(&imported)
    );
}

#[test]
fn files_that_are_not_of_one_pair_are_refused() {
    let a = A.replace('%', "");
    let error = both(&a, &b().replace("{ 192.0.2.1 }", "{ 192.0.2.3 }").replace('%', "")).unwrap_err();
    assert_eq!(
        error,
        "b.conf:8: unicast_peer 192.0.2.3: the other file says its address is 192.0.2.1 (a.conf:7); right would be the files of two nodes that \
         are each other's peer"
    );
    let stranger =
        b().replace("VI_1", "X").replace("id 51", "id 9").replace("192.0.2.10", "192.0.2.77").replace('%', "");
    let error = both(&a, &stranger).unwrap_err();
    assert!(
        error.starts_with("b.conf:1: vrrp_instance X: the other file says a.conf: no vrrp_instance with"),
        "{error}"
    );
    assert!(both(&a, "global_defs { }").unwrap_err().starts_with("b.conf:1: vrrp_instance: missing"));
    let peers = "{\n192.0.2.2\n192.0.2.3\n192.0.2.4\n}";
    let error = both(&a.replace("{ 192.0.2.2 }", peers), &b().replace('%', "")).unwrap_err();
    assert!(error.starts_with("a.conf:10: unicast_peer of VI_1: 3 peers are more than two nodes"), "{error}");
}

#[test]
fn one_interface_goes_with_one_of_the_other_controllers() {
    let second = |text: &str, interface: &str| {
        let more =
            text.replace("VI_1", "VI_2").replace("id 51", "id 52").replace("2.10/", "2.20/").replace("eth0", interface);
        (text.to_owned() + &more).replace('%', "")
    };
    let error = both(&second(A, "eth0"), &second(&b(), "eth7")).unwrap_err();
    let expected =
        "a.conf:12: eth0 with eth7: controller a's eth0 already goes with eth0 at a.conf:1; right would be one for one";
    assert_eq!(error, expected);
}

/// Two instances, on two interfaces, in one sync group, with these lines in it.
fn synced(text: &str, lines: &str) -> String {
    let second = text
        .replace("VI_1", "VI_2")
        .replace("id 51", "id 52")
        .replace("192.0.2.", "198.51.100.")
        .replace("eth0", "eth1");
    format!("vrrp_sync_group BOTH {{ group {{ VI_1 VI_2 }}\n{lines} }}\n{text}{second}").replace('%', "")
}

#[test]
fn a_sync_group_is_one_group_of_all_of_its_addresses() {
    let imported = both(&synced(A, "notify /bin/n"), &synced(&b(), "notify /bin/n")).unwrap();
    let config = config(&imported);
    assert_eq!((config.channels.len(), config.groups.len()), (2, 1));
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), group.home, group.addresses.len()), ("BOTH", Node::A, 2));
    assert_eq!(group.hooks.on_acquired.as_ref().unwrap().join(" "), "/bin/n GROUP BOTH MASTER 150");
    assert!(imported.is_whole(), "{}", losses(&imported));
}

#[test]
fn a_sync_group_whose_members_are_preferred_elsewhere_has_one_home_and_that_is_said() {
    let swap = |text: String, from: &str, to: &str| {
        let (first, second) = text.split_once("vrrp_instance VI_2").unwrap();
        format!("{first}vrrp_instance VI_2{}", second.replace(from, to))
    };
    let a = swap(synced(A, ""), "priority 150", "priority 50");
    let imported = both(&a, &synced(&b(), "")).unwrap();
    assert_eq!(group(&imported).home, Node::A);
    assert!(
        notes(&imported).contains("VI_1 is preferred elsewhere; what is in one sync group has one home here: a"),
        "{}",
        notes(&imported)
    );
}

#[test]
fn what_only_one_of_the_files_has_or_what_differs_is_said() {
    let script = |command: &str| format!("vrrp_script s {{ script {command} }}\n");
    let a = script("/bin/x") + &A.replace('%', "track_script { s }\nadvert_int 2\nnotify_master /bin/one");
    let b = script("/bin/y") + &b().replace('%', "track_script { s }\nadvert_int 1\nnotify_master /bin/two");
    let imported = both(&a, &b).unwrap();
    let lost = losses(&imported);
    assert!(lost.contains("b.conf:1: lost: s: not the same as s (a.conf:1), which counts"), "{lost}");
    assert!(
        lost.contains(
            "b.conf:13: lost: /bin/two: a group has one command at each step; let one script call both: /bin/one counts"
        ),
        "{lost}"
    );
    assert!(
        notes(&imported)
            .contains("a.conf:12: note: advert_int 2s: all channels of a pair have one interval: 1s, of b.conf:12"),
        "{}",
        notes(&imported)
    );
    let more =
        a.clone() + &A.replace("VI_1", "VI_9").replace("id 51", "id 9").replace("2.10/", "2.90/").replace('%', "");
    let imported = both(&more, &b).unwrap();
    assert_eq!(config(&imported).groups.len(), 2);
    assert!(notes(&imported).contains("note: vrrp_instance VI_9: only this file has it"), "{}", notes(&imported));
}

#[test]
fn instances_with_one_home_each_are_active_on_both() {
    let second = |text: &str, priority: u32| {
        let more = text.replace("VI_1", "VI_2").replace("id 51", "id 52").replace("2.10/", "2.20/");
        let more = more
            .lines()
            .map(|line| if line.contains("priority") { format!("priority {priority}\n") } else { format!("{line}\n") });
        (text.to_owned() + &more.collect::<String>()).replace('%', "")
    };
    let imported = both(&second(A, 50), &second(&b(), 60)).unwrap();
    let homes: Vec<_> = config(&imported).groups.iter().map(|group| group.home).collect();
    assert_eq!((homes, config(&imported).channels.len()), (vec![Node::A, Node::B], 1));
}
