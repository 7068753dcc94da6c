//! The command line: one file a subcommand.
#![forbid(unsafe_code)]

mod advice;
pub mod arbiter;
pub mod check;
pub mod client;
pub mod completions;
mod disks;
pub mod events;
pub mod explain;
mod format;
pub mod histogram;
mod host;
pub mod import;
pub mod init;
pub mod keygen;
pub mod let_go;
pub mod order;
pub mod paint;
pub mod ready;
pub mod reload;
pub mod run;
mod source;
pub mod status;
pub mod top;
pub mod tune;
pub mod unfence;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
    process::ExitCode,
};

/// Where an agent keeps its lock and its API's socket, unless told otherwise.
pub const RUNTIME_DIR: &str = "/run/heartbeat";

/// High availability for a pair of Linux controllers: heartbeats counted in XDP, addresses taken over
///
/// Both controllers run `heartbeat run` with the same configuration file. Each sends heartbeats on every channel (one
/// network path each), counts the other's in its kernel, and takes over the other's service addresses when no channel
/// hears it any more. A dead cable is a fault report, not a failover.
///
/// To begin:  heartbeat init   (looks at this host, asks, and writes /etc/heartbeat/heartbeat.toml and the key),
///            then what it says.
#[derive(Debug, Parser)]
#[command(name = "heartbeat", version, verbatim_doc_comment)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each one's arguments are documented")]
pub enum Command {
    Run(run::RunArgs),
    Reload(reload::ReloadArgs),
    Status(status::StatusArgs),
    Ready(ready::ReadyArgs),
    Top(top::TopArgs),
    Events(events::EventsArgs),
    Explain(explain::ExplainArgs),
    Histogram(histogram::HistogramArgs),
    Tune(tune::TuneArgs),
    Takeover(order::TakeoverArgs),
    Release(order::ReleaseArgs),
    Maintenance(order::MaintenanceArgs),
    Unfence(unfence::UnfenceArgs),
    LetGo(let_go::LetGoArgs),
    Check(check::CheckArgs),
    Arbiter(arbiter::ArbiterArgs),
    Init(init::InitArgs),
    Import(import::ImportArgs),
    Keygen(keygen::KeygenArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => return status::run(&args),
        Command::Ready(args) => return ready::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Histogram(args) => histogram::run(&args),
        Command::Tune(args) => return tune::run(&args),
        Command::Takeover(args) => order::takeover(&args),
        Command::Release(args) => order::release(&args),
        Command::Maintenance(args) => order::maintenance(&args),
        Command::Unfence(args) => unfence::run(&args),
        Command::LetGo(args) => let_go::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Arbiter(args) => arbiter::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Import(args) => return import::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The text of a file that a command is given; of standard input where it is `-`.
fn read(file: &Path) -> Result<String> {
    /// In bytes.
    const MOST: u64 = 256 * 1024 * 1024;
    let source: Box<dyn Read> = match file.as_os_str().as_encoded_bytes() {
        b"-" => Box::new(stdin().lock()),
        _ => Box::new(File::open(file).with_context(|| file.display().to_string())?),
    };
    let mut text = String::new();
    source.take(MOST + 1).read_to_string(&mut text).with_context(|| file.display().to_string())?;
    ensure!(text.len() as u64 <= MOST, "{} has more than {MOST} bytes", file.display());
    Ok(text)
}
