//! The hooks of groups: they are run, and it is told what became of them. What every command of the operator is told.

use super::{
    desk::Desk,
    messages::{Command, Job},
    options::Options,
};
use crate::{
    command::{self, Outcome},
    config::Config,
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

    /// Runs a hook of a group: its end is a job's.
    pub(super) fn run(&self, desk: &mut Desk<'_>, group: GroupIndex, hook: Hook, reason: Reason) {
        let Options { config, node, .. } = desk.options;
        let hooks = &config.groups[group.usize()].hooks;
        let words = hooks.words(hook).unwrap_or_default().to_vec();
        let environment = environment(config, *node, group, reason, &self.verdict);
        let patience = Duration::from_nanos(hooks.timeout.0);
        desk.jobs.spawn(async move { Job::Hook(group, hook, command::run(&words, &environment, patience).await) });
    }
}

/// It ended.
pub(super) fn ended(desk: &Desk<'_>, group: GroupIndex, hook: Hook, outcome: &Outcome) {
    desk.journal.control(&told(hook, group, outcome));
    desk.command(Command::HookEnded { group, hook, succeeded: outcome.succeeded() });
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
fn told(what: Hook, group: GroupIndex, outcome: &Outcome) -> ControlEvent {
    ControlEvent::CommandRan {
        what,
        group,
        succeeded: outcome.succeeded(),
        how: outcome.ended.to_string(),
        took_ns: Nanos(outcome.took.as_nanos() as u64),
        output: outcome.output.clone(),
    }
}
