//! Hooks, fence, checks, and what is said of wrong ones.

use super::{edited, parsed};
use crate::{
    config::{Config, EXAMPLE, HostProblem, Means, Targets, check_commands, check_host},
    core::{Hook, HookedGroups},
    types::{Nanos, Node},
};
use std::{fs, os::unix::fs::PermissionsExt};

const MS: fn(u64) -> Nanos = Nanos::from_millis;

#[test]
fn what_is_absent_has_its_default_and_what_is_there_is_read() {
    let plain = parsed("", "");
    assert_eq!((plain.fence.is_none(), plain.checks.len(), plain.groups[0].failback), (true, 0, None));
    assert!(plain.judging.isolation_by_probe && !plain.judging.wait_where_answered && !plain.groups[0].hooks.force);
    assert_eq!(plain.patience(), MS(10_000));
    let full = parsed(
        "[[group]]\n",
        "[fence]\ncommand = [\"/bin/true\", \"x\"]\nretries = 0\n[[check]]\nname = \"pool\"\ncommand = [\"/bin/true\"]\nfall = 5\n\
         weight = 7\n[[group]]\non_acquire = [\"/bin/a\"]\non_acquired = [\"/bin/d\"]\non_release = [\"/bin/b\", \"c\"]\nhook_timeout = \"2s\"\n\
         on_release_failure = \"force\"\nfailback = \"1m\"\n",
    );
    let fence = full.fence.as_ref().expect("a fence");
    let [level] = &fence.levels[..] else { panic!("{fence:?}") };
    let [device] = &level.devices[..] else { panic!("{level:?}") };
    assert_eq!(device.by, Means::Command(vec!["/bin/true".into(), "x".into()]));
    assert_eq!(
        (device.key.as_str(), device.retries, device.timeout, fence.delay),
        ("fence", 0, MS(10_000), [Nanos(0); 2])
    );
    let check = &full.checks[0];
    assert_eq!((check.interval, check.timeout, check.rise, check.fall, check.weight), (MS(5_000), MS(3_000), 2, 5, 7));
    let hooks = &full.groups[0].hooks;
    assert_eq!(hooks.on_release.as_deref(), Some(&["/bin/b".to_owned(), "c".to_owned()][..]));
    assert_eq!(
        (hooks.words(Hook::OnAcquired), hooks.words(Hook::OnReleasing)),
        (Some(&["/bin/d".to_owned()][..]), None)
    );
    assert_eq!(full.hooked(), HookedGroups { has: [1, 1, 0, 1], force: 1 });
    assert!(hooks.force && hooks.timeout == MS(2_000) && full.groups[0].failback == Some(MS(60_000)));
    assert_eq!(full.patience(), MS(16_000));
    assert_ne!(full.groups_digest(), plain.groups_digest());
}

#[test]
fn wrong_ones_are_refused_with_what_would_be_right() {
    for (before, after, expected) in [
        ("[[group]]\n", "[[group]]\non_acquire = []\n", "on_acquire = []: missing"),
        (
            "[[group]]\n",
            "[[group]]\non_acquire = [\"import\"]\n",
            "on_acquire[1] = \"import\": not usable; right would be a list",
        ),
        ("[[group]]\n", "[[group]]\non_release = \"/bin/x\"\n", "on_release = \"/bin/x\""),
        ("[[group]]\n", "[[group]]\non_releasing = [\"stop\"]\n", "on_releasing[1] = \"stop\": not usable"),
        ("[[group]]\n", "[[group]]\non_release_failure = \"kep\"\n", "did you mean \"keep\""),
        ("[[group]]\n", "[[group]]\nfailback = \"1ms\"\n", "failback = \"1ms\""),
        ("[[group]]\n", "[[group]]\nfailback = 3\n", "failback = 3"),
        ("[[group]]\n", "[[group]]\nfailback = \"auto\"\n", "failback = \"auto\": neither \"manual\" nor a duration"),
        ("[[group]]\n", "[[group]]\nhook_timeout = \"1ms\"\n", "hook_timeout"),
        ("[timing]\n", "[fence]\n[timing]\n", "fence.command: missing"),
        ("[timing]\n", "[[check]]\nname = \"p\"\n[timing]\n", "command: missing"),
        (
            "[timing]\n",
            "[[check]]\nname = \"p\"\ncommand = [\"/x\"]\n[[check]]\nname = \"p\"\ncommand = [\"/x\"]\n[timing]\n",
            "a name that no other check has",
        ),
        ("[timing]\n", "[judging]\nisolation = \"arp\"\n[timing]\n", "judging.isolation"),
        ("[timing]\n", "[judging]\nstill_answering = \"fight\"\n[timing]\n", "judging.still_answering"),
        ("[timing]\n", "[judging]\nrise = \"2h\"\n[timing]\n", "judging.rise"),
        ("[timing]\n", "[judging]\nstill_answering_for = \"10ms\"\n[timing]\n", "judging.still_answering_for"),
        ("[timing]\n", "[takeover]\nannounce_every = \"10ms\"\n[timing]\n", "takeover.announce_every"),
    ] {
        let said = Config::parse(&edited(before, after), "hb.toml").unwrap_err().to_string();
        assert!(said.contains(expected), "{after}: {said}");
    }
}

#[test]
fn a_command_that_cannot_be_run_is_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, mode) in [("good", 0o700), ("plain", 0o644)] {
        fs::write(path(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let hooks = format!("on_acquire = [\"{}\"]\non_release = [\"{}\"]\n", path("good"), path("plain"));
    let tables = format!(
        "[fence]\ncommand = [\"{}\"]\n[[check]]\nname = \"web\"\ncommand = [\"{}\"]\n[[check]]\nname = \"nfs\"\n\
         command = [\"{}/below\"]\n",
        path("missing"),
        path("."),
        path("plain"),
    );
    let text = EXAMPLE.replacen("[[group]]\n", &format!("[[group]]\n{hooks}"), 1) + "\n" + &tables;
    let config = Config::parse(&text, "example.toml").unwrap();
    let said: Vec<_> = check_commands(&config).iter().map(HostProblem::to_string).collect();
    assert_eq!(
        said,
        [
            format!(
                "fence.command = \"{}\": ENOENT: No such file or directory; put the command there, or correct its path",
                path("missing")
            ),
            format!(
                "check \"web\": command = \"{}\": not a file; right would be the path of a program or a script",
                path(".")
            ),
            format!(
                "check \"nfs\": command = \"{}/below\": ENOTDIR: Not a directory; put the command there, or correct its \
                 path",
                path("plain")
            ),
            format!(
                "group \"storage-a\": on_release = \"{0}\": mode 0644 lets nobody run it; right would be `chmod 755 {0}`",
                path("plain")
            ),
        ]
    );
    assert!(check_host(&config, Node::A).len() >= 4);
}

#[test]
fn whoever_is_found_is_probed_unless_the_file_says_whom() {
    let parsed = |probe: &str| {
        let text = edited("name = \"net1\"\n", &format!("name = \"net1\"\n{probe}\n"));
        Config::parse(&text, "hb.toml").map(|config| {
            assert_eq!(config.judged(), 0b1, "every network is judged, and no dedicated channel");
            let net1 = &config.channels[0];
            (net1.probe.clone(), net1.probe_quorum, config.core_judging().found)
        })
    };
    assert_eq!(parsed("").unwrap(), (Targets::Auto, 1, 1));
    assert_eq!(parsed("probe = \"auto\"").unwrap(), (Targets::Auto, 1, 1));
    assert_eq!(parsed("probe = \"gateway\"").unwrap(), (Targets::Gateway, 1, 0));
    assert_eq!(parsed("probe = \"none\"").unwrap(), (Targets::None, 1, 1));
    let two = "probe = [\"192.0.2.8\", \"192.0.2.9\"]\nprobe_quorum = ";
    let addresses = ["192.0.2.8", "192.0.2.9"].map(|ip| ip.parse().unwrap());
    assert_eq!(parsed(&format!("{two}2")).unwrap(), (Targets::Addresses(addresses.to_vec()), 2, 0));
    let wrong = ["probe = \"router\"", "probe_quorum = 2", "probe = []", "probe = \"auto\"\nprobe_quorum = 2"];
    for wrong in wrong.map(str::to_owned).into_iter().chain([format!("{two}3"), format!("{two}0")]) {
        assert!(parsed(&wrong).is_err(), "{wrong}");
    }
}
