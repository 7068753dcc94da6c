//! What `heartbeat check` says of this host: the interfaces that channels end on, and how punctual it can be.

use crate::{
    config::Config,
    system::realtime::be_fifo,
    types::{Nanos, Node},
};
use comfy_table::Table;
use std::{fs, io, path::Path, thread};

/// A part of an interval that nothing of the host's own should take.
const PUNCTUAL: u64 = 10;

/// A host as the files of its kernel have it.
pub(super) struct Facts<'a> {
    /// `/`, but in tests.
    root: &'a Path,
}

impl Facts<'static> {
    /// Of this host.
    pub(super) fn here() -> Self {
        Self { root: Path::new("/") }
    }
}

impl Facts<'_> {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The interfaces of a controller's channels: driver, link, MTU. What the kernel does not say is `?`.
    pub(super) fn nics(&self, config: &Config, node: Node, mut table: Table) -> Table {
        for interface in interfaces(config, node) {
            let of = |file: &str| format!("sys/class/net/{interface}/{file}");
            let link = match (self.number(&of("carrier")), self.number(&of("speed")), self.text(&of("duplex"))) {
                (Some(0), ..) => "no carrier".to_owned(),
                (None, ..) => "down".to_owned(),
                (Some(_), Some(speed), Some(duplex)) if duplex != "unknown" => format!("{speed} Mb/s, {duplex} duplex"),
                (Some(_), ..) => "carrier".to_owned(),
            };
            let mtu = self.text(&of("mtu")).unwrap_or_else(|| "?".to_owned());
            table.add_row([String::new(), interface.to_owned(), self.driver(interface), link, mtu]);
        }
        table
    }

    fn driver(&self, interface: &str) -> String {
        let folder = self.root.join("sys/class/net").join(interface);
        let driver = fs::read_link(folder.join("device/driver")).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let kind = || {
            let events = self.text(&format!("sys/class/net/{interface}/uevent"))?;
            events.lines().find_map(|line| line.strip_prefix("DEVTYPE=").map(str::to_owned))
        };
        driver.or_else(kind).unwrap_or_else(|| if folder.exists() { "virtual" } else { "?" }.to_owned())
    }

    /// What stands in the way of a punctual heartbeat each `interval`.
    pub(super) fn warnings(&self, config: &Config, node: Node) -> Vec<String> {
        let half = interfaces(config, node).filter(|interface| {
            self.text(&format!("sys/class/net/{interface}/duplex")).is_some_and(|duplex| duplex == "half")
        });
        let half = half.map(|interface| {
            format!("{interface}: half duplex: under load heartbeats collide and are late; right would be full duplex at both ends of the cable")
        });
        half.chain(self.idles(config.timing.interval)).collect()
    }

    /// Where leaving the deepest idle state that is in use takes a good part of an interval.
    fn idles(&self, interval: Nanos) -> Option<String> {
        let states = (0..16).map(|state| format!("sys/devices/system/cpu/cpu0/cpuidle/state{state}"));
        let used = states.filter(|state| self.number(&format!("{state}/disable")) == Some(0));
        let (latency_us, name) = used
            .filter_map(|state| Some((self.number(&format!("{state}/latency"))?, self.text(&format!("{state}/name"))?)))
            .max()?;
        (latency_us * 1_000 > interval.0 / PUNCTUAL).then(|| {
            format!(
                "a processor that idles in {name} takes up to {latency_us} us to wake, of an interval of {} us; right would be a governor or \
                 boot options (such as intel_idle.max_cstate=1) that keep it out of there, or a slower profile",
                interval.0 / 1_000
            )
        })
    }
}

/// Whether this process may have the priority that the threads of the data plane want: tried, on a thread of its own.
pub(super) fn real_time_refused(config: &Config) -> Option<String> {
    let priority = config.dataplane.priority;
    let tried = thread::spawn(move || be_fifo(priority)).join().unwrap_or(Err(io::ErrorKind::Other.into()));
    let error = tried.err()?;
    Some(format!(
        "dataplane.priority = {priority}: no real-time priority is to be had here ({error}): where this host is busy, heartbeats are late; right \
         would be root, or CAP_SYS_NICE, or LimitRTPRIO={priority} of the unit; where the kernel has RT_GROUP_SCHED, a cgroup with \
         cpu.rt_runtime_us"
    ))
}

fn interfaces(config: &Config, node: Node) -> impl Iterator<Item = &str> {
    let mut names: Vec<_> = config.channels.iter().filter_map(|c| Some(c.end(node)?.interface.as_str())).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use std::os::unix::fs::symlink;

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, text) in [("carrier", "1\n"), ("speed", "100\n"), ("duplex", "half\n"), ("mtu", "1500\n")] {
            put(&format!("sys/class/net/eth0/{file}"), text);
        }
        fs::create_dir_all(root.path().join("sys/class/net/eth0/device")).unwrap();
        symlink("../../../bus/pci/drivers/e1000e", root.path().join("sys/class/net/eth0/device/driver")).unwrap();
        for (file, text) in [("carrier", "0\n"), ("mtu", "9000\n"), ("uevent", "DEVTYPE=bond\nINTERFACE=eth1\n")] {
            put(&format!("sys/class/net/eth1/{file}"), text);
        }
        for (state, name, latency, disable) in
            [(0, "POLL", "0", "0"), (1, "C1", "2", "0"), (2, "C6", "200", "0"), (3, "C10", "900", "1")]
        {
            let folder = format!("sys/devices/system/cpu/cpu0/cpuidle/state{state}");
            put(&format!("{folder}/name"), name);
            put(&format!("{folder}/latency"), latency);
            put(&format!("{folder}/disable"), disable);
        }
        root
    }

    fn config(profile: &str) -> Config {
        Config::parse(&EXAMPLE.replace("profile = \"lan\"", &format!("profile = {profile:?}")), "example.toml").unwrap()
    }

    #[test]
    fn driver_link_and_mtu_of_each_interface_are_shown_once() {
        let root = host();
        let table = crate::cli::check::new_table(["", "interface", "driver", "link", "MTU"]);
        let table = Facts { root: root.path() }.nics(&config("lan"), Node::A, table).trim_fmt();
        let expected = "\
   interface  driver  link                   MTU
   eth0       e1000e  100 Mb/s, half duplex  1500
   eth1       bond    no carrier             9000
   eth9       ?       down                   ?";
        let lines: Vec<_> = table.lines().map(str::trim).collect();
        let expected: Vec<_> = expected.lines().map(str::trim).collect();
        assert_eq!(lines, expected, "{table}");
    }

    #[test]
    fn what_makes_heartbeats_late_is_warned_of_where_the_interval_is_as_short() {
        let root = host();
        let warnings = |profile| Facts { root: root.path() }.warnings(&config(profile), Node::A);
        let [duplex] = &warnings("lan")[..] else { panic!() };
        assert!(duplex.starts_with("eth0: half duplex"), "{duplex}");
        let [_, idle] = &warnings("ultra")[..] else { panic!() };
        assert!(idle.contains("idles in C6 takes up to 200 us to wake, of an interval of 1000 us"), "{idle}");
    }
}
