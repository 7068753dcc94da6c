//! How bad an event is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom an event is for. Ordered: a later one is worse.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The course of things: who reads the day after. Syslog's info.
    Info,
    /// Something moved, or works again. Syslog's notice.
    Notice,
    /// A fault that nobody notices yet: to be mended in working hours. Syslog's warning.
    Warning,
    /// The service is, or may be, affected; or nothing stands between it and the next fault. Syslog's crit.
    Critical,
}

impl Severity {
    /// All of them, a worse one after a milder one.
    pub const ALL: [Self; 4] = [Self::Info, Self::Notice, Self::Warning, Self::Critical];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
