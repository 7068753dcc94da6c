//! A controller that its peer does not hear: what it has to let go of, and by when.
//!
//! Cut off, it hears the peer on no channel and none of its networks works for it: whatever it holds is of no use to anybody, and the
//! peer counts on it. (One that left, or whose agent died, does not; but it may begin another life, which does: exclusive groups go.)
//! Unheard, the peer hears it on no channel, though it hears the peer: exclusive groups go, for the peer finds it dead, and of all others what
//! the peer has, too. Without a grant, exclusive groups go: the arbiter may have granted them to the peer.

use super::{
    Core, PeerState,
    ownership::LetGo,
    promise,
    timers::{Wake, has_come},
};
use crate::types::Nanos;
use heartbeat_ebpf::wire::flags;

/// What is known of our being alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alone {
    /// Since when the peer has been silent, and its host, too.
    silent_since: Option<Nanos>,
    /// Since when it has said that it hears us nowhere.
    unheard_since: Option<Nanos>,
    /// When it was heard last that said otherwise.
    heard_us_at: Nanos,
    /// By when, of its own count, one that says so must have found us dead and find us silent.
    counted_until: Option<Nanos>,
    /// It has said so for so long that it finds us dead.
    finds_us_dead: bool,
    cut_off: bool,
    /// The same, or that is not known although it should be.
    perhaps_cut_off: bool,
    /// Since when none of our networks has worked, or that has not been known, in this silence.
    isolated_since: Option<Nanos>,
    /// When that was so last, in this silence; or when a life of the peer's was seen that does not hear us.
    isolated_at: Option<Nanos>,
    /// The same, and for so long that one that left may have begun another life, and taken over, without our knowing.
    missed: bool,
    /// Since when, by the peer's count, something exclusive has had to be let go of, by this life or the one before: until nothing of it
    /// is here any more, or it is surely ours again.
    letting_go_since: Option<Nanos>,
}

/// Groups that the kernel may serve until then only; none, and 0, where there is no such limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) groups: u64,
    pub(super) until: Nanos,
}

/// What being alone is told by, as of now.
#[derive(Clone, Copy, Debug)]
struct Signs {
    /// Some channel hears the peer.
    good: bool,
    /// The peer is silent, and its host, too; and since when, where it is now.
    silent: bool,
    silent_at: Nanos,
    /// The peer says that it hears us nowhere.
    unheard: bool,
    /// When it was heard last, and when what it had heard of us by then was said; none where it had heard nothing.
    heard_at: Nanos,
    heard_of_us: Option<Nanos>,
    /// It had heard us lately when it said what it said last.
    up_to_date: bool,
    /// It counts on our letting go: it neither left nor died.
    counts: bool,
    /// None of our networks works; or that is not known, although it should be.
    isolated: bool,
    perhaps_isolated: bool,
    /// Whoever is cut off lets go of what it holds.
    releases: bool,
    detection: Nanos,
    /// The peer finds us dead no sooner than so long after it heard us.
    takeover_after: Nanos,
    longest_silence: Nanos,
    /// One that left takes nothing for so long that we would not know of.
    unnoticed: Nanos,
}

impl Alone {
    /// Of a life that begins; the one before had to let go of something since then.
    pub(super) fn of(letting_go_since: Option<Nanos>) -> Self {
        Self { letting_go_since, ..Self::default() }
    }

    /// For the next life.
    pub(super) const fn letting_go_since(&self) -> Option<Nanos> {
        self.letting_go_since
    }

    /// Whether the peer cannot know what we do.
    pub(super) const fn is_alone(&self) -> bool {
        self.silent_since.is_some() || self.finds_us_dead
    }

    /// Whether the peer, which we hear, said last, and for a detection time, that it hears us nowhere.
    pub(super) const fn finds_us_dead(&self) -> bool {
        self.finds_us_dead
    }

    /// When we were perhaps cut off last, in this silence.
    pub(super) const fn isolated_at(&self) -> Option<Nanos> {
        self.isolated_at
    }

    /// Whether a peer that left may have begun another life, and taken over, without our knowing.
    pub(super) const fn has_missed_something(&self) -> bool {
        self.missed
    }

    /// None of our networks works, as far as is known.
    pub(super) const fn is_isolated(&self) -> bool {
        self.isolated_since.is_some()
    }

    /// What a peer that found us dead, and is silent since, counts on is done: what is taken from now on is taken because that is safe,
    /// and stays.
    const fn forget_unheard(&mut self) {
        (self.unheard_since, self.finds_us_dead) = (None, false);
    }

    /// A life of the peer's, perhaps recorded, does not name us: it may live, and not hear us.
    pub(super) const fn see_unmet(&mut self, now: Nanos) {
        (self.isolated_at, self.missed) = (Some(now), true);
    }

    fn step(&mut self, now: Nanos, signs: &Signs) {
        let Signs { good, silent, releases, .. } = *signs;
        let was_silent = self.silent_since.is_some();
        self.silent_since = if silent { self.silent_since.or(Some(signs.silent_at)) } else { None };
        // Where it fell silent since, that was its last word: it counts on us.
        self.unheard_since = match signs.unheard {
            true if good => self.unheard_since.or(Some(now)),
            true => self.unheard_since,
            false => None,
        };
        if was_silent {
            // What it counted on in the silence is decided by then; from now on it is told that we are here.
            self.heard_us_at = now;
        } else if self.unheard_since.is_none() {
            self.heard_us_at = signs.heard_at;
        }
        // However late we learnt of it: it did not find us dead sooner, and from then on counts one silence.
        let found = signs.heard_of_us.map(|said| said.after(signs.takeover_after).max(self.heard_us_at));
        self.counted_until = found.filter(|_| self.unheard_since.is_some()).map(|at| at.after(signs.longest_silence));
        self.finds_us_dead = has_come(self.finds_us_dead_at(signs.detection), now);
        self.cut_off = releases && silent && signs.isolated && signs.counts;
        self.perhaps_cut_off = releases && silent && signs.perhaps_isolated;
        let isolated = silent && signs.perhaps_isolated;
        self.isolated_since = if isolated { self.isolated_since.or(Some(now)) } else { None };
        if let Some(since) = self.isolated_since {
            self.isolated_at = Some(now);
            self.missed |= now.since(since) >= signs.unnoticed;
        }
        // One that had not heard us for long may have been alone itself, and be about to lose its networks.
        if good && signs.up_to_date {
            (self.isolated_at, self.missed) = (None, false);
        }
    }

    /// When a peer that says it hears us nowhere finds us dead.
    fn finds_us_dead_at(&self, detection: Nanos) -> Option<Nanos> {
        let told = self.unheard_since?.after(detection);
        Some(self.counted_until.map_or(told, |counted| counted.min(told)))
    }

    /// When, alone, we must have been granted what we hold; none where we are not alone.
    fn granted_by(&self, arbitration: Nanos) -> Option<Nanos> {
        self.since().map(|since| since.after(arbitration))
    }

    /// When something that must be let go of must be gone.
    fn gone_by(&self, release_within: Nanos) -> Option<Nanos> {
        self.letting_go_since.map(|since| since.after(release_within))
    }

    /// When being alone may change something by time alone. `arbitration`: where there is an arbiter. Of `gone_by` the watchdog learns with
    /// the next heartbeat, of the end of `unnoticed` as well.
    pub(super) fn times(&self, detection: Nanos, arbitration: Option<Nanos>, wake: &mut Wake) {
        let Self {
            silent_since: _,
            unheard_since: _,
            heard_us_at: _,
            counted_until: _,
            finds_us_dead: _,
            cut_off: _,
            perhaps_cut_off: _,
            isolated_since: _,
            isolated_at: _,
            missed: _,
            letting_go_since: _,
        } = self;
        wake.ends(self.finds_us_dead_at(detection).filter(|_| !self.finds_us_dead));
        wake.ends(arbitration.and_then(|within| self.granted_by(within)));
    }

    fn since(&self) -> Option<Nanos> {
        self.silent_since.or(self.unheard_since.filter(|_| self.finds_us_dead))
    }
}

impl Core {
    /// Whether the peer hears us and we it, and whether our own networks work.
    pub(super) fn note_alone(&mut self, now: Nanos) {
        // Of a life that begins, what the one before held is not kept for longer than that one would have; and if that one
        // was alone, so is this one.
        let was_alone = self.setup.resumed.is_some_and(|before| before.serve_until.is_some());
        let met = self.host.answered() || self.peer != PeerState::Unknown && self.last_heard().is_some();
        let unheard =
            self.peer == PeerState::Unknown && (was_alone || now.since(self.heard_before) >= self.longest_silence());
        // Nobody takes anything by a promise sooner; and that we are cut off was found out at most so late.
        let promised = promise::heard(self.setup.exclusivity.promise()).unwrap_or_default();
        let signs = Signs {
            good: self.peer == PeerState::Good,
            silent: (self.peer == PeerState::Bad || unheard) && !self.host_answers(now),
            silent_at: if met { now } else { self.silent_before(now) },
            unheard: self.said.deaf,
            heard_at: self.last_heard().unwrap_or_default(),
            heard_of_us: (self.said.echo_sent_ns != 0).then_some(Nanos(self.said.echo_sent_ns)),
            up_to_date: self.is_up_to_date(now),
            // One that left, or whose agent died, counts on nothing.
            counts: self.said.flags & flags::LEAVING == 0 && !self.host.died(),
            isolated: self.is_isolated(),
            perhaps_isolated: self.may_be_isolated(now),
            releases: self.setup.exclusivity.release_isolated,
            detection: self.detection(),
            takeover_after: self.takeover_after(),
            longest_silence: self.longest_silence(),
            unnoticed: promised.since(self.setup.finds_out_within()),
        };
        self.alone.step(now, &signs);
    }

    /// Since when the peer, not heard in this life, has been silent: what the life before was to be granted by then, this one is, too.
    fn silent_before(&self, now: Nanos) -> Nanos {
        let silent = self.heard_before.after(self.longest_silence());
        let Some(before) = self.setup.resumed else { return now };
        match before.serve_until {
            // A grant may end later still.
            Some(until) => until.since(self.setup.exclusivity.arbitration()),
            // Nobody had found that out yet.
            None if silent > before.alive => silent,
            // Its host answered.
            None => now,
        }
    }

    /// Whether the peer said that it leaves, and cannot have come back and taken anything unheard: neither while we were cut off, nor
    /// while no life of ours listened.
    pub(super) fn has_surely_left(&self) -> bool {
        let heard = self.last_heard().is_some();
        let slept = self.setup.resumed.map_or(self.started, |before| self.started.since(before.alive));
        let promised = promise::heard(self.setup.exclusivity.promise());
        let heeded = heard || promised.is_none_or(|promised| slept < promised);
        self.said.flags & flags::LEAVING != 0 && heeded && !self.alone.missed
    }

    /// Whether the peer, when it was heard last, knew of a maintenance of ours: it takes nothing then.
    fn peer_knows_of_maintenance(&self) -> bool {
        self.flags & flags::MAINTENANCE != 0 && self.said.echo_sent_ns >= self.maintained_since.0
    }

    /// What is to be let go of. In maintenance nothing is; but what the peer, which does not know of it, may be taking.
    pub(super) fn let_go(&mut self, now: Nanos) -> LetGo {
        let setup = self.setup.exclusivity;
        // What an operator ordered to be here whatever the peer has, stays.
        let owned = self.ownership.owned() & !self.ownership.by_force();
        let exclusive = owned & setup.groups;
        let promises = setup.release_isolated || setup.arbiter.is_some();
        let mut to = LetGo::default();
        let maintained = self.peer_knows_of_maintenance();
        if self.alone.cut_off && !maintained {
            to.cut_off = if self.in_maintenance() { exclusive } else { owned };
        } else if self.alone.perhaps_cut_off && !maintained {
            to.cut_off = exclusive;
        } else if self.alone.finds_us_dead && promises && !maintained {
            // What is granted to us, the peer is denied.
            to.cut_off = exclusive & !self.arbiter.granted(now);
        }
        to.not_granted = exclusive & self.ungranted(now);
        let left = if self.peer == PeerState::Good { 0 } else { self.leftovers & setup.groups };
        let any = (to.cut_off | to.not_granted) & exclusive | left != 0;
        let here = exclusive | self.leftovers & setup.groups;
        self.alone.letting_go_since = match self.alone.letting_go_since {
            None if any => Some(self.promised_since(now)),
            Some(_) if !any && self.is_ours_again(now, here) => None,
            since => since,
        };
        if self.peer != PeerState::Good && (self.ownership.owned() | self.leftovers) & setup.groups == 0 {
            self.alone.forget_unheard();
        }
        to
    }

    /// Of what both hold, what a peer that finds us dead keeps: it serves it, unless it leaves, or was denied what is granted to us.
    pub(super) fn deaf_peer_keeps(&self, now: Nanos) -> u64 {
        if self.alone.finds_us_dead && !self.said.is_leaving() { !self.arbiter.granted(now) } else { 0 }
    }

    /// Whether what was to be let go of, and is still here, is surely ours again.
    fn is_ours_again(&self, now: Nanos, here: u64) -> bool {
        let heard = self.peer == PeerState::Good && self.alone.unheard_since.is_none();
        let kept = match self.setup.exclusivity.arbiter {
            Some(_) => here & !self.arbiter.granted(now) == 0,
            None => self.is_surely_connected(),
        };
        heard || kept || here == 0 || self.is_fenced()
    }

    /// What must not be here for want of a grant; of a peer that is surely down, none is wanted.
    pub(super) fn ungranted(&self, now: Nanos) -> u64 {
        let setup = &self.setup.exclusivity;
        let wanted = setup.arbiter.is_some() && !self.is_fenced();
        let Some(by) = self.alone.granted_by(setup.arbitration()).filter(|_| wanted) else { return 0 };
        let lost = self.arbiter.denied() | self.arbiter.ran_out(now);
        let patient = self.peer_knows_of_maintenance() || now < by;
        !self.arbiter.granted(now) & if patient { lost } else { u64::MAX }
    }

    /// Since when, by the peer's count, what is to be let go of is to be: since it must find us silent or gone, or since our grant ran
    /// out. If we stood still meanwhile, that was no longer than the watchdog bears. One that says that it hears us nowhere may have
    /// found that out long before we learnt of it.
    fn promised_since(&self, now: Nanos) -> Nanos {
        let setup = &self.setup.exclusivity;
        let late = |until: &Nanos| self.alone.finds_us_dead && now.since(*until) < self.detection();
        let counted = self.alone.counted_until.filter(late);
        let at_most = counted.map_or(now, |until| now.min(until)).since(setup.watchdog);
        let ran_out = self.arbiter.ran_out(now) & setup.groups != 0;
        let heard = self.last_heard().unwrap_or(self.heard_before);
        let silent = |since| heard.after(self.longest_silence()).min(since);
        match self.alone.silent_since {
            _ if ran_out => self.arbiter.until(),
            Some(at) if !self.alone.finds_us_dead && now.since(silent(at)) < setup.release_within => silent(at),
            _ if self.leftovers != 0 => self.started.since(setup.watchdog),
            _ => at_most,
        }
    }

    /// What the kernel serves for a while only, whatever becomes of us: on a grant, or until one must be there.
    pub(super) fn limit(&self, now: Nanos) -> Limit {
        let setup = &self.setup.exclusivity;
        // All of what may answer: also what is on its way, unless the kernel keeps silent about it at once.
        let here = self.ownership.owned() & !self.ownership.claiming() & !self.shut;
        let held = here & setup.groups & !self.ownership.by_force();
        let wanted = setup.arbiter.is_some() && !self.is_fenced();
        let Some(by) = self.alone.granted_by(setup.arbitration()).filter(|_| wanted && held != 0) else {
            return Limit::default();
        };
        let granted = self.arbiter.granted(now);
        if held & !granted == 0 {
            Limit { groups: held, until: self.arbiter.until() }
        } else if self.peer_knows_of_maintenance() {
            Limit::default()
        } else {
            Limit { groups: held, until: by }
        }
    }

    /// Whether the host's watchdog may be fed: not while something that was promised to be let go of is still here after its time.
    #[must_use]
    pub fn may_feed(&self, now: Nanos) -> bool {
        !has_come(self.alone.gone_by(self.setup.exclusivity.release_within), now)
    }
}

#[cfg(test)]
mod tests;
