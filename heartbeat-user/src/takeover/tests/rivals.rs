use super::running::{FIRST, SECOND, ip};
use crate::{
    takeover::{
        AddressClaim, NAMED, RIVAL_GONE,
        rivals::{Rival, Rivals},
    },
    types::Nanos,
};
use std::net::IpAddr;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn claim(text: &str, mac: [u8; 6]) -> AddressClaim {
    AddressClaim { ip: ip(text), mac }
}

fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// `192.0.2.1` on interface 1 in the first group, on interface 2 in the second.
fn held() -> Rivals {
    let mut rivals = Rivals::default();
    rivals.hold([((1, ip("192.0.2.1")), (FIRST, 0)), ((2, ip("192.0.2.1")), (SECOND, 0))].into());
    rivals
}

#[test]
fn a_rival_is_new_once_until_it_is_gone() {
    let mut rivals = held();
    assert_eq!(rivals.heard(1, claim("192.0.2.1", MAC), ms(10)), Some((FIRST, 0)));
    assert_eq!(rivals.heard(1, claim("192.0.2.1", OTHER), ms(20)), None, "one rival an address");
    let last = ms(20);
    assert_eq!(rivals.gone(Nanos(last.after(RIVAL_GONE).0 - 1)), []);
    assert_eq!(rivals.gone(last.after(RIVAL_GONE)), [((FIRST, 0), Rival { mac: MAC, first: ms(10), last })]);
    assert_eq!(rivals.gone(last.after(RIVAL_GONE)), []);
    assert_eq!(rivals.heard(1, claim("192.0.2.1", OTHER), ms(9_000)), Some((FIRST, 0)));
}

#[test]
fn what_is_held_too_has_rivals_too() {
    let mut rivals = held();
    rivals.hold_too([((1, ip("192.0.2.2")), (FIRST, 1))]);
    assert_eq!(rivals.heard(1, claim("192.0.2.2", MAC), ms(10)), Some((FIRST, 1)));
    assert_eq!(rivals.heard(1, claim("192.0.2.1", MAC), ms(10)), Some((FIRST, 0)));
}

#[test]
fn an_address_counts_on_its_own_interface_only() {
    let mut rivals = held();
    assert_eq!(rivals.heard(3, claim("192.0.2.1", MAC), ms(10)), None);
    assert_eq!(rivals.heard(1, claim("192.0.2.2", MAC), ms(10)), None);
    assert_eq!(rivals.heard(2, claim("192.0.2.1", MAC), ms(10)), Some((SECOND, 0)));
}

#[test]
fn a_released_groups_rivals_and_question_are_forgotten_and_no_others() {
    let mut rivals = held();
    rivals.heard(1, claim("192.0.2.1", MAC), ms(10));
    rivals.heard(2, claim("192.0.2.1", MAC), ms(10));
    rivals.ask(FIRST, [((1, ip("192.0.2.7")), 7)], ms(50));
    let gone: Vec<_> = rivals.release(FIRST).into_iter().map(|(place, _)| place).collect();
    assert_eq!(gone, [(FIRST, 0)]);
    assert!(rivals.question(FIRST).is_none());
    assert_eq!(rivals.heard(1, claim("192.0.2.1", MAC), ms(20)), None);
    assert_eq!(rivals.gone(ms(60_000)).len(), 1);
}

#[test]
fn an_answer_counts_once_and_is_no_rival_until_the_question_is_over() {
    let mut rivals = held();
    rivals.ask(FIRST, [((1, ip("192.0.2.1")), 0)], ms(50));
    rivals.ask(FIRST, [((1, ip("192.0.2.2")), 1)], ms(60));
    assert_eq!(rivals.next_due(), Some(ms(60)));
    for mac in [MAC, OTHER] {
        assert_eq!(rivals.heard(1, claim("192.0.2.1", mac), ms(20)), None);
    }
    assert!(!rivals.question(FIRST).unwrap().is_answered());
    assert!(rivals.due(ms(59)).is_none());
    assert_eq!(rivals.due(ms(60)).unwrap().answers(), [(0, MAC)]);
    assert_eq!(rivals.next_due(), None);
    assert_eq!(rivals.heard(1, claim("192.0.2.1", MAC), ms(61)), Some((FIRST, 0)));
}

#[test]
fn answers_beyond_the_limit_are_not_kept() {
    let mut rivals = Rivals::default();
    let address = |n: usize| (1, IpAddr::from([192, 0, 2, n as u8]));
    rivals.ask(FIRST, (0..100).map(|n| (address(n), n)), ms(50));
    for n in 0..100 {
        assert_eq!(rivals.question(FIRST).unwrap().is_answered(), n >= NAMED);
        rivals.heard(1, AddressClaim { ip: address(n).1, mac: MAC }, ms(1));
    }
    assert_eq!(rivals.close(FIRST).unwrap().answers().len(), NAMED);
}

#[test]
fn who_answers_for_every_decoy_of_the_interface_does_not_count() {
    let mut rivals = Rivals::default();
    rivals.ask_decoys(FIRST, [(1, ip("192.0.2.77")), (1, ip("192.0.2.78"))], ms(50));
    rivals.ask(FIRST, [((1, ip("192.0.2.1")), 0), ((1, ip("192.0.2.2")), 1), ((2, ip("192.0.2.3")), 2)], ms(50));
    for (interface, address) in [(1, "192.0.2.1"), (1, "192.0.2.2"), (2, "192.0.2.3"), (1, "192.0.2.77")] {
        assert_eq!(rivals.heard(interface, claim(address, MAC), ms(1)), None);
    }
    let answers = |rivals: &Rivals| rivals.question(FIRST).unwrap().answers();
    assert_eq!(answers(&rivals), [(0, MAC), (1, MAC), (2, MAC)], "one decoy may be its own");
    rivals.heard(1, claim("192.0.2.78", MAC), ms(2));
    assert_eq!(answers(&rivals), [(2, MAC)], "on the other interface it may be somebody");
    rivals.heard(1, claim("192.0.2.2", OTHER), ms(3));
    assert_eq!(answers(&rivals), [(1, OTHER), (2, MAC)], "the holder's answer came second");
}

#[test]
fn what_is_held_or_asked_for_is_of_interest() {
    let mut rivals = held();
    rivals.ask(FIRST, [((1, ip("192.0.2.2")), 1)], ms(50));
    assert_eq!(rivals.of_interest().count(), 3);
    assert!(rivals.of_interest().all(|on| rivals.is_of_interest(&on)));
    assert!(!rivals.is_of_interest(&(2, ip("192.0.2.2"))));
}
