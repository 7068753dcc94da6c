//! For tests: all (state, input) pairs of a group, as a table and a drawing in `heartbeat-user/docs/ownership.md`.

use super::{group::SETTLING, *};
use crate::core::{safety::Safety, testing::assert_documented};
use std::{collections::BTreeMap, fmt::Write as _};

const G0: GroupIndex = GroupIndex(0);
const NOW: Nanos = Nanos(1_000_000_000);
const LATER: Nanos = NOW.after(Nanos(1));
const TERM: u64 = 5;

const STATES: [(&str, Holding, Option<Nanos>); 8] = [
    ("Standby", Holding::Standby, None),
    ("Claiming", Holding::Claiming { until: LATER, reason: Reason::PeerDead }, None),
    ("Acquiring", Holding::Acquiring, None),
    ("Held", Holding::Held, None),
    ("Kept", Holding::Held, Some(LATER)),
    ("Releasing", Holding::Releasing, None),
    ("Stuck", Holding::Stuck { until: LATER }, None),
    ("Resting", Holding::Resting { until: LATER }, None),
];

const GOOD: OwnershipFacts = OwnershipFacts { peer_good: true, peer_dead: false, ..tests::GOOD };
const DEAD: OwnershipFacts = OwnershipFacts { peer_good: false, peer_dead: true, peer_owned: 1, peer_term: 4, ..GOOD };
const EXCLUSIVE: OwnershipFacts = OwnershipFacts { exclusive: 1, ..DEAD };

/// What happens to it.
enum Input {
    /// Something that was to be done ended.
    Ended(fn(&mut Ownership)),
    /// This is so, and was decided on at this time.
    Is(Nanos, OwnershipFacts),
    /// The same of a group that is at home on the other controller.
    Away(OwnershipFacts),
    /// The same, and something was ordered.
    Ordered(fn(&mut Ownership), OwnershipFacts),
}

#[rustfmt::skip]
fn inputs() -> Vec<(&'static str, Input)> {
    use Input::{Away, Ended, Is, Ordered};
    let let_go = |cut_off, not_granted| LetGo { cut_off, not_granted };
    let safe = Safety { granted: 1, ..Safety::NONE };
    vec![
        ("its addresses are in place", Ended(|o| { o.acquired(G0); })),
        ("it could not be had, and nothing of it is left", Ended(|o| { o.acquire_failed(NOW, G0); })),
        ("its addresses turn out not to be there", Ended(|o| o.lost(G0))),
        ("nothing of it is left", Ended(|o| { o.released(G0); })),
        ("it could not be let go of", Ended(|o| { o.release_failed(NOW, G0); })),
        ("it could neither be had nor let go of", Ended(|o| { o.stuck(NOW, G0); })),
        ("the agent is stopped", Ordered(Ownership::stop, GOOD)),
        ("its time is over", Is(LATER.after(SETTLING), OwnershipFacts { peer_good: false, ..GOOD })),
        ("neither has it, and it is at home here", Is(NOW, GOOD)),
        ("neither has it, and it is at home there", Away(GOOD)),
        ("neither has it, and its home leaves", Away(OwnershipFacts { peer_leaving: true, ..GOOD })),
        ("neither has it, and the peer knows that we wish for it", Away(OwnershipFacts { wants: 1, heeded: true, ..GOOD })),
        ("the peer wishes for it, and it is granted", Is(NOW, OwnershipFacts { peer_wants: 1, granted: 1, ..GOOD })),
        ("the peer wishes for it, in maintenance", Is(NOW, OwnershipFacts { peer_wants: 1, granted: 1, maintenance: true, ..GOOD })),
        ("the peer has it, by a lower term", Is(NOW, OwnershipFacts { peer_owned: 1, peer_term: 4, ..GOOD })),
        ("the peer has it, by a higher term", Is(NOW, OwnershipFacts { peer_owned: 1, peer_term: 6, ..GOOD })),
        ("the peer has it, by a lower term, and hears nothing of us", Is(NOW, OwnershipFacts { peer_owned: 1, peer_term: 4, deaf_keeps: 1, ..GOOD })),
        ("the peer is dead, and nothing objects", Is(NOW, DEAD)),
        ("the peer is dead, and a guard has yet to answer", Is(NOW, OwnershipFacts { guard: Guard::Asking, ..DEAD })),
        ("the peer is dead, and a guard objects", Is(NOW, OwnershipFacts { guard: Guard::Objects(Withheld::Isolated), ..DEAD })),
        ("the peer is dead, a guard objects, and an operator forces it", Ordered(|o| o.force(G0), OwnershipFacts { guard: Guard::Objects(Withheld::Isolated), ..DEAD })),
        ("the peer is dead, and it is exclusive and not safe", Is(NOW, OwnershipFacts { safety: Safety { why: Some(Withheld::Promised), ..Safety::NONE }, ..EXCLUSIVE })),
        ("the peer is dead, and it is exclusive and safe", Is(NOW, OwnershipFacts { safety: safe, ..EXCLUSIVE })),
        ("the peer's agent is dead, and its kernel serves it", Is(NOW, OwnershipFacts { confirms: true, served: 1, ..DEAD })),
        ("the peer's agent is dead, and its kernel keeps silent for it", Is(NOW, OwnershipFacts { confirms: true, served: 1, closed: 1, ..DEAD })),
        ("the peer is silent, and took it by a higher term, and it is exclusive", Is(NOW, OwnershipFacts { peer_dead: false, peer_term: 6, ..EXCLUSIVE })),
        ("we are cut off", Is(NOW, OwnershipFacts { let_go: let_go(1, 0), guard: Guard::Objects(Withheld::Isolated), ..DEAD })),
        ("it is not granted to us", Is(NOW, OwnershipFacts { let_go: let_go(0, 1), safety: Safety { why: Some(Withheld::Denied), ..Safety::NONE }, ..EXCLUSIVE })),
    ]
}

/// The name of the state that the group is in.
fn name(o: &Ownership) -> &'static str {
    match (o.groups[0].holding, o.groups[0].kept_until) {
        (Holding::Standby, _) => "Standby",
        (Holding::Claiming { .. }, _) => "Claiming",
        (Holding::Acquiring, _) => "Acquiring",
        (Holding::Held, None) => "Held",
        (Holding::Held, Some(_)) => "Kept",
        (Holding::Releasing, _) => "Releasing",
        (Holding::Stuck { .. }, _) => "Stuck",
        (Holding::Resting { .. }, _) => "Resting",
    }
}

/// What the pair comes to: the next state, and what is to be done.
fn follows(holding: Holding, kept_until: Option<Nanos>, input: &Input) -> (&'static str, Vec<Step>) {
    let home = if matches!(input, Input::Away(_)) { Node::B } else { Node::A };
    let mut o = Ownership::new(Node::A, &[home], 0, TERM, Nanos(0));
    (o.groups[0].holding, o.groups[0].kept_until) = (holding, kept_until);
    let mut steps = Vec::new();
    match input {
        Input::Ended(ended) => ended(&mut o),
        Input::Is(now, facts) => o.decide(*now, facts, |step| steps.push(step)),
        Input::Away(facts) => o.decide(NOW, facts, |step| steps.push(step)),
        Input::Ordered(order, facts) => {
            order(&mut o);
            o.decide(NOW, facts, |step| steps.push(step));
        }
    }
    (name(&o), steps)
}

#[test]
fn every_state_answers_every_input_as_the_table_says() {
    let (mut table, mut arrows) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for (i, (state, holding, kept_until)) in STATES.into_iter().enumerate() {
        for (what, input) in inputs() {
            let (next, steps) = follows(holding, kept_until, &input);
            if next == state && steps.is_empty() {
                continue;
            }
            let steps: Vec<_> = steps.iter().map(|step| format!("{step:?}").replace("GroupIndex(0), ", "")).collect();
            let steps = steps.join(", ").replace("(GroupIndex(0))", "");
            writeln!(table, "| {state} | {what} | {next} | {steps} |").expect("memory");
            if next != state {
                let to = STATES.iter().position(|(name, ..)| *name == next).expect("a state");
                arrows.entry((i, to)).or_default().push(what);
            }
        }
    }
    let mut drawing = String::new();
    for ((from, to), why) in arrows {
        writeln!(drawing, "    {} --> {}: {}", STATES[from].0, STATES[to].0, why.join("<br>")).expect("memory");
    }
    assert_documented(
        "ownership.md",
        &format!(
            "# Who holds a group\n\n\
             Written by the test of `core/ownership/table.rs` (`HEARTBEAT_WRITE=1 cargo test --lib table_says` writes it anew): each \
             state of a group on one controller, with each thing that can happen to it. Of one group, at home on this controller unless \
             said otherwise, with a peer that is heard unless said otherwise; our own term is 5. *Kept* is held because it could not be let go of.\n\n\
             ```mermaid\nstateDiagram-v2\n    [*] --> Standby\n{drawing}```\n\n\
             Pairs that are not here change nothing.\n\n| state | what happens | then | to be done |\n|---|---|---|---|\n{table}"
        ),
    );
}

/// What is being done is waited for: until it has ended, nothing that is decided makes it something else.
#[test]
fn what_is_being_had_or_let_go_of_ends_only_by_its_own_end() {
    for (state, holding, kept_until) in
        STATES.into_iter().filter(|(state, ..)| ["Acquiring", "Releasing"].contains(state))
    {
        for (what, input) in inputs().into_iter().filter(|(_, input)| !matches!(input, Input::Ended(_))) {
            assert_eq!(follows(holding, kept_until, &input).0, state, "{what}");
        }
    }
}

/// Nothing is done that does not show in the state, and the other way round.
#[test]
fn what_is_to_be_done_is_what_the_state_becomes() {
    for (state, holding, kept_until) in STATES {
        for (what, input) in inputs() {
            let (next, steps) = follows(holding, kept_until, &input);
            let is = |which: fn(&Step) -> bool| steps.iter().any(which);
            let began = |name| next == name && state != name && !matches!(input, Input::Ended(_));
            assert_eq!(is(|s| matches!(s, Step::Acquire(..))), began("Acquiring"), "{state}, {what}: {steps:?}");
            let lets_go = is(|s| matches!(s, Step::Release(..) | Step::Retry(_)));
            assert_eq!(lets_go, began("Releasing"), "{state}, {what}: {steps:?}");
        }
    }
}
