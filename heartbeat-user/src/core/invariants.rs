//! What is so after each turn, whatever happened in it. Looked at in debug builds, tests and walks only.

use super::{ChannelState, Core, PeerState};
use crate::types::Nanos;

impl Core {
    /// # Panics
    /// Where one of them is not so; only in a debug build.
    pub(super) fn assert_invariants(&self, now: Nanos, term_before: u64) {
        if cfg!(debug_assertions) {
            self.assert_groups_are_in_one_place();
            self.assert_ways_and_ownership_agree();
            self.assert_peer_is_what_its_channels_say();
            assert!(self.ownership.term() >= term_before, "the term fell: {} after {term_before}", self.term());
            assert!(self.expected >= now, "the next turn was to be before this one");
        }
    }

    /// Whatever is said of groups is said of those that there are; and none is held and let go of at once.
    fn assert_groups_are_in_one_place(&self) {
        let o = &self.ownership;
        let (owned, all) = (o.owned(), self.all_groups());
        assert_eq!(owned & !all, 0, "a group that is not configured is owned");
        assert_eq!(o.standing_by() & owned, 0, "a group stands by, and is owned");
        let parts = [o.held(), o.claiming(), o.acquiring(), o.releasing(), o.stuck_groups()];
        assert_eq!(parts.iter().fold(0, |any, part| any | part), owned, "what is owned is held, under way or stuck");
        let once: u32 = parts.iter().map(|part| part.count_ones()).sum();
        assert_eq!(once, owned.count_ones(), "and only one of that: {parts:?}");
        let (granted, denied) = (self.arbiter.granted(Nanos(0)), self.arbiter.denied());
        assert_eq!(granted & denied, 0, "granted, and denied");
    }

    /// Each group is as far on its way, with its hooks, as its ownership has it.
    fn assert_ways_and_ownership_agree(&self) {
        let (o, ways) = (&self.ownership, self.courses.at_rest());
        assert_eq!(ways.held, o.held(), "held");
        assert_eq!(ways.stuck, o.stuck_groups(), "stuck");
        assert_eq!(ways.free, self.all_groups() & !o.owned() | o.claiming(), "nothing of it is here");
    }

    /// FIG. 6, step 604, and what the host says: nobody is alive of whom nothing is heard, nor fenced whom we hear.
    fn assert_peer_is_what_its_channels_say(&self) {
        let heard = self.channels.iter().any(|c| c.counter.state() == ChannelState::Open);
        assert_eq!(self.peer == PeerState::Good, heard && !self.died_unsaid(), "alive is who is heard");
        assert!(self.peer == PeerState::Bad || !self.watch.is_fencing(), "a peer that is not dead is being fenced");
    }

    fn all_groups(&self) -> u64 {
        crate::types::bits(self.setup.homes.iter().map(|_| true))
    }
}
