//! The metrics: what the status says for Prometheus, in its text format, by its conventions, in base units.
//!
//! The text format has no sparse histograms, so these have a fixed ladder of boundaries. A value counts as at most a boundary
//! if its bucket's highest value is: at most 0.8 % of a boundary, or 1.024 us, above it may count as beyond.

mod failover;

use super::{Health, Shown, Status};
use crate::{core::Difference, latency::Snapshot};
use anyhow::Result;
use prometheus::{
    Encoder as _, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use serde::Serialize;

/// The media type of the answer.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Boundaries in ns: 1, 2.5, 5 from 1 us to 10 s.
const BOUNDARIES: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

type Labels<'a> = &'a [(&'a str, &'a str)];

/// All metrics as text.
///
/// # Errors
/// None that this could do anything about: the encoder's.
pub fn metrics(facts: &Shown, status: &Status, histograms: &[Snapshot], requests: u64) -> Result<String> {
    let mut all = Vec::new();
    about_the_agent(&mut all, facts, status, requests);
    about_channels(&mut all, status);
    about_groups(&mut all, status);
    failover::about(&mut all, status);
    about_latencies(&mut all, histograms);
    let mut text = Vec::new();
    TextEncoder::new().encode(&all, &mut text)?;
    Ok(String::from_utf8(text)?)
}

fn about_the_agent(all: &mut Vec<MetricFamily>, facts: &Shown, status: &Status, requests: u64) {
    let pair = status.pair_id.to_string();
    let node = status.node.to_string();
    let info: Labels<'_> =
        &[("node", &node), ("pair", &pair), ("profile", status.profile.name()), ("version", &status.version)];
    gauge(all, "heartbeat_info", "Which agent this is", &[(info, 1.0)]);
    gauge(all, "heartbeat_facts_age_seconds", "How old the facts are", &[(&[], status.age_ms / 1e3)]);
    gauge(all, "heartbeat_interval_seconds", "Interval of the heartbeats", &[(&[], status.interval_ms / 1e3)]);
    gauge(
        all,
        "heartbeat_detection_seconds",
        "Silence on all channels after which the peer is dead",
        &[(&[], status.detection_ms / 1e3)],
    );
    let peer = [("good", Health::Good), ("bad", Health::Bad), ("unknown", Health::Unknown)];
    let states: Vec<_> =
        peer.iter().map(|(name, state)| ([("state", *name)], truth(status.peer.state == *state))).collect();
    gauge(all, "heartbeat_peer_state", "1 for the state that the peer is in", &borrowed(&states));
    let maintenance = [
        ([("controller", "local")], truth(status.maintenance)),
        ([("controller", "peer")], truth(status.peer.maintenance)),
    ];
    gauge(all, "heartbeat_maintenance", "Whether an operator wants nothing to move", &borrowed(&maintenance));
    let codes = Difference::ALL.map(|what| (code(&what), truth(status.peer.differs.contains(&what))));
    let differs: Vec<_> = codes.iter().map(|(what, on)| ([("what", what.as_str())], *on)).collect();
    gauge(
        all,
        "heartbeat_configuration_differs",
        "Whether the peer's configuration has other channels, groups, interval",
        &borrowed(&differs),
    );
    gauge(all, "heartbeat_term", "The ownership term", &[(&[], status.term as f64)]);
    let counts: Vec<_> =
        facts.feed.counts().into_iter().map(|(severity, n)| ([("severity", severity.name())], n as f64)).collect();
    counter(all, "heartbeat_events_total", "Events since the agent's start", &borrowed(&counts));
    counter(
        all,
        "heartbeat_events_lost_total",
        "Events that there was no room for",
        &[(&[], status.events_lost as f64)],
    );
    let of = |value: fn(&crate::events::sinks::SinkStatus) -> f64| -> Vec<_> {
        status.sinks.iter().map(|sink| ([("sink", sink.what.name())], value(sink))).collect()
    };
    let help = "Whether events, or latencies, get there";
    gauge(all, "heartbeat_sink_up", help, &borrowed(&of(|sink| truth(sink.works))));
    let help = "Records that did not get there and never will";
    counter(all, "heartbeat_sink_lost_total", help, &borrowed(&of(|sink| sink.lost as f64)));
    let help = "Attempts to write there that failed";
    counter(all, "heartbeat_sink_failures_total", help, &borrowed(&of(|sink| sink.failures as f64)));
    counter(all, "heartbeat_api_requests_total", "Requests to the API", &[(&[], requests as f64)]);
}

fn about_channels(all: &mut Vec<MetricFamily>, status: &Status) {
    let of = |value: fn(&super::Channel) -> Option<f64>| -> Vec<_> {
        status.channels.iter().filter_map(|c| Some(([("channel", c.name.as_str())], value(c)?))).collect()
    };
    gauge(
        all,
        "heartbeat_channel_up",
        "Whether the channel is GOOD",
        &borrowed(&of(|c| Some(truth(c.state == Health::Good)))),
    );
    gauge(
        all,
        "heartbeat_channel_carrier",
        "Whether its interface has a carrier",
        &borrowed(&of(|c| Some(truth(c.carrier)))),
    );
    gauge(
        all,
        "heartbeat_channel_fault",
        "Whether an analysis placed a fault on it",
        &borrowed(&of(|c| Some(truth(c.fault_place.is_some())))),
    );
    gauge(
        all,
        "heartbeat_channel_credit",
        "The counter that silence wears down; at 0 the channel is BAD",
        &borrowed(&of(|c| Some(c.counter.into()))),
    );
    gauge(
        all,
        "heartbeat_channel_silence_seconds",
        "Time since its last heartbeat",
        &borrowed(&of(|c| c.last_heard_ms.map(|ms| ms / 1e3))),
    );
    counter(all, "heartbeat_sent_total", "Heartbeats sent", &borrowed(&of(|c| Some(c.sent as f64))));
    counter(all, "heartbeat_received_total", "Heartbeats accepted", &borrowed(&of(|c| Some(c.received as f64))));
    counter(
        all,
        "heartbeat_missing_total",
        "Heartbeats that the peer sent and that were not accepted",
        &borrowed(&of(|c| Some(c.missing as f64))),
    );
    counter(
        all,
        "heartbeat_handshakes_total",
        "Authentic messages of no pairing yet",
        &borrowed(&of(|c| Some(c.handshakes as f64))),
    );
    let rejected: Vec<_> = status
        .channels
        .iter()
        .flat_map(|c| {
            c.rejected
                .iter()
                .map(|(reason, n)| ([("channel", c.name.as_str()), ("reason", reason.as_str())], *n as f64))
        })
        .collect();
    counter(all, "heartbeat_rejected_total", "Messages that were not life, by reason", &borrowed(&rejected));
}

fn about_groups(all: &mut Vec<MetricFamily>, status: &Status) {
    let held: Vec<_> = status.groups.iter().map(|g| ([("group", g.name.as_str())], truth(g.held))).collect();
    gauge(all, "heartbeat_group_held", "Whether its addresses are in place here", &borrowed(&held));
    let owned: Vec<_> =
        status.groups.iter().map(|g| ([("group", g.name.as_str())], truth(g.owner.is_some()))).collect();
    gauge(
        all,
        "heartbeat_group_owned",
        "Whether either controller holds it, as far as this one knows",
        &borrowed(&owned),
    );
}

fn about_latencies(all: &mut Vec<MetricFamily>, histograms: &[Snapshot]) {
    for (kind, name, help) in [
        ("inter_arrival", "heartbeat_inter_arrival_seconds", "Time between heartbeats, as the kernel stamped them"),
        ("rtt", "heartbeat_rtt_seconds", "There and back, without the time that the peer held it"),
        ("jitter", "heartbeat_jitter_seconds", "Difference between successive one-way delays"),
        ("stamp_to_drain", "heartbeat_stamp_to_drain_seconds", "From the kernel's stamp to the drain"),
        ("lateness", "heartbeat_pulse_lateness_seconds", "How late the pulse thread came to its appointments"),
        ("drain_to_verdict", "heartbeat_drain_to_verdict_seconds", "From the drain to the verdict"),
        ("takeover", "heartbeat_takeover_seconds", "From the decision to a stage of a takeover"),
    ] {
        let of_kind = histograms.iter().filter_map(|snapshot| {
            let rest = snapshot.name.strip_prefix(kind)?;
            let label = if kind == "takeover" { "stage" } else { "channel" };
            let mut metric = Metric::default();
            match rest.strip_prefix('/') {
                Some(value) => metric.set_label(vec![pair(label, value)]),
                None if rest.is_empty() => {}
                None => return None,
            }
            metric.set_histogram(histogram(snapshot));
            Some(metric)
        });
        family(all, name, help, MetricType::HISTOGRAM, of_kind.collect());
    }
}

fn histogram(snapshot: &Snapshot) -> Histogram {
    let counts = &snapshot.counts;
    let mut recorded =
        counts.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value())).peekable();
    let mut cumulative = 0;
    let buckets = BOUNDARIES.map(|boundary| {
        while let Some((_, count)) = recorded.next_if(|(value, _)| counts.highest_equivalent(*value) <= boundary) {
            cumulative += count;
        }
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(boundary as f64 / 1e9);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_sample_count(counts.len());
    histogram.set_sample_sum(counts.mean() * counts.len() as f64 / 1e9);
    histogram.set_bucket(buckets.into());
    histogram
}

const fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn borrowed<'a, const N: usize>(values: &'a [([(&'a str, &'a str); N], f64)]) -> Vec<(Labels<'a>, f64)> {
    values.iter().map(|(labels, value)| (&labels[..], *value)).collect()
}

fn gauge(all: &mut Vec<MetricFamily>, name: &str, help: &str, values: &[(Labels<'_>, f64)]) {
    let metrics = values.iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(*value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    family(all, name, help, MetricType::GAUGE, metrics.collect());
}

fn counter(all: &mut Vec<MetricFamily>, name: &str, help: &str, values: &[(Labels<'_>, f64)]) {
    let metrics = values.iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(*value);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        metric
    });
    family(all, name, help, MetricType::COUNTER, metrics.collect());
}

/// What has no value is not there.
fn family(all: &mut Vec<MetricFamily>, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
    if metrics.is_empty() {
        return;
    }
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    all.push(family);
}

/// What events and the status call it.
pub(super) fn code(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

fn labelled(labels: Labels<'_>) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(|(name, value)| pair(name, value)).collect());
    metric
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::empty;

    #[test]
    fn a_histogram_is_cumulative_and_what_is_beyond_all_boundaries_is_in_the_count() {
        let mut counts = empty();
        for ns in [900_000, 990_000, 30_000_000_000] {
            counts.record(ns).unwrap();
        }
        let snapshot = Snapshot {
            name: "lateness".into(),
            channel: None,
            what: "".into(),
            since_ns: 0,
            until_ns: 0,
            counts,
            max_ns: 30_000_000_000,
        };
        let histogram = histogram(&snapshot);
        let counts: Vec<_> = histogram.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!(counts[..9], [0; 9]);
        assert_eq!(counts[9..], [2; 13]);
        assert_eq!(histogram.get_sample_count(), 3);
        assert!((histogram.get_sample_sum() - 30.0).abs() < 0.3);
    }
}
