//! The metrics as Prometheus' own tools read them, and the alerting rules that stand on them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Family, Lab, Node};
use heartbeat_tests::pair::{SOON, running};

/// What `promtool` with these arguments and that input says.
fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("promtool is needed: apt-get install prometheus");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn scrape(lab: &Lab) -> String {
    let mut stream = UnixStream::connect(lab.runtime_dir(Node::A).join("api.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../heartbeat-user/monitoring/alerts.yml")
}

/// Every `heartbeat_...` in a text, without what histograms add.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("heartbeat_"))
        .map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .fold(word, |word, end| word.strip_suffix(end).unwrap_or(word))
                .to_owned()
        })
        .collect()
}

#[test]
fn prometheus_reads_the_metrics_of_a_pair_that_is_well_and_of_one_that_is_not() {
    undisturbed(|| {
        let lab = running(&Config::pair(2, Family::V4).profile("lan")).unwrap();
        let well = scrape(&lab);
        assert!(well.contains("heartbeat_channel_up{channel=\"net1\"} 1\n"), "{well}");
        lab.cut("a-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        let cut = scrape(&lab);
        assert!(cut.contains("heartbeat_channel_up{channel=\"net1\"} 0\n"), "{cut}");
        assert!(cut.contains("heartbeat_rtt_seconds_bucket{channel=\"net2\",le=\"+Inf\"} "), "{cut}");
        for text in [&well, &cut] {
            let (passes, said) = promtool(&["check", "metrics"], text);
            assert!(passes && said.is_empty(), "{said}");
        }
        assert!(
            !promtool(&["check", "metrics"], &well.replace("# HELP", "# NOTHING")).0,
            "what is wrong does not pass"
        );
        let there = names(&well);
        let used = names(&fs::read_to_string(rules()).unwrap());
        let absent: Vec<_> = used.difference(&there).collect();
        assert!(absent.is_empty(), "the rules use {absent:?}, which nobody gives");
    });
}

#[test]
fn the_alerting_rules_are_ones() {
    let (passes, said) = promtool(&["check", "rules", rules().to_str().unwrap()], "");
    assert!(passes && said.contains("13 rules found"), "{said}");
}
