//! Channels over disks.

use super::edited;
use crate::{
    config::{ChannelKind, Config, check_disk_names},
    types::{Nanos, Node},
};

const MS: fn(u64) -> Nanos = Nanos::from_millis;

/// The base with a channel over a disk, and that after it.
fn text(rest: &str) -> String {
    let channel = "[[channel]]\nname = \"disk\"\nkind = \"disk\"\n\
                   a = { device = \"/dev/disk/by-id/wwn-1\" }\nb = { device = \"/dev/disk/by-id/wwn-2\" }\n";
    edited("[[group]]\n", &format!("{channel}{rest}\n[[group]]\n"))
}

fn said(text: &str) -> String {
    Config::parse(text, "hb.toml").unwrap_err().to_string()
}

#[test]
fn a_disk_has_a_path_on_each_controller_and_a_pace_of_its_own() {
    let config = Config::parse(&text(""), "hb.toml").unwrap();
    let disk = &config.channels[2];
    assert_eq!((disk.kind, disk.is_judged()), (ChannelKind::Disk, false));
    let (path, every) = disk.disk(Node::B).unwrap();
    assert_eq!((path.to_str(), every), (Some("/dev/disk/by-id/wwn-2"), MS(1_000)));
    assert!(disk.end(Node::A).is_none() && disk.line(Node::A).is_none());
    assert_eq!(disk.port(Node::A), "/dev/disk/by-id/wwn-1");
    assert_eq!([10, 300, 1_000, 5_000].map(|ms| disk.pace(MS(ms))), [100, 4, 1, 1]);
    // The slowest channel's silence is what a dead peer is found by.
    assert_eq!(config.detection(), MS(3_000));
    let fast = Config::parse(&text("every = \"200ms\""), "hb.toml").unwrap();
    assert_eq!(fast.detection(), MS(600));
}

#[test]
fn what_is_not_a_disks_or_out_of_range_is_refused_with_what_would_be_right() {
    for (rest, expected) in [
        ("every = \"199ms\"", "channel \"disk\": every = \"199ms\": out of range; right would be \"200ms\" to \"10s\""),
        ("every = \"11s\"", "channel \"disk\": every = \"11s\": out of range"),
        ("every = 1", "channel \"disk\": every = 1: "),
        ("speed = 9600", "channel \"disk\": speed = 9600: not usable; right would be only channels of kind \"serial\""),
        ("probe = [\"192.0.2.9\"]", "channel \"disk\": probe"),
        ("weight = 7", "channel \"disk\": weight = 7: a disk channel is not judged"),
        ("probe_quorum = 1", "channel \"disk\": probe_quorum"),
    ] {
        let said = said(&text(rest));
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
    let relative = said(&text("").replace("\"/dev/disk/by-id/wwn-2\"", "\"disk/wwn-2\""));
    assert!(relative.contains("b.device = \"disk/wwn-2\": not usable; right would be the absolute path of a disk"));
    let kind = said(&text("").replace("\"disk\"\na", "\"disc\"\na"));
    let expected =
        "kind = \"disc\": not one of \"network\", \"dedicated\", \"serial\", \"disk\"; did you mean \"disk\"?";
    assert!(kind.contains(expected) && kind.lines().count() == 1, "{kind}");
    let interface = said(&text("").replace("{ device = \"/dev/disk/by-id/wwn-2\" }", "{ interface = \"eth0\" }"));
    assert!(interface.contains("interface: unknown key"), "{interface}");
    let missing = said(&text("").replace("b = { device = \"/dev/disk/by-id/wwn-2\" }\n", ""));
    assert!(missing.contains("b: missing; right would be { device = \"/dev/disk/by-id/..\" }"), "{missing}");
    let on_it = said(
        &text("")
            .replace("channel = \"net1\", cidr = \"192.0.2.10/24\"", "channel = \"disk\", cidr = \"192.0.2.10/24\""),
    );
    assert!(on_it.contains("a disk channel has no clients"), "{on_it}");
    let elsewhere = said(&edited("kind = \"dedicated\"\n", "kind = \"dedicated\"\nevery = \"1s\"\n"));
    assert!(
        elsewhere.contains("every = \"1s\": not usable; right would be only channels of kind \"disk\" to have one")
    );
}

#[test]
fn two_channels_over_one_disk_are_refused_and_the_arbiters_may_be_the_same() {
    let again = "[[channel]]\nname = \"disk2\"\nkind = \"disk\"\n\
                 a = { device = \"/dev/disk/by-id/wwn-1\" }\nb = { device = \"/dev/disk/by-id/wwn-9\" }\n";
    let twice = said(&text(again));
    assert!(
        twice.contains("already controller a's device for channel \"disk\"") && twice.lines().count() == 1,
        "{twice}"
    );
    let arbiter = format!("{}[arbiter]\ndisk = \"/dev/disk/by-id/wwn-1\"\n", text(""));
    assert!(Config::parse(&arbiter, "hb.toml").is_ok());
}

#[test]
fn names_that_may_be_another_disks_after_a_boot_are_warned_of() {
    let passing = |path: &str| {
        let text = format!("{}[arbiter]\ndisk = \"{path}\"\n", text("").replace("/dev/disk/by-id/wwn-1", path));
        let problems = check_disk_names(&Config::parse(&text, "hb.toml").unwrap(), Node::A);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for path in ["/dev/disk/by-id/wwn-1", "/dev/mapper/shared", "/dev/vg/lv", "/srv/shared/disk"] {
        assert_eq!(passing(path), Vec::<String>::new(), "{path}");
    }
    let warned = passing("/dev/sdb");
    let expected =
        "\"/dev/sdb\" may be another disk after the next boot; right would be its name below /dev/disk/by-id";
    assert_eq!(warned, [format!("channel \"disk\": a.device: {expected}"), format!("arbiter.disk: {expected}")]);
}
