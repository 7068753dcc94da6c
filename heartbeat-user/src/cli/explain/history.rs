//! One life of the agent, as its events tell it, asked by the catalogue: what stands, and what came before.

use crate::{
    events::{Kind, Record},
    types::Node,
};
use serde::Deserialize;
use serde_json::Value;

/// Its events, oldest first; those of kinds that this version does not know are not among them.
pub(super) struct History<'a> {
    /// Who tells.
    pub here: Node,
    events: Vec<(Kind, &'a Record)>,
}

impl<'a> History<'a> {
    /// Of the last life of all: it found everything anew.
    pub(super) fn new(records: &'a [Record]) -> Self {
        let all: Vec<_> = records.iter().filter_map(|record| Some((record.kind()?, record))).collect();
        let begin = all.iter().rposition(|(kind, _)| *kind == Kind::Ready).unwrap_or(0);
        let here = records.last().map_or(Node::A, |record| record.controller);
        Self { here, events: all[begin..].to_vec() }
    }

    /// What came before an event.
    pub(super) fn before(&self, event: &Record) -> Self {
        let before = self.events.iter().take_while(|(_, other)| other.id != event.id);
        Self { here: self.here, events: before.copied().collect() }
    }

    /// All of it.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Kind, &'a Record)> {
        self.events.iter().copied()
    }

    /// The last event of a kind.
    pub(super) fn last(&self, kind: Kind) -> Option<&'a Record> {
        self.iter().rfind(|(other, _)| *other == kind).map(|(_, event)| event)
    }

    /// Those events of these kinds whose subject has had none since that ends them, nor the like of them.
    pub(super) fn standing(&self, kinds: &[Kind]) -> impl Iterator<Item = &'a Record> {
        let stands = |(i, (kind, event)): (usize, &(Kind, &'a Record))| {
            let row = kind.row();
            let of = |event: &Record| row.subject.field().and_then(|name| which(event, name));
            let ends = |(later, other): &(Kind, &Record)| {
                (later == kind || row.until.contains(later)) && of(other) == of(event)
            };
            (kinds.contains(kind) && !self.events[i + 1..].iter().any(ends)).then_some(*event)
        };
        self.events.iter().enumerate().filter_map(stands).collect::<Vec<_>>().into_iter()
    }
}

/// Which channel, group or other thing an event is about.
fn which(event: &Record, name: &str) -> Option<String> {
    match name {
        "channel" => event.channel.clone(),
        "group" => event.group.clone(),
        name => event.evidence.get(name).map(Value::to_string),
    }
}

/// A field of an event, where it has one that this version understands.
pub(super) fn field<'a, T: Deserialize<'a>>(event: &'a Record, name: &str) -> Option<T> {
    T::deserialize(event.evidence.get(name)?).ok()
}

/// The same as text; empty where it has none.
pub(super) fn said<'a>(event: &'a Record, name: &str) -> &'a str {
    field(event, name).unwrap_or_default()
}
