//! Every way in which an agent dies or stands still while its host is well, many times over: when the peer knows, when the old
//! kernel is silent, when the new one answers. `HEARTBEAT_TRIALS=20` does 20 of each at `lan`, `fast` and `ultra`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use heartbeat_tests::scenario::{Measured, Run, ULTRA, between};

use super::*;

/// What befalls the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Stopped,
    Crashed,
    OutOfMemory,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Killed, Self::Stopped, Self::Crashed, Self::OutOfMemory];

    /// Befalls a's agent; when, on CLOCK_REALTIME.
    fn befall(self, lab: &Lab) -> u64 {
        match self {
            Self::Killed => lab.kill(A).unwrap(),
            Self::Stopped => lab.pause(A).unwrap(),
            Self::Crashed => lab.crash(A).unwrap(),
            Self::OutOfMemory => Tight::new(lab.pid(A).unwrap()).spend(lab),
        }
    }
}

/// A group of processes that has little memory, and the agent in it, which is the first to go.
struct Tight {
    folder: PathBuf,
    agent: u32,
    _quiet: Quiet,
}

/// The kernel tells of an agent that is out of memory in 100 lines; on a serial console that takes a processor for 50 ms.
struct Quiet(String);

impl Quiet {
    const LEVELS: &str = "/proc/sys/kernel/printk";

    fn new() -> Self {
        let before = fs::read_to_string(Self::LEVELS).unwrap();
        fs::write(Self::LEVELS, "1").unwrap();
        Self(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::LEVELS, &self.0) {
            eprintln!("{}: {error}", Self::LEVELS);
        }
    }
}

impl Tight {
    const BYTES: &str = "16777216";

    fn new(agent: u32) -> Self {
        let (first, second) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let (root, limit) = if first.is_dir() { (first, "memory.limit_in_bytes") } else { (second, "memory.max") };
        let folder = root.join(format!("heartbeat-test-{agent}"));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("no control group for memory, {folder:?}: {error}"));
        let tight = Self { folder, agent, _quiet: Quiet::new() };
        tight.write(limit, Self::BYTES);
        tight.write("cgroup.procs", &agent.to_string());
        fs::write(format!("/proc/{agent}/oom_score_adj"), "1000").unwrap();
        tight
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap_or_else(|error| panic!("{file} in {:?}: {error}", self.folder));
    }

    /// Somebody in the group wants more than there is, until the agent is gone; when that was seen.
    fn spend(&self, lab: &Lab) -> u64 {
        // It keeps the last line, which never ends.
        let mut tail = Command::new("tail").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        self.write("cgroup.procs", &tail.id().to_string());
        let mut input = tail.stdin.take().unwrap();
        let killed = until("the agent is out of memory", || {
            let at = realtime_ns();
            let _it_may_be_gone_too = input.write_all(&[b'x'; 1 << 20]);
            Ok(lab.exit_status(A).is_some().then_some(at))
        });
        drop(input);
        let _it_may_be_gone_too = tail.kill();
        tail.wait().unwrap();
        killed.unwrap()
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // Whoever is in it, and lives, moves out.
        if let Some(root) = self.folder.parent() {
            let _gone = fs::write(root.join("cgroup.procs"), self.agent.to_string());
        }
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("{:?}: {error}", self.folder);
        }
    }
}

#[test]
fn however_an_agent_dies_its_host_hands_over_and_never_do_both_answer() {
    undisturbed(|| {
        let quiet = heartbeat_tests::host::is_quiet();
        let profiles: &[Profile] = if quiet { &[LAN, FAST, ULTRA] } else { &[CALM] };
        for profile in profiles {
            let (lab, client) = pair(*profile, "[takeover]\nrestart_grace = \"0s\"\n");
            for fate in Fate::ALL {
                let mut measured = Measured::default();
                for _ in 0..Run::or(1).trials {
                    trial(&lab, &client, *profile, fate, &mut measured);
                }
                measured.print(&format!("{}, {fate:?}", profile.name));
            }
        }
    });
}

fn trial(lab: &Lab, client: &Both, profile: Profile, fate: Fate, measured: &mut Measured) {
    let (on_a, on_b) = (lab.mark(A), lab.mark(B));
    let at = fate.befall(lab);
    let known = if fate == Fate::Stopped { "peer_dead" } else { "peer_died" };
    let known = lab.wait_event_since(B, on_b, |line| line.is(known), SOON).unwrap();
    // Nobody else knows when it was: a signal that would leave a dump of memory takes the kernel some ms to carry out.
    let at = match fate {
        Fate::OutOfMemory | Fate::Crashed => known.time_ns - known.raw["dead_ns"].as_u64().unwrap(),
        Fate::Killed | Fate::Stopped => at,
    };
    let acquired = wait_said_of(lab, B, on_b, "group_acquired", "storage-a").unwrap();
    // There is no event for a's not answering any more.
    look_on(Duration::from_millis(200));
    let (both, nobody) = until("b answers", || Ok(client.hand_over(A, B, at))).unwrap();
    let first = client.of(B, at, u64::MAX)[0];
    let last = client.of(A, 0, first).last().copied().unwrap_or_default();
    measured.add("to the peer's knowledge", between(at, known.time_ns));
    measured.add("to the old one's last answer", between(at, last));
    measured.add("to the new one's first answer", between(at, first));
    measured.add("nobody answered", nobody);
    measured.add("both answered", both);
    assert_eq!(both, Duration::ZERO, "{} {fate:?}: both answered", profile.name);
    if fate != Fate::Stopped {
        let (took, slack) = (between(at, acquired.time_ns), Run::or(1).slack);
        assert!(took < profile.interval * 2 + slack, "{} {fate:?}: b served after {took:?}", profile.name);
    }
    go_back(lab, client, fate, on_a);
}

/// a is there again, and serves its group.
fn go_back(lab: &Lab, client: &Both, fate: Fate, on_a: heartbeat_tests::lab::Mark) {
    if fate == Fate::Stopped {
        lab.resume(A).unwrap();
        wait_said_of(lab, A, on_a, "group_released", "storage-a").unwrap();
    } else {
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
    }
    let ordered = realtime_ns();
    until("a takes its group back", || {
        let (code, said) = lab.order(A, &["takeover", "storage-a"])?;
        Ok((code == Some(0) || said.contains("already")).then_some(()))
    })
    .unwrap();
    wait_answer(client, A, ordered).unwrap();
    wait_well(lab).unwrap();
}
