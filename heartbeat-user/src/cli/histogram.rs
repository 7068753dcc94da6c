//! `heartbeat histogram`: latencies, for people and for other programs.

use super::client;
use crate::latency::{Format, Histograms, Snapshot, select};
use anyhow::{Context as _, Result};
use std::{
    io::{Write as _, stdout},
    path::PathBuf,
};

/// Show how long things take
///
/// Between heartbeats, there and back, from stamp to drain, the pulse thread's lateness, the stages of a takeover.
#[derive(Debug, clap::Args)]
pub struct HistogramArgs {
    /// One (rtt/net1), or all of a kind (rtt); default: all
    name: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Since the agent's start, or since the last reset
    #[arg(long, value_enum, default_value = "start")]
    since: From,
    /// Instead of the agent's, those of a file that `--format json` wrote; `-`: of standard input
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    from: Option<PathBuf>,
    /// Count anew from now on, for `--since reset`
    #[arg(long, conflicts_with_all = ["name", "format", "since", "from"])]
    reset: bool,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum From {
    /// The agent's start
    Start,
    /// The last reset
    Reset,
}

/// Prints them.
///
/// # Errors
/// No agent answers, or there is none of this name.
pub fn run(args: &HistogramArgs) -> Result<()> {
    let HistogramArgs { name, format, since, from, reset, runtime_dir } = args;
    if *reset {
        return client::post(runtime_dir, "/v1/histograms/reset");
    }
    let since = match since {
        From::Start => "start",
        From::Reset => "reset",
    };
    let (text, whose) = match from {
        Some(file) => (super::read(file)?, file.display().to_string()),
        None => (client::get(runtime_dir, &format!("/v1/histograms?since={since}"))?, "the agent".into()),
    };
    let all: Histograms = serde_json::from_str(&text)
        .with_context(|| format!("{whose}: not histograms that this version understands"))?;
    let mut snapshots = all.histograms.iter().map(Snapshot::try_from).collect::<Result<Vec<_>>>()?;
    if let Some(name) = name {
        snapshots = select(snapshots, name)?;
    }
    // Whoever closed the pipe has seen enough.
    let _ = stdout().lock().write_all(format.render(&snapshots)?.as_bytes());
    Ok(())
}
