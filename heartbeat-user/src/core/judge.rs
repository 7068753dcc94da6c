//! The decision of FIG. 9, with the QOS of FIG. 6 (steps 624 to 644): both controllers' facts in, a verdict out.
//!
//! | local faults | remote faults | `both_faulted` | then, of the better one's QOS | verdict |
//! |---|---|---|---|---|
//! | none | none | | | nothing (927, 928) |
//! | some | none | | exceeds, and suffices | fail the local (936) |
//! | none | some | | exceeds, and suffices | fail the remote (938) |
//! | some | some | nothing | | nothing (940) |
//! | some | some | groups | | each group by itself: [`judge_groups`] |
//! | some | some | lesser | exceeds, and suffices | fail the other |
//! | | | | equal, or too little for both's duties | nothing (640) |
//! | | | | what it lacks answers again, and does not count yet | nothing |
//! | | | | what it lacks is not known to have failed: a quick look | nothing |
//!
//! Configurations that differ are told and move nothing (908, 910). Given the same facts mirrored, the other controller comes
//! to the mirrored verdict: both can never conclude that they are the one to go on.

use crate::types::ChannelIndex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one controller brings to the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its configured channels, a bit each (904).
    pub configured: u64,
    /// The networks that answered to it, a bit each (916).
    pub operational: u64,
    /// Those of the rest of which it is not known that they do not work: in a quick look, what did not answer at once. No reason to
    /// come, nor to go away.
    pub unsure: u64,
    /// The service that it can give (A5).
    pub qos: u32,
    /// The same, if what is not known works.
    pub qos_at_most: u32,
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
    Nothing,
    /// Each group goes to where all networks of its addresses are operational, if they are not where it is.
    #[default]
    Groups,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Both have faults, and these groups are better off with one of us, a bit each.
    ByGroup {
        /// With us.
        groups_here: u64,
        /// With the peer.
        groups_there: u64,
    },
}

impl Verdict {
    /// The groups that are ours to have.
    #[must_use]
    pub const fn comes(self) -> u64 {
        match self {
            Self::FailRemote => u64::MAX,
            Self::ByGroup { groups_here, .. } => groups_here,
            _ => 0,
        }
    }

    /// The groups that are the peer's to have.
    #[must_use]
    pub const fn goes(self) -> u64 {
        match self {
            Self::FailLocal => u64::MAX,
            Self::ByGroup { groups_there, .. } => groups_there,
            _ => 0,
        }
    }
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
        (true, true, BothFaulted::Nothing | BothFaulted::Groups) => return Verdict::Nothing(Why::BothFaulted),
        (true, true, BothFaulted::Lesser) => local.qos > remote.qos,
        (_, remote_faulted, _) => remote_faulted,
    };
    let (better, worse) = if remote_fails { (local.qos, remote.qos_at_most) } else { (remote.qos, local.qos_at_most) };
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

/// What a group needs of whoever is to hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The networks of its addresses, a bit each.
    pub networks: u64,
    /// The QOS that it needs.
    pub qos: u32,
}

/// Where both have faults (FIG. 9, step 940), of each group by itself: on whom alone are all networks of its addresses
/// operational? It is that one's, whoever holds it now, if the QOS of that one is enough for all such groups. The other
/// controller comes to the mirror of it.
#[must_use]
pub fn judge_groups(evidence: &Evidence, groups: &[Needs]) -> Verdict {
    let Evidence { networks, local, remote, .. } = *evidence;
    let ours = |needs: &Needs, at: Side, not_at: Side| {
        let needed = needs.networks & networks & local.configured & remote.configured;
        needed & !at.operational == 0 && needed & !not_at.operational & !not_at.unsure != 0
    };
    let all = |at: Side, not_at: Side| {
        let of = groups.iter().take(64).enumerate().filter(|(_, needs)| ours(needs, at, not_at));
        let (bits, qos) =
            of.fold((0_u64, 0_u32), |(bits, qos), (i, needs)| (bits | 1 << i, qos.saturating_add(needs.qos)));
        if at.qos >= qos { bits } else { 0 }
    };
    let (groups_here, groups_there) = (all(local, remote), all(remote, local));
    if groups_here | groups_there == 0 {
        return Verdict::Nothing(Why::BothFaulted);
    }
    Verdict::ByGroup { groups_here, groups_there }
}

/// Where a fault lies (A7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Our port: its interface is gone or down, or our address on it is.
    LocalPort,
    /// Our cable, or the switch port that it leads to: no carrier.
    LocalCable,
    /// Our port, or the cable between it and the network: there is a carrier, and nothing answers.
    LocalPortOrCable,
    /// The peer's; which of these, it knows itself.
    RemotePortOrCable,
    /// The network itself: it answers to neither.
    Network,
    /// The peer hears us, we do not hear it.
    OneWayToUs,
    /// We hear the peer, it does not hear us.
    OneWayToPeer,
    /// The network answers to both, and heartbeats do not pass either way.
    PathBetween,
    /// Heartbeats do not pass either way, and nobody but the two is known there.
    NetworkOrPath,
}

/// What is known of one channel's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PathFacts {
    /// Our interface is there and up, and has our address.
    pub port: bool,
    /// It has a carrier.
    pub carrier: bool,
    /// We hear the peer.
    pub heard: bool,
    /// The peer hears us.
    pub peer_hears: bool,
    /// The network works for us.
    pub operational: bool,
    /// The network works for the peer.
    pub peer_operational: bool,
    /// Both know of the network what they say: somebody answers, or their own facts speak against it.
    pub proven: bool,
}

/// The place of a channel's fault; none where it has none.
#[must_use]
pub const fn place(facts: PathFacts) -> Option<Place> {
    Some(match facts {
        PathFacts { operational: false, peer_operational: true, port: false, .. } => Place::LocalPort,
        PathFacts { operational: false, peer_operational: true, carrier: false, .. } => Place::LocalCable,
        PathFacts { operational: false, peer_operational: true, .. } => Place::LocalPortOrCable,
        PathFacts { operational: true, peer_operational: false, .. } => Place::RemotePortOrCable,
        PathFacts { operational: false, peer_operational: false, .. } => Place::Network,
        PathFacts { heard: true, peer_hears: true, .. } => return None,
        PathFacts { heard: false, peer_hears: true, .. } => Place::OneWayToUs,
        PathFacts { heard: true, peer_hears: false, .. } => Place::OneWayToPeer,
        PathFacts { proven: true, .. } => Place::PathBetween,
        PathFacts { .. } => Place::NetworkOrPath,
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

    const WELL: Side =
        Side { configured: 3, operational: 3, unsure: 0, qos: 200, qos_at_most: 200, duties: 0, recovering: false };
    const FAULTED: Side = with(1, 100);

    /// With these networks and that QOS, for certain.
    const fn with(operational: u64, qos: u32) -> Side {
        Side { operational, qos, qos_at_most: qos, ..WELL }
    }

    fn verdict(local: Side, remote: Side, both_faulted: BothFaulted) -> Verdict {
        judge(&Evidence { networks: 3, full_qos: 200, both_faulted, local, remote })
    }

    #[test]
    fn every_row_of_fig_9() {
        use BothFaulted::{Groups, Lesser, Nothing};
        let other = Side { configured: 1, ..WELL };
        let dead = with(0, 0);
        let unsure = Side { unsure: 2, qos_at_most: 200, ..FAULTED };
        let half_dead = Side { unsure: 2, qos_at_most: 100, ..dead };
        for (local, remote, policy, expected) in [
            (WELL, WELL, Nothing, Verdict::Nothing(Why::AllWell)),
            (FAULTED, WELL, Nothing, Verdict::FailLocal),
            (WELL, FAULTED, Nothing, Verdict::FailRemote),
            (FAULTED, FAULTED, Nothing, Verdict::Nothing(Why::BothFaulted)),
            (FAULTED, dead, Nothing, Verdict::Nothing(Why::BothFaulted)),
            (FAULTED, dead, Groups, Verdict::Nothing(Why::BothFaulted)),
            (FAULTED, WELL, Groups, Verdict::FailLocal),
            (FAULTED, dead, Lesser, Verdict::FailRemote),
            (dead, FAULTED, Lesser, Verdict::FailLocal),
            (FAULTED, FAULTED, Lesser, Verdict::Nothing(Why::NotBetter)),
            (WELL, other, Nothing, Verdict::ConfigurationError),
            (other, WELL, Lesser, Verdict::ConfigurationError),
            (Side { recovering: true, ..with(3, 100) }, WELL, Nothing, Verdict::Nothing(Why::Recovering)),
            (Side { recovering: true, ..with(3, 100) }, FAULTED, Lesser, Verdict::Nothing(Why::NotBetter)),
            // A health check failed: the networks are all there, the QOS is not.
            (with(3, 150), WELL, Nothing, Verdict::FailLocal),
            // A network that did not answer at once: it neither goes, nor is it gone to.
            (unsure, WELL, Nothing, Verdict::Nothing(Why::NotBetter)),
            (unsure, dead, Lesser, Verdict::FailRemote),
            (FAULTED, half_dead, Lesser, Verdict::Nothing(Why::NotBetter)),
            (WELL, half_dead, Nothing, Verdict::FailRemote),
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
                        let [lu, ru] = [duties % 5 > 2, duties % 7 > 3].map(|unsure| if unsure { networks } else { 0 });
                        let side = |(configured, operational): (u64, u64), unsure: u64, qos, duties, recovering| {
                            let unsure = unsure & !operational;
                            let qos_at_most = qos + unsure.count_ones();
                            Side { configured, operational, unsure, qos, qos_at_most, duties, recovering }
                        };
                        let local = side((lc, lo), lu, lq, ld, lr);
                        let remote = side((rc, ro), ru, rq, rd, rr);
                        for both_faulted in [BothFaulted::Nothing, BothFaulted::Groups, BothFaulted::Lesser] {
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
        assert_eq!(inputs, 27 * (16 * 4 + 256 * 9 + 4_096 * 16 + 65_536 * 25));
    }

    /// All faults of two controllers on three networks, all placements of two groups on them, with what they need: whatever
    /// one concludes, the other concludes the mirror of it, and no group is both's or goes to where it is not better off.
    #[test]
    fn by_group_both_conclude_the_mirror_and_each_group_goes_where_all_its_networks_are() {
        let mut moves = [0_u64; 2];
        // Of each network: it works, it does not, or that is not known.
        let sides = || (0..8_u64).flat_map(|works| (0..8_u64).map(move |unsure| (works, unsure)));
        let sides: Vec<_> = sides().filter(|(works, unsure)| works & unsure == 0).collect();
        let side = |(operational, unsure): (u64, u64)| {
            let [qos, more] = [operational, unsure].map(|bits| bits.count_ones() * 100);
            Side { configured: 7, operational, unsure, qos, qos_at_most: qos + more, duties: 0, recovering: false }
        };
        for (left, right) in sides.iter().flat_map(|left| sides.iter().map(move |right| (*left, *right))) {
            for (one, other) in (0..8_u64).flat_map(|one| (0..8_u64).map(move |other| (one, other))) {
                for needed in [[0, 0], [100, 100], [300, 0]] {
                    let groups = [Needs { networks: one, qos: needed[0] }, Needs { networks: other, qos: needed[1] }];
                    let both_faulted = BothFaulted::Groups;
                    let (local, remote) = (side(left), side(right));
                    let here = Evidence { networks: 7, full_qos: 300, both_faulted, local, remote };
                    let there = Evidence { local: here.remote, remote: here.local, ..here };
                    let (ours, theirs) = (judge_groups(&here, &groups), judge_groups(&there, &groups));
                    assert_eq!((ours.comes(), ours.goes()), (theirs.goes(), theirs.comes()), "{here:?} {groups:?}");
                    assert_eq!(ours.comes() & ours.goes(), 0, "{here:?} {groups:?}");
                    for (i, needs) in groups.iter().enumerate() {
                        if ours.comes() >> i & 1 == 1 {
                            let failed = !remote.operational & !remote.unsure;
                            let better = needs.networks & !local.operational == 0 && needs.networks & failed != 0;
                            assert!(better, "{here:?} {groups:?}");
                        }
                    }
                    moves[usize::from(ours == Verdict::Nothing(Why::BothFaulted))] += 1;
                }
            }
        }
        println!("{} of {} inputs move a group, 0 contradictions", moves[0], moves[0] + moves[1]);
        assert_eq!(moves[0] + moves[1], 27 * 27 * 64 * 3);
        assert!(moves[0] > 20_000, "{moves:?}");
    }

    #[test]
    fn a_group_goes_only_where_the_qos_is_enough_for_all_that_can_be_served_there_alone() {
        let local = FAULTED;
        let remote = Side { operational: 2, ..local };
        let evidence = Evidence { networks: 3, full_qos: 200, both_faulted: BothFaulted::Groups, local, remote };
        let group = |networks, qos| Needs { networks, qos };
        let swapped = Verdict::ByGroup { groups_here: 0b01, groups_there: 0b10 };
        assert_eq!(judge_groups(&evidence, &[group(1, 100), group(2, 100)]), swapped);
        let one_way = Verdict::ByGroup { groups_here: 0, groups_there: 0b10 };
        assert_eq!(judge_groups(&evidence, &[group(1, 101), group(2, 100)]), one_way);
        let nowhere = [group(3, 0), group(0, 0)];
        assert_eq!(judge_groups(&evidence, &nowhere), Verdict::Nothing(Why::BothFaulted));
    }

    #[test]
    fn every_fault_has_one_place_and_the_peer_names_the_same() {
        let mirror = |place| match place {
            Some(Place::LocalPort | Place::LocalCable | Place::LocalPortOrCable) => Some(Place::RemotePortOrCable),
            Some(Place::OneWayToUs) => Some(Place::OneWayToPeer),
            Some(Place::OneWayToPeer) => Some(Place::OneWayToUs),
            same => same,
        };
        for bits in 0..=u8::MAX {
            let bit = |i: u8| bits >> i & 1 == 1;
            let facts = PathFacts {
                port: bit(4),
                carrier: bit(5),
                heard: bit(0),
                peer_hears: bit(1),
                operational: bit(2) && bit(4) && bit(5),
                peer_operational: bit(3) && bit(6),
                proven: bit(7),
            };
            let other = PathFacts {
                port: bit(6),
                carrier: true,
                heard: bit(1),
                peer_hears: bit(0),
                operational: bit(3) && bit(6),
                peer_operational: bit(2) && bit(4) && bit(5),
                proven: bit(7),
            };
            let (here, there) = (place(facts), place(other));
            let same = mirror(here) == there || here == mirror(there);
            assert!(same, "{facts:?}: {here:?}, there {there:?}");
            let own_port_is_named = matches!(here, Some(Place::LocalPort | Place::Network));
            assert!(facts.port || own_port_is_named, "{facts:?}: {here:?}");
        }
        assert_eq!(weigh(0b101, &[1, 2, 4]), 5);
    }
}
