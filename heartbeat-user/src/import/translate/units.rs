//! What moves together: sync groups, and instances by themselves.

use super::pairs::Pair;
use super::{File, Said};
use crate::import::model::{Instance, SyncGroup};
use crate::import::place::Place;

/// What moves together: the instances of a sync group, or one alone.
pub(super) struct Unit<'f> {
    pub(super) name: &'f str,
    pub(super) place: &'f Place,
    pub(super) pairs: Vec<Pair<'f>>,
    /// The sync group in either file.
    pub(super) sync: [Option<&'f SyncGroup>; 2],
}

/// The sync group that an instance is in, in its own file.
fn sync_of<'f>(instance: Option<&Instance>, file: Option<&'f File>) -> Option<&'f SyncGroup> {
    let instance = instance?;
    file?.node.groups.iter().find(|group| group.members.iter().any(|member| member.value == instance.name))
}

/// All instances, each in the unit that it moves with, in the order of the first one of each.
pub(super) fn units<'f>(files: &'f [File], pairs: &[Pair<'f>], said: &mut Said) -> Vec<Unit<'f>> {
    let mut units: Vec<Unit<'f>> = Vec::new();
    for pair in pairs {
        let sync = [0, 1].map(|side| sync_of(pair.sides[side], files.get(side)));
        let same = |unit: &Unit<'_>| {
            (0..2).any(|side| sync[side].zip(unit.sync[side]).is_some_and(|(a, b)| std::ptr::eq(a, b)))
        };
        if let Some(at) = units.iter().position(same) {
            let unit = &mut units[at];
            if unit.sync.map(|group| group.map(|group| &group.place))
                != sync.map(|group| group.map(|group| &group.place))
            {
                let what = format!("vrrp_instance {}", pair.first().name);
                said.note(
                    &pair.first().place,
                    &what,
                    format!("not in the same sync group in both files: here it moves with {}", unit.name),
                );
            }
            unit.pairs.push(*pair);
            continue;
        }
        let group = sync[0].or(sync[1]);
        let first = pair.first();
        let (name, place) = group.map_or((&first.name, &first.place), |group| (&group.name, &group.place));
        units.push(Unit { name, place, pairs: vec![*pair], sync });
    }
    units
}
