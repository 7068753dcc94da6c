//! The lab: a pair of controllers in network namespaces, with switches, cables and clients, that tests and
//! `cargo xtask run` break and mend.
//!
//! This crate knows the agent only from outside, as an operator does: the binary `heartbeat`, its configuration file, its
//! log lines and its status. It does not depend on the agent's crates, so it compiles without the eBPF object.

#![deny(unsafe_code)]

pub mod client;
pub mod frame;
pub mod host;
pub mod inject;
pub mod lab;
pub mod live;
pub mod scenario;
