//! Asks the agent for `heartbeat top`, in threads that the screen never waits for.

use super::model::News;
use crate::{api::server::Events, cli::client, events::Record};
use anyhow::{Context as _, Result};
use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// While no agent answers, it is looked for this often.
const AGAIN: Duration = Duration::from_millis(500);
/// How often latencies are asked for.
const EVERY: Duration = Duration::from_secs(1);
/// News that wait for the screen.
const WAITING: usize = 256;
/// Events that are looked back at.
const BEFORE: usize = 256;

/// Starts both threads; they end with the program, or when nobody listens.
pub(super) fn start(runtime_dir: &Path, begin: Instant) -> Result<Receiver<News>> {
    let (tell, news) = sync_channel(WAITING);
    let (dir, to) = (runtime_dir.to_owned(), tell.clone());
    thread::Builder::new().name("stream".into()).spawn(move || follow(&dir, &to)).context("cannot start a thread")?;
    let dir = runtime_dir.to_owned();
    thread::Builder::new()
        .name("histograms".into())
        .spawn(move || measure(&dir, &tell, begin))
        .context("cannot start a thread")?;
    Ok(news)
}

/// Status and events, over restarts of the agent.
fn follow(runtime_dir: &Path, to: &SyncSender<News>) {
    let mut last = None;
    loop {
        if let Err(error) = listen(runtime_dir, to, &mut last)
            && to.send(News::Silent(format!("{error:#}"))).is_err()
        {
            return;
        }
        thread::sleep(AGAIN);
    }
}

fn listen(runtime_dir: &Path, to: &SyncSender<News>, last: &mut Option<u64>) -> Result<()> {
    let told = |news| to.send(news).context("nobody looks any more");
    if last.is_none() {
        let text = client::get(runtime_dir, &format!("/v1/events?severity=info&limit={BEFORE}"))?;
        let Events { events, .. } = serde_json::from_str(&text).context("not events that this version understands")?;
        for event in events {
            *last = Some(event.id);
            told(News::Event(Box::new(event)))?;
        }
    }
    for message in client::stream(runtime_dir, &format!("/v1/stream?since={}", last.unwrap_or(0)))? {
        let (name, data) = message?;
        match name.as_str() {
            "status" => {
                let status = serde_json::from_str(&data).context("not a status that this version understands")?;
                told(News::Status(status))?;
            }
            "event" => {
                let event: Record =
                    serde_json::from_str(&data).context("not an event that this version understands")?;
                *last = Some(event.id);
                told(News::Event(Box::new(event)))?;
            }
            "lost" => told(News::Lost)?,
            _ => {}
        }
    }
    anyhow::bail!("the agent has ended")
}

/// Latencies, in the middle of each second of ours: a late one still counts for its own.
fn measure(runtime_dir: &Path, to: &SyncSender<News>, begin: Instant) {
    let mut next = begin + EVERY / 2;
    loop {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if let Ok(text) = client::get(runtime_dir, "/v1/histograms")
            && let Ok(histograms) = serde_json::from_str(&text)
            && to.send(News::Histograms(histograms)).is_err()
        {
            return;
        }
        while next <= Instant::now() {
            next += EVERY;
        }
    }
}
