//! What the agent's threads say to each other.

use crate::{
    core::{Arbitrate, Arbitrated, Event, Hook, OperatorOrder, Probed, Reason, Refusal},
    system::clock,
    takeover::Done,
    types::{ChannelIndex, GroupIndex, Nanos},
};

/// To the pulse thread.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// A group's addresses are in place since `at`, or none of them could be added.
    Acquired {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
        /// Whether any address is in place.
        in_place: bool,
    },
    /// A group was not acquired: a fresh look showed that none of our own channels has a carrier.
    Isolated {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
    },
    /// A group's addresses are gone since `at`.
    Released {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
    },
    /// Some of a group's addresses could not be removed.
    NotReleased {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
    },
    /// A hook of a group ended.
    HookEnded {
        /// The group.
        group: GroupIndex,
        /// Which.
        hook: Hook,
        /// Whether it ended with 0, in time.
        succeeded: bool,
    },
    /// The fencing ended.
    Fenced {
        /// Of this run.
        number: u32,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// The arbiter answered.
    Arbitrated {
        /// The question of this number.
        number: u32,
        /// What it said.
        outcome: Arbitrated,
    },
    /// A health check has a new result.
    Check {
        /// Its place in the configuration.
        check: usize,
        /// Whether it succeeds.
        healthy: bool,
    },
    /// An operator orders something.
    Order {
        /// To be named in the answer.
        id: u64,
        /// What.
        order: OperatorOrder,
    },
    /// A channel's interface was attached to anew.
    Attached {
        /// The channel.
        channel: ChannelIndex,
        /// Whether its heartbeats come by the socket.
        by_socket: bool,
    },
    /// A channel's interface, which was absent, was found.
    Found {
        /// The channel.
        channel: ChannelIndex,
        /// The interface's index.
        index: u32,
    },
    /// A local analysis ended.
    Probed {
        /// Its number.
        analysis: u32,
        /// What it saw.
        probed: Probed,
    },
    /// A look at our own networks ended.
    Looked {
        /// Its number.
        number: u32,
        /// What it saw.
        probed: Probed,
    },
    /// Whether nothing of this host speaks against its taking over: the peer is told.
    Fitness(bool),
    /// End for good: release everything and say so.
    Stop,
    /// End for a new life: keep everything.
    Restart,
}

impl Command {
    /// What the core is to know of what the takeover thread did.
    #[must_use]
    pub fn of(done: &Done) -> Option<Self> {
        Some(match *done {
            Done::Acquired { group, stages, .. } => Self::Acquired { group, at: stages.announced, in_place: true },
            Done::AcquireFailed { group, .. } => Self::Acquired { group, at: clock::monotonic(), in_place: false },
            Done::StillAnswered { group, at, taken: false, .. } => Self::Acquired { group, at, in_place: false },
            Done::Isolated { group, at } => Self::Isolated { group, at },
            Done::Released { group, at, ref failures } if failures.is_empty() => Self::Released { group, at },
            Done::Released { group, at, .. } => Self::NotReleased { group, at },
            Done::StillAnswered { .. }
            | Done::Restored { .. }
            | Done::Rival { .. }
            | Done::RivalGone { .. }
            | Done::Swept { .. }
            | Done::Failed { .. } => return None,
        })
    }
}

/// To the control side.
#[derive(Clone, Debug)]
pub enum Report {
    /// Something happened.
    Event {
        /// On CLOCK_REALTIME, in ns since 1970.
        time_ns: u64,
        /// The same on CLOCK_MONOTONIC.
        at: Nanos,
        /// What.
        event: Event,
    },
    /// What becomes of an operator's order of this number.
    Answer(u64, Result<(), Refusal>),
    /// The local analysis of this number is to be run.
    Probe(u32),
    /// It is to be looked whether any of our networks answers.
    Look(u32),
    /// A hook of a group is to be run.
    Hook(GroupIndex, Hook, Reason),
    /// The peer is to be fenced, by this number.
    Fence(u32),
    /// It is to be ended.
    FenceAbort(u32),
    /// The arbiter is to be asked, by this number.
    Arbitrate(u32, Arbitrate),
    /// A channel's interface wants the XDP program.
    Attach(ChannelIndex),
    /// A channel's interface has a member that it did not have before.
    NewMember(ChannelIndex),
    /// Heartbeats of a channel come by its socket, although an XDP program should see them.
    Unseen(ChannelIndex),
    /// A channel's interface is absent: it is to be looked for by its name.
    Seek(ChannelIndex),
    /// A channel's disk has failed, and why.
    DiskFailed(ChannelIndex, String),
    /// A read or write of a channel's disk has not returned in time.
    DiskHangs(ChannelIndex),
    /// What the takeover thread did.
    Takeover(Done),
}

/// The group that something was done with.
#[must_use]
pub const fn group_of(done: &Done) -> GroupIndex {
    match *done {
        Done::Acquired { group, .. }
        | Done::AcquireFailed { group, .. }
        | Done::Isolated { group, .. }
        | Done::Released { group, .. }
        | Done::Restored { group, .. }
        | Done::StillAnswered { group, .. }
        | Done::Rival { group, .. }
        | Done::RivalGone { group, .. }
        | Done::Swept { group, .. }
        | Done::Failed { group, .. } => group,
    }
}
