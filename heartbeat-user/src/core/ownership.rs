//! Who holds which group (DESIGN, ownership; WO 01/82077 S3: a resource belongs to one controller at a time).
//!
//! ```text
//!             claim                addresses in place
//!  Standby ----------> Acquiring ---------------------> Held
//!     ^                   | none could be added           | precedence, stopping
//!     |  wait over        v                               v
//!     +------------- Resting          Standby <------ Releasing
//! ```
//! 1. While any channel works, a group changes hands only by release first, acquire after; and an unheld group is claimed
//!    only by its home, or by the other where the home has left: so two never claim at once.
//! 2. When all channels are dead, the survivor claims, unless a guard objects.
//! 3. If both hold one after a partition, the higher term keeps it (ties: home).

use super::{GroupIndex, Nanos, Node, Reason, Withheld};

/// What is known of the peer and of ourselves, as of now.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Some channel works.
    pub peer_good: bool,
    /// All channels are dead.
    pub peer_dead: bool,
    /// The peer was heard at least once in this life of ours.
    pub peer_known: bool,
    /// It said that it leaves.
    pub peer_leaving: bool,
    /// The groups that it holds.
    pub peer_owned: u64,
    /// Its term.
    pub peer_term: u64,
    /// The groups that we wish to be handed.
    pub wants: u64,
    /// What the peer said last, it said knowing that.
    pub heeded: bool,
    /// The groups that the peer wishes to be handed.
    pub peer_wants: u64,
    /// Both controllers judged us to be failed.
    pub failed: bool,
    /// It counts the same groups as we do.
    pub same_groups: bool,
    /// None of our own channels has a carrier.
    pub isolated: bool,
    /// Heartbeats that are not our peer's arrived within the last wait.
    pub stranger: bool,
}

/// What to do about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add its addresses.
    Acquire(GroupIndex, Reason),
    /// Remove them.
    Release(GroupIndex, Reason),
    /// Both hold it; kept by this one. `Release` follows where that is not us.
    Dual(GroupIndex, Node),
    /// Something is not acquired, for this reason.
    Withhold(Withheld),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Standby,
    Acquiring,
    Held,
    Releasing,
    Resting { until: Nanos },
}

#[derive(Clone, Debug)]
struct Group {
    home: Node,
    holding: Holding,
    /// Both hold it, and that was said.
    dual: bool,
    /// The last attempt to acquire it failed, and that was said: the next ones are silent until one succeeds.
    failing: bool,
    /// Since when it is, or is not, held here.
    moved_at: Option<Nanos>,
}

/// How long a group rests after none of its addresses could be added.
const REST: Nanos = Nanos::from_millis(1_000);

/// All groups of the pair, as this controller holds them.
#[derive(Clone, Debug)]
pub struct Ownership {
    node: Node,
    groups: Vec<Group>,
    /// Our epoch: plus one at each acquisition.
    term: u64,
    highest_seen: u64,
    /// Nothing is claimed before.
    listen_until: Nanos,
    withheld: Option<Withheld>,
    stopping: bool,
    hold: Nanos,
}

impl Ownership {
    /// Groups by their homes; `owned` and `term` are those of a life before that is resumed, else 0.
    #[must_use]
    pub fn new(node: Node, homes: &[Node], owned: u64, term: u64, listen_until: Nanos) -> Self {
        let holding = |i: usize| if owned >> i & 1 == 1 { Holding::Held } else { Holding::Standby };
        let groups = homes
            .iter()
            .enumerate()
            .map(|(i, &home)| Group { home, holding: holding(i), dual: false, failing: false, moved_at: None })
            .collect();
        Self { node, groups, term, highest_seen: term, listen_until, withheld: None, stopping: false, hold: Nanos(0) }
    }

    /// A group that moved is not moved again by a verdict within this time.
    #[must_use]
    pub const fn holding(mut self, hold: Nanos) -> Self {
        self.hold = hold;
        self
    }

    /// The groups that a verdict may move now.
    #[must_use]
    pub fn movable(&self, now: Nanos) -> u64 {
        let rested = |g: &Group| g.moved_at.is_none_or(|at| now.since(at) >= self.hold);
        self.groups.iter().enumerate().filter(|(_, g)| rested(g)).fold(0, |bits, (i, _)| bits | 1 << i)
    }

    /// Our term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// The groups that we hold or are about to: set before the first address is added, cleared after the last is gone.
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.bits(|h| matches!(h, Holding::Acquiring | Holding::Held | Holding::Releasing))
    }

    /// The groups whose addresses are in place.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.bits(|h| h == Holding::Held)
    }

    /// Why nothing is acquired, where something would be.
    #[must_use]
    pub const fn withheld(&self) -> Option<Withheld> {
        self.withheld
    }

    fn bits(&self, which: impl Fn(Holding) -> bool) -> u64 {
        self.groups.iter().enumerate().filter(|(_, g)| which(g.holding)).fold(0, |bits, (i, _)| bits | 1 << i)
    }

    /// The peer's term was heard: what we claim from now on goes beyond it.
    pub fn see_term(&mut self, term: u64) {
        self.highest_seen = self.highest_seen.max(term);
    }

    /// Claims nothing before `until`.
    pub fn listen(&mut self, until: Nanos) {
        self.listen_until = self.listen_until.max(until);
    }

    /// Lets go of everything and claims nothing any more.
    pub const fn stop(&mut self) {
        self.stopping = true;
    }

    /// The addresses are in place. False where nobody asked for that.
    pub fn acquired(&mut self, group: GroupIndex) -> bool {
        let changed = self.change(group, Holding::Acquiring, Holding::Held);
        if changed {
            self.groups[group.usize()].failing = false;
        }
        changed
    }

    /// None of the addresses could be added; of a group that was resumed, which counts as held from the start, too.
    pub fn acquire_failed(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let resting = Holding::Resting { until: now.after(REST) };
        self.change(group, Holding::Acquiring, resting) || self.change(group, Holding::Held, resting)
    }

    /// That it failed is to be said. Whether that is new.
    pub fn begin_failing(&mut self, group: GroupIndex) -> bool {
        self.groups.get_mut(group.usize()).is_some_and(|g| !std::mem::replace(&mut g.failing, true))
    }

    /// Whether the last attempt to acquire it failed.
    #[must_use]
    pub fn is_failing(&self, group: GroupIndex) -> bool {
        self.groups.get(group.usize()).is_some_and(|g| g.failing)
    }

    /// The addresses are gone.
    pub fn released(&mut self, group: GroupIndex) -> bool {
        self.change(group, Holding::Releasing, Holding::Standby)
    }

    /// Something is not acquired, for this reason. Whether that is new.
    pub fn withhold(&mut self, reason: Withheld) -> bool {
        self.withheld.replace(reason) != Some(reason)
    }

    fn change(&mut self, group: GroupIndex, from: Holding, to: Holding) -> bool {
        match self.groups.get_mut(group.usize()) {
            Some(g) if g.holding == from => {
                g.holding = to;
                true
            }
            _ => false,
        }
    }

    /// When time alone may change a decision.
    #[must_use]
    pub fn deadline(&self, now: Nanos) -> Nanos {
        let resting = self.groups.iter().filter_map(|g| match g.holding {
            Holding::Resting { until } => Some(until),
            _ => None,
        });
        let listening = (self.listen_until > now).then_some(self.listen_until);
        resting.chain(listening).min().unwrap_or(Nanos::NEVER)
    }

    /// What follows from the facts, given to `step` in order.
    pub fn decide(&mut self, now: Nanos, facts: &Facts, mut step: impl FnMut(Step)) {
        for g in &mut self.groups {
            if matches!(g.holding, Holding::Resting { until } if until <= now) {
                g.holding = Holding::Standby;
            }
        }
        if self.stopping {
            self.release_all(&mut step);
            return;
        }
        let conflict = self.settle_conflicts(facts, &mut step);
        if conflict || now < self.listen_until {
            return;
        }
        if facts.peer_good {
            self.withheld = None;
            if facts.same_groups {
                self.hand_over(now, facts, &mut step);
                self.claim_unheld(now, facts, &mut step);
            }
        } else if facts.peer_dead {
            self.claim_from_the_dead(facts, &mut step);
        }
    }

    /// Rule 3. Whether there is a conflict: nothing new is claimed meanwhile.
    fn settle_conflicts(&mut self, facts: &Facts, step: &mut impl FnMut(Step)) -> bool {
        let both = if facts.peer_good && facts.same_groups { self.owned() & facts.peer_owned } else { 0 };
        let (node, term) = (self.node, self.term);
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            if both & group.bit() == 0 {
                g.dual = false;
                continue;
            }
            let keeper = match term.cmp(&facts.peer_term) {
                std::cmp::Ordering::Greater => node,
                std::cmp::Ordering::Less => node.other(),
                std::cmp::Ordering::Equal => g.home,
            };
            if !g.dual {
                g.dual = true;
                step(Step::Dual(group, keeper));
            }
            if keeper != node && g.holding == Holding::Held {
                g.holding = Holding::Releasing;
                step(Step::Release(group, Reason::PeerHasPrecedence));
            }
        }
        both != 0
    }

    /// WO 01/82077, FIG. 6, steps 642, 644: both judged that the remote takes over from the local, and it wishes to.
    fn hand_over(&mut self, now: Nanos, facts: &Facts, step: &mut impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            if facts.failed && facts.peer_wants & group.bit() != 0 && g.holding == Holding::Held {
                g.holding = Holding::Releasing;
                g.moved_at = Some(now);
                step(Step::Release(group, Reason::WeFailed));
            }
        }
    }

    /// Rule 1. A group that the peer wishes to be handed is its to claim, and one that we wish for is ours only once the
    /// peer has said, knowing of our wish, that it does not hold it: so two never claim at once.
    fn claim_unheld(&mut self, now: Nanos, facts: &Facts, step: &mut impl FnMut(Step)) {
        for i in 0..self.groups.len() {
            let group = GroupIndex(i as u8);
            if self.groups[i].holding != Holding::Standby || facts.peer_owned & group.bit() != 0 {
                continue;
            }
            if facts.wants & group.bit() != 0 && facts.peer_wants & group.bit() == 0 {
                if facts.heeded {
                    self.groups[i].moved_at = Some(now);
                    self.claim(group, Reason::PeerFailed, step);
                }
            } else if self.groups[i].home == self.node {
                if facts.peer_wants & group.bit() == 0 {
                    self.claim(group, Reason::Home, step);
                }
            } else if facts.peer_leaving {
                self.claim(group, Reason::PeerLeft, step);
            }
        }
    }

    /// Rule 2. WO 01/82077, FIG. 6, steps 604, 606: all channels failed, the remote is deemed failed.
    fn claim_from_the_dead(&mut self, facts: &Facts, step: &mut impl FnMut(Step)) {
        if self.groups.iter().all(|g| g.holding != Holding::Standby) {
            return;
        }
        let objection = if facts.isolated {
            Some(Withheld::Isolated)
        } else if facts.stranger && !facts.peer_known {
            Some(Withheld::Stranger)
        } else {
            None
        };
        if let Some(reason) = objection {
            if self.withhold(reason) {
                step(Step::Withhold(reason));
            }
            return;
        }
        self.withheld = None;
        let reason = if facts.peer_leaving { Reason::PeerLeft } else { Reason::PeerDead };
        for i in 0..self.groups.len() {
            if self.groups[i].holding == Holding::Standby {
                self.claim(GroupIndex(i as u8), reason, step);
            }
        }
    }

    fn claim(&mut self, group: GroupIndex, reason: Reason, step: &mut impl FnMut(Step)) {
        // Trying again is not another acquisition.
        if !self.groups[group.usize()].failing || self.highest_seen >= self.term {
            self.term = self.term.max(self.highest_seen).saturating_add(1);
        }
        self.groups[group.usize()].holding = Holding::Acquiring;
        step(Step::Acquire(group, reason));
    }

    fn release_all(&mut self, step: &mut impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            if g.holding == Holding::Held {
                g.holding = Holding::Releasing;
                step(Step::Release(GroupIndex(i as u8), Reason::Stopping));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G0: GroupIndex = GroupIndex(0);
    const G1: GroupIndex = GroupIndex(1);
    const NOW: Nanos = Nanos(1_000_000_000);

    const GOOD: Facts = Facts {
        peer_good: true,
        peer_dead: false,
        peer_known: true,
        peer_leaving: false,
        peer_owned: 0,
        peer_term: 0,
        wants: 0,
        heeded: false,
        peer_wants: 0,
        failed: false,
        same_groups: true,
        isolated: false,
        stranger: false,
    };
    const DEAD: Facts = Facts { peer_good: false, peer_dead: true, ..GOOD };
    const SILENT: Facts = Facts { peer_good: false, ..GOOD };

    /// Controller a; group 0 is at home here, group 1 there.
    fn a(owned: u64, term: u64) -> Ownership {
        Ownership::new(Node::A, &[Node::A, Node::B], owned, term, Nanos(0))
    }

    fn steps(o: &mut Ownership, facts: Facts) -> Vec<Step> {
        let mut steps = Vec::new();
        o.decide(NOW, &facts, |s| steps.push(s));
        steps
    }

    #[test]
    fn an_unheld_group_is_claimed_by_its_home_only() {
        let mut o = a(0, 0);
        assert_eq!(steps(&mut o, GOOD), [Step::Acquire(G0, Reason::Home)]);
        assert_eq!((o.owned(), o.held(), o.term()), (1, 0, 1));
        assert!(o.acquired(G0));
        assert_eq!((o.owned(), o.held()), (1, 1));
        assert_eq!(steps(&mut o, GOOD), []);
    }

    #[test]
    fn a_group_that_the_peer_holds_stays_there() {
        assert_eq!(steps(&mut a(0, 0), Facts { peer_owned: 1, ..GOOD }), []);
    }

    #[test]
    fn nothing_is_claimed_while_listening_or_while_the_peer_is_neither_good_nor_dead() {
        let mut o = Ownership::new(Node::A, &[Node::A], 0, 0, NOW.after(Nanos(1)));
        assert_eq!(steps(&mut o, GOOD), []);
        assert_eq!(steps(&mut o, DEAD), []);
        assert_eq!(o.deadline(NOW), NOW.after(Nanos(1)));
        assert_eq!(steps(&mut a(0, 0), SILENT), []);
    }

    #[test]
    fn the_survivor_claims_everything_beyond_the_highest_term_seen() {
        let mut o = a(1, 3);
        o.see_term(9);
        assert_eq!(steps(&mut o, DEAD), [Step::Acquire(G1, Reason::PeerDead)]);
        assert_eq!(o.term(), 10);
    }

    #[test]
    fn an_isolated_controller_claims_nothing_and_says_so_once() {
        let mut o = a(0, 0);
        let facts = Facts { isolated: true, ..DEAD };
        assert_eq!(steps(&mut o, facts), [Step::Withhold(Withheld::Isolated)]);
        assert_eq!(steps(&mut o, facts), []);
        assert_eq!(o.withheld(), Some(Withheld::Isolated));
        assert_eq!(steps(&mut o, DEAD).len(), 2);
    }

    #[test]
    fn a_stranger_stops_a_claim_only_where_the_peer_was_never_heard() {
        let facts = Facts { stranger: true, peer_known: false, ..DEAD };
        assert_eq!(steps(&mut a(0, 0), facts), [Step::Withhold(Withheld::Stranger)]);
        assert_eq!(steps(&mut a(0, 0), Facts { peer_known: true, ..facts }).len(), 2);
    }

    #[test]
    fn a_leaving_peer_hands_over_what_it_has_released_and_no_more() {
        let mut o = a(1, 1);
        assert_eq!(steps(&mut o, Facts { peer_leaving: true, peer_owned: 2, ..GOOD }), []);
        let left = Facts { peer_leaving: true, ..GOOD };
        assert_eq!(steps(&mut o, left), [Step::Acquire(G1, Reason::PeerLeft)]);
    }

    #[test]
    fn what_is_wished_for_is_claimed_once_the_peer_knows_of_the_wish_and_holds_it_no_more() {
        let wish = Facts { wants: 2, ..GOOD };
        assert_eq!(steps(&mut a(1, 1), wish), [], "it may claim its home's group before it hears of the wish");
        assert_eq!(steps(&mut a(1, 1), Facts { heeded: true, peer_owned: 2, ..wish }), [], "not released yet");
        let claimed = steps(&mut a(1, 1), Facts { heeded: true, ..wish });
        assert_eq!(claimed, [Step::Acquire(G1, Reason::PeerFailed)]);
        assert_eq!(steps(&mut a(1, 1), Facts { heeded: true, peer_wants: 2, ..wish }), [], "and not where both wish");
    }

    #[test]
    fn a_wish_is_granted_by_a_failed_holder_only_and_its_home_does_not_take_the_group_back() {
        let wished = Facts { peer_wants: 1, ..GOOD };
        assert_eq!(steps(&mut a(1, 1), wished), []);
        let mut failed = a(1, 1);
        let facts = Facts { failed: true, ..wished };
        assert_eq!(steps(&mut failed, facts), [Step::Release(G0, Reason::WeFailed)]);
        assert!(failed.released(G0));
        assert_eq!(steps(&mut failed, facts), []);
        assert_eq!(steps(&mut failed, GOOD), [Step::Acquire(G0, Reason::Home)], "unless the peer wishes no more");
    }

    #[test]
    fn of_two_holders_the_higher_term_keeps_it() {
        let both = Facts { peer_owned: 1, peer_term: 5, ..GOOD };
        let mut lower = a(1, 4);
        assert_eq!(steps(&mut lower, both), [Step::Dual(G0, Node::B), Step::Release(G0, Reason::PeerHasPrecedence)]);
        assert!(lower.released(G0));
        assert_eq!(lower.owned(), 0);
        let mut higher = a(1, 6);
        assert_eq!(steps(&mut higher, both), [Step::Dual(G0, Node::A)]);
        assert_eq!(steps(&mut higher, both), [], "said once");
    }

    #[test]
    fn on_equal_terms_home_keeps_it_on_both_sides() {
        for (group, home) in [(1, Node::A), (2, Node::B)] {
            let both = Facts { peer_owned: group, peer_term: 5, ..GOOD };
            let released = |o: &mut Ownership| steps(o, both).iter().any(|s| matches!(s, Step::Release(..)));
            let b = &mut Ownership::new(Node::B, &[Node::A, Node::B], group, 5, Nanos(0));
            assert_eq!(released(&mut a(group, 5)), home == Node::B);
            assert_eq!(released(b), home == Node::A);
        }
    }

    #[test]
    fn nothing_new_is_claimed_while_both_hold_something() {
        let mut o = Ownership::new(Node::A, &[Node::A, Node::A], 2, 5, Nanos(0));
        assert_eq!(steps(&mut o, Facts { peer_owned: 2, peer_term: 5, ..GOOD }), [Step::Dual(G1, Node::A)]);
        assert_eq!(steps(&mut o, GOOD), [Step::Acquire(G0, Reason::Home)]);
    }

    #[test]
    fn with_other_groups_on_the_other_side_nothing_moves_until_it_is_dead() {
        let differ = Facts { same_groups: false, peer_owned: 3, peer_term: 99, ..GOOD };
        assert_eq!(steps(&mut a(0, 0), differ), []);
        assert_eq!(steps(&mut a(1, 0), differ), [], "and nothing is given up");
        assert_eq!(steps(&mut a(0, 0), Facts { same_groups: false, ..DEAD }).len(), 2);
    }

    #[test]
    fn a_group_none_of_whose_addresses_could_be_added_rests_a_second() {
        let mut o = a(0, 0);
        steps(&mut o, GOOD);
        assert!(o.acquire_failed(NOW, G0));
        assert_eq!((o.owned(), steps(&mut o, GOOD)), (0, vec![]));
        assert_eq!(o.deadline(NOW), NOW.after(REST));
        let mut again = Vec::new();
        o.decide(NOW.after(REST), &GOOD, |s| again.push(s));
        assert_eq!(again, [Step::Acquire(G0, Reason::Home)]);
    }

    #[test]
    fn stopping_releases_all_and_claims_nothing() {
        let mut o = a(1, 1);
        o.stop();
        assert_eq!(steps(&mut o, DEAD), [Step::Release(G0, Reason::Stopping)]);
        assert!(o.owned() == 1 && o.released(G0) && o.owned() == 0);
        assert_eq!(steps(&mut o, DEAD), []);
    }

    #[test]
    fn stopping_while_acquiring_releases_once_the_addresses_are_in_place() {
        let mut o = a(0, 0);
        steps(&mut o, GOOD);
        o.stop();
        assert_eq!(steps(&mut o, GOOD), []);
        assert!(o.acquired(G0));
        assert_eq!(steps(&mut o, GOOD), [Step::Release(G0, Reason::Stopping)]);
    }

    #[test]
    fn answers_that_nobody_asked_for_change_nothing() {
        let mut o = a(0, 0);
        assert!(!o.acquired(G0) && !o.released(G0) && !o.acquire_failed(NOW, GroupIndex(63)));
        assert_eq!(o.owned(), 0);
    }
}
