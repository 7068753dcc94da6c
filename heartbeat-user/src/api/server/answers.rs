//! What requests are answered with, as JSON.

use crate::{
    api::{Channel, Group},
    events::Record,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An answer that is a list of one kind of facts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Facts<T> {
    /// How old these facts are, in ms.
    pub age_ms: f64,
    /// They.
    #[serde(flatten)]
    pub facts: T,
}

/// `GET /v1/channels`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Channels {
    pub channels: Vec<Channel>,
}

/// `GET /v1/groups`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Groups {
    pub groups: Vec<Group>,
}

/// `GET /v1/verdicts`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Verdicts {
    pub verdicts: Vec<Record>,
}

/// `GET /v1/events`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Record>,
    /// Whether some after `since` are not kept any more.
    pub lost: bool,
}

/// `GET /healthz`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Healthy {
    pub age_ms: f64,
    pub healthy: bool,
}

/// What every refused request is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Refused {
    /// What is wrong, with its value, and what would be right.
    pub error: String,
}

/// What an accepted order is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Accepted {
    pub accepted: bool,
}
