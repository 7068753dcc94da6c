//! What gets lost by rules of nftables.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Namespace};

/// Loads rules in a namespace, as `nft` reads them.
///
/// # Errors
/// There is no `nft`, or it refuses them.
pub fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.arg(rules);
    let done = namespace.run(move || command.output())?.context("nft is needed: apt-get install nftables")?;
    ensure!(done.status.success(), "nft: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Between the controllers heartbeats get lost from now on, and nothing else; or no longer.
///
/// # Errors
/// As [`nft`].
pub fn lose_heartbeats(lab: &Lab, lose: bool) -> Result<()> {
    let rules = "add table bridge lose\n\
                 add chain bridge lose heartbeats { type filter hook forward priority 0; }\n\
                 add rule bridge lose heartbeats meta l4proto udp udp dport 694 drop\n";
    let rules = if lose { rules } else { "delete table bridge lose\n" };
    (0..=lab.options().networks).try_for_each(|number| nft(lab.switch(number)?, rules))
}
