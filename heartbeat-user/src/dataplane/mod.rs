//! The way of the heartbeats: the XDP program and its maps, sockets, serial lines, disks, and what is drained from all of them.

mod bpf_link;
mod disk;
pub mod drain;
mod earlier;
mod filter;
pub mod guard;
mod interface;
mod kernel;
mod mended;
mod opener;
mod pins;
mod program;
mod serial;
mod serial_frame;
mod silence;
pub mod socket;
mod tables;

pub use disk::{DiskEnd, DiskNews, DiskThreads, Disks};
pub use earlier::{PinnedCell, release};
pub use kernel::{Adopted, Attached, Kernel, Yardstick};
pub use mended::Mended;
pub use opener::Opener;
pub use pins::{pin_folder, remove_pins};
pub use program::ProgramSettings;
pub use serial::Serial;
pub use tables::{IN_FILE_ORDER, SlotOrder, Tables};
