//! `heartbeat run`: the agent.

use crate::{
    agent::{self, RunEnded, RunOptions},
    command::signals,
    config::{Config, host::hostname, parse_node},
    system::handed_on::keep_replaced_binary,
    types::Node,
};
use anyhow::{Context, Result, bail};
use nix::unistd::execv;
use std::{
    ffi::CString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

/// Run the agent: watch the peer, hold or take over groups
///
/// Sends heartbeats on every channel, counts the peer's in the kernel, and moves the groups' addresses. Every change of
/// state is one line on standard output, as JSON where that is not a terminal.
///
/// Signals: SIGTERM and SIGINT release everything, tell the peer and end; SIGHUP checks the configuration and replaces the
/// agent by a new life of itself that keeps everything, also with a new binary (it is started again by its path).
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration file, the same on both controllers
    #[arg(long, value_name = "FILE", default_value = "/etc/heartbeat/heartbeat.toml")]
    pub config: PathBuf,
    /// Which controller this host is; default: the one with this host's name
    #[arg(long, value_name = "a|b", value_parser = parse_node)]
    pub node: Option<Node>,
    /// Where the lock and the API's socket are; one agent to a directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// Runs the agent until it is stopped.
///
/// # Errors
/// What keeps it from starting, or that it died. What it or an earlier life of it held is let go of by then.
pub fn run(args: &RunArgs) -> Result<()> {
    // What comes from now on waits until the agent takes it.
    signals::hold();
    live(args).inspect_err(|_| agent::let_go(&args.runtime_dir))
}

fn live(args: &RunArgs) -> Result<()> {
    // Before anything can move the binary away.
    let program = std::env::current_exe().context("the path of this program")?;
    let config = Config::load(&args.config)?;
    let node = match args.node {
        Some(node) => node,
        None => config.node_for(None, &hostname()?)?,
    };
    let options = RunOptions {
        config,
        config_file: args.config.clone(),
        node,
        node_said: args.node,
        runtime_dir: args.runtime_dir.clone(),
        program,
    };
    match agent::run(&options)? {
        RunEnded::Stopped => Ok(()),
        RunEnded::Restart => {
            // Not by a search path, nor by a shell: a binary that was copied half-way is no script.
            let words = std::env::args_os().map(|word| CString::new(word.into_vec())).collect::<Result<Vec<_>, _>>()?;
            let program = CString::new(options.program.as_os_str().as_bytes())?;
            keep_replaced_binary();
            let error = execv(&program, &words).err();
            bail!(
                "{}: cannot be started again: {}",
                options.program.display(),
                error.map_or("unknown error", |error| error.desc())
            )
        }
    }
}
