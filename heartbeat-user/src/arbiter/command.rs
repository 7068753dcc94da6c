//! A command as an arbiter: it ends with 0 where it grants, with 1 where it denies; anything else says nothing.
//!
//! All of the groups that are asked for, or none. Where its output has a line `ttl SECONDS`, the grant is for so long, and never
//! for longer than the configuration says.

use super::{ArbiterAnswer, Pair, until};
use crate::{
    command::{Ended, MOST, Task, perform},
    core::{Arbitrate, Arbitrated},
    system::clock,
    types::Nanos,
};
use nix::unistd::{AccessFlags, access};
use std::time::Duration;

/// The command.
pub(super) struct Script {
    pub(super) words: Vec<String>,
    /// The peer's host name, empty where it is not known.
    pub(super) peer: String,
    pub(super) timeout: Nanos,
}

impl Script {
    /// Whether it could be run. It is not: what it would be asked for is not needed.
    pub(super) fn look(&self) -> Result<String, String> {
        let path = self.words.first().map_or("", String::as_str);
        match access(path, AccessFlags::X_OK) {
            Ok(()) => Ok(format!("{path}, a command; it is run only where it is needed")),
            Err(error) => {
                Err(format!("arbiter.command = \"{path}\": {error}; put the command there, or correct its path"))
            }
        }
    }

    pub(super) async fn ask(&self, pair: &Pair, ask: Arbitrate) -> ArbiterAnswer {
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
        let task = Task { most: MOST, ..Task::new(&self.words, &environment) };
        let ran = perform(task, Duration::from_nanos(self.timeout.0)).await;
        let said = ran.output.lines().last().map_or(String::new(), |line| format!(": {line}"));
        let why = format!("{} {verb} {}{said}", self.words[0], ran.ended);
        let outcome = match (&ran.ended, ask) {
            (Ended::Exit(0), Arbitrate::Release(_)) => return ArbiterAnswer::released(why),
            (Ended::Exit(0), _) => match ttl(&ran.output, pair.ttl) {
                Ok(ttl) => Arbitrated::Granted { groups, until: until(asked, ttl) },
                Err(line) => {
                    return ArbiterAnswer::unreachable(format!(
                        "{}: its line {line:?} is no time; right would be `ttl` and whole seconds, at least 1",
                        self.words[0]
                    ));
                }
            },
            (Ended::Exit(1), Arbitrate::Acquire(_) | Arbitrate::Renew(_)) => Arbitrated::Denied,
            _ => Arbitrated::Unreachable,
        };
        ArbiterAnswer { outcome, why }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    const MS: fn(u64) -> Nanos = Nanos::from_millis;

    fn asked(folder: &Path, script: &str, ask: Arbitrate) -> ArbiterAnswer {
        asked_within(folder, script, ask, MS(400))
    }

    fn asked_within(folder: &Path, script: &str, ask: Arbitrate, timeout: Nanos) -> ArbiterAnswer {
        let file = folder.join("arbiter");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        let words = vec![file.display().to_string()];
        let script = Script { words, peer: "filer-b".into(), timeout };
        let groups = vec!["g1".into(), "g2".into(), "g3".into()];
        let pair = Pair { id: 7, node: Node::A, hostname: "filer-a".into(), groups, ttl: MS(30_000) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(script.ask(&pair, ask))
    }

    #[test]
    fn zero_grants_one_denies_and_anything_else_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |script: &str| asked(folder.path(), script, Arbitrate::Acquire(0b101));
        let before = clock::monotonic();
        let granted = ask("exit 0");
        assert!(
            matches!(granted.outcome, Arbitrated::Granted { groups: 0b101, until } if until >= before.after(MS(29_700))
                && until <= clock::monotonic().after(MS(29_700))),
            "{granted:?}"
        );
        let denied = ask("echo held by b; exit 1");
        assert!(denied.outcome == Arbitrated::Denied && denied.why.ends_with("acquire ended with 1: held by b"));
        for (script, words) in [
            ("exit 2", "ended with 2"),
            ("kill -9 $$", "was ended by SIGKILL"),
            ("sleep 5", "did not end within 400ms"),
            ("echo ttl; exit 0", "its line \"ttl\" is no time"),
            ("echo ttl 0; exit 0", "its line \"ttl 0\" is no time"),
            ("echo ttl -3; exit 0", "its line \"ttl -3\" is no time; right would be `ttl` and whole seconds"),
        ] {
            let answered = ask(script);
            assert!(answered.outcome == Arbitrated::Unreachable && answered.why.contains(words), "{answered:?}");
        }
    }

    #[test]
    fn one_that_writes_without_end_is_ended_and_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let answered = asked_within(folder.path(), "exec yes", Arbitrate::Acquire(1), MS(20_000));
        assert_eq!(answered.outcome, Arbitrated::Unreachable);
        assert!(answered.why.ends_with("acquire wrote more than 16 MiB: y"), "{answered:?}");
    }

    #[test]
    fn a_grant_counts_from_before_the_command_began_and_may_be_shorter_but_not_longer() {
        let folder = tempfile::tempdir().unwrap();
        let longest = |script: &str| {
            let before = clock::monotonic();
            match asked(folder.path(), script, Arbitrate::Renew(1)).outcome {
                Arbitrated::Granted { groups: 1, until } => until.since(before).0 / 1_000_000,
                other => panic!("{other:?}"),
            }
        };
        assert!((1_980..2_180).contains(&longest("sleep 0.3; echo so; echo ' ttl 2'; echo well")));
        assert!((29_700..29_900).contains(&longest("echo ttl 999999999999")));
    }

    #[test]
    fn it_is_told_what_for_and_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let script = format!("env | grep HEARTBEAT | sort > {}", said.display());
        let released = asked(folder.path(), &script, Arbitrate::Release(0b011));
        assert!(matches!(released.outcome, Arbitrated::Granted { groups: 0, .. }), "{released:?}");
        assert_eq!(
            fs::read_to_string(said).unwrap(),
            "HEARTBEAT_ARBITER=release\nHEARTBEAT_GROUPS=g1 g2\nHEARTBEAT_NODE=a\nHEARTBEAT_PAIR=7\nHEARTBEAT_PEER=filer-b\n\
             HEARTBEAT_TTL=30\n"
        );
        let failed = asked(folder.path(), "exit 1", Arbitrate::Release(1));
        assert_eq!(failed.outcome, Arbitrated::Unreachable);
    }
}
