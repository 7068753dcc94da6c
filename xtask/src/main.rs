//! `cargo xtask`: what a developer of Heartbeat types, one file a subcommand.

mod bench;
mod compile;
mod dist;
mod lab;
mod lint;
mod lock;
mod packagers;
mod packages;
mod run;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, build, tests and lints of Heartbeat.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring what build and tests need (as root on Debian its packages, too); the other commands do their part by themselves
    Setup,
    /// Build the agent with the XDP program in it: target/release/heartbeat
    Build,
    /// Make packages of it: a .deb, an .rpm and a tarball
    Dist(dist::Options),
    /// Run the agent, or with no configuration on this machine a lab pair with a live view (as root)
    Run(run::RunArgs),
    /// Break and mend the lab that `run` has brought up
    Lab(lab::LabArgs),
    /// Run all tests: those without a lab side by side, then those in the lab, one or two at a time (as root)
    Test(test::Options),
    /// Run tests at full length, held to the exact bounds; on a quiet host (as root)
    Accept(test::Acceptance),
    /// Walk at random over all faults, in virtual time
    Sim(test::Simulation),
    /// Measure what there are budgets for, and hold the figures against them (as root)
    Bench(bench::Options),
    /// Check format and lints, for the host and for the BPF target
    Lint,
}

fn main() -> ExitCode {
    let result = match Xtask::parse().task {
        Task::Setup => setup::everything().map(|_| ExitCode::SUCCESS),
        Task::Build => compile::run().map(|()| ExitCode::SUCCESS),
        Task::Dist(options) => dist::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Run(args) => compile::run().and_then(|()| run::run(args)).map(|()| ExitCode::SUCCESS),
        Task::Lab(args) => lab::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Test(options) => test::run(&options),
        Task::Accept(options) => test::accept(&options),
        Task::Sim(options) => test::simulate(&options),
        Task::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Lint => lint::run().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
