//! Channels and groups by name: a bit of the peer's stands for a place in *its* file, and the two files may have their
//! channels and groups in different orders, or not all the same ones, while a change is rolled out node by node (S5).
//!
//! Each message names one place of its sender's file, in turn. Until a place is named, nothing is known of its bit, and
//! what follows errs on the side of doing nothing: a group that the peer may hold counts as held there.

use crate::types::{ChannelIndex, MAX_CHANNELS, MAX_GROUPS, bits};
use heartbeat_ebpf::wire::Message;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// The id of a name: never 0, and the same on every host and in every version. The configuration refuses two names of one
/// id.
#[must_use]
pub fn name_id(name: &str) -> u32 {
    let mut digest = SipHasher24::new();
    digest.write(name.as_bytes());
    (digest.finish() as u32).max(1)
}

/// The ids of a file's names, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    channels: Vec<u32>,
    groups: Vec<u32>,
    digest: u32,
}

impl Names {
    /// Those of these channels and groups: at most 64 each.
    #[must_use]
    pub fn new<'a>(channels: impl IntoIterator<Item = &'a str>, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let channels: Vec<_> = channels.into_iter().map(name_id).collect();
        let groups: Vec<_> = groups.into_iter().map(name_id).collect();
        let mut digest = SipHasher24::new();
        digest.write_u32((channels.len() as u32).to_be());
        channels.iter().chain(&groups).for_each(|id| digest.write_u32(id.to_be()));
        Self { digest: digest.finish() as u32, channels, groups }
    }

    /// The channels' ids.
    #[must_use]
    pub fn channels(&self) -> &[u32] {
        &self.channels
    }

    /// The groups' ids.
    #[must_use]
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Tells two lists apart, also by their order.
    #[must_use]
    pub const fn digest(&self) -> u32 {
        self.digest
    }

    /// What the `n`-th message on a channel names: place, number of places, id. Each channel names all, one after the other,
    /// and all channels together do so in as many messages of each as there are places a channel.
    #[must_use]
    pub fn entry(&self, n: u64, channel: ChannelIndex) -> (u8, u8, u32) {
        let entries = (self.channels.len() + self.groups.len()).max(1);
        let first = channel.usize() * entries.div_ceil(self.channels.len().max(1));
        let entry = ((n % entries as u64) as usize + first) % entries;
        let id = self.channels.iter().chain(&self.groups).nth(entry).copied().unwrap_or(0);
        (entry as u8, entries as u8, id)
    }
}

/// Where one of ours is in the peer's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not known yet.
    Unknown,
    /// It has none of that name.
    Nowhere,
    At(u8),
}

/// What only one of the two files has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnlyHere {
    /// Channels of ours, a bit each.
    pub(super) channels: u64,
    /// Groups of ours, a bit each.
    pub(super) groups: u64,
    /// How many channels and groups only the peer's file has.
    pub(super) there: u32,
}

/// The peer's names, as far as they were heard.
#[derive(Clone, Debug)]
pub(super) struct PeerNames {
    /// Both files have the same names in the same order: nothing is to be translated.
    same: bool,
    digest: u32,
    /// By place; 0 is not heard yet.
    ids: [u32; MAX_CHANNELS + MAX_GROUPS],
    entries: usize,
    /// So many of them are channels.
    of_channels: usize,
    channels: [Place; MAX_CHANNELS],
    groups: [Place; MAX_GROUPS],
}

impl Default for PeerNames {
    fn default() -> Self {
        Self {
            same: false,
            digest: 0,
            ids: [0; MAX_CHANNELS + MAX_GROUPS],
            entries: 0,
            of_channels: 0,
            channels: [Place::Unknown; MAX_CHANNELS],
            groups: [Place::Unknown; MAX_GROUPS],
        }
    }
}

impl PeerNames {
    /// Takes in what a message says of its sender's names.
    pub(super) fn learn(&mut self, own: &Names, message: &Message) {
        let (entry, entries) = (usize::from(message.entry), usize::from(message.entries));
        let of_channels = message.configured.count_ones() as usize;
        let other = (self.digest, self.entries, self.of_channels) != (message.names_digest, entries, of_channels);
        if other {
            *self = Self { digest: message.names_digest, entries, of_channels, ..Self::default() };
            self.same = message.names_digest == own.digest;
        }
        let new = match self.ids.get_mut(entry) {
            Some(id) if entry < entries && message.entry_id != 0 => std::mem::replace(id, message.entry_id) == 0,
            _ => false,
        };
        if !self.same && (new || other) {
            self.find(own);
        }
    }

    fn find(&mut self, own: &Names) {
        let complete = self.is_complete();
        let (channels, groups) = self.ids.split_at(self.of_channels.min(self.ids.len()));
        let place = |ids: &[u32], id: u32| match ids.iter().position(|other| *other == id) {
            Some(at) if at < 64 => Place::At(at as u8),
            _ if complete => Place::Nowhere,
            _ => Place::Unknown,
        };
        for (to, id) in self.channels.iter_mut().zip(&own.channels) {
            *to = place(channels, *id);
        }
        for (to, id) in self.groups.iter_mut().zip(&own.groups) {
            *to = place(groups, *id);
        }
    }

    /// Whether all of the peer's names are known.
    pub(super) fn is_complete(&self) -> bool {
        self.same || (self.entries != 0 && self.ids.iter().take(self.entries).all(|id| *id != 0))
    }

    /// Channels of the peer's as ours.
    pub(super) fn channels(&self, bits: u64, own: &Names) -> u64 {
        self.translated(&self.channels[..own.channels.len()], bits, false)
    }

    /// Groups of the peer's as ours; `unknown` is what a bit counts as whose group is not known yet.
    pub(super) fn groups(&self, bits: u64, own: &Names, unknown: bool) -> u64 {
        self.translated(&self.groups[..own.groups.len()], bits, unknown)
    }

    /// Whether this list is the one of that digest, known whole.
    pub(super) fn is_of(&self, digest: u32) -> bool {
        self.is_complete() && self.digest == digest
    }

    /// The list's digest once it is known whole, and where each of our groups stands in it, 255 where it does not. Before anything is
    /// heard, that of our own: should the peer's have the same digest, it is the same.
    pub(super) fn group_places(&self, own: &Names) -> (Option<u32>, [u8; MAX_GROUPS]) {
        let mut places = [u8::MAX; MAX_GROUPS];
        let unheard = self.entries == 0;
        for (i, to) in places.iter_mut().enumerate().take(own.groups.len()) {
            match self.groups[i] {
                _ if self.same || unheard => *to = i as u8,
                Place::At(at) => *to = at,
                Place::Unknown | Place::Nowhere => {}
            }
        }
        let digest = if unheard { Some(own.digest) } else { self.is_complete().then_some(self.digest) };
        (digest, places)
    }

    /// The peer's channels as ours, and a bit beyond ours where it has others as well; 0 while they are not all known.
    pub(super) fn configured(&self, bits: u64, own: &Names) -> u64 {
        if self.same {
            return bits;
        }
        if !self.is_complete() {
            return 0;
        }
        let common = self.channels(bits, own);
        let others = bits.count_ones() > common.count_ones();
        if others { common | 1_u64.checked_shl(own.channels.len() as u32).unwrap_or(0) } else { common }
    }

    /// What only one of the two files has; nothing while the peer's is not known whole.
    pub(super) fn only_here(&self, own: &Names) -> OnlyHere {
        if self.same || !self.is_complete() {
            return OnlyHere::default();
        }
        let nowhere = |places: &[Place]| bits(places.iter().map(|place| *place == Place::Nowhere));
        let channels = nowhere(&self.channels[..own.channels.len()]);
        let groups = nowhere(&self.groups[..own.groups.len()]);
        let ours = own.channels.len() + own.groups.len();
        let common = ours - (channels.count_ones() + groups.count_ones()) as usize;
        OnlyHere { channels, groups, there: self.entries.saturating_sub(common) as u32 }
    }

    /// Groups of ours of which it is not known yet whether, and where, the peer has them.
    pub(super) fn unknown_groups(&self, own: &Names) -> u64 {
        if self.same {
            return 0;
        }
        bits(self.groups[..own.groups.len()].iter().map(|place| *place == Place::Unknown))
    }

    fn translated(&self, places: &[Place], theirs: u64, unknown: bool) -> u64 {
        if self.same {
            return theirs;
        }
        let set = |place: &Place| match *place {
            Place::At(at) => theirs >> at & 1 == 1,
            Place::Unknown => unknown,
            Place::Nowhere => false,
        };
        bits(places.iter().map(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(names: &Names, n: u64) -> Message {
        let (entry, entries, entry_id) = names.entry(n, ChannelIndex(0));
        let configured = (1 << names.channels.len()) - 1;
        Message { entry, entries, entry_id, configured, names_digest: names.digest, ..Message::default() }
    }

    #[test]
    fn before_anything_is_heard_a_list_of_our_own_digest_is_our_own() {
        let own = Names::new(["net1"], ["x", "y"]);
        let (digest, places) = PeerNames::default().group_places(&own);
        assert_eq!((digest, &places[..3]), (Some(own.digest()), &[0, 1, u8::MAX][..]));
        let peers = Names::new(["net1"], ["y", "x"]);
        assert_eq!(heard(&own, &peers, 1).group_places(&own).0, None, "it is another, and not known whole");
        let (digest, places) = heard(&own, &peers, 3).group_places(&own);
        assert_eq!((digest, &places[..3]), (Some(peers.digest()), &[1, 0, u8::MAX][..]));
    }

    fn heard(own: &Names, peers: &Names, messages: u64) -> PeerNames {
        let mut names = PeerNames::default();
        (0..messages).for_each(|n| names.learn(own, &message(peers, n)));
        names
    }

    #[test]
    fn the_same_file_needs_no_translation_from_the_first_message_on() {
        let own = Names::new(["net1", "net2"], ["a", "b"]);
        let names = heard(&own, &own, 1);
        assert!(names.is_complete());
        assert_eq!((names.groups(0b10, &own, true), names.configured(0b11, &own)), (0b10, 0b11));
        assert_eq!(names.only_here(&own), OnlyHere::default());
    }

    #[test]
    fn another_order_means_the_same_channels_and_groups() {
        let own = Names::new(["net1", "net2", "x"], ["a", "b", "c"]);
        let peers = Names::new(["x", "net1", "net2"], ["c", "b", "a"]);
        assert_ne!(own.digest(), peers.digest());
        let names = heard(&own, &peers, 6);
        assert_eq!(names.channels(0b001, &own), 0b100);
        assert_eq!(names.groups(0b001, &own, false), 0b100);
        assert_eq!(names.configured(0b111, &own), 0b111);
        assert_eq!(names.only_here(&own), OnlyHere::default());
    }

    #[test]
    fn what_is_not_named_yet_counts_as_told() {
        let own = Names::new(["net1"], ["a", "b"]);
        let peers = Names::new(["net1"], ["b", "a"]);
        // Channel and first group are named, the second group is not.
        let names = heard(&own, &peers, 2);
        assert!(!names.is_complete());
        assert_eq!(names.unknown_groups(&own), 0b01);
        assert_eq!(names.groups(0b00, &own, true), 0b01, "a may be held there, b is not");
        assert_eq!(names.groups(0b00, &own, false), 0);
        assert_eq!(names.configured(0b1, &own), 0);
    }

    #[test]
    fn what_only_one_file_has_is_told() {
        let own = Names::new(["net1", "net2"], ["a", "new"]);
        let peers = Names::new(["net2", "old"], ["a"]);
        let names = heard(&own, &peers, 3);
        assert_eq!(names.only_here(&own), OnlyHere { channels: 0b01, groups: 0b10, there: 1 });
        assert_eq!(names.configured(0b11, &own), 0b110, "net2, and one that we do not have");
        assert_eq!(names.groups(0b1, &own, true), 0b1);
    }

    #[test]
    fn another_file_of_the_peers_is_learnt_anew() {
        let own = Names::new(["net1"], ["a", "b"]);
        let mut names = heard(&own, &Names::new(["net1"], ["b", "a"]), 3);
        assert_eq!(names.groups(0b01, &own, false), 0b10);
        names.learn(&own, &message(&Names::new(["net1"], ["c", "a", "b"]), 0));
        assert_eq!(names.groups(0, &own, true), 0b11);
        names.learn(&own, &message(&own, 0));
        assert_eq!(names.groups(0b01, &own, false), 0b01);
    }

    #[test]
    fn each_channel_names_everything_and_all_of_them_do_so_together_at_once() {
        let list: Vec<String> = (0..6).map(|i| format!("n{i}")).collect();
        for channels in 1..=6 {
            let names = Names::new(list[..channels].iter().map(String::as_str), list.iter().map(String::as_str));
            let entries = channels + 6;
            let seen = |n: std::ops::Range<u64>, of: std::ops::Range<u8>| {
                let all = of.flat_map(|c| n.clone().map(move |n| (n, c)));
                all.fold(0_u64, |seen, (n, c)| seen | 1 << names.entry(n, ChannelIndex(c)).0)
            };
            let all = (1 << entries) - 1;
            assert!((0..channels as u8).all(|c| seen(1..entries as u64 + 1, c..c + 1) == all));
            assert_eq!(seen(1..entries.div_ceil(channels) as u64 + 1, 0..channels as u8), all);
        }
    }

    #[test]
    fn sixty_four_of_each_in_reversed_order() {
        let names: Vec<String> = (0..64).map(|i| format!("n{i}")).collect();
        let forward = || names.iter().map(String::as_str);
        let own = Names::new(forward(), forward());
        let peers = Names::new(forward().rev(), forward().rev());
        let mut heard = PeerNames::default();
        for n in 0..128 {
            let (entry, entries, entry_id) = peers.entry(n, ChannelIndex(0));
            let configured = u64::MAX;
            let m = Message { entry, entries, entry_id, configured, names_digest: peers.digest, ..Message::default() };
            heard.learn(&own, &m);
        }
        assert!(heard.is_complete());
        assert_eq!(heard.groups(1, &own, false), 1 << 63);
        assert_eq!(heard.configured(u64::MAX, &own), u64::MAX);
    }
}
