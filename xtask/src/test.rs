//! `cargo xtask test`: what needs no lab side by side, then the tests in the lab: two at a time where they only wait for what is
//! said, one by one where they measure time. `accept` and `sim` run parts of it at full length.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::geteuid;

use crate::{setup, shell};

/// Tells the tests how many trials to do, and that this host is quiet.
const TRIALS: &str = "HEARTBEAT_TRIALS";
/// The same packages each time, with their tests: cargo would compile shared dependencies anew for another selection.
const EVERYTHING: [&str; 2] = ["--release", "--workspace"];
/// Test programs that need no lab: virtual time, texts, the house itself.
const SIDE_BY_SIDE: [&str; 4] = ["command_line", "house", "import", "simulation"];
/// Test programs in the lab that hold nothing against less than the patience of profile `lan`, start and reload few agents, which takes a
/// processor, and load nothing: while one test waits, another one may run beside it.
const TWO_AT_A_TIME: [&str; 9] = ["api", "disk", "judging", "orders", "page", "ready", "records", "serial", "top"];
/// Where test programs are.
const FOLDERS: [&str; 2] = ["heartbeat-user/tests", "tests/tests"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep pictures of the status page here: healthy, a cable cut, after a takeover
    #[arg(long, value_name = "DIR")]
    screenshots: Option<PathBuf>,
    /// Passed on to the test programs, such as part of a test's name
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Acceptance {
    /// Trials of each kind
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Part of the names of the tests: takes_over, handed_over, however_an_agent_dies, noticed_by_nobody, a_group_both
    test: String,
}

#[derive(clap::Args)]
pub(crate) struct Simulation {
    /// Walk for so many seconds
    #[arg(long, conflicts_with_all = ["seeds", "seed"])]
    seconds: Option<u64>,
    /// Walk over so many seeds, a hundred faults each
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them; else a fresh one, which is printed
    #[arg(long)]
    base: Option<u64>,
    /// Walk one seed, and print what happens
    #[arg(long, conflicts_with_all = ["seeds", "base"])]
    seed: Option<u64>,
}

/// Runs all tests and returns the status of the first part that fails.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let pictures = options.screenshots.as_ref().map(|folder| ("HEARTBEAT_SCREENSHOTS", folder.display().to_string()));
    everything(&options.arguments, pictures)
}

/// Runs some tests at full length and without slack: on a quiet host.
pub(crate) fn accept(options: &Acceptance) -> Result<ExitCode> {
    everything(std::slice::from_ref(&options.test), Some((TRIALS, options.trials.to_string())))
}

/// Runs random walks in virtual time; needs no root.
pub(crate) fn simulate(options: &Simulation) -> Result<ExitCode> {
    setup::toolchain()?;
    let mut walk = cargo("test");
    walk.args(["--test", "simulation", "--", "--nocapture", "a_random_walk"]);
    for (name, value) in [
        ("HEARTBEAT_SECONDS", options.seconds),
        ("HEARTBEAT_SEEDS", options.seeds),
        ("HEARTBEAT_BASE", options.base),
        ("HEARTBEAT_SEED", options.seed),
    ] {
        walk.envs(value.map(|value| (name, value.to_string())));
    }
    Ok(ExitCode::from(status(&mut walk)?))
}

fn everything(arguments: &[String], setting: Option<(&str, String)>) -> Result<ExitCode> {
    ensure!(
        geteuid().is_root(),
        "the tests load XDP programs and make network namespaces, so they need root. Type:\n    \
         sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask test"
    );
    let python = setup::everything()?;
    // The agent too, since the tests in the lab run it.
    shell::run(cargo("build").args(["--bins", "--tests"]))?;

    let side_by_side = SIDE_BY_SIDE.iter().flat_map(|name| ["--test", name]);
    let mut unit = cargo("test");
    unit.args(["--lib", "--bin", "xtask"]).args(side_by_side).args(["--no-fail-fast", "--"]).args(arguments);
    let mut examples = cargo("test");
    examples.args(["--doc", "--no-fail-fast", "--"]).args(arguments);
    let agent = shell::release_folder()?.join("heartbeat");
    let lab = |programs: &BTreeSet<String>, threads: u32| {
        let mut lab = cargo("test");
        lab.args(programs.iter().flat_map(|name| ["--test", name.as_str()]))
            .args(["--no-fail-fast", "--", &format!("--test-threads={threads}")])
            .args(arguments)
            .env("HEARTBEAT_BIN", &agent)
            .env("HEARTBEAT_PYTHON", &python);
        lab
    };
    let [two_at_a_time, one_by_one] = in_the_lab()?;
    // At full length everything is measured.
    let beside = if setting.as_ref().is_some_and(|(name, _)| *name == TRIALS) { 1 } else { 2 };
    let mut failed = 0;
    for part in [&mut unit, &mut examples, &mut lab(&two_at_a_time, beside), &mut lab(&one_by_one, 1)] {
        let status = status(part.envs(setting.clone()))?;
        failed = if failed == 0 { status } else { failed };
    }
    Ok(ExitCode::from(failed))
}

/// The test programs that need the lab: those of which two tests may run at a time, then all others.
fn in_the_lab() -> Result<[BTreeSet<String>; 2]> {
    let mut programs = BTreeSet::new();
    for folder in FOLDERS {
        let folder = shell::repository().join(folder);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let is_program = path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists();
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_program)
                && ![&SIDE_BY_SIDE[..], &TWO_AT_A_TIME].concat().contains(&name)
            {
                programs.insert(name.to_owned());
            }
        }
    }
    Ok([TWO_AT_A_TIME.map(str::to_owned).into(), programs])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_program_is_run_once() {
        let [_, one_by_one] = in_the_lab().unwrap();
        assert!(one_by_one.contains("takeover") && one_by_one.contains("xdp_frames"), "{one_by_one:?}");
        for name in ["support", "simulation", "judging"] {
            assert!(!one_by_one.contains(name), "{one_by_one:?}");
        }
        for name in SIDE_BY_SIDE.iter().chain(&TWO_AT_A_TIME) {
            let folder = shell::repository().join("tests/tests").join(name);
            assert!(folder.join("main.rs").exists() || folder.with_extension("rs").exists(), "{name}");
        }
    }
}
