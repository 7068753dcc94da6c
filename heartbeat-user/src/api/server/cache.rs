//! The status as JSON, put together once for all who ask at about the same time.

use crate::api::{Shown, Status};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Facts are put together at most so often, and for at most this part of the time: with 64 channels it takes longer.
const FRESH: Duration = Duration::from_millis(5);
const PART: u32 = 20;
/// Nobody is given older ones than these: whoever puts them together may be held up over it.
const OLDEST: Duration = Duration::from_millis(50);

/// The status as JSON, for all who ask at about the same time: a thousand a second cost what two hundred do.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Cached>>);

struct Cached {
    until: Instant,
    /// The newest event before it.
    event: u64,
    json: Arc<str>,
}

impl Cache {
    /// Put together after the newest event: whoever was told of one that the core told finds it.
    pub(super) fn status(&self, facts: &Shown) -> serde_json::Result<Arc<str>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, event) = (Instant::now(), facts.feed.newest());
        if let Some(Cached { until, event: before, json }) = &*cached
            && began < *until
            && *before == event
        {
            return Ok(Arc::clone(json));
        }
        let json: Arc<str> = serde_json::to_string(&Status::new(facts, &facts.view()))?.into();
        let until = began + (began.elapsed() * PART).clamp(FRESH, OLDEST);
        *cached = Some(Cached { until, event, json: Arc::clone(&json) });
        Ok(json)
    }

    /// An order was answered: what was put together before it is given to nobody any more.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::status::gather::tests::shown, events::feed::tests::record, types::Severity};

    #[test]
    fn whoever_was_told_of_something_is_given_no_status_of_before() {
        let (facts, _) = shown();
        let cache = Cache::default();
        let first = cache.status(&facts).unwrap();
        // Put together so slowly that it would be given out for long.
        cache.0.lock().unwrap().as_mut().unwrap().until += Duration::from_secs(60);
        facts.shared.view.set(|view| view.term += 1);
        assert_eq!(cache.status(&facts).unwrap(), first, "it is put together once for all who ask");
        facts.feed.publish(record(1, Severity::Info, "x"));
        let second = cache.status(&facts).unwrap();
        assert_ne!(second, first);
        // An order is taken some time before anything is told of it.
        facts.shared.view.set(|view| view.term += 1);
        cache.forget();
        assert_ne!(cache.status(&facts).unwrap(), second);
        facts.sinks.end(false);
    }
}
