//! Who and what is spoken of: the controllers, and channels and groups by their place in the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most channels a pair can have: one bit each in the message's bitfields.
pub const MAX_CHANNELS: usize = 64;
/// The most groups a pair can have: one bit each in the message's bitfields.
pub const MAX_GROUPS: usize = 64;

/// Which of the two controllers: 108 or 110 in FIG. 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// Controller a.
    A,
    /// Controller b.
    B,
}

impl Node {
    /// The other controller of the pair.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The number that stands for it in the heartbeat message: 0 = a, 1 = b.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u8);

        impl $name {
            /// Its place in a list.
            #[must_use]
            pub const fn usize(self) -> usize {
                self.0 as usize
            }

            /// Its bit in the message's bitfields.
            #[must_use]
            pub const fn bit(self) -> u64 {
                1 << self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(
    /// A channel, 0..63, in the order of the configuration file.
    ChannelIndex
);
index!(
    /// A group, 0..63, in the order of the configuration file.
    GroupIndex
);

/// The places at which something is so, a bit each, the first one lowest.
///
/// # Panics
/// In a debug build, where it is so beyond the 64th.
#[must_use]
pub fn bits(are_so: impl IntoIterator<Item = bool>) -> u64 {
    are_so.into_iter().enumerate().filter(|(_, is_so)| *is_so).fold(0, |bits, (i, _)| bits | 1 << i)
}
