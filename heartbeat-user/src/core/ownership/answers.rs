//! What becomes of a group once its acquisition or release has ended, well or not.

use super::{
    Ownership,
    group::{Holding, KEEP, KEEP_MOST, REST},
};
use crate::{
    core::event::Withheld,
    types::{GroupIndex, Nanos},
};

impl Ownership {
    /// The addresses are in place. False where nobody asked for that.
    pub fn acquired(&mut self, group: GroupIndex) -> bool {
        let changed = self.change(group, Holding::Acquiring, Holding::Held);
        if changed {
            let g = &mut self.groups[group.usize()];
            (g.failing, g.failed_at) = (false, None);
        }
        changed
    }

    /// It could not be had, or was [lost](Self::lost), and nothing of it is left here.
    pub fn acquire_failed(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let resting = Holding::Resting { until: now.after(REST) };
        self.change(group, Holding::Acquiring, resting) || self.change(group, Holding::Releasing, resting)
    }

    /// None of its addresses could be added although it counts as held, as a group does that was resumed.
    pub fn lost(&mut self, group: GroupIndex) {
        self.change(group, Holding::Held, Holding::Releasing);
    }

    /// That it failed is to be said. Whether that is new.
    pub fn begin_failing(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let Some(g) = self.groups.get_mut(group.usize()) else { return false };
        g.failed_at = Some(now);
        !std::mem::replace(&mut g.failing, true)
    }

    /// What it may have failed for is another thing now.
    pub fn forget_failures(&mut self) {
        self.groups.iter_mut().for_each(|g| (g.failing, g.failed_at) = (false, None));
    }

    /// The groups that could not be acquired when that was last tried, not long ago.
    #[must_use]
    pub fn failing(&self, now: Nanos) -> u64 {
        self.which(|g| g.failed(now))
    }

    /// Whether the last attempt to acquire it failed.
    #[must_use]
    pub fn is_failing(&self, group: GroupIndex) -> bool {
        self.groups.get(group.usize()).is_some_and(|g| g.failing)
    }

    /// Nothing of it is left here.
    pub fn released(&mut self, group: GroupIndex) -> bool {
        let departed = self.groups.get(group.usize()).is_some_and(|g| g.departed);
        let after = if departed { Holding::Resting { until: Nanos::NEVER } } else { Holding::Standby };
        let changed = self.change(group, Holding::Releasing, after);
        if changed {
            let g = &mut self.groups[group.usize()];
            (g.kept_for, g.stuck) = (Nanos(0), false);
        }
        changed
    }

    /// The group could not be let go of: it is held on, addresses and all.
    pub fn release_failed(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let changed = self.change(group, Holding::Releasing, Holding::Held);
        if changed {
            let until = self.keep(now, group);
            let g = &mut self.groups[group.usize()];
            (g.kept_until, g.stuck) = (Some(until), false);
        }
        changed
    }

    /// The group could not be let go of, and cannot be held on either. Whether that is new.
    pub fn stuck(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let stuck = Holding::Stuck { until: self.keep(now, group) };
        let changed = self.change(group, Holding::Acquiring, stuck) || self.change(group, Holding::Releasing, stuck);
        changed && !std::mem::replace(&mut self.groups[group.usize()].stuck, true)
    }

    /// Until when it is left as it is; one that stops does not come back to it.
    fn keep(&mut self, now: Nanos, group: GroupIndex) -> Nanos {
        let Some(g) = self.groups.get_mut(group.usize()) else { return Nanos::NEVER };
        g.kept_for = g.kept_for.times(2).clamp(KEEP, KEEP_MOST);
        if self.stopping { Nanos::NEVER } else { now.after(g.kept_for) }
    }

    /// Something is not acquired, for this reason. Whether that is new.
    pub fn withhold(&mut self, reason: Withheld) -> bool {
        self.withheld.replace(reason) != Some(reason)
    }

    fn change(&mut self, group: GroupIndex, from: Holding, to: Holding) -> bool {
        match self.groups.get_mut(group.usize()) {
            Some(g) if g.holding == from => {
                g.holding = to;
                true
            }
            _ => false,
        }
    }
}
