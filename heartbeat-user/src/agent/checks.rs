//! Health checks: they run for ever, and what they find is told.

use super::{
    desk::Desk,
    hooks,
    messages::{CheckNews, Command},
    options::RunOptions,
};
use crate::{
    command::{self, CheckPlan, CommandOutcome},
    events::ControlEvent,
    types::Nanos,
};
use std::time::Duration;
use tokio::sync::mpsc;

/// Begins them: each tells `changes` of its first result, and when it has another one.
pub(super) fn watch(desk: &mut Desk<'_>, changes: &mpsc::UnboundedSender<CheckNews>) {
    let RunOptions { config, node, .. } = desk.options;
    for (i, check) in config.checks.iter().enumerate() {
        let span = |span: Nanos| Duration::from_nanos(span.0);
        let plan = CheckPlan {
            command: check.command.clone(),
            interval: span(check.interval),
            timeout: span(check.timeout),
            rise: check.rise,
            fall: check.fall,
        };
        let changes = changes.clone();
        let report = move |healthy, outcome: &CommandOutcome| {
            let _ = changes.send(CheckNews { check: i, healthy, outcome: outcome.clone() });
        };
        desk.watchers.spawn(command::watch(plan, hooks::peer(config, *node), report));
    }
}

/// One has another result.
pub(super) fn changed(desk: &Desk<'_>, news: CheckNews) {
    let CheckNews { check, healthy, outcome } = news;
    desk.journal.control(&ControlEvent::CheckChanged {
        check: desk.options.config.checks[check].name.clone(),
        healthy,
        how: outcome.ended.to_string(),
        output: outcome.output,
    });
    desk.command(Command::Check { check, healthy });
}
