//! What is shown to whoever asks: the status, whether a failover would work, metrics, the live page, and the API that gives all of it.

mod facts;
mod known;
mod metrics;
mod readiness;
mod ready;
pub mod server;
mod status;

pub use facts::{Facts, Shared, View};
pub use known::{ArbiterFacts, Claim, FenceDevice, FenceFacts, Known, Problem, ProblemKind, WatchdogFacts};
pub use readiness::Readiness;
pub use status::{
    Answer, Channel, Distribution, End, Faulted, Group, Health, Judged, OwnEnd, Peer, ReceivedBy, Status,
};

use std::path::{Path, PathBuf};

/// The socket in the runtime directory on which the API is served.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("api.sock")
}
