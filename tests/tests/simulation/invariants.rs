//! What must always hold for a pair, whatever fails: looked at after every step.

use crate::{
    side::{PATIENCE, Side},
    world::{A, B, World},
};
use heartbeat::{
    core::{Event, Hook, PeerState},
    types::Nanos,
};

/// A group that its home does not take within this time is the other's to wish for.
const UNHELD: Nanos = Nanos::from_millis(5_000);

/// What is remembered from step to step.
pub struct Watch {
    /// By cable, since when it has worked both ways between two agents that were in time.
    working_since: Vec<Nanos>,
    /// The same, and reloads that are over soon do not count.
    linked_since: Vec<Nanos>,
    /// Since when both have been able to do what they are told, and agree on the groups.
    willing_since: Nanos,
    /// When a side last wished to be handed something.
    wished_at: Nanos,
    /// By group, when somebody last held it, or tried to.
    owned_at: Vec<Nanos>,
    /// By group, when both last held it.
    dual_at: Vec<Nanos>,
    dual: u64,
    /// What the hooks of both have in use.
    in_use: u64,
    /// How long an acquisition or a release took when it was looked at last.
    takes: Nanos,
    /// How often both began to hold a group.
    pub duals: u32,
}

impl Watch {
    pub fn new(cables: usize, groups: usize) -> Self {
        Self {
            working_since: vec![Nanos::NEVER; cables],
            linked_since: vec![Nanos::NEVER; cables],
            willing_since: Nanos::NEVER,
            wished_at: Nanos(0),
            owned_at: vec![Nanos(0); groups],
            dual_at: vec![Nanos(0); groups],
            dual: 0,
            in_use: 0,
            takes: Nanos(0),
            duals: 0,
        }
    }
}

impl World {
    /// How long some channel has worked both ways between two agents that were in time.
    pub fn working_for(&self) -> Nanos {
        self.watch.working_since.iter().map(|since| self.now.since(*since)).max().expect("a channel")
    }

    pub(crate) fn check(&mut self) {
        self.note_working();
        if self.babbles != [false; 2] {
            return;
        }
        let both = self.sides[A].owned() & self.sides[B].owned();
        let slack = self.detection().after(self.sides[A].timing.interval.max(self.sides[B].timing.interval));
        if both & !self.watch.dual != 0 {
            self.watch.duals += 1;
            assert!(self.working_for() <= slack, "both began to hold a group although a channel works");
        }
        self.watch.dual = both;
        self.check_exclusive();
        let now = self.now;
        self.watch.dual_at.iter_mut().enumerate().filter(|(i, _)| both >> i & 1 == 1).for_each(|(_, at)| *at = now);
        let in_use = self.sides[A].external & self.sides[B].external & self.exclusive();
        assert!(
            in_use & !self.watch.in_use == 0 || self.working_for() <= slack,
            "both began to use what only one may, although a channel works"
        );
        self.watch.in_use = in_use;
        self.note_willing();
        let settles = self.working_for().min(self.now.since(self.watch.willing_since));
        let takes = self.takes();
        let moved = slack.after(takes.times(6));
        assert!(both == 0 || settles <= moved.after(self.detection()), "both hold a group for too long");
        assert!(in_use == 0 || settles <= moved.after(self.detection()), "both use what only one may for too long");
        self.check_unheld(settles);
        if self.sides.iter().any(|s| s.core.as_ref().is_some_and(|core| core.wished() != 0)) {
            self.watch.wished_at = self.now;
        }
        if settles > self.patience() && self.watch.wished_at.after(moved) < self.now {
            self.assert_settled();
        }
    }

    /// Exclusive means one, whatever fails.
    fn check_exclusive(&self) {
        let [a, b] = &self.sides;
        let groups = a.exclusivity.groups & b.exclusivity.groups;
        let in_use = a.external & b.external & groups & self.exclusive();
        assert!(in_use == 0, "both use what must never be held twice: {in_use:b}");
        // An agent that is dead or stands still lets go of nothing where no program does it in its place.
        let kept = |side: &Side| side.host.guards || side.sane_since <= self.now && side.stalled_until <= self.now;
        if kept(a) && kept(b) {
            let plain = groups & !a.hooks.any() & !b.hooks.any();
            let answered = a.answering(self.now) & b.answering(self.now) & plain;
            assert!(answered == 0, "both answer for what must never be held twice: {answered:b}");
        }
    }

    /// A wish that never ends is an error, too: nobody would serve the group. (What is not judged alike is not wished for for
    /// longer than an order stands, and then its home takes it back.)
    fn check_unheld(&mut self, settles: Nanos) {
        let owned = self.sides[A].owned() | self.sides[B].owned();
        let both_have = self.sides[A].running.all() & self.sides[B].running.all();
        let (bound, now) = (self.unheld_bound(), self.now);
        for (group, owned_at) in self.watch.owned_at.iter_mut().enumerate() {
            if (owned | !both_have) >> group & 1 == 1 {
                *owned_at = now;
            }
            assert!(settles.min(now.since(*owned_at)) <= bound, "nobody holds group {group} for too long");
        }
    }

    /// What is told from this event on is true: nobody finds a living peer dead or a group held by both that is not, not for a
    /// reload either, whatever it changed in the file.
    pub(crate) fn check_told(&self, side: usize, from: usize) {
        if self.babbles != [false; 2] {
            return;
        }
        let linked = self.watch.linked_since.iter().map(|since| self.now.since(*since)).max().expect("a cable");
        // A side that slept until now knows that before anybody else does.
        let linked = self.sides.iter().map(|s| self.now.since(s.steady_since)).fold(linked, Nanos::min);
        let timing = &self.sides[1 - side].timing;
        let bound = self.detection().times(2).after(timing.interval.times(2)).after(timing.retry);
        for (_, event) in &self.sides[side].events[from..] {
            match event {
                Event::PeerDead { .. } => {
                    assert!(linked <= bound, "side {side} finds its peer dead although a channel works");
                }
                Event::PeerDied { .. } => {
                    assert!(
                        linked <= bound || self.now.since(self.sides[1 - side].sane_since) <= bound,
                        "side {side} finds that its peer's agent died, and it lives"
                    );
                }
                Event::DualOwnership { group, .. } => {
                    let last = self.watch.dual_at[self.sides[side].running.groups[group.usize()]];
                    assert!(linked.min(self.now.since(last)) <= bound, "side {side} finds a group held by both");
                }
                _ => {}
            }
        }
    }

    fn note_working(&mut self) {
        let awake = |s: &Side| s.stalled_until <= self.now;
        let sane = self.sides.iter().all(|s| s.core.is_some() && awake(s));
        let steady = self.sides.iter().all(|s| (s.core.is_some() || s.starts_at.is_some()) && awake(s));
        let (sane_since, steady_since) = self
            .sides
            .iter()
            .fold((Nanos(0), Nanos(0)), |(sane, steady), s| (sane.max(s.sane_since), steady.max(s.steady_since)));
        let (now, sides, paths) = (self.now, &self.sides, &self.paths);
        let since = self.watch.working_since.iter_mut().zip(&mut self.watch.linked_since).enumerate();
        for (cable, (working, linked)) in since {
            let end = |s: usize| {
                let (path, side) = (paths[s][cable], &sides[s]);
                let there = side.running.cables.contains(&cable) && side.carrier(cable);
                !path.cut && path.lost == 0 && there && side.errno[cable].is_none()
            };
            let ends = end(A) && end(B);
            for (since, holds, at_least) in [(working, sane, sane_since), (linked, steady, steady_since)] {
                if !holds || !ends {
                    *since = Nanos::NEVER;
                } else if *since == Nanos::NEVER || *since < at_least {
                    *since = now;
                }
            }
        }
    }

    fn note_willing(&mut self) {
        let willing = self.sides.iter().all(|s| !s.acquire_fails && !s.release_fails && !s.maintains() && !s.leaving());
        let hooks_work = |s: &Side| {
            let hangs = s.hooks_run.iter().any(|(due, ..)| due.since(s.clock(self.now)) > s.hook_takes);
            s.hook_fails == [false; 4] && s.hook_hangs == [false; 4] && !hangs && !s.control_hangs
        };
        let orders_work = |s: &Side| !s.orders.iter().any(|o| o.due.since(s.clock(self.now)) > s.acquire_takes);
        let willing = willing && self.sides.iter().all(|s| hooks_work(s) && orders_work(s));
        let willing = willing && self.sides.iter().all(|s| !s.errno.contains(&Some(98)));
        let kept = self.sides.iter().any(|s| s.core.as_ref().is_some_and(|core| core.kept() != 0));
        // What runs was begun when it took longer.
        let takes = self.takes();
        let shorter = std::mem::replace(&mut self.watch.takes, takes) > takes;
        if !willing || kept || shorter || self.sides[A].groups_digest() != self.sides[B].groups_digest() {
            self.watch.willing_since = Nanos::NEVER;
        } else if self.watch.willing_since == Nanos::NEVER {
            self.watch.willing_since = self.now;
        }
    }

    /// Groups whose hooks see to it that only one has in use what only one may.
    fn exclusive(&self) -> u64 {
        let of =
            |s: &Side| s.hooks.has[Hook::OnAcquire as usize] & s.hooks.has[Hook::OnRelease as usize] & !s.hooks.force;
        of(&self.sides[A]) & of(&self.sides[B])
    }

    /// No group is unheld for longer than this while a channel works both ways and both are willing.
    pub fn unheld_bound(&self) -> Nanos {
        PATIENCE.after(UNHELD).after(self.patience())
    }

    /// How long one step of an acquisition or release takes, with its hooks.
    fn takes(&self) -> Nanos {
        let takes = |s: &Side| if s.hooks.any() == 0 { Nanos(0) } else { s.hook_takes.times(2) }.after(s.acquire_takes);
        self.sides.iter().map(takes).max().expect("two sides")
    }

    /// Within this after the last fault, everything is as it should be.
    pub fn patience(&self) -> Nanos {
        let takes = self.takes();
        let rest = Nanos::from_millis(1_000);
        self.detection().times(5).after(takes.times(8)).after(rest)
    }

    /// Every group has one holder, and both agree on who it is.
    pub fn assert_settled(&self) {
        let [a, b] = self.held();
        let all = self.sides[A].running.all();
        assert_eq!((a & b, a | b), (0, all), "holders {a:b} and {b:b}");
        assert_eq!([self.sides[A].addresses, self.sides[B].addresses], [a, b], "addresses are where the holders are");
        let views = [A, B].map(|s| self.sides[s].running.to_world(self.core(s).peer_owned()));
        assert_eq!(views, [b, a], "both views agree");
        assert!([A, B].iter().all(|&s| self.core(s).peer() == PeerState::Good), "each is alive to the other");
    }
}
