//! What is known of an interface, and whether it is well.

/// A channel's interface, as the driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none of that name.
    Absent,
    /// It is there.
    Present {
        /// Its index: changes when it is made anew.
        index: u32,
        /// Whether it is up and has a carrier.
        carrier: bool,
        /// Whether our own address is on it.
        address: bool,
    },
}

impl Link {
    /// Whether it is there, up, and has a carrier.
    #[must_use]
    pub const fn carrier(self) -> bool {
        matches!(self, Self::Present { carrier: true, .. })
    }

    /// Whether nothing of our own speaks against it.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Present { carrier: true, address: true, .. })
    }
}
