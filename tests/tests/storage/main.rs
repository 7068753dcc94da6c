//! Storage that goes with a group is never in use on both controllers: hooks, fences, and the promise of one that is cut off.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cut_off;
mod fencing;
mod half_way;
mod hooks;
mod stuck_file;
