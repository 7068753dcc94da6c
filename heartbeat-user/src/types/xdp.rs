//! How a channel's heartbeats are received: the modes, and which of them a preference allows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a channel's heartbeats are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// By the XDP program, in the network driver.
    Native,
    /// By the XDP program, in the network stack: every driver has it.
    Generic,
    /// By the agent, from a UDP socket, with the same checks.
    Socket,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        })
    }
}

/// Which mode a channel is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpPreference {
    /// Native, else generic, else socket.
    #[default]
    Auto,
    /// Native or nothing.
    Native,
    /// Generic or nothing.
    Generic,
    /// The socket, whatever the interface can do.
    Socket,
}

impl XdpPreference {
    /// Every preference.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Generic, Self::Socket];

    /// Its name in the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        }
    }

    /// Whether it is content with `mode`.
    #[must_use]
    pub const fn allows(self, mode: XdpMode) -> bool {
        match self {
            Self::Auto => true,
            Self::Native => matches!(mode, XdpMode::Native),
            Self::Generic => matches!(mode, XdpMode::Generic),
            Self::Socket => matches!(mode, XdpMode::Socket),
        }
    }
}
