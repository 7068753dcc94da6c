//! How long a message took: what a network held back, and delivers late, is authentic and new, but says nothing of now.
//!
//! Nobody's clock is known to the other. Two things tell: the least that messages took so far, as the difference of both clocks
//! has it; and what a message answers to, by our own clock. Either may be wrong, as where the sender's clock stood still with its virtual
//! machine, or where a recording of ours is what it answers to: a message was held back where both say so.

use crate::types::Nanos;
use heartbeat_ebpf::wire::{HELD_LONG, Message};

/// Two clocks that drift by 1 % each: one in so many.
const DRIFT: u64 = 40;

/// What is known of a channel. A host's clock goes on when its agent begins another life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transit {
    /// Our clock less the peer's, and the least time that a message takes; as of when.
    least: Option<(u64, Nanos)>,
}

impl Transit {
    /// Whether this message, which arrived now, took longer than `at_most`.
    pub(super) fn is_held_back(&mut self, message: &Message, arrived: Nanos, at_most: Nanos) -> bool {
        let took = arrived.0.wrapping_sub(message.sent_ns);
        let answered = since_it_was_sent(message, arrived).map(|since| since > at_most);
        let Some((least, at)) = self.least else {
            let held_back = answered == Some(true);
            if !held_back {
                self.least = Some((took, arrived));
            }
            return held_back;
        };
        let least = least.wrapping_add(arrived.since(at).0 / DRIFT);
        let more = took.wrapping_sub(least).cast_signed();
        let late = more > at_most.0.cast_signed();
        if late && answered != Some(false) {
            return true;
        }
        self.least = Some((if more > 0 && !late { least } else { took }, arrived));
        false
    }
}

/// How long ago a message was sent at most: after it had what it answers to, for as long as it says. Not known of one that does not say.
fn since_it_was_sent(message: &Message, arrived: Nanos) -> Option<Nanos> {
    let (asked, held) = answers_to(message, arrived)?;
    Some(arrived.since(asked.after(held).after(Nanos(held.0 / DRIFT))))
}

/// When what counts as life can last have been said, on a network that takes at most so long, as XDP notes it: however long one kept
/// it. Where it does not say what it answers to, when it came.
pub(super) fn said_at(message: &Message, arrived: Nanos, network: Nanos) -> Nanos {
    answers_to(message, arrived).map_or(arrived, |(asked, held)| asked.after(held).after(network).min(arrived))
}

/// When we sent what it answers to, and for how long it says that it had that.
fn answers_to(message: &Message, arrived: Nanos) -> Option<(Nanos, Nanos)> {
    let (asked, held) = (Nanos(message.echo_sent_ns), Nanos(message.echo_held_ns.into()));
    let known = asked.0 != 0 && asked <= arrived && message.echo_held_ns != HELD_LONG;
    known.then_some((asked, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Nanos = Nanos::from_millis(1_000);
    /// Our clock less the peer's.
    const APART: i64 = -3_000_000_000_000;

    const fn at(ms: u64) -> Nanos {
        Nanos::from_millis(10_000_000 + ms)
    }

    /// What arrives at `arrived` ms, was sent at `sent`, and answers to what we sent at `asked`, held since `heard`.
    fn message(sent: u64, asked: u64, heard: u64) -> Message {
        Message {
            sent_ns: at(sent).0.wrapping_sub(APART.cast_unsigned()),
            echo_sent_ns: at(asked).0,
            echo_held_ns: u32::try_from(at(sent).since(at(heard)).0).unwrap_or(HELD_LONG),
            ..Message::default()
        }
    }

    fn transit() -> Transit {
        let mut transit = Transit::default();
        assert!(!transit.is_held_back(&message(0, 0, 0), at(1), MOST));
        transit
    }

    #[test]
    fn what_took_longer_than_others_and_answers_to_something_old_was_held_back() {
        for (sent, arrived, held_back) in [(2_000, 2_900, false), (2_000, 3_100, true), (2_000, 60_000, true)] {
            assert_eq!(transit().is_held_back(&message(sent, 1_000, 1_001), at(arrived), MOST), held_back, "{arrived}");
        }
        // Nor does it say anything that cannot be said of what it answers to.
        assert!(transit().is_held_back(&message(8_000, 1_000, 1_001), at(20_000), MOST));
        assert!(!transit().is_held_back(&message(8_000, 1_000, 1_001), at(8_001), MOST));
    }

    #[test]
    fn a_recording_of_ours_that_it_answers_to_does_not_make_it_late() {
        assert!(!transit().is_held_back(&message(9_000, 1_000, 8_900), at(9_001), MOST));
    }

    #[test]
    fn a_sender_whose_clock_stood_still_is_heard_as_soon_as_it_has_heard_us() {
        let mut transit = transit();
        // For five seconds.
        let stood_still =
            |sent: u64, asked| Message { sent_ns: message(sent - 5_000, 0, 0).sent_ns, ..message(sent, asked, asked) };
        assert!(
            transit.is_held_back(&stood_still(10_000, 4_900), at(10_001), MOST),
            "of the one before it is not known"
        );
        assert!(!transit.is_held_back(&stood_still(10_100, 10_050), at(10_101), MOST));
        let unanswering = Message { echo_held_ns: HELD_LONG, ..stood_still(10_200, 0) };
        assert!(!transit.is_held_back(&unanswering, at(10_201), MOST), "what is usual is known anew");
    }

    #[test]
    fn the_first_of_a_life_is_told_by_what_it_answers_to_alone() {
        assert!(Transit::default().is_held_back(&message(0, 0, 0), at(2_000), MOST));
        assert!(!Transit::default().is_held_back(&message(0, 0, 0), at(2), MOST));
    }

    #[test]
    fn clocks_that_drift_apart_by_two_hundredths_make_nothing_late() {
        let mut transit = transit();
        for ms in (0..1_000_000).step_by(10_000) {
            let drifted = Message { echo_held_ns: HELD_LONG, ..message(ms - ms / 50, 0, 0) };
            assert!(!transit.is_held_back(&drifted, at(ms), MOST), "{ms}");
        }
    }

    #[test]
    fn what_counts_as_life_was_said_as_long_after_what_it_answers_to_as_it_says_and_not_when_it_came() {
        let network = Nanos::from_millis(12);
        let said = |message: &Message, arrived| said_at(message, at(arrived), network);
        let kept = message(100, 40, 60);
        assert_eq!(said(&kept, 500), at(40 + 40).after(network), "kept for 400 ms by somebody");
        assert_eq!(said(&kept, 85), at(85), "not later than it came");
        let unanswering = Message { echo_held_ns: HELD_LONG, ..kept };
        assert_eq!(said(&unanswering, 500), at(500));
        assert_eq!(said(&Message { echo_sent_ns: 0, ..kept }, 500), at(500));
    }
}
