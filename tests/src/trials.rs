//! What trials of a takeover, of a cut channel and of a restart share: a healthy pair, a moment within the interval, what
//! both agents say in the end, and a table of what was measured.
//!
//! A bound on time holds on a quiet host. Where it may hold anybody up, a plain run goes at [`CALM`], allows [`SLACK`]
//! beyond each bound and does few trials; with `HEARTBEAT_TRIALS=20` in the environment, which `cargo xtask accept` sets,
//! it goes at [`LAN`] and [`FAST`], each test does so many trials and allows nothing. The tables go to standard error past the test harness, so they
//! are seen without `--nocapture`:
//!
//! ```text
//! cargo xtask accept takes_over
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::Value;

use crate::host;
use crate::inject::Tap;
use crate::lab::topology::{Host, mac};
use crate::lab::{Config, Family, Lab, LogLine, Mark, Node, Options, Status};
use crate::pair::PACE;

/// The channels of a lab with two networks.
pub const CHANNELS: [&str; 3] = ["net1", "net2", "xlink"];
/// How long anything may take that is not measured.
pub const SOON: Duration = Duration::from_secs(15);
/// What a plain run, on a host that does other work, allows beyond a bound.
pub const SLACK: Duration = Duration::from_millis(50);

/// A profile of the agent's.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// From one heartbeat to the next.
    pub interval: Duration,
}

/// A heartbeat every 100 ms.
pub const LAN: Profile = Profile { name: "lan", interval: Duration::from_millis(100) };
/// A heartbeat every 10 ms.
pub const FAST: Profile = Profile { name: "fast", interval: Duration::from_millis(10) };

/// `ultra`, five times slower: hosts beside others stand still for longer than the three milliseconds that it bears.
pub const ULTRA: Profile = Profile { name: "ultra", interval: Duration::from_millis(5) };

/// `lan`, five times slower: for hosts that stand still now and then.
pub const CALM: Profile = Profile { name: "lan", interval: Duration::from_millis(500) };

/// What is tried: see the module's description.
#[must_use]
pub fn profiles() -> &'static [Profile] {
    if host::is_quiet() { &[LAN, FAST] } else { &[CALM] }
}

impl Profile {
    /// A configuration of the lab's usual pair with it.
    #[must_use]
    pub fn config(self) -> Config {
        let interval = format!("\"{}ms\"", self.interval.as_millis());
        Config::pair(2, Family::V4).profile(self.name).timing("interval", &interval)
    }

    /// The silence after which a channel is BAD.
    #[must_use]
    pub fn detection(self) -> Duration {
        self.interval * 3
    }

    /// From a death to its verdict at the latest: the last heartbeat may have come just before.
    #[must_use]
    pub fn bound(self) -> Duration {
        self.detection() + self.interval
    }
}

/// How many trials, and how strictly.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Trials of each kind.
    pub trials: u32,
    /// Allowed beyond each bound.
    pub slack: Duration,
}

impl Run {
    /// `HEARTBEAT_TRIALS` without slack, or else `trials` with [`SLACK`].
    ///
    /// # Panics
    /// If `HEARTBEAT_TRIALS` is no number above 0.
    #[must_use]
    pub fn or(trials: u32) -> Self {
        let Some(text) = std::env::var_os("HEARTBEAT_TRIALS") else { return Self { trials, slack: SLACK } };
        let trials = text.to_str().and_then(|text| text.parse().ok()).filter(|trials| *trials > 0);
        Self { trials: trials.expect("HEARTBEAT_TRIALS is a number above 0, such as 20"), slack: Duration::ZERO }
    }
}

/// A new lab whose agents are both up: all channels GOOD, each group at home.
///
/// # Errors
/// Not root, no agent built, or the pair does not come up.
pub fn healthy_pair(profile: Profile) -> Result<Lab> {
    let lab = Lab::new(Options::default())?;
    lab.configure(&profile.config())?;
    for node in Node::BOTH {
        lab.start(node)?;
    }
    for node in Node::BOTH {
        wait_all_good(&lab, node, lab.run_begin(node))?;
        lab.wait_event(node, |line| line.is_of("group_acquired", group_of(node)), SOON)?;
    }
    expect_settled(&lab, [Node::A, Node::B])?;
    Ok(lab)
}

/// The group at home on a controller.
#[must_use]
pub fn group_of(node: Node) -> &'static str {
    if node == Node::A { "storage-a" } else { "storage-b" }
}

/// The network of that group, and its client.
#[must_use]
pub fn network_of(node: Node) -> usize {
    if node == Node::A { 1 } else { 2 }
}

/// Waits until a controller has said since `mark` that every channel and the peer became good.
///
/// # Errors
/// It did not.
pub fn wait_all_good(lab: &Lab, node: Node, mark: Mark) -> Result<()> {
    for channel in CHANNELS {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_good", channel), SOON)?;
    }
    lab.wait_event_since(node, mark, |line| line.is("peer_good"), SOON).map(|_| ())
}

/// Waits for the next heartbeat of `node`, then for `offset`: the moment of a death within the interval.
///
/// # Errors
/// It sends none.
pub fn wait_phase(lab: &Lab, node: Node, offset: Duration) -> Result<()> {
    /// Behind an Ethernet, an IPv4 and a UDP header.
    const MAGIC_AT: usize = 14 + 20 + 8;
    let tap = Tap::open(lab.switch(1)?, node.name())?;
    let sender = mac(Host::Controller(node), 1);
    let heartbeat = |frame: &[u8]| {
        frame.get(6..12) == Some(&sender) && frame.get(MAGIC_AT..MAGIC_AT + 2) == Some(&0x4842_u16.to_be_bytes())
    };
    tap.next(heartbeat, SOON)?;
    // There is nothing to wait for but the time itself.
    thread::sleep(offset);
    Ok(())
}

/// Everything that was said of groups and takeovers since `mark`.
#[must_use]
pub fn group_events(lab: &Lab, node: Node, mark: Mark) -> Vec<LogLine> {
    let moves = |line: &LogLine| {
        let event = line.event.as_deref().unwrap_or_default();
        event.starts_with("group_") || event.starts_with("takeover_") || event == "dual_ownership"
    };
    lab.events_since(node, mark).into_iter().filter(moves).collect()
}

/// Both agents say that all is GOOD, and name the same holders: `storage-a`'s, then `storage-b`'s.
///
/// # Errors
/// They do not.
pub fn expect_settled(lab: &Lab, holders: [Node; 2]) -> Result<()> {
    for node in Node::BOTH {
        let status = lab.status(node)?;
        ensure!(status.code == 0, "{node} finds something BAD: {:#}\n{}", status.json, story(lab));
        expect_holders(&status, node, holders).with_context(|| story(lab))?;
    }
    Ok(())
}

/// Waits until they say so of any holders, and gives these. A pair that was broken settles in the end, however often the
/// host stood still meanwhile; no single event says when that is.
///
/// # Errors
/// They do not.
pub fn wait_settled(lab: &Lab) -> Result<[Node; 2]> {
    let deadline = Instant::now() + SOON;
    loop {
        let status = lab.status(Node::A)?.json;
        let holder = |group| named(&status, "groups", group).ok()?.get("owner")?.as_str()?.parse::<Node>().ok();
        let settled = match Node::BOTH.map(|node| holder(group_of(node))) {
            [Some(first), Some(second)] => expect_settled(lab, [first, second]).map(|()| [first, second]),
            _ => Err(anyhow!("a group is nobody's: {status:#}\n{}", story(lab))),
        };
        if settled.is_ok() || Instant::now() > deadline {
            return settled;
        }
        thread::sleep(PACE);
    }
}

/// Everything that both agents said since they were started, for a failing test. The host has its part in the story: a peer
/// that stood still for longer than the profile allows is rightly found dead.
#[must_use]
pub fn story(lab: &Lab) -> String {
    let said =
        |node| lab.events_since(node, lab.run_begin(node)).into_iter().map(move |line| (line.time_ns, node, line));
    let mut lines: Vec<_> = Node::BOTH.into_iter().flat_map(said).collect();
    lines.sort_by_key(|(time_ns, ..)| *time_ns);
    let stall = lines.iter().filter_map(|(.., line)| nanos(line, "late_ns").ok()).max().unwrap_or_default();
    let text: String = lines.iter().map(|(_, node, line)| format!("{node} {}\n", line.raw)).collect();
    format!("{text}the host held an agent up for {stall:?} at most")
}

/// One agent's status names these holders, and it holds its own groups only.
///
/// # Errors
/// It does not.
pub fn expect_holders(status: &Status, node: Node, holders: [Node; 2]) -> Result<()> {
    for (group, holder) in Node::BOTH.map(group_of).into_iter().zip(holders) {
        let said = named(&status.json, "groups", group)?;
        ensure!(
            said.get("owner").and_then(Value::as_str) == Some(holder.name())
                && said.get("held").and_then(Value::as_bool) == Some(holder == node),
            "{node} does not say that {group} is {holder}'s: {said:#}"
        );
    }
    Ok(())
}

/// The entry of that name in a list of a status document.
///
/// # Errors
/// There is none.
pub fn named<'a>(status: &'a Value, list: &str, name: &str) -> Result<&'a Value> {
    let entries = status.get(list).and_then(Value::as_array);
    let is_it = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
    entries.and_then(|entries| entries.iter().find(is_it)).with_context(|| format!("no {name} in {list} of {status:#}"))
}

/// What a line says under `key`, in ns.
///
/// # Errors
/// Nothing, or no number.
pub fn nanos(line: &LogLine, key: &str) -> Result<Duration> {
    let value = line.raw.get(key).and_then(Value::as_u64);
    value.map(Duration::from_nanos).with_context(|| format!("no {key} in {}", line.raw))
}

/// From one time to a later one, both CLOCK_REALTIME in ns; zero if they are the other way round.
#[must_use]
pub fn between(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}

/// Measured durations by what they are of, in the order of their first appearance.
#[derive(Debug, Default)]
pub struct Measured {
    order: Vec<String>,
    values: BTreeMap<String, Vec<Duration>>,
}

impl Measured {
    /// One more.
    pub fn add(&mut self, what: &str, value: Duration) {
        if !self.values.contains_key(what) {
            self.order.push(what.to_owned());
        }
        self.values.entry(what.to_owned()).or_default().push(value);
    }

    /// All of another one's.
    pub fn append(&mut self, other: Self) {
        for what in &other.order {
            other.values[what].iter().for_each(|value| self.add(what, *value));
        }
    }

    /// Shows all of them, in ms.
    pub fn print(&self, title: &str) {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["ms", "n", "min", "median", "p99", "max"]);
        for what in &self.order {
            let mut sorted = self.values.get(what).cloned().unwrap_or_default();
            sorted.sort_unstable();
            let show = |value: Duration| format!("{:.3}", value.as_secs_f64() * 1e3);
            let quantiles = [0, 50, 99, 100].map(|percent| show(quantile(&sorted, percent)));
            let mut row = vec![what.clone(), sorted.len().to_string()];
            row.extend(quantiles);
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        show(&format!("\n{title}\n{table}"));
    }
}

/// Shows a line on standard error although the test passes.
pub fn show(text: &str) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{text}");
}

/// The nearest rank; the smallest one at 0 percent.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        let quantiles = [0, 50, 99, 100].map(|percent| quantile(&sorted, percent).as_millis());
        assert_eq!(quantiles, [1, 10, 20, 20]);
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
