//! A group's addresses into the kernel, a part after the other, each announced at once; and out of it.

use super::{Links, What, Worker, chunks};
use crate::{
    system::clock,
    takeover::{Address, Answering, Done, Failure, GroupPlan, Stages, Step, claims::On, each},
    types::{GroupIndex, Nanos},
};
use std::{collections::HashMap, sync::Arc};

/// What an acquisition may spend, over all, on waiting for the kernel to finish IPv6 addresses
/// ([`Netlink::settle`](crate::system::netlink::Netlink::settle)). It goes on then: the next announcement comes soon.
pub(super) const SETTLE: Nanos = Nanos::from_millis(200);

impl Worker {
    pub(super) fn acquire(
        &mut self,
        group: GroupIndex,
        ordered: Nanos,
        answering: Answering,
        done: &mut impl FnMut(Done),
    ) {
        let plans = Arc::clone(&self.plans);
        let Some(plan) = plans.get(group.usize()) else {
            return done(Done::AcquireFailed { group, failures: Vec::new() });
        };
        let links = self.links(&plan.addresses);
        if let Answering::Wait { wait } = answering
            && self.still_answered(group, plan, &links, wait, done)
        {
            return;
        }
        if let Answering::Take { wait } = answering {
            self.begin_asking(group, plan, &links, wait, done);
        }
        let mut stages = Stages { ordered, ..Stages::default() };
        let mut failures = Vec::new();
        self.cancel(group);
        let mut patience = SETTLE;
        for places in in_order(plan) {
            if let Answering::Take { wait } = answering {
                self.ask(group, plan, &links, &places, wait);
            }
            let in_place = self.add(group, plan, &links, places, &mut failures);
            self.settle(plan, &links, &in_place, &mut patience);
            stages.addresses_in_place = clock::monotonic();
            if stages.first_address == Nanos::default() && !in_place.is_empty() {
                stages.first_address = stages.addresses_in_place;
            }
            for failure in self.announce(plan, &links, &in_place) {
                let known = |f: &Failure| (f.step, &f.address.interface) == (failure.step, &failure.address.interface);
                // Of an interface that cannot, the first address says it all.
                if !failures.iter().any(|f| known(f) && f.reason == failure.reason) {
                    failures.push(failure);
                }
            }
            self.announce_again(group, in_place);
        }
        stages.announced = clock::monotonic();
        if plan.addresses.is_empty() {
            (stages.first_address, stages.addresses_in_place) = (stages.announced, stages.announced);
        } else if stages.first_address == Nanos::default() {
            failures.extend(self.take_away(group, plan, &links));
            self.rivals.close(group);
            return done(Done::AcquireFailed { group, failures });
        }
        self.held |= group.bit();
        self.stuck &= !group.bit();
        self.watch_too(group, plan, &links, done);
        // What was not added is tried again after the look that follows, for those that were are a change.
        done(Done::Acquired { group, stages, failures });
        self.remember(&links);
    }

    pub(super) fn release(&mut self, group: GroupIndex, done: &mut impl FnMut(Done)) {
        let plans = Arc::clone(&self.plans);
        self.cancel(group);
        self.held &= !group.bit();
        let mut failures = Vec::new();
        if let Some(plan) = plans.get(group.usize()) {
            let links = self.links(&plan.addresses);
            failures = self.take_away(group, plan, &links);
        }
        done(Done::Released { group, failures, at: clock::monotonic() });
        self.forget_rivals(group, done);
    }

    /// Adds the addresses at `places` of the plan, and returns the places of those that are there.
    fn add(
        &mut self,
        group: GroupIndex,
        plan: &GroupPlan,
        links: &Links<'_>,
        places: Vec<usize>,
        failures: &mut Vec<Failure>,
    ) -> Vec<usize> {
        let mut wanted = Vec::with_capacity(places.len());
        let mut addresses = Vec::with_capacity(places.len());
        for place in places {
            let planned = &plan.addresses[place];
            match &links[planned.interface.as_str()] {
                Ok(ready) => {
                    wanted.push(place);
                    addresses.push(planned.on(ready.link));
                    self.put.insert((group, place, ready.link.index));
                }
                Err(reason) => failures.push(Failure::new(planned, Step::Added, reason)),
            }
        }
        let outcomes = each(self.netlink.add(&addresses), addresses.len());
        let mut outcomes = outcomes.into_iter();
        wanted.retain(|place| match outcomes.next() {
            Some(Err(reason)) => {
                self.damping.again(What::Failed(group, *place), clock::monotonic()); // told now, so not soon again
                failures.push(Failure::new(&plan.addresses[*place], Step::Added, reason));
                false
            }
            _ => true,
        });
        wanted
    }

    pub(super) fn settle(&mut self, plan: &GroupPlan, links: &Links<'_>, places: &[usize], patience: &mut Nanos) {
        let planned = places.iter().map(|place| &plan.addresses[*place]);
        let addresses: Vec<_> =
            planned.filter_map(|a| Some(a.on(links[a.interface.as_str()].as_ref().ok()?.link))).collect();
        let begun = clock::monotonic();
        if let Err(error) = self.netlink.settle(&addresses, begun.after(*patience)) {
            log::warn!("group {}: {error}", plan.name);
        }
        *patience = patience.since(clock::monotonic().since(begun));
    }

    /// Removes all addresses of the plan, whatever their prefix has become, from the interfaces on which they were put, whatever
    /// those are called now, and from those that have the names; returns those that stay, or may. An interface whose index is no
    /// more took its addresses with it.
    fn take_away(&mut self, group: GroupIndex, plan: &GroupPlan, links: &Links<'_>) -> Vec<Failure> {
        let mut failures = Vec::new();
        let failure =
            |place: usize, why: &dyn std::fmt::Display| Failure::new(&plan.addresses[place], Step::Removed, why);
        let mut places: HashMap<On, usize> = HashMap::new();
        for (place, planned) in plan.addresses.iter().enumerate() {
            match &links[planned.interface.as_str()] {
                Ok(ready) => drop(places.insert((ready.link.index, planned.ip), place)),
                Err(absent) if absent.gone => {}
                Err(absent) => failures.push(failure(place, absent)),
            }
        }
        let put = (group, 0, 0)..=(group, usize::MAX, u32::MAX);
        places
            .extend(self.put.range(put.clone()).map(|(_, place, index)| ((*index, plan.addresses[*place].ip), *place)));
        let known =
            |(on, place): (&On, &usize)| Address { interface: on.0, ip: on.1, prefix: plan.addresses[*place].prefix };
        let here: Vec<Address> = match self.netlink.list(None) {
            Ok(present) => present.into_iter().filter(|a| places.contains_key(&(a.interface, a.ip))).collect(),
            Err(error) => {
                failures.extend(places.values().map(|place| failure(*place, &error)));
                places.iter().map(known).collect()
            }
        };
        for (address, outcome) in here.iter().zip(self.remove_each(&here)) {
            if let Err(reason) = outcome {
                failures.push(failure(places[&(address.interface, address.ip)], &reason));
            }
        }
        if failures.is_empty() {
            self.put.retain(|entry| !put.contains(entry));
            self.stuck &= !group.bit();
        } else {
            self.stuck |= group.bit();
        }
        failures
    }
}

/// What is added and announced together: IPv4 addresses first, for they need not settle, and in chunks; all IPv6 ones at once.
/// The kernel walks all multicast groups of the interface for each new IPv6 address (`ipv6_find_idev`,
/// `ipv6_mc_up`), and each address that has settled is one more group: to settle in between costs the square.
fn in_order(plan: &GroupPlan) -> Vec<Vec<usize>> {
    let (ipv4, ipv6): (_, Vec<_>) = (0..plan.addresses.len()).partition(|place| plan.addresses[*place].ip.is_ipv4());
    let mut parts = chunks(ipv4);
    parts.extend((!ipv6.is_empty()).then_some(ipv6));
    parts
}
