//! What an operator sees: events and log lines, and the status document over a Unix socket.

mod facts;
pub mod histogram;
mod log;
mod record;
mod report;

pub use facts::{Lateness, View, to_hdr};
pub use log::{ControlEvent, Journal, Names, Output};
pub use record::{Record, Severity};
pub use report::{Channel, Distribution, Group, Health, Peer, Sources, Status};

use std::path::{Path, PathBuf};

/// The socket in the runtime directory that gives one status document to whoever connects.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("status.sock")
}
