//! Tracked scripts and processes as `[[check]]`.

use super::program;
use super::{File, Said};
use crate::config::show;
use crate::import::model::{Check, Node, Track, Tracked};
use crate::import::names::TakenNames;
use crate::types::Nanos;

/// A `[[check]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    pub(super) interval: Nanos,
    pub(super) timeout: Nanos,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) weight: u32,
    /// Where it comes from.
    pub(super) from: String,
}

/// What a check counts where keepalived has no number: as much as a network.
const WEIGHT: u32 = 100;

/// The checks of both files; those that nothing tracks keepalived never runs.
pub(super) fn checks(files: &[File], said: &mut Said) -> Vec<Draft> {
    let mut names = TakenNames::default();
    let mut drafts: Vec<(&str, Draft)> = Vec::new();
    for (side, file) in files.iter().enumerate() {
        for check in &file.node.checks {
            let tracks: Vec<&Track> = tracked(&file.node).filter(|track| track.name == check.name).collect();
            let what = check.name.clone();
            let Some(first) = tracks.first() else {
                if side == 0 || !files[0].node.checks.iter().any(|known| known.name == check.name) {
                    said.note(&check.place, &what, "nothing tracks it: keepalived never runs it, and it is left out");
                }
                continue;
            };
            if let Some((_, draft)) = drafts.iter().find(|(name, _)| *name == check.name) {
                differs(check, draft, file, said);
                continue;
            }
            if tracks.iter().any(|track| track.reverse) || (check.reverse && first.weight.is_none()) {
                said.lost(
                    &first.place,
                    &format!("{} reverse", check.name),
                    "a check that fails is a fault, never the other way round; have a command of yours end with 0 where all is well",
                );
                continue;
            }
            let weight = first.weight.unwrap_or(check.weight);
            explain(check, first, weight, &file.node, said);
            drafts.push((&check.name, draft(check, weight, file, &mut names, said)));
        }
    }
    drafts.into_iter().map(|(_, draft)| draft).collect()
}

/// All that instances and sync groups track.
fn tracked(node: &Node) -> impl Iterator<Item = &Track> {
    let all =
        node.instances.iter().map(|instance| &instance.tracked).chain(node.groups.iter().map(|group| &group.tracked));
    all.flat_map(|tracked: &Tracked| &tracked.checks)
}

fn draft(check: &Check, weight: i64, file: &File, names: &mut TakenNames, said: &mut Said) -> Draft {
    let shortest = Nanos::from_millis(100);
    if check.interval < shortest {
        let what = format!("interval {}", show(check.interval));
        said.note(&check.place, &what, format!("a check runs every {} at most", show(shortest)));
    }
    Draft {
        name: names.of(&check.name),
        command: program::words(&check.command, file, said),
        interval: check.interval.max(shortest),
        timeout: check.timeout.max(Nanos::from_millis(10)),
        rise: check.rise,
        fall: check.fall,
        weight: u32::try_from(weight.unsigned_abs()).ok().filter(|weight| *weight != 0).unwrap_or(WEIGHT),
        from: format!("{} ({})", check.name, check.place),
    }
}

/// Says what is not as it was.
fn explain(check: &Check, track: &Track, weight: i64, node: &Node, said: &mut Said) {
    let what = format!("{} weight {weight}", check.name);
    if weight != 0 {
        said.note(
            &track.place,
            &what,
            format!(
                "a check that fails is a fault of its controller, which hands over to one without, whatever the priorities are; it \
                 counts {} in the quality of service",
                weight.unsigned_abs()
            ),
        );
    }
    let all = node.instances.iter().all(|instance| {
        let group = node.groups.iter().find(|group| group.members.iter().any(|member| member.value == instance.name));
        let tracks = |tracked: &Tracked| tracked.checks.iter().any(|track| track.name == check.name);
        tracks(&instance.tracked) || group.is_some_and(|group| tracks(&group.tracked))
    });
    if !all {
        said.note(
            &track.place,
            &check.name,
            "a check counts for its controller: all of its groups go where it fails, not only this one",
        );
    }
}

/// Says where the other file has something else by that name.
fn differs(check: &Check, draft: &Draft, file: &File, said: &mut Said) {
    let mut quiet = Said::default();
    let own = (
        program::words(&check.command, file, &mut quiet),
        check.interval.max(Nanos::from_millis(100)),
        check.rise,
        check.fall,
    );
    if own != (draft.command.clone(), draft.interval, draft.rise, draft.fall) {
        said.lost(
            &check.place,
            &check.name,
            format!("not the same as {}, which counts: both have one file; HEARTBEAT_NODE tells a command whether it is on a or b", draft.from),
        );
    }
}
