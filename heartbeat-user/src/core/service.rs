//! What either controller says that it could serve with: what a takeover would find, asked before there is one.

use super::{Core, promise, said::PeerFound};
use crate::types::{Nanos, Sides};
use heartbeat_ebpf::wire::flags;

/// What a controller gives, by its last local analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The judged networks that work for it, a bit each.
    pub operational: u64,
    /// Its quality of service (A5).
    pub qos: u32,
    /// All that it lacks are networks that answer again and do not count yet.
    pub recovering: bool,
}

impl Core {
    /// What either gives; nothing of one that has not ended an analysis in this pairing.
    #[must_use]
    pub fn services(&self) -> Sides<Option<Service>> {
        let PeerFound { done, local, qos, recovering, .. } = self.said.found;
        let peer = Service { operational: local.operational, qos, recovering };
        Sides { own: self.analysis.service(), peer: (done != 0).then_some(peer) }
    }

    /// Our health checks that fail, a bit each.
    #[must_use]
    pub fn failing_checks(&self) -> u64 {
        self.analysis.failing_checks(&self.setup.judging)
    }

    /// The channels on which the peer says it hears us, a bit each.
    #[must_use]
    pub const fn heard_there(&self) -> u64 {
        self.said.found.heard
    }

    /// Cut off, each lets go of everything within so long, as it says.
    #[must_use]
    pub const fn release_within(&self) -> Sides<Option<Nanos>> {
        Sides { own: promise::heard(self.setup.exclusivity.promise()), peer: self.said.release_within }
    }

    /// Something of our own host speaks against our taking over, or no longer: the peer cannot see that, and is told.
    pub const fn handle_fitness(&mut self, fit: bool) {
        self.flags = if fit { self.flags & !flags::UNFIT } else { self.flags | flags::UNFIT };
    }

    /// Whether the peer says so of itself.
    #[must_use]
    pub const fn peer_is_unfit(&self) -> bool {
        self.said.flags & flags::UNFIT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{Guards, testing::Bench},
        types::ChannelIndex,
    };

    #[test]
    fn that_a_host_is_unfit_is_said_at_once_and_taken_back() {
        let mut bench = Bench::new(0, Guards::default());
        let said = |bench: &mut Bench| {
            let now = bench.now;
            bench.core.message(now, ChannelIndex(0)).expect("the channel is open").flags & flags::UNFIT != 0
        };
        assert!(!said(&mut bench));
        bench.core.handle_fitness(false);
        assert!(said(&mut bench));
        assert!(bench.core.flags_said() != bench.core.public.flags, "a heartbeat is due at once");
        bench.core.handle_fitness(true);
        assert!(!said(&mut bench) && !bench.core.peer_is_unfit());
    }

    #[test]
    fn nothing_is_known_of_a_service_before_an_analysis() {
        let bench = Bench::new(0, Guards::default());
        assert_eq!(bench.core.services().peer, None);
        assert_eq!(bench.core.failing_checks(), 0);
    }
}
