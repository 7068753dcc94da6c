//! `[fence]`: what must succeed before anything is taken from a silent peer; one level or several, tried in order.
//!
//! Options of agents may be secrets: no message, no log and no `Debug` ever repeats a value of theirs.

use super::Config;
use super::commands::{TIMEOUT, command, ms};
use super::error::{Fault, Report};
use super::table::Table;
use crate::core::{Nanos, Node};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// The most levels.
const MAX_LEVELS: usize = 8;
/// The most options of a level, and the most bytes of one value.
const MAX_OPTIONS: usize = 64;
const MAX_VALUE: usize = 1024;
/// What a level has, beside `[fence]`'s own keys where that is one itself.
const LEVEL: [&str; 8] = ["command", "agent", "options", "a", "b", "timeout", "retries", "pause"];
const OWN: [&str; 3] = ["level", "status_every", "delay"];
const AGENT: &str = "the name of a fence agent, such as \"fence_ipmilan\", or its absolute path";
const OPTIONS: &str = "a table of the agent's own options, such as { ip = \"192.0.2.9\", lanplus = true }: texts, whole numbers, \
                       true or false";

/// `[fence]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fence {
    /// Tried in this order until one succeeds: 1 to 8.
    pub levels: Vec<Level>,
    /// How often each agent is asked whether its device answers. Default 5 min; none: never.
    pub status_every: Option<Nanos>,
    /// How long controller a, and b, waits before it shoots. Default 0.
    pub delay: [Nanos; 2],
}

/// One way to switch the peer off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Where it stands in the file, as messages name it: `fence`, `fence.level[2]`.
    pub key: String,
    /// What is run.
    pub by: Means,
    /// One attempt may take so long. Default 10 s, of an agent 60 s.
    pub timeout: Nanos,
    /// How often it is tried again. Default 2.
    pub retries: u32,
    /// The pause between two attempts. Default 1 s.
    pub pause: Nanos,
}

/// What a level runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// It must end with 0.
    Command(Vec<String>),
    /// A fence agent of ClusterLabs' kind.
    Agent {
        /// Its name, or its absolute path.
        name: String,
        /// What it is told to switch a off with, and b.
        options: [AgentOptions; 2],
    },
}

/// What a fence agent is told beside the action. Shown by its names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AgentOptions(BTreeMap<String, String>);

impl AgentOptions {
    /// Name and value of each, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values that nobody else is to know.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value)
    }

    /// The names, in a row.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for AgentOptions {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(options: T) -> Self {
        Self(options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl fmt::Debug for AgentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for AgentOptions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.keys())
    }
}

/// Whether an option of that name holds what nobody else is to know. Of the options that the 84 agents of Debian 12 have, these
/// are: apikey, access_key, secret_key, key, key_value, hexadecimal_kg, token, community, passwd, password, snmp_priv_passwd.
/// What ends like a path is one: the secret is in that file.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let path = ["_script", "_file", "_path", "tlskey"].iter().any(|end| name.ends_with(end));
    !path && ["pass", "secret", "token", "key", "_kg", "community", "credential"].iter().any(|part| name.contains(part))
}

impl Fence {
    /// The longest that it may take on `node`, with all levels and attempts, and five seconds for whoever runs it.
    #[must_use]
    pub fn within(&self, node: Node) -> Nanos {
        let levels =
            self.levels.iter().fold(self.delay[usize::from(node.wire())], |sum, level| sum.after(level.within()));
        levels.after(ms(5_000))
    }
}

impl Level {
    /// The longest that it may take with all its attempts. One that does not end in time has half a second to do so.
    #[must_use]
    pub fn within(&self) -> Nanos {
        let attempt = self.timeout.after(ms(500));
        attempt.after(attempt.after(self.pause).times(self.retries.into()))
    }

    /// What it runs, by name.
    #[must_use]
    pub fn runs(&self) -> &str {
        match &self.by {
            Means::Command(words) => words.first().map_or("", String::as_str),
            Means::Agent { name, .. } => name,
        }
    }
}

impl Config {
    /// Every fence agent: the key that has it, as messages name it, and its name.
    pub fn agents(&self) -> impl Iterator<Item = (String, &str)> {
        self.fence.iter().flat_map(|fence| &fence.levels).filter_map(|level| match &level.by {
            Means::Agent { name, .. } => Some((format!("{}.agent", level.key), name.as_str())),
            Means::Command(_) => None,
        })
    }

    /// The key of an option that is a secret, if the file has any: others must not be able to read it then.
    #[must_use]
    pub fn secret(&self) -> Option<String> {
        self.fence.iter().flat_map(|fence| &fence.levels).find_map(|level| {
            let Means::Agent { options, .. } = &level.by else { return None };
            let name =
                options.iter().flat_map(AgentOptions::iter).map(|(name, _)| name).find(|name| is_secret(name))?;
            Some(format!("{}: {name}", level.key))
        })
    }
}

/// Reads `[fence]`.
pub(super) fn fence(root: &Table<'_>, report: &mut Report<'_>) -> Option<Fence> {
    let known = [&LEVEL[..], &OWN].concat();
    let table = root.table(report, "fence", &known, "a table [fence]")?;
    let status_every = match table.peek("status_every") {
        Some(text) if text.value == "never" => None,
        _ => Some(
            table.duration(report, "status_every", ms(1_000)..=ms(86_400_000)).map_or(ms(300_000), |every| every.value),
        ),
    };
    let delay = table.table(report, "delay", &["a", "b"], "a table such as { b = \"5s\" }");
    let delay = ["a", "b"].map(|node| {
        let delay = delay.as_ref().and_then(|delay| delay.duration(report, node, Nanos(0)..=ms(300_000)));
        delay.map_or(Nanos(0), |delay| delay.value)
    });
    let levels = table.array(report, "level", "[[fence.level]] tables");
    if let Some(value) = levels.get(MAX_LEVELS) {
        report.key(value.span().start, "fence.level", Fault::TooMany { what: "levels", max: MAX_LEVELS });
    }
    let levels = if levels.is_empty() {
        vec![level(&table, "fence".to_owned(), report)]
    } else {
        for key in LEVEL.iter().filter(|key| table.has(key)) {
            let fault = Fault::NotHere {
                right: "in one of the [[fence.level]] tables, which stand for all levels where there are any",
            };
            report.key(table.peek_span(key).map_or(0, |span| span.start), table.name(key), fault);
        }
        let one = |(i, value): (usize, _)| {
            let key = format!("fence.level[{}]", i + 1);
            Table::of(report, format!("{key}."), value, &LEVEL, "a table [[fence.level]]")
                .and_then(|table| level(&table, key, report))
        };
        levels.iter().enumerate().map(one).collect()
    };
    Some(Fence { levels: levels.into_iter().collect::<Option<_>>()?, status_every, delay })
}

fn level(table: &Table<'_>, key: String, report: &mut Report<'_>) -> Option<Level> {
    let by = if table.has("agent") { agent(table, report) } else { by_command(table, report) };
    let usual = if table.has("agent") { ms(60_000) } else { ms(10_000) };
    let timeout = table.duration(report, "timeout", TIMEOUT).map_or(usual, |timeout| timeout.value);
    let retries = table.integer(report, "retries", 0..=100).map_or(2, |retries| retries.value as u32);
    let pause = table.duration(report, "pause", Nanos(0)..=ms(3_600_000)).map_or(ms(1_000), |pause| pause.value);
    Some(Level { key, by: by?, timeout, retries, pause })
}

fn by_command(table: &Table<'_>, report: &mut Report<'_>) -> Option<Means> {
    const RIGHT: &str = "a command in words, or the name of an agent: agent = \"fence_ipmilan\"";
    for key in ["options", "a", "b"].iter().filter(|key| table.has(key)) {
        let fault = Fault::NotHere { right: "beside `agent`: a command has its arguments in its words" };
        report.key(table.peek_span(key).map_or(0, |span| span.start), table.name(key), fault);
    }
    table.require(report, "command", RIGHT);
    command(table, report, "command").map(Means::Command)
}

fn agent(table: &Table<'_>, report: &mut Report<'_>) -> Option<Means> {
    if table.has("command") {
        let fault = Fault::NotHere { right: "in a level of its own: a level has either a command or an agent" };
        report.key(table.peek_span("command").map_or(0, |span| span.start), table.name("command"), fault);
    }
    let name = table.text(report, "agent", AGENT, |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = text.len() <= 64 && !text.starts_with('.') && text.chars().all(plain);
        !text.is_empty() && !text.contains('\0') && (is_name || text.starts_with('/'))
    });
    let [both, a, b] = ["options", "a", "b"].map(|key| options(table, report, key));
    let (name, both, a, b) = (name?, both?, a?, b?);
    let options = [a, b].map(|own| {
        let mut options = both.clone();
        options.extend(own);
        AgentOptions(options)
    });
    if options[0] == options[1] {
        let fault = Fault::Missing(
            "a = { .. } and b = { .. }: the options that a is switched off with, and b. As it is, both \
                                    controllers would switch off the same thing, one of them itself",
        );
        report.key(name.span.start, table.name("a"), fault);
        return None;
    }
    Some(Means::Agent { name: name.value.to_owned(), options })
}

/// Empty where there are none. No value is repeated in a message.
fn options(table: &Table<'_>, report: &mut Report<'_>, key: &str) -> Option<BTreeMap<String, String>> {
    let Some((start, entries)) = table.entries(report, key, OPTIONS)? else { return Some(BTreeMap::new()) };
    if entries.len() > MAX_OPTIONS {
        report.key(start, table.name(key), Fault::TooMany { what: "options", max: MAX_OPTIONS });
        return None;
    }
    entries
        .iter()
        .map(|(name, value)| option(table, report, key, name, value))
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

fn option(
    table: &Table<'_>,
    report: &mut Report<'_>,
    key: &str,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Option<(String, String)> {
    let (word, start) = (name.get_ref().as_ref(), name.span().start);
    let is_word =
        (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let shown = table.name(&format!("{key}.{}", word.escape_debug().take(64).collect::<String>()));
    if !is_word {
        report.key(start, shown, Fault::BadText { right: "the name of an option: 1 to 64 of A-Z a-z 0-9 . _ -" });
        return None;
    }
    if ["action", "option"].contains(&word) {
        let right = "nowhere: what the agent is to do, it is told when it is to do it";
        report.key(start, shown, Fault::NotHere { right });
        return None;
    }
    let text = match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(digits) if digits.radix() == 10 => Some(digits.as_str().replace('_', "")),
        DeValue::Boolean(on) => Some(if *on { "1" } else { "0" }.to_owned()),
        _ => None,
    };
    let text = text.filter(|text| text.len() <= MAX_VALUE && !text.contains(['\n', '\r', '\0']));
    if text.is_none() {
        let right = "a text of one line and at most 1024 bytes, a whole number, true or false";
        report.key(start, shown, Fault::BadText { right });
    }
    Some((word.to_owned(), text?))
}
