//! From a checked configuration to running threads, in steps: what of this host is not as it should be is said, what earlier
//! lives left is taken over or taken away, the kernel's part is opened, channels are attached, and the threads begin.
//!
//! A start needs a configuration and a key, nothing else: what is missing is a channel that is BAD, and is tried again.

use super::{
    Options, channels, disks,
    inherit::slots,
    left::{self, Left},
    life::Life,
    pulse::{Pulse, Transport},
    runtime_dir::{Claim, RuntimeDir},
    shared::{Command, Report},
    threads::{self, RingsAtTheEnd},
    watchdog::Watchdogs,
};
use crate::{
    api::{Facts, Known, Problem, Shared, View},
    config::{Config, PairKeys, check_host, host::Host},
    core::{Core, Guards, Resumed, Setup},
    dataplane::{
        DiskThreads, Kernel, Opener, Settings, Tables,
        drain::Mark,
        guard::{self, Instructions},
    },
    events::{ControlEvent, Journal},
    latency::{Latencies, Set, Since},
    system::{bell::Bell, clock, link::Links, realtime},
    takeover::{self, Order},
    types::{GroupIndex, Link, Nanos, Node, XdpPreference},
};
use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, bounded};
use heartbeat_ebpf::{siphash::Key, verify::Expected};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicU64},
    thread::JoinHandle,
};

/// Reports that may wait for the control side.
const REPORTS: usize = 4_096;
/// Commands that may wait for the pulse thread, and orders for the takeover thread: two a group, and some.
const COMMANDS: usize = 256;

/// Everything that the control side holds.
pub(super) struct Parts {
    pub(super) kernel: Option<Kernel>,
    pub(super) facts: Arc<Facts>,
    pub(super) commands: Sender<Command>,
    pub(super) pulse_bell: Bell,
    pub(super) orders: Sender<Order>,
    pub(super) reports: Receiver<Report>,
    pub(super) control_bell: Bell,
    pub(super) pulse: JoinHandle<std::io::Result<()>>,
    pub(super) takeover: JoinHandle<()>,
    /// The thread that feeds the watchdogs, where there are any; it ends after the pulse thread.
    pub(super) watchdogs: Option<JoinHandle<Watchdogs>>,
    /// The threads of channels over disks, where there are any.
    pub(super) disks: Option<DiskThreads>,
    pub(super) folder: RuntimeDir,
    /// Held for as long as the agent runs.
    pub(super) claim: Claim,
    pub(super) life: Life,
    /// As in [`channels::AttachedAll`].
    pub(super) unattached: u64,
    pub(super) attach_pending: u64,
    /// The interfaces on which the kernel is to keep silent where the agent cannot decide.
    pub(super) silent_on: BTreeSet<String>,
}

/// Prepares everything and starts the threads.
pub(super) fn prepare(
    options: &Options,
    journal: &Journal,
    folder: RuntimeDir,
    claim: Claim,
    left: &Left,
) -> Result<Parts> {
    let Options { config, node, .. } = options;
    let keys = PairKeys::load(&config.pair.key_file)?;
    let problems = tell_host(config, *node, journal)?;
    if let Err(error) = realtime::lock_memory() {
        log::warn!("memory cannot be locked ({error}): under memory pressure heartbeats may be late");
    }
    let incarnation = incarnation()?;

    let by_id = keys.keys.map(|key| key.map(Key::new));
    let settings = Settings { port: config.pair.port, pair_id: config.pair.id, node: *node, keys: by_id };
    let mut opened = open(config, &settings, &folder, left, journal)?;
    let plans = left::plans(config, *node, left);
    let (life, resumed) = left::take_over(options, &folder, left, &opened.tables, &plans, incarnation, journal)?;
    folder.forget_pins_before();
    let names = config.names();
    let instructions =
        Instructions { interval: config.timing.interval, grace: config.restart_grace(), names_digest: names.digest() };
    instructions.give(&opened.tables);
    if let Err(error) = guard::watch_this_thread(&opened.tables) {
        log::warn!("the kernel will not notice it if this agent dies: {error}");
    }
    Mark::begin(opened.tables.agent(), incarnation, resumed.map_or(0, |r| r.peer_incarnation));
    for (channel, id) in opened.tables.channels().zip(names.channels()) {
        opened.tables.slot(channel).channel_id.set((*id).into());
    }

    let (guarded, silent_on) = left::guarded(config, *node, &plans);
    if let Some(kernel) = &mut opened.kernel {
        kernel.guard(&guarded)?;
    }
    let doorbell = opened.kernel.as_mut().and_then(Kernel::doorbell);
    let ends = config.channels.iter().filter_map(|c| c.end(*node).map(|end| (c.index, end)));
    let mut interfaces = Links::open(ends.map(|(channel, end)| (channel, end.interface.as_str(), end.address)))
        .context("sockets to look at interfaces")?;
    let lines = config.channels.iter().filter_map(|c| Some((c.index.0, c.line(*node)?))).collect::<Vec<_>>();
    let lines = if lines.is_empty() { None } else { Some(Opener::new(lines).context("threads for serial lines")?) };
    let (disks, disk_threads) = disks::start(options)?;
    let kernel = opened.kernel.as_mut();
    let attached = channels::attach_all(config, *node, kernel, &opened.tables, &mut interfaces, journal)?;
    let since = resumed.and_then(|resumed| resumed.letting_go_since);
    let overdue = since.is_some_and(|since| clock::monotonic() >= since.after(config.release_within()));
    let watchdogs = Watchdogs::open(options, overdue, journal);
    let mut setup = setup(options, &keys, &folder, attached.links, incarnation, resumed);
    setup.exclusivity.watchdog = watchdogs.within().unwrap_or(Nanos(0));
    let (key_prints, now) = (setup.key_prints, clock::monotonic());
    let core = Core::new(setup, now);

    let owned = resumed.map_or(0, |r| r.owned);
    let tables = opened.tables;
    let shared = Arc::new(shared(&core, config, now));
    let facts = Arc::new(Facts {
        judged_by: Mutex::default(),
        config: config.clone(),
        node: *node,
        incarnation,
        shared: Arc::clone(&shared),
        tables: Arc::clone(&tables),
        modes: Mutex::new(attached.modes),
        known: Mutex::new(Known { problems, ..Known::new(config) }),
        watchdog: watchdogs.facts(),
        key_prints,
        feed: Arc::clone(&journal.feed),
        records: journal.records.clone(),
    });
    let (latencies, of) = (Set::new(), Arc::clone(&facts));
    journal.records.measure(Box::new(move || latencies.take(&of.counts(), Since::Start)), opened.adopted);

    let (commands, commands_in) = bounded(COMMANDS);
    let (orders, orders_in) = bounded(COMMANDS);
    let (reports, reports_in) = bounded(REPORTS);
    let (pulse_bell, control_bell) = (Bell::new()?, Bell::new()?);
    let in_place = owned | left.inheritance.in_place;
    for group in (0..plans.len()).map(|i| GroupIndex(i as u8)).filter(|g| in_place & g.bit() != 0) {
        orders.send(Order::Resume { group })?;
    }
    let own = config.channels.iter().filter_map(|c| Some(c.end(*node)?.interface.clone()));
    let worker = takeover::Worker::open(takeover::Settings {
        plans,
        channels: own.collect(),
        announce_every: config.takeover.announce_every,
        still_answering_for: Some(config.judging.still_answering_for),
    })
    .context("sockets for takeovers")?;
    let ways = threads::TakeoverWays {
        orders: orders_in,
        commands: commands.clone(),
        pulse_bell: pulse_bell.clone(),
        reports: reports.clone(),
        control_bell: control_bell.clone(),
        shared: Arc::clone(&shared),
    };
    let takeover = threads::takeover(worker, config.dataplane.priority - 1, ways)?;
    let (feeder, watchdogs) = watchdogs.start(config.dataplane.priority - 1)?;
    let pulse = Pulse {
        core,
        channels: attached.channels,
        tables,
        doorbell,
        transport: Transport::new(interfaces, lines, disks)?,
        bell: pulse_bell.clone(),
        commands: commands_in,
        orders: orders.clone(),
        waits: config.judging.wait_where_answered,
        reports,
        control: control_bell.clone(),
        shared,
        keys: by_id,
        expected: Expected { pair_id: config.pair.id, node: node.wire(), channel_id: 0 },
        watchdog: feeder,
        attach_pending: 0,
        abort_pending: None,
    };
    let ended = control_bell.clone();
    let pulse = threads::spawn("pulse", config.dataplane.priority, move || {
        let _ended = RingsAtTheEnd(ended);
        pulse.run()
    });
    let pulse = match pulse {
        Ok(pulse) => pulse,
        Err(error) => {
            // Nobody orders it anything any more.
            let _ = orders.send(Order::Stop);
            let _ = takeover.join();
            return Err(error);
        }
    };
    Ok(Parts {
        kernel: opened.kernel,
        facts,
        commands,
        pulse_bell,
        orders,
        reports: reports_in,
        control_bell,
        pulse,
        takeover,
        watchdogs,
        disks: disk_threads,
        folder,
        claim,
        life,
        unattached: attached.unattached,
        attach_pending: attached.attach_pending,
        silent_on,
    })
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

/// The kernel's part of the agent, or what takes its place.
struct Opened {
    kernel: Option<Kernel>,
    tables: Arc<Tables>,
    /// An earlier life's records go on.
    adopted: bool,
}

fn open(config: &Config, settings: &Settings, folder: &RuntimeDir, left: &Left, journal: &Journal) -> Result<Opened> {
    let preference = config.dataplane.xdp;
    let names: Vec<_> = config.channels.iter().map(|c| c.name.as_str()).collect();
    let life = left.life.as_ref().filter(|life| left.cell.is_some_and(|cell| life.is_of(cell.incarnation())));
    let (order, fresh) = slots(life.map_or(&[], |life| &life.channels), &names);
    let kernel = match preference {
        XdpPreference::Socket => None,
        _ => match folder.pin_folder().and_then(|pins| Kernel::open(settings, &pins)) {
            Ok(opened) => Some(opened),
            Err(error) if preference == XdpPreference::Auto => {
                log::warn!("no XDP on this host, so heartbeats come by sockets: {error:#}");
                None
            }
            Err(error) => {
                let wanted = preference.name();
                let what = format!(
                    "dataplane.xdp = \"{wanted}\": no XDP is to be had on this host: {error:#}; \"auto\" would fall back to sockets"
                );
                journal.control(&ControlEvent::HostProblem { what });
                None
            }
        },
    };
    if let Some((mut kernel, adopted)) = kernel {
        kernel.arrange(order, if adopted.maps { fresh } else { 0 })?;
        let tables = kernel.tables();
        // Made anew, or by a life without XDP for this one.
        if tables.agent().incarnation.get() == 0
            && let Some(cell) = &left.cell
        {
            cell.restore(tables.agent());
        }
        folder.forget_tables();
        return Ok(Opened { kernel: Some(kernel), tables, adopted: adopted.maps });
    }
    let (tables, adopted) = match Tables::in_file(&folder.tables()) {
        Ok(opened) => opened,
        Err(error) => {
            log::warn!("{error:#}: the next life will not know what this one counted and held");
            (Tables::anonymous()?, false)
        }
    };
    let tables = tables.arranged(order);
    let _repaired = tables.repair();
    if adopted {
        tables.channels().filter(|channel| fresh & channel.bit() != 0).for_each(|channel| tables.clear(channel));
    } else if let Some(cell) = &left.cell {
        cell.restore(tables.agent());
    }
    folder.forget_pins();
    Ok(Opened { kernel: None, tables: Arc::new(tables), adopted })
}

fn setup(
    options: &Options,
    keys: &PairKeys,
    folder: &RuntimeDir,
    links: Vec<Link>,
    incarnation: u64,
    resumed: Option<Resumed>,
) -> Setup {
    let Options { config, node, .. } = options;
    let node = *node;
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
        maintenance: folder.is_in_maintenance(),
        groups_digest: config.groups_digest(),
        judging: config.core_judging(),
        incarnation,
        resumed,
    }
}

fn shared(core: &Core, config: &Config, now: Nanos) -> Shared {
    Shared {
        view: Mutex::new(View::new(core, now, config.channels.len())),
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
