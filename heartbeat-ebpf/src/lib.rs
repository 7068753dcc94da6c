//! What the kernel program and the agent share: the heartbeat message, the parsing and checking of frames, the records in
//! the maps. Everything here is `no_std`, allocates nothing and runs unchanged in XDP, and in the agent where a channel has
//! no XDP, and in tests.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod admit;
pub mod echo;
pub mod frame;
pub mod guard;
mod headers;
pub mod histogram;
pub mod layout;
pub mod machine;
pub mod notice;
pub mod receive;
pub mod reply;
pub mod siphash;
pub mod verify;
pub mod wire;
