//! An operator's orders, on their way to the control side.

use crate::core::Refusal;
use tokio::sync::oneshot;

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Hold the group of this name here.
    Takeover(String),
    /// The same, although the peer is silent and may have it.
    TakeoverForced(String),
    /// Have the peer hold it.
    Release(String),
    /// Let nothing move, or no longer so.
    Maintenance(bool),
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderReply {
    /// It is being carried out.
    Accepted,
    /// It is not.
    Refused(String),
    /// There is no such group.
    Unknown(String),
}

impl From<Result<(), Refusal>> for OrderReply {
    fn from(result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(refusal) => Self::Refused(refusal.to_string()),
        }
    }
}

/// An order that somebody waits for.
pub type Ordered = (Request, oneshot::Sender<OrderReply>);
