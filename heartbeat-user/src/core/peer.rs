//! What is learnt of the peer, and whether it is alive: heartbeats and handshakes in, FIG. 6's first question out.

use super::{
    Channel, ChannelChange, ChannelState, Core, Event, Heard, PeerState, differences,
    peer_host::PeerHost,
    said::{LONGEST_INTERVAL, PeerSaid},
    transit,
};
use crate::types::{ChannelIndex, Nanos, Timing};
use heartbeat_ebpf::{verify::STRANGER_EVERY_NS, wire::Message};

/// Where silence is noticed sooner, a message may take so long: less than anybody waits who takes what only one may have.
const HELD_BACK: Nanos = Nanos::from_millis(1_000);

impl Core {
    /// A heartbeat that counts as life: the newest on this channel, though others may have come since the last call.
    ///
    /// What a network held back for long is no sign of life: its sender may have died since, or taken over.
    pub fn handle_heartbeat(&mut self, now: Nanos, channel: ChannelIndex, message: &Message, arrived: Nanos) {
        if !self.was_held_back(channel, message, arrived) {
            self.hear(now, channel, message, arrived);
        }
    }

    fn was_held_back(&mut self, channel: ChannelIndex, message: &Message, arrived: Nanos) -> bool {
        let at_most = self.longest_silence().max(HELD_BACK);
        self.channels.get_mut(channel.usize()).is_none_or(|c| c.transit.is_held_back(message, arrived, at_most))
    }

    fn hear(&mut self, now: Nanos, channel: ChannelIndex, message: &Message, arrived: Nanos) {
        self.learn(now, message);
        let network = Nanos(self.setup.timing.interval.0 / 8);
        self.said_at = self.said_at.max(transit::said_at(message, arrived, network));
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        c.echo = Some(Heard::of(message, arrived));
        self.analysis.memory.came_back(Nanos(message.echo_sent_ns).min(now), channel);
        self.host.hear(message);
        if c.counter.heard(&c.timing, message.sequence, arrived) == Some(ChannelChange::Opened) {
            self.tell_change(now, channel);
        }
    }

    /// Whether the peer had heard us when it said what it said last, and that was lately.
    pub(super) fn is_up_to_date(&self, now: Nanos) -> bool {
        now.since(Nanos(self.said.echo_sent_ns)) < self.longest_silence()
    }

    /// An authentic message that is not of this pairing, or was not when it came.
    pub fn handle_handshake(&mut self, now: Nanos, channel: ChannelIndex, message: &Message, arrived: Nanos) {
        let before = self.pairing.peer();
        if before != 0 && message.incarnation == before && message.peer_incarnation == self.pairing.own() {
            // On another channel, the same life was paired with meanwhile.
            self.handle_heartbeat(now, channel, message, arrived);
            return;
        }
        let answers = (self.paired_at.0..=now.0).contains(&message.echo_sent_ns);
        let pairs = self.pairing.would_pair(message.incarnation, message.peer_incarnation, answers);
        if pairs && self.was_held_back(channel, message, arrived) {
            // Or what it answers to was, as a recording of ours.
            self.pairing.note(channel, message.incarnation);
            self.echo_unmet(channel, message, arrived);
            return;
        }
        if !self.pairing.handle(channel, message.incarnation, message.peer_incarnation, answers) {
            // Whenever it was said, also to the life before: what we claim from now on goes beyond it.
            self.ownership.see_term(message.term);
            self.echo_unmet(channel, message, arrived);
            let names_us = message.peer_incarnation == self.pairing.own();
            let is_well = self.peer == PeerState::Good && !self.suspects(now);
            if self.pairing.may_be(message.incarnation) && (names_us || !is_well) {
                self.answer_soon(now, channel);
            }
            self.alone.see_unmet(now);
            // Perhaps it cannot hear us. Until it proves to be our peer, somebody is there.
            self.handle_stranger(now, channel);
            return;
        }
        self.tell(now, Event::PeerPaired { incarnation: message.incarnation, before });
        for c in &mut self.channels {
            c.counter.expect_new_sequence();
            c.echo = None;
        }
        self.paired_at = now;
        self.analysis.begin();
        self.host = PeerHost::default();
        self.said = PeerSaid { differs: self.said.differs, ..PeerSaid::default() };
        // It named us as we are now, so it is life.
        self.hear(now, channel, message, arrived);
        // Let the peer know at once whom it is paired with.
        self.urgent = true;
    }

    /// What we send next proves to whoever said it that it is new; but where the peer is heard, only to that one.
    fn echo_unmet(&mut self, channel: ChannelIndex, message: &Message, arrived: Nanos) {
        if message.incarnation == self.pairing.heard_on(channel, self.peer == PeerState::Good)
            && let Some(c) = self.channels.get_mut(channel.usize())
        {
            c.echo = Some(Heard::of(message, arrived));
        }
    }

    /// What we say answers to whoever is not paired with us, or lets him prove that he is no recording: at once, so that lives
    /// which are short, or follow each other fast, meet as well; where he was heard, not often, and not on what is slow, so that no
    /// recording makes much of it.
    fn answer_soon(&mut self, now: Nanos, channel: ChannelIndex) {
        let often = Nanos(STRANGER_EVERY_NS.max(self.setup.timing.interval.0 / 4));
        let slow = self.setup.lines & channel.bit() != 0;
        if let Some(c) = self.channels.get_mut(channel.usize()).filter(|c| !slow && now >= c.answered_at.after(often)) {
            (c.answered_at, c.owes_answer) = (now, true);
        }
    }

    /// Takes over what a message says of its sender, if it is the newest over all channels.
    fn learn(&mut self, now: Nanos, message: &Message) {
        self.peer_known = true;
        if message.sent_ns < self.said.sent_ns {
            return;
        }
        let before = self.said;
        self.peer_names.learn(&self.setup.names, message);
        self.said = before.next(message, &self.peer_names, &self.setup, self.configured());
        self.ownership.see_term(message.term);
        if message.echo_sent_ns != 0 && self.said.owned & self.ownership.owned() == 0 {
            // It was sent after it had heard, and held for a while, what we sent then: our own clock says when.
            let sent_at = Nanos(message.echo_sent_ns).after(Nanos(message.echo_held_ns.into())).min(now);
            self.alone_at = self.alone_at.max(sent_at);
        }
        // Waits until it can be said in what they differ.
        if self.told.is_news(self.said.differs) && self.peer_names.is_complete() {
            let only = self.peer_names.only_here(&self.setup.names);
            let newer = differences::newer(self.setup.node, self.setup.file_time, message.file_time);
            self.told.step(now, self.said.differs, only, newer, &mut self.actions);
        }
        if before.interval_us != message.interval_us {
            self.stretch(message.interval_us);
        }
        self.said.tell_changes(now, &before, &mut self.actions);
    }

    /// A peer that sends less often than we do gets as many of its own intervals.
    fn stretch(&mut self, peer_interval_us: u32) {
        let timing = self.setup.timing;
        let peers = Nanos::from_micros(peer_interval_us.into()).min(LONGEST_INTERVAL);
        let period = if peers > timing.interval {
            Nanos((u128::from(timing.period.0) * u128::from(peers.0) / u128::from(timing.interval.0)) as u64)
        } else {
            timing.period
        };
        self.period = period;
        for c in &mut self.channels {
            c.counter.set_period(period.times(c.pace.into()));
        }
    }

    /// The detection time of our slowest channel, in the peer's intervals where these are longer.
    pub(super) fn detection(&self) -> Nanos {
        Timing { period: self.period, ..self.setup.timing }.paced(self.slowest).detection()
    }

    /// WO 01/82077, FIG. 6, steps 604, 606.
    pub(super) fn judge_peer(&mut self, now: Nanos) {
        let died = self.died_unsaid();
        let is = |state| move |c: &Channel| c.counter.state() == state;
        let works = self.channels.iter().any(is(ChannelState::Open));
        let failed = self.channels.iter().all(is(ChannelState::Failed));
        let judged = self.peer.judged(works, failed, died);
        if judged == self.peer {
            return;
        }
        self.peer = judged;
        if judged == PeerState::Good {
            self.watch.peer_lives(now, &mut self.actions);
            self.tell(now, Event::PeerGood);
            return;
        }
        let last = self.last_heard();
        let silent_ns = last.map(|last| now.since(last));
        let allowed = self.detection();
        let overshoot_ns = silent_ns.filter(|_| self.setup.timing.from_arrival).map(|s| s.since(allowed));
        self.watch.peer_died(now);
        if died {
            // That was told when it was learnt.
            return;
        }
        let stalled_ns = self.peer_stalled(now);
        self.tell(now, Event::PeerDead { silent_ns, overshoot_ns, stalled_ns });
    }
}

#[cfg(test)]
mod tests;
