//! `heartbeat explain`: what the last fault was, on what evidence, and what followed. From events; only whether the peer hears us by now,
//! which none says, is from the status.

mod evidence;
mod finding;
mod findings;
mod guards;
mod history;

use super::{
    client,
    paint::{ColorArgs, Paint, Tone},
};
use crate::{
    api::server::Events,
    events::{Kind, Record, Role},
    types::Severity,
};
use anyhow::{Context as _, Result, bail};
use evidence::{Now, evidence};
use finding::Finding;
use findings::findings;
use history::{History, field};
use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Explain the last verdict: what failed, on what evidence, what followed
///
/// It is said by the agent's events, and beside what a fault was judged by, what of that is otherwise now; an earlier moment is explained
/// by an event's id.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// As of this event, by its id (`heartbeat events --json`); default: now
    id: Option<u64>,
    /// Read the events from a file, one JSON object a line; `-`: from standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    color: ColorArgs,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Prints the explanation.
///
/// # Errors
/// No agent answers, the file cannot be read or has no events, or there is no event of this id.
pub fn run(args: &ExplainArgs) -> Result<()> {
    let mut events = match &args.from {
        Some(file) => read(file)?,
        None => {
            let text = client::get(&args.runtime_dir, "/v1/events?severity=info&limit=4096")?;
            serde_json::from_str::<Events>(&text).context("not events that this version understands")?.events
        }
    };
    // Of an earlier moment nothing else is known; nor of an agent of another version.
    let is_past = args.id.is_some() || args.from.is_some();
    let status = if is_past { None } else { client::status(&args.runtime_dir).ok() };
    if let Some(id) = args.id {
        if !events.iter().any(|event| event.id == id) {
            bail!("there is no event {id}; `heartbeat events --json` shows their ids");
        }
        events.retain(|event| event.id <= id);
    }
    let time_ns = events.last().map_or(0, |event| event.time_ns);
    let now = status.as_ref().map_or(Now { time_ns, ..Now::default() }, Now::of);
    // Whoever closed the pipe has seen enough.
    let _ = stdout().lock().write_all(explain(&events, &now, args.color.stdout()).as_bytes());
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Record>> {
    let text = super::read(file)?;
    // An agent's output has other lines, too.
    let events: Vec<_> = text.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()).collect();
    if events.is_empty() {
        bail!("{}: no events; right would be one JSON object a line, as the agent writes them", file.display());
    }
    Ok(events)
}

/// The state that the events end in, explained.
fn explain(events: &[Record], now: &Now, paint: Paint) -> String {
    let history = History::new(events);
    let findings = findings(&history);
    let mut text = String::new();
    let mut line = |tone: Tone, line: &str| {
        writeln!(text, "{}", paint.text(tone, line)).expect("a String takes all text");
    };
    if findings.is_empty() {
        line(Tone::Good, "Nothing is wrong: no fault stands.");
        return text;
    }
    line(Tone::Strong, "What is wrong");
    for Finding { what, .. } in &findings {
        line(Tone::Bad, &format!("  {what}"));
    }
    let facts: Vec<_> = history.standing(&[Kind::FaultPlaced]).collect();
    if !facts.is_empty() {
        line(Tone::Strong, "\nEvidence");
        line(Tone::Plain, &evidence(&history, &facts, now));
    }
    line(Tone::Strong, "\nWhat follows");
    let follows = follows(&history);
    if follows.is_empty() {
        line(Tone::Plain, "  nothing moves");
    }
    for event in follows {
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(event.time_ns));
        line(Tone::Plain, &format!("  {time}  {}", event.text));
    }
    let safe = guards::made_safe(&history);
    if !safe.is_empty() {
        line(Tone::Strong, "\nWhat made it safe");
    }
    for said in safe {
        line(Tone::Plain, &format!("  {said}"));
    }
    line(Tone::Strong, "\nWhat to do");
    for Finding { todo, .. } in &findings {
        line(Tone::Plain, &format!("  {todo}"));
    }
    text
}

/// What came of it, since the first of the faults that still stand.
fn follows<'a>(history: &History<'a>) -> Vec<&'a Record> {
    /// So many, the last ones.
    const SHOWN: usize = 8;
    let faults: Vec<_> = Kind::ALL.iter().copied().filter(|kind| kind.is(Role::Fault)).collect();
    // A check that succeeds is none.
    let began = history.standing(&faults).filter(|event| field(event, "healthy") != Some(true));
    let began = began.map(|event| event.id).min().unwrap_or(0);
    let worth = |(kind, event): &(Kind, &Record)| {
        event.id >= began && kind.is(Role::Consequence) && (*kind != Kind::Judged || event.severity > Severity::Info)
    };
    let told: Vec<_> = history.iter().filter(worth).map(|(_, event)| event).collect();
    told[told.len().saturating_sub(SHOWN)..].to_vec()
}

#[cfg(test)]
mod tests;
