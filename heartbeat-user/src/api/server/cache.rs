//! The status as JSON, put together once for all who ask at about the same time.

use crate::api::{Shown, Status};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Facts are put together at most so often, and for at most this part of the time: with 64 channels it takes longer.
const FRESH: Duration = Duration::from_millis(5);
const PART: u32 = 20;
/// Why there is no status.
pub(super) const DEAD: &str = "the pulse thread died: the agent is ending";

/// The status as JSON, for all who ask at about the same time: a thousand a second cost what two hundred do.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Cached>>);

struct Cached {
    until: Instant,
    json: Arc<str>,
}

impl Cache {
    pub(super) fn status(&self, facts: &Shown) -> Result<Arc<str>, &'static str> {
        let mut cached = self.0.lock().map_err(|_| DEAD)?;
        let began = Instant::now();
        if let Some(Cached { until, json }) = &*cached
            && began < *until
        {
            return Ok(Arc::clone(json));
        }
        let view = facts.view().ok_or(DEAD)?;
        let json: Arc<str> = serde_json::to_string(&Status::new(facts, &view)).map_err(|_| "no JSON")?.into();
        let until = Instant::now() + FRESH.max(began.elapsed() * PART);
        *cached = Some(Cached { until, json: Arc::clone(&json) });
        Ok(json)
    }
}
