//! keepalived's files as the lines that count: comments gone, inclusions and definitions put in, lines for other nodes left out.
//!
//! keepalived.conf(5): *Comments start with '#' or '!'*; sections *include*, *Conditional configuration and configuration id*,
//! *Parameter substitution*. In that order a line is read: comment, condition, definition, substitution, inclusion.

use super::definitions::{Definitions, MAX_LINE, Replaced, definition};
use super::error::{Fault, Problem};
use super::files::{self, Inclusion};
use super::place::Place;
use crate::config::{FileFault, Use, read_file};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The most lines that count, of all files together.
const MAX_LINES: usize = 100_000;
/// The most bytes that count, of all files together.
const MAX_TEXT: usize = 16 << 20;
/// The most files that are included, each time counted.
const MAX_FILES: usize = 1_000;
/// The most files of which each includes the next.
const MAX_DEPTH: usize = 16;

/// A line that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) text: String,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The lines that count.
    pub(super) lines: Vec<Line>,
    /// Patterns that found no file, and need not.
    pub(super) unmatched: Vec<(Place, String)>,
}

/// Reads the file at `path` as a keepalived that is started with `id` would.
///
/// # Errors
/// The first thing that is wrong with it, or with a file that it includes.
pub(super) fn read(path: &Path, id: Option<&str>) -> Result<Source, Problem> {
    let mut reader = Reader { id, definitions: Definitions::new(id), ..Reader::default() };
    let start = Place::new(&path.display().to_string(), 0);
    reader.file(path, &start)?;
    match reader.conditional {
        Some((place, line)) if id.is_none() => {
            let mut ids = reader.ids;
            ids.truncate(2);
            Err(Problem::new(&place, &line, Fault::NoId(ids)))
        }
        _ => Ok(reader.source),
    }
}

#[derive(Default)]
struct Reader<'i> {
    id: Option<&'i str>,
    definitions: Definitions,
    /// The definition whose lines are being read; nothing where it is for another node.
    defining: Option<Option<String>>,
    /// All ids that lines are for, in the order in which they appear.
    ids: Vec<String>,
    /// The first line for one node only.
    conditional: Option<(Place, String)>,
    source: Source,
    /// Bytes in `source`.
    size: usize,
    /// The files that are being read, the outermost first.
    open: Vec<PathBuf>,
    included: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, from: &Place) -> Result<(), Problem> {
        let name = path.display().to_string();
        let problem = |fault| Problem::new(from, &name, fault);
        self.included += 1;
        if self.included > MAX_FILES {
            return Err(problem(Fault::TooMuch { what: "files in all", most: MAX_FILES }));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(problem(Fault::TooMuch { what: "files of which each includes the next", most: MAX_DEPTH }));
        }
        let bytes = match read_file(path, MAX_FILE, Use::Read) {
            Ok(bytes) => bytes,
            Err(FileFault::Empty) => Vec::new(),
            Err(fault) => return Err(problem(Fault::Unreadable(fault.said(Use::Read, path)))),
        };
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(at) = self.open.iter().position(|open| *open == canonical) {
            let chain: Vec<_> = self.open[at..].iter().map(|file| files::name(file)).collect();
            return Err(problem(Fault::Circle(format!("{} -> {}", chain.join(" -> "), files::name(&canonical)))));
        }
        self.open.push(canonical);
        self.definitions.enter(path.parent().unwrap_or(Path::new("")));
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        for (i, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let place = Place { file: name.as_str().into(), line: i + 1 };
            self.written(line, &place, path)?;
        }
        self.open.pop();
        if let Some(above) = self.open.last() {
            self.definitions.enter(above.parent().unwrap_or(Path::new("")));
        }
        Ok(())
    }

    /// A line as it stands in a file.
    fn written(&mut self, line: &[u8], place: &Place, path: &Path) -> Result<(), Problem> {
        if line.len() > MAX_LINE {
            let start = String::from_utf8_lossy(&line[..64]);
            return Err(Problem::new(place, &start, Fault::LongLine { length: line.len(), most: MAX_LINE }));
        }
        let text = text(line).map_err(|byte| {
            let start = String::from_utf8_lossy(line);
            Problem::new(place, &start, Fault::NotText(byte))
        })?;
        let text = without_comment(text).ok_or_else(|| Problem::new(place, text.trim(), Fault::OpenQuote))?;
        if let Some(name) = self.defining.take() {
            // keepalived goes on past empty lines.
            let (value, goes_on) = continued(&text);
            if let Some(name) = &name {
                self.definitions.add(name, value);
            }
            self.defining = (goes_on || text.is_empty()).then_some(name);
            return Ok(());
        }
        self.line(text, place, path)
    }

    /// A line without its comment, and what becomes of it once its definitions are put in.
    fn line(&mut self, text: String, place: &Place, path: &Path) -> Result<(), Problem> {
        let mut waiting = VecDeque::from([text]);
        while let Some(text) = waiting.pop_front() {
            let Some(text) = self.condition(&text, place)? else { continue };
            if let Some((name, value)) = definition(&text) {
                let (value, goes_on) = continued(value);
                self.definitions.set(name, value, goes_on);
                self.defining = goes_on.then(|| Some(name.to_owned()));
                continue;
            }
            if text.starts_with("~SEQ") || text.starts_with("~LST") {
                let right = "its lines written out, as keepalived would repeat them";
                return Err(Problem::new(place, &text, Fault::NotRead(right)));
            }
            match self.definitions.replace(&text).map_err(|fault| Problem::new(place, &text, fault))? {
                Replaced::Nothing => self.finished(text, place, path)?,
                Replaced::By(lines) => {
                    for line in lines.into_iter().rev() {
                        let line =
                            without_comment(&line).ok_or_else(|| Problem::new(place, &line, Fault::OpenQuote))?;
                        waiting.push_front(line);
                    }
                }
            }
        }
        Ok(())
    }

    /// What is left of a line that may be for one node only; nothing where it is not for this one.
    fn condition(&mut self, text: &str, place: &Place) -> Result<Option<String>, Problem> {
        let Some(condition) = text.strip_prefix('@') else { return Ok(Some(text.to_owned())) };
        let (not, condition) = condition.strip_prefix('^').map_or((false, condition), |rest| (true, rest));
        let (id, rest) = condition.split_once([' ', '\t']).unwrap_or((condition, ""));
        if id.ends_with('@') {
            return Err(Problem::new(place, text, Fault::Template));
        }
        if self.conditional.is_none() {
            self.conditional = Some((place.clone(), text.to_owned()));
        }
        if !self.ids.iter().any(|known| known == id) && self.ids.len() < 100 {
            self.ids.push(id.to_owned());
        }
        let rest = rest.trim_start();
        if (self.id == Some(id)) == not {
            // The further lines of a definition go the way of its first one.
            let defines = definition(rest).is_some_and(|(_, value)| continued(value).1);
            self.defining = defines.then_some(None);
            return Ok(None);
        }
        Ok(Some(rest.to_owned()))
    }

    /// A line with all its definitions put in.
    fn finished(&mut self, text: String, place: &Place, path: &Path) -> Result<(), Problem> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(Inclusion { must, pattern }) = files::inclusion(&text) {
            let folder = path.parent().unwrap_or(Path::new(""));
            let found = files::find(folder, pattern, must).map_err(|fault| Problem::new(place, &text, fault))?;
            if found.is_empty() {
                self.source.unmatched.push((place.clone(), text));
            }
            return found.iter().try_for_each(|file| self.file(file, place));
        }
        self.size += text.len();
        if self.source.lines.len() == MAX_LINES || self.size > MAX_TEXT {
            return Err(Problem::new(place, &text, Fault::TooMuch { what: "lines in all", most: MAX_LINES }));
        }
        self.source.lines.push(Line { place: place.clone(), text });
        Ok(())
    }
}

/// The text of a line, without the carriage return of some systems; or the byte that is none of a text's.
fn text(line: &[u8]) -> Result<&str, u8> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if let Some(&byte) = line.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        return Err(byte);
    }
    std::str::from_utf8(line).map_err(|error| line[error.valid_up_to()])
}

/// A line of a definition without the mark that it goes on, and whether it does.
fn continued(text: &str) -> (&str, bool) {
    text.strip_suffix('\\').map_or((text, false), |text| (text.trim_end(), true))
}

/// `text` without comment and white space around it; nothing where a quotation has no end. `\#` and `\!` begin no comment.
fn without_comment(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t']);
    let mut kept = String::with_capacity(text.len());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => match characters.peek() {
                Some(&next @ ('#' | '!')) if !quoted => {
                    kept.push(next);
                    characters.next();
                    continue;
                }
                Some(&next) => {
                    kept.extend([c, next]);
                    characters.next();
                    continue;
                }
                None => {}
            },
            '#' | '!' if !quoted => break,
            _ => {}
        }
        kept.push(c);
    }
    kept.truncate(kept.trim_end_matches([' ', '\t']).len());
    (!quoted).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_anywhere_but_in_quotation_marks_or_after_a_backslash() {
        for (text, kept) in [
            ("  priority 100  # high", "priority 100"),
            ("! all of it", ""),
            ("auth_pass pass!word", "auth_pass pass"),
            ("script \"a # b ! c\" # d", "script \"a # b ! c\""),
            ("router_id a\\#b\\!c", "router_id a#b!c"),
            ("script \"a \\# b\"", "script \"a \\# b\""),
            ("\tnotify \"x \\\" # y\" ", "notify \"x \\\" # y\""),
            ("$A=b \\", "$A=b \\"),
        ] {
            assert_eq!(without_comment(text).as_deref(), Some(kept), "{text}");
        }
        assert_eq!(without_comment("script \"a # b"), None);
    }

    #[test]
    fn a_line_is_text_without_control_characters() {
        assert_eq!(text(b"a\tb\r"), Ok("a\tb"));
        assert_eq!(text(b"a\0b"), Err(0));
        assert_eq!(text(b"a\xff"), Err(0xff));
        assert_eq!(text("\u{e4}".as_bytes()), Ok("\u{e4}"));
    }
}
