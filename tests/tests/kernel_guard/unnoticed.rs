//! An agent is killed and started again in time, reloaded, and upgraded, with the grace that a file has which says nothing of it:
//! nothing moves and no client waits. `HEARTBEAT_TRIALS=20` does 20 of each at `lan`, `fast` and `ultra`.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use heartbeat_tests::client::{Probe, ProbeOptions};
use heartbeat_tests::frame::{PORT, payload};
use heartbeat_tests::host::is_quiet;
use heartbeat_tests::inject::Tap;
use heartbeat_tests::lab::topology::{Host, mac};
use heartbeat_tests::lab::{Mark, Options, binary};
use heartbeat_tests::scenario::{Measured, Run, ULTRA, between, group_events, settled, story};

use super::*;

/// How often each of the two clients asks.
const ASKED_EVERY: Duration = Duration::from_millis(1);
/// The longest time that a client may wait on a quiet host.
const UNNOTICED: Duration = Duration::from_millis(2);
/// A killed agent is started again after none, one, two or three of these: within the two seconds of grace, less what a start takes.
const LATER: Duration = Duration::from_millis(400);
/// From one life's last heartbeat to the next one's first, beyond an interval, on a quiet host, where one follows the other at once.
const REPLACED_WITHIN: Duration = Duration::from_millis(20);

/// What befalls the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    StartedAgain,
    Reloaded,
    Upgraded,
}

impl Change {
    const ALL: [Self; 3] = [Self::StartedAgain, Self::Reloaded, Self::Upgraded];
}

/// Listens at the switch for a's heartbeats on net1: when each came.
struct Beats {
    stop: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<u64>>>,
    thread: Option<JoinHandle<()>>,
}

impl Beats {
    /// `kind` of a heartbeat, and where it stands in a message: see wire.rs of the agent. Its kernel answers by others.
    const HEARTBEAT: u8 = 1;
    const KIND: usize = 3;

    fn start(lab: &Lab) -> Self {
        let tap = Tap::open(lab.switch(1).unwrap(), A.name()).unwrap();
        let (stop, came) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&came));
        let is_beat = |frame: &[u8]| {
            frame.get(6..12) == Some(&mac(Host::Controller(A), 1))
                && payload(frame, PORT).is_some_and(|message| message.get(Self::KIND) == Some(&Self::HEARTBEAT))
        };
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if tap.next(is_beat, Duration::from_millis(20)).is_ok() {
                    noted.lock().unwrap().push(realtime_ns());
                }
            }
        });
        Self { stop, came, thread: Some(thread) }
    }

    /// The longest time between two of them since an instant.
    fn silence(&self, since_ns: u64) -> Duration {
        let came = self.came.lock().unwrap();
        let gaps = came.windows(2).filter(|pair| pair[1] >= since_ns).map(|pair| pair[1] - pair[0]);
        Duration::from_nanos(gaps.max().unwrap())
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A healthy pair, of which a runs from a binary of its own and holds `storage-a`, and whoever looks on.
struct Served {
    lab: Lab,
    profile: Profile,
    program: PathBuf,
    /// Asks whoever has the address.
    client: Probe,
    /// Asks both.
    both: Both,
    beats: Beats,
}

impl Served {
    fn new(profile: Profile) -> Self {
        let (lab, config) = (Lab::new(Options::default()).unwrap(), profile.config());
        let program = lab.folder().join("heartbeat");
        fs::copy(binary().unwrap(), &program).unwrap();
        lab.configure(&config).unwrap();
        lab.start_from(A, A, &program).unwrap();
        lab.start(B).unwrap();
        settled(&lab, &config).unwrap();
        let every = ProbeOptions { interval: ASKED_EVERY, ..ProbeOptions::default() };
        let client = lab.probe(1, ipv4(1, 10).into(), every).unwrap();
        let both = Both::start(&lab, 1, ipv4(1, 10), ASKED_EVERY).unwrap();
        let beats = Beats::start(&lab);
        client.wait_reply_after(0, SOON).unwrap();
        wait_answer(&both, A, 0).unwrap();
        until("a is heard", || Ok((!beats.came.lock().unwrap().is_empty()).then_some(()))).unwrap();
        Self { lab, profile, program, client, both, beats }
    }

    fn change(&self, change: Change, number: u32) {
        match change {
            Change::StartedAgain => {
                self.lab.kill(A).unwrap();
                look_on(LATER * (number % 4));
                self.lab.start_from(A, A, &self.program).unwrap();
            }
            Change::Reloaded => drop(self.lab.reload(A).unwrap()),
            Change::Upgraded => {
                self.replace();
                self.lab.reload(A).unwrap();
            }
        }
    }

    /// Another binary is where a's was, as a package manager brings it.
    fn replace(&self) {
        let beside = self.program.with_extension("new");
        fs::copy(&self.program, &beside).unwrap();
        // Behind what its headers name, so that it is another file and the same program.
        File::options().append(true).open(&beside).unwrap().write_all(b"upgraded").unwrap();
        fs::rename(&beside, &self.program).unwrap();
    }

    /// What runs is the file that is there now, and the one before is nobody's.
    fn expect_upgraded(&self) {
        let pid = self.lab.pid(A).unwrap();
        let [runs, there] = [PathBuf::from(format!("/proc/{pid}/exe")), self.program.clone()];
        assert_eq!(fs::metadata(runs).unwrap().ino(), fs::metadata(there).unwrap().ino(), "the old binary runs");
        until("the old binary is let go of", || {
            let open =
                fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
            Ok((!open
                .into_iter()
                .any(|link| link.starts_with(self.lab.folder()) && link.ends_with("heartbeat (deleted)")))
            .then_some(()))
        })
        .unwrap();
    }

    /// Questions of the client's within that time that nobody answered, and the longest time without an answer.
    fn missed(&self, from_ns: u64, to_ns: u64) -> (u64, Duration) {
        let mut replies = self.client.replies();
        replies.retain(|reply| (from_ns..to_ns).contains(&reply.received_ns));
        let [first, last] = [replies.first(), replies.last()].map(|reply| reply.unwrap().number);
        (last - first + 1 - replies.len() as u64, self.client.largest_gap(from_ns, to_ns).length())
    }

    /// The longest time that b's pulse thread was late by, ever: for so long the kernel of an agent that is dead may be silent, for it
    /// serves no longer than its lease.
    fn lateness_of_b(&self) -> Duration {
        let json = self.lab.status(B).unwrap().json;
        Duration::from_secs_f64(json["lateness"]["max_us"].as_f64().unwrap() / 1e6)
    }

    /// What says that somebody noticed: a group that moved; and of a peer that said that it will be back, that it is missed, where
    /// it was to be back before that.
    fn noticed(&self, change: Change, [on_a, on_b]: [Mark; 2]) -> Vec<LogLine> {
        let lab = &self.lab;
        let is_one_of = |line: &LogLine, events: &[&str]| events.iter().any(|event| line.is(event));
        let killed = change == Change::StartedAgain;
        let soon_back = !killed && self.profile.detection() >= self.profile.interval + REPLACED_WITHIN;
        // That a resumed group is in place is told again, and that a peer that died is waited for.
        let on_a = group_events(lab, A, on_a)
            .into_iter()
            .filter(|line| !is_one_of(line, &["takeover_measured", "group_acquired"]));
        let waits = |line: &LogLine| line.is("takeover_withheld") && line.raw["reason"] == "peer_died";
        let moved = group_events(lab, B, on_b).into_iter().filter(|line| !waits(line) || soon_back);
        let missed = |line: &LogLine| soon_back && is_one_of(line, &["peer_died", "peer_dead", "channel_bad"]);
        on_a.chain(moved).chain(lab.events_since(B, on_b).into_iter().filter(missed)).collect()
    }
}

#[test]
fn an_agent_started_again_in_time_reloaded_or_upgraded_is_noticed_by_nobody() {
    undisturbed(|| {
        let profiles: &[Profile] = if is_quiet() { &[LAN, FAST, ULTRA] } else { &[CALM] };
        for profile in profiles {
            let served = Served::new(*profile);
            for change in Change::ALL {
                let mut measured = Measured::default();
                let lost: u64 =
                    (0..Run::or(2).trials).map(|number| trial(&served, change, number, &mut measured)).sum();
                measured.print(&format!("{}, {change:?}: {lost} questions unanswered", profile.name));
            }
        }
    });
}

/// Gives the number of questions that nobody answered.
fn trial(served: &Served, change: Change, number: u32, measured: &mut Measured) -> u64 {
    let Served { lab, client, both, beats, .. } = served;
    let what = format!("{}, {change:?}", served.profile.name);
    let (began, marks) = (realtime_ns(), lab.marks());
    served.change(change, number);
    let changed = realtime_ns();
    let ready = lab.wait_event_since(A, marks[0], |line| line.is("ready"), SOON).unwrap();
    assert_eq!(ready.raw["resumed"], true, "{what}: {}", story(lab));
    let paired = lab.wait_event_since(B, marks[1], |line| line.is("peer_paired"), SOON).unwrap();
    until("both agree", || {
        let all = [lab.status(A)?, lab.status(B)?];
        Ok((held(&all[0].json)[0] && all.iter().all(|status| status.code == 0)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", story(lab)));
    look_on(Duration::from_millis(300));
    let ended = client.wait_reply_after(realtime_ns(), SOON).unwrap().received_ns;
    if change == Change::Upgraded {
        served.expect_upgraded();
    }
    assert_eq!(served.noticed(change, marks), [], "{what}: {}", story(lab));
    assert_eq!(both.of(B, began, u64::MAX), Vec::<u64>::new(), "{what}: b answered: {}", story(lab));
    let ((lost, gap), silence) = (served.missed(began, ended), beats.silence(began));
    measured.add("a is ready", between(changed, ready.time_ns));
    measured.add("b hears the new life", between(changed, paired.time_ns));
    measured.add("a's longest silence on net1", silence);
    measured.add("longest time without an answer", gap);
    let (slack, late) = (Run::or(1).slack, served.lateness_of_b());
    assert!(gap <= UNNOTICED + late + slack, "{what}: no answer for {gap:?}, b late by {late:?}: {}", story(lab));
    lost
}

#[test]
fn a_peer_that_is_late_does_not_cost_an_agent_that_is_started_again_in_time_its_groups() {
    undisturbed(|| {
        // Whose kernel waits for a heartbeat for 129 ms, and whose peer for 300 ms.
        let served = Served::new(LAN);
        let Served { lab, both, .. } = &served;
        let (began, marks) = (realtime_ns(), lab.marks());
        lab.kill(A).unwrap();
        lab.wait_event_since(B, marks[1], |line| line.is("peer_died"), SOON).unwrap();
        lab.pause(B).unwrap();
        look_on(Duration::from_millis(200));
        lab.start_from(A, A, &served.program).unwrap();
        look_on(Duration::from_millis(20));
        lab.resume(B).unwrap();
        lab.wait_event_since(A, marks[0], |line| line.is("ready"), SOON).unwrap();
        wait_well(lab).unwrap();
        let given_up = lab.events_since(A, marks[0]).into_iter().find(|line| line.is("address_swept"));
        assert_eq!(given_up, None, "{}", story(lab));
        assert_eq!(served.noticed(Change::StartedAgain, marks), [], "{}", story(lab));
        assert_eq!(both.of(B, began, u64::MAX), Vec::<u64>::new(), "{}", story(lab));
    });
}
