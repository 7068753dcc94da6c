//! Clients that believe what they are told of an address, and notice where nobody answers.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{SOON, show, story};
use crate::client::{Probe, ProbeOptions};
use crate::lab::topology::{ipv4, owner_of};
use crate::lab::{Lab, Node, realtime_ns};

/// A client that was not answered for so long has noticed something; below that, the host was busy.
pub const NOTICED: Duration = Duration::from_millis(200);

/// The usual service address of network `number`.
#[must_use]
pub fn service(number: usize) -> IpAddr {
    ipv4(number, 10).into()
}

/// Somebody who pings a service address, and remembers where it is for hours: only who tells it moves it.
pub struct Client {
    number: usize,
    address: IpAddr,
    probe: Probe,
}

impl Client {
    /// That of network `number`; it is served already.
    ///
    /// # Errors
    /// It is not served soon, or that network has no client.
    pub fn start(lab: &Lab, number: usize, address: IpAddr) -> Result<Self> {
        // As routers remember: for 4 h, in ms.
        lab.client(number)?.set("ipv4/neigh/eth0/base_reachable_time_ms", "14400000")?;
        let probe = lab.probe(number, address, ProbeOptions::default())?;
        let client = Self { number, address, probe };
        client.gap(lab, 0)?;
        Ok(client)
    }

    /// The controller that it sends to.
    ///
    /// # Errors
    /// Its kernel does not answer.
    pub fn server(&self, lab: &Lab) -> Result<Option<Node>> {
        Ok(lab.client(self.number)?.netlink().neighbour(self.address)?.and_then(owner_of))
    }

    /// Waits until it is served, and says what the longest time was since `from_ns` that it was not.
    ///
    /// # Errors
    /// It is not served soon.
    pub fn gap(&self, lab: &Lab, from_ns: u64) -> Result<Duration> {
        let served = self.probe.wait_reply_after(realtime_ns(), SOON).with_context(|| story(lab))?;
        Ok(self.probe.largest_gap(from_ns, served.received_ns).length())
    }

    /// The same, held against a bound and shown.
    ///
    /// # Errors
    /// It was not served for longer, or is not soon.
    pub fn noticed_less_than(&self, lab: &Lab, what: &str, from_ns: u64, bound: Duration) -> Result<()> {
        let gap = self.gap(lab, from_ns)?;
        let said = format!("{what}: client {} was not served for {:.1} ms", self.number, gap.as_secs_f64() * 1e3);
        show(&said);
        ensure!(gap < bound, "{said}\n{}", story(lab));
        Ok(())
    }
}
