//! What the screen shows, as text.

use super::{
    draw::draw,
    model::{EVENTS, Model, News, Pane},
};
use crate::{
    api::{Health, Status},
    cli::paint::{ColorArgs, Paint, When},
    events::Record,
    latency::Histograms,
    types::{Node, Severity},
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};
use serde_json::{Value, json};
use std::time::Duration;

const S: Duration = Duration::from_secs(1);

fn status(channels: usize) -> Status {
    crate::cli::status::sample(channels)
}

fn model(status: Status) -> Model {
    let mut model = Model::new(Paint::OFF);
    model.learn(News::Status(Box::new(answered(status))), S);
    model
}

/// As the agent would answer.
fn answered(status: Status) -> Status {
    status.concluded()
}

fn buffer(model: &Model, now: Duration, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, now, frame.area(), frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

fn text(model: &Model, now: Duration, width: u16, height: u16) -> String {
    let buffer = buffer(model, now, width, height);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

fn assert_has(screen: &str, words: &[&str]) {
    for words in words {
        assert!(screen.contains(words), "no {words:?} in:\n{screen}");
    }
}

fn press(model: &mut Model, keys: &[KeyCode]) {
    keys.iter().for_each(|key| model.press(KeyEvent::from(*key)));
}

fn event(id: u64, severity: Severity, text: &str) -> News {
    News::Event(Box::new(Record {
        event: "channel_bad".into(),
        time_ns: id * 1_000_000_000,
        monotonic_ns: 0,
        id,
        severity,
        controller: Node::A,
        channel: None,
        group: None,
        text: text.into(),
        evidence: serde_json::Map::new(),
    }))
}

/// Histograms of `rtt/net1` with these buckets.
fn histograms(since_ns: u64, buckets: &[[u64; 3]]) -> News {
    let n: u64 = buckets.iter().map(|bucket| bucket[2]).sum();
    let max = buckets.last().map_or(0, |bucket| bucket[1]);
    let document: Value = json!({
        "name": "rtt/net1", "channel": "net1", "what": "there and back", "unit": "ns", "since_ns": since_ns, "until_ns": 0,
        "n": n, "min_ns": 0, "mean_ns": 0.0, "max_ns": max, "buckets": buckets,
        "percentiles": [{"percentile": 50.0, "ns": 61_000}, {"percentile": 99.0, "ns": 777_000}, {"percentile": 100.0, "ns": max}],
    });
    let all = json!({ "age_ms": 0.0, "histograms": [document] });
    News::Histograms(serde_json::from_value::<Histograms>(all).unwrap())
}

#[test]
fn a_healthy_pair_is_good_at_first_sight() {
    let mut model = model(status(3));
    model.learn(event(1, Severity::Notice, "storage-a is served here"), S);
    let screen = text(&model, S, 80, 24);
    assert!(screen.starts_with(" GOOD  the peer is alive on all channels"), "{screen}");
    assert_has(&screen, &["peer b (filer-b) GOOD", "channels 3/3 GOOD", "groups 2/2 served", "storage-a", "a (here)"]);
    assert_has(&screen, &["00:00:01.000 notice   storage-a is served here", "q quit"]);
}

#[test]
fn a_bad_channel_says_where_its_fault_lies() {
    let mut sick = status(3);
    sick.channels[1].state = Health::Bad;
    sick.channels[1].fault = Some("the port, as it were".into());
    sick.channels[1].last_heard_ms = Some(12_000.0);
    sick.verdict = "the peer is alive on 2 of 3 channels".into();
    let screen = text(&model(sick), S, 80, 24);
    assert!(screen.starts_with(" DEGRADED  the peer is alive on 2 of 3"), "{screen}");
    assert_has(&screen, &["a failover would not work now: net2 is BAD, silent for 12.0 s"]);
    assert_has(&screen, &["channels 2/3 GOOD", " 2 net2         BAD", "silent for 12.0 s; the port, as it were"]);
    let (bad, good) = (screen.find("net2").unwrap(), screen.find("net1").unwrap());
    assert!(bad < good, "what is BAD comes first:\n{screen}");
}

#[test]
fn an_agent_that_is_silent_leaves_stale_facts_that_say_so_until_it_is_back() {
    let mut model = model(status(2));
    assert_has(&text(&model, S * 3, 80, 24), &[" GOOD "]);
    assert_has(
        &text(&model, S * 9, 80, 24),
        &[" UNKNOWN  STALE for 8 s: the agent does not answer", "it said last", "facts 8.0 s old"],
    );
    model.learn(News::Silent("no agent answers at api.sock".into()), S * 10);
    assert_has(&text(&model, S * 10, 80, 24), &["STALE for 9 s: no agent answers at api.sock"]);
    model.learn(News::Status(Box::new(status(2))), S * 11);
    assert!(text(&model, S * 11, 80, 24).starts_with(" GOOD "));
    let mut old = status(2);
    old.age_ms = 5_000.0;
    model.learn(News::Status(Box::new(old)), S * 12);
    assert_has(&text(&model, S * 12, 80, 24), &["UNKNOWN", "the pulse thread stands still"]);
}

#[test]
fn before_the_first_status_the_screen_says_why_there_is_none() {
    let mut model = Model::new(Paint::OFF);
    assert_has(&text(&model, S, 80, 24), &["UNKNOWN: asking the agent"]);
    model.learn(News::Silent("no agent answers".into()), S);
    assert_has(&text(&model, S, 80, 24), &["UNKNOWN: no agent answers", "q quit"]);
}

#[test]
fn of_64_channels_every_one_can_be_reached_and_the_bad_one_is_seen_first() {
    let mut all = status(64);
    all.channels[63].state = Health::Bad;
    let mut model = model(all);
    let screen = text(&model, S, 80, 24);
    assert_has(&screen, &["channels 63/64 GOOD", "64 net64"]);
    assert!(!screen.contains(" 40 net40"), "{screen}");
    press(&mut model, &[KeyCode::End]);
    assert_has(&text(&model, S, 80, 24), &["63 net63"]);
    press(&mut model, &[KeyCode::Home]);
    press(&mut model, &[KeyCode::Down; 20]);
    assert_has(&text(&model, S, 80, 24), &["20 net20", "groups 2/2 served"]);
}

#[test]
fn a_terminal_that_is_too_small_says_so_and_no_size_fails() {
    let mut model = model(status(5));
    assert_has(&text(&model, S, 30, 8), &["GOOD: 30x8 is too small"]);
    for keys in [&[][..], &[KeyCode::Char('?')], &[KeyCode::Esc, KeyCode::Char('1')]] {
        press(&mut model, keys);
        for (width, height) in [(1, 1), (40, 10), (41, 11), (60, 15), (200, 60)] {
            text(&model, S, width, height);
        }
    }
}

#[test]
fn a_second_is_the_difference_of_two_histograms_and_one_without_values_is_a_gap() {
    let mut model = model(status(1));
    model.learn(histograms(7, &[[50_000, 51_000, 10]]), S);
    model.learn(histograms(7, &[[50_000, 51_000, 11], [100_000, 101_000, 2], [900_000, 901_000, 1]]), S * 2);
    model.learn(histograms(7, &[[50_000, 51_000, 11], [100_000, 101_000, 2], [900_000, 901_000, 1]]), S * 3);
    model.learn(histograms(7, &[[50_000, 51_000, 12], [100_000, 101_000, 2], [900_000, 901_000, 1]]), S * 4);
    model.learn(News::Status(Box::new(status(1))), S * 5);
    let screen = text(&model, S * 5, 80, 24);
    let row = screen.lines().find(|line| line.contains(" 1 net1")).unwrap();
    assert!(row.contains("51 us") && row.contains("901 us"), "{row}");
    assert!(row.ends_with("·█·▁"), "{row}");
    // A new life of the agent counts anew: no difference.
    model.learn(histograms(8, &[[50_000, 51_000, 3]]), S * 5);
    let screen = text(&model, S * 6, 80, 24);
    assert!(screen.lines().any(|line| line.ends_with("·█·▁·")), "{screen}");
}

#[test]
fn missing_and_rejected_are_shown_as_rates() {
    let mut model = model(status(1));
    let mut later = status(1);
    later.time_ns += 2_000_000_000;
    later.channels[0].missing += 8;
    later.channels[0].rejected.insert("replayed".into(), 24);
    model.learn(News::Status(Box::new(later)), S * 3);
    let screen = text(&model, S * 3, 80, 24);
    assert_has(screen.lines().find(|line| line.contains(" 1 net1")).unwrap(), &[" 4.0   12"]);
}

#[test]
fn events_are_filtered_scrolled_and_bounded() {
    let mut model = model(status(2));
    for id in 1..=EVENTS as u64 + 50 {
        let severity = if id % 100 == 0 { Severity::Warning } else { Severity::Info };
        model.learn(event(id, severity, &format!("number {id}.")), S);
    }
    assert_eq!(model.events().count(), EVENTS);
    assert_has(&text(&model, S, 80, 24), &["number 1050."]);
    press(&mut model, &[KeyCode::Char('e'), KeyCode::Char('e')]);
    let screen = text(&model, S, 80, 24);
    assert_has(&screen, &["events from warning on", "number 1000.", "number 900."]);
    assert!(!screen.contains("number 1050."), "{screen}");
    model.pane = Pane::Events;
    press(&mut model, &[KeyCode::Up]);
    assert!(!text(&model, S, 80, 24).contains("number 1000."));
    // What is new does not move who reads further up.
    model.learn(event(1100, Severity::Warning, "number 1100."), S);
    let screen = text(&model, S, 80, 24);
    assert!(screen.contains("number 900.") && !screen.contains("number 1000."), "{screen}");
    press(&mut model, &[KeyCode::End]);
    assert_has(&text(&model, S, 80, 24), &["number 1100."]);
}

#[test]
fn a_pause_holds_the_picture_and_loses_nothing() {
    let mut model = model(status(2));
    press(&mut model, &[KeyCode::Char('p')]);
    model.learn(event(5, Severity::Critical, "the peer is dead"), S * 2);
    let held = text(&model, S * 20, 80, 24);
    assert_has(&held, &["PAUSED", " GOOD "]);
    assert!(!held.contains("the peer is dead"), "{held}");
    press(&mut model, &[KeyCode::Char('p')]);
    assert_has(&text(&model, S * 2, 80, 24), &["the peer is dead"]);
}

#[test]
fn keys_open_a_channel_and_the_help_and_end_it() {
    let mut model = model(status(3));
    model.learn(histograms(7, &[[50_000, 51_000, 10]]), S);
    press(&mut model, &[KeyCode::Char('1')]);
    let screen = text(&model, S, 80, 24);
    assert_has(&screen, &["channel net1", "network, judged, native", "p99.9", "rtt ", "61 us", "777 us", "51 us"]);
    press(&mut model, &[KeyCode::Esc, KeyCode::Char('?')]);
    assert_has(&text(&model, S, 80, 24), &["keys", "hold the picture"]);
    press(&mut model, &[KeyCode::Esc]);
    assert!(!model.ended());
    press(&mut model, &[KeyCode::Esc]);
    assert!(model.ended());
}

#[test]
fn states_have_colours_unless_they_are_off() {
    let colours = |paint| {
        let mut model = Model::new(paint);
        model.learn(News::Status(Box::new(status(3))), S);
        let buffer = buffer(&model, S, 80, 24);
        buffer.content().iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert_eq!(colours(Paint::OFF), 0);
    assert!(colours(ColorArgs { color: When::Always }.stdout()) > 10);
}
