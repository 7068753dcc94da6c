//! The neighbours: asked before a group is claimed, listened to while it is held.

use super::{
    CHECK, Links, What, Worker,
    decoys::{DECOYS, decoys, network},
    held,
};
use crate::{
    system::clock,
    takeover::{
        ANSWER_WAIT, Announcement, Done, GroupPlan, PlannedAddress,
        claims::{BACKLOG, On},
        describe,
        rivals::{Place, Question, Rival},
    },
    types::{GroupIndex, Nanos},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem::take,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// Who waits for an answered group asks for it again after a second, or when its hooks have run; a pause of so long, and it is
/// another matter.
const FORGOTTEN: Nanos = Nanos::from_millis(30_000);

/// In so many networks of a group decoys are asked for.
const NETWORKS: usize = 16;

/// A group that is still answered for, and so left to whoever answers.
pub(super) struct Answered {
    since: Nanos,
    last: Nanos,
}

impl Worker {
    /// Whether somebody answers for addresses of the group within `wait`, and it is to be left to him. That he answers is reported.
    pub(super) fn still_answered(
        &mut self,
        group: GroupIndex,
        plan: &GroupPlan,
        links: &Links<'_>,
        wait: Nanos,
        done: &mut impl FnMut(Done),
    ) -> bool {
        let all: Vec<_> = (0..plan.addresses.len()).collect();
        self.begin_asking(group, plan, links, wait, done);
        self.ask(group, plan, links, &all, wait);
        let mut end = Nanos::NEVER;
        while let Some(question) = self.rivals.question(group) {
            if question.is_answered() {
                // Only for those who answer for everything: they have as long as the others had at least.
                let more = if question.decoys.is_empty() { Nanos::default() } else { wait.min(ANSWER_WAIT) };
                end = end.min(clock::monotonic().after(more));
            }
            let due = question.due.min(end);
            let left = due.since(clock::monotonic());
            if left == Nanos::default() {
                break;
            }
            self.listener.wait(Duration::from_nanos(left.0));
            self.hear(done, || clock::monotonic() >= due);
        }
        self.watch_anew();
        let Some(question) = self.rivals.close(group).filter(|question| !question.answers().is_empty()) else {
            self.answered.remove(&group);
            return false;
        };
        let now = clock::monotonic();
        let answered = self.answered.entry(group).or_insert(Answered { since: now, last: now });
        if now.since(answered.last) > FORGOTTEN {
            answered.since = now;
        }
        answered.last = now;
        let enough = self.still_answering_for.is_some_and(|longest| now.since(answered.since) >= longest);
        if enough {
            self.answered.remove(&group);
        }
        let told = enough || self.damping.again(What::Answered(group), now);
        self.tell(&question, enough, told, done);
        !enough
    }

    /// Opens the listener for answers to what is about to be asked, and asks for addresses that nobody should have.
    pub(super) fn begin_asking(
        &mut self,
        group: GroupIndex,
        plan: &GroupPlan,
        links: &Links<'_>,
        wait: Nanos,
        done: &mut impl FnMut(Done),
    ) {
        let mut networks: BTreeMap<(u32, IpAddr, u8), Announcement> = BTreeMap::new();
        for planned in &plan.addresses {
            if let Ok(ready) = &links[planned.interface.as_str()]
                && ready.link.mac.is_some()
                && networks.len() < NETWORKS
            {
                let decoy = Announcement { link: ready.link, ip: planned.ip, router: ready.router };
                networks
                    .entry((ready.link.index, network(planned.ip, planned.prefix), planned.prefix))
                    .or_insert(decoy);
            }
        }
        let mut asked = Vec::with_capacity(networks.len() * DECOYS);
        for ((.., prefix), of) in networks {
            asked.extend(decoys(of.ip, prefix, &self.planned).into_iter().map(|ip| Announcement { ip, ..of }));
        }
        let on = |decoy: &Announcement| (decoy.link.index, decoy.ip);
        self.listen_for(plan, links, asked.iter().map(on), done);
        if !asked.is_empty() {
            self.announcer.ask(&asked);
            self.rivals.ask_decoys(group, asked.iter().map(on), clock::monotonic().after(wait));
        }
    }

    /// Asks the neighbours for the addresses at `places` of the plan. Answers count from now on, until `wait` after this call.
    /// The listener must be open ([`Worker::begin_asking`]).
    pub(super) fn ask(
        &mut self,
        group: GroupIndex,
        plan: &GroupPlan,
        links: &Links<'_>,
        places: &[usize],
        wait: Nanos,
    ) {
        let mut asked: Vec<(On, usize)> = Vec::with_capacity(places.len());
        let mut questions = Vec::with_capacity(places.len());
        for place in places {
            let planned = &plan.addresses[*place];
            if let Ok(ready) = &links[planned.interface.as_str()]
                && ready.link.mac.is_some()
            {
                asked.push(((ready.link.index, planned.ip), *place));
                questions.push(Announcement { link: ready.link, ip: planned.ip, router: ready.router });
            }
        }
        if asked.is_empty() {
            return;
        }
        let outcomes = self.announcer.ask(&questions);
        if let Some((question, errno)) = questions.iter().zip(outcomes).find_map(|(q, o)| Some((q, o.err()?))) {
            log::warn!("group {}: {} not asked for: {}", plan.name, question.ip, describe(errno)); // the first says it all
        }
        self.rivals.ask(group, asked, clock::monotonic().after(wait));
    }

    /// Opens the listener for claims of the group's addresses, and of `more`, and throws away those that were made before: they are no answers to a
    /// question of ours, nor held against a claim of ours.
    fn listen_for(
        &mut self,
        plan: &GroupPlan,
        links: &Links<'_>,
        more: impl Iterator<Item = On>,
        done: &mut impl FnMut(Done),
    ) {
        if let Err(error) = self.listener.listen_also(where_they_are(plan, links).map(|(_, on)| on).chain(more)) {
            log::warn!("group {}: claims of neighbours cannot be heard: {error}", plan.name);
        }
        self.hear(done, || false);
    }

    /// The group is held now: from here on who else claims its addresses is a rival.
    pub(super) fn watch_too(
        &mut self,
        group: GroupIndex,
        plan: &GroupPlan,
        links: &Links<'_>,
        done: &mut impl FnMut(Done),
    ) {
        self.listen_for(plan, links, std::iter::empty(), done);
        self.rivals.hold_too(where_they_are(plan, links).map(|(place, on)| (on, (group, place))));
        self.next_listen = self.next_listen.min(clock::monotonic().after(CHECK));
    }

    /// What is held has changed: the listener is told as soon as no order waits.
    pub(super) fn watch_anew(&mut self) {
        self.stale = true;
        self.next_listen = clock::monotonic();
    }

    /// Takes in what the neighbours have said, and reports it. An order that comes meanwhile is served first.
    pub(super) fn listen(&mut self, done: &mut impl FnMut(Done), order_waits: impl Fn() -> bool) {
        let now = clock::monotonic();
        if !self.hear(done, order_waits) {
            self.next_listen = now;
            return;
        }
        if take(&mut self.stale) {
            self.hold(); // now, so that what was said before a claim of ours is not held against it
        }
        while let Some(question) = self.rivals.due(now) {
            if !question.answers().is_empty() {
                self.tell(&question, true, true, done);
            }
        }
        let gone = self.rivals.gone(now);
        let mut anew: BTreeMap<GroupIndex, Vec<usize>> = BTreeMap::new();
        for ((group, place), _) in &gone {
            anew.entry(*group).or_default().push(*place);
        }
        self.tell_gone(gone, done);
        self.announce_anew(anew); // it was the last to speak
        self.next_listen = if self.held == 0 { Nanos::NEVER } else { now.after(CHECK) };
    }

    /// The group is not held any more, and who else claims it no concern of ours.
    pub(super) fn forget_rivals(&mut self, group: GroupIndex, done: &mut impl FnMut(Done)) {
        let gone = self.rivals.release(group);
        self.tell_gone(gone, done);
        self.watch_anew();
    }

    /// Reads what waits to be heard, at most as much as the kernel's buffers hold, until `enough`; returns whether it came to the
    /// end.
    fn hear(&mut self, done: &mut impl FnMut(Done), enough: impl Fn() -> bool) -> bool {
        let mut own = None;
        let mut patience = BACKLOG;
        while !enough() {
            let Some((interface, claim)) = self.listener.next(&mut patience) else {
                return true;
            };
            if !self.rivals.is_of_interest(&(interface, claim.ip)) {
                continue;
            }
            // Asked of the kernel only where a claim is about an address of ours, and once for all claims of this turn.
            if own.get_or_insert_with(|| self.own_macs()).contains(&claim.mac) {
                continue;
            }
            let at = clock::monotonic();
            if let Some((group, place)) = self.rivals.heard(interface, claim, at)
                && let Some(address) = self.plans[group.usize()].addresses.get(place).cloned()
            {
                done(Done::Rival { group, address, mac: claim.mac, at });
            }
        }
        false
    }

    /// The Ethernet addresses of all interfaces: a frame of ours may come back to another port of ours.
    fn own_macs(&mut self) -> HashSet<[u8; 6]> {
        let links = self.netlink.links().unwrap_or_else(|error| {
            log::warn!("own Ethernet addresses not known: {error}");
            Vec::new()
        });
        links.into_iter().filter_map(|link| link.mac).collect()
    }

    /// Tells the table and the listener which addresses are held now, and on which interfaces.
    fn hold(&mut self) {
        let plans = Arc::clone(&self.plans);
        let links = self.links(held(&plans, self.held).flat_map(|(_, plan)| &plan.addresses));
        let all: HashMap<On, Place> = held(&plans, self.held)
            .flat_map(|(group, plan)| where_they_are(plan, &links).map(move |(place, on)| (on, (group, place))))
            .collect();
        self.rivals.hold(all);
        if let Err(error) = self.listener.listen_only(self.rivals.of_interest()) {
            log::warn!("claims of neighbours cannot be heard: {error}");
        }
    }

    fn tell(&self, question: &Question, taken: bool, told: bool, done: &mut impl FnMut(Done)) {
        let addresses = &self.plans[question.group.usize()].addresses;
        let by = question.answers().into_iter().map(|(place, mac)| (addresses[place].clone(), mac)).collect();
        done(Done::StillAnswered { group: question.group, at: clock::monotonic(), by, taken, told });
    }

    fn tell_gone(&self, gone: Vec<(Place, Rival)>, done: &mut impl FnMut(Done)) {
        for ((group, place), Rival { mac, first, last }) in gone {
            let address = self.plans[group.usize()].addresses[place].clone();
            done(Done::RivalGone { group, address, mac, first, last });
        }
    }
}

/// The addresses of a plan where they live now, each with its place; not those whose interface is missing.
fn where_they_are<'a>(plan: &'a GroupPlan, links: &'a Links<'_>) -> impl Iterator<Item = (usize, On)> + 'a {
    let link = |a: &PlannedAddress| Some(links[a.interface.as_str()].as_ref().ok()?.link.index);
    plan.addresses.iter().enumerate().filter_map(move |(place, a)| Some((place, (link(a)?, a.ip))))
}
