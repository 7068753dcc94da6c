//! Server-sent events: what happened, and the status each second and after each event.

use super::world::World;
use crate::{events::feed::Entry, types::Severity};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError, watch},
    time::{MissedTickBehavior, interval, sleep},
};

/// How often the status is told where nothing happens.
const EVERY: Duration = Duration::from_secs(1);
/// Events that one listener reads from the ring at a time.
const AT_ONCE: usize = 32;
/// Events that follow each other closer than this are followed by one status.
const TOGETHER: Duration = Duration::from_millis(50);

/// Writes the status once for all listeners.
pub(super) async fn tell_status(context: &World) {
    let mut events = context.facts.feed.listen();
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = events.recv() => {
                sleep(TOGETHER).await;
                while !matches!(events.try_recv(), Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)) {}
            }
        }
        if context.statuses.receiver_count() > 0 {
            let newest = context.facts.feed.newest();
            context.statuses.send_replace((newest, status(context)));
        }
    }
}

fn status(context: &World) -> Bytes {
    match context.cache.status(&context.facts) {
        Ok(json) => Bytes::from(format!("event: status\ndata: {json}\n\n")),
        Err(why) => Bytes::from(format!("event: error\ndata: {why}\n\n")),
    }
}

struct Listener {
    /// What is told first.
    greeting: Option<Bytes>,
    /// The ring may have what was not told yet.
    behind: bool,
    /// A few of those, oldest first: whoever does not read must not make us keep what the ring keeps anyway.
    backlog: VecDeque<Arc<Entry>>,
    events: broadcast::Receiver<Arc<Entry>>,
    /// With the newest event that there was before.
    statuses: watch::Receiver<(u64, Bytes)>,
    /// Where events go on after, and the newest that was told here.
    last: u64,
    told: u64,
    context: Arc<World>,
}

/// Everything after `since`, without it everything from now on.
pub(super) fn listen(context: Arc<World>, since: Option<u64>) -> Response {
    let feed = &context.facts.feed;
    let (events, statuses) = (feed.listen(), context.statuses.subscribe());
    let newest = feed.since(None, Severity::Info, 1).0.last().map_or(0, |entry| entry.record.id);
    let listener = Listener {
        greeting: Some(status(&context)),
        behind: true,
        backlog: VecDeque::new(),
        events,
        statuses,
        last: since.unwrap_or(newest),
        told: 0,
        context: Arc::clone(&context),
    };
    let messages = stream::unfold(listener, |mut listener| async move {
        let message = listener.next().await?;
        Some((Ok::<_, Infallible>(message), listener))
    });
    let mut response = Response::new(Body::from_stream(messages));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(greeting) = self.greeting.take() {
                return Some(greeting);
            }
            if let Some(entry) = self.backlog.pop_front() {
                return Some(self.tell(&entry));
            }
            if self.behind {
                let (entries, lost) = self.context.facts.feed.since(Some(self.last), Severity::Info, AT_ONCE);
                self.behind = !entries.is_empty();
                self.backlog.extend(entries);
                if lost {
                    return Some(Bytes::from_static(b"event: lost\ndata: {}\n\n"));
                }
                continue;
            }
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Ok(entry) if entry.record.id > self.last => return Some(self.tell(&entry)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
                changed = self.statuses.changed() => {
                    changed.ok()?;
                    let (newest, status) = self.statuses.borrow_and_update().clone();
                    // One that is older than what was told is followed by another.
                    if newest >= self.told {
                        return Some(status);
                    }
                }
            }
        }
    }

    fn tell(&mut self, entry: &Entry) -> Bytes {
        (self.last, self.told) = (entry.record.id, entry.record.id);
        message(entry)
    }
}

fn message(entry: &Entry) -> Bytes {
    Bytes::from(format!("event: event\nid: {}\ndata: {}\n\n", entry.record.id, entry.json))
}
