//! What the packages' scripts tell systemd, and do by themselves.

use std::os::unix::fs::symlink;

use super::root::Root;
use super::*;

const RELOADED: [&str; 3] = ["--system daemon-reload", "reload heartbeat.service", "reload heartbeat@two.service"];
const STOPPED: &str = "stop heartbeat.service heartbeat@*.service";
/// By which a boot starts it.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/heartbeat.service";

/// A host with a version installed, on which two agents run.
fn installed() -> Root {
    let root = Root::new();
    root.install(Packages::of(0));
    root.active(&["heartbeat.service", "heartbeat@two.service"]);
    root.told();
    root
}

#[test]
fn an_installation_has_the_next_boot_start_the_agent_and_starts_none() {
    let root = Root::new();
    root.install(Packages::of(0));
    assert_eq!(root.done(), ["--system daemon-reload"]);
    assert!(root.path(ENABLED).is_symlink() && root.path("etc/heartbeat").is_dir());
}

#[test]
fn an_upgrade_and_a_downgrade_reload_every_agent_that_runs_and_stop_none() {
    let root = installed();
    for version in [2, 0, 1, 2] {
        root.install(Packages::of(version));
        assert_eq!(root.done(), RELOADED, "to {}", VERSIONS[version]);
    }
    root.active(&[]);
    root.install(Packages::of(0));
    assert_eq!(root.done(), ["--system daemon-reload"]);
}

#[test]
fn an_agent_that_cannot_be_reloaded_is_said_and_runs_on_and_the_others_are_reloaded() {
    let root = installed();
    root.on("reload", r#"[ "$2" != heartbeat.service ] || { echo "Job for $2 failed." >&2; exit 1; }"#);
    let said = root.install(Packages::of(2));
    assert_eq!(root.done(), RELOADED);
    assert!(
        said.contains(
            "heartbeat.service was not reloaded: the agent that ran before this version was installed runs on"
        ),
        "{said}"
    );
    assert!(!said.contains("heartbeat@two.service was not"), "{said}");
    assert_eq!(root.status(), "install ok installed");
}

#[test]
fn what_an_administrator_has_switched_off_an_upgrade_leaves_off() {
    let root = installed();
    fs::remove_file(root.path(ENABLED)).unwrap();
    root.install(Packages::of(2));
    assert!(!root.path(ENABLED).is_symlink());
}

#[test]
fn a_removal_stops_every_agent_and_a_purge_leaves_only_what_is_the_administrators() {
    let root = installed();
    fs::write(root.path("etc/heartbeat/heartbeat.toml"), "").unwrap();
    fs::create_dir_all(root.path("run/heartbeat")).unwrap();
    fs::write(root.path("run/heartbeat/lock"), "").unwrap();
    let (succeeds, said) = root.take_away("--remove");
    assert!(succeeds, "{said}");
    assert_eq!(root.done(), [STOPPED, "--system daemon-reload"]);
    assert!(!root.path("usr/bin/heartbeat").exists() && root.path("etc/needrestart/conf.d/heartbeat.conf").exists());

    let (succeeds, said) = root.take_away("--purge");
    assert!(succeeds && said.contains("/etc/heartbeat stays"), "{said}");
    assert_eq!(root.files(), [Path::new("etc/heartbeat/heartbeat.toml")]);
    assert_eq!(root.status(), "not there");
}

#[test]
fn a_host_that_nobody_wrote_a_file_on_is_as_before_after_a_purge() {
    let root = Root::new();
    let before = root.files();
    root.install(Packages::of(0));
    assert!(root.files().len() > 40);
    assert!(root.take_away("--purge").0);
    assert_eq!(root.files(), before);
    assert!(!root.path("etc/heartbeat").exists());
}

#[test]
fn without_systemd_nothing_is_told_to_it() {
    let root = Root::new();
    fs::remove_dir(root.path("run/systemd/system")).unwrap();
    root.install(Packages::of(0));
    root.install(Packages::of(2));
    assert!(root.take_away("--remove").0);
    assert_eq!(root.told(), Vec::<String>::new());
}

#[test]
fn a_removal_is_refused_where_what_an_agent_holds_cannot_be_let_go_of() {
    let root = installed();
    // Not a folder that could be an agent's: others may write there.
    fs::create_dir_all(root.path("run/heartbeat")).unwrap();
    fs::write(root.path("run/heartbeat/lock"), "").unwrap();
    run(Command::new("chmod").arg("777").arg(root.path("run/heartbeat")));
    let (succeeds, said) = root.take_away("--remove");
    assert!(!succeeds && said.contains("not removed: stop that agent, or mend what is said above"), "{said}");
    assert!(said.contains("it stays, and its agents are stopped"), "{said}");
    assert_eq!(root.status(), "deinstall ok installed");
    assert!(root.path("usr/bin/heartbeat").exists());
}

/// A folder of somebody else's that is named alike.
#[test]
fn folders_of_others_are_left_alone() {
    let root = installed();
    fs::create_dir_all(root.path("run/heartbeat-of-others")).unwrap();
    symlink("/nowhere", root.path("run/heartbeat-of-others/socket")).unwrap();
    assert!(root.take_away("--purge").0);
    assert_eq!(root.files(), [Path::new("run/heartbeat-of-others/socket")]);
}
