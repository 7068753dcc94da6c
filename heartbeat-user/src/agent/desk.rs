//! What every job of the control side works with: whose agent it is, whom it tells, and where its tasks run.

use super::{
    messages::{Command, Job},
    options::RunOptions,
};
use crate::{api::Shown, events::Journal, system::bell::Bell};
use crossbeam_channel::Sender;
use std::sync::Arc;
use tokio::task::JoinSet;

/// See above.
pub(super) struct Desk<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) journal: Journal,
    /// What is shown.
    pub(super) facts: Arc<Shown>,
    /// To the pulse thread.
    commands: Sender<Command>,
    pulse_bell: Bell,
    /// What takes its time, and what follows from it.
    pub(super) jobs: JoinSet<Job>,
    /// Health checks and questions to the fence's devices, for ever.
    pub(super) watchers: JoinSet<()>,
}

impl<'a> Desk<'a> {
    /// Nothing runs yet. The pulse thread takes commands from `commands` when `pulse_bell` rings.
    pub(super) fn new(
        options: &'a RunOptions,
        journal: Journal,
        facts: Arc<Shown>,
        commands: Sender<Command>,
        pulse_bell: Bell,
    ) -> Self {
        Self { options, journal, facts, commands, pulse_bell, jobs: JoinSet::new(), watchers: JoinSet::new() }
    }

    /// To the pulse thread. One that has ended needs no command, and that it has is noticed.
    pub(super) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        self.pulse_bell.ring();
    }
}
