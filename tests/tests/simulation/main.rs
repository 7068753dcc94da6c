//! Two judgements against each other in virtual time: every fault that a pair can have, and a random walk over all of them.
//!
//! `cargo xtask sim --seconds 600` walks for longer.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod adversity;
mod death;
mod exclusive;
mod faults;
mod file;
mod files;
mod hooks;
mod host;
mod invariants;
mod judging;
mod life;
mod network;
mod networks;
mod orders;
mod partition;
mod side;
mod start;
mod walk;
mod world;
