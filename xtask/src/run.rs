//! `cargo xtask run`: the real agent, or a lab pair to look at and to break.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use heartbeat_tests::live;

/// Run the agent with a configuration; without one, bring up a lab pair and watch it live.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run the agent itself with this configuration [default: /etc/heartbeat/heartbeat.toml where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Bring up the lab even if this machine has a configuration
    #[arg(long, conflicts_with_all = ["config", "agent_arguments"])]
    lab: bool,

    /// End the lab by itself after this many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    run_for: Option<u32>,

    /// Timing of the lab's pair
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,

    /// Handed to `heartbeat run` as they are: `cargo xtask run -- --config FILE --node a`
    #[arg(last = true, value_name = "ARGUMENT")]
    agent_arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    /// 100 ms, for ordinary networks
    Lan,
    /// 10 ms
    Fast,
    /// 1 ms
    Ultra,
    /// 1 s, judged as in the patent application
    Classic,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Fast => "fast",
            Self::Ultra => "ultra",
            Self::Classic => "classic",
        }
    }
}

/// Runs the agent or the lab until it ends.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    live::run(&live::RunOptions {
        config: args.config,
        agent_arguments: args.agent_arguments,
        lab: args.lab,
        run_for: args.run_for.map(|seconds| Duration::from_secs(seconds.into())),
        profile: Some(args.profile.name().to_owned()),
    })
}
