//! The catalogue: one row for each kind of event. What tells, keeps, shows or explains events reads it, and has no list of its own.
//!
//! A new event is two places: its variant, which the compiler then wants a sentence of ([`super::text`]), and its row here. A variant
//! without a row, or a row without a variant, does not compile.

use super::ControlEvent;
use crate::{core::Event, types::Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The agent that tells it.
    Agent,
    /// The host that it runs on.
    Host,
    /// The other controller.
    Peer,
    /// The two together.
    Pair,
    /// A channel.
    Channel,
    /// A group.
    Group,
    /// An address of a group.
    Address,
    /// What the two configurations differ in.
    Configuration,
    /// A health check.
    Check,
    /// A level of the fence.
    Fence,
    /// The arbiter.
    Arbiter,
    /// The host's watchdog.
    Watchdog,
}

impl Subject {
    /// The field of the record that says which one, where there are several.
    #[must_use]
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::Agent | Self::Host | Self::Peer | Self::Pair | Self::Arbiter | Self::Watchdog => None,
            Self::Channel => Some("channel"),
            Self::Group => Some("group"),
            Self::Address => Some("address"),
            Self::Configuration => Some("what"),
            Self::Check => Some("check"),
            Self::Fence => Some("level"),
        }
    }
}

/// What an event is to whoever looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A verdict, or what goes with one: kept beside the ring of events, and shown apart.
    Verdict,
    /// A fault: what came since it began may follow from it.
    Fault,
    /// Part of what follows from faults.
    Consequence,
    /// Found by the pulse thread in what came in: how long that took from when it was drained is recorded (`drain_to_verdict`). The
    /// peer's death that its kernel tells of is timed, though no verdict: nobody judged it.
    Timed,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How bad it is; where its fields decide, the worst comes first.
    pub severities: &'static [Severity],
    /// What it is about.
    pub subject: Subject,
    /// What it says stands until the same subject has one of these, or the like of it again.
    pub until: &'static [Kind],
    /// What it is to whoever looks back.
    pub roles: &'static [Role],
}

macro_rules! catalogue {
    ($($event:ident {
        $($name:ident = $code:literal, [$($severity:ident),+], $subject:ident, until [$($until:ident),*] $(, $role:ident)*;)+
    })+) => {
        /// What sort of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[expect(missing_docs, reason = "the events of the same names say what they are")]
        pub enum Kind {
            $($(#[serde(rename = $code)] $name,)+)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$name,)+)+];

            /// As JSON has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$name => $code,)+)+
                }
            }

            /// Its row.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $($(Self::$name => Row {
                        severities: &[$(Severity::$severity),+],
                        subject: Subject::$subject,
                        until: &[$(Self::$until),*],
                        roles: &[$(Role::$role),*],
                    },)+)+
                }
            }
        }

        $(impl From<&$event> for Kind {
            fn from(event: &$event) -> Self {
                match event {
                    $($event::$name { .. } => Self::$name,)+
                }
            }
        })+
    };
}

catalogue! {
    Event {
        Ready = "ready", [Notice], Agent, until [];
        ChannelGood = "channel_good", [Notice], Channel, until [ChannelBad];
        ChannelBad = "channel_bad", [Warning], Channel, until [ChannelGood], Fault;
        ChannelFlapping = "channel_flapping", [Warning], Channel, until [ChannelGood, ChannelBad];
        PeerPaired = "peer_paired", [Info], Peer, until [];
        PeerGood = "peer_good", [Notice], Peer, until [PeerDead, PeerDied, PeerLeft];
        PeerDead = "peer_dead", [Critical], Peer, until [PeerGood], Verdict, Fault, Consequence, Timed;
        PeerDied = "peer_died", [Critical], Peer, until [PeerGood], Fault, Consequence, Timed;
        PeerLeft = "peer_left", [Notice], Peer, until [PeerGood], Fault;
        PeerRestarting = "peer_restarting", [Notice], Peer, until [PeerPaired, PeerDead, PeerDied, PeerLeft];
        GroupAcquiring = "group_acquiring", [Notice], Group, until [GroupReleasing, GroupReleased], Consequence;
        GroupAcquired = "group_acquired", [Notice], Group, until [GroupReleasing, GroupReleased], Consequence;
        GroupReleasing = "group_releasing", [Notice], Group, until [GroupReleased, GroupKept, GroupStuck, GroupAcquiring], Consequence;
        GroupReleased = "group_released", [Notice], Group, until [GroupAcquiring], Consequence;
        GroupKept = "group_kept", [Critical], Group, until [GroupStuck, GroupReleased, GroupAcquired];
        GroupStuck = "group_stuck", [Critical], Group, until [GroupKept, GroupReleased, GroupAcquired];
        HandOverOrdered = "hand_over_ordered", [Notice], Group, until [HandOverGivenUp, GroupAcquired, GroupReleased];
        HandOverGivenUp = "hand_over_given_up", [Warning], Group, until [HandOverOrdered];
        Maintenance = "maintenance", [Notice], Agent, until [];
        PeerMaintenance = "peer_maintenance", [Notice], Peer, until [];
        Fencing = "fencing", [Warning], Peer, until [FencingCalledOff, PeerGood];
        FencingCalledOff = "fencing_called_off", [Warning], Peer, until [Fencing];
        DualOwnership = "dual_ownership", [Critical], Group, until [], Verdict, Consequence;
        TakeoverWithheld = "takeover_withheld", [Critical], Pair, until [GroupAcquiring, PeerGood], Verdict, Consequence;
        ArbiterGranted = "arbiter_granted", [Notice], Arbiter, until [ArbiterDenied, ArbiterUnreachable], Consequence;
        ArbiterDenied = "arbiter_denied", [Warning], Arbiter, until [ArbiterGranted, ArbiterUnreachable], Consequence;
        ArbiterUnreachable = "arbiter_unreachable", [Warning], Arbiter, until [ArbiterGranted, ArbiterDenied];
        NetworksProbed = "networks_probed", [Info], Pair, until [];
        Judged = "judged", [Critical, Warning, Info], Pair, until [], Verdict, Consequence, Timed;
        AnalysisGivenUp = "analysis_given_up", [Warning], Pair, until [Judged], Verdict, Consequence;
        FaultPlaced = "fault_placed", [Warning], Channel, until [FaultGone], Verdict, Fault;
        FaultGone = "fault_gone", [Notice], Channel, until [FaultPlaced], Verdict;
        ConfigurationDiffers = "configuration_differs", [Warning], Configuration, until [ConfigurationAgrees];
        ConfigurationAgrees = "configuration_agrees", [Notice], Configuration, until [ConfigurationDiffers];
        CarrierLost = "carrier_lost", [Warning], Channel, until [CarrierFound], Fault;
        CarrierFound = "carrier_found", [Info], Channel, until [CarrierLost];
        OwnAddressGone = "own_address_gone", [Warning], Channel, until [OwnAddressBack];
        OwnAddressBack = "own_address_back", [Info], Channel, until [OwnAddressGone];
        InterfaceGone = "interface_gone", [Warning], Channel, until [InterfaceBack], Fault;
        InterfaceBack = "interface_back", [Info], Channel, until [InterfaceGone];
        SocketFailed = "socket_failed", [Warning], Channel, until [SocketWorks];
        SocketWorks = "socket_works", [Info], Channel, until [SocketFailed];
        Stalled = "stalled", [Warning], Host, until [];
        Stopping = "stopping", [Notice], Agent, until [Stopped];
    }
    ControlEvent {
        ChannelAttached = "channel_attached", [Info], Channel, until [];
        TakeoverMeasured = "takeover_measured", [Info], Group, until [];
        AddressFailed = "address_failed", [Critical], Address, until [];
        StillAnswered = "still_answered", [Warning], Group, until [], Consequence;
        Rival = "rival", [Critical], Address, until [RivalGone];
        RivalGone = "rival_gone", [Notice], Address, until [Rival];
        AddressRestored = "address_restored", [Warning], Address, until [];
        AddressSwept = "address_swept", [Warning], Address, until [];
        CommandRan = "command_ran", [Critical, Info], Host, until [];
        FenceRan = "fence_ran", [Critical, Notice], Fence, until [], Consequence;
        FenceUnfit = "fence_unfit", [Warning], Fence, until [FenceDevice];
        FenceDevice = "fence_device", [Warning, Notice], Fence, until [FenceUnfit];
        WatchdogRuns = "watchdog_runs", [Info], Watchdog, until [WatchdogMissing, WatchdogLeft];
        WatchdogMissing = "watchdog_missing", [Warning], Watchdog, until [WatchdogRuns];
        WatchdogLeft = "watchdog_left", [Critical], Watchdog, until [WatchdogRuns];
        CheckChanged = "check_changed", [Critical, Notice], Check, until [], Fault;
        ArbiterAnswered = "arbiter_answered", [Info], Arbiter, until [ArbiterChecked];
        ArbiterChecked = "arbiter_checked", [Warning, Info], Arbiter, until [ArbiterAnswered];
        NotReady = "not_ready", [Warning], Pair, until [ReadyAgain];
        ReadyAgain = "ready_again", [Notice], Pair, until [NotReady];
        HostProblem = "host_problem", [Warning], Host, until [];
        AddressForgotten = "address_forgotten", [Notice], Address, until [];
        AddressStays = "address_stays", [Critical], Address, until [AddressForgotten];
        ReloadWaits = "reload_waits", [Notice], Agent, until [Restarting, ReloadRefused];
        ReloadRefused = "reload_refused", [Warning], Agent, until [Restarting, ReloadWaits];
        RuntimeDirRestored = "runtime_dir_restored", [Warning], Host, until [];
        KernelRestored = "kernel_restored", [Warning], Host, until [];
        Stopped = "stopped", [Notice], Agent, until [];
        Restarting = "restarting", [Notice], Agent, until [];
    }
}

impl Kind {
    /// The kind of this name; nothing where there is none, as of an event of another version.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// How bad it is; where its fields decide, the worst that it can be.
    #[must_use]
    pub const fn worst(self) -> Severity {
        self.row().severities[0]
    }

    /// How bad it is at least.
    #[must_use]
    pub const fn mildest(self) -> Severity {
        let severities = self.row().severities;
        severities[severities.len() - 1]
    }

    /// Whether it is that to whoever looks back.
    #[must_use]
    pub fn is(self, role: Role) -> bool {
        self.row().roles.contains(&role)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::{self, every, names};
    use std::collections::BTreeSet;

    #[test]
    fn every_variant_has_a_row_of_its_own_name_and_every_row_a_variant() {
        let samples = samples::all("net1");
        for sample in &samples {
            assert_eq!(sample.fields["event"], sample.kind.name());
            assert!(!sample.sentence.is_empty() && !sample.sentence.ends_with('.'), "{}", sample.sentence);
        }
        let told: BTreeSet<_> = samples.iter().map(|sample| sample.kind).collect();
        assert_eq!(told, Kind::ALL.iter().copied().collect());
        assert_eq!(names(Kind::ALL), names(&every::<Kind>()));
        for kind in Kind::ALL {
            assert_eq!((Kind::of_name(kind.name()), names(&[*kind])), (Some(*kind), vec![kind.name().to_owned()]));
        }
    }

    #[test]
    fn an_event_is_as_grave_as_its_row_says_and_each_severity_of_a_row_is_some_events() {
        let samples = samples::all("net1");
        for kind in Kind::ALL {
            let given: BTreeSet<_> =
                samples.iter().filter(|sample| sample.kind == *kind).map(|sample| sample.severity).collect();
            let row = kind.row().severities;
            assert_eq!(given, row.iter().copied().collect(), "{kind}");
            assert!(row.is_sorted_by(|worse, milder| worse > milder), "{kind}: the worst comes first");
        }
    }

    #[test]
    fn what_tells_subjects_apart_is_in_the_event_and_in_those_that_end_it() {
        let samples = samples::all("net1");
        for kind in Kind::ALL {
            let Row { subject, until, .. } = kind.row();
            let Some(field) = subject.field() else { continue };
            for told in samples.iter().filter(|sample| sample.kind == *kind || until.contains(&sample.kind)) {
                assert!(told.fields.get(field).is_some(), "{kind}: no {field} in {}", told.kind);
            }
        }
    }

    #[test]
    fn what_is_timed_is_the_peers_death_however_it_is_found_and_what_both_judged() {
        let timed: Vec<_> = Kind::ALL.iter().filter(|kind| kind.is(Role::Timed)).copied().collect();
        assert_eq!(timed, [Kind::PeerDead, Kind::PeerDied, Kind::Judged]);
    }

    #[test]
    fn what_no_version_has_is_no_kind() {
        assert_eq!(Kind::of_name("never_heard_of"), None);
    }
}
