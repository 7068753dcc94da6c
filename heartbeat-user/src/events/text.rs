//! How an event is told: whom it is for, and what happened as one sentence.

use super::{ControlEvent, Kind, Obstacle};
use crate::{
    core::{Difference, Event, Place, Reason, Safe, Verdict, Why, Withheld},
    types::{Nanos, Node, Severity},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Something that can be told.
pub trait Tell: Serialize {
    /// What sort of event it is: its row in the catalogue.
    fn kind(&self) -> Kind;
    /// Whom it is for: what the row says, or which of what the row says.
    fn severity(&self) -> Severity;
    /// What happened. `subject`: the channel or group that it is about, by name; nothing where there is none.
    fn sentence(&self, subject: &str) -> String;
}

impl Tell for Event {
    fn kind(&self) -> Kind {
        self.into()
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Judged { verdict, .. } => match verdict {
                Verdict::FailLocal | Verdict::FailRemote | Verdict::ByGroup { .. } => Severity::Critical,
                Verdict::ConfigurationError | Verdict::Nothing(Why::BothFaulted) => Severity::Warning,
                Verdict::Nothing(_) => Severity::Info,
            },
            _ => self.kind().worst(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a flat match: one arm for each kind of event")]
    fn sentence(&self, subject: &str) -> String {
        match self {
            Self::Ready { node, resumed: true, .. } => format!("controller {node} goes on where it was"),
            Self::Ready { node, .. } => format!("controller {node} sends and listens"),
            Self::ChannelGood { .. } => format!("{subject} is GOOD"),
            Self::ChannelBad { silent_ns: Some(silent), .. } => format!("{subject} is BAD: silent for {silent}"),
            Self::ChannelBad { .. } => format!("{subject} is BAD: nothing was ever heard on it"),
            Self::ChannelFlapping { .. } => {
                format!("{subject} comes and goes; nothing more is said of that until it has been calm for 10 s")
            }
            Self::PeerPaired { before: 0, .. } => "met the peer".into(),
            Self::PeerPaired { .. } => "the peer's agent began a new life".into(),
            Self::PeerGood => "the peer is alive".into(),
            Self::PeerDead { stalled_ns: Some(stalled), .. } => {
                format!("the peer is dead: its host answers, its agent has stood still for {stalled}")
            }
            Self::PeerDead { silent_ns: Some(silent), .. } => {
                format!("the peer is dead: silent on every channel for {silent}")
            }
            Self::PeerDead { .. } => "the peer is not there: nothing was ever heard of it".into(),
            Self::PeerDied { left_ns: Nanos(0), .. } => "the peer's agent died; its kernel serves on".into(),
            Self::PeerDied { left_ns, .. } => {
                format!("the peer's agent died; its kernel serves on, and it may come back within {left_ns}")
            }
            Self::PeerLeft => "the peer is being stopped".into(),
            Self::PeerRestarting => "the peer's agent is being restarted".into(),
            Self::GroupAcquiring { reason, safe: None, .. } => {
                format!("{subject} is being acquired: {}", because(*reason))
            }
            Self::GroupAcquiring { reason, safe: Some(safe), .. } => {
                format!("{subject} is being acquired: {}; {}", because(*reason), made_safe(*safe))
            }
            Self::GroupAcquired { .. } => format!("{subject} is held here, its addresses are in place and announced"),
            Self::GroupReleasing { reason, .. } => format!("{subject} is being released: {}", because(*reason)),
            Self::GroupReleased { .. } => format!("{subject} is released"),
            Self::GroupKept { .. } => format!("{subject} could not be let go of and stays here"),
            Self::GroupStuck { .. } => {
                format!("{subject} could neither be had nor let go of: nobody has it until its on_release succeeds")
            }
            Self::HandOverOrdered { here: true, .. } => format!("{subject} is to be held here, by order"),
            Self::HandOverOrdered { .. } => format!("{subject} is to be held by the peer, by order"),
            Self::HandOverGivenUp { .. } => format!("{subject} was not handed over in time; the order is given up"),
            Self::Maintenance { on: true } => "maintenance begins: nothing moves".into(),
            Self::Maintenance { .. } => "maintenance ends".into(),
            Self::PeerMaintenance { on: true } => "the peer is in maintenance: nothing moves".into(),
            Self::PeerMaintenance { .. } => "the peer is in maintenance no longer".into(),
            Self::Fencing => "the silent peer is being fenced".into(),
            Self::FencingCalledOff => "the fencing of the peer is called off".into(),
            Self::DualOwnership { kept_by, at_most_ns, .. } => {
                format!(
                    "{subject} was held by both controllers for at most {at_most_ns}; controller {kept_by} keeps it"
                )
            }
            Self::TakeoverWithheld { reason, left_ns: None } => format!("nothing is taken over: {}", withheld(*reason)),
            Self::TakeoverWithheld { reason, left_ns: Some(left) } => {
                format!("nothing is taken over for {left}: {}", withheld(*reason))
            }
            Self::ArbiterGranted { .. } => "the arbiter grants this controller what must not be held twice".into(),
            Self::ArbiterDenied { .. } => "the arbiter has granted to the peer what must not be held twice".into(),
            Self::ArbiterUnreachable => "the arbiter is needed and does not answer".into(),
            Self::NetworksProbed { quick: true, .. } => "the own interfaces were looked at".into(),
            Self::NetworksProbed { .. } => "the own networks were probed".into(),
            Self::Judged { verdict, .. } => judged(*verdict).into(),
            Self::AnalysisGivenUp { done_here, done_there, .. } => match (done_here, done_there) {
                (true, false) => "an analysis is given up: the peer did not finish it".into(),
                (false, true) => "an analysis is given up: it was not finished here".into(),
                _ => "an analysis is given up: neither side finished it".into(),
            },
            Self::FaultPlaced { place, .. } => format!("{subject}: {}", fault(*place)),
            Self::FaultGone { .. } => format!("{subject} has no fault any more"),
            Self::ConfigurationDiffers { what, newer, channels_only_here, groups_only_here, only_there } => {
                let here = (channels_only_here | groups_only_here).count_ones();
                let count = match (here, only_there) {
                    (0, 0) => String::new(),
                    (here, there) => format!(" ({here} only here, {there} names only there)"),
                };
                let newer = newer.map_or(String::new(), |newer| {
                    format!("; {newer}'s file is the newer one: {} is to load it", newer.other())
                });
                let (or, so) = match what {
                    Difference::Groups => (", or judges them by other networks or checks", ": no group moves"),
                    Difference::Interval => ("", ": the longer one counts"),
                    Difference::Channels => ("", ""),
                };
                format!("the peer's configuration has other {}{or}{count}{so}{newer}", difference(*what))
            }
            Self::ConfigurationAgrees { what } => {
                format!("the configurations have the same {} again", difference(*what))
            }
            Self::CarrierLost { .. } => format!("{subject}: the interface here lost its carrier"),
            Self::CarrierFound { .. } => format!("{subject}: the interface here has a carrier"),
            Self::OwnAddressGone { .. } => format!("{subject}: our own address is gone from the interface here"),
            Self::OwnAddressBack { .. } => format!("{subject}: our own address is on the interface here again"),
            Self::InterfaceGone { .. } => format!("{subject}: the interface here is gone"),
            Self::InterfaceBack { .. } => format!("{subject}: the interface here is back"),
            Self::SocketFailed { errno, .. } => {
                format!(
                    "{subject}: cannot send: {}; tried again from now on",
                    std::io::Error::from_raw_os_error(*errno)
                )
            }
            Self::SocketWorks { .. } => format!("{subject}: sends again"),
            Self::Stalled { late_ns } => format!("the agent or its host stood still for {late_ns}"),
            Self::Stopping => "the agent is being stopped".into(),
        }
    }
}

/// Why a group is acquired or released.
#[must_use]
pub const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Home => "nobody holds it, and it is at home here",
        Reason::PeerDead => "the peer is dead",
        Reason::PeerLeft => "the peer has left or let go of it",
        Reason::Resumed => "it was held here before the agent was restarted",
        Reason::PeerHasPrecedence => "both held it, and the peer has precedence",
        Reason::PeerFailed => "both judged that it is better off here",
        Reason::WeFailed => "both judged that it is better off with the peer",
        Reason::Ordered => "an operator ordered it",
        Reason::Forced => "an operator ordered it, whatever the silent peer may have",
        Reason::HandedOver => "it is handed over",
        Reason::FailedBack => "it goes home",
        Reason::Unheld => "its home does not take it",
        Reason::Stopping => "the agent is being stopped",
        Reason::Failed => "none of its addresses could be added",
        Reason::Kept => "it could not be let go of",
        Reason::Leftover => "an earlier life of the agent held it",
        Reason::CutOff => "this controller is cut off, and the peer counts on its letting go",
        Reason::GrantLost => "the peer does not hear this controller, and the arbiter does not grant it",
    }
}

/// What makes sure that a silent peer does not serve a group, too.
#[must_use]
pub const fn made_safe(safe: Safe) -> &'static str {
    match safe {
        Safe::Closed => "the peer's kernel keeps silent for it",
        Safe::LeaseOver => "the peer's agent died, and the lease of its kernel is over",
        Safe::Fenced => "the peer is fenced",
        Safe::Granted => "the arbiter granted it",
        Safe::Promised => "the peer promised to let go of it within a time that is over",
    }
}

/// Why nothing is taken over.
#[must_use]
pub const fn withheld(reason: Withheld) -> &'static str {
    match reason {
        Withheld::Isolated => {
            "none of our own networks answers, or none has a carrier: it is this controller that is cut off"
        }
        Withheld::Stranger => "heartbeats arrive that are not our peer's: somebody is there",
        Withheld::Maintenance => "a controller is in maintenance",
        Withheld::Kept => "the peer could not let go of it when it left",
        Withheld::PeerStalled => "the peer's host answers, its agent stands still",
        Withheld::NotFenced => "the peer could not be fenced",
        Withheld::Unanswered => "whether any of our own networks answers could not be found out in time",
        Withheld::Occupied => {
            "another program has the UDP port of one of our channels: somebody else speaks for this controller"
        }
        Withheld::PeerDied => "the peer's agent died, its host answers, and it may come back in time",
        Withheld::Promised => "the time within which the peer promised to let go is not over",
        Withheld::InUse => {
            "the peer's agent is gone, and what its hooks have in use there nobody lets go of: only a fence makes that safe"
        }
        Withheld::Denied => "the arbiter has granted it to the peer",
        Withheld::Unarbitrated => "the arbiter does not answer",
        Withheld::Exclusive => {
            "it must not be held twice, and neither fence, arbiter nor a promise says that the peer does not have it"
        }
    }
}

/// Where a fault lies.
#[must_use]
pub const fn fault(place: Place) -> &'static str {
    match place {
        Place::LocalPort => "our own port: its interface is gone or down, or has lost its address",
        Place::LocalCable => "our own cable or the switch port at its end: no carrier",
        Place::LocalPortOrCable => "our own port or cable: the network answers to the peer, not to us",
        Place::RemotePortOrCable => "the peer's port or cable: the network answers to us, not to it",
        Place::Network => "the network itself: it answers to neither controller",
        Place::OneWayToUs => "one way: the peer hears us, we do not hear it",
        Place::OneWayToPeer => "one way: we hear the peer, it does not hear us",
        Place::PathBetween => "the path between: the network answers to both, heartbeats do not pass",
        Place::NetworkOrPath => "the network or the path between: heartbeats do not pass, nobody else is known there",
    }
}

const fn judged(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::ConfigurationError => "both judged: the controllers have other channels configured, nothing moves",
        Verdict::Nothing(Why::AllWell) => "both judged: all networks are well",
        Verdict::Nothing(Why::BothFaulted) => "both judged: both have faults, nothing moves",
        Verdict::Nothing(Why::Recovering) => "both judged: what failed answers again, nothing moves",
        Verdict::Nothing(Why::NotBetter) => "both judged: the other one is no better, nothing moves",
        Verdict::Nothing(Why::NotSufficient) => "both judged: the better one could not carry all, nothing moves",
        Verdict::FailLocal => "both judged this controller to be failed: its groups go to the peer",
        Verdict::FailRemote => "both judged the peer to be failed: its groups come here",
        Verdict::ByGroup { .. } => "both judged: both have faults, each group goes where all of its networks work",
    }
}

/// The first reasons, and how many more there are.
fn first(reasons: &[Obstacle]) -> String {
    /// So many are told; the others are in the evidence.
    const TOLD: usize = 3;
    let told: Vec<_> = reasons.iter().take(TOLD).map(|reason| reason.text.as_str()).collect();
    match reasons.len().saturating_sub(TOLD) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}

/// Of what is told once for several times.
fn often(times: u32) -> String {
    if times > 1 { format!(", {times} times") } else { String::new() }
}

/// What two configurations differ in.
#[must_use]
pub const fn difference(what: Difference) -> &'static str {
    match what {
        Difference::Channels => "channels",
        Difference::Groups => "groups",
        Difference::Interval => "interval",
    }
}

impl Tell for ControlEvent {
    fn kind(&self) -> Kind {
        self.into()
    }

    fn severity(&self) -> Severity {
        let is_well = match self {
            Self::CommandRan { succeeded, .. } | Self::FenceRan { succeeded, .. } => *succeeded,
            Self::CheckChanged { healthy, .. } => *healthy,
            Self::FenceDevice { answers, .. } => *answers,
            Self::ArbiterChecked { well, .. } => *well,
            _ => false,
        };
        if is_well { self.kind().mildest() } else { self.kind().worst() }
    }

    fn sentence(&self, subject: &str) -> String {
        match self {
            Self::ChannelAttached { xdp_mode, why: None, .. } => format!("{subject}: heartbeats come by {xdp_mode}"),
            Self::ChannelAttached { xdp_mode, why: Some(why), .. } => {
                format!("{subject}: heartbeats come by {xdp_mode}: {why}")
            }
            Self::TakeoverMeasured { addresses, announced_ns, .. } => {
                format!("{subject}: {addresses} addresses were in place and announced after {announced_ns}")
            }
            Self::AddressFailed { address, why, .. } => format!("{subject}: {address}: {why}"),
            Self::StillAnswered { taken, by, .. } => format!(
                "{subject}: somebody else still answers for {}; {}",
                by.join(", "),
                if *taken { "taken all the same" } else { "left to him" }
            ),
            Self::Rival { address, mac, .. } => format!("{subject}: {mac} claims {address}, which is held here"),
            Self::RivalGone { address, mac, lasted_ns, .. } => {
                format!("{subject}: {mac} claims {address} no longer, after {lasted_ns}")
            }
            Self::AddressRestored { address, times, .. } => {
                format!("{subject}: {address} had been taken away and was put back{}", often(*times))
            }
            Self::AddressSwept { address, times, .. } => {
                format!("{subject}: {address} was here without being ours: removed{}", often(*times))
            }
            Self::CommandRan { what, how, took_ns, .. } => {
                format!("{subject}: {}: {how} after {took_ns}", what.name())
            }
            Self::FenceRan { by, succeeded: true, how, took_ns, .. } => {
                format!("the peer is switched off: {by} {how}, after {took_ns}")
            }
            Self::FenceRan { level, by, how, took_ns, .. } => {
                format!("{level}: the peer is not switched off: {by} {how}, after {took_ns}")
            }
            Self::FenceUnfit { level, by, why } => format!("{level}: {by} could not switch the peer off: {why}"),
            Self::FenceDevice { level, by, answers: true, .. } => format!("{level}: the device of {by} answers again"),
            Self::FenceDevice { level, by, how, .. } => {
                format!("{level}: the device of {by} cannot be relied on: {how}")
            }
            Self::WatchdogRuns { device, timeout_ns, .. } => {
                format!("{device} resets this host when the agent does not do its work for {timeout_ns}")
            }
            Self::WatchdogMissing { device, why } => {
                format!("{device} cannot be had: {why}; nobody resets this host when the agent does not do its work")
            }
            Self::WatchdogLeft { device, timeout_ns } => {
                format!(
                    "the agent ends without having let go of everything: {device} resets this host within {timeout_ns}"
                )
            }
            Self::CheckChanged { check, healthy: true, .. } => format!("check {check} succeeds"),
            Self::CheckChanged { check, how, .. } => format!("check {check} fails: {how}"),
            Self::ArbiterAnswered { said, why } => format!("the arbiter was asked: {said}: {why}"),
            Self::ArbiterChecked { well: true, how } => format!("the arbiter is well: {how}"),
            Self::ArbiterChecked { how, .. } => format!("the arbiter is not well: {how}"),
            Self::NotReady { reasons } => format!("a failover would not work now: {}", first(reasons)),
            Self::ReadyAgain => "a failover would work again".into(),
            Self::HostProblem { what } => format!("{what}; the agent goes on without, and looks again"),
            Self::AddressForgotten { address } => format!("{address} belongs to nothing any more: removed"),
            Self::AddressStays { address, why } => {
                format!("{address} belongs to nothing any more and could not be removed: {why}; tried again")
            }
            Self::ReloadWaits { why } => format!("the reload waits: {why}"),
            Self::RuntimeDirRestored { path } => format!("{path} had been emptied; what belongs there is there again"),
            Self::KernelRestored { what } => {
                format!("somebody had removed from this kernel: {what}; it is there again")
            }
            Self::ReloadRefused { why } => format!("not reloaded, everything stays as it is: {why}"),
            Self::Stopped { kept } => stopped(kept),
            Self::Restarting => "the agent is replaced by a new life of itself".into(),
        }
    }
}

fn stopped(kept: &[String]) -> String {
    if kept.is_empty() {
        return "the agent ended; everything is released".into();
    }
    let kept = kept.join(", ");
    format!(
        "the agent ended, and what it could not let go of is still here: {kept}; `heartbeat let-go` tries again, and so does the \
         next life"
    )
}

/// The names behind the indices of events.
#[derive(Clone, Debug)]
pub struct EventNames {
    /// Who tells.
    pub node: Node,
    /// Of channels.
    pub channels: Vec<String>,
    /// Of groups.
    pub groups: Vec<String>,
}

impl EventNames {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &crate::config::Config, node: Node) -> Self {
        Self {
            node,
            channels: config.channels.iter().map(|c| c.name.clone()).collect(),
            groups: config.groups.iter().map(|g| g.name.clone()).collect(),
        }
    }

    /// The fields of an event: channels and groups by name.
    #[must_use]
    pub fn fields(&self, event: &impl Serialize) -> Map<String, Value> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else { return Map::new() };
        self.name(&mut fields);
        fields
    }

    fn name(&self, fields: &mut Map<String, Value>) {
        for (key, value) in fields {
            let names = if key.starts_with("group") { &self.groups } else { &self.channels };
            match value {
                Value::Object(within) => self.name(within),
                Value::Number(number) => {
                    let Some(number) = number.as_u64() else { continue };
                    match key.as_str() {
                        "channel" | "group" => {
                            if let Some(name) = names.get(number as usize) {
                                *value = name.as_str().into();
                            }
                        }
                        // A bit for each channel or group.
                        "networks" | "configured" | "operational" | "unsure" | "answered" | "groups_here"
                        | "groups_there" | "channels_only_here" | "groups_only_here" => {
                            let of = (0..64).filter(|i| number >> i & 1 != 0);
                            *value = of
                                .map(|i| names.get(i).map_or_else(|| i.into(), |name| Value::from(name.as_str())))
                                .collect();
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ChannelIndex;
    use serde_json::json;

    fn names() -> EventNames {
        EventNames { node: Node::A, channels: vec!["net1".into(), "net2".into()], groups: vec![] }
    }

    #[test]
    fn events_name_their_channel_and_keep_their_fields() {
        let event = Event::ChannelBad { channel: ChannelIndex(0), silent_ns: Some(Nanos(300_000_000)) };
        let fields = names().fields(&event);
        assert_eq!(Value::Object(fields), json!({"event": "channel_bad", "channel": "net1", "silent_ns": 300_000_000}));
        assert_eq!(event.sentence("net1"), "net1 is BAD: silent for 300.000 ms");
    }

    #[test]
    fn bits_of_channels_become_their_names() {
        let event =
            Event::NetworksProbed { analysis: 3, quick: true, answered: 3, operational: 2, healthy: 1, qos: 100 };
        let fields = names().fields(&event);
        assert_eq!(fields["answered"], json!(["net1", "net2"]));
        assert_eq!(fields["operational"], json!(["net2"]));
        assert_eq!((&fields["healthy"], &fields["qos"]), (&json!(1), &json!(100)));
    }

    #[test]
    fn an_index_without_a_name_stays_a_number() {
        let event = Event::ChannelGood { channel: ChannelIndex(7) };
        assert_eq!(names().fields(&event)["channel"], 7);
    }
}
