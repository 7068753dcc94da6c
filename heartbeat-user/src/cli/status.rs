//! `heartbeat status`: asks the agent what it knows.

use super::client;
use crate::status::{Health, Status};
use anyhow::{Context, Result};
use comfy_table::{Table, presets::NOTHING};
use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Show what the agent knows: peer, channels, groups
///
/// The exit code is 0 if the peer and all channels are GOOD, 1 if something is not, 2 if no agent answers.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Print the whole document as JSON
    #[arg(long)]
    pub json: bool,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// Prints the status and gives the exit code.
#[must_use]
pub fn run(args: &StatusArgs) -> ExitCode {
    match ask(&args.runtime_dir) {
        Ok((text, status)) => {
            let shown = if args.json { text } else { show(&status) };
            // Whoever closed the pipe has seen enough.
            let _ = std::io::stdout().lock().write_all(shown.as_bytes());
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

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "GOOD",
        Health::Bad => "BAD",
        Health::Unknown => "unknown",
    }
}

fn show(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<11} {value}").expect("a String takes all text");
    };
    line("controller", format!("{} (pair {}, facts {:.1} ms old)", status.node, status.pair_id, status.age_ms));
    line("peer", word(status.peer.state).to_owned());
    line("verdict", status.verdict.clone());
    line(
        "timing",
        format!(
            "{}: a heartbeat every {} ms, dead after {} ms; own lateness median {} us, p99 {} us, max {} us",
            status.profile,
            status.interval_ms,
            status.detection_ms,
            status.lateness.median_us,
            status.lateness.p99_us,
            status.lateness.max_us
        ),
    );
    let mut channels = Table::new();
    channels.load_style(NOTHING).set_header([
        "channel",
        "kind",
        "state",
        "interface",
        "xdp",
        "sent",
        "received",
        "missing",
        "rejected",
        "heard",
    ]);
    for c in &status.channels {
        channels.add_row([
            c.name.clone(),
            c.kind.clone(),
            word(c.state).to_owned(),
            format!("{}{}", c.interface, if c.carrier { "" } else { " (no carrier)" }),
            c.xdp_mode.clone(),
            c.sent.to_string(),
            c.received.to_string(),
            c.missing.to_string(),
            rejected(c),
            c.last_heard_ms.map_or("never".into(), |ms| format!("{ms:.1} ms ago")),
        ]);
    }
    let mut groups = Table::new();
    groups.load_style(NOTHING).set_header(["group", "home", "owner", "here", "addresses"]);
    for g in &status.groups {
        groups.add_row([
            g.name.clone(),
            g.home.clone(),
            g.owner.clone().unwrap_or_else(|| "nobody".into()),
            if g.held { "held".into() } else { "-".to_owned() },
            match g.addresses.split_first() {
                Some((first, [])) => first.clone(),
                Some((first, rest)) => format!("{first} and {} more", rest.len()),
                None => String::new(),
            },
        ]);
    }
    writeln!(text, "\n{}", channels.trim_fmt()).expect("a String takes all text");
    if !status.groups.is_empty() {
        writeln!(text, "\n{}", groups.trim_fmt()).expect("a String takes all text");
    }
    text
}

/// `wrong_tag 3, replayed 1`
fn rejected(channel: &crate::status::Channel) -> String {
    let list: Vec<_> =
        channel.rejected.iter().filter(|(_, n)| **n > 0).map(|(reason, n)| format!("{reason} {n}")).collect();
    if list.is_empty() { "-".into() } else { list.join(", ") }
}
