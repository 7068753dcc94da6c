//! `heartbeat arbiter`: asks whether the arbiter would answer, and prepares disks that both controllers have.

#![forbid(unsafe_code)]

use super::disks;
use crate::{
    arbiter::Arbiter,
    config::{Config, host::hostname, parse_node},
    types::Node,
};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::path::PathBuf;
use tokio::runtime::Builder;

/// Look whether the arbiter of a configuration would answer, or prepare disks
///
/// Without --prepare nothing is changed: etcd is asked for the groups' keys at each endpoint, a disk is read, a command is not
/// run. The exit code is 0 if all of it is well, 1 if not.
#[derive(Debug, clap::Args)]
pub struct ArbiterArgs {
    /// The configuration file, the same on both controllers
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Which controller this host is; default: the one with this host's name
    #[arg(long, value_name = "a|b", value_parser = parse_node)]
    pub node: Option<Node>,
    /// Prepare the disks of [arbiter] and of channels for this pair, once, on one of the controllers; nothing else may use them
    #[arg(long)]
    pub prepare: bool,
    /// Overwrite what is in their first 20 KiB; no agent may be using them
    #[arg(long, requires = "prepare")]
    pub force: bool,
}

/// Prints what the arbiter is like.
///
/// # Errors
/// There is none, it is not well, or a disk cannot be prepared.
pub fn run(args: &ArbiterArgs) -> Result<()> {
    let config = Config::load(&args.config)?;
    let file = args.config.display();
    let node = match args.node {
        Some(node) => node,
        None => config.node_for(None, &hostname()?)?,
    };
    if args.prepare {
        let done = disks::prepare(&config, node, args.force).with_context(|| file.to_string())?;
        println!("{}", done.join("\n"));
        return Ok(());
    }
    ensure!(config.arbiter.is_some(), "{file} has no [arbiter]");
    match look(&config, node) {
        Some(Err(why)) => Err(anyhow!(why)),
        Some(Ok(well)) => {
            println!("{well}");
            Ok(())
        }
        None => Ok(()),
    }
}

/// What a look at the arbiter of `config` finds: it is well, or not; `None` where there is none.
pub(super) fn look(config: &Config, node: Node) -> Option<Result<String, String>> {
    let arbiter = Arbiter::new(config, node)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let found = match &runtime {
        Ok(runtime) => runtime.block_on(arbiter.look()),
        Err(error) => Err(format!("it was not asked: {error}")),
    };
    if let Ok(runtime) = runtime {
        // A name that is still being looked up is waited for by nobody.
        runtime.shutdown_background();
    }
    Some(found)
}
