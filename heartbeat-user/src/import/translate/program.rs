//! A script of keepalived's as a command of ours.

use super::{File, Said};
use crate::import::model::Command;

/// The words that do what keepalived did: as the same user, by the same program.
pub(super) fn words(command: &Command, file: &File, said: &mut Said) -> Vec<String> {
    let what = command.words.join(" ");
    let mut words = Vec::new();
    let user = command.user.as_ref().or(file.node.script_user.as_ref());
    match user.map(Vec::as_slice) {
        None => said.note(
            &command.place,
            "script_user",
            "the file has none: keepalived ran this as keepalived_script where there is such a user; here it runs as root",
        ),
        Some([]) => {}
        Some([user]) if user == "root" => {}
        Some([user, group @ ..]) => {
            words.extend(["/usr/sbin/runuser", "-u", user.as_str()].map(str::to_owned));
            words.extend(group.iter().flat_map(|group| ["-g".to_owned(), group.clone()]));
            words.push("--".into());
        }
    }
    let program = &command.words[0];
    if program.starts_with('<') {
        // keepalived gives that, and nothing else, to a shell: can the file be opened?
        let shell = if what.contains("/dev/tcp/") { "/bin/bash" } else { "/bin/sh" };
        words.extend([shell.to_owned(), "-c".into(), what]);
        return words;
    }
    if !program.starts_with('/') {
        said.note(
            &command.place,
            &what,
            format!("{program} is looked for in PATH each time; right would be its absolute path"),
        );
        words.push("/usr/bin/env".into());
    }
    let shell = |word: &&String| {
        ["|", "||", "&", "&&", ";"].contains(&word.as_str()) || word.starts_with('>') || word.starts_with("2>")
    };
    if let Some(word) = command.words.iter().find(shell) {
        said.note(
            &command.place,
            &what,
            format!("{word} is an argument, as it was: there is no shell; what it is meant for needs [\"/bin/sh\", \"-c\", \"..\"]"),
        );
    }
    words.extend(command.words.iter().cloned());
    words
}
