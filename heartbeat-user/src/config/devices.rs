//! A `[[channel]]` that is no network: a serial line, or a disk that both controllers have.

use super::{
    ChannelConfig, ChannelKind, Targets, Wiring,
    claims::{Claim, Taken},
    error::{Fault, Report},
    table::{At, Table},
};
use crate::types::{ChannelIndex, Nanos, Node, is_speed};
use std::ops::RangeInclusive;
use std::path::PathBuf;

const LINE: [&str; 2] =
    ["{ device = \"/dev/ttyS0\" } with this controller's own device", "the absolute path of a terminal device"];
const DISK: [&str; 2] = [
    "{ device = \"/dev/disk/by-id/..\" } with this controller's path of the disk that both have",
    "the absolute path of a disk that both controllers have, such as \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"",
];
const SPEED: &str = "a speed of termios(3) from 1200 to 4000000, such as 115200";
/// A disk has other work; and what is found dead by it is found three times as late.
const EVERY: RangeInclusive<Nanos> = Nanos::from_millis(200)..=Nanos::from_millis(10_000);

/// The keys that only one kind of channel has, and that kind, in words.
const OWN: [(&str, ChannelKind, &str); 2] = [
    ("speed", ChannelKind::Serial, "only channels of kind \"serial\" to have one"),
    ("every", ChannelKind::Disk, "only channels of kind \"disk\" to have one"),
];

/// Reports the keys of other kinds of channels.
pub(super) fn refuse_others(table: &Table<'_>, report: &mut Report<'_>, kind: Option<ChannelKind>) {
    for (key, _, right) in OWN.into_iter().filter(|(_, of, _)| kind != Some(*of)) {
        if let Some(span) = table.peek_span(key) {
            report.value(span, table.name(key), Fault::BadText { right });
        }
    }
}

/// The channel at place `i` of the file.
pub(super) fn channel<'t>(
    i: usize,
    kind: ChannelKind,
    name: Option<&At<&'t str>>,
    table: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
) -> Option<ChannelConfig> {
    refuse_others(table, report, Some(kind));
    let label = name.map_or(format!("channel {}", i + 1), |name| format!("channel \"{}\"", name.value));
    let devices = [Node::A, Node::B].map(|node| device(node, kind, &label, table, report, taken));
    let (speed, every) = match kind {
        ChannelKind::Disk => (None, every(table, report)),
        _ => (speed(table, report), None),
    };
    for key in ["probe", "probe_quorum", "weight"] {
        if let Some(span) = table.peek_span(key) {
            report.value(span, table.name(key), Fault::NotJudged(kind.name()));
        }
    }
    let [a, b] = devices;
    let devices = [a?, b?];
    Some(ChannelConfig {
        index: ChannelIndex(u8::try_from(i).ok()?),
        name: name?.value.to_owned(),
        kind,
        wiring: match kind {
            ChannelKind::Disk => Wiring::Disk { devices, every: every? },
            _ => Wiring::Line { devices, speed: speed? },
        },
        probe: Targets::None,
        probe_quorum: 1,
        weight: 100,
    })
}

fn device<'t>(
    node: Node,
    kind: ChannelKind,
    label: &str,
    table: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
) -> Option<PathBuf> {
    let [right, path] = if kind == ChannelKind::Disk { DISK } else { LINE };
    let key = node.to_string();
    table.require(report, &key, right);
    let end = table.table(report, &key, &["device"], right)?;
    end.require(report, "device", path);
    let device = end.text(report, "device", path, |path| path.starts_with('/') && !path.contains('\0'))?;
    let claim = Claim::Interface(node, device.value);
    let holder = format!("controller {node}'s device for {label}");
    taken.claim(report, claim, device.span.clone(), end.name("device"), holder, "one channel a device");
    Some(PathBuf::from(device.value))
}

fn speed(table: &Table<'_>, report: &mut Report<'_>) -> Option<u32> {
    match table.integer(report, "speed", 1_200..=4_000_000) {
        Some(speed) if !is_speed(speed.value as u32) => {
            report.value(speed.span, table.name("speed"), Fault::BadText { right: SPEED });
            None
        }
        Some(speed) => Some(speed.value as u32),
        None => (!table.has("speed")).then_some(115_200),
    }
}

fn every(table: &Table<'_>, report: &mut Report<'_>) -> Option<Nanos> {
    match table.duration(report, "every", EVERY) {
        Some(every) => Some(every.value),
        None => (!table.has("every")).then_some(Nanos::from_millis(1_000)),
    }
}
