use super::*;
use crate::config::EXAMPLE;

/// Controller a of the example, with `changes` to what its interfaces have.
fn problems(changes: &[(&str, Option<&[&str]>)]) -> Vec<String> {
    let mut host = Host::default();
    let fits: [(&str, Option<&[&str]>); 3] =
        [("eth0", Some(&["192.0.2.1"])), ("eth1", Some(&["2001:db8:2::1"])), ("eth9", Some(&["fe80::1"]))];
    for (name, addresses) in fits.iter().chain(changes) {
        match addresses {
            Some(list) => {
                let list = list.iter().map(|address| (address.parse().unwrap(), 24)).collect();
                host.interfaces.insert((*name).to_owned(), list);
            }
            None => {
                host.interfaces.remove(*name);
            }
        }
    }
    let config = Config::parse(EXAMPLE, "example.toml").unwrap();
    host.problems(&config, Node::A).iter().map(HostProblem::to_string).collect()
}

#[test]
fn a_host_with_every_interface_and_address_has_no_problem() {
    assert_eq!(problems(&[]), Vec::<String>::new());
}

#[test]
fn a_service_address_on_its_channels_interface_is_no_problem() {
    assert_eq!(problems(&[("eth0", Some(&["192.0.2.1", "192.0.2.10"]))]), Vec::<String>::new());
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    assert_eq!(
        problems(&[("eth9", None), ("eth8", Some(&[]))]),
        ["channel \"xlink\": this host has no interface \"eth9\", did you mean \"eth0\"?; it has eth0, eth1, eth8"]
    );
}

#[test]
fn an_own_address_that_is_not_there_is_named_with_the_command_that_adds_it() {
    assert_eq!(
        problems(&[("eth0", Some(&["192.0.2.7"])), ("eth9", Some(&[]))]),
        [
            "channel \"net1\": 192.0.2.1 is not an address of eth0, which has 192.0.2.7; add it with \
             `ip addr add 192.0.2.1/24 dev eth0` or correct the configuration",
            "channel \"xlink\": fe80::1 is not an address of eth9, which has none; add it with \
             `ip addr add fe80::1/64 dev eth9` or correct the configuration",
        ]
    );
}

#[test]
fn an_own_address_on_another_interface_is_named_with_it() {
    assert_eq!(
        problems(&[("eth0", Some(&[])), ("eth5", Some(&["192.0.2.1"]))]),
        [
            "channel \"net1\": 192.0.2.1 is an address of eth5, not of eth0; correct the channel's interface or move the \
          address"
        ]
    );
}

#[test]
fn the_same_link_local_address_on_another_interface_is_another_address() {
    let problems = problems(&[("eth9", Some(&[])), ("eth5", Some(&["fe80::1", "fe80::2"]))]);
    assert!(problems.len() == 1 && problems[0].contains("not an address of eth9, which has none"), "{problems:?}");
}

#[test]
fn the_peers_address_on_this_host_is_a_problem() {
    for (interface, addresses) in [("eth0", &["192.0.2.1", "192.0.2.2"][..]), ("eth5", &["192.0.2.2"])] {
        assert_eq!(
            problems(&[(interface, Some(addresses))]),
            [format!(
                "channel \"net1\": 192.0.2.2 belongs to controller b but is an address of this host's {interface}; is \
                 this host controller b?"
            )]
        );
    }
}

#[test]
fn a_service_address_on_another_interface_is_a_problem() {
    assert_eq!(
        problems(&[("lo", Some(&["192.0.2.10"]))]),
        ["group \"storage-a\": service address 192.0.2.10 is on lo, not on its channel's eth0; remove it with \
          `ip addr del 192.0.2.10/24 dev lo`"]
    );
}

#[test]
fn a_host_whose_interfaces_cannot_be_listed_says_why() {
    let said = HostProblem::Unreadable(nix::Error::ENOBUFS).to_string();
    assert!(said.starts_with("cannot list this host's interfaces: ENOBUFS"), "{said}");
}

#[test]
fn this_host_has_a_loopback_interface_with_its_address_and_a_name() {
    let host = Host::read().unwrap();
    assert!(host.interfaces["lo"].contains(&("127.0.0.1".parse().unwrap(), 8)), "{host:?}");
    assert!(!hostname().unwrap().is_empty());
    let config = Config::parse(&EXAMPLE.replace("\"eth9\"", "\"missing9\""), "example.toml").unwrap();
    assert!(check_host(&config, Node::A).iter().any(|problem| problem.to_string().contains("\"missing9\"")));
}

#[test]
fn a_channels_disk_that_is_none_or_not_there_is_named() {
    let problems = |path: &str| {
        let end = format!("{{ device = \"{path}\" }}");
        let text = format!("{EXAMPLE}\n[[channel]]\nname = \"disk\"\nkind = \"disk\"\na = {end}\nb = {end}\n");
        let config = Config::parse(&text, "example.toml").unwrap();
        let problems = Host::default().problems(&config, Node::A);
        problems.iter().map(ToString::to_string).filter(|problem| problem.contains("\"disk\"")).collect::<Vec<_>>()
    };
    let missing = "channel \"disk\": \"/nonexistent\": ENOENT: No such file or directory; right would be this host's path of the disk";
    assert!(problems("/nonexistent")[0].starts_with(missing), "{:?}", problems("/nonexistent"));
    assert_eq!(
        problems("/dev/null"),
        [
            "channel \"disk\": \"/dev/null\" is no disk; right would be one such as /dev/disk/by-id/wwn-0x5000c500a1b2c3d4"
        ]
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(problems(file.path().to_str().unwrap()), Vec::<String>::new());
}

/// The problems of controller a's devices, with these channels.
fn of_devices(text: &str) -> Vec<String> {
    let config = Config::parse(&format!("{EXAMPLE}\n{text}"), "example.toml").unwrap();
    check_devices(&config, Node::A).iter().map(ToString::to_string).collect()
}

#[test]
fn one_device_under_two_names_is_named_with_both_channels_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let channel = |kind: &str, name: &str, path: &str| {
        format!(
            "[[channel]]\nname = \"{name}\"\nkind = \"{kind}\"\na = {{ device = \"{path}\" }}\nb = {{ device = \"{path}\" }}\n"
        )
    };
    for name in ["disk", "another"] {
        std::fs::write(path(name), "").unwrap();
    }
    std::fs::hard_link(path("disk"), path("hard")).unwrap();
    for (name, of) in [("link", path("disk")), ("chain", path("link")), ("tty", "/dev/null".to_owned())] {
        std::os::unix::fs::symlink(of, path(name)).unwrap();
    }
    for (kind, one, other) in [("disk", "disk", "chain"), ("disk", "link", "hard"), ("serial", "tty", "../../dev/null")]
    {
        let said = of_devices(&(channel(kind, "one", &path(one)) + &channel(kind, "two", &path(other))));
        let begin =
            format!("channel \"two\": {:?} is the device that channel \"one\" has as {:?}: ", path(other), path(one));
        assert!(said.len() == 1 && said[0].starts_with(&begin) && said[0].contains("right would be"), "{said:?}");
    }
    let two = channel("disk", "one", &path("disk")) + &channel("disk", "two", &path("another"));
    assert_eq!(of_devices(&two), Vec::<String>::new());
    let lease = format!("{two}[arbiter]\ndisk = \"{}\"\n", path("link"));
    assert_eq!(of_devices(&lease), Vec::<String>::new(), "a lease has a place of its own");
}

#[test]
fn an_arbiters_disk_that_is_none_or_not_there_is_named() {
    assert_eq!(
        of_devices("[arbiter]\ndisk = \"/nonexistent\"\n"),
        [
            "arbiter.disk: \"/nonexistent\": ENOENT: No such file or directory; right would be this host's path of the disk that both \
             controllers have"
        ]
    );
    let said = of_devices("[arbiter]\ndisk = \"/dev/null\"\n");
    assert_eq!(
        said,
        ["arbiter.disk: \"/dev/null\" is no disk; right would be one such as /dev/disk/by-id/wwn-0x5000c500a1b2c3d4"]
    );
}
