//! The local part of an analysis (FIG. 8): what we look at ourselves, and say of our own networks and health checks.

use super::{Analysis, Running, Situation, is_quick};
use crate::{
    core::{
        Judging, Needs, Probed, Service,
        action::Actions,
        event::Event,
        evidence::{Circumstances, Local},
        weigh,
    },
    types::{ChannelIndex, Nanos, bits},
};

/// The number of a look at our own networks that is no analysis: whom to ask is known from it when one is made.
pub(super) const SURVEY: u32 = 0;

/// What a local analysis found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: u32,
    pub(super) local: Local,
    /// Our ports and cables that have a fault of their own.
    pub(super) own: Probed,
    pub(super) qos: u32,
    pub(super) duties: u32,
    pub(super) recovering: bool,
}

/// All of a list's bits.
pub(super) const fn all(weights: &[u32]) -> u64 {
    if weights.len() >= 64 { u64::MAX } else { (1 << weights.len()) - 1 }
}

impl Analysis {
    /// A local analysis ended.
    pub(in crate::core) fn probed(
        &mut self,
        now: Nanos,
        analysis: u32,
        probed: Probed,
        judging: &Judging,
        situation: &Situation,
        out: &mut Actions,
    ) {
        if analysis == SURVEY {
            if let Some(since) = self.surveying.take() {
                let circumstances = self.circumstances(since, judging, situation);
                self.memory.learn(now, &probed, &circumstances);
            }
            return;
        }
        let Some(Running { since, .. }) = self.running.filter(|running| running.id == analysis) else {
            return;
        };
        // What speaks against a network here is told, even where the look at it saw it otherwise: else each analysis would
        // take back what the one before said.
        let own = Probed { port: probed.port | situation.own_faults(judging) & !probed.broken(), ..probed };
        let quick = is_quick(analysis);
        let (local, unsure) = if quick {
            self.memory.quick(&own, judging.networks)
        } else {
            let circumstances = self.circumstances(since, judging, situation);
            (self.memory.full(now, &own, &circumstances), 0)
        };
        // One question that was not answered is no fault yet that has to be got over.
        let answers = local.operational | unsure;
        let operational = self.rise.counted(now, judging.networks, answers, judging.rise) & !unsure;
        let healthy = self.healthy;
        let qos = weigh(operational, &judging.weights).saturating_add(weigh(healthy, &judging.checks));
        // What works is told; whether it counts is in the QOS.
        let works = local.operational == judging.networks;
        let recovering = works && operational != local.operational && healthy == all(&judging.checks);
        self.running = None;
        self.found =
            Found { id: analysis, local, own, qos, duties: duties(situation.owned, &judging.needs), recovering };
        let answered = local.operational;
        out.tell(now, Event::NetworksProbed { analysis, quick, answered, operational, healthy, qos });
    }

    /// What else is known of the networks, where a local analysis began at `since`.
    fn circumstances(&self, since: Nanos, judging: &Judging, situation: &Situation) -> Circumstances {
        // Whoever was heard since what it is about began: at least as long ago as the analysis before.
        let overheard = self.cause_since.max(since.since(judging.again));
        Circumstances {
            networks: judging.networks,
            found: judging.found,
            overheard: self.memory.overheard(overheard),
            passing: self.memory.passing(since),
            unheard: if situation.peer_good { judging.networks & !situation.peer.heard } else { 0 },
        }
    }

    /// Somebody else than the peer was heard on a channel's interface, at `since` or later. `heard`: the channels on which the
    /// peer is.
    pub(in crate::core) fn overhear(
        &mut self,
        since: Nanos,
        channel: ChannelIndex,
        heard: u64,
        judging: &Judging,
        interval: Nanos,
    ) {
        self.memory.overhear(since, channel);
        let unproven = judging.found & !self.found.local.certain & !heard & channel.bit() != 0;
        if unproven && self.standing.is_some() && self.given_up_at.is_none() {
            // A silence that nobody could make anything of: now somebody can.
            let soon = since.after(interval);
            self.due = self.due.map(|due| due.min(soon));
        }
    }

    /// Whether some network of ours works, by what a look at them showed: else it is us who are cut off. `silent_since`: whoever
    /// was heard before that proves nothing.
    pub(in crate::core) fn looked(
        &mut self,
        now: Nanos,
        probed: &Probed,
        judging: &Judging,
        silent_since: Option<Nanos>,
    ) -> bool {
        let networks = judging.networks;
        // The first network that answers ends a look: of the others nothing is known then.
        self.memory.asked(now, if probed.answered & networks == 0 { networks } else { 0 }, probed);
        self.is_connected(now, probed, judging, silent_since)
    }

    /// The same by what is known without a look, where `own` are own facts only: on a network where nobody is expected to answer.
    pub(in crate::core) fn is_connected(
        &self,
        now: Nanos,
        own: &Probed,
        judging: &Judging,
        silent_since: Option<Nanos>,
    ) -> bool {
        let overheard = self.memory.overheard(silent_since.unwrap_or(now.since(judging.again)));
        let Judging { networks, found, .. } = *judging;
        // Of one who is silent nothing comes back, and he says nothing.
        let circumstances = Circumstances { networks, found, overheard, passing: 0, unheard: 0 };
        self.memory.is_connected(now, own, &circumstances)
    }

    /// The groups of which some network has, for certain, a fault of the peer's own, and none of ours.
    pub(in crate::core) fn out_of_reach_there(&self, judging: &Judging, situation: &Situation) -> u64 {
        let there = situation.peer.local;
        let broken = there.certain & !there.operational;
        let here = self.found.local.operational & !situation.own_faults(judging);
        let lost = |needs: &Needs| needs.networks & broken != 0 && needs.networks & !here == 0;
        bits(judging.needs.iter().map(lost))
    }

    /// A health check succeeds from now on, or fails.
    pub(in crate::core) fn check(&mut self, check: usize, healthy: bool, judging: &Judging) {
        let bit = all(&judging.checks) & 1_u64.checked_shl(check as u32).unwrap_or(0);
        self.healthy = if healthy { self.healthy | bit } else { self.healthy & !bit };
    }

    /// The health checks that fail, a bit each.
    pub(in crate::core) fn failing_checks(&self, judging: &Judging) -> u64 {
        all(&judging.checks) & !self.healthy
    }

    /// What we could serve with, by the last local analysis; nothing before one.
    pub(in crate::core) fn service(&self) -> Option<Service> {
        let Found { id, local, qos, recovering, .. } = self.found;
        (id != 0).then_some(Service { operational: local.operational, qos, recovering })
    }
}

/// What the groups that are ours ask for.
fn duties(owned: u64, needs: &[Needs]) -> u32 {
    let held = needs.iter().enumerate().filter(|(i, _)| owned >> i & 1 == 1);
    held.fold(0, |sum: u32, (_, needs)| sum.saturating_add(needs.qos))
}
