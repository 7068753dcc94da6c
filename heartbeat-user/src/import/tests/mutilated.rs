//! Files that somebody cut, mixed up and scribbled on: an error or a configuration, in bounded time, and never a panic.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::time::{Duration, Instant};

/// A file with something of everything.
const FILE: &str = "global_defs { router_id x\n script_user root }
$NET=192.0.2
$BLOCK= \\
virtual_ipaddress { \\
  ${NET}.10/24 dev eth0 \\
}
vrrp_script s { script \"/bin/s 'a b' \\x41\"\n weight -5 }
vrrp_track_process p { process nginx }
vrrp_sync_group G { group { VI_1 }\n notify \"/bin/n\" }
vrrp_instance VI_1 {
  @high state MASTER
  @^high state BACKUP
  interface eth0
  virtual_router_id 51
  unicast_src_ip ${NET}.1
  unicast_peer { ${NET}.2 }
  $BLOCK
  authentication { auth_type PASS\n auth_pass hunter2 }
  virtual_routes { 0.0.0.0/0 via ${NET}.254 }
  track_script { s weight 3 }
  track_process { p }
  track_interface { eth1 weight 4 }
}
virtual_server 192.0.2.10 80 { real_server 192.0.2.3 80 { weight 1 } }
include x.conf
";

/// What is put in at random: every character that means something, and words that do.
const SCRIBBLES: [&str; 28] = [
    "{",
    "}",
    "\"",
    "'",
    "\\",
    "\n",
    " ",
    "$",
    "${",
    "@",
    "@^high ",
    "~SEQ(",
    "#",
    "!",
    "=",
    "include a.conf",
    "include *",
    "$NET=$NET$NET",
    "$BLOCK",
    "\0",
    "\u{e4}",
    "weight",
    "{{",
    "-1",
    "99999999999999999999",
    "vrrp_instance VI_1 {",
    "::",
    "\u{feff}",
];

/// Cuts, copies and scribbles.
fn mutilated(edits: &[(u16, u16, u8)]) -> Vec<u8> {
    let mut bytes = FILE.as_bytes().to_vec();
    for &(at, length, what) in edits {
        let at = usize::from(at) % (bytes.len() + 1);
        let end = (at + usize::from(length) % 64).min(bytes.len());
        match what % 4 {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            2 => drop(bytes.splice(at..at, SCRIBBLES[usize::from(what / 4) % SCRIBBLES.len()].bytes())),
            _ => bytes.insert(at, what),
        }
        bytes.truncate(64 << 10);
    }
    bytes
}

fn harmless(bytes: &[u8]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.conf");
    fs::write(&file, bytes).unwrap();
    fs::write(folder.path().join("x.conf"), "# nothing\n").unwrap();
    let options = ImportOptions { ids: [Some("high".into()), None], ..ImportOptions::default() };
    let start = Instant::now();
    match keepalived(&file, None, &options) {
        Ok(imported) => {
            for finding in &imported.findings {
                let said = finding.to_string();
                prop_assert!(!said.contains(char::is_control), "{said:?}");
            }
            if imported.findings.iter().all(|finding| finding.kind != FindingKind::ToFillIn) {
                prop_assert!(Config::parse(&imported.toml, "result.toml").is_ok(), "{}", imported.toml);
            }
        }
        Err(error) => {
            let said = error.to_string();
            prop_assert!(said.contains(": ") && said.len() < 64 << 10, "{said}");
        }
    }
    prop_assert!(start.elapsed() < Duration::from_secs(20));
    Ok(())
}

#[test]
fn the_file_is_sound_before_it_is_mutilated() {
    harmless(FILE.as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.conf"), FILE).unwrap();
    fs::write(folder.path().join("x.conf"), "").unwrap();
    let options = ImportOptions { ids: [Some("high".into()), None], ..ImportOptions::default() };
    let imported = keepalived(&folder.path().join("a.conf"), None, &options).unwrap();
    assert_eq!((config(&imported).groups.len(), config(&imported).checks.len()), (1, 2));
}

#[test]
fn no_mutilation_does_harm() {
    // The same ones each time: a test that fails must fail again.
    let config = ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng);
    let edits = proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..12);
    runner.run(&edits, |edits| harmless(&mutilated(&edits))).unwrap();
}

#[test]
fn no_bytes_do_harm() {
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng);
    runner.run(&proptest::collection::vec(any::<u8>(), 0..2_000), |bytes| harmless(&bytes)).unwrap();
}
