//! How histograms are written down: for people, for plotters, for other programs.

use super::{Document, Format, Histograms, Snapshot, empty, plot::plot};
use crate::types::Nanos;
use anyhow::{Result, anyhow, ensure};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

impl Format {
    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text | Self::Hgrm | Self::Hlog => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Svg => "image/svg+xml",
        }
    }

    /// These histograms, so written.
    ///
    /// # Errors
    /// A percentile distribution is of one histogram, a plot of up to eight.
    pub fn render(self, snapshots: &[Snapshot]) -> Result<String> {
        Ok(match self {
            Self::Text => match snapshots {
                [one] => table(one),
                all => summary(all),
            },
            Self::Hgrm => match snapshots {
                [one] => distribution(&one.counts),
                all => {
                    anyhow::bail!("hgrm is of one histogram, these are {}; right would be the name of one", all.len())
                }
            },
            Self::Hlog => log(snapshots)?,
            Self::Csv => csv(snapshots),
            Self::Svg => plot(snapshots)?,
            Self::Json => {
                let histograms = snapshots.iter().map(Document::from).collect();
                serde_json::to_string_pretty(&Histograms { age_ms: 0.0, histograms })? + "\n"
            }
        })
    }
}

impl TryFrom<&Document> for Snapshot {
    type Error = anyhow::Error;

    /// Without loss: bucket by bucket.
    fn try_from(document: &Document) -> Result<Self> {
        let name = &document.name;
        let mut counts = empty();
        for [lowest, _, count] in &document.buckets {
            counts.record_n(*lowest, *count).map_err(|error| anyhow!("{name}: a bucket at {lowest} ns: {error}"))?;
        }
        ensure!(counts.len() == document.n, "{name}: its buckets have {} of {} values", counts.len(), document.n);
        Ok(Self {
            name: name.clone(),
            channel: document.channel.clone(),
            what: document.what.clone().into(),
            since_ns: document.since_ns,
            until_ns: document.until_ns,
            counts,
            max_ns: document.max_ns,
        })
    }
}

/// The value at a percentile: never beyond the longest one.
fn at(snapshot: &Snapshot, percentile: f64) -> Nanos {
    if snapshot.counts.is_empty() {
        return Nanos(0);
    }
    Nanos(snapshot.counts.value_at_percentile(percentile).min(snapshot.max_ns))
}

fn summary(snapshots: &[Snapshot]) -> String {
    let width = snapshots.iter().map(|s| s.name.len()).max().unwrap_or(0).max("histogram".len());
    let mut text =
        format!("{:<width$} {:>10} {:>12} {:>12} {:>12} {:>12}\n", "histogram", "n", "median", "p99", "p99.9", "max");
    for s in snapshots {
        let [median, p99, p999] = [50.0, 99.0, 99.9].map(|p| at(s, p).to_string());
        let (n, max) = (s.counts.len(), Nanos(s.max_ns).to_string());
        line(&mut text, format_args!("{:<width$} {n:>10} {median:>12} {p99:>12} {p999:>12} {max:>12}", s.name));
    }
    text
}

fn table(snapshot: &Snapshot) -> String {
    let Snapshot { name, what, counts, max_ns, .. } = snapshot;
    let mut text = format!("{name}: {what}\n");
    for percentile in [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999] {
        line(&mut text, format_args!("{percentile:>8} % {:>14}", at(snapshot, percentile).to_string()));
    }
    line(&mut text, format_args!("{:>10} {:>14}", "max", Nanos(*max_ns).to_string()));
    line(&mut text, format_args!("{:>10} {:>14}", "mean", Nanos(counts.mean() as u64).to_string()));
    line(&mut text, format_args!("{:>10} {:>14}", "n", counts.len()));
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes all text");
}

/// HdrHistogram's percentile distribution, values in us, as its plotter reads it.
fn distribution(counts: &Histogram<u64>) -> String {
    /// Steps in each half of the distance to 100 %.
    const STEPS: u32 = 5;
    let us = |ns: f64| ns / 1e3;
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in counts.iter_quantiles(STEPS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to() as f64), step.quantile_iterated_to());
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            line(&mut text, format_args!("{value:>12.3} {quantile:>2.12} {total:>10} {inverse:>14.2}"));
        } else {
            line(&mut text, format_args!("{value:>12.3} {quantile:>2.12} {total:>10}"));
        }
    }
    let (mean, deviation, max) = (us(counts.mean()), us(counts.stdev()), us(counts.max() as f64));
    line(&mut text, format_args!("#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]"));
    line(&mut text, format_args!("#[Max     = {max:>12.3}, Total count    = {:>12}]", counts.len()));
    line(&mut text, format_args!("#[Buckets = {:>12}, SubBuckets     = {:>12}]", counts.buckets(), 256));
    text
}

/// HdrHistogram's interval log: one line a histogram, tagged with its name; values in ns.
fn log(snapshots: &[Snapshot]) -> Result<String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let time = |ns: u64| UNIX_EPOCH + Duration::from_nanos(ns);
    let start = snapshots.iter().map(|s| s.since_ns).min().unwrap_or(0);
    let mut log = IntervalLogWriterBuilder::new()
        .with_start_time(time(start))
        .with_base_time(UNIX_EPOCH)
        .begin_log_with(&mut bytes, &mut serializer)?;
    for s in snapshots {
        let tag = Tag::new(&s.name).ok_or_else(|| anyhow!("{:?} cannot be a tag", s.name))?;
        let lasted = Duration::from_nanos(s.until_ns.saturating_sub(s.since_ns));
        log.write_histogram(&s.counts, Duration::from_nanos(s.since_ns), lasted, Some(tag))
            .map_err(|error| anyhow!("{}: {error:?}", s.name))?;
    }
    drop(log);
    Ok(String::from_utf8(bytes)?)
}

fn csv(snapshots: &[Snapshot]) -> String {
    let mut text = "name,lowest_ns,highest_ns,count,cumulative\n".to_owned();
    for snapshot in snapshots {
        let mut cumulative = 0;
        for [lowest, highest, count] in Document::from(snapshot).buckets {
            cumulative += count;
            line(&mut text, format_args!("{},{lowest},{highest},{count},{cumulative}", snapshot.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };
    use proptest::prelude::*;

    fn snapshot(values: &[u64]) -> Snapshot {
        let mut counts = empty();
        for value in values {
            counts.record(*value).unwrap();
        }
        Snapshot {
            name: "rtt/net1".into(),
            channel: Some("net1".into()),
            what: "there and back".into(),
            since_ns: 1_000_000_000,
            until_ns: 3_000_000_000,
            counts,
            max_ns: values.iter().copied().max().unwrap_or(0),
        }
    }

    #[test]
    fn an_empty_histogram_is_written_in_every_format() {
        let all = [snapshot(&[])];
        for format in [Format::Text, Format::Hgrm, Format::Hlog, Format::Csv, Format::Json, Format::Svg] {
            let text = format.render(&all).unwrap();
            assert!(!text.is_empty() && !text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }

    #[test]
    fn a_table_has_n_and_the_exact_longest_one_and_no_percentile_beyond_it() {
        let text = Format::Text.render(&[snapshot(&[100_000, 200_000, 1_000_001])]).unwrap();
        assert!(text.contains("max       1.000 ms") && text.contains("n              3"), "{text}");
        assert!(text.contains("99.999 %       1.000 ms"), "{text}");
        let several = Format::Text.render(&[snapshot(&[1]), snapshot(&[])]).unwrap();
        assert_eq!(several.lines().count(), 3, "{several}");
        assert!(Format::Hgrm.render(&[snapshot(&[1]), snapshot(&[])]).unwrap_err().to_string().contains("of one"));
    }

    proptest! {
        #[test]
        fn as_json_and_as_a_log_nothing_is_lost(values in proptest::collection::vec(0..1u64 << 36, 0..200)) {
            let before = snapshot(&values);
            let document: Histograms = serde_json::from_str(&Format::Json.render(std::slice::from_ref(&before)).unwrap()).unwrap();
            let after = Snapshot::try_from(&document.histograms[0]).unwrap();
            prop_assert_eq!(&after.counts, &before.counts);
            prop_assert_eq!((after.max_ns, after.name), (before.max_ns, before.name.clone()));

            let text = Format::Hlog.render(std::slice::from_ref(&before)).unwrap();
            let entries: Vec<_> = IntervalLogIterator::new(text.as_bytes()).filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some((interval.tag().unwrap().as_str().to_owned(), interval.encoded_histogram().to_owned())),
                _ => None,
            }).collect();
            prop_assert_eq!(entries.len(), 1);
            prop_assert_eq!(&entries[0].0, "rtt/net1");
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(&entries[0].1).unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            prop_assert_eq!(read.len(), before.counts.len());
            for quantile in [0.1, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(read.value_at_quantile(quantile), before.counts.value_at_quantile(quantile));
            }
        }
    }
}
