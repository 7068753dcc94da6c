//! The agents' configuration as the lab writes it: a few public fields, and the TOML text that they stand for.
//!
//! Deliberately not the agent's own types: tests here look at the agent from outside, and some of them want wrong files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::topology::{self, Host, Node, XLINK, host_number, interface, ipv4, ipv6, many_ipv4, network_name};

/// Which addresses the channels and groups of [`Config::pair`] use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// 192.0.2.x and so on.
    #[default]
    V4,
    /// fd00:77:1::x and so on.
    V6,
}

/// A configuration file for the pair.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[pair] id`.
    pub pair_id: u32,
    /// `[pair] port`, if not the default.
    pub port: Option<u16>,
    /// `[pair] key_file`; `None` stands for the lab's own key.
    pub key_file: Option<PathBuf>,
    /// `[timing]`: keys and values, the values as TOML text (`"\"lan\""`, `"20"`).
    pub timing: Vec<(String, String)>,
    /// `[dataplane] xdp`.
    pub xdp: String,
    /// `[takeover] restart_grace`, where a test that kills an agent wants another than the default.
    pub restart_grace: Option<String>,
    /// The channels, in order.
    pub channels: Vec<ChannelConfig>,
    /// The groups, in order.
    pub groups: Vec<GroupConfig>,
    /// Appended as it is.
    pub extra: String,
}

/// A `[[channel]]`.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// Its name: `net1`, `xlink`.
    pub name: String,
    /// `network`, `dedicated`, `serial` or `disk`.
    pub kind: String,
    /// Interface and address on a; of a serial line and a disk the device, and nothing.
    pub a: (String, String),
    /// Interface and address on b.
    pub b: (String, String),
    /// Addresses to probe; empty leaves the key out.
    pub probe: Vec<String>,
    /// In baud, of a serial line; `None` leaves the key out.
    pub speed: Option<u32>,
    /// How often a heartbeat is written on a disk; `None` leaves the key out.
    pub every: Option<String>,
}

/// A `[[group]]`.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// The controller that has it by default.
    pub home: Node,
    /// Channel and CIDR of each service address.
    pub addresses: Vec<(String, String)>,
    /// `exclusive`, where a test with hooks wants another than the default.
    pub exclusive: Option<bool>,
    /// Appended to its table as it is: hooks and so on.
    pub extra: String,
}

impl ChannelConfig {
    /// A serial line of that name between two devices, at that speed in baud.
    #[must_use]
    pub fn serial(name: &str, [a, b]: [String; 2], speed: u32) -> Self {
        Self {
            name: name.to_owned(),
            kind: "serial".to_owned(),
            a: (a, String::new()),
            b: (b, String::new()),
            probe: Vec::new(),
            speed: Some(speed),
            every: None,
        }
    }

    /// A disk of that name, which both have at that path, with a heartbeat so often.
    #[must_use]
    pub fn disk(name: &str, path: &Path, every: &str) -> Self {
        let end = || (path.display().to_string(), String::new());
        Self {
            name: name.to_owned(),
            kind: "disk".to_owned(),
            a: end(),
            b: end(),
            probe: Vec::new(),
            speed: None,
            every: Some(every.to_owned()),
        }
    }
}

impl Config {
    /// The pair as `cargo xtask run` has it: two networks, at `lan`.
    #[must_use]
    pub fn usual() -> Self {
        Self::pair(2, Family::V4)
    }

    /// Whether its networks work is asked of their clients, one of a network.
    #[must_use]
    pub fn judged_by_clients(mut self) -> Self {
        for (channel, number) in self.channels.iter_mut().filter(|channel| channel.kind == "network").zip(1..) {
            channel.probe = vec![ipv4(number, host_number(Host::Client)).to_string()];
        }
        self
    }

    /// The pair of a lab with that many networks and the dedicated cable, at profile `lan` and `xdp = "auto"`: group
    /// `storage-a` with 192.0.2.10/24 on net1 at home on a, and from two networks on `storage-b` with 198.51.100.10/24
    /// on net2 at home on b.
    #[must_use]
    pub fn pair(networks: usize, family: Family) -> Self {
        let mut channels: Vec<_> = (1..=networks).map(|number| network_channel(number, family)).collect();
        let link = |node| (interface(XLINK), topology::xlink_address(node).to_string());
        channels.push(ChannelConfig {
            name: network_name(XLINK),
            kind: "dedicated".to_owned(),
            a: link(Node::A),
            b: link(Node::B),
            probe: Vec::new(),
            speed: None,
            every: None,
        });
        let homes = [("storage-a", Node::A), ("storage-b", Node::B)];
        let groups = homes.iter().zip(1..=networks).map(|((name, home), number)| GroupConfig {
            name: (*name).to_owned(),
            home: *home,
            addresses: vec![(network_name(number), service_cidr(number, family))],
            exclusive: None,
            extra: String::new(),
        });
        Self {
            pair_id: 7,
            port: None,
            key_file: None,
            timing: Vec::new(),
            xdp: "auto".to_owned(),
            restart_grace: None,
            groups: groups.collect(),
            channels,
            extra: String::new(),
        }
        .profile("lan")
    }

    /// Sets `[timing] profile`.
    #[must_use]
    pub fn profile(self, name: &str) -> Self {
        self.timing("profile", &format!("\"{name}\""))
    }

    /// Sets a key of `[timing]`; `value` is TOML text, so a duration is `"\"10ms\""`.
    #[must_use]
    pub fn timing(mut self, key: &str, value: &str) -> Self {
        self.timing.retain(|(known, _)| known != key);
        self.timing.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets `[dataplane] xdp`: `native`, `generic`, `socket` or `auto`.
    #[must_use]
    pub fn xdp(mut self, mode: &str) -> Self {
        mode.clone_into(&mut self.xdp);
        self
    }

    /// Gives group `storage-a` this many addresses on net1: the usual one, then 10.101.1.0 and up, all of one /16.
    #[must_use]
    pub fn many_addresses(mut self, count: usize) -> Self {
        if let Some(group) = self.groups.first_mut() {
            let more =
                (0..count.saturating_sub(1)).map(|index| ("net1".to_owned(), format!("{}/16", many_ipv4(1, index))));
            group.addresses.truncate(1);
            group.addresses.extend(more);
        }
        self
    }

    /// The file's text; `key_file` is used where the configuration names none.
    #[must_use]
    pub fn to_toml(&self, key_file: &Path) -> String {
        let mut text = String::new();
        self.write(&mut text, self.key_file.as_deref().unwrap_or(key_file)).expect("writing to a String does not fail");
        text
    }

    fn write(&self, to: &mut String, key_file: &Path) -> std::fmt::Result {
        writeln!(to, "# Written by Heartbeat's lab.\n[pair]\nid = {}", self.pair_id)?;
        writeln!(to, "key_file = \"{}\"", key_file.display())?;
        if let Some(port) = self.port {
            writeln!(to, "port = {port}")?;
        }
        for node in Node::BOTH {
            writeln!(to, "\n[controller.{node}]\nhostname = \"lab-{node}\"")?;
        }
        writeln!(to, "\n[timing]")?;
        for (key, value) in &self.timing {
            writeln!(to, "{key} = {value}")?;
        }
        writeln!(to, "\n[dataplane]\nxdp = \"{}\"", self.xdp)?;
        if let Some(grace) = &self.restart_grace {
            writeln!(to, "\n[takeover]\nrestart_grace = \"{grace}\"")?;
        }
        for channel in &self.channels {
            writeln!(to, "\n[[channel]]\nname = \"{}\"\nkind = \"{}\"", channel.name, channel.kind)?;
            for (node, (interface, address)) in [("a", &channel.a), ("b", &channel.b)] {
                if matches!(&*channel.kind, "serial" | "disk") {
                    writeln!(to, "{node} = {{ device = \"{interface}\" }}")?;
                } else {
                    writeln!(to, "{node} = {{ interface = \"{interface}\", address = \"{address}\" }}")?;
                }
            }
            if let Some(speed) = channel.speed {
                writeln!(to, "speed = {speed}")?;
            }
            if let Some(every) = &channel.every {
                writeln!(to, "every = \"{every}\"")?;
            }
            if !channel.probe.is_empty() {
                writeln!(to, "probe = {:?}", channel.probe)?;
            }
        }
        for group in &self.groups {
            writeln!(to, "\n[[group]]\nname = \"{}\"\nhome = \"{}\"\naddresses = [", group.name, group.home)?;
            for (channel, cidr) in &group.addresses {
                writeln!(to, "  {{ channel = \"{channel}\", cidr = \"{cidr}\" }},")?;
            }
            writeln!(to, "]\n{}", group.extra)?;
            if let Some(exclusive) = group.exclusive {
                writeln!(to, "exclusive = {exclusive}")?;
            }
        }
        to.write_str(&self.extra)
    }
}

fn network_channel(number: usize, family: Family) -> ChannelConfig {
    let end = |node| {
        let last = host_number(Host::Controller(node));
        let address = match family {
            Family::V4 => ipv4(number, last).to_string(),
            Family::V6 => ipv6(number, last.into()).to_string(),
        };
        (interface(number), address)
    };
    ChannelConfig {
        name: network_name(number),
        kind: "network".to_owned(),
        a: end(Node::A),
        b: end(Node::B),
        probe: Vec::new(),
        speed: None,
        every: None,
    }
}

fn service_cidr(number: usize, family: Family) -> String {
    match family {
        Family::V4 => format!("{}/24", ipv4(number, 10)),
        Family::V6 => format!("{}/64", ipv6(number, 0x10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(config: &Config) -> toml::Table {
        config.to_toml(Path::new("/run/x/pair.key")).parse().unwrap()
    }

    #[test]
    fn the_file_says_what_the_builder_was_told() {
        let config = Config::pair(2, Family::V4).profile("fast").timing("interval", "\"5ms\"").xdp("generic");
        let file = parsed(&config);
        assert_eq!(file["timing"]["profile"].as_str(), Some("fast"));
        assert_eq!(file["timing"]["interval"].as_str(), Some("5ms"));
        assert_eq!(file["dataplane"]["xdp"].as_str(), Some("generic"));
        assert_eq!(file["pair"]["key_file"].as_str(), Some("/run/x/pair.key"));
        let channels = file["channel"].as_array().unwrap();
        assert_eq!(channels.len(), 3);
        assert_eq!(channels[2]["b"]["address"].as_str(), Some("fe80::2"));
        assert_eq!(file["group"][1]["addresses"][0]["cidr"].as_str(), Some("198.51.100.10/24"));
    }

    #[test]
    fn every_one_of_a_thousand_addresses_is_different_and_none_is_the_clients() {
        let file = parsed(&Config::pair(1, Family::V6).many_addresses(1000));
        let addresses = file["group"][0]["addresses"].as_array().unwrap();
        let mut all: Vec<&str> = addresses.iter().map(|address| address["cidr"].as_str().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
        assert!(!all.contains(&"10.101.255.254/16"));
        assert_eq!(file["group"].as_array().unwrap().len(), 1);
    }
}
