//! `heartbeat import keepalived`: ten configurations in the manner of public ones of different origin, each with what it becomes and what
//! is said about it; and files that are broken. What is meant to change is written anew with `HEARTBEAT_WRITE=1 cargo test --test import`,
//! and then read in the diff.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use heartbeat::config::{Config, ConfigError};
use heartbeat_tests::lab::heartbeat;
use heartbeat_tests::scenario::SOON;

const CASES: &str = "tests/import/cases";

/// What the command did.
struct Import {
    code: i32,
    toml: String,
    report: String,
}

fn import(arguments: &[&str]) -> Import {
    let arguments = [&["import", "keepalived"], arguments].concat();
    let (status, toml, report) = heartbeat(&arguments, SOON).unwrap();
    // Where this repository is says nothing.
    let [toml, report] = [toml, report].map(|text| text.replace(env!("CARGO_MANIFEST_DIR"), "/etc"));
    Import { code: status.code().unwrap(), toml, report }
}

/// The folders of the ten, and the arguments that belong to each.
fn cases() -> Vec<(PathBuf, Vec<String>)> {
    let mut folders: Vec<_> = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 10);
    let arguments = |folder: &Path| {
        let files = ["a.conf", "b.conf"].map(|name| folder.join(name)).into_iter().filter(|file| file.exists());
        let mut arguments: Vec<String> = files.map(|file| file.display().to_string()).collect();
        let more = fs::read_to_string(folder.join("arguments")).unwrap_or_default();
        arguments.extend(more.lines().map(str::to_owned));
        arguments
    };
    folders.into_iter().map(|folder| (folder.clone(), arguments(&folder))).collect()
}

fn imported(arguments: &[String]) -> Import {
    import(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn each_of_ten_configurations_becomes_what_is_written_beside_it() {
    for (folder, arguments) in cases() {
        let Import { code, toml, report } = imported(&arguments);
        for (name, text) in [("result.toml", &toml), ("report.txt", &report)] {
            let file = folder.join(name);
            if std::env::var_os("HEARTBEAT_WRITE").is_some() {
                fs::write(&file, text).unwrap();
            }
            let expected = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(*text, expected, "{}", file.display());
        }
        let whole = report.ends_with(" notes\n") && report.contains("\n0 lost, 0 to fill in, ");
        assert_eq!(code, if whole { 0 } else { 3 }, "{}: {report}", folder.display());
    }
}

#[test]
fn no_secret_is_in_what_is_written_or_said() {
    for (folder, arguments) in cases() {
        let Import { toml, report, .. } = imported(&arguments);
        for secret in ["s3cr3t", "K8S_AUTH", "1111", "00112233"] {
            assert!(!toml.contains(secret) && !report.contains(secret), "{}: {secret}", folder.display());
        }
    }
}

/// A result with what is to be filled in filled in.
fn filled(toml: &str) -> String {
    let mut n = 0;
    let line = |line: &str| match line.split_once("\"TODO: ") {
        Some((before, _)) => {
            n += 1;
            format!("{before}\"172.31.0.{n}\" }}\n")
        }
        None => format!("{line}\n"),
    };
    toml.lines().map(line).collect()
}

#[test]
fn each_result_is_a_configuration_and_what_is_to_be_filled_in_is_refused_by_its_name() {
    for (folder, arguments) in cases() {
        let Import { toml, report, .. } = imported(&arguments);
        let missing = toml.matches("TODO: ").count();
        assert_eq!(report.matches(": to fill in: ").count(), missing, "{report}");
        match Config::parse(&toml, "result.toml") {
            Ok(_) => assert_eq!(missing, 0, "{}", folder.display()),
            Err(ConfigError::Invalid(problems)) => {
                assert_eq!(problems.list.len(), missing, "{}: {problems}", folder.display());
                let all_named = problems.list.iter().all(|problem| problem.to_string().contains("\"TODO: "));
                assert!(all_named, "{problems}");
            }
            Err(other) => panic!("{other}"),
        }
        let config = Config::parse(&filled(&toml), "result.toml").unwrap();
        assert!(!config.channels.is_empty());
    }
}

#[test]
fn check_has_nothing_against_a_result_but_that_this_is_another_host() {
    let folder = tempfile::tempdir().unwrap();
    for (case, arguments) in cases() {
        let file = folder.path().join("heartbeat.toml");
        fs::write(&file, filled(&imported(&arguments).toml)).unwrap();
        for node in ["a", "b"] {
            let arguments = ["check", "--config", file.to_str().unwrap(), "--node", node];
            let (_, shown, wrong) = heartbeat(arguments, SOON).unwrap();
            let groups = Config::load(&file).unwrap().groups;
            assert!(groups.iter().all(|group| shown.contains(&group.name)), "{}: {shown}", case.display());
            assert!(!wrong.contains(file.to_str().unwrap()), "{}: {wrong}", case.display());
        }
    }
}

#[test]
fn a_file_is_not_overwritten_unless_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("heartbeat.toml");
    let (source, target) = (format!("{CASES}/dns/a.conf"), output.to_str().unwrap());
    let first = import(&[&source, "-o", target]);
    assert_eq!((first.code, first.toml.as_str()), (0, ""), "{}", first.report);
    let written = fs::read_to_string(&output).unwrap();
    assert!(Config::parse(&written, "heartbeat.toml").is_ok(), "{written}");
    fs::write(&output, "mine\n").unwrap();
    let second = import(&[&source, "-o", target]);
    assert_eq!((second.code, fs::read_to_string(&output).unwrap().as_str()), (1, "mine\n"));
    assert!(
        second.report.contains("exists already and is not overwritten; right would be another file, or --force"),
        "{}",
        second.report
    );
    let third = import(&[&source, "-o", target, "--force"]);
    assert_eq!((third.code, fs::read_to_string(&output).unwrap()), (0, written));
}

#[test]
fn a_broken_file_is_an_error_that_says_where_and_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keepalived.conf");
    let name = file.to_str().unwrap();
    let output = folder.path().join("heartbeat.toml");
    for (bytes, expected) in [
        (&b"vrrp_instance A {\n  state MASTER\n"[..], "keepalived.conf:1: vrrp_instance A: its { is never closed"),
        (
            b"vrrp_instanse A {\n}\n",
            "keepalived.conf:1: vrrp_instanse A: keepalived has no such keyword outside of all blocks; did you mean vrrp_instance?",
        ),
        (b"vrrp_instance A {\n  priority \0\x01\n}\n", "keepalived.conf:2:"),
        (b"include none.conf\n", "none.conf: "),
        (b"include keepalived.conf\n", "keepalived.conf:1: "),
    ] {
        fs::write(&file, bytes).unwrap();
        let import = import(&[name, "-o", output.to_str().unwrap()]);
        assert_eq!(import.code, 1);
        assert!(
            import.report.starts_with("error: ") && import.report.contains(expected),
            "{expected}: {}",
            import.report
        );
        assert!(!output.exists());
    }
    let long = [b"vrrp_instance A {\n# ".as_slice(), &vec![b'x'; 10 << 20], b"\n}\n"].concat();
    fs::write(&file, long).unwrap();
    let report = import(&[name]).report;
    assert!(
        report.contains("keepalived.conf:2: ") && report.contains("a line of 10485762 bytes; right would be at most"),
        "{report}"
    );
    assert!(report.len() < 1_000);
    let missing = import(&["/no/such.conf"]);
    assert!(missing.code == 1 && missing.report.contains("/no/such.conf: "), "{}", missing.report);
}
