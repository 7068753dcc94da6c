//! What makes a takeover safe, or speaks against it, as the status document has it.

use super::ms;
use crate::{
    api::{CoreView, Known, WatchdogFacts},
    config::Config,
    core::{Reason, Safe, Service, Withheld},
    events::text,
    types::{GroupIndex, Nanos},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A level of the fence.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FenceLevel {
    /// Where it stands in the file: `fence`, `fence.level[2]`.
    pub level: String,
    /// What it runs.
    pub by: String,
    /// Whether it could be relied on when it was asked last; nothing of a command, and before the first answer.
    pub answers: Option<bool>,
    /// Why not.
    pub why: Option<String>,
    /// How long ago that was.
    pub asked_ms: Option<f64>,
}

/// The arbiter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Arbiter {
    /// What it is.
    pub by: String,
    /// Whether all of it answered when it was looked at or asked last; nothing before that.
    pub well: Option<bool>,
    /// For how long that has been so.
    pub since_ms: Option<f64>,
    /// What that rests on.
    pub how: String,
}

/// The host's watchdog.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Watchdog {
    /// Its path.
    pub device: String,
    /// It resets this host when it was not fed for so long; nothing where it cannot be had.
    pub timeout_ms: Option<f64>,
    /// Whether it is fed as often as it is to be.
    pub fed: bool,
    /// How long ago it was.
    pub fed_ms: Option<f64>,
    /// Why it cannot be had.
    pub why: Option<String>,
}

/// How a group came to be ours.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// Why it was claimed.
    pub reason: Reason,
    /// What made sure that a silent peer did not serve it, too.
    pub safe: Option<Safe>,
    /// Both as a sentence.
    pub text: String,
    /// When, in ns since 1970.
    pub time_ns: u64,
}

/// Why nothing is taken from a silent peer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Withholding {
    /// As an event says it.
    pub reason: Withheld,
    /// As a sentence.
    pub text: String,
    /// For so long yet, where time ends it.
    pub left_ms: Option<f64>,
}

/// A time for which this agent, or its host, stood still.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stall {
    /// How long it was.
    pub late_ms: f64,
    /// How long ago it ended.
    pub ago_ms: f64,
}

/// What a controller can serve with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// Its quality of service.
    pub qos: u32,
    /// What that is where nothing is amiss.
    pub full_qos: u32,
    /// Its networks that do not work for it.
    pub networks_failed: Vec<String>,
    /// Its health checks that fail; of the peer's, only its quality of service tells.
    pub checks_failing: Vec<String>,
    /// All that it lacks are networks that answer again, and count in a moment.
    pub recovering: bool,
}

/// Of a controller, as of its last analysis. `failing`: its health checks that fail now, a bit each; of the peer's that is not known.
pub(super) fn served(config: &Config, service: Option<Service>, failing: u64) -> Option<Served> {
    let service = service?;
    let judged = config.channels.iter().filter(|channel| channel.is_judged());
    let lost = judged.clone().filter(|channel| service.operational & channel.index.bit() == 0);
    let checks = config.checks.iter().enumerate().filter(|(i, _)| failing >> i & 1 == 1);
    let weights = judged.map(|channel| channel.weight).chain(config.checks.iter().map(|check| check.weight));
    Some(Served {
        qos: service.qos,
        full_qos: weights.fold(0, u32::saturating_add),
        networks_failed: lost.map(|channel| channel.name.clone()).collect(),
        checks_failing: checks.map(|(_, check)| check.name.clone()).collect(),
        recovering: service.recovering,
    })
}

pub(super) fn stall(known: &Known, now: Nanos) -> Option<Stall> {
    known.stalls.longest(now).map(|(at, late)| Stall { late_ms: ms(late), ago_ms: ms(now.since(at)) })
}

pub(super) fn withholding(view: &CoreView, now: Nanos) -> Option<Withholding> {
    let reason = view.withheld?;
    let left_ms = view.withheld_until.map(|until| ms(until.since(now)));
    Some(Withholding { reason, text: text::withheld(reason).into(), left_ms })
}

pub(super) fn fence(known: &Known, now: Nanos) -> Vec<FenceLevel> {
    let level = |device: &crate::api::FenceDevice| {
        let unfit = !device.unfit.is_empty();
        let why = if unfit { &device.unfit } else { &device.how };
        FenceLevel {
            level: device.level.clone(),
            by: device.by.clone(),
            answers: if unfit { Some(false) } else { device.answers },
            why: Some(why.clone()).filter(|why| !why.is_empty()),
            asked_ms: device.answers.map(|_| ms(now.since(device.at))),
        }
    };
    known.fence.devices.iter().map(level).collect()
}

pub(super) fn arbiter(known: &Known, now: Nanos) -> Option<Arbiter> {
    let arbiter = known.arbiter.as_ref()?;
    let since_ms = arbiter.well.map(|_| ms(now.since(arbiter.since)));
    Some(Arbiter { by: arbiter.by.clone(), well: arbiter.well, since_ms, how: arbiter.how.clone() })
}

pub(super) fn watchdog(facts: Option<&WatchdogFacts>, now: Nanos) -> Option<Watchdog> {
    let facts = facts?;
    let age = now.since(facts.fed());
    let (timeout, why) = match &facts.timeout {
        Ok(timeout) => (Some(*timeout), None),
        Err(why) => (None, Some(why.clone())),
    };
    Some(Watchdog {
        device: facts.device.clone(),
        timeout_ms: timeout.map(ms),
        // It is due each quarter.
        fed: timeout.is_some_and(|timeout| age.0 < timeout.0 / 2),
        fed_ms: timeout.map(|_| ms(age)),
        why,
    })
}

pub(super) fn claim(known: &Known, group: GroupIndex) -> Option<Claimed> {
    let claim = known.claims.get(group.usize())?.as_ref()?;
    let because = text::because(claim.reason);
    let text = match (claim.safe, &claim.fenced_by) {
        (Some(safe @ Safe::Fenced), Some(by)) => format!("{because}; {} by {by}", text::made_safe(safe)),
        (Some(safe), _) => format!("{because}; {}", text::made_safe(safe)),
        (None, _) => because.to_owned(),
    };
    Some(Claimed { reason: claim.reason, safe: claim.safe, text, time_ns: claim.time_ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ArbiterFacts, FenceDevice, GroupClaim};
    use std::sync::{Arc, atomic::AtomicU64};

    const S: fn(u64) -> Nanos = |s| Nanos::from_millis(s * 1_000);

    fn claimed(safe: Option<Safe>, fenced_by: Option<&str>) -> Claimed {
        let claim = GroupClaim { reason: Reason::PeerDead, safe, fenced_by: fenced_by.map(str::to_owned), time_ns: 9 };
        claim_of(&Known { claims: vec![Some(claim)], ..Known::default() })
    }

    fn claim_of(known: &Known) -> Claimed {
        claim(known, GroupIndex(0)).unwrap()
    }

    #[test]
    fn a_claim_names_what_made_it_safe() {
        let closed = claimed(Some(Safe::Closed), None);
        assert_eq!((closed.reason, closed.safe), (Reason::PeerDead, Some(Safe::Closed)));
        let dead = text::because(Reason::PeerDead);
        assert_eq!(closed.text, format!("{dead}; {}", text::made_safe(Safe::Closed)));
        assert_eq!(
            claimed(Some(Safe::Fenced), Some("fence_ipmilan")).text,
            format!("{dead}; {} by fence_ipmilan", text::made_safe(Safe::Fenced))
        );
        assert!(claimed(Some(Safe::Granted), None).text.ends_with(text::made_safe(Safe::Granted)));
        assert_eq!((claimed(None, None).safe, claimed(None, None).text.as_str()), (None, dead));
    }

    #[test]
    fn a_level_is_known_by_its_last_answer_and_one_that_is_unfit_does_not_answer() {
        let device = |unfit: &str, answers, how: &str| FenceDevice {
            level: "fence".into(),
            by: "fence_dummy".into(),
            is_agent: true,
            unfit: unfit.into(),
            answers,
            how: how.into(),
            at: S(10),
        };
        let mut known = Known::default();
        known.fence.devices =
            vec![device("", None, ""), device("", Some(false), "it ended with 1"), device("no plug", None, "")];
        let levels = fence(&known, S(25));
        let seen: Vec<_> = levels.iter().map(|l| (l.answers, l.why.as_deref(), l.asked_ms)).collect();
        assert_eq!(
            seen,
            [
                (None, None, None),
                (Some(false), Some("it ended with 1"), Some(15_000.0)),
                (Some(false), Some("no plug"), None)
            ]
        );
    }

    #[test]
    fn a_watchdog_is_fed_while_half_of_its_time_has_not_passed() {
        let facts = |timeout| WatchdogFacts {
            device: "/dev/watchdog".into(),
            timeout,
            fed_ns: Arc::new(AtomicU64::new(S(100).0)),
        };
        let at = |now| watchdog(Some(&facts(Ok(S(10)))), now).unwrap();
        assert!(at(S(104)).fed && !at(S(105)).fed);
        assert_eq!((at(S(105)).timeout_ms, at(S(105)).fed_ms), (Some(10_000.0), Some(5_000.0)));
        let missing = watchdog(Some(&facts(Err("there is no such device".into()))), S(101)).unwrap();
        assert_eq!(
            (missing.fed, missing.fed_ms, missing.why.as_deref()),
            (false, None, Some("there is no such device"))
        );
        assert!(watchdog(None, S(1)).is_none());
    }

    #[test]
    fn what_is_known_of_the_arbiter_is_since_when_it_has_been_so() {
        let mut arbiter_facts = ArbiterFacts { by: "etcd".into(), ..ArbiterFacts::default() };
        arbiter_facts.note(S(5), false, "no answer");
        let known = Known { arbiter: Some(arbiter_facts), ..Known::default() };
        let seen = arbiter(&known, S(65)).unwrap();
        assert_eq!((seen.well, seen.since_ms, seen.how.as_str()), (Some(false), Some(60_000.0), "no answer"));
    }
}
