//! `cargo xtask build`: the agent, with the XDP program embedded, in one file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{setup, shell};

pub(crate) fn run() -> Result<()> {
    setup::toolchain()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "heartbeat-user"]))
}

/// The same in a folder of its own, from nothing: the binary.
pub(crate) fn again(folder: &Path) -> Result<PathBuf> {
    setup::toolchain()?;
    shell::run(
        shell::cargo().args(["build", "--release", "--package", "heartbeat-user"]).arg("--target-dir").arg(folder),
    )?;
    Ok(folder.join("release/heartbeat"))
}
