//! The configuration file of one controller, as far as order and names go: which cables and groups of the world it has, and
//! where in it they stand.

use crate::world::Random;
use heartbeat::{
    core::Names,
    types::{ChannelIndex, GroupIndex, Node},
};

/// Cables and groups of the world, in the file's order. A bit of the world's stands for a cable or group, one of the core's
/// for a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub cables: Vec<usize>,
    pub groups: Vec<usize>,
    /// So many of the groups, the last ones, are in no file any more: they are only let go of.
    pub departed: usize,
}

impl File {
    pub fn new(cables: usize, groups: usize) -> Self {
        Self { cables: (0..cables).collect(), groups: (0..groups).collect(), departed: 0 }
    }

    pub fn cable_name(cable: usize) -> String {
        format!("cable{cable}")
    }

    pub fn group_name(group: usize) -> String {
        format!("group{group}")
    }

    /// Of a group's name.
    pub fn number(name: &str) -> usize {
        name.trim_start_matches("group").parse().expect("a number")
    }

    pub fn names(&self) -> Names {
        let cables: Vec<_> = self.cables.iter().map(|cable| Self::cable_name(*cable)).collect();
        let groups: Vec<_> = self.groups.iter().map(|group| Self::group_name(*group)).collect();
        Names::new(cables.iter().map(String::as_str), groups.iter().map(String::as_str))
    }

    /// The groups that are in the file.
    fn own(&self) -> &[usize] {
        &self.groups[..self.groups.len() - self.departed]
    }

    /// Whether it is what an agent makes of `file`.
    pub fn is_of(&self, file: &Self) -> bool {
        self.cables == file.cables && self.own() == file.groups
    }

    /// The homes of its groups, of what departed the other node.
    pub fn homes(&self, homes: &[Node], own: Node) -> Vec<Node> {
        let departed = std::iter::repeat_n(own.other(), self.departed);
        self.own().iter().map(|group| homes[*group]).chain(departed).collect()
    }

    /// Of the definitions of its groups, in whichever order.
    pub fn digest(&self, homes: &[Node]) -> u64 {
        let definition = |group: &usize| Random::new(2 * *group as u64 + u64::from(homes[*group].wire()) + 1).next();
        self.own().iter().map(definition).fold(0, u64::wrapping_add)
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

    /// All groups of the file, in the world's bits.
    pub fn all(&self) -> u64 {
        self.own().iter().fold(0, |bits, group| bits | 1 << group)
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
