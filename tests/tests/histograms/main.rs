//! The formats of `heartbeat histogram`, as another implementation of HdrHistogram reads them (PyPI: hdrhistogram).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, heartbeat};
use heartbeat_tests::scenario::{SOON, running, until};
use serde_json::Value;

/// A Python that has the other implementation; `cargo xtask test` brings one.
fn python() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/python/bin/python3");
    let python = std::env::var_os("HEARTBEAT_PYTHON").map_or_else(own, PathBuf::from);
    assert!(
        python.exists(),
        "{}: not there; type: python3 -m venv target/tools/python && target/tools/python/bin/pip install hdrhistogram",
        python.display()
    );
    python
}

fn histogram(arguments: &[&str]) -> String {
    let (status, said, wrong) = heartbeat([&["histogram"], arguments].concat(), SOON).unwrap();
    assert!(status.success(), "{arguments:?}: {wrong}");
    said
}

/// What the agent of controller a counted, in a file.
fn recorded(lab: &Lab) -> PathBuf {
    let folder = lab.runtime_dir(Node::A).display().to_string();
    let many = |name: &str| {
        let text = histogram(&[name, "--format", "json", "--runtime-dir", &folder]);
        let document: Value = serde_json::from_str(&text)?;
        Ok((document["histograms"][0]["n"].as_u64() >= Some(2_000)).then_some(()))
    };
    until("2,000 round trips", || many("rtt/net1")).unwrap();
    let file = lab.folder().join("recorded.json");
    fs::write(&file, histogram(&["--format", "json", "--runtime-dir", &folder])).unwrap();
    file
}

/// What a rank's value is by us: in ns as JSON has it, in us as a percentile distribution does.
enum Ours {
    Ns(u64),
    Us(String),
}

/// The ranks that percentiles of a histogram stand for, with our values. Implementations differ in which rank they take for a
/// percentile (the next one here, the nearest one there), not in what a rank's value is.
fn ours(document: &Value, hgrm: &str) -> Vec<(u64, Ours)> {
    let n = document["n"].as_u64().unwrap();
    let named = document["percentiles"].as_array().unwrap().iter().map(|percentile| {
        let rank = (percentile["percentile"].as_f64().unwrap() / 100.0 * n as f64).ceil() as u64;
        (rank, Ours::Ns(percentile["ns"].as_u64().unwrap()))
    });
    // Value, percentile, count of the values up to there; the lowest one is no bucket's highest.
    let lines = hgrm.lines().filter(|line| line.starts_with(' ') && !line.contains("Value")).skip(1).map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words[2].parse().unwrap(), Ours::Us(words[0].to_owned()))
    });
    named.filter(|(rank, _)| *rank > 0).chain(lines).collect()
}

#[test]
fn another_implementation_reads_the_same_percentiles_to_the_digit() {
    undisturbed(|| {
        let lab = running(&Config::usual().profile("ultra")).unwrap();
        let json = recorded(&lab);
        let from = json.to_str().unwrap();
        let log = lab.folder().join("recorded.hlog");
        fs::write(&log, histogram(&["--from", from, "--format", "hlog"])).unwrap();
        let all: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let all = all["histograms"].as_array().unwrap();
        let name = |document: &Value| document["name"].as_str().unwrap().to_owned();
        let distribution = |document: &Value| match document["n"].as_u64() {
            Some(0) => String::new(),
            _ => histogram(&[&name(document), "--from", from, "--format", "hgrm"]),
        };
        let wanted: BTreeMap<_, _> =
            all.iter().map(|document| (name(document), ours(document, &distribution(document)))).collect();
        let ranks: BTreeMap<_, Vec<_>> =
            wanted.iter().map(|(name, ours)| (name, ours.iter().map(|(rank, _)| *rank).collect())).collect();

        let read = read(&log, &serde_json::to_string(&ranks).unwrap());
        assert_eq!(read.as_object().unwrap().len(), all.len());
        let mut compared = 0;
        for document in all {
            let name = name(document);
            let theirs = &read[&name];
            assert_eq!(document["n"], theirs["n"], "{name}");
            for (time, ms) in [("since_ns", "begin_ms"), ("until_ns", "end_ms")] {
                let off = (document[time].as_f64().unwrap() / 1e6 - theirs[ms].as_f64().unwrap()).abs();
                assert!(off < 2.0, "{name}: {time} is off by {off} ms");
            }
            for ((rank, ours), theirs) in wanted[&name].iter().zip(theirs["values"].as_array().unwrap()) {
                let theirs = theirs.as_u64().unwrap();
                match ours {
                    // Ours is never beyond the longest one, which we know exactly.
                    Ours::Ns(ns) => assert_eq!(*ns, theirs.min(document["max_ns"].as_u64().unwrap()), "{name}: {rank}"),
                    Ours::Us(us) => assert_eq!(*us, format!("{:.3}", theirs as f64 / 1e3), "{name}: {rank}"),
                }
                compared += 1;
            }
        }
        assert!(compared > 200, "{compared}");
        println!("{} histograms, {compared} percentiles: the same to the digit", all.len());
    });
}

/// What the other implementation makes of a log.
fn read(log: &Path, ranks: &str) -> Value {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histograms/read.py")).arg(log);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ranks.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_file_that_is_no_dump_is_refused_with_its_name() {
    for (text, words) in [("", "not histograms"), ("{}", "not histograms"), ("nonsense", "not histograms")] {
        let folder = std::env::temp_dir().join(format!("heartbeat-histograms-{}", std::process::id()));
        fs::write(&folder, text).unwrap();
        let (status, _, wrong) = heartbeat(["histogram", "--from", folder.to_str().unwrap()], SOON).unwrap();
        fs::remove_file(&folder).unwrap();
        assert!(!status.success() && wrong.contains(words) && wrong.contains(folder.to_str().unwrap()), "{wrong}");
    }
    let (status, _, wrong) = heartbeat(["histogram", "--from", "/nonexistent"], SOON).unwrap();
    assert!(!status.success() && wrong.contains("/nonexistent"), "{wrong}");
}
