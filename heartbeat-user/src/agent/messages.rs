//! What the agent's threads and tasks say to each other: orders, commands, reports, and how jobs end.
//!
//! ```text
//!            orders                      done, as commands                    reports
//!   pulse ------------> takeover ------------------------------> pulse   pulse ---------> control <-- jobs that end
//!     ^                     |                                               what a fence says, checks
//!     |  commands           +----------- done, as a report -------------------->  |
//!     +---------------------------------------------------------------------------+
//! ```

use super::reload::Candidate;
use crate::{
    api::Problem,
    arbiter::ArbiterAnswer,
    command::CommandOutcome,
    core::{Arbitrate, Arbitrated, Event, Hook, OperatorOrder, Probed, Reason, Refusal},
    fence,
    system::clock,
    takeover::Done,
    types::{ChannelIndex, GroupIndex, Nanos},
};
use anyhow::Result;

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

/// To the control side, by a task of its own: the end of something that took its time.
pub(super) enum Job {
    /// An analysis or a look at our own networks, in what it means to the pulse thread.
    Probed(Command),
    /// The configuration was read for a reload.
    Read(Box<Result<Candidate>>),
    /// The index of a channel's interface, if that is there.
    Sought(ChannelIndex, Option<u32>),
    /// A hook of a group ended, or what was left of one where there is none to run; those with these marks.
    Hook(GroupIndex, Hook, Option<CommandOutcome>, Vec<String>),
    /// What the arbiter answered to the question of this number.
    Arbitrated(u32, Arbitrate, ArbiterAnswer),
    /// What a look at the arbiter found: it is well, or not.
    ArbiterLooked(Result<String, String>),
    /// What of this host is not as the configuration has it.
    HostLooked(Vec<Problem>),
    /// Whether the peer is off, of the fencing of this number.
    Fenced(u32, bool),
}

/// To the control side: how a fencing goes, and what the fence's devices say.
#[derive(Debug)]
pub(super) enum FenceNews {
    /// A level ended.
    Ran(fence::Ran),
    /// The agent of a device was asked: that of this place, from 0, among all devices.
    Asked(usize, fence::Asked),
}

/// To the control side: the check of this place in the configuration succeeds from now on, or fails.
pub(super) struct CheckNews {
    pub(super) check: usize,
    pub(super) healthy: bool,
    pub(super) outcome: CommandOutcome,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::{Failure, PlannedAddress, Stages, Step};

    const GROUP: GroupIndex = GroupIndex(1);
    const AT: Nanos = Nanos(5);

    #[test]
    fn the_end_of_an_order_is_told_to_the_core_and_nothing_else_is() {
        let address = || PlannedAddress { interface: "eth0".into(), ip: [192, 0, 2, 10].into(), prefix: 24 };
        let failed = || vec![Failure { address: address(), step: Step::Removed, reason: "EBUSY".into() }];
        let stages = Stages { announced: AT, ..Stages::default() };
        let still = |taken| Done::StillAnswered { group: GROUP, at: AT, by: Vec::new(), taken, told: true };
        let told = |done: Done| format!("{:?}", Command::of(&done));
        let command = |command: Command| format!("{:?}", Some(command));
        let none = "None";
        assert_eq!(
            told(Done::Acquired { group: GROUP, stages, failures: failed() }),
            command(Command::Acquired { group: GROUP, at: AT, in_place: true })
        );
        assert_eq!(told(still(false)), command(Command::Acquired { group: GROUP, at: AT, in_place: false }));
        // That it is taken all the same is told by what comes before or follows.
        assert_eq!(told(still(true)), none);
        assert_eq!(
            told(Done::Released { group: GROUP, failures: Vec::new(), at: AT }),
            command(Command::Released { group: GROUP, at: AT })
        );
        assert_eq!(
            told(Done::Released { group: GROUP, failures: failed(), at: AT }),
            command(Command::NotReleased { group: GROUP, at: AT })
        );
        assert_eq!(told(Done::Failed { group: GROUP, failures: failed() }), none);
        assert_eq!(told(Done::Swept { group: GROUP, address: address(), times: 1 }), none);
    }
}
