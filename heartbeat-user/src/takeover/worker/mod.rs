//! The takeover thread: orders in, reports out; announcements on schedule; a watch on what it holds.

mod acquire;
mod neighbours;

use super::{
    Announcement, Announcer, Done, Failure, GroupPlan, Link, Netlink, Order, PlannedAddress, Step, Watch,
    conflict::Ears, describe, forwards_ipv6, rivals::Rivals,
};
use crate::core::{GroupIndex, Nanos};
use acquire::SETTLE;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

/// When an address is announced again, counted from its takeover: clients may have missed the first announcement.
pub const ANNOUNCE_AGAIN: [Nanos; 4] =
    [Nanos::from_millis(100), Nanos::from_millis(500), Nanos::from_millis(2_000), Nanos::from_millis(5_000)];
/// How often the thread looks, while it holds a group, whether somebody took its addresses away, or claims them, too. Where no
/// address or interface changed and no neighbour claims one this is three system calls; a dump follows only where one
/// did.
pub const CHECK: Nanos = Nanos::from_millis(200);
/// Addresses that are added, then announced, before the next ones: the first clients need not wait for the last address.
const CHUNK: usize = 32;
/// Between two chunks of the later announcements, which are in no hurry: 6,400 frames a second spare the switches'
/// limits.
const PACE: Nanos = Nanos::from_millis(5);

/// Runs the takeover thread until it is told to stop; see [`Worker::open`] and [`Worker::run`].
///
/// # Errors
/// As [`Worker::open`].
pub fn run(
    plans: Vec<GroupPlan>,
    channels: Vec<String>,
    orders: &Receiver<Order>,
    done: impl FnMut(Done),
) -> io::Result<()> {
    Worker::open(plans, channels)?.run(orders, done);
    Ok(())
}

/// The state of the takeover thread.
pub struct Worker {
    plans: Arc<[GroupPlan]>,
    /// The interfaces of our own channels.
    channels: Vec<String>,
    netlink: Netlink,
    announcer: Announcer,
    watch: Watch,
    /// Groups that it holds, a bit each.
    held: u64,
    rounds: Vec<Round>,
    next_check: Nanos,
    ears: Ears,
    rivals: Rivals,
    /// What is held, or where, has changed since the ears were told.
    stale: bool,
    next_listen: Nanos,
}

/// Addresses of a group that are to be announced again.
struct Round {
    due: Nanos,
    group: GroupIndex,
    /// Places in the group's plan.
    places: Vec<usize>,
    /// When they were announced first (or should have been, had there been no pace to keep).
    begun: Nanos,
    /// Entry of [`ANNOUNCE_AGAIN`] that is next.
    next: usize,
}

/// The interfaces of a plan as they are now.
type Links<'a> = HashMap<&'a str, Result<Ready, String>>;

#[derive(Clone, Copy)]
struct Ready {
    link: Link,
    router: bool,
}

impl Worker {
    /// Opens the sockets, in the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel refused a routing or packet socket: CAP_NET_ADMIN and CAP_NET_RAW are needed.
    pub fn open(plans: Vec<GroupPlan>, channels: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            plans: plans.into(),
            channels,
            netlink: Netlink::open()?,
            announcer: Announcer::open()?,
            watch: Watch::open()?,
            held: 0,
            rounds: Vec::new(),
            next_check: Nanos::NEVER,
            ears: Ears::open()?,
            rivals: Rivals::default(),
            stale: false,
            next_listen: Nanos::NEVER,
        })
    }

    /// Serves `orders` until [`Order::Stop`], or until nobody is left to give any.
    pub fn run(mut self, orders: &Receiver<Order>, mut done: impl FnMut(Done)) {
        loop {
            match self.wait(orders) {
                Ok(Order::Acquire { group, unless_isolated: true, .. }) if self.isolated() => {
                    done(Done::Isolated { group, at: now() });
                }
                Ok(Order::Acquire { group, ordered, answering, .. }) => {
                    self.acquire(group, ordered, answering, &mut done);
                }
                Ok(Order::Resume { group }) => {
                    self.held |= group.bit();
                    self.next_check = now().after(CHECK);
                    self.restore(&mut done);
                }
                Ok(Order::Announce { group }) => log::debug!("group {group}: to be announced again"),
                Ok(Order::Release { group, .. }) => self.release(group, &mut done),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.tick(&mut done, || !orders.is_empty()),
            }
        }
    }

    fn wait(&self, orders: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        let rounds = self.rounds.iter().map(|round| round.due);
        let others = [self.next_check, self.next_listen].into_iter().chain(self.rivals.next_due());
        let due = rounds.chain(others).min().unwrap_or(Nanos::NEVER);
        if due == Nanos::NEVER {
            return orders.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        orders.recv_timeout(Duration::from_nanos(due.since(now()).0))
    }

    /// Whether none of our own channels has a carrier. Asked of the kernel in a way that brings the answer up to date.
    fn isolated(&mut self) -> bool {
        let Self { channels, netlink, .. } = self;
        !channels.iter().any(|name| netlink.link(name).is_ok_and(|link| link.carrier))
    }

    /// Serves what is due: one chunk of announcements, the look at what is held, the claims of neighbours.
    fn tick(&mut self, done: &mut impl FnMut(Done), order_waits: impl Fn() -> bool) {
        let now = now();
        if let Some(due) = self.rounds.iter().position(|round| round.due <= now) {
            let round = self.rounds.swap_remove(due);
            self.announce_round(round);
        }
        if self.next_check <= now {
            self.next_check = now.after(CHECK);
            if self.watch.changed() {
                self.restore(done);
            }
        }
        if self.next_listen <= now || self.rivals.next_due().is_some_and(|due| due <= now) {
            self.listen(done, order_waits);
        }
    }

    fn announce_round(&mut self, round: Round) {
        let plans = Arc::clone(&self.plans);
        let plan = &plans[round.group.usize()];
        let links = self.links(round.places.iter().map(|place| &plan.addresses[*place]));
        warn(plan, self.announce(plan, &links, &round.places));
        self.rounds.extend(round.following());
    }

    /// Puts back what is missing of the held groups; what cannot be put back is tried again after the next change.
    fn restore(&mut self, done: &mut impl FnMut(Done)) {
        self.watch_anew();
        let plans = Arc::clone(&self.plans);
        let links = self.links(held(&plans, self.held).flat_map(|(_, plan)| &plan.addresses));
        let mut wanted = Vec::new();
        let mut owners = HashMap::new();
        for (group, plan) in held(&plans, self.held) {
            for (place, planned) in plan.addresses.iter().enumerate() {
                if let Ok(ready) = &links[planned.interface.as_str()] {
                    wanted.push(planned.on(ready.link));
                    owners.insert(planned.on(ready.link), (group, place));
                }
            }
        }
        let mut restored: BTreeMap<GroupIndex, Vec<usize>> = BTreeMap::new();
        let outcomes = self.netlink.reconcile(&wanted).unwrap_or_else(|error| {
            log::warn!("addresses held cannot be checked: {error}");
            Vec::new()
        });
        for (address, outcome) in outcomes {
            let (group, place) = owners[&address];
            let planned = &plans[group.usize()].addresses[place];
            match outcome {
                Ok(()) => restored.entry(group).or_default().push(place),
                Err(errno) => log::warn!("{}", Failure::new(planned, Step::Added, describe(errno))),
            }
        }
        let mut patience = SETTLE;
        for (group, places) in restored {
            let plan = &plans[group.usize()];
            for places in chunks(places) {
                self.settle(plan, &links, &places, &mut patience);
                warn(plan, self.announce(plan, &links, &places));
                places.iter().for_each(|place| done(Done::Restored { group, address: plan.addresses[*place].clone() }));
                self.announce_again(group, places);
            }
        }
    }

    fn announce(&mut self, plan: &GroupPlan, links: &Links<'_>, places: &[usize]) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut announced = Vec::with_capacity(places.len());
        let mut announcements = Vec::with_capacity(places.len());
        for planned in places.iter().map(|place| &plan.addresses[*place]) {
            match &links[planned.interface.as_str()] {
                Ok(ready) => {
                    announced.push(planned);
                    announcements.push(Announcement { link: ready.link, ip: planned.ip, router: ready.router });
                }
                Err(reason) => failures.push(Failure::new(planned, Step::Announced, reason)),
            }
        }
        for (planned, outcome) in announced.into_iter().zip(self.announcer.announce(&announcements)) {
            if let Err(errno) = outcome {
                failures.push(Failure::new(planned, Step::Announced, describe(errno)));
            }
        }
        failures
    }

    fn announce_again(&mut self, group: GroupIndex, places: Vec<usize>) {
        for places in chunks(places) {
            let waiting = self.rounds.iter().filter(|round| round.group == group).count() as u64;
            let begun = now().after(PACE.times(waiting));
            self.rounds.extend(Round { due: begun, group, places, begun, next: 0 }.following());
        }
    }

    fn cancel(&mut self, group: GroupIndex) {
        self.rounds.retain(|round| round.group != group);
    }

    /// Looked up each time: a NIC may have been replaced, a bond may have changed its Ethernet address.
    fn links<'a>(&mut self, addresses: impl IntoIterator<Item = &'a PlannedAddress>) -> Links<'a> {
        let mut links = Links::new();
        for address in addresses {
            links.entry(address.interface.as_str()).or_insert_with(|| match self.netlink.link(&address.interface) {
                Ok(link) => Ok(Ready { link, router: forwards_ipv6(&address.interface) }),
                Err(error) => Err(error.to_string()),
            });
        }
        links
    }
}

impl Round {
    fn following(self) -> Option<Self> {
        let due = self.begun.after(*ANNOUNCE_AGAIN.get(self.next)?);
        Some(Self { due, next: self.next + 1, ..self })
    }
}

fn warn(plan: &GroupPlan, failures: Vec<Failure>) {
    for failure in failures {
        log::warn!("group {}: {failure}", plan.name);
    }
}

fn chunks(places: Vec<usize>) -> Vec<Vec<usize>> {
    places.chunks(CHUNK).map(<[usize]>::to_vec).collect()
}

/// The plans of the groups whose bits are set.
fn held(plans: &[GroupPlan], bits: u64) -> impl Iterator<Item = (GroupIndex, &GroupPlan)> {
    (0..).map(GroupIndex).zip(plans).filter(move |(group, _)| bits & group.bit() != 0)
}

/// CLOCK_MONOTONIC.
#[must_use]
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    Nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
