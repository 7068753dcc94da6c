//! What happens to a group on its way: the operator's hooks before and after its addresses, and what follows where one of
//! them fails. [`Ownership`](super::ownership::Ownership) says that a group is to be had or let go of; this says in which
//! steps.
//!
//! ```text
//!        on_acquire   addresses    on_acquired                    on_releasing   addresses      on_release
//!  Free -> Preparing -> Adding -> Starting -> Held   Held -> Stopping -> Removing -> Finishing -> Free
//!             | fails     | fail                                           | stay       | fails
//!             +-----+-----+                                                +-----+------+
//!                   v on_release                                                 v addresses again
//!     Free <---- Undoing                                          Held <-- Restoring
//!                   | fails                                                      | fail
//!                   v                 after a while, again                       v
//!                 Stuck <------> Clearing -> Retrying -> Free                  Stuck
//! ```
//! A hook that a group does not have succeeds at once. `on_acquired` and `on_releasing` change nothing by failing: that is
//! told, and the group goes on. Of `on_release` the group says what its failing means: it is kept (as drawn), or it counts
//! as released.

use super::{Action, Core, Event, Hook, HookedGroups, Reason, Withheld, ownership::Step};
use crate::types::{GroupIndex, Nanos, bits};

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing of it is here.
    Free,
    /// `on_acquire` runs.
    Preparing,
    /// Its addresses are being added.
    Adding,
    /// `on_release` undoes what `on_acquire` did; it is us who are cut off, or not.
    Undoing { isolated: bool },
    /// Its addresses are in place, `on_acquired` runs.
    Starting,
    /// The same, and once more after that.
    StartingTwice,
    /// The same, but it is to be let go of.
    StartingInVain,
    /// Its addresses are in place, nothing runs.
    Held,
    /// `on_releasing` runs.
    Stopping,
    /// Its addresses are being removed.
    Removing,
    /// `on_release` runs.
    Finishing,
    /// It could not be let go of: its addresses are being added again.
    Restoring,
    /// It could neither be had nor let go of.
    Stuck,
    /// An earlier life left it: its addresses are being removed.
    Leftover,
    /// An earlier life left it: `on_releasing` runs.
    LeftoverStopping,
    /// Its addresses are being removed, perhaps once more.
    Clearing,
    /// `on_release` runs, perhaps once more.
    Retrying,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// It is to be had.
    Acquire,
    /// It is to be let go of.
    Release,
    /// It is to be let go of, an earlier life left it.
    ReleaseLeftover,
    /// It is to be let go of although that failed before.
    Retry,
    /// The other one had it, too, and has it no more.
    Settled,
    /// The hook that runs ended well.
    HookSucceeded,
    /// It did not.
    HookFailed,
    /// The addresses are in place.
    InPlace,
    /// None of them could be added.
    NotInPlace,
    /// None of them was added, for it is us who are cut off.
    Isolated,
    /// The addresses are gone.
    Gone,
    /// Some of them could not be removed.
    NotGone,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Run this hook.
    Run(Hook),
    /// Add the addresses.
    Add,
    /// Add them again: it is kept.
    AddAgain,
    /// Remove them.
    Remove,
    /// It is held.
    Acquired,
    /// It was held, and its addresses are not there.
    Lost,
    /// It could not be had.
    NotAcquired,
    /// The same, for it is us who are cut off.
    CutOff,
    /// It is gone.
    Released,
    /// It could not be let go of, and is held on.
    Kept,
    /// It could not be let go of, and is not held either.
    Stuck,
}

impl Stage {
    /// What follows from an input. What is not in this table changes nothing: it is the late answer to something that does not
    /// count any more.
    const fn next(self, input: Input) -> (Self, &'static [Output]) {
        use {Hook::*, Input as I, Output as O};
        match (self, input) {
            (Self::Free, I::Acquire) => (Self::Preparing, &[O::Run(OnAcquire)]),
            (Self::Preparing, I::HookSucceeded) => (Self::Adding, &[O::Add]),
            (Self::Preparing, I::HookFailed) => (Self::Undoing { isolated: false }, &[O::Run(OnRelease)]),
            (Self::Adding, I::InPlace) => (Self::Starting, &[O::Acquired, O::Run(OnAcquired)]),
            (Self::Adding, I::NotInPlace) => (Self::Undoing { isolated: false }, &[O::Run(OnRelease)]),
            (Self::Adding, I::Isolated) => (Self::Undoing { isolated: true }, &[O::Run(OnRelease)]),
            (Self::Undoing { isolated: false }, I::HookSucceeded) => (Self::Free, &[O::NotAcquired]),
            (Self::Undoing { isolated: true }, I::HookSucceeded) => (Self::Free, &[O::CutOff]),
            (Self::Undoing { .. }, I::HookFailed) => (Self::Stuck, &[O::Stuck]),

            (Self::Starting, I::HookSucceeded | I::HookFailed) => (Self::Held, &[]),
            (Self::Starting, I::Settled) => (Self::StartingTwice, &[]),
            (Self::StartingTwice, I::HookSucceeded | I::HookFailed) => (Self::Starting, &[O::Run(OnAcquired)]),
            (Self::Starting | Self::StartingTwice, I::Release) => (Self::StartingInVain, &[]),
            (Self::StartingInVain, I::HookSucceeded | I::HookFailed) => (Self::Stopping, &[O::Run(OnReleasing)]),
            (Self::Held, I::Settled) => (Self::Starting, &[O::Run(OnAcquired)]),
            (Self::Held, I::NotInPlace) => (Self::Undoing { isolated: false }, &[O::Lost, O::Run(OnRelease)]),

            (Self::Held, I::Release) => (Self::Stopping, &[O::Run(OnReleasing)]),
            (Self::Stopping, I::HookSucceeded | I::HookFailed) => (Self::Removing, &[O::Remove]),
            (Self::Removing, I::Gone) => (Self::Finishing, &[O::Run(OnRelease)]),
            (Self::Removing, I::NotGone) => (Self::Restoring, &[O::AddAgain]),
            (Self::Finishing, I::HookSucceeded) => (Self::Free, &[O::Released]),
            (Self::Finishing, I::HookFailed) => (Self::Restoring, &[O::AddAgain]),
            (Self::Restoring, I::InPlace) => (Self::Starting, &[O::Kept, O::Run(OnAcquired)]),
            (Self::Restoring, I::NotInPlace | I::Isolated) => (Self::Stuck, &[O::Stuck]),

            (Self::Stuck, I::Retry) => (Self::Clearing, &[O::Remove]),
            (Self::Free, I::ReleaseLeftover) => (Self::Leftover, &[O::Remove]),
            (Self::Leftover, I::Gone | I::NotGone) => (Self::LeftoverStopping, &[O::Run(OnReleasing)]),
            (Self::LeftoverStopping, I::HookSucceeded | I::HookFailed) => (Self::Clearing, &[O::Remove]),
            (Self::Clearing, I::Gone) => (Self::Retrying, &[O::Run(OnRelease)]),
            (Self::Clearing, I::NotGone) | (Self::Retrying, I::HookFailed) => (Self::Stuck, &[O::Stuck]),
            (Self::Retrying, I::HookSucceeded) => (Self::Free, &[O::Released]),
            _ => (self, &[]),
        }
    }

    /// The hook that runs.
    const fn runs(self) -> Option<Hook> {
        match self {
            Self::Preparing => Some(Hook::OnAcquire),
            Self::Starting | Self::StartingTwice | Self::StartingInVain => Some(Hook::OnAcquired),
            Self::Stopping | Self::LeftoverStopping => Some(Hook::OnReleasing),
            Self::Undoing { .. } | Self::Finishing | Self::Retrying => Some(Hook::OnRelease),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Course {
    stage: Stage,
    /// Why it is being had, or let go of.
    reason: Reason,
}

/// Groups that have come to where they stay, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtRest {
    pub(super) free: u64,
    pub(super) held: u64,
    pub(super) stuck: u64,
}

/// All groups, on their way.
#[derive(Clone, Debug)]
pub(super) struct Courses {
    groups: Vec<Course>,
    hooked: HookedGroups,
}

impl Courses {
    /// Those of `held` are held from the start.
    pub(super) fn new(groups: usize, hooked: HookedGroups, held: u64) -> Self {
        let stage = |i: usize| if held >> i & 1 == 1 { Stage::Held } else { Stage::Free };
        let course = |i| Course { stage: stage(i), reason: Reason::Resumed };
        Self { groups: (0..groups).map(course).collect(), hooked }
    }

    fn which(&self, which: impl Fn(Stage) -> bool) -> u64 {
        bits(self.groups.iter().map(|c| which(c.stage)))
    }

    /// Groups with hooks that are under way: something of theirs runs, or is about to.
    pub(super) fn busy(&self) -> u64 {
        self.hooked.any() & self.which(|stage| !matches!(stage, Stage::Free | Stage::Held | Stage::Stuck))
    }

    /// Groups of which a hook may have left something here: `on_acquire` began, `on_release` has not ended well.
    pub(super) fn left(&self) -> u64 {
        self.hooked.any() & self.which(|stage| stage != Stage::Free)
    }

    /// Groups of which nothing is under way but what changes nothing by failing.
    pub(super) fn at_rest(&self) -> AtRest {
        AtRest {
            free: self.which(|stage| stage == Stage::Free),
            held: self.which(|stage| matches!(stage, Stage::Held | Stage::Starting | Stage::StartingTwice)),
            stuck: self.which(|stage| stage == Stage::Stuck),
        }
    }

    fn step(&mut self, group: GroupIndex, input: Input) -> &'static [Output] {
        let Some(course) = self.groups.get_mut(group.usize()) else { return &[] };
        let (stage, outputs) = course.stage.next(input);
        course.stage = stage;
        outputs
    }
}

impl Core {
    /// A hook of [`Action::RunHook`] ended; what could not be started or did not end in time failed.
    pub fn handle_hook_ended(&mut self, now: Nanos, group: GroupIndex, hook: Hook, succeeded: bool) {
        if self.courses.groups.get(group.usize()).and_then(|course| course.stage.runs()) != Some(hook) {
            return;
        }
        let forced = hook == Hook::OnRelease && self.setup.hooks.force & group.bit() != 0;
        self.happen(now, group, if succeeded || forced { Input::HookSucceeded } else { Input::HookFailed });
    }

    /// What the ownership of groups wants done.
    pub(super) fn take_step(&mut self, now: Nanos, step: Step) {
        match step {
            Step::Acquire(group, reason) => {
                self.begin(now, group, Input::Acquire, reason);
                if !self.ownership.is_failing(group) {
                    let (term, safe) = (self.ownership.term(), self.made_safe(group, reason));
                    self.tell(now, Event::GroupAcquiring { group, reason, term, safe });
                }
            }
            Step::Release(group, reason) => {
                self.tell(now, Event::GroupReleasing { group, reason });
                self.begin(now, group, Input::Release, reason);
            }
            Step::Retry(group) => self.begin(now, group, Input::Retry, Reason::Kept),
            Step::Dual(group, kept_by) => {
                let at_most_ns = now.since(self.alone_at);
                self.tell(now, Event::DualOwnership { group, kept_by, at_most_ns });
                if kept_by == self.setup.node {
                    self.announce(group);
                }
            }
            Step::Settled(group) => {
                self.announce(group);
                self.happen(now, group, Input::Settled);
            }
            Step::Withhold(reason) => {
                let left_ns = self.withheld_until(now).map(|until| until.since(now));
                self.tell(now, Event::TakeoverWithheld { reason, left_ns });
            }
        }
    }

    /// Clients may have learnt of somebody else meanwhile.
    fn announce(&mut self, group: GroupIndex) {
        if self.ownership.held() & group.bit() != 0 {
            self.actions.push(Action::Announce(group));
        }
    }

    /// The group is to be had or let go of, for this reason.
    pub(super) fn begin(&mut self, now: Nanos, group: GroupIndex, input: Input, reason: Reason) {
        if let Some(course) = self.courses.groups.get_mut(group.usize()) {
            course.reason = reason;
        }
        self.happen(now, group, input);
    }

    /// Something happened to a group on its way.
    pub(super) fn happen(&mut self, now: Nanos, group: GroupIndex, input: Input) {
        let outputs = self.courses.step(group, input);
        for output in outputs {
            self.put(now, group, *output);
        }
    }

    fn put(&mut self, now: Nanos, group: GroupIndex, output: Output) {
        let reason = self.courses.groups[group.usize()].reason;
        match output {
            Output::Run(hook) if self.setup.hooks.has[hook as usize] & group.bit() == 0 => {
                self.happen(now, group, Input::HookSucceeded);
            }
            Output::Run(hook) => self.actions.push(Action::RunHook(group, hook, reason)),
            Output::Add => self.actions.push(Action::Acquire(group, reason)),
            Output::AddAgain => self.actions.push(Action::Acquire(group, Reason::Kept)),
            Output::Remove => self.actions.push(Action::Release(group, reason)),
            Output::Acquired => {
                if self.ownership.acquired(group) {
                    self.tell(now, Event::GroupAcquired { group });
                }
            }
            Output::Lost => self.ownership.lost(group),
            Output::NotAcquired => self.not_acquired(now, group),
            Output::CutOff => self.cut_off(now, group),
            Output::Released => {
                if self.ownership.released(group) {
                    self.tell(now, Event::GroupReleased { group });
                }
                self.leftovers &= !group.bit();
            }
            Output::Kept => {
                if self.ownership.release_failed(now, group) {
                    self.tell(now, Event::GroupKept { group });
                }
            }
            Output::Stuck => {
                self.wish.give_up(now, group, &mut self.actions);
                if self.ownership.stuck(now, group) {
                    self.tell(now, Event::GroupStuck { group });
                }
                self.leftovers &= !group.bit();
            }
        }
    }

    fn not_acquired(&mut self, now: Nanos, group: GroupIndex) {
        if self.ownership.acquire_failed(now, group) {
            self.wish.give_up(now, group, &mut self.actions);
            if self.ownership.begin_failing(now, group) {
                self.tell(now, Event::GroupReleasing { group, reason: Reason::Failed });
                self.tell(now, Event::GroupReleased { group });
            }
        }
    }

    fn cut_off(&mut self, now: Nanos, group: GroupIndex) {
        if self.ownership.acquire_failed(now, group) {
            self.wish.give_up(now, group, &mut self.actions);
            if self.ownership.withhold(Withheld::Isolated) {
                self.tell(now, Event::TakeoverWithheld { reason: Withheld::Isolated, left_ns: None });
            }
            self.tell(now, Event::GroupReleased { group });
        }
    }

    /// Groups with hooks of which something runs or is about to: the agent must not be replaced meanwhile.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.courses.busy()
    }
}

#[cfg(test)]
mod tests;
