//! The lives of an agent: files that change under it, signals at any moment, starts and restarts that fail. Nothing is left
//! behind unguarded, nothing that runs is cut short, and the peer never has what is still here.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use heartbeat_tests::client::both::Both;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Config, Lab, LogLine, Mark, Node, Options, binary};
use heartbeat_tests::scenario::{
    SOON, Scripts, bring_up, channel, has, owners, reload, reload_with, running, story, until, wait_minds_signals,
    wait_owners, wait_said, wait_said_of,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn pid(lab: &Lab, node: Node) -> Pid {
    Pid::from_raw(i32::try_from(lab.pid(node).unwrap()).unwrap())
}

/// The lines that say that a group moves, or that a peer or a channel is not well.
fn moves(lab: &Lab, node: Node, mark: Mark) -> Vec<LogLine> {
    let what = ["group_acquiring", "group_releasing", "dual_ownership", "peer_dead", "channel_bad"];
    lab.events_since(node, mark).into_iter().filter(|line| what.iter().any(|event| line.is(event))).collect()
}

/// Hooks of storage-a that write down what they do, for each controller.
fn hooked(lab: &Lab) -> (Config, impl Fn(Node) -> String + use<>) {
    let scripts = Scripts::of(lab).unwrap();
    let script = |name: &str| {
        let text = format!("echo {name} >> $HEARTBEAT_NODE.hooks\ngrep SigBlk /proc/self/status >> masks");
        scripts.write(name, &text).unwrap()
    };
    let mut config = Config::usual();
    config.groups[0].exclusive = Some(false);
    config.groups[0].extra = format!("on_acquire = {}\non_release = {}\n", script("acquire"), script("release"));
    (config, move |node| scripts.read(&format!("{node}.hooks")))
}

/// Commands are not to know that the agent has signals blocked.
fn expect_no_signal_blocked_in_hooks(lab: &Lab) {
    let masks = Scripts::of(lab).unwrap().read("masks");
    assert!(!masks.is_empty() && masks.lines().all(|line| line.ends_with("\t0000000000000000")), "{masks}");
}

/// A running pair with those hooks.
fn hooked_pair() -> (Lab, Config, impl Fn(Node) -> String) {
    let lab = Lab::new(Options::default()).unwrap();
    let (config, ran) = hooked(&lab);
    bring_up(&lab, &config).unwrap();
    (lab, config, ran)
}

/// The agent on a ends by itself: storage-a, with those hooks, was let go of once.
fn expect_failed(lab: &Lab, why: &str, ran: impl Fn(Node) -> String) {
    assert_eq!(lab.wait_exit(A, SOON).unwrap().code(), Some(1), "{why}: {}", story(lab));
    assert!(!has(lab, A, ipv4(1, 10).into()).unwrap(), "{why}: {}", story(lab));
    assert_eq!(ran(A), "acquire\nrelease\n", "{why}: {}", story(lab));
}

#[test]
fn groups_in_another_order_and_new_ones_move_nothing_when_the_file_is_reloaded_node_by_node() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let marks = lab.marks();
        let mut other = Config::usual();
        other.groups.reverse();
        let mut new = other.groups[0].clone();
        new.name = "storage-new".to_owned();
        new.addresses = vec![("net1".to_owned(), "192.0.2.40/24".to_owned())];
        other.groups.insert(0, new);
        other.channels.rotate_left(1);
        for node in Node::BOTH {
            reload_with(&lab, node, &other).unwrap();
            for (holder, address) in [(A, ipv4(1, 10)), (B, ipv4(2, 10))] {
                assert_eq!(
                    [has(&lab, A, address.into()).unwrap(), has(&lab, B, address.into()).unwrap()],
                    [holder == A, holder == B]
                );
            }
        }
        let new_home = other.groups[0].home;
        lab.wait_event_since(new_home, marks[0], |line| line.is_of("group_acquired", "storage-new"), SOON).unwrap();
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let others =
                moves(&lab, node, mark).into_iter().filter(|line| !line.is_of("group_acquiring", "storage-new"));
            assert_eq!(others.collect::<Vec<_>>(), [], "{}", story(&lab));
        }
    });
}

#[test]
fn what_the_file_has_no_more_is_gone_after_the_reload_with_its_hooks() {
    undisturbed(|| {
        let (lab, config, ran) = hooked_pair();
        assert_eq!(ran(A), "acquire\n");
        // An address of a group that stays.
        let mut fewer = config.clone();
        fewer.groups[0].addresses.push(("net1".to_owned(), "192.0.2.50/24".to_owned()));
        reload_with(&lab, A, &fewer).unwrap();
        until("the new address", || Ok(has(&lab, A, [192, 0, 2, 50].into()).unwrap().then_some(()))).unwrap();
        reload_with(&lab, A, &config).unwrap();
        assert!(
            !has(&lab, A, [192, 0, 2, 50].into()).unwrap() && has(&lab, A, ipv4(1, 10).into()).unwrap(),
            "{}",
            story(&lab)
        );
        assert_eq!(ran(A), "acquire\n", "it was held on all the time");

        // The whole group.
        let mark = lab.mark(A);
        fewer = config.clone();
        fewer.groups.remove(0);
        reload_with(&lab, A, &fewer).unwrap();
        lab.wait_event_since(A, mark, |line| line.is_of("group_released", "storage-a"), SOON).unwrap();
        assert!(!has(&lab, A, ipv4(1, 10).into()).unwrap(), "{}", story(&lab));
        assert_eq!(ran(A), "acquire\nrelease\n");
        reload_with(&lab, B, &fewer).unwrap();
        assert!(!has(&lab, B, ipv4(1, 10).into()).unwrap(), "{}", story(&lab));
        // And it is not there for good.
        reload(&lab, A).unwrap();
        let groups = lab.status(A).unwrap().json["groups"].as_array().unwrap().len();
        assert_eq!((groups, ran(A).as_str()), (1, "acquire\nrelease\n"));
        expect_no_signal_blocked_in_hooks(&lab);
    });
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_the_agent_goes_on_meanwhile() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let path = lab.config_file(A);
        let good = fs::read(&path).unwrap();
        let pipe = |path: &Path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        };
        let large = |path: &Path| fs::write(path, vec![b'#'; 2 << 20]).unwrap();
        let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        type Spoil<'a> = &'a dyn Fn(&Path);
        let cases: [(Spoil<'_>, &str); 3] =
            [(&pipe, "not a regular file"), (&large, "larger than 1024 KiB"), (&device, "not a regular file")];
        for (make, said) in cases {
            fs::remove_file(&path).unwrap();
            make(&path);
            let mark = lab.mark(A);
            lab.reload(A).unwrap();
            let refused = wait_said(&lab, A, mark, "reload_refused").unwrap();
            assert!(refused.raw["why"].as_str().unwrap().contains(said), "{refused:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
        reload(&lab, A).unwrap();
        wait_owners(&lab, A, &["a", "b"]).unwrap();
    });
}

#[test]
fn a_file_that_is_edited_while_it_is_read_is_read_again_or_refused() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let path = lab.config_file(A);
        let text = fs::read_to_string(&path).unwrap();
        let mark = lab.mark(A);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut lines = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    lines = (lines + 1) % 1_000;
                    fs::write(&path, format!("{text}{}", "# edited\n".repeat(lines))).unwrap();
                }
            });
            lab.reload(A).unwrap();
            let ended = |line: &LogLine| line.is("reload_refused") || line.is("restarting");
            lab.wait_event_since(A, mark, ended, SOON).unwrap();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        // Whatever became of that, what is there now is taken.
        reload(&lab, A).unwrap();
        wait_owners(&lab, A, &["a", "b"]).unwrap();
    });
}

#[test]
fn what_both_must_change_at_once_is_refused_and_works_in_the_order_that_is_named() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let other = Config { port: Some(6_940), ..Config::usual() };
        lab.configure_one(A, &other).unwrap();
        let mark = lab.mark(A);
        lab.reload(A).unwrap();
        let refused = wait_said(&lab, A, mark, "reload_refused").unwrap();
        let why = refused.raw["why"].as_str().unwrap();
        assert!(why.contains("pair.port is 694") && why.contains("maintenance on"), "{why}");

        let marks = lab.marks();
        for node in Node::BOTH {
            assert_eq!(lab.order(node, &["maintenance", "on"]).unwrap().0, Some(0));
        }
        until("each knows of the other's", || {
            let both = |node| -> anyhow::Result<bool> {
                let json = lab.status(node)?.json;
                Ok(json["maintenance"] == true && json["peer"]["maintenance"] == true)
            };
            Ok((both(A)? && both(B)?).then_some(()))
        })
        .unwrap();
        for node in Node::BOTH {
            reload_with(&lab, node, &other).unwrap();
        }
        for node in Node::BOTH {
            until("they hear each other", || Ok((lab.status(node)?.json["peer"]["state"] == "good").then_some(())))
                .unwrap();
        }
        for node in Node::BOTH {
            assert_eq!(lab.order(node, &["maintenance", "off"]).unwrap().0, Some(0));
        }
        let what = |line: &LogLine| line.is("group_acquiring") || line.is("group_releasing");
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let moved: Vec<_> = lab.events_since(node, mark).into_iter().filter(what).collect();
            assert_eq!(moved, [], "{}", story(&lab));
        }
    });
}

#[test]
fn five_reloads_in_a_row_are_neither_deadly_nor_lost() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let (pid, marks) = (pid(&lab, A), lab.marks());
        let mut last = 0;
        for _ in 0..5 {
            last = heartbeat_tests::lab::realtime_ns();
            kill(pid, Signal::SIGHUP).unwrap();
            sleep(Duration::from_millis(10));
        }
        lab.wait_event_since(A, marks[0], |line| line.is("restarting") && line.time_ns > last, SOON)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        // The last life is there to stay.
        let lives = || {
            let said = lab.events_since(A, marks[0]);
            ["restarting", "ready"].map(|event| said.iter().filter(|line| line.is(event)).count())
        };
        until("each life is ready, and no more come", || {
            let before = lives();
            sleep(Duration::from_millis(500));
            Ok((before[0] == before[1] && lives() == before).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert_eq!(pid, self::pid(&lab, A), "{}", story(&lab));
        wait_owners(&lab, A, &["a", "b"]).unwrap();
        assert_eq!(moves(&lab, B, marks[1]), [], "{}", story(&lab));
    });
}

#[test]
fn a_stop_at_any_moment_of_a_reload_releases_everything_in_order() {
    undisturbed(|| {
        let (lab, config, ran) = hooked_pair();
        for delay in [0, 3, 10, 20, 40, 80, 160] {
            let before = ran(A);
            let mark = lab.mark(B);
            let pid = pid(&lab, A);
            kill(pid, Signal::SIGHUP).unwrap();
            sleep(Duration::from_millis(delay));
            kill(pid, Signal::SIGTERM).unwrap();
            let status = lab.wait_exit(A, SOON).unwrap();
            assert!(status.success(), "after {delay} ms: {status}: {}", story(&lab));
            assert!(!has(&lab, A, ipv4(1, 10).into()).unwrap(), "after {delay} ms: {}", story(&lab));
            assert_eq!(ran(A), format!("{before}release\n"), "after {delay} ms");
            lab.wait_event_since(B, mark, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
            // And back again.
            lab.start(A).unwrap();
            lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
            assert_eq!(lab.order(A, &["takeover", "storage-a"]).unwrap(), (Some(0), String::new()), "{config:?}");
        }
    });
}

#[test]
fn a_stop_at_any_moment_of_a_start_is_neither_lost_nor_deadly() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        lab.stop(A).unwrap();
        for delay in [None, Some(0), Some(1), Some(3), Some(10), Some(30), Some(100)] {
            lab.start(A).unwrap();
            if let Some(delay) = delay {
                wait_minds_signals(&lab, A).unwrap();
                sleep(Duration::from_millis(delay));
            }
            kill(pid(&lab, A), Signal::SIGTERM).unwrap();
            let status = lab.wait_exit(A, SOON).unwrap();
            // Before its first line it is any program's end.
            let before_its_first_line = delay.is_none() && status.code().is_none();
            assert!(status.success() || before_its_first_line, "after {delay:?} ms: {status}: {}", story(&lab));
            assert!(!has(&lab, A, ipv4(1, 10).into()).unwrap());
        }
    });
}

#[test]
fn a_start_that_fails_lets_go_of_what_the_life_before_held() {
    undisturbed(|| {
        let (lab, _config, ran) = hooked_pair();
        lab.kill(A).unwrap();
        assert!(has(&lab, A, ipv4(1, 10).into()).unwrap());
        lab.configure_text(A, "[pair]\nid = \"seven\"\n").unwrap();
        lab.start(A).unwrap();
        expect_failed(&lab, "no number", &ran);
        // What is let go of is not let go of again.
        lab.start(A).unwrap();
        expect_failed(&lab, "no number again", &ran);
        lab.wait_event(B, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        expect_no_signal_blocked_in_hooks(&lab);
    });
}

/// The key is the first thing that a start needs, and the API's socket the last: by then the threads run, and what the life before
/// held is resumed.
#[test]
fn a_start_that_fails_at_its_first_or_at_its_last_step_lets_go_of_what_the_life_before_held() {
    undisturbed(|| {
        type Spoil = fn(&Lab);
        let cases: [(&str, Spoil); 2] = [
            ("the key file cannot be read", |lab| fs::remove_file(lab.key_file()).unwrap()),
            ("api.sock: cannot be removed", |lab| {
                let socket = lab.runtime_dir(A).join("api.sock");
                fs::remove_file(&socket).unwrap();
                fs::create_dir(&socket).unwrap();
            }),
        ];
        for (why, spoil) in cases {
            let (lab, _config, ran) = hooked_pair();
            lab.kill(A).unwrap();
            assert!(has(&lab, A, ipv4(1, 10).into()).unwrap(), "{why}");
            spoil(&lab);
            lab.start(A).unwrap();
            expect_failed(&lab, why, &ran);
            let said = || fs::read_to_string(lab.folder().join("a.log")).unwrap();
            until(why, || Ok(said().contains(why).then_some(()))).unwrap_or_else(|_| panic!("{why}: {}", said()));
        }
    });
}

#[test]
fn a_binary_that_is_gone_refuses_the_reload_and_one_that_cannot_run_lets_go_of_everything() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let (config, ran) = hooked(&lab);
        lab.configure(&config).unwrap();
        let own = lab.folder().join("heartbeat-copy");
        fs::copy(binary().unwrap(), &own).unwrap();
        lab.start_from(A, A, &own).unwrap();
        let service = ipv4(1, 10).into();
        until("a holds its group", || Ok((ran(A) == "acquire\n" && has(&lab, A, service).unwrap()).then_some(())))
            .unwrap();

        let aside = own.with_extension("aside");
        fs::rename(&own, &aside).unwrap();
        lab.reload(A).unwrap();
        sleep(Duration::from_millis(500));
        assert!(lab.exit_status(A).is_none() && has(&lab, A, service).unwrap(), "it goes on with what it is");

        // Executable, and nothing that the kernel knows how to run: a copy that was not finished.
        fs::write(&own, &fs::read(&aside).unwrap()[..64]).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        lab.reload(A).unwrap();
        expect_failed(&lab, "half a binary", &ran);
    });
}

#[test]
fn an_agent_whose_runtime_directory_is_emptied_is_found_there_again_and_stays_the_only_one() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        assert_eq!(lab.order(A, &["maintenance", "on"]).unwrap().0, Some(0));
        let folder = lab.runtime_dir(A).to_owned();
        let mark = lab.mark(A);
        fs::remove_dir_all(&folder).unwrap();
        let mut second = Command::new("timeout");
        second.arg("5").arg(binary().unwrap()).arg("run").arg("--config").arg(lab.config_file(A));
        second.args(["--node", "a", "--runtime-dir"]).arg(&folder).stdin(Stdio::null());
        second.stdout(Stdio::piped()).stderr(Stdio::piped());
        let second = lab.controller(A).unwrap().spawn(second).unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(second.status.code() == Some(1) && said.contains("runs on it already"), "{said}");

        wait_said(&lab, A, mark, "runtime_dir_restored").unwrap();
        assert_eq!(lab.status(A).unwrap().json["maintenance"], true);
        for file in ["lock", "life.json", "maintenance", "api.sock"] {
            assert!(folder.join(file).exists(), "{file}");
        }
        reload(&lab, A).unwrap();
        wait_owners(&lab, A, &["a", "b"]).unwrap();
        assert_eq!(lab.status(A).unwrap().json["maintenance"], true);
    });
}

#[test]
fn an_agent_starts_with_a_nic_missing_and_uses_it_when_it_is_there() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let marks = lab.marks();
        lab.remove_nic(A, "net2").unwrap();
        lab.wait_event_since(A, marks[0], |line| line.is_of("channel_bad", "net2"), SOON).unwrap();
        lab.kill(A).unwrap();
        lab.start(A).unwrap();
        let begin = lab.run_begin(A);
        let told = lab.wait_event_since(A, begin, |line| line.is("host_problem"), SOON).unwrap();
        assert!(told.raw["what"].as_str().unwrap().contains("no interface \"eth1\""), "{told:?}");
        lab.wait_event_since(A, begin, |line| line.is_of("channel_good", "net1"), SOON).unwrap();
        until("net2 is bad", || Ok((channel(&lab.status(A)?.json, "net2")["state"] == "bad").then_some(()))).unwrap();
        // Judged by its own port, a is no place for anything; it is a member of the pair all the same.
        until("b serves both", || Ok((owners(&lab.status(A)?.json) == ["b", "b"]).then_some(()))).unwrap();
        lab.insert_nic(A, "net2").unwrap();
        lab.wait_event_since(A, begin, |line| line.is_of("channel_good", "net2"), SOON)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        // Which a socket may have heard before it is attached to.
        let native = || Ok((channel(&lab.status(A)?.json, "net2")["xdp_mode"] == "native").then_some(()));
        until("net2 is attached to", native).unwrap();
    });
}

#[test]
fn another_way_of_receiving_keeps_everything_there_and_back() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let marks = lab.marks();
        for mode in ["socket", "auto"] {
            let mark = lab.mark(A);
            reload_with(&lab, A, &Config::usual().xdp(mode)).unwrap();
            let ready = wait_said(&lab, A, mark, "ready").unwrap();
            assert_eq!(ready.raw["resumed"], true, "{ready:?}");
            sleep(Duration::from_secs(1));
            let json = lab.status(A).unwrap().json;
            assert_eq!(channel(&json, "net1")["state"], "good", "{mode}: {}", story(&lab));
            assert_eq!(channel(&json, "net1")["xdp_mode"], if mode == "socket" { "socket" } else { "native" });
            // The same again keeps it, too.
            reload(&lab, A).unwrap();
        }
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            assert_eq!(moves(&lab, node, mark), [], "{node}: {}", story(&lab));
        }
    });
}

/// It cannot know that all is served already, and takes over.
#[test]
fn whoever_begins_another_life_where_nothing_of_the_holder_reaches_it_is_left_what_it_takes() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let marks = lab.marks();
        for network in ["net1", "net2"] {
            lab.mute(A, network).unwrap();
        }
        lab.silence("xlink").unwrap();
        let client = Both::start(&lab, 1, ipv4(1, 10), Duration::from_micros(500)).unwrap();
        let began = lab.reload(B).unwrap();
        wait_said_of(&lab, B, marks[1], "group_acquired", "storage-a").unwrap();
        wait_said_of(&lab, A, marks[0], "group_released", "storage-a").unwrap();
        wait_owners(&lab, A, &["b", "b"]).unwrap();
        let both = client.both_answered(began);
        assert!(both < Duration::from_millis(300), "both answered for {both:?}\n{}", story(&lab));
    });
}
