//! A channel that comes and goes: each change is told, but not for ever.
//!
//! More than [`MOST`] changes within [`WINDOW`] are one event, "it comes and goes"; then nothing is told of it until it has been
//! calm for that long, and then what it has come to. So a bad cable at an interval of a millisecond does not bury everything else,
//! and what was told last is always so.

use super::{ChannelState, Core, Event};
use crate::types::{ChannelIndex, Nanos};

/// So many changes are told one by one.
const MOST: u32 = 10;
/// Within this; and for so long must it be calm.
const WINDOW: Nanos = Nanos::from_millis(10_000);

/// What is to be told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// The change.
    Change,
    /// That it comes and goes.
    Flapping,
    /// Nothing.
    Nothing,
}

/// The changes of one channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flaps {
    /// Since when they are counted.
    since: Nanos,
    count: u32,
    /// It comes and goes, and is calm if nothing changes until then.
    calm_at: Option<Nanos>,
}

impl Flaps {
    /// It changed.
    pub(super) fn change(&mut self, now: Nanos) -> Tell {
        if self.calm_at.is_some() {
            self.calm_at = Some(now.after(WINDOW));
            return Tell::Nothing;
        }
        if now.since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        if self.count <= MOST {
            return Tell::Change;
        }
        self.calm_at = Some(now.after(WINDOW));
        Tell::Flapping
    }

    /// Whether it is calm again: what it has come to is to be told.
    pub(super) fn calms(&mut self, now: Nanos) -> bool {
        let calm = self.calm_at.is_some_and(|at| at <= now);
        if calm {
            *self = Self::default();
        }
        calm
    }

    /// When it is calm, if nothing changes.
    pub(super) fn deadline(&self) -> Nanos {
        self.calm_at.unwrap_or(Nanos::NEVER)
    }
}

impl Core {
    /// A channel opened or failed.
    pub(super) fn tell_change(&mut self, now: Nanos, channel: ChannelIndex) {
        match self.channels[channel.usize()].flaps.change(now) {
            Tell::Change => self.tell_state(now, channel),
            Tell::Flapping => self.tell(now, Event::ChannelFlapping { channel }),
            Tell::Nothing => {}
        }
    }

    pub(super) fn tell_state(&mut self, now: Nanos, channel: ChannelIndex) {
        let counter = &self.channels[channel.usize()].counter;
        let silent_ns = counter.last_arrival().map(|last| now.since(last));
        match counter.state() {
            ChannelState::Open => self.tell(now, Event::ChannelGood { channel }),
            _ => self.tell(now, Event::ChannelBad { channel, silent_ns }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Nanos = Nanos::from_millis(3);

    #[test]
    fn a_few_changes_are_told_one_by_one() {
        let mut flaps = Flaps::default();
        assert!((1..=MOST.into()).all(|n| flaps.change(STEP.times(n)) == Tell::Change));
        assert_eq!(flaps.change(STEP.after(WINDOW)), Tell::Change, "the window is over");
        assert!(!flaps.calms(Nanos::NEVER) && flaps.deadline() == Nanos::NEVER);
    }

    #[test]
    fn of_one_that_comes_and_goes_that_is_told_and_at_last_what_it_has_come_to() {
        let mut flaps = Flaps::default();
        let mut now = WINDOW;
        let mut told = Vec::new();
        for _ in 0..100_000 {
            now = now.after(STEP);
            assert!(!flaps.calms(now));
            told.push(flaps.change(now));
        }
        assert!(told[..MOST as usize].iter().all(|tell| *tell == Tell::Change));
        assert_eq!(told[MOST as usize], Tell::Flapping);
        assert!(told[MOST as usize + 1..].iter().all(|tell| *tell == Tell::Nothing));
        let calm = now.after(WINDOW);
        assert_eq!(flaps.deadline(), calm);
        assert!(!flaps.calms(Nanos(calm.0 - 1)) && flaps.calms(calm) && !flaps.calms(calm));
        assert_eq!(flaps.change(calm), Tell::Change);
    }
}
