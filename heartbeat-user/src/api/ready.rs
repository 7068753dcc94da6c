//! Would a failover work now? One function of what the status says, asked before the night in which it is needed: by
//! `heartbeat ready`, the status, the page, a metric and events alike.

use super::{Channel, Group, Health, OwnEnd, ProblemKind, Readiness, Status, metrics::code, status::Served};
use crate::{
    events::{Code, Obstacle, text::difference},
    types::Node,
};

/// A pulse thread this late on one wake-up in a hundred, in parts of an interval, or that stood still for as long as it takes to be
/// found dead, is too late; of fewer wake-ups than this nothing is said.
const LATE: f64 = 0.5;
const WAKE_UPS: u64 = 1_000;

/// What the status comes to.
pub(super) fn readiness(status: &Status) -> Readiness {
    let mut found = Found { reasons: Vec::new(), here: status.node, there: status.node.other() };
    if status.is_fresh() {
        found.peer(status);
        found.agreement(status);
        found.channels(status);
        found.services(status);
        found.host(status);
        found.safety(status);
        found.groups(status);
        found.lateness(status);
    } else {
        let (age, most) = (span(status.age_ms), span((status.interval_ms * 3.0).max(1_000.0)));
        let text = format!(
            "the facts are {age} old, so nothing is known: the pulse thread stands still; right would be less than {most}: \
             see the load of this host"
        );
        found.add(Code::FactsOld, Some(found.here), "pulse", text);
    }
    Readiness::new(found.reasons)
}

/// Reasons, as they are found.
struct Found {
    reasons: Vec<Obstacle>,
    here: Node,
    there: Node,
}

impl Found {
    fn add(&mut self, code: Code, controller: Option<Node>, thing: impl ToString, text: String) {
        self.reasons.push(Obstacle { code, controller, thing: thing.to_string(), text });
    }

    fn peer(&mut self, status: &Status) {
        let (peer, there) = (&status.peer, self.there);
        let why = match peer.state {
            Health::Good if peer.left => Some("is being stopped".to_owned()),
            Health::Good => None,
            Health::Unknown => Some("was not heard yet".to_owned()),
            Health::Bad if peer.left => Some("has left: its agent was stopped".to_owned()),
            Health::Bad => Some(match (peer.died_ms, peer.stalled_ms) {
                (Some(died), _) => format!("has no agent: it died {} ago", span(died)),
                (None, Some(stalled)) => format!("does nothing: its agent has stood still for {}", span(stalled)),
                (None, None) => "is silent on every channel".to_owned(),
            }),
        };
        if let Some(why) = why {
            let withheld = status.withheld.as_ref().map(|withheld| match withheld.left_ms {
                Some(left) => format!("; nothing is taken over for {}: {}", span(left), withheld.text),
                None => format!("; nothing is taken over: {}", withheld.text),
            });
            let withheld = withheld.unwrap_or_default();
            let text = format!("controller {there} {why}{withheld}; right would be an agent there that is heard");
            self.add(Code::Peer, Some(there), there, text);
        } else if peer.unfit {
            let text = format!(
                "controller {there} says that something of its own host speaks against its taking over; `heartbeat ready` there \
                 says what"
            );
            self.add(Code::PeerUnfit, Some(there), there, text);
        }
        for (node, on) in [(self.here, status.maintenance), (there, peer.maintenance)] {
            if on {
                let text = format!(
                    "controller {node} is in maintenance: nothing moves, whatever fails; right would be `heartbeat maintenance \
                     off` there"
                );
                self.add(Code::Maintenance, Some(node), node, text);
            }
        }
    }

    fn agreement(&mut self, status: &Status) {
        for what in &status.peer.differs {
            let others = difference(*what);
            let text = format!("the two have other {others} configured; right would be one file, loaded on both");
            self.add(Code::FilesDiffer, None, code(what), text);
        }
        if status.peer.keys_differ {
            let text =
                "the two key files differ; right would be the same lines in both, and a reload of both".to_owned();
            self.add(Code::KeysDiffer, None, "key_file", text);
        }
    }

    fn channels(&mut self, status: &Status) {
        let good = status.peer.state == Health::Good;
        for channel in &status.channels {
            let name = &channel.name;
            let own =
                own_fault(channel).map_or_else(String::new, |fault| format!(", {} {fault} here", channel.interface));
            if channel.state != Health::Good && (good || channel.own_end != OwnEnd::Well) {
                let silent = match (channel.state, channel.last_heard_ms) {
                    (Health::Unknown, _) => "not heard yet".to_owned(),
                    (_, Some(ms)) => format!("BAD, silent for {}", span(ms)),
                    (_, None) => "BAD, never heard".to_owned(),
                };
                let place = channel.fault.as_deref().map_or_else(String::new, |place| format!(": {place}"));
                let text = format!("{name} is {silent}{own}{place}; right would be GOOD");
                self.add(Code::ChannelDown, None, name, text);
            } else if channel.heard_there == Some(false) {
                let text = format!(
                    "{name} is deaf there: controller {} does not hear us on it; right would be GOOD",
                    self.there
                );
                self.add(Code::ChannelDown, Some(self.there), name, text);
            }
        }
        for group in &status.groups {
            for channel in status.channels.iter().filter(|channel| group.channels.contains(&channel.name)) {
                let Some(fault) = own_fault(channel) else { continue };
                let text = format!(
                    "group {} could not be served here: {} {fault}; right would be an interface that is up, with our own address",
                    group.name, channel.interface,
                );
                self.add(Code::Interface, Some(self.here), format!("{} on {}", group.name, channel.name), text);
            }
        }
    }

    fn services(&mut self, status: &Status) {
        if status.peer.state != Health::Good {
            return;
        }
        let sides = [(self.here, &status.service), (self.there, &status.peer.service)];
        for (node, served) in sides.into_iter().filter_map(|(node, served)| Some((node, served.as_ref()?))) {
            let Served { qos, full_qos, networks_failed, checks_failing, recovering } = served;
            let gives = format!("it gives {qos} of {full_qos}");
            // What our own interface says was said already.
            let here = self.here;
            let said = |name: &String| {
                node == here
                    && status.channels.iter().any(|channel| channel.name == *name && own_fault(channel).is_some())
            };
            for network in networks_failed.iter().filter(|network| !said(network)) {
                let text = format!(
                    "{network} does not work for controller {node}: {gives}; right would be somebody who answers there"
                );
                self.add(Code::Network, Some(node), network, text);
            }
            for check in checks_failing {
                let text =
                    format!("check {check} of controller {node} fails: {gives}; right would be an exit code of 0");
                self.add(Code::Check, Some(node), check, text);
            }
            if qos < full_qos && !recovering && networks_failed.is_empty() && checks_failing.is_empty() {
                let text =
                    format!("a health check of controller {node} fails: {gives}; right would be an exit code of 0");
                self.add(Code::Check, Some(node), node, text);
            }
        }
    }

    fn host(&mut self, status: &Status) {
        for problem in &status.problems {
            let code = match problem.kind {
                ProblemKind::Command => Code::Command,
                ProblemKind::Host => Code::Host,
                ProblemKind::Kernel => Code::Kernel,
            };
            self.add(code, Some(self.here), &problem.thing, problem.text.clone());
        }
    }

    fn safety(&mut self, status: &Status) {
        for level in status.fence.iter().filter(|level| level.answers == Some(false)) {
            let why = level.why.as_deref().unwrap_or("it does not answer");
            let asked = level.asked_ms.map_or_else(String::new, |ms| format!(" {} ago", span(ms)));
            let text = format!(
                "{}: {} cannot be relied on{asked}: {why}; right would be a device that says whether controller {} has power",
                level.level, level.by, self.there
            );
            self.add(Code::Fence, Some(self.here), &level.level, text);
        }
        if let Some(arbiter) = status.arbiter.as_ref().filter(|arbiter| arbiter.well == Some(false)) {
            let since = arbiter.since_ms.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
            let text = format!(
                "the arbiter, {}, is not well{since}: {}; right would be that all of it answers",
                arbiter.by, arbiter.how
            );
            self.add(Code::Arbiter, Some(self.here), "arbiter", text);
        }
        if let Some(watchdog) = status.watchdog.as_ref().filter(|watchdog| !watchdog.fed) {
            let device = &watchdog.device;
            let text = match (&watchdog.why, watchdog.fed_ms, watchdog.timeout_ms) {
                (None, Some(fed), Some(timeout)) => format!(
                    "{device} was fed {} ago: it resets this host after {}; right would be every {}",
                    span(fed),
                    span(timeout),
                    span(timeout / 4.0)
                ),
                (why, ..) => format!("{device} cannot be had: {}", why.as_deref().unwrap_or("it is not known why")),
            };
            self.add(Code::Watchdog, Some(self.here), device, text);
        }
    }

    fn groups(&mut self, status: &Status) {
        let good = status.peer.state == Health::Good;
        let (here, there) = (self.here, self.there);
        for group in &status.groups {
            let Group { name, held, kept, .. } = group;
            let unguarded =
                status.fence.is_empty() && status.arbiter.is_none() && status.peer.release_within_ms.is_none();
            if group.exclusive && good && unguarded {
                let text = format!(
                    "{name} must not be held twice, and nothing would ever say that a silent controller {there} does not have it: \
                     right would be a [fence], an [arbiter], or isolated = \"release\" there"
                );
                self.add(Code::Exclusive, None, name, text);
            }
            if group.owner.is_none() && good {
                let text =
                    format!("{name} is held by nobody; right would be one of the two: `heartbeat explain` says why");
                self.add(Code::GroupUnheld, None, name, text);
            }
            if group.held_twice {
                let text = format!("{name} is held by both controllers; right would be one: cut off the wrong one");
                self.add(Code::GroupHeldTwice, None, name, text);
            }
            if *kept && *held {
                let text = format!(
                    "{name} could not be let go of and stays here; right would be that its on_release, or the removal of its \
                     addresses, succeeds: it is tried again"
                );
                self.add(Code::GroupKept, Some(here), name, text);
            } else if *kept {
                let text = format!(
                    "{name} could neither be had nor let go of here, and nobody has it; right would be that its on_release \
                     succeeds: it is tried again"
                );
                self.add(Code::GroupStuck, Some(here), name, text);
            }
            if group.silent {
                let text = format!(
                    "this host's kernel keeps silent for {name}, which is ours: nobody is answered; right would be that the agent \
                     opens it at its next turn, or `heartbeat unfence {name}`"
                );
                self.add(Code::GroupSilent, Some(here), name, text);
            }
        }
    }

    fn lateness(&mut self, status: &Status) {
        let Status { lateness, interval_ms, detection_ms, profile, stall, .. } = status;
        let here = self.here;
        let most_us = interval_ms * 1e3 * LATE;
        if lateness.n >= WAKE_UPS && lateness.p99_us > most_us {
            let text = format!(
                "one wake-up in a hundred of the pulse thread is late by {} or more; right would be at most {}, half an interval \
                 of {profile}: a slower profile, or find who takes the processor",
                span(lateness.p99_us / 1e3),
                span(most_us / 1e3)
            );
            self.add(Code::Late, Some(here), "pulse", text);
        }
        if let Some(stall) = stall.as_ref().filter(|stall| stall.late_ms >= *detection_ms) {
            let text = format!(
                "this agent, or its host, stood still for {}, {} ago; right would be less than {}, after which {profile} finds it \
                 dead: a slower profile, or find who takes the processor",
                span(stall.late_ms),
                span(stall.ago_ms),
                span(*detection_ms)
            );
            self.add(Code::Late, Some(here), "stall", text);
        }
    }
}

/// What our own interface is, where it is not as it should be.
const fn own_fault(channel: &Channel) -> Option<&'static str> {
    match channel.own_end {
        OwnEnd::Well => None,
        OwnEnd::NoAddress => Some("is without our own address"),
        OwnEnd::NoCarrier => Some("is down, or has no carrier"),
        OwnEnd::Absent => Some("does not exist"),
    }
}

/// A span in ms, as people write it.
fn span(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0} us", ms * 1e3),
        ms if ms < 1e3 => format!("{ms:.0} ms"),
        ms if ms < 120e3 => format!("{:.1} s", ms / 1e3),
        ms if ms < 7_200e3 => format!("{:.0} min", ms / 60e3),
        ms => format!("{:.0} h", ms / 3_600e3),
    }
}

#[cfg(test)]
mod tests;
