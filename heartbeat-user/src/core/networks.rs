//! What is seen of our networks, and what our host says of itself: handed to the [analysis](super::analysis), and asked of it.

use super::{Core, PeerState, Probed, Verdict, analysis::Situation};
use crate::types::{ChannelIndex, Nanos, Node, bits};

impl Core {
    /// A local analysis ended (FIG. 8).
    pub fn handle_probed(&mut self, now: Nanos, analysis: u32, probed: Probed) {
        let situation = self.situation();
        self.analysis.probed(now, analysis, probed, &self.setup.judging, &situation, &mut self.actions);
    }

    /// Somebody else than the peer was heard on a channel's interface, at `since` or later.
    pub fn handle_third_party(&mut self, since: Nanos, channel: ChannelIndex) {
        let heard = self.heard();
        self.analysis.overhear(since, channel, heard, &self.setup.judging, self.setup.timing.interval);
    }

    /// A health check succeeds from now on, or fails.
    pub fn handle_check(&mut self, check: usize, healthy: bool) {
        self.analysis.check(check, healthy, &self.setup.judging);
    }

    /// FIG. 6 from step 608 on.
    pub(super) fn analyse(&mut self, now: Nanos) {
        let situation = self.situation();
        self.analysis.step(now, &self.setup.judging, &situation, &mut self.actions);
    }

    fn situation(&self) -> Situation {
        Situation {
            master: self.setup.node == Node::A,
            peer_good: self.peer == PeerState::Good,
            life: self.pairing.peer(),
            peer: self.said.found,
            configured: self.configured(),
            heard: self.heard(),
            unwell: self.unwell(),
            owned: self.ownership.owned(),
            held: self.ownership.held(),
            interval: self.setup.timing.interval,
            detection: self.detection(),
        }
    }

    /// The channels whose interface here is not as it should be.
    fn unwell(&self) -> u64 {
        bits(self.channels.iter().map(|c| !c.link.is_well()))
    }

    /// The verdict that stands, where the last analysis came to one and the peer is there.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.analysis.standing()
    }

    /// Whether some network of ours works whatever is asked there: by own facts, on one where nobody is expected to answer.
    pub(super) fn is_connected_unasked(&self, now: Nanos) -> bool {
        let own = Probed { port: self.unwell(), ..Probed::default() };
        self.analysis.is_connected(now, &own, &self.setup.judging, self.last_heard())
    }

    /// Whether some network of ours works, by what a look at them showed: else it is us who are cut off.
    pub(super) fn is_connected(&mut self, now: Nanos, probed: &Probed) -> bool {
        let silent_since = self.last_heard();
        self.analysis.looked(now, probed, &self.setup.judging, silent_since)
    }

    /// The groups of which some network has, for certain, a fault of the peer's own, and none of ours.
    pub(super) fn out_of_reach_there(&self) -> u64 {
        self.analysis.out_of_reach_there(&self.setup.judging, &self.situation())
    }
}
