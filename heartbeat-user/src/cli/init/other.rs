//! The other controller, as ssh reaches it.

use super::hosts::Facts;
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    net::{IpAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a name resolves to; nothing where it does not.
pub(super) fn addresses_of(name: &str) -> Vec<IpAddr> {
    (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// A host that ssh reaches.
pub(super) struct Other {
    host: String,
    file: PathBuf,
}

impl Other {
    /// `host` as ssh(1) takes it. Its shell is told where the files are: their paths must be words to it.
    pub(super) fn new(host: &str, file: &Path) -> Result<Self> {
        ensure!(
            !host.is_empty() && !host.starts_with('-') && !host.contains(char::is_whitespace),
            "--ssh {host:?}: right would be such as root@filer-b"
        );
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        let path = file.to_str().filter(|path| path.chars().all(plain));
        ensure!(path.is_some(), "{}: with --ssh, right would be a path of A-Z a-z 0-9 / . _ - +", file.display());
        Ok(Self { host: host.to_owned(), file: file.to_owned() })
    }

    /// What it says of itself.
    pub(super) fn facts(&self) -> Result<Facts> {
        let file = self.file.display().to_string();
        let output = self
            .ssh(["heartbeat", "init", "--facts", &file])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run ssh")?;
        ensure!(
            output.status.success(),
            "`heartbeat init --facts` at {}: {}; right would be a host that ssh reaches and that has this program",
            self.host,
            output.status
        );
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("what {} says of itself is not understood; has it the same version?", self.host))
    }

    /// Gives it the files, and has it check them.
    pub(super) fn bring(&self, files: &[&PathBuf]) -> Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let shown = folder.display().to_string();
        self.done(self.ssh(["mkdir", "-p", &shown]))?;
        let mut copy = Command::new("scp");
        copy.arg("-p").arg("--").args(files).arg(format!("{}:{shown}/", self.host));
        self.done(copy)?;
        println!("\nAt {}:", self.host);
        self.done(self.ssh(["heartbeat", "check", "--config", &self.file.display().to_string()]))?;
        println!("\nNow, on both:  heartbeat run --config {}", self.file.display());
        Ok(())
    }

    fn ssh<const N: usize>(&self, words: [&str; N]) -> Command {
        let mut command = Command::new("ssh");
        command.arg("--").arg(&self.host).args(words);
        command
    }

    fn done(&self, mut command: Command) -> Result<()> {
        let shown = std::iter::once(command.get_program()).chain(command.get_args());
        let shown = shown.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("`{shown}`: {status}"),
            Err(error) => Err(error).with_context(|| format!("cannot run `{shown}`")),
        }
    }
}
