//! One controller of the simulated pair: host, agent, takeover, as the pulse thread joins them.

use crate::{
    file::File,
    host::{Datagram, Heard, Host, PAIR},
};
use heartbeat::{
    agent::life::{Life, still_here},
    core::{
        Arbitrate, Arbitrated, Core, Event, Exclusivity, Guards, Hook, HookedGroups, Judging, Needs, Reason, Setup,
    },
    dataplane::{
        Tables,
        drain::{Drain, Mark},
        guard::Instructions,
    },
    types::{ChannelIndex, GroupIndex, Link, Nanos, Node, Timing},
};
use heartbeat_ebpf::{echo::Echo, siphash::Key, wire::Message};
use lives::Begun;

mod lives;
mod turn;

/// An order to hand over is given up after this.
pub const PATIENCE: Nanos = Nanos::from_millis(10_000);

/// A hook that takes longer is ended.
pub const HOOK_TIMEOUT: Nanos = Nanos::from_millis(2_000);

/// Something that the takeover does, and when it is done. All on the controller's own clock.
#[derive(Clone, Copy)]
pub struct Order {
    pub due: Nanos,
    pub group: GroupIndex,
    pub acquire: Option<Reason>,
}

/// What the agent puts on the wire.
pub enum Sent {
    /// Not by a cable: to the arbiter.
    Question(u32, Arbitrate),
    Heartbeat(ChannelIndex, Message),
    Echo(ChannelIndex, Echo),
}

pub struct Side {
    pub host: Host,
    pub timing: Timing,
    /// The file that the agent reads when it starts, and the one that it runs with.
    pub file: File,
    pub running: File,
    /// By group of the world.
    pub homes: Vec<Node>,
    /// The groups are defined otherwise than this says, in some other way.
    pub digest: u64,
    /// The record of the last life.
    pub life: Option<Life>,
    pub core: Option<Core>,
    /// By cable, as all lists of links and networks here.
    pub links: Vec<Link>,
    /// What the next operation on a channel's socket fails with.
    pub errno: Vec<Option<i32>>,
    pub sockets: Vec<bool>,
    /// Groups whose addresses answer, in the world's bits.
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
    /// The networks that would answer, if there is a carrier; and those on which others than the peer are heard, likewise.
    pub answers: u64,
    pub others: u64,
    /// Local analyses under way: when each ends, on the controller's own clock.
    pub probes: Vec<(Nanos, u32)>,
    /// By group of the world.
    pub failback: Vec<Option<Nanos>>,
    pub paces: Vec<u32>,
    pub guards: Guards,
    /// Every third life on the two sides reads its channels another way than the one before on its host.
    pub switches: bool,
    /// Of the world's groups.
    pub exclusivity: Exclusivity,
    /// For so long the peer waits for an agent that died here.
    pub restart_grace: Nanos,
    /// When the watchdog was fed last, on the world's clock; none where there is none, or an agent ended as it should.
    pub fed: Option<Nanos>,
    /// Answers of the arbiter on their way: when each comes, on the controller's own clock.
    pub answers_of_arbiter: Vec<(Nanos, u32, Arbitrated)>,
    pub arbiter_takes: Nanos,
    /// What it is asked for reaches it, and its answers reach us.
    pub arbiter_reached: [bool; 2],
    /// Kept in a file that outlives the agent.
    pub maintenance: bool,
    /// Looks and fencings under way, likewise.
    pub looks: Vec<(Nanos, u32)>,
    pub look_takes: Nanos,
    /// The control side stands still: nothing that it is asked for is done.
    pub control_hangs: bool,
    pub fences: Vec<(Nanos, u32)>,
    pub fence_takes: Nanos,
    /// How often the peer was fenced.
    pub fenced: u32,
    pub fence_fails: bool,
    /// The addresses of a group cannot be removed.
    pub release_fails: bool,
    /// Groups with hooks, by group of the world.
    pub hooks: HookedGroups,
    pub hook_takes: Nanos,
    /// By hook, in the order of `Hook::ALL`.
    pub hook_fails: [bool; 4],
    /// The same: it does nothing, and is ended after `HOOK_TIMEOUT`.
    pub hook_hangs: [bool; 4],
    /// Hooks that run: when each ends, on the controller's own clock.
    pub hooks_run: Vec<(Nanos, GroupIndex, Hook)>,
    /// Every hook that began, in order; groups are the world's.
    pub hooks_began: Vec<(usize, Hook, Reason)>,
    /// Groups of which the hooks have something here that only one may have, in the world's bits: from the beginning of
    /// `on_acquire` to the end of an `on_release` that succeeds.
    pub external: u64,
    /// Announcements of what is held already; groups are the world's.
    pub announced: Vec<usize>,
    /// Before each turn it is looked whether anything would follow from the time sooner.
    pub looks_early: bool,
    /// It dies in its next turn, after so many things done.
    pub dies_after: Option<usize>,
    /// Since when it has been running and in time, on the world's clock.
    pub sane_since: Nanos,
    /// The same, and a reload that is over soon does not count.
    pub steady_since: Nanos,
    /// It is being replaced by a new life of itself, which takes so long; and when that one starts, on the world's clock.
    pub reload_takes: Option<Nanos>,
    pub starts_at: Option<Nanos>,
    reloaded_at: Nanos,
    /// The host's, in the order of the running file.
    pub tables: Tables,
    drains: Vec<Drain>,
    looked_at: Nanos,
    room: usize,
}

impl Side {
    pub fn new(node: Node, timing: Timing, cables: usize, homes: &[Node], booted: Nanos) -> Self {
        let file = File::new(cables, homes.len());
        let host = Host::new(node, cables, booted);
        Self {
            tables: host.tables.clone(),
            host,
            timing,
            running: file.clone(),
            life: None,
            file,
            homes: homes.to_vec(),
            digest: 0,
            core: None,
            links: vec![Link::Present { index: 1, carrier: true, address: true }; cables],
            errno: vec![None; cables],
            sockets: vec![false; cables],
            addresses: 0,
            orders: Vec::new(),
            acquire_takes: Nanos::from_micros(200),
            acquire_fails: false,
            stalled_until: Nanos(0),
            wake: Nanos::NEVER,
            events: Vec::new(),
            judging: Judging::default(),
            answers: u64::MAX,
            others: 0,
            probes: Vec::new(),
            failback: vec![None; homes.len()],
            paces: vec![1; cables],
            guards: Guards::default(),
            switches: false,
            exclusivity: Exclusivity::default(),
            restart_grace: Nanos(0),
            fed: None,
            answers_of_arbiter: Vec::new(),
            arbiter_takes: Nanos::from_millis(1),
            arbiter_reached: [true; 2],
            maintenance: false,
            looks: Vec::new(),
            look_takes: Nanos::from_micros(500),
            control_hangs: false,
            fences: Vec::new(),
            fence_takes: Nanos::from_micros(200),
            fenced: 0,
            fence_fails: false,
            release_fails: false,
            hooks: HookedGroups::default(),
            hook_takes: Nanos::from_millis(1),
            hook_fails: [false; 4],
            hook_hangs: [false; 4],
            hooks_run: Vec::new(),
            hooks_began: Vec::new(),
            external: 0,
            announced: Vec::new(),
            looks_early: false,
            dies_after: None,
            sane_since: Nanos::NEVER,
            steady_since: Nanos::NEVER,
            reload_takes: None,
            starts_at: None,
            reloaded_at: Nanos(0),
            drains: Vec::new(),
            looked_at: Nanos(0),
            room: 0,
        }
    }

    /// The world's time on this host's clock.
    pub fn clock(&self, world: Nanos) -> Nanos {
        self.host.clock(world)
    }

    pub fn carrier(&self, cable: usize) -> bool {
        matches!(self.links[cable], Link::Present { carrier: true, .. })
    }

    /// The cables with a carrier, a bit each.
    fn carriers(&self) -> u64 {
        (0..self.links.len()).fold(0, |bits, cable| bits | u64::from(self.carrier(cable)) << cable)
    }

    /// The groups that it holds or is about to, in the world's bits.
    pub fn owned(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| self.running.to_world(core.owned()))
    }

    /// The groups that it holds, likewise.
    pub fn held(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| self.running.to_world(core.held()))
    }

    /// The agent starts.
    #[expect(clippy::too_many_lines, reason = "most of it is one literal, the setup of a core")]
    pub fn start(&mut self, world: Nanos, incarnation: u64) {
        let now = self.clock(world);
        let Begun { resumed, hooks, departed } = self.take_over(now, incarnation);
        // It begins with the interfaces as they are; the host's clock may have begun anew.
        self.looked_at = now;
        self.orders.clear();
        self.hooks_run.clear();
        self.probes.clear();
        self.looks.clear();
        self.fences.clear();
        self.answers_of_arbiter.clear();
        let file = &self.running;
        let agent = self.host.tables.agent();
        let in_place = agent.owned.get();
        for group in (0..file.groups.len()).map(|i| GroupIndex(i as u8)).filter(|g| in_place & g.bit() != 0) {
            self.orders.push(Order { due: now, group, acquire: Some(Reason::Resumed) });
        }
        let instructions = Instructions {
            interval: self.timing.interval,
            grace: self.restart_grace,
            names_digest: file.names().digest(),
        };
        instructions.give(&self.tables);
        Mark::begin(agent, incarnation, resumed.map_or(0, |r| r.peer_incarnation));
        self.drains = file.channels().map(|(channel, _)| Drain::new(self.tables.slot(channel))).collect();
        self.sockets.fill(false);
        let core = Core::new(
            Setup {
                node: self.host.node,
                pair_id: PAIR,
                key_id: 0,
                key_prints: self.host.keys.map(|key| key.map_or(0, Key::print)),
                names: file.names(),
                file_time: 0,
                timing: self.timing,
                links: file.cables.iter().map(|cable| self.links[*cable]).collect(),
                paces: file.cables.iter().map(|cable| self.paces[*cable]).collect(),
                lines: 0,
                homes: file.homes(&self.homes, self.host.node),
                groups_digest: file.digest(&self.homes) ^ self.digest,
                judging: Judging {
                    networks: file.cables_of(self.judging.networks),
                    found: file.cables_of(self.judging.found),
                    weights: file.cables.iter().filter_map(|cable| self.judging.weights.get(*cable).copied()).collect(),
                    needs: file
                        .groups
                        .iter()
                        .filter_map(|group| self.judging.needs.get(*group))
                        .map(|needs| Needs { networks: file.cables_of(needs.networks), ..*needs })
                        .collect(),
                    ..self.judging.clone()
                },
                failback: file.groups.iter().map(|group| self.failback[*group]).collect(),
                departed,
                guards: self.guards,
                exclusivity: Exclusivity { groups: file.groups_of(self.exclusivity.groups), ..self.exclusivity },
                hooks,
                patience: PATIENCE,
                maintenance: self.maintenance,
                incarnation,
                resumed,
            },
            now,
        );
        // To open it is to feed it; where what is here should be gone by now, it is left to run out.
        if self.exclusivity.watchdog != Nanos(0) && (self.fed.is_none() || core.may_feed(now)) {
            self.fed = Some(world);
        }
        self.room = core.room();
        self.core = Some(core);
        self.wake = world;
        self.sane_since = world;
        self.starts_at = None;
        if self.steady_since == Nanos::NEVER {
            self.steady_since = world;
        }
    }

    /// SIGKILL: addresses, and what the kernel knows, stay; of what was being done, some is done.
    pub fn kill(&mut self, world: Nanos) {
        if self.core.take().is_some() {
            self.host.lose_agent(world);
        }
        for order in self.orders.drain(..).filter(|order| order.due.0 & 1 == 0) {
            let bit = self.running.bit(order.group);
            self.addresses = self.addresses & !bit | if order.acquire.is_some() { bit } else { 0 };
        }
        self.wake = Nanos::NEVER;
        self.sane_since = Nanos::NEVER;
        self.steady_since = Nanos::NEVER;
        self.dies_after = None;
        self.starts_at = None;
        self.reload_takes = None;
    }

    /// SIGHUP: a new life of the agent is to take over, with the file as it is then.
    pub fn reload(&mut self, world: Nanos, takes: Nanos) {
        if let Some(core) = self.core.as_mut().filter(|core| !core.is_leaving()) {
            core.handle_restart();
            self.reload_takes = Some(takes);
            self.wake = world;
        }
    }

    /// The agent ended by itself.
    fn end(&mut self, world: Nanos) {
        let (takes, steady_since) = (self.reload_takes, self.steady_since);
        let often = world.since(self.reloaded_at) <= self.timing.detection().times(3);
        // The takeover thread ends when all that was ordered is done; nobody is told any more.
        for Order { group, acquire, .. } in std::mem::take(&mut self.orders) {
            self.take_order(group, acquire);
        }
        self.kill(world);
        let Some(takes) = takes else {
            // Whatever is still here, the program goes.
            let here = still_here(self.host.tables.agent());
            self.host.detach();
            match &mut self.life {
                Some(life) if here != 0 => life.keep_only(here),
                _ => (self.fed, self.life) = (None, None),
            }
            return;
        };
        self.starts_at = Some(world.after(takes));
        self.reloaded_at = world;
        if !often && takes < self.timing.interval {
            self.steady_since = steady_since;
        }
    }

    /// The host loses power and is up again, without an agent.
    pub fn power_off(&mut self, world: Nanos) {
        self.kill(world);
        self.fed = None;
        self.host.power_off(world);
        (self.addresses, self.external, self.life) = (0, 0, None);
        self.orders.clear();
    }

    /// A datagram arrives. XDP works whatever the agent does; without it, what comes to a socket that nobody has is lost. What is owed
    /// for it is given back.
    pub fn receive(&mut self, world: Nanos, datagram: &Datagram) -> Option<Datagram> {
        if self.core.is_none() && !self.host.guards {
            return None;
        }
        let Heard { news, answer } = self.host.receive(world, datagram);
        if news && self.core.is_some() {
            self.wake = self.wake.min(world);
        }
        answer
    }

    /// The groups whose addresses answer, in the world's bits.
    pub fn answering(&self, world: Nanos) -> u64 {
        self.addresses & !self.running.to_world(self.host.silent(world))
    }

    /// Of the groups that it runs with.
    pub fn groups_digest(&self) -> u64 {
        self.running.digest(&self.homes) ^ self.digest
    }

    /// Whether an operator wants nothing to move here.
    pub fn maintains(&self) -> bool {
        self.core.as_ref().is_some_and(Core::in_maintenance)
    }

    /// Whether it is being stopped.
    pub fn leaving(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.is_leaving())
    }
}
