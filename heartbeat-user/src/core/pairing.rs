//! With which incarnation of the peer we are paired, and how that comes about without trusting anything recorded earlier.
//!
//! A message counts as life only if it names our incarnation and comes from the one we are paired with; the kernel checks
//! that against [`Pairing::own`] and [`Pairing::peer`]. All other authentic messages come here:
//! - one that names our incarnation was made for us as we are now: its sender becomes the peer, unless we left it before,
//!   or have another peer and it does not prove that it was made since: it must answer to something that we sent to that
//!   one. (Lives that we never paired with, because we did not hear them, can be recorded too.)
//! - any other may be a recording. It is only named in what we send, so that its sender, if it lives, can answer to us;
//!   and only while no channel works, so that a recording never ends a pairing that does; and in one message for each that came,
//!   never two in a row, so that a peer which hears us, though we do not hear it, goes on hearing us.

use crate::types::{ChannelIndex, MAX_CHANNELS};
use std::collections::VecDeque;

/// Left incarnations that are remembered. Of a peer that restarts more often within one life of ours, the earliest lives
/// are told apart by what they answer to alone.
const MAX_LEFT: usize = 1_024;

/// The handshake.
#[derive(Clone, Debug)]
pub struct Pairing {
    own: u64,
    peer: u64,
    candidates: [u64; MAX_CHANNELS],
    /// The channels on which a candidate was heard since it was named last, a bit each; and those on which the last message named one.
    fresh: u64,
    turn: u64,
    left: VecDeque<u64>,
}

impl Pairing {
    /// We are `own`, and were paired with `peer` before a restart of the agent (0: with nobody).
    #[must_use]
    pub fn new(own: u64, peer: u64) -> Self {
        Self { own, peer, candidates: [0; MAX_CHANNELS], fresh: 0, turn: 0, left: VecDeque::with_capacity(MAX_LEFT) }
    }

    /// Our incarnation.
    #[must_use]
    pub const fn own(&self) -> u64 {
        self.own
    }

    /// The peer's incarnation that counts as life; 0 before the first pairing.
    #[must_use]
    pub const fn peer(&self) -> u64 {
        self.peer
    }

    /// Who is on this channel, as far as may be known. `working`: some channel hears the peer.
    #[must_use]
    pub const fn heard_on(&self, channel: ChannelIndex, working: bool) -> u64 {
        match self.candidates[channel.usize()] {
            candidate if candidate != 0 && !working => candidate,
            _ => self.peer,
        }
    }

    /// Whom the next message on this channel names. `working`: some channel hears the peer.
    pub const fn name(&mut self, channel: ChannelIndex, working: bool) -> u64 {
        let bit = channel.bit();
        let theirs = self.peer == 0 || self.fresh & !self.turn & bit != 0;
        self.turn &= !bit;
        if theirs || working {
            self.fresh &= !bit;
        }
        if !theirs || working {
            return self.peer;
        }
        self.turn |= bit;
        self.heard_on(channel, working)
    }

    /// Somebody who may be the peer was heard there: he is named, so that he can answer to us.
    pub const fn note(&mut self, channel: ChannelIndex, incarnation: u64) {
        self.candidates[channel.usize()] = incarnation;
        self.fresh |= channel.bit();
    }

    /// Whether somebody may live in this incarnation, as far as is known.
    #[must_use]
    pub fn may_be(&self, incarnation: u64) -> bool {
        incarnation != 0 && incarnation != self.own && !self.left.contains(&incarnation)
    }

    /// Whether [`Pairing::handle`] would make a new pairing of such a message.
    #[must_use]
    pub fn would_pair(&self, incarnation: u64, peer_incarnation: u64, answers: bool) -> bool {
        let names_us = peer_incarnation == self.own && incarnation != self.peer;
        self.may_be(incarnation) && names_us && (self.peer == 0 || answers)
    }

    /// An authentic message that is not of this pairing. `answers`: to something that we sent since the last pairing.
    /// Whether it made a new one.
    pub fn handle(&mut self, channel: ChannelIndex, incarnation: u64, peer_incarnation: u64, answers: bool) -> bool {
        if !self.would_pair(incarnation, peer_incarnation, answers) {
            if self.may_be(incarnation) {
                self.note(channel, incarnation);
            }
            return false;
        }
        if self.peer != 0 {
            if self.left.len() == MAX_LEFT {
                self.left.pop_front();
            }
            self.left.push_back(self.peer);
        }
        self.peer = incarnation;
        (self.candidates, self.fresh, self.turn) = ([0; MAX_CHANNELS], 0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CH: ChannelIndex = ChannelIndex(0);

    #[test]
    fn two_that_start_are_paired_after_each_has_named_the_other() {
        let (mut a, mut b) = (Pairing::new(1, 0), Pairing::new(2, 0));
        assert!(!a.handle(CH, 2, b.heard_on(CH, false), true));
        assert!(b.handle(CH, 1, a.heard_on(CH, false), true));
        assert!(a.handle(CH, 2, b.heard_on(CH, true), true));
        assert_eq!((a.peer(), b.peer()), (2, 1));
    }

    #[test]
    fn a_recording_never_ends_a_pairing_that_works() {
        let mut a = Pairing::new(1, 2);
        assert!(!a.handle(CH, 3, 0, true));
        assert_eq!((a.peer(), a.heard_on(CH, true)), (2, 2));
        assert_eq!(a.heard_on(CH, false), 3, "once nothing works, it may answer");
    }

    #[test]
    fn a_recording_takes_one_message_for_each_time_that_it_comes_and_never_two_in_a_row() {
        let mut a = Pairing::new(1, 2);
        a.handle(CH, 3, 0, true);
        assert_eq!([(); 3].map(|()| a.name(CH, false)), [3, 2, 2]);
        let flooded = [(); 6].map(|()| {
            a.handle(CH, 3, 0, true);
            a.name(CH, false)
        });
        assert_eq!(flooded, [3, 2, 3, 2, 3, 2]);
        a.handle(CH, 3, 0, true);
        assert_eq!([a.name(CH, true), a.name(ChannelIndex(1), false)], [2, 2]);
        // Who has no peer loses nothing by it.
        let mut alone = Pairing::new(1, 0);
        alone.handle(CH, 3, 0, true);
        assert_eq!([(); 3].map(|()| alone.name(CH, false)), [3, 3, 3]);
    }

    #[test]
    fn a_restarted_peer_that_names_us_is_paired_at_once_and_its_old_life_never_comes_back() {
        let mut a = Pairing::new(1, 2);
        assert!(a.handle(CH, 3, 1, true));
        assert_eq!(a.peer(), 3);
        assert!(!a.handle(CH, 2, 1, true));
        assert_eq!(a.peer(), 3);
        assert_eq!(a.heard_on(CH, false), 3);
    }

    #[test]
    fn a_life_that_we_never_heard_does_not_come_back_unless_it_answers_to_something_recent() {
        let mut a = Pairing::new(1, 4);
        assert!(!a.handle(CH, 3, 1, false));
        assert_eq!(a.peer(), 4);
        assert!(a.handle(CH, 5, 1, true));
    }

    #[test]
    fn our_own_incarnation_and_zero_are_nobody() {
        let mut a = Pairing::new(1, 0);
        assert!(!a.handle(CH, 1, 1, true) && !a.handle(CH, 0, 1, true));
        assert_eq!(a.heard_on(CH, false), 0);
    }

    #[test]
    fn a_flood_of_recordings_on_one_channel_leaves_the_others_alone() {
        let mut a = Pairing::new(1, 0);
        a.handle(ChannelIndex(1), 7, 0, true);
        for old in 100..5_000 {
            a.handle(CH, old, 99, true);
        }
        assert_eq!(a.heard_on(ChannelIndex(1), false), 7);
    }

    #[test]
    fn what_is_remembered_of_left_lives_is_bounded() {
        let mut a = Pairing::new(1, 0);
        for incarnation in 10..5_000 {
            assert!(a.handle(CH, incarnation, 1, true));
        }
        assert_eq!(a.left.len(), MAX_LEFT);
    }
}
