//! The channels at the start: whether their ports are ours, and how each is read. What is missing is said, and comes later.

use super::{opening::NoXdp, options::RunOptions, pulse::PulseChannel, runtime_dir::Claim};
use crate::{
    command::signals::{self, Signalled, Signals},
    config::{ChannelConfig, ChannelEnd, Config, Pair},
    dataplane::{
        Kernel, Tables, release,
        socket::{Ends, HeartbeatSocket},
    },
    events::{ControlEvent, Journal},
    system::{link::Links, netlink::index_of},
    types::{ChannelIndex, Link, Node, XdpMode, XdpPreference},
};
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// How often it is looked whether our ports are free.
const PORTS_AGAIN: Duration = Duration::from_secs(1);

/// Waits until nobody else speaks for this controller, or until it is told something else. Where another program has the port
/// on every channel that we could open, it is another agent, perhaps with another runtime directory: it hears all heartbeats and
/// holds what is to be held, so we do not even look at what is there.
pub(super) async fn until_ports_are_free(
    options: &RunOptions,
    journal: &Journal,
    signals: &mut Signals,
    claim: &mut Claim,
) -> Result<Option<Signalled>> {
    let RunOptions { config, node, .. } = options;
    let mut said = false;
    loop {
        let other = claim.speak_for(&config.pair, *node).err();
        let (free, taken) = ports(config, *node);
        if other.is_none() && (free != 0 || taken == 0) {
            // What is started now is not to take any.
            signals::hold();
            return Ok(None);
        }
        signals::take();
        if !std::mem::replace(&mut said, true) {
            if let Some(process) = other {
                tell_other(config, *node, process, journal);
            }
            for channel in config.channels.iter().filter(|channel| taken & channel.index.bit() != 0) {
                tell_taken(config, *node, channel, journal);
            }
        }
        tokio::select! {
            told = signals.next() => return Ok(Some(told)),
            () = tokio::time::sleep(PORTS_AGAIN) => {}
        }
    }
}

/// The channels whose port is ours to have, and those whose port another program has. Whatever else is wrong with one may
/// pass, and the generator tries again.
fn ports(config: &Config, node: Node) -> (u64, u64) {
    let (mut free, mut taken) = (0, 0);
    for channel in &config.channels {
        let Some((own, peer)) = channel.end(node).zip(channel.end(node.other())) else { continue };
        let Ok(Some(index)) = index_of(&own.interface) else { continue };
        match HeartbeatSocket::open(&ends(config, own, peer), index) {
            Ok(_) => free |= channel.index.bit(),
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => taken |= channel.index.bit(),
            Err(_) => {}
        }
    }
    (free, taken)
}

fn tell_other(config: &Config, node: Node, process: i32, journal: &Journal) {
    let Pair { id, port, .. } = config.pair;
    let what = format!(
        "another agent (process {process}) speaks for controller {node} of pair {id} at port {port} already, with another \
         --runtime-dir; stop it, or set another pair.id or pair.port on both controllers of one pair"
    );
    journal.control(&ControlEvent::HostProblem { what });
}

fn tell_taken(config: &Config, node: Node, channel: &ChannelConfig, journal: &Journal) {
    let (port, name) = (config.pair.port, &channel.name);
    let own = channel.end(node).map_or_else(String::new, |end| end.address.to_string());
    let what = format!(
        "channel \"{name}\": another program, perhaps another agent, has UDP port {port} of {own}: `ss -lunp 'sport = \
         :{port}'` names it; stop it, or set another pair.port on both controllers"
    );
    journal.control(&ControlEvent::HostProblem { what });
}

fn ends(config: &Config, own: &ChannelEnd, peer: &ChannelEnd) -> Ends {
    let (port, pair_id) = (config.pair.port, config.pair.id);
    Ends { interface: own.interface.clone(), own: own.address, peer: peer.address, port, pair_id }
}

/// The channels, as they are attached to.
#[derive(Default)]
pub(super) struct AttachedAll {
    pub(super) links: Vec<Link>,
    pub(super) channels: Vec<PulseChannel>,
    pub(super) modes: Vec<Option<XdpMode>>,
    /// Channels that could not be attached to as configured, a bit each: to be tried again.
    pub(super) unattached: u64,
    /// Channels that are to be attached to when those before them have a carrier again.
    pub(super) attach_pending: u64,
}

pub(super) fn attach_all(
    config: &Config,
    node: Node,
    mut kernel: Result<&mut Kernel, &NoXdp>,
    tables: &Tables,
    interfaces: &mut Links,
    journal: &Journal,
) -> Result<AttachedAll> {
    let mut all = AttachedAll::default();
    let (_, taken) = ports(config, node);
    for channel in &config.channels {
        if channel.end(node).is_none() {
            // It is open, or not, when the generator has tried.
            all.links.push(Link::Present { index: 0, carrier: true, address: true });
            let is_disk = channel.disk(node).is_some();
            let new = if is_disk { PulseChannel::disk } else { PulseChannel::line };
            all.channels.push(new(tables, channel.index));
            all.modes.push(None);
            continue;
        }
        let Some((own, peer)) = channel.end(node).zip(channel.end(node.other())) else { continue };
        let ends = ends(config, own, peer);
        let link = interfaces.look(channel.index, true).unwrap_or(Link::Absent);
        // What is not ours is not touched, until it is.
        let taken = taken & channel.index.bit() != 0;
        if taken {
            tell_taken(config, node, channel, journal);
        }
        let ours = link != Link::Absent && !taken;
        // One after the other, as fast as their links come back.
        let rests = kernel.as_mut().is_ok_and(|kernel| kernel.is_resting());
        let mode = match ours {
            false => None,
            true if rests => {
                all.attach_pending |= channel.index.bit();
                Some(XdpMode::Socket)
            }
            true => match attach(
                kernel.as_deref_mut().map_err(|none| &**none),
                config.dataplane.xdp,
                channel.index,
                own,
                journal,
            ) {
                Ok(mode) => Some(mode),
                Err(error) => {
                    all.unattached |= channel.index.bit();
                    tell_unattached(channel, &error, journal);
                    Some(XdpMode::Socket)
                }
            },
        };
        let by_socket = mode == Some(XdpMode::Socket);
        let pulse = PulseChannel::new(ends, by_socket, tables, channel.index);
        all.channels.push(if ours { pulse } else { pulse.unattached_yet() });
        all.links.push(link);
        all.modes.push(mode);
    }
    if let Ok(kernel) = kernel {
        kernel.settle()?;
    }
    Ok(all)
}

/// That a channel cannot be attached to as configured. It is not deaf: two that were would find each other dead.
pub(super) fn tell_unattached(channel: &ChannelConfig, error: &anyhow::Error, journal: &Journal) {
    let what =
        format!("channel \"{}\": {error:#}; until it can be had, a socket receives its heartbeats", channel.name);
    journal.control(&ControlEvent::HostProblem { what });
}

/// How the channel's heartbeats are received from now on.
pub(super) fn attach(
    kernel: Result<&mut Kernel, &NoXdp>,
    preference: XdpPreference,
    channel: ChannelIndex,
    end: &ChannelEnd,
    journal: &Journal,
) -> Result<XdpMode> {
    let (xdp_mode, why) = match kernel {
        Ok(kernel) => {
            let attached = kernel
                .attach(channel, &end.interface, end.address, preference)
                .with_context(|| format!("attaching to {}", end.interface))?;
            (attached.mode, attached.why)
        }
        Err(none) => {
            // Whatever an earlier life has left there would consume what the socket is to read.
            let why = release(&end.interface).with_context(|| format!("interface {}", end.interface))?;
            if !preference.allows(XdpMode::Socket) {
                let held = why.map_or_else(String::new, |why| format!(": {why}"));
                bail!("dataplane.xdp = \"{}\" is not to be had{held}", preference.name());
            }
            (XdpMode::Socket, why.or_else(|| none.why.clone()))
        }
    };
    journal.control(&ControlEvent::ChannelAttached { channel, xdp_mode, why });
    Ok(xdp_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::desk::tests::{in_namespace, journal, options},
        types::Severity,
    };

    #[test]
    fn a_channel_that_cannot_be_attached_to_as_configured_is_told_and_is_to_be_tried_again() {
        for (xdp, as_configured) in [("native", false), ("auto", true)] {
            in_namespace(move || {
                let options = options(xdp);
                let (config, node, journal) = (&options.config, options.node, journal(&options));
                let ends = config.channels.iter().filter_map(|c| c.end(node).map(|end| (c.index, end)));
                let ends = ends.map(|(channel, end)| (channel, end.interface.as_str(), end.address));
                let mut interfaces = Links::open(ends).unwrap();
                let tables = Tables::anonymous().unwrap();
                let none = NoXdp { why: Some("no XDP is to be had on this host: EPERM".to_owned()) };
                let all = attach_all(config, node, Err(&none), &tables, &mut interfaces, &journal).unwrap();
                let there: Vec<_> = all.links.iter().map(|link| *link != Link::Absent).collect();
                assert_eq!(there, [true, false, false]);
                assert_eq!((all.channels.len(), all.modes), (3, vec![Some(XdpMode::Socket), None, None]));
                let unattached = if as_configured { 0 } else { config.channels[0].index.bit() };
                assert_eq!((all.unattached, all.attach_pending), (unattached, 0), "{xdp}");
                let (told, _) = journal.feed.since(None, Severity::Info, 10);
                let warnings = told.iter().filter(|entry| entry.record.severity >= Severity::Warning).count();
                let told: Vec<_> = told.iter().map(|entry| entry.record.text.as_str()).collect();
                if as_configured {
                    let why = "net1: heartbeats come by socket: no XDP is to be had on this host: EPERM";
                    assert_eq!((&told[..], warnings), (&[why][..], 0));
                    return;
                }
                let why =
                    "channel \"net1\": dataplane.xdp = \"native\" is not to be had; until it can be had, a socket";
                assert!(told[0].starts_with(why), "{told:?}");
            });
        }
    }
}
