//! The agent: the only place where core meets the rest. Its threads, and what they say to each other (`messages.rs`):
//! - *pulse* (SCHED_FIFO): sends, drains, judges; drives the core;
//! - *takeover* (SCHED_FIFO, one below): adds, removes and announces addresses;
//! - *control* (tokio, this one): attaches the XDP program, tells events, takes signals and orders, runs hooks and checks;
//! - *api* (tokio): answers for the status, and leaves orders with *control*;
//! - *records* (tokio): brings events to where they go, and waits there for whoever is slow;
//! - *watchdog* (SCHED_FIFO, one below), where there is one to feed: writes what *pulse* says to the device.
//!
//! And one for each serial line and disk, which waits for that device in place of the pulse thread; helpers of *control*, *api*
//! and *records* for what blocks.
//!
//! `start.rs` puts all of it together, in steps, and `control.rs` runs it: what runs knows nothing of what starts.
#![forbid(unsafe_code)]

mod arbitrating;
mod attaching;
mod channels;
mod checks;
mod control;
mod desk;
mod disks;
mod fencing;
mod hooks;
pub mod inherit;
mod left;
mod let_go;
pub mod life;
mod messages;
mod opening;
mod options;
mod orders;
mod probing;
mod pulse;
mod readiness;
mod reload;
mod restart;
mod runs;
mod runtime_dir;
mod serving;
mod silence;
mod start;
mod takeover_events;
mod tenancy;
mod threads;
pub mod turn;
mod unfence;
mod upkeep;
mod watchdog;

pub use let_go::{let_go, let_go_by_hand};
pub use options::{RunEnded, RunOptions};
pub use reload::ensure_could_go_on;
pub use runtime_dir::socket_path;
pub use unfence::unfence;

use crate::{
    command::signals::{self, Signalled, Signals},
    events::{EventNames, Journal, Output, feed::Feed, sinks::Sinks, take_log_records},
    system::{handed_on::close_replaced_binary, names, realtime},
};
use anyhow::Result;
use left::Left;
use runtime_dir::{Claim, RuntimeDir};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Runs the agent until it is stopped (SIGTERM, SIGINT) or is to be replaced (SIGHUP). The signals are blocked
/// ([`crate::command::signals::hold`]) when this is called, and after it returned.
///
/// # Errors
/// What keeps it from starting, with what would be right; or that a thread of it died. What this life or one before holds is
/// still to be let go of then ([`let_go`]).
pub fn run(options: &RunOptions) -> Result<RunEnded> {
    let folder = RuntimeDir::open(&options.runtime_dir)?;
    let mut claim = folder.claim()?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().on_thread_start(signals::hold).build()?;
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    let ended = live(&runtime, options, folder, &mut claim, &mut signals);
    if matches!(ended, Ok(RunEnded::Restart)) {
        claim.hand_on();
    }
    runtime.block_on(signals.give_back());
    // A file that is still being read is waited for by nobody.
    runtime.shutdown_background();
    ended
}

fn live(
    runtime: &Runtime,
    options: &RunOptions,
    folder: RuntimeDir,
    claim: &mut Claim,
    signals: &mut Signals,
) -> Result<RunEnded> {
    let RunOptions { config, node, .. } = options;
    let (output, feed) = (Output::new(), Arc::<Feed>::default());
    let sinks = Sinks::start(config, *node, &folder.records(), output, &feed)?;
    take_log_records(output, sinks.clone());
    let mut journal = Journal { names: EventNames::new(config, *node), output, sinks: sinks.clone(), feed };
    let begun = runtime.block_on(channels::until_ports_are_free(options, &journal, signals, claim));
    let ended = match begun {
        Err(error) => Err(error),
        Ok(Some(Signalled::Stop)) => Ok(RunEnded::Stopped),
        Ok(Some(Signalled::Reload)) => Ok(RunEnded::Restart),
        Ok(None) => {
            names::forget_left();
            let left = Left::find(&folder, config, *node);
            let options = RunOptions { config: left.with_departed(config, *node), ..options.clone() };
            journal.names = EventNames::new(&options.config, *node);
            let parts = start::prepare(&options, &journal, folder, claim, &left);
            // What the life before left for the time in which nobody sent heartbeats.
            realtime::be_ordinary_again();
            close_replaced_binary(&options.program);
            parts.and_then(|parts| runtime.block_on(control::run(&options, journal, parts, signals)))
        }
    };
    sinks.end(matches!(ended, Ok(RunEnded::Restart)));
    ended
}
