//! What touches the machine on behalf of the heartbeats: the XDP program and its maps, sockets, interfaces, clocks, the
//! pulse thread's place in the scheduler. The only part of the agent with `unsafe` code.

pub mod bell;
pub mod clock;
pub mod link;
pub mod realtime;
pub mod socket;
