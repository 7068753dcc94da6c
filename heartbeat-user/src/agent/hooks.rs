//! Groups with hooks: what the pulse and takeover threads would say to each other goes through here.
//!
//! ```text
//!  Acquire -> on_acquire -> addresses -> held            Release -> addresses gone -> on_release -> released
//!                | fails       | fail                                                     | fails
//!                +--> on_release --> not acquired                     keep: addresses again, and held on; force: released
//! ```

use super::shared::{Command, Hooked};
use crate::{
    command::Outcome,
    config::{Config, Hooks},
    core::{GroupIndex, Nanos, Node, Reason},
    dataplane::clock,
    takeover::{ANSWER_WAIT, Answering, Done, Order},
};

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Run the hook, then say [`HookedGroups::ended`].
    Run(GroupIndex, Hook),
    /// Tell the takeover thread.
    Order(Order),
    /// Tell the pulse thread.
    Command(Command),
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    OnAcquire,
    OnRelease,
}

impl Hook {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OnAcquire => "on_acquire",
            Self::OnRelease => "on_release",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// `on_acquire` runs.
    Acquiring,
    /// `on_release` runs since the group could not be acquired; it is us who are cut off since then, or not.
    Undoing {
        isolated: Option<Nanos>,
    },
    /// `on_release` runs.
    Releasing,
    /// It failed, and the addresses are being put back.
    Keeping,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    stage: Stage,
    reason: Reason,
}

/// The groups, by index.
#[derive(Debug)]
pub(super) struct HookedGroups {
    groups: Vec<Group>,
    waits: bool,
}

/// Whether somebody is asked before a group is taken over: not whoever just let go of it. `waits`: where somebody answers for
/// what is a silent peer's, it is left to him.
pub(super) const fn answering(reason: Reason, waits: bool) -> Answering {
    match reason {
        Reason::PeerDead if waits => Answering::Wait { wait: ANSWER_WAIT },
        Reason::PeerDead | Reason::PeerLeft | Reason::Home | Reason::Unheld => Answering::Take { wait: ANSWER_WAIT },
        _ => Answering::Skip,
    }
}

/// A bit for each group that has the hook.
pub(super) fn mask(config: &Config, has: impl Fn(&Hooks) -> bool) -> u64 {
    config.groups.iter().filter(|g| has(&g.hooks)).fold(0, |bits, g| bits | g.index.bit())
}

impl HookedGroups {
    pub(super) fn new(config: &Config) -> Self {
        let groups = config.groups.iter().map(|_| Group { stage: Stage::Idle, reason: Reason::Resumed }).collect();
        Self { groups, waits: config.judging.wait_where_answered }
    }

    /// Whether a hook runs: the agent must not be replaced meanwhile.
    pub(super) fn busy(&self) -> Option<GroupIndex> {
        self.groups.iter().position(|g| g.stage != Stage::Idle).map(|i| GroupIndex(i as u8))
    }

    /// Something happened to a group that has hooks.
    pub(super) fn take(&mut self, hooked: Hooked) -> Option<Next> {
        match hooked {
            Hooked::Acquire { group, reason } => {
                self.groups[group.usize()] = Group { stage: Stage::Acquiring, reason };
                Some(Next::Run(group, Hook::OnAcquire))
            }
            Hooked::Releasing { group, reason } => {
                self.groups[group.usize()].reason = reason;
                None
            }
            Hooked::Done(done) => self.done(&done),
        }
    }

    fn done(&mut self, done: &Done) -> Option<Next> {
        match *done {
            Done::Acquired { group, ref stages, .. } => {
                let command = if std::mem::replace(&mut self.groups[group.usize()].stage, Stage::Idle) == Stage::Keeping
                {
                    Command::Kept { group }
                } else {
                    Command::Acquired { group, at: stages.announced, in_place: true }
                };
                Some(Next::Command(command))
            }
            Done::AcquireFailed { group, .. } if self.groups[group.usize()].stage == Stage::Keeping => {
                self.groups[group.usize()].stage = Stage::Idle;
                Some(Next::Command(Command::Kept { group }))
            }
            Done::AcquireFailed { group, .. } => Some(self.run(group, Stage::Undoing { isolated: None })),
            Done::Isolated { group, at } => Some(self.run(group, Stage::Undoing { isolated: Some(at) })),
            Done::Released { group, ref failures, .. } if failures.is_empty() => {
                Some(self.run(group, Stage::Releasing))
            }
            Done::Released { group, .. } => {
                let ordered = clock::monotonic();
                self.groups[group.usize()].stage = Stage::Keeping;
                Some(Next::Order(Order::Acquire { group, ordered, unless_isolated: false, answering: Answering::Skip }))
            }
            Done::StillAnswered { group, taken: false, .. } => Some(self.run(group, Stage::Undoing { isolated: None })),
            Done::StillAnswered { .. }
            | Done::Restored { .. }
            | Done::Rival { .. }
            | Done::RivalGone { .. }
            | Done::Swept { .. }
            | Done::Failed { .. } => None,
        }
    }

    fn run(&mut self, group: GroupIndex, stage: Stage) -> Next {
        self.groups[group.usize()].stage = stage;
        Next::Run(group, Hook::OnRelease)
    }

    /// A hook ended; `force`: what could not be let go of counts as released all the same.
    pub(super) fn ended(&mut self, group: GroupIndex, succeeded: bool, force: bool) -> Option<Next> {
        let now = clock::monotonic();
        let Group { stage, reason } = self.groups[group.usize()];
        self.groups[group.usize()].stage = Stage::Idle;
        Some(match stage {
            Stage::Acquiring if succeeded => {
                let unless_isolated = reason == Reason::PeerDead;
                let answering = answering(reason, self.waits);
                Next::Order(Order::Acquire { group, ordered: now, unless_isolated, answering })
            }
            // What it did before it failed is to be undone.
            Stage::Acquiring => self.run(group, Stage::Undoing { isolated: None }),
            Stage::Undoing { isolated: Some(at) } => Next::Command(Command::Isolated { group, at }),
            Stage::Undoing { isolated: None } => Next::Command(Command::Acquired { group, at: now, in_place: false }),
            Stage::Releasing if succeeded || force => Next::Command(Command::Released { group, at: now }),
            Stage::Releasing => {
                self.groups[group.usize()].stage = Stage::Keeping;
                Next::Order(Order::Acquire { group, ordered: now, unless_isolated: false, answering: Answering::Skip })
            }
            Stage::Idle | Stage::Keeping => return None,
        })
    }

    /// What a hook is told.
    pub(super) fn environment(
        &self,
        config: &Config,
        node: Node,
        group: GroupIndex,
        verdict: &str,
    ) -> Vec<(&'static str, String)> {
        let reason = serde_json::to_value(self.groups[group.usize()].reason).unwrap_or_default();
        let mut environment = peer(config, node);
        environment.extend([
            ("HEARTBEAT_GROUP", config.groups[group.usize()].name.clone()),
            ("HEARTBEAT_REASON", reason.as_str().unwrap_or_default().to_owned()),
            ("HEARTBEAT_VERDICT", verdict.to_owned()),
        ]);
        environment
    }
}

/// What every command is told.
pub(super) fn peer(config: &Config, node: Node) -> Vec<(&'static str, String)> {
    let peer = config.hostnames[usize::from(node.other().wire())].clone();
    vec![("HEARTBEAT_NODE", node.to_string()), ("HEARTBEAT_PEER", peer.unwrap_or_default())]
}

/// How a command ended, for the journal.
pub(super) fn told(what: &'static str, group: Option<GroupIndex>, outcome: &Outcome) -> crate::status::ControlEvent {
    crate::status::ControlEvent::CommandRan {
        what,
        group,
        succeeded: outcome.succeeded(),
        how: outcome.ended.to_string(),
        took_ns: Nanos(outcome.took.as_nanos() as u64),
        output: outcome.output.clone(),
    }
}
