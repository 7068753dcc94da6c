//! The example: valid as it stands and with all that it names, and no key is missing in it.

use crate::config::{Config, ConfigError, EXAMPLE, Fault};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

#[test]
fn the_example_is_valid() {
    let config = Config::parse(EXAMPLE, "example.toml").unwrap();
    assert_eq!((config.channels.len(), config.groups.len()), (3, 2));
}

#[test]
fn what_the_example_says_is_a_default_is_one() {
    let commented = |line: &str| line.starts_with("# ") && line.contains(" = ");
    let lines = EXAMPLE.lines().map(|line| if commented(line) { &line[2..] } else { line });
    let set = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(set.matches("priority = 60").count(), 1);
    let mut config = Config::parse(&set, "example.toml").unwrap();
    let unset = Config::parse(EXAMPLE, "example.toml").unwrap();
    // These follow from the rest of the file.
    assert_eq!([config.restart_grace(), config.release_within()], [unset.restart_grace(), unset.release_within()]);
    (config.takeover.restart_grace, config.judging.release_within) = (None, None);
    assert_eq!(config, unset);
}

#[test]
fn what_the_example_says_is_an_example_is_valid() {
    let set = EXAMPLE.lines().map(|line| line.strip_prefix("## ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let config = Config::parse(&set, "example.toml").unwrap();
    assert!(config.arbiter.as_ref().is_some_and(|arbiter| arbiter.files().count() == 4));
    assert!(
        config.fence.is_some_and(|fence| fence.levels.len() == 3 && fence.levels[2].devices.len() == 2)
            && config.checks.len() == 1
            && config.groups[0].hooks.on_release.is_some()
    );
}

/// What stands in a line after its mark, where it is something that can be set.
fn after<'l>(mark: &str, line: &'l str) -> Option<&'l str> {
    // Of what has a default, tables are there already.
    line.strip_prefix(mark).filter(|rest| rest.contains(" = ") || rest.starts_with('[') && mark != "# ")
}

#[test]
fn what_the_example_says_can_stand_in_place_of_something_is_valid_there() {
    let probe = EXAMPLE.replace("### probe = ", "probe = ");
    assert!(probe != EXAMPLE && Config::parse(&probe, "example.toml").is_ok());
    let lines = EXAMPLE.lines().skip_while(|line| *line != "## [arbiter]").take_while(|line| *line != "[api]");
    let lines: Vec<_> = lines.filter_map(|line| after("### ", line)).collect();
    let engines: Vec<_> = lines.chunk_by(|_, next| !next.starts_with("disk") && !next.starts_with("command")).collect();
    assert_eq!(engines.len(), 2, "{engines:?}");
    for engine in engines {
        let text = format!("{EXAMPLE}\n[arbiter]\n{}\n", engine.join("\n"));
        assert!(Config::parse(&text, "example.toml").unwrap().arbiter.is_some(), "{engine:?}");
    }
}

/// The example with all that it names set, whether that makes sense together or not; of what is there twice, the first.
fn all_set() -> String {
    let mut set = BTreeSet::new();
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let line = ["### ", "## ", "# "].iter().find_map(|mark| after(mark, line)).unwrap_or(line);
        if line.starts_with('[') {
            set.clear();
        }
        let is_key = |key: &&str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let key = line.split_once(" = ").map(|(key, _)| key).filter(is_key);
        if key.is_none_or(|key| set.insert(key.to_owned())) {
            text.extend([line, "\n"]);
        }
    }
    text
}

/// The keys of each table, by its path without numbers: of all tables of a list together.
fn keys(path: &str, value: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| keys(path, value, found)),
        Value::Table(table) => {
            for (key, value) in table {
                found.entry(path.to_owned()).or_default().insert(key.clone());
                keys(&format!("{path}{key}."), value, found);
            }
        }
        _ => {}
    }
}

/// The path of a table, as a message has it: `channel "net1": a.` is `channel.a.`
fn without_names(path: &str) -> String {
    let mut within = false;
    let kept = path.chars().filter(|c| {
        within ^= *c == '"';
        !within && *c != '"' && *c != ' '
    });
    let path: String = kept.collect::<String>().replace(':', ".");
    path.split('.').map(|part| part.split('[').next().unwrap_or_default()).collect::<Vec<_>>().join(".")
}

/// What a table may have, the code says of each one that has a key which it does not know.
#[test]
fn no_key_that_the_code_knows_is_missing_in_the_example() {
    const UNKNOWN: &str = "no_such_key";
    const FENCE: [&str; 3] = ["fence.", "fence.level.", "fence.level.device."];
    let text = all_set();
    let mut named = BTreeMap::new();
    keys("", &Value::Table(text.parse::<Table>().unwrap()), &mut named);
    let with = |line: &str| {
        let line = line.replace("{ ", &format!("{{ {UNKNOWN} = 1, "));
        if line.starts_with('[') { format!("{line}\n{UNKNOWN} = 1\n") } else { line + "\n" }
    };
    let text = format!("{UNKNOWN} = 1\n{}", text.lines().map(with).collect::<String>());
    let Err(ConfigError::Invalid(problems)) = Config::parse(&text, "example.toml") else { panic!("{text}") };
    assert_eq!(problems.omitted, 0);
    let mut tables = BTreeSet::new();
    for problem in &problems.list {
        let (Some(path), Fault::UnknownKey { known, .. }) = (problem.key.strip_suffix(UNKNOWN), &problem.fault) else {
            continue;
        };
        let path = without_names(path);
        assert!(named.contains_key(&path), "no table {path:?} in {named:?}");
        // A device has the keys that a level has, and where there is one level only, they can stand in [fence] itself.
        let alike: &[&str] = if FENCE.contains(&path.as_str()) { &FENCE } else { &[&path] };
        let named = |key: &str| alike.iter().any(|path| named[*path].contains(key));
        // One controller's is as good as the other's.
        let is_named = |key: &&String| named(key) || *key == "a" && named("b");
        let missing: Vec<_> = known.iter().filter(|key| !is_named(key)).collect();
        assert!(missing.is_empty(), "{path:?} may have {missing:?}, which the example does not name");
        tables.insert(path);
    }
    for table in
        ["", "timing.", "judging.", "fence.level.device.", "arbiter.", "check.", "channel.a.", "group.addresses."]
    {
        assert!(tables.contains(table), "{table:?} was not looked at: {tables:?}");
    }
}
