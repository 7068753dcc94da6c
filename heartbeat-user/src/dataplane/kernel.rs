//! The XDP program: loaded, attached, pinned; adopted from an agent that was here before.
//!
//! What is pinned outlives the agent on purpose: heartbeats that arrive while it restarts are stamped and counted by the
//! program, and the agent that comes back finds them. Only [`Kernel::remove`] takes everything away.
//!
//! ```text
//! pin_folder/v<VERSION of the records>/AGENT CHANNEL_OF GUARDED INTER_ARRIVAL KERNEL SLOTS     maps
//!                                     /link-<interface>                         one bpf_link an interface
//!                                     /program-<object>-<settings>              the program
//! ```
//! An agent that finds its own program there takes it as it is, with the maps that no pin names: keys, doorbell, log.

use super::{
    Order, Tables, XdpMode, XdpPreference, bpf_link,
    earlier::{self, held_by},
    guard::Guarded,
    interface,
    pins::{
        BPFFS, LINK, ROOT, all_adoptable, empty, entries, link_path, mount_bpffs, remove_other_versions, unescape,
        unpin,
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
    layout::{self, End},
    siphash::Key,
};
use nix::{
    errno::Errno,
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
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
    /// The interfaces whose indices the program may run with: its own, and its members', as native XDP on a bond does.
    pub interfaces: Vec<u32>,
    /// The channel has an end that it did not have before: another interface, address or member.
    pub new_end: bool,
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
    guarded: Guarded,
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
        let [agent, kernel, slots, inter_arrival, heard] =
            [&loaded.agent, &loaded.kernel, &loaded.slots, &loaded.inter_arrival, &loaded.heard].map(array);
        let tables = Tables::of_maps(agent?, kernel?, slots?, inter_arrival?, heard?)?;
        let mut kernel = Self {
            program: loaded.program,
            yardstick: None,
            folder,
            tables: Arc::new(tables),
            channel_of: HashMap::try_from(loaded.channel_of)?,
            guarded: Guarded::new(loaded.guarded)?,
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
    pub fn arrange(&mut self, order: Order, fresh: u64) -> Result<()> {
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
        self.guarded.set(addresses)
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
        let ifindex = match interface::index_of(interface) {
            Ok(Some(ifindex)) => ifindex,
            Ok(None) => {
                self.detach(channel);
                bail!("interface {interface}: there is none of this name");
            }
            Err(error) => {
                self.detach(channel);
                return Err(error).with_context(|| format!("interface {interface}"));
            }
        };
        self.leave(channel, (preference != XdpPreference::Socket).then_some((interface, ifindex)));
        let mut attached = match self.hold(interface, ifindex, preference) {
            Ok(attached) => attached,
            Err(error) => {
                self.detach(channel);
                return Err(error);
            }
        };
        let mut ends = Vec::new();
        if attached.mode != XdpMode::Socket
            && let Some(held) = self.interfaces.get_mut(interface)
        {
            held.channels |= channel.bit();
            let members = interface::members(ifindex).unwrap_or_else(|error| {
                log::warn!("interface {interface}: its members are not known: {error:#}");
                Vec::new()
            });
            attached.interfaces.extend(members);
            let of = |&interface| End { interface, zero: 0, address: words(address) };
            ends.extend(attached.interfaces.iter().map(of));
        }
        attached.new_end = self.set_ends(channel, &ends)?;
        self.tables.set_interfaces(channel, if ends.is_empty() { &[] } else { &attached.interfaces });
        Ok(attached)
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

    /// Stops reading `channel`; the program leaves an interface with its last channel.
    pub fn detach(&mut self, channel: ChannelIndex) {
        if let Err(error) = self.set_ends(channel, &[]) {
            log::warn!("channel {channel}: {error:#}");
        }
        self.tables.set_interfaces(channel, &[]);
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

    /// Runs the program once on `frame`, as if it had come in at the interface of this index.
    ///
    /// # Errors
    /// As with [`Kernel::test_run`]; ENODEV: there is no such interface.
    pub fn test_run_at(&mut self, ifindex: u32, frame: &[u8]) -> Result<u32> {
        // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat();
        let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::new() };
        Ok(self.program.test_run(options)?.return_value)
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
            return Ok(by_socket(ifindex, earlier::release(interface)?.unwrap_or_else(|| "as configured".into())));
        }
        if let Some(why) = interface::without_ethernet(ifindex)? {
            ensure!(preference == XdpPreference::Auto, "interface {interface}: {why}");
            return Ok(by_socket(ifindex, why));
        }
        if let Some(held) = self.interfaces.get(interface) {
            ensure!(
                preference.allows(held.mode),
                "interface {interface}: another channel has XDP attached there in {} mode already",
                held.mode
            );
            return Ok(Attached {
                mode: held.mode,
                ifindex,
                adopted: held.adopted,
                why: held.why.clone(),
                interfaces: vec![ifindex],
                new_end: false,
            });
        }
        let held = match self.adopt(interface, ifindex, preference) {
            Some((mode, link)) => Ok((mode, true, link)),
            None => self.attach_anew(interface, ifindex, preference).map(|(mode, link)| (mode, false, link)),
        };
        // Reasons come one a mode that was tried, for better ones also where a later one worked.
        let (mode, adopted, (link, why)) = match held {
            Ok((mode, adopted, held)) => (mode, adopted, held),
            Err(why) if preference == XdpPreference::Auto => {
                return Ok(by_socket(ifindex, why));
            }
            Err(why) => bail!("interface {interface}: {why}"),
        };
        let attached = Attached { mode, ifindex, adopted, why: why.clone(), interfaces: vec![ifindex], new_end: false };
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
        // Of an agent with another runtime directory: nobody reads what it counts.
        if let Err(error) = earlier::release_below(Path::new(ROOT), ifindex) {
            log::debug!("interface {interface}: {error:#}");
        }
        let path = self.link_path(interface);
        let had_carrier = interface::carrier(ifindex).unwrap_or(false);
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
                Ok(link) => {
                    if had_carrier && mode == XdpMode::Native {
                        self.rest.begin(ifindex, Instant::now());
                    }
                    return Ok((mode, (link, (!why.is_empty()).then(|| why.join("; ")))));
                }
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

    /// Makes `ends` the only places where `channel` ends. Whether any is new.
    fn set_ends(&mut self, channel: ChannelIndex, ends: &[End]) -> Result<bool> {
        let slot = u32::from(self.tables.number(channel));
        let mut new = false;
        for end in ends {
            new |= self.channel_of.get(&EndKey(*end), 0).ok() != Some(slot);
            self.channel_of.insert(EndKey(*end), slot, 0).context("setting a channel's end")?;
        }
        let stale: Vec<_> = self
            .channel_of
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, of)| *of == slot && !ends.contains(&key.0))
            .collect();
        for (key, _) in stale {
            self.channel_of.remove(&key).context("removing a channel's old end")?;
        }
        Ok(new)
    }

    /// The interfaces whose pinned links can be adopted. Links of interfaces that are gone or were renamed are removed, so
    /// that they do not stand in the way of what is to be attached there.
    fn adoptable_links(&self) -> Result<Vec<String>> {
        let mut names = self.pinned_links()?;
        names.retain(|name| {
            let path = self.link_path(name);
            let adoptable = interface::index_of(name).is_ok_and(|now| {
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

pub(super) fn words(address: IpAddr) -> Address {
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

fn by_socket(ifindex: u32, why: String) -> Attached {
    let interfaces = vec![ifindex];
    Attached { mode: XdpMode::Socket, ifindex, adopted: false, why: Some(why), interfaces, new_end: false }
}

/// The time after an attachment in which the link may be down because of it.
#[derive(Default)]
struct Rest(Option<(u32, Instant)>);

impl Rest {
    const LONGEST: Duration = Duration::from_secs(5);

    fn begin(&mut self, ifindex: u32, now: Instant) {
        self.0 = Some((ifindex, now));
    }

    fn goes_on(&mut self, now: Instant, carrier: impl FnOnce(u32) -> bool) -> bool {
        if let Some((ifindex, since)) = self.0
            && (now.saturating_duration_since(since) >= Self::LONGEST || carrier(ifindex))
        {
            self.0 = None;
        }
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_attachment_others_wait_until_the_carrier_is_back_or_five_seconds() {
        let (now, mut rest) = (Instant::now(), Rest::default());
        let after = |ms| now + Duration::from_millis(ms);
        assert!(!rest.goes_on(now, |_| false));
        rest.begin(7, now);
        assert!(rest.goes_on(after(1), |ifindex| ifindex != 7));
        assert!(!rest.goes_on(after(2), |_| true));
        assert!(!rest.goes_on(after(3), |_| false), "it is over");
        rest.begin(7, now);
        assert!(rest.goes_on(after(4_999), |_| false));
        assert!(!rest.goes_on(after(5_000), |_| false));
    }
}
