//! The Heartbeat agent, as a library: what the `heartbeat` binary, the tests and the benchmarks drive.

pub mod agent;
pub mod api;
pub mod arbiter;
pub mod cli;
pub mod command;
pub mod config;
pub mod core;
pub mod dataplane;
pub mod disk;
pub mod events;
pub mod fence;
pub mod latency;
pub mod probe;
pub mod system;
pub mod takeover;
pub mod tune;
pub mod types;
