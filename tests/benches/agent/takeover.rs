//! The stages of a takeover: from the verdict to addresses in place, announced, and answering a client that pings the
//! first and the last of them.
//!
//! The owner's cables go silent, the other one takes over; after mending, the new owner keeps the group by its higher
//! term, and the next trial is the other way round. Times in the agent are its own (`takeover_measured`); the client's are
//! the kernel's receive stamps of the first reply after the verdict, held against the verdict's `time_ns`.

use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use heartbeat_tests::client::{Probe, ProbeOptions};
use heartbeat_tests::lab::topology::{ipv4, many_ipv4};
use heartbeat_tests::lab::{Config, Family, Lab, LogLine, Mark, Node, Options, realtime_ns};

use super::{AT_ONCE, SOON, Trials, holds, pair, settle, table};

const GROUP: &str = "storage-a";

pub(crate) fn run(trials: Trials) -> Result<()> {
    let mut rows = Vec::new();
    for (family, addresses, count) in [
        (Family::V4, 1, 30),
        (Family::V4, 100, 20),
        (Family::V4, 1_000, 10),
        (Family::V6, 1, 30),
        (Family::V6, 100, 20),
    ] {
        rows.extend(measure(trials, family, addresses, count)?);
    }
    table::print("Takeover from the verdict on (profile fast; the owner's cables silenced; client pings)", &rows);
    Ok(())
}

fn measure(trials: Trials, family: Family, addresses: usize, count: usize) -> Result<Vec<table::Row>> {
    let name = |stage: &str| format!("IPv{}, {addresses}: {stage}", if family == Family::V4 { 4 } else { 6 });
    let mut in_place = table::Row::new(name("addresses in place"))?;
    let mut announced = table::Row::new(name("announced"))?;
    let mut first_answers = table::Row::new(name("first one answers"))?;
    let mut last_answers = table::Row::new(name("last one answers"))?;
    if addresses == 1 {
        (in_place, announced) = (in_place.median(0.2), announced.median(0.3));
        first_answers = first_answers.median(0.6);
    }
    if addresses == 1_000 {
        last_answers = last_answers.median(40.0);
    }

    let (config, first, last) = configuration(family, addresses);
    let lab = pair(Options::default(), &config)?;
    // One address: pinged so often that waiting for the next request is little beside the budget.
    let interval = Duration::from_micros(if addresses == 1 { 200 } else { 1_000 });
    let options = ProbeOptions { interval, ..ProbeOptions::default() };
    let mut probes = vec![lab.probe(1, first, options)?];
    if addresses > 1 {
        probes.push(lab.probe(1, last, options)?);
    }
    trials.repeat(count, |trial| {
        let [old, new] = if holds(&lab, Node::A)? { [Node::A, Node::B] } else { [Node::B, Node::A] };
        let now = realtime_ns();
        for probe in &probes {
            probe.wait_reply_after(now, SOON)?;
        }
        thread::sleep(Duration::from_micros(20_000 + 3_700 * trial as u64 % 10_000));

        let mark = lab.mark(new);
        let cables: Vec<_> = lab.cables().into_iter().filter(|cable| isolates(cable, old)).collect();
        for cable in &cables {
            lab.silence(cable)?;
        }
        let measured = stages(&lab, new, mark, &probes);
        for cable in &cables {
            lab.mend(cable)?;
        }
        settle(&lab)?;
        let Some((place, announcement, answers)) = measured else { return Ok(false) };
        in_place.record(place)?;
        announced.record(announcement)?;
        for (row, answer) in [&mut first_answers, &mut last_answers].into_iter().zip(answers) {
            row.record(answer)?;
        }
        Ok(true)
    })?;
    let mut rows = vec![in_place, announced, first_answers];
    if addresses > 1 {
        rows.push(last_answers);
    }
    Ok(rows)
}

/// From the verdict to addresses in place, to announced, and to each probe's first reply, in ns; nothing where there was
/// no takeover.
fn stages(lab: &Lab, new: Node, mark: Mark, probes: &[Probe]) -> Option<(u64, u64, Vec<u64>)> {
    let wait = |wanted: &dyn Fn(&LogLine) -> bool| lab.wait_event_since(new, mark, wanted, AT_ONCE).ok();
    let verdict = wait(&|line| line.is("peer_dead"))?.time_ns;
    let measured = wait(&|line| line.is_of("takeover_measured", GROUP))?;
    let stage = |key| measured.raw.get(key)?.as_u64();
    let answers = probes.iter().map(|probe| Some(probe.wait_reply_after(verdict, AT_ONCE).ok()?.received_ns - verdict));
    Some((stage("addresses_in_place_ns")?, stage("announced_ns")?, answers.collect::<Option<_>>()?))
}

/// Whether that cable is one of those that connect `node`.
fn isolates(cable: &str, node: Node) -> bool {
    cable == "xlink" || cable.starts_with(&format!("{node}-"))
}

/// One group of so many addresses on net1, at home on a; and its first and its last address.
fn configuration(family: Family, addresses: usize) -> (Config, IpAddr, IpAddr) {
    let mut config = Config::pair(2, family).profile("fast");
    config.groups.truncate(1);
    match family {
        Family::V4 => {
            let last = if addresses > 1 { many_ipv4(1, addresses - 2) } else { ipv4(1, 10) };
            (config.many_addresses(addresses), ipv4(1, 10).into(), last.into())
        }
        Family::V6 => {
            let address = |index: usize| Ipv6Addr::new(0xfd00, 0x77, 1, 0, 0, 0, 0x10, index as u16);
            if let Some(group) = config.groups.first_mut() {
                group.addresses = (0..addresses).map(|i| ("net1".to_owned(), format!("{}/64", address(i)))).collect();
            }
            (config, address(0).into(), address(addresses - 1).into())
        }
    }
}
