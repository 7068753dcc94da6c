//! What is shown to whoever asks: the status, whether a failover would work, metrics, the live page, and the API that gives all of it.
#![forbid(unsafe_code)]

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
