//! What follows from an analysis that both have done: a verdict, and where the faults lie.

use super::{MS, all};
use crate::{
    core::{
        Action, BothFaulted, Core, Event, Evidence, PathFacts, Side, Verdict, Why,
        evidence::{Operational, weigh_silence},
        judge, judge_groups, place,
        said::PeerFound,
        weigh,
    },
    types::{ChannelIndex, GroupIndex, Nanos},
};

impl Core {
    /// WO 01/82077, FIG. 7, step 718
    pub(super) fn conclude(&mut self, now: Nanos, analysis: u32, peer: PeerFound) {
        let judging = &self.setup.judging;
        let networks = judging.networks;
        let found = self.analysis.found;
        let operational = weigh_silence(found.local, peer.local);
        // A silence that says nothing costs nothing.
        let qos = |said: u32, before: u64, after: u64| {
            said.saturating_add(weigh(after & !before & networks, &judging.weights))
        };
        let evidence = Evidence {
            networks,
            full_qos: weigh(networks, &judging.weights).saturating_add(weigh(all(&judging.checks), &judging.checks)),
            both_faulted: judging.both_faulted,
            local: Side {
                configured: self.configured(),
                operational: operational.here,
                qos: qos(found.qos, found.local.operational, operational.here),
                duties: found.duties,
                recovering: found.recovering,
            },
            remote: Side {
                configured: peer.configured,
                operational: operational.there,
                qos: qos(peer.qos, peer.local.operational, operational.there),
                duties: peer.duties,
                recovering: peer.recovering,
            },
        };
        let verdict = match judge(&evidence) {
            Verdict::Nothing(Why::BothFaulted) if judging.both_faulted == BothFaulted::Groups => {
                judge_groups(&evidence, &judging.needs)
            }
            verdict => verdict,
        };
        self.analysis.closed = analysis;
        self.analysis.give_up = None;
        self.analysis.standing = Some(verdict);
        self.tell(now, Event::Judged { analysis, verdict, evidence });
        let bad = self.place_faults(now, peer, operational) | (found.qos < evidence.full_qos);
        let risen = self.analysis.risen(self.setup.judging.rise);
        if (bad || risen.is_some()) && self.analysis.due.is_none() {
            let again = now.after(self.setup.judging.again);
            self.analysis.due = Some(again.min(risen.unwrap_or(Nanos::NEVER).max(now.after(MS))));
        }
    }

    /// Whether any network has a fault (A7).
    fn place_faults(&mut self, now: Nanos, peer: PeerFound, operational: Operational) -> bool {
        let networks = self.setup.judging.networks;
        let (heard, found) = (self.heard(), self.analysis.found);
        let (mut bad, mut gone) = (false, 0);
        for i in (0..self.channels.len()).filter(|i| networks >> i & 1 == 1) {
            let channel = ChannelIndex(i as u8);
            let is = |bits: u64| bits & channel.bit() != 0;
            let facts = PathFacts {
                port: !is(found.own.port),
                carrier: !is(found.own.cable),
                heard: is(heard),
                peer_hears: is(peer.heard),
                operational: is(operational.here),
                peer_operational: is(operational.there),
                proven: is(found.local.certain & peer.local.certain),
            };
            let placed = place(facts);
            bad |= placed.is_some();
            if std::mem::replace(&mut self.analysis.places[i], placed) != placed {
                match placed {
                    Some(place) => self.tell(now, Event::FaultPlaced { channel, place, facts }),
                    None => {
                        gone |= channel.bit();
                        self.tell(now, Event::FaultGone { channel });
                    }
                }
            }
        }
        self.announce_on(gone);
        bad
    }

    /// These networks work again: what was announced there meanwhile, nobody may have heard.
    fn announce_on(&mut self, networks: u64) {
        let held = self.held();
        let needs = self.setup.judging.needs.iter().enumerate();
        let there = needs.filter(|(i, needs)| held >> i & 1 == 1 && needs.networks & networks != 0);
        self.actions.extend(there.map(|(i, _)| Action::Announce(GroupIndex(i as u8))));
    }
}
