//! Whether a failover would work, and what makes one safe, as metrics.

use super::{borrowed, code, gauge, truth};
use crate::{api::Status, events::Code};
use prometheus::proto::MetricFamily;

pub(super) fn about(all: &mut Vec<MetricFamily>, status: &Status) {
    let readiness = &status.readiness;
    gauge(all, "heartbeat_ready", "Whether a failover would work now", &[(&[], truth(readiness.ready))]);
    let count = |code: Code| readiness.reasons.iter().filter(|reason| reason.code == code).count() as f64;
    let reasons: Vec<_> = Code::ALL.iter().map(|code| ([("reason", code.name())], count(*code))).collect();
    let help = "How many things of that sort speak against a failover now";
    gauge(all, "heartbeat_not_ready", help, &borrowed(&reasons));
    let within = [("local", status.release_within_ms), ("peer", status.peer.release_within_ms)];
    let within: Vec<_> = within.iter().filter_map(|(who, ms)| Some(([("controller", *who)], (*ms)? / 1e3))).collect();
    let help = "Cut off, the controller lets go of everything within so long, as it says";
    gauge(all, "heartbeat_release_within_seconds", help, &borrowed(&within));
    if let Some(withheld) = &status.withheld {
        let help = "1 for the reason for which nothing is taken from a silent peer";
        let reason = code(&withheld.reason);
        gauge(all, "heartbeat_takeover_withheld", help, &[(&[("reason", reason.as_str())], 1.0)]);
        let left: Vec<_> = withheld.left_ms.iter().map(|ms| (&[][..], ms / 1e3)).collect();
        gauge(all, "heartbeat_takeover_withheld_seconds", "For so long yet, where time ends it", &left);
    }
    about_devices(all, status);
    let silent: Vec<_> = status.groups.iter().map(|g| ([("group", g.name.as_str())], truth(g.silent))).collect();
    let help = "Whether this host's kernel keeps silent for a group that is ours";
    gauge(all, "heartbeat_group_silent", help, &borrowed(&silent));
    let taken = status.groups.iter().filter_map(|group| Some((&group.name, code(&group.claim.as_ref()?.safe?))));
    let taken: Vec<_> = taken.collect();
    let safe = taken.iter().map(|(group, safe)| ([("group", group.as_str()), ("by", safe.as_str())], 1.0));
    let help = "1 for what made it safe to take the group from a silent peer";
    gauge(all, "heartbeat_group_taken", help, &borrowed(&safe.collect::<Vec<_>>()));
}

fn about_devices(all: &mut Vec<MetricFamily>, status: &Status) {
    let asked = status.fence.iter().filter_map(|level| {
        Some(([("level", level.level.as_str()), ("by", level.by.as_str())], truth(level.answers?), level.asked_ms))
    });
    let asked: Vec<_> = asked.collect();
    let up: Vec<_> = asked.iter().map(|(labels, up, _)| (*labels, *up)).collect();
    gauge(all, "heartbeat_fence_up", "Whether the level could be relied on when it was asked last", &borrowed(&up));
    let ages: Vec<_> = asked.iter().filter_map(|(labels, _, ms)| Some((*labels, (*ms)? / 1e3))).collect();
    gauge(all, "heartbeat_fence_asked_age_seconds", "How long ago that was", &borrowed(&ages));
    if let Some(arbiter) = &status.arbiter {
        let up: Vec<_> = arbiter.well.iter().map(|well| (&[][..], truth(*well))).collect();
        gauge(all, "heartbeat_arbiter_up", "Whether all of the arbiter answered last", &up);
        let since: Vec<_> = arbiter.since_ms.iter().map(|ms| (&[][..], ms / 1e3)).collect();
        gauge(all, "heartbeat_arbiter_since_seconds", "For how long that has been so", &since);
    }
    if let Some(watchdog) = &status.watchdog {
        let fed: &[_] = &[(&[("device", watchdog.device.as_str())][..], truth(watchdog.fed))];
        gauge(all, "heartbeat_watchdog_fed", "Whether the host's watchdog is fed", fed);
    }
}
