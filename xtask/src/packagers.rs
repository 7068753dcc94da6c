//! What makes packages: brought at pinned versions into `target/tools`, once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{
    lock::Lock,
    shell::{self, step},
};

/// A program that `cargo install` builds.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Makes the `.deb`.
pub(crate) const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };
/// Makes the `.rpm`.
pub(crate) const CARGO_GENERATE_RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };

/// Brings them, where they are not in the folder `tools` yet; that of the `.rpm` takes three times as long to build.
///
/// # Errors
/// cargo cannot build them.
pub(crate) fn bring(wanted: &[Tool], tools: &Path, lock: &Lock) -> Result<()> {
    for tool in wanted {
        if !tool.is_there(tools) {
            tool.build(tools, lock)?;
            ensure!(tool.is_there(tools), "{} {} was just built, and does not work", tool.name, tool.version);
        }
    }
    Ok(())
}

impl Tool {
    /// Where it is.
    pub(crate) fn path(&self, tools: &Path) -> PathBuf {
        tools.join("bin").join(self.name)
    }

    fn is_there(&self, tools: &Path) -> bool {
        let printed = shell::read(std::process::Command::new(self.path(tools)).arg("--version"));
        printed.is_ok_and(|printed| printed.split_whitespace().last() == Some(self.version))
    }

    fn build(&self, tools: &Path, lock: &Lock) -> Result<()> {
        let Self { name, version } = self;
        step(&format!("building {name} {version} (a minute or two)"));
        let build = tools.join("build-packagers");
        shell::run(
            shell::cargo()
                .args(["install", name, "--version", version, "--locked", "--force", "--quiet"])
                .arg("--root")
                .arg(tools)
                .arg("--target-dir")
                .arg(&build)
                .stdin(lock.share()?)
                // Sooner there; what they write does not depend on it.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        )
        .with_context(|| format!("{name} {version} was not built"))?;
        std::fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
    }
}
