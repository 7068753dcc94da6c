//! A turn of a controller's pulse thread, and what its other threads have done by then.

use super::{HOOK_TIMEOUT, Order, Sent, Side};
use heartbeat::{
    agent::turn,
    core::{Action, Core, Hook, Probed, Reason, SocketResult, is_quick},
    types::{ChannelIndex, GroupIndex, Link, Nanos},
};

/// Interfaces are looked at this often.
const LOOK_EVERY: Nanos = Nanos::from_millis(50);

/// Nothing follows from the time alone before the core's deadline: a time that a part of it did not tell would show here.
///
/// Seen with the next heartbeat only, an interval later at most, are these: that the peer is suspected, so that a look is due; that the
/// arbiter may be asked again; that strangers count no more, of whom a life that heard nothing else takes nothing; and that what the kernel
/// of a host without an agent confirmed counts no more, so that no such host may be there.
fn assert_nothing_follows_sooner(core: &Core, now: Nanos) {
    let heard = |channel| core.channel(ChannelIndex(channel)).is_some_and(|c| c.last_arrival.is_some());
    if !(0..64).any(heard) {
        return;
    }
    let mut core = core.clone();
    let turn = |core: &mut Core, at: Nanos| {
        core.handle_time(at);
        let with_the_next_heartbeat = |action: &Action| matches!(action, Action::Look(_) | Action::Arbitrate(..));
        std::iter::from_fn(|| core.poll_action()).filter(|action| !with_the_next_heartbeat(action)).last()
    };
    // What a turn decides last, the next one may begin with.
    while turn(&mut core, now).is_some() {}
    let due = core.deadline();
    for early in [now.0 + 1, now.0 + due.since(now).0 / 2, due.0 - 1].map(Nanos).into_iter().filter(|at| *at < due) {
        let mut core = core.clone();
        assert_eq!(turn(&mut core, early), None, "at {early}, after {now} and before {due}");
    }
}

impl Side {
    /// One turn of the pulse thread. What is sent is given to `send`; whether the agent ended.
    pub fn drive(&mut self, world: Nanos, mut send: impl FnMut(Sent)) -> bool {
        let now = self.clock(world);
        let Some(mut core) = self.core.take() else { return false };
        if world.since(self.wake) > Nanos(self.timing.interval.0 / 2) {
            (self.sane_since, self.steady_since) = (world, world);
        }
        let closed = turn::closed(&self.tables);
        for (i, drain) in self.drains.iter_mut().enumerate() {
            turn::drain(&mut core, &self.tables, drain, ChannelIndex(i as u8), now, |_, _| {});
        }
        self.take_orders(now, &mut core);
        self.end_hooks(now, &mut core);
        while let Some(i) = self.probes.iter().position(|(due, _)| *due <= now) {
            let (_, analysis) = self.probes.remove(i);
            core.handle_probed(now, analysis, self.probed());
        }
        while let Some(i) = self.looks.iter().position(|(due, _)| *due <= now) {
            let (_, number) = self.looks.remove(i);
            core.handle_looked(now, number, self.probed());
        }
        while let Some(i) = self.fences.iter().position(|(due, _)| *due <= now) {
            let (_, number) = self.fences.remove(i);
            self.fenced += u32::from(!self.fence_fails);
            core.handle_fenced(now, number, !self.fence_fails);
        }
        while let Some(i) = self.answers_of_arbiter.iter().position(|(due, ..)| *due <= now) {
            let (_, number, outcome) = self.answers_of_arbiter.remove(i);
            core.handle_arbitrated(now, number, outcome);
            if number % 5 == 0 {
                // It says so twice.
                core.handle_arbitrated(now, number, outcome);
            }
        }
        if now.since(self.looked_at) >= LOOK_EVERY || core.silence_is_due(now) {
            let since = std::mem::replace(&mut self.looked_at, now);
            for (channel, cable) in self.running.channels() {
                core.handle_link(now, channel, self.links[cable]);
                if self.carrier(cable) && self.others >> cable & 1 == 1 {
                    core.handle_third_party(since, channel);
                }
            }
        }
        core.handle_time(now);
        turn::leave_mark(&core, &self.tables, closed, now);
        if self.fed.is_some() && core.may_feed(now) {
            self.fed = Some(world);
        }
        let Some(exit) = self.perform(now, &mut core, &mut send) else {
            self.kill(world);
            return true;
        };
        assert_eq!(core.room(), self.room, "the queue of actions grew");
        assert!(core.deadline() > now, "it would spin");
        if self.looks_early && !exit && !self.host.guards {
            assert_nothing_follows_sooner(&core, now);
        }
        self.wake = self.host.world(core.deadline());
        self.core = Some(core);
        if exit {
            self.end(world);
        }
        exit
    }

    /// What a local analysis sees; a quick one asks nobody.
    fn probed(&self) -> Probed {
        let of = |which: fn(&Link) -> bool| {
            let links = self.links.iter().enumerate();
            links.filter(|(_, link)| which(link)).fold(0, |bits, (i, _)| bits | 1 << i)
        };
        let port = of(|link| matches!(link, Link::Absent | Link::Present { address: false, .. }));
        let cable = of(|link| matches!(link, Link::Present { carrier: false, .. }));
        let answered = self.answers & !(port | cable);
        let of = |cables| self.running.cables_of(cables);
        Probed { port: of(port), cable: of(cable), answered: of(answered), nobody: 0 }
    }

    /// What the takeover finished since the last time.
    fn take_orders(&mut self, now: Nanos, core: &mut Core) {
        while let Some(i) = self.orders.iter().position(|o| o.due <= now) {
            let Order { due, group, acquire } = self.orders.remove(i);
            let done = self.take_order(group, acquire);
            match (acquire, done) {
                (Some(_), None) => core.handle_isolated(due, group),
                (Some(_), Some(in_place)) => core.handle_acquired(due, group, in_place),
                (None, Some(false)) => core.handle_released(due, group),
                (None, _) => core.handle_release_failed(due, group),
            }
        }
    }

    /// Whether the addresses are in place then; none where it is found that nothing is to be done.
    pub(super) fn take_order(&mut self, group: GroupIndex, acquire: Option<Reason>) -> Option<bool> {
        let isolated = self.running.cables_of(self.carriers()) == 0;
        let in_place = match acquire {
            Some(Reason::PeerDead) if isolated => return None,
            None if self.release_fails => return None,
            Some(_) => !self.acquire_fails,
            None => false,
        };
        let bit = self.running.bit(group);
        self.addresses = self.addresses & !bit | if in_place { bit } else { 0 };
        Some(in_place)
    }

    fn end_hooks(&mut self, now: Nanos, core: &mut Core) {
        while let Some(i) = self.hooks_run.iter().position(|(due, ..)| *due <= now) {
            let (_, group, hook) = self.hooks_run.remove(i);
            let succeeded = !self.hook_fails[hook as usize] && !self.hook_hangs[hook as usize];
            if hook == Hook::OnRelease && succeeded {
                self.external &= !self.running.bit(group);
            }
            core.handle_hook_ended(now, group, hook, succeeded);
        }
    }

    /// The takeover thread does one thing after the other.
    fn order(&mut self, now: Nanos, group: GroupIndex, acquire: Option<Reason>) {
        let free = self.orders.last().map_or(now, |o| o.due.max(now));
        self.orders.push(Order { due: free.after(self.acquire_takes), group, acquire });
    }

    /// Does what the core wants done. Whether that was the end; none where it died over it.
    fn perform(&mut self, now: Nanos, core: &mut Core, send: &mut impl FnMut(Sent)) -> Option<bool> {
        let mut exit = false;
        while let Some(action) = core.poll_action() {
            match &mut self.dies_after {
                Some(0) => return None,
                Some(left) => *left -= 1,
                None => {}
            }
            match action {
                Action::OpenSocket(channel) => {
                    let cable = self.running.cable(channel);
                    assert!(!self.sockets[cable], "a second socket");
                    let absent = self.links[cable] == Link::Absent;
                    let errno = self.errno[cable].or(absent.then_some(19));
                    self.sockets[cable] = errno.is_none();
                    core.handle_socket(now, channel, errno.map_or(SocketResult::Opened, SocketResult::Failed));
                }
                Action::CloseSocket(channel) => self.sockets[self.running.cable(channel)] = false,
                Action::Send(channel) => {
                    let Some(message) = core.message(now, channel) else { continue };
                    let cable = self.running.cable(channel);
                    assert!(self.sockets[cable], "a message without a socket");
                    let errno = self.errno[cable];
                    if errno.is_none() {
                        send(Sent::Heartbeat(channel, message));
                    }
                    core.handle_socket(now, channel, errno.map_or(SocketResult::Sent, SocketResult::Failed));
                }
                Action::Attach(_) => {}
                Action::Echo(channel) => send(Sent::Echo(channel, core.echo_request(now, channel))),
                Action::Look(_) if self.control_hangs => {}
                Action::Look(number) => self.looks.push((now.after(self.look_takes), number)),
                Action::Fence(number) => {
                    assert!(self.fences.is_empty(), "two fencings at once");
                    self.fences.push((now.after(self.fence_takes), number));
                }
                Action::Arbitrate(number, what) => send(Sent::Question(number, what)),
                Action::FenceAbort(number) => self.fences.retain(|(_, running)| *running != number),
                Action::Probe(analysis) => {
                    let takes = if is_quick(analysis) { self.look_takes } else { self.judging.bound };
                    self.probes.push((now.after(takes), analysis));
                }
                Action::Acquire(group, reason) => {
                    self.order(now, group, Some(reason));
                }
                Action::Release(group, _) => {
                    self.order(now, group, None);
                }
                Action::Announce(group) => self.announced.push(self.running.groups[group.usize()]),
                Action::RunHook(group, hook, reason) => {
                    assert!(!self.hooks_run.iter().any(|(_, g, _)| *g == group), "two hooks of a group at once");
                    let bit = self.running.bit(group);
                    assert!(self.hooks.has[hook as usize] & bit != 0, "a hook that is not there");
                    if hook == Hook::OnAcquire {
                        self.external |= bit;
                    }
                    self.hooks_began.push((self.running.groups[group.usize()], hook, reason));
                    let takes = if self.hook_hangs[hook as usize] { HOOK_TIMEOUT } else { self.hook_takes };
                    self.hooks_run.push((now.after(takes), group, hook));
                }
                Action::Tell(at, event) => self.events.push((self.host.world(at), event)),
                Action::Exit => exit = true,
            }
        }
        Some(exit)
    }
}
