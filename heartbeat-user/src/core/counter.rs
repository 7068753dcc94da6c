//! The status analyzer of one channel: the leaky counter of WO 01/82077, FIG. 4.
//!
//! ```text
//!             first heartbeat (416)                  zero at a check (426)
//!  Waiting ------------------------------> Open -------------------------> Failed
//!     |                                     ^                                |
//!     |  failed_waits intervals (414)       |      heartbeat (416)           |
//!     +-------------------------> Failed    +--------------------------------+
//! ```
//! One counter covers the document's own behaviour (profile `classic`) and deadlines as BFD has them (`lan`, `fast`,
//! `ultra`); only parameters differ. With `from_arrival`, the checks start anew at each heartbeat, so that a silent channel
//! fails exactly `max / decrement + 1` periods after its last one.

use crate::types::{Nanos, Timing};

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// No heartbeat yet (410, 412).
    Waiting,
    /// Heartbeats come (416): GOOD.
    Open,
    /// The counter was found at zero, or the first heartbeat never came (438): BAD.
    Failed,
}

/// What a heartbeat or the time changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelChange {
    /// The channel opened (416).
    Opened,
    /// The channel failed (414 or 426).
    Failed,
}

/// The counter of one channel.
#[derive(Clone, Debug)]
pub struct Counter {
    state: ChannelState,
    count: u32,
    /// Sequence number of the last heartbeat counted; 0 where the next one is the first of its incarnation.
    last_sequence: u64,
    last_arrival: Option<Nanos>,
    /// A verdict was put off because we came late to it ourselves.
    spared: u32,
    next_check: Nanos,
    period: Nanos,
}

impl Counter {
    /// A channel that waits for its first heartbeat since `now` (410).
    #[must_use]
    pub fn new(timing: &Timing, now: Nanos) -> Self {
        Self {
            state: ChannelState::Waiting,
            count: 0,
            last_sequence: 0,
            last_arrival: None,
            spared: 0,
            next_check: now.after(timing.interval.times(timing.failed_waits.into())),
            period: timing.period,
        }
    }

    /// Where the channel stands.
    #[must_use]
    pub const fn state(&self) -> ChannelState {
        self.state
    }

    /// The count, as of the last check or heartbeat.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// When the last heartbeat arrived.
    #[must_use]
    pub const fn last_arrival(&self) -> Option<Nanos> {
        self.last_arrival
    }

    /// The peer begins a new incarnation: its sequence numbers start again.
    pub const fn expect_new_sequence(&mut self) {
        self.last_sequence = 0;
    }

    /// Checks are this far apart from now on: the peer's interval is longer than ours.
    pub const fn set_period(&mut self, period: Nanos) {
        self.period = period;
    }

    /// A heartbeat was received: steps 416 to 424. One that was counted before says nothing, however often it is shown.
    pub fn heard(&mut self, timing: &Timing, sequence: u64, arrived: Nanos) -> Option<ChannelChange> {
        if sequence <= self.last_sequence {
            return None;
        }
        let opened = self.state != ChannelState::Open;
        if opened {
            // WO 01/82077, FIG. 4, step 416
            self.state = ChannelState::Open;
            self.count = timing.initial;
            self.next_check = arrived.after(self.period);
        } else {
            // WO 01/82077, FIG. 4, steps 422, 424: normally 1, more if messages were lost
            let step = if self.last_sequence == 0 { 1 } else { sequence - self.last_sequence };
            self.count = self.count.saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
            if timing.from_arrival {
                // A peer that was late, not lost on the way, skipped no sequence number: it too gets the full time again.
                self.count = self.count.max(timing.max);
            }
        }
        self.last_sequence = sequence;
        self.spared = 0;
        self.last_arrival = Some(self.last_arrival.map_or(arrived, |last| last.max(arrived)));
        if timing.from_arrival {
            self.next_check = arrived.after(self.period);
        }
        opened.then_some(ChannelChange::Opened)
    }

    /// Makes the checks that are due (step 425). `stalled`: we come late ourselves, so however much time went by, it counts
    /// as one period: a stall of ours can never read as silence of the peer's.
    pub fn check(&mut self, timing: &Timing, now: Nanos, stalled: bool) -> Option<ChannelChange> {
        while self.next_check <= now && self.state != ChannelState::Failed {
            let failed = match self.state {
                // WO 01/82077, FIG. 4, step 414: the last of the failed waits
                ChannelState::Waiting => true,
                // WO 01/82077, FIG. 4, step 426
                _ => self.count == 0,
            };
            if failed {
                let spares = if self.state == ChannelState::Waiting { timing.failed_waits } else { 1 };
                if stalled && self.spared < spares {
                    // We were not there to hear anything: one more period. On an open channel only one, and before it opened
                    // as many as there were waits, for a host that is late all the time must find a dead peer too.
                    self.spared += 1;
                    self.next_check = now.after(self.period);
                    return None;
                }
                self.state = ChannelState::Failed;
                return Some(ChannelChange::Failed);
            }
            // WO 01/82077, FIG. 4, steps 428 to 436: clamp, then decrement, then floor
            self.count = self.count.min(timing.max).saturating_sub(timing.decrement);
            self.next_check = if stalled { now.after(self.period) } else { self.next_check.after(self.period) };
        }
        None
    }

    /// When the channel will be failed if nothing is heard: the only check that must not be late.
    #[must_use]
    pub fn deadline(&self, timing: &Timing) -> Nanos {
        match self.state {
            ChannelState::Waiting => self.next_check,
            ChannelState::Open => {
                let checks = self.count.min(timing.max).div_ceil(timing.decrement);
                self.next_check.after(self.period.times(checks.into()))
            }
            ChannelState::Failed => Nanos::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::from_millis(1_000);

    fn classic() -> Timing {
        Timing {
            interval: SECOND,
            initial: 20,
            period: SECOND.times(5),
            max: 48,
            decrement: 4,
            from_arrival: false,
            failed_waits: 20,
            disconnect: 20,
            retry: SECOND,
        }
    }

    fn lan() -> Timing {
        let interval = Nanos::from_millis(100);
        Timing {
            interval,
            initial: 2,
            period: interval,
            max: 2,
            decrement: 1,
            from_arrival: true,
            failed_waits: 30,
            disconnect: 20,
            retry: interval,
        }
    }

    /// Second by second: a heartbeat where `heard` says so, then the analyzer. Gives the count after each second.
    fn run(counter: &mut Counter, seconds: std::ops::Range<u64>, sequence: impl Fn(u64) -> Option<u64>) -> Vec<u32> {
        let timing = classic();
        seconds
            .map(|s| {
                if let Some(sequence) = sequence(s) {
                    counter.heard(&timing, sequence, SECOND.times(s));
                }
                counter.check(&timing, SECOND.times(s), false);
                counter.count()
            })
            .collect()
    }

    /// The table of FIG. 4, derived by hand. First heartbeat at 0 s; 20 at start; plus one a second; at 5, 10, .. s: zero?
    /// clamp to 48, minus 4, floor 0.
    #[test]
    fn classic_counts_as_fig_4_to_the_message() {
        let mut c = Counter::new(&classic(), Nanos(0));
        assert_eq!(run(&mut c, 0..11, |s| Some(s + 1)), [20, 21, 22, 23, 24, 21, 22, 23, 24, 25, 22]);
        // Plus five, minus four, a period: before the check at 120 s it is 20 + 23 + 5 = 48, so 44 after it. From then on
        // it reaches 49, is clamped to 48, and is 44 again.
        let later = run(&mut c, 11..141, |s| Some(s + 1));
        assert_eq!(later[119..], [44, 45, 46, 47, 48, 44, 45, 46, 47, 48, 44]);
    }

    #[test]
    fn the_clamp_comes_before_the_decrement() {
        let mut c = Counter::new(&classic(), Nanos(0));
        c.heard(&classic(), 1, Nanos(0));
        c.heard(&classic(), 1_001, SECOND);
        assert_eq!(c.count(), 1_020);
        c.check(&classic(), SECOND.times(5), false);
        assert_eq!(c.count(), 44);
    }

    #[test]
    fn the_count_never_falls_below_zero() {
        let timing = Timing { initial: 3, ..classic() };
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 1, Nanos(0));
        assert_eq!(c.check(&timing, SECOND.times(5), false), None);
        assert_eq!(c.count(), 0);
    }

    #[test]
    fn from_max_it_takes_60_s_to_zero_and_the_check_5_s_later_fails_the_channel() {
        let timing = Timing { initial: 48, ..classic() };
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 1, Nanos(0));
        let mut zero_at = None;
        for s in 0..=64 {
            assert_eq!(c.check(&timing, SECOND.times(s), false), None, "at {s} s");
            if c.count() == 0 && zero_at.is_none() {
                zero_at = Some(s);
            }
        }
        assert_eq!(zero_at, Some(60));
        assert_eq!(c.deadline(&timing), SECOND.times(65));
        assert_eq!(c.check(&timing, SECOND.times(65), false), Some(ChannelChange::Failed));
        assert_eq!(c.state(), ChannelState::Failed);
    }

    #[test]
    fn a_lost_message_counts_with_the_next_one() {
        let mut c = Counter::new(&classic(), Nanos(0));
        c.heard(&classic(), 1, Nanos(0));
        c.heard(&classic(), 4, SECOND.times(3));
        assert_eq!(c.count(), 23);
    }

    #[test]
    fn a_heartbeat_opens_a_failed_channel_with_the_initial_count() {
        let mut c = Counter::new(&classic(), Nanos(0));
        assert_eq!(c.check(&classic(), SECOND.times(19), false), None);
        assert_eq!(c.check(&classic(), SECOND.times(20), false), Some(ChannelChange::Failed));
        assert_eq!(c.heard(&classic(), 77, SECOND.times(30)), Some(ChannelChange::Opened));
        assert_eq!((c.count(), c.state()), (20, ChannelState::Open));
    }

    #[test]
    fn with_checks_from_arrival_three_missed_intervals_fail_the_channel_to_the_nanosecond() {
        let timing = lan();
        let last = Nanos(1_234_567_890);
        let mut c = Counter::new(&timing, Nanos(0));
        for i in (0..10).rev() {
            c.heard(&timing, 10 - i, Nanos(last.0 - i * timing.interval.0));
        }
        let deadline = last.after(timing.interval.times(3));
        assert_eq!(c.deadline(&timing), deadline);
        // Ticks at any phase in between change nothing about it.
        for ms in (0..300).step_by(7) {
            assert_eq!(c.check(&timing, last.after(Nanos::from_millis(ms)), false), None);
            assert_eq!(c.deadline(&timing), deadline);
        }
        assert_eq!(c.check(&timing, Nanos(deadline.0 - 1), false), None);
        assert_eq!(c.check(&timing, deadline, false), Some(ChannelChange::Failed));
        assert_eq!(timing.detection(), timing.interval.times(3));
    }

    #[test]
    fn after_a_late_heartbeat_it_takes_three_missed_intervals_again() {
        let timing = lan();
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 1, Nanos(0));
        for turn in 1..=20 {
            // It comes after almost three intervals each time, and its numbers have no gap.
            let late = Nanos::from_millis(turn * 299);
            assert_eq!(c.check(&timing, late, false), None);
            c.heard(&timing, turn + 1, late);
            assert_eq!(c.deadline(&timing), late.after(timing.interval.times(3)));
        }
    }

    #[test]
    fn a_stall_of_our_own_counts_as_one_interval_however_long() {
        let timing = lan();
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 1, Nanos(0));
        let awake = Nanos::from_millis(60_000);
        assert_eq!(c.check(&timing, awake, true), None);
        assert_eq!(c.count(), 1);
        assert_eq!(c.deadline(&timing), awake.after(timing.interval.times(2)));
    }

    #[test]
    fn a_stall_while_waiting_is_not_a_failed_wait() {
        let timing = lan();
        let mut c = Counter::new(&timing, Nanos(0));
        assert_eq!(c.check(&timing, Nanos::from_millis(60_000), true), None);
        assert_eq!(c.state(), ChannelState::Waiting);
    }

    #[test]
    fn a_host_that_is_always_late_waits_twice_as_long_for_a_first_heartbeat_and_no_longer() {
        let timing = lan();
        let mut c = Counter::new(&timing, Nanos(0));
        let mut now = Nanos(0);
        let late = timing.interval.after(Nanos::from_millis(60));
        let turns = (1..1_000).find(|_| {
            now = now.after(late);
            c.check(&timing, now, true) == Some(ChannelChange::Failed)
        });
        assert!(turns.is_some_and(|turns| turns <= 2 * timing.failed_waits), "{turns:?}");
    }

    #[test]
    fn a_new_incarnation_of_the_peer_counts_its_first_message_as_one() {
        let timing = lan();
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 1_000, Nanos(0));
        c.expect_new_sequence();
        c.heard(&timing, 3, Nanos(5));
        assert_eq!(c.count(), 3);
    }

    #[test]
    fn a_heartbeat_that_is_shown_again_neither_opens_a_channel_nor_brings_its_end_nearer() {
        let timing = lan();
        let ms = Nanos::from_millis;
        let mut c = Counter::new(&timing, Nanos(0));
        c.heard(&timing, 7, ms(0));
        // As a flood of replays has it: shown at every turn, with the time at which it once arrived.
        for now in 1..300 {
            assert_eq!(c.heard(&timing, 7, ms(0)), None);
            assert_eq!(c.check(&timing, ms(now), false), None, "at {now} ms");
        }
        assert_eq!(c.check(&timing, ms(300), false), Some(ChannelChange::Failed));
        assert_eq!(c.heard(&timing, 7, ms(0)), None);
        assert_eq!(c.state(), ChannelState::Failed);
        assert_eq!(c.heard(&timing, 8, ms(301)), Some(ChannelChange::Opened));
    }
}
