//! What is wrong with a file that is to be imported: where, what it says there, and what would be right.

use super::place::{Place, shown};
use crate::config::ConfigError;
use std::fmt;

/// The most problems that are kept; more than that nobody reads.
const MOST: usize = 100;

/// Why nothing was made of the files.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What is wrong with them; at least one.
    #[error("{}", Lines(.0))]
    Problems(Vec<Problem>),
    /// What they come to is no configuration of ours.
    #[error("what the files come to cannot run, so nothing was written:\n{0}")]
    Refused(#[from] ConfigError),
}

impl From<Problem> for ImportError {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

struct Lines<'p>(&'p [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().take(MOST).enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, and its line.
    pub place: Place,
    /// What stands there, shortened, without secrets.
    pub what: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Problem {
    /// `what` at `place` is at `fault`.
    pub(super) fn new(place: &Place, what: &str, fault: Fault) -> Self {
        Self { place: place.clone(), what: shown(what), fault }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line == 0 && *self.place.file == self.what {
            return write!(f, "{}: {}", self.place, self.fault);
        }
        write!(f, "{}: {}: {}", self.place, self.what, self.fault)
    }
}

/// What is wrong with something, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A file that is no text.
    #[error("not text: the byte 0x{0:02x}; right would be a file of UTF-8, without control characters")]
    NotText(u8),
    /// A line that nobody wrote.
    #[error("a line of {length} bytes; right would be at most {most}")]
    LongLine {
        /// Its length in bytes.
        length: usize,
        /// The most.
        most: usize,
    },
    /// More of something than there is room for.
    #[error("too much: at most {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The most.
        most: usize,
    },
    /// A file that includes itself.
    #[error("included by itself ({0}); right would be to include each file once")]
    Circle(String),
    /// An inclusion that must find something, and finds nothing.
    #[error("no such file; right would be the path of one, or `include` where there may be none")]
    NoMatch,
    /// A pattern for files that is none.
    #[error("not a pattern for files: {0}; right would be one such as conf.d/*.conf")]
    BadPattern(String),
    /// Definitions that stand for each other.
    #[error("its definitions expand to more than there is room for; right would be one that does not stand in itself")]
    Endless,
    /// A quotation without an end.
    #[error("a quotation mark without a second one; right would be both on one line")]
    OpenQuote,
    /// A block without an end.
    #[error("its {{ is never closed; right would be a }} after its last line")]
    NotClosed,
    /// An end without a block.
    #[error("a }} that closes nothing; right would be one }} for each {{")]
    NotOpened,
    /// A block of nothing.
    #[error("a {{ without a word before it; right would be a keyword, such as vrrp_instance VI_1 {{")]
    NoKeyword,
    /// A keyword that must have a block.
    #[error("no block; right would be {{ .. }} after it")]
    NoBlock,
    /// A keyword that has no block.
    #[error("a block has no place here; right would be the value alone")]
    Block,
    /// A keyword of the outermost level within a block.
    #[error("has no place within {within}; is a }} missing before it?")]
    Within {
        /// The block, and where it begins.
        within: String,
    },
    /// A keyword that keepalived does not have there.
    #[error("keepalived has no such keyword {within}{}", .nearest.as_ref().map_or(String::new(), |word| format!("; did you mean {word}?")))]
    Unknown {
        /// Where.
        within: &'static str,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// What a tool has yet to put in.
    #[error("a template's placeholder; right would be the file that the template makes, as it is on a host")]
    Template,
    /// A part of the language that is not understood.
    #[error("not read by heartbeat; right would be {0}")]
    NotRead(&'static str),
    /// A value that cannot be.
    #[error("not usable; right would be {0}")]
    Wrong(&'static str),
    /// A value that is not there.
    #[error("missing; right would be {0}")]
    Missing(&'static str),
    /// Two of what there is one of.
    #[error("already at {first}; right would be one of them")]
    Twice {
        /// The first one.
        first: Place,
    },
    /// What names something that is not in the file.
    #[error("the file has no {what} of that name{}", .nearest.as_ref().map_or(String::new(), |word| format!("; did you mean {word}?")))]
    NoSuch {
        /// What.
        what: &'static str,
        /// The one that looks most like it.
        nearest: Option<String>,
    },
    /// A third node.
    #[error("{0} peers are more than two nodes; right would be one: Heartbeat is for a pair, not for more")]
    MoreThanTwo(usize),
    /// Two files that are not of one pair.
    #[error("the other file says {other}; right would be the files of two nodes that are each other's peer")]
    NotPeers {
        /// What, and where.
        other: String,
    },
    /// Lines for one node or another, and nobody said which.
    #[error(
        "a line for one node only; say which id keepalived is started with (-i, or the host's name) on controller a, and which on b: \
         -i {} -i {}", .0.first().map_or("ID-OF-A", String::as_str), .0.get(1).map_or("ID-OF-B", String::as_str)
    )]
    NoId(Vec<String>),
    /// One interface that is to belong to two of the other controller's.
    #[error("{taken} at {first}; right would be one for one")]
    Crossed {
        /// Whose interface goes with which one.
        taken: String,
        /// Where that is said.
        first: Place,
    },
}
