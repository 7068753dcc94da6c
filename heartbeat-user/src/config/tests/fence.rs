//! `[fence]`: its levels, and that nothing ever repeats a secret.

use super::{BASE, edited};
use crate::{
    config::{Config, ConfigError, Means},
    types::{Nanos, Node},
};
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
    let [device] = &level.devices[..] else { panic!("{level:?}") };
    assert_eq!(
        (device.key.as_str(), device.runs(), device.timeout, device.retries),
        ("fence", "fence_ipmilan", MS(60_000), 2)
    );
    let Means::Agent { options, .. } = &device.by else { panic!("{device:?}") };
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
    assert_eq!(keys, [("fence.level[1]", "/opt/fence_x".to_owned()), ("fence.level[2]", "/bin/off".to_owned())]);
    assert_eq!((fence.status_every, fence.delay), (None, [Nanos(0), MS(5_000)]));
    // Twice 20.5 s and a pause; then once 10.5 s; and 5 s for whoever runs it. b waits 5 s before all that.
    assert_eq!([Node::A, Node::B].map(|node| fence.within(node)), [MS(58_500), MS(63_500)]);
}

/// The outlets of a host with two power supplies, in `table`.
fn two_supplies(table: &str) -> String {
    format!(
        "{table}\nagent = \"fence_apc\"\na = {{ ip = \"192.0.2.1\", plug = 1 }}\nb = {{ ip = \"192.0.2.1\", plug = 2 }}\nretries = 0\n\
         {table}\nagent = \"fence_apc\"\na = {{ ip = \"192.0.2.2\", plug = 1 }}\nb = {{ ip = \"192.0.2.2\", plug = 2 }}\nretries = 0\n"
    )
}

#[test]
fn a_level_may_have_several_devices_and_so_may_the_only_one() {
    let levels = format!(
        "[fence]\n[[fence.level]]\ncommand = [\"/bin/off\"]\nretries = 0\n[[fence.level]]\n{}",
        two_supplies("[[fence.level.device]]")
    );
    let config = with(&levels).unwrap();
    let keys: Vec<_> = config.agents().collect();
    let agent = |key: &str| (format!("fence.level[2].device[{key}].agent"), "fence_apc");
    assert_eq!(keys, [agent("1"), agent("2")]);
    let fence = config.fence.unwrap();
    assert_eq!((fence.levels.len(), fence.levels[1].key.as_str()), (2, "fence.level[2]"));
    assert_eq!(fence.levels[1].runs(), "fence_apc and fence_apc");
    // 10.5 s for the command, twice 60.5 s, and 5 s for whoever runs it.
    assert_eq!(fence.within(Node::A), MS(136_500));
    let only = with(&format!("[fence]\n{}", two_supplies("[[fence.device]]"))).unwrap().fence.unwrap();
    let keys: Vec<_> = only.devices().map(|device| device.key.as_str()).collect();
    assert_eq!((only.levels.len(), keys), (1, vec!["fence.device[1]", "fence.device[2]"]));
}

#[test]
fn wrong_devices_are_refused_with_what_would_be_right() {
    let two = two_supplies("[[fence.level.device]]");
    for (text, expected) in [
        (
            format!("[[fence.level]]\nretries = 1\n{two}"),
            "fence.level[1].retries: has no place here; right would be in one of the `device` tables",
        ),
        (
            format!("[fence]\n[[fence.device]]\ncommand = [\"/x\"]\n[[fence.level]]\n{two}"),
            "fence.device: has no place here; right would be in one of the [[fence.level]] tables",
        ),
        (
            format!("[[fence.level]]\n{two}[[fence.level.device]]\n"),
            "fence.level[1].device[3].command: missing; right would be a command in words, or the name of an agent",
        ),
        (
            format!("[[fence.level]]\n{two}[[fence.level.device]]\nstatus_every = \"1m\"\ncommand = [\"/x\"]\n"),
            "fence.level[1].device[3].status_every: unknown",
        ),
        (
            format!("[[fence.level]]\n{}", two.replace("192.0.2.2\", plug = 1", "192.0.2.1\", plug = 1")),
            "fence.level[1].device[2]: not usable; right would be another outlet than those before it in its level",
        ),
        (
            "[[fence.level]]\ndevice = \"fence_apc\"\n".to_owned(),
            "fence.level[1].device = \"fence_apc\": is a text; right would be [[fence.level.device]] tables",
        ),
        (
            format!("[[fence.level]]\n{}", "[[fence.level.device]]\ncommand = [\"/x\"]\n".repeat(9)),
            "fence.level[1].device: too many: at most 8 devices",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let secret = two.replace("plug = 2", &format!("password = \"{SECRET}\""));
    let same = secret.replace("192.0.2.2", "192.0.2.1");
    let said = refused(&format!("[[fence.level]]\n{same}"));
    assert!(said.contains("another outlet") && !said.contains("hunter2"), "{said}");
    let config = with(&format!("[[fence.level]]\n{secret}")).unwrap();
    assert_eq!(config.secret().unwrap(), "fence.level[1].device[1]: password");
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
            "[fence]\nagent = \"x\"\na = { plug = 1 }\nb = { plug = \"1\" }\n".to_owned(),
            "fence.b: not usable; right would be other options than a's: as it is, both controllers would switch off the same",
        ),
        (
            format!("[fence]\nagent = \"x\"\nstatus_every = \"Never\"\n{two}"),
            "fence.status_every = \"Never\": neither \"never\" nor a duration; right would be \"never\", or",
        ),
        (
            format!("[fence]\nagent = \"x\"\ncommand = [\"/x\"]\n{two}"),
            "fence.command: has no place here; right would be in a device of its own",
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
