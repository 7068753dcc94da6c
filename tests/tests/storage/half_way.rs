//! What was begun and has not ended: nothing of its group is done, and nothing of it counts as released, before it is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, LogLine, Options, realtime_ns};
use heartbeat_tests::scenario::{
    Client, NOTICED, SOON, Scripts, holders, running, service, stays, story, until, wait_said,
};

use super::stuck_file::StuckFile;

/// The first time, what it begins goes on by itself, in a session of its own, until it is told to end, and is in use then.
const ACQUIRE: (&str, &str) = (
    "on_acquire",
    "test ! -e pid || { echo acquire again >> log; exit 0; }\n\
     setsid sh -c 'echo $$ > new; mv new pid; until test -e go; do sleep 0.05; done; touch mounted' &\n\
     wait",
);
/// Says whether that is still there.
const RELEASE: (&str, &str) = (
    "on_release",
    "if grep -qs ') [^ZX] ' /proc/$(cat pid)/stat; then echo release, and it lives; else echo release; fi >> log",
);

fn wait_log(lab: &Lab, scripts: &Scripts, says: &str) {
    until(&format!("the log says {says:?}"), || Ok(scripts.read("log").contains(says).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", scripts.read("log"), story(lab)));
}

/// What a line says that is no event.
fn message(line: &LogLine) -> &str {
    line.raw["message"].as_str().unwrap_or_default()
}

/// A pair of which b does not run, so that all is a's to have; a's hook is half-way.
fn half_way() -> (Lab, Scripts) {
    let lab = Lab::new(Options::default()).unwrap();
    let scripts = Scripts::of(&lab).unwrap();
    let mut config = Config::usual();
    scripts.hooks(&mut config, &[ACQUIRE, RELEASE]).unwrap();
    lab.configure(&config).unwrap();
    lab.start(A).unwrap();
    until("it is half-way", || Ok(scripts.has("pid").then_some(()))).unwrap();
    (lab, scripts)
}

#[test]
fn what_an_agent_that_was_killed_had_begun_is_gone_before_the_next_one_lets_go_of_its_group() {
    undisturbed(|| {
        let (lab, scripts) = half_way();
        lab.kill(A).unwrap();
        lab.start(A).unwrap();
        wait_log(&lab, &scripts, "release\n");
        let ended = lab.wait_event(A, |line| message(line).contains("left half-way"), SOON).unwrap();
        assert!(message(&ended).contains(scripts.read("pid").trim()), "{ended:?}");
        // What a hook that has ended left running, it left on purpose.
        wait_log(&lab, &scripts, "acquire again\n");
        scripts.touch("go").unwrap();
        lab.wait_event(A, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        assert_eq!((scripts.read("log").as_str(), scripts.has("mounted")), ("release\nacquire again\n", false));
        assert!(!lab.runtime_dir(A).join("runs.json").exists());
    });
}

#[test]
fn what_a_dead_agent_had_begun_is_gone_before_it_is_let_go_of_by_hand_or_by_one_that_cannot_start() {
    undisturbed(|| {
        let (lab, scripts) = half_way();
        lab.kill(A).unwrap();
        lab.configure_text(A, "[pair]\nid = \"seven\"\n").unwrap();
        lab.start(A).unwrap();
        assert_eq!(lab.wait_exit(A, SOON).unwrap().code(), Some(1));
        assert_eq!(scripts.read("log"), "release\n", "{}", story(&lab));
        scripts.touch("go").unwrap();
        assert!(!scripts.has("mounted") && !lab.runtime_dir(A).join("runs.json").exists());
    });
}

#[test]
fn what_hangs_on_a_disk_has_not_ended_when_its_time_is_over() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let (scripts, stuck) = (Scripts::of(&lab).unwrap(), StuckFile::new(&lab.folder().join("stuck")));
        // On a, something below it opens a file on a disk that does not answer.
        let hangs = format!(
            "echo acquire $HEARTBEAT_NODE >> log\ntest $HEARTBEAT_NODE = b || {{ cat {} & wait; }}",
            stuck.path().display()
        );
        let mut config = Config::usual();
        let release = ("on_release", "echo release $HEARTBEAT_NODE >> log");
        scripts.hooks(&mut config, &[("on_acquire", &hangs), release]).unwrap();
        config.groups[0].extra += "hook_timeout = \"1s\"\n";
        lab.configure(&config).unwrap();
        lab.start_both().unwrap();
        until("it waits for the disk", || Ok((stuck.waiting() == 1).then_some(()))).unwrap();
        let said = lab.wait_event(A, |line| message(line).contains("killed, and not gone before"), SOON);
        let said = said.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        assert!(message(&said).contains(" (cat)"), "{said:?}");
        assert_eq!((scripts.read("log").as_str(), holders(&lab, service(1)).unwrap()), ("acquire a\n", vec![]));
        stuck.answer();
        wait_log(&lab, &scripts, "acquire a\nrelease a\n");
    });
}

#[test]
fn a_check_that_hangs_on_a_disk_fails_and_is_not_run_beside_itself() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let (scripts, stuck) = (Scripts::of(&lab).unwrap(), StuckFile::new(&lab.folder().join("stuck")));
        let check = format!("test ! -e hang || exec cat {}", stuck.path().display());
        let check = scripts.write("check", &check).unwrap();
        let mut config = Config::usual();
        config.extra = format!(
            "[[check]]\nname = \"disk\"\ncommand = {check}\ninterval = \"300ms\"\ntimeout = \"200ms\"\nfall = 3\n"
        );
        lab.configure(&config).unwrap();
        lab.start_both().unwrap();
        let changed = |healthy: bool| {
            let wanted = |line: &LogLine| line.is("check_changed") && line.raw["healthy"] == healthy;
            lab.wait_event(A, wanted, SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)))
        };
        changed(true);
        scripts.touch("hang").unwrap();
        assert_eq!(changed(false).raw["how"], "did not end within 200ms");
        until("one of each controller waits", || Ok((stuck.waiting() == 2).then_some(()))).unwrap();
    });
}

#[test]
fn a_reload_whose_file_is_on_a_disk_that_does_not_answer_is_refused_and_nothing_moves() {
    undisturbed(|| {
        let config = Config::usual();
        let lab = running(&config).unwrap();
        let stuck = StuckFile::new(&lab.folder().join("stuck"));
        let client = Client::start(&lab, 1, service(1)).unwrap();
        let (file, before, began) = (lab.config_file(A), lab.marks(), realtime_ns());
        let served = [(service(1), A), (service(2), B)];
        let refused = |mark, says: &str| {
            let refused = wait_said(&lab, A, mark, "reload_refused").unwrap();
            let why = refused.raw["why"].as_str().unwrap();
            assert!(why.starts_with(file.to_str().unwrap()) && why.contains(says), "{why}");
        };
        fs::remove_file(&file).unwrap();
        symlink(stuck.path(), &file).unwrap();
        lab.reload(A).unwrap();
        until("it waits for the disk", || Ok((stuck.waiting() == 1).then_some(()))).unwrap();
        stays(&lab, &served, Duration::from_secs(4), before).unwrap();
        refused(before[0], "was not read within 5s");
        // What waits goes on waiting, and nothing waits beside it.
        let again = lab.mark(A);
        lab.reload(A).unwrap();
        refused(again, "is still being read");
        assert_eq!(stuck.waiting(), 1);
        stuck.answer();
        fs::remove_file(&file).unwrap();
        lab.configure_one(A, &config).unwrap();
        // No event says when what waited is gone.
        let mark = until("the right file is read", || {
            let mark = lab.mark(A);
            lab.reload(A)?;
            let judged = |line: &LogLine| line.is("restarting") || line.is("reload_refused");
            Ok(lab.wait_event_since(A, mark, judged, SOON)?.is("restarting").then_some(mark))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        wait_said(&lab, A, mark, "ready").unwrap();
        stays(&lab, &served, Duration::from_millis(500), before).unwrap();
        client.noticed_less_than(&lab, "a reload whose file is on a disk that hangs", began, NOTICED).unwrap();
    });
}
