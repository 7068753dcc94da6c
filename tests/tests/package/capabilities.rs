//! The agent under what the unit leaves it: it does all its work, and what it starts has no more than that.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Options;
use heartbeat_tests::scenario::{CHANNELS, named, profiles};
use heartbeat_tests::scenario::{SOON, settled};

use super::*;

const A: Node = Node::A;
const B: Node = Node::B;
/// Its bit, of linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The capabilities that a unit, or what is dropped in beside it, leaves: an empty line begins anew (systemd.exec(5)).
fn left(file: &str) -> BTreeSet<String> {
    let unit = text(&Path::new("../heartbeat-user/dist/systemd").join(file));
    let mut left = BTreeSet::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet=")) {
        if line.is_empty() {
            left.clear();
        }
        left.extend(line.split_whitespace().map(|name| name.trim_start_matches("CAP_").to_lowercase()));
    }
    left
}

/// Starts the binary as systemd would, with these capabilities and no way to get others.
fn wrapper(lab: &Lab, left: &BTreeSet<String>) -> PathBuf {
    let path = lab.folder().join("bounded");
    let set = left.iter().map(|name| format!(",+{name}")).collect::<String>();
    let agent = fs::canonicalize(binary().unwrap()).unwrap();
    fs::write(
        &path,
        format!("#!/bin/sh\nexec setpriv --no-new-privs --bounding-set=-all{set} '{}' \"$@\"\n", agent.display()),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A field of proc_pid_status(5), in hexadecimal digits.
fn set_of(pid: u32, field: &str) -> u64 {
    let status = text(Path::new(&format!("/proc/{pid}/status")));
    let digits = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:\t"))).unwrap();
    u64::from_str_radix(digits, 16).unwrap()
}

#[test]
fn the_agent_does_all_its_work_with_what_the_units_leave_it() {
    for file in ["heartbeat.service", "without-hooks.conf"] {
        undisturbed(|| {
            let (lab, config, left) = (Lab::new(Options::default()).unwrap(), profiles()[0].config(), left(file));
            assert!(left.contains("net_admin") && !left.contains("sys_time"), "{left:?}");
            let bounded = wrapper(&lab, &left);
            lab.configure(&config).unwrap();
            lab.start_from(A, A, &bounded).unwrap();
            lab.start(B).unwrap();
            settled(&lab, &config).unwrap();
            let pid = lab.pid(A).unwrap();
            for field in ["CapBnd", "CapEff"] {
                // Whoever tests may lack some.
                let own = set_of(std::process::id(), field).count_ones();
                let kept = set_of(pid, field);
                assert!(kept & CAP_NET_ADMIN != 0 && kept.count_ones() < own, "{file}: {field} {kept:x}");
                assert!(kept.count_ones() as usize <= left.len(), "{file}: {field} {kept:x}");
            }
            let status = lab.status(A).unwrap().json;
            for name in CHANNELS {
                assert_eq!(named(&status, "channels", name).unwrap()["xdp_mode"], "native", "{file}");
            }
            let problems = lab.events_since(A, lab.run_begin(A));
            let problems: Vec<_> =
                problems.iter().filter(|line| line.is("host_problem") || line.is("address_failed")).collect();
            assert!(problems.is_empty(), "{file}: {problems:?}");

            let mark = lab.mark(A);
            assert_eq!(lab.order(A, &["reload"]).unwrap(), (Some(0), String::new()), "{file}");
            lab.wait_event_since(A, mark, |line| line.is("ready"), SOON).unwrap();
            settle(&lab, [A, B]);
            assert_eq!(lab.order(A, &["takeover", "storage-b"]).unwrap(), (Some(0), String::new()), "{file}");
            // Its kernel tells b of its death; started again, it goes on, and leaves nothing when it is stopped.
            let mark = lab.mark(B);
            lab.kill(A).unwrap();
            lab.wait_event_since(B, mark, |line| line.is("peer_died"), SOON).unwrap();
            lab.start_from(A, A, &bounded).unwrap();
            let ready = lab.wait_event_since(A, lab.run_begin(A), |line| line.is("ready"), SOON).unwrap();
            assert_eq!(ready.raw["resumed"], true, "{file}: what the life before left can be read");
            assert!(lab.stop(A).unwrap().success(), "{file}");
            assert!(!lab.runtime_dir(A).join("life.json").exists(), "{file}");
        });
    }
}
