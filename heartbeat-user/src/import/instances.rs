//! How a `vrrp_instance` is read, keyword by keyword.

use super::addresses;
use super::error::{Fault, Problem};
use super::keywords;
use super::model::{At, Instance, Node, Notify, Tracked};
use super::reading::Reading;
use super::shared::{down_timer, interface, notify, refresh, tracked};
use super::tree::Item;
use crate::config::is_interface_name;
use crate::types::Nanos;

const SECOND: Nanos = Nanos::from_millis(1_000);

/// Reads an instance's block into `node`.
pub(super) fn read(item: &Item, node: &mut Node, reading: &mut Reading) {
    let Some(name) = reading.name(item) else { return };
    let earlier = node.instances.iter().find(|instance| instance.name == name).map(|instance| instance.place.clone());
    if !reading.once(item, earlier.as_ref()) {
        return;
    }
    let mut instance = Instance {
        place: item.place.clone(),
        name,
        is_master: false,
        interface: None,
        router_id: None,
        priority: 100,
        advert: At { place: item.place.clone(), value: SECOND },
        nopreempt: None,
        preempt_delay: None,
        source: None,
        peers: Vec::new(),
        addresses: Vec::new(),
        untracked: None,
        vmac: None,
        tracked: Tracked::default(),
        notify: Notify::default(),
    };
    for item in reading.block(item) {
        if reading.is_read(item, keywords::INSTANCE) {
            keyword(item, &mut instance, node, reading);
        }
    }
    node.instances.push(instance);
}

fn keyword(item: &Item, instance: &mut Instance, node: &mut Node, reading: &mut Reading) {
    match item.keyword() {
        "state" => state(item, instance, reading),
        "interface" => {
            if let Some(interface) = interface(item, reading) {
                reading.set(item, &mut instance.interface, interface);
            }
        }
        "virtual_router_id" => {
            if let Some(id) = reading.number(item, 1..=255, "a number, 1 to 255") {
                reading.set(item, &mut instance.router_id, id);
            }
        }
        "priority" => {
            instance.priority = reading.number(item, 1..=255, "a number, 1 to 255").unwrap_or(instance.priority);
        }
        "advert_int" => {
            let range = Nanos::from_millis(10)..=Nanos::from_millis(255_000);
            if let Some(value) = reading.seconds(item, range, "seconds, 0.01 to 255") {
                instance.advert = At { place: item.place.clone(), value };
            }
        }
        "nopreempt" => instance.nopreempt = Some(item.place.clone()),
        "preempt" => instance.nopreempt = None,
        "preempt_delay" => {
            instance.preempt_delay =
                reading.seconds(item, Nanos(0)..=Nanos::from_millis(1_000_000), "seconds, 0 to 1000");
        }
        "unicast_src_ip" | "mcast_src_ip" => {
            if let Some(address) = reading.address(item, item.value(1)) {
                reading.set(item, &mut instance.source, address.value);
            }
        }
        "garp_master_refresh" => refresh(item, node, reading),
        "down_timer_adverts" => down_timer(item, node, reading),
        "authentication" | "auth_hmac" => authentication(item, reading),
        "use_vmac" => {
            let name = item.words.iter().skip(1).map(|word| word.text.as_str()).find(|word| *word != "name");
            instance.vmac = name.filter(|name| is_interface_name(name)).map(str::to_owned);
            reading.lost(
                item,
                "no virtual Ethernet address: clients learn the new one by gratuitous ARP and neighbour advertisements; give clients \
                 with static ARP entries dynamic ones",
            );
        }
        "dont_track_primary" => instance.untracked = Some(item.place.clone()),
        _ => {
            if !list(item, instance, reading) && !tracked(item, &mut instance.tracked, reading) {
                notify(item, &mut instance.notify, reading);
            }
        }
    }
}

/// Reads a block of lines that are no keywords, if it is one.
fn list(item: &Item, instance: &mut Instance, reading: &mut Reading) -> bool {
    match item.keyword() {
        "unicast_peer" => {
            for line in reading.block(item) {
                instance.peers.extend(reading.address(line, line.value(0)));
            }
        }
        "virtual_ipaddress" | "virtual_ipaddress_excluded" => {
            for line in reading.block(item) {
                instance.addresses.extend(addresses::read(line, reading));
            }
        }
        "virtual_routes" => reading.block(item).iter().for_each(|line| addresses::route(line, "route", reading)),
        "virtual_rules" => reading.block(item).iter().for_each(|line| addresses::route(line, "rule", reading)),
        _ => return false,
    }
    true
}

fn state(item: &Item, instance: &mut Instance, reading: &mut Reading) {
    match reading.text(item, "MASTER or BACKUP") {
        Some("MASTER") => instance.is_master = true,
        Some("BACKUP") => instance.is_master = false,
        // As the examples of other tools, and of old versions, have it.
        Some(_) => reading.note(item, "neither MASTER nor BACKUP: keepalived takes it as BACKUP, and so does this"),
        None => {}
    }
}

fn authentication(item: &Item, reading: &mut Reading) {
    for line in reading.block(item) {
        let known = ["auth_type", "auth_pass", "key", "active_key", "anti_replay", "time_window", "mode"];
        if !known.contains(&line.keyword()) {
            let nearest = crate::config::nearest(line.keyword(), known);
            // Its value may be a secret.
            let fault = Fault::Unknown { within: "in authentication", nearest };
            reading.problems.push(Problem::new(&line.place, line.keyword(), fault));
        }
    }
    reading.note(
        item,
        "heartbeats are signed with the pair's key instead: `heartbeat keygen /etc/heartbeat/pair.key` on one controller, the same file \
         on the other",
    );
}
