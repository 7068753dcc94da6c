//! What touches the machine on behalf of the heartbeats: the XDP program and its maps, sockets, serial lines, interfaces,
//! clocks, the pulse thread's place in the scheduler. The only part of the agent with `unsafe` code.

pub mod bell;
mod bpf_link;
pub mod clock;
pub mod drain;
mod interface;
mod kernel;
pub mod link;
mod pins;
mod program;
pub mod realtime;
mod serial;
mod serial_frame;
pub mod socket;
mod tables;

pub use interface::{XdpMode, XdpPreference};
pub use kernel::{Adopted, Attached, Kernel, Settings, Yardstick};
pub use serial::{Serial, SerialLine, is_speed, least_interval};
pub use tables::Tables;
