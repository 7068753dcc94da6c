//! Tells events: of the core and of the control side, with their names, to whoever asks or listens, and to the sinks.

use super::{ControlEvent, EventNames, Output, Record, Tell, feed::Feed, item::Item, sinks::Sinks};
use crate::{core::Event, system::clock, types::Nanos};
use serde_json::Value;
use std::sync::Arc;

/// Tells both kinds of events.
#[derive(Clone)]
pub struct Journal {
    /// The names behind indices.
    pub names: EventNames,
    /// How lines are written.
    pub output: Output,
    /// Where they go.
    pub sinks: Sinks,
    /// Whoever asks or listens.
    pub feed: Arc<Feed>,
}

impl Journal {
    /// An event of the core, that happened then.
    pub fn core(&self, time_ns: u64, monotonic: Nanos, event: &Event) {
        self.tell(time_ns, monotonic, event);
    }

    /// An event of the control side, now.
    pub fn control(&self, event: &ControlEvent) {
        self.tell(clock::realtime_ns(), clock::monotonic(), event);
    }

    fn tell(&self, time_ns: u64, monotonic: Nanos, event: &impl Tell) {
        let mut evidence = self.names.fields(event);
        evidence.remove("event");
        let mut take = |key| match evidence.remove(key) {
            Some(Value::String(text)) => Some(text),
            other => other.filter(|value| !value.is_null()).map(|value| value.to_string()),
        };
        let (channel, group) = (take("channel"), take("group"));
        let text = event.sentence(channel.as_ref().or(group.as_ref()).map_or("", String::as_str));
        let record = Record {
            event: event.kind().name().to_owned(),
            time_ns,
            monotonic_ns: monotonic.0,
            id: 0,
            severity: event.severity(),
            controller: self.names.node,
            channel,
            group,
            text,
            evidence,
        };
        if let Err(event) = self.sinks.tell(Item::Event(self.feed.publish(record))) {
            self.output.write(&event);
        }
    }
}
