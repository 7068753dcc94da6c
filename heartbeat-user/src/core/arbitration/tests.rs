use super::*;
use crate::{
    core::{
        Action, Arbitrate, Exclusivity, HookedGroups, Probed, Reason, Resumed, Setup,
        testing::{Bench, SECOND},
    },
    types::GroupIndex,
};

const FAR: Nanos = Nanos::from_millis(30_000);

/// Controller a holds group 0, b group 1; both are exclusive, and there is an arbiter.
fn bench() -> Bench {
    holding(1)
}

/// The same, but a holds these, and b the rest.
fn holding(owned: u64) -> Bench {
    let mut bench = Bench::of(owned, |setup| {
        setup.exclusivity = Exclusivity {
            groups: 0b11,
            arbiter: Some(SECOND),
            release_within: SECOND.times(3),
            ..Exclusivity::default()
        };
    });
    bench.hear(|message| message.release_within = 3);
    bench.done();
    bench
}

fn asked(bench: &mut Bench) -> Vec<(u32, Arbitrate)> {
    let question = |action| if let Action::Arbitrate(number, what) = action { Some((number, what)) } else { None };
    bench.done().into_iter().filter_map(question).collect()
}

fn granted(bench: &Bench, groups: u64, span: Nanos) -> Arbitrated {
    Arbitrated::Granted { groups, until: bench.now.after(span) }
}

#[test]
fn while_both_hear_each_other_it_is_not_asked_and_afterwards_what_it_granted_is_given_back() {
    let mut bench = bench();
    bench.run(SECOND.times(10));
    assert_eq!(asked(&mut bench), []);
    bench.silence(SECOND);
    let [(number, Arbitrate::Acquire(0b11))] = asked(&mut bench)[..] else { panic!("what is held, and what would be") };
    let grant = granted(&bench, 0b11, FAR);
    bench.core.handle_arbitrated(bench.now, number, grant);
    bench.hear(|_| {});
    assert_eq!(asked(&mut bench), [(number + 1, Arbitrate::Release(0b11))]);
    bench.run(SECOND);
    assert_eq!(asked(&mut bench), []);
}

#[test]
fn what_is_granted_is_taken_once_the_peer_must_have_let_go_and_renewed_at_each_third() {
    let mut bench = bench();
    bench.silence(SECOND);
    let number = asked(&mut bench)[0].0;
    let grant = granted(&bench, 0b11, FAR);
    bench.core.handle_arbitrated(bench.now, number, grant);
    bench.silence(Nanos::from_millis(2_900));
    assert!(!bench.done().contains(&Action::Acquire(GroupIndex(1), Reason::PeerDead)));
    bench.silence(Nanos::from_millis(200));
    assert!(bench.done().contains(&Action::Acquire(GroupIndex(1), Reason::PeerDead)));
    bench.core.handle_acquired(bench.now, GroupIndex(1), true);
    bench.silence(SECOND.times(8));
    assert_eq!(asked(&mut bench), [(number + 1, Arbitrate::Renew(0b11))]);
    let state = bench.core.cell_state(bench.now);
    assert_eq!((state.limited, state.serve_until), (0b11, bench.core.arbiter.until()));
}

/// An agent that is killed over a hook has a kernel that serves on.
#[test]
fn what_is_on_its_way_from_here_is_served_no_longer_than_what_is_held() {
    let mut bench = bench();
    bench.core.setup.hooks = HookedGroups { has: [0b01; 4], force: 0 };
    bench.silence(SECOND);
    let number = asked(&mut bench)[0].0;
    let grant = granted(&bench, 0b01, FAR);
    bench.core.handle_arbitrated(bench.now, number, grant);
    bench.core.handle_stop(bench.now);
    bench.turn();
    assert_eq!((bench.core.owned(), bench.core.cell_state(bench.now).limited), (0b01, 0b01));
    assert_eq!(bench.core.ownership.held(), 0, "a hook runs");
    assert_eq!(bench.core.cell_state(bench.now).serve_until, bench.core.arbiter.until());
}

/// Its hook runs for as long as it takes, perhaps for ever.
#[test]
fn what_is_granted_is_served_whatever_becomes_of_what_is_not() {
    let mut bench = holding(0b11);
    bench.core.setup.hooks = HookedGroups { has: [0b10; 4], force: 0 };
    bench.silence(SECOND);
    let number = asked(&mut bench)[0].0;
    let grant = granted(&bench, 0b01, FAR);
    bench.core.handle_arbitrated(bench.now, number, grant);
    bench.silence(bench.core.setup.exclusivity.arbitration().times(2));
    let state = bench.core.cell_state(bench.now);
    assert_eq!((bench.core.owned(), state.shut, bench.core.ownership.releasing()), (0b11, 0b10, 0b10));
    assert_eq!((state.limited, state.serve_until), (0b01, bench.core.arbiter.until()));
}

#[test]
fn what_runs_out_or_is_denied_or_never_granted_is_let_go_of() {
    let lost = Action::Release(GroupIndex(0), Reason::GrantLost);
    // It runs out.
    let mut first = bench();
    first.silence(SECOND);
    let number = asked(&mut first)[0].0;
    let grant = granted(&first, 0b01, SECOND);
    first.core.handle_arbitrated(first.now, number, grant);
    first.silence(Nanos::from_millis(900));
    assert!(!first.done().contains(&lost));
    first.silence(Nanos::from_millis(200));
    assert!(first.done().contains(&lost));
    // Denied: at once.
    let mut second = bench();
    second.silence(SECOND);
    let number = asked(&mut second)[0].0;
    second.core.handle_arbitrated(second.now, number, Arbitrated::Denied);
    second.turn();
    assert!(second.done().contains(&lost));
    assert_eq!(second.core.cell_state(second.now).shut, 0b01, "and silent at once");
    // Out of reach: after a while, two questions or half of what was promised.
    for (promised, patient) in [(10, 4_000), (3, 1_500)] {
        let mut third = bench();
        third.core.setup.exclusivity.release_within = SECOND.times(promised);
        third.silence(Nanos::from_millis(patient + 290));
        assert!(!third.done().contains(&lost), "{promised}");
        third.silence(Nanos::from_millis(20));
        assert!(third.done().contains(&lost), "{promised}");
    }
}

/// Group 1 was taken from the peer, which is fenced.
fn fenced() -> Bench {
    let mut bench = bench();
    bench.core.setup.guards.fence = true;
    bench.silence(SECOND);
    let fencing = bench.done().into_iter().find_map(|action| match action {
        Action::Fence(number) => Some(number),
        _ => None,
    });
    bench.core.handle_fenced(bench.now, fencing.expect("the peer is to be fenced"), true);
    bench.silence(SECOND.times(2));
    assert!(bench.done().contains(&Action::Acquire(GroupIndex(1), Reason::PeerDead)));
    bench.core.handle_acquired(bench.now, GroupIndex(1), true);
    bench
}

#[test]
fn what_is_held_because_the_peer_was_fenced_is_not_silent_for_want_of_a_grant() {
    let mut bench = fenced();
    bench.silence(SECOND.times(18));
    let state = bench.core.cell_state(bench.now);
    assert_eq!((state.owned, state.limited, state.shut), (0b11, 0, 0));
}

/// What it had been granted before it was fenced may be denied to us until that runs out.
#[test]
fn whoever_was_fenced_and_is_granted_something_afterwards_is_up_again() {
    for (after, up) in [(20, false), (40, true)] {
        let mut bench = fenced();
        bench.core.setup.exclusivity.grant = FAR;
        let silent = SECOND.times(after);
        bench.silence(silent);
        let (number, _) = asked(&mut bench).pop().expect("it is asked again and again");
        bench.core.handle_arbitrated(bench.now, number, Arbitrated::Denied);
        bench.turn();
        assert_eq!(bench.core.is_fenced(), !up, "{after} s");
        assert_eq!(bench.done().contains(&Action::Release(GroupIndex(1), Reason::GrantLost)), up);
    }
}

#[test]
fn a_next_life_knows_that_the_peer_was_fenced_and_what_an_operator_ordered() {
    let bench = fenced();
    let state = bench.core.cell_state(bench.now);
    assert!(state.fenced_at.is_some());
    let resumed = |fenced_at, forced| Resumed {
        owned: 0b11,
        term: 2,
        heard: Nanos(1),
        fenced_at,
        forced,
        ..bench.core.setup.resumed.unwrap_or_default()
    };
    for (fenced_at, forced, kept) in [(None, 0, 0), (state.fenced_at, 0, 0b11), (None, 0b10, 0b10)] {
        let setup = Setup { resumed: Some(resumed(fenced_at, forced)), ..bench.core.setup.clone() };
        let mut next = Core::new(setup, bench.now);
        for ms in 0..20_000 {
            next.handle_time(bench.now.after(Nanos::from_millis(ms)));
        }
        let now = bench.now.after(SECOND.times(20));
        let lost = std::iter::from_fn(|| next.poll_action())
            .filter_map(|action| match action {
                Action::Release(group, Reason::GrantLost) => Some(group.bit()),
                _ => None,
            })
            .fold(0, |bits, bit| bits | bit);
        assert_eq!(lost, 0b11 & !kept);
        assert_eq!((next.cell_state(now).fenced_at, next.cell_state(now).forced), (fenced_at, forced));
    }
}

#[test]
fn what_is_granted_is_not_given_back_for_a_look_at_our_own_networks() {
    let mut bench = holding(0);
    bench.core.setup.guards.by_probe = true;
    let mut asked = Vec::new();
    for _ in 0..50 {
        bench.silence(Nanos::from_millis(100));
        for action in bench.done() {
            let now = bench.now;
            match action {
                Action::Look(number) => {
                    bench.silence(Nanos::from_millis(5));
                    let probed = Probed { answered: 1, ..Probed::default() };
                    bench.core.handle_looked(bench.now, number, probed);
                }
                Action::Arbitrate(number, what) => {
                    asked.push(what);
                    let grant = Arbitrated::Granted { groups: what.groups(), until: now.after(FAR) };
                    bench.core.handle_arbitrated(now, number, grant);
                }
                _ => {}
            }
            bench.turn();
        }
    }
    assert!(asked.contains(&Arbitrate::Acquire(0b11)), "{asked:?}");
    assert!(!asked.iter().any(|what| matches!(what, Arbitrate::Release(_))), "{asked:?}");
    assert_eq!(bench.core.owned(), 0b11);
}

#[test]
fn an_answer_that_comes_twice_late_or_from_a_clock_that_is_wrong_grants_nothing() {
    let mut bench = bench();
    bench.silence(SECOND);
    let number = asked(&mut bench)[0].0;
    let before = Arbitrated::Granted { groups: 0b11, until: Nanos(1) };
    bench.core.handle_arbitrated(bench.now, number, before);
    let grant = granted(&bench, 0b11, FAR);
    bench.core.handle_arbitrated(bench.now, number, grant);
    assert_eq!(bench.core.arbiter.granted(bench.now), 0, "it had answered");
    bench.silence(SECOND.times(2));
    let number = asked(&mut bench)[0].0;
    bench.silence(bench.core.setup.exclusivity.patience());
    bench.core.handle_arbitrated(bench.now, number, grant);
    assert_eq!(bench.core.arbiter.granted(bench.now), 0, "too late");
}
