//! What speaks against a failover, by codes.

use crate::types::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What sort of thing speaks against a failover.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As documents, metrics and events have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

codes! {
    /// The pulse thread shows nothing new: nothing else is known.
    FactsOld = "facts_old",
    /// The peer is not GOOD, or about to leave.
    Peer = "peer",
    /// The peer says that something of its own host speaks against its taking over.
    PeerUnfit = "peer_unfit",
    /// A channel is not GOOD, here or there.
    ChannelDown = "channel_down",
    /// A controller is in maintenance.
    Maintenance = "maintenance",
    /// The two have other channels, groups, intervals.
    FilesDiffer = "files_differ",
    /// The two have other keys.
    KeysDiffer = "keys_differ",
    /// A group's addresses could not be served here: its interface is down, or absent.
    Interface = "interface",
    /// A network does not work for a controller.
    Network = "network",
    /// A health check fails.
    Check = "check",
    /// A program that is to be run is not there, or cannot be.
    Command = "command",
    /// Something else of this host is not as the configuration has it.
    Host = "host",
    /// The kernel would not keep silent if the agent could not.
    Kernel = "kernel",
    /// A fence device cannot be relied on.
    Fence = "fence",
    /// The arbiter does not answer, or not all of it.
    Arbiter = "arbiter",
    /// The host's watchdog is not fed, or cannot be had.
    Watchdog = "watchdog",
    /// Nothing would ever make it safe to take an exclusive group.
    Exclusive = "exclusive",
    /// Neither controller holds a group.
    GroupUnheld = "group_unheld",
    /// Both do.
    GroupHeldTwice = "group_held_twice",
    /// It could not be let go of.
    GroupKept = "group_kept",
    /// It could neither be had nor let go of.
    GroupStuck = "group_stuck",
    /// This host's kernel keeps silent for one that is ours.
    GroupSilent = "group_silent",
    /// The agent comes too late for the profile, or did lately.
    Late = "late",
}

/// Why a failover would not work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// What sort of thing.
    pub code: Code,
    /// The controller that it is of; nothing where it is of both, or of what joins them.
    pub controller: Option<Node>,
    /// The channel, group, key or device that it is about.
    pub thing: String,
    /// What it is, its value, and what would be right.
    pub text: String,
}
