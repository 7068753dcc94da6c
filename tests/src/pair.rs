//! A running pair, and what its status documents and logs say: what the tests of the agents' behaviour begin with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::frame;
use crate::inject::Tap;
use crate::lab::topology::{Host, mac};
use crate::lab::{Config, Lab, LogLine, Mark, Node, Options};

/// From one look to the next, where no event says when: whoever looks must not be what the agents wait for.
pub const PACE: Duration = Duration::from_millis(5);
/// What should happen at once has this long on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(10);

/// A new lab that fits `config`, with both agents running and settled.
///
/// # Errors
/// The lab's, or the pair does not settle.
pub fn running(config: &Config) -> Result<Lab> {
    let networks = config.channels.iter().filter(|channel| channel.kind == "network").count();
    let lab = Lab::new(Options { networks, clients: networks.min(2), ..Options::default() })?;
    bring_up(&lab, config)?;
    Ok(lab)
}

/// Starts both agents of a lab with `config`, and waits until they are [`settled`].
///
/// # Errors
/// The lab's, or the pair does not settle.
pub fn bring_up(lab: &Lab, config: &Config) -> Result<()> {
    lab.configure(config)?;
    for node in Node::BOTH {
        lab.start(node)?;
    }
    settled(lab, config)
}

/// Waits until both agents hear each other on every channel, and each group is held at home.
///
/// # Errors
/// That does not happen soon.
pub fn settled(lab: &Lab, config: &Config) -> Result<()> {
    for node in Node::BOTH {
        for channel in &config.channels {
            lab.wait_event(node, |line| line.is_of("channel_good", &channel.name), SOON)?;
        }
    }
    for group in &config.groups {
        lab.wait_event(group.home, |line| line.is_of("group_acquired", &group.name), SOON)?;
    }
    // And each has heard of what the other holds, and can serve with.
    until("both know the owners", || {
        let known = |node| -> Result<bool> {
            let status = lab.status(node)?.json;
            Ok(owners(&status).iter().all(|owner| !owner.is_empty()) && !status["peer"]["service"].is_null())
        };
        Ok((known(Node::A)? && known(Node::B)?).then_some(()))
    })
}

/// `[api]` of a file: HTTP at `address` on each controller, and orders for whoever has this token.
///
/// # Errors
/// The token's file cannot be written.
pub fn serving(lab: &Lab, address: &str, token: &str) -> Result<String> {
    let file = lab.folder().join("token");
    fs::write(&file, format!("{token}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(format!("[api]\nhttp = \"{address}\"\ntoken_file = \"{}\"\n", file.display()))
}

/// Looks again and again until there is something to see.
///
/// # Errors
/// Nothing, soon; or what looking came to.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("not within {SOON:?}: {what}");
        }
        thread::sleep(PACE);
    }
}

/// A channel of a status document; null where there is none of that name.
#[must_use]
pub fn channel<'a>(status: &'a Value, name: &str) -> &'a Value {
    let channels = status["channels"].as_array();
    channels.and_then(|all| all.iter().find(|channel| channel["name"] == name)).unwrap_or(&Value::Null)
}

/// Who holds each group, in order; empty for nobody.
#[must_use]
pub fn owners(status: &Value) -> Vec<String> {
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    groups.iter().map(|group| group["owner"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Which groups are in place there, in order.
#[must_use]
pub fn held(status: &Value) -> Vec<bool> {
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    groups.iter().map(|group| group["held"] == true).collect()
}

/// A channel's rejected messages by reason, and its handshakes under `handshake`.
#[must_use]
pub fn rejected(status: &Value, name: &str) -> BTreeMap<String, u64> {
    let channel = channel(status, name);
    let mut counts: BTreeMap<_, _> = channel["rejected"]
        .as_object()
        .map(|reasons| reasons.iter().map(|(reason, n)| (reason.clone(), n.as_u64().unwrap_or(0))).collect())
        .unwrap_or_default();
    counts.insert("handshake".to_owned(), channel["handshakes"].as_u64().unwrap_or(0));
    counts
}

/// What `after` has more than `before`, where that is anything.
#[must_use]
pub fn increase(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more =
        |(reason, n): (&String, &u64)| (reason.clone(), n.saturating_sub(before.get(reason).copied().unwrap_or(0)));
    after.iter().map(more).filter(|(_, n)| *n > 0).collect()
}

/// The lines since `mark` that say that something changed: all but late wake-ups and what these say of a failover, which change
/// nothing, and analyses that find that all is well.
#[must_use]
pub fn changes(lab: &Lab, node: Node, mark: Mark) -> Vec<LogLine> {
    lab.events_since(node, mark).into_iter().filter(is_change).collect()
}

/// Whether a line is one of [`changes`].
#[must_use]
pub fn is_change(line: &LogLine) -> bool {
    let well = line.is("judged") && line.raw["verdict"]["nothing"] == "all_well";
    let quiet = ["stalled", "networks_probed", "not_ready", "ready_again"];
    line.event.as_deref().is_some_and(|event| !quiet.contains(&event)) && !well
}

/// `count` heartbeats that `from` sends on network `number`, as its switch hears them from now on.
///
/// # Errors
/// They do not come soon.
pub fn record(lab: &Lab, number: usize, from: Node, count: usize) -> Result<Vec<Vec<u8>>> {
    let tap = Tap::open(lab.switch(number)?, from.name())?;
    let sender = mac(Host::Controller(from), number);
    let wanted = |heard: &[u8]| heard.get(6..12) == Some(&sender[..]) && frame::payload(heard, frame::PORT).is_some();
    (0..count).map(|_| tap.next(wanted, SOON)).collect()
}

/// Waits until an agent that was started minds its signals: from then on, none ends it at once and none is lost. Before, it
/// is a program like any other.
///
/// # Errors
/// It has ended, or does not begin soon.
pub fn wait_minds_signals(lab: &Lab, node: Node) -> Result<()> {
    // Held or caught: sets of bits in proc_pid_status(5), signal n at bit n - 1.
    const SIGTERM: u64 = 1 << 14;
    until(&format!("the agent on {node} minds its signals"), || {
        let pid = lab.pid(node).with_context(|| format!("no agent runs on {node}"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let sets = status.lines().filter_map(|line| line.strip_prefix("SigBlk:").or(line.strip_prefix("SigCgt:")));
        let mut minded = 0;
        for set in sets {
            minded |= u64::from_str_radix(set.trim(), 16)?;
        }
        Ok((minded & SIGTERM != 0).then_some(()))
    })
}

/// The bytes of the lab's first key.
///
/// # Errors
/// There is no key file, or it is not as `heartbeat keygen` makes it.
pub fn key(lab: &Lab) -> Result<[u8; 16]> {
    let text = fs::read_to_string(lab.key_file()).context("cannot read the key file")?;
    let hex = text.lines().find_map(|line| line.strip_prefix("0 ")).context("no key 0")?.trim();
    let mut key = [0; 16];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2).context("a short key")?, 16)?;
    }
    Ok(key)
}
