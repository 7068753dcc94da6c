//! One controller of the simulated pair: kernel, agent, takeover, as the pulse thread joins them.

use crate::kernel::{Cell, Slot};
use heartbeat::core::{
    Action, ChannelIndex, Core, Event, GroupIndex, Guards, Judging, Link, MAX_CHANNELS, Names, Nanos, Node, Reason,
    Resumed, Setup, SocketResult, Timing,
};
use heartbeat_ebpf::wire::Message;

/// Interfaces are looked at this often.
const LOOK_EVERY: Nanos = Nanos::from_millis(50);

/// An order to hand over is given up after this.
pub const PATIENCE: Nanos = Nanos::from_millis(10_000);

/// Something that the takeover does, and when it is done. All on the controller's own clock.
#[derive(Clone, Copy)]
pub struct Order {
    pub due: Nanos,
    pub group: GroupIndex,
    pub acquire: Option<Reason>,
}

fn names(channels: usize, groups: usize) -> Names {
    let list = |kind: &str, n: usize| (0..n).map(|i| format!("{kind}{i}")).collect::<Vec<_>>();
    let (channels, groups) = (list("net", channels), list("group", groups));
    Names::new(channels.iter().map(String::as_str), groups.iter().map(String::as_str))
}

pub struct Side {
    pub node: Node,
    pub timing: Timing,
    pub homes: Vec<Node>,
    pub digest: u64,
    pub names: Names,
    pub core: Option<Core>,
    /// When the host was booted, on the world's clock: where its own clock is at zero.
    pub booted: Nanos,
    pub slots: Vec<Slot>,
    pub cell: Cell,
    pub links: Vec<Link>,
    /// What the next operation on a channel's socket fails with.
    pub errno: Vec<Option<i32>>,
    pub sockets: Vec<bool>,
    /// Groups whose addresses answer.
    pub addresses: u64,
    pub orders: Vec<Order>,
    pub acquire_takes: Nanos,
    pub acquire_fails: bool,
    /// Not driven before, on the world's clock.
    pub stalled_until: Nanos,
    /// When it is driven next, on the world's clock.
    pub wake: Nanos,
    pub events: Vec<(Nanos, Event)>,
    pub judging: Judging,
    /// The networks that would answer, if there is a carrier.
    pub answers: u64,
    /// Local analyses under way: when each ends, on the controller's own clock.
    pub probes: Vec<(Nanos, u32)>,
    pub failback: Vec<Option<Nanos>>,
    pub paces: Vec<u32>,
    pub guards: Guards,
    /// Kept in a file that outlives the agent.
    pub maintenance: bool,
    /// Looks and fencings under way, likewise.
    pub looks: Vec<(Nanos, u32)>,
    pub look_takes: Nanos,
    pub fences: Vec<Nanos>,
    pub fence_fails: bool,
    /// Letting go of a group fails, and its addresses stay.
    pub release_fails: bool,
    /// Echo requests to send.
    pub echoes: Vec<ChannelIndex>,
    /// Their answers: when each arrives, for which channel, when it was asked, for how long the peer's agent stood still.
    pub answers_to_echo: Vec<(Nanos, ChannelIndex, Nanos, Nanos)>,
    /// Since when it has been running and in time, on the world's clock.
    pub sane_since: Nanos,
    seen: [(u64, u64, u64); MAX_CHANNELS],
    looked_at: Nanos,
    room: usize,
}

impl Side {
    pub fn new(node: Node, timing: Timing, channels: usize, homes: &[Node], booted: Nanos) -> Self {
        Self {
            node,
            timing,
            homes: homes.to_vec(),
            digest: 7,
            names: names(channels, homes.len()),
            core: None,
            booted,
            slots: vec![Slot::default(); channels],
            cell: Cell::default(),
            links: vec![Link::Present { index: 1, carrier: true }; channels],
            errno: vec![None; channels],
            sockets: vec![false; channels],
            addresses: 0,
            orders: Vec::new(),
            acquire_takes: Nanos::from_micros(200),
            acquire_fails: false,
            stalled_until: Nanos(0),
            wake: Nanos::NEVER,
            events: Vec::new(),
            judging: Judging::default(),
            answers: u64::MAX,
            probes: Vec::new(),
            failback: vec![None; homes.len()],
            paces: vec![1; channels],
            guards: Guards::default(),
            maintenance: false,
            looks: Vec::new(),
            look_takes: Nanos::from_micros(500),
            fences: Vec::new(),
            fence_fails: false,
            release_fails: false,
            echoes: Vec::new(),
            answers_to_echo: Vec::new(),
            sane_since: Nanos::NEVER,
            seen: [(0, 0, 0); MAX_CHANNELS],
            looked_at: Nanos(0),
            room: 0,
        }
    }

    /// The channel that a message is for.
    pub fn channel_of(&self, message: &Message) -> usize {
        let ids = self.names.channels();
        ids.iter().position(|id| *id == message.channel_id).expect("messages are of channels that both have")
    }

    /// The world's time on this host's clock.
    pub fn clock(&self, world: Nanos) -> Nanos {
        world.since(self.booted)
    }

    pub fn carrier(&self, channel: usize) -> bool {
        matches!(self.links[channel], Link::Present { carrier: true, .. })
    }

    pub fn owned(&self) -> u64 {
        self.core.as_ref().map_or(0, Core::owned)
    }

    /// The agent starts; it resumes what an earlier life left behind as `agent::setup` does.
    pub fn start(&mut self, world: Nanos, incarnation: u64) {
        let now = self.clock(world);
        let all = (1 << self.homes.len()) - 1;
        let resumed = (self.cell.incarnation != 0).then(|| Resumed {
            peer_incarnation: self.cell.peer_incarnation,
            owned: if now.since(self.cell.alive) < self.timing.detection() { self.cell.owned & all } else { 0 },
            term: self.cell.term,
        });
        self.addresses &= resumed.map_or(0, |r| r.owned);
        self.orders.clear();
        self.probes.clear();
        self.looks.clear();
        self.answers_to_echo.clear();
        self.fences.clear();
        for group in (0..self.homes.len()).map(|i| GroupIndex(i as u8)) {
            if resumed.is_some_and(|r| r.owned & group.bit() != 0) {
                self.orders.push(Order { due: now, group, acquire: Some(Reason::Resumed) });
            }
        }
        self.cell.incarnation = incarnation;
        self.cell.peer_incarnation = resumed.map_or(0, |r| r.peer_incarnation);
        for (seen, slot) in self.seen.iter_mut().zip(&self.slots) {
            *seen = (0, slot.handshake.version, slot.strangers);
        }
        self.sockets.fill(false);
        let core = Core::new(
            Setup {
                node: self.node,
                pair_id: 7,
                key_id: 0,
                key_prints: [1, 0],
                names: self.names.clone(),
                file_time: 0,
                timing: self.timing,
                links: self.links.clone(),
                paces: self.paces.clone(),
                lines: 0,
                homes: self.homes.clone(),
                groups_digest: self.digest,
                judging: self.judging.clone(),
                failback: self.failback.clone(),
                guards: self.guards,
                patience: PATIENCE,
                maintenance: self.maintenance,
                incarnation,
                resumed,
            },
            now,
        );
        self.room = core.room();
        self.core = Some(core);
        self.wake = world;
        self.sane_since = world;
    }

    /// SIGKILL: addresses, and what the kernel knows, stay.
    pub fn kill(&mut self) {
        self.core = None;
        self.wake = Nanos::NEVER;
        self.sane_since = Nanos::NEVER;
    }

    /// The host loses power and is up again, without an agent.
    pub fn power_off(&mut self, world: Nanos) {
        self.kill();
        self.slots.fill(Slot::default());
        self.cell = Cell::default();
        self.addresses = 0;
        self.orders.clear();
        self.booted = world.since(Nanos::from_millis(1));
    }

    /// A message arrives. The kernel works whatever the agent does.
    pub fn receive(&mut self, world: Nanos, message: Message) {
        let now = self.clock(world);
        let channel = self.channel_of(&message);
        let slot = &mut self.slots[channel];
        if slot.receive(&self.cell, self.node.wire(), message, now) && self.core.is_some() {
            self.wake = self.wake.min(world);
        }
    }

    /// One turn of the pulse thread. What is sent is given to `send`; whether the agent ended.
    pub fn drive(&mut self, world: Nanos, mut send: impl FnMut(Message)) -> bool {
        let now = self.clock(world);
        let Some(mut core) = self.core.take() else { return false };
        if world.since(self.wake) > Nanos(self.timing.interval.0 / 2) {
            self.sane_since = world;
        }
        for i in 0..self.slots.len() {
            let (slot, seen, channel) = (&self.slots[i], &mut self.seen[i], ChannelIndex(i as u8));
            if let Some((message, arrived)) = slot.handshake.news(&mut seen.1) {
                core.handle_handshake(now, channel, &message, arrived);
                self.cell.peer_incarnation = core.peer_incarnation();
            }
            if let Some((message, arrived)) = slot.live.news(&mut seen.0) {
                if message.incarnation == core.peer_incarnation() && message.peer_incarnation == self.cell.incarnation {
                    core.handle_heartbeat(now, channel, &message, arrived);
                } else {
                    core.handle_handshake(now, channel, &message, arrived);
                }
            }
            if std::mem::replace(&mut seen.2, slot.strangers) != slot.strangers {
                core.handle_stranger(now, channel);
            }
        }
        self.answers_to_echo.retain(|&(due, channel, sent, stalled)| {
            if due <= now {
                core.handle_echo(now, channel, sent, stalled);
            }
            due > now
        });
        self.take_orders(now, &mut core);
        while let Some(i) = self.probes.iter().position(|(due, _)| *due <= now) {
            let (_, analysis) = self.probes.remove(i);
            let carriers = (0..self.links.len()).fold(0, |bits, i| bits | u64::from(self.carrier(i)) << i);
            core.handle_probed(now, analysis, self.answers & carriers);
        }
        while let Some(i) = self.looks.iter().position(|(due, _)| *due <= now) {
            let (_, number) = self.looks.remove(i);
            let any =
                (0..self.links.len()).any(|i| self.carrier(i) && (self.judging.networks & self.answers) >> i & 1 == 1);
            core.handle_looked(now, number, any);
        }
        if self.fences.first().is_some_and(|due| *due <= now) {
            self.fences.clear();
            core.handle_fenced(now, !self.fence_fails);
        }
        if now.since(self.looked_at) >= LOOK_EVERY || core.silence_is_due(now) {
            self.looked_at = now;
            for (i, &link) in self.links.iter().enumerate() {
                core.handle_link(now, ChannelIndex(i as u8), link);
            }
        }
        core.handle_time(now);
        let exit = self.perform(now, &mut core, &mut send);
        assert_eq!(core.room(), self.room, "the queue of actions grew");
        self.cell.peer_incarnation = core.peer_incarnation();
        (self.cell.owned, self.cell.term, self.cell.alive) = (core.owned(), core.term(), now);
        assert!(core.deadline() > now, "it would spin");
        self.wake = core.deadline().after(self.booted);
        self.core = Some(core);
        if exit {
            self.kill();
        }
        exit
    }

    /// What the takeover finished since the last time.
    fn take_orders(&mut self, now: Nanos, core: &mut Core) {
        while let Some(i) = self.orders.iter().position(|o| o.due <= now) {
            let Order { due, group, acquire } = self.orders.remove(i);
            match acquire {
                Some(Reason::PeerDead) if !(0..self.links.len()).any(|i| self.carrier(i)) => {
                    core.handle_isolated(due, group);
                }
                Some(_) => {
                    let in_place = !self.acquire_fails;
                    self.addresses = self.addresses & !group.bit() | if in_place { group.bit() } else { 0 };
                    core.handle_acquired(due, group, in_place);
                }
                None if self.release_fails => core.handle_release_failed(due, group),
                None => {
                    self.addresses &= !group.bit();
                    core.handle_released(due, group);
                }
            }
        }
    }

    /// The takeover thread does one thing after the other.
    fn order(&mut self, now: Nanos, group: GroupIndex, acquire: Option<Reason>) {
        let free = self.orders.last().map_or(now, |o| o.due.max(now));
        self.orders.push(Order { due: free.after(self.acquire_takes), group, acquire });
    }

    fn perform(&mut self, now: Nanos, core: &mut Core, send: &mut impl FnMut(Message)) -> bool {
        let mut exit = false;
        while let Some(action) = core.poll_action() {
            match action {
                Action::OpenSocket(channel) => {
                    assert!(!self.sockets[channel.usize()], "a second socket");
                    let absent = self.links[channel.usize()] == Link::Absent;
                    let errno = self.errno[channel.usize()].or(absent.then_some(19));
                    self.sockets[channel.usize()] = errno.is_none();
                    core.handle_socket(now, channel, errno.map_or(SocketResult::Opened, SocketResult::Failed));
                }
                Action::CloseSocket(channel) => self.sockets[channel.usize()] = false,
                Action::Send(channel) => {
                    let Some(message) = core.message(now, channel) else { continue };
                    assert!(self.sockets[channel.usize()], "a message without a socket");
                    let errno = self.errno[channel.usize()];
                    if errno.is_none() {
                        send(message);
                    }
                    core.handle_socket(now, channel, errno.map_or(SocketResult::Sent, SocketResult::Failed));
                }
                Action::Attach(_) => {}
                Action::Echo(channel) => self.echoes.push(channel),
                Action::Look(number) => self.looks.push((now.after(self.look_takes), number)),
                Action::Fence => self.fences.push(now.after(self.acquire_takes)),
                Action::Probe(analysis) => self.probes.push((now.after(self.judging.bound), analysis)),
                Action::Acquire(group, reason) => {
                    self.order(now, group, Some(reason));
                }
                Action::Release(group, _) => {
                    self.order(now, group, None);
                }
                Action::Tell(at, event) => self.events.push((at.after(self.booted), event)),
                Action::Exit => exit = true,
            }
        }
        exit
    }
}

impl Side {
    /// Whether an operator wants nothing to move here.
    pub fn maintains(&self) -> bool {
        self.core.as_ref().is_some_and(Core::in_maintenance)
    }

    /// Whether it is being stopped.
    pub fn leaving(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.is_leaving())
    }
}
