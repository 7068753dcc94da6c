//! `heartbeat explain`: what the last fault was, on what evidence, and what followed. From events alone.

mod guards;

use super::{
    client,
    paint::{ColorArgs, Paint, Tone},
};
use crate::{api::server::Events, events::Record, types::Severity};
use anyhow::{Context as _, Result, bail};
use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Explain the last verdict: what failed, on what evidence, what followed
///
/// Everything that is said comes from the agent's events; an earlier moment is explained by an event's id.
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
    if let Some(id) = args.id {
        if !events.iter().any(|event| event.id == id) {
            bail!("there is no event {id}; `heartbeat events --json` shows their ids");
        }
        events.retain(|event| event.id <= id);
    }
    // Whoever closed the pipe has seen enough.
    let _ = stdout().lock().write_all(explain(&events, args.color.stdout()).as_bytes());
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

/// What is to be done about a fault.
struct Finding {
    what: String,
    todo: String,
}

/// The state that the events end in, explained.
fn explain(events: &[Record], paint: Paint) -> String {
    // A new life of the agent finds everything anew.
    let begin = events.iter().rposition(|event| event.event == "ready").unwrap_or(0);
    let events = &events[begin..];
    let findings = findings(events);
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
    let facts: Vec<_> = standing(events, "fault_placed", "fault_gone").collect();
    if !facts.is_empty() {
        line(Tone::Strong, "\nEvidence");
        line(Tone::Plain, &evidence(&facts, events.iter().rfind(|event| event.event == "judged")));
    }
    line(Tone::Strong, "\nWhat follows");
    let follows = follows(events);
    if follows.is_empty() {
        line(Tone::Plain, "  nothing moves");
    }
    for event in follows {
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(event.time_ns));
        line(Tone::Plain, &format!("  {time}  {}", event.text));
    }
    let safe = guards::made_safe(events);
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

/// The last event of that name for each channel, where none of the other name came after it.
fn standing<'a>(events: &'a [Record], begins: &'a str, ends: &'a str) -> impl Iterator<Item = &'a Record> {
    events
        .iter()
        .enumerate()
        .filter(move |(i, event)| {
            let later =
                |other: &&Record| (other.event == begins || other.event == ends) && other.channel == event.channel;
            event.event == begins && events[i + 1..].iter().find(later).is_none()
        })
        .map(|(_, event)| event)
}

/// The last of these, whichever it is.
fn last<'a>(events: &'a [Record], names: &[&str]) -> Option<&'a Record> {
    events.iter().rfind(|event| names.contains(&event.event.as_str()))
}

fn findings(events: &[Record]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |what: String, todo: String| findings.push(Finding { what, todo });
    let here = events.first().map_or("a", |event| event.controller.as_str());
    let there = if here == "a" { "b" } else { "a" };
    let gone: Vec<_> = standing(events, "interface_gone", "interface_back").collect();
    let unplugged: Vec<_> = standing(events, "carrier_lost", "carrier_found").collect();
    let peer = last(events, &["peer_dead", "peer_died", "peer_left", "peer_good"]);
    let cut_off = guards::withheld(events).filter(|(reason, _)| *reason == "isolated");
    match peer {
        Some(event) if event.event == "peer_died" => find(
            format!("the agent of controller {there} died, as its kernel said"),
            format!("see why on controller {there}: journalctl -u heartbeat; then systemctl start heartbeat"),
        ),
        Some(event) if event.event == "peer_dead" => {
            let channels = standing(events, "channel_bad", "channel_good").count();
            if !event.evidence.get("stalled_ns").is_none_or(Value::is_null) {
                find(
                    format!("the agent of controller {there} stands still; its host answers"),
                    format!(
                        "see what holds up the agent on controller {there}: its load, its journal, `systemctl status heartbeat`"
                    ),
                );
            } else if channels > 0 && unplugged.len() + gone.len() >= channels {
                find(
                    format!("all ports or cables of controller {here}: none of its interfaces has a carrier"),
                    format!("check the cables and switches of controller {here}: it is cut off"),
                );
            } else {
                if let Some((_, withheld)) = cut_off {
                    find(
                        withheld.text.clone(),
                        format!(
                            "check the cables and switches of controller {here}, and whether whoever is asked there answers; \
                             where {there} is off for sure: heartbeat takeover GROUP --force"
                        ),
                    );
                }
                find(
                    format!("controller {there} is down, or all that joins it with {here} is: {}", event.text),
                    format!("see whether controller {there} has power and runs"),
                );
            }
        }
        Some(event) if event.event == "peer_left" => find(
            format!("the agent of controller {there} was stopped"),
            format!("start it again when that is over: systemctl start heartbeat on controller {there}"),
        ),
        _ => {}
    }
    let alive = peer.is_some_and(|event| event.event == "peer_good");
    let mut placed = Vec::new();
    for event in standing(events, "fault_placed", "fault_gone") {
        let channel = event.channel.as_deref().unwrap_or("?");
        placed.push(event.channel.clone());
        let port = |on: &str| {
            (
                format!("{channel}: the port or cable of controller {on}"),
                format!("check the cable, the interface and the switch port of {channel} at controller {on}"),
            )
        };
        let (what, todo) = match event.evidence.get("place").and_then(Value::as_str).unwrap_or_default() {
            "local_port" | "local_port_or_cable" if gone.iter().any(|gone| gone.channel == event.channel) => (
                format!("{channel}: the interface of controller {here} is gone"),
                format!("bring the interface of {channel} back on controller {here}: its driver, its name"),
            ),
            "local_port" => (
                format!("{channel}: the port of controller {here}: down, or without its address"),
                format!("set the interface of {channel} up on controller {here}, and give it its address again"),
            ),
            "local_cable" => (
                format!("{channel}: no carrier at controller {here}"),
                format!("check the cable of {channel} at controller {here}, and the switch port at its end"),
            ),
            "local_port_or_cable" => port(here),
            "remote_port_or_cable" => port(there),
            "network" => (
                format!("{channel}: the network itself: it answers to neither controller"),
                format!("check the switch of {channel}, and whoever is probed in it"),
            ),
            "one_way_to_us" => (
                format!("{channel}: one way: {there} hears {here}, {here} does not hear {there}"),
                format!("check filters and the receiving side of {channel} at controller {here}"),
            ),
            "one_way_to_peer" => (
                format!("{channel}: one way: {here} hears {there}, {there} does not hear {here}"),
                format!("check filters and the receiving side of {channel} at controller {there}"),
            ),
            "network_or_path" => (
                format!("{channel}: the network or the path between: nobody else is known there"),
                format!("check the switch of {channel}; name somebody in it in `probe`, for a verdict next time"),
            ),
            _ => (
                format!("{channel}: the path between the controllers: its network answers to both"),
                format!("check what joins the two ends of {channel}: trunks, filters"),
            ),
        };
        find(what, todo);
    }
    for event in
        standing(events, "channel_bad", "channel_good").filter(|event| alive && !placed.contains(&event.channel))
    {
        let channel = event.channel.as_deref().unwrap_or("?");
        let cause = match (
            gone.iter().any(|g| g.channel == event.channel),
            unplugged.iter().any(|u| u.channel == event.channel),
        ) {
            (true, _) => format!("the interface of controller {here} is gone"),
            (_, true) => format!("no carrier at controller {here}: its port, the cable, or the other end"),
            _ => "silent, its network is not judged".to_owned(),
        };
        find(format!("{channel}: {cause}"), format!("check the cable of {channel} at both ends"));
    }
    for event in failing(events) {
        let check = event.evidence.get("check").and_then(Value::as_str).unwrap_or("?");
        find(
            format!("health check {check} of controller {here}: {}", event.text),
            format!("run the command of check {check} on controller {here} by hand"),
        );
    }
    findings.extend(guards::findings(events, here, there));
    findings
}

/// What came of it, since the first of the faults that still stand.
fn follows(events: &[Record]) -> Vec<&Record> {
    /// So many, the last ones.
    const SHOWN: usize = 8;
    let told = [
        "judged",
        "fence_ran",
        "arbiter_granted",
        "arbiter_denied",
        "group_acquiring",
        "group_acquired",
        "group_releasing",
        "group_released",
        "takeover_withheld",
        "analysis_given_up",
        "dual_ownership",
        "still_answered",
        "peer_dead",
        "peer_died",
    ];
    let faults = [
        ("channel_bad", "channel_good"),
        ("carrier_lost", "carrier_found"),
        ("interface_gone", "interface_back"),
        ("fault_placed", "fault_gone"),
        ("peer_left", "peer_good"),
        ("peer_dead", "peer_good"),
        ("peer_died", "peer_good"),
    ];
    let began = faults.into_iter().flat_map(|(begins, ends)| standing(events, begins, ends)).chain(failing(events));
    let began = began.map(|event| event.id).min().unwrap_or(0);
    let worth = |event: &&Record| {
        told.contains(&event.event.as_str()) && (event.event != "judged" || event.severity > Severity::Info)
    };
    let told: Vec<_> = events.iter().filter(|event| event.id >= began).filter(worth).collect();
    told[told.len().saturating_sub(SHOWN)..].to_vec()
}

/// The last result of each health check that fails.
fn failing(events: &[Record]) -> impl Iterator<Item = &Record> {
    let of_check = |event: &Record| event.evidence.get("check").cloned();
    events
        .iter()
        .enumerate()
        .filter(move |(i, event)| {
            let later = |other: &Record| other.event == "check_changed" && of_check(other) == of_check(event);
            event.event == "check_changed"
                && event.evidence.get("healthy") == Some(&Value::Bool(false))
                && !events[i + 1..].iter().any(later)
        })
        .map(|(_, event)| event)
}

/// Side by side: what either controller found.
fn evidence(facts: &[&Record], judged: Option<&Record>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "this side", "that side"]);
    let said = |value: Option<&Value>, yes: &str, no: &str| match value {
        Some(Value::Bool(true)) => yes.to_owned(),
        Some(Value::Bool(false)) => no.to_owned(),
        _ => "-".to_owned(),
    };
    for event in facts {
        let fact = |name: &str| event.evidence.get("facts").and_then(|facts| facts.get(name));
        let side = |hears, answers| {
            format!("{}, network {}", said(fact(hears), "hears", "deaf"), said(fact(answers), "answers", "silent"))
        };
        let carrier = said(fact("carrier"), "carrier", "no carrier");
        table.add_row([
            event.channel.clone().unwrap_or_default(),
            format!("{carrier}, {}", side("heard", "operational")),
            side("peer_hears", "peer_operational"),
        ]);
    }
    if let Some(evidence) = judged.and_then(|judged| judged.evidence.get("evidence")) {
        for (name, key) in [("quality of service", "qos"), ("duties", "duties")] {
            let of =
                |side: &str| evidence.get(side).and_then(|side| side.get(key)).map_or("-".into(), Value::to_string);
            table.add_row([name.to_owned(), of("local"), of("remote")]);
        }
    }
    table.trim_fmt().lines().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests;
