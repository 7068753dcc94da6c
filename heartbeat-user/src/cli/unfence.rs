//! `heartbeat unfence`: what the kernel keeps silent about, opened by hand.

use crate::agent;
use anyhow::Result;
use std::path::PathBuf;

/// Have this host serve a group again that its kernel keeps silent about
///
/// Where an agent is dead or stands still, its host's kernel obeys the peer and drops what is for the addresses of a group that
/// the peer took over, and what would leave from them. An agent that is started again decides about it anew; this is for where
/// none can be. It is refused while an agent runs, which decides by itself, and while the peer is heard to hold the group. Root
/// only.
#[derive(Debug, clap::Args)]
pub struct UnfenceArgs {
    /// The group's name; all where it is left out
    group: Option<String>,
    /// Also while the peer is heard to hold it: both serve it then, until an agent is started here
    #[arg(long)]
    force: bool,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Opens.
///
/// # Errors
/// Nothing is kept silent about, the peer holds it, or this is not root.
pub fn run(args: &UnfenceArgs) -> Result<()> {
    let opened = agent::unfence(&args.runtime_dir, args.group.as_deref(), args.force)?;
    for group in opened {
        println!("group {group}: this host's kernel serves it again");
    }
    Ok(())
}
