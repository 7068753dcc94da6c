//! What `heartbeat check` says of a configuration that is valid: what each exclusive group relies on, and what does not go together.

use crate::{
    config::{AgentOptions, Config, Device, Fence, GroupConfig, Means, show},
    core::Hook,
    types::{Nanos, Node},
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What makes it safe to take an exclusive group from a silent peer, by group.
pub(super) fn relies_on(config: &Config) -> Vec<(&str, String)> {
    let exclusive = config.groups.iter().filter(|group| group.exclusive);
    exclusive.map(|group| (group.name.as_str(), means(config).join(", or "))).collect()
}

fn means(config: &Config) -> Vec<String> {
    let mut means = Vec::new();
    if let Some(fence) = &config.fence {
        let levels: Vec<_> = fence.levels.iter().map(crate::config::Level::runs).collect();
        means.push(format!("the fence ({})", levels.join(", else ")));
    }
    let within = show(config.release_within());
    if let Some(arbiter) = &config.arbiter {
        means.push(format!("the arbiter ({}), and {within} for the peer to let go", arbiter.described()));
    }
    if means.is_empty() {
        means.push(if config.judging.release_isolated {
            format!("the peer's promise to let go within {within} where it is cut off")
        } else {
            "nothing".to_owned()
        });
    }
    means
}

/// What a valid configuration does not do although it may seem to.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let exclusive: Vec<&GroupConfig> = config.groups.iter().filter(|group| group.exclusive).collect();
    let decided = config.fence.is_some() || config.arbiter.is_some();
    if !exclusive.is_empty() && !decided {
        let names = exclusive.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
        warnings.push(if config.judging.release_isolated {
            format!(
                "{names}: only a promise keeps both from having it: it does not cover a network that parts so that each half works \
                 for one of the two; a [fence] or an [arbiter] does"
            )
        } else {
            format!(
                "{names}: judging.isolated = \"keep\", and neither [fence] nor [arbiter]: it is never taken from a silent peer; right \
                 would be one of them, or \"release\""
            )
        });
    }
    let hooked: Vec<_> = exclusive.iter().filter(|group| has_hooks(group)).map(|group| group.name.as_str()).collect();
    if !hooked.is_empty() && config.fence.is_none() && config.watchdog.is_none() {
        warnings.push(format!(
            "{}: what its hooks have in use where an agent died, nobody lets go of until it is started again; a [fence] or a \
             [watchdog] does",
            hooked.join(", ")
        ));
    }
    warnings.extend(too_short(config));
    if let Some(fence) = &config.fence {
        warnings.extend(of_fence(fence));
    }
    warnings
}

fn hooks(group: &GroupConfig) -> u64 {
    Hook::ALL.into_iter().filter(|hook| group.hooks.words(*hook).is_some()).count() as u64
}

fn has_hooks(group: &GroupConfig) -> bool {
    hooks(group) != 0
}

/// A promise that hooks may break.
fn too_short(config: &Config) -> Option<String> {
    let promised = config.judging.release_within?;
    let longest = |group: &GroupConfig| group.hooks.timeout.times(hooks(group));
    let group = config.groups.iter().filter(|group| longest(group) > promised).max_by_key(|group| longest(group))?;
    Some(format!(
        "judging.release_within = {}: the hooks of group \"{}\" may take {}; what takes longer than promised ends in the watchdog, or, \
         without one, in use on both; right would be more, or a shorter hook_timeout",
        show(promised),
        group.name,
        show(longest(group))
    ))
}

fn of_fence(fence: &Fence) -> Vec<String> {
    let mut warnings = Vec::new();
    let [a, b] = fence.delay;
    if a != Nanos(0) && b != Nanos(0) {
        warnings.push(format!(
            "fence.delay: a waits {}, b {}: whoever waits less survives; right would be a delay for one of them only",
            show(a),
            show(b)
        ));
    }
    warnings.extend(fence.devices().flat_map(of_targets));
    warnings.extend(fence.levels.iter().flat_map(|level| of_level(&level.devices)));
    warnings
}

/// What tells an agent whom it switches off, where that is the same for both.
fn of_targets(device: &Device) -> Vec<String> {
    let (key, Means::Agent { options: [a, b], .. }) = (&device.key, &device.by) else { return Vec::new() };
    let [plain_a, plain_b] = [a, b].map(plain);
    if plain_a == plain_b {
        let differ = a.iter().filter(|(name, value)| b.get(name) != Some(value)).map(|(name, _)| name);
        return vec![format!(
            "{key}: a and b are the same but for the spelling of {}: both controllers would switch off the same thing, one of them \
             itself; right would be what only a's device has, and what only b's has, such as {{ ip = \"198.51.100.101\" }}",
            differ.collect::<Vec<_>>().join(", ")
        )];
    }
    let told = |node: Node| if node == Node::A { &plain_a } else { &plain_b };
    let of_both = |node: &Node| told(*node).iter().all(|(name, value)| told(node.other()).get(name) == Some(value));
    let warn = |node: Node| {
        format!(
            "{key}.{node}: nothing tells the agent whom it switches off, but what it is told for {} as well; right would be \
             what only {node}'s device has, such as {{ ip = \"198.51.100.101\" }}",
            node.other()
        )
    };
    [Node::A, Node::B].into_iter().filter(of_both).map(warn).collect()
}

/// Devices of a level that are one: it would be switched off twice, and what else the peer has power by, never. What is the same by
/// the letter is refused before.
fn of_level(devices: &[Device]) -> Vec<String> {
    let told = |device: &Device| match &device.by {
        // By its name or by its path.
        Means::Agent { name, options } => {
            Some((name.rsplit('/').next().map(str::to_owned), options.each_ref().map(plain)))
        }
        Means::Command(_) => None,
    };
    let told: Vec<_> = devices.iter().filter_map(|device| Some((&device.key, told(device)?))).collect();
    let again = |(i, (key, (name, [a, b]))): (usize, &(&String, (_, [Plain; 2])))| {
        let same = |(_, (other, [of_a, of_b])): &&(&String, (Option<String>, [Plain; 2]))| {
            other == name && (a == of_a || b == of_b)
        };
        let (first, _) = told[..i].iter().find(same)?;
        Some(format!(
            "{key}: the same outlet as {first} but for the spelling: what else the peer has power by stays on; right would be another \
             one, or one device less"
        ))
    };
    told.iter().enumerate().filter_map(again).collect()
}

/// What an agent is told, as whoever it talks to would understand it.
type Plain = BTreeMap<String, String>;

fn plain(options: &AgentOptions) -> Plain {
    options.iter().map(|(name, value)| (plain_name(name).to_owned(), plain_value(value))).collect()
}

/// The names that options of ClusterLabs' common library had before.
fn plain_name(name: &str) -> &str {
    match name {
        "ipaddr" => "ip",
        "port" => "plug",
        "login" => "username",
        "passwd" => "password",
        name => name,
    }
}

/// Numbers and addresses by what they are; names without regard to case, and to the dot that ends a whole one.
fn plain_value(value: &str) -> String {
    let value = value.trim();
    let number = |digits: &str| match digits.trim_start_matches('0') {
        _ if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) => None,
        "" => Some("0".to_owned()),
        rest => Some(rest.to_owned()),
    };
    if let Some(number) = number(value) {
        return number;
    }
    // Parsed, an octet has no leading zeros.
    let octets: Option<Vec<_>> = value.split('.').map(number).collect();
    let address = octets.map_or_else(|| value.trim_matches(['[', ']']).to_owned(), |octets| octets.join("."));
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => value.strip_suffix('.').unwrap_or(value).to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    /// The example with hooks for its second group, and this.
    fn config(text: &str) -> Config {
        // The example has this table.
        let (text, judging) = text.split_once("[judging]\n").unwrap_or((text, ""));
        let example = EXAMPLE.replace("\n[judging]\n", &format!("\n[judging]\n{judging}"));
        let hooks = "on_acquire = [\"/bin/true\"]\non_release = [\"/bin/true\"]\nhook_timeout = \"10s\"\n";
        Config::parse(&format!("{example}\n{hooks}{text}"), "example.toml").unwrap()
    }

    const FENCE: &str = "[fence]\nagent = \"fence_ipmilan\"\na = { ip = \"192.0.2.8\" }\nb = { ip = \"192.0.2.9\" }\n";

    #[test]
    fn what_an_exclusive_group_relies_on_is_said() {
        for (text, expected) in [
            ("", "the peer's promise to let go within 25s where it is cut off"),
            ("[judging]\nisolated = \"keep\"\n", "nothing"),
            (FENCE, "the fence (fence_ipmilan)"),
            (
                "[arbiter]\netcd = [\"http://192.0.2.7:2379\"]\n",
                "the arbiter (etcd http://192.0.2.7:2379), and 27s for the peer to let go",
            ),
        ] {
            assert_eq!(relies_on(&config(text)), [("storage-b", expected.to_owned())]);
        }
        assert_eq!(relies_on(&Config::parse(EXAMPLE, "example.toml").unwrap()), []);
    }

    #[test]
    fn what_does_not_go_together_is_warned_of() {
        let watchdog = "[watchdog]\ndevice = \"/dev/watchdog\"\n";
        for (text, expected) in [
            (String::new(), vec!["only a promise", "where an agent died"]),
            ("[judging]\nisolated = \"keep\"\n".into(), vec!["never taken from a silent peer", "where an agent died"]),
            (watchdog.into(), vec!["only a promise"]),
            (FENCE.into(), vec![]),
            (format!("{FENCE}delay = {{ a = \"1s\", b = \"1s\" }}\n"), vec!["fence.delay: a waits 1s, b 1s"]),
            (FENCE.replace("a = {", "options = {").replace("b = { ip", "b = { plug"), vec!["fence.a: nothing tells"]),
            (
                format!("{FENCE}[judging]\nrelease_within = \"19s\"\n"),
                vec!["release_within = 19s: the hooks of group \"storage-b\" may take 20s"],
            ),
        ] {
            let said = warnings(&config(&text));
            assert_eq!(said.len(), expected.len(), "{text}: {said:#?}");
            assert!(said.iter().zip(expected).all(|(said, expected)| said.contains(expected)), "{text}: {said:#?}");
        }
        let plain = Config::parse(EXAMPLE, "example.toml").unwrap();
        assert_eq!(warnings(&plain), Vec::<String>::new());
    }
    #[test]
    fn one_thing_under_two_names_is_what_a_and_b_must_not_be() {
        let warned = |a: &str, b: &str| {
            let said = warnings(&config(&format!("[fence]\nagent = \"fence_x\"\na = {{ {a} }}\nb = {{ {b} }}\n")));
            assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
            said
        };
        for (a, b) in [
            ("plug = \"01\"", "plug = \"1\""),
            ("plug = \"000\"", "plug = 0"),
            ("ip = \"BMC-A.example\"", "ip = \"bmc-a.example.\""),
            ("ip = \"10.0.0.1\"", "ip = \"010.0.0.01\""),
            ("ip = \"2001:db8::1\"", "ip = \"[2001:DB8:0:0::1]\""),
            ("ip = \"::ffff:10.0.0.1\"", "ip = \"10.0.0.1\""),
            ("ip = \"10.0.0.1\", password = \"hunter2\"", "ip = \"10.0.0.1 \", password = \"hunter2\""),
            ("ip = \"10.0.0.1\"", "ipaddr = \"10.0.0.1\""),
        ] {
            let said = warned(a, b);
            assert!(
                said.len() == 1 && said[0].starts_with("fence: a and b are the same but for the spelling of "),
                "{said:?}"
            );
        }
        for (a, b) in [
            ("plug = 1", "plug = 10"),
            ("plug = \"1a\"", "plug = \"01a\""),
            ("ip = \"10.0.0.1\"", "ip = \"10.0.0.10\""),
            ("ip = \"10.0.0.1\"", "ip = \"10.0.0.1.example\""),
            ("plug = \"1.1\"", "plug = \"1.2\""),
        ] {
            assert_eq!(warned(a, b), Vec::<String>::new(), "{a}, {b}");
        }
        let said = warned("plug = \"01\"", "plug = 1, lanplus = true");
        assert!(said.len() == 1 && said[0].starts_with("fence.a: nothing tells the agent whom"), "{said:?}");
    }

    #[test]
    fn one_outlet_under_two_names_is_no_second_device() {
        let device = |agent: &str, plug: &str| {
            format!(
                "[[fence.device]]\nagent = \"{agent}\"\na = {{ ip = \"pdu\", plug = \"{plug}\" }}\nb = {{ ip = \"pdu\", plug = \"9{plug}\" }}\n"
            )
        };
        let said = |second: &str| warnings(&config(&(device("fence_apc", "1") + second)));
        for (agent, plug) in [("fence_apc", "01"), ("/usr/sbin/fence_apc", "1")] {
            let said = said(&device(agent, plug));
            assert!(
                said.len() == 1 && said[0].starts_with("fence.device[2]: the same outlet as fence.device[1] but"),
                "{said:?}"
            );
        }
        for (agent, plug) in [("fence_apc", "2"), ("fence_wti", "1")] {
            assert_eq!(said(&device(agent, plug)), Vec::<String>::new());
        }
    }
}
