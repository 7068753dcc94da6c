//! `cargo xtask build`: the agent, with the XDP program embedded, in one file.

use anyhow::Result;

use crate::{setup, shell};

pub(crate) fn run() -> Result<()> {
    setup::toolchain()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "heartbeat-user"]))
}
