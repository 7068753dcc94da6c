//! What an agent's status document says, and what both say together.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::{PACE, SOON, group_of, story, until};
use crate::lab::{Lab, Node, Status};

/// A channel of a status document; null where there is none of that name.
#[must_use]
pub fn channel<'a>(status: &'a Value, name: &str) -> &'a Value {
    let channels = status["channels"].as_array();
    channels.and_then(|all| all.iter().find(|channel| channel["name"] == name)).unwrap_or(&Value::Null)
}

/// Who holds each group, in order; empty for nobody.
#[must_use]
pub fn owners(status: &Value) -> Vec<String> {
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    groups.iter().map(|group| group["owner"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Which groups are in place there, in order.
#[must_use]
pub fn held(status: &Value) -> Vec<bool> {
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    groups.iter().map(|group| group["held"] == true).collect()
}

/// A channel's rejected messages by reason, and its handshakes under `handshake`.
#[must_use]
pub fn rejected(status: &Value, name: &str) -> BTreeMap<String, u64> {
    let channel = channel(status, name);
    let mut counts: BTreeMap<_, _> = channel["rejected"]
        .as_object()
        .map(|reasons| reasons.iter().map(|(reason, n)| (reason.clone(), n.as_u64().unwrap_or(0))).collect())
        .unwrap_or_default();
    counts.insert("handshake".to_owned(), channel["handshakes"].as_u64().unwrap_or(0));
    counts
}

/// What `after` has more than `before`, where that is anything.
#[must_use]
pub fn increase(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more =
        |(reason, n): (&String, &u64)| (reason.clone(), n.saturating_sub(before.get(reason).copied().unwrap_or(0)));
    after.iter().map(more).filter(|(_, n)| *n > 0).collect()
}

/// The entry of that name in a list of a status document.
///
/// # Errors
/// There is none.
pub fn named<'a>(status: &'a Value, list: &str, name: &str) -> Result<&'a Value> {
    let entries = status.get(list).and_then(Value::as_array);
    let is_it = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
    entries.and_then(|entries| entries.iter().find(is_it)).with_context(|| format!("no {name} in {list} of {status:#}"))
}

/// One agent's status names these holders, and it holds its own groups only.
///
/// # Errors
/// It does not.
pub fn expect_holders(status: &Status, node: Node, holders: [Node; 2]) -> Result<()> {
    for (group, holder) in Node::BOTH.map(group_of).into_iter().zip(holders) {
        let said = named(&status.json, "groups", group)?;
        ensure!(
            said.get("owner").and_then(Value::as_str) == Some(holder.name())
                && said.get("held").and_then(Value::as_bool) == Some(holder == node),
            "{node} does not say that {group} is {holder}'s: {said:#}"
        );
    }
    Ok(())
}

/// Both agents say that all is GOOD, and name the same holders: `storage-a`'s, then `storage-b`'s.
///
/// # Errors
/// They do not.
pub fn expect_settled(lab: &Lab, holders: [Node; 2]) -> Result<()> {
    for node in Node::BOTH {
        let status = lab.status(node)?;
        ensure!(status.code == 0, "{node} finds something BAD: {:#}\n{}", status.json, story(lab));
        expect_holders(&status, node, holders).with_context(|| story(lab))?;
    }
    Ok(())
}

/// Waits until they say so of any holders, and gives these. A pair that was broken settles in the end, however often the
/// host stood still meanwhile; no single event says when that is.
///
/// # Errors
/// They do not.
pub fn wait_settled(lab: &Lab) -> Result<[Node; 2]> {
    let deadline = Instant::now() + SOON;
    loop {
        let status = lab.status(Node::A)?.json;
        let holder = |group| named(&status, "groups", group).ok()?.get("owner")?.as_str()?.parse::<Node>().ok();
        let settled = match Node::BOTH.map(|node| holder(group_of(node))) {
            [Some(first), Some(second)] => expect_settled(lab, [first, second]).map(|()| [first, second]),
            _ => Err(anyhow!("a group is nobody's: {status:#}\n{}", story(lab))),
        };
        if settled.is_ok() || Instant::now() > deadline {
            return settled;
        }
        thread::sleep(PACE);
    }
}

/// Waits until an agent names these owners of all groups, in order; empty for nobody.
///
/// # Errors
/// It does not soon.
pub fn wait_owners(lab: &Lab, node: Node, expected: &[&str]) -> Result<()> {
    let said = || Ok((owners(&lab.status(node)?.json) == expected).then_some(()));
    until(&format!("{expected:?} on {node}"), said).with_context(|| story(lab))
}

/// Waits until both agents say that all is well.
///
/// # Errors
/// One does not soon.
pub fn wait_well(lab: &Lab) -> Result<()> {
    let well = |node| -> Result<bool> { Ok(lab.status(node)?.code == 0) };
    until("both are well", || Ok((well(Node::A)? && well(Node::B)?).then_some(()))).with_context(|| story(lab))
}
