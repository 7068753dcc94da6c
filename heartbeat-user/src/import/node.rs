//! One node's file, from its items to a [`Node`].

use super::error::{Fault, Problem};
use super::keywords;
use super::model::{At, Check, Node, Notify, SyncGroup, Tracked};
use super::place::Place;
use super::reading::Reading;
use super::shared::{down_timer, interface, notify, refresh, tracked, user};
use super::tree::Item;
use super::{checks, instances};
use crate::config::MAX_ADDRESSES;

/// The most blocks that stand outside of others.
const MAX_BLOCKS: usize = 2_000;

/// What `items` say.
pub(super) fn node(items: &[Item], reading: &mut Reading) -> Node {
    if let Some(item) = items.get(MAX_BLOCKS) {
        reading.wrong(item, Fault::TooMuch { what: "blocks outside of others", most: MAX_BLOCKS });
        return Node::default();
    }
    for item in items {
        misplaced(item, reading);
    }
    let mut node = Node::default();
    for item in items {
        match item.keyword() {
            "global_defs" => globals(item, &mut node, reading),
            "vrrp_instance" => instances::read(item, &mut node, reading),
            "vrrp_sync_group" => sync_group(item, &mut node, reading),
            "vrrp_script" => add_check(checks::script(item, reading), item, &mut node, reading),
            "vrrp_track_process" => add_check(checks::process(item, reading), item, &mut node, reading),
            _ => {
                reading.is_read(item, keywords::TOP);
            }
        }
    }
    let addresses = node.instances.iter().flat_map(|instance| &instance.addresses);
    if let Some(address) = addresses.clone().nth(MAX_ADDRESSES) {
        let fault = Fault::TooMuch { what: "addresses", most: MAX_ADDRESSES };
        reading.problems.push(Problem::new(&address.place, &address.address.to_string(), fault));
    }
    dangling(&node, reading, items);
    node
}

/// Reports blocks within `item` that stand outside of all others: a closing brace is missing.
fn misplaced(item: &Item, reading: &mut Reading) {
    for inner in item.items() {
        if inner.block.is_some() && keywords::is_outermost(inner.keyword()) {
            reading.wrong(inner, Fault::Within { within: format!("{} ({})", item.text(), item.place) });
        } else {
            misplaced(inner, reading);
        }
    }
}

fn globals(item: &Item, node: &mut Node, reading: &mut Reading) {
    for item in reading.block(item) {
        if !reading.is_read(item, keywords::GLOBAL) {
            continue;
        }
        match item.keyword() {
            "script_user" => {
                if reading.text(item, "the name of a user").is_some() {
                    node.script_user = Some(user(&item.words[1..]));
                }
            }
            "default_interface" => {
                node.default_interface = interface(item, reading);
            }
            "vrrp_garp_master_refresh" => refresh(item, node, reading),
            _ => down_timer(item, node, reading),
        }
    }
}

fn sync_group(item: &Item, node: &mut Node, reading: &mut Reading) {
    let Some(name) = reading.name(item) else { return };
    let earlier = node.groups.iter().find(|group| group.name == name).map(|group| group.place.clone());
    if !reading.once(item, earlier.as_ref()) {
        return;
    }
    let mut group = SyncGroup {
        place: item.place.clone(),
        name,
        members: Vec::new(),
        tracked: Tracked::default(),
        notify: Notify::default(),
    };
    for item in reading.block(item) {
        if !reading.is_read(item, keywords::SYNC_GROUP) {
            continue;
        }
        if item.keyword() == "group" {
            reading.block(item);
            let members = item.listed().map(|(place, name)| At { place: place.clone(), value: name.to_owned() });
            group.members.extend(members);
        } else if !tracked(item, &mut group.tracked, reading) {
            notify(item, &mut group.notify, reading);
        }
    }
    node.groups.push(group);
}

fn add_check(check: Option<Check>, item: &Item, node: &mut Node, reading: &mut Reading) {
    let Some(check) = check else { return };
    let earlier = node.checks.iter().find(|known| known.name == check.name).map(|known| known.place.clone());
    if reading.once(item, earlier.as_ref()) {
        node.checks.push(check);
    }
}

/// Reports names that name nothing.
fn dangling(node: &Node, reading: &mut Reading, items: &[Item]) {
    let instances: Vec<&str> = node.instances.iter().map(|instance| instance.name.as_str()).collect();
    let mut seen: Vec<&At<String>> = Vec::new();
    for member in node.groups.iter().flat_map(|group| &group.members) {
        if !instances.contains(&member.value.as_str()) {
            no_such(reading, "vrrp_instance", &member.place, &member.value, &instances);
        } else if let Some(first) = seen.iter().find(|known| known.value == member.value) {
            let fault = Fault::Twice { first: first.place.clone() };
            reading.problems.push(Problem::new(&member.place, &member.value, fault));
        } else {
            seen.push(member);
        }
    }
    let checks: Vec<&str> = node.checks.iter().map(|check| check.name.as_str()).collect();
    // What was wrong with a check is said already.
    let broken: Vec<&str> = items
        .iter()
        .filter(|item| ["vrrp_script", "vrrp_track_process"].contains(&item.keyword()))
        .filter_map(|item| item.value(1))
        .collect();
    let tracked =
        node.instances.iter().map(|instance| &instance.tracked).chain(node.groups.iter().map(|group| &group.tracked));
    for track in tracked.flat_map(|tracked| &tracked.checks) {
        if !checks.contains(&track.name.as_str()) && !broken.contains(&track.name.as_str()) {
            no_such(reading, "vrrp_script or vrrp_track_process", &track.place, &track.name, &checks);
        }
    }
}

fn no_such(reading: &mut Reading, what: &'static str, place: &Place, name: &str, known: &[&str]) {
    let nearest = reading.nearest(name, known.iter().copied());
    let problem = Problem::new(place, name, Fault::NoSuch { what, nearest });
    reading.problems.push(problem);
}
