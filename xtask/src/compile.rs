//! `cargo xtask build`: the agent, with the XDP program embedded, in one file.

use std::path::PathBuf;

use anyhow::Result;

use crate::{setup, shell};

/// Builds the agent and returns where its binary is.
pub(crate) fn run() -> Result<PathBuf> {
    setup::run()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "heartbeat-user"]))?;
    Ok(shell::release_folder()?.join("heartbeat"))
}
