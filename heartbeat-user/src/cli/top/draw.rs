//! The picture of `heartbeat top`: a header that says it all, channels, groups, events.

use super::{
    detail,
    look::{Look, spark},
    model::{Facts, Model, Pane},
};
use crate::{
    api::{Answer, Channel, Health, Status},
    cli::{
        format::{self, fit, wrap},
        paint::Tone,
    },
    types::{Nanos, Node},
};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Modifier,
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Paragraph, Widget},
};
use std::time::{Duration, UNIX_EPOCH};

/// Below this there is no room for anything.
const LEAST: (u16, u16) = (40, 10);
/// Columns before the sparkline.
const FIGURES: u16 = 50;
/// A name's.
const NAME: usize = 12;

/// Draws all of it.
pub(super) fn draw(model: &Model, now: Duration, area: Rect, buffer: &mut Buffer) {
    let (facts, now) = (model.shown(), model.time(now));
    let stale = facts.stale(now);
    let look = Look::new(model.paint.is_on(), stale.is_some());
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let answer = facts.status.as_deref().map_or(Answer::Unknown, |status| status.answer);
        let word = if stale.is_some() { Answer::Unknown } else { answer }.word();
        let text = format!("{word}: {}x{} is too small, {}x{} is needed", area.width, area.height, LEAST.0, LEAST.1);
        return Paragraph::new(wrap(&text, area.width.into()).join("\n")).render(area, buffer);
    }
    let [body, keys] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let Some(status) = facts.status.as_deref() else {
        let why = facts.silent.clone().unwrap_or_else(|| "asking the agent".to_owned());
        let text = format!("{}: {why}", Answer::Unknown.word());
        Paragraph::new(wrap(&text, body.width.into()).join("\n")).style(look.tone(Tone::Warn)).render(body, buffer);
        return footer(model, look, keys, buffer);
    };
    // Facts of now are as old as they said; the time since then counts when nothing follows them.
    let waited = if stale.is_some() { now.saturating_sub(facts.at) } else { Duration::ZERO };
    let head = header(status, stale.as_deref(), waited, look, body.width.into());
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX).min(body.height / 3);
    let [top, rest] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(body);
    Paragraph::new(head).render(top, buffer);
    if model.help {
        help(look, rest, buffer);
    } else if model.detail
        && let Some(channel) = model.channel()
    {
        detail::draw(facts, channel, now, look, rest, buffer);
    } else {
        panes(model, facts, status, now, look, rest, buffer);
    }
    footer(model, look, keys, buffer);
}

/// The answer, why, and what everything else stands on.
fn header(status: &Status, stale: Option<&str>, waited: Duration, look: Look, width: usize) -> Vec<Line<'static>> {
    let answer = if stale.is_some() { Answer::Unknown } else { status.answer };
    let plate = format!(" {} ", answer.word());
    let indent = plate.len() + 1;
    let said = match stale {
        Some(stale) => format!("{stale}; it said last: {}", status.verdict),
        None => status.verdict.clone(),
    };
    let mut lines: Vec<_> = wrap(&said, width.saturating_sub(indent))
        .into_iter()
        .enumerate()
        .map(|(i, text)| match i {
            0 => Line::from(vec![
                Span::styled(plate.clone(), look.plate(format::tone(answer))),
                Span::raw(format!(" {text}")),
            ]),
            _ => Line::from(format!("{:indent$}{text}", "")),
        })
        .collect();
    let (word, tone) = format::health(status.peer.state);
    let peer = status.node.other();
    let name = |node: Node| {
        status.hostnames[usize::from(node.wire())].as_ref().map_or(String::new(), |name| format!(" ({name})"))
    };
    let rest = format!(
        "  this is {}{}  facts {} old  {}: {} ms, dead after {} ms",
        status.node,
        name(status.node),
        format::ms(status.age_ms + waited.as_secs_f64() * 1e3),
        status.profile,
        status.interval_ms,
        status.detection_ms,
    );
    let lead = format!("peer {peer}{} ", name(peer));
    let room = width.saturating_sub(lead.chars().count() + word.len());
    lines.push(Line::from(vec![Span::raw(lead), look.span(tone, word), look.span(Tone::Plain, fit(&rest, room))]));
    // Where all is as it should be, there is no need for a line more.
    if stale.is_none() && !status.readiness.ready {
        lines.push(Line::from(look.span(Tone::Warn, fit(&status.readiness.line(), width))));
    }
    lines
}

fn panes(model: &Model, facts: &Facts, status: &Status, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let rows = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).saturating_add(1);
    let bad = status.channels.iter().filter(|channel| channel.state != Health::Good && note(channel).is_some()).count();
    let room = area.height;
    let groups = if status.groups.is_empty() { 0 } else { rows(status.groups.len()).min((room / 5).max(2)) };
    // What is left when the events have at least some lines.
    let channels = rows(status.channels.len() + bad).min((room - groups).saturating_sub(1 + (room / 4).max(2)));
    let [top, middle, pulse, bottom] = Layout::vertical([
        Constraint::Length(channels),
        Constraint::Length(groups),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    draw_channels(model, facts, status, now, look, top, buffer);
    draw_groups(model, status, look, middle, buffer);
    lateness(facts, now, look, pulse, buffer);
    draw_events(model, look, bottom, buffer);
}

/// A pane's title; returns what is left for the rest of it.
fn pane(title: &str, right: &str, focused: bool, look: Look, area: Rect, buffer: &mut Buffer) -> Rect {
    let mark = if focused { "▶ " } else { "" };
    let style = look.tone(if focused { Tone::Strong } else { Tone::Plain });
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(look.tone(Tone::Faint))
        .title(Span::styled(format!("{mark}{title} "), style))
        .title(Line::from(look.span(Tone::Faint, right.to_owned())).right_aligned());
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

fn draw_channels(
    model: &Model,
    facts: &Facts,
    status: &Status,
    now: Duration,
    look: Look,
    area: Rect,
    buffer: &mut Buffer,
) {
    let good = status.channels.iter().filter(|channel| channel.state == Health::Good).count();
    let title = format!("channels {good}/{} GOOD", status.channels.len());
    let heads = if area.width >= 72 { "rtt: now, max, missing/s, rejected/s, each second's max " } else { "" };
    let inner = pane(&title, heads, model.pane == Pane::Channels, look, area, buffer);
    let order = model.order();
    let height = |i: usize| 1 + usize::from(note(&status.channels[i]).is_some());
    // As far down as it takes for the selected one to be in sight.
    let at = order.iter().position(|i| *i == model.selected).unwrap_or(0);
    let mut first = 0;
    while order[first..=at.max(first)].iter().map(|i| height(*i)).sum::<usize>() > inner.height.into() && first < at {
        first += 1;
    }
    let mut y = inner.y;
    for i in order.into_iter().skip(first) {
        if y >= inner.bottom() {
            break;
        }
        let (channel, row) = (&status.channels[i], Rect { y, height: 1, ..inner });
        let cursor = model.pane == Pane::Channels && i == model.selected;
        draw_channel(facts, channel, i, cursor, now, look, row, buffer);
        if let Some(note) = note(channel)
            && y + 1 < inner.bottom()
        {
            let text = fit(&format!("      \u{2514} {note}"), inner.width.into());
            Paragraph::new(text).style(look.tone(Tone::Bad)).render(Rect { y: y + 1, ..row }, buffer);
        }
        y += u16::try_from(height(i)).unwrap_or(2);
    }
}

/// Where its fault lies, or since when it is silent.
fn note(channel: &Channel) -> Option<String> {
    if channel.state == Health::Good {
        return channel.fault.clone();
    }
    let silent = channel.last_heard_ms.map_or("never heard".to_owned(), |ms| format!("silent for {}", format::ms(ms)));
    let carrier = if channel.carrier { "" } else { ", no carrier" };
    Some(match &channel.fault {
        Some(place) => format!("{silent}{carrier}; {place}"),
        None => format!("{silent}{carrier}"),
    })
}

#[expect(clippy::too_many_arguments, reason = "a row is drawn from all of these")]
fn draw_channel(
    facts: &Facts,
    channel: &Channel,
    i: usize,
    cursor: bool,
    now: Duration,
    look: Look,
    row: Rect,
    buffer: &mut Buffer,
) {
    let (word, tone) = format::health(channel.state);
    let series = facts.series.get(&format!("rtt/{}", channel.name));
    let span = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format::span(Nanos(ns)));
    let latest = span(series.and_then(|series| series.newest(now.as_secs())).map(|second| second.median_ns));
    let max = span(series.and_then(|series| series.max_ns(now.as_secs())));
    let rates = facts.rates.get(&channel.name).copied().unwrap_or_default();
    let rate = |n: f64| if n > 0.0 && n < 10.0 { format!("{n:.1}") } else { format!("{n:.0}") };
    let warn = |n: f64| if n > 0.0 { Tone::Warn } else { Tone::Faint };
    let named = if cursor { look.tone(Tone::Strong).add_modifier(Modifier::REVERSED) } else { look.tone(Tone::Plain) };
    let line = Line::from(vec![
        look.span(Tone::Faint, format!("{:>2} ", i + 1)),
        Span::styled(format!("{:<NAME$}", fit(&channel.name, NAME)), named),
        look.span(tone, format!(" {word:<7}")),
        look.span(Tone::Plain, format!("{latest:>8}{max:>8}")),
        look.span(warn(rates.missing), format!("{:>5}", fit(&rate(rates.missing), 4))),
        look.span(warn(rates.rejected), format!("{:>5} ", fit(&rate(rates.rejected), 4))),
    ]);
    line.render(row, buffer);
    let used = FIGURES;
    if let Some(series) = series
        && row.width > used
    {
        spark(series, now, look, Rect { x: row.x + used, width: row.width - used, ..row }, buffer);
    }
}

fn draw_groups(model: &Model, status: &Status, look: Look, area: Rect, buffer: &mut Buffer) {
    let served = status.groups.iter().filter(|group| group.owner.is_some()).count();
    let title = format!("groups {served}/{} served", status.groups.len());
    let inner = pane(&title, "", model.pane == Pane::Groups, look, area, buffer);
    let mut rows: Vec<_> = status.groups.iter().map(|group| (group, format::server(group, status.node))).collect();
    rows.sort_by_key(|(_, (_, tone))| *tone != Tone::Bad);
    let last = rows.len().saturating_sub(usize::from(inner.height));
    for ((group, (server, tone)), y) in rows.into_iter().skip(model.group.min(last)).zip(inner.y..inner.bottom()) {
        let more = if group.addresses.len() > 1 { format!(" +{}", group.addresses.len() - 1) } else { String::new() };
        let address = group.addresses.first().map_or(String::new(), |first| format!("{first}{more}"));
        let line = Line::from(vec![
            look.span(Tone::Plain, format!("   {:<NAME$} ", fit(&group.name, NAME))),
            look.span(tone, format!("{server:<12}")),
            look.span(Tone::Faint, format!(" home {}  ", group.home)),
            look.span(Tone::Plain, address),
        ]);
        line.render(Rect { y, height: 1, ..inner }, buffer);
    }
}

/// The pulse thread's lateness, in one line.
fn lateness(facts: &Facts, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let series = facts.series.get("lateness");
    let span = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format::span(Nanos(ns)));
    let latest = span(series.and_then(|series| series.newest(now.as_secs())).map(|second| second.median_ns));
    let max = span(series.and_then(|series| series.max_ns(now.as_secs())));
    let text = format!("   pulse lateness       {latest:>8}{max:>8}");
    let used = FIGURES;
    Line::from(look.span(Tone::Plain, text)).render(area, buffer);
    if let Some(series) = series
        && area.width > used
    {
        spark(series, now, look, Rect { x: area.x + used, width: area.width - used, ..area }, buffer);
    }
}

fn draw_events(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let back = model.scroll.min(model.events().count().saturating_sub(1));
    let title = format!("events from {} on", model.least.name());
    let lost = if model.shown().lost { "some were lost  " } else { "" };
    let right = if back > 0 { format!("{lost}{back} newer below ") } else { format!("{lost}UTC ") };
    let inner = pane(&title, &right, model.pane == Pane::Events, look, area, buffer);
    let mut y = inner.bottom();
    for event in model.events().skip(back) {
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(event.time_ns)).to_string();
        let lead = format!("{} {:<8} ", time.get(11..23).unwrap_or_default(), event.severity.name());
        let indent = lead.len();
        let tone = format::gravity(event.severity);
        for (i, part) in wrap(&event.text, usize::from(inner.width).saturating_sub(indent)).iter().enumerate().rev() {
            if y == inner.y {
                return;
            }
            y -= 1;
            let lead = if i == 0 { lead.clone() } else { " ".repeat(indent) };
            let line = Line::from(vec![look.span(tone, lead), look.span(tone, part.clone())]);
            line.render(Rect { y, height: 1, ..inner }, buffer);
        }
    }
}

fn footer(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let pause = if model.paused() { " PAUSED " } else { "" };
    let keys = match (model.help, model.detail) {
        (false, false) => " q quit  ? help  Tab pane  ↑↓ move  Enter/1-9 channel  e severity  p pause",
        _ => " q quit  Esc back  p pause",
    };
    let room = usize::from(area.width).saturating_sub(pause.len());
    let line = Line::from(vec![Span::styled(pause, look.plate(Tone::Warn)), look.span(Tone::Faint, fit(keys, room))]);
    line.render(area, buffer);
}

fn help(look: Look, area: Rect, buffer: &mut Buffer) {
    let keys = [
        ("q, Ctrl-C", "end; Esc: back, or end"),
        ("Tab, ← →", "to the next pane: channels, groups, events"),
        ("↑ ↓, k j", "move or scroll; also PgUp, PgDn, Home, End"),
        ("Enter, 1-9", "a channel's latencies and counts"),
        ("e", "events from info, notice, warning, critical on"),
        ("p, space", "hold the picture; what comes meanwhile is not lost"),
        ("", ""),
        ("rtt", "there and back: the last second's median, the longest of two minutes"),
        ("▁▂▇", "the longest one of each second, the newest at the right"),
        ("·", "a second in which nothing was measured"),
    ];
    Clear.render(area, buffer);
    let inner = pane("keys", "", true, look, area, buffer);
    let lines =
        keys.map(|(key, what)| Line::from(vec![look.span(Tone::Strong, format!("  {key:<12}")), Span::raw(what)]));
    Paragraph::new(lines.to_vec()).render(inner, buffer);
}
