//! One host without its agent, in the records that the XDP program and the agent share: what arrives is admitted, counted and
//! answered whatever the agent does. It outlives the agent; only a loss of power clears it.

use crate::file::File;
use heartbeat::{
    core::{ChannelIndex, Nanos, Node},
    dataplane::{Order, Tables},
};
use heartbeat_ebpf::{
    admit::{self, Expected, News},
    echo::{self, Echo},
    layout::Outcome,
    siphash::Key,
    wire::{LEN, Message, View},
};

/// The pair's id.
pub const PAIR: u32 = 7;
/// The key that both have.
pub const KEY: Key = Key::new([0x5a; 16]);

/// A message on its way, on one of the world's cables.
#[derive(Clone, Copy)]
pub struct Datagram {
    pub cable: usize,
    pub bytes: [u8; LEN],
}

impl Datagram {
    pub fn of(cable: usize, message: &Message, key: Key) -> Self {
        let mut bytes = [0; LEN];
        message.emit(key, &mut bytes);
        Self { cable, bytes }
    }

    pub fn echo(cable: usize, echo: &Echo, key: Key) -> Self {
        let mut bytes = [0; LEN];
        echo.emit(key, &mut bytes);
        Self { cable, bytes }
    }
}

/// What became of a datagram.
pub enum Heard {
    Nothing,
    /// The doorbell rings.
    News,
    /// The host owes an answer.
    Owes(Echo),
}

pub struct Host {
    pub node: Node,
    /// When it was booted, on the world's clock: where its own clock is at zero.
    pub booted: Nanos,
    pub tables: Tables,
    /// By cable, the slot that is counted in; none before an agent attached the program.
    ends: Vec<Option<u8>>,
    pub keys: [Option<Key>; 2],
}

impl Host {
    pub fn new(node: Node, cables: usize, booted: Nanos) -> Self {
        Self { node, booted, tables: fresh(), ends: vec![None; cables], keys: [Some(KEY), None] }
    }

    /// The world's time on this host's clock.
    pub fn clock(&self, world: Nanos) -> Nanos {
        world.since(self.booted)
    }

    /// It loses power and is up again, at `world`, without an agent.
    pub fn power_off(&mut self, world: Nanos) {
        self.tables = fresh();
        self.ends.fill(None);
        self.booted = world.since(Nanos::from_millis(1));
    }

    /// An agent attaches the program to the cables of its file, to be counted in the slots of this order; `fresh`: channels
    /// whose slots were another's, or nobody's.
    pub fn attach(&mut self, file: &File, order: Order, fresh: u64) -> Tables {
        let tables = self.tables.arranged(order);
        self.ends.fill(None);
        for ((channel, cable), id) in file.channels().zip(file.names().channels()) {
            self.ends[cable] = Some(tables.number(channel));
            if fresh & channel.bit() != 0 {
                tables.clear(channel);
            }
            tables.slot(channel).channel_id.set((*id).into());
        }
        tables
    }

    /// A datagram arrives, as the XDP program takes it.
    pub fn receive(&self, world: Nanos, datagram: &Datagram) -> Heard {
        let Some(slot) = self.ends[datagram.cable] else { return Heard::Nothing };
        let channel = ChannelIndex(slot);
        let now = self.clock(world).0;
        let (slot, histogram) = (self.tables.slot(channel), self.tables.inter_arrival(channel));
        let expected = Expected { pair_id: PAIR, node: self.node.wire(), channel_id: slot.channel_id.get() as u32 };
        let agent = self.tables.agent();
        let message = View::new(&datagram.bytes);
        let key = |id: u8| self.keys.get(usize::from(id)).copied().flatten();
        let received = admit::receive(Some(message), expected, agent, key, slot, histogram, || now);
        match received.outcome {
            Outcome::EchoRequest => Heard::Owes(echo::answer(message, expected, agent, now)),
            _ if received.news != News::None => Heard::News,
            _ => Heard::Nothing,
        }
    }
}

fn fresh() -> Tables {
    Tables::anonymous().expect("memory")
}
