//! Development tasks of Heartbeat.
fn main() {}
