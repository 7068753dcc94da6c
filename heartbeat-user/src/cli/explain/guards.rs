//! What made a takeover safe, why one waits, and what else would keep one from working: from events alone.

use super::{
    Finding,
    history::{History, field, said},
};
use crate::{
    core::{Safe, Withheld},
    events::{Code, Kind, Obstacle, Record, text},
    types::Node,
};

/// Why nothing is taken over, by its code, where that still is so; no code where this version does not know it.
pub(super) fn withheld<'a>(history: &History<'a>) -> Option<(Option<Withheld>, &'a Record)> {
    let withheld = history.standing(&[Kind::TakeoverWithheld]).last()?;
    Some((field(withheld, "reason"), withheld))
}

/// What is wrong with what makes a takeover safe, and what else stands in its way.
pub(super) fn findings(history: &History<'_>) -> Vec<Finding> {
    let here = history.here;
    let mut findings = Vec::new();
    if let Some((reason, event)) = withheld(history).filter(|(reason, _)| *reason != Some(Withheld::Isolated)) {
        findings.push(Finding::new(event.text.as_str(), wait_or_act(reason, here.other())));
    }
    let devices = history.standing(&[Kind::FenceDevice, Kind::FenceUnfit]);
    // One that is unfit does not say whether it answers.
    for event in devices.filter(|event| field(event, "answers") != Some(true)) {
        let (by, level) = (said(event, "by"), said(event, "level"));
        let todo = format!("ask {by} on controller {here} by hand: `{by} -o status` with the options of {level}");
        findings.push(Finding::new(event.text.as_str(), todo));
    }
    if let Some(event) = history.standing(&[Kind::ArbiterChecked, Kind::ArbiterAnswered]).last()
        && (field(event, "well") == Some(false) || said(event, "said") == "unreachable")
    {
        let todo = format!("ask it on controller {here}: heartbeat arbiter --config FILE");
        findings.push(Finding::new(event.text.as_str(), todo));
    }
    for event in history.standing(&[Kind::GroupKept, Kind::GroupStuck]) {
        let todo = format!("run its on_release on controller {here} by hand: it is tried again by itself");
        findings.push(Finding::new(event.text.as_str(), todo));
    }
    let not_ready = history.standing(&[Kind::NotReady]).last();
    let reasons = not_ready.and_then(|event| field::<Vec<Obstacle>>(event, "reasons")).unwrap_or_default();
    let untold = reasons.into_iter().filter(|reason| !is_told_otherwise(reason.code));
    findings.extend(untold.map(|reason| obstacle(here, &reason.text)));
    findings
}

fn obstacle(here: Node, text: &str) -> Finding {
    match text.split_once("; right would be ") {
        Some((what, right)) => Finding::new(format!("not ready: {what}"), format!("right would be {right}")),
        None => Finding::new(
            format!("not ready: {text}"),
            format!("see heartbeat check --config FILE on controller {here}"),
        ),
    }
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
fn wait_or_act(reason: Option<Withheld>, there: Node) -> String {
    let by_hand = format!("where {there} is off for sure: heartbeat takeover GROUP --force");
    let Some(reason) = reason else { return by_hand };
    let first = match reason {
        Withheld::Maintenance => return "heartbeat maintenance off".to_owned(),
        Withheld::Stranger => {
            return "find who sends them: a pair with the same id, or a peer with another key; `heartbeat status` counts them".to_owned();
        }
        Withheld::Occupied => return "find who has the port: ss -lunp".to_owned(),
        Withheld::PeerStalled | Withheld::PeerDied | Withheld::Promised => {
            return format!("wait until that is over; {by_hand}");
        }
        Withheld::NotFenced => "see what the fence said, and mend it: it is tried again",
        Withheld::InUse => "switch it off, or start its agent again: its hooks let go then",
        Withheld::Denied => "see whether it runs: it is to give back what it does not hold",
        Withheld::Unarbitrated => "see why the arbiter does not answer: it is asked again",
        Withheld::Kept => "see there why its on_release fails",
        Withheld::Unanswered => "see what holds up this host: it looks again by itself",
        Withheld::Isolated => "see why none of the networks here answers",
        Withheld::Exclusive => "a [fence] or an [arbiter] would make it safe",
    };
    format!("{first}; {by_hand}")
}

/// Of each group that was taken from a silent peer and is still ours: what made sure that nobody else serves it.
pub(super) fn made_safe(history: &History<'_>) -> Vec<String> {
    let made = |event: &Record| {
        let before = history.before(event);
        let died = || {
            let silent = before.standing(&[Kind::PeerDied, Kind::PeerDead]).last();
            silent.is_some_and(|event| event.kind() == Some(Kind::PeerDied))
        };
        let ran = |(kind, event): &(Kind, &Record)| *kind == Kind::FenceRan && field(event, "succeeded") == Some(true);
        let fenced = || before.iter().rfind(ran).map(|(_, event)| said(event, "by"));
        match (field::<Safe>(event, "safe"), fenced()) {
            (Some(Safe::Closed), _) if died() => "its agent died and its kernel keeps silent".to_owned(),
            (Some(Safe::Closed), _) => "its agent stands still and its kernel keeps silent".to_owned(),
            (Some(Safe::LeaseOver), _) => "its agent died and the lease of its kernel is over".to_owned(),
            (Some(safe @ Safe::Fenced), Some(by)) => format!("{} by {by}", text::made_safe(safe)),
            (Some(safe), _) => text::made_safe(safe).to_owned(),
            (None, _) => said(event, "safe").to_owned(),
        }
    };
    let taken = history.standing(&[Kind::GroupAcquiring]).filter(|event| !said(event, "safe").is_empty());
    taken.map(|event| format!("{}: {}", event.group.as_deref().unwrap_or("?"), made(event))).collect()
}
