//! The agent of a healthy pair is replaced, killed, stopped, or loses a NIC, at `lan`: what it counted stays, and no address
//! moves that need not.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::time::Duration;

use heartbeat_tests::client::{Probe, ProbeOptions};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::{ipv4, owner_of};
use heartbeat_tests::lab::{Config, Lab, LogLine, Mark, Node, realtime_ns};
use heartbeat_tests::scenario::{
    CHANNELS, SOON, Scripts, between, expect_settled, group_events, healthy_pair, look_on, named, profiles, settled,
    show, started, story, until, wait_all_good, wait_owners, wait_said,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A client that was not answered for so long has noticed something; below that, the host was busy.
const NOTICED: Duration = Duration::from_millis(200);

/// A healthy pair, and a client that pings a's service address often enough to see a hand-over.
fn pair() -> (Lab, Probe) {
    let lab = healthy_pair(profiles()[0]).unwrap();
    let often = ProbeOptions { interval: Duration::from_micros(200), ..ProbeOptions::default() };
    let probe = lab.probe(1, ipv4(1, 10).into(), often).unwrap();
    probe.wait_reply_after(0, SOON).unwrap();
    (lab, probe)
}

/// For each channel, the peer's sequence numbers that a controller has no record of, neither as received nor as missing; and
/// how many are missing.
fn unrecorded(lab: &Lab, node: Node) -> [(u64, u64); 3] {
    let status = lab.status(node).unwrap().json;
    CHANNELS.map(|name| {
        let channel = named(&status, "channels", name).unwrap();
        let number = |key: &str| channel[key].as_u64().unwrap();
        (number("highest_sequence") - number("received") - number("missing"), number("missing"))
    })
}

/// After a restart of a's agent that was over in time: it goes on where the one before it was, and nobody noticed.
fn expect_unnoticed(lab: &Lab, probe: &Probe, begin: (u64, [Mark; 2]), before: [(u64, u64); 3]) {
    let (began, [on_a, on_b]) = begin;
    let ready = wait_said(lab, A, on_a, "ready").unwrap();
    assert_eq!(ready.raw["resumed"], true, "{ready:?}");
    wait_all_good(lab, A, on_a).unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
    let paired = wait_said(lab, B, on_b, "peer_paired").unwrap();
    assert_eq!(paired.raw["incarnation"], ready.raw["incarnation"]);
    expect_settled(lab, [A, B]).unwrap();
    let after = unrecorded(lab, A);
    let answered = probe.wait_reply_after(realtime_ns(), SOON).unwrap().received_ns;
    let gap = probe.largest_gap(began, answered).length();
    show(&format!(
        "ready after {:?}, b's pairing after {:?}; missing before {:?}, after {:?}; client's gap {gap:?}",
        between(began, ready.time_ns),
        between(began, paired.time_ns),
        before.map(|(_, missing)| missing),
        after.map(|(_, missing)| missing),
    ));
    assert_eq!(before.map(|(gap, _)| gap), after.map(|(gap, _)| gap), "received + missing has a gap");
    assert!(gap < NOTICED, "the client was not answered for {gap:?}");
    let moves = |node, mark| -> Vec<LogLine> {
        // That a resumed group is in place is told again.
        let told = ["takeover_measured", "group_acquired"];
        let of_the_new_life = |line: &LogLine| node == A && told.iter().any(|event| line.is(event));
        group_events(lab, node, mark).into_iter().filter(|line| !of_the_new_life(line)).collect()
    };
    assert_eq!([moves(A, on_a), moves(B, on_b)], [vec![], vec![]], "a group moved");
    let bad = |line: &LogLine| ["channel_bad", "peer_dead"].iter().any(|event| line.is(event));
    let noticed = lab.events_since(B, on_b).into_iter().find(bad);
    assert_eq!(noticed, None, "{}", story(lab));
}

fn begin(lab: &Lab) -> (u64, [Mark; 2]) {
    (realtime_ns(), lab.marks())
}

#[test]
fn a_reloaded_agent_keeps_what_it_counted_and_held() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (before, pid, begin) = (unrecorded(&lab, A), lab.pid(A), begin(&lab));
        lab.reload(A).unwrap();
        wait_said(&lab, A, begin.1[0], "restarting").unwrap();
        wait_said(&lab, B, begin.1[1], "peer_restarting").unwrap();
        expect_unnoticed(&lab, &probe, begin, before);
        assert_eq!(lab.pid(A), pid);
    });
}

#[test]
fn a_reload_with_a_configuration_that_could_not_start_changes_nothing() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (before, (began, [on_a, on_b])) = (unrecorded(&lab, A), begin(&lab));
        lab.configure_text(A, "[pair]\nid = \"seven\"\n").unwrap();
        lab.reload(A).unwrap();
        let refused = wait_said(&lab, A, on_a, "reload_refused").unwrap();
        assert!(refused.raw["why"].as_str().unwrap().contains("seven"), "{refused:?}");
        let answered = probe.wait_reply_after(realtime_ns(), SOON).unwrap().received_ns;
        assert!(probe.largest_gap(began, answered).length() < NOTICED);
        expect_settled(&lab, [A, B]).unwrap();
        assert_eq!(unrecorded(&lab, A), before);
        let events = [(A, on_a), (B, on_b)].map(|(node, mark)| group_events(&lab, node, mark));
        assert_eq!(events, [vec![], vec![]]);
    });
}

#[test]
fn an_agent_killed_and_started_at_once_keeps_what_its_earlier_life_counted_and_held() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (before, begin) = (unrecorded(&lab, A), begin(&lab));
        lab.kill(A).unwrap();
        lab.start(A).unwrap();
        expect_unnoticed(&lab, &probe, begin, before);
    });
}

#[test]
fn an_agent_started_too_late_removes_what_the_peer_has_taken_over_and_stands_by() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (before, (began, [_, on_b])) = (unrecorded(&lab, A), begin(&lab));
        let service = ipv4(1, 10).into();
        lab.kill(A).unwrap();
        lab.wait_event_since(B, on_b, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        let holds = |node| {
            let addresses = lab.controller(node).unwrap().netlink().addresses().unwrap();
            addresses.iter().any(|(_, address)| *address == service)
        };
        assert!(holds(A) && holds(B), "the dead agent's kernel has the address, and keeps silent for it");

        let on_b = lab.mark(B);
        lab.start(A).unwrap();
        let on_a = lab.run_begin(A);
        let swept = wait_said(&lab, A, on_a, "address_swept").unwrap();
        let ready = wait_said(&lab, A, on_a, "ready").unwrap();
        assert!(swept.number < ready.number, "{}", story(&lab));
        assert!(swept.is_of("address_swept", "storage-a"), "{swept:?}");
        assert!(swept.raw["address"].as_str().unwrap().starts_with("192.0.2.10/24"), "{swept:?}");
        assert_eq!(ready.raw["resumed"], true, "{ready:?}");
        wait_all_good(&lab, A, on_a).unwrap();
        wait_all_good(&lab, B, on_b).unwrap();
        expect_settled(&lab, [B, B]).unwrap();
        assert!(!holds(A) && holds(B));
        assert_eq!(group_events(&lab, A, on_a), []);
        assert_eq!(group_events(&lab, B, on_b), []);
        assert_eq!(
            before.map(|(gap, _)| gap),
            unrecorded(&lab, A).map(|(gap, _)| gap),
            "what came while no agent ran was not counted"
        );
        let answered = probe.wait_reply_after(realtime_ns(), SOON).unwrap().received_ns;
        let known = lab.client(1).unwrap().netlink().neighbour(service).unwrap();
        assert_eq!(known.and_then(owner_of), Some(B));
        let gap = probe.largest_gap(began, answered).length();
        assert!(gap < NOTICED, "a host that lost nothing but its agent answered all the time, but for {gap:?}");
    });
}

#[test]
fn a_stopped_agent_hands_over_at_once_and_is_standby_when_it_is_back() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (began, [on_a, on_b]) = begin(&lab);
        let status = lab.stop(A).unwrap();
        assert!(status.success(), "{status}");
        let said: Vec<_> = lab.events_since(A, on_a).into_iter().filter_map(|line| line.event).collect();
        for event in ["stopping", "group_releasing", "group_released", "stopped"] {
            assert!(said.iter().any(|said| said == event), "no {event}: {said:?}");
        }
        let left = wait_said(&lab, B, on_b, "peer_left").unwrap();
        let acquiring = lab.wait_event_since(B, on_b, |line| line.is_of("group_acquiring", "storage-a"), SOON).unwrap();
        assert_eq!(acquiring.raw["reason"], "peer_left", "{acquiring:?}");
        let acquired = lab.wait_event_since(B, on_b, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        let answered = probe.wait_reply_after(acquired.time_ns, SOON).unwrap().received_ns;
        let gap = probe.largest_gap(began, answered).length();
        show(&format!(
            "clean stop: the peer says so after {:?}, acquires after {:?}; client's gap {gap:?}",
            between(began, left.time_ns),
            between(began, acquiring.time_ns)
        ));
        assert!(gap < profiles()[0].detection(), "a hand-over is faster than any detection, not {gap:?}");
        assert_eq!(lab.status(A).unwrap().code, 2);
        let addresses = lab.controller(A).unwrap().netlink().addresses().unwrap();
        assert!(addresses.iter().all(|(_, address)| *address != probe.target()), "{addresses:?}");

        // That nobody is there any more is found out as usual, and moves nothing.
        wait_said(&lab, B, on_b, "peer_dead").unwrap();
        let on_b = lab.mark(B);
        lab.start(A).unwrap();
        let ready = wait_said(&lab, A, lab.run_begin(A), "ready").unwrap();
        assert_eq!(ready.raw["resumed"], false, "a clean stop leaves nothing behind: {ready:?}");
        wait_all_good(&lab, A, lab.run_begin(A)).unwrap();
        wait_all_good(&lab, B, on_b).unwrap();
        expect_settled(&lab, [B, B]).unwrap();
        assert_eq!(group_events(&lab, A, lab.run_begin(A)), []);
        assert_eq!(group_events(&lab, B, on_b), []);
    });
}

#[test]
fn a_nic_taken_out_and_put_back_is_heard_on_again_with_its_service_address() {
    undisturbed(|| {
        let (lab, probe) = pair();
        let (_, [on_a, on_b]) = begin(&lab);
        for (node, mark) in [(A, on_a), (B, on_b)] {
            if node == A {
                lab.remove_nic(A, "net1").unwrap();
                lab.wait_event_since(A, mark, |line| line.is_of("interface_gone", "net1"), SOON).unwrap();
            }
            lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        }
        // A controller without its port is no place for what is served there.
        lab.wait_event_since(B, on_b, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        let marks = lab.marks();
        let inserted = lab.insert_nic(A, "net1").unwrap();
        for event in ["interface_back", "channel_attached", "channel_good"] {
            lab.wait_event_since(A, marks[0], |line| line.is_of(event, "net1"), SOON).unwrap();
        }
        lab.wait_event_since(B, marks[1], |line| line.is_of("channel_good", "net1"), SOON).unwrap();
        let answered = probe.wait_reply_after(inserted, SOON).unwrap().received_ns;
        show(&format!("NIC put back: the client is answered after {:?}", between(inserted, answered)));
        expect_settled(&lab, [B, B]).unwrap();
        let status = lab.status(A).unwrap().json;
        assert_eq!(named(&status, "channels", "net1").unwrap()["xdp_mode"], "native");
    });
}

#[test]
fn an_agent_that_is_told_to_stop_and_to_reload_at_once_stops_and_leaves_nothing() {
    undisturbed(|| {
        for signals in [[Signal::SIGTERM, Signal::SIGHUP], [Signal::SIGHUP, Signal::SIGTERM]] {
            let (lab, _probe) = pair();
            let begin = lab.mark(B);
            let pid = Pid::from_raw(i32::try_from(lab.pid(A).unwrap()).unwrap());
            for signal in signals {
                kill(pid, signal).unwrap();
            }
            assert!(lab.wait_exit(A, SOON).unwrap().success(), "{signals:?}: {}", story(&lab));
            lab.wait_event_since(B, begin, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
            let addresses = lab.controller(A).unwrap().netlink().addresses().unwrap();
            assert!(!addresses.iter().any(|(_, address)| *address == IpAddr::from(ipv4(1, 10))), "{addresses:?}");
        }
    });
}

/// The script of a hook that waits on a until a file `go-on` is there.
const WAITS: (&str, &str) = (
    "on_acquire",
    "test $HEARTBEAT_NODE = a || exit 0; echo begun >> log; until test -e go-on; do sleep 0.02; done; echo done >> log",
);

/// A pair of which a runs a hook that waits to be told to go on.
fn with_a_hook_that_runs() -> (Lab, Config, Scripts) {
    let (lab, config) = started(|lab, config| Scripts::of(lab).unwrap().hooks(config, &[WAITS]).unwrap()).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
    until("the hook runs", || Ok((scripts.read("log") == "begun\n").then_some(()))).unwrap();
    (lab, config, scripts)
}

#[test]
fn a_reload_waits_for_a_hook_that_runs_and_then_goes_on() {
    undisturbed(|| {
        let (lab, _, scripts) = with_a_hook_that_runs();
        let mark = lab.mark(A);
        lab.reload(A).unwrap();
        let waits = wait_said(&lab, A, mark, "reload_waits").unwrap();
        assert!(waits.raw["why"].as_str().unwrap().contains("group \"storage-a\" is on its way"), "{waits:?}");
        let released = realtime_ns();
        scripts.touch("go-on").unwrap();
        let goes_on = wait_said(&lab, A, mark, "restarting").unwrap();
        assert!(goes_on.time_ns > released, "{}", story(&lab));
        let ready = wait_said(&lab, A, mark, "ready").unwrap();
        assert_eq!(ready.raw["resumed"], true, "{ready:?}");
        wait_owners(&lab, A, &["a", "b"]).unwrap();
        assert_eq!(scripts.read("log"), "begun\ndone\n", "{}", story(&lab));
    });
}

/// An editor, or whatever brings files to hosts, may write at that moment.
#[test]
fn a_reload_goes_on_with_the_file_that_was_found_valid_whatever_becomes_of_it_meanwhile() {
    undisturbed(|| {
        let (lab, config, scripts) = with_a_hook_that_runs();
        let mark = lab.mark(A);
        lab.configure_one(A, &config.timing("failed_waits", "7")).unwrap();
        lab.reload(A).unwrap();
        wait_said(&lab, A, mark, "reload_waits").unwrap();
        lab.configure_text(A, "[pair]\nid = \"sev").unwrap();
        scripts.touch("go-on").unwrap();
        let ready = wait_said(&lab, A, mark, "ready").unwrap();
        assert_eq!(ready.raw["resumed"], true, "{ready:?}");
        wait_owners(&lab, A, &["a", "b"]).unwrap();
        // The next one reads it again.
        lab.reload(A).unwrap();
        wait_said(&lab, A, mark, "reload_refused").unwrap();
        assert_eq!(scripts.read("log"), "begun\ndone\n", "{}", story(&lab));
    });
}

#[test]
fn a_hook_that_begins_while_a_reload_waits_for_the_command_for_events_is_waited_for_too() {
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            let scripts = Scripts::of(lab).unwrap();
            config.groups.swap(0, 1);
            scripts.hooks(config, &[WAITS]).unwrap();
            let holds = "test $HEARTBEAT_CONTROLLER-$HEARTBEAT_EVENT = a-reload_refused || exit 0\n\
                         touch told; until test -e heard; do sleep 0.02; done";
            let command = scripts.write("page", holds).unwrap();
            config.extra = format!("[events]\non_event = {command}\non_event_timeout = \"1m\"\n");
        })
        .unwrap();
        settled(&lab, &config).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        lab.configure_text(A, "[pair]\nid = \"seven\"\n").unwrap();
        lab.reload(A).unwrap();
        until("the command for events runs", || Ok(scripts.has("told").then_some(()))).unwrap();
        lab.configure_one(A, &config).unwrap();
        let mark = lab.mark(A);
        lab.reload(A).unwrap();
        wait_said(&lab, A, mark, "restarting").unwrap();
        assert_eq!(lab.order(B, &["release", "storage-b"]).unwrap().0, Some(0));
        until("the hook runs", || Ok((scripts.read("log") == "begun\n").then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        scripts.touch("heard").unwrap();
        look_on(Duration::from_millis(500));
        let next_life = lab.events_since(A, mark).into_iter().find(|line| line.is("ready"));
        assert_eq!(next_life, None, "{}", story(&lab));
        scripts.touch("go-on").unwrap();
        let ready = wait_said(&lab, A, mark, "ready").unwrap();
        assert_eq!(ready.raw["resumed"], true, "{ready:?}");
        wait_owners(&lab, A, &["a", "a"]).unwrap();
        assert_eq!(scripts.read("log"), "begun\ndone\n", "{}", story(&lab));
    });
}
