//! Where events and latencies go, and what is said of wrong places.

use super::{edited, parsed};
use crate::{
    config::{Config, HostProblem, Rotated, SystemLog, check_files},
    types::{Nanos, Severity},
};

const S: fn(u64) -> Nanos = |s| Nanos::from_millis(s * 1_000);

#[test]
fn what_is_absent_has_its_default_and_what_is_there_is_read() {
    let plain = parsed("", "");
    assert_eq!((&plain.events.file, plain.events.system_log, &plain.events.on_event), (&None, SystemLog::Auto, &None));
    assert_eq!((&plain.histograms.log, plain.histograms.every), (&None, S(10)));
    let full = parsed(
        "[timing]\n",
        "[events]\nfile = \"/var/log/x\"\nfile_mib = 3\nfiles = 2\nsystem_log = \"syslog\"\non_event = [\"/bin/page\", \"x\"]\n\
         on_event_severity = \"critical\"\non_event_damping = \"5s\"\n[histograms]\nlog = \"/var/log/y\"\nevery = \"1s\"\n[timing]\n",
    );
    assert_eq!(full.events.file, Some(Rotated { path: "/var/log/x".into(), bytes: 3 << 20, kept: 2 }));
    assert_eq!(full.histograms.log, Some(Rotated { path: "/var/log/y".into(), bytes: 10 << 20, kept: 5 }));
    assert_eq!((full.events.system_log, full.histograms.every), (SystemLog::Syslog, S(1)));
    let hook = full.events.on_event.as_ref().expect("a command");
    assert_eq!((hook.command.join(" "), hook.severity), ("/bin/page x".to_owned(), Severity::Critical));
    assert_eq!((hook.damping, hook.timeout), (S(5), S(10)));
    assert!(full.commands().any(|(key, words, _)| key == "events.on_event" && words.len() == 2));
    assert_eq!(full.groups_digest(), plain.groups_digest(), "each controller has its own");
}

#[test]
fn wrong_ones_are_refused_with_what_would_be_right() {
    for (line, expected) in [
        (
            "[events]\nfile = \"events.jsonl\"",
            "events.file = \"events.jsonl\": not usable; right would be an absolute path",
        ),
        ("[events]\nfile = \"/var/log/\"", "events.file = \"/var/log/\""),
        ("[events]\nfile_mib = 0", "events.file_mib = 0"),
        ("[events]\nfiles = 101", "events.files = 101"),
        ("[events]\nsystem_log = \"jurnal\"", "did you mean \"journal\""),
        ("[events]\non_event = [\"page\"]", "events.on_event[1] = \"page\""),
        ("[events]\non_event_severity = \"loud\"", "events.on_event_severity"),
        ("[events]\non_event_damping = \"25h\"", "events.on_event_damping"),
        ("[events]\non_event_timeout = \"61s\"", "events.on_event_timeout"),
        ("[events]\nfiel = 1", "did you mean \"file\""),
        ("[histograms]\nlog = \"x\"", "histograms.log = \"x\""),
        ("[histograms]\nevery = \"10ms\"", "histograms.every"),
        ("[histograms]\nlogs = 0", "histograms.logs = 0"),
    ] {
        let said =
            Config::parse(&edited("[timing]\n", &format!("{line}\n[timing]\n")), "hb.toml").unwrap_err().to_string();
        assert!(said.contains(expected), "{line}: {said}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named_with_what_would_be_right() {
    let text =
        edited("[timing]\n", "[events]\nfile = \"/nonexistent/x/events\"\n[histograms]\nlog = \"/etc/y\"\n[timing]\n");
    let config = Config::parse(&text, "hb.toml").unwrap();
    let said: Vec<_> = check_files(&config).iter().map(HostProblem::to_string).collect();
    assert_eq!(
        said,
        [
            "events.file = \"/nonexistent/x/events\": its folder: ENOENT: No such file or directory; right would be `mkdir -p \
          /nonexistent/x`"
        ]
    );
}
