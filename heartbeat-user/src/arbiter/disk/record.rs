//! What stands on the disk: a block that says whose lease it is, and one for each controller, which only that one writes.
//!
//! ```text
//! block 0            block 1            block 2                 of 4096 bytes each, little endian
//! +---------------+  +---------------+  +---------------+
//! | magic         |  | magic         |  | magic         |  0
//! | area          |  | area          |  | area          |  8   a random number: tells one disk from another
//! | pair          |  | life          |  | life          |  16  a random number: tells one life of the agent from another
//! |               |  | sequence      |  | sequence      |  24  one more each time
//! |               |  | groups        |  | groups        |  32  digest of the groups' names, in their order
//! |               |  | holding       |  | holding       |  40  groups, a bit each
//! |               |  | claiming      |  | claiming      |  48
//! |               |  | ttl           |  | ttl           |  56  in ns
//! | checksum      |  | checksum      |  | checksum      |  64  SipHash-2-4 of all before, and of the block's number
//! +---------------+  +---------------+  +---------------+  72  zeros
//! ```

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// The size of a block in bytes: a multiple of every disk's sector.
pub(super) const BLOCK: usize = 4096;
/// Block 0, as a text: `HBLEASE1`.
const HEADER: u64 = u64::from_le_bytes(*b"HBLEASE1");
/// A controller's block.
const RECORD: u64 = u64::from_le_bytes(*b"HBHOLDS1");
const CHECKSUM: usize = 64;

/// A block in memory, as O_DIRECT wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub(super) struct Block(pub(super) [u8; BLOCK]);

impl Block {
    pub(super) const ZERO: Self = Self([0; BLOCK]);

    fn of(magic: u64, number: u64, words: &[u64]) -> Self {
        let mut block = Self::ZERO;
        for (i, word) in [magic].iter().chain(words).enumerate() {
            block.0[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        let checksum = block.checksum(number);
        block.0[CHECKSUM..][..8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..][..8].try_into().expect("eight bytes"))
    }

    fn checksum(&self, number: u64) -> u64 {
        let mut hasher = SipHasher24::new();
        hasher.write(&self.0[..CHECKSUM]);
        hasher.write_u64(number.to_le());
        hasher.finish()
    }

    /// Whether it is as it was written, by this kind of writer and for this place.
    fn is(&self, magic: u64, number: u64) -> bool {
        self.word(0) == magic && self.word(CHECKSUM) == self.checksum(number)
    }

    /// Whether nobody ever wrote anything there.
    pub(super) fn is_blank(&self) -> bool {
        *self == Self::ZERO
    }
}

/// Block 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) area: u64,
    pub(super) pair: u32,
}

impl Header {
    pub(super) fn block(self) -> Block {
        Block::of(HEADER, 0, &[self.area, self.pair.into()])
    }

    pub(super) fn read(block: &Block) -> Option<Self> {
        let pair = u32::try_from(block.word(16)).ok()?;
        block.is(HEADER, 0).then_some(Self { area: block.word(8), pair })
    }
}

/// What a controller says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) area: u64,
    pub(super) life: u64,
    pub(super) sequence: u64,
    pub(super) groups: u64,
    pub(super) holding: u64,
    pub(super) claiming: u64,
    pub(super) ttl: u64,
}

impl Record {
    /// For the block of that number.
    pub(super) fn block(self, number: u64) -> Block {
        let Self { area, life, sequence, groups, holding, claiming, ttl } = self;
        Block::of(RECORD, number, &[area, life, sequence, groups, holding, claiming, ttl])
    }

    /// `None` where it was not written whole, or not there.
    pub(super) fn read(block: &Block, number: u64, area: u64) -> Option<Self> {
        let [life, sequence, groups, holding, claiming, ttl] = [16, 24, 32, 40, 48, 56].map(|at| block.word(at));
        let whole = block.is(RECORD, number) && block.word(8) == area;
        whole.then_some(Self { area, life, sequence, groups, holding, claiming, ttl })
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

    const RECORD: Record =
        Record { area: 1, life: 2, sequence: 3, groups: 4, holding: 5, claiming: 6, ttl: 16_000_000_000 };

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Record::read(&RECORD.block(1), 1, 1), Some(RECORD));
        let header = Header { area: u64::MAX, pair: u32::MAX };
        assert_eq!(Header::read(&header.block()), Some(header));
    }

    #[test]
    fn a_block_elsewhere_of_another_disk_or_of_another_kind_is_not_read() {
        let block = RECORD.block(1);
        assert_eq!((Record::read(&block, 2, 1), Record::read(&block, 1, 9), Header::read(&block)), (None, None, None));
        assert_eq!(Record::read(&Block::ZERO, 1, 0), None);
    }

    #[test]
    fn a_block_of_which_any_part_is_older_or_changed_is_not_read() {
        let (new, old) = (RECORD.block(1), Record { sequence: 2, holding: 7, ..RECORD }.block(1));
        for cut in 25..72 {
            let mut torn = new.clone();
            torn.0[cut..].copy_from_slice(&old.0[cut..]);
            assert!(torn == new || Record::read(&torn, 1, 1).is_none(), "{cut}");
        }
        for at in 0..72 {
            let mut changed = new.clone();
            changed.0[at] ^= 1;
            assert_eq!(Record::read(&changed, 1, 1), None, "{at}");
        }
    }
}
