use crate::{takeover::damping::Damping, types::Nanos};

fn s(s: u64) -> Nanos {
    Nanos::from_millis(s * 1_000)
}

#[test]
fn the_first_is_told_at_once_and_the_others_ever_more_rarely_with_their_number() {
    let mut damping = Damping::default();
    assert!(damping.happened(7, s(0)));
    assert_eq!(damping.next_due(), None);
    let mut told = vec![];
    for tenth in 1..=600 {
        let now = Nanos::from_millis(tenth * 100);
        assert!(!damping.happened(7, now));
        told.extend(damping.due(now).into_iter().map(|(_, times)| (tenth / 10, times)));
    }
    assert_eq!(told, [(1, 10), (3, 20), (7, 40), (15, 80), (31, 160)]);
}

#[test]
fn the_last_one_is_told_though_it_does_not_happen_again() {
    let mut damping = Damping::default();
    assert!(damping.happened(7, s(0)) && !damping.happened(7, Nanos(1)));
    assert_eq!(damping.next_due(), Some(s(1)));
    assert_eq!(damping.due(s(1)), [(7, 1)]);
    assert_eq!((damping.due(s(100)), damping.next_due()), (vec![], None));
}

#[test]
fn what_was_quiet_for_long_is_told_at_once_again_and_others_are_not_held_up() {
    let mut damping = Damping::default();
    assert!(damping.happened(7, s(0)) && damping.happened(8, s(0)));
    assert!(damping.happened(7, s(10)));
    assert!(damping.happened(7, s(11)), "as if it were the first time");
}

#[test]
fn what_happens_as_long_as_it_matters_is_told_when_it_does() {
    let mut damping = Damping::default();
    let told = (0..=100).filter(|n| damping.again(7, s(*n))).collect::<Vec<_>>();
    assert_eq!(told, [0, 1, 3, 7, 15, 31, 63]);
    assert_eq!(damping.due(s(1_000)), []);
    assert!((1_000..5_000).filter(|n| damping.again(7, s(*n))).count() > 10, "bounded");
}
