//! Every way in which a configuration can be wrong, and what is said about it.

use super::{edited, parsed};
use crate::{
    config::{Config, ConfigError, MAX_ADDRESSES},
    types::{MAX_CHANNELS, MAX_GROUPS, Node},
};

/// Everything that is said about `text`.
fn said(text: &str) -> String {
    Config::parse(text, "hb.toml").unwrap_err().to_string()
}

#[track_caller]
fn refused(from: &str, to: &str, message: &str) {
    assert_eq!(said(&edited(from, to)), message);
}

#[test]
fn text_that_is_not_toml_is_refused_at_its_place() {
    assert_eq!(said("[pair]\nid 7\n"), "hb.toml:2:4: `id 7`: not valid TOML: key with no value, expected `=`");
    assert_eq!(said("[pair]\nid = 7\nid = 8"), "hb.toml:3:1: `id = 8`: not valid TOML: duplicate key");
    assert!(said("[pair]\nid =").starts_with("hb.toml:2:5: `id =`: not valid TOML: "));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    refused(
        "[timing]\n",
        "[timing]\nintervall = \"1s\"\n",
        "hb.toml:9:1: timing.intervall: unknown key; did you mean \"interval\"?; known here: \"profile\", \"interval\", \
         \"initial\", \"period\", \"max\", \"decrement\", \"failed_waits\", \"disconnect\", \"retry\"",
    );
    let said = said(&edited("[[channel]]", "[[chanel]]"));
    assert!(said.contains("hb.toml:12:3: chanel: unknown key; did you mean \"channel\"?"), "{said}");
}

#[test]
fn a_missing_interface_is_refused() {
    refused(
        "interface = \"eth0\", ",
        "",
        "hb.toml:14:5: channel \"net1\": a.interface: missing; right would be the name of a network interface: 1 to 15 \
         characters, no space, / or :",
    );
}

#[test]
fn every_key_that_must_be_there_is_missed() {
    let required = [
        ("id = 7\n", "pair.id: missing"),
        ("key_file = \"/etc/heartbeat/pair.key\"\n", "pair.key_file: missing"),
        ("[pair]\nid = 7\nkey_file = \"/etc/heartbeat/pair.key\"\n", "hb.toml:1:1: pair: missing"),
        ("name = \"xlink\"\n", "hb.toml:16:1: channel 2: name: missing"),
        ("a = { interface = \"eth0\", address = \"192.0.2.1\" }\n", "hb.toml:12:1: channel \"net1\": a: missing"),
        (", address = \"192.0.2.1\"", "hb.toml:14:5: channel \"net1\": a.address: missing"),
        ("name = \"storage-a\"\n", "hb.toml:21:1: group 1: name: missing"),
        ("home = \"a\"\n", "hb.toml:21:1: group \"storage-a\": home: missing"),
        (
            "addresses = [{ channel = \"net1\", cidr = \"192.0.2.10/24\" }]\n",
            "hb.toml:21:1: group \"storage-a\": addresses: missing",
        ),
        ("channel = \"net1\", ", "hb.toml:24:14: group \"storage-a\": addresses[1].channel: missing"),
        (", cidr = \"192.0.2.10/24\"", "hb.toml:24:14: group \"storage-a\": addresses[1].cidr: missing"),
    ];
    for (without, message) in required {
        let said = said(&edited(without, ""));
        assert!(said.contains(message), "without {without:?}: {said}");
    }
}

#[test]
fn a_file_without_a_channel_is_refused() {
    let pair = "[pair]\nid = 7\nkey_file = \"k\"\n";
    assert_eq!(said(pair), "hb.toml:1:1: channel: missing; right would be at least one [[channel]]");
    let said = said(&format!("channel = []\n{pair}"));
    assert_eq!(said, "hb.toml:1:11: channel = []: missing; right would be at least one [[channel]]");
}

#[test]
fn a_group_without_an_address_is_refused() {
    refused(
        "[{ channel = \"net1\", cidr = \"192.0.2.10/24\" }]",
        "[]",
        "hb.toml:24:13: group \"storage-a\": addresses = []: missing; right would be at least one { channel = \"net1\", \
         cidr = \"192.0.2.10/24\" }",
    );
}

#[test]
fn a_value_of_another_type_is_refused() {
    refused("id = 7", "id = \"7\"", "hb.toml:2:6: pair.id = \"7\": is a text; right would be a whole number");
    for (from, to, message) in [
        (
            "\"filer-a\"",
            "1979-05-27",
            "controller.a.hostname = 1979-05-27: is a date or time; right would be a host name",
        ),
        ("\"auto\"", "true", "dataplane.xdp = true: is true or false; right would be a way to receive"),
        ("{ interface = \"eth0\", address = \"192.0.2.1\" }", "1.5", "a = 1.5: is a decimal number; right would be {"),
        ("[{ channel = \"net1\", cidr = \"192.0.2.10/24\" }]", "[7]", "addresses[1] = 7: is a whole number"),
        ("[{ channel = \"net1\", cidr = \"192.0.2.10/24\" }]", "7", "addresses = 7: is a whole number"),
        ("profile = \"lan\"", "interval = []", "timing.interval = []: is an array; right would be a duration"),
    ] {
        let said = said(&edited(from, to));
        assert!(said.contains(message), "{said}");
    }
    let said = said("channel = {}");
    assert!(said.contains("channel = {}: is a table; right would be at least one [[channel]]"), "{said}");
}

#[test]
fn a_word_that_is_no_choice_is_refused_with_the_nearest() {
    refused(
        "\"lan\"",
        "\"fest\"",
        "hb.toml:9:11: timing.profile = \"fest\": not one of \"classic\", \"lan\", \"fast\", \"ultra\"; did you mean \
         \"fast\"?",
    );
    let said = said(&edited("home = \"a\"", "home = \"filer\""));
    assert!(said.contains(":23:8: group \"storage-a\": home = \"filer\": not one of \"a\", \"b\""), "{said}");
}

#[test]
fn a_serial_channel_has_devices_and_a_speed_and_nothing_of_a_network() {
    let line = |rest: &str| {
        let text = "[[channel]]\nname = \"tty\"\nkind = \"serial\"\na = { device = \"/dev/ttyS0\" }\n";
        edited("[[group]]\n", &format!("{text}b = {{ device = \"/dev/ttyS1\" }}\n{rest}\n[[group]]\n"))
    };
    let config = Config::parse(&line(""), "hb.toml").unwrap();
    let tty = &config.channels[2];
    assert_eq!((tty.port(Node::B).as_str(), tty.line(Node::A).unwrap().speed), ("/dev/ttyS1", 115_200));
    let paces = [10, 100, 1_000].map(|ms| tty.pace(crate::types::Nanos::from_millis(ms)));
    assert_eq!(paces, [3, 1, 1], "25.5 ms at 115200 baud");
    for (rest, expected) in [
        ("speed = 115201", "speed = 115201: not usable; right would be a speed of termios(3)"),
        ("probe = [\"192.0.2.9\"]", "channel \"tty\": probe"),
        ("weight = 7", "channel \"tty\": weight"),
    ] {
        assert!(said(&line(rest)).contains(expected), "{}", said(&line(rest)));
    }
    let on_it = edited("channel = \"net1\", cidr", "channel = \"xlink\", cidr");
    assert!(said(&on_it).contains("xlink"));
    let missing = line("").replace("device = \"/dev/ttyS1\"", "device = \"ttyS1\"");
    assert!(said(&missing).contains("b.device = \"ttyS1\": not usable; right would be the absolute path"));
    let speed = edited("kind = \"dedicated\"\n", "kind = \"dedicated\"\nspeed = 9600\n");
    assert!(said(&speed).contains("only channels of kind \"serial\""), "{}", said(&speed));
}

#[test]
fn a_number_out_of_range_is_refused_with_its_range() {
    for (from, to, message) in [
        ("id = 7", "id = 4294967296", "pair.id = 4294967296: out of range; right would be 0 to 4294967295"),
        ("id = 7", "id = 0x1_0000_0000", "pair.id = 0x1_0000_0000: out of range; right would be 0 to 4294967295"),
        ("id = 7", "id = -1", "pair.id = -1: out of range; right would be 0 to 4294967295"),
        ("id = 7", "id = 7\nport = 0", "pair.port = 0: out of range; right would be 1 to 65535"),
        ("id = 7", "id = 7\nport = 65536", "pair.port = 65536: out of range; right would be 1 to 65535"),
        ("xdp =", "priority = 99\nxdp =", "dataplane.priority = 99: out of range; right would be 1 to 98"),
        ("profile =", "decrement = 0\nprofile =", "timing.decrement = 0: out of range; right would be 1 to 1000"),
        ("profile =", "initial = 0\nprofile =", "timing.initial = 0: out of range; right would be 1 to 1000"),
        ("profile =", "disconnect = 0\nprofile =", "timing.disconnect = 0: out of range; right would be 1 to 100000"),
        ("profile =", "decrement = 3\nprofile =", "timing.decrement = 3: out of range; right would be 1 to 2"),
        (
            "profile =",
            "decrement = 5\nmax = 4\nprofile =",
            "hb.toml:10:7: timing.max = 4: out of range; right would be 5 to 1000",
        ),
    ] {
        let said = said(&edited(from, to));
        assert!(said.contains(message) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_duration_out_of_range_is_refused_with_its_range() {
    for (to, message) in [
        ("interval = \"999us\"", "timing.interval = \"999us\": out of range; right would be \"1ms\" to \"10s\""),
        ("interval = \"11s\"", "timing.interval = \"11s\": out of range; right would be \"1ms\" to \"10s\""),
        (
            "interval = \"1000years\"",
            "timing.interval = \"1000years\": out of range; right would be \"1ms\" to \"10s\"",
        ),
        ("period = \"99ms\"", "timing.period = \"99ms\": out of range; right would be \"100ms\" to \"60s\""),
        ("retry = \"61s\"", "timing.retry = \"61s\": out of range; right would be \"1ms\" to \"60s\""),
    ] {
        let said = said(&edited("[timing]", &format!("[timing]\n{to}")));
        assert!(said.starts_with("hb.toml:9:") && said.contains(message), "{said}");
    }
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    for value in ["100", "\"100\"", "0.1"] {
        let said = said(&edited("[timing]", &format!("[timing]\nperiod = {value}")));
        let number = value.trim_matches('"');
        let right = format!("a duration needs a unit; right would be \"{number}ms\" or \"{number}s\"");
        assert_eq!(said, format!("hb.toml:9:10: timing.period = {value}: {right}"));
    }
}

#[test]
fn text_that_is_no_duration_is_refused() {
    let said = said(&edited("[timing]", "[timing]\nretry = \"1 fortnight\""));
    assert!(
        said.starts_with("hb.toml:9:9: timing.retry = \"1 fortnight\": not a duration: unknown time unit"),
        "{said}"
    );
    assert!(said.ends_with("right would be a number with a unit, such as \"100ms\" or \"1s\""), "{said}");
}

#[test]
fn text_that_cannot_be_a_name_is_refused() {
    let long = "x".repeat(33);
    for (from, to, message) in [
        (
            "\"net1\"",
            "\"net 1\"",
            "hb.toml:13:8: channel \"net 1\": name = \"net 1\": not usable; right would be a name of",
        ),
        ("\"storage-b\"", "\"\"", "group \"\": name = \"\": not usable; right would be a name of 1 to 32"),
        ("\"storage-b\"", &format!("\"{long}\""), "group 2: name = \"xxx"),
        (
            "\"eth9\"",
            "\"sixteen_letters_\"",
            "a.interface = \"sixteen_letters_\": not usable; right would be the name of",
        ),
        ("\"eth9\"", "\"eth9:1\"", "a.interface = \"eth9:1\": not usable; right would be the name of"),
        (
            "\"filer-a\"",
            "\"filer_a\"",
            "hb.toml:5:12: controller.a.hostname = \"filer_a\": not usable; right would be a",
        ),
        ("\"/etc/heartbeat/pair.key\"", "\"\"", "pair.key_file = \"\": not usable; right would be the path of"),
    ] {
        let said = said(&edited(from, to));
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn text_that_is_no_address_is_refused() {
    refused(
        "\"192.0.2.1\"",
        "\"192.0.2.256\"",
        "hb.toml:14:37: channel \"net1\": a.address = \"192.0.2.256\": not an IP address; right would be an IPv4 or IPv6 \
         address without prefix or scope, such as \"192.0.2.1\" or \"fe80::1\"",
    );
    for (from, to) in
        [("\"fe80::1\"", "\"fe80::1%eth9\""), ("\"192.0.2.1\"", "\"192.0.2.1/24\""), ("192.0.2.10/", "x/")]
    {
        assert!(said(&edited(from, to)).contains(": not an IP address; right would be an"), "{to}");
    }
}

#[test]
fn an_address_that_no_single_host_can_have_is_refused() {
    for (address, kind) in [
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("224.0.0.18", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:192.0.2.1", "IPv4-mapped"),
    ] {
        let said = said(&edited("\"fe80::1\"", &format!("\"{address}\"")));
        assert!(said.contains(&format!("\"{address}\": a {kind} address; right would be one that")), "{said}");
    }
    for (cidr, kind) in [("192.0.2.255/24", "broadcast"), ("192.0.2.0/24", "network"), ("127.0.0.1/8", "loopback")] {
        let said = said(&edited("192.0.2.10/24", cidr));
        assert!(said.contains(&format!("addresses[1].cidr = \"{cidr}\": a {kind} address;")), "{said}");
    }
}

#[test]
fn both_addresses_of_a_31_bit_network_can_be_service_addresses() {
    for cidr in ["192.0.2.254/31", "192.0.2.255/31", "192.0.2.255/32"] {
        parsed("192.0.2.10/24", cidr);
    }
}

#[test]
fn a_service_address_without_prefix_is_refused() {
    refused(
        "192.0.2.10/24",
        "192.0.2.10",
        "hb.toml:24:41: group \"storage-a\": addresses[1].cidr = \"192.0.2.10\": no prefix length; right would be \
         \"192.0.2.10/24\" if its network is a /24",
    );
    assert!(said(&edited("192.0.2.10/24", "2001:db8::a")).contains("\"2001:db8::a/64\" if its network is a /64"));
}

#[test]
fn a_prefix_out_of_range_is_refused() {
    for (cidr, max) in [("192.0.2.10/33", 32), ("192.0.2.10/0", 32), ("192.0.2.10/+24", 32), ("2001:db8::a/129", 128)] {
        let said = said(&edited("192.0.2.10/24", cidr));
        assert!(said.contains(&format!("{cidr}\": prefix length out of range; right would be /1 to /{max}")), "{said}");
    }
}

#[test]
fn ends_of_different_families_are_refused() {
    refused(
        "\"192.0.2.2\"",
        "\"2001:db8::2\"",
        "hb.toml:15:37: channel \"net1\": b.address = \"2001:db8::2\": a and b must both be IPv4 or both be IPv6; a.address \
         is 192.0.2.1",
    );
}

#[test]
fn what_must_be_unique_is_refused_the_second_time_with_the_place_of_the_first() {
    for (from, to, message) in [
        (
            "\"filer-b\"",
            "\"FILER-A\"",
            "hb.toml:7:12: controller.b.hostname = \"FILER-A\": already controller a's (line 5); right would be the other \
             controller's host name",
        ),
        (
            "\"xlink\"",
            "\"net1\"",
            "hb.toml:17:8: channel \"net1\": name = \"net1\": already the name of channel 1 (line 13)",
        ),
        (
            "\"eth9\"",
            "\"eth0\"",
            "a.interface = \"eth0\": already controller a's interface for channel \"net1\" (line 14)",
        ),
        (
            "\"192.0.2.2\"",
            "\"192.0.2.1\"",
            "b.address = \"192.0.2.1\": already controller a's own address on channel \"net1\"",
        ),
        (
            "\"fe80::2\"",
            "\"fe80::1\"",
            "b.address = \"fe80::1\": already controller a's own address on channel \"xlink\"",
        ),
        ("\"storage-b\"", "\"storage-a\"", "name = \"storage-a\": already the name of group 1 (line 22)"),
        (
            "192.0.2.11/24",
            "192.0.2.10/25",
            "hb.toml:28:41: group \"storage-b\": addresses[1].cidr = \"192.0.2.10/25\": already a service address of group \
             \"storage-a\" (line 24); right would be an address that nothing else in the pair has",
        ),
        (
            "192.0.2.11/24",
            "192.0.2.2/24",
            "cidr = \"192.0.2.2/24\": already controller b's own address on channel \"net1\" (line 15)",
        ),
    ] {
        let said = said(&edited(from, to));
        assert!(said.contains(message), "{said}");
    }
    let said = said(&edited("\"fe80::1\"", "\"192.0.2.1\"").replace("\"fe80::2\"", "\"192.0.2.3\""));
    assert!(
        said.contains(":19:37: channel \"xlink\": a.address = \"192.0.2.1\": already controller a's own"),
        "{said}"
    );
}

#[test]
fn a_link_local_address_can_stand_on_several_channels() {
    let text = edited("\"192.0.2.1\"", "\"fe80::1\"").replace("\"192.0.2.2\"", "\"fe80::2\"");
    let config = Config::parse(&text, "hb.toml").unwrap();
    assert_eq!(config.channels[0].end(Node::A).unwrap().address, config.channels[1].end(Node::A).unwrap().address);
}

#[test]
fn a_group_on_an_unknown_channel_is_refused_with_the_nearest() {
    refused(
        "channel = \"net1\"",
        "channel = \"net2\"",
        "hb.toml:24:26: group \"storage-a\": addresses[1].channel = \"net2\": no such channel; did you mean \"net1\"?; \
         channels: \"net1\", \"xlink\"",
    );
}

#[test]
fn a_channel_with_another_fault_is_still_known_to_groups() {
    assert_eq!(said(&edited("\"192.0.2.1\"", "\"bad\"")).lines().count(), 1);
}

#[test]
fn a_group_on_a_dedicated_channel_is_refused() {
    refused(
        "channel = \"net1\"",
        "channel = \"xlink\"",
        "hb.toml:24:26: group \"storage-a\": addresses[1].channel = \"xlink\": a dedicated channel has no clients; right \
         would be a channel of kind \"network\"",
    );
}

fn many_channels(count: usize) -> String {
    let channel = |i: usize| {
        let end = |host: usize| format!("{{ interface = \"eth{i}\", address = \"10.0.{i}.{host}\" }}");
        format!("[[channel]]\nname = \"net{i}\"\na = {}\nb = {}\n", end(1), end(2))
    };
    format!("[pair]\nid = 7\nkey_file = \"k\"\n{}", (0..count).map(channel).collect::<String>())
}

fn many_groups(groups: usize, addresses: usize) -> String {
    let group = |i: usize| {
        let one = |n: usize| format!("{{ channel = \"net0\", cidr = \"10.{}.{}.1/16\" }},", 1 + i, n);
        let list = (0..addresses).map(one).collect::<String>();
        format!("[[group]]\nname = \"g{i}\"\nhome = \"a\"\naddresses = [{list}]\n")
    };
    many_channels(1) + &(0..groups).map(group).collect::<String>()
}

#[test]
fn there_is_room_for_64_channels_and_no_more() {
    assert_eq!(Config::parse(&many_channels(MAX_CHANNELS), "hb.toml").unwrap().channel_mask(), u64::MAX);
    assert_eq!(said(&many_channels(MAX_CHANNELS + 1)), "hb.toml:260:1: channel: too many: at most 64 channels");
}

#[test]
fn there_is_room_for_64_groups_and_4096_addresses_and_no_more() {
    let config = Config::parse(&many_groups(MAX_GROUPS, 64), "hb.toml").unwrap();
    assert_eq!(config.groups.iter().map(|group| group.addresses.len()).sum::<usize>(), MAX_ADDRESSES);
    assert_eq!(said(&many_groups(MAX_GROUPS + 1, 1)), "hb.toml:264:1: group: too many: at most 64 groups");
    let said = said(&many_groups(MAX_GROUPS, 65));
    assert!(said.contains("group \"g63\": addresses: too many: at most 4096 addresses"), "{said}");
}

#[test]
fn all_problems_are_listed_in_the_order_of_their_lines() {
    let text = edited("home = \"b\"", "home = \"c\"").replace("id = 7", "id = -7").replace("\"fe80::2\"", "\"fe80\"");
    let lines: Vec<_> = said(&text).lines().map(|line| line.split(':').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lines, ["2", "20", "27"]);
}

#[test]
fn a_flood_of_problems_is_cut_short_and_counted() {
    let text = (0..150).map(|i| format!("unknown{i} = 1\n")).collect::<String>();
    let Err(ConfigError::Invalid(problems)) = Config::parse(&text, "hb.toml") else { panic!("accepted") };
    assert_eq!((problems.list.len(), problems.omitted), (100, 52));
    assert!(problems.to_string().ends_with("\nand 52 more"));
}

#[test]
fn a_long_or_strange_value_is_repeated_only_in_part_and_without_control_characters() {
    let said = said(&edited("\"lan\"", &format!("\"\"\"\u{9b}{}\"\"\"", "x".repeat(5_000))));
    assert!(said.len() < 300 && said.contains("...: not one of") && !said.contains('\u{9b}'), "{said}");
}

#[test]
fn what_cannot_be_probed_is_refused() {
    let channel = "[[channel]]\n";
    for (list, right) in [
        ("[\"192.0.2.1\"]", "somebody else in the network"),
        ("[\"2001:db8::1\"]", "of the same family"),
        ("[\"192.0.2.300\"]", "somebody else in the network"),
        ("[\"224.0.0.1\"]", "multicast"),
        ("[7]", "somebody else in the network"),
        ("\"192.0.2.254\"", "at most 8 addresses"),
        ("[\"192.0.2.9\", \"192.0.2.9\"]", "each address once"),
    ] {
        let said = said(&edited(channel, &format!("{channel}probe = {list}\n")));
        assert!(said.contains("probe") && said.contains(right), "{list}: {said}");
    }
    let said = said(&edited("kind = \"dedicated\"\n", "kind = \"dedicated\"\nprobe = [\"192.0.2.254\"]\n"));
    assert!(said.contains("a dedicated channel is not judged"), "{said}");
}
