//! Signals that arrive at any moment of start, reload and end are neither lost nor deadly.

use std::os::unix::process::ExitStatusExt as _;
use std::thread;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, GroupConfig, Lab, realtime_ns};
use heartbeat_tests::scenario::{
    NOTICED, SOON, holders, service, stays, story, take_over, until, wait_holders, wait_minds_signals,
};
use nix::sys::signal::Signal;

use crate::pair;

/// Moments within a reload, which takes 10 to 150 ms, or of a start from when the agent minds its signals.
const PHASES_MS: [u64; 8] = [0, 2, 5, 10, 20, 40, 80, 160];

#[test]
fn five_reloads_within_fifty_milliseconds_end_with_the_newest_file_and_nobody_noticed() {
    undisturbed(|| {
        let (lab, clients) = pair(&Config::usual());
        let mut newest = Config::usual();
        newest.groups.push(GroupConfig {
            name: "late".to_owned(),
            home: B,
            addresses: vec![("net2".to_owned(), "198.51.100.40/24".to_owned())],
            exclusive: None,
            extra: String::new(),
        });
        let (before, began, pid) = (lab.marks(), realtime_ns(), lab.pid(A));
        for number in 0..5 {
            if number == 4 {
                lab.configure_one(A, &newest).unwrap();
            }
            lab.reload(A).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        until("the newest file is in force", || {
            let status = lab.status(A)?.json;
            let groups = status["groups"].as_array().map(Vec::len).unwrap_or_default();
            Ok((groups == 3).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert_eq!(lab.pid(A), pid, "{}", story(&lab));
        stays(&lab, &[(service(1), A), (service(2), B)], Duration::from_secs(1), before).unwrap();
        for client in &clients {
            client.noticed_less_than(&lab, "five reloads", began, NOTICED).unwrap();
        }
    });
}

#[test]
fn a_stop_in_any_phase_of_a_reload_ends_the_agent_in_order() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual().profile("fast"));
        for phase in PHASES_MS {
            let before = lab.marks();
            let began = lab.reload(A).unwrap();
            thread::sleep(Duration::from_millis(phase));
            let ended = lab.stop(A);
            let ended = ended.unwrap_or_else(|error| panic!("after {phase} ms: {error:#}\n{}", story(&lab)));
            assert!(ended.success(), "after {phase} ms: {ended}\n{}", story(&lab));
            // The peer was told, and did not have to find out.
            lab.wait_event_since(B, before[1], |line| line.is("peer_left"), SOON)
                .unwrap_or_else(|error| panic!("after {phase} ms: {error:#}\n{}", story(&lab)));
            wait_holders(&lab, service(1), &[B]).unwrap();
            client
                .noticed_less_than(&lab, &format!("stopped {phase} ms after a reload began"), began, NOTICED)
                .unwrap();
            back(&lab);
            wait_holders(&lab, service(1), &[A]).unwrap();
        }
    });
}

#[test]
fn a_stop_in_any_phase_of_a_start_after_a_crash_leaves_nothing_behind() {
    undisturbed(|| {
        let (lab, _clients) = pair(&Config::usual().profile("fast"));
        for phase in std::iter::once(None).chain(PHASES_MS.map(Some)) {
            // It holds its group while it dies.
            wait_holders(&lab, service(1), &[A]).unwrap();
            lab.kill(A).unwrap();
            lab.start(A).unwrap();
            if let Some(phase) = phase {
                wait_minds_signals(&lab, A).unwrap();
                thread::sleep(Duration::from_millis(phase));
            }
            let phase = phase.map_or("at once".to_owned(), |phase| format!("after {phase} ms"));
            let ended = lab.stop(A);
            let ended = ended.unwrap_or_else(|error| panic!("{phase}: {error:#}\n{}", story(&lab)));
            // Before it has begun at all, it cannot but die of it.
            let unborn = ended.signal() == Some(Signal::SIGTERM as i32) && phase == "at once";
            assert!(ended.success() || unborn, "{phase}: {ended}\n{}", story(&lab));
            if unborn {
                lab.start(A).unwrap();
                lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
                lab.stop(A).unwrap();
            }
            assert!(!holders(&lab, service(1)).unwrap().contains(&A), "{phase}\n{}", story(&lab));
            wait_holders(&lab, service(1), &[B]).unwrap();
            back(&lab);
        }
    });
}

/// The agent on a is there again, and has its group.
fn back(lab: &Lab) {
    lab.start(A).unwrap();
    take_over(lab, A, "storage-a").unwrap();
}

#[test]
fn a_reload_during_a_start_is_not_lost() {
    undisturbed(|| {
        let (lab, _clients) = pair(&Config::usual().profile("fast"));
        for phase in [0, 5, 20, 60] {
            lab.stop(A).unwrap();
            wait_holders(&lab, service(1), &[B]).unwrap();
            lab.start(A).unwrap();
            wait_minds_signals(&lab, A).unwrap();
            thread::sleep(Duration::from_millis(phase));
            lab.reload(A).unwrap();
            lab.wait_event(A, |line| line.is("restarting"), SOON)
                .unwrap_or_else(|error| panic!("after {phase} ms: {error:#}\n{}", story(&lab)));
            until("it answers", || Ok((lab.status(A)?.code < 2).then_some(()))).unwrap();
            assert!(lab.exit_status(A).is_none(), "{}", story(&lab));
            take_over(&lab, A, "storage-a").unwrap();
        }
    });
}
