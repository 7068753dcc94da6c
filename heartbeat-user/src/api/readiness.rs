//! Whether a failover would work now, and why not: what [`super::ready`] finds.

use crate::{
    events::{Code, Obstacle},
    types::Node,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a failover would work now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// It would.
    pub ready: bool,
    /// Every reason why not.
    pub reasons: Vec<Obstacle>,
}

impl Readiness {
    /// For these reasons, or for none.
    #[must_use]
    pub fn new(reasons: Vec<Obstacle>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }

    /// Whether nothing of `node`'s own host, which the other one cannot see, speaks against its taking over.
    #[must_use]
    pub fn is_fit(&self, node: Node) -> bool {
        const UNSEEN: &[Code] =
            &[Code::Command, Code::Host, Code::Kernel, Code::Fence, Code::Arbiter, Code::Watchdog, Code::Late];
        let own = |reason: &&Obstacle| reason.controller == Some(node) && UNSEEN.contains(&reason.code);
        !self.reasons.iter().any(|reason| own(&reason))
    }

    /// Whether there is anything to be mended: a stall that is over is none.
    #[must_use]
    pub fn is_to_be_mended(&self) -> bool {
        self.reasons.iter().any(|reason| reason.code != Code::Late)
    }

    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.reasons[..] {
            [] if self.ready => "a failover would work now".to_owned(),
            [] => "whether a failover would work is not known: this agent does not say".to_owned(),
            [only] => format!("a failover would not work now: {}", only.text),
            [first, rest @ ..] => {
                format!("a failover would not work now: {}; and {} more: heartbeat ready", first.text, rest.len())
            }
        }
    }
}
