//! A pair that runs, and what is done with it: what the tests of the agents' behaviour begin with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result};

use super::{SOON, owners, story, until, wait_said};
use crate::frame;
use crate::inject::Tap;
use crate::lab::topology::{Host, mac};
use crate::lab::{Config, Lab, Node, Options};

/// The channels of a lab with two networks.
pub const CHANNELS: [&str; 3] = ["net1", "net2", "xlink"];

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
    lab.start_both()?;
    settled(lab, config)
}

/// Starts both agents of a lab, each with its own configuration.
///
/// # Errors
/// The lab's.
pub fn start_apart(lab: &Lab, configs: [&Config; 2]) -> Result<()> {
    lab.make_key()?;
    for (node, config) in Node::BOTH.into_iter().zip(configs) {
        lab.configure_one(node, config)?;
    }
    lab.start_both()
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

/// A new lab with both agents started; what `configure` does to the configuration may need the lab's folder.
///
/// # Errors
/// The lab's.
pub fn started(configure: impl FnOnce(&Lab, &mut Config)) -> Result<(Lab, Config)> {
    let lab = Lab::new(Options::default())?;
    let mut config = Config::usual();
    configure(&lab, &mut config);
    lab.configure(&config)?;
    lab.start_both()?;
    Ok((lab, config))
}

/// Writes a controller's file anew, and does the same as [`reload`].
///
/// # Errors
/// As [`reload`].
pub fn reload_with(lab: &Lab, node: Node, config: &Config) -> Result<()> {
    lab.configure_one(node, config)?;
    reload(lab, node)
}

/// Reloads an agent, and waits until its new life says that it is there.
///
/// # Errors
/// It does not soon, or refuses.
pub fn reload(lab: &Lab, node: Node) -> Result<()> {
    let mark = lab.mark(node);
    lab.reload(node)?;
    for event in ["restarting", "ready"] {
        wait_said(lab, node, mark, event)?;
    }
    Ok(())
}

/// Orders that `node` takes a group over, as soon as both agree about their files and hear each other.
///
/// # Errors
/// It is not taken over soon.
pub fn take_over(lab: &Lab, node: Node, group: &str) -> Result<()> {
    let taken = || Ok((lab.order(node, &["takeover", group])?.0 == Some(0)).then_some(()));
    until(&format!("{node} takes {group} over"), taken).with_context(|| story(lab))
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
