//! A host that is a folder: dpkg's records in it are empty, its `systemctl` notes what it is told, and says and does what a test
//! has it do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Packages, output, text};

/// The stand-in: what it is told is a line of `told`; `active` has the units that run; `on-VERB` is run for a verb, where there is one.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
echo "$*" >>"$here/told"
case "$*" in
list-units*) [ ! -e "$here/active" ] || sed 's/$/ loaded active running what it is/' "$here/active" ;;
esac
[ ! -x "$here/on-$1" ] || exec "$here/on-$1" "$@"
"#;

pub(super) struct Root {
    folder: TempDir,
}

impl Root {
    /// Nothing is installed; systemd runs.
    pub(super) fn new() -> Self {
        let root = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/run/systemd/system", "bin"] {
            fs::create_dir_all(root.folder.path().join(folder)).unwrap();
        }
        fs::write(root.path("var/lib/dpkg/status"), "").unwrap();
        root.script("bin/systemctl", SYSTEMCTL);
        root
    }

    /// Of a file of the host.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// A shell script beside the host.
    fn script(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `systemctl VERB` does from now on.
    pub(super) fn on(&self, verb: &str, does: &str) {
        self.script(&format!("on-{verb}"), &format!("#!/bin/sh\n{does}\n"));
    }

    /// The units that run from now on.
    pub(super) fn active(&self, units: &[&str]) {
        fs::write(self.folder.path().join("active"), units.iter().map(|unit| format!("{unit}\n")).collect::<String>())
            .unwrap();
    }

    /// What `systemctl` was told since this was asked before.
    pub(super) fn told(&self) -> Vec<String> {
        let path = self.folder.path().join("told");
        let told = fs::read_to_string(&path).unwrap_or_default();
        let _not_there = fs::remove_file(&path);
        told.lines().map(str::to_owned).collect()
    }

    /// The same without what asks only: the verbs that change something.
    pub(super) fn done(&self) -> Vec<String> {
        self.told().into_iter().filter(|line| !line.starts_with("list-units") && !line.starts_with("status")).collect()
    }

    /// dpkg on this host: whether it succeeds, and what it prints.
    pub(super) fn dpkg(&self, arguments: &[&Path]) -> (bool, String) {
        let mut dpkg = Command::new("dpkg");
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        dpkg.arg(format!("--root={}", self.path("").display()))
            // Nothing else is installed there, and no shell.
            .args(["--force-script-chrootless", "--force-depends", "--force-unsafe-io"])
            // Whatever this machine leaves out of its own installations.
            .arg("--path-include=*")
            .arg(format!("--log={}", self.folder.path().join("log").display()))
            .args(arguments)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .env("DEBIAN_FRONTEND", "noninteractive");
        let (output, all) = output(&mut dpkg);
        (output.status.success(), all)
    }

    /// Installs, upgrades or downgrades, which must succeed; what it prints.
    pub(super) fn install(&self, packages: &Packages) -> String {
        let (succeeds, said) = self.dpkg(&["--install".as_ref(), &packages.deb()]);
        assert!(succeeds, "{said}");
        said
    }

    /// `--remove` or `--purge`.
    pub(super) fn take_away(&self, how: &str) -> (bool, String) {
        self.dpkg(&[how.as_ref(), "heartbeat-pair".as_ref()])
    }

    /// dpkg's word for how far it is, such as `install ok installed`.
    pub(super) fn status(&self) -> String {
        let status = text(&self.path("var/lib/dpkg/status"));
        status.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("not there").to_owned()
    }

    /// Every file and link of the host, but for dpkg's own.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let top = self.path("");
        let mut files = below(&top);
        for file in &mut files {
            *file = file.strip_prefix(&top).unwrap().to_owned();
        }
        files.retain(|file| !file.starts_with("var/lib/dpkg"));
        files.sort();
        files
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let of = |entry: fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() { below(&entry.path()) } else { vec![entry.path()] }
    };
    entries.flat_map(of).collect()
}
