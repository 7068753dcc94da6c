//! From a checked configuration to running threads, in steps: what of this host is not as it should be is said (examine), the
//! kernel's part is opened (open), what earlier lives left is taken over or taken away (inherit), channels are attached (attach),
//! what judges and what is shown is put together (assemble), and the threads begin (launch).
//!
//! A start needs a configuration and a key, nothing else: what is missing is a channel that is BAD, and is tried again.

use super::{
    attaching::Attaching,
    channels::{self, AttachedAll},
    control::Parts,
    disks,
    left::{self, Left},
    life::Life,
    messages::{Command, Report},
    opening::{self, Opened},
    options::RunOptions,
    pulse::{Pulse, Transport},
    runs::Runs,
    runtime_dir::{Claim, RuntimeDir},
    tenancy::Tenancy,
    threads::{self, TakeoverWays, Threads},
    watchdog::{Feeder, Watchdogs},
};
use crate::{
    api::{CoreView, Known, Latest, Problem, Shared, Shown},
    config::{Config, PairKeys, check_host, host::Host},
    core::{Core, Guards, Hook, Resumed, Setup},
    dataplane::{
        DiskThreads, Disks, Kernel, Opener, ProgramSettings,
        drain::Mark,
        guard::{self, Instructions},
    },
    events::{ControlEvent, Journal},
    latency::{Latencies, Set, Since},
    system::{bell::Bell, clock, link::Links, realtime},
    takeover::{self, GroupPlan, Order},
    types::{GroupIndex, Link, Nanos, Node},
};
use anyhow::{Context, Result, bail};
use aya::maps::{MapData, RingBuf};
use crossbeam_channel::{Receiver, Sender, bounded};
use heartbeat_ebpf::{siphash::Key, verify::Expected};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

/// Reports that may wait for the control side.
const REPORTS: usize = 4_096;
/// Commands that may wait for the pulse thread, and orders for the takeover thread: two a group, and some.
const COMMANDS: usize = 256;

/// Prepares everything and starts the threads.
///
/// # Errors
/// What keeps the agent from starting, with what would be right.
pub(super) fn prepare<'a>(
    options: &RunOptions,
    journal: &Journal,
    folder: RuntimeDir,
    claim: &'a mut Claim,
    left: &Left,
) -> Result<Parts<'a>> {
    let start = Start::examine(options, journal, &folder, left)?;
    let mut opened = start.open()?;
    let Inherited { life, runs, plans, resumed } = start.inherit(&opened)?;
    let mut attached = start.attach(&mut opened, &plans)?;
    let assembled = start.assemble(&opened, &mut attached.all, &runs, resumed)?;
    let Opened { kernel, .. } = opened;
    let AttachedAll { unattached, attach_pending, .. } = attached.all;
    let (silent_on, facts) = (std::mem::take(&mut attached.silent_on), Arc::clone(&assembled.facts));
    let Launched { threads, commands, pulse_bell } = start.launch(plans, attached, assembled)?;
    Ok(Parts {
        facts,
        commands,
        pulse_bell,
        threads,
        attaching: Attaching::new(kernel, unattached, attach_pending),
        tenancy: Tenancy::new(folder, claim, life, runs),
        silent_on,
    })
}

/// What every step goes by.
struct Start<'a> {
    options: &'a RunOptions,
    journal: &'a Journal,
    folder: &'a RuntimeDir,
    left: &'a Left,
    keys: PairKeys,
    /// The same by their ids.
    by_id: [Option<Key>; 2],
    incarnation: u64,
    /// What of this host is not as it should be.
    problems: Vec<Problem>,
}

/// What was taken over from earlier lives.
struct Inherited {
    life: Life,
    runs: Runs,
    plans: Vec<GroupPlan>,
    resumed: Option<Resumed>,
}

/// The channels, and what is waited for and read with.
struct Attached {
    all: AttachedAll,
    interfaces: Links,
    lines: Option<Opener>,
    disks: Option<Disks>,
    disk_threads: Option<DiskThreads>,
    doorbell: Option<RingBuf<MapData>>,
    silent_on: BTreeSet<String>,
}

/// What judges, and what is shown.
struct Assembled {
    core: Core,
    facts: Arc<Shown>,
    watchdogs: Watchdogs,
    /// The groups that are held on, a bit each.
    owned: u64,
}

/// The threads that run, and the way to the pulse thread.
struct Launched {
    threads: Threads,
    commands: Sender<Command>,
    pulse_bell: Bell,
}

impl<'a> Start<'a> {
    fn examine(options: &'a RunOptions, journal: &'a Journal, folder: &'a RuntimeDir, left: &'a Left) -> Result<Self> {
        let RunOptions { config, node, .. } = options;
        let keys = PairKeys::load(&config.pair.key_file)?;
        let problems = tell_host(config, *node, journal)?;
        if let Err(error) = realtime::lock_memory() {
            log::warn!("memory cannot be locked ({error}): under memory pressure heartbeats may be late");
        }
        let by_id = keys.keys.map(|key| key.map(Key::new));
        Ok(Self { options, journal, folder, left, keys, by_id, incarnation: incarnation()?, problems })
    }

    fn open(&self) -> Result<Opened> {
        let RunOptions { config, node, .. } = self.options;
        let settings =
            ProgramSettings { port: config.pair.port, pair_id: config.pair.id, node: *node, keys: self.by_id };
        opening::open(config, &settings, self.folder, self.left, self.journal)
    }

    /// From here on, what is on record is this life's, and the kernel goes by what it is told by this life.
    fn inherit(&self, opened: &Opened) -> Result<Inherited> {
        let Self { options, left, incarnation, .. } = *self;
        let RunOptions { config, node, .. } = options;
        let tables = &opened.tables;
        let plans = left::plans(config, *node, left);
        let mut runs = Runs::read(self.folder, incarnation);
        let lives = (incarnation, &mut runs);
        let life = left::take_over(options, self.folder, left, tables, &plans, lives, self.journal)?;
        let resumed = left::go_on(left, self.folder, tables);
        self.folder.forget_pins_before();
        let names = config.names();
        let instructions = Instructions {
            interval: config.timing.interval,
            grace: config.restart_grace(),
            names_digest: names.digest(),
        };
        instructions.give(tables);
        if let Err(error) = guard::watch_this_thread(tables) {
            log::warn!("the kernel will not notice it if this agent dies: {error}");
        }
        Mark::begin(tables.agent(), incarnation, resumed.map_or(0, |r| r.peer_incarnation));
        for (channel, id) in tables.channels().zip(names.channels()) {
            tables.slot(channel).channel_id.set((*id).into());
        }
        Ok(Inherited { life, runs, plans, resumed })
    }

    fn attach(&self, opened: &mut Opened, plans: &[GroupPlan]) -> Result<Attached> {
        let RunOptions { config, node, .. } = self.options;
        let (guarded, silent_on) = left::guarded(config, *node, plans);
        if let Ok(kernel) = &mut opened.kernel {
            kernel.guard(&guarded)?;
        }
        let doorbell = opened.kernel.as_mut().ok().and_then(Kernel::doorbell);
        let ends = config.channels.iter().filter_map(|c| c.end(*node).map(|end| (c.index, end)));
        let mut interfaces = Links::open(ends.map(|(channel, end)| (channel, end.interface.as_str(), end.address)))
            .context("sockets to look at interfaces")?;
        let lines = config.channels.iter().filter_map(|c| Some((c.index.0, c.line(*node)?))).collect::<Vec<_>>();
        let lines = if lines.is_empty() { None } else { Some(Opener::new(lines).context("threads for serial lines")?) };
        let (disks, disk_threads) = disks::start(self.options)?;
        let kernel = opened.kernel.as_mut().map_err(|none| &*none);
        let all = channels::attach_all(config, *node, kernel, &opened.tables, &mut interfaces, self.journal)?;
        Ok(Attached { all, interfaces, lines, disks, disk_threads, doorbell, silent_on })
    }

    fn assemble(
        &self,
        opened: &Opened,
        all: &mut AttachedAll,
        runs: &Runs,
        resumed: Option<Resumed>,
    ) -> Result<Assembled> {
        let RunOptions { config, node, .. } = self.options;
        let since = resumed.and_then(|resumed| resumed.letting_go_since);
        let overdue = since.is_some_and(|since| clock::monotonic() >= since.after(config.release_within()));
        let watchdogs = Watchdogs::open(self.options, overdue, self.journal);
        let mut setup = self.setup(std::mem::take(&mut all.links), resumed);
        // Of those without on_release, what was left half-way must be gone before they count as released, too.
        let half_way = config.groups.iter().filter(|group| runs.groups().any(|name| name == group.name));
        setup.hooks.has[Hook::OnRelease as usize] |= half_way.fold(0, |bits, group| bits | group.index.bit());
        setup.exclusivity.watchdog = watchdogs.within().unwrap_or(Nanos(0));
        let (key_prints, now) = (setup.key_prints, clock::monotonic());
        let core = Core::new(setup, now);
        let facts = Arc::new(Shown {
            judged_by: Mutex::default(),
            config: config.clone(),
            node: *node,
            incarnation: self.incarnation,
            shared: Arc::new(shared(&core, config, now)),
            tables: Arc::clone(&opened.tables),
            modes: Mutex::new(std::mem::take(&mut all.modes)),
            known: Mutex::new(Known { problems: self.problems.clone(), ..Known::new(config) }),
            watchdog: watchdogs.facts(),
            key_prints,
            feed: Arc::clone(&self.journal.feed),
            sinks: self.journal.sinks.clone(),
        });
        let (latencies, of) = (Set::new(), Arc::clone(&facts));
        let measure = Box::new(move || latencies.take(&of.counts(), Since::Start));
        self.journal.sinks.measure(measure, opened.adopted);
        Ok(Assembled { core, facts, watchdogs, owned: resumed.map_or(0, |r| r.owned) })
    }

    fn setup(&self, links: Vec<Link>, resumed: Option<Resumed>) -> Setup {
        let RunOptions { config, node, .. } = self.options;
        let (node, keys) = (*node, &self.keys);
        Setup {
            node,
            pair_id: config.pair.id,
            key_id: keys.signing,
            key_prints: keys.keys.map(|key| key.map_or(0, |key| Key::new(key).print())),
            names: config.names(),
            file_time: config.file_time,
            timing: config.timing,
            paces: config.channels.iter().map(|c| c.pace(config.timing.interval)).collect(),
            lines: config.channels.iter().filter(|c| c.end(node).is_none()).fold(0, |bits, c| bits | c.index.bit()),
            links,
            homes: config.groups.iter().map(|g| g.home).collect(),
            failback: config.groups.iter().map(|g| g.failback).collect(),
            departed: config.groups.iter().filter(|g| g.departed).fold(0, |bits, g| bits | g.index.bit()),
            guards: Guards {
                by_probe: config.judging.isolation_by_probe && config.judged() != 0,
                fence: config.fence.is_some(),
                fence_within: config.fence.as_ref().map_or(Nanos::NEVER, |fence| fence.within(node)),
                stalled_grace: config.judging.stalled_grace,
            },
            exclusivity: config.exclusivity(),
            hooks: config.hooked(),
            patience: config.patience(),
            maintenance: self.folder.is_in_maintenance(),
            groups_digest: config.groups_digest(),
            judging: config.core_judging(),
            incarnation: self.incarnation,
            resumed,
        }
    }

    fn launch(&self, plans: Vec<GroupPlan>, attached: Attached, assembled: Assembled) -> Result<Launched> {
        let config = &self.options.config;
        let priority = config.dataplane.priority;
        let Assembled { core, facts, watchdogs, owned } = assembled;
        let (ways, ends) = ways()?;
        let in_place = owned | self.left.inheritance.in_place;
        for group in (0..plans.len()).map(|i| GroupIndex(i as u8)).filter(|g| in_place & g.bit() != 0) {
            ways.orders.send(Order::Resume { group })?;
        }
        let takeover =
            threads::takeover(self.worker(plans)?, priority - 1, ways.of_takeover(ends.orders, &facts.shared))?;
        let begin = || -> Result<_> {
            let (feeder, watchdogs) = watchdogs.start(priority - 1)?;
            let (pulse, disks) = self.pulse(core, attached, &facts, feeder, &ways, ends.commands)?;
            Ok((threads::pulse(pulse, priority)?, watchdogs, disks))
        };
        let (pulse, watchdogs, disks) = match begin() {
            Ok(begun) => begun,
            Err(error) => {
                // Nobody orders it anything any more.
                let _ = ways.orders.send(Order::Stop);
                let _ = takeover.join();
                return Err(error);
            }
        };
        let Ways { orders, commands, pulse_bell, control_bell, .. } = ways;
        let threads = Threads { orders, reports: ends.reports, control_bell, pulse, takeover, watchdogs, disks };
        Ok(Launched { threads, commands, pulse_bell })
    }

    fn worker(&self, plans: Vec<GroupPlan>) -> Result<takeover::Worker> {
        let RunOptions { config, node, .. } = self.options;
        let own = config.channels.iter().filter_map(|c| Some(c.end(*node)?.interface.clone()));
        let settings = takeover::TakeoverSettings {
            plans,
            channels: own.collect(),
            announce_every: config.takeover.announce_every,
            still_answering_for: Some(config.judging.still_answering_for),
        };
        takeover::Worker::open(settings).context("sockets for takeovers")
    }

    fn pulse(
        &self,
        core: Core,
        attached: Attached,
        facts: &Shown,
        watchdog: Option<Feeder>,
        ways: &Ways,
        commands: Receiver<Command>,
    ) -> Result<(Pulse, Option<DiskThreads>)> {
        let RunOptions { config, node, .. } = self.options;
        let Attached { all, interfaces, lines, disks, disk_threads, doorbell, .. } = attached;
        let room = core.room();
        let pulse = Pulse {
            core,
            channels: all.channels,
            tables: Arc::clone(&facts.tables),
            doorbell,
            transport: Transport::new(interfaces, lines, disks)?,
            bell: ways.pulse_bell.clone(),
            commands,
            orders: ways.orders.clone(),
            waits: config.judging.wait_where_answered,
            reports: ways.reports.clone(),
            control: ways.control_bell.clone(),
            shared: Arc::clone(&facts.shared),
            keys: self.by_id,
            expected: Expected { pair_id: config.pair.id, node: node.wire(), channel_id: 0 },
            watchdog,
            attach_pending: 0,
            abort_pending: None,
            due: Vec::with_capacity(COMMANDS + room),
        };
        Ok((pulse, disk_threads))
    }
}

/// The ways that threads tell each other by, where they begin.
struct Ways {
    orders: Sender<Order>,
    commands: Sender<Command>,
    pulse_bell: Bell,
    reports: Sender<Report>,
    control_bell: Bell,
}

/// Where they end.
struct Ends {
    orders: Receiver<Order>,
    commands: Receiver<Command>,
    reports: Receiver<Report>,
}

fn ways() -> Result<(Ways, Ends)> {
    let (commands, commands_in) = bounded(COMMANDS);
    let (orders, orders_in) = bounded(COMMANDS);
    let (reports, reports_in) = bounded(REPORTS);
    let (pulse_bell, control_bell) = (Bell::new()?, Bell::new()?);
    let ends = Ends { orders: orders_in, commands: commands_in, reports: reports_in };
    Ok((Ways { orders, commands, pulse_bell, reports, control_bell }, ends))
}

impl Ways {
    fn of_takeover(&self, orders: Receiver<Order>, shared: &Arc<Shared>) -> TakeoverWays {
        TakeoverWays {
            orders,
            commands: self.commands.clone(),
            pulse_bell: self.pulse_bell.clone(),
            reports: self.reports.clone(),
            control_bell: self.control_bell.clone(),
            shared: Arc::clone(shared),
        }
    }
}

/// What of this host is not as it should be. Only that this is the other controller's host is no fault that may pass.
fn tell_host(config: &Config, node: Node, journal: &Journal) -> Result<Vec<Problem>> {
    let problems = check_host(config, node);
    if Host::read().is_ok_and(|host| host.is_the_others(config, node)) {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        bail!("this is not the host of controller {node}:\n{}", list.join("\n"));
    }
    for problem in &problems {
        journal.control(&ControlEvent::HostProblem { what: problem.to_string() });
    }
    Ok(problems.iter().map(Problem::from).collect())
}

fn shared(core: &Core, config: &Config, now: Nanos) -> Shared {
    Shared {
        view: Latest::new(&CoreView::new(core, now, config.channels.len())),
        latencies: Latencies::new(config.channels.len()),
        events_lost: AtomicU64::new(0),
    }
}

fn incarnation() -> Result<u64> {
    loop {
        let random = getrandom::u64().context("no randomness for an incarnation")?;
        if random != 0 {
            return Ok(random);
        }
    }
}
