//! Channels at run time: interfaces that are others than before are attached to, absent ones are looked for, and what could
//! not be attached to as configured is tried again.

use super::{
    channels::{attach, tell_unattached},
    desk::Desk,
    messages::{Command, Job},
    opening::NoXdp,
    tenancy::Tenancy,
};
use crate::{
    config::ChannelEnd,
    dataplane::Kernel,
    events::{ControlEvent, Journal},
    system::netlink::index_of,
    types::{ChannelIndex, XdpMode},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// How often it is tried to attach to what could not be attached to as configured.
const AGAIN: Duration = Duration::from_secs(5);

/// The kernel's part, and what is to become of channels.
pub(super) struct Attaching {
    pub(super) kernel: Result<Kernel, NoXdp>,
    /// Channels that could not be attached to as configured, a bit each.
    unattached: u64,
    /// When those were tried again.
    tried: Instant,
    /// Channels whose interfaces are to be attached to, a bit each.
    pending: u64,
    /// Channels whose interfaces are being looked for.
    seeking: HashSet<u8>,
}

impl Attaching {
    /// As the start left it; bits as in [`channels::AttachedAll`](super::channels::AttachedAll).
    pub(super) fn new(kernel: Result<Kernel, NoXdp>, unattached: u64, pending: u64) -> Self {
        Self { kernel, unattached, tried: Instant::now(), pending, seeking: HashSet::new() }
    }

    /// Whether interfaces wait to be attached to.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending != 0
    }

    /// The interfaces of these channels are to be attached to, a bit each.
    pub(super) const fn want(&mut self, channels: u64) {
        self.pending |= channels;
    }

    /// The same for those that could not be attached to, now and then.
    pub(super) fn want_again(&mut self) {
        if self.unattached != 0 && self.tried.elapsed() >= AGAIN {
            self.tried = Instant::now();
            self.pending |= self.unattached;
        }
    }

    /// Interfaces are attached to one after the other, as fast as their links come back.
    pub(super) fn go_on(&mut self, desk: &Desk<'_>, tenancy: &mut Tenancy<'_>) {
        while self.pending != 0 && !self.kernel.as_mut().is_ok_and(|kernel| kernel.is_resting()) {
            let channel = ChannelIndex(self.pending.trailing_zeros() as u8);
            self.pending &= !channel.bit();
            self.attach(desk, tenancy, channel);
        }
    }

    fn attach(&mut self, desk: &Desk<'_>, tenancy: &mut Tenancy<'_>, channel: ChannelIndex) {
        let Some(end) = end_of(desk, channel) else { return };
        if let Some(index) = index_of(&end.interface).ok().flatten() {
            tenancy.see(&end.interface, index);
        }
        let config = &desk.options.config;
        match attach(self.kernel.as_mut().map_err(|none| &*none), config.dataplane.xdp, channel, end, &desk.journal) {
            Ok(mode) => {
                self.unattached &= !channel.bit();
                attached(desk, channel, mode);
            }
            Err(error) => self.fail(desk, channel, &error),
        }
    }

    /// Told once; it is tried again.
    fn fail(&mut self, desk: &Desk<'_>, channel: ChannelIndex, error: &anyhow::Error) {
        if self.unattached & channel.bit() == 0 {
            tell_unattached(&desk.options.config.channels[channel.usize()], error, &desk.journal);
        }
        self.unattached |= channel.bit();
        attached(desk, channel, XdpMode::Socket);
    }

    /// The interface of a channel has members that it did not have; or (`unseen`) heartbeats come by the socket, as if it had.
    pub(super) fn attach_quietly(&mut self, desk: &Desk<'_>, channel: ChannelIndex, unseen: bool) {
        let Some(end) = end_of(desk, channel) else { return };
        let Ok(kernel) = self.kernel.as_mut() else { return };
        let config = &desk.options.config;
        let new = match kernel.attach(channel, &end.interface, end.address, config.dataplane.xdp) {
            Ok(new) => new,
            Err(error) => return self.fail(desk, channel, &error),
        };
        self.unattached &= !channel.bit();
        if new.anew && unseen {
            tell_detached(&desk.journal, &end.interface);
        }
        let (mode, why) = if unseen && !new.new_end && !new.anew {
            (XdpMode::Socket, Some(format!("{}: heartbeats come past the XDP program to the socket", new.mode)))
        } else {
            (new.mode, new.why)
        };
        let before = desk.facts.modes.lock().ok().and_then(|modes| modes[channel.usize()]);
        attached(desk, channel, mode);
        if before != Some(mode) {
            desk.journal.control(&ControlEvent::ChannelAttached { channel, xdp_mode: mode, why });
        }
    }

    /// An absent interface is looked for by its name, which may wait for the kernel.
    pub(super) fn seek(&mut self, desk: &mut Desk<'_>, channel: ChannelIndex) {
        let Some(end) = end_of(desk, channel).filter(|_| self.seeking.insert(channel.0)) else { return };
        let name = end.interface.clone();
        desk.jobs.spawn(async move {
            let found = tokio::task::spawn_blocking(move || index_of(&name)).await;
            Job::Sought(channel, found.ok().and_then(Result::ok).flatten())
        });
    }

    /// What that found.
    pub(super) fn sought(&mut self, desk: &Desk<'_>, channel: ChannelIndex, index: Option<u32>) {
        self.seeking.remove(&channel.0);
        if let Some(index) = index {
            desk.command(Command::Found { channel, index });
        }
    }
}

fn end_of<'a>(desk: &Desk<'a>, channel: ChannelIndex) -> Option<&'a ChannelEnd> {
    desk.options.config.channels.get(channel.usize())?.end(desk.options.node)
}

/// From an interface that is the same as before.
pub(super) fn tell_detached(journal: &Journal, interface: &str) {
    let what = format!("interface {interface}: somebody has detached its XDP program; it is attached again");
    journal.control(&ControlEvent::HostProblem { what });
}

fn attached(desk: &Desk<'_>, channel: ChannelIndex, mode: XdpMode) {
    if let Ok(mut modes) = desk.facts.modes.lock() {
        modes[channel.usize()] = Some(mode);
    }
    desk.command(Command::Attached { channel, by_socket: mode == XdpMode::Socket });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{
            desk::tests::{desk, in_namespace, options},
            life::Life,
            runs::Runs,
            runtime_dir::RuntimeDir,
        },
        types::{Node, Severity},
    };

    const NET1: ChannelIndex = ChannelIndex(0);

    /// Five seconds later.
    fn wanted_again(attaching: &mut Attaching) -> bool {
        attaching.tried = attaching.tried.checked_sub(AGAIN).unwrap();
        attaching.want_again();
        attaching.is_pending()
    }

    #[test]
    fn what_could_not_be_attached_to_at_the_start_is_tried_again_until_that_succeeds() {
        in_namespace(|| {
            // There is no XDP on this host; the same, as if there were the mode that is wanted.
            let (impossible, possible) = (options("native"), options("auto"));
            let folder = tempfile::tempdir().unwrap();
            let checked = RuntimeDir::open(folder.path()).unwrap();
            let mut claim = checked.claim().unwrap();
            let life = Life::new(&impossible.config, Node::A, 1, &[0, 1, 2], &[], |_| 0).unwrap();
            let runs = Runs::read(&checked, 1);
            let mut tenancy = Tenancy::new(checked, &mut claim, life, runs);

            let mut attaching = Attaching::new(Err(NoXdp::default()), NET1.bit(), 0);
            attaching.want_again();
            assert!(!attaching.is_pending(), "it was tried just now");
            for options in [&impossible, &possible] {
                assert!(wanted_again(&mut attaching));
                let (desk, given) = desk(options);
                attaching.go_on(&desk, &mut tenancy);
                assert_eq!(desk.facts.modes.lock().unwrap()[0], Some(XdpMode::Socket), "it is not deaf meanwhile");
                let told = given.try_iter().collect::<Vec<_>>();
                assert!(matches!(told[..], [Command::Attached { channel: NET1, by_socket: true }]), "{told:?}");
                let (said, _) = desk.journal.feed.since(None, Severity::Warning, 10);
                assert!(said.is_empty(), "the start has said why");
                attaching.want_again();
                assert!(!attaching.is_pending(), "not at once again");
            }
            assert!(!wanted_again(&mut attaching), "it is as configured");
        });
    }
}
