//! At the agent's start: which group addresses this host holds, and the end of those that it does not own.

use super::{Address, Failure, GroupPlan, Netlink, PlannedAddress, Step, each};
use crate::core::GroupIndex;
use std::{collections::HashMap, io};

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
    netlink.reconcile(&kept)?; // the kernel may have taken them away with a primary address
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
