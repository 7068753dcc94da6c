//! What the tests of the agents' behaviour are made of: a pair that runs, what its agents say, who has what, an operator's
//! scripts, trials and what they measure.
//!
//! A test names these by `heartbeat_tests::scenario` alone; which file one is in matters to nobody but its reader.

mod addresses;
mod clients;
mod filters;
mod measured;
mod pair;
mod scripts;
mod status;
mod story;
mod trials;

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use addresses::{has, holders, nobody_died, stays, wait_answer, wait_holders};
pub use clients::{Client, NOTICED, service};
pub use filters::{lose_heartbeats, nft};
pub use measured::Measured;
pub use pair::{
    CHANNELS, bring_up, group_of, key, network_of, record, reload, reload_with, running, serving, settled, start_apart,
    started, take_over, wait_minds_signals,
};
pub use scripts::Scripts;
pub use status::{
    channel, expect_holders, expect_settled, held, increase, named, owners, rejected, wait_owners, wait_settled,
    wait_well,
};
pub use story::{between, changes, group_events, is_change, nanos, story, wait_all_good, wait_said, wait_said_of};
pub use trials::{CALM, FAST, LAN, Profile, Run, ULTRA, healthy_pair, profiles, wait_phase};

/// From one look to the next, where no event says when: whoever looks must not be what the agents wait for.
pub const PACE: Duration = Duration::from_millis(5);
/// What should happen at once has this long on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(10);

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

/// Looks on for so long: there is no event for what does not happen.
pub fn look_on(span: Duration) {
    thread::sleep(span);
}

/// Shows a line on standard error although the test passes.
pub fn show(text: &str) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{text}");
}
