//! The metrics as Prometheus' own tools read them, and the alerting rules that stand on them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node};
use heartbeat_tests::scenario::{SOON, running};
use serde_json::{Value, json};

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

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../heartbeat-user/monitoring").join(file)
}

fn rules() -> PathBuf {
    monitoring("alerts.yml")
}

/// What the dashboard asks Prometheus, panel by panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(monitoring("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of_panel = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(move |target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    of_panel.collect()
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
        let lab = running(&Config::usual()).unwrap();
        let well = scrape(&lab);
        assert!(well.contains("heartbeat_channel_up{channel=\"net1\"} 1\n"), "{well}");
        assert!(well.contains("heartbeat_not_ready{reason=\"channel_down\"} 0\n"), "{well}");
        lab.cut("a-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        let cut = scrape(&lab);
        assert!(cut.contains("heartbeat_channel_up{channel=\"net1\"} 0\n"), "{cut}");
        assert!(
            cut.contains("heartbeat_ready 0\n") && cut.contains("heartbeat_not_ready{reason=\"channel_down\"} 1\n"),
            "{cut}"
        );
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
        let asked = queries().into_iter().map(|(_, query)| query + "\n").collect::<String>();
        for (who, text) in [("rules", fs::read_to_string(rules()).unwrap()), ("dashboard", asked)] {
            let used = names(&text);
            let absent: Vec<_> = used.difference(&there).collect();
            assert!(absent.is_empty() && used.len() > 5, "the {who} use {absent:?}, which nobody gives");
        }
    });
}

#[test]
fn the_alerting_rules_are_ones() {
    let (passes, said) = promtool(&["check", "rules", rules().to_str().unwrap()], "");
    assert!(passes && said.contains("15 rules found"), "{said}");
}

#[test]
fn every_query_of_the_dashboard_is_one() {
    let queries = queries();
    assert!(queries.len() > 15);
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(i, (_, query))| {
            // What Grafana fills in.
            let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
            json!({"record": format!("dashboard:{i}"), "expr": query})
        })
        .collect();
    // JSON is YAML, too.
    let file = std::env::temp_dir().join(format!("heartbeat-dashboard-{}.yml", std::process::id()));
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let (passes, said) = promtool(&["check", "rules", file.to_str().unwrap()], "");
    fs::remove_file(&file).unwrap();
    assert!(passes && said.contains(&format!("{} rules found", queries.len())), "{said}\n{queries:#?}");
}
