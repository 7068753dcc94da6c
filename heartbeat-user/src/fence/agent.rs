//! A fence agent of ClusterLabs' kind (FenceAgentAPI): told by `key=value` lines on its standard input, and by nothing else.

use super::metadata::Metadata;
use crate::{
    command::{CommandOutcome, Ended, KEPT, MOST, Task, find, perform},
    config::AgentOptions,
};
use std::{fmt::Write as _, time::Duration};
use tokio::time::{Instant, sleep};

/// The longest description of itself that is read, in bytes: the longest of Debian 12 has 20,000.
const MAX_METADATA: usize = 512 * 1024;
/// So long may it take to describe itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one question whether the peer is off to the next.
const AGAIN: Duration = Duration::from_millis(500);
/// Shorter ones are no secrets, and are found in every text.
const LEAST_SECRET: usize = 4;

/// Whether a fence device says that the peer has power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has none.
    Off,
    /// Nothing that can be relied on; how the agent ended.
    Unknown(Ended),
}

/// An agent, and what it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct FenceAgent<'a> {
    pub(super) name: &'a str,
    pub(super) options: &'a AgentOptions,
    pub(super) environment: &'a [(&'a str, String)],
}

/// How an attempt to switch something off went, in words.
pub(super) struct Attempt {
    pub(super) succeeded: bool,
    pub(super) how: String,
    pub(super) output: String,
}

impl FenceAgent<'_> {
    /// Has it do that, for at most `patience`; what it writes comes without its secrets.
    async fn ask(&self, action: &str, patience: Duration, task: Task<'_>) -> CommandOutcome {
        let path = match find(self.name) {
            Ok(path) => path,
            Err(why) => {
                return CommandOutcome { ended: Ended::NotStarted(why), output: String::new(), took: Duration::ZERO };
            }
        };
        let words = [path.display().to_string()];
        let input = told(action, self.options);
        let most = task.most.min(MOST);
        let (environment, input) = (self.environment, input.as_bytes());
        let task = Task { words: &words, environment, input, most, dies_with_us: true, ..task };
        let mut outcome = perform(task, patience).await;
        outcome.output = without_secrets(outcome.output, self.options);
        outcome
    }

    /// Switches the peer off, and makes sure that it is, all within `patience`: ended with 0, and, where the agent can be
    /// asked, says that it is off.
    pub(super) async fn off(&self, patience: Duration) -> Attempt {
        let end = Instant::now() + patience;
        let left = || end.saturating_duration_since(Instant::now());
        let ended = self.ask("off", patience, Task::new(&[], &[])).await;
        let attempt = |succeeded, how: &str| Attempt {
            succeeded,
            how: format!("{}{how}", ended.ended),
            output: ended.output.clone(),
        };
        if !ended.succeeded() {
            return attempt(false, "");
        }
        let mut may_be_asked = None;
        loop {
            let power = self.power(left()).await;
            if power == Power::Off {
                return attempt(true, ", and says that it is off");
            }
            // One that cannot be asked did what it could. One that does not say whether it can is not believed.
            let asked = match may_be_asked {
                Some(asked) => asked,
                None => *may_be_asked.insert(self.metadata().await.map_or(true, |metadata| metadata.offers("status"))),
            };
            match power {
                _ if !asked => return attempt(true, "; whether it is off it cannot be asked"),
                Power::On if left() < AGAIN => return attempt(false, ", and says all the same that it is on"),
                Power::Unknown(how) if left() < AGAIN => {
                    return attempt(false, &format!("; when asked whether it is off, it {how}"));
                }
                _ => sleep(AGAIN).await,
            }
        }
    }

    /// Asks whether the peer has power.
    pub(super) async fn power(&self, patience: Duration) -> Power {
        power(self.ask("status", patience, Task::new(&[], &[])).await.ended)
    }

    /// Asks whether the device answers, by an action of that name.
    pub(super) async fn answers(&self, action: &str, patience: Duration) -> (Power, String) {
        let CommandOutcome { ended, output, .. } = self.ask(action, patience, Task::new(&[], &[])).await;
        (power(ended), output)
    }

    /// What it says of itself.
    pub(super) async fn metadata(&self) -> Result<Metadata, String> {
        metadata(self.name, self.environment).await
    }
}

/// FenceAgentAPI: of `status`, 0 is on and 2 is off.
fn power(ended: Ended) -> Power {
    match ended {
        Ended::Exit(0) => Power::On,
        Ended::Exit(2) => Power::Off,
        ended => Power::Unknown(ended),
    }
}

/// What the agent of that name says of itself.
///
/// # Errors
/// Why that is not to be had.
pub async fn metadata(name: &str, environment: &[(&str, String)]) -> Result<Metadata, String> {
    let nothing = AgentOptions::default();
    let agent = FenceAgent { name, options: &nothing, environment };
    // Libraries warn on standard error.
    let task = Task { kept: MAX_METADATA, most: MAX_METADATA as u64, with_errors: false, ..Task::new(&[], &[]) };
    let outcome = agent.ask("metadata", PATIENCE, task).await;
    if outcome.succeeded() {
        Metadata::parse(&outcome.output)
    } else {
        Err(format!("asked what it can do, it {}", outcome.ended))
    }
}

/// What it finds on its standard input.
fn told(action: &str, options: &AgentOptions) -> String {
    let mut text = format!("action={action}\n");
    for (name, value) in options.iter() {
        let _never_fails = writeln!(text, "{name}={value}");
    }
    text
}

/// `text` with stars for secrets: agents that are told to be verbose repeat what they are told. Where it was cut at its
/// beginning, what is left of a secret there is one, too.
fn without_secrets(mut text: String, options: &AgentOptions) -> String {
    let mut secrets: Vec<_> = options.secrets().filter(|secret| secret.len() >= LEAST_SECRET).collect();
    // A longer one may have a shorter one in it.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        text = text.replace(secret, "****");
        let ends = secret.char_indices().map(|(at, _)| &secret[at..]).filter(|end| end.len() >= LEAST_SECRET);
        if text.len() + secret.len() >= KEPT
            && let Some(rest) = ends.into_iter().find_map(|end| text.strip_prefix(end))
        {
            text = format!("****{rest}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_told_by_lines_and_its_output_comes_without_secrets() {
        let options: AgentOptions =
            [("ip", "192.0.2.9"), ("password", "hunter2x"), ("token", "hunter2x-long"), ("passwd", "abc")]
                .into_iter()
                .collect();
        assert_eq!(
            told("off", &options),
            "action=off\nip=192.0.2.9\npasswd=abc\npassword=hunter2x\ntoken=hunter2x-long\n"
        );
        let said = |text: &str| without_secrets(text.to_owned(), &options);
        assert_eq!(said("ipmitool -H 192.0.2.9 -P 'hunter2x' abc"), "ipmitool -H 192.0.2.9 -P '****' abc");
        assert_eq!(said("hunter2x-long"), "****");
        // Cut in the middle of one.
        let long = format!("nter2x{}", "y".repeat(KEPT - 6));
        assert_eq!(said(&long), format!("****{}", "y".repeat(KEPT - 6)));
        assert!(said("nter2x").starts_with("nter"), "that is no end of a longer text");
    }
}
