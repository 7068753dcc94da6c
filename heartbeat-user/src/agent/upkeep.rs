//! What the control side looks after, every second: here, that the runtime directory is as it should be.

use super::{desk::Desk, serving::Serving, tenancy::Tenancy};
use crate::events::ControlEvent;
use anyhow::Result;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// When what was done last.
pub(super) struct Upkeep {
    looked: Instant,
    /// That the folder cannot be made good again was said.
    folder_said: bool,
}

impl Upkeep {
    /// That begins now.
    pub(super) fn new() -> Self {
        Self { looked: Instant::now(), folder_said: false }
    }

    /// Whether it is time to look; then it is looked.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Makes the folder good again where it is not.
    pub(super) fn keep_folder(&mut self, desk: &Desk<'_>, tenancy: &mut Tenancy<'_>, serving: &mut Serving) {
        tenancy.turn_away();
        if tenancy.is_intact() {
            return;
        }
        match restore(desk, tenancy, serving) {
            Ok(()) => {
                self.folder_said = false;
                let path = tenancy.folder.path().display().to_string();
                desk.journal.control(&ControlEvent::RuntimeDirRestored { path });
            }
            Err(error) if std::mem::replace(&mut self.folder_said, true) => log::debug!("{error:#}"),
            Err(error) => {
                log::error!("what belongs in the runtime directory is not there, and cannot be put there: {error:#}")
            }
        }
    }
}

/// Nobody else may have the folder, and whoever asks finds us there again.
fn restore(desk: &Desk<'_>, tenancy: &mut Tenancy<'_>, serving: &mut Serving) -> Result<()> {
    tenancy.restore(desk.facts.view().maintenance.own)?;
    serving.begin_again(desk, &tenancy.folder)
}
