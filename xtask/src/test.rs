//! `cargo xtask test`: unit tests side by side, then the tests in the lab one by one, since those measure time.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use nix::unistd::geteuid;

use crate::{compile, shell};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the test programs, such as part of a test's name
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs all tests and returns the first failure's status.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        geteuid().is_root(),
        "the tests load XDP programs and make network namespaces, so they need root. Type:\n    \
         sudo --preserve-env=HOME,PATH env \"PATH=$PATH\" cargo xtask test"
    );
    let agent = compile::run()?;
    shell::run(shell::cargo().args(["test", "--release", "--workspace", "--no-run"]))?;

    let mut unit = shell::cargo();
    unit.args([
        "test",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--no-fail-fast",
        "--",
    ])
    .args(&options.arguments);
    let mut lab = shell::cargo();
    lab.args([
        "test",
        "--release",
        "--workspace",
        "--test",
        "*",
        "--no-fail-fast",
        "--",
    ])
    .arg("--test-threads=1")
    .args(&options.arguments)
    .env("HEARTBEAT_BIN", agent);
    let unit = status(&mut unit)?;
    let lab = status(&mut lab)?;
    Ok(ExitCode::from(if unit == 0 { lab } else { unit }))
}

fn status(command: &mut Command) -> Result<u8> {
    let code = command.status()?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
