//! Each construct by itself.

use super::*;
use crate::config::{ChannelKind, Profile};
use crate::types::{Nanos, Node};

const MS: fn(u64) -> Nanos = Nanos::from_millis;

#[test]
fn an_instance_is_a_group_on_the_channel_of_its_interface() {
    let imported = with("", "");
    assert!(imported.is_whole(), "{}", losses(&imported));
    let config = config(&imported);
    assert_eq!((config.pair.id, config.channels.len(), config.groups.len()), (51, 1, 1));
    let channel = &config.channels[0];
    let ends = [Node::A, Node::B].map(|node| channel.end(node).unwrap().clone());
    assert_eq!(ends.each_ref().map(|end| end.interface.as_str()), ["eth0", "eth0"]);
    assert_eq!(ends.map(|end| end.address.to_string()), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!((channel.name.as_str(), channel.kind), ("eth0", ChannelKind::Network));
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), group.home, group.failback), ("VI_1", Node::A, None));
    assert_eq!((group.addresses[0].address.to_string().as_str(), group.addresses[0].prefix), ("192.0.2.10", 24));
}

#[test]
fn the_advertisement_interval_is_the_heartbeats_and_three_of_them_are_missed() {
    for (lines, profile, interval, detection) in [
        ("", Profile::Lan, 1_000, 3_000),
        ("advert_int 5", Profile::Lan, 5_000, 15_000),
        ("advert_int 0.1", Profile::Lan, 100, 300),
        ("advert_int 0.05", Profile::Fast, 50, 150),
        ("advert_int 0.01", Profile::Fast, 10, 30),
        ("advert_int 60", Profile::Lan, 10_000, 30_000),
        ("down_timer_adverts 5", Profile::Lan, 1_000, 5_000),
        ("down_timer_adverts 1", Profile::Lan, 1_000, 2_000),
    ] {
        let imported = with("", lines);
        let config = config(&imported);
        assert_eq!((config.profile, config.timing.interval), (profile, MS(interval)), "{lines}");
        assert_eq!(config.timing.detection(), MS(detection), "{lines}");
        let waits = config.timing.interval.times(config.timing.failed_waits.into());
        assert!(waits > config.timing.detection() && waits >= MS(3_000), "{lines}: {waits}");
    }
    assert!(notes(&with("", "advert_int 60")).contains("the longest interval is 10s"));
}

#[test]
fn announcements_are_repeated_as_often_as_the_file_says() {
    let every = |before: &str, lines: &str| config(&with(before, lines)).takeover.announce_every;
    assert_eq!(every("", ""), None);
    assert_eq!(every("", "garp_master_refresh 60"), Some(MS(60_000)));
    assert_eq!(every("global_defs { vrrp_garp_master_refresh 30 }", "garp_master_refresh 60"), Some(MS(30_000)));
    assert_eq!(every("", "garp_master_refresh 0"), None);
}

#[test]
fn who_is_preferred_and_whether_it_preempts_decide_home_and_failback() {
    let of = |from: &str, to: &str| {
        let group = group(&alone(&A.replace('%', "").replace(from, to)).unwrap());
        (group.home, group.failback)
    };
    assert_eq!(of("nopreempt", ""), (Node::A, Some(MS(1_000))));
    assert_eq!(of("nopreempt", "preempt_delay 300"), (Node::A, Some(MS(300_000))));
    assert_eq!(of("state MASTER", "state BACKUP"), (Node::B, None));
    assert_eq!(of("state MASTER", ""), (Node::B, None));
    let note = "keepalived ignores it where the state is MASTER";
    assert!(notes(&with("", "")).contains(note), "{}", notes(&with("", "")));
    let backup = alone(&A.replace('%', "").replace("state MASTER", "state SLAVE")).unwrap();
    assert!(
        notes(&backup).contains("keepalived takes it as BACKUP")
            && notes(&backup).contains("right would be both files")
    );
}

#[test]
fn addresses_have_a_prefix_and_their_options_are_said() {
    let imported = with(
        "",
        "virtual_ipaddress_excluded {\n 192.0.2.11\n 2001:db8::11/64 dev eth0 scope global\n 192.0.2.10/24\n }",
    );
    let addresses: Vec<_> =
        group(&imported).addresses.iter().map(|at| format!("{}/{}", at.address, at.prefix)).collect();
    assert_eq!(addresses, ["192.0.2.10/24", "192.0.2.11/32", "2001:db8::11/64"]);
    assert!(
        notes(&imported).contains("a.conf:14: note: 192.0.2.10: already at a.conf:10: once is enough"),
        "{}",
        notes(&imported)
    );
    for (option, said) in [
        ("label eth0:1", "note: 192.0.2.12/24 label eth0:1: label eth0:1: addresses have no labels"),
        ("brd 192.0.2.255", "brd 192.0.2.255: the broadcast address is that of the prefix"),
        ("scope link", "scope link: an address has the scope that the kernel gives"),
        ("peer 192.0.2.99", "lost: 192.0.2.12/24 peer 192.0.2.99: peer 192.0.2.99: an address without a peer"),
        ("no_track", "no_track: an address that somebody removes is put back"),
        ("use_vmac", "lost: 192.0.2.12/24 use_vmac: use_vmac: no virtual Ethernet address"),
        ("noprefixroute", "noprefixroute: the agent sets what an address needs"),
        ("preferred_lft 0", "preferred_lft: IPv6 addresses of groups are never the source"),
        ("metric 3", "metric 3: not needed"),
    ] {
        let imported = with("", &format!("virtual_ipaddress {{ 192.0.2.12/24 {option} }}"));
        assert!(notes(&imported).contains(said), "{option}: {}", notes(&imported));
        assert_eq!(group(&imported).addresses.len(), 2, "{option}");
    }
}

#[test]
fn an_address_on_another_interface_makes_a_channel_whose_addresses_are_asked_for() {
    let text = A.replace('%', "virtual_ipaddress { 198.51.100.10/24 dev eth1 }");
    let imported = alone(&text).unwrap();
    assert_eq!(
        losses(&imported),
        "a.conf:10: to fill in: controller a's own address on eth1: no file says it: --own-address eth1=ADDRESS, or put it in place of the \
         text that begins with TODO\n\
         a.conf:10: to fill in: controller b's own address on eth1: no file says it: --peer-address eth1=ADDRESS, or put it in place of the \
         text that begins with TODO\n"
    );
    let error = Config::parse(&imported.toml, "result.toml").unwrap_err().to_string();
    assert!(
        error.contains("channel \"eth1\": a.address = \"TODO: a's own address on eth1\": not an IP address"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");

    let options = ImportOptions {
        own_addresses: vec![("eth1".into(), "198.51.100.1".parse().unwrap())],
        peer_addresses: vec![("eth1".into(), "198.51.100.2".parse().unwrap())],
        peer_interfaces: vec![("eth1".into(), "ens9".into())],
        ..ImportOptions::default()
    };
    let imported = import(&[("a.conf", &text)], None, &options).unwrap();
    let config = config(&imported);
    assert!(imported.is_whole() && config.channels.len() == 2);
    assert_eq!(config.channels[1].end(Node::B).unwrap().interface, "ens9");
}

#[test]
fn what_the_command_line_says_comes_before_the_files_and_more_channels_are_dedicated() {
    let address = |interface: &str, text: &str| (interface.to_owned(), text.parse().unwrap());
    let options = ImportOptions {
        hostnames: [Some("filer-a".into()), Some("filer-b".into())],
        pair_id: Some(9),
        own_addresses: vec![address("eth9", "fe80::1"), address("eth0", "192.0.2.7")],
        peer_addresses: vec![address("eth9", "fe80::2")],
        ..ImportOptions::default()
    };
    let imported = import(&[("a.conf", &A.replace('%', ""))], None, &options).unwrap();
    let config = config(&imported);
    assert_eq!((config.pair.id, config.hostnames[1].as_deref()), (9, Some("filer-b")));
    assert_eq!(config.channels[0].end(Node::A).unwrap().address.to_string(), "192.0.2.7");
    assert_eq!((config.channels[1].name.as_str(), config.channels[1].kind), ("eth9", ChannelKind::Dedicated));
}

#[test]
fn a_tracked_script_is_a_check_with_its_weight() {
    let script = "vrrp_script web {\n script \"/usr/bin/web-is-well --fast 'a b'\"\n %\n}";
    let check = |more: &str, track: &str| {
        let imported = with(&script.replace('%', more), &format!("track_script {{ {track} }}"));
        let check = config(&imported).checks.first().cloned();
        (imported, check)
    };
    let (imported, found) = check("", "web");
    let found = found.unwrap();
    assert_eq!(found.command, ["/usr/bin/web-is-well", "--fast", "a b"]);
    assert_eq!(
        (found.interval, found.timeout, found.rise, found.fall, found.weight),
        (MS(1_000), MS(1_000), 1, 1, 100)
    );
    assert!(imported.is_whole());
    let found = check("interval 5\n timeout 2\n rise 2\n fall 4\n weight -20", "web").1.unwrap();
    assert_eq!((found.interval, found.timeout, found.rise, found.fall, found.weight), (MS(5_000), MS(2_000), 2, 4, 20));
    let (imported, found) = check("weight -20", "web weight 30");
    assert_eq!(found.unwrap().weight, 30);
    assert!(
        notes(&imported).contains("web weight 30: a check that fails is a fault of its controller"),
        "{}",
        notes(&imported)
    );
    for (more, track) in [("weight 0 reverse", "web"), ("", "web weight 5 reverse")] {
        let (imported, found) = check(more, track);
        assert!(
            found.is_none()
                && losses(&imported).contains("web reverse: a check that fails is a fault, never the other way round")
        );
    }
    assert!(check("weight 3 reverse", "web weight 5 noreverse").1.is_some());
    let found = check("interval 0.01\n timeout 0.001", "web").1.unwrap();
    assert_eq!((found.interval, found.timeout), (MS(100), MS(10)));
    let imported = with(&script.replace('%', ""), "");
    assert!(config(&imported).checks.is_empty() && notes(&imported).contains("nothing tracks it"));
}

#[test]
fn a_script_is_run_as_keepalived_ran_it() {
    let run = |global: &str, script: &str, user: &str| {
        let before = format!("{global}\nvrrp_script s {{\n script {script}\n {user} }}");
        let imported = with(&before, "track_script { s }");
        let words = config(&imported).checks[0].command.join("|");
        (words, notes(&imported))
    };
    let root = "global_defs { script_user root }";
    assert_eq!(run(root, "/bin/true", "").0, "/bin/true");
    assert_eq!(run(root, "\"/bin/true a\"", "user nobody").0, "/usr/sbin/runuser|-u|nobody|--|/bin/true|a");
    assert_eq!(
        run("global_defs { script_user www :web }", "/bin/true", "").0,
        "/usr/sbin/runuser|-u|www|-g|web|--|/bin/true"
    );
    assert_eq!(run("global_defs { script_user www }", "/bin/true", "user root").0, "/bin/true");
    let (words, said) = run("", "\"killall -0 haproxy\"", "");
    assert_eq!(words, "/usr/bin/env|killall|-0|haproxy");
    assert!(
        said.contains("here it runs as root") && said.contains("killall is looked for in PATH each time"),
        "{said}"
    );
    assert_eq!(run(root, "\"</dev/tcp/127.0.0.1/80\"", "").0, "/bin/bash|-c|</dev/tcp/127.0.0.1/80");
    assert_eq!(run(root, "\"< /run/ok\"", "").0, "/bin/sh|-c|< /run/ok");
    let (words, said) = run(root, "\"/bin/curl x || exit 1\"", "");
    assert_eq!(words, "/bin/curl|x||||exit|1");
    assert!(said.contains("|| is an argument, as it was: there is no shell"), "{said}");
    let (words, said) = run(root, "/bin/echo a b", "");
    assert!(words == "/bin/echo" && said.contains("keepalived runs the first word alone"), "{said}");
}

#[test]
fn a_tracked_process_is_looked_for_by_its_name_or_its_command_line() {
    let process = |lines: &str| {
        let imported = with(&format!("vrrp_track_process p {{\n{lines}\n}}"), "track_process { p weight -7 }");
        let check = config(&imported).checks.remove(0);
        assert_eq!(check.weight, 7);
        (check.command.join(" "), losses(&imported))
    };
    assert_eq!(process("process nginx").0, "/usr/bin/pgrep -x -- nginx");
    assert_eq!(process("process \"a.b+\"").0, r"/usr/bin/pgrep -x -- a\.b\+");
    assert_eq!(process("process nginx -g x\nparam_match partial").0, "/usr/bin/pgrep -x -f -- ([^ ]*/)?nginx -g x.*");
    assert_eq!(process("process /usr/sbin/nginx -g\nfull_command").0, "/usr/bin/pgrep -x -f -- /usr/sbin/nginx -g");
    assert_eq!(
        process("process a-very-long-name-of-one").0,
        "/usr/bin/pgrep -x -f -- ([^ ]*/)?a-very-long-name-of-one"
    );
    assert_eq!(process("process nginx\nquorum 1\ndelay 3").1, "");
    assert!(
        process("process nginx\nquorum 2").1.contains("lost: quorum 2: the check asks whether there is one at least")
    );
    assert!(process("process nginx\nquorum_max 2").1.contains("lost: quorum_max 2: "));
}

#[test]
fn tracked_interfaces_are_judged_where_they_are_channels() {
    let imported = with("", "track_interface {\n eth0 weight -30\n eth5\n lo\n eth0 weight 4 reverse\n }");
    assert_eq!(config(&imported).channels[0].weight, 30);
    let lost = losses(&imported);
    assert!(
        lost.contains(
            "a.conf:13: lost: track_interface eth5: only channels are judged; make it one: --own-address eth5="
        ),
        "{lost}"
    );
    assert!(lost.contains("track_interface lo: to take a controller out of service by hand"), "{lost}");
    assert!(lost.contains("eth0 reverse: a network that fails is a fault, never the other way round"), "{lost}");
    let given = |n| vec![("eth5".to_owned(), format!("198.51.100.{n}").parse().unwrap())];
    let options = ImportOptions { own_addresses: given(1), peer_addresses: given(2), ..ImportOptions::default() };
    let text = A.replace('%', "track_interface { eth5 }");
    let imported = import(&[("a.conf", &text)], None, &options).unwrap();
    assert!(imported.is_whole(), "{}", losses(&imported));
    assert_eq!(config(&imported).channels[1].kind, ChannelKind::Network);
}

#[test]
fn scripts_that_are_told_are_hooks_with_the_arguments_that_they_had() {
    let root = "global_defs { script_user root }";
    let group = |lines: &str| {
        let imported = with(root, lines);
        let hooks = group(&imported);
        let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| words.join(" ")).unwrap_or_default();
        let [acquired, release] = [&hooks.hooks.on_acquired, &hooks.hooks.on_release].map(words);
        assert!(!hooks.exclusive && (hooks.hooks.force || release.is_empty()));
        (acquired, release, losses(&imported), notes(&imported))
    };
    let (acquired, release, lost, said) = group("notify_master \"/bin/n up\"\n notify_backup \"/bin/n down\" www");
    assert_eq!((acquired.as_str(), release.as_str()), ("/bin/n up", "/usr/sbin/runuser -u www -- /bin/n down"));
    assert!(
        lost.is_empty() && said.contains("note: /bin/n up: on_acquired of its group: HEARTBEAT_GROUP, _REASON"),
        "{said}"
    );
    let (acquired, release, lost, said) = group("notify \"/bin/n -v\"");
    assert_eq!(acquired, "/bin/n -v INSTANCE VI_1 MASTER 150");
    assert_eq!((release.as_str(), lost.as_str()), ("/bin/n -v INSTANCE VI_1 BACKUP 150", ""));
    assert!(said.contains("run with the arguments INSTANCE VI_1 MASTER 150 as on_acquired"), "{said}");
    let (acquired, release, ..) = group("notify /bin/n\n notify_master /bin/m");
    assert_eq!((acquired.as_str(), release.as_str()), ("/bin/m", "/bin/n INSTANCE VI_1 BACKUP 150"));
    let lost = group("notify /bin/n\n notify_master /bin/m\n notify_backup /bin/b").2;
    assert_eq!(lost, "a.conf:11: lost: /bin/n: a group has one command at each step; let one script call both\n");
    let lost = group("notify_backup /bin/b\n notify_fault /bin/b\n notify_stop /bin/s").2;
    assert!(lost.starts_with("a.conf:13: lost: /bin/s: there is no such state") && lost.lines().count() == 1, "{lost}");
    let lost = group("notify_master_rx_lower_pri /bin/x").2;
    assert!(lost.contains("both holding a group is the event dual_ownership"), "{lost}");
}

#[test]
fn routes_and_rules_are_lost_with_the_commands_that_put_them_there() {
    let imported = with(
        "",
        "virtual_routes {\n 0.0.0.0/0 gw 192.0.2.254 table 100 no_track\n }\n virtual_rules { from 10.0.0.0/8 table 100 }",
    );
    let lost = losses(&imported);
    assert!(
        lost.contains(
            "run `ip route replace 0.0.0.0/0 via 192.0.2.254 table 100`, and on_releasing `ip route del 0.0.0.0/0 via"
        ),
        "{lost}"
    );
    assert!(lost.contains("run `ip rule add from 10.0.0.0/8 table 100`"), "{lost}");
}

#[test]
fn what_has_no_counterpart_is_named_with_what_to_do_instead() {
    for (before, lines, said) in [
        (
            "virtual_server 192.0.2.10 80 {\n real_server 192.0.2.3 80 { weight 1 }\n}",
            "",
            "a.conf:1: lost: virtual_server 192.0.2.10 80: no load balancer",
        ),
        (
            "static_routes { 10.0.0.0/8 via 192.0.2.254 }",
            "",
            "a.conf:1: lost: static_routes: what does not move is the host's",
        ),
        ("track_file f { file /run/f }", "track_file { f }", "a.conf:11: lost: track_file: no number in a file"),
        ("bfd_instance b { neighbor_ip 192.0.2.9 }", "track_bfd { b }", "a.conf:1: lost: bfd_instance b: no BFD"),
        (
            "global_defs { notification_email { a@example.org } }",
            "",
            "a.conf:1: lost: notification_email: no mail is sent",
        ),
        ("global_defs { vrrp_notify_fifo /run/f }", "", "lost: vrrp_notify_fifo /run/f: no FIFO"),
        ("global_defs { enable_snmp_vrrp }", "", "lost: enable_snmp_vrrp: no SNMP"),
        ("global_defs { enable_dbus }", "", "lost: enable_dbus: no D-Bus"),
        ("global_defs { startup_script /bin/x }", "", "lost: startup_script /bin/x: what the agent's unit is for"),
        ("global_defs { vrrp_startup_delay 5 }", "", "lost: vrrp_startup_delay 5: [timing] failed_waits"),
        ("net_namespace blue", "", "lost: net_namespace blue: what the agent's unit is for"),
        ("", "use_vmac vrrp.51", "lost: use_vmac vrrp.51: no virtual Ethernet address"),
        ("", "use_ipvlan", "lost: use_ipvlan: no virtual Ethernet address"),
        ("", "no_accept", "lost: no_accept: addresses of a group are the host's own"),
        ("", "vrf blue", "lost: vrf blue: channels are in the agent's network namespace"),
        ("", "smtp_alert", "lost: smtp_alert: no mail is sent"),
        ("", "dont_track_primary", "lost: dont_track_primary: a network with addresses of a group is judged"),
    ] {
        let imported = with(before, lines);
        assert!(losses(&imported).contains(said), "{before} {lines}: {}", losses(&imported));
        assert!(!imported.is_whole());
    }
    for (before, lines, said) in [
        ("global_defs { router_id lb }", "", "note: router_id lb: a controller is known by its host's name"),
        (
            "global_defs { garp_master_delay 3 }",
            "",
            "keepalived knows it in vrrp_instance, not in global_defs, and ignored it",
        ),
        (
            "",
            "authentication {\n auth_type PASS\n auth_pass hunter2\n }",
            "heartbeats are signed with the pair's key instead",
        ),
        ("", "version 3", "note: version 3: not needed: it is about VRRP"),
        ("include conf.d/*.conf", "", "note: include conf.d/*.conf: no such file: there is nothing to include"),
    ] {
        let imported = with(before, lines);
        assert!(imported.is_whole(), "{}", losses(&imported));
        assert!(notes(&imported).contains(said), "{before} {lines}: {}", notes(&imported));
        assert!(!notes(&imported).contains("hunter2") && !imported.toml.contains("hunter2"));
    }
}

#[test]
fn an_instance_without_addresses_is_lost_and_so_is_an_address_of_a_host() {
    let imported =
        alone(&A.replace('%', "notify_master /bin/x").replace("virtual_ipaddress { 192.0.2.10/24 }", "")).unwrap();
    assert!(config(&imported).groups.is_empty());
    assert!(
        losses(&imported).starts_with("a.conf:1: lost: VI_1: a group has one address at least"),
        "{}",
        losses(&imported)
    );
    let imported = with("", "virtual_ipaddress { 192.0.2.1/24 }");
    assert!(losses(&imported).contains("192.0.2.1: VI_1's host has it as its own"), "{}", losses(&imported));
    assert_eq!(group(&imported).addresses.len(), 1);
}

#[test]
fn an_interface_that_no_address_is_on_and_that_is_not_tracked_is_dedicated() {
    let text = A.replace("192.0.2.10/24", "198.51.100.10/24 dev eth1").replace('%', "dont_track_primary");
    let imported = alone(&text).unwrap();
    assert!(imported.toml.contains("name = \"eth0\"\nkind = \"dedicated\""), "{}", imported.toml);
    assert!(!losses(&imported).contains("dont_track_primary"));
}

#[test]
fn without_an_interface_the_default_one_is_taken() {
    let text = A.replace('%', "").replace("    interface eth0\n", "");
    for (before, addresses, expected) in [
        ("", "192.0.2.10/24", "eth0"),
        ("", "192.0.2.10/24 dev ens5", "ens5"),
        ("global_defs { default_interface p1 }", "192.0.2.10/24", "p1"),
    ] {
        let imported = alone(&format!("{before}\n{}", text.replace("192.0.2.10/24", addresses))).unwrap();
        assert_eq!(config(&imported).channels[0].name, expected);
        assert!(notes(&imported).contains(&format!("no interface: {expected} is taken")));
    }
}
