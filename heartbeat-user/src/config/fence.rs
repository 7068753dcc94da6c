//! `[fence]`: what must succeed before anything is taken from a silent peer; one level or several, tried in order, each of one device
//! or of several that must all succeed, as the outlets of a host with two power supplies.
//!
//! Options of agents may be secrets: no message, no log and no `Debug` ever repeats a value of theirs.

use super::{
    error::{Fault, Report},
    table::Table,
    values::{TIMEOUT, command, ms},
};
use crate::types::{Nanos, Node};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// The most levels, and the most devices of one.
const MAX_LEVELS: usize = 8;
const MAX_DEVICES: usize = 8;
/// The most options of a device, and the most bytes of one value.
const MAX_OPTIONS: usize = 64;
const MAX_VALUE: usize = 1024;
/// What a device has. A level of one device has these keys itself, and so has `[fence]` where that is the only level.
const DEVICE: [&str; 8] = ["command", "agent", "options", "a", "b", "timeout", "retries", "pause"];
const LEVEL: [&str; 9] = ["command", "agent", "options", "a", "b", "timeout", "retries", "pause", "device"];
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

/// One way to switch the peer off: all of its devices must succeed, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Where it stands in the file, as messages name it: `fence`, `fence.level[2]`.
    pub key: String,
    /// 1 to 8.
    pub devices: Vec<Device>,
}

/// What switches the peer off, or one of its power supplies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Where it stands in the file, as messages name it: that of its level, or `fence.level[2].device[1]`.
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

/// What is run.
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

impl Means {
    /// Whether both would switch the same thing off, of either controller.
    fn has_target_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Agent { name, options: [a, b] }, Self::Agent { name: of, options: [other_a, other_b] }) => {
                name == of && (a == other_a || b == other_b)
            }
            _ => self == other,
        }
    }
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
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let path = ["_script", "_file", "_path", "tlskey"].iter().any(|end| name.ends_with(end));
    !path && ["pass", "secret", "token", "key", "_kg", "community", "credential"].iter().any(|part| name.contains(part))
}

impl Fence {
    /// The longest that it may take on `node`, with all levels and attempts, and five seconds for whoever runs it.
    #[must_use]
    pub fn within(&self, node: Node) -> Nanos {
        let levels =
            self.devices().fold(self.delay[usize::from(node.wire())], |sum, device| sum.after(device.within()));
        levels.after(ms(5_000))
    }

    /// Those of all levels, in order.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.levels.iter().flat_map(|level| &level.devices)
    }
}

impl Level {
    /// What it runs, by name.
    #[must_use]
    pub fn runs(&self) -> String {
        self.devices.iter().map(Device::runs).collect::<Vec<_>>().join(" and ")
    }
}

impl Device {
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

/// Reads `[fence]`.
pub(super) fn fence(root: &Table<'_>, report: &mut Report<'_>) -> Option<Fence> {
    let known = [&LEVEL[..], &OWN].concat();
    let table = root.table(report, "fence", &known, "a table [fence]")?;
    let status_every = table.duration_or(report, "status_every", "never", ms(1_000)..=ms(86_400_000));
    let status_every = status_every.unwrap_or(Some(ms(300_000)));
    let delay = table.table(report, "delay", &["a", "b"], "a table such as { b = \"5s\" }");
    let delay = ["a", "b"].map(|node| {
        let delay = delay.as_ref().and_then(|delay| delay.duration(report, node, Nanos(0)..=ms(300_000)));
        delay.map_or(Nanos(0), |delay| delay.value)
    });
    let levels = within(&table, "fence".to_owned(), report, LEVELS, level);
    Some(Fence { levels: levels?, status_every, delay })
}

/// Tables of one kind within another, which stands for the only one where there are none.
struct Inner {
    key: &'static str,
    right: &'static str,
    most: (&'static str, usize),
    /// Their keys, which have no place in the outer table then.
    known: &'static [&'static str],
    elsewhere: &'static str,
}

const LEVELS: Inner = Inner {
    key: "level",
    right: "[[fence.level]] tables",
    most: ("levels", MAX_LEVELS),
    known: &LEVEL,
    elsewhere: "in one of the [[fence.level]] tables, which stand for all levels where there are any",
};

const DEVICES: Inner = Inner {
    key: "device",
    right: "[[fence.level.device]] tables",
    most: ("devices", MAX_DEVICES),
    known: &DEVICE,
    elsewhere: "in one of the `device` tables, which stand for all devices of this level where there are any",
};

/// What `read` makes of each of the tables `inner` of `table`, or of that itself; `key` is its name.
fn within<T>(
    table: &Table<'_>,
    key: String,
    report: &mut Report<'_>,
    inner: Inner,
    read: impl Fn(&Table<'_>, String, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Inner { key: name, right, most: (what, max), known, elsewhere } = inner;
    let tables = table.array(report, name, right);
    if tables.is_empty() {
        return Some(vec![read(table, key, report)?]);
    }
    if let Some(value) = tables.get(max) {
        report.key(value.span().start, table.name(name), Fault::TooMany { what, max });
    }
    for own in known.iter().filter(|own| table.has(own)) {
        let start = table.peek_span(own).map_or(0, |span| span.start);
        report.key(start, table.name(own), Fault::NotHere { right: elsewhere });
    }
    let one = |(i, value): (usize, _)| {
        let key = format!("{key}.{name}[{}]", i + 1);
        Table::of(report, format!("{key}."), value, known, right).and_then(|table| read(&table, key, report))
    };
    // All of them are read, whichever is wrong.
    let read: Vec<_> = tables.iter().enumerate().map(one).collect();
    read.into_iter().collect()
}

fn level(table: &Table<'_>, key: String, report: &mut Report<'_>) -> Option<Level> {
    let devices = within(table, key.clone(), report, DEVICES, device)?;
    for (i, device) in devices.iter().enumerate() {
        if devices[..i].iter().any(|other| other.by.has_target_of(&device.by)) {
            let start = table.peek_span("device").map_or(0, |span| span.start);
            let right =
                "another outlet than those before it in its level: as it is, it would switch the same one off again";
            report.key(start, device.key.clone(), Fault::BadText { right });
            return None;
        }
    }
    Some(Level { key, devices })
}

fn device(table: &Table<'_>, key: String, report: &mut Report<'_>) -> Option<Device> {
    let by = if table.has("agent") { agent(table, report) } else { by_command(table, report) };
    let usual = if table.has("agent") { ms(60_000) } else { ms(10_000) };
    let timeout = table.duration(report, "timeout", TIMEOUT).map_or(usual, |timeout| timeout.value);
    let retries = table.integer(report, "retries", 0..=100).map_or(2, |retries| retries.value as u32);
    let pause = table.duration(report, "pause", Nanos(0)..=ms(3_600_000)).map_or(ms(1_000), |pause| pause.value);
    Some(Device { key, by: by?, timeout, retries, pause })
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
        let fault = Fault::NotHere { right: "in a device of its own: a device has either a command or an agent" };
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
        let (start, fault) = match table.peek_span("b").filter(|_| table.has("a")) {
            Some(span) => {
                let right = "other options than a's: as it is, both controllers would switch off the same thing, one of them itself";
                (span.start, Fault::BadText { right })
            }
            None => {
                let right = "a = { .. } and b = { .. }: the options that a is switched off with, and b. As it is, both controllers \
                             would switch off the same thing, one of them itself";
                (name.span.start, Fault::Missing(right))
            }
        };
        let key = if matches!(fault, Fault::Missing(_)) { "a" } else { "b" };
        report.key(start, table.name(key), fault);
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
        let right = "a text of one line and at most 1024 bytes, a whole number in decimal digits, true or false";
        report.key(start, shown, Fault::BadText { right });
    }
    Some((word.to_owned(), text?))
}
