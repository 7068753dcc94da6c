//! The screen of `heartbeat status`, as text.

use super::{sample, show};
use crate::{
    cli::paint::{Paint, When},
    status::{Answer, Health, Sink, Status},
};

fn screen(status: &Status, width: usize) -> String {
    let status = Status { answer: Answer::of(status), ..status.clone() };
    let screen = show(&status, Paint::OFF, width);
    for line in screen.lines() {
        assert!(line.chars().count() <= width, "longer than {width}: {line}\n{screen}");
    }
    screen
}

#[test]
fn a_usual_pair_fits_a_terminal_of_80_by_24() {
    let screen = screen(&sample(4), 80);
    assert!(screen.starts_with(" GOOD  the peer is alive on all channels\n"), "{screen}");
    assert!(screen.lines().count() < 24, "{screen}");
    assert!(!screen.contains("explain") && !screen.contains('…'), "{screen}");
}

#[test]
fn what_is_bad_comes_first_with_its_place_and_the_next_command() {
    let mut status = sample(64);
    status.channels[40].state = Health::Bad;
    status.channels[40].fault = Some("our own port or cable: the network answers to the peer, not to us".into());
    let screen = screen(&status, 80);
    assert!(screen.starts_with(" DEGRADED "), "{screen}");
    let at = |words: &str| screen.find(words).unwrap_or_else(|| panic!("no {words} in:\n{screen}"));
    assert!(at("heartbeat explain") < at("net41 "));
    assert!(at("net41 ") < at("└ our own port or cable"));
    assert!(at("└ our own") < at("net1 "), "{screen}");
}

#[test]
fn a_place_that_gets_no_events_is_told_with_its_reason() {
    let mut status = sample(2);
    let sink = |works: bool, why: Option<&str>| {
        let (what, target) = ("event_file".into(), "/var/log/events".into());
        Sink { what, target, works, lost: 0, failures: 1, why: why.map(str::to_owned) }
    };
    status.sinks = vec![sink(true, None), sink(false, Some("No space left on device"))];
    let shown = screen(&status, 80);
    assert_eq!(shown.matches("event_file (/var/log/events) does not work: No space left").count(), 1, "{shown}");
}

#[test]
fn the_word_says_how_it_is() {
    let word = |change: fn(&mut Status)| {
        let mut status = sample(3);
        change(&mut status);
        screen(&status, 80).split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(word(|_| {}), "GOOD");
    assert_eq!(word(|status| status.maintenance = true), "DEGRADED");
    assert_eq!(word(|status| status.channels[0].state = Health::Unknown), "DEGRADED");
    assert_eq!(word(|status| status.judged = "fail_remote".into()), "DEGRADED");
    assert_eq!(word(|status| status.groups[1].owner = None), "BAD");
    assert_eq!(word(|status| status.peer.state = Health::Bad), "BAD");
    assert_eq!(word(|status| status.peer.state = Health::Unknown), "UNKNOWN");
    assert_eq!(word(|status| status.age_ms = 3_000.0), "UNKNOWN");
}

#[test]
fn long_names_are_cut_where_the_terminal_is_narrow_only() {
    let mut status = sample(2);
    status.channels[0].name = "the-channel-with-the-longest-name".into();
    assert!(screen(&status, 80).contains("the-channel-wit…"));
    assert!(screen(&status, 200).contains("the-channel-with-the-longest-name"));
    screen(&status, 40);
}

#[test]
fn a_painted_screen_is_the_plain_one_with_colours() {
    let painted = show(&sample(3), Paint::new(When::Always, false, false, false), 80);
    assert!(painted.contains("\u{1b}[32mGOOD"), "{painted}");
    let mut plain = String::new();
    for (i, part) in painted.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, show(&sample(3), Paint::OFF, 80));
}
