//! What the operator has run: hooks of groups, `[[check]]`.

use super::{
    Check, Hooks,
    error::{Fault, Report},
    table::{Table, called},
    values::{COMMAND, TIMEOUT, command, ms, name},
};
use crate::{core::Hook, types::Nanos};

/// The most health checks.
const MAX_CHECKS: usize = 32;
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
        let name = name(&table, report);
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
