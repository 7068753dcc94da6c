//! What the agent is started with, and how it ends.

use crate::{config::Config, types::Node};
use std::path::PathBuf;

/// What the agent is started with.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration, checked.
    pub config: Config,
    /// Where it came from, to read it again.
    pub config_file: PathBuf,
    /// Which controller this is.
    pub node: Node,
    /// Which one it was said to be; else the host's name says it.
    pub node_said: Option<Node>,
    /// Where the lock and the sockets are.
    pub runtime_dir: PathBuf,
    /// The binary that the next life is.
    pub program: PathBuf,
}

/// How a life of the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnded {
    /// Everything is released; the peer knows.
    Stopped,
    /// Everything is kept for a new life, to be started at once.
    Restart,
}
