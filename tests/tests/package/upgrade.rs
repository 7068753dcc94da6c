//! Packages on the active controller of a running pair, which serves a TCP client meanwhile: nothing moves.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use heartbeat_tests::client::tcp::{Server, TcpProbe};
use heartbeat_tests::host::{is_quiet, undisturbed};
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{LogLine, Options, realtime_ns};
use heartbeat_tests::scenario::{SOON, settled};
use heartbeat_tests::scenario::{group_events, profiles, show, story};

use super::root::Root;
use super::*;

const A: Node = Node::A;
const B: Node = Node::B;
/// A client that waited for so long has noticed something; below that, this machine was busy unpacking.
const NOTICED: Duration = Duration::from_millis(200);

/// A pair of which a's agent is the one that is installed on a host.
struct Served {
    lab: Lab,
    root: Root,
    client: TcpProbe,
    _servers: [Server; 2],
}

impl Served {
    fn new() -> Self {
        let (lab, root, config) = (Lab::new(Options::default()).unwrap(), Root::new(), profiles()[0].config());
        root.install(Packages::of(0));
        root.active(&["heartbeat.service"]);
        let agent = root.path("usr/bin/heartbeat");
        // What the unit's ExecReload= does.
        let reload = format!("exec '{}' reload --runtime-dir '{}'", agent.display(), lab.runtime_dir(A).display());
        root.on("reload", &reload);
        lab.configure(&config).unwrap();
        lab.start_from(A, A, &agent).unwrap();
        lab.start(B).unwrap();
        settled(&lab, &config).unwrap();
        let servers = [A, B].map(|node| Server::start(&lab.controller(node).unwrap()).unwrap());
        let client = TcpProbe::start(lab.client(1).unwrap(), ipv4(1, 10).into()).unwrap();
        client.gap_since(realtime_ns(), SOON).unwrap();
        Self { lab, root, client, _servers: servers }
    }

    /// What is at the agent's place, and what runs.
    fn binaries(&self) -> [u64; 2] {
        let pid = self.lab.pid(A).unwrap();
        [self.root.path("usr/bin/heartbeat"), format!("/proc/{pid}/exe").into()]
            .map(|path| fs::metadata(path).unwrap().ino())
    }

    /// `heartbeat` as it is installed, asked about a's agent within a's network.
    fn ask(&self, word: &str) -> (bool, String) {
        let mut command = Command::new(self.root.path("usr/bin/heartbeat"));
        command.arg(word).arg("--runtime-dir").arg(self.lab.runtime_dir(A));
        let inside = self.lab.controller(A).unwrap();
        let (output, said) = inside.run(move || output(&mut command)).unwrap();
        (output.status.success(), said)
    }
}

#[test]
fn an_upgrade_and_a_downgrade_of_the_active_controller_move_nothing() {
    undisturbed(|| {
        let served = Served::new();
        let Served { lab, root, client, .. } = &served;
        let (began, marks, pid) = (realtime_ns(), [lab.mark(A), lab.mark(B)], lab.pid(A));
        let times = if is_quiet() { 20 } else { 4 };
        for number in 0..times {
            let said = root.install(Packages::of(1 + number % 2));
            assert!(!said.contains("was not reloaded"), "{said}\n{}", story(lab));
            let [there, runs] = served.binaries();
            assert!(there == runs && lab.pid(A) == pid, "the old one runs: {said}");
        }
        settle(lab, [A, B]);
        let gap = client.gap_since(began, SOON).unwrap().length();
        show(&format!("{times} upgrades and downgrades: the client's longest gap is {gap:?}"));
        assert!(gap < NOTICED, "the client was not answered for {gap:?}");
        // That a resumed group is in place is told again.
        let again = |line: &LogLine| line.is("takeover_measured") || line.is("group_acquired");
        let moved = [(A, marks[0]), (B, marks[1])].map(|(node, mark)| {
            group_events(lab, node, mark).into_iter().filter(|line| node == B || !again(line)).collect::<Vec<_>>()
        });
        assert_eq!(moved, [vec![], vec![]]);
        let bad = |line: &LogLine| line.is("channel_bad") || line.is("peer_dead");
        assert!(!lab.events_since(B, marks[1]).iter().any(bad), "{}", story(lab));
    });
}

#[test]
fn an_upgrade_whose_binary_could_not_go_on_leaves_the_old_one_running_and_says_why() {
    undisturbed(|| {
        let served = Served::new();
        let Served { lab, root, .. } = &served;
        let marks = [lab.mark(A), lab.mark(B)];
        let life = lab.runtime_dir(A).join("life.json");
        // A file, a record, and a record of which the kernel has nothing that the installed version understands, as of another version.
        for (path, [from, to], why) in [
            (lab.config_file(A), ["id = ", "id = \"seven\" #"], "seven"),
            (life.clone(), ["\"version\":1", "\"version\":9"], "version 9"),
            (life, ["\"incarnation\":\"", "\"incarnation\":\"1"], "of another version than"),
        ] {
            let right = text(&path);
            assert!(right.contains(from), "{right}");
            fs::write(&path, right.replacen(from, to, 1)).unwrap();
            let said = root.install(Packages::of(2));
            assert!(said.contains("heartbeat.service was not reloaded") && said.contains(why), "{said}");
            assert!(said.contains("the agent runs on as it is: this version could not go on for it"), "{said}");
            let [there, runs] = served.binaries();
            assert_ne!(there, runs);
            fs::write(&path, &right).unwrap();
            assert_eq!(served.ask("reload"), (true, String::new()));
            let [there, runs] = served.binaries();
            assert_eq!(there, runs);
        }
        settle(lab, [A, B]);
        assert_eq!(group_events(lab, B, marks[1]), []);
        assert!(!lab.events_since(A, marks[0]).iter().any(|line| line.is("group_releasing")), "{}", story(lab));
    });
}

/// Which the agent itself refuses: the peer has none of the new keys.
#[test]
fn a_reload_that_the_agent_refuses_ends_with_its_reason() {
    undisturbed(|| {
        let served = Served::new();
        let key = served.lab.key_file();
        let config = text(&served.lab.config_file(A)).replace(&key.display().to_string(), "other.key");
        let other = served.lab.config_file(A).with_file_name("other.key");
        fs::write(&other, "1 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\n").unwrap();
        run(Command::new("chmod").arg("600").arg(&other));
        served.lab.configure_text(A, &config).unwrap();
        let (succeeds, said) = served.ask("reload");
        assert!(!succeeds && said.contains("the peer has none of these keys"), "{said}\n{config}");
        settle(&served.lab, [A, B]);
    });
}

#[test]
fn what_a_dead_agent_has_left_is_let_go_of_by_hand_and_nothing_of_one_that_runs() {
    undisturbed(|| {
        let served = Served::new();
        let lab = &served.lab;
        let holds = || {
            let addresses = lab.controller(A).unwrap().netlink().addresses().unwrap();
            addresses.iter().any(|(_, address)| *address == std::net::IpAddr::from(ipv4(1, 10)))
        };
        let (succeeds, said) = served.ask("let-go");
        assert!(!succeeds && said.contains("an agent") && said.contains("runs on it already"), "{said}");
        assert!(holds());
        lab.kill(A).unwrap();
        let (succeeds, said) = served.ask("let-go");
        assert!(succeeds && said.contains("192.0.2.10/24 on eth0"), "{said}");
        assert!(!holds());
        assert!(!lab.runtime_dir(A).join("life.json").exists());
        assert_eq!(served.ask("let-go"), (true, String::new()));
    });
}
