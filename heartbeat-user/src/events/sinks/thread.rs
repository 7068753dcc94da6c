//! The work of the thread `records`: one task for each sink, which goes through the backlog at its own pace.

use super::{
    health::{SinkHealth, SinkStates, lock},
    hook::{Damping, Run},
    latency_log::Intervals,
    read_back,
    rotated_file::RotatedFile,
    sink::{MonitoredSink, Sink},
};
use crate::{
    command::{self, Task},
    config::OnEvent,
    events::{
        Record,
        feed::{Entry, Feed, RING},
        item::Item,
    },
    latency::Snapshot,
    system::clock,
    types::Nanos,
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed, mpsc::SyncSender},
    time::{Duration, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until, timeout},
};

/// So long a stop may wait until everything is where it belongs.
pub const STOP: Duration = Duration::from_secs(2);
/// Records that a sink takes at once.
const BATCH: usize = 64;
/// A sink that failed is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes the latencies of now.
pub type Measure = Box<dyn Fn() -> Vec<Snapshot> + Send>;

/// What the thread is to do.
pub enum SinkOrder {
    /// Log the latencies from now on. Whether the kernel counted for an earlier life, too.
    Measure(Measure, bool),
    /// A restart is near: begin nothing that takes its time.
    Hold,
    /// The opposite.
    GoOn,
    /// Bring everything to where it belongs, and end; whether a new life follows.
    End(bool),
}

/// Everything that the thread begins with.
pub struct Work {
    pub items: mpsc::Receiver<Item>,
    pub orders: mpsc::UnboundedReceiver<SinkOrder>,
    pub state: Arc<SinkStates>,
    pub sinks: Vec<MonitoredSink>,
    pub hook: Option<(OnEvent, String, Arc<SinkHealth>)>,
    pub log: Option<(RotatedFile, Arc<SinkHealth>, Duration)>,
    pub damping: Arc<Mutex<Damping>>,
    pub feed: Arc<Feed>,
    /// What the life before left, and how far it was.
    pub left: Vec<Record>,
    pub done: BTreeMap<String, u64>,
    /// Takes the last id in the event file.
    pub last_id: SyncSender<Option<u64>>,
}

/// The newest records; older ones are forgotten.
#[derive(Default)]
struct Backlog {
    first: u64,
    items: VecDeque<Item>,
}

impl Backlog {
    fn push(&mut self, item: Item) {
        if self.items.len() == RING {
            self.items.pop_front();
            self.first += 1;
        }
        self.items.push_back(item);
    }

    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// Those from `position` on, and how many of them are forgotten.
    fn after(&self, position: u64, most: usize) -> (Vec<Item>, u64) {
        let missed = self.first.saturating_sub(position);
        let skip = position.saturating_sub(self.first) as usize;
        (self.items.iter().skip(skip).take(most).cloned().collect(), missed)
    }

    /// The position of the first event after that one.
    fn position_after(&self, id: u64) -> u64 {
        let newer = |item: &Item| matches!(item, Item::Event(entry) if entry.record.id > id);
        self.items.iter().position(newer).map_or(self.end(), |at| self.first + at as u64)
    }
}

/// How far the thread is, for its tasks.
#[derive(Clone, Copy, Default)]
struct Progress {
    told: u64,
    hold: bool,
    /// All is told; whether a new life follows.
    end: Option<bool>,
}

#[derive(Clone)]
struct Shared {
    backlog: Arc<Mutex<Backlog>>,
    progress: watch::Receiver<Progress>,
    feed: Arc<Feed>,
}

impl Work {
    /// Until it is told to end.
    pub async fn run(self) {
        let Self { mut items, mut orders, state, sinks, hook, mut log, damping, feed, left, done, last_id } = self;
        let mut backlog = Backlog::default();
        if !left.is_empty() {
            feed.remember(left.clone());
        }
        for record in left {
            let json = serde_json::to_string(&record).unwrap_or_default();
            backlog.push(Item::Event(Arc::new(Entry { record, json })));
        }
        state.told.fetch_add(backlog.end(), Relaxed);
        let backlog = Arc::new(Mutex::new(backlog));
        let (tell, progress) = watch::channel(Progress::default());
        let shared = Shared { backlog: Arc::clone(&backlog), progress, feed };
        let done = |health: &SinkHealth| done.get(health.what.name()).copied().unwrap_or(0);
        let mut tasks = JoinSet::new();
        for sink in sinks {
            let (done, last_id) = (done(&sink.health), last_id.clone());
            tasks.spawn(serve(sink, done, shared.clone(), last_id));
        }
        drop(last_id);
        let no_hook = hook.is_none();
        if let Some((hook, peer, health)) = hook {
            let done = done(&health);
            tasks.spawn(
                EventHook { hook, peer, health, damping, state: Arc::clone(&state) }.serve(done, shared.clone()),
            );
        }
        let mut lost = 0;
        let restart = loop {
            tokio::select! {
                biased;
                Some(item) = items.recv() => {
                    lock(&backlog).push(item);
                    tell.send_modify(|progress| progress.told += 1);
                    let now = state.lost.load(Relaxed);
                    if now > lost {
                        log::warn!("{} events or log records were lost: there was no room for them", now - lost);
                        lost = now;
                    }
                }
                order = orders.recv() => match order {
                    Some(SinkOrder::Measure(take, adopted)) => if let Some((file, health, every)) = log.take() {
                        tasks.spawn(measure(file, health, every, take, adopted, shared.progress.clone()));
                    },
                    Some(SinkOrder::Hold) => {
                        state.held.store(no_hook, Relaxed);
                        tell.send_modify(|progress| progress.hold = true);
                    }
                    Some(SinkOrder::GoOn) => {
                        tell.send_modify(|progress| progress.hold = false);
                        state.held.store(false, Relaxed);
                    }
                    Some(SinkOrder::End(restart)) => break restart,
                    None => break false,
                },
            }
        };
        // Nothing that comes from now on is taken: whoever tells it writes it himself.
        items.close();
        while let Some(item) = items.recv().await {
            lock(&backlog).push(item);
        }
        tell.send_modify(|progress| progress.end = Some(restart));
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(STOP, all).await.is_err() {
            for health in state.behind() {
                log::warn!("{}: the agent ends before everything is there", health.name());
            }
        }
    }
}

/// Takes in what earlier lives told, and says which its last event was: 0 where none is known.
async fn remember(path: PathBuf, feed: &Feed, last_id: SyncSender<Option<u64>>) -> u64 {
    let read = spawn_blocking({
        let path = path.clone();
        move || {
            let last = read_back::last_id(&path);
            // Whoever waited for it may have gone on.
            let _ = last_id.try_send(last);
            (last, read_back::read_back(&path))
        }
    });
    match read.await {
        Ok((last, Ok(found))) => {
            if found.skipped > 0 {
                log::warn!("{}: {} lines are not events and were skipped", path.display(), found.skipped);
            }
            feed.remember(found.records);
            last.unwrap_or(0)
        }
        Ok((_, Err(error))) => {
            log::error!("{}: what earlier lives told cannot be read: {error}", path.display());
            0
        }
        Err(_) => 0,
    }
}

/// Brings records to one sink, for ever.
async fn serve(to: MonitoredSink, done: u64, shared: Shared, last_id: SyncSender<Option<u64>>) {
    let MonitoredSink { health, mut sink } = to;
    let done = match sink.memory() {
        Some(path) => done.max(remember(path, &shared.feed, last_id).await),
        None => {
            drop(last_id);
            done
        }
    };
    let mut progress = shared.progress.clone();
    let mut position = lock(&shared.backlog).position_after(done);
    health.done.store(done, Relaxed);
    health.position.store(position, Relaxed);
    let mut lost = 0;
    loop {
        let end = progress.borrow_and_update().end;
        let (items, missed) = lock(&shared.backlog).after(position, BATCH);
        (position, lost) = (position + missed, lost + missed);
        health.lost.fetch_add(missed, Relaxed);
        if items.is_empty() {
            if end.is_some() || progress.changed().await.is_err() {
                return;
            }
            continue;
        }
        health.begins();
        let Ok((back, taken, result)) = spawn_blocking(move || take_all(sink, items)).await else { return };
        sink = back;
        health.ended();
        position += taken.0;
        health.position.store(position, Relaxed);
        health.done.fetch_max(taken.1, Relaxed);
        match result {
            Ok(()) => {
                if health.succeeded() {
                    log::warn!("{}: works again; {lost} records were lost", health.name());
                    lost = 0;
                }
            }
            Err(error) => {
                if health.failed(format!("{error:#}")) {
                    log::error!("{}: {error:#}; tried again from now on", health.name());
                }
                if end.is_some() {
                    return;
                }
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = ended(&mut progress) => {}
                }
            }
        }
    }
}

/// Until the thread is told to end.
async fn ended(progress: &mut watch::Receiver<Progress>) {
    let _ = progress.wait_for(|progress| progress.end.is_some()).await;
}

type Taken = (Box<dyn Sink>, (u64, u64), Result<()>);

/// How many were taken, and the id of the last event among them.
fn take_all(mut sink: Box<dyn Sink>, items: Vec<Item>) -> Taken {
    let (mut taken, mut last) = (0, 0);
    for item in &items {
        if let Err(error) = sink.take(item) {
            return (sink, (taken, last), Err(error));
        }
        taken += 1;
        if let Item::Event(entry) = item {
            last = entry.record.id;
        }
    }
    let result = sink.taken(&items);
    (sink, (taken, last), result)
}

/// The operator's command.
struct EventHook {
    hook: OnEvent,
    peer: String,
    health: Arc<SinkHealth>,
    damping: Arc<Mutex<Damping>>,
    state: Arc<SinkStates>,
}

impl EventHook {
    async fn serve(self, done: u64, shared: Shared) {
        let (mut progress, OnEvent { damping, severity, .. }) = (shared.progress.clone(), &self.hook);
        let mut position = lock(&shared.backlog).position_after(done);
        self.health.done.store(done, Relaxed);
        loop {
            let Progress { hold, end, .. } = *progress.borrow_and_update();
            let (items, missed) = lock(&shared.backlog).after(position, RING);
            self.health.lost.fetch_add(missed, Relaxed);
            position += missed + items.len() as u64;
            for item in &items {
                let Item::Event(entry) = item else { continue };
                let record = &entry.record;
                if record.severity >= *severity {
                    lock(&self.damping).take(clock::monotonic(), *damping, record);
                }
                self.health.done.fetch_max(record.id, Relaxed);
            }
            self.health.position.store(position, Relaxed);
            match end {
                // What waits is left for the next life.
                Some(true) => return,
                Some(false) => {
                    let last = std::mem::take(&mut *lock(&self.damping)).last();
                    for run in last {
                        self.run(run).await;
                    }
                    return;
                }
                None => {}
            }
            let due = if hold { None } else { lock(&self.damping).due(clock::monotonic(), *damping) };
            if let Some(run) = due {
                self.run(run).await;
                continue;
            }
            self.state.held.store(hold, Relaxed);
            let next = lock(&self.damping).next().filter(|_| !hold).map(after);
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                () = async { match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    async fn run(&self, run: Run) {
        let Run { record, suppressed } = run;
        let time = humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(record.time_ns)).to_string();
        let json = serde_json::to_string(&record).unwrap_or_default();
        let Record { event, severity, text, controller, channel, group, id, .. } = record;
        let environment = [
            ("HEARTBEAT_EVENT", event.clone()),
            ("HEARTBEAT_SEVERITY", severity.name().to_owned()),
            ("HEARTBEAT_TEXT", text),
            ("HEARTBEAT_TIME", time),
            ("HEARTBEAT_CONTROLLER", controller.to_string()),
            ("HEARTBEAT_CHANNEL", channel.unwrap_or_default()),
            ("HEARTBEAT_GROUP", group.unwrap_or_default()),
            ("HEARTBEAT_ID", id.to_string()),
            ("HEARTBEAT_PEER", self.peer.clone()),
            ("HEARTBEAT_RECORD", json),
            ("HEARTBEAT_SUPPRESSED", suppressed.to_string()),
        ];
        let patience = Duration::from_nanos(self.hook.timeout.0);
        let outcome = command::perform(Task::new(&self.hook.command, &environment), patience).await;
        if outcome.succeeded() {
            self.health.succeeded();
            return;
        }
        let output = if outcome.output.is_empty() { String::new() } else { format!(": {}", outcome.output) };
        self.health.lost.fetch_add(1, Relaxed);
        self.health.failed(outcome.ended.to_string());
        // A log record, not an event: that would be one more reason to run it.
        log::warn!("{} for {event} {id}: {}{output}", self.health.name(), outcome.ended);
    }
}

fn after(at: Nanos) -> Instant {
    Instant::now() + Duration::from_nanos(at.since(clock::monotonic()).0)
}

/// Logs latencies, interval by interval.
async fn measure(
    mut file: RotatedFile,
    health: Arc<SinkHealth>,
    every: Duration,
    take: Measure,
    adopted: bool,
    mut progress: watch::Receiver<Progress>,
) {
    let there = |snapshot: &Snapshot| adopted && snapshot.name.starts_with("inter_arrival/");
    let there = take().into_iter().filter(there).collect();
    let mut intervals = Intervals::new(clock::realtime_ns(), there);
    let mut next = Instant::now() + every;
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = ended(&mut progress) => {}
        }
        let end = progress.borrow().end.is_some();
        next = (next + every).max(Instant::now());
        let now = take();
        health.begins();
        let written = spawn_blocking(move || {
            let written =
                intervals.lines(&now).and_then(|lines| if lines.is_empty() { Ok(()) } else { file.append(&lines) });
            if written.is_ok() {
                intervals.written(now);
            }
            (file, intervals, written)
        });
        let Ok((back, counted, written)) = written.await else { return };
        (file, intervals) = (back, counted);
        health.ended();
        match written {
            Ok(()) => {
                if health.succeeded() {
                    log::warn!("{}: works again; the interval just written has all that could not be", health.name());
                }
            }
            Err(error) => {
                if health.failed(format!("{error:#}")) {
                    log::error!("{}: {error:#}; tried again from now on", health.name());
                }
            }
        }
        if end {
            return;
        }
    }
}
