//! A command as an arbiter: it ends with 0 where it grants, with 1 where it denies; anything else says nothing.
//!
//! All of the groups that are asked for, or none. Where its output has a line `ttl SECONDS`, the grant is for so long, and never
//! for longer than the configuration says.

use super::{Answered, Pair, until};
use crate::{
    command::{self, Ended},
    core::{Arbitrate, Arbitrated, Nanos},
    dataplane::clock,
};
use std::time::Duration;

/// The command.
pub(super) struct Script {
    pub(super) words: Vec<String>,
    /// The peer's host name, empty where it is not known.
    pub(super) peer: String,
    pub(super) timeout: Nanos,
}

impl Script {
    pub(super) async fn ask(&self, pair: &Pair, ask: Arbitrate) -> Answered {
        let groups = ask.groups();
        let verb = match ask {
            Arbitrate::Acquire(_) => "acquire",
            Arbitrate::Renew(_) => "renew",
            Arbitrate::Release(_) => "release",
        };
        let environment = [
            ("HEARTBEAT_ARBITER", verb.to_owned()),
            ("HEARTBEAT_GROUPS", pair.names(groups).replace(", ", " ")),
            ("HEARTBEAT_NODE", pair.node.to_string()),
            ("HEARTBEAT_PAIR", pair.id.to_string()),
            ("HEARTBEAT_PEER", self.peer.clone()),
            ("HEARTBEAT_TTL", (pair.ttl.0 / 1_000_000_000).to_string()),
        ];
        let asked = clock::monotonic();
        let ran = command::run(&self.words, &environment, Duration::from_nanos(self.timeout.0)).await;
        let said = ran.output.lines().last().map_or(String::new(), |line| format!(": {line}"));
        let why = format!("{} {verb} {}{said}", self.words[0], ran.ended);
        let outcome = match (&ran.ended, ask) {
            (Ended::Exit(0), Arbitrate::Release(_)) => return Answered::released(why),
            (Ended::Exit(0), _) => match ttl(&ran.output, pair.ttl) {
                Ok(ttl) => Arbitrated::Granted { groups, until: until(asked, ttl) },
                Err(line) => {
                    return Answered::unreachable(format!(
                        "{}: its line {line:?} is no time; right would be `ttl` and whole seconds, at least 1",
                        self.words[0]
                    ));
                }
            },
            (Ended::Exit(1), Arbitrate::Acquire(_) | Arbitrate::Renew(_)) => Arbitrated::Denied,
            _ => Arbitrated::Unreachable,
        };
        Answered { outcome, why }
    }
}

/// How long a grant lasts by what the command wrote, at most `most`.
fn ttl(output: &str, most: Nanos) -> Result<Nanos, String> {
    let Some(line) = output.lines().map(str::trim).find(|line| *line == "ttl" || line.starts_with("ttl ")) else {
        return Ok(most);
    };
    let seconds = line[3..].trim().parse::<u64>().ok().filter(|seconds| *seconds > 0);
    seconds
        .map(|seconds| most.min(Nanos::from_millis(seconds.saturating_mul(1_000))))
        .ok_or_else(|| line.chars().take(60).collect())
}
