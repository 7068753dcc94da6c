//! Whether a failover would work now, looked at each second by the control side: what of this host speaks against it is found
//! out, that it changed is told, and the peer is told of what it cannot see.

use super::{
    desk::Desk,
    messages::{Command, Job},
    watchdog::tell_systemd,
};
use crate::{
    api::{Answer, GroupClaim, Known, Problem, Readiness, Status},
    config::check_host,
    core::{Event, Safe},
    events::{ControlEvent, Obstacle},
    types::{Nanos, Node},
};
use libsystemd::daemon::NotifyState;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often it is looked whether this host is as the configuration has it.
const HOST: Duration = Duration::from_secs(5);

/// What was found and told.
pub(super) struct Told {
    /// When the host was looked at, or began to be.
    looked: Option<Instant>,
    /// That has not ended: a file system may hang.
    looking: bool,
    /// The peer was heard in this life: only what follows counts as a stall.
    heard: bool,
    /// What the peer was told of this host.
    fit: bool,
    /// What the service manager was told of the pair.
    word: Option<Answer>,
    changes: Changes,
}

impl Told {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            looked: Some(Instant::now()),
            looking: false,
            heard: false,
            fit: true,
            word: None,
            changes: Changes::default(),
        }
    }

    /// Each second.
    pub(super) fn look(&mut self, desk: &mut Desk<'_>) {
        let view = desk.facts.view();
        let Status { answer, verdict, readiness, .. } = Status::known(&desk.facts, &view);
        // Where that changes only: the socket may have no room, and with how long something has lasted the line is another each second.
        if self.word != Some(answer) {
            self.word = Some(answer);
            tell_systemd(&[NotifyState::Status(format!("{}: {verdict}", answer.word()))]);
        }
        let fit = readiness.is_fit(desk.options.node);
        if std::mem::replace(&mut self.fit, fit) != fit {
            desk.command(Command::Fitness(fit));
        }
        if let Some(event) = self.changes.take(readiness) {
            desk.journal.control(&event);
        }
        self.look_at_host(desk);
    }

    /// Where it may take its time.
    fn look_at_host(&mut self, desk: &mut Desk<'_>) {
        if self.looking || self.looked.is_some_and(|at| at.elapsed() < HOST) {
            return;
        }
        (self.looking, self.looked) = (true, Some(Instant::now()));
        let facts = Arc::clone(&desk.facts);
        desk.jobs.spawn_blocking(move || {
            let problems = check_host(&facts.config, facts.node);
            Job::HostLooked(problems.iter().map(Problem::from).collect())
        });
    }

    /// What that found; `more` is what the control side knows besides.
    pub(super) fn host_looked(&mut self, desk: &Desk<'_>, mut problems: Vec<Problem>, more: Vec<Problem>) {
        self.looking = false;
        problems.extend(more);
        desk.facts.known().problems = problems;
    }

    /// What an event of the core says beyond what the judgement shows.
    pub(super) fn note(&mut self, desk: &Desk<'_>, time_ns: u64, at: Nanos, event: &Event) {
        match event {
            Event::PeerGood => self.heard = true,
            // What was said of it there is over at once.
            Event::InterfaceBack { .. } => self.looked = None,
            Event::Stalled { late_ns } if self.heard => desk.facts.known().stalls.note(at, *late_ns),
            event => note_claim(&mut desk.facts.known(), time_ns, event),
        }
    }
}

/// What stands in the way: it is told once two looks have seen the same.
#[derive(Default)]
struct Changes {
    seen: Vec<Key>,
    told: Vec<Key>,
}

type Key = (&'static str, Option<Node>, String);

impl Changes {
    fn take(&mut self, now: Readiness) -> Option<ControlEvent> {
        let key = |obstacle: &Obstacle| (obstacle.code.name(), obstacle.controller, obstacle.thing.clone());
        let seen: Vec<_> = now.reasons.iter().map(key).collect();
        let stands = seen == self.seen;
        self.seen.clone_from(&seen);
        if !stands || seen == self.told {
            return None;
        }
        self.told = seen;
        let reasons = now.reasons;
        Some(if reasons.is_empty() { ControlEvent::ReadyAgain } else { ControlEvent::NotReady { reasons } })
    }
}

/// How a group came to be ours.
fn note_claim(known: &mut Known, time_ns: u64, event: &Event) {
    let (group, claim) = match *event {
        Event::GroupAcquiring { group, reason, safe, .. } => {
            let fenced = known.fence.fenced.as_ref().filter(|_| safe == Some(Safe::Fenced));
            let fenced_by = fenced.map(|(by, _)| by.clone());
            (group, Some(GroupClaim { reason, safe, fenced_by, time_ns }))
        }
        Event::GroupReleasing { group, .. } | Event::GroupReleased { group } => (group, None),
        _ => return,
    };
    if let Some(to) = known.claims.get_mut(group.usize()) {
        *to = claim;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::Reason, events::Code, system::clock, types::GroupIndex};

    fn found(things: &[&str]) -> Readiness {
        let obstacle = |thing: &&str| Obstacle {
            code: Code::ChannelDown,
            controller: None,
            thing: (*thing).to_owned(),
            text: format!("{thing} is BAD for {} ms", clock::monotonic().0),
        };
        Readiness::new(things.iter().map(obstacle).collect())
    }

    fn told(changes: &mut Changes, things: &[&str]) -> Option<usize> {
        changes.take(found(things)).map(|event| match event {
            ControlEvent::NotReady { reasons } => reasons.len(),
            ControlEvent::ReadyAgain => 0,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_two_looks_see_is_told_once_and_its_end_too() {
        let mut changes = Changes::default();
        let seen: &[&[&str]] = &[
            &[],
            &["net1"],
            &[],
            &["net1"],
            &["net1"],
            &["net1"],
            &["net1", "net2"],
            &["net1", "net2"],
            &[],
            &[],
            &[],
        ];
        let said: Vec<_> = seen.iter().map(|things| told(&mut changes, things)).collect();
        let none = None;
        assert_eq!(said, [none, none, none, none, Some(1), none, none, Some(2), none, Some(0), none]);
    }

    #[test]
    fn a_claim_is_known_with_what_made_it_safe_until_the_group_is_let_go_of() {
        let mut known = Known { claims: vec![None; 2], ..Known::default() };
        known.fence.fenced = Some(("fence_dummy".to_owned(), Nanos(1)));
        let group = GroupIndex(1);
        let acquiring = |safe| Event::GroupAcquiring { group, reason: Reason::PeerDead, term: 2, safe };
        note_claim(&mut known, 5, &acquiring(Some(Safe::Fenced)));
        let claim = known.claims[1].clone().unwrap();
        assert_eq!((claim.fenced_by.as_deref(), claim.time_ns), (Some("fence_dummy"), 5));
        note_claim(&mut known, 6, &acquiring(Some(Safe::Granted)));
        assert_eq!(known.claims[1].clone().unwrap().fenced_by, None);
        note_claim(&mut known, 7, &Event::GroupReleasing { group, reason: Reason::HandedOver });
        assert_eq!(known.claims, [None, None]);
    }
}
