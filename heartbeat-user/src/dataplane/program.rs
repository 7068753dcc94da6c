//! The program with the maps that only it has: loaded, or taken as it is where an agent before has left the very same one.
//!
//! The same is what the same object with the same settings was loaded from: both are in the name of its pin. Taking it
//! spares a restart the verifier and all that comes before it, some 50 to 100 ms, while the peer waits for 30 at profile
//! `fast`.

use super::pins::{PINNED, PROGRAM, entries, unpin};
use crate::types::Node;
use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapInfo},
    programs::{Program, ProgramError, RawTracePoint, SchedClassifier, Xdp},
};
use aya_log::EbpfLogger;
use aya_obj::programs::XdpAttachType;
use heartbeat_ebpf::layout::{map, program};
use heartbeat_ebpf::siphash::Key;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::chroot,
};
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
};

/// What the program is loaded with.
#[derive(Clone, Copy)]
pub struct ProgramSettings {
    /// The UDP port of heartbeats.
    pub port: u16,
    /// The pair.
    pub pair_id: u32,
    /// Which of the two we are.
    pub node: Node,
    /// The keys by their `key_id`; at least one in an agent that is to hear anything.
    pub keys: [Option<Key>; 2],
}

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/heartbeat-xdp"));
/// Tells this object from all others.
const OBJECT_ID: &str = env!("HEARTBEAT_XDP_ID");

/// How often the program is offered to a kernel that is interrupted.
const TRIES: usize = 10;

/// The maps that the agent uses.
const MAPS: [&str; 9] = [
    map::AGENT,
    map::CHANNEL_OF,
    map::DOORBELL,
    map::GUARDED,
    map::HEARD,
    map::INTER_ARRIVAL,
    map::KERNEL,
    map::KEYS,
    map::SLOTS,
];

/// What the program logs.
pub(super) type Logger = EbpfLogger<&'static dyn log::Log>;

/// A program in this kernel, and its maps.
pub(super) struct Loaded {
    pub(super) program: Xdp,
    pub(super) agent: Map,
    pub(super) kernel: Map,
    pub(super) guarded: Map,
    pub(super) slots: Map,
    pub(super) inter_arrival: Map,
    pub(super) heard: Map,
    pub(super) channel_of: Map,
    pub(super) keys: Map,
    pub(super) doorbell: Map,
    pub(super) logger: Logger,
    pub(super) beside: Beside,
}

/// The programs that keep silent, and the one that notes a death: each, or why there is none.
pub(super) struct Beside {
    pub(super) outgoing: Result<SchedClassifier>,
    pub(super) incoming: Result<SchedClassifier>,
    pub(super) death: Result<RawTracePoint>,
}

impl Beside {
    /// Those that are pinned beside the XDP program at `pin`, or new ones of `object`, which then are.
    fn open(pin: &Path, object: impl FnOnce() -> Result<Ebpf>) -> Self {
        let mut ebpf = None;
        let [out, into, death] = BESIDE.map(|what| beside(pin, what));
        if [&out, &into, &death].iter().any(|pin| !pin.exists()) {
            ebpf = Some(object());
        }
        macro_rules! program {
            ($type:ty, $name:expr, $pin:expr) => {
                (|| match &mut ebpf {
                    Some(Ok(ebpf)) if !$pin.exists() => {
                        let program: &mut $type = find(ebpf, $name)?;
                        insist(|| program.load()).map_err(explain)?;
                        program.pin($pin).context("pinning it")?;
                        <$type>::from_pin($pin).context("its pin")
                    }
                    Some(Err(error)) if !$pin.exists() => Err(anyhow!("{error:#}")),
                    _ => <$type>::from_pin($pin).context("its pin"),
                })()
            };
        }
        Self {
            outgoing: program!(SchedClassifier, program::OUTGOING, &out),
            incoming: program!(SchedClassifier, program::INCOMING, &into),
            death: program!(RawTracePoint, program::DEATH, &death),
        }
    }
}

impl Loaded {
    /// The one that is pinned in `folder`, or else a new one, which then is.
    pub(super) fn open(settings: &ProgramSettings, folder: &Path) -> Result<Self> {
        let pin = pin(settings, folder);
        if pin.exists() {
            match Self::adopt(settings, &pin, folder) {
                Ok(adopted) => return Ok(adopted),
                Err(error) => log::debug!("the pinned program is of no use: {error:#}"),
            }
        }
        for path in entries(folder)? {
            // Other builds' or other settings': where it is attached, it goes on until it is replaced there.
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PROGRAM.as_bytes())) {
                unpin(&path);
            }
        }
        Self::load(settings, folder, &pin)
    }

    fn adopt(settings: &ProgramSettings, pin: &Path, folder: &Path) -> Result<Self> {
        let program = from_pin(pin)?;
        let info = program.info()?;
        let mut ids = BTreeMap::new();
        for id in info.map_ids()?.unwrap_or_default() {
            ids.insert(MapInfo::from_id(id)?.name().to_vec(), id);
        }
        let id = |name: &str| ids.get(name.as_bytes()).copied().with_context(|| format!("it has no map {name}"));
        for name in PINNED {
            ensure!(MapInfo::from_pin(folder.join(name))?.id() == id(name)?, "{name} is another one than that pinned");
        }
        let logger = EbpfLogger::init_from_id(info.id())?;
        let beside = Beside::open(pin, || object(Some(settings), folder));
        Self::new(program, logger, beside, |name| Ok(Map::from_map_data(MapData::from_id(id(name)?)?)?))
    }

    fn load(settings: &ProgramSettings, folder: &Path, pin: &Path) -> Result<Self> {
        let mut ebpf = object(Some(settings), folder)?;
        let program = xdp(&mut ebpf, program::NAME)?;
        insist(|| program.load()).map_err(explain).context("loading the XDP program")?;
        program.pin(pin).context("pinning the XDP program")?;
        let logger = EbpfLogger::init(&mut ebpf)?;
        let mut maps = BTreeMap::new();
        for name in MAPS {
            maps.insert(name, ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))?);
        }
        let beside = Beside::open(pin, || Ok(ebpf));
        Self::new(from_pin(pin)?, logger, beside, |name| maps.remove(name).context("a map that is taken once"))
    }

    fn new(program: Xdp, logger: Logger, beside: Beside, mut map: impl FnMut(&str) -> Result<Map>) -> Result<Self> {
        Ok(Self {
            program,
            agent: map(map::AGENT)?,
            kernel: map(map::KERNEL)?,
            guarded: map(map::GUARDED)?,
            slots: map(map::SLOTS)?,
            inter_arrival: map(map::INTER_ARRIVAL)?,
            heard: map(map::HEARD)?,
            channel_of: map(map::CHANNEL_OF)?,
            keys: map(map::KEYS)?,
            doorbell: map(map::DOORBELL)?,
            logger,
            beside,
        })
    }
}

/// The programs that pass everything.
pub(super) fn empty(folder: &Path) -> Result<Ebpf> {
    let mut ebpf = object(None, folder)?;
    xdp(&mut ebpf, program::EMPTY)?.load().map_err(explain)?;
    tc(&mut ebpf, program::EMPTY_TC)?.load().map_err(explain)?;
    Ok(ebpf)
}

pub(super) fn tc<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    find(ebpf, name)
}

pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    find(ebpf, name)
}

fn find<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A signal that comes meanwhile, as one to reload does, ends the kernel's verification (EAGAIN).
fn insist(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let mut result = load();
    for _ in 1..TRIES {
        match &result {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {
                result = load()
            }
            _ => break,
        }
    }
    result
}

/// The object with its maps, pinned ones adopted, and no program loaded.
fn object(settings: Option<&ProgramSettings>, folder: &Path) -> Result<Ebpf> {
    let values = settings.map(|settings| (settings.port, settings.pair_id, settings.node.wire()));
    let mut loader = loader(folder);
    if let Some((port, pair_id, node)) = &values {
        loader
            .override_global(program::PORT, port, true)
            .override_global(program::PAIR_ID, pair_id, true)
            .override_global(program::NODE, node, true);
    }
    for name in PINNED {
        loader.map_pin_path(name, folder.join(name));
    }
    loader.load(OBJECT).context("loading the XDP program's maps")
}

/// A loader that has not read the types of the whole kernel: 5 MiB, which cost 25 ms and 15 MiB more, for relocations that
/// our program does not have. `EbpfLoader::new` reads them unasked (aya 0.14), so a thread calls it that sees no /sys.
/// Where that is not allowed, it costs what it costs.
fn loader<'a>(elsewhere: &Path) -> EbpfLoader<'a> {
    let blind = || {
        // From here on this thread has a root directory of its own.
        let _ = unshare(CloneFlags::CLONE_FS).and_then(|()| chroot(elsewhere));
        EbpfLoader::new()
    };
    thread::scope(|scope| scope.spawn(blind).join()).unwrap_or_else(|_| EbpfLoader::new())
}

/// The pins of the XDP program and of those beside it.
pub(super) fn pins(settings: &ProgramSettings, folder: &Path) -> [PathBuf; 4] {
    let pin = pin(settings, folder);
    let [out, into, death] = BESIDE.map(|what| beside(&pin, what));
    [pin, out, into, death]
}

/// The programs beside the XDP program, by the ends of their pins.
const BESIDE: [&str; 3] = ["out", "in", "death"];

fn beside(pin: &Path, what: &str) -> PathBuf {
    PathBuf::from(format!("{}-{what}", pin.display()))
}

/// `program-<object>-<port>-<pair>-<node>`.
fn pin(settings: &ProgramSettings, folder: &Path) -> PathBuf {
    let ProgramSettings { port, pair_id, node, .. } = settings;
    folder.join(format!("{PROGRAM}{OBJECT_ID}-{port}-{pair_id}-{node}"))
}

fn from_pin(pin: &Path) -> Result<Xdp> {
    Xdp::from_pin(pin, XdpAttachType::Interface).context("the pinned XDP program")
}

/// aya's message for a refused program is its whole trace: its last lines say what is wrong.
fn explain(error: ProgramError) -> anyhow::Error {
    const LINES: usize = 12;
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return error.into();
    };
    let log = verifier_log.to_string();
    let lines: Vec<_> = log.lines().collect();
    anyhow!("{io_error}; the verifier said: {}", lines[lines.len().saturating_sub(LINES)..].join("\n"))
}
