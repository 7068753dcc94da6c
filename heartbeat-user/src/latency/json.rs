//! Histograms as JSON, without loss.

use super::{Document, Percentile, Snapshot};

/// The percentiles that are named.
const PERCENTILES: [f64; 10] = [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999, 100.0];

impl From<&Snapshot> for Document {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot { name, channel, what, since_ns, until_ns, counts, max_ns } = snapshot;
        let empty = counts.is_empty();
        // The highest value of a bucket may lie beyond the longest one in it.
        let percentiles = PERCENTILES
            .into_iter()
            .filter(|_| !empty)
            .map(|percentile| Percentile { percentile, ns: counts.value_at_percentile(percentile).min(*max_ns) });
        Self {
            name: name.clone(),
            channel: channel.clone(),
            what: what.to_string(),
            unit: "ns".into(),
            since_ns: *since_ns,
            until_ns: *until_ns,
            n: counts.len(),
            min_ns: if empty { 0 } else { counts.min() },
            mean_ns: counts.mean(),
            max_ns: *max_ns,
            percentiles: percentiles.collect(),
            buckets: counts
                .iter_recorded()
                .map(|bucket| {
                    let value = bucket.value_iterated_to();
                    [counts.lowest_equivalent(value), counts.highest_equivalent(value), bucket.count_at_value()]
                })
                .collect(),
        }
    }
}
