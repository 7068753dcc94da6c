//! Switching a silent peer off, so that it surely does not work on: by commands, and by fence agents as they are
//! (ClusterLabs' fence-agents). Several levels, tried in order; of several devices of a level all must succeed. And each agent is asked
//! now and then whether its device answers, so that a dead one is known before it is needed.

#![forbid(unsafe_code)]

mod agent;
mod metadata;
#[cfg(test)]
mod tests;

pub use crate::command::find;
pub use agent::{Power, metadata};
pub use metadata::Metadata;

use crate::{
    command::{MOST, Task, perform},
    config::{Config, Device, Fence, Level, Means},
    types::{Nanos, Node},
};
use agent::{Attempt, FenceAgent};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How a level ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its place, from 0.
    pub level: usize,
    /// The place in it of the device that was tried last: the last one, or the one that failed.
    pub device: usize,
    /// Whether the peer is off by it.
    pub succeeded: bool,
    /// How that device's last attempt ended, in words.
    pub how: String,
    /// The end of what that wrote, without secrets.
    pub output: String,
    /// How long all attempts took.
    pub took: Duration,
}

/// What came of asking an agent whether its device answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The agent does not fit its options, or cannot be had: what is wrong.
    Unfit(Vec<String>),
    /// It was asked.
    Answered {
        /// What it says.
        power: Power,
        /// Whether it says whether there is power; else only whether the device answers.
        of_power: bool,
        /// The end of what it wrote, without secrets.
        output: String,
    },
}

/// Switches `node`'s peer off, for which it waits its delay first; whether it is off. Each level's end is told. Dropping the
/// future ends what runs.
pub async fn strike(fence: &Fence, node: Node, environment: &[(&str, String)], told: impl Fn(Ran)) -> bool {
    sleep(span(fence.delay[usize::from(node.wire())])).await;
    for (i, level) in fence.levels.iter().enumerate() {
        let ran = try_level(i, level, node, environment).await;
        let succeeded = ran.succeeded;
        told(ran);
        if succeeded {
            return true;
        }
    }
    false
}

/// One device after the other, until one fails: then the host has power by that one.
async fn try_level(i: usize, level: &Level, node: Node, environment: &[(&str, String)]) -> Ran {
    let began = Instant::now();
    let mut ran =
        Ran { level: i, device: 0, succeeded: false, how: String::new(), output: String::new(), took: began.elapsed() };
    for (place, device) in level.devices.iter().enumerate() {
        let Attempt { succeeded, how, output } = try_device(device, node, environment).await;
        ran = Ran { device: place, succeeded, how, output, took: began.elapsed(), ..ran };
        if !succeeded {
            if place > 0 {
                ran.how += "; those before it in its level did succeed";
            }
            break;
        }
    }
    ran
}

async fn try_device(device: &Device, node: Node, environment: &[(&str, String)]) -> Attempt {
    let mut attempt = once(device, node, environment).await;
    for _ in 0..device.retries {
        if attempt.succeeded {
            break;
        }
        sleep(span(device.pause)).await;
        attempt = once(device, node, environment).await;
    }
    attempt
}

async fn once(device: &Device, node: Node, environment: &[(&str, String)]) -> Attempt {
    let patience = span(device.timeout);
    match &device.by {
        Means::Agent { name, options } => {
            let options = &options[usize::from(node.other().wire())];
            FenceAgent { name, options, environment }.off(patience).await
        }
        Means::Command(words) => {
            let task = Task { most: MOST, dies_with_us: true, ..Task::new(words, environment) };
            let outcome = perform(task, patience).await;
            Attempt { succeeded: outcome.succeeded(), how: outcome.ended.to_string(), output: outcome.output }
        }
    }
}

/// Asks the agent of a device, if it is one, whether it fits and whether its device answers: at once, and then this often, for
/// ever; without `every`, only whether it fits.
pub async fn watch(
    device: Device,
    node: Node,
    every: Option<Nanos>,
    environment: Vec<(&'static str, String)>,
    told: impl Fn(Asked),
) {
    let Means::Agent { name, options } = &device.by else { return };
    let agent = FenceAgent { name, options: &options[usize::from(node.other().wire())], environment: &environment };
    let mut known: Option<Metadata> = None;
    loop {
        if known.is_none() {
            match agent.metadata().await {
                Ok(metadata) => {
                    let problems = metadata.problems(agent.options);
                    told(Asked::Unfit(problems));
                    known = Some(metadata);
                }
                Err(why) => told(Asked::Unfit(vec![why])),
            }
        }
        let action =
            known.as_ref().and_then(|known| ["status", "monitor"].into_iter().find(|action| known.offers(action)));
        let Some(every) = every else { return };
        if let Some(action) = action {
            let (power, output) = ask_twice(&agent, action, &device).await;
            told(Asked::Answered { power, of_power: action == "status", output });
        }
        sleep(span(every)).await;
    }
}

/// One that does not answer is asked once more: such devices are slow, and have room for few at a time.
async fn ask_twice(agent: &FenceAgent<'_>, action: &str, device: &Device) -> (Power, String) {
    let (first, output) = agent.answers(action, span(device.timeout)).await;
    if !matches!(first, Power::Unknown(_)) {
        return (first, output);
    }
    sleep(span(device.pause)).await;
    agent.answers(action, span(device.timeout)).await
}

/// What is wrong with the agents of a configuration, on either controller's behalf: each with its key. Runs them, for what
/// they say of themselves only.
pub async fn misfits(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for device in config.fence.iter().flat_map(Fence::devices) {
        let Means::Agent { name, options } = &device.by else { continue };
        // One that is not there is no news.
        if !find(name).is_ok_and(|path| path.is_file()) {
            continue;
        }
        match metadata(name, &[]).await {
            Err(why) => problems.push(format!("{}: {name}: {why}", device.key)),
            Ok(metadata) => {
                for problem in
                    [Node::A, Node::B].iter().flat_map(|node| metadata.problems(&options[usize::from(node.wire())]))
                {
                    let problem = format!("{}: {name}: {problem}", device.key);
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    problems
}

const fn span(span: Nanos) -> Duration {
    Duration::from_nanos(span.0)
}
