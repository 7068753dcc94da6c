use super::*;
use crate::{
    core::{
        Action, Guards, PeerState, Reason, Withheld,
        testing::{Bench, SECOND, timing},
    },
    types::GroupIndex,
};

const CH: ChannelIndex = ChannelIndex(0);
const MS: fn(u64) -> Nanos = Nanos::from_millis;

/// The peer has group 1, and its agent died just now.
fn notice(bench: &Bench) -> NoticeSaid {
    NoticeSaid {
        incarnation: bench.core.peer_incarnation(),
        asked: bench.now,
        died: true,
        leased: true,
        silent: MS(1),
        owned: 0b10,
        closed: 0,
        names_digest: bench.core.setup.names.digest(),
        term: 1,
        grace: SECOND,
    }
}

fn hear(bench: &mut Bench, change: impl FnOnce(&mut NoticeSaid)) {
    let mut said = notice(bench);
    change(&mut said);
    bench.core.handle_notice(bench.now, &said);
    bench.turn();
}

fn bench() -> Bench {
    let mut bench = Bench::new(1, Guards::default());
    bench.silence(timing().interval);
    bench
}

const TAKEN: Action = Action::Acquire(GroupIndex(1), Reason::PeerDead);

#[test]
fn a_death_is_known_at_once_waited_for_and_taken_over_once_the_kernel_keeps_silent() {
    let mut bench = bench();
    hear(&mut bench, |_| {});
    assert_eq!((bench.core.peer(), bench.core.withheld()), (PeerState::Bad, Some(Withheld::PeerDied)));
    let until = bench.core.withheld_until(bench.now).expect("it ends");
    while bench.now < until {
        assert!(bench.core.owned() == 1 && !bench.done().contains(&TAKEN));
        bench.silence(timing().interval);
        hear(&mut bench, |said| said.silent = MS(100));
    }
    assert_eq!((bench.core.owned(), bench.done().contains(&TAKEN)), (0b11, false), "claimed, and nothing is done");
    assert_eq!(bench.core.cell_state(bench.now).owned, 1, "nothing of it is here");
    hear(&mut bench, |said| said.closed = 0b10);
    assert!(bench.done().contains(&TAKEN));
}

#[test]
fn where_its_host_falls_silent_nobody_waits_for_the_grace() {
    let mut bench = bench();
    hear(&mut bench, |said| said.grace = SECOND.times(100));
    bench.silence(MS(290));
    assert!(!bench.done().contains(&TAKEN));
    bench.silence(MS(20));
    assert!(bench.done().contains(&TAKEN));
}

#[test]
fn a_notice_that_is_old_or_of_somebody_else_or_outlived_says_nothing() {
    type Change = fn(&mut NoticeSaid);
    let cases: [(&str, Change); 3] = [
        ("to come", |said| said.asked = said.asked.after(Nanos(1))),
        ("of another life", |said| said.incarnation += 1),
        ("of before it was heard last", |said| (said.died, said.asked) = (false, Nanos(1))),
    ];
    for (why, change) in cases {
        let mut bench = bench();
        hear(&mut bench, change);
        assert_eq!((bench.core.peer(), bench.core.peer_stalled(bench.now)), (PeerState::Good, None), "{why}");
    }
    // What it says knowing something later proves that it lives.
    let mut bench = bench();
    let before = notice(&bench);
    bench.run(SECOND);
    bench.core.handle_notice(bench.now, &before);
    bench.turn();
    assert_eq!(bench.core.peer(), PeerState::Good);
    hear(&mut bench, |_| {});
    assert_eq!(bench.core.peer(), PeerState::Bad);
    let asked = bench.now;
    bench.hear(|message| message.echo_sent_ns = asked.0);
    assert_eq!(bench.core.peer(), PeerState::Bad, "that was on its way");
    bench.silence(timing().interval);
    bench.hear(|_| {});
    assert_eq!(bench.core.peer(), PeerState::Good);
}

#[test]
fn what_must_not_be_held_twice_is_not_taken_where_the_host_falls_silent_before_its_kernel_does() {
    let mut bench = Bench::of(1, |setup| setup.exclusivity.groups = 0b10);
    bench.silence(timing().interval);
    hear(&mut bench, |said| said.grace = Nanos(0));
    assert_eq!(bench.core.owned(), 0b11, "claimed");
    bench.silence(SECOND.times(3));
    assert!(bench.core.owned() == 1 && !bench.done().contains(&TAKEN));
    // Of any other, the lease of its kernel is over.
    let mut plain = Bench::new(1, Guards::default());
    plain.silence(timing().interval);
    hear(&mut plain, |said| said.grace = Nanos(0));
    plain.silence(SECOND.times(3));
    assert!(plain.done().contains(&TAKEN));
}

#[test]
fn what_a_kernel_said_once_of_keeping_silent_holds_while_its_host_says_so() {
    let mut bench = Bench::of(1, |setup| setup.exclusivity.groups = 0b10);
    bench.silence(timing().interval);
    hear(&mut bench, |said| (said.grace, said.closed) = (Nanos(0), 0b10));
    let safe = |bench: &Bench| bench.core.known(bench.now).weigh(bench.now).safe();
    assert_eq!(safe(&bench), 0b10);
    // A next life of its agent, which nobody hears, may have opened it.
    bench.silence(SECOND);
    assert_eq!(safe(&bench), 0);
}

#[test]
fn who_said_that_it_restarts_or_leaves_did_not_die() {
    for flag in [flags::RESTARTING, flags::LEAVING] {
        let mut bench = bench();
        bench.hear(|message| message.flags = flag);
        bench.silence(timing().interval);
        bench.done();
        hear(&mut bench, |_| {});
        assert_eq!(bench.core.peer(), PeerState::Good);
        assert!(!bench.told().iter().any(|event| matches!(event, Event::PeerDied { .. })));
    }
}

#[test]
fn what_the_kernel_said_of_the_life_before_says_nothing_of_the_one_that_was_met_since() {
    let mut bench = bench();
    hear(&mut bench, |_| {});
    bench.silence(timing().interval);
    let of_the_one_before = notice(&bench);
    bench.now = bench.now.after(MS(1));
    let asked = bench.now.0;
    let next = bench.message(|message| (message.incarnation, message.echo_sent_ns) = (message.incarnation + 1, asked));
    let _ = (bench.done(), bench.told());
    // Both are found in one turn.
    bench.core.handle_handshake(bench.now, CH, &next, bench.now);
    bench.core.handle_notice(bench.now, &of_the_one_before);
    bench.turn();
    assert_eq!((bench.core.peer(), bench.core.peer_died(bench.now)), (PeerState::Good, None));
    assert!(!bench.told().iter().any(|event| matches!(event, Event::PeerDied { .. })));
}

#[test]
fn it_is_told_until_when_the_host_counts_as_answering_and_its_agent_may_come_back() {
    let next = |host: &PeerHost| {
        let mut wake = Wake::after(Nanos(10));
        host.times(Nanos(5), &mut wake);
        wake.earliest()
    };
    let answers = PeerHost { answered: Some(Answer { at: Nanos(9), stalled: Nanos(0) }), ..PeerHost::default() };
    assert_eq!([next(&PeerHost::default()), next(&answers)], [Nanos::NEVER, Nanos(14)]);
    let died = Died { incarnation: 1, asked: Nanos(8), at: Nanos(8), grace: Nanos(4) };
    assert_eq!(next(&PeerHost { died: Some(died), ..answers }), Nanos(12));
}
