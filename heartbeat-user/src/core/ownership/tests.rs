use super::{
    group::{KEEP, REST},
    *,
};
use crate::core::safety::Safety;

const G0: GroupIndex = GroupIndex(0);
const G1: GroupIndex = GroupIndex(1);
const NOW: Nanos = Nanos(1_000_000_000);

pub(super) const GOOD: OwnershipFacts = OwnershipFacts {
    peer_good: true,
    peer_dead: false,
    peer_leaving: false,
    peer_owned: 0,
    peer_unknown: 0,
    peer_term: 0,
    peer_taken: None,
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
    fence: Guard::Clear,
    exclusive: 0,
    safety: Safety::NONE,
    confirms: false,
    closed: 0,
    served: 0,
    host_term: 0,
    deaf: false,
    deaf_keeps: 0,
    let_go: LetGo { cut_off: 0, not_granted: 0 },
    leftovers: false,
    occupied: false,
};
const DEAD: OwnershipFacts = OwnershipFacts { peer_good: false, peer_dead: true, ..GOOD };
const SILENT: OwnershipFacts = OwnershipFacts { peer_good: false, ..GOOD };

/// Controller a; group 0 is at home here, group 1 there.
fn a(owned: u64, term: u64) -> Ownership {
    Ownership::new(Node::A, &[Node::A, Node::B], owned, term, Nanos(0))
}

fn steps(o: &mut Ownership, facts: OwnershipFacts) -> Vec<Step> {
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
    assert_eq!(steps(&mut a(0, 0), OwnershipFacts { peer_owned: 1, ..GOOD }), []);
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
fn while_somebody_else_speaks_for_us_nothing_is_claimed_but_what_is_asked_for_is_let_go_of() {
    for facts in [GOOD, DEAD] {
        let mut o = a(0, 0);
        let occupied = OwnershipFacts { occupied: true, ..facts };
        assert_eq!(steps(&mut o, occupied), [Step::Withhold(Withheld::Occupied)]);
        assert_eq!((steps(&mut o, occupied), o.withheld()), (vec![], Some(Withheld::Occupied)), "said once");
        assert!(!steps(&mut o, facts).is_empty());
    }
    let granted = OwnershipFacts { occupied: true, granted: 1, peer_wants: 1, ..GOOD };
    assert!(steps(&mut a(1, 1), granted).contains(&Step::Release(G0, Reason::WeFailed)));
}

#[test]
fn an_isolated_controller_claims_nothing_and_says_so_once() {
    let mut o = a(0, 0);
    let facts = OwnershipFacts { guard: Guard::Objects(Withheld::Isolated), ..DEAD };
    assert_eq!(steps(&mut o, facts), [Step::Withhold(Withheld::Isolated)]);
    assert_eq!(steps(&mut o, facts), []);
    assert_eq!(o.withheld(), Some(Withheld::Isolated));
    assert_eq!(steps(&mut o, DEAD).len(), 2);
}

#[test]
fn while_a_guard_has_not_answered_nothing_is_claimed_nor_said() {
    let mut o = a(0, 0);
    assert_eq!(steps(&mut o, OwnershipFacts { guard: Guard::Asking, ..DEAD }), []);
    assert_eq!(o.withheld(), None);
}

#[test]
fn in_maintenance_nothing_moves_whatever_happens_and_that_is_said_where_something_would() {
    let mut o = a(1, 1);
    for facts in
        [GOOD, OwnershipFacts { granted: 1, peer_wants: 1, ..GOOD }, OwnershipFacts { wants: 2, heeded: true, ..GOOD }]
    {
        assert_eq!(steps(&mut o, OwnershipFacts { maintenance: true, ..facts }), []);
    }
    let dead = OwnershipFacts { maintenance: true, ..DEAD };
    assert_eq!(steps(&mut o, dead), [Step::Withhold(Withheld::Maintenance)]);
    o.stop();
    assert_eq!(steps(&mut o, dead), [Step::Release(G0, Reason::Stopping)], "but who is stopped lets go");
}

#[test]
fn what_a_leaving_peer_could_not_let_go_of_is_not_claimed() {
    let mut o = a(0, 0);
    let facts = OwnershipFacts { peer_leaving: true, kept: 2, ..DEAD };
    let expected = [Step::Acquire(G0, Reason::PeerLeft), Step::Withhold(Withheld::Kept)];
    assert_eq!(steps(&mut o, facts), expected);
    assert_eq!(steps(&mut o, facts), []);
}

fn at(o: &mut Ownership, after: Nanos, facts: &OwnershipFacts) -> Vec<Step> {
    let mut steps = Vec::new();
    o.decide(NOW.after(after), facts, |s| steps.push(s));
    steps
}

#[test]
fn a_group_that_could_not_be_let_go_of_is_tried_again_while_the_peer_wishes_and_less_and_less_often() {
    let mut o = a(1, 1);
    let granted = OwnershipFacts { granted: 1, peer_wants: 1, peer_owned: 2, ..GOOD };
    assert_eq!(steps(&mut o, granted), [Step::Release(G0, Reason::WeFailed)]);
    assert!(o.release_failed(NOW, G0) && o.held() == 1 && o.kept() == 1);
    assert_eq!(at(&mut o, Nanos(KEEP.0 - 1), &granted), [], "too early");
    assert_eq!(o.deadline(NOW), NOW.after(KEEP));
    assert_eq!(at(&mut o, KEEP, &granted), [Step::Release(G0, Reason::WeFailed)], "it still wishes");
    assert!(o.release_failed(NOW.after(KEEP), G0));
    assert_eq!(at(&mut o, KEEP.times(2), &granted), []);
    assert_eq!(at(&mut o, KEEP.times(3), &granted), [Step::Release(G0, Reason::WeFailed)], "twice as long after");
    assert!(o.release_failed(NOW.after(KEEP.times(3)), G0));
    assert_eq!(at(&mut o, KEEP.times(7), &GOOD), [], "nobody wishes any more");
    assert_eq!(at(&mut o, KEEP.times(7), &granted), [Step::Release(G0, Reason::WeFailed)]);
    assert!(o.release_failed(NOW.after(KEEP.times(7)), G0));
    assert_eq!(at(&mut o, KEEP.times(8), &granted), [Step::Release(G0, Reason::WeFailed)], "and the next one is new");
}

#[test]
fn what_could_not_be_let_go_of_is_tried_once_more_at_the_end() {
    let mut o = a(1, 1);
    steps(&mut o, OwnershipFacts { granted: 1, peer_wants: 1, ..GOOD });
    assert!(o.release_failed(NOW, G0));
    o.stop();
    assert_eq!(at(&mut o, Nanos(1), &GOOD), [Step::Release(G0, Reason::Stopping)]);
    assert!(o.release_failed(NOW, G0));
    assert_eq!(at(&mut o, KEEP.times(100), &GOOD), []);
    assert_eq!((o.kept(), o.owned()), (1, 1));
}

#[test]
fn what_can_neither_be_had_nor_let_go_of_is_owned_not_held_and_tried_again() {
    let mut o = a(0, 0);
    let other = OwnershipFacts { peer_owned: 2, ..GOOD };
    steps(&mut o, other);
    assert!(o.stuck(NOW, G0), "it is new");
    assert_eq!((o.owned(), o.held(), o.kept()), (1, 0, 1));
    assert_eq!((steps(&mut o, other), o.deadline(NOW)), (vec![], NOW.after(KEEP)));
    assert_eq!(at(&mut o, KEEP, &GOOD), [Step::Retry(G0)]);
    assert_eq!((o.owned(), o.kept()), (1, 0), "it is on its way");
    assert!(!o.stuck(NOW.after(KEEP), G0), "it is not new");
    assert_eq!(at(&mut o, KEEP.times(2), &GOOD), []);
    o.stop();
    assert_eq!(at(&mut o, KEEP.times(2), &GOOD), [Step::Retry(G0)], "once more at the end");
    o.stuck(NOW.after(KEEP), G0);
    assert_eq!((at(&mut o, KEEP.times(99), &GOOD), o.kept()), (vec![], 1));
}

#[test]
fn what_an_earlier_life_left_is_let_go_of_before_anything_is_claimed() {
    let mut o = a(0, 0);
    o.letting_go_of(2);
    assert_eq!((o.owned(), o.held()), (2, 0));
    assert_eq!(steps(&mut o, OwnershipFacts { leftovers: true, ..GOOD }), []);
    assert_eq!(steps(&mut o, OwnershipFacts { leftovers: true, ..DEAD }), []);
    assert!(o.released(G1));
    assert_eq!(steps(&mut o, GOOD), [Step::Acquire(G0, Reason::Home)]);
}

#[test]
fn who_keeps_what_both_held_is_told_when_the_other_one_holds_it_no_more() {
    let mut o = a(1, 6);
    let both = OwnershipFacts { peer_owned: 1, peer_term: 5, ..GOOD };
    assert_eq!(steps(&mut o, both), [Step::Dual(G0, Node::A)]);
    assert_eq!(steps(&mut o, GOOD), [Step::Settled(G0)]);
    assert_eq!(steps(&mut o, GOOD), []);
}

#[test]
fn what_its_home_does_not_take_is_left_lying_for_the_other_unless_it_failed_there_too() {
    let mut o = a(1, 1);
    steps(&mut o, GOOD);
    assert_eq!((o.left_lying(NOW), o.left_lying(NOW.after(UNHELD))), (0, 2));
    assert_eq!(o.deadline(NOW), NOW.after(UNHELD));
    steps(&mut o, OwnershipFacts { peer_owned: 2, ..GOOD });
    assert_eq!(o.left_lying(NOW.after(UNHELD)), 0);
}

#[test]
fn a_leaving_peer_hands_over_what_it_has_released_and_no_more() {
    let mut o = a(1, 1);
    assert_eq!(steps(&mut o, OwnershipFacts { peer_leaving: true, peer_owned: 2, ..GOOD }), []);
    let left = OwnershipFacts { peer_leaving: true, ..GOOD };
    assert_eq!(steps(&mut o, left), [Step::Acquire(G1, Reason::PeerLeft)]);
}

#[test]
fn what_is_wished_for_is_claimed_once_the_peer_knows_of_the_wish_and_holds_it_no_more() {
    let wish = OwnershipFacts { wants: 2, ..GOOD };
    assert_eq!(steps(&mut a(1, 1), wish), [], "it may claim its home's group before it hears of the wish");
    assert_eq!(steps(&mut a(1, 1), OwnershipFacts { heeded: true, peer_owned: 2, ..wish }), [], "not released yet");
    let claimed = steps(&mut a(1, 1), OwnershipFacts { heeded: true, ..wish });
    assert_eq!(claimed, [Step::Acquire(G1, Reason::PeerFailed)]);
    assert_eq!(
        steps(&mut a(1, 1), OwnershipFacts { heeded: true, peer_wants: 2, ..wish }),
        [],
        "and not where both wish"
    );
}

#[test]
fn a_wish_is_granted_by_a_failed_holder_only_and_its_home_does_not_take_the_group_back() {
    let wished = OwnershipFacts { peer_wants: 1, ..GOOD };
    assert_eq!(steps(&mut a(1, 1), wished), []);
    let mut failed = a(1, 1);
    let facts = OwnershipFacts { granted: 1, ..wished };
    assert_eq!(steps(&mut failed, facts), [Step::Release(G0, Reason::WeFailed)]);
    assert!(failed.released(G0));
    assert_eq!(steps(&mut failed, facts), []);
    assert_eq!(steps(&mut failed, GOOD), [Step::Acquire(G0, Reason::Home)], "unless the peer wishes no more");
}

#[test]
fn of_two_holders_the_higher_term_keeps_it() {
    let both = OwnershipFacts { peer_owned: 1, peer_term: 5, ..GOOD };
    let mut lower = a(1, 4);
    assert_eq!(steps(&mut lower, both), [Step::Dual(G0, Node::B), Step::Release(G0, Reason::PeerHasPrecedence)]);
    assert!(lower.released(G0));
    assert_eq!(lower.owned(), 0);
    let mut higher = a(1, 6);
    assert_eq!(steps(&mut higher, both), [Step::Dual(G0, Node::A)]);
    assert_eq!(steps(&mut higher, both), [], "said once");
}

/// Not sooner: it says what it said before it heard us, as after a partition; and not what is granted to us.
#[test]
fn to_a_holder_that_does_not_hear_us_it_is_left_after_a_detection_time_whatever_the_terms() {
    let detection = Nanos::from_millis(300);
    for (deaf_keeps, peer_term, waited) in
        [(1, 3, Some(detection)), (1, 4, Some(detection)), (1, 5, Some(Nanos(0))), (2, 3, None)]
    {
        let both = OwnershipFacts { peer_owned: 1, peer_term, deaf: true, deaf_keeps, ..GOOD };
        let mut o = a(1, 4).holding(Nanos(0), detection);
        let yields = (0..1_000).map(Nanos::from_millis).find(|span| {
            let mut released = false;
            o.decide(NOW.after(*span), &both, |step| released |= step == Step::Release(G0, Reason::PeerHasPrecedence));
            released
        });
        assert_eq!(yields, waited, "{deaf_keeps} {peer_term}");
    }
}

#[test]
fn on_equal_terms_home_keeps_it_on_both_sides() {
    for (group, home) in [(1, Node::A), (2, Node::B)] {
        let both = OwnershipFacts { peer_owned: group, peer_term: 5, ..GOOD };
        let released = |o: &mut Ownership| steps(o, both).iter().any(|s| matches!(s, Step::Release(..)));
        let b = &mut Ownership::new(Node::B, &[Node::A, Node::B], group, 5, Nanos(0));
        assert_eq!(released(&mut a(group, 5)), home == Node::B);
        assert_eq!(released(b), home == Node::A);
    }
}

#[test]
fn on_equal_terms_who_had_it_first_keeps_it_on_both_sides_whatever_its_home() {
    // By node: whether it took the group from the other one; and who keeps it, of group 0, which is at home on a.
    for (taken, keeper) in
        [([false, false], Node::A), ([true, false], Node::B), ([false, true], Node::A), ([true, true], Node::A)]
    {
        for node in [Node::A, Node::B] {
            let mut o = Ownership::new(node, &[Node::A, Node::B], 0, 4, Nanos(0));
            let [mine, peers] = [node, node.other()].map(|n| taken[usize::from(n.wire())]);
            let dead = OwnershipFacts { peer_owned: if mine { 1 } else { 0 }, ..DEAD };
            assert_eq!(steps(&mut o, dead).len(), 2);
            assert!(o.acquired(G0) && o.acquired(G1));
            let both = OwnershipFacts { peer_owned: 1, peer_term: 5, peer_taken: Some(u64::from(peers)), ..GOOD };
            let all = steps(&mut o, both);
            assert_eq!(all[0], Step::Dual(G0, keeper), "{node}, {taken:?}");
            assert_eq!(all.len(), if keeper == node { 1 } else { 2 });
            assert_eq!(o.contested(), Some(u64::from(mine)));
        }
    }
}

#[test]
fn beside_a_host_without_an_agent_that_serves_what_we_hold_the_term_goes_beyond_its_own_once() {
    let beside = OwnershipFacts { confirms: true, served: 0b01, host_term: 5, ..DEAD };
    for (what, facts, term) in [
        ("lower", OwnershipFacts { host_term: 4, ..beside }, 5),
        ("equal", beside, 6),
        ("higher", OwnershipFacts { host_term: 8, ..beside }, 9),
        ("it keeps silent already", OwnershipFacts { closed: 0b01, ..beside }, 5),
        ("it has not said so lately", OwnershipFacts { confirms: false, ..beside }, 5),
        ("it lives", OwnershipFacts { peer_good: true, peer_owned: 0b01, peer_term: 5, ..beside }, 5),
        ("of what we do not hold", OwnershipFacts { served: 0b10, guard: Guard::Asking, ..beside }, 5),
    ] {
        let mut o = a(1, 5);
        o.see_term(facts.host_term);
        let facts = OwnershipFacts { guard: Guard::Asking, ..facts };
        for _ in 0..2 {
            steps(&mut o, facts);
            assert_eq!(o.term(), term, "{what}");
        }
    }
}

#[test]
fn however_much_is_taken_in_one_silence_the_term_goes_up_by_one() {
    let mut o = Ownership::new(Node::A, &[Node::B; 3], 0, 4, Nanos(0));
    assert_eq!((steps(&mut o, DEAD).len(), o.term()), (3, 5));
    for group in [G0, G1] {
        assert!(o.acquired(group));
    }
    assert!(o.acquire_failed(NOW, GroupIndex(2)));
    let after = |o: &mut Ownership, n: u64, facts: &OwnershipFacts| at(o, REST.times(n), facts).len();
    assert_eq!((after(&mut o, 1, &DEAD), o.term()), (1, 5));
    assert!(o.acquire_failed(NOW, GroupIndex(2)));
    assert_eq!((after(&mut o, 1, &GOOD), after(&mut o, 2, &DEAD), o.term()), (0, 1, 6), "another silence");
}

#[test]
fn where_terms_tie_the_peer_is_waited_for_to_say_what_it_took_and_no_longer_than_a_detection_time() {
    let wait = Nanos::from_millis(300);
    let mut o = Ownership::new(Node::A, &[Node::B], 1, 5, Nanos(0)).holding(Nanos(0), wait);
    let both = OwnershipFacts { peer_owned: 1, peer_term: 5, ..GOOD };
    assert_eq!((at(&mut o, Nanos(0), &both), o.deadline(NOW)), (vec![], NOW.after(wait)));
    assert_eq!(o.contested(), Some(0));
    assert_eq!(at(&mut o, Nanos(wait.0 - 1), &both), []);
    assert_eq!(at(&mut o, wait, &both).len(), 2, "home has it");
}

#[test]
fn nothing_new_is_claimed_while_both_hold_something() {
    let mut o = Ownership::new(Node::A, &[Node::A, Node::A], 2, 5, Nanos(0));
    assert_eq!(steps(&mut o, OwnershipFacts { peer_owned: 2, peer_term: 5, ..GOOD }), [Step::Dual(G1, Node::A)]);
    assert_eq!(steps(&mut o, GOOD), [Step::Settled(G1), Step::Acquire(G0, Reason::Home)]);
}

#[test]
fn with_other_groups_on_the_other_side_nothing_moves_until_it_is_dead() {
    let differ = OwnershipFacts { same_groups: false, peer_owned: 3, peer_term: 99, ..GOOD };
    assert_eq!(steps(&mut a(0, 0), differ), []);
    assert_eq!(steps(&mut a(1, 0), OwnershipFacts { peer_owned: 2, ..differ }), [], "and nothing is given up");
    assert_eq!(steps(&mut a(0, 0), OwnershipFacts { same_groups: false, ..DEAD }).len(), 2);
}

#[test]
fn what_both_hold_is_settled_also_while_the_files_differ_and_the_same_way_on_both_sides() {
    let differ = OwnershipFacts { same_groups: false, peer_owned: 1, peer_taken: Some(0), ..GOOD };
    for (term, peer_term, keeper) in [(5, 6, Node::B), (6, 5, Node::A), (5, 5, Node::A)] {
        // The two files name different homes: that must not make both keep it, nor both let go of it.
        for (node, term, peer_term) in [(Node::A, term, peer_term), (Node::B, peer_term, term)] {
            let mut o = Ownership::new(node, &[node.other()], 1, term, Nanos(0));
            let all = steps(&mut o, OwnershipFacts { peer_term, ..differ });
            assert_eq!(all[0], Step::Dual(G0, keeper), "{node}");
            assert_eq!(all.len(), if keeper == node { 1 } else { 2 });
        }
    }
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

#[test]
fn a_group_that_the_file_has_no_more_is_let_go_of_and_never_claimed_again() {
    let mut o = a(0, 0);
    o.letting_go_of(0b01);
    o.departed(0b11);
    let wished = OwnershipFacts { wants: 0b11, heeded: true, ..GOOD };
    for (owned, facts) in [(0b01, GOOD), (0b01, DEAD), (0b01, wished)] {
        assert_eq!((steps(&mut o, facts), o.owned()), (vec![], owned));
    }
    assert!(o.released(G0));
    for facts in [GOOD, DEAD, wished] {
        assert_eq!((steps(&mut o, facts), o.owned()), (vec![], 0));
    }
}

/// Our term is beyond its own once something else was taken: that says nothing of what it took before.
#[test]
fn what_was_yielded_to_a_silent_peer_stays_so_however_high_our_term_is_then() {
    let mut o = a(0b11, 3);
    let silent = OwnershipFacts { peer_owned: 1, peer_term: 4, fence: Guard::Asking, ..SILENT };
    steps(&mut o, silent);
    assert_eq!(o.yielded(), 1);
    o.term = 5;
    steps(&mut o, silent);
    assert_eq!(o.yielded(), 1);
    steps(&mut o, OwnershipFacts { fence: Guard::Clear, ..silent });
    assert_eq!(o.yielded(), 0, "it was fenced");
}

/// We stood still while it took over, and it fell silent before we could let go: whoever is silent may go on serving it.
#[test]
fn what_a_silent_peer_took_from_us_is_let_go_of_where_only_one_may_have_it() {
    for (exclusive, peer_term, goes) in [(1, 6, true), (0, 6, false), (1, 5, false)] {
        let mut o = a(1, 5);
        let took = OwnershipFacts { peer_owned: 1, peer_term, exclusive, ..SILENT };
        let released = [Step::Release(G0, Reason::PeerHasPrecedence)];
        assert_eq!(steps(&mut o, took) == released, goes, "{exclusive} {peer_term}");
    }
}
