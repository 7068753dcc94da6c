//! Where events go beside the API: standard output, a file, the host's own log, a command; and latencies, to a log of theirs.
//!
//! One thread, `records`, has it all; whoever tells something only ever tries to leave it there. What may block (a disk, a
//! pipe that nobody reads, a journal that hangs) blocks a helper of that thread for this one sink, and none of the others.
//! Each sink goes on from where it is in the last [`RING`] records, so a fault that passes in time loses nothing.

mod carry_over;
mod health;
mod hook;
mod latency_log;
mod read_back;
mod rotated_file;
mod sink;
mod system_log;
mod thread;

pub use health::{SinkKind, SinkStatus};

use super::{
    feed::{Feed, RING},
    item::Item,
    output::Output,
};
use crate::{
    config::{Config, OnEvent, SystemLog},
    types::{Nanos, Node},
};
use anyhow::{Context, Result};
use health::{SinkHealth, SinkStates, lock};
use hook::Damping;
use rotated_file::RotatedFile;
use sink::{EventFile, Journald, MonitoredSink, Stdout, Syslog};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};
use thread::{Measure, STOP, SinkOrder};
use tokio::sync::mpsc;

/// As [`STOP`], where a new life follows at once, which gets what is left: nobody says meanwhile that we are alive, so no
/// longer than an interval either.
const RESTART: Nanos = Nanos::from_millis(10);
/// So long the start may wait for the last id of an earlier life.
const LAST_ID: Duration = Duration::from_millis(100);
/// Helper threads: one a sink, and one to spare.
const HELPERS: usize = 8;
/// What a helper's stack may use.
const STACK: usize = 256 * 1024;

/// All sinks, by their thread, for whoever tells something.
#[derive(Clone)]
pub struct Sinks {
    items: mpsc::Sender<Item>,
    orders: mpsc::UnboundedSender<SinkOrder>,
    state: Arc<SinkStates>,
    damping: Arc<Mutex<Damping>>,
    feed: Arc<Feed>,
    left: PathBuf,
    restart: Duration,
    ended: Arc<Mutex<Option<Receiver<()>>>>,
}

impl Sinks {
    /// Starts the thread, and takes over what the life before left in the file `left`, where this one leaves it, too.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub fn start(config: &Config, node: Node, left: &Path, output: Output, feed: &Arc<Feed>) -> Result<Self> {
        let (items, items_in) = mpsc::channel(RING);
        let (orders, orders_in) = mpsc::unbounded_channel();
        let (ending, ended) = sync_channel(1);
        let (last_id, last_id_in) = sync_channel(1);
        let left_path = left.to_owned();
        let left = carry_over::take(&left_path);
        let damping = Arc::new(Mutex::new(left.damping));
        let monitored = monitored(config, output);
        let hook = config.events.on_event.clone().map(|hook| {
            let peer = config.hostnames[usize::from(node.other().wire())].clone().unwrap_or_default();
            (hook, peer, SinkHealth::new(SinkKind::OnEvent, hook_target(config.events.on_event.as_ref())))
        });
        let log = config.histograms.log.clone().map(|to| {
            let health = SinkHealth::new(SinkKind::HistogramLog, to.path.display().to_string());
            (RotatedFile::new(to, Some(latency_log::header)), health, Duration::from_nanos(config.histograms.every.0))
        });
        let health = monitored.iter().map(|sink| &sink.health).chain(hook.as_ref().map(|hook| &hook.2));
        let health = health.chain(log.as_ref().map(|log| &log.1)).cloned().collect();
        let state = Arc::new(SinkStates::new(health));
        let sinks = Self {
            items,
            orders,
            state: Arc::clone(&state),
            damping: Arc::clone(&damping),
            feed: Arc::clone(feed),
            left: left_path,
            restart: Duration::from_nanos(RESTART.min(config.timing.interval).0),
            ended: Arc::new(Mutex::new(Some(ended))),
        };
        let has_file = config.events.file.is_some();
        let work = thread::Work {
            items: items_in,
            orders: orders_in,
            state,
            sinks: monitored,
            hook,
            log,
            damping,
            feed: Arc::clone(feed),
            left: left.records,
            done: left.done,
            last_id,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(HELPERS)
            .thread_stack_size(STACK)
            .thread_name("records-helper")
            .build()
            .context("a runtime for records")?;
        let thread = std::thread::Builder::new().name("records".into());
        thread.spawn(move || {
            runtime.block_on(work.run());
            let _ = ending.send(());
            // Whoever still hangs is left behind.
            runtime.shutdown_background();
        })?;
        if has_file && let Ok(Some(id)) = last_id_in.recv_timeout(LAST_ID) {
            feed.go_on_after(id);
        }
        Ok(sinks)
    }

    /// An event; never waits. Gives it back once the thread has ended.
    pub(super) fn tell(&self, item: Item) -> Result<(), Item> {
        match self.items.try_send(item) {
            Ok(()) => {
                self.state.told.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.state.lost.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(item)) => Err(item),
        }
    }

    /// Logs the latencies that `measure` takes, from now on. `adopted`: the kernel counted for an earlier life, too.
    pub fn measure(&self, measure: Measure, adopted: bool) {
        let _ = self.orders.send(SinkOrder::Measure(measure, adopted));
    }

    /// A restart is near: no command is begun any more.
    pub fn hold(&self) {
        let _ = self.orders.send(SinkOrder::Hold);
    }

    /// It is not, after all.
    pub fn go_on(&self) {
        let _ = self.orders.send(SinkOrder::GoOn);
    }

    /// Whether no command runs since [`hold`](Self::hold) was called, so that a new life can begin.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.held.load(Relaxed)
    }

    /// Whether everything is where it belongs, as far as that works.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// Events and log records for which there was no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Relaxed)
    }

    /// Where everything goes, and whether that works.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        self.state.status()
    }

    /// Ends the thread, within a bounded time. `restart`: what is not where it belongs is left for the next life.
    pub fn end(&self, restart: bool) {
        let Some(ended) = lock(&self.ended).take() else { return };
        let _ = self.orders.send(SinkOrder::End(restart));
        let _ = ended.recv_timeout(if restart { self.restart } else { STOP + STOP / 4 });
        if restart {
            carry_over::leave(&self.left, &self.state, &lock(&self.damping), &self.feed);
        }
    }
}

fn hook_target(hook: Option<&OnEvent>) -> String {
    hook.map_or(String::new(), |hook| hook.command.join(" "))
}

fn monitored(config: &Config, output: Output) -> Vec<MonitoredSink> {
    let on_journal = system_log::stdout_is_the_journal();
    let system_log = match config.events.system_log {
        SystemLog::Auto if on_journal => SystemLog::Journal,
        SystemLog::Auto => SystemLog::None,
        other => other,
    };
    let mut sinks = Vec::new();
    let stdout = || Stdout::new(output).map_err(|error| log::error!("standard output: {error}")).ok();
    match (system_log, on_journal) {
        // Its lines would be there a second time.
        (SystemLog::Journal, true) => {
            sinks.push(MonitoredSink::new(SinkKind::SystemLog, "journal", Journald(stdout())))
        }
        (log, _) => {
            sinks.extend(stdout().map(|out| MonitoredSink::new(SinkKind::StandardOutput, out.target(), out)));
            match log {
                SystemLog::Journal => sinks.push(MonitoredSink::new(SinkKind::SystemLog, "journal", Journald(None))),
                SystemLog::Syslog => sinks.push(MonitoredSink::new(SinkKind::SystemLog, "syslog", Syslog::default())),
                SystemLog::Auto | SystemLog::None => {}
            }
        }
    }
    sinks.extend(
        config.events.file.as_ref().map(|to| {
            MonitoredSink::new(SinkKind::EventFile, to.path.display().to_string(), EventFile::new(to.clone()))
        }),
    );
    sinks
}
