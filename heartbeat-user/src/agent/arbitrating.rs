//! The arbiter, as the control side asks it: one question after the other, and a look now and then while nobody needs it.

use super::{
    control::{Control, Job},
    shared::Command,
};
use crate::{
    arbiter::{Answered, Arbiter},
    config::Config,
    core::{Arbitrate, Arbitrated},
    disk::Busy,
    events::ControlEvent,
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
    said: Option<&'static str>,
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
}

impl Control<'_> {
    /// Answers come as jobs that end.
    pub(super) fn arbitrate(&mut self, number: u32, question: Arbitrate) {
        let Some(arbiter) = self.arbitrating.arbiter.clone() else {
            return self.command(Command::Arbitrated { number, outcome: Arbitrated::Unreachable });
        };
        self.jobs.spawn(async move { Job::Arbitrated(number, question, arbiter.ask(question).await) });
    }

    pub(super) fn arbitrated(&mut self, number: u32, question: Arbitrate, answered: Answered) {
        let Answered { outcome, why } = answered;
        let said = match (outcome, question) {
            (Arbitrated::Granted { .. }, Arbitrate::Release(_)) => "released",
            (Arbitrated::Granted { .. }, _) => "granted",
            (Arbitrated::Denied, _) => "denied",
            (Arbitrated::Unreachable, _) => "unreachable",
        };
        self.command(Command::Arbitrated { number, outcome });
        self.note_arbiter(outcome != Arbitrated::Unreachable, &why);
        if self.arbitrating.said.replace(said) != Some(said) {
            self.journal.control(&ControlEvent::ArbiterAnswered { said, why });
        }
    }

    /// Now and then it is looked whether it would answer: not in the night in which it is needed.
    pub(super) fn look_at_arbiter(&mut self) {
        let due = self.arbitrating.looked.is_none_or(|at| at.elapsed() >= LOOK);
        let Some(arbiter) = self.arbitrating.arbiter.clone().filter(|_| due && !self.arbitrating.looking) else {
            return;
        };
        self.arbitrating.looking = true;
        self.jobs.spawn(async move { Job::ArbiterLooked(arbiter.look().await) });
    }

    pub(super) fn arbiter_looked(&mut self, found: Result<String, String>) {
        (self.arbitrating.looking, self.arbitrating.looked) = (false, Some(Instant::now()));
        let well = found.is_ok();
        let before = self.arbitrating.well.replace(well);
        let (Ok(how) | Err(how)) = found;
        self.note_arbiter(well, &how);
        match before {
            Some(before) if before == well => log::debug!("the arbiter: {how}"),
            _ => self.journal.control(&ControlEvent::ArbiterChecked { well, how }),
        }
    }

    /// What is shown of it.
    fn note_arbiter(&self, well: bool, how: &str) {
        if let Some(arbiter) = &mut self.parts.facts.known().arbiter {
            arbiter.note(clock::monotonic(), well, how);
        }
    }
}
