//! How a channel comes to its interface: in the best mode that is to be had, by a link that was pinned or a new one.

use super::{EndKey, Interface, Kernel};
use crate::{
    dataplane::{
        bpf_link,
        earlier::{self, held_by},
        interface,
        pins::{ROOT, link_path, unpin},
    },
    system::netlink,
    types::{ChannelIndex, XdpMode, XdpPreference},
};
use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpMode as AyaMode},
};
use heartbeat_ebpf::layout::{self, End};
use nix::errno::Errno;
use std::{io, net::IpAddr, path::Path, time::Instant};

/// How a channel is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// In this mode.
    pub mode: XdpMode,
    /// The interface's index now: it changes when an interface is removed and made again.
    pub ifindex: u32,
    /// The program stayed attached from the agent before; it was exchanged without a gap.
    pub adopted: bool,
    /// It was attached just now, where it was not.
    pub anew: bool,
    /// Why it is not a better mode.
    pub why: Option<String>,
    /// The interfaces whose indices the program may run with: its own, and its members', as native XDP on a bond does.
    pub interfaces: Vec<u32>,
    /// The channel has an end that it did not have before: another interface, address or member.
    pub new_end: bool,
}

impl Kernel {
    /// Reads `channel`, which ends at `address` of `interface`. May be called again at any time, as after the interface was
    /// made anew; what already is as it should be is not touched.
    ///
    /// # Errors
    /// Where there is no such interface, or the mode asked for is not to be had; then the channel is left to its socket.
    pub fn attach(
        &mut self,
        channel: ChannelIndex,
        interface: &str,
        address: IpAddr,
        preference: XdpPreference,
    ) -> Result<Attached> {
        ensure!(u32::from(channel.0) < layout::CHANNELS, "channel {channel}: the highest is {}", layout::CHANNELS - 1);
        let ifindex = match netlink::index_of(interface) {
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
            let of = |&interface| End { interface, zero: 0, address: address.into() };
            ends.extend(attached.interfaces.iter().map(of));
        }
        attached.new_end = match self.set_ends(channel, &ends) {
            Ok(new) => new,
            Err(error) => {
                self.detach(channel);
                return Err(error);
            }
        };
        self.tables.set_interfaces(channel, if ends.is_empty() { &[] } else { &attached.interfaces });
        Ok(attached)
    }

    /// Stops reading `channel`; the program leaves an interface with its last channel.
    pub fn detach(&mut self, channel: ChannelIndex) {
        if let Err(error) = self.set_ends(channel, &[]) {
            log::warn!("channel {channel}: {error:#}");
        }
        self.tables.set_interfaces(channel, &[]);
        self.leave(channel, None);
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
                anew: false,
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
        let interfaces = vec![ifindex];
        let attached =
            Attached { mode, ifindex, adopted, anew: !adopted, why: why.clone(), interfaces, new_end: false };
        self.interfaces.insert(interface.into(), Interface { ifindex, mode, why, adopted, channels: 0, link });
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
    pub(super) fn set_ends(&mut self, channel: ChannelIndex, ends: &[End]) -> Result<bool> {
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
    Attached { mode: XdpMode::Socket, ifindex, adopted: false, anew: false, why: Some(why), interfaces, new_end: false }
}
