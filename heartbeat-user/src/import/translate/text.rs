//! The configuration as a person would have written it.

use super::{channels, checks, groups, timing::Timing};
use crate::config::show;
use crate::types::Nanos;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All that it is to say.
pub(super) struct Draft {
    pub(super) files: Vec<String>,
    pub(super) pair_id: u32,
    pub(super) hostnames: [Option<String>; 2],
    pub(super) timing: Timing,
    pub(super) announce: Option<Nanos>,
    pub(super) checks: Vec<checks::Draft>,
    pub(super) channels: Vec<channels::Draft>,
    pub(super) groups: Vec<groups::Draft>,
}

macro_rules! put {
    ($text:expr, $($arguments:tt)*) => {
        writeln!($text, $($arguments)*).expect("a String takes all text")
    };
}

impl Draft {
    /// The file. `filled`: with any addresses in place of those that are to be filled in, to see whether the rest is right.
    pub(super) fn text(&self, filled: bool) -> String {
        let mut text = String::new();
        self.head(&mut text);
        for check in &self.checks {
            check_table(&mut text, check);
        }
        for (n, channel) in self.channels.iter().enumerate() {
            channel_table(&mut text, channel, filled.then_some(n));
        }
        for group in &self.groups {
            group_table(&mut text, group);
        }
        text
    }

    fn head(&self, text: &mut String) {
        let files: Vec<_> =
            self.files.iter().zip(["a", "b"]).map(|(file, node)| format!("{} ({node})", comment(file))).collect();
        put!(text, "# Made by `heartbeat import keepalived` of {}.", files.join(" and "));
        put!(
            text,
            "# The same file on both controllers; what every key means: example.toml. Before anything is started:"
        );
        put!(
            text,
            "# heartbeat keygen /etc/heartbeat/pair.key, copy it to the other controller, heartbeat check --config FILE on both."
        );
        put!(text, "\n[pair]\nid = {}\nkey_file = \"/etc/heartbeat/pair.key\"", self.pair_id);
        match &self.hostnames {
            [None, None] => {
                put!(text, "\n# Which of the two a host is: by its name, or else by `--node a` and `--node b`.");
                put!(text, "# [controller.a]\n# hostname = \"..\"\n# [controller.b]\n# hostname = \"..\"");
            }
            names => {
                for (name, node) in names.iter().zip(["a", "b"]) {
                    if let Some(name) = name {
                        put!(text, "\n[controller.{node}]\nhostname = {}", quoted(name));
                    }
                }
            }
        }
        self.timing(text);
        if let Some(every) = self.announce {
            put!(text, "\n[takeover]\nannounce_every = {}", quoted(&show(every)));
        }
    }

    fn timing(&self, text: &mut String) {
        let timing = &self.timing;
        put!(
            text,
            "\n# {}: a channel fails after {} of silence, as with keepalived.",
            comment(&timing.from),
            show(timing.detection)
        );
        if timing.interval.is_some() {
            let own = timing.profile.timing().detection();
            put!(text, "# Without what stands beside the profile: after {}.", show(own));
        }
        put!(text, "[timing]\nprofile = {}", quoted(timing.profile.name()));
        if let Some(interval) = timing.interval {
            put!(text, "interval = {}", quoted(&show(interval)));
        }
        if let Some(missed) = timing.missed {
            put!(text, "initial = {0}\nmax = {0}", missed - 1);
        }
        if let Some(waits) = timing.failed_waits {
            put!(text, "failed_waits = {waits}");
        }
    }
}

fn check_table(text: &mut String, check: &checks::Draft) {
    put!(text, "\n# {}\n[[check]]\nname = {}", comment(&check.from), quoted(&check.name));
    put!(text, "command = {}", list(&check.command));
    put!(text, "interval = {}\ntimeout = {}", quoted(&show(check.interval)), quoted(&show(check.timeout)));
    put!(text, "rise = {}\nfall = {}", check.rise, check.fall);
    if check.weight != 100 {
        put!(text, "weight = {}", check.weight);
    }
}

fn channel_table(text: &mut String, channel: &channels::Draft, filled: Option<usize>) {
    put!(text, "\n[[channel]]\nname = {}", quoted(&channel.name));
    if channel.dedicated {
        put!(text, "kind = \"dedicated\"");
    }
    let is_v6 = channel.own.iter().flatten().any(IpAddr::is_ipv6);
    for (side, node) in ["a", "b"].into_iter().enumerate() {
        let interface = &channel.ports[side];
        let address = match (channel.own[side], filled) {
            (Some(address), _) => address.to_string(),
            (None, Some(n)) => stand_in(is_v6, n, side).to_string(),
            (None, None) => format!("TODO: {node}'s own address on {interface}"),
        };
        put!(text, "{node} = {{ interface = {}, address = {} }}", quoted(interface), quoted(&address));
    }
    if let Some(weight) = channel.weight {
        put!(text, "weight = {weight}");
    }
}

/// An address that nobody has, in the place of one that is not known.
fn stand_in(is_v6: bool, channel: usize, side: usize) -> IpAddr {
    let host = (channel * 2 + side + 1) as u16;
    match is_v6 {
        // RFC 6666: discarded; RFC 1112: reserved.
        true => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, host).into(),
        false => Ipv4Addr::from_bits(0xf000_0000 | u32::from(host)).into(),
    }
}

fn group_table(text: &mut String, group: &groups::Draft) {
    put!(text, "\n# {}\n[[group]]\nname = {}\nhome = \"{}\"", comment(&group.from), quoted(&group.name), group.home);
    put!(text, "addresses = [");
    for (channel, address, prefix) in &group.addresses {
        put!(text, "    {{ channel = {}, cidr = \"{address}/{prefix}\" }},", quoted(channel));
    }
    put!(text, "]");
    if let Some(words) = &group.hooks.on_acquired {
        put!(text, "on_acquired = {}", list(words));
    }
    if let Some(words) = &group.hooks.on_release {
        // As keepalived's: it follows what happened, and decides nothing.
        put!(text, "on_release = {}\non_release_failure = \"force\"\nexclusive = false", list(words));
    }
    if let Some(failback) = group.failback {
        put!(text, "failback = {}", quoted(&show(failback)));
    }
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

/// What may stand in a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
