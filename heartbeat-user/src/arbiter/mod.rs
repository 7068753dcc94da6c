//! Who decides between two controllers that do not hear each other: an engine that exists, not one of ours.
//!
//! A *grant* says that nobody else has a group until a point on this host's CLOCK_MONOTONIC. It counts from before the
//! question was sent, minus 1 % for clocks that drift. Whatever goes wrong (silence, errors, garbage, answers that come late or
//! twice) is no grant. Whoever has one asks again before it runs out, and stops serving where it does run out.

#![forbid(unsafe_code)]

mod command;
mod disk;
mod etcd;
#[cfg(test)]
mod gateway;
mod http;
#[cfg(test)]
mod tests;
mod tls;

pub use disk::blank;

use crate::{
    config::{self, ArbiterEngine, Config, HostProblem},
    core::{Arbitrate, Arbitrated},
    disk::Busy,
    system::clock,
    types::{Nanos, Node},
};
use anyhow::{Result, ensure};
use tokio::sync::Mutex;

/// What it answered, and what that rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArbiterAnswer {
    /// What.
    pub outcome: Arbitrated,
    /// Which part of it answered what, for operators.
    pub why: String,
}

impl ArbiterAnswer {
    fn unreachable(why: impl Into<String>) -> Self {
        Self { outcome: Arbitrated::Unreachable, why: why.into() }
    }

    /// Groups were given back.
    fn released(why: impl Into<String>) -> Self {
        Self { outcome: Arbitrated::Granted { groups: 0, until: Nanos(0) }, why: why.into() }
    }
}

/// When a grant that was asked for at `asked`, for `ttl`, runs out by a clock that may be 1 % slow.
const fn until(asked: Nanos, ttl: Nanos) -> Nanos {
    asked.after(Nanos(ttl.0 / 100 * 99))
}

/// What of this host keeps the arbiter of `config` from ever answering in a life that begins now: certificates and keys that cannot be
/// read, or are none. Empty where there is nothing. Asks nobody.
#[must_use]
pub fn check(config: &Config) -> Vec<HostProblem> {
    match config.arbiter.as_ref().map(|arbiter| &arbiter.engine) {
        Some(ArbiterEngine::Etcd(etcd)) => tls::connector(etcd).err().unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn listed(problems: &[HostProblem]) -> String {
    problems.iter().map(HostProblem::to_string).collect::<Vec<_>>().join("; ")
}

/// The same, as a reason not to begin that life.
///
/// # Errors
/// Each of them.
pub fn ensure_usable(config: &Config) -> Result<()> {
    let problems = check(config);
    ensure!(problems.is_empty(), "the arbiter could never be asked: {}", listed(&problems));
    Ok(())
}

/// What every engine knows.
#[derive(Clone, Debug)]
struct Pair {
    id: u32,
    node: Node,
    hostname: String,
    /// The groups' names, by their bits.
    groups: Vec<String>,
    ttl: Nanos,
}

impl Pair {
    /// The names of these groups.
    fn names(&self, groups: u64) -> String {
        let names = self.groups.iter().enumerate().filter(|(i, _)| groups & (1 << i) != 0);
        names.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The arbiter of a pair.
pub struct Arbiter {
    engine: Engine,
    pair: Pair,
    /// One question at a time: their order is what engines rely on.
    turn: Mutex<()>,
}

enum Engine {
    Etcd(etcd::EtcdArbiter),
    Disk(disk::DiskArbiter),
    Command(command::Script),
}

impl Arbiter {
    /// The arbiter of `config` as controller `node` asks it; `None` where it has none. Asks nothing yet.
    #[must_use]
    pub fn new(config: &Config, node: Node) -> Option<Self> {
        let config::ArbiterConfig { engine, ttl, timeout } = config.arbiter.as_ref()?;
        let hostname = |node: Node| config.hostnames[usize::from(node.wire())].clone().unwrap_or_default();
        let pair = Pair {
            id: config.pair.id,
            node,
            hostname: hostname(node),
            groups: config.groups.iter().map(|group| group.name.clone()).collect(),
            ttl: *ttl,
        };
        let engine = match engine {
            ArbiterEngine::Etcd(etcd) => Engine::Etcd(etcd::EtcdArbiter::new(etcd, *timeout)),
            ArbiterEngine::Disk(path) => Engine::Disk(disk::DiskArbiter::new(path, &pair, *timeout)),
            ArbiterEngine::Command(words) => Engine::Command(command::Script {
                words: words.clone(),
                peer: hostname(node.other()),
                timeout: *timeout,
            }),
        };
        Some(Self { engine, pair, turn: Mutex::new(()) })
    }

    /// Asks, and waits for a time that [`config::ArbiterConfig::within`] bounds, once the question before is answered. Where the
    /// future is dropped, what it asked for may still be done.
    pub async fn ask(&self, ask: Arbitrate) -> ArbiterAnswer {
        let _turn = self.turn.lock().await;
        let answered = match &self.engine {
            Engine::Etcd(etcd) => etcd.ask(&self.pair, ask).await,
            Engine::Disk(disk) => disk.ask(&self.pair, ask).await,
            Engine::Command(script) => script.ask(&self.pair, ask).await,
        };
        match answered.outcome {
            Arbitrated::Granted { groups, until } if groups != 0 && until <= clock::monotonic() => {
                ArbiterAnswer::unreachable(format!("{}, but the answer came too late", answered.why))
            }
            _ => answered,
        }
    }

    /// Tells for how long a read or write has not returned, where it is a disk.
    #[must_use]
    pub fn busy(&self) -> Option<&Busy> {
        match &self.engine {
            Engine::Disk(disk) => Some(disk.busy()),
            Engine::Etcd(_) | Engine::Command(_) => None,
        }
    }

    /// Whether it would answer now, and what is not as it should be. Changes nothing, runs no command.
    ///
    /// # Errors
    /// What does not work; some of it may.
    pub async fn look(&self) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        match &self.engine {
            Engine::Etcd(etcd) => etcd.look(&self.pair).await,
            Engine::Disk(disk) => disk.look(&self.pair).await,
            Engine::Command(script) => script.look(),
        }
    }
}
