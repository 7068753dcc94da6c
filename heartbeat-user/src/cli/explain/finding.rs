//! A fault with what is to be done about it, as a type.

/// See above.
pub(super) struct Finding {
    pub what: String,
    pub todo: String,
}

impl Finding {
    pub(super) fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), todo: todo.into() }
    }
}
