//! Where something stands in a file that is imported, and how that is shown.

use std::fmt;
use std::sync::Arc;

/// The most characters of a value that are shown.
const MAX_SHOWN: usize = 80;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file's name as given, or as the one that includes it leads to it; or an argument of the command line.
    pub file: Arc<str>,
    /// Its line, from 1; 0 where it is no file.
    pub line: usize,
}

impl Place {
    /// Line `line` of `file`.
    pub(super) fn new(file: &str, line: usize) -> Self {
        Self { file: file.into(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// `text`, shortened, with nothing in it that a terminal would act upon, and without the secret that it may have.
pub(super) fn shown(text: &str) -> String {
    let secret = |(i, word): (usize, &str)| ["auth_pass", "password"].contains(&word) || (i == 0 && word == "key");
    if let Some(at) = text.split_whitespace().enumerate().position(secret) {
        let words: Vec<_> = text.split_whitespace().take(at + 1).collect();
        return format!("{} ...", words.join(" "));
    }
    let mut shown: String = harmless(text).chars().take(MAX_SHOWN).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// `text` with nothing in it that a terminal would act upon.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_harmless_and_no_secret() {
        assert_eq!(shown("priority 100"), "priority 100");
        assert_eq!(shown("a\u{1b}[31mb\u{7}"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(shown(&"x".repeat(200)), format!("{}...", "x".repeat(80)));
        for secret in ["auth_pass hunter2", "  key 1 hex:00", "auth_pass \"hunter2", "@high auth_pass hunter2"] {
            assert!(shown(secret).ends_with(" ...") && !shown(secret).contains("hunter2"), "{secret}");
        }
        assert_eq!(
            (Place::new("k.conf", 3).to_string(), Place::new("-i", 0).to_string()),
            ("k.conf:3".into(), "-i".into())
        );
    }
}
