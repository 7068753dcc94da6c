//! What the operator's commands are told, and how it is told what became of them.

use crate::{
    command::Outcome,
    config::Config,
    core::Reason,
    events::ControlEvent,
    types::{GroupIndex, Nanos, Node},
};

/// What a hook of a group is told.
pub(super) fn environment(
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

/// How a command ended, for the journal.
pub(super) fn told(what: &'static str, group: Option<GroupIndex>, outcome: &Outcome) -> ControlEvent {
    ControlEvent::CommandRan {
        what,
        group,
        succeeded: outcome.succeeded(),
        how: outcome.ended.to_string(),
        took_ns: Nanos(outcome.took.as_nanos() as u64),
        output: outcome.output.clone(),
    }
}
