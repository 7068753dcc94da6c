//! What happened, told: a record of each event, to whoever asks or listens, and to the sinks.
#![forbid(unsafe_code)]

mod catalogue;
mod control;
pub mod feed;
mod item;
mod journal;
mod logger;
mod obstacle;
mod output;
mod record;
#[cfg(test)]
pub(crate) mod samples;
pub mod sinks;
pub(crate) mod text;

pub use catalogue::{Kind, Role, Row, Subject};
pub use control::{ArbiterSaid, ControlEvent};
pub use journal::Journal;
pub use logger::take_log_records;
pub use obstacle::{Code, Obstacle};
pub use output::Output;
pub use record::Record;
pub use text::{EventNames, Tell};
