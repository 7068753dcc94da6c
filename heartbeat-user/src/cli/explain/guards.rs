//! What made a takeover safe, why one waits, and what else would keep one from working: from events alone.

use super::{Finding, last};
use crate::events::{Code, Obstacle, Record};
use serde_json::Value;

/// Why nothing is taken over, by its code, where that still is so.
pub(super) fn withheld(events: &[Record]) -> Option<(&str, &Record)> {
    let withheld = last(events, &["takeover_withheld", "group_acquiring", "peer_good"])?;
    (withheld.event == "takeover_withheld").then_some((field(withheld, "reason"), withheld))
}

/// What is wrong with what makes a takeover safe, and what else stands in its way.
pub(super) fn findings(events: &[Record], here: &str, there: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |what: &str, todo: String| findings.push(Finding { what: what.to_owned(), todo });
    if let Some((reason, event)) = withheld(events)
        && reason != "isolated"
    {
        find(&event.text, wait_or_act(reason, there));
    }
    for event in newest(events, &["fence_device", "fence_unfit"], "level") {
        if event.event == "fence_unfit" || event.evidence.get("answers") == Some(&false.into()) {
            let todo = format!(
                "ask {} on controller {here} by hand: `{} -o status` with the options of {}",
                field(event, "by"),
                field(event, "by"),
                field(event, "level")
            );
            find(&event.text, todo);
        }
    }
    let arbiter = last(events, &["arbiter_checked", "arbiter_answered"]);
    if let Some(event) = arbiter
        && (event.evidence.get("well") == Some(&false.into()) || field(event, "said") == "unreachable")
    {
        find(&event.text, format!("ask it on controller {here}: heartbeat arbiter --config FILE"));
    }
    for event in newest(events, &["group_kept", "group_stuck", "group_released", "group_acquired"], "group") {
        if ["group_kept", "group_stuck"].contains(&event.event.as_str()) {
            find(&event.text, format!("run its on_release on controller {here} by hand: it is tried again by itself"));
        }
    }
    if let Some(event) = last(events, &["not_ready", "ready_again"])
        && let Some(reasons) = event.evidence.get("reasons")
    {
        let reasons = serde_json::from_value::<Vec<Obstacle>>(reasons.clone()).unwrap_or_default();
        for Obstacle { text, .. } in reasons.into_iter().filter(|reason| !is_told_otherwise(reason.code)) {
            match text.split_once("; right would be ") {
                Some((what, right)) => find(&format!("not ready: {what}"), format!("right would be {right}")),
                None => find(
                    &format!("not ready: {text}"),
                    format!("see heartbeat check --config FILE on controller {here}"),
                ),
            }
        }
    }
    findings
}

/// Whether other events say the same.
const fn is_told_otherwise(code: Code) -> bool {
    matches!(
        code,
        Code::FactsOld
            | Code::Peer
            | Code::ChannelDown
            | Code::Network
            | Code::Check
            | Code::Fence
            | Code::Arbiter
            | Code::GroupKept
            | Code::GroupStuck
    )
}

/// What there is to do where nothing is taken over for this reason.
fn wait_or_act(reason: &str, there: &str) -> String {
    let by_hand = format!("where {there} is off for sure: heartbeat takeover GROUP --force");
    let first = match reason {
        "maintenance" => return "heartbeat maintenance off".to_owned(),
        "stranger" => {
            return "find who sends them: a pair with the same id, or a peer with another key; `heartbeat status` counts them".to_owned();
        }
        "occupied" => return "find who has the port: ss -lunp".to_owned(),
        "peer_stalled" | "peer_died" | "promised" => return format!("wait until that is over; {by_hand}"),
        "not_fenced" => "see what the fence said, and mend it: it is tried again",
        "in_use" => "switch it off, or start its agent again: its hooks let go then",
        "denied" => "see whether it runs: it is to give back what it does not hold",
        "unarbitrated" => "see why the arbiter does not answer: it is asked again",
        "kept" => "see there why its on_release fails",
        "unanswered" => "see what holds up this host: it looks again by itself",
        _ => "a [fence] or an [arbiter] would make it safe",
    };
    format!("{first}; {by_hand}")
}

/// Of each group that was taken from a silent peer and is still ours: what made sure that nobody else serves it.
pub(super) fn made_safe(events: &[Record]) -> Vec<String> {
    let taken = newest(events, &["group_acquiring", "group_releasing", "group_released"], "group");
    let safe = |event: &&Record| event.event == "group_acquiring" && !field(event, "safe").is_empty();
    let said = |event: &Record| {
        let before = &events[..events.iter().position(|other| other.id == event.id).unwrap_or(0)];
        let died =
            last(before, &["peer_died", "peer_dead", "peer_good"]).is_some_and(|event| event.event == "peer_died");
        let fenced = before
            .iter()
            .rfind(|event| event.event == "fence_ran" && event.evidence.get("succeeded") == Some(&true.into()));
        let made = match field(event, "safe") {
            "closed" if died => "its agent died and its kernel keeps silent".to_owned(),
            "closed" => "its agent stands still and its kernel keeps silent".to_owned(),
            "lease_over" => "its agent died and the lease of its kernel is over".to_owned(),
            "fenced" => match fenced {
                Some(ran) => format!("the peer is fenced by {}", field(ran, "by")),
                None => "the peer is fenced".to_owned(),
            },
            "granted" => "the arbiter granted it".to_owned(),
            "promised" => "the peer promised to let go of it within a time that is over".to_owned(),
            other => other.to_owned(),
        };
        format!("{}: {made}", event.group.as_deref().unwrap_or("?"))
    };
    taken.into_iter().filter(safe).map(said).collect()
}

/// The last of these events for each value of a field, in the order of the events.
fn newest<'a>(events: &'a [Record], names: &[&str], key: &str) -> Vec<&'a Record> {
    let of = |event: &Record| if key == "group" { event.group.clone() } else { Some(field(event, key).to_owned()) };
    let named = |event: &&Record| names.contains(&event.event.as_str());
    let later = |i: usize, event: &Record| events[i + 1..].iter().filter(named).any(|other| of(other) == of(event));
    events.iter().enumerate().filter(|(i, event)| named(event) && !later(*i, event)).map(|(_, event)| event).collect()
}

fn field<'a>(event: &'a Record, name: &str) -> &'a str {
    event.evidence.get(name).and_then(Value::as_str).unwrap_or_default()
}
