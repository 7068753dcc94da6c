use super::*;
use crate::core::{
    Guards,
    testing::{Bench, assert_documented},
};

const STAGES: [Stage; 18] = [
    Stage::Free,
    Stage::Preparing,
    Stage::Adding,
    Stage::Undoing { isolated: false },
    Stage::Undoing { isolated: true },
    Stage::Starting,
    Stage::StartingTwice,
    Stage::StartingInVain,
    Stage::Held,
    Stage::Stopping,
    Stage::Removing,
    Stage::Finishing,
    Stage::Restoring,
    Stage::Stuck,
    Stage::Leftover,
    Stage::LeftoverStopping,
    Stage::Clearing,
    Stage::Retrying,
];

const INPUTS: [Input; 12] = [
    Input::Acquire,
    Input::Release,
    Input::ReleaseLeftover,
    Input::Retry,
    Input::Settled,
    Input::HookSucceeded,
    Input::HookFailed,
    Input::InPlace,
    Input::NotInPlace,
    Input::Isolated,
    Input::Gone,
    Input::NotGone,
];

/// All of them, and what each pair comes to; those that change nothing are left out.
#[test]
fn every_stage_answers_every_input_as_the_table_says() {
    let mut table = String::new();
    for stage in STAGES {
        for input in INPUTS {
            let (next, outputs) = stage.next(input);
            if next != stage || !outputs.is_empty() {
                table += &format!(
                    "{:<28} {:<16} -> {:<28} {outputs:?}\n",
                    format!("{stage:?}"),
                    format!("{input:?}"),
                    format!("{next:?}")
                );
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// The same table, drawn.
#[test]
fn the_drawing_of_the_stages_is_as_the_table_says() {
    let name = |stage: Stage| match stage {
        Stage::Undoing { isolated: true } => "UndoingIsolated".to_owned(),
        Stage::Undoing { isolated: false } => "Undoing".to_owned(),
        stage => format!("{stage:?}"),
    };
    let mut drawing = String::new();
    for stage in STAGES {
        for to in STAGES.into_iter().filter(|to| *to != stage) {
            let leads = |input: &Input| stage.next(*input).0 == to;
            let why: Vec<_> = INPUTS.into_iter().filter(leads).map(|input| format!("{input:?}")).collect();
            if !why.is_empty() {
                drawing += &format!("    {} --> {}: {}\n", name(stage), name(to), why.join(", "));
            }
        }
    }
    assert_documented(
        "hooks.md",
        &format!(
            "# The steps of a group, with its hooks\n\n\
             Written by the test of `core/hooks.rs` (`HEARTBEAT_WRITE=1 cargo test --lib table_says` writes it anew). A hook that a group \
             does not have succeeds at once. What each stage is, and what is done on each arrow: `core/hooks.rs`.\n\n\
             ```mermaid\nstateDiagram-v2\n    [*] --> Free\n{drawing}```\n"
        ),
    );
}

#[test]
fn a_hook_that_runs_always_ends_in_another_stage_or_another_hook() {
    for stage in STAGES.into_iter().filter(|stage| stage.runs().is_some()) {
        for input in [Input::HookSucceeded, Input::HookFailed] {
            assert_ne!(stage.next(input).0, stage, "{stage:?}, {input:?}: it would wait for ever");
        }
    }
}

#[test]
fn what_runs_is_what_was_last_to_be_run() {
    for stage in STAGES {
        for input in INPUTS {
            let (next, outputs) = stage.next(input);
            match outputs.last() {
                Some(Output::Run(hook)) => assert_eq!(next.runs(), Some(*hook), "{stage:?}, {input:?}"),
                Some(_) => assert_eq!(next.runs(), None, "{stage:?}, {input:?}"),
                None => assert!(next.runs().is_none() || next.runs() == stage.runs(), "{stage:?}, {input:?}"),
            }
        }
    }
}

/// From everywhere, as long as what is tried ends well, a group comes to rest; and where it is to go, it goes.
#[test]
fn whatever_goes_well_from_then_on_ends_held_free_or_is_tried_again() {
    for stage in STAGES {
        let mut now = stage;
        for _ in 0..8 {
            let input = match now {
                _ if now.runs().is_some() => Input::HookSucceeded,
                Stage::Adding | Stage::Restoring => Input::InPlace,
                Stage::Removing | Stage::Leftover | Stage::Clearing => Input::Gone,
                _ => break,
            };
            now = now.next(input).0;
        }
        assert!(matches!(now, Stage::Held | Stage::Free | Stage::Stuck), "{stage:?} ends in {now:?}");
    }
}

fn courses(held: u64) -> Courses {
    Courses::new(3, HookedGroups { has: [0b011, 0, 0b010, 0b001], force: 0 }, held)
}

#[test]
fn only_groups_with_hooks_are_busy_or_leave_something() {
    let mut c = courses(0b100);
    assert_eq!((c.busy(), c.left()), (0, 0));
    for group in [GroupIndex(0), GroupIndex(2)] {
        c.step(group, Input::Acquire);
    }
    assert_eq!((c.busy(), c.left()), (1, 1));
    c.step(GroupIndex(0), Input::HookSucceeded);
    assert_eq!((c.busy(), c.left()), (1, 1), "its addresses are being added");
    c.step(GroupIndex(0), Input::InPlace);
    c.step(GroupIndex(0), Input::HookSucceeded);
    assert_eq!((c.busy(), c.left()), (0, 1));
}

#[test]
fn what_an_undo_that_fails_left_is_on_record_until_it_succeeds() {
    let group = GroupIndex(0);
    let mut c = courses(0);
    for (input, left) in [
        (Input::Acquire, 1),
        (Input::HookFailed, 1),
        (Input::HookFailed, 1),
        (Input::Retry, 1),
        (Input::Gone, 1),
        (Input::HookSucceeded, 0),
    ] {
        c.step(group, input);
        assert_eq!(c.left(), left, "{input:?}");
    }
}

#[test]
fn the_end_of_another_hook_than_the_one_that_runs_counts_for_nothing() {
    for stage in STAGES {
        for hook in Hook::ALL {
            let mut bench = Bench::new(0, Guards::default());
            bench.core.courses.groups[1].stage = stage;
            bench.core.handle_hook_ended(bench.now, GroupIndex(1), hook, true);
            let counted = bench.core.courses.groups[1].stage != stage;
            assert_eq!(counted, stage.runs() == Some(hook), "{stage:?}, {hook:?}");
        }
    }
}

#[test]
fn a_next_life_goes_on_only_with_what_is_not_half_way() {
    let mut bench = Bench::new(1, Guards::default());
    bench.core.setup.hooks.has = [0b11; 4];
    for stage in STAGES {
        bench.core.courses.groups[0].stage = stage;
        bench.core.courses.hooked = bench.core.setup.hooks;
        let state = bench.core.cell_state(bench.now);
        assert_eq!(state.hooked & 1 == 1, stage != Stage::Free, "{stage:?}");
    }
    bench.core.courses.groups[0].stage = Stage::Held;
    assert_eq!(bench.core.cell_state(bench.now).owned, 1);
    bench.core.ownership.lost(GroupIndex(0));
    assert_eq!((bench.core.owned(), bench.core.cell_state(bench.now).owned), (1, 0), "its hooks undo it");
}

#[test]
fn an_unknown_group_is_nothing() {
    assert_eq!(courses(0).step(GroupIndex(9), Input::Acquire), []);
}
