//! What the control side looks after, every second: that the runtime directory is as it should be, that what could not be
//! attached to or removed is tried again, and that the record of this life says where its addresses are.

use super::{api, control::Control, let_go};
use crate::{
    api::{Problem, ProblemKind, server::Server},
    command::signals,
    config::Config,
    dataplane::Mended,
    events::ControlEvent,
    types::Node,
};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is tried to attach to what could not be attached to as configured.
const ATTACH_AGAIN: Duration = Duration::from_secs(5);
/// That somebody removes something again and again is said no oftener.
const RESTORED_AGAIN: Duration = Duration::from_secs(30);

/// When what was done last.
pub(super) struct Upkeep {
    looked: Instant,
    attached: Instant,
    /// That the folder cannot be made good again was said.
    folder_said: bool,
    /// What keeps the kernel from keeping silent was said.
    silence_said: Vec<String>,
    /// What was put back in the kernel and is not said yet.
    restored: BTreeSet<String>,
    /// When such a thing was said last.
    restored_said: Option<Instant>,
}

impl Upkeep {
    /// That begins now.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            looked: now,
            attached: now,
            folder_said: false,
            silence_said: Vec::new(),
            restored: BTreeSet::new(),
            restored_said: None,
        }
    }

    /// What keeps the kernel from keeping silent, on interfaces with service addresses: what leaves by others for want of a better way
    /// is said once, and keeps no failover from working.
    pub(super) fn silence_problems(&self, config: &Config, node: Node) -> Vec<Problem> {
        let ends = config.groups.iter().flat_map(|group| &group.addresses);
        let ends = ends.filter_map(|address| config.channels[address.channel.usize()].end(node));
        let serve: BTreeSet<_> = ends.map(|end| format!("interface {}", end.interface)).collect();
        let problem = |what: &String| Problem {
            kind: ProblemKind::Kernel,
            thing: what.split(':').next().unwrap_or_default().to_owned(),
            text: what.clone(),
        };
        let matters = |problem: &Problem| !problem.thing.starts_with("interface ") || serve.contains(&problem.thing);
        self.silence_said.iter().map(problem).filter(matters).collect()
    }
}

impl Control<'_> {
    pub(super) fn look_after(&mut self) {
        if self.ending || self.upkeep.looked.elapsed() < LOOK {
            return;
        }
        self.upkeep.looked = Instant::now();
        if !self.parts.folder.is_intact(&self.parts.claim) {
            match self.restore_folder() {
                Ok(()) => {
                    self.upkeep.folder_said = false;
                    let path = self.parts.folder.path().display().to_string();
                    self.journal.control(&ControlEvent::RuntimeDirRestored { path });
                }
                Err(error) if std::mem::replace(&mut self.upkeep.folder_said, true) => log::debug!("{error:#}"),
                Err(error) => log::error!(
                    "what belongs in the runtime directory is not there, and cannot be put there: {error:#}"
                ),
            }
        }
        if !self.parts.life.left.is_empty() {
            let gone = let_go::remove(&self.parts.life.left);
            for address in gone.removed {
                self.journal.control(&ControlEvent::AddressForgotten { address });
            }
            if gone.stays.len() < self.parts.life.left.len() {
                self.parts.life.left = gone.stays.into_iter().map(|(address, _)| address).collect();
                self.note_life();
            }
        }
        self.keep_silence();
        self.look_at_readiness();
        if self.unattached != 0 && self.upkeep.attached.elapsed() >= ATTACH_AGAIN {
            self.upkeep.attached = Instant::now();
            self.attach_pending |= self.unattached;
        }
    }

    /// The programs are where they should be, also on what was made anew, and so are their pins.
    pub(super) fn keep_silence(&mut self) {
        let Some(kernel) = &mut self.parts.kernel else { return };
        let interfaces = self.parts.silent_on.iter().map(String::as_str).collect();
        let Mended { restored, troubles, detached } = kernel.keep_silent_on(&interfaces);
        let said = std::mem::replace(&mut self.upkeep.silence_said, troubles);
        for what in self.upkeep.silence_said.iter().filter(|what| !said.contains(what)) {
            self.journal.control(&ControlEvent::HostProblem { what: what.clone() });
        }
        for (interface, channels) in detached {
            self.tell_detached(&interface);
            self.attach_pending |= channels;
        }
        self.upkeep.restored.extend(restored);
        if !self.upkeep.restored.is_empty()
            && self.upkeep.restored_said.is_none_or(|said| said.elapsed() >= RESTORED_AGAIN)
        {
            self.upkeep.restored_said = Some(Instant::now());
            let what: Vec<_> = std::mem::take(&mut self.upkeep.restored).into_iter().collect();
            self.journal.control(&ControlEvent::KernelRestored { what: what.join(", ") });
        }
    }

    /// The folder was emptied, or replaced by another: nobody else may have it, and whoever asks finds us there again.
    fn restore_folder(&mut self) -> Result<()> {
        self.parts.folder.claim_again(&mut self.parts.claim)?;
        if self.parts.facts.view().is_some_and(|view| view.maintenance[0]) {
            self.parts.folder.note_maintenance(true)?;
        }
        self.parts.life.write(&self.parts.folder)?;
        // The one before ends first: what it listens on beside the socket is to be had once.
        self.api = None;
        signals::hold();
        let served = self.serve_api();
        signals::take();
        served
    }

    /// Begins to serve the API.
    pub(super) fn serve_api(&mut self) -> Result<()> {
        let listeners = api::listeners(self.options, &self.parts.folder)?;
        self.api = Some(Server::start(Arc::clone(&self.parts.facts), listeners, self.ordered.clone())?);
        Ok(())
    }

    pub(super) fn note_life(&self) {
        if let Err(error) = self.parts.life.write(&self.parts.folder) {
            log::warn!("{error:#}: the next life will not know all that this one held");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    #[test]
    fn a_kernel_that_cannot_keep_silent_is_a_problem_where_service_addresses_are() {
        let config = Config::parse(EXAMPLE, "example.toml").unwrap();
        let mut upkeep = Upkeep::new();
        for what in
            ["interface eth0: its kernel cannot", "interface eth9: its kernel cannot", "the kernel will not notice: no"]
        {
            upkeep.silence_said.push(what.to_owned());
        }
        let problems = upkeep.silence_problems(&config, Node::A);
        let things: Vec<_> = problems.iter().map(|problem| problem.thing.as_str()).collect();
        assert_eq!(things, ["interface eth0", "the kernel will not notice"], "eth9 is the direct cable's");
    }
}
