//! `heartbeat tune`: which timing these channels can bear, by how they have been.

use super::client;
use crate::{
    api::Status,
    config::{ChannelKind, Profile},
    latency::{Histograms, Snapshot},
    tune::{self, ChannelModel, Counted, Promise, Read, Recommendation, YEAR_S},
    types::{Nanos, Timing},
};
use anyhow::{Context as _, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

mod show;

/// Recommend a timing from how the channels have been
///
/// From the times between heartbeats and the losses that the agent has recorded: detection time and false alarms a year of
/// each profile on each channel, and the quickest setting that keeps to what is asked for. After Chen, Toueg, Aguilera (2002).
/// The exit code is 0 if there is one, 1 if none can be promised, 2 if there is nothing to go by.
#[derive(Debug, clap::Args)]
pub struct TuneArgs {
    /// Record for so long from now; default: all since the agent's start
    #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "from")]
    lasting: Option<Duration>,
    /// At most so many false alarms on any channel: N/year, N/month, N/day or N/hour
    #[arg(long, value_name = "N/TIME", default_value = "1/year", value_parser = rate)]
    false_positives: f64,
    /// Read a file of `heartbeat histogram --format json` or hlog instead of asking the agent; `-`: standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print all of it as JSON
    #[arg(long)]
    json: bool,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// The longest recording that is waited for.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

fn span(text: &str) -> Result<Duration, String> {
    let right = "right would be a duration, 1s to 365d, such as 10m";
    let span = humantime::parse_duration(text).map_err(|error| format!("{error}; {right}"))?;
    if (Duration::from_secs(1)..=LONGEST).contains(&span) { Ok(span) } else { Err(right.to_owned()) }
}

/// A rate per second.
fn rate(text: &str) -> Result<f64, String> {
    let right = || "right would be a number above 0 per hour, day, month or year, such as 1/year".to_owned();
    let (number, unit) = text.split_once('/').ok_or_else(right)?;
    let unit_s = match unit.trim() {
        "hour" => 3_600.0,
        "day" => 86_400.0,
        "month" => YEAR_S / 12.0,
        "year" => YEAR_S,
        _ => return Err(right()),
    };
    let number: f64 = number.trim().parse().map_err(|_| right())?;
    if number > 0.0 && number.is_finite() { Ok(number / unit_s) } else { Err(right()) }
}

/// All that there is to say.
struct Report {
    channels: Vec<ChannelModel>,
    /// Channels that say nothing, and why; and what else is to be borne in mind.
    warnings: Vec<String>,
    /// What is set now, where an agent was asked.
    present: Option<Promise>,
    profiles: Vec<(Profile, Promise)>,
    recommended: Recommendation,
    /// What was asked for, per s.
    most: f64,
}

/// Recommends a timing, and gives the exit code.
#[must_use]
pub fn run(args: &TuneArgs) -> ExitCode {
    match tuned(args) {
        Ok(report) => {
            let text = if args.json { report.json() } else { report.text() };
            // Whoever closed the pipe has seen enough.
            let _ = stdout().lock().write_all(text.as_bytes());
            if report.recommended.suffices { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn tuned(args: &TuneArgs) -> Result<Report> {
    let (read, present) = match &args.from {
        Some(file) => (tune::read(&super::read(file)?).with_context(|| file.display().to_string())?, None),
        None => {
            let Live { read, present } = live(args)?;
            (read, Some(present))
        }
    };
    report(&read, present, args.false_positives)
}

fn report(read: &Read, present: Option<Timing>, most: f64) -> Result<Report> {
    let (mut channels, mut warnings) = (Vec::new(), Vec::new());
    for recording in &read.recordings {
        match ChannelModel::new(recording) {
            Ok(channel) => channels.push(channel),
            Err(why) => warnings.push(format!("{why}; nothing here is said or promised of this channel")),
        }
    }
    let least = read.lateness_s.max(read.rtt_s);
    let recommended = tune::recommend(&channels, most, least)
        .ok_or_else(|| anyhow!("no channel says anything: {}", warnings.join("; ")))?;
    let profiles = [Profile::Lan, Profile::Fast, Profile::Ultra, Profile::Classic];
    let profiles = profiles.map(|profile| (profile, tune::promise(&channels, profile.timing()))).to_vec();
    let present = present.map(|timing| tune::promise(&channels, timing));
    Ok(Report { channels, warnings, present, profiles, recommended, most })
}

/// What the agent says.
struct Live {
    read: Read,
    present: Timing,
}

/// The agent's facts at one moment.
struct Moment {
    status: Status,
    histograms: BTreeMap<String, Histogram<u64>>,
}

impl Moment {
    fn now(runtime_dir: &Path) -> Result<Self> {
        let status = client::status(runtime_dir)?;
        let text = client::get(runtime_dir, "/v1/histograms?since=start")?;
        let all: Histograms = serde_json::from_str(&text).context("not histograms that this version understands")?;
        let named = all.histograms.iter().map(|document| Snapshot::try_from(document).map(|s| (s.name, s.counts)));
        Ok(Self { status, histograms: named.collect::<Result<_>>()? })
    }
}

fn live(args: &TuneArgs) -> Result<Live> {
    let dir = &args.runtime_dir;
    let before = args.lasting.map(|lasting| Moment::now(dir).inspect(|_| wait(lasting))).transpose()?;
    let mut now = Moment::now(dir)?;
    if let Some(before) = &before {
        let again = "the agent was restarted meanwhile; right would be to record again";
        ensure!(before.status.incarnation == now.status.incarnation, "{again}");
        for (name, counts) in &mut now.histograms {
            if let Some(before) = before.histograms.get(name) {
                counts.subtract(before).map_err(|_| anyhow!("{name}: its counts went back: {again}"))?;
            }
        }
    }
    let mut read = Read::new(now.histograms.iter().map(|(name, counts)| (name.as_str(), counts)))?;
    let interval = Nanos((now.status.interval_ms * 1e6) as u64);
    for recording in &mut read.recordings {
        let of = |status: &Status| {
            status.channels.iter().find(|c| c.name == recording.name).map(|c| (c.received, c.missing))
        };
        let Some((received, missing)) = of(&now.status) else { continue };
        let (r, m) = before.as_ref().and_then(|before| of(&before.status)).unwrap_or_default();
        // What comes late is taken from what was missing before.
        recording.counted = Some(Counted { received: received.saturating_sub(r), missing: missing.saturating_sub(m) });
        let is_slow = |kind| matches!(kind, ChannelKind::Serial | ChannelKind::Disk);
        recording.serial = now.status.channels.iter().any(|c| c.name == recording.name && is_slow(c.kind));
        recording.configured = (!recording.serial).then_some(interval);
    }
    // The detection time that the status has is that of the slowest channel.
    let lines = read.recordings.iter().filter(|recording| recording.serial);
    let paces = lines.filter_map(|line| line.median_s(0.0, f64::INFINITY)).map(|s| s * 1e9 / interval.0.max(1) as f64);
    let slowest = paces.fold(1.0, f64::max).round() as u64;
    Ok(Live { read, present: present(&now.status, slowest) })
}

/// The timing as the agent has it, as far as its status says.
fn present(status: &Status, slowest: u64) -> Timing {
    let base = status.profile.timing();
    let interval = Nanos((status.interval_ms * 1e6).round() as u64);
    // Only the product of counts and period is told; that is all that matters here.
    let periods = slowest * u64::from(base.max.div_ceil(base.decrement) + 1);
    let period = Nanos((status.detection_ms * 1e6) as u64 / periods);
    Timing { interval, period, ..base }
}

/// Waits, and shows on a terminal how far it has come.
fn wait(lasting: Duration) {
    const STEP: Duration = Duration::from_millis(500);
    let begin = Instant::now();
    while let Some(left) = lasting.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        if stderr().is_terminal() {
            eprint!(
                "\rrecording: {} to go \x1b[K",
                humantime::format_duration(Duration::from_secs(left.as_secs() + 1))
            );
        }
        sleep(left.min(STEP));
    }
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_positives_are_a_number_per_hour_day_month_or_year() {
        assert_eq!(rate("1/hour"), Ok(1.0 / 3_600.0));
        assert_eq!(rate("12/year"), rate("1/month"));
        assert_eq!(rate("0.5 / day"), Ok(0.5 / 86_400.0));
        for wrong in ["1", "1/week", "0/year", "-1/day", "x/day", "inf/day", "NaN/day", ""] {
            assert!(rate(wrong).unwrap_err().contains("1/year"), "{wrong}");
        }
    }

    #[test]
    fn a_recording_lasts_a_second_to_a_year() {
        assert_eq!(span("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["0s", "366d", "soon"] {
            assert!(span(wrong).unwrap_err().contains("such as 10m"), "{wrong}");
        }
    }
}
