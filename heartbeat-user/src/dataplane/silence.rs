//! Silence about a group's addresses, kept by the kernel where its agent cannot: the addresses, the tc programs where frames
//! leave, and come in where XDP is not, and the program that notes a death. What is attached is pinned, and outlives the agent.
//!
//! By tcx, where the kernel has it: a link of its own before all others'. Else a filter of the `clsact` qdisc, which has no link:
//! then the pin is the program's, and stands for a filter with our handle. Filters and links of others are never touched.

use super::{
    bpf_link,
    filter::{self, HANDLE, type_of},
    interface,
    mended::Mended,
    pins::{self, IN, OUT, entries, interface_of, path_of, unpin},
    program::Beside,
};
use crate::system::netlink;
use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
    programs::{
        LinkOrder, ProgramInfo, RawTracePoint, SchedClassifier,
        links::{FdLink, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
    },
};
use heartbeat_ebpf::{
    frame::{Address, Way},
    layout::Filter,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    path::Path,
    thread,
    time::Duration,
};

/// The kernel's tracepoint where a thread ends.
const EXIT: &str = "sched_process_exit";
/// How often, and after which pauses, it is looked whether a link that was unpinned is free.
const FREED_WITHIN: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The programs that keep silent, and where.
pub(super) struct SilentPrograms {
    guarded: Guarded,
    beside: Beside,
    /// What this life has seen in its place, by its pin's sort and its interface.
    held: BTreeMap<(&'static str, String), Held>,
    /// The kernel notes a death.
    watches: bool,
    tcx: bool,
}

/// A program in its place.
#[derive(Clone, Copy)]
struct Held {
    /// The index that the interface had.
    ifindex: u32,
    /// Of a filter; none of a link.
    priority: Option<u16>,
}

impl SilentPrograms {
    pub(super) fn new(guarded: Map, beside: Beside) -> Result<Self> {
        let guarded = Guarded::new(guarded)?;
        Ok(Self { guarded, beside, held: BTreeMap::new(), watches: false, tcx: true })
    }

    pub(super) const fn without_tcx(&mut self) {
        self.tcx = false;
    }

    /// The program for what leaves, or comes in.
    pub(super) fn program(&mut self, outgoing: bool) -> Result<&mut SchedClassifier> {
        let program = if outgoing { &mut self.beside.outgoing } else { &mut self.beside.incoming };
        program.as_mut().map_err(|error| anyhow!("{error:#}"))
    }

    /// See [`super::Kernel::guard`].
    pub(super) fn guard(&mut self, addresses: &BTreeMap<IpAddr, u64>, filter: &Filter) -> Result<()> {
        self.guarded.set(addresses, filter)
    }

    /// See [`super::Kernel::keep_silent_on`]. `by_xdp`: the interfaces where the XDP program is.
    pub(super) fn keep_on(
        &mut self,
        folder: &Path,
        interfaces: &BTreeSet<&str>,
        by_xdp: &BTreeSet<&str>,
        mended: &mut Mended,
    ) {
        for name in interfaces {
            let ways = if by_xdp.contains(name) { &[Way::Out][..] } else { &[Way::Out, Way::In] };
            match index_where_ethernet(name) {
                // It is looked for again.
                Ok(None) => {}
                Ok(Some(ifindex)) => {
                    let kept = ways.iter().try_for_each(|way| self.keep(folder, name, ifindex, *way, mended));
                    mended.troubles.extend(kept.err().map(|error| trouble(name, &error)));
                }
                Err(error) => mended.troubles.push(trouble(name, &error)),
            }
        }
        match self.watch(folder) {
            Ok(true) => mended.restored.push("the program that notes when this agent dies".into()),
            Ok(false) => {}
            Err(error) => mended.troubles.push(format!("the kernel will not notice when this agent dies: {error:#}")),
        }
        for path in entries(folder).unwrap_or_default() {
            let of = |sort| interface_of(&path, sort).map(|name| (sort, name));
            if let Some((sort, name)) = of(OUT).or_else(|| of(IN))
                && (!interfaces.contains(name.as_str()) || sort == IN && by_xdp.contains(name.as_str()))
            {
                unpin(&path);
                self.held.remove(&(sort, name));
            }
        }
    }

    /// Makes the program run on the interface, and says what was not as it should be.
    fn keep(&mut self, folder: &Path, name: &str, ifindex: u32, way: Way, mended: &mut Mended) -> Result<()> {
        if self.hold(folder, name, ifindex, way)? {
            let passing = if way == Way::Out { "leaves" } else { "comes in" };
            mended.restored.push(format!("the program that keeps silent about what {passing} at {name}"));
        }
        let own = self.program(way == Way::Out)?.info()?.id();
        mended.troubles.extend(before_ours(own, name, way));
        Ok(())
    }

    /// Makes the program run on the interface: by the link that an agent before has pinned, or by a new one. Whether it had been
    /// there in this life, and somebody took it away.
    fn hold(&mut self, folder: &Path, name: &str, ifindex: u32, way: Way) -> Result<bool> {
        let tcx = self.tcx;
        let sort = if way == Way::Out { OUT } else { IN };
        let path = path_of(folder, sort, name);
        let key = (sort, name.to_owned());
        let before = self.held.get(&key).copied().filter(|held| held.ifindex == ifindex);
        let program = self.program(way == Way::Out)?;
        if let Ok(joined) = bpf_link::joined(&path) {
            if joined.ifindex == ifindex {
                if joined.program != program.info()?.id() {
                    let link = SchedClassifierLink::try_from(FdLink::from(PinnedLink::from_pin(&path)?))?;
                    let id = program.attach_to_link(link)?;
                    // The pin holds it.
                    drop(program.take_link(id)?);
                }
                self.held.insert(key, Held { ifindex, priority: None });
                return Ok(false);
            }
            unpin(&path);
        } else if let Some(Held { priority: Some(priority), .. }) = before
            && path.exists()
            && interface::has_filter(ifindex, is_egress(way), priority, u32::from(HANDLE))?
        {
            return Ok(false);
        }
        release_others(Some(folder), name, ifindex, way);
        let by_link = if tcx && !path.exists() { link(program, &path, name, way) } else { Err(anyhow!("no tcx")) };
        let mut priority = None;
        if let Err(why) = by_link {
            priority =
                Some(filter::attach(program, name, way).with_context(|| format!("by a link: {why:#}; by a filter"))?);
            if !path.exists() {
                program.pin(&path).context("pinning it")?;
            }
        }
        self.held.insert(key, Held { ifindex, priority });
        Ok(before.is_some())
    }

    /// Has the kernel note a death: by the link that an agent before has pinned, if that is of this program. Whether it did in
    /// this life, and somebody took it away.
    fn watch(&mut self, folder: &Path) -> Result<bool> {
        let program = self.beside.death.as_mut().map_err(|error| anyhow!("{error:#}"))?;
        let path = folder.join(pins::DEATH);
        if bpf_link::program(&path).ok() == Some(program.info()?.id()) {
            self.watches = true;
            return Ok(false);
        }
        let id = program.attach(EXIT).with_context(|| format!("the tracepoint {EXIT}"))?;
        let link = FdLink::from(RawTracePoint::take_link(program, id)?);
        if path.exists() {
            unpin(&path);
        }
        link.pin(&path).context("pinning its link")?;
        Ok(mem::replace(&mut self.watches, true))
    }
}

/// By tcx, before what others have there.
fn link(program: &mut SchedClassifier, path: &Path, name: &str, way: Way) -> Result<()> {
    let own = program.info()?.id();
    let is_there = || query(name, way).is_some_and(|there| there.iter().any(|program| program.id() == own));
    // A link whose pin somebody removed is freed a moment later (linux, kernel/bpf/syscall.c, bpf_link_put), and none takes a
    // program twice.
    for _ in 0..FREED_WITHIN {
        if !is_there() {
            break;
        }
        thread::sleep(PAUSE);
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(name, type_of(way), options)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(path).context("pinning its link")?;
    Ok(())
}

/// Whose programs have their say before ours, by tcx: frames that one of them lets pass are not ours to see any more.
fn before_ours(own: u32, name: &str, way: Way) -> Option<String> {
    let there = query(name, way)?;
    let others: Vec<_> = there
        .iter()
        .take_while(|program| program.id() != own)
        .map(|program| format!("{} (id {})", program.name_as_str().unwrap_or("?"), program.id()))
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "interface {name}: other tc programs come before ours: {}; its kernel keeps silent about what they leave to those \
             after them, and about nothing else",
            others.join(", ")
        )
    })
}

/// Takes away what agents with other runtime directories have left on an interface of this network namespace: nobody opens what
/// they closed. `ours` is our folder.
fn release_others(ours: Option<&Path>, name: &str, ifindex: u32, way: Way) {
    let Some(there) = query(name, way) else { return };
    let there: Vec<_> = there.iter().map(ProgramInfo::id).collect();
    let sort = if way == Way::Out { OUT } else { IN };
    let is_ours = |pin: &Path| ours.is_some_and(|folder| pin.starts_with(folder));
    for pin in pins::below(pins::ROOT.as_ref(), sort).into_iter().filter(|pin| !is_ours(pin)) {
        if bpf_link::joined(&pin).is_ok_and(|of| of.ifindex == ifindex && there.contains(&of.program)) {
            unpin(&pin);
        }
    }
}

/// The same of an interface that is to be read by its socket, where nothing of any agent's is to stay.
pub(super) fn release(name: &str, ifindex: u32) {
    for way in [Way::Out, Way::In] {
        release_others(None, name, ifindex, way);
    }
}

/// What is attached by tcx, in its order; none on a kernel without.
fn query(name: &str, way: Way) -> Option<Vec<ProgramInfo>> {
    SchedClassifier::query_tcx(name, type_of(way)).ok().map(|(_, there)| there)
}

const fn is_egress(way: Way) -> bool {
    matches!(way, Way::Out)
}

/// None where there is no interface of this name.
fn index_where_ethernet(name: &str) -> Result<Option<u32>> {
    let Some(ifindex) = netlink::index_of(name)? else { return Ok(None) };
    // What goes by the loopback interface never leaves this host.
    ensure!(name != "lo", "it is this host's own");
    match interface::without_ethernet(ifindex)? {
        Some(why) => Err(anyhow!("{why}")),
        None => Ok(Some(ifindex)),
    }
}

fn trouble(name: &str, error: &anyhow::Error) -> String {
    format!("interface {name}: its kernel cannot keep silent when this agent cannot decide: {error:#}")
}

/// The service addresses, as the programs look them up.
struct Guarded(HashMap<MapData, AddressKey, u64>);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct AddressKey(Address);
// SAFETY: two words.
unsafe impl Pod for AddressKey {}

impl Guarded {
    fn new(map: Map) -> Result<Self> {
        Ok(Self(HashMap::try_from(map)?))
    }

    /// Makes these the only ones, each with the groups that it is of, a bit each. New ones are added before old ones are removed:
    /// what stays is never missing.
    fn set(&mut self, addresses: &BTreeMap<IpAddr, u64>, filter: &Filter) -> Result<()> {
        let wanted: Vec<_> = addresses.iter().map(|(ip, groups)| (AddressKey((*ip).into()), *groups)).collect();
        filter.add(wanted.iter().map(|(address, _)| &address.0));
        for (address, groups) in &wanted {
            self.0.insert(address, groups, 0).context("setting a service address")?;
        }
        let there: Vec<_> = self.0.keys().filter_map(Result::ok).collect();
        for address in there.iter().filter(|address| !wanted.iter().any(|(wanted, _)| wanted == *address)) {
            self.0.remove(address).context("removing a service address")?;
        }
        filter.set(wanted.iter().map(|(address, _)| &address.0));
        Ok(())
    }
}
