//! How to break a lab and mend it: cables, switches, power and interfaces.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::agents::STOP_LIMIT;
use super::netlink::{Mac, Which};
use super::netns::Namespace;
use super::topology::{
    Host, NICS, Node, Switch, XLINK, addresses, host_sysctls, interface, interface_index, link_local, mac,
    network_name, settle_addresses,
};
use super::{Lab, realtime_ns, remains};

/// An Ethernet address that no host has.
const NOBODY: Mac = [0x02, 0, 0, 0, 0xde, 0xad];

/// What is broken on purpose, as far as it must be remembered.
#[derive(Default)]
pub(super) struct Broken {
    /// Cables: a switch that is switched on again leaves them alone.
    cut: BTreeSet<String>,
    interfaces_down: BTreeSet<Node>,
}

impl Lab {
    /// Pulls a cable: whoever is at its ends loses the carrier. `a-net1`, `client1-net1`, `xlink` (both ends at once).
    ///
    /// # Errors
    /// There is no such cable; the message names those that there are.
    pub fn cut(&self, cable: &str) -> Result<u64> {
        let (switch, ports) = self.cable(cable)?;
        let at = realtime_ns();
        if switch.number == XLINK {
            switch.set_ports(false)?;
        } else {
            ports.iter().try_for_each(|port| switch.set_port(port, false))?;
        }
        self.broken().cut.insert(cable.to_owned());
        Ok(at)
    }

    /// Makes a cable lose every packet while its ends keep their carrier. Also takes a whole network (`net1`): a switch that hangs.
    ///
    /// # Errors
    /// There is no such cable or network.
    pub fn silence(&self, cable: &str) -> Result<u64> {
        if let Ok(switch) = self.switch_named(cable) {
            let at = realtime_ns();
            return switch.set_forwarding(false).map(|()| at);
        }
        let (switch, ports) = self.cable(cable)?;
        let at = realtime_ns();
        ports.iter().try_for_each(|port| switch.set_plugged(port, false))?;
        Ok(at)
    }

    /// Undoes [`Self::cut`] and [`Self::silence`]; returns when the cable carries packets again.
    ///
    /// # Errors
    /// There is no such cable or network.
    pub fn mend(&self, cable: &str) -> Result<u64> {
        if let Ok(switch) = self.switch_named(cable) {
            switch.set_forwarding(true)?;
            if switch.number != XLINK {
                return Ok(realtime_ns());
            }
        }
        let (switch, ports) = self.cable(cable)?;
        self.broken().cut.remove(cable);
        for port in &ports {
            switch.set_plugged(port, true)?;
        }
        if switch.number == XLINK {
            self.carry_xlink()?;
            return Ok(realtime_ns());
        }
        for port in &ports {
            switch.set_port(port, true)?;
            switch.wait_operational(port)?;
        }
        Ok(realtime_ns())
    }

    /// Switches a switch off (`net1`): all its ports lose their carrier at once.
    ///
    /// # Errors
    /// There is no such network.
    pub fn switch_off(&self, network: &str) -> Result<u64> {
        let switch = self.switch_named(network)?;
        let at = realtime_ns();
        switch.set_ports(false).map(|()| at)
    }

    /// Switches it on again; cables that are cut stay cut.
    ///
    /// # Errors
    /// There is no such network.
    pub fn switch_on(&self, network: &str) -> Result<u64> {
        let switch = self.switch_named(network)?;
        switch.set_forwarding(true)?;
        if switch.number == XLINK {
            return self.mend(network);
        }
        let cut = self.broken().cut.clone();
        for (cable, port) in self.ports_of(switch) {
            if !cut.contains(&cable) {
                switch.set_port(&port, true)?;
                switch.wait_operational(&port)?;
            }
        }
        Ok(realtime_ns())
    }

    /// The names of all cables.
    #[must_use]
    pub fn cables(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for switch in &self.switches {
            for host in self.hosts_on(switch) {
                names.insert(cable_name(switch, host));
            }
        }
        names.into_iter().collect()
    }

    /// The names of all networks, the dedicated cable included.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.switches.iter().map(|switch| network_name(switch.number)).collect()
    }

    // ---- controllers

    /// Cuts a controller's power: all its interfaces lose their carrier together, its agent is gone with all that it started, its
    /// memory (bpffs) is lost. What that leaves in this machine's kernel is taken away when the power is on again, or with the
    /// lab: that takes tens of milliseconds, for which no other host of this kernel could change an address.
    ///
    /// # Errors
    /// It is off already.
    pub fn power_off(&self, node: Node) -> Result<u64> {
        let agent = self.agent(node);
        let Some(namespace) = self.controller_slot(node).take() else {
            bail!("controller {node} is powered off already")
        };
        let at = realtime_ns();
        // First: a kernel that outlived its agent by a moment would tell the peer that it died.
        namespace.netlink().set_up(&Which::Group(NICS), false)?;
        let had_agent = agent.signal(Signal::SIGKILL).is_ok();
        self.carry_xlink()?;
        if had_agent {
            agent.wait_end(STOP_LIMIT)?;
        }
        namespace.end_all_inside();
        namespace.remove_name();
        *self.remains_of(node) = Some(namespace);
        fs::remove_dir_all(&agent.runtime_dir).context("cannot empty the runtime directory")?;
        fs::create_dir(&agent.runtime_dir).context("cannot create a runtime directory")?;
        Ok(at)
    }

    fn take_remains_away(&self, node: Node) -> Result<()> {
        if let Some(namespace) = self.remains_of(node).take() {
            namespace.netlink().delete_group(NICS)?;
            remains::remove_pins(&self.agent(node).runtime_dir);
        }
        Ok(())
    }

    /// Switches it on again: a fresh boot with all cables plugged in, and no agent yet.
    ///
    /// # Errors
    /// It is on.
    pub fn power_on(&self, node: Node) -> Result<()> {
        let sysctls = host_sysctls(self.options.promote_secondaries);
        {
            let mut slot = self.controller_slot(node);
            ensure!(slot.is_none(), "controller {node} is powered on already");
            self.take_remains_away(node)?;
            *slot = Some(Arc::new(Namespace::create(&format!("{}-{node}", self.id()), &sysctls)?));
        }
        let own = format!("{node}-");
        {
            let mut broken = self.broken();
            broken.cut.retain(|cable| !cable.starts_with(&own));
            broken.interfaces_down.remove(&node);
        }
        self.plug_in(node)?;
        self.carry_xlink()?;
        self.settle_addresses(node)
    }

    /// Sets all of a controller's interfaces down, as an administrator would; the agent goes on.
    ///
    /// # Errors
    /// It is powered off.
    pub fn interfaces_down(&self, node: Node) -> Result<u64> {
        let namespace = self.controller(node)?;
        let at = realtime_ns();
        namespace.netlink().set_up(&Which::Group(NICS), false)?;
        self.broken().interfaces_down.insert(node);
        self.carry_xlink().map(|()| at)
    }

    /// Sets them up again, and restores the addresses that the kernel drops with it.
    ///
    /// # Errors
    /// It is powered off.
    pub fn interfaces_up(&self, node: Node) -> Result<u64> {
        let (namespace, host) = (self.controller(node)?, Host::Controller(node));
        self.switches.iter().try_for_each(|switch| switch.hasten_addresses(host, &namespace))?;
        namespace.netlink().set_up(&Which::Group(NICS), true)?;
        self.broken().interfaces_down.remove(&node);
        self.carry_xlink()?;
        self.switches.iter().try_for_each(|switch| switch.address(host, &namespace))?;
        self.settle_addresses(node)?;
        Ok(realtime_ns())
    }

    /// Sets one of a controller's interfaces down, as an administrator would.
    ///
    /// # Errors
    /// It is powered off, or there is no such network.
    pub fn nic_down(&self, node: Node, network: &str) -> Result<u64> {
        let number = self.switch_named(network)?.number;
        let namespace = self.controller(node)?;
        let at = realtime_ns();
        namespace.netlink().set_up(&Which::Name(&interface(number)), false).map(|()| at)
    }

    /// What a controller sends to the other's own addresses in a network gets lost from now on; the other way goes on, and
    /// so does everybody else.
    ///
    /// # Errors
    /// It is powered off, or there is no such network.
    pub fn mute(&self, node: Node, network: &str) -> Result<u64> {
        let switch = self.switch_named(network)?;
        let number = switch.number;
        let namespace = self.controller(node)?;
        // A switch sends what is for a stranger to everybody, and XDP takes what is not for it, too.
        let port = switch.namespace.netlink().link(&switch.port(Host::Client))?;
        switch.namespace.netlink().pin_forwarding(port.index, NOBODY)?;
        let at = realtime_ns();
        let peer = Host::Controller(node.peer());
        let made = IpAddr::from(link_local(mac(peer, number)));
        for address in addresses(peer, number).into_iter().map(|(address, _)| address).chain([made]) {
            namespace.netlink().pin_neighbour(interface_index(number), address, NOBODY)?;
        }
        Ok(at)
    }

    /// Whatever is sent to a controller in a network gets lost from now on, by whomever; what it sends itself arrives.
    ///
    /// # Errors
    /// There is no such network.
    pub fn deafen(&self, node: Node, network: &str) -> Result<u64> {
        let switch = self.switch_named(network)?;
        let port = switch.namespace.netlink().link(&switch.port(Host::Client))?;
        let at = realtime_ns();
        let to = mac(Host::Controller(node), switch.number);
        switch.namespace.netlink().pin_forwarding(port.index, to).map(|()| at)
    }

    /// Takes a controller's NIC out while it runs (`net1`, `xlink`): interface and addresses are gone.
    ///
    /// # Errors
    /// There is no such network, or no such NIC any more.
    pub fn remove_nic(&self, node: Node, network: &str) -> Result<u64> {
        let number = self.switch_named(network)?.number;
        let namespace = self.controller(node)?;
        let at = realtime_ns();
        namespace.netlink().delete(&interface(number)).map(|()| at)
    }

    /// Puts another one in its place, with the same name, index and addresses; returns when it carries packets.
    ///
    /// # Errors
    /// There is no such network, or the NIC is still there.
    pub fn insert_nic(&self, node: Node, network: &str) -> Result<u64> {
        let switch = self.switch_named(network)?;
        let host = Host::Controller(node);
        let namespace = self.controller(node)?;
        switch.plug(host, &namespace)?;
        switch.wait_operational(&switch.port(host))?;
        settle_addresses([switch], host, &namespace)?;
        Ok(realtime_ns())
    }

    /// Waits until a controller's addresses can be used.
    pub(super) fn settle_addresses(&self, node: Node) -> Result<()> {
        let namespace = self.controller(node)?;
        settle_addresses(&self.switches, Host::Controller(node), &namespace)
    }

    fn broken(&self) -> MutexGuard<'_, Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dedicated cable has carrier while it is whole and both ends are up; the box in its middle passes that on.
    fn carry_xlink(&self) -> Result<()> {
        let switch = self.switch_numbered(XLINK)?;
        let whole = {
            let broken = self.broken();
            !broken.cut.contains(&network_name(XLINK)) && broken.interfaces_down.is_empty()
        };
        let carries = whole && Node::BOTH.iter().all(|node| self.controller(*node).is_ok());
        switch.set_ports(carries)?;
        if carries {
            for (_, port) in self.ports_of(switch) {
                switch.wait_operational(&port)?;
            }
        }
        Ok(())
    }

    pub(super) fn plug_in(&self, node: Node) -> Result<()> {
        let namespace = self.controller(node)?;
        let host = Host::Controller(node);
        self.switches.iter().try_for_each(|switch| switch.plug(host, &namespace))?;
        self.switches.iter().try_for_each(|switch| switch.wait_operational(&switch.port(host)))
    }

    fn hosts_on(&self, switch: &Switch) -> Vec<Host> {
        let mut hosts = Node::BOTH.map(Host::Controller).to_vec();
        if switch.number != XLINK && switch.number <= self.clients.len() {
            hosts.push(Host::Client);
        }
        hosts
    }

    fn ports_of(&self, switch: &Switch) -> Vec<(String, String)> {
        let powered = |host: &Host| !matches!(host, Host::Controller(node) if self.controller(*node).is_err());
        let hosts = self.hosts_on(switch).into_iter().filter(powered);
        hosts.map(|host| (cable_name(switch, host), switch.port(host))).collect()
    }

    pub(super) fn switch_numbered(&self, number: usize) -> Result<&Switch> {
        self.switches.get(number).with_context(|| format!("the lab has no network {number}"))
    }

    fn switch_named(&self, network: &str) -> Result<&Switch> {
        let found = self.switches.iter().find(|switch| network_name(switch.number) == network);
        found.with_context(|| format!("no network {network}; there are {}", self.networks().join(", ")))
    }

    fn cable(&self, cable: &str) -> Result<(&Switch, Vec<String>)> {
        for switch in &self.switches {
            let ports = self.ports_of(switch).into_iter().filter(|(name, _)| name == cable);
            let ports: Vec<_> = ports.map(|(_, port)| port).collect();
            if !ports.is_empty() {
                return Ok((switch, ports));
            }
        }
        ensure!(
            !self.cables().iter().any(|name| name == cable),
            "cable {cable} hangs on a controller that is powered off"
        );
        bail!("no cable {cable}; there are {}", self.cables().join(", "))
    }
}

fn cable_name(switch: &Switch, host: Host) -> String {
    match (switch.number, host) {
        (XLINK, _) => network_name(XLINK),
        (_, Host::Controller(_) | Host::Client) => {
            format!("{}-{}", switch.port(host), network_name(switch.number))
        }
    }
}
