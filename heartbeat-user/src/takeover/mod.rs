//! Takeover (WO 01/82077, S3): the addresses of a group into the kernel, and the neighbours told.
//!
//! All of it is synchronous, for a thread of its own ([`Worker::run`]) that takes orders from a channel. No call in here
//! waits for anything but the kernel, and for that only within bounds; but one that asks the neighbours first whether
//! somebody still answers for the addresses ([`Answering::Wait`]) waits for their answers as long as it is told. Nothing can be
//! added that no plan names.
//!
//! Deliberately absent: hooks; the defence of a held address beyond its announcements (RFC 5227 §2.4 (b)): whoever else claims it
//! is reported ([`Done::Rival`]), and who is to yield is the pair's decision; any memory across restarts: what an earlier life
//! put in place is for the caller to remember ([`let_go`]).
#![forbid(unsafe_code)]

mod addresses;
mod announce;
mod claims;
mod damping;
mod frames;
mod rivals;
mod sweep;
#[cfg(test)]
mod tests;
mod worker;

pub use addresses::{Address, Watch};
pub use announce::{Announcement, Announcer, forwards_ipv6};
pub use frames::{
    ADVERTISEMENT_FRAME, ARP_FRAME, AddressClaim, SOLICITATION_FRAME, arp_announcement, arp_announcing_reply,
    arp_probe, claim_in, neighbor_solicitation, probe, unsolicited_advertisement,
};
pub use rivals::{NAMED, RIVAL_GONE};
pub use sweep::{LetGo, Recorded, Swept, held_on_host, let_go, remove_unowned};
pub use worker::{ANNOUNCE_AGAIN, CHECK, Worker, run};

use crate::system::netlink::NetlinkResult;
use crate::system::netlink::NetworkInterface;
use crate::types::{GroupIndex, Nanos};
use nix::errno::Errno;
use std::{fmt, io, net::IpAddr};

/// The addresses of a group on this controller. A group's index is its plan's place in the list of plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// The group's name.
    pub name: String,
    /// Its addresses; taken over in this order, but the IPv4 ones first.
    pub addresses: Vec<PlannedAddress>,
}

/// A configured address: the only kind that is ever added or removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlannedAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// The length of its network's prefix, in bits.
    pub prefix: u8,
}

impl PlannedAddress {
    /// It, on the interface that has the name now.
    fn on(&self, link: NetworkInterface) -> Address {
        Address { interface: link.index, ip: self.ip, prefix: self.prefix }
    }
}

impl fmt::Display for PlannedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {}", self.ip, self.prefix, self.interface)
    }
}

/// What the takeover thread goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeoverSettings {
    /// The groups, by index.
    pub plans: Vec<GroupPlan>,
    /// The interfaces of our own channels.
    pub channels: Vec<String>,
    /// How often everything that is held is announced, beyond what happens. Default: not at all.
    pub announce_every: Option<Nanos>,
    /// With [`Answering::Wait`], a group that was answered for all the time since it was first asked for, and for so long, is
    /// taken over all the same. Default: never.
    pub still_answering_for: Option<Nanos>,
}

/// What the takeover thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Put the group's addresses in place and announce them.
    Acquire {
        /// The group.
        group: GroupIndex,
        /// When that was decided, CLOCK_MONOTONIC.
        ordered: Nanos,
        /// Not if a fresh look shows that none of our own channels has a carrier: then it is us who are cut off.
        unless_isolated: bool,
        /// What to do about neighbours that still answer for its addresses.
        answering: Answering,
    },
    /// The group is held already, by an earlier life of the agent: guard its addresses, put back what is missing, take away
    /// the same with other prefixes, but announce what is in place only seconds later. Whether it is still ours will be known
    /// with the peer's next heartbeat.
    Resume {
        /// The group.
        group: GroupIndex,
    },
    /// Announce the group's addresses again, on the schedule of a takeover: somebody else may have told clients of another
    /// Ethernet address. Nothing, where the group is not held.
    Announce {
        /// The group.
        group: GroupIndex,
    },
    /// Take the group's addresses away. Where that failed, to order it again tries it again.
    Release {
        /// The group.
        group: GroupIndex,
        /// When that was decided, CLOCK_MONOTONIC.
        ordered: Nanos,
    },
    /// End the thread. What is held stays: the caller has released what it wanted to.
    Stop,
}

/// Whether the neighbours are asked, before the addresses of a group are added, if somebody still answers for them (ARP probe,
/// RFC 5227 §2.1.1; duplicate address detection, RFC 4862 §5.4), and what their answers change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// Nobody is asked: whoever held them has said that it has released them.
    Skip,
    /// They are asked, and the addresses added and announced without a pause; the answers are reported afterwards.
    Take {
        /// For how long answers are collected, from the last question on. [`ANSWER_WAIT`] by default.
        wait: Nanos,
    },
    /// They are asked first: the thread waits, and where somebody answers nothing is added. A question that cannot be sent counts as
    /// not answered: a fault of ours must not prevent the takeover.
    Wait {
        /// For how long: the takeover begins that much later, unless nothing is to be asked. [`ANSWER_WAIT`] by default.
        wait: Nanos,
    },
}

/// How long neighbours have to answer by default: 100 times what one on the same network needs that is not overloaded.
pub const ANSWER_WAIT: Nanos = Nanos::from_millis(10);

/// What the takeover thread reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The group's addresses are in place, but for those that `failures` name.
    Acquired {
        /// The group.
        group: GroupIndex,
        /// When what happened.
        stages: Stages,
        /// What did not succeed.
        failures: Vec<Failure>,
    },
    /// Nothing was added: none of our own channels has a carrier.
    Isolated {
        /// The group.
        group: GroupIndex,
        /// When that was seen, CLOCK_MONOTONIC.
        at: Nanos,
    },
    /// Somebody else answers for addresses of the group.
    StillAnswered {
        /// The group.
        group: GroupIndex,
        /// When all answers were in, CLOCK_MONOTONIC.
        at: Nanos,
        /// Which addresses, each with the Ethernet address that answered first; [`NAMED`] of them at most.
        by: Vec<(PlannedAddress, [u8; 6])>,
        /// Whether the group is taken over all the same ([`Answering::Take`]: [`Done::Acquired`] came before; or
        /// [`TakeoverSettings::still_answering_for`] is over: it follows); else nothing was added.
        taken: bool,
        /// Whether it is to be told: the same again and again is not.
        told: bool,
    },
    /// A neighbour claims an address of a held group (RFC 5227 §2.4). Noticed by listening alone, and by [`CHECK`] late at most.
    Rival {
        /// The group.
        group: GroupIndex,
        /// The address.
        address: PlannedAddress,
        /// The neighbour's Ethernet address; of several, that of the first. They count as one.
        mac: [u8; 6],
        /// When, CLOCK_MONOTONIC.
        at: Nanos,
    },
    /// The rival for an address was not heard for [`RIVAL_GONE`], or the group was released.
    RivalGone {
        /// The group.
        group: GroupIndex,
        /// The address.
        address: PlannedAddress,
        /// As it was in [`Done::Rival`].
        mac: [u8; 6],
        /// When it was heard first, CLOCK_MONOTONIC.
        first: Nanos,
        /// When it was heard last, CLOCK_MONOTONIC.
        last: Nanos,
    },
    /// Not one address of the group could be put in place; none is. Without failures: there is no plan for the group.
    AcquireFailed {
        /// The group.
        group: GroupIndex,
        /// Why, an address each.
        failures: Vec<Failure>,
    },
    /// The group's addresses are gone, and it is released; or, with failures, it is not: this host goes on answering for some,
    /// though they are guarded no more.
    Released {
        /// The group.
        group: GroupIndex,
        /// The addresses that this host goes on answering for, or may.
        failures: Vec<Failure>,
        /// When the last one was gone, CLOCK_MONOTONIC.
        at: Nanos,
    },
    /// An address of a held group was not there any more (or not yet: its interface was missing), and was put back.
    Restored {
        /// The group.
        group: GroupIndex,
        /// The address.
        address: PlannedAddress,
        /// So often since that was reported last: it is reported at once first, then ever more rarely.
        times: u32,
    },
    /// An address of a group that is not held appeared on this host, and was removed.
    Swept {
        /// The group.
        group: GroupIndex,
        /// The address, as it is configured.
        address: PlannedAddress,
        /// As in [`Done::Restored`].
        times: u32,
    },
    /// Something about addresses did not succeed outside of an order. It is tried again.
    Failed {
        /// The group.
        group: GroupIndex,
        /// What.
        failures: Vec<Failure>,
    },
}

/// The course of an acquisition, each on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// It was decided.
    pub ordered: Nanos,
    /// The first addresses were in place.
    pub first_address: Nanos,
    /// All addresses were in place.
    pub addresses_in_place: Nanos,
    /// All were announced once.
    pub announced: Nanos,
}

/// What did not succeed, with which address, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The address.
    pub address: PlannedAddress,
    /// What was tried.
    pub step: Step,
    /// The kernel's reason.
    pub reason: String,
}

impl Failure {
    fn new(address: &PlannedAddress, step: Step, reason: impl fmt::Display) -> Self {
        Self { address: address.clone(), step, reason: reason.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not {}: {}", self.address, self.step, self.reason)
    }
}

/// What can fail for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put in place.
    Added,
    /// Announced; it is in place, and will be announced again.
    Announced,
    /// Taken away.
    Removed,
    /// Guarded: it is in place, and would not be put back.
    Guarded,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Announced => "announced",
            Self::Removed => "removed",
            Self::Guarded => "guarded",
        })
    }
}

/// One outcome an address, where a batch as a whole may have failed.
fn each(result: io::Result<Vec<NetlinkResult>>, count: usize) -> Vec<Result<(), String>> {
    match result {
        Ok(outcomes) => outcomes.into_iter().map(|outcome| outcome.map_err(describe)).collect(),
        Err(error) => vec![Err(error.to_string()); count],
    }
}

/// `No such device (ENODEV)`.
fn describe(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc())
}
