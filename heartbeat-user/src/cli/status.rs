//! `heartbeat status`: asks the agent what it knows, and says it on one screen, what matters first.

use super::{
    client,
    format::{self, fit, wrap},
    paint::{ColorArgs, Paint, Tone},
};
use crate::{
    api::{Answer, Channel, Faulted, Group, Health, Status},
    events::text::difference,
    types::Node,
};
use anyhow::{Context, Result};
use std::{
    io::{IsTerminal as _, Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Show how the pair is: one word, what is wrong, who serves what, the channels
///
/// GOOD: all works. DEGRADED: all groups are served, and something is to be mended, or maintenance keeps everything where
/// it is. BAD: a group is served by nobody, or the peer is not there. UNKNOWN: the facts are old, or the peer was not heard yet.
///
/// The exit code is 0 if the peer and all channels are GOOD, 1 if something is not, 2 if no agent answers.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Print the whole document as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its own arguments are documented")]
    pub color: ColorArgs,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// Where no terminal says how wide it is, nothing usual is cut.
const WIDTH: usize = 120;
/// From this width on the channels have more columns.
const WIDE: usize = 116;
/// A group's, a channel's name takes at most so much of a line of 80.
const NAME: usize = 16;

/// Prints the status and gives the exit code.
#[must_use]
pub fn run(args: &StatusArgs) -> ExitCode {
    match ask(&args.runtime_dir) {
        Ok((text, status)) => {
            let shown = if args.json { text } else { show(&status, args.color.stdout(), width()) };
            // Whoever closed the pipe has seen enough.
            let _ = stdout().lock().write_all(shown.as_bytes());
            if status.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The agent's status, as text and as a document.
fn ask(runtime_dir: &Path) -> Result<(String, Status)> {
    let text = client::get(runtime_dir, "/v1/status")?;
    let status = serde_json::from_str(&text).context("not a status that this version understands")?;
    Ok((text, status))
}

fn width() -> usize {
    let size = stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    // A serial console says 0.
    size.map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0).unwrap_or(WIDTH).max(40)
}

fn show(status: &Status, paint: Paint, width: usize) -> String {
    let mut sheet = Sheet { text: String::new(), paint, width };
    head(&mut sheet, status);
    if !status.groups.is_empty() {
        sheet.line("");
        groups(&mut sheet, status);
    }
    sheet.line("");
    channels(&mut sheet, status);
    sheet.line("");
    foot(&mut sheet, status);
    sheet.text
}

/// The answer, what is wrong, what to do next.
fn head(sheet: &mut Sheet, status: &Status) {
    let answer = status.answer;
    let plate = format!(" {} ", answer.word());
    let indent = plate.len() + 1;
    for (i, line) in wrap(&status.verdict, sheet.width.saturating_sub(indent)).iter().enumerate() {
        match i {
            0 => sheet.line(&format!("{} {line}", sheet.paint.plate(format::tone(answer), &plate))),
            _ => sheet.line(&format!("{:indent$}{line}", "")),
        }
    }
    if !status.is_fresh() {
        let old = format::ms(status.age_ms);
        let text = format!("these facts are {old} old: the agent's pulse thread stands still");
        sheet.line(&format!("{:indent$}{}", "", sheet.paint.text(Tone::Bad, &text)));
    }
    if answer != Answer::Good {
        let hint = fit("why, and what to do: heartbeat explain", sheet.width.saturating_sub(indent));
        sheet.line(&format!("{:indent$}{}", "", sheet.paint.text(Tone::Strong, &hint)));
    }
    sheet.line("");
    let (word, tone) = format::health(status.peer.state);
    let last = status.channels.iter().filter_map(|channel| channel.last_heard_ms).min_by(f64::total_cmp);
    let heard = last.map_or("never heard".to_owned(), |last| format!("heard {} ago", format::ms(last)));
    let mut notes = vec![heard];
    notes.extend(status.peer.left.then(|| "has left".to_owned()));
    notes.extend(status.peer.died_ms.map(|ms| format!("its agent died {} ago", format::ms(ms))));
    notes.extend(status.peer.stalled_ms.map(|ms| format!("its agent stands still for {}", format::ms(ms))));
    if status.peer.faulted == Some(Faulted::ConfiguredDifferently) {
        notes.push("counts as faulted".to_owned());
    }
    if !status.peer.differs.is_empty() {
        let differs: Vec<_> = status.peer.differs.iter().map(|what| difference(*what)).collect();
        notes.push(format!("configured otherwise: {}", differs.join(", ")));
    }
    notes.extend(status.peer.maintenance.then(|| "in maintenance".to_owned()));
    let (host, notes) = (host(status, status.node.other()), notes.join(", "));
    let lead = "peer        ";
    let rest = fit(&format!("{host}, {notes}"), sheet.width.saturating_sub(lead.len() + word.len() + 2));
    sheet.line(&format!("{lead}{}  {rest}", sheet.paint.text(tone, word)));
    let old = format::ms(status.age_ms);
    let mut this = format!("{}, pair {}, facts {old} old", self::host(status, status.node), status.pair_id);
    this.push_str(if status.maintenance { ", in maintenance" } else { "" });
    sheet.line(&fit(&format!("controller  {this}"), sheet.width));
}

/// `a (filer-a)`
fn host(status: &Status, node: Node) -> String {
    match &status.hostnames[usize::from(node.wire())] {
        Some(name) => format!("{node} ({name})"),
        None => node.to_string(),
    }
}

fn groups(sheet: &mut Sheet, status: &Status) {
    let name = sheet.longest(status.groups.iter().map(|group| group.name.as_str()));
    let mut rows: Vec<_> = status.groups.iter().map(|group| (group, format::server(group, status.node))).collect();
    // What nobody serves comes first.
    rows.sort_by_key(|(_, (_, tone))| *tone != Tone::Bad);
    let mut table = vec![Row::head(&["group", "served by", "home", "addresses"])];
    for (group, (server, tone)) in rows {
        let addresses = match group.addresses.split_first() {
            Some((first, [])) => first.clone(),
            Some((first, rest)) => format!("{first} +{}", rest.len()),
            None => String::new(),
        };
        let cells = [
            (fit(&group.name, name), Tone::Plain),
            (server, tone),
            (group.home.to_string(), Tone::Plain),
            (addresses, Tone::Plain),
        ];
        let mut row = Row::cells(cells.into());
        row.notes.extend(remarks(group));
        table.push(row);
    }
    sheet.table(&table, &[]);
}

/// What a group's line does not say.
fn remarks(group: &Group) -> impl Iterator<Item = (String, Tone)> {
    let silent = group.silent.then(|| ("this host's kernel keeps silent for it".to_owned(), Tone::Bad));
    let twice = group.held_twice.then(|| ("held by both controllers".to_owned(), Tone::Bad));
    let kept = group.kept.then(|| ("it could not be let go of here".to_owned(), Tone::Bad));
    // What was nobody else's is no news.
    let claim = group.claim.as_ref().filter(|claim| claim.safe.is_some());
    let claim = claim.map(|claim| (format!("taken: {}", claim.text), Tone::Faint));
    silent.into_iter().chain(twice).chain(kept).chain(claim)
}

fn channels(sheet: &mut Sheet, status: &Status) {
    let wide = sheet.width >= WIDE;
    let name = sheet.longest(status.channels.iter().map(|channel| channel.name.as_str()));
    let mut rows: Vec<_> = status.channels.iter().collect();
    // What is not GOOD comes first: 64 of them do not fit on a screen.
    rows.sort_by_key(|channel| channel.state == Health::Good);
    let mut head = vec!["channel", "state", "port", "xdp", "rtt", "p99", "missing", "rejected", "heard"];
    if wide {
        head.splice(9.., ["kind", "sent", "received"]);
    }
    let mut table = vec![Row::head(&head)];
    for channel in rows {
        let (word, tone) = format::health(channel.state);
        let rejected = format::rejected(channel);
        let rtt = |us: f64| if channel.rtt.n == 0 { "-".to_owned() } else { format::us(us) };
        let heard = channel.last_heard_ms.map_or("never".into(), |ms| format!("{} ago", format::ms(ms)));
        let dull = if channel.state == Health::Good { Tone::Plain } else { Tone::Faint };
        let mut cells = vec![
            (fit(&channel.name, name), Tone::Plain),
            (word.to_owned(), tone),
            (port(channel, sheet.width), Tone::Plain),
            (channel.xdp_mode.name().to_owned(), Tone::Plain),
            (rtt(channel.rtt.median_us), dull),
            (rtt(channel.rtt.p99_us), dull),
            (channel.missing.to_string(), Tone::Plain),
            (rejected.to_string(), if rejected > 0 { Tone::Warn } else { Tone::Plain }),
            (heard, if channel.state == Health::Good { Tone::Plain } else { tone }),
        ];
        if wide {
            let more = [channel.kind.name().to_owned(), channel.sent.to_string(), channel.received.to_string()];
            cells.extend(more.map(|text| (text, Tone::Plain)));
        }
        let mut row = Row::cells(cells);
        row.notes.extend(notes(channel));
        table.push(row);
    }
    // Figures stand below each other.
    sheet.table(&table, &[4, 5, 6, 7, 8, 10, 11]);
}

/// A serial device's path says the most at its end.
fn port(channel: &Channel, width: usize) -> String {
    let most = if width >= WIDE { 24 } else { 10 };
    fit(channel.interface.strip_prefix("/dev/").unwrap_or(&channel.interface), most)
}

/// What a channel's figures do not say.
fn notes(channel: &Channel) -> impl Iterator<Item = (String, Tone)> {
    let place = channel.fault.clone().map(|place| (place, Tone::Bad));
    let carrier = (!channel.carrier).then(|| (format!("no carrier on {}", channel.interface), Tone::Bad));
    let rejections =
        (format::rejected(channel) > 0).then(|| (format!("rejected: {}", format::rejections(channel)), Tone::Warn));
    let by = channel.judged_by.as_ref().filter(|_| channel.own_facts_only);
    let by = by.map(|by| (format!("judged by {by}"), Tone::Warn));
    place.into_iter().chain(carrier).chain(by).chain(rejections)
}

/// Whether a failover would work, and what makes one safe.
fn failover(sheet: &mut Sheet, status: &Status) {
    let Status { readiness, fence, arbiter, watchdog, release_within_ms, peer, .. } = status;
    let tone = match (readiness.ready, readiness.is_to_be_mended()) {
        (true, _) => Tone::Good,
        (false, true) => Tone::Bad,
        (false, false) => Tone::Warn,
    };
    sheet.lead("failover", &readiness.line(), tone);
    for level in fence.iter().filter(|level| level.answers.is_some()) {
        let asked =
            level.asked_ms.map_or_else(|| "before it was asked".to_owned(), |ms| format!("{} ago", format::ms(ms)));
        let (said, tone) = match (level.answers, &level.why) {
            (Some(true), _) => (format!("{}: {} answered, {asked}", level.level, level.by), Tone::Plain),
            (_, why) => {
                let why = why.as_deref().unwrap_or("it does not answer");
                (format!("{}: {} cannot be relied on, {asked}: {why}", level.level, level.by), Tone::Bad)
            }
        };
        sheet.lead("fence", &said, tone);
    }
    if let Some(arbiter) = arbiter {
        let since = arbiter.since_ms.map_or_else(String::new, |ms| format!(" for {}", format::ms(ms)));
        let (said, tone) = match arbiter.well {
            None => (format!("{}: not looked at yet", arbiter.by), Tone::Plain),
            Some(true) => (format!("{}: well{since}: {}", arbiter.by, arbiter.how), Tone::Plain),
            Some(false) => (format!("{}: not well{since}: {}", arbiter.by, arbiter.how), Tone::Bad),
        };
        sheet.lead("arbiter", &said, tone);
    }
    if let Some(watchdog) = watchdog {
        let (said, tone) = match (&watchdog.why, watchdog.fed, watchdog.fed_ms) {
            (Some(why), ..) => (format!("{}: cannot be had: {why}", watchdog.device), Tone::Bad),
            (None, true, Some(fed)) => (format!("{}: fed {} ago", watchdog.device, format::ms(fed)), Tone::Plain),
            (None, ..) => (format!("{}: not fed", watchdog.device), Tone::Bad),
        };
        sheet.lead("watchdog", &said, tone);
    }
    if status.groups.iter().any(|group| group.exclusive) {
        let within =
            |ms: &Option<f64>| ms.map_or_else(|| "not promised".to_owned(), |ms| format!("within {}", format::ms(ms)));
        let said = format!("here {}, there {}", within(release_within_ms), within(&peer.release_within_ms));
        sheet.lead("lets go", &format!("where cut off: {said}"), Tone::Plain);
    }
}

fn foot(sheet: &mut Sheet, status: &Status) {
    failover(sheet, status);
    let Status { profile, interval_ms, detection_ms, lateness, .. } = status;
    let timing = format!("timing      {profile}: a heartbeat every {interval_ms} ms, dead after {detection_ms} ms");
    sheet.line(&fit(&timing, sheet.width));
    let [median, p99, max] = [lateness.median_us, lateness.p99_us, lateness.max_us].map(format::us);
    // Half of the detection time gone: the next stall may cost the peer its patience.
    let tone = if lateness.max_us > detection_ms * 500.0 { Tone::Warn } else { Tone::Plain };
    let lead = format!("lateness    of the pulse thread: median {median}, p99 {p99}, ");
    let late = fit(&format!("max {max}"), sheet.width.saturating_sub(lead.chars().count()));
    sheet.line(&format!("{}{}", fit(&lead, sheet.width), sheet.paint.text(tone, &late)));
    for sink in status.sinks.iter().filter(|sink| !sink.works) {
        let why = sink.why.as_deref().unwrap_or("it hangs");
        let text = fit(&format!("{} ({}) does not work: {why}", sink.what.name(), sink.target), sheet.width);
        sheet.line(&sheet.paint.text(Tone::Warn, &text));
    }
}

/// Text that grows, line by line.
struct Sheet {
    text: String,
    paint: Paint,
    width: usize,
}

struct Row {
    cells: Vec<(String, Tone)>,
    /// Lines below it.
    notes: Vec<(String, Tone)>,
}

impl Row {
    fn head(names: &[&str]) -> Self {
        Self::cells(names.iter().map(|name| ((*name).to_owned(), Tone::Faint)).collect())
    }

    fn cells(cells: Vec<(String, Tone)>) -> Self {
        Self { cells, notes: Vec::new() }
    }
}

impl Sheet {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A name, and beside it what is to be said, on as many lines as that takes.
    fn lead(&mut self, name: &str, text: &str, tone: Tone) {
        const NAMES: usize = 12;
        for (i, part) in wrap(text, self.width.saturating_sub(NAMES)).iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            self.line(&format!("{name:<NAMES$}{}", self.paint.text(tone, part)));
        }
    }

    /// The room that names have.
    fn longest<'a>(&self, names: impl Iterator<Item = &'a str>) -> usize {
        names.map(|name| name.chars().count()).max().unwrap_or(0).min(NAME * self.width / 80)
    }

    /// Columns as wide as their widest cell; those named are flush right.
    fn table(&mut self, rows: &[Row], right: &[usize]) {
        let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let wide = |i: usize| rows.iter().filter_map(|row| row.cells.get(i)).map(|cell| cell.0.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|i| wide(i).unwrap_or(0)).collect();
        for row in rows {
            let (mut line, mut used) = (String::new(), 0);
            for (i, (text, tone)) in row.cells.iter().enumerate() {
                let most = widths[i].min(self.width.saturating_sub(used));
                let text = fit(text, most);
                let length = text.chars().count();
                let room = if i + 1 == columns && !right.contains(&i) { 0 } else { most - length };
                let painted = self.paint.text(*tone, &text);
                let blank = " ".repeat(room);
                line.push_str(&if right.contains(&i) { blank + &painted } else { painted + &blank });
                line.push_str("  ");
                used += length + room + 2;
            }
            self.line(&line);
            for (note, tone) in &row.notes {
                for (i, part) in wrap(note, self.width.saturating_sub(4)).iter().enumerate() {
                    let lead = if i == 0 { "  \u{2514} " } else { "    " };
                    self.line(&format!("{lead}{}", self.paint.text(*tone, part)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

/// A status in which all is well, of so many channels.
#[cfg(test)]
pub(crate) fn sample(channels: usize) -> Status {
    use serde_json::json;
    let distribution = json!({ "n": 100, "median_us": 61.2, "p99_us": 120.0, "max_us": 1_200.0 });
    let channel = |i: usize| {
        json!({
            "name": format!("net{}", i + 1), "kind": "network", "state": "good", "interface": format!("eth{i}"),
            "ends": [{ "port": "eth0", "address": "192.0.2.1" }, { "port": "eth0", "address": "192.0.2.2" }],
            "judged": true, "carrier": true, "fault": null, "xdp_mode": "native", "sent": 1_000_000, "received": 1_000_000,
            "missing": 3, "highest_sequence": 9, "counter": 0, "last_heard_ms": 42.0, "handshakes": 1,
            "rejected": { "replayed": 0, "wrong_tag": 0 }, "inter_arrival": distribution, "rtt": distribution,
        })
    };
    let group = |node: &str, address: &str| {
        json!({
            "name": format!("storage-{node}"), "home": node, "owner": node, "held": node == "a", "addresses": [address],
        })
    };
    let status: Status = serde_json::from_value(json!({
        "node": "a", "hostnames": ["filer-a", "filer-b"], "time_ns": 1_000_000_000_000_u64, "pair_id": 7, "version": "0.1.0",
        "pid": 1, "age_ms": 12.0, "profile": "lan", "interval_ms": 100.0, "detection_ms": 300.0, "incarnation": "1",
        "term": 3, "maintenance": false, "judged": null,
        "peer": {
            "state": "good", "left": false, "stalled_ms": null, "incarnation": "2", "differs": [], "maintenance": false,
        },
        "channels": (0..channels).map(channel).collect::<Vec<_>>(),
        "groups": [group("a", "192.0.2.10/24 on net1"), group("b", "198.51.100.10/24 on net2")],
        "lateness": distribution, "events_lost": 0, "verdict": "the peer is alive on all channels",
    }))
    .expect("a status as the agent writes it");
    status.concluded()
}
