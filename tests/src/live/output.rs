//! Where the live view goes: a terminal on which it is redrawn in place, or any other output, which gets what happens as lines.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::termios::tcgetwinsize;

use super::event::Event;
use super::view::Picture;

/// How often a terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(500);
/// How often there may be a line to be written.
const LOOK: Duration = Duration::from_millis(100);

/// One of both.
pub(super) enum Output {
    Screen,
    Lines,
}

impl Output {
    /// A screen where standard output is a terminal that has any room and moves its cursor.
    pub(super) fn new() -> Self {
        let has_room = || tcgetwinsize(stdout()).is_ok_and(|size| size.ws_col > 0 && size.ws_row > 0);
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        if stdout().is_terminal() && has_room() && !is_dumb {
            // The alternate screen, without a cursor.
            print!("\x1b[?1049h\x1b[?25l");
            Self::Screen
        } else {
            Self::Lines
        }
    }

    /// From one look at the lab to the next.
    pub(super) fn pace(&self) -> Duration {
        match self {
            Self::Screen => REDRAW,
            Self::Lines => LOOK,
        }
    }

    /// Writes what is new, or draws the picture; `footer` ends it.
    pub(super) fn show(
        &self,
        picture: impl FnOnce() -> Picture,
        footer: &str,
        events: &VecDeque<Event>,
        fresh: usize,
    ) -> Result<()> {
        let mut out = stdout().lock();
        match self {
            Self::Screen => {
                let size = tcgetwinsize(stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
                let text = picture().screen(events, footer, size).replace('\n', "\x1b[K\r\n");
                write!(out, "\x1b[H{text}\x1b[J").context("cannot draw")?;
            }
            Self::Lines => {
                for event in events.iter().skip(events.len().saturating_sub(fresh)) {
                    writeln!(out, "{}", event.line()).context("cannot write")?;
                }
            }
        }
        out.flush().context("cannot write")
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if matches!(self, Self::Screen) {
            print!("\x1b[?25h\x1b[?1049l");
            let _best_effort = stdout().flush();
        }
    }
}
