//! Names of keepalived's as names of ours: 1 to 32 of A-Z a-z 0-9 . _ -, each once.

use std::collections::BTreeSet;

const MOST: usize = 32;

/// Those that are taken.
#[derive(Debug, Default)]
pub(super) struct TakenNames(BTreeSet<String>);

impl TakenNames {
    /// A name like `text` that nothing else has.
    pub(super) fn of(&mut self, text: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut name: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).take(MOST).collect();
        if name.is_empty() {
            name.push('-');
        }
        let mut one = name.clone();
        let mut n = 2;
        while !self.0.insert(one.clone()) {
            let end = format!("-{n}");
            one = format!("{}{end}", &name[..name.len().min(MOST - end.len())]);
            n += 1;
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_like_the_one_given_and_nobody_elses() {
        let mut names = TakenNames::default();
        let long = "x".repeat(40);
        let given = ["VI_1", "VI_1", "a b/\u{e4}", "", &long, &long];
        let expected = ["VI_1", "VI_1-2", "a-b--", "-", &long[..32], &format!("{}-2", &long[..30])];
        assert_eq!(given.map(|name| names.of(name)), expected.map(str::to_owned));
    }
}
