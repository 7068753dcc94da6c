//! The vocabulary: ids, times and parameters that every part of the agent names the same way. It knows nothing of any of them.

#![forbid(unsafe_code)]

mod ids;
mod line;
mod link;
mod severity;
mod sides;
mod time;
mod xdp;

pub use ids::{ChannelIndex, GroupIndex, MAX_CHANNELS, MAX_GROUPS, Node, bits};
pub use line::{LINE_FRAME, SERIAL_SPEEDS, SerialLine, is_speed, least_interval};
pub use link::Link;
pub use severity::Severity;
pub use sides::Sides;
pub use time::{Nanos, Timing};
pub use xdp::{XdpMode, XdpPreference};
