//! Recordings from a file: `heartbeat histogram --format json`, or an HdrHistogram interval log.

use super::Recording;
use crate::latency::{Histograms, Snapshot, empty};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use std::collections::BTreeMap;

/// What the histograms of channels' gaps are called, before the channel's name.
const GAPS: &str = "inter_arrival/";
/// The most histograms that a file may have by name.
const MOST: usize = 1_024;

/// What a file has.
#[derive(Clone, Debug)]
pub struct Read {
    /// The channels, by name.
    pub recordings: Vec<Recording>,
    /// 99.9 % of the pulse thread's appointments were late by at most this, in s; 0 where it is not in the file.
    pub lateness_s: f64,
    /// The longest of the channels' median round trips, in s; 0 where there is none.
    pub rtt_s: f64,
}

impl Read {
    /// What named histograms in ns say.
    ///
    /// # Errors
    /// None of them is of the times between heartbeats.
    pub fn new<'a>(named: impl Iterator<Item = (&'a str, &'a Histogram<u64>)>) -> Result<Self> {
        let mut read = Self { recordings: Vec::new(), lateness_s: 0.0, rtt_s: 0.0 };
        for (name, counts) in named {
            if let Some(channel) = name.strip_prefix(GAPS) {
                read.recordings.push(Recording::new(channel, counts));
            } else if name == "lateness" && !counts.is_empty() {
                read.lateness_s = counts.value_at_quantile(0.999) as f64 / 1e9;
            } else if name.starts_with("rtt/") && !counts.is_empty() {
                read.rtt_s = read.rtt_s.max(counts.value_at_quantile(0.5) as f64 / 1e9);
            }
        }
        ensure!(!read.recordings.is_empty(), "no histogram {GAPS}CHANNEL in it; right would be one for each channel");
        Ok(read)
    }
}

/// Reads a file's text.
///
/// # Errors
/// It is neither, or broken, or has no times between heartbeats.
pub fn read(text: &str) -> Result<Read> {
    let named = if text.trim_start().starts_with('{') { json(text)? } else { log(text)? };
    Read::new(named.iter().map(|(name, counts)| (name.as_str(), counts)))
}

fn json(text: &str) -> Result<BTreeMap<String, Histogram<u64>>> {
    let all: Histograms = serde_json::from_str(text).context("not what `heartbeat histogram --format json` writes")?;
    let mut named = BTreeMap::new();
    for document in &all.histograms {
        let Snapshot { name, counts, .. } = Snapshot::try_from(document)?;
        add(&mut named, &name, &counts)?;
    }
    Ok(named)
}

/// One or many intervals: those of one tag are one recording.
fn log(text: &str) -> Result<BTreeMap<String, Histogram<u64>>> {
    let mut named = BTreeMap::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let entry = entry.map_err(|error| {
            anyhow!("neither JSON nor an interval log ({error:?}); right would be `heartbeat histogram --format hlog`")
        })?;
        let LogEntry::Interval(interval) = entry else { continue };
        let Some(tag) = interval.tag() else { continue };
        let bytes =
            STANDARD.decode(interval.encoded_histogram()).with_context(|| format!("{}: base64", tag.as_str()))?;
        let counts = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| anyhow!("{}: not a histogram: {error:?}", tag.as_str()))?;
        add(&mut named, tag.as_str(), &counts)?;
    }
    Ok(named)
}

fn add(named: &mut BTreeMap<String, Histogram<u64>>, name: &str, counts: &Histogram<u64>) -> Result<()> {
    if named.len() >= MOST && !named.contains_key(name) {
        bail!("more than {MOST} histograms in one file");
    }
    let all = named.entry(name.to_owned()).or_insert_with(empty);
    all.add(counts).map_err(|error| anyhow!("{name}: its values do not fit: {error}"))
}
