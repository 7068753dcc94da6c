//! What requests are answered from, and who asks.

use super::{cache::Cache, orders::Ordered};
use crate::{api::Shown, latency::Set};
use bytes::Bytes;
use std::sync::{Arc, atomic::AtomicU64};
use tokio::sync::{mpsc, watch};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Unix { root: bool },
    Tcp,
}

/// What the routes answer from.
pub(super) struct World {
    pub facts: Arc<Shown>,
    pub histograms: Set,
    pub token: Option<String>,
    pub orders: mpsc::Sender<Ordered>,
    /// The status, as a message of the stream.
    pub statuses: watch::Sender<(u64, Bytes)>,
    pub cache: Cache,
    pub requests: AtomicU64,
}

impl World {
    pub(super) fn new(facts: Arc<Shown>, token: Option<String>, orders: mpsc::Sender<Ordered>) -> Self {
        Self {
            facts,
            histograms: Set::new(),
            token,
            orders,
            statuses: watch::channel((0, Bytes::new())).0,
            cache: Cache::default(),
            requests: AtomicU64::new(0),
        }
    }
}
