//! The configuration: one TOML file, the same on both controllers, read into values that need no further checking.
//!
//! [`EXAMPLE`] names every key with its default, unit, range and consequence. What this host must have beside the file
//! is checked in [`host`], the key file in [`key`].

#![forbid(unsafe_code)]

mod arbiter;
mod claims;
mod commands;
mod derived;
mod devices;
mod digest;
mod error;
mod fence;
pub mod host;
pub mod key;
mod load;
mod model;
mod node;
mod profiles;
mod read;
mod records;
mod sections;
mod table;
#[cfg(test)]
mod tests;
mod topology;
mod values;

pub use arbiter::{ArbiterConfig, ArbiterEngine, Endpoint, EtcdConfig};
pub(crate) use error::nearest;
pub use error::{ConfigError, ConfigProblem, Fault, Problems};
pub use fence::{AgentOptions, Device, Fence, Level, Means};
pub use host::{
    FileFault, Host, HostProblem, check_commands, check_disk_names, check_files, check_host, check_owners,
    check_watchdog, read_file, read_secret, read_token,
};
pub use key::{KeyError, PairKeys};
pub use model::{
    Api, ChannelConfig, ChannelEnd, ChannelKind, Check, Config, Dataplane, GroupConfig, Hooks, JudgingConfig, Pair,
    ServiceAddress, Takeover, Targets, WatchdogConfig, Wiring,
};
pub use node::parse_node;
pub use profiles::{Overrides, Profile, show};
pub use read::Contents;
pub use records::{Events, HistogramsConfig, OnEvent, Rotated, SystemLog};
pub(crate) use topology::is_interface_name;

pub use values::Use;

/// A configuration with every key in it, commented.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The most service addresses that all groups together may have.
pub const MAX_ADDRESSES: usize = 4096;
