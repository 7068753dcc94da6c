//! The status message generator of one channel: WO 01/82077, FIG. 5.
//!
//! ```text
//!   Closed --(wait over: 510)--> Opening --(512: yes; 514: countdown = 20)--> Open --516 send, 520 countdown - 1--+
//!     ^                             |                                          |  ^                               |
//!     |           (512: no; 526)    |                                          |  +------- 522 wait --------------+
//!     +-----------------------------+<---- 526: error, or countdown 0 and the peer is not heard (524) ------------+
//! ```
//! A peer that is not heard may hear us well: one way of the path is broken, or its own neighbour discovery waits. All channels
//! come to countdown 0 together then, so where a channel fails three intervals after its last heartbeat the new socket is
//! opened at once (510 instead of 526): with a wait, the peer would find us dead every twenty messages.

use crate::types::{Nanos, Timing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { retry_at: Nanos },
    Opening,
    Open { countdown: u32 },
}

/// What to do with the socket at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open a non-blocking socket (510) and say how that went.
    Open,
    /// Send a heartbeat (516) and say how that went.
    Send,
    /// Close the socket (526): nobody answers on it.
    Close,
    /// The same, but open a new one at once and say how that went.
    Reopen,
    /// Nothing yet (522, 526).
    Wait,
}

/// The generator of one channel.
#[derive(Clone, Debug)]
pub struct Generator {
    state: State,
    /// Messages sent, over all sockets: the sequence number of the last one (G7).
    sequence: u64,
}

impl Generator {
    /// A generator that opens its socket at its first tick.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Closed { retry_at: Nanos(0) }, sequence: 0 }
    }

    /// Messages sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sequence
    }

    /// Whether there is a socket.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// One tick an interval. `heard`: the local monitor hears the peer on this channel.
    ///
    /// Ticks are late by a little more or less each time: what would be over within half an interval is over, else a wait
    /// of one interval would often take two, and the peer, which may well hear us, would fail the channel.
    pub fn tick(&mut self, timing: &Timing, now: Nanos, heard: bool) -> Step {
        match self.state {
            State::Closed { retry_at } if now.after(Nanos(timing.interval.0 / 2)) >= retry_at => {
                self.state = State::Opening;
                Step::Open
            }
            State::Closed { .. } | State::Opening => Step::Wait,
            // WO 01/82077, FIG. 5, steps 518, 524
            State::Open { countdown: 0 } if !heard && timing.from_arrival => {
                self.state = State::Opening;
                Step::Reopen
            }
            State::Open { countdown: 0 } if !heard => {
                self.close(timing, now);
                Step::Close
            }
            State::Open { .. } => Step::Send,
        }
    }

    /// The socket was opened (512: yes).
    pub const fn opened(&mut self, timing: &Timing) {
        // WO 01/82077, FIG. 5, step 514
        self.state = State::Open { countdown: timing.disconnect };
    }

    /// The socket could not be had (512: no), is broken (claim 2), or its interface went away.
    pub const fn close(&mut self, timing: &Timing, now: Nanos) {
        // WO 01/82077, FIG. 5, step 526
        self.state = State::Closed { retry_at: now.after(timing.retry) };
    }

    /// The sequence number of the message that is about to be sent.
    pub const fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        // WO 01/82077, FIG. 5, step 520
        if let State::Open { countdown } = self.state {
            self.state = State::Open { countdown: countdown.saturating_sub(1) };
        }
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        interval: Nanos(10),
        initial: 2,
        period: Nanos(10),
        max: 2,
        decrement: 1,
        from_arrival: true,
        failed_waits: 3,
        disconnect: 20,
        retry: Nanos(10),
    };

    const CLASSIC: Timing = Timing { from_arrival: false, ..TIMING };

    fn opened() -> Generator {
        let mut g = Generator::new();
        assert_eq!(g.tick(&TIMING, Nanos(0), false), Step::Open);
        g.opened(&TIMING);
        g
    }

    fn sent_twenty_unheard() -> Generator {
        let mut g = opened();
        for i in 1..=20 {
            assert_eq!(g.tick(&TIMING, Nanos(0), false), Step::Send);
            assert_eq!(g.next_sequence(), i);
        }
        g
    }

    #[test]
    fn unheard_it_sends_twenty_messages_then_closes_waits_and_opens_anew() {
        let mut g = sent_twenty_unheard();
        assert_eq!(g.tick(&CLASSIC, Nanos(100), false), Step::Close);
        assert_eq!(g.tick(&CLASSIC, Nanos(104), false), Step::Wait);
        assert_eq!(g.tick(&CLASSIC, Nanos(109), false), Step::Open, "the first tick after a late one");
        g.opened(&CLASSIC);
        assert_eq!(g.tick(&CLASSIC, Nanos(110), false), Step::Send);
        assert_eq!(g.next_sequence(), 21, "the sequence goes on over sockets");
    }

    #[test]
    fn where_three_missed_heartbeats_are_death_a_new_socket_costs_none() {
        let mut g = sent_twenty_unheard();
        assert_eq!(g.tick(&TIMING, Nanos(100), false), Step::Reopen);
        assert!(!g.is_open());
        g.opened(&TIMING);
        assert_eq!(g.next_sequence(), 21, "it is sent as soon as the socket is there");
        assert_eq!(g.tick(&TIMING, Nanos(110), false), Step::Send);
    }

    #[test]
    fn heard_it_goes_on_sending_at_countdown_zero_and_asks_again_each_time() {
        let mut g = opened();
        for _ in 0..100 {
            assert_eq!(g.tick(&TIMING, Nanos(0), true), Step::Send);
            g.next_sequence();
        }
        assert_eq!(g.tick(&CLASSIC, Nanos(0), false), Step::Close);
    }

    #[test]
    fn a_socket_that_cannot_be_had_is_tried_again_after_the_wait() {
        let mut g = Generator::new();
        assert_eq!(g.tick(&TIMING, Nanos(0), false), Step::Open);
        g.close(&TIMING, Nanos(0));
        assert_eq!(g.tick(&TIMING, Nanos(4), false), Step::Wait);
        assert_eq!(g.tick(&TIMING, Nanos(10), false), Step::Open);
        assert!(!g.is_open());
    }
}
