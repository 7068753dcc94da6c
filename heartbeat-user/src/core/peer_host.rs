//! What the peer's host says although its agent does not: echoes and notices of its kernel.

use super::{ChannelIndex, Core, Nanos};

/// What the peer's kernel says of its agent: that it died, or how long it has stood still (WO 01/82077 knows no such thing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeSaid {
    /// The life of the peer's agent that it is about.
    pub incarnation: u64,
    /// When we sent the heartbeat that it answers, on our clock.
    pub asked: Nanos,
    /// The agent is dead; else it only stands still.
    pub died: bool,
    /// How long before it answered the agent had given its last sign of life.
    pub silent: Nanos,
    /// The groups that it held, in the peer's order.
    pub owned: u64,
    /// Those for which its kernel keeps silent, in the peer's order.
    pub closed: u64,
    /// Its term.
    pub term: u64,
    /// For so long after its death the agent may come back and go on.
    pub grace: Nanos,
}

impl Core {
    /// The peer's kernel answered a heartbeat of ours in place of its agent.
    pub fn handle_notice(&mut self, _now: Nanos, _channel: ChannelIndex, _said: &NoticeSaid) {}
}
