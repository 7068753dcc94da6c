//! What an operator sees: events and log lines, the status, histograms, and the API that gives all of it.

mod facts;
pub mod feed;
pub mod histogram;
mod known;
mod log;
mod metrics;
mod ready;
mod record;
pub mod records;
mod report;
pub mod server;
mod telling;

pub use facts::{ChannelLatencies, Facts, Latencies, Shared, View};
pub use known::{ArbiterFacts, Claim, FenceDevice, FenceFacts, Known, Problem, ProblemKind, WatchdogFacts};
pub use log::{ControlEvent, Journal, Output};
pub use ready::{Code, Obstacle, Readiness};
pub use record::Record;
pub use records::Sink;
pub use report::{Answer, Channel, Distribution, End, Group, Health, OwnEnd, Peer, Status};
pub use telling::{Names, Tell};

use std::path::{Path, PathBuf};

/// The socket in the runtime directory on which the API is served.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("api.sock")
}
