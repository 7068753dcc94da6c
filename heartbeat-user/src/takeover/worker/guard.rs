//! What is here and should not be, what should be and is not, and whether the neighbours are to be told again.

use super::{Links, What, Worker, acquire::SETTLE, chunks, held};
use crate::{
    system::{
        clock,
        netlink::{NetworkInterface, Port},
    },
    takeover::{Address, Done, Failure, GroupPlan, PlannedAddress, Step, claims::On, each},
    types::{GroupIndex, Nanos},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// What did not succeed is tried again after this, then ever later,
const AGAIN: Nanos = Nanos::from_millis(500);
/// up to this.
const AGAIN_AT_LATEST: Nanos = Nanos::from_millis(60_000);
/// An interface's addresses are announced anew at most once in so long: its carrier may flap, its bridge may be busy.
const ANEW: Nanos = Nanos::from_millis(1_000);

/// When everything is looked at again though nothing changed.
#[derive(Default)]
pub(super) struct Retry {
    at: Option<Nanos>,
    pause: Option<Nanos>,
}

impl Retry {
    pub(super) fn due(&self) -> Nanos {
        self.at.unwrap_or(Nanos::NEVER)
    }

    /// Something failed: later and later.
    pub(super) fn failed(&mut self, now: Nanos) {
        let pause = self.pause.map_or(AGAIN, |pause| pause.times(2).min(AGAIN_AT_LATEST));
        *self = Self { at: Some(now.after(pause)), pause: Some(pause) };
    }

    pub(super) fn not_later_than(&mut self, at: Nanos) {
        self.at = Some(self.due().min(at));
    }
}

/// An interface when its addresses were announced.
pub(super) struct Seen {
    link: NetworkInterface,
    ports: Vec<Port>,
    /// When they were last announced for its sake.
    announced: Nanos,
}

/// A place in the plan of a group, and an address that is there or should be.
type Found = (GroupIndex, usize, Address);

/// What one look saw and did.
struct Look<'a> {
    plans: &'a [GroupPlan],
    links: Links<'a>,
    /// The addresses of plans that are on this host, with each prefix.
    present: HashMap<On, Vec<Address>>,
    failures: Vec<(GroupIndex, usize, Failure)>,
}

impl Look<'_> {
    fn planned(&self, group: GroupIndex, place: usize) -> &PlannedAddress {
        &self.plans[group.usize()].addresses[place]
    }

    /// Where it belongs, if there is an interface of that name.
    fn on(&self, planned: &PlannedAddress) -> Option<Address> {
        self.links[planned.interface.as_str()].as_ref().ok().map(|ready| planned.on(ready.link))
    }

    /// What is there, with whatever prefix.
    fn at(&self, on: On) -> impl Iterator<Item = Address> {
        self.present.get(&on).into_iter().flatten().copied()
    }

    fn failed(&mut self, (group, place, _): Found, step: Step, why: String) {
        let failure = Failure::new(self.planned(group, place), step, why);
        self.failures.push((group, place, failure));
    }
}

impl Worker {
    /// The group is held already, by an earlier life.
    pub(super) fn resume(&mut self, group: GroupIndex, done: &mut impl FnMut(Done)) {
        self.held |= group.bit();
        self.stuck &= !group.bit();
        self.look_at(false, done); // what is here of others may be resumed by the next order
        let plans = Arc::clone(&self.plans);
        let Some(plan) = plans.get(group.usize()) else { return };
        self.announce_later(group, (0..plan.addresses.len()).collect());
        let links = self.links(&plan.addresses);
        let ready = |a: &PlannedAddress| Some(a.on(links[a.interface.as_str()].as_ref().ok()?.link));
        let wanted: HashSet<Address> = plan.addresses.iter().filter_map(ready).collect();
        // An older version had them preferred; to add one that is there changes that.
        let ipv6: Vec<_> = wanted.iter().filter(|a| a.ip.is_ipv6()).copied().collect();
        let others = self.netlink.add(&ipv6).and_then(|_| self.netlink.list(None)).map(|present| {
            let there: HashSet<On> =
                present.iter().filter(|a| wanted.contains(a)).map(|a| (a.interface, a.ip)).collect();
            let other = |a: &&Address| there.contains(&(a.interface, a.ip)) && !wanted.contains(a);
            present.iter().filter(other).copied().collect::<Vec<_>>()
        });
        match others {
            Ok(others) => self.remove_each(&others).into_iter().filter_map(Result::err).for_each(|why| {
                log::warn!("group {}: an address stays with another prefix, too: {why}", plan.name);
            }),
            Err(error) => log::warn!("group {}: {error}", plan.name),
        }
    }

    /// Puts back what is missing of the held groups, takes away what is here of the others, and announces again what the
    /// neighbours may know no more. What does not succeed is tried again.
    pub(super) fn look(&mut self, done: &mut impl FnMut(Done)) {
        self.look_at(true, done);
    }

    fn look_at(&mut self, others: bool, done: &mut impl FnMut(Done)) {
        if self.held != 0 {
            self.watch_anew();
        }
        let plans = Arc::clone(&self.plans);
        let links = self.links(plans.iter().flat_map(|plan| &plan.addresses));
        let now = clock::monotonic();
        let list = match self.netlink.list(None) {
            Ok(list) => list,
            Err(error) => {
                log::warn!("the addresses of this host cannot be looked at: {error}");
                return self.retry.failed(now);
            }
        };
        let mut present: HashMap<On, Vec<Address>> = HashMap::new();
        for address in list.into_iter().filter(|a| self.planned.contains(&a.ip)) {
            present.entry((address.interface, address.ip)).or_default().push(address);
        }
        let mut look = Look { plans: &plans, links, present, failures: Vec::new() };
        self.restore(&mut look, done);
        self.gather(&mut look, done);
        if others {
            self.sweep(&mut look, done);
        }
        if look.failures.is_empty() && look.links.values().all(|l| l.as_ref().err().is_none_or(|absent| absent.gone)) {
            self.retry = Retry::default();
        } else {
            self.retry.failed(now);
        }
        for (group, place, failure) in std::mem::take(&mut look.failures) {
            if self.damping.again(What::Failed(group, place), now) {
                done(Done::Failed { group, failures: vec![failure] });
            }
        }
        self.notice(&look.links, now);
    }

    fn restore(&mut self, look: &mut Look<'_>, done: &mut impl FnMut(Done)) {
        let mut missing: Vec<Found> = Vec::new();
        let mut instead = Vec::new();
        for (group, plan) in held(look.plans, self.held) {
            for (place, planned) in plan.addresses.iter().enumerate() {
                let Some(address) = look.on(planned) else { continue };
                self.put.insert((group, place, address.interface));
                let mut there = look.at((address.interface, address.ip));
                if there.all(|other| other != address) {
                    missing.push((group, place, address));
                    // The kernel has an IPv6 address once an interface, whatever its prefix.
                    instead.extend(look.at((address.interface, address.ip)).filter(|other| other.ip.is_ipv6()));
                }
            }
        }
        self.remove_each(&instead).into_iter().filter_map(Result::err).for_each(|why| log::warn!("{why}"));
        let addresses: Vec<_> = missing.iter().map(|(.., address)| *address).collect();
        let outcomes = each(self.netlink.add(&addresses), addresses.len());
        let mut restored: BTreeMap<GroupIndex, Vec<usize>> = BTreeMap::new();
        for (found, outcome) in missing.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => restored.entry(found.0).or_default().push(found.1),
                Err(why) => look.failed(found, Step::Added, why),
            }
        }
        let mut patience = SETTLE;
        for (group, places) in restored {
            let plan = &look.plans[group.usize()];
            for places in chunks(places) {
                self.settle(plan, &look.links, &places, &mut patience);
                for failure in self.announce(plan, &look.links, &places) {
                    log::warn!("group {}: {failure}", plan.name);
                }
                for place in &places {
                    if self.damping.happened(What::Restored(group, *place), clock::monotonic()) {
                        done(Done::Restored { group, address: plan.addresses[*place].clone(), times: 1 });
                    }
                }
                self.announce_again(group, places);
            }
        }
    }

    /// Addresses of held groups on interfaces that have not their name any more: where there is another one that has, they are
    /// there now, and go from here; else they go on answering for their clients where they are, and that is said.
    fn gather(&mut self, look: &mut Look<'_>, done: &mut impl FnMut(Done)) {
        let (mut go, mut stay) = (Vec::new(), Vec::new());
        for (group, place, index) in self.put.iter().copied().filter(|(group, ..)| self.held & group.bit() != 0) {
            let planned = look.planned(group, place);
            let there = look.at((index, planned.ip)).map(|address| (group, place, address));
            match &look.links[planned.interface.as_str()] {
                Ok(ready) if ready.link.index == index => {}
                Ok(_) => go.extend(there),
                Err(absent) if absent.gone => stay.extend(there),
                Err(_) => {}
            }
        }
        let addresses: Vec<_> = go.iter().map(|(.., address)| *address).collect();
        for (found, outcome) in go.into_iter().zip(self.remove_each(&addresses)) {
            match outcome {
                Ok(()) => drop(self.put.remove(&(found.0, found.1, found.2.interface))),
                Err(why) => look.failed(found, Step::Removed, why),
            }
        }
        for (group, place, address) in stay {
            if self.damping.again(What::Renamed(group, place), clock::monotonic()) {
                let name = self.netlink.name(address.interface).unwrap_or_else(|error| error.to_string());
                let why = format!("its interface is called {name} now, where it answers until the group is released");
                let failure = Failure::new(look.planned(group, place), Step::Guarded, why);
                done(Done::Failed { group, failures: vec![failure] });
            }
        }
    }

    /// Removes what is here of groups that are not held, unless it is also a held one's.
    fn sweep(&mut self, look: &mut Look<'_>, done: &mut impl FnMut(Done)) {
        let of_held = held(look.plans, self.held).flat_map(|(_, plan)| &plan.addresses);
        let kept: HashSet<Address> = of_held.filter_map(|planned| look.on(planned)).collect();
        let mut here: Vec<Found> = Vec::new();
        for (group, plan) in held(look.plans, !(self.held | self.stuck)) {
            for (place, planned) in plan.addresses.iter().enumerate() {
                let on = look.on(planned).map(|address| (address.interface, address.ip));
                let there = on.into_iter().flat_map(|on| look.at(on)).filter(|address| !kept.contains(address));
                here.extend(there.map(|address| (group, place, address)));
            }
        }
        let addresses: Vec<_> = here.iter().map(|(.., address)| *address).collect();
        for (found, outcome) in here.into_iter().zip(self.remove_each(&addresses)) {
            match outcome {
                Ok(()) if self.damping.happened(What::Swept(found.0, found.1), clock::monotonic()) => {
                    let address = look.planned(found.0, found.1).clone();
                    done(Done::Swept { group: found.0, address, times: 1 });
                }
                Ok(()) => {}
                Err(why) => look.failed(found, Step::Removed, why),
            }
        }
    }

    pub(super) fn remove_each(&mut self, addresses: &[Address]) -> Vec<Result<(), String>> {
        each(self.netlink.remove(addresses), addresses.len())
    }

    /// Announces everything on an interface whose carrier is back, whose Ethernet address or index is another, or whose ports
    /// (of a bridge or bond) are others than when that was done last: whoever is behind may know of none of it.
    fn notice(&mut self, links: &Links<'_>, now: Nanos) {
        let plans = Arc::clone(&self.plans);
        let interfaces: BTreeSet<&str> =
            held(&plans, self.held).flat_map(|(_, plan)| &plan.addresses).map(|a| a.interface.as_str()).collect();
        self.seen.retain(|name, _| interfaces.contains(name.as_str()));
        let mut anew = Vec::new();
        for name in interfaces {
            let link = links.get(name).and_then(|link| link.as_ref().ok()).map(|ready| ready.link);
            let Some(link) = link.filter(|link| link.carrier) else {
                if let Some(seen) = self.seen.get_mut(name) {
                    seen.link.carrier = false;
                }
                continue;
            };
            let Ok(ports) = self.netlink.ports(link.index) else { continue };
            let Some(seen) = self.seen.get_mut(name) else {
                self.seen.insert(name.to_owned(), Seen { link, ports, announced: Nanos::default() });
                continue;
            };
            let known = |link: &NetworkInterface| (link.index, link.mac, link.carrier, link.carriers);
            if known(&seen.link) == known(&link) && seen.ports == ports {
                continue;
            }
            let earliest = seen.announced.after(ANEW);
            if now < earliest {
                self.retry.not_later_than(earliest);
                continue;
            }
            *seen = Seen { link, ports, announced: now };
            anew.push(name.to_owned());
        }
        if !anew.is_empty() {
            self.announce_interfaces(&anew);
        }
    }

    /// The addresses of a group have just been announced.
    pub(super) fn remember(&mut self, links: &Links<'_>) {
        for (name, ready) in links {
            if let Ok(ready) = ready
                && !self.seen.contains_key(*name)
            {
                let ports = self.netlink.ports(ready.link.index).unwrap_or_default();
                self.seen.insert((*name).to_owned(), Seen { link: ready.link, ports, announced: Nanos::default() });
            }
        }
    }

    /// What happened several times since it was told last.
    pub(super) fn tell_untold(&mut self, now: Nanos, done: &mut impl FnMut(Done)) {
        for (what, times) in self.damping.due(now) {
            let (What::Restored(group, place) | What::Swept(group, place)) = what else { continue };
            let address = self.plans[group.usize()].addresses[place].clone();
            done(match what {
                What::Restored(..) => Done::Restored { group, address, times },
                _ => Done::Swept { group, address, times },
            });
        }
    }
}
