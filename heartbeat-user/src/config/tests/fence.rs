//! `[fence]`: its levels, and that nothing ever repeats a secret.

use super::{BASE, edited};
use crate::config::{Config, ConfigError, Means};
use crate::core::{Nanos, Node};
use std::{fs, os::unix::fs::PermissionsExt};

const MS: fn(u64) -> Nanos = Nanos::from_millis;
const SECRET: &str = "hunter2-is-known";

fn with(fence: &str) -> Result<Config, ConfigError> {
    Config::parse(&edited("[timing]\n", &format!("{fence}\n[timing]\n")), "hb.toml")
}

fn refused(fence: &str) -> String {
    with(fence).expect_err(fence).to_string()
}

/// An agent that knows everything by heart.
fn agent(more: &str) -> String {
    format!(
        "[fence]\nagent = \"fence_ipmilan\"\noptions = {{ username = \"u\", password = \"{SECRET}\", lanplus = true, power_wait = 4 }}\n\
         a = {{ ip = \"192.0.2.101\" }}\nb = {{ ip = \"192.0.2.102\", power_wait = 5 }}\n{more}"
    )
}

#[test]
fn an_agent_is_told_its_options_and_those_of_whoever_is_switched_off() {
    let fence = with(&agent("")).unwrap().fence.unwrap();
    assert_eq!((fence.status_every, fence.delay), (Some(MS(300_000)), [Nanos(0); 2]));
    let [level] = &fence.levels[..] else { panic!("{fence:?}") };
    assert_eq!(
        (level.key.as_str(), level.runs(), level.timeout, level.retries),
        ("fence", "fence_ipmilan", MS(60_000), 2)
    );
    let Means::Agent { options, .. } = &level.by else { panic!("{level:?}") };
    let told = options
        .each_ref()
        .map(|options| options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
    let common = ["lanplus=1", &format!("password={SECRET}")];
    assert_eq!(told[0], ["ip=192.0.2.101", common[0], common[1], "power_wait=4", "username=u"]);
    assert_eq!(told[1], ["ip=192.0.2.102", common[0], common[1], "power_wait=5", "username=u"]);
}

#[test]
fn levels_stand_in_their_order_and_all_that_they_may_take_is_waited_for() {
    let text = "[fence]\nstatus_every = \"never\"\ndelay = { b = \"5s\" }\n[[fence.level]]\nagent = \"/opt/fence_x\"\n\
                a = { plug = 1 }\nb = { plug = 2 }\ntimeout = \"20s\"\nretries = 1\npause = \"2s\"\n[[fence.level]]\n\
                command = [\"/bin/off\"]\nretries = 0\n";
    let fence = with(text).unwrap().fence.unwrap();
    let keys: Vec<_> = fence.levels.iter().map(|level| (level.key.as_str(), level.runs())).collect();
    assert_eq!(keys, [("fence.level[1]", "/opt/fence_x"), ("fence.level[2]", "/bin/off")]);
    assert_eq!((fence.status_every, fence.delay), (None, [Nanos(0), MS(5_000)]));
    // Twice 20.5 s and a pause; then once 10.5 s; and 5 s for whoever runs it. b waits 5 s before all that.
    assert_eq!([Node::A, Node::B].map(|node| fence.within(node)), [MS(58_500), MS(63_500)]);
}

#[test]
fn wrong_ones_are_refused_with_what_would_be_right() {
    let two = "a = { plug = 1 }\nb = { plug = 2 }\n";
    for (text, expected) in [
        ("[fence]\n".to_owned(), "fence.command: missing; right would be a command in words, or the name of an agent"),
        (
            "[fence]\nagent = \"../x\"\n".to_owned(),
            "fence.agent = \"../x\": not usable; right would be the name of a fence agent",
        ),
        (
            "[fence]\nagent = \"fence_x\"\noptions = { ip = \"::1\" }\n".to_owned(),
            "fence.a: missing; right would be a = { .. } and b",
        ),
        (
            format!("[fence]\nagent = \"x\"\ncommand = [\"/x\"]\n{two}"),
            "fence.command: has no place here; right would be in a level",
        ),
        (
            "[fence]\ncommand = [\"/x\"]\na = { plug = 1 }\n".to_owned(),
            "fence.a: has no place here; right would be beside `agent`",
        ),
        (
            "[fence]\ntimeout = \"1s\"\n[[fence.level]]\ncommand = [\"/x\"]\n".to_owned(),
            "fence.timeout: has no place here; right would",
        ),
        (
            format!("[fence]\nagent = \"x\"\noptions = {{ action = \"on\" }}\n{two}"),
            "fence.options.action: has no place here",
        ),
        (
            format!("[fence]\nagent = \"x\"\noptions = {{ \"a b\" = 1 }}\n{two}"),
            "fence.options.a b: not usable; right would be the name",
        ),
        (
            format!("[fence]\nagent = \"x\"\nstatus_every = \"1ms\"\n{two}"),
            "fence.status_every = \"1ms\": out of range",
        ),
        (
            format!("[fence]\nagent = \"x\"\ndelay = \"5s\"\n{two}"),
            "fence.delay = \"5s\": is a text; right would be a table",
        ),
        (format!("[fence]\nagent = \"x\"\ndelay = {{ b = \"1h\" }}\n{two}"), "fence.delay.b = \"1h\": out of range"),
        ("[[fence.level]]\ncommand = [\"/x\"]\n[[fence.level]]\n".to_owned(), "fence.level[2].command: missing"),
        ("[[fence.level]]\ncommand = [\"/x\"]\n".repeat(9), "fence.level: too many: at most 8 levels"),
    ] {
        let said = refused(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn no_message_repeats_an_option() {
    let two = "a = { plug = 1 }\nb = { plug = 2 }\n";
    let wrong = [
        format!("[fence]\nagent = \"x\"\noptions = \"password={SECRET}\"\n{two}"),
        format!("[fence]\nagent = \"x\"\noptions = {{ password = [\"{SECRET}\"] }}\n{two}"),
        format!("[fence]\nagent = \"x\"\noptions = {{ password = \"{SECRET}\\n\" }}\n{two}"),
        format!("[fence]\nagent = \"x\"\na = {{ password = \"{SECRET}\" }}\nb = {{ password = \"{SECRET}\" }}\n"),
        format!("[fence]\ncommand = [\"/x\"]\noptions = {{ password = \"{SECRET}\" }}\n"),
        // No TOML.
        format!("[fence]\nagent = \"x\"\n{two}[fence.options]\npassword = \"{SECRET}\n"),
        format!("[fence]\nagent = \"x\"\noptions = {{ password = \"{SECRET}\" ip }}\n{two}"),
        format!("[[ fence.level ]]\noptions.password = {SECRET}\n"),
    ];
    for text in wrong {
        let said = refused(&text);
        assert!(!said.contains("hunter2"), "{text}: {said}");
    }
    let said = Config::parse(&format!("fence.options.password = {SECRET}\n{BASE}"), "hb.toml").unwrap_err().to_string();
    assert!(said.contains("fence.options.password") && !said.contains("hunter2"), "{said}");
    let config = with(&agent("")).unwrap();
    for shown in [format!("{config:?}"), format!("{config:#?}"), serde_json::to_string(&config).unwrap()] {
        assert!(shown.contains("password") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_file_with_a_secret_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heartbeat.toml");
    let loaded = |text: &str, mode: u32| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&file).map(drop).map_err(|error| error.to_string())
    };
    let secret = edited("[timing]\n", &format!("{}[timing]\n", agent("")));
    assert_eq!(loaded(&secret, 0o600), Ok(()));
    for mode in [0o640, 0o604] {
        let said = loaded(&secret, mode).unwrap_err();
        assert!(said.contains("lets others than its owner read fence: password; right would be `chmod 600 "), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let by_script = secret.replace("password = ", "password_script = ");
    assert_eq!(loaded(&by_script, 0o644), Ok(()));
    assert_eq!(loaded(BASE, 0o644), Ok(()));
}

#[test]
fn a_watchdog_has_a_device_and_whole_seconds() {
    let watchdog = |text: &str| with(&format!("[watchdog]\n{text}")).map(|config| config.watchdog.unwrap());
    let plain = watchdog("device = \"/dev/watchdog\"\n").unwrap();
    assert_eq!((plain.device.to_str(), plain.timeout), (Some("/dev/watchdog"), MS(10_000)));
    assert_eq!(watchdog("device = \"/dev/watchdog0\"\ntimeout = \"1m\"\n").unwrap().timeout, MS(60_000));
    for (text, expected) in [
        ("", "watchdog.device: missing; right would be the absolute path of the host's watchdog device"),
        ("device = \"watchdog\"\n", "watchdog.device = \"watchdog\": not usable"),
        (
            "device = \"/dev/watchdog\"\ntimeout = \"1s\"\n",
            "watchdog.timeout = \"1s\": out of range; right would be \"2s\" to \"600s\"",
        ),
        ("device = \"/dev/watchdog\"\ntimeout = \"2500ms\"\n", "right would be whole seconds"),
    ] {
        let said = watchdog(text).unwrap_err().to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
}
