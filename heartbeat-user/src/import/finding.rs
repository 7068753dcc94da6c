//! What became otherwise, or nothing, of a thing in keepalived's file.

use super::place::{Place, harmless, shown};
use std::fmt;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// It has no counterpart.
    Lost,
    /// The files do not say what is needed: a text that begins with TODO stands in its place.
    ToFillIn,
    /// It is carried over, or not needed, and something about it is to be known.
    Note,
}

impl FindingKind {
    /// As the report has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::ToFillIn => "to fill in",
            Self::Note => "note",
        }
    }
}

/// The most places that are named.
const MOST: usize = 4;

/// One thing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What became of it.
    pub kind: FindingKind,
    /// Where it stands: at least one place.
    pub places: Vec<Place>,
    /// What stands there, shortened, without secrets.
    pub what: String,
    /// Why, and what to do instead.
    pub instead: String,
}

impl Finding {
    /// `what` at `place`.
    pub(super) fn new(kind: FindingKind, place: &Place, what: &str, instead: impl Into<String>) -> Self {
        Self { kind, places: vec![place.clone()], what: shown(what), instead: harmless(&instead.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, place) in self.places.iter().take(MOST).enumerate() {
            write!(f, "{}{place}", if i == 0 { "" } else { ", " })?;
        }
        if let more @ 1.. = self.places.len().saturating_sub(MOST) {
            write!(f, " and {more} more")?;
        }
        write!(f, ": {}: {}: {}", self.kind.name(), self.what, self.instead)
    }
}
