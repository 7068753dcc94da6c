//! A running pair, its clients, and who really has an address: by the kernels, not by what the agents say.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use heartbeat_tests::client::{Probe, ProbeOptions};
use heartbeat_tests::lab::topology::{ipv4, owner_of};
use heartbeat_tests::lab::{Config, Family, Lab, LogLine, Mark, Node, Options, realtime_ns};
use heartbeat_tests::pair::{SOON, running, until};
use heartbeat_tests::scripts::Scripts;
use heartbeat_tests::trials::{show, story};

pub const A: Node = Node::A;
pub const B: Node = Node::B;
/// A client that was not answered for so long has noticed something; below that, the host was busy.
pub const NOTICED: Duration = Duration::from_millis(200);
/// Within so long of its cause, whatever clients have to learn is told them.
pub const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// The pair as `cargo xtask run` has it.
pub fn config() -> Config {
    Config::pair(2, Family::V4).profile("lan")
}

/// With groups whose hooks are these scripts, each run by `/bin/sh` in the scripts' folder: group `storage-a`.
pub fn with_hooks(lab: &Lab, config: &mut Config, hooks: &[(&str, &str)]) {
    let scripts = Scripts::of(lab).unwrap();
    // What follows from hooks is the subject, not what makes a takeover safe.
    config.groups[0].exclusive = Some(false);
    config.restart_grace = Some("0s".into());
    for (hook, text) in hooks {
        let command = scripts.write(hook, text).unwrap();
        config.groups[0].extra += &format!("{hook} = {command}\n");
    }
}

/// A lab with both agents started; what `configure` does to the configuration may need its folder.
pub fn started(configure: impl FnOnce(&Lab, &mut Config)) -> (Lab, Config) {
    let lab = Lab::new(Options::default()).unwrap();
    let mut config = config();
    configure(&lab, &mut config);
    lab.configure(&config).unwrap();
    for node in Node::BOTH {
        lab.start(node).unwrap();
    }
    (lab, config)
}

/// A healthy pair with two clients.
pub fn pair(config: &Config) -> (Lab, [Client; 2]) {
    let lab = running(config).unwrap();
    let clients = [1, 2].map(|number| Client::start(&lab, number, service(number)));
    (lab, clients)
}

/// The service address of network `number`.
pub fn service(number: usize) -> IpAddr {
    ipv4(number, 10).into()
}

/// Writes a controller's file anew and has it read; returns once the new life says that it is there.
pub fn reload(lab: &Lab, node: Node, config: &Config) {
    lab.configure_text(node, &config.to_toml(&lab.key_file())).unwrap();
    let mark = lab.mark(node);
    lab.reload(node).unwrap();
    wait(lab, node, mark, "ready");
}

pub fn wait(lab: &Lab, node: Node, mark: Mark, event: &str) -> LogLine {
    let found = lab.wait_event_since(node, mark, |line| line.is(event), SOON);
    found.unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)))
}

/// Those whose kernels have an address.
pub fn holders(lab: &Lab, address: IpAddr) -> Vec<Node> {
    let has = |node: &Node| {
        let Ok(namespace) = lab.controller(*node) else { return false };
        namespace.netlink().addresses().unwrap().iter().any(|(_, found)| *found == address)
    };
    Node::BOTH.into_iter().filter(has).collect()
}

/// Waits until exactly these have it.
pub fn wait_holders(lab: &Lab, address: IpAddr, expected: &[Node]) {
    let seen = until(&format!("{address} on {expected:?}"), || Ok((holders(lab, address) == expected).then_some(())));
    seen.unwrap_or_else(|error| panic!("{error:#}; it is on {:?}\n{}", holders(lab, address), story(lab)));
}

/// For so long, these have it and nobody else; and nobody finds a living peer dead.
pub fn stays(lab: &Lab, expected: &[(IpAddr, Node)], lasts: Duration, marks: [Mark; 2]) {
    let end = realtime_ns() + u64::try_from(lasts.as_nanos()).unwrap();
    while realtime_ns() < end {
        for (address, node) in expected {
            assert_eq!(holders(lab, *address), [*node], "{address}\n{}", story(lab));
        }
        std::thread::sleep(heartbeat_tests::pair::PACE);
    }
    nobody_died(lab, marks);
}

/// Neither has found the other dead since.
pub fn nobody_died(lab: &Lab, marks: [Mark; 2]) {
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let died = lab.events_since(node, mark).into_iter().find(|line| line.is("peer_dead"));
        assert_eq!(died, None, "{node}\n{}", story(lab));
    }
}

pub fn marks(lab: &Lab) -> [Mark; 2] {
    Node::BOTH.map(|node| lab.mark(node))
}

/// Between the controllers heartbeats get lost from now on, and nothing else; or no longer.
pub fn lose_heartbeats(lab: &Lab, lose: bool) {
    let rules = "add table bridge lose\n\
                 add chain bridge lose heartbeats { type filter hook forward priority 0; }\n\
                 add rule bridge lose heartbeats meta l4proto udp udp dport 694 drop\n";
    let rules = if lose { rules } else { "delete table bridge lose\n" };
    for number in 0..=lab.options().networks {
        let run = move || Command::new("nft").arg(rules).output().expect("nft is needed: apt-get install nftables");
        let done = lab.switch(number).unwrap().run(run).unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Somebody who pings a service address, and remembers where it is for hours: only who tells it moves it.
pub struct Client {
    number: usize,
    address: IpAddr,
    probe: Probe,
}

impl Client {
    /// That of network `number`; it is served already.
    pub fn start(lab: &Lab, number: usize, address: IpAddr) -> Self {
        let namespace = lab.client(number).unwrap();
        // As routers remember: for 4 h, in ms.
        namespace.set("ipv4/neigh/eth0/base_reachable_time_ms", "14400000").unwrap();
        let probe = lab.probe(number, address, ProbeOptions::default()).unwrap();
        let served = probe.wait_reply_after(realtime_ns(), SOON);
        served.unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
        Self { number, address, probe }
    }

    /// The controller that it sends to.
    pub fn server(&self, lab: &Lab) -> Option<Node> {
        lab.client(self.number).unwrap().netlink().neighbour(self.address).unwrap().and_then(owner_of)
    }

    /// Waits until it is served, and says what the longest time was since `from_ns` that it was not.
    pub fn gap(&self, lab: &Lab, from_ns: u64) -> Duration {
        let served = self.probe.wait_reply_after(realtime_ns(), SOON);
        let served = served.unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
        self.probe.largest_gap(from_ns, served.received_ns).length()
    }

    /// The same, held against a bound and shown.
    pub fn noticed_less_than(&self, lab: &Lab, what: &str, from_ns: u64, bound: Duration) {
        let gap = self.gap(lab, from_ns);
        show(&format!("{what}: client {} was not served for {:.1} ms", self.number, gap.as_secs_f64() * 1e3));
        assert!(gap < bound, "{what}: client {} was not served for {gap:?}\n{}", self.number, story(lab));
    }
}

/// The group of net1 is ordered to be held by `node`, as soon as both agree about their files and hear each other.
pub fn takes_over(lab: &Lab, node: Node) {
    until("storage-a is taken over", || Ok((lab.order(node, &["takeover", "storage-a"])?.0 == Some(0)).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
}
