//! A network that failed to answer counts again only once it has answered for long enough (`rise`): one that comes and goes moves
//! nothing each time.

use crate::types::{MAX_CHANNELS, Nanos};

/// Of each network that failed to answer, whether it answers again; none: it never failed to, or counts again.
#[derive(Clone, Debug)]
pub(super) struct Rise([Option<Rising>; MAX_CHANNELS]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rising {
    Silent,
    Answers { since: Nanos },
}

impl Rise {
    /// No network has failed yet.
    pub(super) const fn new() -> Self {
        Self([None; MAX_CHANNELS])
    }

    /// The networks that count, of those that answered: those that failed only once they have answered for long enough.
    pub(super) fn counted(&mut self, now: Nanos, networks: u64, answered: u64, rise: Nanos) -> u64 {
        let mut counted = answered;
        for (i, rising) in self.0.iter_mut().enumerate().filter(|(i, _)| networks >> i & 1 == 1) {
            *rising = match *rising {
                _ if answered >> i & 1 == 0 => Some(Rising::Silent),
                None => None,
                Some(_) if rise == Nanos(0) => None,
                Some(Rising::Silent) => Some(Rising::Answers { since: now }),
                Some(Rising::Answers { since }) if now.since(since) >= rise => None,
                answers => answers,
            };
            if rising.is_some() {
                counted &= !(1 << i);
            }
        }
        counted
    }

    /// The first time at which a network that answers again counts.
    pub(super) fn next(&self, rise: Nanos) -> Option<Nanos> {
        let since = |rising: &Option<Rising>| match *rising {
            Some(Rising::Answers { since }) => Some(since.after(rise)),
            _ => None,
        };
        self.0.iter().filter_map(since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISE: Nanos = Nanos(10);

    /// What counts of networks 0 and 1, which are judged.
    fn counted(rise: &mut Rise, now: u64, answered: u64) -> u64 {
        rise.counted(Nanos(now), 0b11, answered, RISE)
    }

    #[test]
    fn a_network_that_failed_counts_once_it_has_answered_for_so_long_and_no_sooner() {
        let mut rise = Rise::new();
        assert_eq!((counted(&mut rise, 1, 0b11), rise.next(RISE)), (0b11, None), "it never failed");
        assert_eq!((counted(&mut rise, 2, 0b10), rise.next(RISE)), (0b10, None));
        assert_eq!((counted(&mut rise, 3, 0b11), rise.next(RISE)), (0b10, Some(Nanos(13))));
        assert_eq!((counted(&mut rise, 12, 0b11), rise.next(RISE)), (0b10, Some(Nanos(13))));
        assert_eq!((counted(&mut rise, 13, 0b11), rise.next(RISE)), (0b11, None));
    }

    #[test]
    fn one_that_fails_again_meanwhile_begins_anew() {
        let mut rise = Rise::new();
        for (now, answered) in [(1, 0), (2, 0b01), (5, 0b11), (11, 0b10)] {
            counted(&mut rise, now, answered);
        }
        assert_eq!((counted(&mut rise, 12, 0b11), rise.next(RISE)), (0, Some(Nanos(15))), "the other one goes on");
        assert_eq!((counted(&mut rise, 15, 0b11), rise.next(RISE)), (0b10, Some(Nanos(22))));
    }

    #[test]
    fn without_such_a_time_what_answers_counts_and_what_is_not_judged_is_left_alone() {
        let mut rise = Rise::new();
        rise.counted(Nanos(1), 0b11, 0, Nanos(0));
        assert_eq!(rise.counted(Nanos(2), 0b11, 0b11, Nanos(0)), 0b11);
        rise.counted(Nanos(3), 0b01, 0, RISE);
        assert_eq!(rise.counted(Nanos(4), 0b11, 0b11, RISE), 0b10, "network 1 was not judged when it did not answer");
    }
}
