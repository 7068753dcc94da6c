//! `cargo xtask test`: unit tests and examples side by side, then the tests in the lab one by one, since those measure time.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use nix::unistd::geteuid;

use crate::{setup, shell};

/// The same packages each time, with their tests: cargo would compile shared dependencies anew for another selection.
const EVERYTHING: [&str; 2] = ["--release", "--workspace"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the test programs, such as part of a test's name
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs all tests and returns the status of the first part that fails.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        geteuid().is_root(),
        "the tests load XDP programs and make network namespaces, so they need root. Type:\n    \
         sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask test"
    );
    let python = setup::everything()?;
    // The agent too, since the tests in the lab run it.
    shell::run(cargo("build").args(["--bins", "--tests"]))?;

    let unit =
        status(cargo("test").args(["--lib", "--bin", "xtask", "--no-fail-fast", "--"]).args(&options.arguments))?;
    let examples = status(cargo("test").args(["--doc", "--no-fail-fast", "--"]).args(&options.arguments))?;
    let lab = status(
        cargo("test")
            .args(["--test", "*", "--no-fail-fast", "--", "--test-threads=1"])
            .args(&options.arguments)
            .env("HEARTBEAT_BIN", shell::release_folder()?.join("heartbeat"))
            .env("HEARTBEAT_PYTHON", python),
    )?;
    let failed = [unit, examples, lab].into_iter().find(|&status| status != 0);
    Ok(failed.map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn cargo(command: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.arg(command).args(EVERYTHING);
    cargo
}

fn status(command: &mut Command) -> Result<u8> {
    let code = command.status()?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
