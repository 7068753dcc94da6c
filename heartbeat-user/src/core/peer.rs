//! What is learnt of the peer, and whether it is alive: heartbeats and handshakes in, FIG. 6's first question out.

use super::{
    Change, Channel, ChannelState, Core, Difference, Event, Heard, PeerState,
    peer_host::PeerHost,
    promise,
    said::{Differences, LONGEST_INTERVAL, PeerFound, PeerSaid},
};
use crate::types::{ChannelIndex, Nanos, Timing};
use heartbeat_ebpf::{
    verify::STRANGER_EVERY_NS,
    wire::{Message, flags},
};

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
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        c.echo = Some(Heard::of(message, arrived));
        self.analysis.memory.came_back(Nanos(message.echo_sent_ns).min(now), channel);
        self.host.hear(message);
        if c.counter.heard(&c.timing, message.sequence, arrived) == Some(Change::Opened) {
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
            return;
        }
        if !self.pairing.handle(channel, message.incarnation, message.peer_incarnation, answers) {
            if message.incarnation == self.pairing.heard_on(channel, self.peer == PeerState::Good)
                && let Some(c) = self.channels.get_mut(channel.usize())
            {
                // What we send next proves that it is new.
                c.echo = Some(Heard::of(message, arrived));
            }
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
        let (names, own) = (&self.peer_names, &self.setup.names);
        let (owned, wanted) = (names.groups(message.owned, own, true), names.groups(message.wanted, own, false));
        let found = PeerFound::of(message, |bits| names.channels(bits, own), names.configured(message.configured, own));
        let own_interval_us = self.setup.timing.interval.0 / 1_000;
        let differs = Differences {
            channels: if names.is_complete() { found.configured != self.configured() } else { before.differs.channels },
            groups: message.groups_digest != self.setup.groups_digest,
            interval: u64::from(message.interval_us) != own_interval_us,
        };
        self.said = PeerSaid {
            sent_ns: message.sent_ns,
            flags: message.flags,
            owned,
            unknown: names.unknown_groups(own),
            term: message.term,
            wanted,
            // What it had heard on one channel by then, it knows on all: of a channel that does not reach it, it knows nothing.
            echo_sent_ns: before.echo_sent_ns.max(message.echo_sent_ns),
            found,
            differs,
            interval_us: message.interval_us,
            key_prints: message.key_prints,
            deaf: message.heard == 0,
            release_within: promise::heard(message.release_within),
            keeps: false,
        };
        self.ownership.see_term(message.term);
        if message.echo_sent_ns != 0 && owned & self.ownership.owned() == 0 {
            // It was sent after it had heard, and held for a while, what we sent then: our own clock says when.
            let sent_at = Nanos(message.echo_sent_ns).after(Nanos(message.echo_held_ns.into())).min(now);
            self.alone_at = self.alone_at.max(sent_at);
        }
        self.tell_differences(now, message.file_time);
        if before.interval_us != message.interval_us {
            self.stretch(message.interval_us);
        }
        for (on, changed) in [(true, !before.flags & message.flags), (false, before.flags & !message.flags)] {
            if changed & flags::MAINTENANCE != 0 {
                self.tell(now, Event::PeerMaintenance { on });
            }
        }
        let began = !before.flags & message.flags;
        if began & flags::LEAVING != 0 {
            self.tell(now, Event::PeerLeft);
        }
        if began & flags::RESTARTING != 0 {
            self.tell(now, Event::PeerRestarting);
        }
    }

    /// WO 01/82077, FIG. 9, steps 908, 910: told to the operator, with who has to load which file; nothing moves because of
    /// it. Waits until it can say in what they differ.
    fn tell_differences(&mut self, now: Nanos, file_time: u32) {
        if self.told == self.said.differs || !self.peer_names.is_complete() {
            return;
        }
        let only = self.peer_names.only_here(&self.setup.names);
        let newer = match self.setup.file_time.cmp(&file_time) {
            _ if self.setup.file_time == 0 || file_time == 0 => None,
            std::cmp::Ordering::Greater => Some(self.setup.node),
            std::cmp::Ordering::Less => Some(self.setup.node.other()),
            std::cmp::Ordering::Equal => None,
        };
        let before = std::mem::replace(&mut self.told, self.said.differs);
        let differs = self.told;
        for (what, before, differs) in [
            (Difference::Channels, before.channels, differs.channels),
            (Difference::Groups, before.groups, differs.groups),
            (Difference::Interval, before.interval, differs.interval),
        ] {
            let of = |this, bits| if what == this { bits } else { 0 };
            match (before, differs) {
                (false, true) => self.tell(
                    now,
                    Event::ConfigurationDiffers {
                        what,
                        newer,
                        channels_only_here: of(Difference::Channels, only.channels),
                        groups_only_here: of(Difference::Groups, only.groups),
                        only_there: if what == Difference::Interval { 0 } else { only.there },
                    },
                ),
                (true, false) => self.tell(now, Event::ConfigurationAgrees { what }),
                _ => {}
            }
        }
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
        let state = |state| move |c: &Channel| c.counter.state() == state;
        // Of a life that died nothing comes any more: nobody waits for the counters.
        let died = self.died_unsaid();
        let judged = if !died && self.channels.iter().any(state(ChannelState::Open)) {
            PeerState::Good
        } else if died || self.peer == PeerState::Good || self.channels.iter().all(state(ChannelState::Failed)) {
            // Where the last one that worked failed, one that still waits for its first heartbeat changes nothing.
            PeerState::Bad
        } else {
            self.peer
        };
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
