//! From exec to `ready`: on a fresh host, after a SIGKILL, and by reload (SIGHUP), where the peer must not notice.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use heartbeat_tests::lab::{Config, Family, Mark, Node, Options};

use super::{Repeated, SOON, Trials, pair, settle, table};

/// Restarts must stay below what `fast` allows (three intervals of 10 ms), or the peer takes over.
const FAST_MS: f64 = 30.0;

pub(crate) fn run(trials: Trials) -> Result<()> {
    let mut fresh = table::Row::new("exec -> ready, fresh host")?;
    let mut again = table::Row::new("exec -> ready, after SIGKILL")?.max(FAST_MS);
    let mut reload = table::Row::new("SIGHUP -> ready")?.max(FAST_MS);
    let config = Config::pair(2, Family::V4).profile("fast");
    let lab = pair(Options::default(), &config)?;
    let mut noticed = [0, 0];
    let ready = |since: Mark, from: u64| -> Result<u64> {
        let ready = lab.wait_event_since(Node::A, since, |line| line.is("ready"), SOON)?;
        // Longer than any detection time.
        thread::sleep(Duration::from_millis(200));
        settle(&lab)?;
        Ok(ready.time_ns.saturating_sub(from))
    };
    let found_dead = |since: Mark| lab.events_since(Node::B, since).iter().any(|line| line.is("peer_dead"));
    let Repeated { count, .. } = trials.repeat(30, |_| {
        lab.stop(Node::A)?;
        let mark = lab.mark(Node::A);
        fresh.record(ready(mark, lab.start(Node::A)?)?)?;

        let (mark, peer) = (lab.mark(Node::A), lab.mark(Node::B));
        reload.record(ready(mark, lab.reload(Node::A)?)?)?;
        noticed[0] += usize::from(found_dead(peer));

        let (mark, peer) = (lab.mark(Node::A), lab.mark(Node::B));
        lab.kill(Node::A)?;
        again.record(ready(mark, lab.start(Node::A)?)?)?;
        noticed[1] += usize::from(found_dead(peer));
        Ok(true)
    })?;
    table::print("Start (profile fast, 3 channels, 2 groups)", &[fresh, again, reload]);
    println!(
        "found dead by its peer at fast (30 ms): in {} of {count} reloads, in {} of {count} restarts after SIGKILL",
        noticed[0], noticed[1]
    );
    Ok(())
}
