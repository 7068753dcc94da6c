//! A group's addresses into the kernel, a part after the other, each announced at once; and out of it.

use super::{Links, Worker, chunks, now};
use crate::{
    core::{GroupIndex, Nanos},
    takeover::{Answering, CHECK, Done, Failure, GroupPlan, PlannedAddress, Stages, Step, each},
};
use std::{collections::HashMap, sync::Arc};

/// What an acquisition may spend, over all, on waiting for the kernel to finish IPv6 addresses
/// ([`Netlink::settle`](crate::takeover::Netlink::settle)). It goes on then: the next announcement comes soon.
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
        if let Answering::Take { .. } = answering {
            self.listen_for(plan, &links, done);
        }
        let mut stages = Stages { ordered, ..Stages::default() };
        let mut failures = Vec::new();
        self.cancel(group);
        let mut patience = SETTLE;
        for places in in_order(plan) {
            if let Answering::Take { wait } = answering {
                self.ask(group, plan, &links, &places, wait);
            }
            let in_place = self.add(plan, &links, places, &mut failures);
            self.settle(plan, &links, &in_place, &mut patience);
            stages.addresses_in_place = now();
            if stages.first_address == Nanos::default() && !in_place.is_empty() {
                stages.first_address = stages.addresses_in_place;
            }
            failures.extend(self.announce(plan, &links, &in_place));
            self.announce_again(group, in_place);
        }
        stages.announced = now();
        if plan.addresses.is_empty() {
            (stages.first_address, stages.addresses_in_place) = (stages.announced, stages.announced);
        } else if stages.first_address == Nanos::default() {
            self.take_away(plan, &links);
            self.rivals.close(group);
            return done(Done::AcquireFailed { group, failures });
        }
        self.held |= group.bit();
        self.next_check = now().after(CHECK);
        self.watch_too(group, plan, &links, done);
        done(Done::Acquired { group, stages, failures });
    }

    pub(super) fn release(&mut self, group: GroupIndex, done: &mut impl FnMut(Done)) {
        let plans = Arc::clone(&self.plans);
        self.cancel(group);
        self.held &= !group.bit();
        let mut failures = Vec::new();
        if let Some(plan) = plans.get(group.usize()) {
            let links = self.links(&plan.addresses);
            failures = self.take_away(plan, &links);
        }
        done(Done::Released { group, failures, at: now() });
        self.forget_rivals(group, done);
        self.restore(done); // the kernel may have taken addresses of other groups away with a primary one
        if self.held == 0 {
            self.next_check = Nanos::NEVER;
        }
    }

    /// Adds the addresses at `places` of the plan, and returns the places of those that are there.
    fn add(
        &mut self,
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
                }
                Err(reason) => failures.push(Failure::new(planned, Step::Added, reason)),
            }
        }
        let outcomes = each(self.netlink.add(&addresses), addresses.len());
        let mut outcomes = outcomes.into_iter();
        wanted.retain(|place| match outcomes.next() {
            Some(Err(reason)) => {
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
        let begun = now();
        if let Err(error) = self.netlink.settle(&addresses, begun.after(*patience)) {
            log::warn!("group {}: {error}", plan.name);
        }
        *patience = patience.since(now().since(begun));
    }

    /// Removes all addresses of the plan, whatever their prefix has become; returns those that stay.
    fn take_away(&mut self, plan: &GroupPlan, links: &Links<'_>) -> Vec<Failure> {
        // An interface that is gone took its addresses with it.
        let there = |a: &PlannedAddress| links[a.interface.as_str()].as_ref().ok().map(|ready| a.on(ready.link));
        let (planned, addresses): (Vec<_>, Vec<_>) = plan.addresses.iter().filter_map(|a| Some((a, there(a)?))).unzip();
        let outcomes = each(self.netlink.remove(&addresses), addresses.len());
        let refused = planned.iter().zip(outcomes).filter_map(|(planned, outcome)| Some((*planned, outcome.err()?)));
        let mut failures: Vec<_> =
            refused.map(|(planned, reason)| Failure::new(planned, Step::Removed, reason)).collect();
        match self.netlink.list(None) {
            Ok(present) => {
                let by_ip: HashMap<_, _> =
                    addresses.iter().zip(&planned).map(|(a, p)| ((a.interface, a.ip), *p)).collect();
                let left: Vec<_> = present.into_iter().filter(|a| by_ip.contains_key(&(a.interface, a.ip))).collect();
                for (address, outcome) in left.iter().zip(each(self.netlink.remove(&left), left.len())) {
                    if let Err(reason) = outcome {
                        failures.push(Failure::new(by_ip[&(address.interface, address.ip)], Step::Removed, reason));
                    }
                }
            }
            Err(error) => log::warn!("group {}: {error}", plan.name),
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
