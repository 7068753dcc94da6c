//! What an agent costs while nothing happens: CPU, wake-ups, memory; and how late its pulse thread comes.
//!
//! CPU is what the scheduler says that the agent's threads ran (/proc/PID/task/TID/schedstat, the same time as utime and
//! stime in ns instead of ticks of 10 ms), as a share of one core.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use heartbeat_tests::lab::{Config, Family, Node, Options};
use serde_json::Value;

use super::{SOON, Trials, pair, table};

const MEMORY_BUDGET_MIB: f64 = 16.0;

pub(crate) fn run(trials: Trials) -> Result<()> {
    let span = Duration::from_secs(if trials.quick { 2 } else { 10 });
    let mut lines = Vec::new();
    for (networks, profile, budget) in [(2, "lan", 0.1), (2, "fast", 0.6), (2, "ultra", 5.0), (63, "fast", 6.0)] {
        let mut config = Config::pair(networks, Family::V4).profile(profile);
        config.groups.truncate(2);
        let lab = pair(Options { networks, ..Options::default() }, &config)?;
        // What was going on at the start is over.
        thread::sleep(Duration::from_secs(1));
        let pid = lab.pid(Node::A).context("the agent on a is gone")?;
        let (before, begin) = (Usage::of(pid)?, Instant::now());
        thread::sleep(span);
        let (after, took) = (Usage::of(pid)?, begin.elapsed());
        let percent = |ns: u64| ns as f64 * 100.0 / took.as_nanos() as f64;
        let (all, pulse) = (percent(after.ns - before.ns), percent(after.pulse_ns - before.pulse_ns));
        let (rss, peak, anonymous) = memory(pid)?;
        let status = lab.status_within(Node::A, SOON)?.json;
        let late = |key: &str| {
            let value = status.get("lateness").and_then(|lateness| lateness.get(key));
            value.map_or_else(|| "-".to_owned(), Value::to_string)
        };
        let kept = |figure: f64, budget: f64| {
            if figure <= budget { "hit".to_owned() } else { format!("MISS x{:.1}", figure / budget) }
        };
        lines.push(vec![
            format!("{} channels, {profile}", config.channels.len()),
            format!("{all:.2} %"),
            format!("{pulse:.2} %"),
            format!("{:.0}", (after.switches - before.switches) as f64 / took.as_secs_f64()),
            format!("{rss:.1}"),
            format!("{peak:.1}"),
            format!("{anonymous:.1}"),
            late("n"),
            late("median_us"),
            late("p99_us"),
            late("max_us"),
            format!("{budget} %, {MEMORY_BUDGET_MIB} MiB"),
            format!("CPU {}, memory {}", kept(all, budget), kept(peak, MEMORY_BUDGET_MIB)),
        ]);
    }
    let header = [
        "",
        "CPU",
        "pulse",
        "switches/s",
        "RSS MiB",
        "peak",
        "anonymous",
        "late: n",
        "median us",
        "p99",
        "max",
        "budget",
        "",
    ];
    table::print_lines("Cost of the agent on a, all channels good, nothing happening", &header, lines);
    println!(
        "on veth the sender pays for part of the receiving: a wire would take that off, and a driver's interrupts add to it"
    );
    Ok(())
}

/// What the threads of a process have used.
#[derive(Default)]
struct Usage {
    ns: u64,
    pulse_ns: u64,
    /// Voluntary context switches: how often a thread went to sleep.
    switches: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        let mut usage = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("the agent is gone")? {
            let task = task?.path();
            let ran = read(&task, "schedstat")?;
            let ns: u64 =
                ran.split_whitespace().next().and_then(|ns| ns.parse().ok()).context("no time in schedstat")?;
            usage.ns += ns;
            if read(&task, "comm")?.trim() == "pulse" {
                usage.pulse_ns += ns;
            }
            usage.switches += field(&read(&task, "status")?, "voluntary_ctxt_switches")?;
        }
        Ok(usage)
    }
}

/// VmRSS, VmHWM and RssAnon in MiB.
pub(crate) fn memory(pid: u32) -> Result<(f64, f64, f64)> {
    let status = read(Path::new(&format!("/proc/{pid}")), "status")?;
    let mib = |name| field(&status, name).map(|kib| kib as f64 / 1024.0);
    Ok((mib("VmRSS")?, mib("VmHWM")?, mib("RssAnon")?))
}

fn read(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The number of a line such as `VmRSS:    1234 kB`.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {name}"))
}
