//! The XDP program: loaded, attached, pinned; adopted from an agent that was here before.
//!
//! What is pinned outlives the agent on purpose: heartbeats that arrive while it restarts are stamped and counted by the
//! program, and the agent that comes back finds them. Only [`Kernel::remove`] takes everything away.
//!
//! ```text
//! pin_folder/v<VERSION of the records>/AGENT CHANNEL_OF INTER_ARRIVAL SLOTS     maps
//!                                     /link-<interface>                         one bpf_link an interface
//!                                     /program-<object>-<settings>              the program
//! ```
//! An agent that finds its own program there takes it as it is, with the maps that no pin names: keys, doorbell, log.

use super::{
    Tables, XdpMode, XdpPreference, bpf_link,
    interface::{self, Holder},
    pins::{
        BPFFS, LINK, all_adoptable, empty, entries, link_path, mount_bpffs, remove_other_versions, unescape, unpin,
    },
    program::{self, Loaded, Logger},
};
use crate::core::{ChannelIndex, Node};
use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::{
        Xdp,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpMode as AyaMode},
    },
};
use heartbeat_ebpf::{
    frame::Address,
    layout::{self, End, Record},
    siphash::Key,
};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// What the program is loaded with.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The UDP port of heartbeats.
    pub port: u16,
    /// The pair.
    pub pair_id: u32,
    /// Which of the two we are.
    pub node: Node,
    /// The keys by their `key_id`; at least one in an agent that is to hear anything.
    pub keys: [Option<Key>; 2],
}

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

/// How a channel is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// In this mode.
    pub mode: XdpMode,
    /// The interface's index now: it changes when an interface is removed and made again.
    pub ifindex: u32,
    /// The program stayed attached from the agent before; it was exchanged without a gap.
    pub adopted: bool,
    /// Why it is not a better mode.
    pub why: Option<String>,
}

/// A program of the object, for [`Kernel::test_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The program that counts heartbeats.
    Heartbeat,
    /// One that passes everything: what a run costs without us.
    Empty,
}

/// The XDP program and its maps in this kernel.
pub struct Kernel {
    program: Xdp,
    /// Loaded when it is asked for.
    yardstick: Option<Ebpf>,
    folder: PathBuf,
    tables: Arc<Tables>,
    channel_of: HashMap<MapData, EndKey, u32>,
    keys: Array<MapData, KeyValue>,
    doorbell: Option<RingBuf<MapData>>,
    logger: Option<Logger>,
    interfaces: BTreeMap<String, Interface>,
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
    _link: FdLink,
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
    pub fn open(settings: &Settings, pin_folder: &Path) -> Result<(Self, Adopted)> {
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
        let tables = Tables::of_maps(array(&loaded.agent)?, array(&loaded.slots)?, array(&loaded.inter_arrival)?)?;
        let mut kernel = Self {
            program: loaded.program,
            yardstick: None,
            folder,
            tables: Arc::new(tables),
            channel_of: HashMap::try_from(loaded.channel_of)?,
            keys: Array::try_from(loaded.keys)?,
            doorbell: Some(RingBuf::try_from(loaded.doorbell)?),
            logger: Some(loaded.logger),
            interfaces: BTreeMap::new(),
        };
        kernel.set_keys(settings.keys)?;
        adopted.interfaces = kernel.adoptable_links()?;
        adopted.repaired = kernel.repair();
        Ok((kernel, adopted))
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

    /// Reads `channel`, which ends at `address` of `interface`. May be called again at any time, as after the interface was
    /// made anew; what already is as it should be is not touched.
    ///
    /// # Errors
    /// Where there is no such interface, or the mode asked for is not to be had; then the channel is not read at all.
    pub fn attach(
        &mut self,
        channel: ChannelIndex,
        interface: &str,
        address: IpAddr,
        preference: XdpPreference,
    ) -> Result<Attached> {
        ensure!(u32::from(channel.0) < layout::CHANNELS, "channel {channel}: the highest is {}", layout::CHANNELS - 1);
        let ifindex = match if_nametoindex(interface) {
            Ok(ifindex) => ifindex,
            Err(error) => {
                self.detach(channel);
                return Err(error).with_context(|| format!("interface {interface}"));
            }
        };
        self.leave(channel, (preference != XdpPreference::Socket).then_some((interface, ifindex)));
        let attached = match self.hold(interface, ifindex, preference) {
            Ok(attached) => attached,
            Err(error) => {
                self.detach(channel);
                return Err(error);
            }
        };
        let end =
            (attached.mode != XdpMode::Socket).then(|| End { interface: ifindex, zero: 0, address: words(address) });
        if let (Some(_), Some(held)) = (end, self.interfaces.get_mut(interface)) {
            held.channels |= channel.bit();
        }
        self.set_end(channel, end)?;
        Ok(attached)
    }

    /// Stops reading `channel`; the program leaves an interface with its last channel.
    pub fn detach(&mut self, channel: ChannelIndex) {
        if let Err(error) = self.set_end(channel, None) {
            log::warn!("channel {channel}: {error:#}");
        }
        self.leave(channel, None);
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
        let used = self.interfaces.values().fold(0, |used, interface| used | interface.channels);
        let stale: Vec<_> = self
            .channel_of
            .iter()
            .filter_map(|entry| entry.ok().filter(|(_, channel)| used >> channel & 1 == 0))
            .collect();
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

    /// Takes everything away: programs from interfaces, pins, the folder.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.interfaces.clear();
        empty(&self.folder)?;
        fs::remove_dir(&self.folder).with_context(|| format!("removing {}", self.folder.display()))?;
        // Not ours alone, perhaps: it goes when it is empty.
        if let Some(folder) = self.folder.parent() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Runs a program `repeat` times on `frame`, as if it had come in at the loopback interface (index 1): its verdict,
    /// and the mean time of a run. For tests and benchmarks; slots and histograms count as with a real frame.
    ///
    /// # Errors
    /// Where the kernel refuses; it takes frames of 14 bytes to 3 KiB or so.
    pub fn test_run(&mut self, yardstick: Yardstick, frame: &[u8], repeat: u32) -> Result<(u32, Duration)> {
        let program = match yardstick {
            Yardstick::Heartbeat => &mut self.program,
            Yardstick::Empty => {
                let ebpf = match self.yardstick.take() {
                    Some(loaded) => loaded,
                    None => program::empty(&self.folder)?,
                };
                program::xdp(self.yardstick.insert(ebpf), layout::program::EMPTY)?
            }
        };
        let result = program.test_run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() })?;
        Ok((result.return_value, result.duration))
    }

    /// Runs the program once on `frame`, as [`Kernel::test_run`] does: its verdict, and the frame as it left it.
    ///
    /// # Errors
    /// As with [`Kernel::test_run`].
    pub fn test_turn(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = self.program.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Makes the program run on `interface` in a mode that `preference` allows: the one it has, one that was pinned, or a
    /// new one. `Socket` is no attachment and always to be had.
    fn hold(&mut self, interface: &str, ifindex: u32, preference: XdpPreference) -> Result<Attached> {
        if preference == XdpPreference::Socket {
            return Ok(Attached { mode: XdpMode::Socket, ifindex, adopted: false, why: Some("as configured".into()) });
        }
        if let Some(held) = self.interfaces.get(interface) {
            ensure!(
                preference.allows(held.mode),
                "interface {interface}: another channel has XDP attached there in {} mode already",
                held.mode
            );
            return Ok(Attached { mode: held.mode, ifindex, adopted: held.adopted, why: held.why.clone() });
        }
        let held = match self.adopt(interface, ifindex, preference) {
            Some((mode, link)) => Ok((mode, true, link)),
            None => self.attach_anew(interface, ifindex, preference).map(|(mode, link)| (mode, false, link)),
        };
        // Reasons come one a mode that was tried, for better ones also where a later one worked.
        let (mode, adopted, (link, why)) = match held {
            Ok((mode, adopted, held)) => (mode, adopted, held),
            Err(why) if preference == XdpPreference::Auto => {
                return Ok(Attached { mode: XdpMode::Socket, ifindex, adopted: false, why: Some(why) });
            }
            Err(why) => bail!("interface {interface}: {why}"),
        };
        let attached = Attached { mode, ifindex, adopted, why: why.clone() };
        self.interfaces.insert(interface.into(), Interface { ifindex, mode, why, adopted, channels: 0, _link: link });
        Ok(attached)
    }

    /// Takes over the link that an agent before has pinned, and puts this program in. None where there is none that would
    /// do; what would not do is taken away.
    fn adopt(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: XdpPreference,
    ) -> Option<(XdpMode, (FdLink, Option<String>))> {
        let path = self.link_path(interface);
        if !path.exists() {
            return None;
        }
        let mut adopt = || -> Result<(XdpMode, FdLink)> {
            let joined = bpf_link::joined(&path)?;
            ensure!(
                joined.ifindex == ifindex,
                "it was on the interface of index {}, {interface} now has {ifindex}",
                joined.ifindex
            );
            let holder = interface::holder(ifindex)?.context("it has no program")?;
            ensure!(preference.allows(holder.mode), "it is in {} mode", holder.mode);
            let link = FdLink::from(PinnedLink::from_pin(&path)?);
            if joined.program == self.program.info()?.id() {
                // Even an exchange for itself would wait for the kernel's networking lock.
                return Ok((holder.mode, link));
            }
            let link = XdpLink::try_from(link)?;
            let program = &mut self.program;
            let id = program.attach_to_link(link)?;
            Ok((holder.mode, program.take_link(id)?.try_into()?))
        };
        match adopt() {
            Ok((mode, link)) => {
                let why = (mode == XdpMode::Generic && preference == XdpPreference::Auto)
                    .then(|| "generic: adopted from the agent before".into());
                Some((mode, (link, why)))
            }
            Err(error) => {
                log::debug!("interface {interface}: the pinned link is of no use: {error:#}");
                unpin(&path);
                None
            }
        }
    }

    /// Attaches the program, in the best mode allowed. The error says why each mode was refused.
    fn attach_anew(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: XdpPreference,
    ) -> Result<(XdpMode, (FdLink, Option<String>)), String> {
        let path = self.link_path(interface);
        let mut why = Vec::new();
        for (mode, aya_mode) in [(XdpMode::Native, AyaMode::Driver), (XdpMode::Generic, AyaMode::Skb)] {
            if !preference.allows(mode) {
                continue;
            }
            let mut attach = || -> Result<FdLink> {
                let program = &mut self.program;
                let id = program.attach_to_if_index(ifindex, aya_mode)?;
                let link: FdLink = program.take_link(id)?.try_into()?;
                Ok(link.pin(&path).context("pinning the link")?.into())
            };
            match attach() {
                Ok(link) => return Ok((mode, (link, (!why.is_empty()).then(|| why.join("; "))))),
                Err(error) => why.push(format!("{mode}: {}", refusal(&error, interface, ifindex))),
            }
        }
        Err(why.join("; "))
    }

    /// Takes `channel` off all interfaces but `except`, which is kept if it still is the same.
    fn leave(&mut self, channel: ChannelIndex, except: Option<(&str, u32)>) {
        let folder = &self.folder;
        self.interfaces.retain(|name, interface| {
            let keep = match except {
                // One made anew may have the index of the one before, but the link went with that.
                Some((kept, ifindex)) if kept == name => {
                    let linked_to = bpf_link::joined(&link_path(folder, name)).map(|joined| joined.ifindex);
                    interface.ifindex == ifindex && linked_to.is_ok_and(|of| of == ifindex)
                }
                _ => {
                    interface.channels &= !channel.bit();
                    interface.channels != 0
                }
            };
            if !keep {
                unpin(&link_path(folder, name));
            }
            keep
        });
    }

    /// Makes `end` the only place where `channel` ends.
    fn set_end(&mut self, channel: ChannelIndex, end: Option<End>) -> Result<()> {
        if let Some(end) = end {
            self.channel_of.insert(EndKey(end), u32::from(channel.0), 0).context("setting a channel's end")?;
        }
        let stale: Vec<_> = self
            .channel_of
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, of)| *of == u32::from(channel.0) && Some(key.0) != end)
            .collect();
        for (key, _) in stale {
            self.channel_of.remove(&key).context("removing a channel's old end")?;
        }
        Ok(())
    }

    /// Records that a writer has left odd. A program that is at work finishes within microseconds: only what is still the
    /// same after a pause was left by an agent that died while it wrote (as the reader of a socket).
    fn repair(&self) -> Vec<ChannelIndex> {
        const PAUSE: Duration = Duration::from_millis(20);
        let records = || {
            let slots = (0..).map(ChannelIndex).zip(self.tables.slots());
            slots.flat_map(|(channel, slot)| [&slot.live, &slot.handshake, &slot.echo].map(|record| (channel, record)))
        };
        let versions = || records().map(|(_, record)| record.version());
        let before: Vec<_> = versions().collect();
        if before.iter().all(|version| version & 1 == 0) {
            return Vec::new();
        }
        thread::sleep(PAUSE);
        let left_odd =
            |((_, record), before): &((ChannelIndex, &Record), u64)| *before & 1 == 1 && record.version() == *before;
        let repair = |((channel, record), _): ((ChannelIndex, &Record), u64)| {
            record.repair();
            channel
        };
        records().zip(before).filter(left_odd).map(repair).collect()
    }

    /// The interfaces whose pinned links can be adopted. Links of interfaces that are gone or were renamed are removed, so
    /// that they do not stand in the way of what is to be attached there.
    fn adoptable_links(&self) -> Result<Vec<String>> {
        let mut names = self.pinned_links()?;
        names.retain(|name| {
            let path = self.link_path(name);
            let adoptable = if_nametoindex(name.as_str())
                .is_ok_and(|now| bpf_link::joined(&path).is_ok_and(|joined| joined.ifindex == now));
            if !adoptable {
                unpin(&path);
            }
            adoptable
        });
        Ok(names)
    }

    /// The interfaces that a link is pinned for.
    fn pinned_links(&self) -> Result<Vec<String>> {
        let mut names: Vec<_> = entries(&self.folder)?
            .iter()
            .filter_map(|path| path.file_name()?.to_str()?.strip_prefix(LINK).map(unescape))
            .collect();
        names.sort();
        Ok(names)
    }

    fn link_path(&self, interface: &str) -> PathBuf {
        link_path(&self.folder, interface)
    }
}

fn words(address: IpAddr) -> Address {
    Address::new(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}

fn array(map: &Map) -> Result<&MapData> {
    match map {
        Map::Array(data) => Ok(data),
        _ => bail!("a map is no array"),
    }
}

/// Why a mode was refused, in a few words: the error's name, and whose program is in the way.
fn refusal(error: &anyhow::Error, interface: &str, ifindex: u32) -> String {
    let errno = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map(Errno::from_raw);
    match errno {
        Some(Errno::EBUSY | Errno::EEXIST) => match interface::holder(ifindex) {
            Ok(Some(holder)) => held_by(interface, &holder),
            _ => format!("{interface} holds another XDP program"),
        },
        Some(Errno::EOPNOTSUPP) => "EOPNOTSUPP (the driver has no XDP, or not with these settings)".into(),
        Some(errno) => format!("{errno:?} ({})", errno.desc()),
        None => format!("{error:#}"),
    }
}

fn held_by(interface: &str, holder: &Holder) -> String {
    format!("{interface} holds another XDP program, {holder}")
}
