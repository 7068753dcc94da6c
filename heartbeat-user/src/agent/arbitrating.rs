//! The arbiter, as the control side asks it: one question after the other, and a look now and then while nobody needs it.

use super::{
    desk::Desk,
    messages::{Command, Job},
};
use crate::{
    arbiter::{Arbiter, ArbiterAnswer},
    config::Config,
    core::{Arbitrate, Arbitrated},
    disk::Busy,
    events::{ArbiterSaid, ControlEvent},
    system::clock,
    types::Node,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often it is looked whether the arbiter would answer.
const LOOK: Duration = Duration::from_secs(60);

/// The arbiter, and what was told of it.
pub(super) struct Arbitrating {
    arbiter: Option<Arc<Arbiter>>,
    /// When it was looked at, unless that has not ended.
    looked: Option<Instant>,
    looking: bool,
    /// Whether the last look found it well.
    well: Option<bool>,
    /// What it answered last, without times.
    said: Option<ArbiterSaid>,
}

impl Arbitrating {
    /// Nothing asked yet.
    pub(super) fn new(config: &Config, node: Node) -> Self {
        let arbiter = Arbiter::new(config, node).map(Arc::new);
        Self { arbiter, looked: None, looking: false, well: None, said: None }
    }

    /// Tells for how long a read or write has not returned, where it is a disk.
    pub(super) fn busy(&self) -> Option<&Busy> {
        self.arbiter.as_ref()?.busy()
    }

    /// Answers come as jobs that end.
    pub(super) fn ask(&self, desk: &mut Desk<'_>, number: u32, question: Arbitrate) {
        let Some(arbiter) = self.arbiter.clone() else {
            return desk.command(Command::Arbitrated { number, outcome: Arbitrated::Unreachable });
        };
        desk.jobs.spawn(async move { Job::Arbitrated(number, question, arbiter.ask(question).await) });
    }

    /// What it answered.
    pub(super) fn answered(&mut self, desk: &Desk<'_>, number: u32, question: Arbitrate, answered: ArbiterAnswer) {
        let ArbiterAnswer { outcome, why } = answered;
        let said = match (outcome, question) {
            (Arbitrated::Granted { .. }, Arbitrate::Release(_)) => ArbiterSaid::Released,
            (Arbitrated::Granted { .. }, _) => ArbiterSaid::Granted,
            (Arbitrated::Denied, _) => ArbiterSaid::Denied,
            (Arbitrated::Unreachable, _) => ArbiterSaid::Unreachable,
        };
        desk.command(Command::Arbitrated { number, outcome });
        note(desk, outcome != Arbitrated::Unreachable, &why);
        if self.said.replace(said) != Some(said) {
            desk.journal.control(&ControlEvent::ArbiterAnswered { said, why });
        }
    }

    /// Now and then it is looked whether it would answer: not in the night in which it is needed.
    pub(super) fn look(&mut self, desk: &mut Desk<'_>) {
        let due = self.looked.is_none_or(|at| at.elapsed() >= LOOK);
        let Some(arbiter) = self.arbiter.clone().filter(|_| due && !self.looking) else {
            return;
        };
        self.looking = true;
        desk.jobs.spawn(async move { Job::ArbiterLooked(arbiter.look().await) });
    }

    /// What that found.
    pub(super) fn looked(&mut self, desk: &Desk<'_>, found: Result<String, String>) {
        (self.looking, self.looked) = (false, Some(Instant::now()));
        let well = found.is_ok();
        let before = self.well.replace(well);
        let (Ok(how) | Err(how)) = found;
        note(desk, well, &how);
        match before {
            Some(before) if before == well => log::debug!("the arbiter: {how}"),
            _ => desk.journal.control(&ControlEvent::ArbiterChecked { well, how }),
        }
    }
}

/// What is shown of it.
fn note(desk: &Desk<'_>, well: bool, how: &str) {
    if let Some(arbiter) = &mut desk.facts.known().arbiter {
        arbiter.note(clock::monotonic(), well, how);
    }
}
