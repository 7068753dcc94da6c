//! The packages: what is in them, that they are equal to the byte each time, and what an installation, an upgrade, a downgrade and a
//! removal do on a host, of which a folder and a stand-in for `systemctl` are enough.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod capabilities;
mod contents;
mod root;
mod scripts;
mod units;
mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use heartbeat_tests::lab::{Lab, Node, binary};
use heartbeat_tests::scenario::expect_settled;
use heartbeat_tests::scenario::until;

/// The versions that are made: the one of the source, and one before and one after it.
const VERSIONS: [&str; 3] = [env!("CARGO_PKG_VERSION"), "0.0.9", "9.0.0"];

/// A command that must succeed; what it prints.
fn run(command: &mut Command) -> String {
    let (output, all) = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{all}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What became of a command, and all that it printed.
fn output(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let all = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output, all)
}

/// The packages of one version, in a folder of their own below `target`.
struct Packages {
    folder: PathBuf,
    version: &'static str,
}

impl Packages {
    /// Of the binary that is under test, by the xtask that was built beside it.
    fn make(version: &'static str, more: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(version);
        let (agent, xtask) = (binary().unwrap(), binary().unwrap().with_file_name("xtask"));
        assert!(xtask.is_file(), "no {}: `cargo build --workspace --bins` makes it", xtask.display());
        let mut make = Command::new(xtask);
        make.args(["dist", "--no-rpm", "--fast", "--version", version, "--binary"])
            .arg(fs::canonicalize(agent).unwrap());
        run(make.arg("--out").arg(&folder).args(more));
        Self { folder, version }
    }

    /// Of each of the versions, once for all tests.
    fn of(version: usize) -> &'static Self {
        static MADE: [OnceLock<Packages>; 3] = [const { OnceLock::new() }; 3];
        // Only one of them is made twice and compared.
        let more: &[&str] = if version == 0 { &["--check"] } else { &[] };
        MADE[version].get_or_init(|| Self::make(VERSIONS[version], more))
    }

    fn file(&self, end: &str) -> PathBuf {
        let machine = std::env::consts::ARCH;
        self.folder.join(format!("heartbeat-pair-{}-{machine}.{end}", self.version))
    }

    fn deb(&self) -> PathBuf {
        self.file("deb")
    }
}

/// Waits until both say that all is well, and who holds what.
fn settle(lab: &Lab, holders: [Node; 2]) {
    until("all is well", || Ok(expect_settled(lab, holders).ok())).unwrap_or_else(|error| {
        panic!("{error:#}: {:?}", expect_settled(lab, holders));
    });
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
