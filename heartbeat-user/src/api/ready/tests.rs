//! Each reason alone gives exactly its code, and a sentence that names the thing.

use super::*;
use crate::{
    api::{
        Problem,
        status::{Arbiter, FenceLevel, Stall, Watchdog, Withholding},
    },
    cli::status::sample,
    core::{Difference, Withheld},
    events::sinks::{SinkKind, SinkStatus},
};

/// A change of a status in which all is well, what it comes to, and words of its sentence.
type Case = (fn(&mut Status), &'static [Code], &'static str);

fn served(networks: &[&str], checks: &[&str], qos: u32) -> Option<Served> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Some(Served {
        qos,
        full_qos: 300,
        networks_failed: owned(networks),
        checks_failing: owned(checks),
        recovering: false,
    })
}

fn level(answers: Option<bool>) -> FenceLevel {
    let why = (answers == Some(false)).then(|| "asked whether the peer has power, it ended with 1".to_owned());
    FenceLevel { level: "fence".into(), by: "fence_ipmilan".into(), answers, why, asked_ms: answers.map(|_| 40_000.0) }
}

fn arbiter(well: Option<bool>) -> Option<Arbiter> {
    Some(Arbiter {
        by: "etcd http://192.0.2.7:2379".into(),
        well,
        since_ms: Some(180_000.0),
        how: "no answer within 1s".into(),
    })
}

fn watchdog(fed: bool) -> Option<Watchdog> {
    let fed_ms = if fed { 1_000.0 } else { 7_000.0 };
    Some(Watchdog { device: "/dev/watchdog".into(), timeout_ms: Some(10_000.0), fed, fed_ms: Some(fed_ms), why: None })
}

fn problem(status: &mut Status, kind: ProblemKind) {
    status.problems =
        vec![Problem { kind, thing: "group \"storage-a\": on_acquire".into(), text: "it is not there".into() }];
}

const CASES: &[Case] = &[
    (|_| {}, &[], ""),
    (|s| s.age_ms = 4_000.0, &[Code::FactsOld], "the facts are 4.0 s old"),
    (|s| (s.age_ms, s.maintenance) = (4_000.0, true), &[Code::FactsOld], "nothing is known"),
    (|s| s.peer.state = Health::Unknown, &[Code::Peer], "controller b was not heard yet"),
    (|s| s.peer.state = Health::Bad, &[Code::Peer], "controller b is silent on every channel"),
    (|s| (s.peer.state, s.peer.left) = (Health::Bad, true), &[Code::Peer], "has left"),
    (|s| s.peer.left = true, &[Code::Peer], "is being stopped"),
    (|s| (s.peer.state, s.peer.died_ms) = (Health::Bad, Some(1_500.0)), &[Code::Peer], "it died 1.5 s ago"),
    (|s| (s.peer.state, s.peer.stalled_ms) = (Health::Bad, Some(800.0)), &[Code::Peer], "has stood still for 800 ms"),
    (
        |s| {
            s.peer.state = Health::Bad;
            s.withheld = Some(Withholding {
                reason: Withheld::Promised,
                text: "the time is not over".into(),
                left_ms: Some(3_000.0),
            });
        },
        &[Code::Peer],
        "nothing is taken over for 3.0 s: the time is not over",
    ),
    (|s| s.peer.unfit = true, &[Code::PeerUnfit], "`heartbeat ready` there"),
    (
        |s| (s.channels[1].state, s.channels[1].last_heard_ms) = (Health::Bad, Some(3_200.0)),
        &[Code::ChannelDown],
        "net2 is BAD, silent for 3.2 s",
    ),
    (|s| s.channels[2].state = Health::Unknown, &[Code::ChannelDown], "net3 is not heard yet"),
    (|s| s.channels[0].heard_there = Some(false), &[Code::ChannelDown], "controller b does not hear us on it"),
    (|s| s.channels[0].heard_there = Some(true), &[], ""),
    (|s| s.maintenance = true, &[Code::Maintenance], "controller a is in maintenance"),
    (|s| s.peer.maintenance = true, &[Code::Maintenance], "controller b is in maintenance"),
    (
        |s| s.peer.differs = vec![Difference::Groups],
        &[Code::FilesDiffer],
        "other groups configured; right would be one file",
    ),
    (
        |s| s.peer.differs = vec![Difference::Channels, Difference::Interval],
        &[Code::FilesDiffer, Code::FilesDiffer],
        "other channels",
    ),
    (|s| s.peer.keys_differ = true, &[Code::KeysDiffer], "the two key files differ"),
    (
        |s| s.channels[0].own_end = OwnEnd::NoAddress,
        &[Code::Interface],
        "storage-a could not be served here: eth0 is without our own address",
    ),
    (|s| s.channels[2].own_end = OwnEnd::NoAddress, &[], ""),
    (
        |s| (s.channels[1].state, s.channels[1].own_end) = (Health::Bad, OwnEnd::NoCarrier),
        &[Code::ChannelDown, Code::Interface],
        "eth1 is down, or has no carrier here",
    ),
    (
        |s| {
            (s.peer.state, s.channels[0].state, s.channels[1].state) = (Health::Bad, Health::Bad, Health::Bad);
            s.channels[1].own_end = OwnEnd::Absent;
        },
        &[Code::Peer, Code::ChannelDown, Code::Interface],
        "silent on every channel",
    ),
    (
        |s| s.service = served(&["net1"], &[], 200),
        &[Code::Network],
        "net1 does not work for controller a: it gives 200 of 300",
    ),
    (|s| s.peer.service = served(&["net2"], &[], 200), &[Code::Network], "net2 does not work for controller b"),
    (|s| s.service = served(&[], &["nfs"], 200), &[Code::Check], "check nfs of controller a fails"),
    (
        |s| s.peer.service = served(&[], &[], 200),
        &[Code::Check],
        "a health check of controller b fails: it gives 200 of 300",
    ),
    (|s| s.peer.service = served(&[], &[], 200).map(|served| Served { recovering: true, ..served }), &[], ""),
    (|s| (s.service, s.peer.service) = (served(&[], &[], 300), served(&[], &[], 300)), &[], ""),
    (|s| (s.peer.state, s.peer.service) = (Health::Bad, served(&["net2"], &[], 200)), &[Code::Peer], ""),
    (
        |s| (s.channels[0].own_end, s.service) = (OwnEnd::NoAddress, served(&["net1"], &[], 200)),
        &[Code::Interface],
        "eth0 is without our own address",
    ),
    (|s| problem(s, ProblemKind::Command), &[Code::Command], "it is not there"),
    (|s| problem(s, ProblemKind::Host), &[Code::Host], "it is not there"),
    (|s| problem(s, ProblemKind::Kernel), &[Code::Kernel], "it is not there"),
    (
        |s| s.fence = vec![level(Some(true)), level(Some(false))],
        &[Code::Fence],
        "fence_ipmilan cannot be relied on 40.0 s ago",
    ),
    (|s| s.fence = vec![level(None), level(Some(true))], &[], ""),
    (
        |s| s.arbiter = arbiter(Some(false)),
        &[Code::Arbiter],
        "etcd http://192.0.2.7:2379, is not well for 3 min: no answer within 1s",
    ),
    (|s| s.arbiter = arbiter(None), &[], ""),
    (|s| s.arbiter = arbiter(Some(true)), &[], ""),
    (|s| s.watchdog = watchdog(true), &[], ""),
    (
        |s| s.watchdog = watchdog(false),
        &[Code::Watchdog],
        "/dev/watchdog was fed 7.0 s ago: it resets this host after 10.0 s; right would be every 2.5 s",
    ),
    (
        |s| {
            let why = Some("another program has it".to_owned());
            s.watchdog = watchdog(false).map(|one| Watchdog { timeout_ms: None, fed_ms: None, why, ..one });
        },
        &[Code::Watchdog],
        "/dev/watchdog cannot be had: another program has it",
    ),
    (|s| s.groups[0].exclusive = true, &[Code::Exclusive], "storage-a must not be held twice"),
    (|s| (s.groups[0].exclusive, s.fence) = (true, vec![level(None)]), &[], ""),
    (|s| (s.groups[0].exclusive, s.arbiter) = (true, arbiter(None)), &[], ""),
    (|s| (s.groups[0].exclusive, s.peer.release_within_ms) = (true, Some(5_000.0)), &[], ""),
    (|s| s.groups[1].owner = None, &[Code::GroupUnheld], "storage-b is held by nobody"),
    // With a peer that is dead, that is said of the peer.
    (|s| (s.peer.state, s.groups[1].owner) = (Health::Bad, None), &[Code::Peer], ""),
    (|s| (s.peer.state, s.groups[0].exclusive) = (Health::Bad, true), &[Code::Peer], ""),
    (|s| s.groups[0].held_twice = true, &[Code::GroupHeldTwice], "storage-a is held by both"),
    (|s| s.groups[0].kept = true, &[Code::GroupKept], "storage-a could not be let go of"),
    (
        |s| (s.groups[0].kept, s.groups[0].held) = (true, false),
        &[Code::GroupStuck],
        "storage-a could neither be had nor let go of",
    ),
    (|s| s.groups[0].silent = true, &[Code::GroupSilent], "keeps silent for storage-a"),
    (
        |s| (s.lateness.n, s.lateness.p99_us) = (1_000, 60_000.0),
        &[Code::Late],
        "late by 60 ms or more; right would be at most 50 ms",
    ),
    (|s| (s.lateness.n, s.lateness.p99_us) = (1_000, 50_000.0), &[], ""),
    (|s| (s.lateness.n, s.lateness.p99_us) = (999, 60_000.0), &[], ""),
    (
        |s| s.stall = Some(Stall { late_ms: 300.0, ago_ms: 60_000.0 }),
        &[Code::Late],
        "stood still for 300 ms, 60.0 s ago",
    ),
    (|s| s.stall = Some(Stall { late_ms: 299.0, ago_ms: 60_000.0 }), &[], ""),
    // What goes nowhere says nothing of a failover.
    (
        |s| {
            let (what, target) = (SinkKind::EventFile, "/full".into());
            s.sinks = vec![SinkStatus { what, target, works: false, lost: 9, failures: 9, why: None }];
        },
        &[],
        "",
    ),
];

/// With what `change` makes of a pair that is well, and whose groups' channels are known.
fn changed(change: fn(&mut Status)) -> Status {
    let mut status = sample(3);
    for (group, channel) in status.groups.iter_mut().zip(["net1", "net2"]) {
        group.channels = vec![channel.to_owned()];
    }
    change(&mut status);
    status.concluded()
}

#[test]
fn each_reason_alone_gives_exactly_its_code_and_names_the_thing() {
    for (i, (change, codes, words)) in CASES.iter().enumerate() {
        let Readiness { ready, reasons } = changed(*change).readiness;
        let found: Vec<_> = reasons.iter().map(|reason| reason.code).collect();
        assert_eq!(found, *codes, "case {i}: {reasons:#?}");
        assert_eq!(ready, codes.is_empty(), "case {i}");
        assert!(codes.is_empty() || reasons.iter().any(|reason| reason.text.contains(words)), "case {i}: {reasons:#?}");
        for reason in &reasons {
            assert!(!reason.thing.is_empty() && reason.text.len() > 10, "case {i}: {reason:?}");
        }
    }
}

#[test]
fn every_code_is_given_by_some_status_and_has_a_name_of_its_own() {
    let mut given: Vec<_> = CASES.iter().flat_map(|(_, codes, _)| codes.iter().copied()).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given, Code::ALL);
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).expect("a name"), code.name());
    }
}

#[test]
fn reasons_are_named_without_what_changes_with_time() {
    // An event follows where what stands in the way changes, not where it goes on.
    for (i, (change, ..)) in CASES.iter().enumerate() {
        let mut later = changed(*change);
        later.age_ms *= 1.01;
        later.channels.iter_mut().for_each(|channel| channel.last_heard_ms = channel.last_heard_ms.map(|ms| ms + 1e3));
        later.arbiter.iter_mut().for_each(|arbiter| arbiter.since_ms = Some(999_000.0));
        let things = |readiness: &Readiness| {
            readiness.reasons.iter().map(|reason| (reason.code, reason.thing.clone())).collect::<Vec<_>>()
        };
        let (before, after) = (changed(*change).readiness, later.concluded().readiness);
        assert_eq!(things(&before), things(&after), "case {i}");
    }
}

#[test]
fn the_peer_is_told_of_what_it_cannot_see_and_of_nothing_that_it_says_itself() {
    let fit = |change: fn(&mut Status)| changed(change).readiness.is_fit(Node::A);
    assert!(
        fit(|_| {})
            && fit(|s| s.peer.unfit = true)
            && fit(|s| s.maintenance = true)
            && fit(|s| s.peer.state = Health::Bad)
    );
    assert!(!fit(|s| problem(s, ProblemKind::Command)) && !fit(|s| s.fence = vec![level(Some(false))]));
    assert!(!fit(|s| s.arbiter = arbiter(Some(false))) && !fit(|s| s.watchdog = watchdog(false)));
    assert!(changed(|s| problem(s, ProblemKind::Host)).readiness.is_fit(Node::B), "that is the other one's");
}

#[test]
fn what_is_not_ready_is_to_be_mended_but_for_a_stall_that_is_over() {
    let word = |change: fn(&mut Status)| changed(change).answer.word();
    assert_eq!(word(|_| {}), "GOOD");
    assert_eq!(word(|s| problem(s, ProblemKind::Command)), "DEGRADED");
    assert_eq!(word(|s| s.stall = Some(Stall { late_ms: 900.0, ago_ms: 1.0 })), "GOOD");
}

#[test]
fn one_line_says_the_first_reason_and_how_many_more_there_are() {
    assert_eq!(changed(|_| {}).readiness.line(), "a failover would work now");
    let one = changed(|s| s.groups[1].owner = None).readiness.line();
    assert!(
        one.starts_with("a failover would not work now: storage-b is held by nobody") && !one.contains("more"),
        "{one}"
    );
    let two = changed(|s| (s.groups[1].owner, s.maintenance) = (None, true)).readiness.line();
    assert!(two.ends_with("and 1 more: heartbeat ready"), "{two}");
    assert!(Readiness::default().line().contains("is not known"));
}
