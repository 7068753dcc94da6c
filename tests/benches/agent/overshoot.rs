//! How late the verdict comes: `peer_dead` minus last heartbeat minus the intervals allowed, as both agents report it.
//!
//! All cables go silent while they keep their carrier; both agents find each other dead. There are no groups, so no
//! takeover is in the figures.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use heartbeat_tests::lab::{Config, Family, Node, Options};

use super::{AT_ONCE, Trials, pair, settle, table};

pub(crate) fn run(trials: Trials) -> Result<()> {
    let mut rows = Vec::new();
    let mut unfounded = Vec::new();
    for (profile, interval) in [("lan", 100_000), ("fast", 10_000), ("ultra", 1_000)] {
        let mut row = table::Row::new(profile)?.median(0.1).max(0.5);
        let mut config = Config::pair(2, Family::V4).profile(profile);
        config.groups.clear();
        let lab = pair(Options::default(), &config)?;
        let begin = Node::BOTH.map(|node| (node, lab.mark(node)));
        let repeated = trials.repeat(30, |trial| {
            // At another point of the interval each time.
            thread::sleep(Duration::from_micros(interval * 2 + interval * trial as u64 * 37 / 100 % interval));
            let marks = Node::BOTH.map(|node| (node, lab.mark(node)));
            for network in lab.networks() {
                lab.silence(&network)?;
            }
            let verdicts = marks.map(|(node, mark)| {
                let dead = lab.wait_event_since(node, mark, |line| line.is("peer_dead"), AT_ONCE).ok()?;
                dead.raw.get("overshoot_ns")?.as_u64()
            });
            for network in lab.networks() {
                lab.mend(&network)?;
            }
            settle(&lab)?;
            let [Some(a), Some(b)] = verdicts else { return Ok(false) };
            row.record(a)?;
            row.record(b)?;
            Ok(true)
        })?;
        let verdicts =
            begin.map(|(node, mark)| lab.events_since(node, mark).iter().filter(|line| line.is("peer_dead")).count());
        let caused = 2 * (repeated.count + repeated.disturbed);
        unfounded.push(format!("{profile} {}", verdicts.iter().sum::<usize>().saturating_sub(caused)));
        rows.push(row);
    }
    table::print("Overshoot of the deadline: all cables silenced, both agents' verdicts, no groups", &rows);
    println!("verdicts without a cause meanwhile (this host stood still): {}", unfounded.join(", "));
    Ok(())
}
