//! Values that several sections have: names, commands, times.

use super::{
    error::{Fault, Report},
    table::{At, Table},
};
use crate::types::Nanos;

const NAME: &str = "a name of 1 to 32 of A-Z a-z 0-9 . _ -";
/// The most words of a command.
const MAX_WORDS: usize = 64;
pub(super) const COMMAND: &str =
    "a list of at most 64 texts, the first an absolute path: [\"/usr/lib/heartbeat/import\", \"pool\"]";
/// How long a command may take.
pub(super) const TIMEOUT: std::ops::RangeInclusive<Nanos> = Nanos::from_millis(10)..=Nanos::from_millis(3_600_000);

pub(super) const fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

/// A command, in words; `None` where it is absent or wrong.
pub(super) fn command(table: &Table<'_>, report: &mut Report<'_>, key: &str) -> Option<Vec<String>> {
    if !table.has(key) {
        return None;
    }
    let list = table.filled_array(report, key, COMMAND);
    let mut words = Vec::new();
    for (n, value) in list.iter().enumerate() {
        let right = |text: &&str| n < MAX_WORDS && !text.contains('\0') && (n > 0 || text.starts_with('/'));
        match value.get_ref().as_str().filter(right) {
            Some(text) => words.push(text.to_owned()),
            None => {
                let fault = Fault::BadText { right: COMMAND };
                report.value(value.span(), table.name(&format!("{key}[{}]", n + 1)), fault);
                return None;
            }
        }
    }
    (!words.is_empty()).then_some(words)
}

/// A name of a channel, a group, a check.
pub(super) fn name<'t>(table: &Table<'t>, report: &mut Report<'_>) -> Option<At<&'t str>> {
    table.require(report, "name", NAME);
    table.text(report, "name", NAME, |name| {
        (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    })
}

/// What a key's file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A program.
    Run,
    /// A program that tells a secret.
    Script,
    /// A file that is read.
    Read,
    /// A file with a secret that the agent reads: not where others may, too.
    Secret,
    /// A file with a secret that is read by others than the agent, or by a library.
    Private,
    /// A file that is written.
    Write,
}
