//! The configuration file of one controller, as far as order and names go: which cables and groups of the world it has, and
//! where in it they stand.

use crate::world::Random;
use heartbeat::core::{ChannelIndex, GroupIndex, Names, Node};

/// Cables and groups of the world, in the file's order. A bit of the world's stands for a cable or group, one of the core's
/// for a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub cables: Vec<usize>,
    pub groups: Vec<usize>,
}

impl File {
    pub fn new(cables: usize, groups: usize) -> Self {
        Self { cables: (0..cables).collect(), groups: (0..groups).collect() }
    }

    pub fn names(&self) -> Names {
        let list = |kind: &str, names: &[usize]| names.iter().map(|n| format!("{kind}{n}")).collect::<Vec<_>>();
        let (cables, groups) = (list("cable", &self.cables), list("group", &self.groups));
        Names::new(cables.iter().map(String::as_str), groups.iter().map(String::as_str))
    }

    /// Of the definitions of its groups, in whichever order.
    pub fn digest(&self, homes: &[Node]) -> u64 {
        let definition = |group: &usize| Random::new(2 * *group as u64 + u64::from(homes[*group].wire()) + 1).next();
        self.groups.iter().map(definition).fold(0, u64::wrapping_add)
    }

    pub fn channels(&self) -> impl Iterator<Item = (ChannelIndex, usize)> {
        self.cables.iter().enumerate().map(|(i, cable)| (ChannelIndex(i as u8), *cable))
    }

    pub fn cable(&self, channel: ChannelIndex) -> usize {
        self.cables[channel.usize()]
    }

    /// The world's bit of a group.
    pub fn bit(&self, group: GroupIndex) -> u64 {
        1 << self.groups[group.usize()]
    }

    /// All groups, in the world's bits.
    pub fn all(&self) -> u64 {
        self.groups.iter().fold(0, |bits, group| bits | 1 << group)
    }

    /// Groups of the core's, in the world's bits.
    pub fn to_world(&self, groups: u64) -> u64 {
        let held = self.groups.iter().enumerate().filter(|(i, _)| groups >> i & 1 == 1);
        held.fold(0, |bits, (_, group)| bits | 1 << group)
    }

    /// The world's groups, in the core's bits.
    pub fn groups_of(&self, world: u64) -> u64 {
        places(&self.groups, world)
    }

    /// The world's cables, in the core's bits.
    pub fn cables_of(&self, world: u64) -> u64 {
        places(&self.cables, world)
    }
}

fn places(names: &[usize], world: u64) -> u64 {
    names.iter().enumerate().filter(|(_, name)| world >> **name & 1 == 1).fold(0, |bits, (i, _)| bits | 1 << i)
}
