//! What is told: an event, or a log record.

use super::feed::Entry;
use log::Level;
use std::sync::Arc;

/// Something told.
#[derive(Clone)]
pub enum Item {
    /// An event.
    Event(Arc<Entry>),
    /// A log record.
    Line(Arc<Line>),
}

/// A log record.
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// When, in ns since 1970.
    pub time_ns: u64,
    /// What.
    pub message: String,
}
