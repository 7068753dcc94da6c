//! The hooks of groups: they are run, and it is told what became of them. What every command of the operator is told.

use super::{
    desk::Desk,
    messages::{Command, Job},
    options::RunOptions,
    runs,
    tenancy::Tenancy,
};
use crate::{
    command::{self, CommandOutcome, MARK},
    config::{Config, GroupConfig},
    core::{Event, Hook, Reason},
    events::ControlEvent,
    types::{GroupIndex, Nanos, Node},
};
use anyhow::Result;
use std::time::Duration;

/// What hooks are run with.
pub(super) struct Hooks {
    /// The last verdict, with its evidence, as JSON.
    verdict: String,
}

impl Hooks {
    /// Before the first verdict.
    pub(super) fn new() -> Self {
        Self { verdict: "null".to_owned() }
    }

    /// An event of the core: of a verdict, hooks are told.
    ///
    /// # Errors
    /// It has no form as JSON: a programming error.
    pub(super) fn note(&mut self, event: &Event) -> Result<()> {
        if matches!(event, Event::Judged { .. }) {
            self.verdict = serde_json::to_string(event)?;
        }
        Ok(())
    }

    /// Runs a hook of a group, once nothing is left of what an earlier life had begun: its end is a job's.
    pub(super) fn run(
        &self,
        desk: &mut Desk<'_>,
        tenancy: &mut Tenancy<'_>,
        group: GroupIndex,
        hook: Hook,
        reason: Reason,
    ) {
        let RunOptions { config, node, .. } = desk.options;
        let GroupConfig { name, hooks, .. } = &config.groups[group.usize()];
        let words = hooks.words(hook).map(<[String]>::to_vec);
        let mut environment = environment(config, *node, group, reason, &self.verdict);
        let patience = Duration::from_nanos(hooks.timeout.0);
        let left = tenancy.runs.left(name);
        let (mark, on_record) = tenancy.runs.begin(name);
        if let Err(error) = &on_record {
            log::warn!("group {name}: {}: {error:#}", hook.name());
        }
        environment.push((MARK, mark.clone()));
        // What comes into use must be known to whoever comes next.
        let refused = on_record.err().filter(|_| hook == Hook::OnAcquire).map(|error| format!("{error:#}"));
        let name = name.clone();
        desk.jobs.spawn(async move {
            runs::end_all(&name, &left).await;
            let outcome = match (words, refused) {
                (None, _) => None,
                (Some(_), Some(why)) => Some(CommandOutcome::not_started(why)),
                (Some(words), None) => Some(command::run(&words, &environment, patience).await),
            };
            Job::Hook(group, hook, outcome, [left, vec![mark]].concat())
        });
    }
}

/// It ended; without an outcome there was none to run.
pub(super) fn ended(desk: &Desk<'_>, group: GroupIndex, hook: Hook, outcome: Option<&CommandOutcome>) {
    if let Some(outcome) = outcome {
        desk.journal.control(&told(hook, group, outcome));
    }
    desk.command(Command::HookEnded { group, hook, succeeded: outcome.is_none_or(CommandOutcome::succeeded) });
}

/// What a hook of a group is told.
fn environment(
    config: &Config,
    node: Node,
    group: GroupIndex,
    reason: Reason,
    verdict: &str,
) -> Vec<(&'static str, String)> {
    let reason = serde_json::to_value(reason).unwrap_or_default();
    let mut environment = peer(config, node);
    environment.extend([
        ("HEARTBEAT_GROUP", config.groups[group.usize()].name.clone()),
        ("HEARTBEAT_REASON", reason.as_str().unwrap_or_default().to_owned()),
        ("HEARTBEAT_VERDICT", verdict.to_owned()),
    ]);
    environment
}

/// What every command is told.
pub(super) fn peer(config: &Config, node: Node) -> Vec<(&'static str, String)> {
    let peer = config.hostnames[usize::from(node.other().wire())].clone();
    vec![("HEARTBEAT_NODE", node.to_string()), ("HEARTBEAT_PEER", peer.unwrap_or_default())]
}

/// How a hook ended, for the journal.
fn told(what: Hook, group: GroupIndex, outcome: &CommandOutcome) -> ControlEvent {
    ControlEvent::CommandRan {
        what,
        group,
        succeeded: outcome.succeeded(),
        how: outcome.ended.to_string(),
        took_ns: Nanos(outcome.took.as_nanos() as u64),
        output: outcome.output.clone(),
    }
}
