//! What the peer's host says although its agent does not: echoes and notices of its kernel. An agent that died is known within an
//! interval, and by whom nothing more is heard: so *host dead*, *agent dead*, *agent stalled* are three findings.
//!
//! A life that died never says anything again. Its heartbeats that arrive later were on their way; only one that answers to
//! something that we sent after what the notice answers proves the notice wrong.

use super::{
    Core, Event, PeerState, promise,
    said::LONGEST_INTERVAL,
    timers::{Wake, is_to_come},
};
use crate::types::{ChannelIndex, Nanos, Timing};
use heartbeat_ebpf::wire::{Message, flags};

/// What the peer's kernel says of its agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeSaid {
    /// The life of the peer's agent that it is about.
    pub incarnation: u64,
    /// When we sent the heartbeat that it answers, on our clock.
    pub asked: Nanos,
    /// The agent is dead; else it only stands still.
    pub died: bool,
    /// Once its kernel hears us no more, it keeps silent.
    pub leased: bool,
    /// How long before it answered the agent had given its last sign of life.
    pub silent: Nanos,
    /// The groups of which something is in place there, in the peer's order.
    pub owned: u64,
    /// Those for which its kernel keeps silent, in the peer's order.
    pub closed: u64,
    /// Tells the peer's list of names that the bits are of.
    pub names_digest: u32,
    /// Its term.
    pub term: u64,
    /// For so long after its death the agent may come back and go on.
    pub grace: Nanos,
}

/// What is known by the peer's host alone, since its agent was heard last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeerHost {
    answered: Option<Answer>,
    /// When we had sent what the last notice answers: since then its kernel has said what it does.
    noticed: Option<Nanos>,
    /// Our groups that it may serve, and those of them for which its kernel keeps silent.
    owned: u64,
    closed: u64,
    /// The term of its agent.
    term: u64,
    leased: bool,
    died: Option<Died>,
}

/// It answered although its agent did not.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Nanos,
    /// For so long its agent had stood still by then.
    stalled: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Died {
    incarnation: u64,
    /// When we sent what the newest notice answers.
    asked: Nanos,
    /// On our clock, at most an interval too early.
    at: Nanos,
    grace: Nanos,
}

impl PeerHost {
    /// The agent itself is heard.
    pub(super) fn hear(&mut self, message: &Message) {
        match self.died {
            Some(died) if died.incarnation == message.incarnation && message.echo_sent_ns <= died.asked.0 => {}
            _ => *self = Self::default(),
        }
    }

    /// Its agent is dead, and of the life that we know nothing comes any more.
    pub(super) const fn died(&self) -> bool {
        self.died.is_some()
    }

    /// This life is the one that died.
    pub(super) fn ended(&self, incarnation: u64) -> bool {
        self.died.is_some_and(|died| died.incarnation == incarnation)
    }

    /// Its agent is dead, and one that was started by the time of the last answer would have come too late to go on with anything.
    pub(super) fn dead_for_good(&self, detection: Nanos) -> bool {
        let late = |died: &Died| died.at.after(died.grace.max(detection)).after(detection);
        self.died.is_some_and(|died| died.asked >= late(&died))
    }

    /// Its agent stood still, or died, when the host was heard last.
    pub(super) const fn is_without_agent(&self) -> bool {
        self.answered.is_some() || self.died.is_some()
    }

    /// Our groups for which its kernel keeps silent.
    pub(super) const fn closed(&self) -> u64 {
        self.closed
    }

    /// Its kernel keeps silent only for whoever has a higher term than this.
    pub(super) const fn term(&self) -> u64 {
        self.term
    }

    /// Its kernel keeps silent once it hears us no more.
    pub(super) const fn leased(&self) -> bool {
        self.leased
    }

    /// Our groups that its kernel may serve.
    pub(super) const fn owned(&self) -> u64 {
        self.owned
    }

    /// Whether it ever did in this life of ours, since its agent was heard last.
    pub(super) const fn answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Until when it counts as answering, where nothing is heard of it for `silence`.
    fn answers_until(&self, silence: Nanos) -> Option<Nanos> {
        self.answered.map(|answer| answer.at.after(silence))
    }

    /// Until when what its kernel said of its groups counts, likewise.
    fn confirms_until(&self, silence: Nanos) -> Option<Nanos> {
        self.noticed.map(|at| at.after(silence))
    }

    /// Until when its agent, which died, may come back and go on.
    fn grace_ends(&self) -> Option<Nanos> {
        self.died.map(|died| died.at.after(died.grace))
    }

    /// When what it says may change by time alone. (What its kernel confirms was asked for before it answered: the end of that is seen with
    /// the next heartbeat.)
    pub(super) fn times(&self, silence: Nanos, wake: &mut Wake) {
        let Self { answered: _, noticed: _, owned: _, closed: _, term: _, leased: _, died: _ } = self;
        wake.ends(self.answers_until(silence));
        wake.ends(self.grace_ends());
    }
}

impl Core {
    /// The peer's host answered an echo request that we sent at `sent`; its agent had stood still for `stalled` by then.
    pub fn handle_echo(&mut self, now: Nanos, channel: ChannelIndex, sent: Nanos, stalled: Nanos) {
        let Some(c) = self.channels.get(channel.usize()) else { return };
        if c.counter.last_arrival().is_some_and(|last| sent > last) && sent <= now {
            self.host.answered = Some(Answer { at: now, stalled });
        }
    }

    /// The peer's kernel answered a heartbeat of ours in place of its agent.
    pub fn handle_notice(&mut self, now: Nanos, said: &NoticeSaid) {
        let paired = said.incarnation == self.pairing.peer();
        let newest = self.host.died.map_or(Nanos(0), |died| died.asked);
        // A life before the one that was met since.
        let is_over = !paired && (self.peer == PeerState::Good || said.asked < self.paired_at);
        if said.asked > now || said.asked < newest || is_over {
            return;
        }
        let heard = self.last_heard().unwrap_or_default();
        let outlived = if said.died { self.said.echo_sent_ns > said.asked.0 } else { said.asked <= heard };
        if paired && outlived {
            return;
        }
        self.ownership.see_term(said.term);
        self.host.answered = Some(Answer { at: now, stalled: said.silent });
        self.host.noticed = Some(said.asked);
        // Whose names are not known says nothing of ours.
        let own = &self.setup.names;
        (self.host.owned, self.host.closed) = match said.names_digest {
            digest if digest == own.digest() => (said.owned, said.closed),
            digest if self.peer_names.is_of(digest) => {
                let ours = |bits| self.peer_names.groups(bits, own, false);
                (ours(said.owned), ours(said.closed))
            }
            _ => (if said.owned == 0 { 0 } else { u64::MAX }, 0),
        };
        (self.host.leased, self.host.term) = (said.leased, said.term);
        if !said.died {
            return;
        }
        let known = self.host.died.filter(|died| died.incarnation == said.incarnation);
        let at = known.map_or(now.since(said.silent), |died| died.at);
        let incarnation = said.incarnation;
        self.host.died = Some(Died { incarnation, asked: said.asked, at, grace: said.grace });
        if known.is_none() && self.died_unsaid() {
            let left_ns = at.after(said.grace).since(now);
            self.tell(now, Event::PeerDied { dead_ns: now.since(at), left_ns });
        }
    }

    /// The peer's agent died without having said that it would end.
    pub(super) const fn died_unsaid(&self) -> bool {
        self.host.died() && self.said.flags & (flags::LEAVING | flags::RESTARTING) == 0
    }

    /// No group of a silent peer is taken sooner after its last sign of life.
    pub(super) fn takeover_after(&self) -> Nanos {
        promise::takeover_after(&self.stretched())
    }

    /// Our timing in the peer's intervals, where these are longer.
    pub(super) fn stretched(&self) -> Timing {
        let peers = Nanos::from_micros(self.said.interval_us.into()).min(LONGEST_INTERVAL);
        let interval = self.setup.timing.interval.max(peers);
        Timing { interval, period: self.period, ..self.setup.timing }
    }

    /// Silence after which a peer is found dead at the latest.
    pub(super) fn longest_silence(&self) -> Nanos {
        // Where checks come at fixed times, the last one may have been just before.
        let more = if self.setup.timing.from_arrival { Nanos(0) } else { self.period };
        self.detection().after(more)
    }

    /// Whether the peer's host has answered lately, though its agent does not.
    pub(super) fn host_answers(&self, now: Nanos) -> bool {
        is_to_come(self.host.answers_until(self.takeover_after()), now)
    }

    /// Whether its kernel says lately for which groups it keeps silent.
    pub(super) fn host_confirms(&self, now: Nanos) -> bool {
        is_to_come(self.host.confirms_until(self.takeover_after()), now)
    }

    /// Until when the peer's agent may come back and go on, its host answering.
    pub(super) fn grace_ends(&self, now: Nanos) -> Option<Nanos> {
        self.host.grace_ends().filter(|_| !self.said.is_leaving() && self.host_answers(now))
    }

    /// How long the peer's agent has stood still, where its host answered although nothing is heard of it.
    #[must_use]
    pub fn peer_stalled(&self, now: Nanos) -> Option<Nanos> {
        self.host.answered.filter(|_| !self.host.died()).map(|answer| answer.stalled.after(now.since(answer.at)))
    }

    /// How long the peer's agent has been dead, where its kernel said so.
    #[must_use]
    pub fn peer_died(&self, now: Nanos) -> Option<Nanos> {
        self.host.died.map(|died| now.since(died.at))
    }
}

#[cfg(test)]
mod tests;
