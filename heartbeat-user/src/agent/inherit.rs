//! What a life takes over from the one before it, if it is back in time: of two lists of names and the bits of a cell, what is held
//! on, what is let go of, and what is gone from the file. Pure: nothing is looked at or done here.

use super::life::{Life, LivedAddress, LivedChannel, LivedGroup};
use crate::{
    core::{Resumed, promise},
    dataplane::{PinnedCell, SlotOrder, Tables},
    types::{MAX_CHANNELS, MAX_GROUPS, Nanos, Timing},
};
use std::collections::HashSet;

/// What an earlier life left in its cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its number.
    pub incarnation: u64,
    /// It gave a sign of life so lately that the peer cannot have found it dead.
    pub in_time: bool,
    /// The groups that it held.
    pub owned: u64,
    /// The groups of which a hook may have left something.
    pub hooked: u64,
    /// The groups that the peer could not let go of.
    pub peer_kept: u64,
    /// The groups that it held by an operator's order.
    pub forced: u64,
    /// The groups that the kernel keeps silent about: they are not ours any more.
    pub closed: u64,
    /// The groups that might be served for a while only.
    pub limited: u64,
}

impl Cell {
    /// What is in it.
    #[must_use]
    pub const fn of(cell: &PinnedCell, in_time: bool) -> Self {
        Self {
            incarnation: cell.incarnation(),
            in_time,
            owned: cell.owned(),
            hooked: cell.hooked(),
            peer_kept: cell.peer_kept(),
            forced: cell.forced(),
            closed: cell.closed(),
            limited: cell.limited(),
        }
    }
}

/// When an earlier life was seen last, on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct LastSign {
    /// Its last sign of life.
    pub alive: Nanos,
    /// Its death, where the kernel noted that.
    pub died: Option<Nanos>,
    /// When the peer was heard last: by the kernel, which went on listening, or without XDP by the agent.
    pub heard: Nanos,
}

impl LastSign {
    /// What a cell tells of it.
    #[must_use]
    pub fn of(cell: &PinnedCell) -> Self {
        Self { alive: Nanos(cell.alive_ns()), died: cell.died_ns().map(Nanos), heard: Nanos(cell.heard_ns()) }
    }

    /// Whether its groups may still be ours: it ended so recently that the peer cannot have found it dead, or the peer, which is
    /// there, was told that it died and waits for it. Its last heartbeat may be an interval older than its last sign of life.
    #[must_use]
    pub fn is_in_time(&self, now: Nanos, detection: Nanos, timing: &Timing, grace: Nanos) -> bool {
        let unnoticed = now.since(self.alive) < detection.since(timing.interval);
        unnoticed || self.is_waited_for(now, detection, grace) && now.since(self.heard) < promise::lease(timing)
    }

    /// Whether the peer, if it is there and was told of the death, waits still: whether it is there is known once it is heard.
    #[must_use]
    pub fn is_waited_for(&self, now: Nanos, detection: Nanos, grace: Nanos) -> bool {
        self.died.is_some_and(|at| now.since(at) < grace.since(detection))
    }
}

/// What is to become of it. The bits are of the new life's groups: those of its file, then `departed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inheritance {
    /// They are held on.
    pub held: u64,
    /// They are let go of, hooks included, before anything is claimed.
    pub release: u64,
    /// Of those, the ones whose addresses stay until it is their turn: the peer knows that they are ours.
    pub in_place: u64,
    /// The peer could not let go of them.
    pub peer_kept: u64,
    /// Of those that are held on, the ones that an operator ordered to be here.
    pub forced: u64,
    /// The kernel goes on keeping silent about them.
    pub closed: u64,
    /// The kernel serves them no longer than it was told before.
    pub limited: u64,
    /// Groups that the file has no more.
    pub departed: Vec<LivedGroup>,
    /// The same, for which there is no room: to be let go of at once.
    pub surplus: Vec<LivedGroup>,
    /// Addresses that nothing has any more, or that are not ours by now: to be removed at once.
    pub stale: Vec<LivedAddress>,
}

impl Inheritance {
    /// Leaves it in the cells, which are in the order of this life's groups from then on. What the peer's bits stand for is not
    /// known until its names are heard again.
    ///
    /// `found_closed` is what the kernel kept silent about, in the old order, when this was found out: where it has closed more since, the
    /// peer may serve any of ours, and all are closed until it is heard.
    pub fn leave(&self, tables: &Tables, found_closed: u64) {
        let (agent, kernel) = (tables.agent(), tables.kernel());
        let more = kernel.closed.get() & !found_closed != 0;
        agent.owned.set(self.held | self.in_place);
        agent.hooked.set(self.release);
        agent.peer_kept.set(self.peer_kept);
        agent.forced.set(self.forced);
        kernel.orders.peer_names.set(0);
        kernel.orders.limited.set(self.limited);
        kernel.closed.set(self.closed | if more { self.held | self.in_place } else { 0 });
        kernel.orders.active.set(self.held | self.in_place | self.release);
    }

    /// What the core goes on with, of this cell.
    #[must_use]
    pub fn resumed(&self, cell: &PinnedCell, in_time: bool) -> Resumed {
        let some = |at_ns| Some(Nanos(at_ns)).filter(|at| *at != Nanos(0));
        Resumed {
            peer_incarnation: cell.peer_incarnation(),
            owned: self.held,
            release: self.release,
            term: cell.term(),
            peer_flags: cell.peer_flags() as u8,
            peer_kept: self.peer_kept,
            letting_go_since: some(cell.letting_go_ns()),
            forced: self.forced,
            // Whoever came too late for anything else does not know what came of the peer meanwhile.
            fenced_at: some(cell.fenced_ns()).filter(|_| in_time),
            closed: self.closed,
            heard: Nanos(cell.heard_ns()),
            alive: Nanos(cell.alive_ns()),
            serve_until: some(cell.serve_until_ns()),
        }
    }

    /// The same where there is a record, but no cell.
    #[must_use]
    pub fn resumed_without(&self) -> Option<Resumed> {
        (self.release != 0).then(|| Resumed { release: self.release, ..Resumed::default() })
    }
}

/// What a life takes over whose file has `groups`, in this order; of each, the name and its addresses as (interface, address,
/// prefix). `life` and `cell` are what was found of the one before.
pub fn inherit(life: Option<&Life>, cell: Option<Cell>, groups: &[(&str, Vec<LivedAddress>)]) -> Inheritance {
    let none: &[LivedGroup] = &[];
    let recorded = life.map_or(none, |life| &life.groups);
    let matching = cell.filter(|cell| life.is_some_and(|life| life.is_of(cell.incarnation)));
    let strange = cell.is_some() && matching.is_none();
    // Without a cell that says which, all that is on record may be here; without a record, all that the file has.
    let bits = |which: fn(&Cell) -> u64| matching.as_ref().map_or(u64::MAX, which);
    let (owned, hooked) = (bits(|cell| cell.owned), bits(|cell| cell.hooked));
    let in_time = matching.is_some_and(|cell| cell.in_time);
    let has = |bits: u64, place: usize| place < MAX_GROUPS && bits >> place & 1 == 1;
    // Where there is nothing to be run, its addresses are all that there is to it.
    let must_be_released = |place: usize| has(hooked, place) || has(owned, place) && recorded[place].has_hooks();
    let closed = matching.map_or(0, |cell| cell.closed);
    let is_ours = |place: usize| in_time && has(owned & !closed, place);
    let own = groups.len().min(MAX_GROUPS);
    let bit = |i: usize| 1_u64 << i;

    let mut to = Inheritance::default();
    // Where the life before had each group of this one.
    let of_name = |(name, _): &(&str, _)| recorded.iter().position(|group| group.name == *name);
    let mut places: Vec<Option<usize>> = groups.iter().take(own).map(of_name).collect();
    for (i, place) in places.iter().enumerate() {
        match *place {
            Some(place) if is_ours(place) && !recorded[place].departed => to.held |= bit(i),
            Some(place) if must_be_released(place) => to.release |= bit(i),
            Some(_) => {}
            None if strange => to.release |= bit(i),
            None => {}
        }
    }
    for (place, group) in recorded.iter().enumerate() {
        let in_file = groups.iter().any(|(name, _)| *name == group.name);
        if in_file || !must_be_released(place) {
            continue;
        }
        let i = places.len();
        if i >= MAX_GROUPS {
            to.surplus.push(LivedGroup { departed: true, ..group.clone() });
            continue;
        }
        to.release |= bit(i);
        if is_ours(place) {
            to.in_place |= bit(i);
        }
        places.push(Some(place));
        to.departed.push(LivedGroup { departed: true, ..group.clone() });
    }
    if let Some(cell) = &matching {
        let by_name = |bits: u64, places: &[Option<usize>]| {
            let had = |(_, place): &(usize, &Option<usize>)| place.is_some_and(|place| has(bits, place));
            places.iter().enumerate().filter(had).fold(0, |bits, (i, _)| bits | bit(i))
        };
        (to.closed, to.limited) = (by_name(cell.closed, &places), by_name(cell.limited, &places));
        to.peer_kept = by_name(cell.peer_kept, &places[..own]);
        to.forced = by_name(cell.forced, &places) & to.held;
    }

    // Another prefix of a held one is exchanged without a gap when its group is resumed.
    let same = |a: &LivedAddress, b: &LivedAddress| (a.ip, &a.interface) == (b.ip, &b.interface);
    let held =
        groups.iter().enumerate().filter(|(i, _)| to.held >> i & 1 == 1).flat_map(|(_, (_, addresses))| addresses);
    let in_place = to.departed.iter().enumerate().filter(|(i, _)| to.in_place >> (own + i) & 1 == 1);
    let wanted: Vec<_> = held.chain(in_place.flat_map(|(_, group)| &group.addresses)).collect();
    let active = recorded.iter().enumerate().filter(|(place, _)| has(owned | hooked, *place));
    let left = life.map(|life| &life.left).into_iter().flatten();
    let candidates = active.flat_map(|(_, group)| &group.addresses).chain(left);
    let mut seen = HashSet::new();
    to.stale = candidates
        .filter(|address| !wanted.iter().any(|wanted| same(wanted, address)))
        .filter(|address| seen.insert((*address).clone()))
        .cloned()
        .collect();
    to
}

/// Where the channels of `names` are counted: where a life before counted them, else where nobody was, else in the place of one
/// that is gone. The bits say which of them have a place that is new to them.
pub fn slots(before: &[LivedChannel], names: &[&str]) -> (SlotOrder, u64) {
    let all = 0..MAX_CHANNELS as u8;
    let mut given = HashSet::new();
    // Two of one place can only come from a record that somebody wrote by hand.
    let kept: Vec<Option<u8>> = names
        .iter()
        .map(|name| before.iter().find(|channel| channel.name == *name).map(|channel| channel.slot))
        .map(|slot| slot.filter(|slot| all.contains(slot) && given.insert(*slot)))
        .collect();
    let used = |slot: &u8| before.iter().any(|channel| channel.slot == *slot);
    let clean = all.clone().filter(|slot| !used(slot));
    let free: Vec<u8> = clean.chain(all.filter(used)).filter(|slot| !given.contains(slot)).collect();
    let fresh = kept.iter().enumerate().filter(|(_, slot)| slot.is_none()).fold(0, |bits, (i, _)| bits | 1 << i);
    // All 64 are in order; whoever comes after the channels has what is left.
    let mut free = free.into_iter();
    let mut order = kept.into_iter().chain(std::iter::repeat(None)).map(|slot| slot.or_else(|| free.next()));
    (std::array::from_fn(|_| order.next().flatten().unwrap_or_default()), fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;

    fn address(host: u8) -> LivedAddress {
        LivedAddress { interface: "eth0".into(), index: 2, ip: [192, 0, 2, host].into(), prefix: 24 }
    }

    fn group(name: &str, hosts: &[u8]) -> LivedGroup {
        LivedGroup {
            name: name.into(),
            departed: false,
            home: Node::A,
            addresses: hosts.iter().map(|host| address(*host)).collect(),
            on_releasing: None,
            on_release: Some(vec!["/bin/true".into()]),
            timeout_ns: 1,
            force: false,
        }
    }

    fn life(groups: &[LivedGroup]) -> Life {
        Life { incarnation: "5".into(), groups: groups.to_vec(), ..Life::default() }
    }

    fn file<'a>(groups: &[(&'a str, &[u8])]) -> Vec<(&'a str, Vec<LivedAddress>)> {
        groups.iter().map(|(name, hosts)| (*name, hosts.iter().map(|host| address(*host)).collect())).collect()
    }

    #[test]
    fn what_the_kernel_closed_while_a_life_began_stays_closed_until_the_peer_is_heard() {
        let to = Inheritance { held: 0b11, release: 0b100, closed: 0b1000, ..Inheritance::default() };
        for (found, since, left) in [(0, 0, 0b1000), (0b1, 0b1, 0b1000), (0b1, 0b11, 0b1011)] {
            let tables = Tables::anonymous().unwrap();
            tables.kernel().closed.set(since);
            // What went by the order of the file before.
            let (agent, orders) = (tables.agent(), &tables.kernel().orders);
            [&orders.limited, &agent.forced].iter().for_each(|word| word.set(0b1));
            let to = Inheritance { limited: 0b10, forced: 0b100, ..to.clone() };
            to.leave(&tables, found);
            assert_eq!((tables.kernel().closed.get(), orders.limited.get(), agent.forced.get()), (left, 0b10, 0b100));
        }
    }

    const CELL: Cell =
        Cell { incarnation: 5, in_time: true, owned: 0b01, hooked: 0, peer_kept: 0, forced: 0, closed: 0, limited: 0 };

    #[test]
    fn what_was_held_is_held_on_by_name_whatever_the_order() {
        let life = life(&[group("x", &[10]), group("y", &[11])]);
        let taken = inherit(Some(&life), Some(CELL), &file(&[("new", &[12]), ("y", &[11]), ("x", &[10])]));
        assert_eq!(taken, Inheritance { held: 0b100, ..Inheritance::default() });
        let kept = Cell { owned: 0b01, forced: 0b11, ..CELL };
        let taken = inherit(Some(&life), Some(kept), &file(&[("new", &[12]), ("y", &[11]), ("x", &[10])]));
        assert_eq!((taken.held, taken.forced), (0b100, 0b100), "of what is held on, what an operator ordered");
        let kept = Cell { owned: 0, peer_kept: 0b10, ..CELL };
        let taken = inherit(Some(&life), Some(kept), &file(&[("new", &[12]), ("y", &[11]), ("x", &[10])]));
        assert_eq!(taken, Inheritance { peer_kept: 0b010, ..Inheritance::default() });
    }

    #[test]
    fn what_the_kernel_keeps_silent_about_is_let_go_of_also_in_time_and_stays_silent_meanwhile() {
        let life = life(&[group("x", &[10]), group("y", &[11]), group("gone", &[12])]);
        let cell = Cell { owned: 0b111, closed: 0b101, limited: 0b110, ..CELL };
        let taken = inherit(Some(&life), Some(cell), &file(&[("y", &[11]), ("x", &[10])]));
        assert_eq!((taken.held, taken.release, taken.in_place, taken.closed), (0b001, 0b110, 0, 0b110));
        assert_eq!(taken.limited, 0b101, "and what might be served for a while is so by name");
        assert_eq!(taken.stale, [address(10), address(12)]);
    }

    #[test]
    fn too_late_what_was_held_is_let_go_of_and_its_addresses_are_gone_at_once() {
        let life = life(&[group("x", &[10]), group("y", &[11])]);
        let late = Cell { in_time: false, ..CELL };
        let taken = inherit(Some(&life), Some(late), &file(&[("y", &[11]), ("x", &[10])]));
        assert_eq!(taken, Inheritance { release: 0b10, stale: vec![address(10)], ..Inheritance::default() });
    }

    #[test]
    fn what_the_kernel_closed_for_the_peer_is_let_go_of_although_in_time() {
        let life = life(&[group("x", &[10]), group("y", &[11])]);
        let closed = Cell { owned: 0b11, closed: 0b01, ..CELL };
        let taken = inherit(Some(&life), Some(closed), &file(&[("y", &[11]), ("x", &[10])]));
        assert_eq!((taken.held, taken.release, taken.stale), (0b01, 0b10, vec![address(10)]));
    }

    #[test]
    fn a_life_is_in_time_where_the_peer_cannot_have_noticed_or_waits_and_is_there() {
        let timing = crate::config::Profile::Lan.timing();
        let (ms, now, grace) = (Nanos::from_millis, Nanos::from_millis(100_000), Nanos::from_millis(2_000));
        let is = |alive: u64, died: Option<u64>, heard: u64| {
            let ago = |span: u64| now.since(ms(span));
            let last = LastSign { alive: ago(alive), died: died.map(ago), heard: ago(heard) };
            last.is_in_time(now, timing.detection(), &timing, grace)
        };
        assert!(is(199, None, 9_000) && !is(200, None, 0), "unnoticed");
        assert!(is(1_699, Some(1_699), 128) && !is(1_700, Some(1_700), 0), "waited for");
        assert!(!is(1_000, Some(1_000), 129), "by a peer that is there");
        assert!(!is(1_000, None, 0), "that it died was not told");
    }

    #[test]
    fn a_group_with_a_hook_half_way_is_let_go_of_also_in_time() {
        let life = life(&[group("x", &[10])]);
        let half = Cell { owned: 0, hooked: 1, ..CELL };
        let taken = inherit(Some(&life), Some(half), &file(&[("x", &[10])]));
        assert_eq!((taken.held, taken.release), (0, 1));
    }

    #[test]
    fn a_group_that_the_file_has_no_more_follows_the_files_own_and_goes_in_order() {
        let life = life(&[group("x", &[10]), group("y", &[11]), group("z", &[12])]);
        let cell = Cell { owned: 0b011, hooked: 0b100, ..CELL };
        let taken = inherit(Some(&life), Some(cell), &file(&[("y", &[11])]));
        assert_eq!((taken.held, taken.release, taken.in_place), (0b001, 0b110, 0b010));
        assert_eq!(taken.departed.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["x", "z"]);
        assert!(taken.departed.iter().all(|group| group.departed));
        assert_eq!(taken.stale, [address(12)], "x's stays until its turn, and z's should not be there");

        // It is back in the file before it was let go of: it is not what the peer knows to be held.
        let again = Life { groups: [vec![group("y", &[11])], taken.departed].concat(), ..life };
        let taken = inherit(Some(&again), Some(Cell { owned: 0b011, ..CELL }), &file(&[("x", &[10]), ("y", &[11])]));
        assert_eq!((taken.held, taken.release, taken.departed.len()), (0b10, 0b01, 0));
    }

    #[test]
    fn of_a_group_without_hooks_only_the_addresses_are_to_go() {
        let plain = LivedGroup { on_release: None, ..group("x", &[10]) };
        for groups in [file(&[]), file(&[("y", &[11])])] {
            let taken = inherit(Some(&life(std::slice::from_ref(&plain))), Some(CELL), &groups);
            assert_eq!(taken, Inheritance { stale: vec![address(10)], ..Inheritance::default() });
        }
        let late = Cell { in_time: false, ..CELL };
        let taken = inherit(Some(&life(&[plain])), Some(late), &file(&[("x", &[10])]));
        assert_eq!(taken, Inheritance { stale: vec![address(10)], ..Inheritance::default() });
    }

    #[test]
    fn an_address_taken_out_or_moved_is_stale() {
        let life = life(&[group("x", &[10, 11, 12, 13])]);
        let mut new = file(&[("x", &[10, 12, 13])]);
        new[0].1[1].prefix = 25;
        new[0].1[2].interface = "eth1".into();
        let taken = inherit(Some(&life), Some(CELL), &new);
        assert_eq!(
            (taken.held, taken.stale),
            (1, vec![address(11), address(13)]),
            "the one with another prefix is exchanged"
        );
    }

    #[test]
    fn a_cell_and_a_record_that_do_not_belong_together_are_let_go_of_altogether() {
        let life = life(&[group("x", &[10]), group("old", &[11])]);
        let groups = file(&[("x", &[10]), ("new", &[12])]);
        let other = Cell { incarnation: 6, ..CELL };
        let all = inherit(Some(&life), Some(other), &groups);
        assert_eq!((all.held, all.release, all.departed.len()), (0, 0b111, 1));
        // Without a record, what the file has may be here; without a cell, what was on record.
        let without = inherit(None, Some(CELL), &groups);
        assert_eq!((without.held, without.release, without.departed.len()), (0, 0b11, 0));
        let no_cell = inherit(Some(&life), None, &groups);
        assert_eq!((no_cell.held, no_cell.release, no_cell.departed.len()), (0, 0b101, 1));
        assert_eq!(no_cell.stale, [address(10), address(11)]);
        assert_eq!(inherit(None, None, &groups), Inheritance::default());
    }

    #[test]
    fn groups_for_which_there_is_no_room_are_let_go_of_at_once() {
        let names: Vec<String> = (0..64).map(|i| format!("g{i}")).collect();
        let groups: Vec<(&str, Vec<LivedAddress>)> = names.iter().map(|name| (name.as_str(), vec![])).collect();
        let taken = inherit(Some(&life(&[group("x", &[10])])), Some(CELL), &groups);
        assert_eq!((taken.release, taken.departed.len(), taken.surplus.len()), (0, 0, 1));
        assert_eq!(taken.stale, [address(10)]);
    }

    #[test]
    fn channels_keep_their_slots_by_name_and_new_ones_get_clean_ones() {
        let before = |list: &[(&str, u8)]| {
            list.iter()
                .map(|(name, slot)| LivedChannel { name: (*name).into(), interface: None, slot: *slot })
                .collect::<Vec<_>>()
        };
        let given = |before: &[LivedChannel], names: &[&str]| {
            let (order, fresh) = slots(before, names);
            let all = order.iter().fold(0_u64, |bits, slot| bits | 1 << slot);
            assert_eq!(all, u64::MAX, "each slot once");
            (order[..names.len()].to_vec(), fresh)
        };
        assert_eq!(given(&[], &["a", "b"]), (vec![0, 1], 0b11));
        let three = before(&[("a", 0), ("b", 1), ("c", 2)]);
        assert_eq!(given(&three, &["c", "new", "a"]), (vec![2, 3, 0], 0b010));
        let full: Vec<_> = (0..64).map(|i| LivedChannel { name: format!("c{i}"), interface: None, slot: i }).collect();
        let names: Vec<String> = (1..64).rev().map(|i| format!("c{i}")).chain(["new".into()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (order, fresh) = given(&full, &names);
        assert_eq!((order[0], order[63], fresh), (63, 0, 1 << 63));
        assert_eq!(given(&before(&[("a", 7), ("b", 7)]), &["a", "b"]), (vec![7, 0], 0b10));
        assert_eq!(given(&before(&[("a", 70)]), &["a"]), (vec![0], 1));
    }
}
