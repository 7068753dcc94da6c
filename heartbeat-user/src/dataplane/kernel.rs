//! The XDP program: loaded, attached, pinned; adopted from an agent that was here before.
//!
//! What is pinned outlives the agent on purpose: heartbeats that arrive while it restarts are stamped and counted by the
//! program, and the agent that comes back finds them. Only [`Kernel::remove`] takes everything away.
//!
//! ```text
//! pin_folder/v<VERSION of the records>/AGENT CHANNEL_OF GUARDED INTER_ARRIVAL KERNEL SLOTS     maps
//!                                     /link-<interface>                         one bpf_link an interface
//!                                     /out-<interface> in-<interface>           those of the programs that keep silent
//!                                     /death                                    that of the one that notes a death
//!                                     /program-<object>-<settings>              the program, and with -out, -in, -death the others
//! ```
//! An agent that finds its own program there takes it as it is, with the maps that no pin names: keys, doorbell, log.

mod attaching;
mod mending;
mod rest;
mod test_run;

pub use attaching::Attached;
pub use test_run::Yardstick;

use super::{
    SlotOrder, Tables,
    bpf_link::{self, Object},
    interface,
    pins::{
        BPFFS, LINK, all_adoptable, empty, entries, interface_of, link_path, mount_bpffs, remove_other_versions, unpin,
    },
    program::{Loaded, Logger, ProgramSettings},
    silence::SilentPrograms,
};
use crate::{
    system::netlink,
    types::{ChannelIndex, XdpMode},
};
use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::{Xdp, links::FdLink},
};
use heartbeat_ebpf::{
    layout::{self, End},
    siphash::Key,
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use rest::Rest;
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// What [`Kernel::open`] found of an agent before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// All maps were there: slots, histograms and the agent's cell continue.
    pub maps: bool,
    /// The interfaces to which its program is still attached.
    pub interfaces: Vec<String>,
    /// The records (channels) whose writer had died within, made readable again.
    pub repaired: Vec<ChannelIndex>,
}

/// The XDP program and its maps in this kernel.
pub struct Kernel {
    program: Xdp,
    /// Loaded when it is asked for.
    yardstick: Option<Ebpf>,
    folder: PathBuf,
    /// What is pinned there beside links.
    pinned: Vec<(PathBuf, Object)>,
    tables: Arc<Tables>,
    channel_of: HashMap<MapData, EndKey, u32>,
    silence: SilentPrograms,
    keys: Array<MapData, KeyValue>,
    doorbell: Option<RingBuf<MapData>>,
    logger: Option<Logger>,
    interfaces: BTreeMap<String, Interface>,
    rest: Rest,
}

/// An interface that the program is attached to.
struct Interface {
    ifindex: u32,
    mode: XdpMode,
    why: Option<String>,
    adopted: bool,
    /// Bits of the channels that end there.
    channels: u64,
    /// Keeps the program attached, together with its pin.
    link: FdLink,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct EndKey(End);
// SAFETY: plain numbers without padding (layout.rs asserts the size).
unsafe impl Pod for EndKey {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct KeyValue(Key);
// SAFETY: two words.
unsafe impl Pod for KeyValue {}

impl Kernel {
    /// Loads the program and adopts or makes its maps; attaches nothing yet. Programs that an agent before has left
    /// attached go on counting.
    ///
    /// # Errors
    /// Where this host cannot run it: no BPF, no bpffs, no rights, or a kernel that refuses the program.
    pub fn open(settings: &ProgramSettings, pin_folder: &Path) -> Result<(Self, Adopted)> {
        mount_bpffs()?;
        fs::create_dir_all(pin_folder).with_context(|| format!("making {}", pin_folder.display()))?;
        ensure!(
            statfs(pin_folder).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC),
            "{} is not in a BPF file system: choose a folder below {BPFFS}",
            pin_folder.display()
        );
        let folder = pin_folder.join(format!("v{}", layout::VERSION));
        remove_other_versions(pin_folder, &folder)?;
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut adopted = Adopted { maps: all_adoptable(&folder), ..Adopted::default() };
        if !adopted.maps {
            // Half of them, or others: of no use, and whoever writes them writes for nobody.
            empty(&folder)?;
        }

        let loaded = Loaded::open(settings, &folder)?;
        let [agent, kernel, slots, inter_arrival, heard] =
            [&loaded.agent, &loaded.kernel, &loaded.slots, &loaded.inter_arrival, &loaded.heard].map(array);
        let tables = Tables::of_maps([agent?, kernel?, slots?, inter_arrival?, heard?])?;
        let mut kernel = Self {
            program: loaded.program,
            yardstick: None,
            pinned: mending::pinned(settings, &folder)?,
            folder,
            tables: Arc::new(tables),
            channel_of: HashMap::try_from(loaded.channel_of)?,
            silence: SilentPrograms::new(loaded.guarded, loaded.beside)?,
            keys: Array::try_from(loaded.keys)?,
            doorbell: Some(RingBuf::try_from(loaded.doorbell)?),
            logger: Some(loaded.logger),
            interfaces: BTreeMap::new(),
            rest: Rest::default(),
        };
        kernel.set_keys(settings.keys)?;
        adopted.interfaces = kernel.adoptable_links()?;
        adopted.repaired = kernel.tables.repair();
        Ok((kernel, adopted))
    }

    /// Gives the channels of this life their slots, before any of them is attached. `fresh`: bits of the channels that no
    /// earlier life had, whose slots were perhaps others'.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn arrange(&mut self, order: SlotOrder, fresh: u64) -> Result<()> {
        self.tables = Arc::new(self.tables.arranged(order));
        for channel in self.tables.channels().filter(|channel| fresh & channel.bit() != 0) {
            self.set_ends(channel, &[])?;
            self.tables.clear(channel);
        }
        Ok(())
    }

    /// Replaces the keys; the next frame is checked against these.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_keys(&mut self, keys: [Option<Key>; 2]) -> Result<()> {
        for (id, key) in (0..).zip(keys) {
            self.keys.set(id, KeyValue(key.unwrap_or(Key::NONE)), 0).context("setting a key")?;
        }
        Ok(())
    }

    /// Makes these the addresses that silence is kept about, each with its groups, a bit each.
    ///
    /// # Errors
    /// Where the kernel refuses, as where there are more than [`layout::ADDRESSES`].
    pub fn guard(&mut self, addresses: &BTreeMap<IpAddr, u64>) -> Result<()> {
        self.silence.guard(addresses, &self.tables.kernel().filter)
    }

    /// From now on, tc programs are attached as on kernels without tcx, before 6.6. For tests.
    pub fn without_tcx(&mut self) {
        self.silence.without_tcx();
    }

    /// Whether the interface that the program was attached to last is without the carrier that it had before: some drivers
    /// take the link down for seconds. While it is, no other interface should be attached to. At most 5 s.
    #[must_use]
    pub fn is_resting(&mut self) -> bool {
        self.rest.goes_on(Instant::now(), |ifindex| interface::carrier(ifindex).unwrap_or(true))
    }

    /// Waits for as long as [`Kernel::is_resting`].
    pub fn wait_until_rested(&mut self) {
        while self.is_resting() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// To be called once all channels are attached: takes away what an agent before has left for interfaces and channels
    /// that are configured no more.
    ///
    /// # Errors
    /// Where pins cannot be listed or removed.
    pub fn settle(&mut self) -> Result<()> {
        for interface in self.pinned_links()? {
            if !self.interfaces.contains_key(&interface) {
                unpin(&self.link_path(&interface));
            }
        }
        let attached = self.interfaces.values().fold(0, |bits, interface| bits | interface.channels);
        let attached = self.tables.channels().filter(|channel| attached & channel.bit() != 0);
        let used = attached.fold(0_u64, |used, channel| used | 1 << self.tables.number(channel));
        let stale: Vec<_> =
            self.channel_of.iter().filter_map(|entry| entry.ok().filter(|(_, slot)| used >> slot & 1 == 0)).collect();
        for (end, _) in stale {
            self.channel_of.remove(&end).context("removing an end of a channel that is no more")?;
        }
        Ok(())
    }

    /// The memory that kernel and agent share.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables)
    }

    /// Numbers (`u32`) of channels on which the peer's public state changed. There is one: the first caller has it.
    pub fn doorbell(&mut self) -> Option<RingBuf<MapData>> {
        self.doorbell.take()
    }

    /// What the program logs, by way of the `log` crate. The first caller has it.
    ///
    /// # Errors
    /// On the second call.
    pub fn logger(&mut self) -> Result<Logger> {
        self.logger.take().context("the log is taken already")
    }

    /// Takes everything away: programs from interfaces, pins, the folder. Where drivers take links down for that, it waits for
    /// each before it goes on to the next.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        for (name, interface) in std::mem::take(&mut self.interfaces) {
            // This, too, may take a link down for a while: one after the other.
            self.wait_until_rested();
            if interface::carrier(interface.ifindex).unwrap_or(false) && interface.mode == XdpMode::Native {
                self.rest.begin(interface.ifindex, Instant::now());
            }
            unpin(&self.link_path(&name));
        }
        empty(&self.folder)?;
        fs::remove_dir(&self.folder).with_context(|| format!("removing {}", self.folder.display()))?;
        // Not ours alone, perhaps: it goes when it is empty.
        if let Some(folder) = self.folder.parent() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// The interfaces whose pinned links can be adopted. Links of interfaces that are gone or were renamed are removed, so
    /// that they do not stand in the way of what is to be attached there.
    fn adoptable_links(&self) -> Result<Vec<String>> {
        let mut names = self.pinned_links()?;
        names.retain(|name| {
            let path = self.link_path(name);
            let adoptable = netlink::index_of(name).is_ok_and(|now| {
                now.is_some_and(|now| bpf_link::joined(&path).is_ok_and(|joined| joined.ifindex == now))
            });
            if !adoptable {
                unpin(&path);
            }
            adoptable
        });
        Ok(names)
    }

    /// The interfaces that a link is pinned for.
    fn pinned_links(&self) -> Result<Vec<String>> {
        let mut names: Vec<_> = entries(&self.folder)?.iter().filter_map(|path| interface_of(path, LINK)).collect();
        names.sort();
        Ok(names)
    }

    fn link_path(&self, interface: &str) -> PathBuf {
        link_path(&self.folder, interface)
    }
}

fn array(map: &Map) -> Result<&MapData> {
    match map {
        Map::Array(data) => Ok(data),
        _ => bail!("a map is no array"),
    }
}
