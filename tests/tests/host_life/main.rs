//! What happens to hosts in years of use: files that change, NICs that are missing or renamed, agents that die, hooks that
//! fail. Each row of the table of situations that once went wrong, with what the clients saw.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod announcing;
mod cut_off;
mod fencing;
mod files;
mod fuse_watchdog;
mod hooks;
mod interfaces;
mod signals;
mod support;
mod watchdog;
