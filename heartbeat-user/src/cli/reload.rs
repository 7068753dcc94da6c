//! `heartbeat reload`: a new life of the agent that runs, begun and waited for.

use super::{Cli, Command, client, run::RunArgs};
use crate::{agent, events::Record};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::exit,
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

/// How often the new life is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Have the running agent go on with its configuration and its binary as they are now
///
/// Nothing is released that the file still has, and no heartbeat is lost. At first it is tried whether this version can go on with
/// that file and with what the running agent has on record. Where it cannot, or the agent refuses, that one runs on as it is; this
/// says why, and ends with 1. Root only.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    /// Wait for it at most this long: a group that is on its way, with its hooks, comes first
    #[arg(long, value_name = "TIME", default_value = "80s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// The agent's runtime directory
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

/// Reloads.
///
/// # Errors
/// No agent answers, this version could not go on for it, it refuses, the new life did not begin, or not in time.
pub fn run(args: &ReloadArgs) -> Result<()> {
    let ReloadArgs { wait, runtime_dir } = args;
    let end = Instant::now() + *wait;
    let (pid, before) = (client::process(runtime_dir)?, client::incarnation(runtime_dir)?);
    let RunArgs { config, node, .. } = started_with(pid)?;
    agent::ensure_could_go_on(&config, node, runtime_dir)
        .context("not reloaded, the agent runs on as it is: this version could not go on for it")?;
    // An agent that stands still says nothing, and does not end.
    let patience = *wait;
    spawn(move || {
        sleep(patience);
        eprintln!("error: not yet: {}", late(patience));
        exit(1);
    });
    // From now on, so that what it says is not missed.
    let said = client::stream(runtime_dir, "/v1/stream")?;
    kill(pid, Signal::SIGHUP)
        .with_context(|| format!("the agent is process {pid}; telling it (right would be root)"))?;
    for message in said {
        // The stream ends with the life.
        let Ok((name, data)) = message else { break };
        if name == "event"
            && let Ok(event) = serde_json::from_str::<Record>(&data)
        {
            match event.event.as_str() {
                "reload_refused" => bail!("{}", event.text),
                "reload_waits" => eprintln!("{}", event.text),
                _ => {}
            }
        }
        ensure!(Instant::now() < end, "not yet: {}", late(*wait));
    }
    while !client::incarnation(runtime_dir).is_ok_and(|now| now != before) {
        ensure!(is_there(pid), "the agent ended: what it printed last says why");
        ensure!(Instant::now() < end, "the new life does not answer: {}", late(*wait));
        sleep(LOOK);
    }
    let now = client::process(runtime_dir)?;
    ensure!(now == pid, "process {pid} ended and another agent was started, {now}: what it printed last says why");
    Ok(())
}

fn late(wait: Duration) -> String {
    format!("{} have passed; `heartbeat events` says how it goes on", humantime::format_duration(wait))
}

fn is_there(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The command line of an agent that runs, as this version understands it.
fn started_with(pid: Pid) -> Result<RunArgs> {
    let path = format!("/proc/{pid}/cmdline");
    let bytes = fs::read(&path).with_context(|| format!("how the agent was started: {path}"))?;
    let mut args = parse(&bytes).with_context(|| format!("process {pid} answers as an agent"))?;
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).with_context(|| format!("/proc/{pid}/cwd"))?;
    args.config = folder.join(&args.config);
    Ok(args)
}

/// Arguments as proc_pid_cmdline(5) has them: each ends with a NUL.
fn parse(bytes: &[u8]) -> Result<RunArgs> {
    let words = bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|&byte| byte == 0);
    let words: Vec<_> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    match Cli::try_parse_from(&words) {
        Ok(Cli { command: Command::Run(args) }) => Ok(args),
        _ => bail!(
            "it was started with {words:?}, and this version does not understand that; right would be `heartbeat run ..`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;

    #[test]
    fn how_an_agent_was_started_is_understood_or_refused_with_what_it_was() {
        let args = parse(b"/usr/bin/heartbeat\0run\0--config\0pair one.toml\0--node\0b\0").unwrap();
        assert_eq!((args.config.to_str(), args.node), (Some("pair one.toml"), Some(Node::B)));
        let args = parse(b"heartbeat\0run\0").unwrap();
        assert_eq!((args.config.to_str(), args.node), (Some("/etc/heartbeat/heartbeat.toml"), None));
        for other in [&b"heartbeat\0run\0--of-a-later-version\0"[..], b"heartbeat\0status\0", b""] {
            let said = parse(other).unwrap_err().to_string();
            assert!(said.contains("does not understand") && said.contains("heartbeat run"), "{said}");
        }
    }
}
