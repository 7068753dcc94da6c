//! The pulse thread, turn by turn: it drains, judges, and carries out what the core wants done. Nothing on its path allocates,
//! waits for a lock or writes a log; whatever takes longer than a heartbeat is handed to the takeover thread or to the control
//! side, and never waited for.

mod transport;

pub use transport::Transport;

use super::{
    messages::{Command, Report},
    turn,
    watchdog::Feeder,
};
use crate::{
    api::Shared,
    core::{Action, Arbitrated, Core, Reason},
    dataplane::{
        Serial, Tables,
        drain::Drain,
        guard,
        socket::{Ends, HeartbeatSocket},
    },
    events::{Kind, Role},
    latency::ChannelLatencies,
    system::{bell::Bell, clock},
    takeover::{ANSWER_WAIT, Answering, Order},
    types::{ChannelIndex, Nanos},
};
use aya::maps::{MapData, RingBuf};
use crossbeam_channel::{Receiver, Sender};
use heartbeat_ebpf::{
    siphash::Key,
    verify::Expected,
    wire::{HELD_LONG, Message},
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// What the thread needs of one channel.
#[derive(Debug)]
pub struct PulseChannel {
    /// Its ends.
    port: Port,
    /// Whether heartbeats are to come by the socket, not by XDP.
    by_socket: bool,
    /// Since when they are to come by XDP: those that come by the socket after that prove that it does not see them.
    xdp_since: Nanos,
    opened: Option<Opened>,
    /// Nobody has attached to its interface yet: only once its port is ours.
    unattached: bool,
    drain: Drain,
    /// That of the last heartbeat.
    delay: Option<Delay>,
}

impl PulseChannel {
    /// A channel that is to be opened.
    pub fn new(ends: Ends, by_socket: bool, tables: &Tables, channel: ChannelIndex) -> Self {
        Self::of(Port::Interface(ends), by_socket, tables, channel)
    }

    /// The same; its interface is attached to once a socket is open there: then it is ours.
    #[must_use]
    pub const fn unattached_yet(mut self) -> Self {
        self.unattached = true;
        self
    }

    /// The same over a serial line.
    pub fn line(tables: &Tables, channel: ChannelIndex) -> Self {
        Self::of(Port::Line, true, tables, channel)
    }

    /// The same over a disk.
    pub fn disk(tables: &Tables, channel: ChannelIndex) -> Self {
        Self::of(Port::Disk, true, tables, channel)
    }

    fn of(port: Port, by_socket: bool, tables: &Tables, channel: ChannelIndex) -> Self {
        let drain = Drain::new(tables.slot(channel));
        Self { port, by_socket, xdp_since: clock::monotonic(), opened: None, unattached: false, drain, delay: None }
    }
}

/// How long a heartbeat took, on two clocks: only the difference between two of them means anything.
#[derive(Clone, Copy, Debug)]
struct Delay {
    /// The life of the peer that sent it.
    incarnation: u64,
    /// Its arrival on our clock less its departure on the peer's.
    ns: u64,
}

/// Where a channel ends.
#[derive(Clone, Debug)]
enum Port {
    Interface(Ends),
    /// Opened beside this thread.
    Line,
    /// Opened, written and read beside this thread.
    Disk,
}

/// What its generator opened there (FIG. 5, step 510).
#[derive(Debug)]
enum Opened {
    Socket(HeartbeatSocket),
    Line(Box<Serial>),
    Disk,
}

/// What others are to know, find out or do once whoever asks finds how it stands.
#[derive(Debug)]
pub enum Due {
    /// The takeover thread.
    Order(Order),
    /// The control side.
    Report(Report),
}

/// The pulse thread's world.
pub struct Pulse {
    /// The judgement.
    pub core: Core,
    /// One for each channel of the configuration.
    pub channels: Vec<PulseChannel>,
    /// What the kernel counted.
    pub tables: Arc<Tables>,
    /// Rings when the peer's public state changed.
    pub doorbell: Option<RingBuf<MapData>>,
    /// What is waited for, and what is read from.
    pub transport: Transport,
    /// Rings when there are commands.
    pub bell: Bell,
    /// From the takeover thread and the control side.
    pub commands: Receiver<Command>,
    /// To the takeover thread.
    pub orders: Sender<Order>,
    /// To the control side.
    pub reports: Sender<Report>,
    /// Where somebody still answers for what is a silent peer's, it is left to him.
    pub waits: bool,
    /// Rings when there are reports.
    pub control: Bell,
    /// What the control side shows.
    pub shared: Arc<Shared>,
    /// What others are to know and to do as of this turn.
    pub due: Vec<Due>,
    /// The keys by their ids.
    pub keys: [Option<Key>; 2],
    /// The pair, and our own node's number.
    pub expected: Expected,
    /// A fencing to be ended that the control side has no room for yet.
    pub abort_pending: Option<u32>,
    /// Says that all is well, where somebody waits for that.
    pub watchdog: Option<Feeder>,
    /// Channels to attach anew that the control side has no room for yet.
    pub attach_pending: u64,
}

impl Pulse {
    /// Runs until the core says `Exit`.
    ///
    /// # Errors
    /// When waiting is impossible: a programming error.
    pub fn run(mut self) -> std::io::Result<()> {
        self.watch()?;
        // Where it is not known who we are, that was said.
        let _ = guard::watch_this_thread(&self.tables);
        loop {
            let deadline = self.deadline();
            let rung = self.wait(deadline)?;
            let now = clock::monotonic();
            if !rung {
                self.shared.latencies.lateness.record(now.since(deadline));
            }
            let closed = turn::closed(&self.tables);
            self.drain(now);
            self.take_commands();
            self.look_at_links(now);
            self.core.handle_time(now);
            let exit = self.perform(now, closed);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.feed(now, self.core.may_feed(now));
            }
            if exit {
                return Ok(());
            }
        }
    }

    /// When there is something to do, whatever happens.
    fn deadline(&self) -> Nanos {
        let fed = self.watchdog.as_ref().map_or(Nanos::NEVER, Feeder::deadline);
        self.core.deadline().min(fed)
    }

    /// Everything that the kernel has counted since the last time.
    fn drain(&mut self, now: Nanos) {
        self.take_lines(now);
        self.take_disks(now);
        let paired = self.core.peer_incarnation();
        self.drain_channels(now);
        if self.core.peer_incarnation() != paired {
            // What the new life said on a channel between the look at it and the pairing, the kernel has as a stranger's word,
            // and rings for none of it.
            self.drain_channels(now);
        }
        self.drained(now);
    }

    fn drain_channels(&mut self, now: Nanos) {
        for i in 0..self.channels.len() {
            let channel = ChannelIndex(i as u8);
            self.receive(channel, now);
            let PulseChannel { drain, delay, .. } = &mut self.channels[i];
            let latencies = &self.shared.latencies.channels[i];
            turn::drain(&mut self.core, &self.tables, drain, channel, now, |message, arrived| {
                measure(latencies, delay, now, message, arrived);
            });
        }
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Acquired { group, at, in_place } => self.core.handle_acquired(at, group, in_place),
                Command::Isolated { group, at } => self.core.handle_isolated(at, group),
                Command::Released { group, at } => self.core.handle_released(at, group),
                Command::Attached { channel, by_socket } => self.attached(channel, by_socket),
                Command::Found { channel, index } => self.transport.links.found(channel, index),
                Command::Probed { analysis, probed } => self.core.handle_probed(clock::monotonic(), analysis, probed),
                Command::NotReleased { group, at } => self.core.handle_release_failed(at, group),
                Command::HookEnded { group, hook, succeeded } => {
                    self.core.handle_hook_ended(clock::monotonic(), group, hook, succeeded);
                }
                Command::Fenced { number, succeeded } => {
                    self.core.handle_fenced(clock::monotonic(), number, succeeded);
                }
                Command::Arbitrated { number, outcome } => {
                    self.core.handle_arbitrated(clock::monotonic(), number, outcome);
                }
                Command::Check { check, healthy } => self.core.handle_check(check, healthy),
                Command::Order { id, order } => {
                    let result = self.core.handle_order(clock::monotonic(), order);
                    self.due.push(Due::Report(Report::Answer(id, result)));
                }
                Command::Fitness(fit) => self.core.handle_fitness(fit),
                Command::Looked { number, probed } => self.core.handle_looked(clock::monotonic(), number, probed),
                Command::Stop => self.core.handle_stop(clock::monotonic()),
                Command::Restart => self.core.handle_restart(),
            }
        }
    }

    /// Does what the core wants done. Whether that was the end.
    fn perform(&mut self, now: Nanos, closed: u64) -> bool {
        // Before anything is said or done: what the kernel checks against, and what a next life of the agent would resume.
        turn::leave_mark(&self.core, &self.tables, closed, now);
        let (mut exit, mut told) = (false, false);
        loop {
            exit |= self.act(now);
            // Whoever is told of something, and asks, finds it.
            self.publish(now);
            let (any, refused) = self.hand_over(now);
            told |= any;
            if !refused {
                break;
            }
        }
        told |= self.ask_pending();
        if told {
            self.control.ring();
        }
        exit
    }

    /// Does what the core wants of this thread; what others are to know and to do is due from then on. Whether that was the end.
    fn act(&mut self, now: Nanos) -> bool {
        // One reading of both clocks, so that events of one moment have one time.
        let realtime_now = clock::realtime_of(now);
        let mut exit = false;
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send(channel) => self.send(channel, now),
                Action::OpenSocket(channel) => self.open(channel, now),
                Action::CloseSocket(channel) => self.close(channel, now),
                Action::Echo(channel) => {
                    let request = self.core.echo_request(now, channel);
                    self.echo(channel, &request);
                }
                Action::Acquire(group, reason) => {
                    let (unless_isolated, answering) = (reason == Reason::PeerDead, answering(reason, self.waits));
                    self.due.push(Due::Order(Order::Acquire { group, ordered: now, unless_isolated, answering }));
                }
                Action::Release(group, _) => self.due.push(Due::Order(Order::Release { group, ordered: now })),
                Action::Announce(group) => self.due.push(Due::Order(Order::Announce { group })),
                Action::Tell(at, event) => {
                    if Kind::from(&event).is(Role::Timed) {
                        self.shared.latencies.drain_to_verdict.record(clock::monotonic().since(now));
                    }
                    let time_ns = realtime_now.wrapping_sub(now.0.wrapping_sub(at.0));
                    self.due.push(Due::Report(Report::Event { time_ns, at, event }));
                }
                Action::RunHook(group, hook, reason) => self.due.push(Due::Report(Report::Hook(group, hook, reason))),
                Action::Probe(analysis) => self.due.push(Due::Report(Report::Probe(analysis))),
                Action::Look(number) => self.due.push(Due::Report(Report::Look(number))),
                Action::Fence(number) => self.due.push(Due::Report(Report::Fence(number))),
                Action::Arbitrate(number, question) => self.due.push(Due::Report(Report::Arbitrate(number, question))),
                // Where there is no room for these now, there is at the next turn.
                Action::FenceAbort(number) => self.abort_pending = Some(number),
                Action::Attach(channel) => self.attach_pending |= channel.bit(),
                Action::Exit => exit = true,
            }
        }
        exit
    }

    /// Has others know, find out or do what is due, in the order of the core's decisions. Whether the control side was told anything,
    /// and whether something found no room, of which more may follow.
    fn hand_over(&mut self, now: Nanos) -> (bool, bool) {
        let (mut told, mut refused) = (false, false);
        let mut due = std::mem::take(&mut self.due);
        for due in due.drain(..) {
            let done = match due {
                Due::Order(order) => turn::order(&mut self.core, &self.orders, order, now),
                Due::Report(report) => {
                    let done = self.report(report, now);
                    told |= done;
                    done
                }
            };
            refused |= !done;
        }
        self.due = due;
        (told, refused)
    }

    /// Has the control side know something, find it out, or do it; whether it is told.
    fn report(&mut self, report: Report, now: Nanos) -> bool {
        let Err(refused) = self.reports.try_send(report) else { return true };
        match refused.into_inner() {
            Report::Event { .. } => {
                self.shared.events_lost.fetch_add(1, Relaxed);
            }
            // As of an order: what finds no room has failed, and nobody waits for it.
            Report::Hook(group, hook, _) => self.core.handle_hook_ended(now, group, hook, false),
            Report::Fence(number) => self.core.handle_fenced(now, number, false),
            Report::Arbitrate(number, _) => self.core.handle_arbitrated(now, number, Arbitrated::Unreachable),
            // An analysis is given up and asked for again, and so is a look; whoever waits for an answer does not for long.
            _ => {}
        }
        false
    }

    /// The same for what there was no room for before.
    fn ask_pending(&mut self) -> bool {
        let mut told = false;
        if let Some(number) = self.abort_pending
            && self.reports.try_send(Report::FenceAbort(number)).is_ok()
        {
            self.abort_pending = None;
            told = true;
        }
        while self.attach_pending != 0 {
            let channel = ChannelIndex(self.attach_pending.trailing_zeros() as u8);
            if self.reports.try_send(Report::Attach(channel)).is_err() {
                break;
            }
            told = true;
            self.attach_pending &= !channel.bit();
        }
        told
    }

    /// The judgement, for the control side.
    fn publish(&self, now: Nanos) {
        self.shared.view.set(|view| view.take(&self.core, now));
    }
}

/// Whether somebody is asked before a group is taken over: not whoever just let go of it. `waits`: where somebody answers for
/// what is a silent peer's, it is left to him.
const fn answering(reason: Reason, waits: bool) -> Answering {
    match reason {
        Reason::PeerDead if waits => Answering::Wait { wait: ANSWER_WAIT },
        Reason::PeerDead | Reason::PeerLeft | Reason::Home | Reason::Unheld | Reason::Forced => {
            Answering::Take { wait: ANSWER_WAIT }
        }
        _ => Answering::Skip,
    }
}

/// What a heartbeat tells of the path that it came by: only the newest one of each turn is looked at. `last`: that of the one before.
fn measure(latencies: &ChannelLatencies, last: &mut Option<Delay>, now: Nanos, message: &Message, arrived: Nanos) {
    latencies.stamp_to_drain.record(now.since(arrived));
    if message.echo_sent_ns != 0 && message.echo_held_ns != HELD_LONG {
        let held = Nanos(message.echo_held_ns.into());
        latencies.rtt.record(arrived.since(Nanos(message.echo_sent_ns)).since(held));
    }
    let delay = Delay { incarnation: message.incarnation, ns: arrived.0.wrapping_sub(message.sent_ns) };
    if let Some(before) = last.replace(delay)
        && before.incarnation == delay.incarnation
    {
        latencies.jitter.record(Nanos((delay.ns.wrapping_sub(before.ns) as i64).unsigned_abs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::desk::tests::shared,
        core::{
            Event, Exclusivity, Guards, Hook, OperatorOrder, Withheld,
            testing::{Bench, SECOND},
        },
        system::link::Links,
        types::GroupIndex,
    };
    use crossbeam_channel::bounded;
    use std::thread;

    /// The pulse thread of a core that is told things, and reports; nothing is there to be taken over.
    fn pulse(core: &Core, commands: Receiver<Command>, reports: Sender<Report>) -> Pulse {
        Pulse {
            core: core.clone(),
            channels: Vec::new(),
            tables: Arc::new(Tables::anonymous().unwrap()),
            doorbell: None,
            transport: Transport::new(Links::open([]).unwrap(), None, None).unwrap(),
            bell: Bell::new().unwrap(),
            commands,
            orders: bounded(0).0,
            reports,
            waits: false,
            control: Bell::new().unwrap(),
            shared: shared(core),
            due: Vec::new(),
            keys: [None; 2],
            expected: Expected { pair_id: 7, node: 0, channel_id: 0 },
            abort_pending: None,
            watchdog: None,
            attach_pending: 0,
        }
    }

    /// Asks in the name of its core, of a control side that has room for so many questions.
    fn ask(bench: &mut Bench, room: usize, question: Report) {
        let (reports, _control_side) = bounded(room);
        let mut pulse = pulse(&bench.core, bounded(0).1, reports);
        assert_eq!(pulse.report(question, bench.now), room != 0);
        bench.core = pulse.core;
    }

    #[test]
    fn whoever_was_told_that_his_order_is_taken_finds_it_done() {
        let bench = Bench::of(0b01, |_| {});
        let ((orders, commands), (reports, answers)) = (bounded(1), bounded(1));
        let mut pulse = pulse(&bench.core, commands, reports);
        let before = pulse.shared.view.get();
        orders.send(Command::Order { id: 1, order: OperatorOrder::Maintenance(true) }).unwrap();
        pulse.take_commands();
        assert!(answers.is_empty(), "nothing is told before it is in the cell");
        // While it is busy telling more, for longer than it takes to look.
        pulse.due.extend((0..200_000).map(|number| Due::Report(Report::Probe(number))));
        let shared = Arc::clone(&pulse.shared);
        let after = thread::scope(|scope| {
            let waits = scope.spawn(|| (answers.recv(), shared.view.get()));
            pulse.perform(bench.now, 0);
            waits.join().unwrap()
        });
        assert!(matches!(after.0, Ok(Report::Answer(1, Ok(())))));
        assert_eq!([before, after.1].map(|view| view.maintenance.own), [false, true]);
    }

    const OTHER: GroupIndex = GroupIndex(1);

    #[test]
    fn a_hook_for_which_there_is_no_room_has_failed() {
        for (room, busy) in [(0, 0), (1, OTHER.bit())] {
            let mut bench = Bench::of(0b01, |setup| setup.hooks.has[Hook::OnAcquire as usize] = OTHER.bit());
            bench.silence(SECOND);
            let (hook, reason) = (Hook::OnAcquire, Reason::PeerDead);
            assert!(bench.done().contains(&Action::RunHook(OTHER, hook, reason)));
            assert_eq!(bench.core.busy(), OTHER.bit());
            ask(&mut bench, room, Report::Hook(OTHER, hook, reason));
            assert_eq!(bench.core.busy(), busy, "room for {room}");
        }
    }

    #[test]
    fn a_fencing_for_which_there_is_no_room_has_failed() {
        for (room, withheld) in [(0, Some(Withheld::NotFenced)), (1, None)] {
            let mut bench = Bench::of(0b01, |setup| setup.guards = Guards { fence: true, ..Guards::default() });
            bench.silence(SECOND);
            assert!(bench.done().contains(&Action::Fence(1)));
            ask(&mut bench, room, Report::Fence(1));
            bench.silence(SECOND);
            assert_eq!(bench.core.withheld(), withheld, "room for {room}");
        }
    }

    #[test]
    fn an_arbiter_that_there_is_no_room_to_ask_is_out_of_reach() {
        for room in [0, 1] {
            let arbiter = Exclusivity {
                groups: 0b11,
                arbiter: Some(SECOND),
                release_within: SECOND.times(3),
                ..Exclusivity::default()
            };
            let mut bench = Bench::of(0b01, |setup| setup.exclusivity = arbiter);
            bench.silence(SECOND);
            let question = |action| if let Action::Arbitrate(number, of) = action { Some((number, of)) } else { None };
            let (number, of) = bench.done().into_iter().find_map(question).unwrap();
            ask(&mut bench, room, Report::Arbitrate(number, of));
            bench.turn();
            let is_told = |action: &Action| matches!(action, Action::Tell(_, Event::ArbiterUnreachable));
            assert_eq!(bench.actions.iter().any(is_told), room == 0);
        }
    }
}
