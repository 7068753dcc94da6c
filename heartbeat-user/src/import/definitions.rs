//! `$NAME=VALUE`, and what stands for it: keepalived.conf(5), *Parameter substitution* and *Pre-defined definitions*.

use super::error::Fault;
use std::collections::BTreeMap;
use std::path::Path;

/// The longest line, in bytes, as written and with its definitions put in. keepalived itself reads 1,024.
pub(super) const MAX_LINE: usize = 16 << 10;
/// The most replacements in all files together.
const MAX_REPLACED: usize = 100_000;
/// The most bytes that they bring.
const MAX_BROUGHT: usize = 64 << 20;

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// Nothing in it is defined.
    Nothing,
    /// One definition was put in; there may be more in what it is now.
    By(Vec<String>),
}

/// What is defined so far.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// A value's lines: one, or those of a definition of several.
    values: BTreeMap<String, (Vec<String>, bool)>,
    replaced: usize,
    brought: usize,
}

impl Definitions {
    /// What is defined before the first line, where keepalived is started with `id`.
    pub(super) fn new(id: Option<&str>) -> Self {
        let mut new = Self::default();
        // Put in, they are read again: there, they begin a comment, but for the backslash.
        new.set("_HASH", "\\#", false);
        new.set("_BANG", "\\!", false);
        if let Some(id) = id {
            new.set("_INSTANCE", id, false);
        }
        new
    }

    /// From now on a file in `folder` is read.
    pub(super) fn enter(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        self.set("_PWD", &absolute.display().to_string(), false);
    }

    /// `name` stands for `first` from now on, or for it and the lines that are added.
    pub(super) fn set(&mut self, name: &str, first: &str, goes_on: bool) {
        let lines = if goes_on && first.is_empty() { Vec::new() } else { vec![first.to_owned()] };
        self.values.insert(name.to_owned(), (lines, goes_on));
    }

    /// One more line of `name`.
    pub(super) fn add(&mut self, name: &str, line: &str) {
        if let Some((lines, _)) = self.values.get_mut(name).filter(|_| !line.is_empty()) {
            lines.push(line.to_owned());
        }
    }

    /// `text` with the first thing in it that is defined put in.
    ///
    /// # Errors
    /// It would not end, or is not to be known here.
    pub(super) fn replace(&mut self, text: &str) -> Result<Replaced, Fault> {
        for (at, _) in text.match_indices('$') {
            let Some((name, parameters, after)) = used(&text[at + 1..]) else { continue };
            if ["_RANDOM", "_ENV"].contains(&name) {
                return Err(Fault::NotRead("the value itself, the same on both controllers"));
            }
            let Some((lines, several)) = self.values.get(name).filter(|_| !parameters) else { continue };
            // Of several lines only where the line ends with it.
            if *several && !after.is_empty() {
                continue;
            }
            let before = &text[..at];
            let lines = match lines.as_slice() {
                [] => vec![before.to_owned()],
                [one] => vec![format!("{before}{one}{after}")],
                [first, more @ ..] => std::iter::once(format!("{before}{first}")).chain(more.iter().cloned()).collect(),
            };
            self.replaced += 1;
            self.brought += lines.iter().map(String::len).sum::<usize>();
            let is_long = lines.iter().any(|line| line.len() > MAX_LINE);
            if self.replaced > MAX_REPLACED || self.brought > MAX_BROUGHT || is_long {
                return Err(Fault::Endless);
            }
            return Ok(Replaced::By(lines));
        }
        Ok(Replaced::Nothing)
    }
}

/// A definition's name and value.
pub(super) fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    is_name(name).then(|| (name, value.trim_start_matches([' ', '\t'])))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What may be a use of a definition, after its `$`: the name, whether it has parameters, and what comes after it.
fn used(text: &str) -> Option<(&str, bool, &str)> {
    if let Some(text) = text.strip_prefix('{') {
        let (within, after) = text.split_once('}')?;
        let (name, parameters) = within.split_once([' ', '\t']).unwrap_or((within, ""));
        return is_name(name).then_some((name, !parameters.is_empty(), after));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let ends = after.is_empty() || after.starts_with([' ', '\t', ',', ')']);
    (is_name(name) && ends).then_some((name, false, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(definitions: &mut Definitions, text: &str) -> Result<Vec<String>, Fault> {
        let (mut done, mut waiting) = (Vec::new(), vec![text.to_owned()]);
        while let Some(text) = waiting.pop() {
            match definitions.replace(&text)? {
                Replaced::Nothing => done.push(text),
                Replaced::By(lines) => waiting.extend(lines.into_iter().rev()),
            }
        }
        Ok(done)
    }

    #[test]
    fn a_name_is_replaced_where_it_ends_and_again_in_what_it_stands_for() {
        let mut definitions = Definitions::new(Some("high"));
        definitions.set("BASE", "10.2.${SUB}", false);
        definitions.set("SUB", "7", false);
        definitions.set("EMPTY", "", false);
        for (text, expected) in [
            ("${BASE}.1/24", "10.2.7.1/24"),
            ("priority $SUB", "priority 7"),
            ("$SUB $SUB,$SUB)", "7 7,7)"),
            ("$SUBNET $SUB.1 ${UNKNOWN} $ ${", "$SUBNET $SUB.1 ${UNKNOWN} $ ${"),
            ("a${EMPTY}b", "ab"),
            ("${_INSTANCE} ${_HASH} ${_BANG}", "high \\# \\!"),
        ] {
            assert_eq!(all(&mut definitions, text), Ok(vec![expected.to_owned()]), "{text}");
        }
        definitions.enter(Path::new("/etc/keepalived"));
        assert_eq!(all(&mut definitions, "${_PWD}/x"), Ok(vec!["/etc/keepalived/x".into()]));
        definitions.enter(Path::new(""));
        assert!(all(&mut definitions, "${_PWD}/x").unwrap()[0].starts_with('/'));
    }

    #[test]
    fn a_definition_of_several_lines_is_put_in_where_the_line_ends_with_it() {
        let mut definitions = Definitions::default();
        definitions.set("N", "1", false);
        definitions.set("BLOCK", "", true);
        for line in ["a ${N} {", "b", "}"] {
            definitions.add("BLOCK", line);
        }
        assert_eq!(all(&mut definitions, "$BLOCK").unwrap(), ["a 1 {", "b", "}"]);
        assert_eq!(all(&mut definitions, "x $BLOCK").unwrap(), ["x a 1 {", "b", "}"]);
        assert_eq!(all(&mut definitions, "${BLOCK} x").unwrap(), ["${BLOCK} x"]);
    }

    #[test]
    fn what_stands_in_itself_comes_to_an_end() {
        let mut definitions = Definitions::default();
        definitions.set("A", "${A}", false);
        assert_eq!(all(&mut definitions, "$A"), Err(Fault::Endless));
        let mut definitions = Definitions::default();
        definitions.set("A", "${B}${B}x", false);
        definitions.set("B", "${A}${A}x", false);
        assert_eq!(all(&mut definitions, "$A"), Err(Fault::Endless));
        let mut definitions = Definitions::default();
        definitions.set("A", "$A", true);
        definitions.add("A", "$A");
        assert_eq!(all(&mut definitions, "$A"), Err(Fault::Endless));
    }

    #[test]
    fn what_is_another_value_elsewhere_is_refused() {
        for text in ["priority ${_RANDOM 1 9}", "interface ${_ENV IF}"] {
            assert!(matches!(Definitions::default().replace(text), Err(Fault::NotRead(_))), "{text}");
        }
    }

    #[test]
    fn a_definition_has_a_name_and_an_equals_sign_right_after_it() {
        assert_eq!(definition("$A_1=b c"), Some(("A_1", "b c")));
        assert_eq!(definition("$A=\t b"), Some(("A", "b")));
        assert_eq!(definition("$_X="), Some(("_X", "")));
        for text in ["$1=b", "$A =b", "A=b", "$=b", "$A-B=c"] {
            assert_eq!(definition(text), None, "{text}");
        }
    }
}
