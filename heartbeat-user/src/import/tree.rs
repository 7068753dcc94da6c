//! A file's lines as keywords with their values and blocks.
//!
//! A line is a keyword with its values; `{` and `}`, outside of quotation marks, begin and end a block wherever they stand. keepalived
//! itself reads it so: a block's `{` may be on the next line, and all of a block on one.

use super::error::{Fault, Problem};
use super::place::Place;
use super::source::Line;
use super::words::{self, Token, Word};

/// The most blocks within blocks.
const MAX_DEPTH: usize = 16;

/// A keyword or a value, with the values after it on its line, and its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) place: Place,
    /// At least one.
    pub(super) words: Vec<Word>,
    pub(super) block: Option<Vec<Item>>,
}

impl Item {
    /// The first word.
    pub(super) fn keyword(&self) -> &str {
        &self.words[0].text
    }

    /// The `n`-th word after it, from 1.
    pub(super) fn value(&self, n: usize) -> Option<&str> {
        self.words.get(n).map(|word| word.text.as_str())
    }

    /// All of its words.
    pub(super) fn text(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }

    /// It is at `fault`.
    pub(super) fn problem(&self, fault: Fault) -> Problem {
        Problem::new(&self.place, &self.text(), fault)
    }

    /// What is in its block.
    pub(super) fn items(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The words of its block, each line's with it: for blocks that are lists.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&Place, &str)> {
        self.items().iter().flat_map(|item| item.words.iter().map(|word| (&item.place, word.text.as_str())))
    }
}

/// What the lines say.
///
/// # Errors
/// The first brace or quotation mark that is wrong, or the first placeholder of a template.
pub(super) fn tree(lines: &[Line]) -> Result<Vec<Item>, Problem> {
    let mut tree = Tree::default();
    for line in lines {
        tree.line(line)?;
    }
    match tree.open.first() {
        Some(open) => Err(open.problem(Fault::NotClosed)),
        None => Ok(tree.done),
    }
}

#[derive(Default)]
struct Tree {
    done: Vec<Item>,
    /// The blocks that are open, the outermost first.
    open: Vec<Item>,
}

impl Tree {
    fn line(&mut self, line: &Line) -> Result<(), Problem> {
        let problem = |fault| Problem::new(&line.place, &line.text, fault);
        let mut words = Vec::new();
        for token in words::tokens(&line.text).map_err(problem)? {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    self.add(&line.place, &mut words);
                    let item = self.list().pop().filter(|item| item.block.is_none());
                    let item = item.ok_or_else(|| problem(Fault::NoKeyword))?;
                    if self.open.len() == MAX_DEPTH {
                        return Err(problem(Fault::TooMuch { what: "blocks within blocks", most: MAX_DEPTH }));
                    }
                    self.open.push(Item { block: Some(Vec::new()), ..item });
                }
                Token::Close => {
                    self.add(&line.place, &mut words);
                    let item = self.open.pop().ok_or_else(|| problem(Fault::NotOpened))?;
                    self.list().push(item);
                }
            }
        }
        self.add(&line.place, &mut words);
        Ok(())
    }

    /// Where the next item goes.
    fn list(&mut self) -> &mut Vec<Item> {
        match self.open.last_mut() {
            Some(open) => open.block.get_or_insert_default(),
            None => &mut self.done,
        }
    }

    fn add(&mut self, place: &Place, words: &mut Vec<Word>) {
        if !words.is_empty() {
            let item = Item { place: place.clone(), words: std::mem::take(words), block: None };
            self.list().push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Item>, Problem> {
        let lines: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(i, line)| Line { place: Place::new("k.conf", i + 1), text: line.trim().to_owned() })
            .collect();
        tree(&lines)
    }

    /// As one line: `keyword value { .. }`.
    fn flat(items: &[Item]) -> String {
        let one = |item: &Item| match &item.block {
            Some(block) => format!("{} {{ {} }}", item.text(), flat(block)),
            None => item.text(),
        };
        items.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_block_may_begin_and_end_anywhere() {
        for text in [
            "a b {\nc d\ne {\nf\n}\n}\ng",
            "a b\n{\nc d\ne\n{\nf\n}\n}\ng",
            "a b { c d\ne { f }\n} g",
            "a b{c d\ne{f}}\ng",
            "a b {\n\nc d\n\ne { f\n} }\n\ng",
        ] {
            assert_eq!(flat(&parsed(text).unwrap()), "a b { c d; e { f } }; g", "{text:?}");
        }
        assert_eq!(flat(&parsed("a \"{ x }\" {\nb '{'\n}").unwrap()), "a { x } { b { }");
        assert_eq!(flat(&parsed("a {\n}\nb { }").unwrap()), "a {  }; b {  }");
    }

    #[test]
    fn braces_that_do_not_match_are_named_with_the_line_that_is_wrong() {
        for (text, expected) in [
            ("a {\nb {\nc\n}\n", "k.conf:1: a: its { is never closed; right would be a } after its last line"),
            ("a {\n}\n}\n", "k.conf:3: }: a } that closes nothing; right would be one } for each {"),
            (
                "{\n}",
                "k.conf:1: {: a { without a word before it; right would be a keyword, such as vrrp_instance VI_1 {",
            ),
            (
                "a {\n} {\n}",
                "k.conf:2: } {: a { without a word before it; right would be a keyword, such as vrrp_instance VI_1 {",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err().to_string(), expected);
        }
        let deep = "a {\n".repeat(17);
        assert_eq!(parsed(&deep).unwrap_err().to_string(), "k.conf:17: a {: too much: at most 16 blocks within blocks");
    }
}
