//! `cargo xtask lint`: format and clippy, for the host and for the BPF target; warnings are errors.

use anyhow::Result;

use crate::{setup, shell};

pub(crate) fn run() -> Result<()> {
    setup::toolchain()?;
    shell::run(shell::cargo().args(["fmt", "--all", "--", "--check"]))?;
    shell::run(
        shell::cargo().args(["clippy", "--release", "--workspace", "--all-targets"]).args(["--", "-Dwarnings"]),
    )?;
    // As `build` and `run` have it: the whole workspace's dependencies may have features that the agent forgot to ask for.
    shell::run(shell::cargo().args(["check", "--release", "--package", "heartbeat-user"]))?;
    // In the target directory of heartbeat-user's build script: RUSTC_BOOTSTRAP would rebuild what the host has.
    shell::run(
        shell::cargo()
            .args(["clippy", "--release", "-Zbuild-std=core", "--target", "bpfel-unknown-none"])
            .args(["--target-dir", "target/ebpf", "--package", "heartbeat-ebpf"])
            .args(["--features", "program", "--bin", "heartbeat-xdp"])
            .args(["--", "-Dwarnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}
