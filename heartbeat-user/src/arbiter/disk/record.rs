//! What a controller says in its block of the disk ([`crate::disk`]).
//!
//! ```text
//! area      8 bytes each, little endian; a random number: tells one disk from another
//! life      a random number: tells one life of the agent from another
//! sequence  one more each time
//! groups    digest of the groups' names, in their order
//! holding   groups, a bit each
//! claiming  groups, a bit each
//! ttl       in ns
//! ```

use crate::disk::Block;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// A controller's block, as a text.
const RECORD: u64 = u64::from_le_bytes(*b"HBHOLDS1");

/// What a controller says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseRecord {
    pub(super) area: u64,
    pub(super) life: u64,
    pub(super) sequence: u64,
    pub(super) groups: u64,
    pub(super) holding: u64,
    pub(super) claiming: u64,
    pub(super) ttl: u64,
}

impl LeaseRecord {
    /// For the block of that number.
    pub(super) fn block(self, number: u64) -> Block {
        let Self { area, life, sequence, groups, holding, claiming, ttl } = self;
        let words = [area, life, sequence, groups, holding, claiming, ttl];
        Block::of(RECORD, number, &words.map(u64::to_le_bytes).concat())
    }

    /// `None` where it was not written whole, or not there.
    pub(super) fn read(block: &Block, number: u64, area: u64) -> Option<Self> {
        let contents = block.contents(RECORD, number)?;
        let word = |i: usize| u64::from_le_bytes(contents[i * 8..][..8].try_into().expect("eight bytes"));
        let [found, life, sequence, groups, holding, claiming, ttl] = [0, 1, 2, 3, 4, 5, 6].map(word);
        (found == area).then_some(Self { area, life, sequence, groups, holding, claiming, ttl })
    }
}

/// Why a controller's block of that number says nothing; `None` where it says something.
pub(super) fn damage(block: &Block, number: u64, area: u64) -> Option<String> {
    match block.damage(RECORD, number) {
        Some(damage) => Some(damage.to_string()),
        None if LeaseRecord::read(block, number, area).is_none() => {
            Some("it is of another disk, or of the same one before it was prepared anew".to_owned())
        }
        None => None,
    }
}

/// Tells two tables of groups apart: a bit means the same in both only where this is the same.
pub(super) fn groups_digest(names: &[String]) -> u64 {
    let mut hasher = SipHasher24::new();
    for name in names {
        hasher.write(&[name.len() as u8]);
        hasher.write(name.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: LeaseRecord =
        LeaseRecord { area: 1, life: 2, sequence: 3, groups: 4, holding: 5, claiming: 6, ttl: 16_000_000_000 };

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(LeaseRecord::read(&RECORD.block(1), 1, 1), Some(RECORD));
    }

    #[test]
    fn a_block_elsewhere_or_of_another_disk_is_not_read() {
        let block = RECORD.block(1);
        assert_eq!((LeaseRecord::read(&block, 2, 1), LeaseRecord::read(&block, 1, 9)), (None, None));
        assert_eq!((damage(&block, 1, 1), damage(&block, 2, 1)), (None, Some("its checksum is wrong".to_owned())));
        assert!(damage(&block, 1, 9).unwrap().starts_with("it is of another disk"));
        assert_eq!(LeaseRecord::read(&Block::ZERO, 1, 0), None);
    }
}
