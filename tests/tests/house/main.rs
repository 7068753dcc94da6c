//! The house: which room may take something from which other one, as the architecture page has it; and no files in a circle.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod files;
mod modules;
mod pages;

use modules::{House, Module};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const PAGE: &str = "../heartbeat-user/docs/architecture.md";

fn house() -> House {
    House::read(Path::new("../heartbeat-user/src")).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Of each room, those that it may take something from: the rows `room | may import | ..` of the page.
fn rules() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let table = page.split_once("| room | may import |").expect("the page has the table of rooms").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let words =
        |cell: &str| cell.split([',', ' ', '`', '/']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let room: BTreeSet<String> = words(cells[1]);
        assert_eq!(room.len(), 1, "one room a row: {row}");
        let may: BTreeSet<String> = words(cells[2]);
        (
            room.into_iter().next().unwrap(),
            may.into_iter().filter(|word| !["-", "nothing"].contains(&word.as_str())).collect(),
        )
    })
    .collect()
}

fn shown(module: &Module) -> String {
    module.join("/")
}

#[test]
fn no_room_takes_anything_from_one_that_the_architecture_page_does_not_let_it() {
    let (house, rules) = (house(), rules());
    let mut wrong = BTreeSet::new();
    for (from, to) in house.arrows() {
        let (Some(room), Some(other)) = (from.first(), to.first()) else { continue };
        if room != other && !rules.get(room).is_some_and(|may| may.contains(other)) {
            wrong.insert(format!("{} takes from {}", shown(&from), shown(&to)));
        }
    }
    assert_eq!(wrong, BTreeSet::new(), "{PAGE} does not let them");
}

#[test]
fn the_architecture_page_has_all_rooms_and_lets_none_import_what_it_does_not_need() {
    let (house, rules) = (house(), rules());
    let rooms: BTreeSet<_> = house.modules().filter_map(|module| module.first().cloned()).collect();
    assert_eq!(rules.keys().cloned().collect::<BTreeSet<_>>(), rooms);
    let taken: BTreeSet<_> = house
        .arrows()
        .into_iter()
        .filter_map(|(from, to)| Some((from.first()?.clone(), to.first()?.clone())))
        .collect();
    let needless: Vec<_> = rules
        .iter()
        .flat_map(|(room, may)| may.iter().map(move |other| (room.clone(), other.clone())))
        .filter(|pair| !taken.contains(pair))
        .collect();
    assert_eq!(needless, [], "{PAGE} lets them, and nobody does");
}

#[test]
fn no_files_take_from_each_other_in_a_circle() {
    let circles = house().circles();
    let shown: Vec<Vec<String>> = circles.iter().map(|circle| circle.iter().map(shown).collect()).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}
