//! `heartbeat top` and the colours of `heartbeat status`, in a real terminal: a pseudo-terminal, read by a terminal's own rules.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options, binary, heartbeat};
use heartbeat_tests::scenario::{SOON, bring_up};
use nix::pty::{Winsize, openpty};

const COLUMNS: NonZeroU16 = NonZeroU16::new(100).unwrap();
const ROWS: NonZeroU16 = NonZeroU16::new(30).unwrap();

/// A program in a terminal. It is ended when this is dropped.
struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    /// Runs `heartbeat` with these arguments in a terminal of its own, and these variables in its environment.
    fn open(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = |fd: &OwnedFd| fd.try_clone().unwrap();
        // A session of its own, whose terminal this is: /dev/tty is it, too.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(binary().unwrap()).args(arguments);
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(environment.iter().copied());
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(pty.slave);
        let child = command.spawn().unwrap();
        drop(command);
        let keys = File::from(pty.master);
        let mut master = keys.try_clone().unwrap();
        let (to, output) = channel();
        // It ends when the last of the program's ends of the terminal is closed.
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(n @ 1..) = master.read(&mut buffer) {
                if to.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, output, screen: vt100::Parser::new(ROWS, COLUMNS, 0), raw: Vec::new() }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Takes what the program writes until the screen has all of these words.
    fn wait(&mut self, words: &[&str]) {
        self.wait_until(&format!("{words:?}"), |screen| words.iter().all(|words| screen.contains(words)));
    }

    fn wait_until(&mut self, what: &str, seen: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SOON;
        while !seen(&self.text()) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("no {what} on:\n{}", self.text()),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {what}:\n{}", self.text()),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend(bytes);
        self.screen.process(bytes);
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Takes all that it still writes.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        while let Ok(bytes) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.take(&bytes);
        }
        self.child.wait().unwrap()
    }

    /// Whether the terminal is as it was before.
    fn is_restored(&self) -> bool {
        !self.screen.screen().alternate_screen() && !self.screen.screen().hide_cursor()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pair whose networks are judged.
fn judged() -> Lab {
    let lab = Lab::new(Options::default()).unwrap();
    let config = Config::usual().judged_by_clients();
    bring_up(&lab, &config).unwrap();
    lab
}

fn runtime_dir(lab: &Lab) -> String {
    lab.runtime_dir(Node::A).display().to_string()
}

#[test]
fn top_follows_the_pair_through_a_fault_and_a_restart_and_leaves_the_terminal_as_it_was() {
    undisturbed(|| {
        let lab = judged();
        let mut top = Terminal::open(&["top", "--runtime-dir", &runtime_dir(&lab)], &[]);
        top.wait(&[" GOOD ", "the peer is alive on all channels", "net1", "storage-b", "channels 3/3 GOOD"]);
        assert!(top.screen.screen().alternate_screen());
        top.wait_until("a latency of net1", |screen| {
            // In us, or on a busy machine in ms.
            let is_latency = |line: &str| [" us", " ms"].iter().any(|unit| line.contains(unit)) && line.contains('█');
            screen.lines().any(|line| line.contains("net1") && is_latency(line))
        });

        lab.cut("b-net2").unwrap();
        top.wait(&["DEGRADED", "the peer's port or cable", "net2 is BAD", "channels 2/3 GOOD"]);
        lab.mend("b-net2").unwrap();
        top.wait(&["channels 3/3 GOOD", "net2 is GOOD"]);

        lab.stop(Node::A).unwrap();
        top.wait(&["UNKNOWN", "STALE"]);
        lab.start(Node::A).unwrap();
        top.wait(&[" GOOD ", "channels 3/3 GOOD"]);

        top.press("1");
        top.wait(&["channel net1", "p99.9"]);
        // The key Esc, with nothing after it.
        top.press("\u{1b}");
        top.wait(&["channels 3/3 GOOD"]);
        top.press("?");
        top.wait(&["hold the picture"]);
        top.press("?");
        top.press("q");
        assert!(top.end().success());
        assert!(top.is_restored());
    });
}

#[test]
fn a_signal_ends_top_and_leaves_the_terminal_as_it_was() {
    undisturbed(|| {
        let lab = judged();
        let mut top = Terminal::open(&["top", "--runtime-dir", &runtime_dir(&lab)], &[("NO_COLOR", "1")]);
        top.wait(&[" GOOD "]);
        let coloured = top.raw.windows(4).any(|bytes| bytes == b"\x1b[32" || bytes == b"\x1b[38");
        assert!(!coloured, "NO_COLOR is set");
        // Ctrl-C is a key here; whoever closes the terminal's window sends SIGHUP.
        let pid = i32::try_from(top.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(top.end().success());
        assert!(top.is_restored());
    });
}

#[test]
fn top_without_a_terminal_says_what_there_is_instead() {
    let (status, _, wrong) = heartbeat(["top"], SOON).unwrap();
    assert!(!status.success() && wrong.contains("needs a terminal") && wrong.contains("heartbeat status"), "{wrong}");
}

#[test]
fn status_has_colours_on_a_terminal_only_and_not_where_nobody_wants_them() {
    undisturbed(|| {
        let lab = judged();
        let runtime_dir = runtime_dir(&lab);
        let on_terminal = |environment: &[(&str, &str)]| {
            let mut status = Terminal::open(&["status", "--runtime-dir", &runtime_dir], environment);
            let code = status.end().code();
            assert_eq!(code, Some(0), "{}", status.text());
            (status.raw.contains(&0x1b), status.text())
        };
        let (coloured, screen) = on_terminal(&[]);
        assert!(coloured && screen.contains(" GOOD  the peer is alive on all channels"), "{screen}");
        let lines: Vec<_> = screen.lines().collect();
        assert!(lines.len() < 24 && lines.iter().all(|line| line.chars().count() <= COLUMNS.get().into()), "{screen}");
        assert!(!on_terminal(&[("NO_COLOR", "1")]).0);
        assert!(!on_terminal(&[("TERM", "dumb")]).0);
        assert!(on_terminal(&[("NO_COLOR", "")]).0, "set, but empty");
        let (_, piped, _) = heartbeat(["status", "--runtime-dir", &runtime_dir], SOON).unwrap();
        assert!(!piped.contains('\u{1b}') && piped.starts_with(" GOOD "), "{piped}");
        let always = ["status", "--color", "always", "--runtime-dir", &runtime_dir];
        assert!(heartbeat(always, SOON).unwrap().1.contains('\u{1b}'));
    });
}
