//! What trials of a takeover, of a cut channel and of a restart share: profiles, how many and how strictly, a healthy pair, a
//! moment within the interval.
//!
//! A bound on time holds on a quiet host. Where it may hold anybody up, a plain run goes at [`CALM`], allows [`SLACK`]
//! beyond each bound and does few trials; with `HEARTBEAT_TRIALS=20` in the environment, which `cargo xtask accept` sets,
//! it goes at [`LAN`] and [`FAST`], each test does so many trials and allows nothing. The tables go to standard error past the test harness, so they
//! are seen without `--nocapture`:
//!
//! ```text
//! cargo xtask accept takes_over
//! ```

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{SOON, expect_settled, running, wait_all_good};
use crate::host;
use crate::inject::Tap;
use crate::lab::topology::{Host, mac};
use crate::lab::{Config, Lab, Node};

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
        Config::usual().profile(self.name).timing("interval", &interval)
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
    let lab = running(&profile.config())?;
    for node in Node::BOTH {
        wait_all_good(&lab, node, lab.run_begin(node))?;
    }
    expect_settled(&lab, [Node::A, Node::B])?;
    Ok(lab)
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
