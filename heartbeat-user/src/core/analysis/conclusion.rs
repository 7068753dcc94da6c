//! What follows from an analysis that both have done: a verdict, and where the faults lie.

use super::{Analysis, Situation, all, is_quick};
use crate::{
    core::{
        BothFaulted, Evidence, Judging, PathFacts, Side, Verdict, Why,
        action::{Action, Actions},
        event::Event,
        evidence::{Local, Operational, weigh_silence},
        judge, judge_groups, place, weigh,
    },
    types::{ChannelIndex, GroupIndex, Nanos},
};

impl Analysis {
    /// WO 01/82077, FIG. 7, step 718
    pub(super) fn conclude(&mut self, now: Nanos, judging: &Judging, situation: &Situation, out: &mut Actions) {
        let analysis = self.found.id;
        let operational = weigh_silence(self.found.local, situation.peer.local);
        let evidence = self.evidence(judging, situation, operational);
        let verdict = match judge(&evidence) {
            Verdict::Nothing(Why::BothFaulted) if judging.both_faulted == BothFaulted::Groups => {
                judge_groups(&evidence, &judging.needs)
            }
            verdict => verdict,
        };
        self.closed = analysis;
        self.given_up_at = None;
        self.standing = Some(verdict);
        out.tell(now, Event::Judged { analysis, verdict, evidence });
        let bad = self.place_faults(now, judging, situation, &evidence, out) | (self.found.qos < evidence.full_qos);
        let risen = self.rise.next(judging.rise);
        if (bad || risen.is_some()) && self.due.is_none() {
            let again = now.after(judging.again);
            let soon = now.after(Nanos::from_millis(1));
            self.due = Some(again.min(risen.unwrap_or(Nanos::NEVER).max(soon)));
        }
    }

    /// What both found, as it is judged.
    fn evidence(&self, judging: &Judging, situation: &Situation, operational: Operational) -> Evidence {
        let (networks, found, peer) = (judging.networks, &self.found, &situation.peer);
        // A silence that says nothing costs nothing.
        let qos = |said: u32, before: u64, after: u64| {
            said.saturating_add(weigh(after & !before & networks, &judging.weights))
        };
        // What does not answer at once is looked at again by the full analysis that follows.
        let unsure = |local: Local, operational: u64| match is_quick(found.id) {
            true => networks & !operational & !local.certain,
            false => 0,
        };
        let here = unsure(found.local, operational.here);
        let there = unsure(peer.local, operational.there);
        let ours = qos(found.qos, found.local.operational, operational.here);
        let theirs = qos(peer.qos, peer.local.operational, operational.there);
        Evidence {
            networks,
            full_qos: weigh(networks, &judging.weights).saturating_add(weigh(all(&judging.checks), &judging.checks)),
            both_faulted: judging.both_faulted,
            local: Side {
                configured: situation.configured,
                operational: operational.here,
                unsure: here,
                qos: ours,
                qos_at_most: qos(ours, 0, here),
                duties: found.duties,
                recovering: found.recovering,
            },
            remote: Side {
                configured: peer.configured,
                operational: operational.there,
                unsure: there,
                qos: theirs,
                qos_at_most: qos(theirs, 0, there),
                duties: peer.duties,
                recovering: peer.recovering,
            },
        }
    }

    /// Whether any network has a fault (A7).
    fn place_faults(
        &mut self,
        now: Nanos,
        judging: &Judging,
        situation: &Situation,
        Evidence { local, remote, .. }: &Evidence,
        out: &mut Actions,
    ) -> bool {
        let (found, peer) = (&self.found, &situation.peer);
        let (mut bad, mut gone) = (false, 0);
        for channel in (0..self.places.len() as u8).map(ChannelIndex) {
            let is = |bits: u64| bits & channel.bit() != 0;
            if !is(judging.networks & situation.configured) {
                continue;
            }
            let (operational, peer_operational) =
                (is(local.operational | local.unsure), is(remote.operational | remote.unsure));
            if is(local.unsure | remote.unsure) && operational && peer_operational {
                // It is not known whether it has a fault: what was said before stands.
                continue;
            }
            let facts = PathFacts {
                port: !is(found.own.port),
                carrier: !is(found.own.cable),
                heard: is(situation.heard),
                peer_hears: is(peer.heard),
                operational,
                peer_operational,
                proven: is(found.local.certain & peer.local.certain),
            };
            let placed = place(facts);
            bad |= placed.is_some();
            if std::mem::replace(&mut self.places[channel.usize()], placed) != placed {
                match placed {
                    Some(place) => out.tell(now, Event::FaultPlaced { channel, place, facts }),
                    None => {
                        gone |= channel.bit();
                        out.tell(now, Event::FaultGone { channel });
                    }
                }
            }
        }
        announce_on(gone, judging, situation.held, out);
        bad
    }
}

/// These networks work again: what was announced there meanwhile of the groups that are held, nobody may have heard.
fn announce_on(networks: u64, judging: &Judging, held: u64, out: &mut Actions) {
    let needs = judging.needs.iter().enumerate();
    let there = needs.filter(|(i, needs)| held >> i & 1 == 1 && needs.networks & networks != 0);
    out.extend(there.map(|(i, _)| Action::Announce(GroupIndex(i as u8))));
}
