//! How `vrrp_script` and `vrrp_track_process` are read.

use super::error::Fault;
use super::keywords;
use super::model::{Check, Command};
use super::reading::Reading;
use super::shared::{command, user, weight};
use super::tree::Item;
use crate::types::Nanos;

const SECOND: Nanos = Nanos::from_millis(1_000);
const SECONDS: &str = "seconds, 0.001 to 3600";

/// A script's block; nothing where it is wrong.
pub(super) fn script(item: &Item, reading: &mut Reading) -> Option<Check> {
    let name = reading.name(item)?;
    let (mut script, mut user_of) = (None, None);
    // keepalived's defaults: once a second, which it may take whole; one result decides.
    let (mut interval, mut timeout, mut rise, mut fall) = (SECOND, None, 1, 1);
    let (mut weight_of, mut reverse) = (0, false);
    let range = Nanos::from_millis(1)..=Nanos::from_millis(3_600_000);
    for item in reading.block(item) {
        if !reading.is_read(item, keywords::SCRIPT) {
            continue;
        }
        match item.keyword() {
            "script" => {
                script = command(item, reading);
                if item.words.len() > 2 {
                    reading.note(item, "keepalived runs the first word alone, since the command is not in quotation marks; so does this");
                }
            }
            "interval" => interval = reading.seconds(item, range.clone(), SECONDS).unwrap_or(interval),
            "timeout" => timeout = reading.seconds(item, range.clone(), SECONDS),
            "weight" => (weight_of, reverse) = weighed(item, reading),
            "rise" => rise = times(item, reading),
            "fall" => fall = times(item, reading),
            "user" => {
                reading.text(item, "the name of a user");
                user_of = Some(user(&item.words[1..])).filter(|user| !user.is_empty());
            }
            _ => reading.note(item, "not needed: the very first result of a check decides alone"),
        }
    }
    let Some(script) = script else {
        if !item.items().iter().any(|item| item.keyword() == "script") {
            reading.wrong(item, Fault::Missing("a line script \"COMMAND\" in it"));
        }
        return None;
    };
    Some(Check {
        place: item.place.clone(),
        name,
        command: Command { user: user_of, ..script },
        interval,
        timeout: timeout.unwrap_or(interval),
        rise,
        fall,
        weight: weight_of,
        reverse,
    })
}

/// A process's block; nothing where it is wrong.
pub(super) fn process(item: &Item, reading: &mut Reading) -> Option<Check> {
    let name = reading.name(item)?;
    let (mut process, mut whole, mut partial) = (None, false, false);
    let (mut weight_of, mut reverse) = (0, false);
    for item in reading.block(item) {
        if !reading.is_read(item, keywords::PROCESS) {
            continue;
        }
        match item.keyword() {
            "process" => {
                if reading.text(item, "the name of a process").is_some() {
                    process = Some(item);
                }
            }
            "param_match" => partial = true,
            "full_command" => whole = true,
            "weight" => (weight_of, reverse) = weighed(item, reading),
            "quorum" if item.value(1) == Some("1") => {}
            _ => reading.lost(item, "the check asks whether there is one at least; have a command of yours count them"),
        }
    }
    let Some(process) = process else {
        reading.wrong(item, Fault::Missing("a line process NAME in it"));
        return None;
    };
    let words: Vec<String> = process.words[1..].iter().map(|word| pattern(&word.text)).collect();
    // The kernel's name of a process has 15 characters; arguments are in its command line only.
    let by_line = whole || words.len() > 1 || process.words[1].text.len() > 15;
    let mut line = words.join(" ");
    if by_line && !whole {
        line = format!("([^ ]*/)?{line}");
    }
    if by_line && partial {
        line.push_str(".*");
    }
    let options: &[&str] = if by_line { &["-x", "-f", "--"] } else { &["-x", "--"] };
    let command = ["/usr/bin/pgrep"].iter().chain(options).map(|&word| word.to_owned()).chain([line]).collect();
    Some(Check {
        place: item.place.clone(),
        name,
        command: Command { place: process.place.clone(), words: command, user: Some(vec!["root".into()]) },
        interval: SECOND,
        timeout: SECOND,
        rise: 1,
        fall: 1,
        weight: weight_of,
        reverse,
    })
}

/// As an extended regular expression that means nothing but the text.
fn pattern(text: &str) -> String {
    let special = |c: char| r"\.[]{}()*+?^$|".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn times(item: &Item, reading: &mut Reading) -> u32 {
    reading.number(item, 1..=100, "a number of results on end, 1 to 100").unwrap_or(1)
}

fn weighed(item: &Item, reading: &mut Reading) -> (i64, bool) {
    let value = item.value(1).and_then(weight);
    if value.is_none() {
        reading.wrong(item, Fault::Wrong("a number of -254 to 254"));
    }
    (value.unwrap_or(0), item.value(2) == Some("reverse"))
}
