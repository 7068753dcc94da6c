//! `heartbeat arbiter`: asks whether the arbiter would answer, and makes a disk one.

#![forbid(unsafe_code)]

use crate::{
    arbiter::{Arbiter, prepare},
    config::{ArbiterEngine, Config, host::hostname, parse_node},
    core::Node,
};
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::PathBuf;
use tokio::runtime::Builder;

/// Look whether the arbiter of a configuration would answer, or make a disk an arbiter
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
    /// Write the lease on the disk of [arbiter], once, on one of the controllers; nothing else may use that disk
    #[arg(long)]
    pub prepare: bool,
    /// Overwrite what is in its first 12 KiB; no agent may be using it
    #[arg(long, requires = "prepare")]
    pub force: bool,
}

/// Prints what the arbiter is like.
///
/// # Errors
/// There is none, it is not well, or the disk cannot be prepared.
pub fn run(args: &ArbiterArgs) -> Result<()> {
    let config = Config::load(&args.config)?;
    let file = args.config.display();
    let arbiter = config.arbiter.as_ref().with_context(|| format!("{file} has no [arbiter]"))?;
    if args.prepare {
        let ArbiterEngine::Disk(disk) = &arbiter.engine else {
            bail!("--prepare is for a disk; the arbiter of {file} is {}", arbiter.described())
        };
        prepare(disk, config.pair.id, args.force).map_err(|why| anyhow!(why))?;
        println!("{}: prepared for pair {}", disk.display(), config.pair.id);
        return Ok(());
    }
    let node = match args.node {
        Some(node) => node,
        None => config.node_for(None, &hostname()?)?,
    };
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
