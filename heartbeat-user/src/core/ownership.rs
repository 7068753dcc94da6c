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
    /// Those of them that are the peer's to have, if we let go of them.
    pub granted: u64,
    /// Why they are: a verdict, or a wish of somebody's.
    pub granted_for: Reason,
    /// Why we wish for what we wish for.
    pub wants_for: Reason,
    /// An operator wants nothing to move, here or there.
    pub maintenance: bool,
    /// Groups that the peer kept when it left: it could not let go of them.
    pub kept: u64,
    /// What the guards say where the peer is silent.
    pub guard: Guard,
    /// It counts the same groups as we do.
    pub same_groups: bool,
}

/// What the guards say of a claim from a silent peer (rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing speaks against it.
    Clear,
    /// One of them has yet to answer.
    Asking,
    /// One objects.
    Objects(Withheld),
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
    /// It could not be let go of: not tried again before this time, nor while the peer goes on wishing.
    kept_until: Option<Nanos>,
    /// Since when neither holds it.
    unheld_since: Option<Nanos>,
    /// Since when the peer has held it, or tried to.
    peers_since: Option<Nanos>,
    /// How often it let go of it again soon after.
    let_go: u8,
}

/// How long a group rests after none of its addresses could be added.
const REST: Nanos = Nanos::from_millis(1_000);
/// How long a group that could not be let go of is kept before that is tried again.
const KEEP: Nanos = Nanos::from_millis(10_000);
/// So often, and each time so soon, does a home let go of a group before the other wishes for it.
const TRIES: u8 = 3;
const TRY: Nanos = Nanos::from_millis(120_000);
/// A group that its home does not take within this time, and two detection times, is the other's to wish for.
const UNHELD: Nanos = Nanos::from_millis(5_000);

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
    unheld: Nanos,
}

impl Ownership {
    /// Groups by their homes; `owned` and `term` are those of a life before that is resumed, else 0.
    #[must_use]
    pub fn new(node: Node, homes: &[Node], owned: u64, term: u64, listen_until: Nanos) -> Self {
        let holding = |i: usize| if owned >> i & 1 == 1 { Holding::Held } else { Holding::Standby };
        let groups = homes
            .iter()
            .enumerate()
            .map(|(i, &home)| Group {
                home,
                holding: holding(i),
                dual: false,
                failing: false,
                moved_at: None,
                kept_until: None,
                unheld_since: None,
                peers_since: None,
                let_go: 0,
            })
            .collect();
        Self {
            node,
            groups,
            term,
            highest_seen: term,
            listen_until,
            withheld: None,
            stopping: false,
            hold: Nanos(0),
            unheld: UNHELD,
        }
    }

    /// A group that moved is not moved again by a verdict within `hold`; its home listens for `detection` at its start.
    #[must_use]
    pub const fn holding(mut self, hold: Nanos, detection: Nanos) -> Self {
        (self.hold, self.unheld) = (hold, UNHELD.after(detection.times(2)));
        self
    }

    /// The groups that are at home here.
    #[must_use]
    pub fn at_home(&self) -> u64 {
        self.which(|g| g.home == self.node)
    }

    /// The groups that are not taken up by their home, and that nothing failed with here.
    #[must_use]
    pub fn left_lying(&self, now: Nanos) -> u64 {
        let lies = |g: &Group| g.unheld_since.is_some_and(|since| g.let_go >= TRIES || now.since(since) >= self.unheld);
        self.which(|g| lies(g) && g.home != self.node && !g.failing && g.holding == Holding::Standby)
    }

    /// The groups that we hold although we tried to let go of them.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.which(|g| g.holding == Holding::Held && g.kept_until.is_some())
    }

    /// The groups that a verdict may move now.
    #[must_use]
    pub fn movable(&self, now: Nanos) -> u64 {
        let rested = |g: &Group| g.moved_at.is_none_or(|at| now.since(at) >= self.hold);
        self.which(rested)
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
        self.which(|g| which(g.holding))
    }

    fn which(&self, which: impl Fn(&Group) -> bool) -> u64 {
        self.groups.iter().enumerate().filter(|(_, g)| which(g)).fold(0, |bits, (i, _)| bits | 1 << i)
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

    /// The group could not be let go of: it is held on, addresses and all.
    pub fn release_failed(&mut self, now: Nanos, group: GroupIndex) -> bool {
        let changed = self.change(group, Holding::Releasing, Holding::Held);
        if changed {
            self.groups[group.usize()].kept_until = Some(now.after(KEEP));
        }
        changed
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
        let lying = self.groups.iter().filter_map(|g| g.unheld_since).map(|since| since.after(self.unheld));
        let kept = self.groups.iter().filter_map(|g| g.kept_until);
        let later = lying.chain(kept).filter(|at| *at > now);
        resting.chain(listening).chain(later).min().unwrap_or(Nanos::NEVER)
    }

    /// What follows from the facts, given to `step` in order.
    pub fn decide(&mut self, now: Nanos, facts: &Facts, mut step: impl FnMut(Step)) {
        for g in &mut self.groups {
            if matches!(g.holding, Holding::Resting { until } if until <= now) {
                g.holding = Holding::Standby;
            }
        }
        self.note(now, facts);
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
            if facts.same_groups && !facts.maintenance {
                self.hand_over(now, facts, &mut step);
                self.claim_unheld(now, facts, &mut step);
            }
        } else if facts.peer_dead {
            self.claim_from_the_dead(facts, &mut step);
        }
    }

    /// Since when a group lies there, and whether one that is kept may be let go of again.
    fn note(&mut self, now: Nanos, facts: &Facts) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            let bit = GroupIndex(i as u8).bit();
            let ours = !matches!(g.holding, Holding::Standby | Holding::Resting { .. });
            let lies = facts.peer_good && facts.same_groups && !ours && facts.peer_owned & bit == 0;
            g.unheld_since = if lies { g.unheld_since.or(Some(now)) } else { None };
            let peers = facts.peer_good && facts.peer_owned & bit != 0;
            let since = if peers { g.peers_since.or(Some(now)) } else { None };
            match std::mem::replace(&mut g.peers_since, since) {
                Some(began) if !peers && now.since(began) < TRY => g.let_go = g.let_go.saturating_add(1),
                Some(began) if now.since(began) >= TRY => g.let_go = 0,
                _ => {}
            }
            if ours {
                g.let_go = 0;
            }
            let asked = facts.peer_good && facts.granted & bit != 0;
            if g.holding != Holding::Held || (!asked && !self.stopping && g.kept_until.is_some_and(|at| at <= now)) {
                g.kept_until = None;
            }
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
            if keeper != node && g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                step(Step::Release(group, Reason::PeerHasPrecedence));
            }
        }
        both != 0
    }

    /// WO 01/82077, FIG. 6, steps 642, 644: both judged that the remote takes over from the local, and it wishes to; or it
    /// asks on behalf of somebody.
    fn hand_over(&mut self, now: Nanos, facts: &Facts, step: &mut impl FnMut(Step)) {
        for (i, g) in self.groups.iter_mut().enumerate() {
            let group = GroupIndex(i as u8);
            if facts.granted & group.bit() != 0 && g.holding == Holding::Held && g.kept_until.is_none() {
                g.holding = Holding::Releasing;
                g.moved_at = Some(now);
                step(Step::Release(group, facts.granted_for));
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
                    self.claim(group, facts.wants_for, step);
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
        let objection = match facts.guard {
            _ if facts.maintenance => Some(Withheld::Maintenance),
            Guard::Clear => None,
            Guard::Asking => return,
            Guard::Objects(reason) => Some(reason),
        };
        if let Some(reason) = objection {
            if self.withhold(reason) {
                step(Step::Withhold(reason));
            }
            return;
        }
        if facts.kept == 0 {
            self.withheld = None;
        }
        let reason = if facts.peer_leaving { Reason::PeerLeft } else { Reason::PeerDead };
        for i in 0..self.groups.len() {
            let group = GroupIndex(i as u8);
            if self.groups[i].holding == Holding::Standby && facts.kept & group.bit() == 0 {
                self.claim(group, reason, step);
            }
        }
        if facts.kept != 0 && self.withhold(Withheld::Kept) {
            step(Step::Withhold(Withheld::Kept));
        }
    }

    /// Whether there is anything to claim from a silent peer.
    #[must_use]
    pub fn would_claim(&self) -> bool {
        !self.stopping && self.groups.iter().any(|g| g.holding == Holding::Standby)
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
            if g.holding == Holding::Held && g.kept_until.is_none() {
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
        peer_leaving: false,
        peer_owned: 0,
        peer_term: 0,
        wants: 0,
        heeded: false,
        peer_wants: 0,
        granted: 0,
        granted_for: Reason::WeFailed,
        wants_for: Reason::PeerFailed,
        maintenance: false,
        kept: 0,
        same_groups: true,
        guard: Guard::Clear,
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
        let facts = Facts { guard: Guard::Objects(Withheld::Isolated), ..DEAD };
        assert_eq!(steps(&mut o, facts), [Step::Withhold(Withheld::Isolated)]);
        assert_eq!(steps(&mut o, facts), []);
        assert_eq!(o.withheld(), Some(Withheld::Isolated));
        assert_eq!(steps(&mut o, DEAD).len(), 2);
    }

    #[test]
    fn while_a_guard_has_not_answered_nothing_is_claimed_nor_said() {
        let mut o = a(0, 0);
        assert_eq!(steps(&mut o, Facts { guard: Guard::Asking, ..DEAD }), []);
        assert_eq!(o.withheld(), None);
    }

    #[test]
    fn in_maintenance_nothing_moves_whatever_happens_and_that_is_said_where_something_would() {
        let mut o = a(1, 1);
        for facts in [GOOD, Facts { granted: 1, peer_wants: 1, ..GOOD }, Facts { wants: 2, heeded: true, ..GOOD }] {
            assert_eq!(steps(&mut o, Facts { maintenance: true, ..facts }), []);
        }
        let dead = Facts { maintenance: true, ..DEAD };
        assert_eq!(steps(&mut o, dead), [Step::Withhold(Withheld::Maintenance)]);
        o.stop();
        assert_eq!(steps(&mut o, dead), [Step::Release(G0, Reason::Stopping)], "but who is stopped lets go");
    }

    #[test]
    fn what_a_leaving_peer_could_not_let_go_of_is_not_claimed() {
        let mut o = a(0, 0);
        let facts = Facts { peer_leaving: true, kept: 2, ..DEAD };
        let expected = [Step::Acquire(G0, Reason::PeerLeft), Step::Withhold(Withheld::Kept)];
        assert_eq!(steps(&mut o, facts), expected);
        assert_eq!(steps(&mut o, facts), []);
    }

    #[test]
    fn a_group_that_could_not_be_let_go_of_is_kept_until_the_wish_is_withdrawn_and_a_while_has_passed() {
        let mut o = a(1, 1);
        let granted = Facts { granted: 1, peer_wants: 1, ..GOOD };
        assert_eq!(steps(&mut o, granted), [Step::Release(G0, Reason::WeFailed)]);
        assert!(o.release_failed(NOW, G0) && o.held() == 1 && o.kept() == 1);
        let at = |o: &mut Ownership, after: Nanos, facts: &Facts| {
            let mut steps = Vec::new();
            o.decide(NOW.after(after), facts, |s| steps.push(s));
            steps
        };
        assert_eq!(at(&mut o, KEEP, &granted), [], "it still wishes");
        assert_eq!(at(&mut o, Nanos(1), &GOOD), []);
        assert_eq!(at(&mut o, Nanos(2), &granted), [], "too early");
        assert_eq!(at(&mut o, KEEP, &GOOD), []);
        assert_eq!(at(&mut o, KEEP, &granted), [Step::Release(G0, Reason::WeFailed)]);
        assert!(o.release_failed(NOW, G0));
        o.stop();
        assert_eq!(at(&mut o, Nanos(3), &GOOD), [], "nor is it tried again at the end");
    }

    #[test]
    fn what_its_home_does_not_take_is_left_lying_for_the_other_unless_it_failed_there_too() {
        let mut o = a(1, 1);
        steps(&mut o, GOOD);
        assert_eq!((o.left_lying(NOW), o.left_lying(NOW.after(UNHELD))), (0, 2));
        assert_eq!(o.deadline(NOW), NOW.after(UNHELD));
        steps(&mut o, Facts { peer_owned: 2, ..GOOD });
        assert_eq!(o.left_lying(NOW.after(UNHELD)), 0);
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
        let facts = Facts { granted: 1, ..wished };
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
