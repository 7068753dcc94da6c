//! `cargo xtask run` without a configuration: the lab as whoever looks at it gets to see it, on a terminal and elsewhere.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _, pipe};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{binary, control, remains};
use heartbeat_tests::live::{self, RunOptions};
use heartbeat_tests::scenario::show;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(20);
/// Tells this program to be the live view.
const BE_THE_VIEW: &str = "LAB_TEST_LIVE";

/// Only when started by the other tests: the live view itself, on this process's standard output.
#[test]
fn helper_that_is_the_live_view() {
    if let Ok(seconds) = std::env::var(BE_THE_VIEW) {
        let run_for = seconds.parse().ok().map(Duration::from_secs);
        live::run(&RunOptions { lab: true, run_for, ..RunOptions::default() }).unwrap();
    }
}

/// How long the view lasts that ends by itself: what is waited for takes a quarter of it.
const LASTS: &str = "12";

/// The live view in a process of its own; ended by SIGTERM, which nobody is born deaf to, when this is dropped, which the test harness around it does not
/// survive: whether it cleans up is seen where it ends by itself.
struct View {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl View {
    /// With its output in a pipe, or on a terminal of that size.
    fn start(terminal: Option<Winsize>, lasts: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["helper_that_is_the_live_view", "--exact", "--nocapture"]);
        command.env(BE_THE_VIEW, lasts).env("TERM", "xterm").stdin(Stdio::null());
        command.env("HEARTBEAT_BIN", binary().unwrap());
        let output = match terminal {
            Some(size) => {
                let pty = openpty(&size, None).unwrap();
                command.stdout(pty.slave);
                File::from(pty.master)
            }
            None => {
                let (output, input) = pipe().unwrap();
                command.stdout(input);
                File::from(std::os::fd::OwnedFd::from(output))
            }
        };
        let child = command.spawn().unwrap();
        drop(command);
        let (to, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// The first line, now or later, with all these words.
    fn wait(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + SOON;
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        if let Some(line) = self.seen.iter().find(has_all) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line);
                    if let Some(line) = self.seen.last().filter(has_all) {
                        return line.clone();
                    }
                }
                Err(error) => panic!("{error} without {words:?}:\n{}", self.seen.join("\n")),
            }
        }
    }

    fn lab(&mut self) -> String {
        let line = self.wait(&["lab hb", "controllers a and b"]);
        line.split_once("lab ").and_then(|(_, rest)| rest.split_once(':')).unwrap().0.to_owned()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _already_ended = kill(pid, Signal::SIGTERM);
        let _reaped = self.child.wait();
    }
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET /v1/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn without_a_terminal_the_lab_says_where_to_look_and_tells_what_happens_as_lines() {
    undisturbed(|| {
        let mut view = View::start(None, LASTS);
        let id = view.lab();
        // Both pages are here.
        let pages = view.wait(&["page of a http://127.0.0.1:", "of b http://127.0.0.1:"]);
        let addresses: Vec<_> = pages.split("http://").skip(1).map(|rest| rest.split('/').next().unwrap()).collect();
        for (address, node) in addresses.iter().zip(["a", "b"]) {
            let answer = get(address);
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("\"node\":\"{node}\"")), "{answer}");
        }
        // What it says that one can type works as it stands.
        for command in ["status", "explain"] {
            let line = view.wait(&["heartbeat ", command, "--runtime-dir"]);
            let words: Vec<_> = line.trim_start_matches(['·', ' ']).split(' ').collect();
            let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
            assert!(
                output.status.code().is_some_and(|code| code < 2) && !output.stdout.is_empty(),
                "{line}: {output:?}"
            );
        }
        view.wait(&["client1: storage-a (192.0.2.10/24) is served by a"]);
        assert!(control::send(Some(&id), "power-off a").is_ok());
        view.wait(&["lab: power-off a: ok a has no power"]);
        view.wait(&["b: peer_dead"]);
        let gap = view.wait(&["client1: storage-a (192.0.2.10/24) was not served for", "ms, now by b"]);
        assert!(!view.seen.iter().any(|line| line.contains('\x1b') || line.contains('╭')), "{:#?}", view.seen);
        show(&gap);
        // And nothing is left of it.
        assert!(view.child.wait().unwrap().success());
        let pins = fs::read_dir("/sys/fs/bpf/heartbeat").unwrap();
        let left: Vec<_> =
            pins.map(|entry| entry.unwrap().file_name()).filter(|name| name.to_string_lossy().contains(&id)).collect();
        assert!(left.is_empty() && !Path::new(remains::LABS).join(&id).exists(), "{left:?}");
    });
}

#[test]
fn a_terminal_without_columns_gets_lines_and_one_with_room_a_screen() {
    undisturbed(|| {
        let size = |ws_row, ws_col| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let mut view = View::start(Some(size(0, 0)), "");
        view.wait(&["client2: storage-b (198.51.100.10/24) is served by b"]);
        assert!(!view.seen.iter().any(|line| line.contains('\x1b')), "{:#?}", view.seen);
        drop(view);
        let mut view = View::start(Some(size(60, 160)), "");
        view.wait(&["\x1b[H", "Heartbeat lab"]);
        view.wait(&["page of a http://127.0.0.1:"]);
        view.wait(&["heartbeat top --runtime-dir"]);
    });
}
