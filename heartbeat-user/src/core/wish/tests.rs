use super::*;
use crate::{
    core::{
        Action, Guards, OperatorOrder, Refusal,
        said::PeerWish,
        testing::{Bench, SECOND},
    },
    types::ChannelIndex,
};
use heartbeat_ebpf::wire::flags;

const G0: GroupIndex = GroupIndex(0);
const G1: GroupIndex = GroupIndex(1);

fn bench() -> Bench {
    let mut bench = Bench::new(1, Guards::default());
    // What the peer knows, it knows of an earlier time.
    bench.silence(Nanos::from_millis(1));
    bench
}

fn claims(bench: &mut Bench) -> Vec<(GroupIndex, Reason)> {
    let claim = |action| if let Action::Acquire(group, reason) = action { Some((group, reason)) } else { None };
    bench.done().into_iter().filter_map(claim).collect()
}

#[test]
fn a_bit_that_is_said_is_a_wish_an_offer_or_of_one_that_leaves_or_is_in_conflict_something_else() {
    let wish = Wish { groups: 0b0110, offered: 0b1001, ..Wish::default() };
    assert_eq!(wish.said(0b1010, None, None), 0b1100, "a wish for what is not owned, an offer of what is");
    assert_eq!(wish.said(0b1010, None, Some(0b0010)), 0b0110, "what was taken, and no offer");
    assert_eq!(wish.said(0b1010, Some(0b0010), Some(0b1000)), 0b0110, "what is kept, before all else");
}

#[test]
fn what_the_peer_says_of_its_own_groups_is_an_offer_unless_it_leaves_or_there_is_a_conflict() {
    for (flags, expected) in [
        (0, PeerWish { offers: 2, ..PeerWish::default() }),
        (flags::ASKED, PeerWish { asked: true, offers: 2, ..PeerWish::default() }),
        (flags::LEAVING, PeerWish { kept: 2, ..PeerWish::default() }),
        (flags::CONTESTED, PeerWish::default()),
        (flags::LEAVING | flags::CONTESTED, PeerWish { kept: 2, ..PeerWish::default() }),
    ] {
        let mut bench = bench();
        bench.hear(|m| (m.flags, m.owned, m.wanted) = (flags, 2, 2));
        assert_eq!(bench.core.said.wish(), expected, "{flags:b}");
    }
}

#[test]
fn what_is_ordered_is_claimed_once_the_peer_holds_it_no_more_and_knows_of_the_wish() {
    let mut bench = bench();
    assert_eq!(bench.core.handle_order(bench.now, OperatorOrder::Takeover(G1)), Ok(()));
    bench.turn();
    assert_eq!((bench.core.wished(), claims(&mut bench)), (2, vec![]));
    bench.silence(Nanos::from_millis(5));
    let before = bench.now.0 - 5_000_001;
    bench.hear(|m| (m.owned, m.echo_sent_ns) = (0, before));
    assert_eq!(claims(&mut bench), [], "it said so not knowing");
    bench.hear(|m| m.owned = 0);
    assert_eq!(claims(&mut bench), [(G1, Reason::Ordered)]);
}

/// All messages of one turn have one time.
#[test]
fn what_the_peer_knew_on_one_channel_it_knew_on_all() {
    for deaf in [0, 1] {
        let mut bench = bench();
        bench.core.handle_order(bench.now, OperatorOrder::Takeover(G1)).expect("it can");
        bench.turn();
        bench.silence(Nanos::from_millis(5));
        let says = bench.message(|m| m.owned = 0);
        for channel in 0..2 {
            let echo_sent_ns = if channel == deaf { 0 } else { says.echo_sent_ns };
            let says = heartbeat_ebpf::wire::Message { echo_sent_ns, ..says };
            bench.core.handle_heartbeat(bench.now, ChannelIndex(channel), &says, bench.now);
        }
        bench.turn();
        assert_eq!(claims(&mut bench), [(G1, Reason::Ordered)], "channel {deaf} works one way only");
    }
}

#[test]
fn an_order_that_is_not_followed_is_given_up_after_a_while() {
    let mut bench = bench();
    bench.core.handle_order(bench.now, OperatorOrder::Takeover(G1)).expect("it can");
    bench.run(SECOND.times(9));
    assert_eq!(bench.core.wished(), 2);
    bench.run(SECOND.times(2));
    assert_eq!(bench.core.wished(), 0);
    assert!(bench.told().contains(&Event::HandOverGivenUp { group: G1 }));
}

#[test]
fn only_what_a_silent_peer_may_have_is_taken_by_force() {
    let forced = OperatorOrder::TakeoverForced;
    let mut bench = bench();
    assert_eq!(bench.core.handle_order(bench.now, forced(G0)), Err(Refusal::HeldHere));
    assert_eq!(bench.core.handle_order(bench.now, OperatorOrder::Maintenance(true)), Ok(()));
    assert_eq!(bench.core.handle_order(bench.now, forced(G1)), Err(Refusal::Maintenance), "as any other order");
    bench.silence(SECOND);
    assert_eq!(claims(&mut bench), []);
    assert_eq!(bench.core.handle_order(bench.now, OperatorOrder::Takeover(G1)), Err(Refusal::NoPeer));
    assert_eq!(bench.core.handle_order(bench.now, forced(G1)), Ok(()));
    bench.turn();
    assert_eq!(claims(&mut bench), [(G1, Reason::Forced)]);
    bench.core.handle_stop(bench.now);
    assert_eq!(bench.core.handle_order(bench.now, forced(G1)), Err(Refusal::Stopping));
}

#[test]
fn it_is_told_when_an_order_or_an_offer_is_given_up_and_when_a_group_goes_home() {
    let next = |wish: &Wish, failback: &[Option<Nanos>]| {
        let mut wake = Wake::after(SECOND);
        wish.times(failback, &mut wake);
        wake.earliest()
    };
    let at = SECOND.times(7);
    let never = Wish { until: at, accepted_until: at, ..Wish::default() };
    assert_eq!(next(&never, &[Some(SECOND)]), Nanos::NEVER);
    assert_eq!(next(&Wish { ordered: 1, ..never }, &[]), at);
    assert_eq!(next(&Wish { accepted: 1, ..never }, &[]), at);
    let well = Wish { well_since: Some(SECOND), ..never };
    assert_eq!(next(&well, &[None, Some(SECOND.times(3)), Some(SECOND.times(2))]), SECOND.times(3));
}

#[test]
fn what_nobody_takes_is_wished_for_and_not_asked_for_so_that_whoever_takes_it_meanwhile_keeps_it() {
    let mut bench = bench();
    let situation = Situation {
        free: true,
        well: true,
        owned: 0b01,
        held: 0b01,
        peer_owned: 0,
        offers: 0,
        failback: &[None, None],
        at_home: 0b01,
        left_lying: 0b10,
        comes: 0,
        patience: SECOND,
    };
    let mut wish = Wish::default();
    wish.step(bench.now, &situation, &mut bench.core.actions);
    assert_eq!((wish.groups(), wish.why(), wish.is_asked()), (0b10, Reason::Unheld, false));
    wish.order(G1, true, Nanos::NEVER);
    wish.step(bench.now, &situation, &mut bench.core.actions);
    assert_eq!((wish.why(), wish.is_asked()), (Reason::Ordered, true));
    // Of a holder: it is let go of for whoever asks, and not for whoever only wishes.
    bench.hear(|m| (m.owned, m.wanted) = (0b10, 0b01));
    assert_eq!(bench.done(), []);
    bench.hear(|m| (m.owned, m.wanted, m.flags) = (0b10, 0b01, flags::ASKED));
    assert_eq!(bench.done(), [Action::Release(G0, Reason::HandedOver)]);
}
