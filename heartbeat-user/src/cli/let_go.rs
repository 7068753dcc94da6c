//! `heartbeat let-go`: what a dead agent has left on this host, taken away by hand.

use crate::agent;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Let go of all that a dead agent has left on this host
///
/// Its groups' on_release hooks, the addresses it had added, its programs and pins in the kernel. An agent that is started again
/// does the same with what is not its own any more, and one that is stopped leaves nothing; this is for where none is to be started
/// again. It is refused while an agent runs. Ends with 0 where nothing is left. Root only.
#[derive(Debug, clap::Args)]
pub struct LetGoArgs {
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Lets go.
///
/// # Errors
/// An agent runs, this is not root, or something could not be let go of.
pub fn run(args: &LetGoArgs) -> Result<()> {
    match agent::let_go_by_hand(&args.runtime_dir)?.as_slice() {
        [] => Ok(()),
        stays => bail!("not let go of: {}", stays.join("; ")),
    }
}
