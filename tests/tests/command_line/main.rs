//! What the command line's own definitions are made into: help, manual pages, completions. What is meant to change is
//! accepted with `INSTA_UPDATE=always cargo xtask test -- as_before`, and then read in the diff.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::Command;

use heartbeat_tests::lab::heartbeat;
use heartbeat_tests::scenario::SOON;

/// What `heartbeat` prints.
fn said(arguments: &[&str]) -> String {
    let (status, said, wrong) = heartbeat(arguments, SOON).unwrap();
    assert!(status.success(), "{arguments:?}: {wrong}");
    said
}

/// The subcommands, as the help lists them.
fn subcommands() -> Vec<String> {
    let help = said(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names: Vec<_> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn the_help_of_every_command_is_as_before() {
    insta::assert_snapshot!("help", said(&["--help"]));
    for name in subcommands() {
        let help = said(&[&name, "--help"]);
        assert!(help.contains("Usage: heartbeat "), "{help}");
        insta::assert_snapshot!(format!("help-{name}"), help);
    }
}

#[test]
fn the_manual_page_of_every_command_is_as_before() {
    let folder = std::env::temp_dir().join(format!("heartbeat-man-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    said(&["man", folder.to_str().unwrap()]);
    let mut pages: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    fs::remove_dir_all(&folder).unwrap();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|(name, _)| name.clone()).collect();
    let wanted = subcommands().into_iter().map(|name| format!("heartbeat-{name}.1"));
    for page in wanted.chain(["heartbeat.1".to_owned()]) {
        assert!(names.contains(&page), "no {page} in {names:?}");
    }
    for (name, page) in pages {
        assert!(page.contains(".SH NAME"), "{name}: {page}");
        insta::assert_snapshot!(format!("man-{name}"), page);
    }
}

#[test]
fn the_completions_of_every_shell_are_as_before() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        insta::assert_snapshot!(format!("completions-{shell}"), said(&["completions", shell]));
    }
}

#[test]
fn bash_completes_a_command_an_option_and_its_values() {
    let script = std::env::temp_dir().join(format!("heartbeat-completions-{}", std::process::id()));
    fs::write(&script, said(&["completions", "bash"])).unwrap();
    let completed = |words: &[&str]| {
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let last = words.len() - 1;
        let previous = words[last - 1];
        let command = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={last}; _heartbeat heartbeat '{}' '{previous}'; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words[last]
        );
        let output = Command::new("bash").args(["--norc", "-c", &command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let found = [
        completed(&["heartbeat", "hist"]),
        completed(&["heartbeat", "histogram", "--form"]),
        completed(&["heartbeat", "histogram", "--format", "h"]),
    ];
    fs::remove_file(&script).unwrap();
    assert_eq!(found, ["histogram", "--format", "hgrm hlog"]);
}
