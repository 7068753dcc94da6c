//! What can be wrong with a configuration, said so that it can be put right: file, line, key, value, and what would be
//! right.

use super::{
    profiles::show,
    read::{MAX_FILE, ReadFault},
};
use crate::types::Nanos;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The most problems that one report lists; more are counted only.
const MAX_PROBLEMS: usize = 100;
/// The most characters of a value that a message repeats.
const MAX_SHOWN: usize = 60;

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, or may not be read.
    #[error("{}: cannot be read: {reason}; give the configuration file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A folder, device or pipe.
    #[error("{}: not a regular file; right would be a file such as /etc/heartbeat/heartbeat.toml", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// It was written to each time that it was read.
    #[error("{}: is being written to at this moment; try again when that is done", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The file is too large to be a configuration.
    #[error("{}: larger than {} KiB; this is hardly a configuration file", path.display(), limit / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// There is a secret in the file, and others than its owner may use it.
    #[error("{}: mode {mode:04o} lets others than its owner read {key}; right would be `chmod 600 {0}`, and another secret if \
             others may have read it; or an option of the agent that names a file or a script with it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What is a secret.
        key: String,
    },
    /// The file is not text.
    #[error("{}:{line}:{column}: not UTF-8 text; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is not text, from 1.
        line: usize,
        /// Its byte within that line, from 1.
        column: usize,
    },
    /// The text is not a valid configuration. At least one problem.
    #[error("{0}")]
    Invalid(Problems),
    /// Neither controller has this host's name.
    #[error(
        "host name \"{host}\" is neither controller a ({}) nor controller b ({}); say which one this is with --node a or \
         --node b, or set hostname in [controller.a] and [controller.b]",
        named(a),
        named(b)
    )]
    UnknownHost {
        /// This host's name.
        host: String,
        /// Controller a's configured name.
        a: Option<String>,
        /// Controller b's configured name.
        b: Option<String>,
    },
    /// Both controllers' names fit this host's.
    #[error(
        "host name \"{host}\" fits both controller a (\"{a}\") and controller b (\"{b}\"); say which one this is with \
         --node a or --node b"
    )]
    AmbiguousHost {
        /// This host's name.
        host: String,
        /// Controller a's configured name.
        a: String,
        /// Controller b's configured name.
        b: String,
    },
}

impl ConfigError {
    pub(super) fn of_file(path: &Path, fault: ReadFault) -> Self {
        let path = path.to_owned();
        match fault {
            ReadFault::System(reason) => Self::Read { path, reason },
            // No mode is forbidden; who may write it is told by `heartbeat check`.
            ReadFault::NotRegular | ReadFault::Exposed(_) => Self::NotRegular { path },
            ReadFault::TooLarge => Self::TooLarge { path, limit: MAX_FILE },
            ReadFault::Changing => Self::Changing { path },
        }
    }
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map_or("no hostname".into(), |name| format!("\"{name}\""))
}

/// Every problem found in one text, in the order of its lines; one line each when displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The problems: at least one, at most 100.
    pub list: Vec<ConfigProblem>,
    /// How many more there were.
    pub omitted: usize,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        match self.omitted {
            0 => Ok(()),
            n => write!(f, "\nand {n} more"),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file's name as given.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its character within the line, from 1.
    pub column: usize,
    /// The key, such as `channel "net1": a.address`; empty where the text is not TOML.
    pub key: String,
    /// The value as written, or the line that is not TOML, shortened; `None` where there is none.
    pub value: Option<String>,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        match (self.key.as_str(), &self.value) {
            ("", Some(line)) => write!(f, "`{line}`: {}", self.fault),
            (key, None) => write!(f, "{key}: {}", self.fault),
            (key, Some(value)) => write!(f, "{key} = {value}: {}", self.fault),
        }
    }
}

/// What is wrong with a key or its value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// No such key in this table.
    #[error("unknown key{}; known here: {}", did_you_mean(nearest), list(known))]
    UnknownKey {
        /// The known key that looks most like it.
        nearest: Option<String>,
        /// All known keys of the table.
        known: Vec<String>,
    },
    /// An arbiter whose grants are over before they are there.
    #[error(
        "a grant is for {ttl}, and an answer may take {within}; right would be a `ttl` longer than that, or a shorter `timeout`"
    )]
    TooSlow {
        /// For so long it grants.
        ttl: String,
        /// It may take so long.
        within: String,
    },
    /// A key that must be there is not.
    #[error("missing; right would be {0}")]
    Missing(&'static str),
    /// A value of another type.
    #[error("is {found}; right would be {right}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What it should be.
        right: &'static str,
    },
    /// A word that is none of those possible.
    #[error("not one of {}{}", list(choices), did_you_mean(nearest))]
    UnknownChoice {
        /// The choice that looks most like it.
        nearest: Option<String>,
        /// All choices.
        choices: Vec<String>,
    },
    /// A number beyond its range.
    #[error("out of range; right would be {min} to {max}")]
    OutOfRange {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration beyond its range.
    #[error("out of range; right would be \"{}\" to \"{}\"", show(*min), show(*max))]
    DurationOutOfRange {
        /// The least.
        min: Nanos,
        /// The most.
        max: Nanos,
    },
    /// A duration that is a bare number.
    #[error("a duration needs a unit; right would be \"{number}ms\" or \"{number}s\"")]
    NoUnit {
        /// The number as written.
        number: String,
    },
    /// Text that is no duration.
    #[error("not a duration: {reason}; right would be a number with a unit, such as \"100ms\" or \"1s\"")]
    BadDuration {
        /// Why not.
        reason: String,
    },
    /// Text that is neither a duration nor the word that stands for none.
    #[error("neither \"{word}\" nor a duration; right would be \"{word}\", or a number with a unit, such as \"5m\"")]
    NeitherWordNorDuration {
        /// The word.
        word: &'static str,
    },
    /// A key that has no place there.
    #[error("has no place here; right would be {right}")]
    NotHere {
        /// Where it has one.
        right: &'static str,
    },
    /// A name or path with characters or a length that it may not have.
    #[error("not usable; right would be {right}")]
    BadText {
        /// What it should be.
        right: &'static str,
    },
    /// Text that is no address.
    #[error("not an IP address; right would be {right}")]
    NotAnAddress {
        /// What it should be.
        right: &'static str,
    },
    /// An address that no single host can have.
    #[error("a {kind} address; right would be one that a single host can have")]
    UnusableAddress {
        /// What kind of address it is.
        kind: &'static str,
    },
    /// A service address without the length of its network's prefix.
    #[error("no prefix length; right would be \"{address}/{usual}\" if its network is a /{usual}")]
    NoPrefix {
        /// The address.
        address: String,
        /// The usual length for its family.
        usual: u8,
    },
    /// A prefix length that its family does not have.
    #[error("prefix length out of range; right would be /1 to /{max}")]
    BadPrefix {
        /// The longest prefix of the address's family.
        max: u8,
    },
    /// The two ends of a channel are IPv4 and IPv6.
    #[error("a and b must both be IPv4 or both be IPv6; a.address is {a}")]
    DifferentFamilies {
        /// Controller a's address.
        a: String,
    },
    /// Something that must be unique is not.
    #[error("already {holder} (line {line}); right would be {right}")]
    Taken {
        /// What has it.
        holder: String,
        /// On which line, from 1.
        line: usize,
        /// What would be right.
        right: &'static str,
    },
    /// A service address on a channel that is not in the file.
    #[error("no such channel{}; channels: {}", did_you_mean(nearest), list(known))]
    UnknownChannel {
        /// The channel whose name looks most like it.
        nearest: Option<String>,
        /// All channels.
        known: Vec<String>,
    },
    /// A service address on a channel that is no network of clients.
    #[error("a {0} channel has no clients; right would be a channel of kind \"network\"")]
    NoClients(&'static str),
    /// Something to judge a channel by that is no network of clients.
    #[error(
        "a {0} channel is not judged (its failure is reported and moves nothing); right would be to leave this out"
    )]
    NotJudged(&'static str),
    /// Something that cannot stand beside something else.
    #[error("not beside {by}; right would be {right}")]
    Excluded {
        /// What it cannot stand beside.
        by: String,
        /// What would be right.
        right: &'static str,
    },
    /// More of something than there is room for.
    #[error("too many: at most {max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The most.
        max: usize,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |word| format!("; did you mean \"{word}\"?"))
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        return "none".into();
    }
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(", ")
}

/// Which of `known` looks so much like `word` that a slip of the keyboard explains it.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    if word.len() > MAX_SHOWN {
        return None;
    }
    let tolerated = (word.chars().count() / 2).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= tolerated)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Whether the last line of `text` is about fencing, and may have a secret in it.
fn is_of_fence(text: &str) -> bool {
    let headers = ["[fence", "[[fence"];
    let last = text.lines().map(str::trim_start).rfind(|line| line.starts_with('['));
    let key = text.lines().next_back().map_or("", str::trim_start);
    key.starts_with("fence")
        || last.is_some_and(|line| headers.iter().any(|header| line.replace(' ', "").starts_with(header)))
}

/// Collects the problems of one text and knows where in it they are.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<(usize, ConfigProblem)>,
    omitted: usize,
}

impl<'t> Report<'t> {
    /// Nothing found yet in `text`, which is called `file`.
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, found: Vec::new(), omitted: 0 }
    }

    /// The value at `span` is at `fault`.
    pub(super) fn value(&mut self, span: Range<usize>, key: impl Into<String>, fault: Fault) {
        let value = self.text.get(span.clone()).map(shortened);
        self.add(span.start, key.into(), value, fault);
    }

    /// The text is not TOML from byte `offset` on.
    pub(super) fn syntax(&mut self, offset: usize, message: &str) {
        let offset = self.text.floor_char_boundary(offset);
        let (before, after) = self.text.split_at(offset);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(self.text.len(), |newline| offset + newline);
        let line = &self.text[start..end];
        let line =
            if is_of_fence(&self.text[..end]) { line.split('=').next().unwrap_or_default().trim_end() } else { line };
        self.add(offset, String::new(), Some(shortened(line)), Fault::Syntax(message.to_owned()));
    }

    /// The known word most like `word`; not looked for where no message would say it any more.
    pub(super) fn nearest<'k>(&self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
        if self.is_full() { None } else { nearest(word, known) }
    }

    /// The key or table that begins at `offset` is at `fault`.
    pub(super) fn key(&mut self, offset: usize, key: impl Into<String>, fault: Fault) {
        self.add(offset, key.into(), None, fault);
    }

    /// The value at `span` is what `holder`, at byte `offset`, has already.
    pub(super) fn taken(&mut self, span: Range<usize>, key: String, holder: &str, offset: usize, right: &'static str) {
        let line = if self.is_full() { 0 } else { self.position(offset).0 };
        self.value(span, key, Fault::Taken { holder: holder.to_owned(), line, right });
    }

    fn add(&mut self, offset: usize, key: String, value: Option<String>, fault: Fault) {
        if self.is_full() {
            self.omitted += 1;
            return;
        }
        let (line, column) = self.position(offset);
        self.found.push((offset, ConfigProblem { file: self.file.to_owned(), line, column, key, value, fault }));
    }

    fn is_full(&self) -> bool {
        self.found.len() == MAX_PROBLEMS
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// All that was found, if anything was.
    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        let Self { mut found, omitted, .. } = self;
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|(offset, _)| *offset);
        let list = found.into_iter().map(|(_, problem)| problem).collect();
        Err(ConfigError::Invalid(Problems { list, omitted }))
    }
}

/// The first line of a value as written, with nothing in it that a terminal would act upon.
fn shortened(value: &str) -> String {
    let line = value.lines().next().unwrap_or_default();
    let mut shown: String =
        line.chars().take(MAX_SHOWN).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    shown
}
