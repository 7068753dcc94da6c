//! The Heartbeat agent, as a library: what the `heartbeat` binary, the tests and the benchmarks drive.

pub mod core;
pub mod dataplane;
