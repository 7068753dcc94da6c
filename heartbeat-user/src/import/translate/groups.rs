//! Sync groups, and instances by themselves, as `[[group]]`.

use super::channels::{Channels, interface};
use super::hooks::{self, Hooks};
use super::pairs::Pair;
use super::units::{Unit, units};
use super::{File, Said};
use crate::import::error::Fault;
use crate::import::model::{Address, Instance};
use crate::import::names::TakenNames;
use crate::import::place::Place;
use crate::types::{Nanos, Node};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) home: Node,
    /// Channel, address, prefix.
    pub(super) addresses: Vec<(String, IpAddr, u8)>,
    pub(super) hooks: Hooks,
    /// It goes home after so long; nothing where it stays.
    pub(super) failback: Option<Nanos>,
    /// Where it comes from.
    pub(super) from: String,
}

/// The groups, in the order in which their first instance stands in the file.
pub(super) fn groups(files: &[File], pairs: &[Pair<'_>], channels: &mut Channels, said: &mut Said) -> Vec<Draft> {
    let mut names = TakenNames::default();
    let mut taken = BTreeMap::new();
    let mut drafts = Vec::new();
    for unit in units(files, pairs, said) {
        let addresses = addresses(&unit, files, channels, &mut taken, said);
        if addresses.is_empty() {
            said.lost(
                unit.place,
                unit.name,
                "a group has one address at least: give it one that nobody uses yet, and its scripts run as hooks of that group",
            );
            continue;
        }
        let home = home(&unit, files.len(), said);
        drafts.push(Draft {
            name: names.of(unit.name),
            home,
            addresses,
            hooks: hooks::hooks(&unit, files, said),
            failback: failback(&unit, home, said),
            from: format!("{} ({})", unit.name, unit.place),
        });
    }
    drafts
}

/// Where each of a unit's addresses appears.
fn addresses(
    unit: &Unit<'_>,
    files: &[File],
    channels: &mut Channels,
    taken: &mut BTreeMap<IpAddr, (Place, Place, usize)>,
    said: &mut Said,
) -> Vec<(String, IpAddr, u8)> {
    let mut addresses = Vec::new();
    for pair in &unit.pairs {
        let pair_id = &pair.first().place;
        for (side, address) in of_sides(pair) {
            let what = address.address.to_string();
            match taken.get(&address.address) {
                // Each side has it once.
                Some((_, of, other)) if of == pair_id && *other != side => continue,
                Some((first, of, _)) if of == pair_id => {
                    said.note(&address.place, &what, format!("already at {first}: once is enough"));
                    continue;
                }
                Some((first, ..)) => {
                    said.wrong(&address.place, &what, Fault::Twice { first: first.clone() });
                    continue;
                }
                None => taken.insert(address.address, (address.place.clone(), pair_id.clone(), side)),
            };
            if let Some(owner) = pair.both().find(|i| i.source.as_ref().is_some_and(|own| own.value == address.address))
            {
                said.lost(
                    &address.place,
                    &what,
                    format!(
                        "{}'s host has it as its own: give the host another one, and let this one be the group's alone",
                        owner.name
                    ),
                );
                continue;
            }
            let ports = [0, 1].map(|side| port(pair.sides[side], address, files.get(side)));
            match channels.over([ports[0].as_deref(), ports[1].as_deref()], &address.place) {
                Ok(at) => {
                    channels.judge(at);
                    addresses.push((channels.name(at).to_owned(), address.address, address.prefix));
                }
                Err(problem) => said.problems.push(problem),
            }
        }
    }
    addresses
}

/// The addresses of a pair, each with the side whose file has it.
fn of_sides<'f>(pair: &Pair<'f>) -> impl Iterator<Item = (usize, &'f Address)> {
    let sides = pair.sides.into_iter().enumerate();
    sides.flat_map(|(side, instance)| {
        instance.into_iter().flat_map(move |instance| instance.addresses.iter().map(move |address| (side, address)))
    })
}

/// The interface on which an instance has an address: nothing where that file does not say so.
fn port(instance: Option<&Instance>, address: &Address, file: Option<&File>) -> Option<String> {
    let (instance, file) = (instance?, file?);
    let own = instance.addresses.iter().find(|known| known.address == address.address)?;
    let named = own.interface.as_deref().filter(|name| instance.vmac.as_deref() != Some(*name));
    Some(named.unwrap_or_else(|| interface(instance, file)).to_owned())
}

/// The controller on which keepalived prefers to have it.
fn home(unit: &Unit<'_>, files: usize, said: &mut Said) -> Node {
    let homes: Vec<Node> = unit.pairs.iter().map(of_pair).collect();
    let first = unit.pairs[0].first();
    let what = format!("vrrp_instance {}", first.name);
    if let Some(i) = homes.iter().position(|home| *home != homes[0]) {
        let other = unit.pairs[i].first();
        said.note(
            &other.place,
            &format!("vrrp_instance {}", other.name),
            format!("{} is preferred elsewhere; what is in one sync group has one home here: {}", first.name, homes[0]),
        );
    }
    if files == 1 && !first.is_master {
        said.note(
            &first.place,
            &what,
            format!("this file says BACKUP, and nothing of the other one is known: its home is taken to be {}; right would be both files", homes[0]),
        );
    }
    homes[0]
}

fn of_pair(pair: &Pair<'_>) -> Node {
    let a_is_first = match pair.sides {
        [Some(a), Some(b)] if a.priority != b.priority => a.priority > b.priority,
        [Some(a), Some(b)] => a.is_master || !b.is_master,
        [Some(a), None] => a.is_master,
        [None, b] => !b.is_some_and(|b| b.is_master),
    };
    if a_is_first { Node::A } else { Node::B }
}

/// After how long it goes home: what the file of its home says.
fn failback(unit: &Unit<'_>, home: Node, said: &mut Said) -> Option<Nanos> {
    let pair = &unit.pairs[0];
    let instance = pair.sides[usize::from(home.wire())].unwrap_or_else(|| pair.first());
    let what = format!("vrrp_instance {}", instance.name);
    if let Some(place) = &instance.nopreempt {
        if instance.is_master {
            said.note(
                place,
                "nopreempt",
                "keepalived ignores it where the state is MASTER; here, nothing goes home by itself, as it says",
            );
        }
        return None;
    }
    let shortest = Nanos::from_millis(1_000);
    let wait = instance.preempt_delay.unwrap_or_default().max(shortest);
    said.note(
        &instance.place,
        &what,
        "goes home by itself, as there is no nopreempt: once both have been well for that long, and [judging] hold (60 s) is over",
    );
    Some(wait)
}
