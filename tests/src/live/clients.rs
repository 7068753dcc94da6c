//! What the lab's clients notice: who serves them, and for how long nobody did.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::event::Event;
use crate::client::{Probe, ProbeOptions};
use crate::lab::topology::owner_of;
use crate::lab::{Config, Lab, Node, realtime_ns};

/// A service address that was not heard for so long does not answer.
const SILENT: Duration = Duration::from_millis(500);

/// A service address, and the client that pings it.
pub(super) struct Service {
    pub(super) group: String,
    pub(super) home: Node,
    pub(super) network: usize,
    pub(super) cidr: String,
    pub(super) probe: Probe,
}

impl Service {
    /// One for each group: its first address, and the client of that network.
    pub(super) fn all(lab: &Lab, config: &Config) -> Result<Vec<Self>> {
        let mut services = Vec::new();
        for group in &config.groups {
            let Some((channel, cidr)) = group.addresses.first() else {
                continue;
            };
            let number = config.channels.iter().position(|known| known.name == *channel);
            let network =
                number.with_context(|| format!("group {} is on an unknown channel {channel}", group.name))? + 1;
            let address: Result<IpAddr, _> = cidr.split('/').next().unwrap_or_default().parse();
            let address = address.with_context(|| format!("group {} has a bad address {cidr}", group.name))?;
            let options = ProbeOptions { interval: Duration::from_millis(2), kept: 10_000 };
            let probe = lab.probe(network, address, options)?;
            services.push(Self { group: group.name.clone(), home: group.home, network, cidr: cidr.clone(), probe });
        }
        Ok(services)
    }

    /// The controller that the client sends to.
    pub(super) fn server(&self, lab: &Lab) -> Option<Node> {
        let client = lab.client(self.network).ok()?;
        client.netlink().neighbour(self.probe.target()).ok().flatten().and_then(owner_of)
    }
}

/// Tells each gap once: when it begins to last, and how long it was.
#[derive(Default)]
pub(super) struct Told {
    heard: bool,
    silent: bool,
    gap_end_ns: u64,
}

impl Told {
    /// What there is to say of a service since the last time.
    pub(super) fn news(&mut self, service: &Service, lab: &Lab) -> Option<Event> {
        let view = service.probe.view();
        let last = view.last?;
        let (who, what) = (format!("client{}", service.network), format!("{} ({})", service.group, service.cidr));
        let by = || service.server(lab).map_or("somebody unknown".to_owned(), |node| node.to_string());
        let (time_ns, text) = if !self.heard {
            self.heard = true;
            (last.received_ns, format!("{who}: {what} is served by {}", by()))
        } else if let Some(gap) = view.last_gap.filter(|gap| gap.to_ns > self.gap_end_ns) {
            (self.gap_end_ns, self.silent) = (gap.to_ns, false);
            let length = gap.length().as_secs_f64() * 1e3;
            (gap.to_ns, format!("{who}: {what} was not served for {length:.1} ms, now by {}", by()))
        } else if !self.silent && !view.answering(SILENT) {
            self.silent = true;
            (realtime_ns(), format!("{who}: {what} is served by nobody"))
        } else {
            return None;
        };
        Some(Event { time_ns, text })
    }
}
