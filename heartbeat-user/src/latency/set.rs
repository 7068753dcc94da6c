//! All histograms of an agent, as they are now: since its start, or since the last reset.

use super::{Durations, Snapshot, durations::to_hdr};
use crate::{config::ChannelConfig, dataplane::Tables, latency::Latencies, system::clock};
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::{collections::HashMap, sync::Mutex};

/// What is counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Since {
    /// The agent's start; of what the kernel counts, the attachment of the program.
    #[default]
    Start,
    /// The last reset.
    Reset,
}

/// What is counted, by whoever counts it.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    /// The agent's own.
    pub latencies: &'a Latencies,
    /// The kernel's.
    pub tables: &'a Tables,
    /// The channels of both.
    pub channels: &'a [ChannelConfig],
}

/// Takes them; a reset moves no count, it only remembers what was there.
pub struct Set {
    started_ns: u64,
    reset: Mutex<Reset>,
}

struct Reset {
    at_ns: u64,
    counts: HashMap<String, Histogram<u64>>,
}

impl Set {
    /// One that counts from now.
    #[must_use]
    pub fn new() -> Self {
        let started_ns = clock::realtime_ns();
        Self { started_ns, reset: Mutex::new(Reset { at_ns: started_ns, counts: HashMap::new() }) }
    }

    /// All of them.
    #[must_use]
    pub fn take(&self, counts: &Counts<'_>, since: Since) -> Vec<Snapshot> {
        let mut all = self.since_start(counts);
        if since == Since::Reset
            && let Ok(reset) = self.reset.lock()
        {
            for snapshot in &mut all {
                snapshot.since_ns = reset.at_ns;
                if let Some(before) = reset.counts.get(&snapshot.name) {
                    // Counts that went back, as after a new attachment: they are all since then.
                    let mut after = snapshot.counts.clone();
                    if after.subtract(before).is_ok() {
                        snapshot.counts = after;
                        snapshot.max_ns = snapshot.max_ns.min(snapshot.counts.max());
                    }
                }
            }
        }
        all
    }

    /// What is there now counts no longer, for [`Since::Reset`].
    pub fn reset(&self, counts: &Counts<'_>) {
        let counts = self.since_start(counts).into_iter().map(|snapshot| (snapshot.name, snapshot.counts)).collect();
        if let Ok(mut reset) = self.reset.lock() {
            *reset = Reset { at_ns: clock::realtime_ns(), counts };
        }
    }

    fn since_start(&self, counts: &Counts<'_>) -> Vec<Snapshot> {
        let until_ns = clock::realtime_ns();
        let snapshot =
            |name: String, channel: Option<&str>, what: &'static str, counts: Histogram<u64>, max_ns: u64| {
                let channel = channel.map(str::to_owned);
                Snapshot { name, channel, what: what.into(), since_ns: self.started_ns, until_ns, counts, max_ns }
            };
        let mut all = Vec::new();
        let latencies = counts.latencies;
        let mut own = |name: String, channel: Option<&str>, what: &'static str, durations: &Durations| {
            all.push(snapshot(name, channel, what, durations.to_hdr(), durations.max().0));
        };
        own("lateness".into(), None, "how late the pulse thread came to its appointments", &latencies.lateness);
        own("drain_to_verdict".into(), None, "from the drain to the verdict", &latencies.drain_to_verdict);
        let stages = [
            ("first_address", "from the decision to the first address in place"),
            ("addresses_in_place", "from the decision to all addresses in place"),
            ("announced", "from the decision to all addresses announced"),
        ];
        for ((stage, what), durations) in stages.into_iter().zip(&latencies.takeover) {
            own(format!("takeover/{stage}"), None, what, durations);
        }
        for (channel, of) in counts.channels.iter().zip(&latencies.channels) {
            let name = channel.name.as_str();
            own(format!("rtt/{name}"), Some(name), "there and back, without the time that the peer held it", &of.rtt);
            own(format!("jitter/{name}"), Some(name), "difference between successive one-way delays", &of.jitter);
            own(
                format!("stamp_to_drain/{name}"),
                Some(name),
                "from the kernel's stamp to the drain",
                &of.stamp_to_drain,
            );
        }
        for channel in counts.channels {
            let kernel = counts.tables.inter_arrival(channel.index);
            let (name, counts) = (channel.name.as_str(), to_hdr(kernel));
            let (max, what) = (counts.max(), "between heartbeats, as the kernel stamped them");
            all.push(snapshot(format!("inter_arrival/{name}"), Some(name), what, counts, max));
        }
        all
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}
