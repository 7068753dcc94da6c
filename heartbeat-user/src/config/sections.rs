//! The tables that stand for themselves, with their defaults: `[pair]`, `[controller.a]` and `[controller.b]`, `[timing]`, `[dataplane]`,
//! `[takeover]`, `[judging]`, `[watchdog]`, `[api]`.

use super::{
    Api, Dataplane, JudgingConfig, Pair, Takeover, WatchdogConfig,
    error::{Fault, Report},
    profiles::{Overrides, Profile},
    table::{At, Table},
};
use crate::{
    core::BothFaulted,
    types::{Nanos, Timing, XdpPreference},
};
use std::path::PathBuf;

/// The port that IANA assigned to `ha-cluster`.
const DEFAULT_PORT: u16 = 694;

/// `[pair]`: which pair this is, and the key that it signs with.
pub(super) fn pair(root: &Table<'_>, report: &mut Report<'_>) -> Option<Pair> {
    const RIGHT: &str = "a table [pair] with id and key_file";
    root.require(report, "pair", RIGHT);
    let pair = root.table(report, "pair", &["id", "key_file", "port"], RIGHT)?;

    pair.require(report, "id", "a number that no other pair in these networks has, 0 to 4294967295");
    let id = pair.integer(report, "id", 0..=u32::MAX.into());
    const KEY_FILE: &str = "the path of a file made by `heartbeat keygen`";
    pair.require(report, "key_file", KEY_FILE);
    let key_file = pair.text(report, "key_file", KEY_FILE, |path| !path.is_empty() && !path.contains('\0'));
    let port = pair.integer(report, "port", 1..=u16::MAX.into());

    Some(Pair {
        id: u32::try_from(id?.value).ok()?,
        key_file: PathBuf::from(key_file?.value),
        port: port.map_or(Some(DEFAULT_PORT), |port| u16::try_from(port.value).ok())?,
    })
}

/// `[controller.a]` and `[controller.b]`: the host names, which must differ.
pub(super) fn hostnames(root: &Table<'_>, report: &mut Report<'_>) -> [Option<String>; 2] {
    let Some(both) = root.table(report, "controller", &["a", "b"], "tables [controller.a] and [controller.b]") else {
        return [None, None];
    };
    let [a, b] = ["a", "b"].map(|node| {
        let one = both.table(report, node, &["hostname"], "a table with hostname")?;
        one.text(report, "hostname", "a host name: 1 to 253 of A-Z a-z 0-9 . -", is_hostname)
    });
    if let (Some(a), Some(b)) = (&a, &b)
        && a.value.eq_ignore_ascii_case(b.value)
    {
        let key = "controller.b.hostname";
        report.taken(b.span.clone(), key.into(), "controller a's", a.span.start, "the other controller's host name");
    }
    [a, b].map(|name| name.map(|name| name.value.to_owned()))
}

fn is_hostname(name: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    name.len() <= 253 && name.split('.').all(is_label)
}

/// `[timing]`: a profile, and what is set beside it.
pub(super) fn timing(root: &Table<'_>, report: &mut Report<'_>) -> (Profile, Timing) {
    const KNOWN: [&str; 9] =
        ["profile", "interval", "initial", "period", "max", "decrement", "failed_waits", "disconnect", "retry"];
    let Some(timing) = root.table(report, "timing", &KNOWN, "a table [timing]") else {
        return (Profile::default(), Profile::default().timing());
    };
    let choices = Profile::ALL.map(|profile| (profile.name(), profile));
    let profile = timing.choice(report, "profile", "the name of a profile, such as \"lan\"", &choices);
    let profile = profile.unwrap_or_default();

    let interval = timing.duration(report, "interval", Overrides::INTERVAL);
    let period = timing.duration(report, "period", Nanos(1)..=Overrides::LONGEST_PERIOD);
    let retry = timing.duration(report, "retry", Overrides::RETRY);
    let [initial, max, decrement] =
        ["initial", "max", "decrement"].map(|key| timing.integer(report, key, Overrides::COUNTER));
    let [failed_waits, disconnect] =
        ["failed_waits", "disconnect"].map(|key| timing.integer(report, key, Overrides::INTERVALS));

    let set = Overrides {
        interval: value(&interval),
        initial: count(&initial),
        period: value(&period),
        max: count(&max),
        decrement: count(&decrement),
        failed_waits: count(&failed_waits),
        disconnect: count(&disconnect),
        retry: value(&retry),
    };
    let result = set.applied_to(profile);
    if let Some(period) = period
        && result.period < result.interval
    {
        let fault = Fault::DurationOutOfRange { min: result.interval, max: Overrides::LONGEST_PERIOD };
        report.value(period.span, timing.name("period"), fault);
    }
    if result.max < result.decrement {
        match (max, decrement) {
            (Some(max), _) => {
                let fault = Fault::OutOfRange { min: result.decrement.into(), max: *Overrides::COUNTER.end() };
                report.value(max.span, timing.name("max"), fault);
            }
            (None, Some(decrement)) => {
                let fault = Fault::OutOfRange { min: 1, max: result.max.into() };
                report.value(decrement.span, timing.name("decrement"), fault);
            }
            (None, None) => {}
        }
    }
    (profile, result)
}

fn value(set: &Option<At<Nanos>>) -> Option<Nanos> {
    set.as_ref().map(|set| set.value)
}

fn count(set: &Option<At<u64>>) -> Option<u32> {
    set.as_ref().and_then(|set| u32::try_from(set.value).ok())
}

/// `[dataplane]`: how heartbeats are received, and with what priority they are sent.
pub(super) fn dataplane(root: &Table<'_>, report: &mut Report<'_>) -> Dataplane {
    let default = Dataplane::default();
    let Some(table) = root.table(report, "dataplane", &["xdp", "priority"], "a table [dataplane]") else {
        return default;
    };
    let choices = XdpPreference::ALL.map(|xdp| (xdp.name(), xdp));
    let xdp = table.choice(report, "xdp", "a way to receive, such as \"auto\"", &choices);
    let priority = table.integer(report, "priority", 1..=98);
    Dataplane {
        xdp: xdp.unwrap_or(default.xdp),
        priority: priority.and_then(|priority| u8::try_from(priority.value).ok()).unwrap_or(default.priority),
    }
}

/// `[takeover]`: how clients are told where the addresses are.
pub(super) fn takeover(root: &Table<'_>, report: &mut Report<'_>) -> Takeover {
    let Some(table) = root.table(report, "takeover", &["announce_every", "restart_grace"], "a table [takeover]") else {
        return Takeover::default();
    };
    let every = Nanos::from_millis(1_000)..=Nanos::from_millis(86_400_000);
    let grace = Nanos(0)..=Nanos::from_millis(3_600_000);
    Takeover {
        announce_every: value(&table.duration(report, "announce_every", every)),
        restart_grace: value(&table.duration(report, "restart_grace", grace)),
    }
}

/// `[judging]`: how faults are judged.
pub(super) fn judging(root: &Table<'_>, report: &mut Report<'_>, timing: &Timing) -> JudgingConfig {
    const MS: fn(u64) -> Nanos = Nanos::from_millis;
    const KNOWN: [&str; 12] = [
        "both_faulted",
        "probe_rounds",
        "probe_pause",
        "again",
        "hold",
        "isolation",
        "isolated",
        "release_within",
        "rise",
        "stalled_grace",
        "still_answering",
        "still_answering_for",
    ];
    let default = JudgingConfig {
        both_faulted: BothFaulted::Groups,
        probe_rounds: 3,
        probe_pause: timing.interval.times(2).clamp(MS(20), MS(1_000)),
        again: MS(10_000),
        hold: MS(60_000),
        isolation_by_probe: true,
        rise: MS(5_000),
        stalled_grace: Nanos(0),
        release_isolated: true,
        release_within: None,
        wait_where_answered: false,
        still_answering_for: MS(30_000),
    };
    let Some(table) = root.table(report, "judging", &KNOWN, "a table [judging]") else {
        return default;
    };
    let choices = [("groups", BothFaulted::Groups), ("nothing", BothFaulted::Nothing), ("lesser", BothFaulted::Lesser)];
    let both_faulted = table.choice(report, "both_faulted", "\"groups\", \"nothing\" or \"lesser\"", &choices);
    let rounds = table.integer(report, "probe_rounds", 1..=10);
    let [pause, again, hold] =
        [("probe_pause", MS(3)..=MS(10_000)), ("again", MS(100)..=MS(3_600_000)), ("hold", Nanos(0)..=MS(86_400_000))]
            .map(|(key, range)| value(&table.duration(report, key, range)));
    let hour = Nanos(0)..=MS(3_600_000);
    let [rise, grace] = ["rise", "stalled_grace"].map(|key| value(&table.duration(report, key, hour.clone())));
    let by_probe = [("probe", true), ("carrier", false)];
    let by_probe = table.choice(report, "isolation", "\"probe\" or \"carrier\"", &by_probe);
    let releases = table.choice(report, "isolated", "\"release\" or \"keep\"", &[("release", true), ("keep", false)]);
    let waits = table.choice(report, "still_answering", "\"wait\" or \"take\"", &[("wait", true), ("take", false)]);
    let answering_for = value(&table.duration(report, "still_answering_for", MS(1_000)..=MS(86_400_000)));
    JudgingConfig {
        still_answering_for: answering_for.unwrap_or(default.still_answering_for),
        isolation_by_probe: by_probe.unwrap_or(default.isolation_by_probe),
        rise: rise.unwrap_or(default.rise),
        release_isolated: releases.unwrap_or(default.release_isolated),
        release_within: value(&table.duration(report, "release_within", MS(1_000)..=MS(7_200_000))),
        stalled_grace: grace.unwrap_or(default.stalled_grace),
        wait_where_answered: waits.unwrap_or(default.wait_where_answered),
        both_faulted: both_faulted.unwrap_or(default.both_faulted),
        probe_rounds: rounds.and_then(|n| u16::try_from(n.value).ok()).unwrap_or(default.probe_rounds),
        probe_pause: pause.unwrap_or(default.probe_pause),
        again: again.unwrap_or(default.again),
        hold: hold.unwrap_or(default.hold),
    }
}

/// `[watchdog]`: what resets the host when the agent does not feed it any more.
pub(super) fn watchdog(root: &Table<'_>, report: &mut Report<'_>) -> Option<WatchdogConfig> {
    const DEVICE: &str = "the absolute path of the host's watchdog device, such as \"/dev/watchdog\"";
    let table = root.table(report, "watchdog", &["device", "timeout"], "a table [watchdog]")?;
    table.require(report, "device", DEVICE);
    let device = table.text(report, "device", DEVICE, |path| path.starts_with('/') && !path.contains('\0'));
    let range = Nanos::from_millis(2_000)..=Nanos::from_millis(600_000);
    let timeout = table.duration(report, "timeout", range);
    let seconds = timeout.as_ref().map_or(10, |timeout| timeout.value.0 / 1_000_000_000);
    if let Some(timeout) = timeout.filter(|timeout| !timeout.value.0.is_multiple_of(1_000_000_000)) {
        report.value(
            timeout.span,
            table.name("timeout"),
            Fault::BadText { right: "whole seconds: watchdogs know no others" },
        );
    }
    Some(WatchdogConfig { device: PathBuf::from(device?.value), timeout: Nanos::from_millis(seconds * 1_000) })
}

/// `[api]`: who may ask, and where.
pub(super) fn api(root: &Table<'_>, report: &mut Report<'_>) -> Api {
    let Some(table) = root.table(report, "api", &["group", "http", "token_file"], "a table [api]") else {
        return Api::default();
    };
    let is_path = |path: &str| !path.is_empty() && !path.contains('\0');
    let group = table.text(report, "group", "the name of a group of this host", is_path);
    let http = table.text(report, "http", "an address and a port, such as \"127.0.0.1:9694\"", |text| {
        text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0)
    });
    let token_file = table.text(report, "token_file", "the path of a file with a token", is_path);
    Api {
        group: group.map(|group| group.value.to_owned()),
        http: http.and_then(|http| http.value.parse().ok()),
        token_file: token_file.map(|file| PathBuf::from(file.value)),
    }
}
