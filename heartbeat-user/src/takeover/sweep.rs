//! At the agent's start: which group addresses this host holds, and the end of those that it does not own, and of those that an
//! earlier life left and that are configured no more.

use super::{Address, Failure, GroupPlan, PlannedAddress, Step, each};
use crate::{system::netlink::Netlink, types::GroupIndex};
use std::{
    collections::{BTreeSet, HashMap},
    io,
};

/// An address that an earlier life of the agent may have put in place, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// As it was configured then.
    pub planned: PlannedAddress,
    /// The index of the interface then; 0 where there was none.
    pub index: u32,
}

/// What [`let_go`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetGo {
    /// What is gone now and was there before, as it was recorded.
    pub removed: Vec<PlannedAddress>,
    /// What this host goes on answering for.
    pub failures: Vec<Failure>,
}

/// Removes what an earlier life put in place, whatever its prefix has become: from the interface that had the index then, whatever
/// it is called now, and from the one that has the name now, for that life followed an interface that was made anew. An
/// address that is no longer there is none to remove. Meant for what is not resumed; where only the prefix of a resumed
/// address changed, [`Order::Resume`](super::Order::Resume) sees to it, without a gap.
///
/// # Errors
/// As [`Netlink::list`]: nothing was removed.
pub fn let_go(recorded: &[Recorded], netlink: &mut Netlink) -> io::Result<LetGo> {
    let mut let_go = LetGo::default();
    let mut owners = HashMap::new();
    let mut named: HashMap<&str, Option<u32>> = HashMap::new();
    for (place, Recorded { planned, index }) in recorded.iter().enumerate() {
        let by_name = match named.get(planned.interface.as_str()) {
            Some(known) => *known,
            None => {
                let found = netlink.index_of(&planned.interface);
                if let Err(error) = &found {
                    let_go.failures.push(Failure::new(planned, Step::Removed, error));
                }
                *named.entry(&planned.interface).or_insert(found.ok().flatten())
            }
        };
        for index in by_name.into_iter().chain((*index != 0).then_some(*index)) {
            owners.insert((index, planned.ip), place);
        }
    }
    let present = netlink.list(None)?;
    let found: Vec<Address> = present.into_iter().filter(|a| owners.contains_key(&(a.interface, a.ip))).collect();
    let outcomes = each(netlink.remove(&found), found.len());
    let mut removed = BTreeSet::new();
    for (address, outcome) in found.iter().zip(outcomes) {
        let place = owners[&(address.interface, address.ip)];
        match outcome {
            Ok(()) => drop(removed.insert(place)),
            Err(reason) => let_go.failures.push(Failure::new(&recorded[place].planned, Step::Removed, reason)),
        }
    }
    let_go.removed = removed.into_iter().map(|place| recorded[place].planned.clone()).collect();
    Ok(let_go)
}

/// What [`remove_unowned`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Addresses that this host held without owning them.
    pub removed: Vec<(GroupIndex, PlannedAddress)>,
    /// Those that it goes on answering for.
    pub failures: Vec<Failure>,
}

/// The configured addresses that this host holds, each on its configured interface, with the prefix that it has there (a
/// change of the configuration must not hide it).
///
/// # Errors
/// As [`Netlink::list`].
pub fn held_on_host(plans: &[GroupPlan], netlink: &mut Netlink) -> io::Result<Vec<(GroupIndex, PlannedAddress)>> {
    Ok(look(plans, netlink)?.into_iter().map(|(group, planned, _)| (group, planned)).collect())
}

/// Removes the configured addresses that this host holds in groups whose bit in `owned` is clear. An address that is also
/// in an owned group stays; addresses that no plan names, and those on other interfaces, are not touched.
///
/// # Errors
/// As [`Netlink::list`].
pub fn remove_unowned(plans: &[GroupPlan], owned: u64, netlink: &mut Netlink) -> io::Result<Swept> {
    let found = look(plans, netlink)?;
    let (kept, unowned): (Vec<_>, Vec<_>) = found.into_iter().partition(|(group, ..)| owned & group.bit() != 0);
    let kept: Vec<Address> = kept.into_iter().map(|(.., address)| address).collect();
    let unowned: Vec<_> = unowned.into_iter().filter(|(.., address)| !kept.contains(address)).collect();
    let addresses: Vec<Address> = unowned.iter().map(|(.., address)| *address).collect();
    let outcomes = each(netlink.remove(&addresses), addresses.len());
    let mut swept = Swept::default();
    for ((group, planned, _), outcome) in unowned.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => swept.removed.push((group, planned)),
            Err(reason) => swept.failures.push(Failure::new(&planned, Step::Removed, reason)),
        }
    }
    Ok(swept)
}

fn look(plans: &[GroupPlan], netlink: &mut Netlink) -> io::Result<Vec<(GroupIndex, PlannedAddress, Address)>> {
    let mut present: HashMap<_, Vec<Address>> = HashMap::new();
    for address in netlink.list(None)? {
        present.entry((address.interface, address.ip)).or_default().push(address);
    }
    let mut indices = HashMap::new();
    let mut found = Vec::new();
    for (group, plan) in (0..).map(GroupIndex).zip(plans) {
        for planned in &plan.addresses {
            let index =
                *indices.entry(planned.interface.as_str()).or_insert_with(|| netlink.link(&planned.interface).ok());
            let Some(index) = index.map(|link| link.index) else {
                continue;
            };
            for address in present.get(&(index, planned.ip)).into_iter().flatten() {
                found.push((group, PlannedAddress { prefix: address.prefix, ..planned.clone() }, *address));
            }
        }
    }
    Ok(found)
}
