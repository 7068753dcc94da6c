//! What is shown to whoever asks: the status, whether a failover would work, metrics, the live page, and the API that gives all of it.
#![forbid(unsafe_code)]

mod known;
mod latest;
mod metrics;
mod readiness;
mod ready;
pub mod server;
mod shown;
mod status;

pub use known::{ArbiterFacts, FenceDevice, FenceFacts, GroupClaim, Known, Problem, ProblemKind, WatchdogFacts};
pub use latest::Latest;
pub use readiness::Readiness;
pub use shown::{CoreView, Shared, Shown};
pub use status::{
    Answer, Channel, Distribution, End, Faulted, Group, Health, Judged, OwnEnd, Peer, ReceivedBy, Status,
};
