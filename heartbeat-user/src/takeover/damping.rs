//! What happens again and again is told at once, then ever more rarely; nothing is left untold. A table without a clock.

use crate::types::Nanos;
use std::collections::BTreeMap;

/// The first pause between two that are told of the same; each further one is twice as long,
const FIRST: Nanos = Nanos::from_millis(1_000);
/// up to this.
const LONGEST: Nanos = Nanos::from_millis(300_000);

/// Of each key at most one entry, and that only for as long as it goes on.
#[derive(Debug)]
pub(super) struct Damping<K>(BTreeMap<K, Entry>);

impl<K> Default for Damping<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The pause that ends at `until`.
    pause: Nanos,
    until: Nanos,
    /// How often it happened since it was told.
    untold: u32,
}

impl<K: Ord + Copy> Damping<K> {
    /// It happened. Whether to tell it now; if not, [`Damping::due`] says when.
    pub(super) fn happened(&mut self, key: K, now: Nanos) -> bool {
        match self.0.get_mut(&key) {
            Some(entry) if entry.untold > 0 || now < entry.until => {
                entry.untold = entry.untold.saturating_add(1);
                false
            }
            _ => self.again(key, now),
        }
    }

    /// The same, for what is sure to happen again for as long as it matters: it is told then, or never.
    pub(super) fn again(&mut self, key: K, now: Nanos) -> bool {
        self.0.retain(|_, entry| entry.untold > 0 || now < entry.until.after(entry.pause));
        let next = match self.0.get(&key) {
            Some(entry) if now < entry.until => return false,
            Some(entry) => longer(entry.pause),
            None => FIRST,
        };
        self.0.insert(key, Entry { pause: next, until: now.after(next), untold: 0 });
        true
    }

    /// What is to be told now, and how often it happened.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<(K, u32)> {
        let mut due = Vec::new();
        for (key, entry) in self.0.iter_mut().filter(|(_, entry)| entry.untold > 0 && entry.until <= now) {
            due.push((*key, entry.untold));
            let pause = longer(entry.pause);
            *entry = Entry { pause, until: now.after(pause), untold: 0 };
        }
        due
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.0.values().filter(|entry| entry.untold > 0).map(|entry| entry.until).min()
    }
}

fn longer(pause: Nanos) -> Nanos {
    pause.times(2).min(LONGEST)
}
