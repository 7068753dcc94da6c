//! A controller that stands still for a while, or gets hardly any CPU, does not find its healthy peer dead.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use heartbeat_tests::host::{self, undisturbed};
use heartbeat_tests::lab::{Lab, Node};
use heartbeat_tests::scenario::{CALM, FAST, LAN, Profile, SOON, changes, held, is_change, running, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// From SIGCONT to the last group given back, on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// As b says, which can answer while a stands still.
fn detection(lab: &Lab) -> Duration {
    let json = lab.status(Node::B).unwrap().json;
    Duration::from_secs_f64(json["detection_ms"].as_f64().unwrap() / 1e3)
}

/// Exactly one controller holds each group, and both say so.
fn wait_for_one_holder_each(lab: &Lab, holders: [Node; 2]) {
    until("one holder for each group", || {
        let [a, b] = Node::BOTH.map(|node| lab.status(node));
        let expected = |node| holders.map(|holder| holder == node).to_vec();
        Ok((held(&a?.json) == expected(Node::A) && held(&b?.json) == expected(Node::B)).then_some(()))
    })
    .unwrap();
}

/// a stands still for 20 detection times while b, which finds it dead meanwhile, is healthy.
fn a_long_stall(profile: Profile) {
    let lab = running(&profile.config()).unwrap();
    let (mark_a, mark_b) = (lab.mark(Node::A), lab.mark(Node::B));
    lab.pause(Node::A).unwrap();
    lab.wait_event_since(Node::B, mark_b, |line| line.is("peer_dead"), SOON).unwrap();
    lab.wait_event_since(Node::B, mark_b, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
    // The stall itself: there is no event to wait for.
    thread::sleep(detection(&lab) * 20);
    let resumed = lab.resume(Node::A).unwrap();

    let stalled = lab.wait_event_since(Node::A, mark_a, |line| line.is("stalled"), SOON).unwrap();
    let released =
        lab.wait_event_since(Node::A, mark_a, |line| line.is_of("group_released", "storage-a"), SOON).unwrap();
    lab.wait_event_since(Node::B, mark_b, |line| line.is("peer_good"), SOON).unwrap();
    // b's term is the higher one.
    wait_for_one_holder_each(&lab, [Node::B, Node::B]);
    let took = Duration::from_nanos(released.time_ns.saturating_sub(resumed));
    eprintln!(
        "{profile:?}: stalled for {:.1} ms; given back {:.2} ms after going on",
        stalled.raw["late_ns"].as_u64().unwrap() as f64 / 1e6,
        took.as_secs_f64() * 1e3
    );
    let lines = lab.events_since(Node::A, mark_a);
    let wrong: Vec<_> = lines
        .iter()
        .filter(|line| ["peer_dead", "channel_bad", "group_acquiring"].iter().any(|event| line.is(event)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let dual = lines.iter().find(|line| line.is("dual_ownership")).unwrap();
    assert_eq!(dual.raw["kept_by"], "b");
    assert!(took < SETTLED_WITHIN, "{took:?}");
}

/// `lan`, and on a quiet host `fast` too.
fn profiles() -> &'static [Profile] {
    if host::is_quiet() { &[LAN, FAST] } else { &[LAN] }
}

#[test]
fn twenty_detection_times_of_standing_still_do_not_read_as_the_peers_death() {
    undisturbed(|| {
        profiles().iter().for_each(|profile| a_long_stall(*profile));
    });
}

#[test]
fn a_stall_shorter_than_the_peers_patience_moves_nothing() {
    undisturbed(|| {
        let lab = running(&CALM.config()).unwrap();
        let marks = lab.marks();
        lab.pause(Node::A).unwrap();
        // The stall itself: half a detection time.
        thread::sleep(CALM.detection() / 2);
        lab.resume(Node::A).unwrap();
        // It may have fallen between two heartbeats: then not even we were late.
        until("it goes on", || Ok((lab.status(Node::A)?.code < 2).then_some(()))).unwrap();
        // A whole detection time later still nothing.
        for (node, mark) in Node::BOTH.into_iter().zip(marks) {
            let moved = lab.wait_event_since(node, mark, is_change, CALM.bound());
            assert!(moved.is_err(), "{node}: {moved:?}");
        }
        wait_for_one_holder_each(&lab, [Node::A, Node::B]);
    });
}

#[test]
fn a_survivor_that_stood_still_while_its_peer_died_takes_over_once_it_goes_on() {
    undisturbed(|| {
        let lab = running(&LAN.config()).unwrap();
        let mark = lab.mark(Node::A);
        lab.pause(Node::A).unwrap();
        lab.kill(Node::B).unwrap();
        // The stall itself.
        thread::sleep(LAN.detection() * 20);
        let resumed = lab.resume(Node::A).unwrap();
        // Its kernel says so, as soon as it is asked.
        let died = lab.wait_event_since(Node::A, mark, |line| line.is("peer_died"), SOON).unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is_of("group_acquired", "storage-b"), SOON).unwrap();
        let took = Duration::from_nanos(died.time_ns.saturating_sub(resumed));
        eprintln!("known to have died {:.2} ms after going on", took.as_secs_f64() * 1e3);
        assert!(took < SETTLED_WITHIN, "{took:?}");
    });
}

/// Busy loops at nice -20; killed on drop.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start(count: usize) -> Self {
        let hog = || {
            let mut command = Command::new("nice");
            command.args(["-n", "-20", "timeout", "20", "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            command.spawn().unwrap()
        };
        Self((0..count).map(|_| hog()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            // `timeout` ends its busy loop with itself.
            let pid = Pid::from_raw(i32::try_from(hog.id()).unwrap());
            let _already_gone = kill(pid, Signal::SIGTERM);
            let _reaped = hog.wait();
        }
    }
}

#[test]
fn busy_loops_at_the_highest_ordinary_priority_fail_no_channel() {
    undisturbed(|| {
        profiles().iter().for_each(|profile| beside_busy_loops(*profile));
    });
}

fn beside_busy_loops(profile: Profile) {
    let lab = running(&profile.config()).unwrap();
    let marks = lab.marks();
    let processors = thread::available_parallelism().unwrap().get();
    let hogs = Hogs::start(processors * 2);
    let moved = lab.wait_event_since(Node::A, marks[0], is_change, Duration::from_secs(5));
    drop(hogs);
    assert!(moved.is_err(), "{moved:?}");
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let changes = changes(&lab, node, mark);
        assert!(changes.is_empty(), "{node}: {changes:?}");
        let json = lab.status(node).unwrap().json;
        eprintln!("{node}: lateness {}", json["lateness"]);
    }
}
