//! What the agent costs and how fast it is, with a budget beside each figure (`heartbeat-user/docs/architecture.md` has
//! them all). One section a file; needs root.
//!
//! Called by `cargo xtask bench`, with `--quick` for a few trials and with names for some of the sections. Everything
//! happens in the lab: both agents, both switches and the clients share this machine's processors, and a veth has no wire:
//! part of what a heartbeat costs its receiver (the XDP program in the softirq) is charged to its sender.

#![deny(unsafe_code)]

mod cost;
mod load;
mod overshoot;
mod start;
mod table;
mod takeover;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use heartbeat_tests::lab::{Config, Lab, Node, Options, Status};
use serde_json::Value;

/// How long anything may take that is waited for.
const SOON: Duration = Duration::from_secs(30);
/// How long a verdict or a takeover may take before the trial counts as disturbed.
const AT_ONCE: Duration = Duration::from_secs(2);
type Section = fn(Trials) -> Result<()>;
const SECTIONS: [(&str, Section); 5] = [
    ("overshoot", overshoot::run),
    ("takeover", takeover::run),
    ("cost", cost::run),
    ("start", start::run),
    ("load", load::run),
];

/// How much is to be measured.
#[derive(Debug, Clone, Copy)]
struct Trials {
    quick: bool,
}

impl Trials {
    /// The number of trials, or the few that show that it runs.
    fn count(self, full: usize) -> usize {
        if self.quick { full.div_ceil(10).max(2) } else { full }
    }

    /// Tries until that many trials were not disturbed, but not for ever: where the host stands still for longer than a
    /// detection time, agents rightly find each other dead on their own, and a trial then measures nothing.
    fn repeat(self, full: usize, mut trial: impl FnMut(usize) -> Result<bool>) -> Result<Repeated> {
        let mut repeated = Repeated { count: self.count(full), disturbed: 0 };
        let mut done = 0;
        while done < repeated.count {
            if trial(done)? {
                done += 1;
            } else {
                repeated.disturbed += 1;
                ensure!(repeated.disturbed <= 3 * repeated.count, "this machine is too busy to measure anything");
            }
        }
        Ok(repeated)
    }
}

/// How a series of trials went.
#[derive(Debug, Clone, Copy)]
struct Repeated {
    count: usize,
    disturbed: usize,
}

fn main() -> Result<()> {
    let mut trials = Trials { quick: false };
    let mut names = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--quick" => trials.quick = true,
            name if SECTIONS.iter().any(|(known, _)| *known == name) => names.push(argument),
            other => bail!("no section {other}; there are {:?} and --quick", SECTIONS.map(|(name, _)| name)),
        }
    }
    for (name, section) in SECTIONS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let begin = Instant::now();
            section(trials)?;
            println!("({name}: {:.0?})\n", begin.elapsed());
        }
    }
    Ok(())
}

/// A lab with both agents up and in touch on all channels.
fn pair(options: Options, config: &Config) -> Result<Lab> {
    let lab = Lab::new(options)?;
    lab.configure(config)?;
    lab.start_both()?;
    settle(&lab)?;
    Ok(lab)
}

/// Waits until everything is good on both sides and one of them holds all groups, or each those that are at home there.
fn settle(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let [a, b] = [lab.status(Node::A)?, lab.status(Node::B)?];
        let held = |status: &Status| -> Vec<bool> {
            let groups = status.json.get("groups").and_then(Value::as_array);
            groups.into_iter().flatten().map(|group| group.get("held") == Some(&Value::Bool(true))).collect()
        };
        let one_holds_each = held(&a).iter().zip(held(&b)).all(|(a, b)| *a != b);
        if a.code == 0 && b.code == 0 && one_holds_each {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the pair does not settle:\n{}\n{}", a.json, b.json);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a node holds the first group.
fn holds(lab: &Lab, node: Node) -> Result<bool> {
    Ok(lab.status(node)?.json.pointer("/groups/0/held") == Some(&Value::Bool(true)))
}
