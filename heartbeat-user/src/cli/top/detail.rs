//! One channel in `heartbeat top`: its ends, its counts, its latencies.

use super::{
    look::{Look, bars},
    model::Facts,
};
use crate::{
    api::Channel,
    cli::{
        format::{self, fit},
        paint::Tone,
    },
    latency::Document,
    types::Nanos,
};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Block, Borders, Paragraph, Widget},
};
use std::time::Duration;

/// The percentiles that have a column.
const SHOWN: [(&str, f64); 5] = [("median", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];
/// What is measured on a channel.
const KINDS: [&str; 4] = ["rtt", "jitter", "inter_arrival", "stamp_to_drain"];

pub(super) fn draw(facts: &Facts, channel: &Channel, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let block = Block::new().borders(Borders::TOP).title(format!("channel {} ", channel.name));
    let inner = block.inner(area);
    block.render(area, buffer);
    let lines: Vec<_> = about(channel)
        .into_iter()
        .chain([(Tone::Plain, String::new())])
        .chain(table(facts, channel))
        .map(|(tone, text)| Line::from(look.span(tone, fit(&text, inner.width.into()))))
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(inner.height);
    let [text, median, max] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1), Constraint::Fill(1)]).areas(inner);
    Paragraph::new(lines).render(text, buffer);
    let Some(series) = facts.series.get(&format!("rtt/{}", channel.name)) else { return };
    let seconds: Vec<_> = series.newest_first(now.as_secs()).collect();
    for (area, what, of) in [
        (median, "rtt, each second's median", seconds.iter().map(|s| s.map(|s| s.median_ns)).collect::<Vec<_>>()),
        (max, "rtt, each second's max", seconds.iter().map(|s| s.map(|s| s.max_ns)).collect()),
    ] {
        if area.height < 2 {
            continue;
        }
        let most = of.iter().flatten().max().map_or("nothing".to_owned(), |ns| format::span(Nanos(*ns)));
        let [head, spark] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        Line::from(look.span(Tone::Faint, format!("{what}: up to {most}"))).render(head, buffer);
        bars(of, look, spark, buffer);
    }
}

fn about(channel: &Channel) -> Vec<(Tone, String)> {
    let (word, tone) = format::health(channel.state);
    let [a, b] = channel.ends.each_ref().map(|end| match &end.address {
        Some(address) => format!("{} {address}", end.port),
        None => end.port.clone(),
    });
    let heard = channel.last_heard_ms.map_or("never heard".into(), |ms| format!("heard {} ago", format::ms(ms)));
    let carrier = if channel.carrier { "" } else { ", no carrier here" };
    let judged = match (channel.judged, &channel.judged_by) {
        (true, Some(by)) => format!("judged: {by}"),
        (true, None) => "judged".to_owned(),
        (false, _) => "not judged".to_owned(),
    };
    let mut lines = vec![
        (tone, format!("{word}, {heard}{carrier}")),
        (Tone::Plain, format!("{}, {judged}, {}  a: {a}  b: {b}", channel.kind.name(), channel.xdp_mode.name())),
    ];
    if let Some(fault) = &channel.fault {
        lines.insert(1, (Tone::Bad, fault.clone()));
    }
    let Channel { sent, received, missing, counter, .. } = channel;
    lines.push((Tone::Plain, format!("sent {sent}, received {received}, missing {missing}, missed on end {counter}")));
    let rejections = format::rejections(channel);
    match rejections.as_str() {
        "" => lines.push((Tone::Plain, "rejected nothing".to_owned())),
        some => lines.push((Tone::Warn, format!("rejected: {some}"))),
    }
    lines
}

fn table(facts: &Facts, channel: &Channel) -> Vec<(Tone, String)> {
    let head = SHOWN.map(|(name, _)| format!("{name:>9}")).concat();
    let mut lines = vec![(Tone::Faint, format!("{:<14}{:>10}{head}", "since start", "n"))];
    for kind in KINDS {
        if let Some(document) = facts.documents.get(&format!("{kind}/{}", channel.name)) {
            let values = SHOWN.map(|(_, percentile)| format!("{:>9}", at(document, percentile))).concat();
            lines.push((Tone::Plain, format!("{kind:<14}{:>10}{values}", document.n)));
        }
    }
    lines
}

fn at(document: &Document, percentile: f64) -> String {
    let found = document.percentiles.iter().find(|one| (one.percentile - percentile).abs() < 1e-9);
    found.map_or("-".to_owned(), |one| format::span(Nanos(one.ns)))
}
