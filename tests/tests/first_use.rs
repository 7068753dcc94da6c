//! Two hosts that nobody has configured become a running pair by one command.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Config, Family, Lab, Node, Options, binary};
use heartbeat_tests::scenario::{SOON, Scripts, settled, until};
use nix::pty::openpty;

/// Two hosts with names of their own, of which b sees its own folder where a sees its, and an ssh that leads from a to b.
struct Hosts {
    lab: Lab,
    scripts: Scripts,
    folders: [PathBuf; 2],
}

impl Hosts {
    fn new() -> Self {
        let lab = Lab::new(Options { networks: 2, ..Options::default() }).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        symlink(binary().unwrap(), scripts.path("heartbeat")).unwrap();
        let folders = Node::BOTH.map(|node| lab.folder().join(format!("etc-{node}")));
        folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let [a, b] = folders.each_ref().map(|folder| folder.display().to_string());
        let namespace = lab.namespace_path("b").unwrap();
        let ssh = format!(
            "shift 2; exec unshare --mount --uts sh -c 'mount --bind {b} {a} && hostname filer-b && exec nsenter --net={} \"$@\"' sh \"$@\"",
            namespace.display()
        );
        scripts.write("ssh", &ssh).unwrap();
        scripts.write("scp", &format!("cp -p \"$3\" \"$4\" {b}/")).unwrap();
        Self { lab, scripts, folders }
    }

    /// `heartbeat init FILE WORDS` on a.
    fn init(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let search = format!("{}:{}", self.scripts.path("").display(), std::env::var("PATH").unwrap());
        command.arg(format!("--net={}", self.lab.namespace_path("a").unwrap().display()));
        command.args(["unshare", "--uts", "sh", "-c", "hostname filer-a && exec heartbeat init \"$@\"", "sh"]);
        command.arg(self.folders[0].join("heartbeat.toml")).args(words).env("PATH", search).stdin(Stdio::null());
        command
    }

    fn file(&self, node: usize, name: &str) -> String {
        fs::read_to_string(self.folders[node].join(name)).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn one_command_makes_a_pair_of_two_hosts() {
    let hosts = Hosts::new();
    let begin = Instant::now();
    let group = format!("storage-a={}/24", ipv4(1, 10));
    let output = hosts.init(&["--ssh", "root@filer-b", "--group", &group]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    eprintln!("init, both files there and checked: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    assert!(text.contains("At root@filer-b:") && text.contains("controller  b"), "{text}");
    for name in ["heartbeat.toml", "pair.key"] {
        assert_eq!(hosts.file(0, name), hosts.file(1, name));
    }
    let file = hosts.file(0, "heartbeat.toml");
    for part in ["net1", "net2", "xlink1", "kind = \"dedicated\"", "hostname = \"filer-b\""] {
        assert!(file.contains(part), "{part} in {file}");
    }

    let lab = &hosts.lab;
    let begin = Instant::now();
    for node in Node::BOTH {
        lab.configure_text(node, &file).unwrap();
        lab.start(node).unwrap();
    }
    let mut like = Config::pair(2, Family::V4);
    like.channels
        .iter_mut()
        .filter(|channel| channel.name == "xlink")
        .for_each(|channel| "xlink1".clone_into(&mut channel.name));
    like.groups.truncate(1);
    settled(lab, &like).unwrap();
    eprintln!("both agents, until each serves and knows: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);

    let again = hosts.init(&["--ssh", "root@filer-b"]).output().unwrap();
    assert!(
        !again.status.success() && said(&again).contains("exists already and is not overwritten"),
        "{}",
        said(&again)
    );
    assert_eq!(hosts.file(0, "heartbeat.toml"), file);

    // What the other one has, whoever begins anew does not overwrite either.
    let key = hosts.file(1, "pair.key");
    for name in ["heartbeat.toml", "pair.key"] {
        fs::remove_file(hosts.folders[0].join(name)).unwrap();
    }
    let anew = said(&hosts.init(&["--ssh", "root@filer-b"]).output().unwrap());
    assert!(anew.contains("exists already at the other controller"), "{anew}");
    assert_eq!((hosts.file(1, "heartbeat.toml"), hosts.file(1, "pair.key")), (file, key));
    assert_eq!(fs::read_dir(&hosts.folders[0]).unwrap().count(), 0);
}

/// What the kernel knows as a neighbour is proposed.
#[test]
fn whoever_sits_at_a_terminal_is_asked_for_what_nobody_says() {
    let hosts = Hosts::new();
    // Whoever refuses is there.
    let there = SocketAddr::from((ipv4(1, 2), 9));
    let refused = hosts.lab.controller(Node::A).unwrap().run(move || TcpStream::connect_timeout(&there, SOON)).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let terminal = openpty(None, None).unwrap();
    let mut init = hosts.init(&["--dry-run"]);
    init.stdin(terminal.slave).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = init.spawn().unwrap();
    fs::File::from(terminal.master.try_clone().unwrap()).write_all(b"filer-b\n\n-\n-\n").unwrap();
    until("it has no more questions", || Ok(child.try_wait()?)).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("b = {{ interface = \"eth0\", address = \"{}\" }}", ipv4(1, 2))), "{text}");
    assert!(text.contains("eth1") && !text.contains("interface = \"eth1\""), "{text}");
    assert!(!hosts.folders[0].join("heartbeat.toml").exists() && !hosts.folders[0].join("pair.key").exists());
}
