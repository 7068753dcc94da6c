//! Health checks: a command that is run again and again, and when its result counts.

use super::{CommandOutcome, Task, attempt};
use std::{pin::pin, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// Its command, the path first.
    pub command: Vec<String>,
    /// From one start to the next; never two at a time.
    pub interval: Duration,
    /// Each run may take so long.
    pub timeout: Duration,
    /// So many successes on end make it good.
    pub rise: u32,
    /// So many failures on end make it bad.
    pub fall: u32,
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    rise: u32,
    fall: u32,
    good: Option<bool>,
    /// Results on end that say otherwise.
    otherwise: u32,
}

impl Health {
    pub(super) const fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, good: None, otherwise: 0 }
    }

    /// A result; whether that changes where the check stands. The first one decides alone.
    pub(super) fn take(&mut self, succeeded: bool) -> bool {
        if self.good == Some(succeeded) {
            self.otherwise = 0;
            return false;
        }
        self.otherwise += 1;
        let needed = if succeeded { self.rise } else { self.fall };
        let changes = self.good.is_none() || self.otherwise >= needed;
        if changes {
            (self.good, self.otherwise) = (Some(succeeded), 0);
        }
        changes
    }
}

/// Runs a check for ever; `report` is told of each change with the run that caused it. One that was ended and is not gone, as where it
/// waits for a disk, has failed again each time that its turn comes, and is not run beside itself.
pub async fn watch(plan: CheckPlan, environment: Vec<(&'static str, String)>, report: impl Fn(bool, &CommandOutcome)) {
    let mut health = Health::new(plan.rise, plan.fall);
    let mut times = interval(plan.interval);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let (outcome, mut remains) = attempt(Task::new(&plan.command, &environment), plan.timeout).await;
        let mut gone = pin!(remains.gone());
        loop {
            if health.take(outcome.succeeded()) {
                report(outcome.succeeded(), &outcome);
            }
            tokio::select! {
                biased;
                () = &mut gone => break,
                _ = times.tick() => {}
            }
        }
    }
}
