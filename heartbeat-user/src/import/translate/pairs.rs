//! Which instance of the one file is which one of the other, and that the two are a pair.

use super::{File, Said};
use crate::import::ImportOptions;
use crate::import::error::{Fault, Problem};
use crate::import::model::Instance;
use std::net::IpAddr;

/// An instance as controller a's file has it, and b's; at least one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'f> {
    pub(super) sides: [Option<&'f Instance>; 2],
}

impl<'f> Pair<'f> {
    /// The one of a, or else of b.
    pub(super) fn first(&self) -> &'f Instance {
        self.sides[0].or(self.sides[1]).expect("an instance is of one file at least")
    }

    /// Those that there are.
    pub(super) fn both(&self) -> impl Iterator<Item = &'f Instance> {
        self.sides.into_iter().flatten()
    }
}

/// Every instance of the files, with its counterpart.
pub(super) fn pairs<'f>(files: &'f [File], said: &mut Said) -> Vec<Pair<'f>> {
    let [a, b] = [0, 1].map(|side| files.get(side).map_or(&[][..], |file| file.node.instances.as_slice()));
    for instance in a.iter().chain(b) {
        at_most_one_peer(instance, said);
    }
    if a.is_empty() && b.is_empty() {
        nothing_moves(&files[0], said);
        return Vec::new();
    }
    let mut left: Vec<&Instance> = b.iter().collect();
    let mut pairs = Vec::new();
    for own in a {
        let best = (0..left.len()).max_by_key(|&i| (likeness(own, left[i]), left.len() - i));
        let other = best.filter(|&i| likeness(own, left[i]) >= 4).map(|i| left.remove(i));
        pairs.push(Pair { sides: [Some(own), other] });
    }
    pairs.extend(left.iter().map(|other| Pair { sides: [None, Some(*other)] }));
    if files.len() == 2 {
        strangers(files, &pairs, said);
    }
    pairs
}

/// How surely two instances are one virtual router: 4 are enough.
fn likeness(a: &Instance, b: &Instance) -> u32 {
    let same_id = a.router_id.as_ref().zip(b.router_id.as_ref()).is_some_and(|(a, b)| a.value == b.value);
    let shared = a.addresses.iter().any(|a| b.addresses.iter().any(|b| a.address == b.address));
    let same_interface = a.interface.as_ref().zip(b.interface.as_ref()).is_some_and(|(a, b)| a.value == b.value);
    let family = |instance: &Instance| instance.addresses.first().map(|address| address.address.is_ipv4());
    let same_family = family(a) == family(b);
    4 * u32::from(shared)
        + 3 * u32::from(same_id)
        + u32::from(a.name == b.name)
        + u32::from(same_interface)
        + u32::from(same_family)
}

fn at_most_one_peer(instance: &Instance, said: &mut Said) {
    let mut peers: Vec<IpAddr> = instance.peers.iter().map(|peer| peer.value).collect();
    peers.sort_unstable();
    peers.dedup();
    if let (2.., Some(second)) = (peers.len(), instance.peers.get(1)) {
        let what = format!("unicast_peer of {}", instance.name);
        said.wrong(&second.place, &what, Fault::MoreThanTwo(peers.len()));
    }
}

fn nothing_moves(file: &File, said: &mut Said) {
    let place = crate::import::place::Place::new(&file.name, 1);
    let right = "at least one vrrp_instance: what has none moves nothing, and there is nothing to import";
    said.wrong(&place, "vrrp_instance", Fault::Missing(right));
}

/// Reports two files that are not of one pair, and says what only one of them has.
fn strangers(files: &[File], pairs: &[Pair<'_>], said: &mut Said) {
    let is_shared = |pair: &Pair<'_>| pair.sides.iter().all(Option::is_some);
    if !pairs.iter().any(is_shared) {
        let Some(other) = files[1].node.instances.first() else {
            nothing_moves(&files[1], said);
            return;
        };
        let what = format!("vrrp_instance {}", other.name);
        let fault = Fault::NotPeers { other: format!("{}: no vrrp_instance with an address of these", files[0].name) };
        said.wrong(&other.place, &what, fault);
        return;
    }
    for pair in pairs {
        let [Some(a), Some(b)] = pair.sides else {
            let alone = pair.first();
            said.note(
                &alone.place,
                &format!("vrrp_instance {}", alone.name),
                "only this file has it; here, either controller can serve its group",
            );
            continue;
        };
        for (own, other) in [(a, b), (b, a)] {
            let ([peer], Some(source)) = (own.peers.as_slice(), &other.source) else { continue };
            if peer.value != source.value {
                let what = format!("unicast_peer {}", peer.value);
                let fault = Fault::NotPeers { other: format!("its address is {} ({})", source.value, source.place) };
                said.wrong(&peer.place, &what, fault);
            }
        }
        let of = |instance: &Instance| {
            instance.addresses.iter().map(|at| at.address).collect::<std::collections::BTreeSet<_>>()
        };
        if of(a) != of(b) {
            said.note(
                &b.place,
                &format!("vrrp_instance {}", b.name),
                format!("not the same addresses as at {}: the group has those of both", a.place),
            );
        }
    }
}

/// The pair's id: a virtual router's, which nobody else in these networks has.
pub(super) fn id(pairs: &[Pair<'_>], options: &ImportOptions) -> Result<u32, Problem> {
    let said = pairs.iter().flat_map(Pair::both).find_map(|instance| instance.router_id.as_ref());
    options.pair_id.or(said.map(|at| at.value)).ok_or_else(|| {
        let first = pairs[0].first();
        let right =
            "a line virtual_router_id 51 in it, or --pair-id: a number that no other pair in these networks has";
        Problem::new(&first.place, &format!("vrrp_instance {}", first.name), Fault::Missing(right))
    })
}
