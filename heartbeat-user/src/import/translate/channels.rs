//! The interfaces that instances run on and addresses appear on, as `[[channel]]`.

use super::pairs::Pair;
use super::{File, Said};
use crate::config::is_interface_name;
use crate::import::ImportOptions;
use crate::import::error::{Fault, Problem};
use crate::import::finding::FindingKind;
use crate::import::model::{Instance, Track, Tracked};
use crate::import::names::TakenNames;
use crate::import::place::Place;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A `[[channel]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: String,
    /// a's interface, and b's.
    pub(super) ports: [String; 2],
    /// Their own addresses on them; nothing where no file says so.
    pub(super) own: [Option<IpAddr>; 2],
    /// No addresses of groups appear on it, and its failure is to move nothing.
    pub(super) dedicated: bool,
    /// What it counts, where that is not what all networks do.
    pub(super) weight: Option<u32>,
    /// Where it was found first.
    pub(super) place: Place,
}

/// Those that were found so far.
#[derive(Debug)]
pub(super) struct Channels {
    list: Vec<Draft>,
    names: TakenNames,
    /// b's name for an interface of a's, where that is not known from the files.
    peers: BTreeMap<String, String>,
    /// Those of the peer's interfaces that were only taken to be called as here.
    assumed: Vec<usize>,
    /// `dont_track_primary`, and of which one.
    untracked: Vec<(Place, usize)>,
}

const SIDES: [&str; 2] = ["a", "b"];

impl Channels {
    /// The channel over these interfaces; where the one of a side is not known, it is the one that goes with the other.
    pub(super) fn over(&mut self, ports: [Option<&str>; 2], place: &Place) -> Result<usize, Problem> {
        let is = |draft: &Draft| (0..2).all(|side| ports[side].is_none_or(|port| port == draft.ports[side]));
        if let Some(at) = self.list.iter().position(is) {
            return Ok(at);
        }
        let sure = ports.iter().all(Option::is_some);
        let ports = match ports {
            [Some(a), Some(b)] => [a.to_owned(), b.to_owned()],
            [Some(a), None] => [a.to_owned(), self.peers.get(a).cloned().unwrap_or_else(|| a.to_owned())],
            [None, Some(b)] => {
                let a = self.peers.iter().find(|(_, known)| *known == b).map(|(a, _)| a.as_str());
                [a.unwrap_or(b).to_owned(), b.to_owned()]
            }
            [None, None] => unreachable!("one of the two is known"),
        };
        for (side, node) in SIDES.into_iter().enumerate() {
            let Some(other) = self.list.iter().find(|draft| draft.ports[side] == ports[side]) else { continue };
            let taken = format!("controller {node}'s {} already goes with {}", ports[side], other.ports[1 - side]);
            let fault = Fault::Crossed { taken, first: other.place.clone() };
            return Err(Problem::new(place, &format!("{} with {}", ports[0], ports[1]), fault));
        }
        if !sure && !self.peers.contains_key(&ports[0]) {
            self.assumed.push(self.list.len());
        }
        self.list.push(Draft {
            name: self.names.of(&ports[0]),
            ports,
            own: [None, None],
            dedicated: true,
            weight: None,
            place: place.clone(),
        });
        Ok(self.list.len() - 1)
    }

    /// Its network is judged: addresses of a group appear on it, or somebody tracks it.
    pub(super) fn judge(&mut self, channel: usize) {
        self.list[channel].dedicated = false;
    }

    /// Its name.
    pub(super) fn name(&self, channel: usize) -> &str {
        &self.list[channel].name
    }
}

/// The interface of an instance on its side.
pub(super) fn interface<'i>(instance: &'i Instance, file: &'i File) -> &'i str {
    let named = instance.interface.as_ref().map(|at| at.value.as_str());
    let of_address = || instance.addresses.iter().find_map(|address| address.interface.as_deref());
    named.or(file.node.default_interface.as_deref()).or_else(of_address).unwrap_or("eth0")
}

/// The channels that the instances themselves run over, with the addresses that they say.
pub(super) fn channels(files: &[File], pairs: &[Pair<'_>], options: &ImportOptions, said: &mut Said) -> Channels {
    let peers = options.peer_interfaces.iter().cloned().collect();
    let mut channels =
        Channels { list: Vec::new(), names: TakenNames::default(), peers, assumed: Vec::new(), untracked: Vec::new() };
    for pair in pairs {
        let ports = [0, 1].map(|side| pair.sides[side].map(|instance| interface(instance, &files[side])));
        let first = pair.first();
        if first.interface.is_none() {
            let what = format!("vrrp_instance {}", first.name);
            said.note(
                &first.place,
                &what,
                format!("no interface: {} is taken", ports.iter().flatten().next().unwrap_or(&"")),
            );
        }
        match channels.over(ports, &first.place) {
            Ok(at) => {
                let untracked = pair.both().filter_map(|instance| instance.untracked.clone());
                channels.untracked.extend(untracked.map(|place| (place, at)));
                let draft = &mut channels.list[at];
                draft.dedicated &= pair.both().any(|instance| instance.untracked.is_some());
                if draft.own.iter().any(Option::is_none) {
                    draft.own = own(pair).filter(|own| own.iter().any(Option::is_some)).unwrap_or(draft.own);
                }
            }
            Err(problem) => said.problems.push(problem),
        }
    }
    given(&mut channels, options, said);
    channels
}

/// The controllers' own addresses, as each of them says, or else as the other one does.
fn own(pair: &Pair<'_>) -> Option<[Option<IpAddr>; 2]> {
    let one = |side: usize| {
        let own = pair.sides[side].and_then(|instance| instance.source.as_ref());
        let others = pair.sides[1 - side].and_then(|instance| instance.peers.first());
        own.or(others).map(|at| at.value)
    };
    let own = [one(0), one(1)];
    let families: Vec<bool> = own.iter().flatten().map(IpAddr::is_ipv4).collect();
    (families.windows(2).all(|two| two[0] == two[1])).then_some(own)
}

/// The addresses that the command line gives, over those of the files.
fn given(channels: &mut Channels, options: &ImportOptions, said: &mut Said) {
    for (side, flag, list) in
        [(0, "--own-address", &options.own_addresses), (1, "--peer-address", &options.peer_addresses)]
    {
        for (interface, address) in list {
            let place = Place::new(flag, 0);
            if !is_interface_name(interface) {
                said.wrong(&place, interface, Fault::Wrong("an interface of the first file's, such as eth0=192.0.2.1"));
                continue;
            }
            match channels.over([Some(interface.as_str()), None], &place) {
                Ok(at) => channels.list[at].own[side] = Some(*address),
                Err(problem) => said.problems.push(problem),
            }
        }
    }
}

/// What tracked interfaces count, by channel; and what cannot be tracked.
pub(super) fn tracked(
    files: &[File],
    channels: &mut Channels,
    options: &ImportOptions,
    said: &mut Said,
) -> BTreeMap<usize, u32> {
    let mut weights = BTreeMap::new();
    for (side, file) in files.iter().enumerate() {
        let node = &file.node;
        let all = node
            .instances
            .iter()
            .map(|instance| &instance.tracked)
            .chain(node.groups.iter().map(|group| &group.tracked));
        for track in all.flat_map(|tracked: &Tracked| &tracked.interfaces) {
            let channel = channels.list.iter().position(|draft| draft.ports[side] == track.name);
            let vmac = node.instances.iter().any(|instance| instance.vmac.as_deref() == Some(&track.name));
            match channel {
                _ if vmac => {}
                None => untracked(track, said),
                Some(_) if track.reverse => said.lost(
                    &track.place,
                    &format!("{} reverse", track.name),
                    "a network that fails is a fault, never the other way round",
                ),
                Some(at) => {
                    let given =
                        options.own_addresses.iter().any(|(interface, _)| *interface == channels.list[at].ports[0]);
                    if given {
                        channels.judge(at);
                    }
                    weigh(track, at, &mut weights, said);
                }
            }
        }
    }
    weights
}

fn untracked(track: &Track, said: &mut Said) {
    let what = format!("track_interface {}", track.name);
    if track.name == "lo" {
        said.lost(&track.place, &what, "to take a controller out of service by hand: `heartbeat release GROUP` there");
        return;
    }
    said.lost(
        &track.place,
        &what,
        format!(
            "only channels are judged; make it one: --own-address {0}=ADDRESS --peer-address {0}=ADDRESS, with the controllers' own \
             addresses there",
            track.name
        ),
    );
}

fn weigh(track: &Track, channel: usize, weights: &mut BTreeMap<usize, u32>, said: &mut Said) {
    let Some(weight) = track.weight.filter(|weight| *weight != 0) else { return };
    let counts = u32::try_from(weight.unsigned_abs()).unwrap_or(u32::MAX);
    weights.entry(channel).or_insert(counts);
    said.note(
        &track.place,
        &format!("{} weight {weight}", track.name),
        format!(
            "a network that fails is a fault of its controller, which hands over to one without, whatever the priorities are; it counts \
             {counts} in the quality of service"
        ),
    );
}

/// The channels as they are to be written; says what is to be filled in.
pub(super) fn finished(channels: Channels, weights: BTreeMap<usize, u32>, said: &mut Said) -> Vec<Draft> {
    let Channels { mut list, assumed, untracked, .. } = channels;
    for (place, _) in untracked.iter().filter(|(_, at)| !list[*at].dedicated) {
        said.lost(
            place,
            "dont_track_primary",
            "a network with addresses of a group is judged, and where it fails they move",
        );
    }
    for (at, draft) in list.iter_mut().enumerate() {
        draft.weight = weights.get(&at).copied().filter(|_| !draft.dedicated);
        if assumed.contains(&at) {
            said.note(
                &draft.place,
                &draft.ports[0],
                format!("taken to be called so on both; else --peer-interface {}=NAME", draft.ports[0]),
            );
        }
        for (side, flag) in ["--own-address", "--peer-address"].into_iter().enumerate() {
            if draft.own[side].is_none() {
                let what = format!("controller {}'s own address on {}", SIDES[side], draft.ports[side]);
                let instead = format!(
                    "no file says it: {flag} {}=ADDRESS, or put it in place of the text that begins with TODO",
                    draft.ports[0]
                );
                said.say(FindingKind::ToFillIn, &draft.place, &what, instead);
            }
        }
    }
    list
}
