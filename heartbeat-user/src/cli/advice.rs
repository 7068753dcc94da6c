//! What `heartbeat check` says of a configuration that is valid: what each exclusive group relies on, and what does not go together.

use crate::config::{AgentOptions, Config, Fence, Group, Means, show};
use crate::core::{Hook, Nanos, Node};

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
    let exclusive: Vec<&Group> = config.groups.iter().filter(|group| group.exclusive).collect();
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

fn hooks(group: &Group) -> u64 {
    Hook::ALL.into_iter().filter(|hook| group.hooks.words(*hook).is_some()).count() as u64
}

fn has_hooks(group: &Group) -> bool {
    hooks(group) != 0
}

/// A promise that hooks may break.
fn too_short(config: &Config) -> Option<String> {
    let promised = config.judging.release_within?;
    let longest = |group: &Group| group.hooks.timeout.times(hooks(group));
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
    for device in fence.devices() {
        let Means::Agent { options, .. } = &device.by else { continue };
        for node in [Node::A, Node::B] {
            let of = |node: Node| &options[usize::from(node.wire())];
            if is_of_both(of(node), of(node.other())) {
                let key = &device.key;
                warnings.push(format!(
                    "{key}.{node}: nothing tells the agent whom it switches off, but what it is told for {} as well; right would be \
                     what only {node}'s device has, such as {{ ip = \"198.51.100.101\" }}",
                    node.other()
                ));
            }
        }
    }
    warnings
}

/// Whether all that is told for one is told for the other as well.
fn is_of_both(one: &AgentOptions, other: &AgentOptions) -> bool {
    one.iter().all(|(name, value)| other.get(name) == Some(value))
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
}
