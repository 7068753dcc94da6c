//! This life in the runtime directory: that the folder is ours, and what is on record in it of what we hold.

use super::{
    let_go,
    life::Life,
    runs::{self, Runs},
    runtime_dir::{Claim, RuntimeDir},
};
use crate::events::{ControlEvent, Journal};
use anyhow::Result;

/// See above.
pub(super) struct Tenancy<'a> {
    pub(super) folder: RuntimeDir,
    /// Held for as long as the agent runs.
    claim: &'a mut Claim,
    life: Life,
    /// Its hooks that run, and what was left of those of lives before.
    pub(super) runs: Runs,
}

impl<'a> Tenancy<'a> {
    /// Of this life, whose record is in the folder.
    pub(super) const fn new(folder: RuntimeDir, claim: &'a mut Claim, life: Life, runs: Runs) -> Self {
        Self { folder, claim, life, runs }
    }

    /// Nobody who asked whose it is waits for an answer.
    pub(super) fn turn_away(&self) {
        self.claim.turn_away();
    }

    /// Whether what belongs in the folder is there.
    pub(super) fn is_intact(&self) -> bool {
        self.folder.is_intact(self.claim)
    }

    /// The folder was emptied, or replaced by another: nobody else may have it.
    ///
    /// # Errors
    /// Somebody else has it, or what the system says.
    pub(super) fn restore(&mut self, maintenance: bool) -> Result<()> {
        self.folder.claim_again(self.claim)?;
        if maintenance {
            self.folder.note_maintenance(true)?;
        }
        self.runs.write()?;
        self.life.write(&self.folder)
    }

    /// An operator wants nothing to move, or no longer so.
    pub(super) fn note_maintenance(&self, on: bool) {
        if let Err(error) = self.folder.note_maintenance(on) {
            let path = self.folder.maintenance().display().to_string();
            log::warn!("{path}: {error}: the next life of the agent will not know of the maintenance");
        }
    }

    /// An interface has this index now, perhaps another one than before.
    pub(super) fn see(&mut self, interface: &str, index: u32) {
        if self.life.see(interface, index) {
            self.note();
        }
    }

    /// What could not be removed of what earlier lives left is tried again.
    pub(super) fn remove_left(&mut self, journal: &Journal) {
        if self.life.left.is_empty() {
            return;
        }
        let gone = let_go::remove(&self.life.left);
        for address in gone.removed {
            journal.control(&ControlEvent::AddressForgotten { address });
        }
        if gone.stays.len() < self.life.left.len() {
            self.life.left = gone.stays.into_iter().map(|(address, _)| address).collect();
            self.note();
        }
    }

    fn note(&self) {
        if let Err(error) = self.life.write(&self.folder) {
            log::warn!("{error:#}: the next life will not know all that this one held");
        }
    }

    /// The end, after which `kept` of the groups are still held, a bit each: what is here by name, those and addresses of none.
    pub(super) fn keep_only(&mut self, kept: u64) -> Vec<String> {
        self.life.keep_only(kept);
        let addresses = self.life.left.iter().map(|address| address.ip.to_string());
        self.life.groups.iter().map(|group| group.name.clone()).chain(addresses).collect()
    }

    /// The record of what is still held, for whoever comes next; none where that is `nothing`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn leave(&self, nothing: bool) -> Result<()> {
        if nothing {
            Life::forget(&self.folder);
            runs::forget(&self.folder);
            return Ok(());
        }
        self.life.write(&self.folder)
    }
}
