//! What earlier lives left: found before anything is done, then taken over or taken away before anything is claimed.

use super::{
    inherit::{Cell, Inheritance, LastSign, inherit},
    let_go::{self, interface_now},
    life::{self, Life, LivedAddress},
    options::RunOptions,
    runs::Runs,
    runtime_dir::RuntimeDir,
};
use crate::{
    config::{Config, GroupConfig, Hooks},
    core::Resumed,
    dataplane::{PinnedCell, Tables},
    events::{ControlEvent, Journal},
    system::{
        clock,
        netlink::{Netlink, index_of},
    },
    takeover::{self, GroupPlan, PlannedAddress},
    types::{GroupIndex, MAX_GROUPS, Nanos, Node},
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How often it is looked whether the peer is heard.
const LOOK: std::time::Duration = std::time::Duration::from_micros(200);

/// What earlier lives left, as it was found.
pub(super) struct Left {
    pub(super) life: Option<Life>,
    pub(super) cell: Option<PinnedCell>,
    pub(super) inheritance: Inheritance,
    /// What it held may still be ours.
    in_time: bool,
    /// Why the record of the last one says nothing.
    trouble: Option<String>,
}

impl Left {
    /// Looks; changes nothing.
    pub(super) fn find(folder: &RuntimeDir, config: &Config, node: Node) -> Self {
        let (life, trouble) = match Life::read(folder) {
            Ok(life) => (life, None),
            Err(error) => (None, Some(format!("{error:#}: what is configured is let go of"))),
        };
        let (detection, grace) = (config.detection(), config.restart_grace());
        let in_time =
            |cell: &PinnedCell| LastSign::of(cell).is_in_time(clock::monotonic(), detection, &config.timing, grace);
        let unheard = |cell: &PinnedCell| {
            !in_time(cell)
                && cell.owned() != 0
                && LastSign::of(cell).is_waited_for(clock::monotonic(), detection, grace)
        };
        // A peer that is late is not gone: what it says next tells whether it waits. Until then the kernel decides as before.
        let (began, mut cell) = (clock::monotonic(), Life::cell(life.as_ref(), &folder.cells()));
        while cell.is_some_and(|cell| unheard(&cell)) && clock::monotonic().since(began) < detection {
            std::thread::sleep(LOOK);
            cell = Life::cell(life.as_ref(), &folder.cells());
        }
        let groups: Vec<(&str, Vec<LivedAddress>)> = config
            .groups
            .iter()
            .map(|group| (group.name.as_str(), life::addresses(config, node, group, |_| 0)))
            .collect();
        let in_time = cell.as_ref().is_some_and(in_time);
        let inheritance = inherit(life.as_ref(), cell.map(|cell| Cell::of(&cell, in_time)), &groups);
        Self { life, cell, inheritance, in_time, trouble }
    }

    /// What the life before left is in these tables from here on, wherever it was: they are new, or of a life before that one.
    pub(super) fn put_into(&self, tables: &Tables) {
        if let Some(cell) = self.cell.as_ref().filter(|cell| !cell.is_in(tables)) {
            cell.restore(tables);
        }
    }

    /// The configuration with those groups that it has no more, after its own: only to be let go of.
    pub(super) fn with_departed(&self, config: &Config, node: Node) -> Config {
        let mut config = config.clone();
        for group in &self.inheritance.departed {
            config.groups.push(GroupConfig {
                index: GroupIndex(config.groups.len() as u8),
                name: group.name.clone(),
                home: node.other(),
                addresses: Vec::new(),
                needs: 0,
                hooks: Hooks {
                    on_releasing: group.on_releasing.clone(),
                    on_release: group.on_release.clone(),
                    timeout: Nanos(group.timeout_ns),
                    force: group.force,
                    ..Hooks::default()
                },
                failback: None,
                exclusive: false,
                departed: true,
            });
        }
        config
    }
}

/// Takes over what earlier lives left, and takes away what nothing has any more. From here on, the record is this life's.
pub(super) fn take_over(
    options: &RunOptions,
    folder: &RuntimeDir,
    left: &Left,
    tables: &Tables,
    plans: &[GroupPlan],
    (incarnation, runs): (u64, &mut Runs),
    journal: &Journal,
) -> Result<Life> {
    let RunOptions { config, node, .. } = options;
    if let Some(trouble) = &left.trouble {
        log::warn!("{trouble}");
    }
    let Inheritance { held, in_place, departed, surplus, stale, .. } = &left.inheritance;
    let slots: Vec<u8> = config.channels.iter().map(|channel| tables.number(channel.index)).collect();
    let index_of = |name: &str| index_of(name).ok().flatten().unwrap_or(0);
    let mut life = Life::new(config, *node, incarnation, &slots, departed, index_of)?;

    let own: Vec<_> = config.channels.iter().filter_map(|channel| Some(channel.end(*node)?.address)).collect();
    let stale: Vec<_> = stale.iter().filter(|address| !own.contains(&address.ip)).cloned().collect();
    // What is configured is told as such; the rest is removed by where it was put.
    sweep(plans, held | in_place, journal);
    life.left = let_go::remove_and_tell(&stale, journal);
    for group in surplus {
        if let Err(error) = let_go::release(runs, left.life.as_ref(), group) {
            log::error!("group {}: {error:#}", group.name);
        }
    }

    // Whoever comes before the cells are this life's, too, finds a record and a cell that do not belong together, and lets go of everything.
    if let Err(error) = life.write(folder) {
        log::error!("{error:#}: the next life will let go of everything");
    }
    Ok(life)
}

/// What the core goes on with; the cells are this life's from here on. Where it reads no programs, those of the life before are gone:
/// not sooner, for what they keep silent about was here until then.
pub(super) fn go_on(left: &Left, folder: &RuntimeDir, tables: &Tables) -> Option<Resumed> {
    let cell = left.cell.as_ref();
    let programs = if tables.are_of_programs() { None } else { folder.pinned() };
    if let (Some(cell), Some(programs)) = (cell, &programs) {
        cell.learn_from(programs, tables);
    }
    left.inheritance.leave(tables, cell.map_or(0, PinnedCell::closed));
    if !tables.are_of_programs() {
        folder.forget_pins();
    }
    let resumed = cell.map(|cell| left.inheritance.resumed(cell, left.in_time));
    resumed.or_else(|| left.inheritance.resumed_without())
}

/// The addresses of each group on this controller; of those that the file has no more, as they were on record.
pub(super) fn plans(config: &Config, node: Node, left: &Left) -> Vec<GroupPlan> {
    let address = |address: &LivedAddress| PlannedAddress { interface: interface_now(address), ..address.planned() };
    let own = config.groups.iter().filter(|group| !group.departed);
    let own = own.map(|group| (&group.name, life::addresses(config, node, group, |_| 0)));
    let departed = left.inheritance.departed.iter().map(|group| (&group.name, group.addresses.clone()));
    own.chain(departed)
        .map(|(name, addresses)| GroupPlan { name: name.clone(), addresses: addresses.iter().map(address).collect() })
        .take(MAX_GROUPS)
        .collect()
}

/// The service addresses, each with the groups that it is of, a bit each; and the interfaces where they or heartbeats come and
/// go. Where there are none, there is nothing to keep silent about.
pub(super) fn guarded(config: &Config, node: Node, plans: &[GroupPlan]) -> (BTreeMap<IpAddr, u64>, BTreeSet<String>) {
    let (mut addresses, mut interfaces) = (BTreeMap::new(), BTreeSet::new());
    for (i, plan) in plans.iter().enumerate() {
        for address in &plan.addresses {
            *addresses.entry(address.ip).or_default() |= 1 << i;
            interfaces.insert(address.interface.clone());
        }
    }
    if !addresses.is_empty() {
        interfaces.extend(config.channels.iter().filter_map(|channel| Some(channel.end(node)?.interface.clone())));
    }
    (addresses, interfaces)
}

/// Group addresses that are here without being ours: of a life that ended too long ago, or put here by hand.
fn sweep(plans: &[GroupPlan], owned: u64, journal: &Journal) {
    let swept = Netlink::open().and_then(|mut netlink| takeover::remove_unowned(plans, owned, &mut netlink));
    match swept {
        Ok(swept) => {
            for (group, address) in swept.removed {
                journal.control(&ControlEvent::AddressSwept { group, address: address.to_string(), times: 1 });
            }
            for failure in swept.failures {
                let (address, why) = (failure.address.to_string(), failure.reason);
                journal.control(&ControlEvent::AddressStays { address, why });
            }
        }
        Err(error) => log::error!("group addresses that are not ours may stay on this host: {error}"),
    }
}
