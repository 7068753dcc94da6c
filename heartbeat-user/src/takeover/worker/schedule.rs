//! Who tells the neighbours when: a takeover's announcements, again on a schedule, and all of it anew when something may have
//! taught them otherwise.

use super::{CHUNK, Links, Worker, chunks, held};
use crate::{
    system::clock,
    takeover::{Announcement, Failure, GroupPlan, Step, describe},
    types::{GroupIndex, Nanos},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// When an address is announced again, counted from the first time: clients may have missed that, and a switch port forwards
/// nothing before it has learned for up to 30 s (IEEE 802.1D).
pub const ANNOUNCE_AGAIN: [Nanos; 6] = [
    Nanos::from_millis(100),
    Nanos::from_millis(500),
    Nanos::from_millis(2_000),
    Nanos::from_millis(5_000),
    Nanos::from_millis(15_000),
    Nanos::from_millis(35_000),
];
/// Between two chunks of the later announcements, which are in no hurry: 6,400 addresses a second spare the switches'
/// limits.
const PACE: Nanos = Nanos::from_millis(5);

/// What is resumed is announced only after this: by then the peer has been heard, and if it was its by right it is let go of.
const RESUMED: Nanos = Nanos::from_millis(3_000);

/// Addresses of a group that are to be announced again. Each address is on schedule at most once.
pub(super) struct Round {
    pub(super) due: Nanos,
    pub(super) group: GroupIndex,
    /// Places in the group's plan.
    places: Vec<usize>,
    /// When they were announced first (or should have been, had there been no pace to keep).
    begun: Nanos,
    /// Entry of [`ANNOUNCE_AGAIN`] that is next.
    next: usize,
}

impl Round {
    fn following(self) -> Option<Self> {
        let due = self.begun.after(*ANNOUNCE_AGAIN.get(self.next)?);
        Some(Self { due, next: self.next + 1, ..self })
    }
}

impl Worker {
    /// Announces the addresses at `places` now. Where an interface cannot, that is said once for each interface; where its
    /// carrier is missing, they will be announced when it is back.
    pub(super) fn announce(&mut self, plan: &GroupPlan, links: &Links<'_>, places: &[usize]) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut silent = HashSet::new();
        let mut announced = Vec::with_capacity(places.len());
        let mut announcements = Vec::with_capacity(places.len());
        for planned in places.iter().map(|place| &plan.addresses[*place]) {
            let interface = planned.interface.as_str();
            let why = match &links[interface] {
                Ok(ready) if ready.link.loopback => continue, // nobody is behind it
                Ok(ready) if ready.link.mac.is_none() => format!("{interface} has no Ethernet address to announce"),
                Ok(ready) if !ready.link.carrier => format!("{interface} has no carrier; it will be when there is one"),
                Ok(ready) => {
                    announced.push(planned);
                    announcements.push(Announcement { link: ready.link, ip: planned.ip, router: ready.router });
                    continue;
                }
                Err(absent) => absent.to_string(),
            };
            if silent.insert(interface) {
                failures.push(Failure::new(planned, Step::Announced, why));
            }
        }
        for (planned, outcome) in announced.into_iter().zip(self.announcer.announce(&announcements)) {
            if let Err(errno) = outcome {
                failures.push(Failure::new(planned, Step::Announced, describe(errno)));
            }
        }
        failures
    }

    pub(super) fn announce_round(&mut self, round: Round) {
        let plans = Arc::clone(&self.plans);
        let plan = &plans[round.group.usize()];
        let links = self.links(round.places.iter().map(|place| &plan.addresses[*place]));
        for failure in self.announce(plan, &links, &round.places) {
            log::debug!("group {}: {failure}", plan.name); // was said when it was announced first, or as the interface's event
        }
        self.rounds.extend(round.following());
    }

    /// They have been announced, and are again on schedule.
    pub(super) fn announce_again(&mut self, group: GroupIndex, places: Vec<usize>) {
        let waiting = self.rounds.iter().filter(|round| round.group == group).count() as u64;
        self.schedule(group, places, clock::monotonic().after(PACE.times(waiting)), true);
    }

    /// They are resumed: an earlier life announced them, but clients may have heard others since. What is missing of them, and put
    /// back, is on schedule already.
    pub(super) fn announce_later(&mut self, group: GroupIndex, mut places: Vec<usize>) {
        let of_group = self.rounds.iter().filter(|round| round.group == group);
        let scheduled: HashSet<usize> = of_group.flat_map(|round| round.places.iter().copied()).collect();
        places.retain(|place| !scheduled.contains(place));
        self.schedule(group, places, clock::monotonic().after(RESUMED), false);
    }

    /// Order: all of the group, at once and on schedule.
    pub(super) fn announce_group(&mut self, group: GroupIndex) {
        let places = self.plans.get(group.usize()).map_or(0, |plan| plan.addresses.len());
        if self.held & group.bit() != 0 {
            self.announce_anew([(group, (0..places).collect())].into());
        }
    }

    /// All that is held on those interfaces, at once and on schedule.
    pub(super) fn announce_interfaces(&mut self, interfaces: &[String]) {
        let plans = Arc::clone(&self.plans);
        let on = |plan: &GroupPlan| {
            let places = plan.addresses.iter().enumerate().filter(|(_, a)| interfaces.contains(&a.interface));
            places.map(|(place, _)| place).collect()
        };
        self.announce_anew(held(&plans, self.held).map(|(group, plan)| (group, on(plan))).collect());
    }

    pub(super) fn announce_anew(&mut self, places: BTreeMap<GroupIndex, Vec<usize>>) {
        let mut begin = clock::monotonic();
        for (group, places) in places {
            let chunks = places.len().div_ceil(CHUNK) as u64;
            self.schedule(group, places, begin, false);
            begin = begin.after(PACE.times(chunks));
        }
    }

    /// Begins the schedule at `begin`; `announced`: the first time has just been.
    fn schedule(&mut self, group: GroupIndex, places: Vec<usize>, begin: Nanos, announced: bool) {
        let anew: HashSet<usize> = places.iter().copied().collect();
        for round in self.rounds.iter_mut().filter(|round| round.group == group) {
            round.places.retain(|place| !anew.contains(place));
        }
        self.rounds.retain(|round| !round.places.is_empty());
        for (places, number) in chunks(places).into_iter().zip(0..) {
            let begun = begin.after(PACE.times(number));
            let round = Round { due: begun, group, places, begun, next: 0 };
            self.rounds.extend(if announced { round.following() } else { Some(round) });
        }
    }

    /// Everything once, but for what is on schedule soon enough.
    pub(super) fn refresh(&mut self, now: Nanos) {
        let Some(every) = self.announce_every else { return };
        self.next_refresh = now.after(every);
        let soon = self.rounds.iter().filter(|round| round.due <= now.after(every));
        let scheduled: HashSet<_> =
            soon.flat_map(|round| round.places.iter().map(|place| (round.group, *place))).collect();
        let plans = Arc::clone(&self.plans);
        let all = held(&plans, self.held).flat_map(|(group, plan)| {
            let left: Vec<_> = (0..plan.addresses.len()).filter(|p| !scheduled.contains(&(group, *p))).collect();
            chunks(left).into_iter().map(move |places| (group, places))
        });
        for ((group, places), number) in all.zip(0..) {
            let begun = now.after(PACE.times(number));
            self.rounds.push(Round { due: begun, group, places, begun, next: ANNOUNCE_AGAIN.len() });
        }
    }

    pub(super) fn cancel(&mut self, group: GroupIndex) {
        self.rounds.retain(|round| round.group != group);
    }
}
