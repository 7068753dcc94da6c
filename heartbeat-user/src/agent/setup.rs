//! From a checked configuration to running threads: lock, keys, maps, what an earlier life left behind.

use super::{
    Options,
    pulse::{Pulse, PulseChannel, Transport},
    shared::{Command, Report},
};
use crate::{
    config::{Config, End, Fence, PairKeys, XdpPreference, check_host},
    core::{ChannelIndex, Core, GroupIndex, Guards, Link, Nanos, Node, PeerState, Resumed, Setup},
    dataplane::{
        Adopted, Kernel, Opener, Settings, Tables, XdpMode,
        bell::Bell,
        clock,
        drain::Mark,
        index_of,
        link::Links,
        pin_folder, realtime, release,
        socket::{Ends, HeartbeatSocket},
    },
    status::{ControlEvent, Facts, Journal, Latencies, Shared, View},
    takeover::{self, Done, GroupPlan, Netlink, Order, PlannedAddress},
};
use anyhow::{Context, Result, bail, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use heartbeat_ebpf::{admit::Expected, siphash::Key};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

/// Reports that may wait for the control side.
const REPORTS: usize = 4_096;
/// Commands that may wait for the pulse thread, and orders for the takeover thread: two a group, and some.
const COMMANDS: usize = 256;
/// Pages of stack are touched when they are used; this is what a thread may use at most.
const STACK: usize = 256 * 1024;

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
    /// Held for as long as the agent runs.
    pub(super) lock: Flock<File>,
}

/// Prepares everything and starts the threads.
pub(super) fn prepare(options: &Options, journal: &Journal) -> Result<Parts> {
    let Options { config, node, runtime_dir, .. } = options;
    let node = *node;
    let problems = check_host(config, node);
    if !problems.is_empty() {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        bail!("this host does not fit the configuration:\n{}", list.join("\n"));
    }
    let keys = PairKeys::load(&config.pair.key_file)?;
    let lock = lock(runtime_dir)?;
    ports_are_free(config, node)?;
    if let Err(error) = realtime::lock_memory() {
        log::warn!("memory cannot be locked ({error}): under memory pressure heartbeats may be late");
    }

    let by_id = keys.keys.map(|key| key.map(Key::new));
    let settings = Settings { port: config.pair.port, pair_id: config.pair.id, node, keys: by_id };
    let (mut kernel, tables, adopted) = open_kernel(config.dataplane.xdp, &settings, runtime_dir)?;
    let doorbell = kernel.as_mut().and_then(Kernel::doorbell);

    let plans = plans(config, node);
    let resumed = if adopted.maps { resume(&tables, config, plans.len()) } else { None };
    let owned = resumed.map_or(0, |r| r.owned);
    sweep(&plans, owned, journal)?;

    let incarnation = incarnation()?;
    Mark::begin(tables.agent(), incarnation, resumed.map_or(0, |r| r.peer_incarnation));

    let names = config.names();
    for (channel, id) in tables.channels().zip(names.channels()) {
        tables.slot(channel).channel_id.set((*id).into());
    }
    let ends_here = config.channels.iter().filter_map(|c| c.end(node).map(|end| (c.index, end)));
    let mut interfaces = Links::open(ends_here.map(|(channel, end)| (channel, end.interface.as_str(), end.address)))
        .context("sockets to look at interfaces")?;
    let lines = config.channels.iter().filter_map(|c| Some((c.index.0, c.line(node)?))).collect::<Vec<_>>();
    let lines = if lines.is_empty() { None } else { Some(Opener::new(lines).context("threads for serial lines")?) };
    let mut modes = Vec::new();
    let mut links = Vec::new();
    let mut channels = Vec::new();
    for channel in &config.channels {
        if channel.line(node).is_some() {
            // It is open, or not, when the generator has tried.
            links.push(Link::Present { index: 0, carrier: true, address: true });
            channels.push(PulseChannel::line(&tables, channel.index));
            modes.push(None);
            continue;
        }
        let Some((own, peer)) = channel.end(node).zip(channel.end(node.other())) else { continue };
        if let Some(kernel) = &mut kernel {
            // Some drivers take the link down for this: one after the other.
            kernel.wait_until_rested();
        }
        let mode = attach(kernel.as_mut(), config.dataplane.xdp, channel.index, own, journal)?;
        let link = interfaces.look(channel.index, true).filter(|link| *link != Link::Absent);
        links.push(link.with_context(|| format!("interface {} is gone", own.interface))?);
        let ends = ends(config, own, peer);
        channels.push(PulseChannel::new(ends, mode == XdpMode::Socket, &tables, channel.index));
        modes.push(Some(mode));
    }
    if let Some(kernel) = &mut kernel {
        kernel.settle()?;
    }

    let now = clock::monotonic();
    let setup = Setup {
        node,
        pair_id: config.pair.id,
        key_id: keys.signing,
        key_prints: by_id.map(|key| key.map_or(0, Key::print)),
        names,
        file_time: config.file_time,
        timing: config.timing,
        paces: config.channels.iter().map(|c| c.pace(config.timing.interval)).collect(),
        lines: config.channels.iter().filter(|c| c.line(node).is_some()).fold(0, |bits, c| bits | c.index.bit()),
        links,
        homes: config.groups.iter().map(|g| g.home).collect(),
        failback: config.groups.iter().map(|g| g.failback).collect(),
        guards: Guards {
            by_probe: config.judging.isolation_by_probe && config.judged() != 0,
            fence: config.fence.is_some(),
            fence_within: config.fence.as_ref().map_or(Nanos::NEVER, Fence::within),
            stalled_grace: config.judging.stalled_grace,
        },
        hooks: config.hooked(),
        patience: config.patience(),
        maintenance: maintenance_file(runtime_dir).exists(),
        groups_digest: config.groups_digest(),
        judging: config.core_judging(),
        incarnation,
        resumed,
    };
    let core = Core::new(setup, now);
    let shared = Arc::new(Shared {
        view: Mutex::new(View {
            at: now,
            peer: PeerState::Unknown,
            peer_left: false,
            peer_stalled: None,
            peer_incarnation: 0,
            peer_owned: 0,
            owned,
            held: 0,
            busy: 0,
            term: 0,
            withheld: None,
            differences: [false; 3],
            maintenance: [false; 2],
            verdict: None,
            channels: (0..channels.len()).filter_map(|i| core.channel(ChannelIndex(i as u8))).collect(),
        }),
        latencies: Latencies::new(config.channels.len()),
        events_lost: AtomicU64::new(0),
    });

    let facts = Arc::new(Facts {
        judged_by: Mutex::default(),
        config: config.clone(),
        node,
        incarnation,
        shared: Arc::clone(&shared),
        tables: Arc::clone(&tables),
        modes: Mutex::new(modes),
        feed: Arc::clone(&journal.feed),
        records: journal.records.clone(),
    });
    journal.records.measure(&facts, adopted.maps);

    let (commands, commands_in) = bounded(COMMANDS);
    let (orders, orders_in) = bounded(COMMANDS);
    let (reports, reports_in) = bounded(REPORTS);
    let (pulse_bell, control_bell) = (Bell::new()?, Bell::new()?);
    for group in (0..plans.len()).map(|i| GroupIndex(i as u8)).filter(|g| owned & g.bit() != 0) {
        orders.send(Order::Resume { group })?;
    }
    let takeover = {
        let (commands, reports, shared) = (commands.clone(), reports.clone(), Arc::clone(&shared));
        let (pulse_bell, control_bell) = (pulse_bell.clone(), control_bell.clone());
        let interfaces = config.channels.iter().filter_map(|c| Some(c.end(node)?.interface.clone())).collect();
        let settings = takeover::Settings {
            plans,
            channels: interfaces,
            announce_every: config.takeover.announce_every,
            still_answering_for: Some(config.judging.still_answering_for),
        };
        let worker = takeover::Worker::open(settings).context("sockets for takeovers")?;
        let ended = control_bell.clone();
        thread("takeover", config.dataplane.priority - 1, move || {
            let _ended = RingsAtTheEnd(ended);
            worker.run(&orders_in, |done| {
                if let Some(command) = Command::of(&done) {
                    // The pulse thread takes them, whatever else happens.
                    let _ = commands.send(command);
                    pulse_bell.ring();
                }
                // Never waits for the control side either.
                if reports.try_send(Report::Takeover(done)).is_err() {
                    shared.events_lost.fetch_add(1, Relaxed);
                }
                control_bell.ring();
            });
        })?
    };
    let pulse = Pulse {
        core,
        channels,
        tables: Arc::clone(&tables),
        doorbell,
        transport: Transport::new(interfaces, lines)?,
        bell: pulse_bell.clone(),
        commands: commands_in,
        orders: orders.clone(),
        waits: config.judging.wait_where_answered,
        reports,
        control: control_bell.clone(),
        shared: Arc::clone(&shared),
        keys: by_id,
        expected: Expected { pair_id: config.pair.id, node: node.wire(), channel_id: 0 },
        abort_pending: None,
        attach_pending: 0,
    };
    let pulse = {
        let ended = control_bell.clone();
        thread("pulse", config.dataplane.priority, move || {
            let _ended = RingsAtTheEnd(ended);
            pulse.run()
        })?
    };
    Ok(Parts { kernel, facts, commands, pulse_bell, orders, reports: reports_in, control_bell, pulse, takeover, lock })
}

fn ends(config: &Config, own: &End, peer: &End) -> Ends {
    let (port, pair_id) = (config.pair.port, config.pair.id);
    Ends { interface: own.interface.clone(), own: own.address, peer: peer.address, port, pair_id }
}

/// Nobody else speaks for this controller. A second agent with another runtime directory would find its peer dead, for the
/// first one hears all heartbeats; so it must not get as far as touching an address.
fn ports_are_free(config: &Config, node: Node) -> Result<()> {
    for channel in &config.channels {
        let Some((own, peer)) = channel.end(node).zip(channel.end(node.other())) else { continue };
        let Some(index) = index_of(&own.interface)? else { continue };
        // Whatever else is wrong with it may pass, and the generator tries again.
        if let Err(error) = HeartbeatSocket::open(&ends(config, own, peer), index)
            && error.raw_os_error() == Some(libc::EADDRINUSE)
        {
            let port = config.pair.port;
            bail!(
                "channel \"{}\": another program, perhaps another agent, has UDP port {port} of {}: `ss -lunp 'sport = \
                 :{port}'` names it; stop it, or set another pair.port on both controllers",
                channel.name,
                own.address
            );
        }
    }
    Ok(())
}

/// Also when a thread panics, the control side must look.
struct RingsAtTheEnd(Bell);

impl Drop for RingsAtTheEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// There while an operator wants nothing to move; it outlives the agent, not the host's boot.
pub(super) fn maintenance_file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("maintenance")
}

/// The group that something was done with.
pub(super) const fn group_of(done: &Done) -> GroupIndex {
    match *done {
        Done::Acquired { group, .. }
        | Done::AcquireFailed { group, .. }
        | Done::Isolated { group, .. }
        | Done::Released { group, .. }
        | Done::Restored { group, .. }
        | Done::StillAnswered { group, .. }
        | Done::Rival { group, .. }
        | Done::RivalGone { group, .. }
        | Done::Swept { group, .. }
        | Done::Failed { group, .. } => group,
    }
}

/// One agent to a runtime directory.
fn lock(runtime_dir: &Path) -> Result<Flock<File>> {
    std::fs::create_dir_all(runtime_dir)
        .with_context(|| format!("--runtime-dir {}: cannot be made", runtime_dir.display()))?;
    let path = runtime_dir.join("lock");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o644)
        .open(&path)
        .with_context(|| format!("{}: cannot be opened", path.display()))?;
    let mut holder = String::new();
    let _ = (&mut file).take(32).read_to_string(&mut holder);
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.relock(FlockArg::LockExclusiveNonblock).ok();
            lock.set_len(0)?;
            std::io::Seek::rewind(&mut *lock)?;
            writeln!(lock, "{}", std::process::id())?;
            Ok(lock)
        }
        Err((_, nix::Error::EWOULDBLOCK)) => bail!(
            "--runtime-dir {}: an agent (process {}) runs on it already; stop that one, or give each its own directory",
            runtime_dir.display(),
            holder.trim()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
    }
}

fn open_kernel(
    preference: XdpPreference,
    settings: &Settings,
    runtime_dir: &Path,
) -> Result<(Option<Kernel>, Arc<Tables>, Adopted)> {
    let without = || Ok((None, Arc::new(Tables::anonymous()?), Adopted::default()));
    if preference == XdpPreference::Socket {
        return without();
    }
    match pin_folder(runtime_dir).context("the runtime directory").and_then(|folder| Kernel::open(settings, &folder)) {
        Ok((kernel, adopted)) => {
            let tables = kernel.tables();
            Ok((Some(kernel), tables, adopted))
        }
        Err(error) if preference == XdpPreference::Auto => {
            log::warn!("no XDP on this host, so heartbeats come by sockets: {error:#}");
            without()
        }
        Err(error) => {
            Err(error).context("dataplane.xdp requires XDP, which is not to be had here; \"auto\" would fall back")
        }
    }
}

/// How the channel's heartbeats are received from now on.
pub(super) fn attach(
    kernel: Option<&mut Kernel>,
    preference: XdpPreference,
    channel: ChannelIndex,
    end: &End,
    journal: &Journal,
) -> Result<XdpMode> {
    let (xdp_mode, why) = match kernel {
        Some(kernel) => {
            let attached = kernel
                .attach(channel, &end.interface, end.address, preference)
                .with_context(|| format!("attaching to {}", end.interface))?;
            (attached.mode, attached.why)
        }
        // Whatever an earlier life has left there would consume what the socket is to read.
        None => (XdpMode::Socket, release(&end.interface).with_context(|| format!("interface {}", end.interface))?),
    };
    journal.control(&ControlEvent::ChannelAttached { channel, xdp_mode, why });
    Ok(xdp_mode)
}

/// What an earlier life left in its cell. Its groups are ours still only if it ended so recently that the peer cannot have
/// found it dead: else the peer may hold them by now.
fn resume(tables: &Tables, config: &Config, groups: usize) -> Option<Resumed> {
    let agent = tables.agent();
    if agent.incarnation.get() == 0 {
        return None;
    }
    // Its last heartbeat may be an interval older than its last sign of life.
    let bound = config.detection().since(config.timing.interval);
    let in_time = clock::monotonic().since(Nanos(agent.alive_ns.get())) < bound;
    let all = if groups >= 64 { u64::MAX } else { (1 << groups) - 1 };
    Some(Resumed {
        peer_incarnation: agent.peer_incarnation.get(),
        owned: if in_time { agent.owned.get() & all } else { 0 },
        release: 0,
        term: agent.term.get(),
        peer_flags: agent.peer_flags.get() as u8,
        peer_kept: agent.peer_kept.get() & all,
    })
}

/// The addresses of each group on this controller.
pub(super) fn plans(config: &Config, node: Node) -> Vec<GroupPlan> {
    config
        .groups
        .iter()
        .map(|g| GroupPlan {
            name: g.name.clone(),
            addresses: g
                .addresses
                .iter()
                .filter_map(|a| {
                    let interface = config.channels[a.channel.usize()].end(node)?.interface.clone();
                    Some(PlannedAddress { interface, ip: a.address, prefix: a.prefix })
                })
                .collect(),
        })
        .collect()
}

/// Group addresses that are here without being ours: of a life that ended too long ago, or put here by hand.
pub(super) fn sweep(plans: &[GroupPlan], owned: u64, journal: &Journal) -> Result<()> {
    let swept = Netlink::open()
        .and_then(|mut netlink| takeover::remove_unowned(plans, owned, &mut netlink))
        .context("removing group addresses that are not ours")?;
    for (group, address) in swept.removed {
        journal.control(&ControlEvent::AddressSwept { group, address: address.to_string(), times: 1 });
    }
    let failures: Vec<_> = swept.failures.iter().map(ToString::to_string).collect();
    ensure!(failures.is_empty(), "group addresses that are not ours stay on this host: {}", failures.join("; "));
    Ok(())
}

fn incarnation() -> Result<u64> {
    loop {
        let random = getrandom::u64().context("no randomness for an incarnation")?;
        if random != 0 {
            return Ok(random);
        }
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    priority: u8,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let name = name.to_owned();
    let builder = std::thread::Builder::new().name(name.clone()).stack_size(STACK);
    Ok(builder.spawn(move || {
        if let Err(error) = realtime::be_fifo(priority) {
            log::warn!("the {name} thread gets no real-time priority {priority} ({error}): it may be late under load");
        }
        realtime::no_timer_slack();
        body()
    })?)
}
