//! `heartbeat ready`: would a failover work now? One question, before it is asked in the night.

use super::{
    client,
    format::{self, wrap},
    paint::{ColorArgs, Paint, Tone},
};
use crate::{api::Status, events::Code};
use anyhow::{Context as _, Result};
use std::{
    io::{Write as _, stdout},
    path::PathBuf,
    process::ExitCode,
};

/// Ask whether a failover would work now, and if not, why
///
/// Nothing moves, and nothing is tried: the answer is what the agent of this controller knows of its own host, and what both say to each
/// other. It says of either controller whether it is there, has the same files and keys, is in maintenance, and what its networks
/// and health checks give; of this one, too, whether interfaces, addresses, hooks and other programs are there and can be run,
/// whether the fence's devices, the arbiter and the watchdog can be relied on, and whether the agent comes in time. Where the other
/// one has such a reason of its own, that is said, and the same question there says which.
///
/// Each reason has a code, which metrics and the event `not_ready` have, too; and says what it is, its value, and what would be right.
///
/// The exit code is 0 if a failover would work now, 1 if not, 2 if no agent answers.
#[derive(Debug, clap::Args)]
pub struct ReadyArgs {
    /// Print the answer as JSON: `ready`, and `reasons` with code, controller, thing and text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Columns of the text.
const WIDTH: usize = 120;

/// Prints the answer and gives the exit code.
#[must_use]
pub fn run(args: &ReadyArgs) -> ExitCode {
    match said(args) {
        Ok((text, ready)) => {
            // Whoever closed the pipe has seen enough.
            let _ = stdout().lock().write_all(text.as_bytes());
            if ready { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn said(args: &ReadyArgs) -> Result<(String, bool)> {
    let status = client::status(&args.runtime_dir)?;
    let text = if args.json {
        serde_json::to_string_pretty(&status.readiness).context("the answer as JSON")? + "\n"
    } else {
        show(&status, args.color.stdout())
    };
    Ok((text, status.readiness.ready))
}

fn show(status: &Status, paint: Paint) -> String {
    let reasons = &status.readiness.reasons;
    let whose = format!("controller {}, pair {}, facts {} old", status.node, status.pair_id, format::ms(status.age_ms));
    if reasons.is_empty() {
        let (tone, plate) = if status.readiness.ready { (Tone::Good, " READY ") } else { (Tone::Warn, " UNKNOWN ") };
        return format!("{} {} ({whose})\n", paint.plate(tone, plate), status.readiness.line());
    }
    let count = match reasons.len() {
        1 => "a reason".to_owned(),
        n => format!("{n} reasons"),
    };
    let plate = paint.plate(Tone::Bad, " NOT READY ");
    let mut text = format!("{plate} {count} why a failover would not work now ({whose})\n");
    let codes = reasons.iter().map(|reason| reason.code.name().len()).max().unwrap_or(0);
    for reason in reasons {
        let tone = if reason.code == Code::Late { Tone::Warn } else { Tone::Bad };
        for (i, part) in wrap(&reason.text, WIDTH.saturating_sub(codes + 4)).iter().enumerate() {
            let code = if i == 0 { reason.code.name() } else { "" };
            let code = paint.text(tone, &format!("{code:<codes$}"));
            text.push_str(&format!("  {code}  {part}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Health, cli::status::sample};

    #[test]
    fn a_pair_that_is_ready_says_so_in_one_line() {
        let text = show(&sample(3), Paint::OFF);
        assert_eq!(text, " READY  a failover would work now (controller a, pair 7, facts 12 ms old)\n");
    }

    #[test]
    fn every_reason_has_its_code_and_a_sentence() {
        let mut status = sample(3);
        status.channels[1].state = Health::Bad;
        status.channels[1].last_heard_ms = Some(3_200.0);
        status.maintenance = true;
        let text = show(&status.concluded(), Paint::OFF);
        let expected = " NOT READY  2 reasons why a failover would not work now (controller a, pair 7, facts 12 ms old)
  maintenance   controller a is in maintenance: nothing moves, whatever fails; right would be `heartbeat maintenance
                off` there
  channel_down  net2 is BAD, silent for 3.2 s; right would be GOOD
";
        assert_eq!(text, expected);
    }
}
