//! What touches the machine on behalf of the heartbeats: the XDP program and its maps, sockets, serial lines, disks,
//! interfaces, clocks, the pulse thread's place in the scheduler. The only part of the agent with `unsafe` code.

pub mod bell;
mod bpf_link;
pub mod child;
pub mod clock;
mod disk;
pub mod drain;
mod earlier;
pub mod guard;
pub mod handed_on;
mod interface;
mod kernel;
pub mod link;
mod opener;
mod pins;
mod program;
pub mod realtime;
mod serial;
mod serial_frame;
mod silence;
pub mod socket;
mod tables;
pub mod waiter;
pub mod watchdog;

pub use disk::{DiskEnd, DiskNews, DiskThreads, Disks};
pub use earlier::{PinnedCell, release};
pub use interface::{XdpMode, XdpPreference, index_of};
pub use kernel::{Adopted, Attached, Kernel, Mended, Settings, Yardstick};
pub use opener::Opener;
pub use pins::{pin_folder, remove_pins};
pub use serial::{Serial, SerialLine, is_speed, least_interval};
pub use tables::{IN_FILE_ORDER, Order, Tables};
