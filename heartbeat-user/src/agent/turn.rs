//! What a turn of the pulse thread begins with, and what it leaves behind: from the kernel's records to the core's inputs, and
//! from the core's decisions to the agent's cell. Pure, so that the simulation takes its turns the same way.

use crate::{
    core::{CellState, Core, NoticeSaid},
    dataplane::{
        Tables,
        drain::{Drain, Handler, KernelOrders, Mark},
    },
    takeover::Order,
    types::{ChannelIndex, Nanos},
};
use crossbeam_channel::Sender;
use heartbeat_ebpf::{notice::Notice, wire::Message};

/// What the kernel keeps silent about before a turn's first drain, for [`leave_mark`]: what it closes later, it does for
/// something that this turn has not heard.
#[inline]
#[must_use]
pub fn closed(tables: &Tables) -> u64 {
    tables.kernel().closed.get_and_order()
}

/// Tells the core what is new on a channel. `heard` is told before of each heartbeat that counts as life, and when it arrived.
#[inline]
pub fn drain(
    core: &mut Core,
    tables: &Tables,
    drain: &mut Drain,
    channel: ChannelIndex,
    now: Nanos,
    heard: impl FnMut(&Message, Nanos),
) {
    drain.drain(tables.slot(channel), tables.agent(), &mut Told { core, channel, now, heard });
}

/// Leaves in the cell what the kernel holds messages against and what a next life may resume: before anything is said or
/// done, so that nothing is ever half done that the cell does not tell of. `closed` is what [`closed`](closed()) gave.
#[inline]
pub fn leave_mark(core: &Core, tables: &Tables, closed: u64, now: Nanos) {
    let CellState {
        owned,
        hooked,
        peer_flags,
        peer_kept,
        letting_go_since,
        forced,
        fenced_at,
        active,
        open,
        shut,
        heard,
        peer_good,
        lease,
        limited,
        serve_until,
        peer_names,
        places,
    } = core.cell_state(now);
    let (peer_incarnation, term, alive_ns) = (core.peer_incarnation(), core.term(), now.0);
    let peer_flags = peer_flags.into();
    let (lease_ns, serve_until_ns) = (lease.0, serve_until.0);
    let [letting_go_ns, fenced_ns] = [letting_go_since, fenced_at].map(|at| at.map_or(0, |at| at.0));
    let orders =
        KernelOrders { active, open, shut, closed, peer_good, lease_ns, limited, serve_until_ns, peer_names, places };
    let mark = Mark {
        peer_incarnation,
        owned,
        hooked,
        peer_flags,
        peer_kept,
        letting_go_ns,
        forced,
        fenced_ns,
        term,
        alive_ns,
        heard_ns: heard.0,
        orders,
    };
    mark.leave(tables.agent(), tables.kernel());
}

/// Hands something to the takeover thread. What finds no room there has failed, and is answered at once: nobody waits for what is
/// never done. (An announcement is only one of many.) Whether there was room.
pub fn order(core: &mut Core, orders: &Sender<Order>, order: Order, now: Nanos) -> bool {
    let Err(refused) = orders.try_send(order) else { return true };
    match refused.into_inner() {
        Order::Acquire { group, .. } => core.handle_acquired(now, group, false),
        Order::Release { group, .. } => core.handle_release_failed(now, group),
        Order::Announce { .. } | Order::Resume { .. } | Order::Stop => {}
    }
    false
}

/// One channel's drain goes to the core.
struct Told<'a, F> {
    core: &'a mut Core,
    channel: ChannelIndex,
    now: Nanos,
    heard: F,
}

impl<F: FnMut(&Message, Nanos)> Handler for Told<'_, F> {
    fn heartbeat(&mut self, message: &Message, arrived_ns: u64) {
        (self.heard)(message, Nanos(arrived_ns));
        self.core.handle_heartbeat(self.now, self.channel, message, Nanos(arrived_ns));
    }

    fn handshake(&mut self, message: &Message, arrived_ns: u64) -> u64 {
        self.core.handle_handshake(self.now, self.channel, message, Nanos(arrived_ns));
        self.core.peer_incarnation()
    }

    fn echo(&mut self, asked_ns: u64, silent_ns: u64) {
        self.core.handle_echo(self.now, self.channel, Nanos(asked_ns), Nanos(silent_ns));
    }

    fn notice(&mut self, notice: &Notice, _: u64) {
        let said = NoticeSaid {
            incarnation: notice.incarnation,
            asked: Nanos(notice.asked_ns),
            died: notice.died,
            leased: notice.leased,
            silent: Nanos(notice.silent_ns),
            owned: notice.owned,
            closed: notice.closed,
            names_digest: notice.names_digest,
            term: notice.term,
            grace: Nanos::from_millis(notice.grace_ms.into()),
        };
        self.core.handle_notice(self.now, &said);
    }

    fn stranger(&mut self) {
        self.core.handle_stranger(self.now, self.channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            Action, Event, Reason,
            testing::{Bench, SECOND},
        },
        takeover::Answering,
        types::GroupIndex,
    };

    /// Its actions go to a takeover thread that has no room; what was told meanwhile.
    fn without_room(bench: &mut Bench) -> Vec<Event> {
        let (orders, _nobody) = crossbeam_channel::bounded(0);
        let mut told = Vec::new();
        for _ in 0..8 {
            for action in std::mem::take(&mut bench.actions) {
                let now = bench.now;
                let of = match action {
                    Action::Acquire(group, _) => {
                        Order::Acquire { group, ordered: now, unless_isolated: false, answering: Answering::Skip }
                    }
                    Action::Release(group, _) => Order::Release { group, ordered: now },
                    Action::Tell(_, event) => {
                        told.push(event);
                        continue;
                    }
                    _ => continue,
                };
                order(&mut bench.core, &orders, of, now);
            }
            bench.turn();
        }
        told
    }

    const OTHER: GroupIndex = GroupIndex(1);

    #[test]
    fn a_takeover_for_which_there_is_no_room_has_failed_and_is_tried_again() {
        let mut bench = Bench::of(0b01, |_| {});
        bench.silence(SECOND);
        let told = without_room(&mut bench);
        assert!(told.iter().any(|event| matches!(event, Event::GroupAcquiring { group: OTHER, .. })), "{told:?}");
        assert!(!told.iter().any(|event| matches!(event, Event::GroupAcquired { .. })), "{told:?}");
        assert_eq!(bench.core.owned(), 0b01);
        bench.silence(SECOND.times(60));
        let again = bench.done().into_iter().find(|action| matches!(action, Action::Acquire(OTHER, _)));
        assert_eq!(again, Some(Action::Acquire(OTHER, Reason::PeerDead)));
    }

    #[test]
    fn a_release_for_which_there_is_no_room_has_not_been_done_and_is_said_to_be_kept() {
        let mut bench = Bench::of(0b01, |_| {});
        bench.core.handle_stop(bench.now);
        bench.turn();
        let told = without_room(&mut bench);
        let of = |which: fn(&Event) -> bool| told.iter().any(which);
        assert!(of(|event| matches!(event, Event::GroupReleasing { .. })), "{told:?}");
        assert!(of(|event| matches!(event, Event::GroupStuck { .. } | Event::GroupKept { .. })), "{told:?}");
        assert!(!of(|event| matches!(event, Event::GroupReleased { .. })), "{told:?}");
    }
}
