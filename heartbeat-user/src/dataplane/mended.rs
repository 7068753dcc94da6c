//! What a look at the kernel found that is not as it should be, as a type.

/// What was found that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// What was gone, and is there again.
    pub restored: Vec<String>,
    /// What is not to be had, each with its reason.
    pub troubles: Vec<String>,
    /// The interfaces that somebody has detached the XDP program from, each with its channels, a bit each: attach them again.
    pub detached: Vec<(String, u64)>,
}
