//! One host without its agent, in the records that the XDP program and the agent share: what arrives is admitted, counted and
//! answered whatever the agent does. It outlives the agent; only a loss of power clears it.

use crate::file::File;
use heartbeat::{
    dataplane::{PinnedCell, SlotOrder, Tables},
    types::{ChannelIndex, Nanos, Node},
};
use heartbeat_ebpf::{
    echo::{self, Echo},
    guard::Guard,
    layout::Outcome,
    notice::{self, Notice},
    receive,
    siphash::Key,
    verify::{Expected, News},
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

    pub fn notice(cable: usize, notice: &Notice) -> Self {
        let mut bytes = [0; LEN];
        notice.emit(KEY, &mut bytes);
        Self { cable, bytes }
    }

    pub fn echo(cable: usize, echo: &Echo, key: Key) -> Self {
        let mut bytes = [0; LEN];
        echo.emit(key, &mut bytes);
        Self { cable, bytes }
    }
}

/// What became of a datagram.
pub struct Heard {
    /// The doorbell rings.
    pub news: bool,
    /// What the host answers.
    pub answer: Option<Datagram>,
}

/// The number of an agent's thread.
const THREAD: u32 = 1;

fn scaled(ns: u64, by: i64, of: i64) -> u64 {
    (i128::from(ns) * i128::from(by) / i128::from(of)) as u64
}

pub struct Host {
    pub node: Node,
    /// When it was booted, on the world's clock: where its own clock is at zero.
    pub booted: Nanos,
    pub tables: Tables,
    /// Its clock runs so many thousandths faster than the world's.
    pub drift: i64,
    /// The programs are there that obey the peer, end a lease and answer for an agent that cannot; without them, heartbeats
    /// come by sockets.
    pub guards: bool,
    /// By cable, the slot that is counted in; none before an agent attached the program.
    ends: Vec<Option<u8>>,
    pub keys: [Option<Key>; 2],
}

impl Host {
    pub fn new(node: Node, cables: usize, booted: Nanos) -> Self {
        Self {
            node,
            booted,
            drift: 0,
            guards: false,
            tables: fresh(),
            ends: vec![None; cables],
            keys: [Some(KEY), None],
        }
    }

    /// The world's time on this host's clock.
    pub fn clock(&self, world: Nanos) -> Nanos {
        Nanos(scaled(world.since(self.booted).0, 1_000 + self.drift, 1_000))
    }

    /// A time of its own clock on the world's.
    pub fn world(&self, at: Nanos) -> Nanos {
        match at {
            Nanos::NEVER => at,
            // Rounded up: by then its clock shows it.
            Nanos(ns) => self.booted.after(Nanos(scaled(ns, 1_000, 1_000 + self.drift) + u64::from(self.drift != 0))),
        }
    }

    fn guard(&self) -> Guard<'_> {
        Guard { agent: self.tables.agent(), kernel: self.tables.kernel() }
    }

    /// The agent's thread ended.
    pub fn lose_agent(&self, world: Nanos) {
        if self.guards {
            self.guard().ended(THREAD, self.clock(world).0);
        }
    }

    /// The groups for which it keeps silent, in the order of the file that its last agent ran with.
    pub fn silent(&self, world: Nanos) -> u64 {
        if self.guards { self.guard().silent(self.clock(world).0) } else { 0 }
    }

    /// An agent that ends takes the program away, and all that it counted.
    pub fn detach(&mut self) {
        self.tables = fresh();
        self.ends.fill(None);
    }

    /// The agent that begins reads its channels another way than the one before, which left this.
    pub fn switch(&mut self, left: Option<&PinnedCell>) {
        self.detach();
        self.guards = !self.guards;
        if let Some(cell) = left {
            cell.restore(&self.tables);
        }
    }

    /// It loses power and is up again, at `world`, without an agent.
    pub fn power_off(&mut self, world: Nanos) {
        self.detach();
        self.booted = world.since(Nanos::from_millis(1));
    }

    /// An agent attaches the program to the cables of its file, to be counted in the slots of this order; `fresh`: channels
    /// whose slots were another's, or nobody's.
    pub fn attach(&mut self, file: &File, order: SlotOrder, fresh: u64) -> Tables {
        let tables = self.tables.arranged(order);
        self.ends.fill(None);
        for ((channel, cable), id) in file.channels().zip(file.names().channels()) {
            self.ends[cable] = Some(tables.number(channel));
            if fresh & channel.bit() != 0 {
                tables.clear(channel);
            }
            tables.slot(channel).channel_id.set((*id).into());
        }
        tables.kernel().orders.thread.set(THREAD.into());
        tables
    }

    /// A datagram arrives, as the XDP program takes it.
    pub fn receive(&self, world: Nanos, datagram: &Datagram) -> Heard {
        let nothing = Heard { news: false, answer: None };
        let Some(slot) = self.ends[datagram.cable] else { return nothing };
        let channel = ChannelIndex(slot);
        let now = self.clock(world).0;
        let (slot, histogram) = (self.tables.slot(channel), self.tables.inter_arrival(channel));
        let expected = Expected { pair_id: PAIR, node: self.node.wire(), channel_id: slot.channel_id.get() as u32 };
        let agent = self.tables.agent();
        let message = View::new(&datagram.bytes);
        let key = |id: u8| self.keys.get(usize::from(id)).copied().flatten();
        let received = receive::receive(Some(message), expected, agent, key, slot, histogram, || now);
        let answer = if received.outcome == Outcome::EchoRequest {
            Some(Datagram::echo(datagram.cable, &echo::answer(message, expected, agent, now), KEY))
        } else if self.guards && self.guard().heard(message, received.outcome, slot, now) {
            Some(Datagram::notice(datagram.cable, &notice::answer(message, expected, self.guard(), now)))
        } else {
            None
        };
        Heard { news: received.news != News::None, answer }
    }
}

fn fresh() -> Tables {
    Tables::anonymous().expect("memory")
}
