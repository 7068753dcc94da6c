//! The judging: plain data in, plain data out; no I/O, no clock, no thread.

mod types;

pub use types::*;
