//! The command line as scripts and people use it: what it prints, how it exits, what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options, binary, heartbeat};
use heartbeat_tests::scenario::{SOON, running, until};
use serde_json::Value;

/// Runs the binary inside controller a.
fn on_a(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments);
    lab.controller(Node::A).unwrap().run(move || command.output()).unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn help(arguments: &[&str]) -> String {
    let (status, said, _) = heartbeat(arguments, SOON).unwrap();
    assert!(status.success());
    said
}

fn assert_has(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
}

/// As `ip netns exec` starts a command: with a /sys of its own, and no BPF file system in it.
#[test]
fn check_warns_where_pins_would_not_outlive_the_agent() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../heartbeat-user/src/config/example.toml");
    let check = |before: &str| {
        // Below a first process that has the mounts of this host.
        let script =
            format!("unshare --mount sh -c '{before} exec \"$0\" check --config \"$1\" --node a' \"$0\" \"$1\"; true");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script]).arg(binary().unwrap()).arg(&config);
        text(&command.output().unwrap().stderr)
    };
    let warning = "what is pinned there is gone with the last process here";
    assert_has(&check("umount -l /sys; mount -t sysfs sysfs /sys;"), &[warning, "nsenter --net"]);
    let as_it_is = check("");
    assert!(!as_it_is.contains(warning), "{as_it_is}");
}

#[test]
fn the_status_of_both_is_json_with_the_promised_fields() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        for node in Node::BOTH {
            let status = lab.status(node).unwrap();
            assert_eq!((status.code, status.stderr.as_str()), (0, ""));
            let json = &status.json;
            assert_eq!(json["node"], node.name());
            assert!(json["age_ms"].as_f64().unwrap() < 1_000.0, "{json}");
            assert_eq!(json["peer"]["state"], "good");
            assert_eq!(json["verdict"], "the peer is alive on all channels");
            let channels = json["channels"].as_array().unwrap();
            assert_eq!(channels.len(), 3);
            for (channel, (name, kind)) in
                channels.iter().zip([("net1", "network"), ("net2", "network"), ("xlink", "dedicated")])
            {
                assert_eq!((&channel["name"], &channel["kind"]), (&name.into(), &kind.into()));
                assert_eq!((&channel["state"], &channel["xdp_mode"]), (&"good".into(), &"native".into()));
                for counter in ["sent", "received", "missing"] {
                    assert!(channel[counter].is_u64(), "{channel}");
                }
                let reasons: Vec<_> = channel["rejected"].as_object().unwrap().keys().cloned().collect();
                let known = [
                    "busy",
                    "echo_ignored",
                    "malformed",
                    "notice_ignored",
                    "reflected",
                    "replayed",
                    "same_node",
                    "wrong_channel",
                    "wrong_pair",
                    "wrong_tag",
                ];
                assert_eq!(reasons, known);
            }
            for (group, home) in json["groups"].as_array().unwrap().iter().zip(["a", "b"]) {
                assert_eq!(group["name"], format!("storage-{home}"));
                assert_eq!((&group["home"], &group["owner"]), (&home.into(), &home.into()));
                assert_eq!(group["held"], home == node.name());
            }
        }
    });
}

#[test]
fn the_exit_code_of_status_is_0_where_all_is_good_1_where_something_is_bad_and_2_without_an_agent() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        assert_eq!(lab.status(Node::A).unwrap().code, 0);
        lab.cut("b-net2").unwrap();
        for node in Node::BOTH {
            lab.wait_event(node, |line| line.is_of("channel_bad", "net2"), SOON).unwrap();
            let status = lab.status(node).unwrap();
            assert_eq!(status.code, 1);
            assert_has(status.json["verdict"].as_str().unwrap(), &["alive on 2 of 3 channels", "BAD: net2"]);
        }
        lab.stop(Node::B).unwrap();
        let status = lab.status(Node::B).unwrap();
        assert_eq!((status.code, &status.json), (2, &Value::Null));
        assert_has(&status.stderr, &["no agent answers at", "api.sock", "is `heartbeat run` running?"]);
    });
}

#[test]
fn an_agent_that_stands_still_answers_no_status() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        lab.pause(Node::B).unwrap();
        let status = lab.status(Node::B).unwrap();
        lab.resume(Node::B).unwrap();
        assert_eq!(status.code, 2);
        assert_has(&status.stderr, &["does not answer within 2s"]);
    });
}

#[test]
fn the_status_for_people_says_first_how_it_is_and_who_serves_what() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let runtime_dir = lab.runtime_dir(Node::A).display().to_string();
        let output = on_a(&lab, &["status", "--runtime-dir", &runtime_dir]);
        assert_eq!(output.status.code(), Some(0));
        let shown = text(&output.stdout);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let line = |begin: &str| {
            let mut lines = shown.lines().map(str::trim_start);
            words(lines.find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin} in:\n{shown}")))
        };
        assert_eq!(words(shown.lines().next().unwrap()), words("GOOD the peer is alive on all channels"));
        assert_eq!(line("peer ")[..2], ["peer", "GOOD"]);
        assert_eq!(line("controller ")[..2], ["controller", "a"]);
        assert_has(&line("controller ").join(" "), &["pair 7", "facts"]);
        assert_eq!(line("group "), words("group served by home addresses"));
        assert_eq!(line("storage-a "), words("storage-a a (here) a 192.0.2.10/24 on net1"));
        assert_eq!(line("storage-b "), words("storage-b b (peer) b 198.51.100.10/24 on net2"));
        assert_eq!(line("channel ")[..4], ["channel", "state", "port", "xdp"]);
        assert_eq!(line("net1 ")[..4], ["net1", "GOOD", "eth0", "native"]);
        assert_eq!(line("xlink ")[..4], ["xlink", "GOOD", "eth9", "native"]);
        assert_has(&line("timing ").join(" "), &["lan: a heartbeat every 100 ms, dead after 300 ms"]);
        assert!(!shown.contains("heartbeat explain"), "nothing is to be explained:\n{shown}");
        lab.cut("a-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        let output = on_a(&lab, &["status", "--runtime-dir", &runtime_dir]);
        assert_eq!(output.status.code(), Some(1));
        assert_has(&text(&output.stdout), &[" DEGRADED ", "heartbeat explain", "no carrier on eth0"]);
    });
}

#[test]
fn every_help_says_what_matters() {
    undisturbed(|| {
        let top = help(&["--help"]);
        assert_has(&top, &["run ", "status ", "check ", "keygen ", "Both controllers", "To begin:", "--version"]);
        assert_has(
            &help(&["run", "--help"]),
            &["--config <FILE>", "--node <a|b>", "--runtime-dir <DIR>", "SIGTERM", "SIGHUP"],
        );
        assert_has(
            &help(&["status", "--help"]),
            &["--json", "--runtime-dir <DIR>", "exit code is 0 if the peer and all channels are GOOD", "2 if no agent"],
        );
        assert_has(
            &help(&["check", "--help"]),
            &["--config <FILE>", "changes nothing", "exit code is 0 if an agent could start"],
        );
        assert_has(&help(&["keygen", "--help"]), &["<FILE>", "0600", "never overwritten", "--add"]);
    });
}

#[test]
fn check_says_what_would_run_and_exits_1_with_every_problem_where_it_would_not() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        lab.configure(&Config::usual()).unwrap();
        let path = lab.config_file(Node::A).display().to_string();
        let fits = on_a(&lab, &["check", "--config", &path, "--node", "a"]);
        assert_eq!(fits.status.code(), Some(0), "{}", text(&fits.stderr));
        assert_has(
            &text(&fits.stdout),
            &["controller  a", "lan: a heartbeat every 100ms", "a channel fails 300ms after", "192.0.2.10/24"],
        );
        let wrong = on_a(&lab, &["check", "--config", &path, "--node", "b"]);
        assert_eq!(wrong.status.code(), Some(1));
        assert_has(
            &text(&wrong.stderr),
            &["problems:", "192.0.2.2 is not an address of eth0", "is this host controller a?"],
        );
        let missing = on_a(&lab, &["check", "--config", "/nonexistent.toml"]);
        assert_eq!(missing.status.code(), Some(1));
        assert_has(&text(&missing.stderr), &["/nonexistent.toml: cannot be read", "--config"]);
    });
}

#[test]
fn a_key_file_is_made_for_its_owner_only_and_never_overwritten() {
    undisturbed(|| {
        let lab = Lab::new(Options { networks: 1, clients: 0, ..Options::default() }).unwrap();
        let key = lab.folder().join("new.key");
        let make = || heartbeat(["keygen".as_ref(), key.as_os_str()], SOON).unwrap();
        assert_eq!(make().0.code(), Some(0));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
        let made = fs::read(&key).unwrap();
        let (status, _, said) = make();
        assert_eq!(status.code(), Some(1));
        assert_has(&said, &["new.key: exists already and is not overwritten", "--add"]);
        assert_eq!(fs::read(&key).unwrap(), made);
    });
}

#[test]
fn every_line_on_a_pipe_is_json_with_a_time_and_an_event_or_a_level() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        lab.cut("b-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is("channel_bad"), SOON).unwrap();
        lab.mend("b-net1").unwrap();
        lab.kill(Node::B).unwrap();
        lab.start(Node::B).unwrap();
        let paired = lab.run_begin(Node::A);
        until("b is paired again", || {
            Ok((lab.events_since(Node::A, paired).iter().filter(|line| line.is("peer_paired")).count() == 2)
                .then_some(()))
        })
        .unwrap();
        for node in Node::BOTH {
            lab.stop(node).unwrap();
            let mut lines = Vec::new();
            until("the last line", || {
                lines = lab.events_since(node, lab.run_begin(node));
                Ok(lines.last().is_some_and(|line| line.is("stopped")).then_some(()))
            })
            .unwrap();
            let mut last_ready = 0;
            for line in lines {
                let raw = &line.raw;
                assert!(raw.is_object(), "{node}: {raw}");
                assert!(raw["event"].is_string() != raw["level"].is_string(), "{node}: {raw}");
                // 2020 to 2100, and in ns.
                assert!(
                    (1_577_836_800_000_000_000..4_102_444_800_000_000_000).contains(&line.time_ns),
                    "{node}: {raw}"
                );
                if line.is("ready") {
                    last_ready = line.time_ns;
                }
                assert!(line.time_ns >= last_ready, "{node}: {raw}");
            }
        }
    });
}

#[test]
fn a_runtime_directory_is_made_where_there_is_none_and_only_its_owner_and_group_may_ask() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let socket = lab.runtime_dir(Node::A).join("api.sock");
        let metadata = fs::metadata(&socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        lab.stop(Node::A).unwrap();

        fs::remove_dir_all(lab.runtime_dir(Node::A)).unwrap();
        lab.start(Node::A).unwrap();
        lab.wait_event(Node::A, |line| line.is("ready"), SOON).unwrap();
        until("the agent answers", || Ok((lab.status(Node::A)?.code != 2).then_some(()))).unwrap();
        lab.stop(Node::A).unwrap();

        // A file in its place, and a socket that a killed agent left.
        fs::remove_dir_all(lab.runtime_dir(Node::A)).unwrap();
        fs::write(lab.runtime_dir(Node::A), "").unwrap();
        lab.start(Node::A).unwrap();
        assert_eq!(lab.wait_exit(Node::A, SOON).unwrap().code(), Some(1));
        lab.kill(Node::B).unwrap();
        assert!(lab.runtime_dir(Node::B).join("api.sock").exists());
        assert_eq!(lab.status(Node::B).unwrap().code, 2);
        lab.start(Node::B).unwrap();
        until("the agent answers", || Ok((lab.status(Node::B)?.code != 2).then_some(()))).unwrap();
    });
}

#[test]
fn readers_who_do_not_read_cost_the_agent_nothing() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let mark = lab.mark(Node::A);
        let socket = lab.runtime_dir(Node::A).join("api.sock");
        let idle: Vec<_> = (0..100).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
        assert!(idle.len() >= 64, "{}", idle.len());
        until("the agent answers", || Ok((lab.status(Node::A)?.code == 0).then_some(()))).unwrap();
        drop(idle);
        let changes = heartbeat_tests::scenario::changes(&lab, Node::A, mark);
        assert!(changes.is_empty(), "{changes:?}");
    });
}

/// Whether any interface of this controller has an XDP program, as `ip` shows it.
fn has_xdp(lab: &Lab, node: Node) -> bool {
    let shown =
        lab.controller(node).unwrap().run(|| Command::new("ip").args(["-d", "link"]).output()).unwrap().unwrap();
    assert!(shown.status.success());
    text(&shown.stdout).contains("xdp")
}

fn pins(lab: &Lab, node: Node) -> Vec<String> {
    let name = lab.runtime_dir(node).display().to_string().trim_start_matches('/').replace('/', "%2f");
    let Ok(folder) = fs::read_dir(Path::new("/sys/fs/bpf/heartbeat").join(name)) else { return Vec::new() };
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_clean_stop_leaves_no_pin_no_socket_no_program_and_no_address() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let service: std::net::IpAddr = "192.0.2.10".parse().unwrap();
        let has_address = || {
            lab.controller(Node::A)
                .unwrap()
                .netlink()
                .addresses()
                .unwrap()
                .iter()
                .any(|(_, address)| *address == service)
        };
        assert!(has_xdp(&lab, Node::A) && !pins(&lab, Node::A).is_empty() && has_address());
        let mark = lab.mark(Node::B);
        assert_eq!(lab.stop(Node::A).unwrap().code(), Some(0));
        assert!(!has_xdp(&lab, Node::A));
        assert_eq!(pins(&lab, Node::A), [""; 0]);
        assert!(!lab.runtime_dir(Node::A).join("api.sock").exists());
        assert!(!has_address());
        // The peer took over at once: it was told.
        let acquired =
            lab.wait_event_since(Node::B, mark, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        let left = lab.wait_event_since(Node::B, mark, |line| line.is("peer_left"), SOON).unwrap();
        let after = Duration::from_nanos(acquired.time_ns - left.time_ns);
        eprintln!("the peer held the group {:.2} ms after it was told", after.as_secs_f64() * 1e3);
        assert!(after < Duration::from_millis(100), "{after:?}");
    });
}
