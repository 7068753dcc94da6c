//! Fence agents as they are: those of Debian's package `fence-agents`, and one by their library that powers hosts of the lab off.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, LogLine, Mark, Node, control};
use heartbeat_tests::scenario::{
    SOON, Scripts, holders, look_on, lose_heartbeats, service, settled, show, started, story, until, wait_said,
};

/// Two attempts of an agent that answers take less.
const FENCED: Duration = Duration::from_secs(30);
/// Nobody is to find it anywhere.
const SECRET: &str = "hunter2-is-known";

/// What the lab was told to do, in order.
type Orders = Arc<Mutex<Vec<String>>>;

/// The lab's own agent, and the options of it that are both controllers'.
fn lab_agent(lab: &Lab) -> (String, String) {
    let scripts = Scripts::of(lab).unwrap();
    scripts.touch("fence_lab").unwrap();
    let path = scripts.path("fence_lab");
    fs::write(&path, include_str!("fence_lab.py")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let control = lab.folder().join("control");
    let options = format!("control = \"{}\", hosts = \"/run/netns/{}-\"", control.display(), lab.id());
    (path.display().to_string(), options)
}

/// From now on the lab does what its agent asks for.
fn powered(lab: Lab) -> (Arc<Lab>, control::Server, Orders) {
    let (lab, orders) = (Arc::new(lab), Orders::default());
    let noted = Arc::clone(&orders);
    let note = move |order: &str, _: &str| noted.lock().unwrap().push(order.to_owned());
    let server = control::Server::start(Arc::clone(&lab), note).unwrap();
    (lab, server, orders)
}

fn fence_ran(lab: &Lab, node: Node, mark: Mark) -> LogLine {
    let ran = lab.wait_event_since(node, mark, |line| line.is("fence_ran"), FENCED);
    ran.unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)))
}

fn serves_all(lab: &Lab, node: Node) {
    until("it has both groups", || {
        Ok([1, 2].iter().all(|n| holders(lab, service(*n)).unwrap() == [node]).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
}

#[test]
fn of_two_that_would_shoot_each_other_one_survives_and_the_one_that_comes_back_does_not_shoot() {
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            let (agent, options) = lab_agent(lab);
            // a waits as well, so that b aims before it is shot.
            config.extra = format!(
                "[fence]\nagent = \"{agent}\"\noptions = {{ {options}, password = \"{SECRET}\", verbose = true }}\na = {{ plug = \"a\" }}\n\
                 b = {{ plug = \"b\" }}\ndelay = {{ a = \"1s\", b = \"4s\" }}\n"
            );
        }).unwrap();
        settled(&lab, &config).unwrap();
        let (lab, _server, orders) = powered(lab);
        let before = lab.marks();
        lose_heartbeats(&lab, true).unwrap();
        for (node, mark) in [A, B].into_iter().zip(before) {
            wait_said(&lab, node, mark, "fencing").unwrap();
        }
        let ran = fence_ran(&lab, A, before[0]);
        assert_eq!(
            (&ran.raw["succeeded"], &ran.raw["how"]),
            (&true.into(), &"ended with 0, and says that it is off".into()),
            "{ran:?}"
        );
        show(&format!(
            "both would shoot: a switched b off within {} ms",
            ran.raw["took_ns"].as_u64().unwrap() / 1_000_000
        ));
        serves_all(&lab, A);
        assert!(lab.controller(B).is_err(), "{}", story(&lab));
        // It comes back to a network that works.
        lose_heartbeats(&lab, false).unwrap();
        let [mark, _] = lab.marks();
        lab.power_on(B).unwrap();
        lab.start(B).unwrap();
        wait_said(&lab, A, mark, "peer_good").unwrap();
        // Longer than b waits before it shoots.
        look_on(Duration::from_secs(6));
        serves_all(&lab, A);
        assert_eq!(*orders.lock().unwrap(), ["power-off b"], "{}", story(&lab));
        for node in ["a", "b"] {
            let log = fs::read_to_string(lab.folder().join(format!("{node}.log"))).unwrap();
            assert!(!log.contains(SECRET), "the log of {node} has the secret");
        }
    });
}

/// Debian's own agent for tests, whose outlets are files.
fn dummy(config: &mut Config, scripts: &Scripts, more: &str) {
    let file = |node: &str| {
        fs::write(scripts.path(&format!("power-{node}")), "on").unwrap();
        format!("{node} = {{ status_file = \"{}\" }}\n", scripts.path(&format!("power-{node}")).display())
    };
    config.extra += &format!("agent = \"fence_dummy\"\n{}{}{more}", file("a"), file("b"));
}

#[test]
fn an_agent_of_the_package_switches_a_dead_peer_off_where_others_hang_or_are_missing() {
    assert!(Path::new("/usr/sbin/fence_dummy").exists(), "fence_dummy is needed: apt-get install fence-agents");
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            let scripts = Scripts::of(lab).unwrap();
            let hangs = scripts.write("fence_hangs", "cat > told; sleep 1000 & echo $! > child; wait").unwrap();
            let hangs = hangs.trim_matches(['[', ']']);
            let two = "a = { plug = 1 }\nb = { plug = 2 }\nretries = 0\n";
            config.extra = format!(
                "[fence]\nstatus_every = \"never\"\n[[fence.level]]\nagent = \"fence_of_nobody\"\n{two}\
                 [[fence.level]]\nagent = {hangs}\ntimeout = \"700ms\"\n{two}[[fence.level]]\n"
            );
            dummy(config, &scripts, "timeout = \"20s\"\n");
        })
        .unwrap();
        settled(&lab, &config).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        let unfit =
            lab.wait_event(A, |line| line.is("fence_unfit") && line.raw["level"] == "fence.level[1]", SOON).unwrap();
        assert!(
            unfit.raw["why"]
                .as_str()
                .unwrap()
                .starts_with("asked what it can do, it could not be started: there is no"),
            "{unfit:?}"
        );
        let [before, _] = lab.marks();
        lab.power_off(B).unwrap();
        let ran = lab.wait_event_since(A, before, |line| line.is("fence_ran") && line.raw["succeeded"] == true, FENCED);
        let ran = ran.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert_eq!((&ran.raw["level"], &ran.raw["by"]), (&"fence.level[3]".into(), &"fence_dummy".into()), "{ran:?}");
        assert!(!holders(&lab, service(2)).unwrap().contains(&A) || scripts.read("power-b") == "off");
        serves_all(&lab, A);
        assert_eq!((scripts.read("power-a").as_str(), scripts.read("power-b").as_str()), ("on", "off"));
        let all = lab.events_since(A, before);
        let levels: Vec<_> = all
            .iter()
            .filter(|line| line.is("fence_ran"))
            .map(|line| line.raw["how"].as_str().unwrap().to_owned())
            .collect();
        assert!(
            levels[0].contains("there is no fence_of_nobody in") && levels[1] == "did not end within 700ms",
            "{levels:?}"
        );
        let child = Path::new("/proc").join(scripts.read("child").trim()).join("stat");
        // Whoever it was left to may not have looked yet.
        let runs = fs::read_to_string(child).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!runs, "what hung left a child that runs");
        show(&format!(
            "a missing agent, one that hangs for 700 ms, fence_dummy: {} ms for the last",
            ran.raw["took_ns"].as_u64().unwrap() / 1_000_000
        ));
    });
}

#[test]
fn a_host_with_two_power_supplies_is_off_when_both_outlets_are_and_not_before() {
    assert!(Path::new("/usr/sbin/fence_dummy").exists(), "fence_dummy is needed: apt-get install fence-agents");
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            let scripts = Scripts::of(lab).unwrap();
            let outlet = |supply: u32, node: &str| {
                let file = scripts.path(&format!("power-{node}-{supply}"));
                fs::write(&file, "on").unwrap();
                file.display().to_string()
            };
            config.extra = "[fence]\nstatus_every = \"never\"\n[[fence.level]]\n".to_owned();
            for supply in [1, 2] {
                let [a, b] = ["a", "b"].map(|node| outlet(supply, node));
                config.extra += &format!(
                    "[[fence.level.device]]\nagent = \"fence_dummy\"\ntimeout = \"20s\"\nretries = 0\na = {{ status_file = \"{a}\" }}\n\
                     b = {{ status_file = \"{b}\" }}\n"
                );
            }
        }).unwrap();
        settled(&lab, &config).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        // The second outlet does not obey.
        fs::write(scripts.path("power-b-2"), "smoke").unwrap();
        let [before, _] = lab.marks();
        lab.power_off(B).unwrap();
        let ran = fence_ran(&lab, A, before);
        assert_eq!(
            (&ran.raw["level"], &ran.raw["succeeded"]),
            (&"fence.level[1].device[2]".into(), &false.into()),
            "{ran:?}"
        );
        assert!(ran.raw["how"].as_str().unwrap().ends_with("; those before it in its level did succeed"), "{ran:?}");
        let withheld = wait_said(&lab, A, before, "takeover_withheld").unwrap();
        assert_eq!(withheld.raw["reason"], "not_fenced", "{withheld:?}");
        assert_eq!((scripts.read("power-b-1").as_str(), holders(&lab, service(2)).unwrap()), ("off", vec![]));
        // Now it does.
        let [before, _] = lab.marks();
        fs::write(scripts.path("power-b-2"), "on").unwrap();
        let ran = fence_ran(&lab, A, before);
        assert_eq!((&ran.raw["level"], &ran.raw["succeeded"]), (&"fence.level[1]".into(), &true.into()), "{ran:?}");
        assert_eq!(ran.raw["by"], "fence_dummy and fence_dummy", "{ran:?}");
        serves_all(&lab, A);
        let power = ["a-1", "a-2", "b-1", "b-2"].map(|outlet| scripts.read(&format!("power-{outlet}")));
        assert_eq!(power, ["on", "on", "off", "off"]);
    });
}

#[test]
fn nothing_is_taken_by_the_word_of_an_agent_that_lies() {
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            let scripts = Scripts::of(lab).unwrap();
            let lies = scripts.write("fence_lies", "grep -q action=metadata && exit 1; exit 0").unwrap();
            config.extra = format!(
                "[fence]\nagent = {}\na = {{ plug = 1 }}\nb = {{ plug = 2 }}\nretries = 0\ntimeout = \"1s\"\n",
                lies.trim_matches(['[', ']'])
            );
        })
        .unwrap();
        settled(&lab, &config).unwrap();
        let [before, _] = lab.marks();
        lab.power_off(B).unwrap();
        let ran = fence_ran(&lab, A, before);
        assert_eq!(
            (&ran.raw["succeeded"], &ran.raw["how"]),
            (&false.into(), &"ended with 0, and says all the same that it is on".into())
        );
        let withheld = wait_said(&lab, A, before, "takeover_withheld").unwrap();
        assert_eq!(withheld.raw["reason"], "not_fenced", "{withheld:?}");
        assert_eq!(holders(&lab, service(2)).unwrap(), [], "{}", story(&lab));
    });
}

#[test]
fn a_device_that_does_not_answer_is_an_event_before_it_is_needed_and_so_is_one_that_is_somebody_elses() {
    undisturbed(|| {
        let (lab, config) = started(|lab, config| {
            config.extra = "[fence]\nstatus_every = \"1s\"\npause = \"10ms\"\n".to_owned();
            dummy(config, &Scripts::of(lab).unwrap(), "");
        })
        .unwrap();
        settled(&lab, &config).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        let [_, begin] = lab.marks();
        let told = |mark: Mark, answers: bool| {
            let of_device = |line: &LogLine| line.is("fence_device") && line.raw["answers"] == answers;
            lab.wait_event_since(A, mark, of_device, SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)))
        };
        for (says, why) in [
            ("smoke", "asked whether the peer has power, it ended with 1"),
            ("off", "says that the peer is off, and the peer is heard"),
        ] {
            let [mark, _] = lab.marks();
            fs::write(scripts.path("power-b"), says).unwrap();
            let event = told(mark, false);
            assert!(event.raw["how"].as_str().unwrap().contains(why), "{event:?}");
            let [mark, _] = lab.marks();
            fs::write(scripts.path("power-b"), "on").unwrap();
            told(mark, true);
        }
        assert!(!lab.events_since(B, begin).iter().any(|line| line.is("fence_device")), "{}", story(&lab));
    });
}
