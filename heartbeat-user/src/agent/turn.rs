//! What a turn of the pulse thread begins with, and what it leaves behind: from the kernel's records to the core's inputs, and
//! from the core's decisions to the agent's cell. Pure, so that the simulation takes its turns the same way.

use crate::{
    core::{CellState, ChannelIndex, Core, Nanos},
    dataplane::{
        Tables,
        drain::{Drain, Mark, Sink},
    },
};
use heartbeat_ebpf::wire::Message;

/// Tells the core what is new on a channel. `heard` is told before of each heartbeat that counts as life, and when it arrived.
#[inline]
pub fn drain(
    core: &mut Core,
    tables: &Tables,
    drain: &mut Drain,
    channel: ChannelIndex,
    now: Nanos,
    heard: impl FnMut(&Message, Nanos),
) {
    drain.drain(tables.slot(channel), tables.agent(), &mut Told { core, channel, now, heard });
}

/// Leaves in the cell what the kernel holds messages against and what a next life may resume: before anything is said or
/// done, so that nothing is ever half done that the cell does not tell of.
#[inline]
pub fn leave_mark(core: &Core, tables: &Tables, now: Nanos) {
    let CellState { owned, hooked, peer_flags, peer_kept, .. } = core.cell_state(now);
    let (peer_incarnation, term, alive_ns) = (core.peer_incarnation(), core.term(), now.0);
    let peer_flags = peer_flags.into();
    let mark = Mark { peer_incarnation, owned, hooked, peer_flags, peer_kept, term, alive_ns };
    mark.leave(tables.agent());
}

/// One channel's drain goes to the core.
struct Told<'a, F> {
    core: &'a mut Core,
    channel: ChannelIndex,
    now: Nanos,
    heard: F,
}

impl<F: FnMut(&Message, Nanos)> Sink for Told<'_, F> {
    fn heartbeat(&mut self, message: &Message, arrived_ns: u64) {
        (self.heard)(message, Nanos(arrived_ns));
        self.core.handle_heartbeat(self.now, self.channel, message, Nanos(arrived_ns));
    }

    fn handshake(&mut self, message: &Message, arrived_ns: u64) -> u64 {
        self.core.handle_handshake(self.now, self.channel, message, Nanos(arrived_ns));
        self.core.peer_incarnation()
    }

    fn echo(&mut self, asked_ns: u64, silent_ns: u64) {
        self.core.handle_echo(self.now, self.channel, Nanos(asked_ns), Nanos(silent_ns));
    }

    fn stranger(&mut self) {
        self.core.handle_stranger(self.now, self.channel);
    }
}
