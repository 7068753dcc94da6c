//! What there is twice: here and there.

/// One for this controller, and one for its peer. (What belongs to controllers a and b, whichever this is, is a list by
/// [`Node`](super::Node).)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// This controller's.
    pub own: T,
    /// The peer's, as it says, or as far as it is known.
    pub peer: T,
}
