//! What the operating system gives, for any program that must be on time: clocks, bells, what is waited for, real time, interfaces,
//! the routing socket, watchdogs, what a process hands on to the next. It knows nothing of heartbeats.

pub mod bell;
pub mod bpffs;
pub mod child;
pub mod clock;
pub mod handed_on;
pub mod link;
pub mod names;
pub mod netlink;
pub mod realtime;
pub mod waiter;
pub mod watchdog;
