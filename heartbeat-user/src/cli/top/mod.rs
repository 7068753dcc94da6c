//! `heartbeat top`: the pair, live. It only looks: it gives no orders.

mod detail;
mod draw;
mod look;
mod model;
mod series;
mod source;

use super::paint::ColorArgs;
use anyhow::{Context as _, Result, bail};
use crossterm::event::{self, Event, KeyEventKind};
use model::{Model, News};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use ratatui::DefaultTerminal;
use std::{
    io::{IsTerminal as _, stdin, stdout},
    path::PathBuf,
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

/// Watch the pair live: channels with their latencies, groups, events
///
/// It needs a terminal and gives no orders. Keys: q ends it, ? shows the others.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    #[command(flatten)]
    color: ColorArgs,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// How long a signal, or news, may wait for the screen.
const TURN: Duration = Duration::from_millis(100);
/// Ages on the screen go on where nothing happens.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows it until somebody has seen enough.
///
/// # Errors
/// There is no terminal, or it fails.
pub fn run(args: &TopArgs) -> Result<()> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        bail!(
            "top needs a terminal on standard input and output; for a file or a pipe: `heartbeat status`, `heartbeat events --follow`"
        );
    }
    let paint = args.color.stdout();
    crossterm::style::force_color_output(paint.is_on());
    // Before there are other threads: none of them takes these signals in passing.
    let mut ends = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| ends.add(signal));
    ends.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let begin = Instant::now();
    let news = source::start(&args.runtime_dir, begin)?;
    let mut terminal = ratatui::try_init().context("cannot set up the terminal")?;
    let ended = watch(&mut terminal, &mut Model::new(paint), &news, &signals, begin);
    ratatui::try_restore().context("cannot restore the terminal")?;
    ended
}

fn watch(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    news: &Receiver<News>,
    signals: &SignalFd,
    begin: Instant,
) -> Result<()> {
    let mut drawn: Option<Instant> = None;
    loop {
        let mut changed = drawn.is_none_or(|at| at.elapsed() >= REDRAW);
        // So many at most between two pictures.
        for _ in 0..4096 {
            match news.try_recv() {
                Ok(news) => model.learn(news, begin.elapsed()),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("what asks the agent has ended"),
            }
            changed = true;
        }
        if changed {
            terminal.draw(|frame| draw::draw(model, begin.elapsed(), frame.area(), frame.buffer_mut()))?;
            drawn = Some(Instant::now());
        }
        if event::poll(TURN).context("the terminal is gone")? {
            match event::read().context("the terminal is gone")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => model.press(key),
                _ => {}
            }
            // Whatever it was, it shows at once.
            drawn = None;
        }
        if model.ended() || signals.read_signal()?.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
