//! The newest of what one thread puts together again and again: it never waits for those who read it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// It, and the two before it.
#[derive(Debug)]
pub struct Latest<T> {
    slots: [Mutex<T>; 3],
    newest: AtomicUsize,
    /// One reads at a time, so that of the two slots that are not the newest one is free.
    reading: Mutex<()>,
}

impl<T: Clone> Latest<T> {
    /// Of this value.
    #[must_use]
    pub fn new(first: &T) -> Self {
        Self {
            slots: std::array::from_fn(|_| Mutex::new(first.clone())),
            newest: AtomicUsize::new(0),
            reading: Mutex::new(()),
        }
    }

    /// A copy of it. Whoever reads waits for others who do, and at most for a value that is being put together.
    #[must_use]
    pub fn get(&self) -> T {
        let _alone = locked(&self.reading);
        locked(&self.slots[self.newest.load(Acquire)]).clone()
    }

    /// Puts the next one together, out of an older one. Only one thread may; it never waits.
    pub fn set(&self, put: impl FnOnce(&mut T)) {
        let newest = self.newest.load(Relaxed);
        let others = (0..self.slots.len()).filter(|i| *i != newest);
        let free = others.filter_map(|i| Some((i, self.slots[i].try_lock().ok()?))).next();
        debug_assert!(free.is_some(), "a second thread sets it");
        if let Some((i, mut slot)) = free {
            put(&mut slot);
            // While it is still locked: whoever waits for it, having found it the newest long ago, would else see it before it is so
            // again, and what is older after it.
            self.newest.store(i, Release);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_while_somebody_reads_is_read_next_and_nothing_older_after_it() {
        let latest = Latest::new(&0);
        for held in 0..3 {
            // Somebody who stands still over reading.
            let reader = latest.slots[held].lock().unwrap();
            for _ in 0..4 {
                let mut made = 0;
                if latest.newest.load(Relaxed) != held {
                    made = latest.get() + 1;
                }
                latest.set(|value| *value = made);
                if latest.newest.load(Relaxed) != held {
                    assert_eq!(latest.get(), made);
                }
            }
            drop(reader);
        }
    }

    /// Else whoever has waited for it sees it, and at the next look what is older.
    #[test]
    fn what_is_no_longer_being_put_together_is_the_newest_or_older_than_that() {
        const LAST: u64 = 3_000_000;
        let latest = Latest::new(&0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                for slot in latest.slots.iter().cycle() {
                    let Ok(value) = slot.try_lock().map(|value| (*value, latest.newest.load(Acquire))) else {
                        continue;
                    };
                    let newest = *locked(&latest.slots[value.1]);
                    assert!(newest >= value.0, "{} is there, and {newest} the newest", value.0);
                    seen = newest.max(seen);
                    if seen == LAST {
                        break;
                    }
                }
            });
            (1..=LAST).for_each(|n| latest.set(|value| *value = n));
        });
    }

    #[test]
    fn of_many_readers_none_sees_it_go_back() {
        const LAST: u64 = 20_000;
        let latest = Latest::new(&[0; 8]);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut before = 0;
                    while before != LAST {
                        let now = latest.get();
                        assert!(now == [now[0]; 8] && now[0] >= before, "{now:?} after {before}");
                        before = now[0];
                    }
                });
            }
            (1..=LAST).for_each(|n| {
                latest.set(|value| {
                    value.fill(n);
                    // They wait for this slot, and read it the moment that it is free.
                    std::thread::yield_now();
                });
            });
        });
    }
}
