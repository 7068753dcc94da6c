//! Scripts that are told of changes, as hooks of a group.
//!
//! | keepalived | here |
//! |---|---|
//! | `notify_master`, after the addresses are there | `on_acquired` |
//! | `notify_backup`, after they are gone | `on_release`, whose failure holds nothing up, of a group that is not exclusive |
//! | `notify` | both, where there is none of those, with the arguments that keepalived would add |
//! | `notify_fault`, `notify_stop` | nothing, unless they are the same as `notify_backup` |

use super::program;
use super::units::Unit;
use super::{File, Said};
use crate::import::model::{Command, Notify};

/// A group's hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    pub(super) on_acquired: Option<Vec<String>>,
    pub(super) on_release: Option<Vec<String>>,
}

/// Who is told: as keepalived calls it in the arguments of `notify`.
struct Told<'f> {
    file: &'f File,
    kind: &'static str,
    name: &'f str,
    priority: u32,
    notify: &'f Notify,
}

const TELLS: &str = "HEARTBEAT_GROUP, _REASON, _NODE, _PEER and _VERDICT say what for; it may take hook_timeout (30 s), and is run again for \
                     what an agent that died had begun";
const ONE: &str = "a group has one command at each step; let one script call both";

/// The hooks that do what the scripts of a unit did.
pub(super) fn hooks(unit: &Unit<'_>, files: &[File], said: &mut Said) -> Hooks {
    let told = told(unit, files);
    let acquired = chosen(&told, |notify| notify.master.as_ref(), said);
    let released = chosen(&told, |notify| notify.backup.as_ref(), said);
    for told in &told {
        for command in [&told.notify.fault, &told.notify.stop].into_iter().flatten() {
            if released.is_none_or(|(_, backup)| backup.words != command.words) {
                said.lost(
                    &command.place,
                    &command.words.join(" "),
                    "there is no such state: a group that is let go of because of a fault or a stop runs on_release, and HEARTBEAT_REASON says \
                     why",
                );
            }
        }
    }
    let any = chosen(&told, |notify| notify.any.as_ref(), said);
    let hooks = Hooks {
        on_acquired: hook(acquired, any, "on_acquired", "MASTER", said),
        on_release: hook(released, any, "on_release", "BACKUP", said),
    };
    if let Some((told, command)) = any {
        let what = command.words.join(" ");
        match (acquired, released) {
            (Some(_), Some(_)) => said.lost(&command.place, &what, ONE),
            _ => said.note(
                &command.place,
                &what,
                format!(
                    "run with the arguments {} {} MASTER {priority} as on_acquired, BACKUP {priority} as on_release, where there is no notify_master \
                     or notify_backup; never with FAULT or STOP; {TELLS}",
                    told.kind,
                    told.name,
                    priority = told.priority
                ),
            ),
        }
    }
    hooks
}

/// A script, and whose it is.
type Script<'t, 'f> = (&'t Told<'f>, &'f Command);

/// The words of a hook: of the script for that state, or else of the one for all of them.
fn hook(
    own: Option<Script<'_, '_>>,
    any: Option<Script<'_, '_>>,
    step: &str,
    state: &str,
    said: &mut Said,
) -> Option<Vec<String>> {
    if let Some((told, command)) = own {
        said.note(&command.place, &command.words.join(" "), format!("{step} of its group: {TELLS}"));
        return Some(program::words(command, told.file, said));
    }
    let (told, command) = any?;
    let mut words = program::words(command, told.file, said);
    words.extend([told.kind, told.name, state, &told.priority.to_string()].map(str::to_owned));
    Some(words)
}

/// Everybody who is told of a unit's changes: sync groups before their instances, a before b.
fn told<'f>(unit: &Unit<'f>, files: &'f [File]) -> Vec<Told<'f>> {
    let mut all = Vec::new();
    for (side, file) in files.iter().enumerate() {
        let instances = || unit.pairs.iter().filter_map(move |pair| pair.sides[side]);
        if let (Some(group), Some(first)) = (unit.sync[side], instances().next()) {
            all.push(Told { file, kind: "GROUP", name: &group.name, priority: first.priority, notify: &group.notify });
        }
        all.extend(instances().map(|instance| Told {
            file,
            kind: "INSTANCE",
            name: &instance.name,
            priority: instance.priority,
            notify: &instance.notify,
        }));
    }
    all
}

/// The first of the commands at one step; says which others there are.
fn chosen<'t, 'f>(
    told: &'t [Told<'f>],
    of: impl Fn(&'f Notify) -> Option<&'f Command>,
    said: &mut Said,
) -> Option<Script<'t, 'f>> {
    let mut all = told.iter().filter_map(|told| Some((told, of(told.notify)?)));
    let first = all.next()?;
    for (_, other) in all.filter(|(_, other)| other.words != first.1.words || other.user != first.1.user) {
        said.lost(
            &other.place,
            &other.words.join(" "),
            format!("{ONE}: {} counts ({})", first.1.words.join(" "), first.1.place),
        );
    }
    Some(first)
}
