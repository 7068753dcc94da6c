//! The host's watchdog and systemd's. This kernel has no watchdog driver: the device is a file of FUSE that takes the same calls.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, Options, binary};
use heartbeat_tests::scenario::{SOON, Scripts, reload_with, settled, show, story, until, wait_said};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fuse_watchdog::{FuseWatchdog, State};

/// The least that the agent takes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A pair of which a has the watchdog: both name the same device, and a is started first.
fn watched(hooks: &[(&str, &str)]) -> (Lab, Config, FuseWatchdog) {
    let lab = Lab::new(Options::default()).unwrap();
    let device = FuseWatchdog::new(&lab.folder().join("dev"));
    let mut config = Config::usual();
    Scripts::of(&lab).unwrap().hooks(&mut config, hooks).unwrap();
    config.extra = format!("[watchdog]\ndevice = \"{}\"\ntimeout = \"2s\"\n", device.path().display());
    lab.configure(&config).unwrap();
    lab.start(A).unwrap();
    let runs = lab.wait_event(A, |line| line.is("watchdog_runs"), SOON).unwrap();
    assert_eq!((&runs.raw["timeout_ns"], &runs.raw["adopted"]), (&2_000_000_000_u64.into(), &false.into()), "{runs:?}");
    lab.start(B).unwrap();
    (lab, config, device)
}

fn seen(lab: &Lab, device: &FuseWatchdog, what: &str, is: impl Fn(&State) -> bool) -> State {
    let state = until(what, || Ok(Some(device.state()).filter(&is)));
    state.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", device.state(), story(lab)))
}

#[test]
fn it_is_fed_across_reloads_and_stopped_by_an_agent_that_ends_with_nothing_held() {
    undisturbed(|| {
        let (lab, config, device) = watched(&[]);
        let missing = lab.wait_event(B, |line| line.is("watchdog_missing"), SOON).unwrap();
        assert!(missing.raw["why"].as_str().unwrap().starts_with("another program has it"), "{missing:?}");
        settled(&lab, &config).unwrap();
        for _ in 0..3 {
            let [mark, _] = lab.marks();
            reload_with(&lab, A, &config).unwrap();
            assert_eq!(wait_said(&lab, A, mark, "watchdog_runs").unwrap().raw["adopted"], true);
        }
        let begun = device.state().fed;
        thread::sleep(2 * TIMEOUT);
        let state = device.state();
        assert_eq!((state.struck, state.runs, state.opened, state.timeout), (false, true, 1, 2), "{state:?}");
        // Every half second, and nothing like every heartbeat.
        assert!((6..=10).contains(&(state.fed - begun)), "{begun} {state:?}");
        lab.stop(A).unwrap();
        let state = device.state();
        assert_eq!((state.struck, state.runs, state.is_open), (false, false, false), "{state:?}");
        show(&format!("three reloads, a stop: opened once, fed {} times, never late", state.fed));
    });
}

#[test]
fn a_dead_agent_feeds_nobody_and_one_that_is_back_in_time_does() {
    undisturbed(|| {
        let (lab, config, device) = watched(&[]);
        settled(&lab, &config).unwrap();
        lab.kill(A).unwrap();
        let state = device.state();
        assert_eq!((state.runs, state.is_open, state.struck), (true, false, false), "{state:?}");
        lab.start(A).unwrap();
        let state = seen(&lab, &device, "it is opened again", |state| state.is_open);
        assert_eq!((state.opened, state.struck), (2, false), "{state:?}");
        thread::sleep(TIMEOUT);
        assert!(!device.state().struck, "{:?}", device.state());
        let killed = Instant::now();
        lab.kill(A).unwrap();
        seen(&lab, &device, "the host is reset", |state| state.struck);
        show(&format!("a killed agent's host is reset after {:.2} s of 2 s", killed.elapsed().as_secs_f64()));
        assert!(killed.elapsed() < TIMEOUT + Duration::from_millis(600));
    });
}

#[test]
fn an_agent_that_stands_still_is_not_fed_for() {
    undisturbed(|| {
        let (lab, config, device) = watched(&[]);
        settled(&lab, &config).unwrap();
        lab.pause(A).unwrap();
        seen(&lab, &device, "the host is reset", |state| state.struck);
        lab.resume(A).unwrap();
    });
}

#[test]
fn one_that_ends_with_something_held_leaves_it_running_and_says_so() {
    undisturbed(|| {
        let (lab, config, device) = watched(&[("on_release", "exit 1")]);
        settled(&lab, &config).unwrap();
        let [mark, _] = lab.marks();
        lab.stop(A).unwrap();
        wait_said(&lab, A, mark, "watchdog_left").unwrap();
        let state = device.state();
        assert_eq!((state.runs, state.is_open), (true, false), "{state:?}");
        seen(&lab, &device, "the host is reset", |state| state.struck);
    });
}

#[test]
fn systemd_is_told_when_the_agent_is_ready_reloads_and_stops_and_is_fed_as_often_as_it_wants() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        lab.configure(&Config::usual()).unwrap();
        let socket = lab.folder().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        systemd.set_read_timeout(Some(SOON)).unwrap();
        let mut agent = Command::new(binary().unwrap());
        agent
            .arg("run")
            .arg("--config")
            .arg(lab.config_file(A))
            .args(["--node", "a", "--runtime-dir"])
            .arg(lab.runtime_dir(A));
        agent.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000").stdout(Stdio::null()).stderr(Stdio::null());
        let mut agent = lab.controller(A).unwrap().spawn(agent).unwrap();
        let pid = Pid::from_raw(i32::try_from(agent.id()).unwrap());
        let next = || {
            let mut text = [0; 256];
            let len =
                systemd.recv(&mut text).unwrap_or_else(|error| panic!("nothing is said: {error}\n{}", story(&lab)));
            String::from_utf8(text[..len].to_vec()).unwrap()
        };
        let until_said = |what: &str| while !next().contains(what) {};
        until_said("READY=1");
        // Nobody runs on b.
        until_said("STATUS=UNKNOWN: ");
        let fed = |least: u32| {
            let (begun, mut times) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_secs(2) {
                times += u32::from(next().contains("WATCHDOG=1"));
            }
            // Four times within each 400 ms: 20 are due, and some may have waited for us.
            assert!((least..=24).contains(&times), "{times}");
        };
        fed(18);
        kill(pid, Signal::SIGHUP).unwrap();
        until_said("RELOADING=1\nMONOTONIC_USEC=");
        until_said("READY=1");
        fed(18);
        kill(pid, Signal::SIGTERM).unwrap();
        until_said("STOPPING=1");
        assert!(until("it ends", || Ok(agent.try_wait()?)).unwrap().success());
    });
}
