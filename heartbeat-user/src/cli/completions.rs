//! `heartbeat completions` and `heartbeat man`: made from the command line's own definitions.

use super::Cli;
use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{
    io::{Write as _, stdout},
    path::PathBuf,
};

/// Print the completions for a shell
///
/// For bash: heartbeat completions bash > /etc/bash_completion.d/heartbeat
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual pages
///
/// heartbeat.1 and one for each subcommand; without a directory, the first one to standard output.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Where to, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the completions.
///
/// # Errors
/// None: who does not read them does without.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "heartbeat", &mut script);
    let _ = stdout().lock().write_all(&script);
    Ok(())
}

/// Writes the manual pages.
///
/// # Errors
/// The directory cannot be written to.
pub fn man(args: &ManArgs) -> Result<()> {
    match &args.directory {
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory)
            .with_context(|| format!("{}: cannot be written to", directory.display())),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            let _ = stdout().lock().write_all(&page);
            Ok(())
        }
    }
}
