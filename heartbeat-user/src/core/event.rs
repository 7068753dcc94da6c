//! What happened: one typed event for each change that an operator would want to know of.

use super::judge::{Evidence, PathFacts, Place, Verdict};
use crate::types::{ChannelIndex, GroupIndex, Nanos, Node};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a group is acquired or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody holds it and this is its home.
    Home,
    /// The peer is dead (FIG. 6, step 606).
    PeerDead,
    /// The peer has left, or lets go of it.
    PeerLeft,
    /// We held it before the agent was restarted, and were back in time.
    Resumed,
    /// Both hold it, and the peer's term is higher; or equal, and the peer had it first, or it is at home there.
    PeerHasPrecedence,
    /// Both controllers judged the peer to be failed (FIG. 9, step 938), and it has let go.
    PeerFailed,
    /// Both judged us to be failed (936), and the peer takes over.
    WeFailed,
    /// An operator ordered it to be held here.
    Ordered,
    /// An operator ordered it to be held here, whatever the silent peer may have.
    Forced,
    /// It is handed over: somebody asked for that here or there.
    HandedOver,
    /// It goes home: both controllers have been well for as long as configured.
    FailedBack,
    /// Its home does not take it.
    Unheld,
    /// The agent is being stopped.
    Stopping,
    /// None of its addresses could be added.
    Failed,
    /// It could not be let go of.
    Kept,
    /// An earlier life of the agent held it, and it is not ours any more.
    Leftover,
    /// We are cut off: the peer hears us nowhere, and none of our own networks works, or the peer that we hear says so.
    CutOff,
    /// The peer does not hear us, and the arbiter does not grant it to us, or not any more.
    GrantLost,
}

/// Why nothing is acquired although the peer is silent. When in doubt, do nothing and say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// None of our own channels has a carrier, or none of our own networks answers: it is us who are cut off.
    Isolated,
    /// Heartbeats arrive that are not our peer's: another key, pair, channel or letter; or recordings, or a peer that does
    /// not hear us. Somebody is there.
    Stranger,
    /// An operator wants nothing to move, here or there.
    Maintenance,
    /// The peer could not let go of it, and left.
    Kept,
    /// The peer's host answers, its agent stands still, and the grace for that is not over.
    PeerStalled,
    /// The peer could not be fenced: it may still be at work.
    NotFenced,
    /// Whether any of our own networks answers could not be found out in time. A while later, a carrier is enough.
    Unanswered,
    /// Another program has the UDP port of one of our channels: somebody else speaks for this controller.
    Occupied,
    /// The peer's agent died, its host answers, and it may still come back in time.
    PeerDied,
    /// Of exclusive groups: the peer promised to let go of them, and the time for that is not over.
    Promised,
    /// Of exclusive groups: the peer's agent is not there, and what its hooks have in use there, nobody lets go of. Only a fence, a
    /// watchdog on that host, or an operator makes it safe.
    InUse,
    /// Of exclusive groups: the arbiter has granted them to the peer.
    Denied,
    /// Of exclusive groups: the arbiter is out of reach.
    Unarbitrated,
    /// Of exclusive groups: nothing says that the peer does not have them, and nothing will.
    Exclusive,
}

/// What made it safe to take a group from a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Safe {
    /// The peer's kernel keeps silent for it, in place of an agent that died or stands still.
    Closed,
    /// The peer's agent died, and the lease of its kernel, which hears us no more, is over.
    LeaseOver,
    /// The peer was fenced.
    Fenced,
    /// The arbiter granted it.
    Granted,
    /// The peer promised to let go of it within a time that is over.
    Promised,
}

/// What the two controllers' configurations differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The channels (FIG. 9, step 908).
    Channels,
    /// The groups: their names, homes or addresses. Nothing changes hands while that is so.
    Groups,
    /// The interval. The longer one counts.
    Interval,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Channels, Self::Groups, Self::Interval];
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Event {
    /// The agent sends and listens.
    Ready { node: Node, incarnation: u64, resumed: bool },
    /// A channel's counter is above zero again, or for the first time (FIG. 4, step 416).
    ChannelGood { channel: ChannelIndex },
    /// A channel's counter was found at zero, or its first heartbeat never came (FIG. 4, steps 414, 426).
    ChannelBad { channel: ChannelIndex, silent_ns: Option<Nanos> },
    /// A channel comes and goes. Nothing more is told of that until it has been calm for ten seconds, and then what it has
    /// come to.
    ChannelFlapping { channel: ChannelIndex },
    /// The peer proved to be alive now: heartbeats of this incarnation count.
    PeerPaired { incarnation: u64, before: u64 },
    /// Some channel works.
    PeerGood,
    /// All channels are at zero (FIG. 6, steps 604, 606). `overshoot_ns`: what the verdict came late.
    /// `stalled_ns`: its host still answers, and its agent has stood still for so long.
    PeerDead { silent_ns: Option<Nanos>, overshoot_ns: Option<Nanos>, stalled_ns: Option<Nanos> },
    /// The peer's kernel says that its agent died, so long ago; it may come back and go on within what is left.
    PeerDied { dead_ns: Nanos, left_ns: Nanos },
    /// The peer said that it is being stopped.
    PeerLeft,
    /// The peer said that its agent is being restarted.
    PeerRestarting,
    /// We claim a group; its addresses are being added. `safe`: what makes sure that a silent peer does not serve it.
    GroupAcquiring { group: GroupIndex, reason: Reason, term: u64, safe: Option<Safe> },
    /// A group's addresses are in place and announced.
    GroupAcquired { group: GroupIndex },
    /// A group's addresses are being removed.
    GroupReleasing { group: GroupIndex, reason: Reason },
    /// A group's addresses are gone.
    GroupReleased { group: GroupIndex },
    /// A group could not be let go of: it is held on.
    GroupKept { group: GroupIndex },
    /// A group could neither be had nor let go of: nobody has it until that succeeds.
    GroupStuck { group: GroupIndex },
    /// An operator wants a group to be held here, or there.
    HandOverOrdered { group: GroupIndex, here: bool },
    /// That was not to be had in time, or not any more.
    HandOverGivenUp { group: GroupIndex },
    /// An operator wants nothing to move until further notice, or no longer so.
    Maintenance { on: bool },
    /// The same, said by the peer.
    PeerMaintenance { on: bool },
    /// The peer is being fenced: nothing is taken from it before that succeeds.
    Fencing,
    /// The fencing is ended: the peer was heard meanwhile, or nothing is to be taken from it any more.
    FencingCalledOff,
    /// Both controllers held a group, for at most this long.
    DualOwnership { group: GroupIndex, kept_by: Node, at_most_ns: Nanos },
    /// The peer is silent and its groups are not acquired; `left_ns`: for so long, where that is known.
    TakeoverWithheld { reason: Withheld, left_ns: Option<Nanos> },
    /// The arbiter grants us groups, for so long if it is not asked again.
    ArbiterGranted { groups_here: u64, for_ns: Nanos },
    /// The arbiter has granted groups to the peer.
    ArbiterDenied { groups_there: u64 },
    /// The arbiter does not answer, and is needed.
    ArbiterUnreachable,
    /// A local analysis ended (FIG. 8): whether it rests on own facts and what is known already; the networks that work, a bit
    /// each; those of them that count, since they have not failed to shortly before; the health checks that succeed; and the
    /// QOS that all of that comes to.
    NetworksProbed { analysis: u32, quick: bool, answered: u64, operational: u64, healthy: u64, qos: u32 },
    /// Both controllers' analyses are there, and this follows (FIG. 7, step 718; FIG. 9).
    Judged { analysis: u32, verdict: Verdict, evidence: Evidence },
    /// An analysis was not done on both sides in time: nothing follows from it.
    AnalysisGivenUp { analysis: u32, done_here: bool, done_there: bool },
    /// Where a network's fault lies (A7).
    FaultPlaced { channel: ChannelIndex, place: Place, facts: PathFacts },
    /// A network has no fault any more.
    FaultGone { channel: ChannelIndex },
    /// The controllers' configurations differ: what only this one has, a bit each, and how many channels and groups only the
    /// other one has; all 0 where the same names are defined otherwise. `newer`: whose file was changed last.
    ConfigurationDiffers {
        what: Difference,
        newer: Option<Node>,
        channels_only_here: u64,
        groups_only_here: u64,
        only_there: u32,
    },
    /// They no longer do.
    ConfigurationAgrees { what: Difference },
    /// A channel's interface lost its carrier.
    CarrierLost { channel: ChannelIndex },
    /// It has one again.
    CarrierFound { channel: ChannelIndex },
    /// Our own address is not on a channel's interface any more.
    OwnAddressGone { channel: ChannelIndex },
    /// It is there again.
    OwnAddressBack { channel: ChannelIndex },
    /// A channel's interface is gone.
    InterfaceGone { channel: ChannelIndex },
    /// It is back, perhaps another one of the same name.
    InterfaceBack { channel: ChannelIndex },
    /// A socket could not be had or broke (claim 2); `errno` as in errno(3). Tried again from now on.
    SocketFailed { channel: ChannelIndex, errno: i32 },
    /// It works again.
    SocketWorks { channel: ChannelIndex },
    /// The pulse thread came late by an interval and at least 10 ms: the host or the agent stood still.
    Stalled { late_ns: Nanos },
    /// The agent is being stopped.
    Stopping,
}
