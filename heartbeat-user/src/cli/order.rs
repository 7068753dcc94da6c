//! `heartbeat takeover`, `release`, `maintenance`: orders to the agent of this controller.

use super::client;
use crate::api::Status;
use anyhow::{Result, bail};
use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

/// How often the status is looked at while waiting.
const LOOK: Duration = Duration::from_millis(50);

/// Have this controller hold a group
///
/// The peer lets go of it first. Ends with 0 once its addresses are in place here.
#[derive(Debug, clap::Args)]
pub struct TakeoverArgs {
    #[command(flatten)]
    common: GroupArgs,
    /// Take it from a peer that is silent, although it may have it: where it said that it could not let go of it, where it
    /// is not fenced, in maintenance. Only if it surely does not have it any more
    #[arg(long)]
    force: bool,
}

/// Have the peer hold a group that this controller holds
///
/// This controller lets go of it first. Ends with 0 once the peer holds it.
#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    common: GroupArgs,
}

#[derive(Debug, clap::Args)]
struct GroupArgs {
    /// The group's name
    group: String,
    /// Wait for it at most this long; 0s: do not wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Let no group move, or no longer so
///
/// While either controller is in maintenance, both watch and report, and nothing is taken over, handed over or released,
/// whatever fails. It lasts until it is ended, also over restarts of the agent, but not over one of the host. Where the
/// peer fell silent in maintenance, `off` on the survivor ends that, too. Stopping the agent releases its groups all the same.
#[derive(Debug, clap::Args)]
pub struct MaintenanceArgs {
    /// `on` or `off`
    #[arg(value_enum)]
    state: Switch,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Nothing moves
    On,
    /// What must move moves
    Off,
}

/// Orders a takeover.
///
/// # Errors
/// The agent does not answer, refuses, or the group is not here in time.
pub fn takeover(args: &TakeoverArgs) -> Result<()> {
    move_group(&args.common, if args.force { "takeover?force=true" } else { "takeover" }, true)
}

/// Orders a release.
///
/// # Errors
/// The agent does not answer, refuses, or the group is not there in time.
pub fn release(args: &ReleaseArgs) -> Result<()> {
    move_group(&args.common, "release", false)
}

/// Begins or ends maintenance.
///
/// # Errors
/// The agent does not answer, or refuses.
pub fn maintenance(args: &MaintenanceArgs) -> Result<()> {
    let state = if args.state == Switch::On { "on" } else { "off" };
    client::post(&args.runtime_dir, &format!("/v1/maintenance/{state}"))
}

fn move_group(args: &GroupArgs, order: &str, here: bool) -> Result<()> {
    let GroupArgs { group, wait, runtime_dir } = args;
    let ordered = client::incarnation(runtime_dir).ok();
    client::post(runtime_dir, &format!("/v1/groups/{}/{order}", escaped(group)))?;
    let end = Instant::now() + *wait;
    while !wait.is_zero() {
        let status = client::status(runtime_dir)?;
        if is_done(&status, group, here) {
            return Ok(());
        }
        // A new life has to hear of who holds what.
        let knows = status.groups.iter().any(|found| found.name == *group && found.owner.is_some());
        if knows && ordered.as_ref().is_some_and(|ordered| *ordered != status.incarnation) {
            bail!(
                "the agent was started anew before group \"{group}\" had moved, and knows of no order; give it again"
            );
        }
        if Instant::now() >= end {
            let waited = humantime::format_duration(*wait);
            bail!("group \"{group}\" has not moved within {waited}; `heartbeat status` and the agent's events say why");
        }
        sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

fn is_done(status: &Status, group: &str, here: bool) -> bool {
    let Some(found) = status.groups.iter().find(|g| g.name == *group) else { return false };
    let elsewhere = found.owner.is_some_and(|owner| owner != status.node);
    if here { found.held } else { elsewhere }
}

/// As a part of a path: what the name of a group cannot have is escaped, and no group's then.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
