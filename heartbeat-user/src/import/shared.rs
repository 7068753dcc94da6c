//! What several kinds of blocks have: what is tracked, who is told, commands, times.

use super::error::Fault;
use super::model::{At, Command, Node, Notify, Track, Tracked};
use super::reading::Reading;
use super::tree::Item;
use super::words::{self, Word};
use crate::config::is_interface_name;
use crate::types::Nanos;

/// Seconds between announcements; 0 is none.
pub(super) fn refresh(item: &Item, node: &mut Node, reading: &mut Reading) {
    const RIGHT: &str = "seconds, 0 to 86400";
    let span = reading.seconds(item, Nanos(0)..=Nanos::from_millis(86_400_000), RIGHT);
    let least = node.refresh.as_ref().map_or(Nanos::NEVER, |at| at.value);
    if let Some(value) = span.filter(|span| *span != Nanos(0) && *span < least) {
        node.refresh = Some(At { place: item.place.clone(), value });
    }
}

/// Silent intervals until the other one takes over.
pub(super) fn down_timer(item: &Item, node: &mut Node, reading: &mut Reading) {
    if let Some(value) = reading.number(item, 1..=100, "a number of intervals, 1 to 100") {
        reading.set(item, &mut node.down_timer, value);
    }
}

/// Reads a block of what is tracked, if it is one.
pub(super) fn tracked(item: &Item, tracked: &mut Tracked, reading: &mut Reading) -> bool {
    let list = match item.keyword() {
        "track_interface" => &mut tracked.interfaces,
        "track_script" | "track_process" => &mut tracked.checks,
        _ => return false,
    };
    for line in reading.block(item) {
        list.extend(track(line, reading));
    }
    true
}

fn track(line: &Item, reading: &mut Reading) -> Option<Track> {
    const RIGHT: &str = "a name, and nothing or `weight` with a number of -254 to 254";
    let name = line.keyword().to_owned();
    let mut weighs = None;
    let mut reverse = false;
    let mut words = line.words[1..].iter().map(|word| word.text.as_str());
    while let Some(word) = words.next() {
        match word {
            "weight" => match words.next().and_then(weight) {
                Some(value) => weighs = Some(value),
                None => {
                    reading.wrong(line, Fault::Wrong(RIGHT));
                    return None;
                }
            },
            "reverse" => reverse = true,
            "noreverse" => reverse = false,
            _ => {
                reading.wrong(line, Fault::Wrong(RIGHT));
                return None;
            }
        }
    }
    Some(Track { place: line.place.clone(), name, weight: weighs, reverse })
}

/// Reads a script that is told of changes, if it is one.
pub(super) fn notify(item: &Item, notify: &mut Notify, reading: &mut Reading) -> bool {
    let slot = match item.keyword() {
        "notify_master" => &mut notify.master,
        "notify_backup" => &mut notify.backup,
        "notify_fault" => &mut notify.fault,
        "notify_stop" => &mut notify.stop,
        "notify" => &mut notify.any,
        _ => return false,
    };
    if let Some(mut command) = command(item, reading) {
        command.user = (item.words.len() > 2).then(|| user(&item.words[2..]));
        if let Some(before) = slot {
            reading.note(item, format!("said at {}, too: this one counts", before.place));
        }
        *slot = Some(command);
    }
    true
}

/// The command line that is a keyword's first value.
pub(super) fn command(item: &Item, reading: &mut Reading) -> Option<Command> {
    const RIGHT: &str = "a command: its path, and its arguments with it in quotation marks";
    reading.text(item, RIGHT)?;
    let words = match words::command(&item.words[1].raw) {
        Ok(words) => words,
        Err(fault) => {
            reading.wrong(item, fault);
            return None;
        }
    };
    if words.iter().any(|word| word.contains('\0')) || words.len() > 48 || words.first().is_none_or(String::is_empty) {
        reading.wrong(item, Fault::Wrong("a command of 1 to 48 words, of which the first is a program"));
        return None;
    }
    if words[0].contains('/') && !words[0].starts_with(['/', '<']) {
        reading.wrong(item, Fault::Wrong("the absolute path of a program, or the name of one in PATH"));
        return None;
    }
    Some(Command { place: item.place.clone(), words, user: None })
}

/// A user's name, and that of a group, without the mark for supplementary groups.
pub(super) fn user(words: &[Word]) -> Vec<String> {
    let names = words.iter().take(2).map(|word| word.text.trim_start_matches(':').to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// The name of an interface.
pub(super) fn interface(item: &Item, reading: &mut Reading) -> Option<String> {
    const RIGHT: &str = "the name of a network interface: 1 to 15 characters, no space, / or :";
    let name = reading.text(item, RIGHT)?;
    if !is_interface_name(name) {
        reading.wrong(item, Fault::Wrong(RIGHT));
        return None;
    }
    Some(name.to_owned())
}

/// A number that is added to a priority.
pub(super) fn weight(text: &str) -> Option<i64> {
    text.parse().ok().filter(|weight| (-254..=254).contains(weight))
}
