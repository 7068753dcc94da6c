//! `heartbeat events`: what happened, and what happens.

use super::{
    client, format,
    paint::{ColorArgs, Tone},
};
use crate::{api::server::Events, events::Record, types::Severity};
use anyhow::{Context as _, Result};
use std::{
    io::{ErrorKind, Write as _, stdout},
    path::PathBuf,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Show what happened
///
/// One line each: when, how grave, who says so, what. The agent keeps the last 4096.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Go on with what happens, also over restarts of the agent
    #[arg(long, short)]
    follow: bool,
    /// From there on: a time ago (10m), a moment (2026-01-31T12:00:00Z) or an event's id
    #[arg(long, value_name = "TIME|ID", value_parser = since)]
    since: Option<u64>,
    /// At least this grave
    #[arg(long, value_enum, default_value = "info")]
    severity: Severity,
    /// So many at most, the last ones unless --since is given
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// While no agent answers, it is looked for this often.
const AGAIN: Duration = Duration::from_millis(500);

/// An event's id is its time in us: a moment is one, too.
fn since(text: &str) -> Result<u64, String> {
    let us = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(us(time));
    }
    humantime::parse_duration(text)
        .map(|ago| us(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)))
        .map_err(|_| "right would be a time ago (10m), a moment (2026-01-31T12:00:00Z) or an event's id".to_owned())
}

/// Prints them.
///
/// # Errors
/// No agent answers.
pub fn run(args: &EventsArgs) -> Result<()> {
    let EventsArgs { follow, since, severity, limit, runtime_dir, .. } = args;
    let from = since.map_or(String::new(), |id| format!("&since={id}"));
    let text = client::get(runtime_dir, &format!("/v1/events?severity={}&limit={limit}{from}", severity.name()))?;
    let Events { events, lost } = serde_json::from_str(&text).context("not events that this version understands")?;
    if lost {
        eprintln!("the agent does not keep all of them any more");
    }
    let mut last = since.unwrap_or(0);
    for event in &events {
        last = event.id;
        if !args.print(event)? {
            return Ok(());
        }
    }
    if *follow { args.follow(last) } else { Ok(()) }
}

impl EventsArgs {
    /// What happens after event `last`, until nobody reads any more.
    fn follow(&self, mut last: u64) -> Result<()> {
        let mut lost_agent = false;
        loop {
            let Ok(messages) = client::stream(&self.runtime_dir, &format!("/v1/stream?since={last}")) else {
                if !std::mem::replace(&mut lost_agent, true) {
                    eprintln!("no agent answers; waiting for one");
                }
                sleep(AGAIN);
                continue;
            };
            if std::mem::take(&mut lost_agent) {
                eprintln!("an agent answers again");
            }
            for message in messages {
                let Ok((name, data)) = message else { break };
                if name == "event"
                    && let Ok(event) = serde_json::from_str::<Record>(&data)
                {
                    last = event.id;
                    if event.severity >= self.severity && !self.print(&event)? {
                        return Ok(());
                    }
                }
            }
            sleep(AGAIN);
        }
    }

    /// Whether somebody still reads.
    fn print(&self, event: &Record) -> Result<bool> {
        let Record { time_ns, severity, controller, text, .. } = event;
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(*time_ns));
        let line = match self.json {
            true => serde_json::to_string(event)?,
            false => {
                let paint = self.color.stdout();
                let (tone, name) = (format::gravity(*severity), format!("{:<8}", severity.name()));
                let text = if *severity >= Severity::Warning { paint.text(tone, text) } else { text.clone() };
                format!(
                    "{} {} {controller}  {text}",
                    paint.text(Tone::Faint, &time.to_string()),
                    paint.text(tone, &name)
                )
            }
        };
        match writeln!(stdout().lock(), "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn since_is_an_id_a_moment_or_a_time_ago() {
        assert_eq!(since("1750000000000000"), Ok(1_750_000_000_000_000));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1_000_000));
        let [ago, now] = ["10m", "0s"].map(|text| since(text).unwrap());
        assert!((599_000_000..601_000_000).contains(&(now - ago)));
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }
}
