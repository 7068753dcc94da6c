//! The operator's own commands: hooks of groups and of events, of `[fence]`, `[[check]]`.

use super::{
    ArbiterEngine, Check, Config, Group, Hooks,
    error::{Fault, Report},
    fence::{Fence, Means},
    table::{Table, called},
};
use crate::{core::Hook, types::Nanos};

/// The most health checks.
const MAX_CHECKS: usize = 32;
/// The most words of a command.
const MAX_WORDS: usize = 64;
const COMMAND: &str =
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

impl Config {
    /// Every command: the key that has it, as messages name it; its words, at least one; the longest that it may take.
    pub fn commands(&self) -> impl Iterator<Item = (String, &[String], Nanos)> {
        let hooks = self.groups.iter().flat_map(|Group { name, hooks, .. }| {
            Hook::ALL.into_iter().filter_map(move |hook| {
                Some((format!("group \"{name}\": {}", hook.name()), hooks.words(hook)?, hooks.timeout))
            })
        });
        let fence = self.fence.iter().flat_map(Fence::devices).filter_map(|device| match &device.by {
            Means::Command(words) => Some((format!("{}.command", device.key), &words[..], device.timeout)),
            Means::Agent { .. } => None,
        });
        let checks = self
            .checks
            .iter()
            .map(|check| (format!("check \"{}\": command", check.name), &check.command[..], check.timeout));
        let on_event = self.events.on_event.iter();
        let on_event = on_event.map(|hook| ("events.on_event".to_owned(), &hook.command[..], hook.timeout));
        let arbiter = self.arbiter.iter().filter_map(|arbiter| match &arbiter.engine {
            ArbiterEngine::Command(words) => Some(("arbiter.command".to_owned(), &words[..], arbiter.timeout)),
            ArbiterEngine::Etcd(_) | ArbiterEngine::Disk(_) => None,
        });
        fence.chain(arbiter).chain(checks).chain(on_event).chain(hooks)
    }
}

/// The keys of [`hooks`].
pub(super) const HOOK_KEYS: [&str; 6] =
    ["on_acquire", "on_acquired", "on_releasing", "on_release", "hook_timeout", "on_release_failure"];

/// A group's hooks.
pub(super) fn hooks(table: &Table<'_>, report: &mut Report<'_>) -> Hooks {
    let [on_acquire, on_acquired, on_releasing, on_release] = Hook::ALL.map(|hook| command(table, report, hook.name()));
    let timeout = table.duration(report, "hook_timeout", TIMEOUT).map_or(ms(30_000), |timeout| timeout.value);
    let choices = [("keep", false), ("force", true)];
    let force = table.choice(report, "on_release_failure", "\"keep\" or \"force\"", &choices).unwrap_or(false);
    Hooks { on_acquire, on_acquired, on_releasing, on_release, timeout, force }
}

/// A group's `failback`: `"manual"`, or how long both must have been well.
pub(super) fn failback(table: &Table<'_>, report: &mut Report<'_>) -> Option<Nanos> {
    table.duration_or(report, "failback", "manual", ms(1_000)..=ms(2_592_000_000)).flatten()
}

/// `[[check]]`: whether this controller can serve.
pub(super) fn checks(root: &Table<'_>, report: &mut Report<'_>) -> Vec<Check> {
    let tables = root.array(report, "check", "[[check]] tables");
    if let Some(value) = tables.get(MAX_CHECKS) {
        report.key(value.span().start, "check", Fault::TooMany { what: "checks", max: MAX_CHECKS });
    }
    let known = ["name", "command", "interval", "timeout", "rise", "fall", "weight"];
    let mut checks: Vec<Check> = Vec::new();
    for (i, value) in tables.iter().enumerate() {
        let path = called("check", i + 1, value.get_ref());
        let Some(table) = Table::of(report, path, value, &known, "a table [[check]]") else { continue };
        let name = super::topology::name(&table, report);
        if let Some(name) = &name
            && checks.iter().any(|check| check.name == name.value)
        {
            report.value(
                name.span.clone(),
                table.name("name"),
                Fault::BadText { right: "a name that no other check has" },
            );
        }
        table.require(report, "command", COMMAND);
        let command = command(&table, report, "command");
        let [interval, timeout] = [("interval", ms(100)..=ms(3_600_000), ms(5_000)), ("timeout", TIMEOUT, ms(3_000))]
            .map(|(key, range, default)| table.duration(report, key, range).map_or(default, |span| span.value));
        let [rise, fall, weight] = [("rise", 1..=100, 2), ("fall", 1..=100, 3), ("weight", 1..=1_000, 100)]
            .map(|(key, range, default)| table.integer(report, key, range).map_or(default, |n| n.value as u32));
        if let (Some(name), Some(command)) = (name, command) {
            checks.push(Check { name: name.value.to_owned(), command, interval, timeout, rise, fall, weight });
        }
    }
    checks
}
