//! The lab: a pair of controllers with its switches, clients and cables, as network namespaces of this machine.
//!
//! Real kernels' interfaces, real XDP, real agents as processes; only the copper is missing. A [`Lab`] is alone in the
//! world: its names are its own, several run side by side, and dropping it leaves nothing behind. If its process dies
//! without dropping it, its agents die with it, and the next lab removes the rest ([`remains`]).
//!
//! Everything takes `&self` and may be called from several threads. What breaks something returns the CLOCK_REALTIME
//! just before it was done, to be held against the `time_ns` of events.
//!
//! Deliberately absent: loss, delay and reordering on a cable (this kernel's namespaces have no netem; the scenarios bring
//! a relay of their own), serial cables, and XDP on the switches.

mod agent;
mod agents;
mod breaking;
mod child;
mod config;
pub mod control;
pub mod disk;
pub mod fuse;
mod log;
pub mod netlink;
mod netns;
pub mod relay;
pub mod remains;
pub mod serial;
pub mod topology;
mod xdp_pass;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::time::{ClockId, clock_gettime};

pub use agent::{Status, binary, heartbeat};
pub use config::{ChannelConfig, Config, Family, GroupConfig};
pub use log::{LogLine, Mark};
pub use netns::Namespace;
pub use topology::{Host, Node};

use crate::client::{Probe, ProbeOptions};
use agent::Agent;
use breaking::Broken;
use remains::Home;
use topology::{MAX_NETWORKS, Switch, XLINK, host_sysctls, settle_addresses};

/// What a lab has.
#[derive(Debug, Clone)]
pub struct Options {
    /// Networks, each with a switch: 1 to 63, default 2. The dedicated cable comes on top.
    pub networks: usize,
    /// The first so many networks have a client; default 2.
    pub clients: usize,
    /// Of every interface, in bytes; default 1500. Native XDP on veth wants at most some 3,500.
    pub mtu: u32,
    /// Transmit and receive queues of every veth; default 1.
    pub queues: u32,
    /// Whether removing the first IPv4 address of a network leaves the others there (`net.ipv4.conf.*.promote_secondaries`):
    /// yes on hosts with systemd, which is the default, no by the kernel's.
    pub promote_secondaries: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { networks: 2, clients: 2, mtu: 1500, queues: 1, promote_secondaries: true }
    }
}

/// A pair of controllers and everything around it.
pub struct Lab {
    options: Options,
    agents: [Agent; 2],
    /// `None` while the power is off.
    controllers: [Mutex<Option<Arc<Namespace>>>; 2],
    /// What this machine's kernel still has of one whose power is off.
    remains: [Mutex<Option<Arc<Namespace>>>; 2],
    clients: Vec<Arc<Namespace>>,
    /// The dedicated cable first, then the networks: [`Switch::number`] is the position.
    switches: Vec<Switch>,
    broken: Mutex<Broken>,
    // Dropped last.
    home: Home,
}

impl Lab {
    /// Removes what dead labs left, then builds a new one. No agent runs yet.
    ///
    /// # Errors
    /// Not root, or the kernel lacks veth or bridges.
    pub fn new(options: Options) -> Result<Self> {
        ensure!(
            (1..=MAX_NETWORKS).contains(&options.networks),
            "a lab has 1 to {MAX_NETWORKS} networks, not {}",
            options.networks
        );
        let home = Home::claim()?;
        let sysctls = host_sysctls(options.promote_secondaries);
        let host = |name: &str| Namespace::create(&format!("{}-{name}", home.id), &sysctls).map(Arc::new);
        let clients: Vec<_> = (1..=options.clients.min(options.networks))
            .map(|number| host(&format!("client{number}")))
            .collect::<Result<_>>()?;
        let controllers = [host("a")?, host("b")?].map(|namespace| Mutex::new(Some(namespace)));
        let switches: Vec<_> = (XLINK..=options.networks)
            .map(|number| Switch::new(&home.id, number, options.mtu, options.queues))
            .collect::<Result<_>>()?;
        let agents = Node::BOTH.map(|node| Agent::new(node, &home.folder));
        for agent in &agents {
            fs::create_dir(&agent.runtime_dir).context("cannot create a runtime directory")?;
        }
        let (remains, broken) = Default::default();
        let lab = Self { options, agents, controllers, remains, clients, switches, broken, home };
        for (switch, client) in lab.switches.iter().skip(1).zip(&lab.clients) {
            switch.plug(Host::Client, client)?;
            switch.wait_operational(&switch.port(Host::Client))?;
        }
        for node in Node::BOTH {
            lab.plug_in(node)?;
        }
        for (switch, client) in lab.switches.iter().skip(1).zip(&lab.clients) {
            settle_addresses([switch], Host::Client, client)?;
        }
        for node in Node::BOTH {
            lab.settle_addresses(node)?;
        }
        Ok(lab)
    }

    /// Its id, which all its names begin with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.home.id
    }

    /// Where its configuration, key, logs and runtime directories are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.home.folder
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The namespace of `a`, `b`, `net1`, `xlink`, `client1` and so on.
    ///
    /// # Errors
    /// There is none of that name, or its power is off.
    pub fn namespace_path(&self, name: &str) -> Result<PathBuf> {
        let path = Path::new(netns::FOLDER).join(format!("{}-{name}", self.id()));
        ensure!(path.exists(), "the lab has no {name}, or its power is off");
        Ok(path)
    }

    /// A controller's namespace.
    ///
    /// # Errors
    /// Its power is off.
    pub fn controller(&self, node: Node) -> Result<Arc<Namespace>> {
        let Some(namespace) = self.controller_slot(node).clone() else { bail!("controller {node} is powered off") };
        Ok(namespace)
    }

    /// The namespace of the client on network `number` (from 1).
    ///
    /// # Errors
    /// That network has no client.
    pub fn client(&self, number: usize) -> Result<&Namespace> {
        let client = number.checked_sub(1).and_then(|index| self.clients.get(index));
        client.map(Arc::as_ref).with_context(|| format!("network {number} has no client"))
    }

    /// The namespace of the switch of network `number` (from 1), or with 0 that of the box in the dedicated cable. Its ports
    /// are called `a`, `b`, `client1`.
    ///
    /// # Errors
    /// There is no such network.
    pub fn switch(&self, number: usize) -> Result<&Namespace> {
        Ok(&self.switch_numbered(number)?.namespace)
    }

    /// Starts pinging `target` from the client of network `number`.
    ///
    /// # Errors
    /// That network has no client.
    pub fn probe(&self, number: usize, target: IpAddr, options: ProbeOptions) -> Result<Probe> {
        Probe::start(self.client(number)?, target, options)
    }

    fn agent(&self, node: Node) -> &Agent {
        let [a, b] = &self.agents;
        if node == Node::A { a } else { b }
    }

    fn remains_of(&self, node: Node) -> MutexGuard<'_, Option<Arc<Namespace>>> {
        let [a, b] = &self.remains;
        let slot = if node == Node::A { a } else { b };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn controller_slot(&self, node: Node) -> MutexGuard<'_, Option<Arc<Namespace>>> {
        let [a, b] = &self.controllers;
        let slot = if node == Node::A { a } else { b };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CLOCK_REALTIME in nanoseconds, as in the agents' events.
#[must_use]
pub fn realtime_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
