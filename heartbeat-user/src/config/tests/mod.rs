//! What a configuration comes to, from text, from a file and on a host; and that no text can do harm.

mod arbiter;
mod commands;
mod disks;
mod example;
mod fence;
mod records;
mod refusals;

use super::*;
use crate::types::{ChannelIndex, Nanos, Node, XdpPreference};
use proptest::prelude::*;
use std::{fs, path::Path};

const BASE: &str = r#"[pair]
id = 7
key_file = "/etc/heartbeat/pair.key"
[controller.a]
hostname = "filer-a"
[controller.b]
hostname = "filer-b"
[timing]
profile = "lan"
[dataplane]
xdp = "auto"
[[channel]]
name = "net1"
a = { interface = "eth0", address = "192.0.2.1" }
b = { interface = "eth0", address = "192.0.2.2" }
[[channel]]
name = "xlink"
kind = "dedicated"
a = { interface = "eth9", address = "fe80::1" }
b = { interface = "eth9", address = "fe80::2" }
[[group]]
name = "storage-a"
home = "a"
addresses = [{ channel = "net1", cidr = "192.0.2.10/24" }]
[[group]]
name = "storage-b"
home = "b"
addresses = [{ channel = "net1", cidr = "192.0.2.11/24" }]
"#;

/// The base with `from`, which must be in it, made `to`.
fn edited(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from:?} is not in the base");
    BASE.replacen(from, to, 1)
}

fn parsed(from: &str, to: &str) -> Config {
    Config::parse(&edited(from, to), "hb.toml").unwrap()
}

#[test]
fn the_base_is_read_as_written_with_defaults_for_the_rest() {
    let config = parsed("", "");
    assert_eq!((config.pair.id, config.pair.port), (7, 694));
    assert_eq!(config.pair.key_file, Path::new("/etc/heartbeat/pair.key"));
    assert_eq!(config.hostnames, [Some("filer-a".to_owned()), Some("filer-b".to_owned())]);
    assert_eq!((config.profile, config.timing), (Profile::Lan, Profile::Lan.timing()));
    assert_eq!(config.dataplane, Dataplane { xdp: XdpPreference::Auto, priority: 60 });
    let [net1, xlink] = &config.channels[..] else { panic!("{:?}", config.channels) };
    assert_eq!((net1.index.0, net1.name.as_str(), net1.kind), (0, "net1", ChannelKind::Network));
    assert_eq!((xlink.index.0, xlink.kind), (1, ChannelKind::Dedicated));
    assert_eq!(
        net1.end(Node::B).unwrap(),
        &ChannelEnd { interface: "eth0".into(), address: "192.0.2.2".parse().unwrap() }
    );
    let group = &config.groups[1];
    assert_eq!((group.index.0, group.name.as_str(), group.home), (1, "storage-b", Node::B));
    let address = "192.0.2.11".parse().unwrap();
    assert_eq!(group.addresses, [ServiceAddress { channel: ChannelIndex(0), address, prefix: 24 }]);
    assert_eq!(config.channel_mask(), 0b11);
}

#[test]
fn timing_and_data_plane_can_be_left_out() {
    let config = parsed("[timing]\nprofile = \"lan\"\n[dataplane]\nxdp = \"auto\"\n", "");
    assert_eq!((config.profile, config.dataplane), (Profile::Lan, Dataplane::default()));
}

#[test]
fn every_timing_key_overrides_the_profile() {
    let set = "interval = \"1500us\"\ninitial = 5\nperiod = \"3ms\"\nmax = 9\ndecrement = 2\nfailed_waits = 7\n\
               disconnect = 8\nretry = \"2s\"\n";
    let timing = parsed("profile = \"lan\"\n", &format!("profile = \"classic\"\n{set}")).timing;
    assert_eq!((timing.interval, timing.period), (Nanos::from_micros(1_500), Nanos::from_millis(3)));
    assert_eq!((timing.initial, timing.max, timing.decrement), (5, 9, 2));
    assert_eq!((timing.failed_waits, timing.disconnect, timing.retry), (7, 8, Nanos::from_millis(2_000)));
    assert!(!timing.from_arrival);
}

#[test]
fn every_profile_and_way_to_receive_has_its_name() {
    for profile in Profile::ALL {
        assert_eq!(parsed("\"lan\"", &format!("\"{profile}\"")).profile, profile);
    }
    for xdp in XdpPreference::ALL {
        assert_eq!(parsed("\"auto\"", &format!("\"{}\"", xdp.name())).dataplane.xdp, xdp);
    }
}

fn loaded(bytes: &[u8]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heartbeat.toml");
    fs::write(&file, bytes).unwrap();
    let mut config = Config::load(&file)?;
    config.pair.key_file = config.pair.key_file.strip_prefix(folder.path()).unwrap_or(&config.pair.key_file).to_owned();
    Ok(config)
}

#[test]
fn a_file_is_read_as_its_text_is() {
    let loaded = loaded(BASE.as_bytes()).unwrap();
    assert_ne!(loaded.file_time, 0, "a file has a time");
    assert_eq!(Config { file_time: 0, ..loaded }, parsed("", ""));
}

#[test]
fn a_relative_key_file_is_taken_from_the_folder_of_the_file() {
    let text = edited("/etc/heartbeat/pair.key", "keys/pair.key");
    assert_eq!(loaded(text.as_bytes()).unwrap().pair.key_file, Path::new("keys/pair.key"));
}

#[test]
fn a_file_that_is_not_there_is_refused_by_name() {
    let said = Config::load(Path::new("/nonexistent/hb.toml")).unwrap_err().to_string();
    assert!(said.starts_with("/nonexistent/hb.toml: cannot be read: No such file"), "{said}");
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    let fits = format!("{BASE}#{}", " ".repeat(1024 * 1024 - BASE.len() - 1));
    loaded(fits.as_bytes()).unwrap();
    let said = loaded(format!("{fits} ").as_bytes()).unwrap_err().to_string();
    assert!(said.ends_with("heartbeat.toml: larger than 1024 KiB; this is hardly a configuration file"), "{said}");
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_at_its_place() {
    let said = loaded(b"[pair]\nid = \xff\n").unwrap_err().to_string();
    assert!(said.ends_with("heartbeat.toml:2:6: not UTF-8 text; save the file as UTF-8"), "{said}");
}

#[test]
fn the_flag_wins_over_the_host_name() {
    assert_eq!(parsed("", "").node_for(Some(Node::B), "filer-a").unwrap(), Node::B);
}

#[test]
fn a_host_name_fits_in_full_or_in_its_first_label() {
    for (configured, host) in [("filer-a", "filer-a"), ("filer-a", "Filer-A.example.org"), ("filer-a.x", "filer-a")] {
        let config = parsed("\"filer-a\"", &format!("\"{configured}\""));
        assert_eq!(config.node_for(None, host).unwrap(), Node::A, "{host}");
    }
    let config = parsed("\"filer-a\"", "\"filer-b.x\"");
    assert_eq!(config.node_for(None, "filer-b.x").unwrap(), Node::A);
    assert_eq!(config.node_for(None, "filer-b.y").unwrap(), Node::B);
}

#[test]
fn a_host_name_that_is_neither_is_refused_with_both() {
    let said = parsed("[controller.b]\nhostname = \"filer-b\"\n", "").node_for(None, "web").unwrap_err().to_string();
    assert!(
        said.starts_with("host name \"web\" is neither controller a (\"filer-a\") nor controller b (no hostname); say")
    );
    parsed("\"filer-a\"", "\"filer-a.x\"").node_for(None, "filer-a.y").unwrap_err();
}

#[test]
fn a_host_name_that_fits_both_is_refused_with_both() {
    let config = Config::parse(&BASE.replace("\"filer-", "\"filer."), "hb.toml").unwrap();
    let said = config.node_for(None, "filer").unwrap_err().to_string();
    assert!(
        said.starts_with("host name \"filer\" fits both controller a (\"filer.a\") and controller b (\"filer.b\")")
    );
}

#[test]
fn a_node_is_a_or_b() {
    assert_eq!((parse_node("a"), parse_node("b")), (Ok(Node::A), Ok(Node::B)));
    assert_eq!(parse_node("A").unwrap_err(), "right would be a or b");
}

#[test]
fn the_group_digest_is_the_same_in_every_version() {
    assert_eq!(parsed("", "").groups_digest(), 17_465_228_111_913_396_437);
}

#[test]
fn the_group_digest_tells_different_group_tables_apart_and_nothing_else() {
    let base = parsed("", "");
    let same = [("\"lan\"", "\"fast\""), ("id = 7", "id = 8"), ("192.0.2.1\"", "192.0.2.3\"")];
    for (from, to) in same {
        assert_eq!(parsed(from, to).groups_digest(), base.groups_digest(), "{to}");
    }
    let different = [
        ("storage-a", "storage-c"),
        ("home = \"a\"", "home = \"b\""),
        ("192.0.2.10/24", "192.0.2.12/24"),
        ("192.0.2.10/24", "192.0.2.10/25"),
        ("192.0.2.10/24", "2001:db8::a/64"),
    ];
    let mut digests: Vec<_> = different.iter().map(|(from, to)| parsed(from, to).groups_digest()).collect();
    let mut swapped = base.clone();
    swapped.groups.swap(0, 1);
    assert_eq!(swapped.groups_digest(), base.groups_digest(), "the order does not matter");
    digests.push(base.groups_digest());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), different.len() + 1);
}

proptest! {
    #[test]
    fn parse_never_panics_on_arbitrary_text(text in any::<String>()) {
        let _ = Config::parse(&text, "hb.toml");
        let _ = PairKeys::parse(&text, "pair.key");
    }

    #[test]
    fn parse_never_panics_on_a_damaged_configuration(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[ -~\n]{0,6}"), 1..4),
    ) {
        let mut text = BASE.to_owned();
        for (at, length, with) in edits {
            let at = at.index(text.len());
            text.replace_range(at..(at + length).min(text.len()), &with);
        }
        if let Err(error) = Config::parse(&text, "hb.toml") {
            prop_assert!(error.to_string().starts_with("hb.toml:"), "{}", error);
        }
    }

    #[test]
    fn parse_never_panics_on_values_of_any_type(value in r#"(-?[0-9]{1,20}|"[a-z0-9./:]{0,12}"|\[\]|\{\}|true|1e9|"\\u0000")"#) {
        for (from, _) in BASE.match_indices(" = ") {
            let start = from + 3;
            let end = start + BASE[start..].find('\n').unwrap_or(0);
            let _ = Config::parse(&format!("{}{value}{}", &BASE[..start], &BASE[end..]), "hb.toml");
        }
    }
}
