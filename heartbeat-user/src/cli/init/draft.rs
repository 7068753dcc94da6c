//! The file that `heartbeat init` writes.

use super::{
    hosts::{End, Kind, listed},
    words::GroupWords,
};
use crate::{probe::same_network, types::Node};
use anyhow::{Result, bail};
use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

pub(super) struct Draft {
    pub(super) pair: u32,
    pub(super) key_file: PathBuf,
    pub(super) hostnames: [String; 2],
    pub(super) profile: String,
    pub(super) channels: Vec<Channel>,
    pub(super) groups: Vec<Group>,
}

pub(super) struct Channel {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ends: [End; 2],
}

pub(super) struct Group {
    name: String,
    home: Node,
    /// With the channels' places.
    addresses: Vec<(usize, IpAddr, u8)>,
}

impl Draft {
    pub(super) fn add_channel(&mut self, kind: Kind, ends: [End; 2]) {
        let stem = match kind {
            Kind::Network => "net",
            Kind::Cable => "xlink",
        };
        let number = 1 + self.channels.iter().filter(|channel| channel.kind == kind).count();
        self.channels.push(Channel { name: format!("{stem}{number}"), kind, ends });
    }

    /// Each address on the first network that it is in: the caller's own addresses there decide.
    pub(super) fn add_group(&mut self, words: &GroupWords) -> Result<()> {
        let mut addresses = Vec::new();
        for (address, prefix) in &words.addresses {
            let fits = |channel: &Channel| same_network(channel.ends[0].address, *address, *prefix);
            let networks = || self.channels.iter().enumerate().filter(|(_, channel)| channel.kind == Kind::Network);
            let Some((place, _)) = networks().find(|(_, channel)| fits(channel)) else {
                let shown =
                    networks().map(|(_, c)| format!("{} ({} has {})", c.name, c.ends[0].interface, c.ends[0].address));
                bail!(
                    "--group {}: {address}/{prefix} is in no network of both controllers; right would be an address in one of: {}",
                    words.name,
                    listed(shown)
                );
            };
            addresses.push((place, *address, *prefix));
        }
        self.groups.push(Group { name: words.name.clone(), home: words.home, addresses });
        Ok(())
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut text = String::from(
            "# A Heartbeat pair: the same file on both controllers. Every key, with its default: example.toml.\n\n",
        );
        let put = |text: &mut String, line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let key_file = self.key_file.display().to_string();
        put(&mut text, format!("pair = {{ id = {}, key_file = {} }}", self.pair, quoted(&key_file)));
        let [a, b] = self.hostnames.each_ref().map(|name| format!("{{ hostname = {} }}", quoted(name)));
        put(&mut text, format!("controller = {{ a = {a}, b = {b} }}"));
        put(&mut text, format!("timing = {{ profile = {} }}", quoted(&self.profile)));
        for channel in &self.channels {
            put(&mut text, format!("\n[[channel]]\nname = {}", quoted(&channel.name)));
            if channel.kind == Kind::Cable {
                put(&mut text, "kind = \"dedicated\"".to_owned());
            }
            for (node, end) in ["a", "b"].into_iter().zip(&channel.ends) {
                let (interface, address) = (quoted(&end.interface), quoted(&end.address.to_string()));
                put(&mut text, format!("{node} = {{ interface = {interface}, address = {address} }}"));
            }
        }
        for group in &self.groups {
            let (name, home) = (quoted(&group.name), quoted(&group.home.to_string()));
            put(&mut text, format!("\n[[group]]\nname = {name}\nhome = {home}\naddresses = ["));
            for (channel, address, prefix) in &group.addresses {
                let channel = quoted(&self.channels[*channel].name);
                put(&mut text, format!("    {{ channel = {channel}, cidr = \"{address}/{prefix}\" }},"));
            }
            put(&mut text, "]".to_owned());
        }
        text
    }

    /// What would make a better pair of it.
    pub(super) fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if let [channel] = &self.channels[..] {
            hints.push(format!(
                "{} is the only channel: where it fails, each controller takes the other for dead; have a second network, a cable between \
                 the two, a serial line or a shared disk",
                channel.name
            ));
        } else if self.channels.iter().all(|channel| channel.kind == Kind::Network) {
            hints.push("a cable between the two controllers tells a dead network from a dead peer".to_owned());
        }
        if self.groups.is_empty() {
            hints.push("no group yet: nothing is served or taken over; --group NAME=ADDRESS/PREFIX, or a [[group]] in the file".to_owned());
        }
        hints
    }

    /// What to type, and where.
    pub(super) fn next_steps(&self, file: &Path) -> String {
        let folder = file.parent().unwrap_or(Path::new("/")).display();
        let (file, key, peer) = (file.display(), self.key_file.display(), &self.hostnames[1]);
        let mut text = String::new();
        let _ = writeln!(text, "Now give both files to the other controller, and check there:\n");
        let _ = writeln!(text, "  scp -p {key} {file} root@{peer}:{folder}/");
        let _ = writeln!(text, "  ssh root@{peer} heartbeat check --config {file}\n");
        let _ = write!(text, "Then, on both:  heartbeat run --config {file}");
        text
    }
}
