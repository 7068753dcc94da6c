use super::*;

fn facts(hostname: &str, interfaces: &[(&str, &[&str])]) -> Facts {
    let address = |cidr: &&str| {
        let (address, prefix) = cidr.split_once('/').unwrap();
        (address.parse().unwrap(), prefix.parse().unwrap())
    };
    let entry = |(name, addresses): &(&str, &[&str])| ((*name).to_owned(), addresses.iter().map(address).collect());
    Facts { hostname: hostname.to_owned(), interfaces: interfaces.iter().map(entry).collect(), taken: Vec::new() }
}

fn own() -> Facts {
    facts(
        "filer-a",
        &[
            ("docker0", &["172.17.0.1/16"]),
            ("eth0", &["192.0.2.1/24", "fe80::a:1/64"]),
            ("eth1", &["2001:db8:2::1/64", "fe80::a:2/64"]),
            ("eth8", &["198.51.100.0/31"]),
            ("eth9", &["fe80::a:9/64"]),
        ],
    )
}

fn args(words: &[&str]) -> InitArgs {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: InitArgs,
    }
    <Line as clap::Parser>::parse_from(std::iter::once(&"init").chain(words)).args
}

fn text(words: &[&str], peer: Option<&Facts>) -> Result<String> {
    let text = draft(&args(words), &own(), peer, Path::new("/etc/heartbeat/heartbeat.toml"))?.text();
    Config::parse(&text, "heartbeat.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    Ok(text)
}

#[test]
fn what_both_hosts_say_of_themselves_is_all_that_is_needed() {
    let peer = facts(
        "filer-b",
        &[
            ("docker0", &["172.17.0.1/16"]),
            ("enp1s0", &["192.0.2.2/24", "fe80::b:1/64"]),
            ("eth1", &["fe80::b:2/64", "2001:db8:2::2/64"]),
            ("eth8", &["198.51.100.1/31"]),
            ("eth9", &["fe80::b:9/64"]),
        ],
    );
    let groups = ["--group", "storage-a=192.0.2.10/24,2001:db8:2::10/64", "--group", "storage-b=192.0.2.11/24@b"];
    let found = text(&[&["--pair", "7"][..], &groups].concat(), Some(&peer)).unwrap();
    let expected = r#"
pair = { id = 7, key_file = "/etc/heartbeat/pair.key" }
controller = { a = { hostname = "filer-a" }, b = { hostname = "filer-b" } }
timing = { profile = "lan" }

[[channel]]
name = "net1"
a = { interface = "eth0", address = "192.0.2.1" }
b = { interface = "enp1s0", address = "192.0.2.2" }

[[channel]]
name = "net2"
a = { interface = "eth1", address = "2001:db8:2::1" }
b = { interface = "eth1", address = "2001:db8:2::2" }

[[channel]]
name = "xlink1"
kind = "dedicated"
a = { interface = "eth8", address = "198.51.100.0" }
b = { interface = "eth8", address = "198.51.100.1" }

[[channel]]
name = "xlink2"
kind = "dedicated"
a = { interface = "eth9", address = "fe80::a:9" }
b = { interface = "eth9", address = "fe80::b:9" }

[[group]]
name = "storage-a"
home = "a"
addresses = [
    { channel = "net1", cidr = "192.0.2.10/24" },
    { channel = "net2", cidr = "2001:db8:2::10/64" },
]

[[group]]
name = "storage-b"
home = "b"
addresses = [
    { channel = "net1", cidr = "192.0.2.11/24" },
]
"#;
    assert_eq!(found.split_once('\n').unwrap().1, expected);
}

#[test]
fn flags_say_it_without_the_other_host() {
    let words =
        ["--peer", "filer-b", "--channel", "eth0=192.0.2.2@enp1s0", "--cable", "eth9=fe80::b:9", "--profile", "fast"];
    let found = text(&words, None).unwrap();
    assert!(found.contains("profile = \"fast\""), "{found}");
    assert!(found.contains("b = { interface = \"enp1s0\", address = \"192.0.2.2\" }"), "{found}");
    assert!(found.contains("kind = \"dedicated\"\na = { interface = \"eth9\", address = \"fe80::a:9\" }"), "{found}");
    assert!(!found.contains("eth1"), "{found}");
}

#[test]
fn what_does_not_fit_is_refused_by_name_with_what_would_be_right() {
    let peer = ["--peer", "filer-b"];
    for (words, right) in [
        (&[][..], "--peer NAME says its host name, or --ssh [USER@]HOST"),
        (&["--peer", "FILER-A", "--channel", "eth0=192.0.2.2"], "right would be host names that differ"),
        (&[&peer[..], &["--channel", "eth7=192.0.2.2"]].concat(), "eth7: no interface here has this name"),
        (&[&peer[..], &["--channel", "eth0=203.0.113.2"]].concat(), "eth0, which has 192.0.2.1/24, fe80::a:1/64"),
        (&[&peer[..], &["--channel", "eth0=192.0.2.1"]].concat(), "right would be the other controller's address"),
        (
            &[&peer[..], &["--channel", "eth0=192.0.2.2", "--group", "x=10.0.0.1/24"]].concat(),
            "--group x: 10.0.0.1/24 is in no network of both controllers; right would be an address in one of: net1 (eth0 has 192.0.2.1)",
        ),
    ] {
        let error = format!("{:#}", text(words, None).unwrap_err());
        assert!(error.contains(right), "{words:?}: {error}");
    }
    for (word, right) in [("eth0", "no '='"), ("=192.0.2.2", "without a name"), ("eth0=x", "\"x\" is no address")] {
        assert!(word.parse::<PathWords>().unwrap_err().contains(right), "{word}");
    }
    for (word, right) in
        [("a", "no '='"), ("a=1.2.3.4", "no address with a prefix"), ("a=1.2.3.4/8@c", "\"c\" is no controller")]
    {
        assert!(word.parse::<GroupWords>().unwrap_err().contains(right), "{word}");
    }
}

#[test]
fn one_network_alone_and_nothing_to_serve_are_hinted_at() {
    let hints = |words: &[&str]| {
        let draft = draft(&args(words), &own(), None, Path::new("/etc/heartbeat/heartbeat.toml")).unwrap();
        draft.hints().join("\n")
    };
    let alone = hints(&["--peer", "filer-b", "--channel", "eth0=192.0.2.2"]);
    assert!(alone.contains("the only channel") && alone.contains("no group yet"), "{alone}");
    let whole =
        ["--peer", "b", "--channel", "eth0=192.0.2.2", "--cable", "eth9=fe80::b:9", "--group", "g=192.0.2.10/24"];
    assert_eq!(hints(&whole), "");
}

#[test]
fn paths_that_a_shell_would_take_apart_and_hosts_that_are_options_are_refused() {
    assert!(Other::new("root@filer-b", Path::new("/etc/heartbeat/heartbeat.toml")).is_ok());
    for (host, file) in
        [("-oProxyCommand=x", "/etc/x"), ("a b", "/etc/x"), ("", "/etc/x"), ("b", "/etc/$(x)"), ("b", "/etc/a b")]
    {
        assert!(Other::new(host, Path::new(file)).is_err(), "{host} {file}");
    }
}
