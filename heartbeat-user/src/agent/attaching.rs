//! Channels at run time: interfaces that are others than before are attached to, absent ones are looked for, and what could
//! not be attached to as configured is tried again.

use super::{
    channels::attach,
    control::{Control, Job},
    shared::Command,
};
use crate::{
    dataplane::Kernel,
    events::ControlEvent,
    system::netlink::index_of,
    types::{ChannelIndex, XdpMode},
};

impl Control<'_> {
    /// Interfaces are attached to one after the other, as fast as their links come back.
    pub(super) fn go_on_attaching(&mut self) {
        while self.attach_pending != 0 && !self.parts.kernel.as_mut().is_some_and(Kernel::is_resting) {
            let channel = ChannelIndex(self.attach_pending.trailing_zeros() as u8);
            self.attach_pending &= !channel.bit();
            self.attach(channel);
        }
    }

    fn attach(&mut self, channel: ChannelIndex) {
        let config = &self.options.config;
        let Some(end) = config.channels.get(channel.usize()).and_then(|c| c.end(self.options.node)) else { return };
        let index = index_of(&end.interface).ok().flatten();
        if index.is_some_and(|index| self.parts.life.see(&end.interface, index)) {
            self.note_life();
        }
        match attach(self.parts.kernel.as_mut(), config.dataplane.xdp, channel, end, &self.journal) {
            Ok(mode) => {
                self.unattached &= !channel.bit();
                self.attached(channel, Some(mode));
            }
            Err(error) => {
                if self.unattached & channel.bit() == 0 {
                    let what = format!("channel \"{}\": {error:#}", config.channels[channel.usize()].name);
                    self.journal.control(&ControlEvent::HostProblem { what });
                }
                self.unattached |= channel.bit();
                self.attached(channel, None);
            }
        }
    }

    /// The interface of a channel has members that it did not have; or (`unseen`) heartbeats come by the socket, as if it had.
    pub(super) fn attach_quietly(&mut self, channel: ChannelIndex, unseen: bool) {
        let config = &self.options.config;
        let Some(end) = config.channels.get(channel.usize()).and_then(|c| c.end(self.options.node)) else { return };
        let Some(kernel) = self.parts.kernel.as_mut() else { return };
        let attached = match kernel.attach(channel, &end.interface, end.address, config.dataplane.xdp) {
            Ok(attached) => attached,
            Err(error) => {
                log::warn!("channel {}: {error:#}", config.channels[channel.usize()].name);
                return;
            }
        };
        if attached.anew && unseen {
            self.tell_detached(&end.interface);
        }
        let (mode, why) = if unseen && !attached.new_end && !attached.anew {
            (XdpMode::Socket, Some(format!("{}: heartbeats come past the XDP program to the socket", attached.mode)))
        } else {
            (attached.mode, attached.why)
        };
        let before = self.parts.facts.modes.lock().ok().and_then(|modes| modes[channel.usize()]);
        if before != Some(mode) {
            self.journal.control(&ControlEvent::ChannelAttached { channel, xdp_mode: mode, why });
        }
        self.attached(channel, Some(mode));
    }

    /// From an interface that is the same as before.
    pub(super) fn tell_detached(&self, interface: &str) {
        let what = format!("interface {interface}: somebody has detached its XDP program; it is attached again");
        self.journal.control(&ControlEvent::HostProblem { what });
    }

    /// None: in none of the modes that would do.
    fn attached(&self, channel: ChannelIndex, mode: Option<XdpMode>) {
        if let Ok(mut modes) = self.parts.facts.modes.lock() {
            modes[channel.usize()] = mode;
        }
        self.command(Command::Attached { channel, by_socket: mode == Some(XdpMode::Socket) });
    }

    /// An absent interface is looked for by its name, which may wait for the kernel.
    pub(super) fn seek(&mut self, channel: ChannelIndex) {
        let end = self.options.config.channels.get(channel.usize()).and_then(|c| c.end(self.options.node));
        let Some(end) = end.filter(|_| self.seeking.insert(channel.0)) else { return };
        let name = end.interface.clone();
        self.jobs.spawn(async move {
            let found = tokio::task::spawn_blocking(move || index_of(&name)).await;
            Job::Sought(channel, found.ok().and_then(Result::ok).flatten())
        });
    }
}
