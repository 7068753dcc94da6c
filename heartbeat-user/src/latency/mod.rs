//! Latencies as HdrHistograms: one name, one unit (ns), always with n and max.
#![forbid(unsafe_code)]

mod durations;
mod format;
mod json;
mod plot;
mod recorded;
mod set;

pub use durations::{Durations, empty, to_hdr};
pub use recorded::{ChannelLatencies, Latencies};
pub use set::{Counts, Set, Since};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One histogram as it was at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name: `rtt/net1`, `lateness`, `takeover/announced`.
    pub name: String,
    /// The channel, where it is one channel's.
    pub channel: Option<String>,
    /// What it measures, in a few words.
    pub what: Cow<'static, str>,
    /// What it counts from, in ns since 1970.
    pub since_ns: u64,
    /// When it was taken, in ns since 1970.
    pub until_ns: u64,
    /// The counts, in ns.
    pub counts: hdrhistogram::Histogram<u64>,
    /// The longest one, exact where it is known, in ns; 0 where there is none.
    pub max_ns: u64,
}

/// One by its name (`rtt/net1`), or all of a kind (`rtt`).
///
/// # Errors
/// There is none; the message names those that there are.
pub fn select(mut snapshots: Vec<Snapshot>, name: &str) -> anyhow::Result<Vec<Snapshot>> {
    let fits = |s: &Snapshot| s.name == name || s.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    if !snapshots.iter().any(fits) {
        let known: Vec<_> = snapshots.iter().map(|s| s.name.as_str()).collect();
        anyhow::bail!("there is no histogram \"{name}\"; right would be one of: {}", known.join(", "));
    }
    snapshots.retain(fits);
    Ok(snapshots)
}

/// The answer to `GET /v1/histograms`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Histograms {
    /// How old these facts are, in ms.
    pub age_ms: f64,
    /// One for each name.
    pub histograms: Vec<Document>,
}

/// A histogram as JSON: without loss, so that any HdrHistogram can be made from it again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Its name: `rtt/net1`, `lateness`, `takeover/announced`.
    pub name: String,
    /// The channel, where it is one channel's.
    pub channel: Option<String>,
    /// What it measures, in a few words.
    pub what: String,
    /// Always `ns`.
    pub unit: String,
    /// What it counts from, in ns since 1970.
    pub since_ns: u64,
    /// When it was taken, in ns since 1970.
    pub until_ns: u64,
    /// How many values.
    pub n: u64,
    /// The shortest, to the bucket.
    pub min_ns: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// The longest.
    pub max_ns: u64,
    /// Some percentiles, rising.
    pub percentiles: Vec<Percentile>,
    /// Every bucket that is not empty, rising: its lowest value, its highest value, its count.
    pub buckets: Vec<[u64; 3]>,
}

/// So many percent are at most this.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Percentile {
    /// 0 to 100.
    pub percentile: f64,
    /// The highest value of the bucket that it falls into.
    pub ns: u64,
}

/// How a histogram is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A table of percentiles for people
    #[default]
    Text,
    /// HdrHistogram's percentile distribution, as its plotter reads it
    Hgrm,
    /// HdrHistogram's interval log, as all its implementations read it
    Hlog,
    /// One line a bucket
    Csv,
    /// All of it
    Json,
    /// A plot, of up to eight
    Svg,
}
