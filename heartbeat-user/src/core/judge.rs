//! The decision of FIG. 9, with the QOS of FIG. 6 (steps 624 to 644): both controllers' facts in, a verdict out.
//!
//! | local faults | remote faults | `both_faulted` | then, of the better one's QOS | verdict |
//! |---|---|---|---|---|
//! | none | none | | | nothing (927, 928) |
//! | some | none | | exceeds, and suffices | fail the local (936) |
//! | none | some | | exceeds, and suffices | fail the remote (938) |
//! | some | some | nothing | | nothing (940) |
//! | some | some | lesser | exceeds, and suffices | fail the other |
//! | | | | equal, or too little for both's duties | nothing (640) |
//! | | | | what it lacks answers again, and does not count yet | nothing |
//!
//! Configurations that differ are told and move nothing (908, 910). Given the same facts mirrored, the other controller comes
//! to the mirrored verdict: both can never conclude that they are the one to go on.

use super::ChannelIndex;
use serde::Serialize;

/// What one controller brings to the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its configured channels, a bit each (904).
    pub configured: u64,
    /// The networks that answered to it, a bit each (916).
    pub operational: u64,
    /// The service that it can give (A5).
    pub qos: u32,
    /// What the groups that it holds need (A6).
    pub duties: u32,
    /// All that it lacks are networks that answer again and do not count yet: no reason to go away, nor to come.
    pub recovering: bool,
}

/// What to do where both controllers have faults (D5, D6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BothFaulted {
    /// Nothing (FIG. 9, step 940).
    #[default]
    Nothing,
    /// Fail over to the lesser faulted one.
    Lesser,
}

/// Everything that a verdict rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The networks that should be operational (914).
    pub networks: u64,
    /// The QOS of a controller without faults.
    pub full_qos: u32,
    /// What to do where both have faults.
    pub both_faulted: BothFaulted,
    /// Ours.
    pub local: Side,
    /// The peer's.
    pub remote: Side,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Neither has a fault.
    AllWell,
    /// Both have faults.
    BothFaulted,
    /// The one with faults has none any more that is more than a memory.
    Recovering,
    /// The one without faults, or with fewer, has no better QOS.
    NotBetter,
    /// Its QOS is too little for both controllers' duties.
    NotSufficient,
}

/// What both controllers conclude, each from its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The controllers are configured with other channels.
    ConfigurationError,
    /// Nothing moves.
    Nothing(Why),
    /// We are failed: the peer goes on with our groups.
    FailLocal,
    /// The peer is failed: its groups are ours.
    FailRemote,
}

/// WO 01/82077, FIG. 9, and FIG. 6, steps 632 to 644.
#[must_use]
pub const fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { networks, full_qos, both_faulted, local, remote } = *evidence;
    if local.configured != remote.configured {
        return Verdict::ConfigurationError;
    }
    let networks = networks & local.configured;
    // A health check that fails is a fault as a network is: it shows in the QOS.
    let local_faulted = networks & !local.operational != 0 || local.qos < full_qos;
    let remote_faulted = networks & !remote.operational != 0 || remote.qos < full_qos;
    let remote_fails = match (local_faulted, remote_faulted, both_faulted) {
        (false, false, _) => return Verdict::Nothing(Why::AllWell),
        (true, true, BothFaulted::Nothing) => return Verdict::Nothing(Why::BothFaulted),
        (true, true, BothFaulted::Lesser) => local.qos > remote.qos,
        (_, remote_faulted, _) => remote_faulted,
    };
    let (better, worse) = if remote_fails { (local.qos, remote.qos) } else { (remote.qos, local.qos) };
    let only_recovering = if remote_fails { remote.recovering } else { local.recovering };
    if better <= worse {
        Verdict::Nothing(Why::NotBetter)
    } else if only_recovering {
        Verdict::Nothing(Why::Recovering)
    } else if better < local.duties.saturating_add(remote.duties) {
        Verdict::Nothing(Why::NotSufficient)
    } else if remote_fails {
        Verdict::FailRemote
    } else {
        Verdict::FailLocal
    }
}

/// Where a fault lies (A7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Our port, or the cable between it and the network.
    LocalPortOrCable,
    /// The peer's.
    RemotePortOrCable,
    /// The network itself: it answers to neither.
    Network,
    /// The peer hears us, we do not hear it.
    OneWayToUs,
    /// We hear the peer, it does not hear us.
    OneWayToPeer,
    /// The network answers to both, and heartbeats do not pass either way.
    PathBetween,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LocalPortOrCable => "our own port or cable: the network answers to the peer, not to us",
            Self::RemotePortOrCable => "the peer's port or cable: the network answers to us, not to it",
            Self::Network => "the network itself: it answers to neither controller",
            Self::OneWayToUs => "one way: the peer hears us, we do not hear it",
            Self::OneWayToPeer => "one way: we hear the peer, it does not hear us",
            Self::PathBetween => "the path between: the network answers to both, heartbeats do not pass",
        })
    }
}

/// What is known of one channel's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PathFacts {
    /// Our interface has a carrier.
    pub carrier: bool,
    /// We hear the peer.
    pub heard: bool,
    /// The peer hears us.
    pub peer_hears: bool,
    /// The network answers to us.
    pub operational: bool,
    /// The network answers to the peer.
    pub peer_operational: bool,
}

/// The place of a channel's fault; none where it has none.
#[must_use]
pub const fn place(facts: PathFacts) -> Option<Place> {
    Some(match facts {
        PathFacts { carrier: false, peer_operational: true, .. } => Place::LocalPortOrCable,
        PathFacts { operational: false, peer_operational: true, .. } => Place::LocalPortOrCable,
        PathFacts { operational: true, peer_operational: false, .. } => Place::RemotePortOrCable,
        PathFacts { operational: false, peer_operational: false, .. } => Place::Network,
        PathFacts { heard: true, peer_hears: true, .. } => return None,
        PathFacts { heard: false, peer_hears: true, .. } => Place::OneWayToUs,
        PathFacts { heard: true, peer_hears: false, .. } => Place::OneWayToPeer,
        PathFacts { heard: false, peer_hears: false, .. } => Place::PathBetween,
    })
}

/// A sum of weights over the set bits: the networks' part of QOS (A5).
#[must_use]
pub fn weigh(bits: u64, weights: &[u32]) -> u32 {
    let of = |i: usize| if bits & ChannelIndex(i as u8).bit() != 0 { weights[i] } else { 0 };
    (0..weights.len().min(64)).fold(0, |sum: u32, i| sum.saturating_add(of(i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Side = Side { configured: 3, operational: 3, qos: 200, duties: 0, recovering: false };
    const FAULTED: Side = Side { operational: 1, qos: 100, ..WELL };

    fn verdict(local: Side, remote: Side, both_faulted: BothFaulted) -> Verdict {
        judge(&Evidence { networks: 3, full_qos: 200, both_faulted, local, remote })
    }

    #[test]
    fn every_row_of_fig_9() {
        use BothFaulted::{Lesser, Nothing};
        let other = Side { configured: 1, ..WELL };
        let dead = Side { operational: 0, qos: 0, ..WELL };
        for (local, remote, policy, expected) in [
            (WELL, WELL, Nothing, Verdict::Nothing(Why::AllWell)),
            (FAULTED, WELL, Nothing, Verdict::FailLocal),
            (WELL, FAULTED, Nothing, Verdict::FailRemote),
            (FAULTED, FAULTED, Nothing, Verdict::Nothing(Why::BothFaulted)),
            (FAULTED, dead, Nothing, Verdict::Nothing(Why::BothFaulted)),
            (FAULTED, dead, Lesser, Verdict::FailRemote),
            (dead, FAULTED, Lesser, Verdict::FailLocal),
            (FAULTED, FAULTED, Lesser, Verdict::Nothing(Why::NotBetter)),
            (WELL, other, Nothing, Verdict::ConfigurationError),
            (other, WELL, Lesser, Verdict::ConfigurationError),
            (Side { qos: 100, recovering: true, ..WELL }, WELL, Nothing, Verdict::Nothing(Why::Recovering)),
            (Side { qos: 100, recovering: true, ..WELL }, FAULTED, Lesser, Verdict::Nothing(Why::NotBetter)),
            // A health check failed: the networks are all there, the QOS is not.
            (Side { qos: 150, ..WELL }, WELL, Nothing, Verdict::FailLocal),
            (
                Side { duties: 120, ..WELL },
                Side { duties: 90, ..FAULTED },
                Nothing,
                Verdict::Nothing(Why::NotSufficient),
            ),
            (Side { duties: 110, ..WELL }, Side { duties: 90, ..FAULTED }, Nothing, Verdict::FailRemote),
        ] {
            assert_eq!(verdict(local, remote, policy), expected, "{local:?} {remote:?} {policy:?}");
        }
    }

    /// D6, by all inputs of up to four networks: whatever one concludes, the other concludes the mirror of it.
    #[test]
    fn no_two_controllers_with_the_same_facts_contradict_each_other() {
        let mirror = |verdict| match verdict {
            Verdict::FailLocal => Verdict::FailRemote,
            Verdict::FailRemote => Verdict::FailLocal,
            same => same,
        };
        let mut inputs = 0_u64;
        for n in 1..=4_u32 {
            let all = 1_u64 << n;
            let networks = all - 1;
            let numbers = || (0..all).flat_map(|c| (0..all).map(move |o| (c, o)));
            for ((lc, lo), (rc, ro)) in numbers().flat_map(|l| numbers().map(move |r| (l, r))) {
                for (lq, rq) in (0..=n).flat_map(|l| (0..=n).map(move |r| (l, r))) {
                    for duties in 0..9 {
                        let [ld, rd] = [duties / 3, duties % 3].map(|d| d * n / 2 + d / 2);
                        let [lr, rr] = [duties % 2 == 1, duties % 4 > 1];
                        let local = Side { configured: lc, operational: lo, qos: lq, duties: ld, recovering: lr };
                        let remote = Side { configured: rc, operational: ro, qos: rq, duties: rd, recovering: rr };
                        for both_faulted in [BothFaulted::Nothing, BothFaulted::Lesser] {
                            let here = Evidence { networks, full_qos: n, both_faulted, local, remote };
                            let there = Evidence { local: remote, remote: local, ..here };
                            assert_eq!(judge(&here), mirror(judge(&there)), "{here:?}");
                            inputs += 1;
                        }
                    }
                }
            }
        }
        println!("{inputs} inputs, 0 contradictions");
        assert_eq!(inputs, 18 * (16 * 4 + 256 * 9 + 4_096 * 16 + 65_536 * 25));
    }

    #[test]
    fn every_fault_has_one_place_and_the_peer_names_the_same() {
        let mirror = |place| match place {
            Some(Place::LocalPortOrCable) => Some(Place::RemotePortOrCable),
            Some(Place::RemotePortOrCable) => Some(Place::LocalPortOrCable),
            Some(Place::OneWayToUs) => Some(Place::OneWayToPeer),
            Some(Place::OneWayToPeer) => Some(Place::OneWayToUs),
            same => same,
        };
        for bits in 0..16_u8 {
            let bit = |i: u8| bits >> i & 1 == 1;
            let facts = PathFacts {
                carrier: bit(2),
                heard: bit(0),
                peer_hears: bit(1),
                operational: bit(2),
                peer_operational: bit(3),
            };
            let other = PathFacts {
                carrier: bit(3),
                heard: bit(1),
                peer_hears: bit(0),
                operational: bit(3),
                peer_operational: bit(2),
            };
            assert_eq!(place(facts), mirror(place(other)), "{facts:?}");
        }
        assert_eq!(weigh(0b101, &[1, 2, 4]), 5);
    }
}
