//! The agent: the only place where core meets the rest. Four threads:
//! - *pulse* (SCHED_FIFO): sends, drains, judges; drives the core;
//! - *takeover* (SCHED_FIFO, one below): adds, removes and announces addresses;
//! - *control* (tokio, this one): attaches the XDP program, tells events, answers for the status, takes signals;
//! - *records* (tokio): brings events to where they go, and waits there for whoever is slow.

mod api;
mod control;
mod hooks;
mod pulse;
mod setup;
mod shared;
pub mod turn;

use crate::{
    config::Config,
    core::Node,
    status::{Journal, Names, Output, feed::Feed, records::Records},
};
use anyhow::Result;
use std::{path::PathBuf, sync::Arc};

/// What the agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration, checked.
    pub config: Config,
    /// Where it came from, to read it again.
    pub config_file: PathBuf,
    /// Which controller this is.
    pub node: Node,
    /// Where the lock and the sockets are.
    pub runtime_dir: PathBuf,
}

/// How a life of the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is released; the peer knows.
    Stopped,
    /// Everything is kept for a new life, to be started at once.
    Restart,
}

/// Runs the agent until it is stopped (SIGTERM, SIGINT) or is to be replaced (SIGHUP).
///
/// # Errors
/// What keeps it from starting, with what would be right; or that a thread of it died, after everything was released.
pub fn run(options: &Options) -> Result<Ended> {
    let Options { config, node, runtime_dir, .. } = options;
    let (output, feed) = (Output::new(), Arc::<Feed>::default());
    let records = Records::start(config, *node, runtime_dir, output, &feed)?;
    let journal = Journal { names: Names::new(config, *node), output, records: records.clone(), feed };
    let ended = live(options, journal);
    records.end(matches!(ended, Ok(Ended::Restart)));
    ended
}

fn live(options: &Options, journal: Journal) -> Result<Ended> {
    let parts = setup::prepare(options, &journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(control::run(options, journal, parts))
}
