//! What the control side knows beside the judgement: what makes a takeover safe, and what of this host is not as it should be.

use crate::{
    config::{Config, Device, Fence, HostProblem, Means, Use},
    core::{Reason, Safe},
    types::Nanos,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A stall of our own counts for so long.
pub const STALLS_COUNT_FOR: Nanos = Nanos::from_millis(600_000);
/// Stalls that are kept; more within that time are no news.
const STALLS: usize = 64;

/// What is told to it, and shown.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The fence.
    pub fence: FenceFacts,
    /// The arbiter, where there is one.
    pub arbiter: Option<ArbiterFacts>,
    /// By group: how it came to be ours, while it is.
    pub claims: Vec<Option<GroupClaim>>,
    /// What of this host is not as the configuration has it, as of the last look.
    pub problems: Vec<Problem>,
    /// When this agent, or its host, stood still.
    pub stalls: Stalls,
}

impl Known {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let devices = config.fence.iter().flat_map(Fence::devices);
        let arbiter = config.arbiter.as_ref();
        Self {
            fence: FenceFacts { devices: devices.map(FenceDevice::new).collect(), fenced: None },
            arbiter: arbiter.map(|arbiter| ArbiterFacts { by: arbiter.described(), ..ArbiterFacts::default() }),
            claims: vec![None; config.groups.len()],
            ..Self::default()
        }
    }
}

/// What is known of the fence.
#[derive(Clone, Debug, Default)]
pub struct FenceFacts {
    /// One for each device of all levels, in order.
    pub devices: Vec<FenceDevice>,
    /// By what the peer was switched off last in this life, and when.
    pub fenced: Option<(String, Nanos)>,
}

/// What is known of a device of the fence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceDevice {
    /// Where it stands in the file: `fence`, `fence.level[2]`.
    pub level: String,
    /// What it runs, by name.
    pub by: String,
    /// Whether that is an agent, which can be asked.
    pub is_agent: bool,
    /// What of its options the agent will not take, or why that is not known; empty where all is well.
    pub unfit: String,
    /// Whether it could be relied on when it was asked last; nothing of a command, of an agent that cannot be asked, and before the
    /// first answer.
    pub answers: Option<bool>,
    /// Why not.
    pub how: String,
    /// When it was asked.
    pub at: Nanos,
}

impl FenceDevice {
    fn new(device: &Device) -> Self {
        let is_agent = matches!(device.by, Means::Agent { .. });
        Self { level: device.key.clone(), by: device.runs().to_owned(), is_agent, ..Self::default() }
    }
}

/// What is known of the arbiter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArbiterFacts {
    /// What it is, in a few words.
    pub by: String,
    /// Whether all of it answered, when it was looked at or asked last; nothing before that.
    pub well: Option<bool>,
    /// Since when that has been so.
    pub since: Nanos,
    /// What that rests on.
    pub how: String,
}

impl ArbiterFacts {
    /// It answered, or did not.
    pub fn note(&mut self, now: Nanos, well: bool, how: &str) {
        if self.well.replace(well) != Some(well) {
            self.since = now;
        }
        how.clone_into(&mut self.how);
    }
}

/// How a group came to be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupClaim {
    /// Why it was claimed.
    pub reason: Reason,
    /// What made sure that a silent peer did not serve it, too.
    pub safe: Option<Safe>,
    /// By what the peer was switched off, where it was.
    pub fenced_by: Option<String>,
    /// When, in ns since 1970.
    pub time_ns: u64,
}

/// The host's watchdog, as this life has it.
#[derive(Clone, Debug)]
pub struct WatchdogFacts {
    /// Its path.
    pub device: String,
    /// It resets the host when it is not fed for so long; or why it cannot be had.
    pub timeout: Result<Nanos, String>,
    /// When it was fed last, on CLOCK_MONOTONIC.
    pub fed_ns: Arc<AtomicU64>,
}

impl WatchdogFacts {
    /// When it was fed last.
    #[must_use]
    pub fn fed(&self) -> Nanos {
        Nanos(self.fed_ns.load(Relaxed))
    }
}

/// What a problem of a host is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A program that is to be run.
    Command,
    /// Interfaces, addresses, devices.
    Host,
    /// What the kernel is to do when the agent cannot.
    Kernel,
}

/// Something of this host is not as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What it is about.
    pub kind: ProblemKind,
    /// The key, channel, group or interface that it is of.
    pub thing: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl From<&HostProblem> for Problem {
    fn from(problem: &HostProblem) -> Self {
        use HostProblem as P;
        let (kind, thing) = match problem {
            P::File { key, of, .. } if *of == Use::Write => (ProblemKind::Host, key.clone()),
            P::File { key, .. } | P::AgentMissing { key, .. } => (ProblemKind::Command, key.clone()),
            P::InterfaceMissing { channel, .. }
            | P::AddressMissing { channel, .. }
            | P::AddressElsewhere { channel, .. }
            | P::PeerAddressHere { channel, .. } => (ProblemKind::Host, channel.clone()),
            P::DeviceMissing { owner, .. } | P::NotADevice { owner, .. } | P::SameDevice { owner, .. } => {
                (ProblemKind::Host, owner.name().to_owned())
            }
            P::PassingName { key, .. } => (ProblemKind::Host, key.clone()),
            P::ServiceAddressElsewhere { group, .. } => (ProblemKind::Host, group.clone()),
            P::Writable { what, .. } => (ProblemKind::Host, what.clone()),
            P::WatchdogMissing { .. } => (ProblemKind::Host, "watchdog.device".to_owned()),
            P::Unreadable(_) => (ProblemKind::Host, "interfaces".to_owned()),
        };
        Self { kind, thing, text: problem.to_string() }
    }
}

/// The last times that this agent, or its host, stood still while the peer was heard.
#[derive(Clone, Debug, Default)]
pub struct Stalls(VecDeque<(Nanos, Nanos)>);

impl Stalls {
    /// It stood still for so long until `at`.
    pub fn note(&mut self, at: Nanos, late: Nanos) {
        self.0.push_back((at, late));
        self.0.drain(..self.0.len().saturating_sub(STALLS));
    }

    /// The longest one that counts: when it ended, and how long it was.
    #[must_use]
    pub fn longest(&self, now: Nanos) -> Option<(Nanos, Nanos)> {
        let counts = |(at, _): &&(Nanos, Nanos)| now.since(*at) < STALLS_COUNT_FOR;
        self.0.iter().filter(counts).max_by_key(|(_, late)| *late).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EXAMPLE, check_commands};

    const S: fn(u64) -> Nanos = |s| Nanos::from_millis(s * 1_000);

    #[test]
    fn a_stall_counts_for_ten_minutes_and_the_longest_one_is_told() {
        let mut stalls = Stalls::default();
        assert_eq!(stalls.longest(S(5)), None);
        for (at, late) in [(10, 2), (20, 7), (30, 3)] {
            stalls.note(S(at), S(late));
        }
        assert_eq!(stalls.longest(S(30)), Some((S(20), S(7))));
        assert_eq!(stalls.longest(S(625)), Some((S(30), S(3))), "the longer one is too long ago");
        assert_eq!(stalls.longest(S(630)), None);
    }

    #[test]
    fn an_arbiter_is_well_since_it_answered_first_whatever_it_said_since() {
        let mut arbiter = ArbiterFacts::default();
        arbiter.note(S(1), true, "3 of 3 answer");
        arbiter.note(S(61), true, "3 of 3 answer; nobody holds anything");
        assert_eq!((arbiter.well, arbiter.since, arbiter.how.len()), (Some(true), S(1), 36));
        arbiter.note(S(121), false, "0 of 3 answer");
        assert_eq!((arbiter.well, arbiter.since), (Some(false), S(121)));
    }

    #[test]
    fn a_program_that_is_missing_is_known_by_its_key_and_everything_else_by_its_channel() {
        let text = format!("{EXAMPLE}\n[fence]\ncommand = [\"/nonexistent/fence\"]\n");
        let config = Config::parse(&text, "example.toml").expect("it is valid");
        let problem = Problem::from(&check_commands(&config)[0]);
        assert_eq!((problem.kind, problem.thing.as_str()), (ProblemKind::Command, "fence.command"));
        assert!(problem.text.contains("/nonexistent/fence") && problem.text.contains("put the command there"));
        let other = HostProblem::InterfaceMissing { channel: "net1".into(), interface: "eth7".into(), present: vec![] };
        let problem = Problem::from(&other);
        assert_eq!((problem.kind, problem.thing.as_str()), (ProblemKind::Host, "net1"));
        assert_eq!(Known::new(&config).fence.devices[0].level, "fence");
    }
}
