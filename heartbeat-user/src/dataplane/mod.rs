//! How heartbeats come in and go out: the XDP program in the kernel, the maps that it shares with us, and the ways to
//! attach it.

mod interface;
mod kernel;
mod link;
mod pins;
mod tables;

pub use interface::{XdpMode, XdpPreference};
pub use kernel::{Adopted, Attached, Kernel, Settings, Yardstick};
pub use tables::Tables;
