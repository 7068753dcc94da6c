//! What is wrong on the wire, in the configuration or in its use: a clear error or a counted drop, never a crash, never a
//! takeover.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{ChannelConfig, Config, Lab, LogLine, Node, Options, binary, heartbeat};
use heartbeat_tests::scenario::{SOON, channel, held, look_on, owners, rejected, reload, running, start_apart};

/// A pair that waits for its peer's first heartbeat for a second only.
fn config() -> Config {
    Config::usual().timing("failed_waits", "10")
}

fn lab() -> Lab {
    let lab = Lab::new(Options::default()).unwrap();
    lab.make_key().unwrap();
    lab
}

/// Starts both agents, each with its own configuration.
fn start(configs: [&Config; 2]) -> Lab {
    let lab = lab();
    start_apart(&lab, configs).unwrap();
    lab
}

fn lines(lab: &Lab, node: Node) -> Vec<LogLine> {
    lab.events_since(node, lab.run_begin(node))
}

/// Neither can read the other: both withhold, say why, count the messages under `reason`, and nobody claims anything.
fn strangers(lab: &Lab, reason: &str) {
    for node in Node::BOTH {
        let withheld = lab.wait_event(node, |line| line.is("takeover_withheld"), SOON).unwrap();
        assert_eq!(withheld.raw["reason"], "stranger", "{node}");
    }
    // And stay so.
    look_on(Duration::from_secs(1));
    for node in Node::BOTH {
        let claims = |line: &LogLine| line.is("group_acquiring") || line.is("peer_good");
        let claimed = lines(lab, node).into_iter().find(claims);
        assert_eq!(claimed, None, "{node}");
        let status = lab.status(node).unwrap();
        assert_eq!(status.code, 1, "{node}");
        let counts = rejected(&status.json, "net1");
        assert!(counts[reason] > 10, "{node}: {counts:?}");
        assert!(status.json["verdict"].as_str().unwrap().contains("no takeover"), "{}", status.json["verdict"]);
        assert_eq!(held(&status.json), [false, false], "{node}");
    }
}

#[test]
fn a_pair_with_two_different_keys_claims_nothing() {
    undisturbed(|| {
        let lab = lab();
        lab.configure(&config()).unwrap();
        let other = lab.folder().join("other.key");
        let made = heartbeat(["keygen".as_ref(), other.as_os_str()], SOON).unwrap();
        assert!(made.0.success(), "{made:?}");
        lab.configure_text(Node::B, &config().to_toml(&other)).unwrap();
        lab.start_both().unwrap();
        strangers(&lab, "wrong_tag");
    });
}

#[test]
fn two_with_different_pair_ids_claim_nothing() {
    undisturbed(|| {
        let mut other = config();
        other.pair_id = 8;
        strangers(&start([&config(), &other]), "wrong_pair");
    });
}

#[test]
fn two_with_the_same_channels_and_groups_in_another_order_are_a_pair() {
    undisturbed(|| {
        let mut other = config();
        other.channels.rotate_left(1);
        other.groups.reverse();
        let lab = start([&config(), &other]);
        for (node, group) in [(Node::A, "storage-a"), (Node::B, "storage-b")] {
            lab.wait_event(node, |line| line.is_of("group_acquired", group), SOON).unwrap();
        }
        for (node, name) in Node::BOTH.into_iter().flat_map(|node| ["net1", "net2", "xlink"].map(|name| (node, name))) {
            lab.wait_event(node, |line| line.is_of("channel_good", name), SOON).unwrap();
        }
        for node in Node::BOTH {
            let status = lab.status(node).unwrap();
            for name in ["net1", "net2", "xlink"] {
                assert_eq!(channel(&status.json, name)["state"], "good", "{node}: {name}");
                assert_eq!(rejected(&status.json, name)["wrong_channel"], 0, "{node}: {name}");
            }
            let said = lines(&lab, node).into_iter().find(|line| line.is("configuration_differs"));
            assert_eq!(said, None, "{node}");
        }
    });
}

/// A cable between two networks: authentic, and for another channel.
#[test]
fn a_channel_whose_ends_are_called_otherwise_is_no_channel() {
    undisturbed(|| {
        let mut other = config();
        for (channel, name) in other.channels.iter_mut().zip(["other1", "other2", "other3"]) {
            channel.name = name.to_owned();
        }
        for group in &mut other.groups {
            for (channel, _) in &mut group.addresses {
                *channel = channel.replace("net", "other");
            }
        }
        let lab = start([&config(), &other]);
        for node in Node::BOTH {
            let withheld = lab.wait_event(node, |line| line.is("takeover_withheld"), SOON).unwrap();
            assert_eq!(withheld.raw["reason"], "stranger", "{node}");
        }
        assert!(rejected(&lab.status(Node::A).unwrap().json, "net1")["wrong_channel"] > 0);
    });
}

#[test]
fn two_agents_with_the_same_node_letter_claim_nothing() {
    undisturbed(|| {
        let lab = lab();
        lab.configure(&config()).unwrap();
        // b is told that it is a, and believes it has a's addresses: the ends of every channel are swapped.
        let mut swapped = config();
        for ChannelConfig { a, b, .. } in &mut swapped.channels {
            std::mem::swap(a, b);
        }
        lab.configure_one(Node::B, &swapped).unwrap();
        lab.start(Node::A).unwrap();
        lab.start_as(Node::B, Node::A).unwrap();
        strangers(&lab, "same_node");
    });
}

#[test]
fn the_wrong_node_letter_on_a_host_is_refused_with_the_right_one() {
    undisturbed(|| {
        let lab = lab();
        lab.configure(&config()).unwrap();
        lab.start_as(Node::B, Node::A).unwrap();
        let (code, said) = refusal(&lab, Node::B);
        assert_eq!(code, 1);
        assert!(said.contains("192.0.2.1 is not an address of eth0, which has 192.0.2.2"), "{said}");
        assert!(said.contains("is this host controller b?"), "{said}");
    });
}

#[test]
fn a_controller_with_fewer_channels_is_a_peer_on_those_and_both_say_that_they_differ() {
    undisturbed(|| {
        let mut fewer = config();
        fewer.channels.truncate(2);
        let lab = start([&config(), &fewer]);
        for node in Node::BOTH {
            let differs = lab.wait_event(node, |line| line.is("configuration_differs"), SOON).unwrap();
            assert_eq!(differs.raw["what"], "channels");
        }
        for (node, group) in [(Node::A, "storage-a"), (Node::B, "storage-b")] {
            lab.wait_event(node, |line| line.is_of("group_acquired", group), SOON).unwrap();
        }
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "xlink"), SOON).unwrap();
        let status = lab.status(Node::A).unwrap();
        assert_eq!(status.code, 1);
        assert_eq!(channel(&status.json, "xlink")["state"], "bad");
        assert_eq!(status.json["peer"]["state"], "good");
    });
}

#[test]
fn with_different_groups_nothing_is_claimed_while_both_are_alive() {
    undisturbed(|| {
        let mut other = config();
        other.groups[1].addresses[0].1 = "198.51.100.11/24".to_owned();
        let lab = start([&config(), &other]);
        for node in Node::BOTH {
            let differs = lab.wait_event(node, |line| line.is("configuration_differs"), SOON).unwrap();
            assert_eq!(differs.raw["what"], "groups");
        }
        look_on(Duration::from_secs(1));
        for node in Node::BOTH {
            let claimed = lines(&lab, node).into_iter().find(|line| line.is("group_acquiring"));
            assert_eq!(claimed, None, "{node}");
            let json = lab.status(node).unwrap().json;
            assert!(json["verdict"].as_str().unwrap().contains("no group moves"), "{}", json["verdict"]);
            assert_eq!(owners(&json), ["", ""]);
        }
        // The death of one ends the argument.
        lab.kill(Node::B).unwrap();
        lab.wait_event(Node::A, |line| line.is_of("group_acquired", "storage-b"), SOON).unwrap();
    });
}

#[test]
fn with_different_intervals_the_longer_one_counts_and_no_channel_fails() {
    undisturbed(|| {
        let config = Config::usual();
        let slow = config.clone().timing("interval", "\"500ms\"");
        let lab = start([&config, &slow]);
        for (node, group) in [(Node::A, "storage-a"), (Node::B, "storage-b")] {
            let differs = lab.wait_event(node, |line| line.is("configuration_differs"), SOON).unwrap();
            assert_eq!(differs.raw["what"], "interval");
            lab.wait_event(node, |line| line.is_of("group_acquired", group), SOON).unwrap();
        }
        // Four intervals of the slower one, twenty of the faster.
        let bad =
            lab.wait_event(Node::A, |line| line.is("channel_bad") || line.is("peer_dead"), Duration::from_secs(2));
        assert!(bad.is_err(), "{bad:?}");
        let events = lines(&lab, Node::B);
        assert!(!events.iter().any(|line| line.is("channel_bad")), "{events:?}");
    });
}

/// How an agent that does not start ends: its exit code, and what it says.
fn refusal(lab: &Lab, node: Node) -> (i32, String) {
    let status = lab.wait_exit(node, SOON).unwrap();
    // Its last lines may be read a moment after its end: until then there is something to wait for.
    let ended = lab.wait_event(node, |_| false, SOON).unwrap_err();
    assert!(format!("{ended:#}").contains("the agent ended"), "{ended:#}");
    let said: Vec<_> = lines(lab, node).iter().filter_map(|line| line.raw.as_str().map(str::to_owned)).collect();
    (status.code().unwrap(), said.join("\n"))
}

/// A configuration that no agent starts with, though its peer runs: `said` is in the error, and the peer does not notice.
fn refused(change: impl FnOnce(&mut Config), said: &[&str]) {
    let lab = lab();
    let mut config = config();
    change(&mut config);
    lab.configure(&config).unwrap();
    lab.start(Node::A).unwrap();
    let (code, error) = refusal(&lab, Node::A);
    assert_eq!(code, 1, "{error}");
    for words in said {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    checked(&lab, said);
}

/// A configuration that does not fit a's host: it starts all the same, `said` is told, the channel is BAD and the others work;
/// `heartbeat check` is not content.
fn goes_on_without(change: impl FnOnce(&mut Config), said: &[&str]) {
    let lab = lab();
    let mut other = config();
    change(&mut other);
    lab.configure(&config()).unwrap();
    lab.configure_one(Node::A, &other).unwrap();
    lab.start_both().unwrap();
    let names_all = |line: &LogLine| {
        let what = line.raw["what"].as_str().unwrap_or_default();
        line.is("host_problem") && said.iter().all(|words| what.contains(words))
    };
    lab.wait_event(Node::A, names_all, SOON).unwrap();
    lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
    for name in ["net2", "xlink"] {
        lab.wait_event(Node::A, |line| line.is_of("channel_good", name), SOON).unwrap();
    }
    lab.wait_event(Node::B, |line| line.is_of("group_acquired", "storage-b"), SOON).unwrap();
    assert_eq!(channel(&lab.status(Node::A).unwrap().json, "net1")["state"], "bad");
    checked(&lab, said);
}

/// What `heartbeat check` says on a's host, with exit code 1.
fn checked(lab: &Lab, said: &[&str]) {
    let path = lab.config_file(Node::A).display().to_string();
    let check = move || Command::new(binary().unwrap()).args(["check", "--node", "a", "--config", &path]).output();
    let checked = lab.controller(Node::A).unwrap().run(check).unwrap().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    for words in said {
        assert!(told.contains(words), "check: no {words:?} in: {told}");
    }
}

#[test]
fn a_missing_interface_is_named_with_those_that_are_there() {
    undisturbed(|| {
        goes_on_without(
            |config| config.channels[0].a.0 = "eth7".to_owned(),
            &["channel \"net1\"", "no interface \"eth7\"", "it has eth0, eth1, eth9, lo"],
        );
    });
}

#[test]
fn an_address_that_is_not_on_this_host_is_named_with_how_to_add_it() {
    undisturbed(|| {
        goes_on_without(
            |config| config.channels[0].a.1 = "192.0.2.77".to_owned(),
            &["channel \"net1\"", "192.0.2.77 is not an address of eth0", "ip addr add 192.0.2.77/24 dev eth0"],
        );
    });
}

#[test]
fn duplicate_channels_are_named_with_the_line_of_the_first() {
    undisturbed(|| {
        refused(
            |config| {
                let again = config.channels[0].clone();
                config.channels.push(again);
            },
            &["a.toml:", "channel", "net1", "line"],
        );
    });
}

#[test]
fn a_sixty_fifth_channel_is_refused_with_the_most_that_can_be() {
    undisturbed(|| {
        refused(
            |config| {
                let template = config.channels[0].clone();
                config.channels = (0..65)
                    .map(|i| {
                        let mut channel = template.clone();
                        channel.name = format!("net{i}");
                        channel.a.1 = format!("10.9.{i}.1");
                        channel.b.1 = format!("10.9.{i}.2");
                        channel
                    })
                    .collect();
            },
            &["a.toml:", "64"],
        );
    });
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_how_to_close_it() {
    undisturbed(|| {
        let lab = lab();
        lab.configure(&config()).unwrap();
        fs::set_permissions(lab.key_file(), fs::Permissions::from_mode(0o640)).unwrap();
        lab.start(Node::A).unwrap();
        let (code, error) = refusal(&lab, Node::A);
        assert_eq!(code, 1);
        let file = lab.key_file().display().to_string();
        assert!(error.contains("mode 0640") && error.contains(&format!("chmod 600 {file}")), "{error}");
    });
}

/// Runs a second agent on `node`'s host to its end, with its own runtime directory or the first one's.
fn second_agent(lab: &Lab, node: Node, runtime_dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command.arg("4").arg(binary().unwrap()).arg("run").arg("--config").arg(lab.config_file(node));
    command.args(["--node", node.name(), "--runtime-dir"]).arg(runtime_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = lab.controller(node).unwrap().spawn(command).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_second_agent_on_the_same_runtime_directory_is_refused_and_the_first_goes_on() {
    undisturbed(|| {
        let lab = running(&config()).unwrap();
        let marks = lab.marks();
        let (code, said) = second_agent(&lab, Node::A, lab.runtime_dir(Node::A));
        assert_eq!(code, Some(1), "{said}");
        let pid = lab.pid(Node::A).unwrap();
        assert!(said.contains("--runtime-dir") && said.contains(&format!("process {pid}")), "{said}");
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let changes = heartbeat_tests::scenario::changes(&lab, node, mark);
            assert!(changes.is_empty(), "{node}: {changes:?}");
            assert_eq!(lab.status(node).unwrap().code, 0);
        }
    });
}

/// From the end of one life to the start of the next, both the lock and the ports are nobody's.
#[test]
fn who_waits_for_the_runtime_directory_does_not_get_it_when_the_agent_is_reloaded() {
    undisturbed(|| {
        let lab = running(&config()).unwrap();
        let (marks, pid) = (lab.marks(), lab.pid(Node::A).unwrap());
        for _ in 0..5 {
            thread::scope(|scope| {
                let waits = scope.spawn(|| second_agent(&lab, Node::A, lab.runtime_dir(Node::A)));
                reload(&lab, Node::A).unwrap();
                let (code, said) = waits.join().unwrap();
                assert_eq!(code, Some(1), "{said}");
                assert!(said.contains(&format!("process {pid}")), "{said}");
            });
        }
        assert_eq!(lab.pid(Node::A).unwrap(), pid);
        let lives: Vec<_> = lab.events_since(Node::A, marks[0]).into_iter().filter(|line| line.is("ready")).collect();
        assert!(lives.len() == 5 && lives.iter().all(|line| line.raw["resumed"] == true), "{lives:?}");
        let lost = lab.events_since(Node::B, marks[1]).into_iter().find(|line| line.is("peer_dead"));
        assert!(lost.is_none(), "{lost:?}");
    });
}

/// Sockets are opened anew where nothing is heard, and a port is free for a moment then.
#[test]
fn a_second_agent_beside_one_whose_peer_is_gone_takes_nothing_over() {
    undisturbed(|| {
        let lab = running(&config()).unwrap();
        lab.kill(Node::B).unwrap();
        lab.wait_event(Node::A, |line| line.is_of("group_acquired", "storage-b"), SOON).unwrap();
        let (mark, pid) = (lab.mark(Node::A), lab.pid(Node::A).unwrap());
        let (code, said) = second_agent(&lab, Node::A, &lab.folder().join("second"));
        let changes = heartbeat_tests::scenario::changes(&lab, Node::A, mark);
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(code, Some(124), "{said}");
        assert!(said.contains(&format!("another agent (process {pid}) speaks for controller a")), "{said}");
        assert_eq!(held(&lab.status(Node::A).unwrap().json), [true, true]);
    });
}

#[test]
fn a_second_agent_beside_the_first_takes_nothing_over() {
    undisturbed(|| {
        let lab = running(&config()).unwrap();
        let marks = lab.marks();
        let (code, said) = second_agent(&lab, Node::A, &lab.folder().join("second"));
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let changes = heartbeat_tests::scenario::changes(&lab, node, mark);
            assert!(changes.is_empty(), "{node}: {changes:?}");
            assert_eq!(lab.status(node).unwrap().code, 0, "{said}");
        }
        assert!(!said.contains("group_acquir") && !said.contains("address_swept"), "{said}");
        // It waits until the port is free, and ends when it is told to, by `timeout`.
        assert_eq!(code, Some(124), "{said}");
        assert!(said.contains("host_problem") && said.contains("UDP port 694"), "{said}");
    });
}

#[test]
fn an_unknown_flag_is_named_with_what_would_be_right() {
    undisturbed(|| {
        for arguments in [&["run", "--runtimedir", "x"][..], &["status", "--jsn"], &["check", "--confg", "x"], &["rnu"]]
        {
            let (status, _, said) = heartbeat(arguments, SOON).unwrap();
            assert_eq!(status.code(), Some(2), "{said}");
            let told = said.contains("tip:") && said.contains("similar");
            assert!(told || said.contains("unrecognized subcommand 'rnu'"), "{said}");
        }
    });
}
