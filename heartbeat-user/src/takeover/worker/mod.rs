//! The takeover thread: orders in, reports out; announcements on schedule; a watch on what it holds, and on what it does not.

mod acquire;
mod decoys;
mod guard;
mod neighbours;
mod schedule;

pub use schedule::ANNOUNCE_AGAIN;

use super::{
    Announcer, Done, GroupPlan, Order, PlannedAddress, TakeoverSettings, Watch, claims::ClaimListener,
    damping::Damping, forwards_ipv6, rivals::Rivals,
};
use crate::{
    system::{
        clock,
        netlink::{Netlink, NetworkInterface},
    },
    types::{GroupIndex, Nanos},
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use guard::{Retry, Seen};
use neighbours::Answered;
use nix::errno::Errno;
use schedule::Round;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt, io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// How often the thread looks whether somebody took held addresses away, put others here, or claims them, too; and whether the
/// neighbours are to be told again. Where no address or interface changed and no neighbour claims one this is three system
/// calls; dumps follow only where one did.
pub const CHECK: Nanos = Nanos::from_millis(200);
/// Addresses that are added, then announced, before the next ones: the first clients need not wait for the last address.
const CHUNK: usize = 32;

/// Runs the takeover thread until it is told to stop; see [`Worker::open`] and [`Worker::run`].
///
/// # Errors
/// As [`Worker::open`].
pub fn run(settings: TakeoverSettings, orders: &Receiver<Order>, done: impl FnMut(Done)) -> io::Result<()> {
    Worker::open(settings)?.run(orders, done);
    Ok(())
}

/// The state of the takeover thread.
pub struct Worker {
    plans: Arc<[GroupPlan]>,
    /// All addresses of the plans.
    planned: HashSet<IpAddr>,
    channels: Vec<String>,
    announce_every: Option<Nanos>,
    still_answering_for: Option<Nanos>,
    netlink: Netlink,
    announcer: Announcer,
    watch: Watch,
    /// Groups that it holds, a bit each.
    held: u64,
    /// Groups that could not be let go of: whether they are to be held or released again is for others to decide.
    stuck: u64,
    /// Where addresses were put: group, place in its plan, and the interface's index. An interface may get another name, and
    /// its name another interface.
    put: BTreeSet<(GroupIndex, usize, u32)>,
    /// The interfaces of held groups, as they were when their addresses were announced.
    seen: BTreeMap<String, Seen>,
    rounds: Vec<Round>,
    next_check: Nanos,
    /// When everything is looked at though nothing changed.
    retry: Retry,
    next_refresh: Nanos,
    listener: ClaimListener,
    rivals: Rivals,
    /// What is held, or where, has changed since the listener was told.
    stale: bool,
    next_listen: Nanos,
    answered: HashMap<GroupIndex, Answered>,
    damping: Damping<What>,
}

/// What is told ever more rarely where it goes on happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Restored(GroupIndex, usize),
    Swept(GroupIndex, usize),
    Failed(GroupIndex, usize),
    Renamed(GroupIndex, usize),
    Answered(GroupIndex),
}

/// The interfaces of a plan as they are now.
type Links<'a> = HashMap<&'a str, Result<Ready, Absent>>;

#[derive(Clone, Copy)]
struct Ready {
    link: NetworkInterface,
    router: bool,
}

/// Why an interface cannot be used.
struct Absent {
    /// It is not there; else nothing is known of it.
    gone: bool,
    why: String,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Worker {
    /// Opens the sockets, in the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel refused a routing or packet socket: CAP_NET_ADMIN and CAP_NET_RAW are needed.
    pub fn open(settings: TakeoverSettings) -> io::Result<Self> {
        let TakeoverSettings { plans, channels, announce_every, still_answering_for } = settings;
        let mut retry = Retry::default();
        retry.not_later_than(clock::monotonic().after(CHECK)); // what came before the watch was there
        Ok(Self {
            planned: plans.iter().flat_map(|plan| &plan.addresses).map(|address| address.ip).collect(),
            plans: plans.into(),
            channels,
            announce_every,
            still_answering_for,
            netlink: Netlink::open()?,
            announcer: Announcer::open()?,
            watch: Watch::open()?,
            held: 0,
            stuck: 0,
            put: BTreeSet::new(),
            seen: BTreeMap::new(),
            rounds: Vec::new(),
            next_check: clock::monotonic().after(CHECK),
            retry,
            next_refresh: announce_every.map_or(Nanos::NEVER, |every| clock::monotonic().after(every)),
            listener: ClaimListener::open()?,
            rivals: Rivals::default(),
            stale: false,
            next_listen: Nanos::NEVER,
            answered: HashMap::new(),
            damping: Damping::default(),
        })
    }

    /// Serves `orders` until [`Order::Stop`], or until nobody is left to give any. What is held already must be ordered
    /// ([`Order::Resume`]) before: it would be swept away soon.
    pub fn run(mut self, orders: &Receiver<Order>, mut done: impl FnMut(Done)) {
        loop {
            match self.wait(orders) {
                Ok(Order::Acquire { group, unless_isolated: true, .. }) if self.isolated() => {
                    done(Done::Isolated { group, at: clock::monotonic() });
                }
                Ok(Order::Acquire { group, ordered, answering, .. }) => {
                    self.acquire(group, ordered, answering, &mut done);
                }
                Ok(Order::Resume { group }) => self.resume(group, &mut done),
                Ok(Order::Announce { group }) => self.announce_group(group),
                Ok(Order::Release { group, .. }) => self.release(group, &mut done),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.tick(&mut done, || !orders.is_empty()),
            }
        }
    }

    fn wait(&self, orders: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        let rounds = self.rounds.iter().map(|round| round.due);
        let others = [self.next_check, self.next_listen, self.next_refresh, self.retry.due()];
        let questions = self.rivals.next_due().into_iter().chain(self.damping.next_due());
        let due = rounds.chain(others).chain(questions).min().unwrap_or(Nanos::NEVER);
        orders.recv_timeout(Duration::from_nanos(due.since(clock::monotonic()).0))
    }

    /// Whether none of our own channels has a carrier. Asked of the kernel in a way that brings the answer up to date.
    fn isolated(&mut self) -> bool {
        let Self { channels, netlink, .. } = self;
        !channels.iter().any(|name| netlink.link(name).is_ok_and(|link| link.carrier))
    }

    /// Serves what is due: one chunk of announcements, the look at what is here, the claims of neighbours.
    fn tick(&mut self, done: &mut impl FnMut(Done), order_waits: impl Fn() -> bool) {
        let now = clock::monotonic();
        if let Some(due) = self.rounds.iter().position(|round| round.due <= now) {
            let round = self.rounds.swap_remove(due);
            self.announce_round(round);
        }
        let changed = self.next_check <= now && self.watch.changed();
        if changed || self.retry.due() <= now {
            self.look(done);
        }
        if self.next_check <= now {
            self.next_check = now.after(CHECK);
        }
        if self.next_refresh <= now {
            self.refresh(now);
        }
        if self.next_listen <= now || self.rivals.next_due().is_some_and(|due| due <= now) {
            self.listen(done, order_waits);
        }
        self.tell_untold(now, done);
    }

    /// Looked up each time: a NIC may have been replaced, a bond may have changed its Ethernet address.
    fn links<'a>(&mut self, addresses: impl IntoIterator<Item = &'a PlannedAddress>) -> Links<'a> {
        let mut links = Links::new();
        for address in addresses {
            links.entry(address.interface.as_str()).or_insert_with(|| match self.netlink.link(&address.interface) {
                Ok(link) => Ok(Ready { link, router: forwards_ipv6(&address.interface) }),
                Err(error) => {
                    let gone = error.raw_os_error() == Some(Errno::ENODEV as i32);
                    Err(Absent { gone, why: error.to_string() })
                }
            });
        }
        links
    }
}

fn chunks(places: Vec<usize>) -> Vec<Vec<usize>> {
    places.chunks(CHUNK).map(<[usize]>::to_vec).collect()
}

/// The plans of the groups whose bits are set.
fn held(plans: &[GroupPlan], bits: u64) -> impl Iterator<Item = (GroupIndex, &GroupPlan)> {
    (0..).map(GroupIndex).zip(plans).filter(move |(group, _)| bits & group.bit() != 0)
}
