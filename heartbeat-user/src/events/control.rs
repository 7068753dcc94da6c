//! The events of the control side.

use super::Obstacle;
use crate::{
    core::Hook,
    types::{ChannelIndex, GroupIndex, Nanos, XdpMode},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the arbiter answered, without times and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArbiterSaid {
    /// This controller has what it asked for.
    Granted,
    /// What it gave back is nobody's.
    Released,
    /// The other one has it.
    Denied,
    /// Nothing that says anything.
    Unreachable,
}

impl fmt::Display for ArbiterSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted",
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
        })
    }
}

/// An event of the control side, beside the core's own.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum ControlEvent {
    /// How a channel's heartbeats are received, and why not in a better way.
    ChannelAttached { channel: ChannelIndex, xdp_mode: XdpMode, why: Option<String> },
    /// The course of a takeover, counted from the decision.
    TakeoverMeasured {
        group: GroupIndex,
        addresses: usize,
        first_address_ns: Nanos,
        addresses_in_place_ns: Nanos,
        announced_ns: Nanos,
    },
    /// An address could not be added, announced or removed.
    AddressFailed { group: GroupIndex, address: String, why: String },
    /// Somebody else answers for addresses that were to be taken over: they are, or they are not.
    StillAnswered { group: GroupIndex, taken: bool, by: Vec<String> },
    /// A neighbour claims an address that we hold (RFC 5227): two hold it.
    Rival { group: GroupIndex, address: String, mac: String },
    /// It is not heard any more, or we let go of the group.
    RivalGone { group: GroupIndex, address: String, mac: String, lasted_ns: Nanos },
    /// An address that somebody had taken away was put back, so often since that was told last.
    AddressRestored { group: GroupIndex, address: String, times: u32 },
    /// An address that we do not own was on this host, and was removed, so often since that was told last.
    AddressSwept { group: GroupIndex, address: String, times: u32 },
    /// A hook ended.
    CommandRan { what: Hook, group: GroupIndex, succeeded: bool, how: String, took_ns: Nanos, output: String },
    /// A level of the fence ended: the peer is switched off, or the next one's turn has come.
    FenceRan { level: String, by: String, succeeded: bool, how: String, took_ns: Nanos, output: String },
    /// A fence agent cannot be had, or does not take its options.
    FenceUnfit { level: String, by: String, why: String },
    /// A fence device could not be relied on from now on, or can again.
    FenceDevice { level: String, by: String, answers: bool, how: String, output: String },
    /// The host's watchdog runs, and is fed; `adopted`: as the life before did.
    WatchdogRuns { device: String, timeout_ns: Nanos, adopted: bool },
    /// It cannot be had.
    WatchdogMissing { device: String, why: String },
    /// The agent ended without having let go of everything, and nobody feeds it any more.
    WatchdogLeft { device: String, timeout_ns: Nanos },
    /// A health check succeeds from now on, or fails.
    CheckChanged { check: String, healthy: bool, how: String, output: String },
    /// What the arbiter answered, where that is something else than before, and what that rests on.
    ArbiterAnswered { said: ArbiterSaid, why: String },
    /// A look found that the arbiter would answer from now on, or that something of it would not.
    ArbiterChecked { well: bool, how: String },
    /// A failover would not work from now on, or for other reasons than was said before: all of them.
    NotReady { reasons: Vec<Obstacle> },
    /// It would, from now on.
    ReadyAgain,
    /// Something of this host is not as the configuration has it: the agent goes on without, and looks again.
    HostProblem { what: String },
    /// An address that an earlier life had, and that nothing is to have any more, was removed.
    AddressForgotten { address: String },
    /// It could not be: the host goes on answering for it. Tried again.
    AddressStays { address: String, why: String },
    /// A reload was asked for and waits.
    ReloadWaits { why: String },
    /// A reload was asked for and cannot be done: everything stays as it is.
    ReloadRefused { why: String },
    /// The runtime directory was emptied; what belongs there is there again.
    RuntimeDirRestored { path: String },
    /// Somebody had removed programs or pins from the kernel; they are there again.
    KernelRestored { what: String },
    /// The agent ended; everything is released but the groups and addresses in `kept`.
    Stopped { kept: Vec<String> },
    /// The agent is replaced by a new life of itself.
    Restarting,
}
