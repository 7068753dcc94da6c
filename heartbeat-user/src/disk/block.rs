//! What a block of a shared disk looks like, and block 0.
//!
//! ```text
//! +-----------+-------------------------------------------------+----------+
//! | magic     | contents, and zeros up to here                  | checksum |  4096 bytes, of which the first 512 are used
//! +-----------+-------------------------------------------------+----------+
//! 0           8                                                 504        512
//!
//! block 0:      area (a random number: tells one disk from another), pair; 8 bytes each, little endian
//! ```
//! All that is said stands in the first sector, whatever a sector is, for a disk writes sectors whole. The checksum (SipHash-2-4 of
//! all before it, and of the block's number) is for disks and files that do not keep to that.

use siphasher::sip::SipHasher24;
use std::hash::Hasher as _;

/// The size of a block in bytes: a multiple of every disk's sector.
pub const BLOCK: usize = 4096;
/// The most bytes of contents.
pub const MOST: usize = CHECKSUM - 8;
const CHECKSUM: usize = 504;
/// Block 0, as a text.
const HEADER: u64 = u64::from_le_bytes(*b"HBDISK01");

/// A block in memory, as O_DIRECT wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK]);

impl Block {
    /// What is there where nobody ever wrote anything.
    pub const ZERO: Self = Self([0; BLOCK]);

    /// The block of that number, with contents of a kind; at most [`MOST`] bytes.
    #[must_use]
    pub fn of(kind: u64, number: u64, contents: &[u8]) -> Self {
        let mut block = Self::ZERO;
        block.0[..8].copy_from_slice(&kind.to_le_bytes());
        block.0[8..][..contents.len()].copy_from_slice(contents);
        let checksum = block.checksum(number);
        block.0[CHECKSUM..][..8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Its contents, where it was written whole, as one of that kind and for that place.
    #[must_use]
    pub fn contents(&self, kind: u64, number: u64) -> Option<&[u8; MOST]> {
        self.0[8..].first_chunk().filter(|_| self.damage(kind, number).is_none())
    }

    /// Why it is none of that kind and for that place; `None` where it is.
    #[must_use]
    pub fn damage(&self, kind: u64, number: u64) -> Option<Damage> {
        match self.word(0) {
            _ if *self == Self::ZERO => Some(Damage::Zeros),
            found if found != kind => Some(Damage::Foreign),
            _ => (self.word(CHECKSUM) != self.checksum(number)).then_some(Damage::Torn),
        }
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
}

/// What is in the place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Nothing was written there, or it was wiped.
    #[error("it is all zeros")]
    Zeros,
    /// Somebody else wrote there.
    #[error("it begins with something that is not Heartbeat's")]
    Foreign,
    /// It was not written whole, or was changed, or belongs to another place.
    #[error("its checksum is wrong")]
    Torn,
}

/// Block 0: whose disk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A random number: tells one disk, and one preparation of it, from another.
    pub area: u64,
    /// The pair that it was prepared for.
    pub pair: u32,
}

impl Header {
    /// As it is written.
    #[must_use]
    pub fn block(self) -> Block {
        Block::of(HEADER, 0, &[self.area, self.pair.into()].map(u64::to_le_bytes).concat())
    }

    /// Why it is no disk of ours, where that is not for its pair.
    #[must_use]
    pub fn damage(block: &Block) -> Option<Damage> {
        block.damage(HEADER, 0)
    }

    /// `None`: this is no disk of ours.
    #[must_use]
    pub fn read(block: &Block) -> Option<Self> {
        block.contents(HEADER, 0)?;
        Some(Self { area: block.word(8), pair: u32::try_from(block.word(16)).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: u64 = 7;

    #[test]
    fn what_was_written_is_read() {
        let contents: Vec<_> = (0..MOST).map(|i| i as u8).collect();
        assert_eq!(Block::of(KIND, 3, &contents).contents(KIND, 3).unwrap().as_slice(), contents);
        let short = Block::of(KIND, 3, b"short");
        assert!(short.contents(KIND, 3).unwrap().starts_with(b"short\0\0"));
        let header = Header { area: u64::MAX, pair: u32::MAX };
        assert_eq!(Header::read(&header.block()), Some(header));
    }

    #[test]
    fn a_block_of_another_kind_or_place_or_of_nobody_is_not_read() {
        let block = Block::of(KIND, 3, b"x");
        assert_eq!((block.contents(KIND, 4), block.contents(8, 3), Header::read(&block)), (None, None, None));
        assert_eq!((Block::ZERO.contents(0, 0), Header::read(&Block::ZERO)), (None, None));
        let too_large = Block::of(HEADER, 0, &[1, u64::from(u32::MAX) + 1].map(u64::to_le_bytes).concat());
        assert_eq!(Header::read(&too_large), None);
    }

    #[test]
    fn what_is_in_the_place_of_a_block_is_told_apart() {
        let mut torn = Block::of(KIND, 3, b"x");
        torn.0[100] ^= 1;
        let said = [Block::of(KIND, 3, b"x"), Block::ZERO, Block::of(8, 3, b"x"), torn, Block::of(KIND, 4, b"x")]
            .map(|block| block.damage(KIND, 3));
        assert_eq!(said, [None, Some(Damage::Zeros), Some(Damage::Foreign), Some(Damage::Torn), Some(Damage::Torn)]);
    }

    #[test]
    fn a_block_of_which_any_part_is_older_or_changed_is_not_read() {
        let (new, old) = (Block::of(KIND, 1, &[0xaa; MOST]), Block::of(KIND, 1, &[0x55; MOST]));
        for cut in 9..BLOCK {
            let mut torn = new.clone();
            torn.0[cut..].copy_from_slice(&old.0[cut..]);
            assert_eq!(torn.contents(KIND, 1).is_some(), torn == new, "{cut}");
        }
        for at in 0..512 {
            let mut changed = new.clone();
            changed.0[at] ^= 1;
            assert_eq!(changed.contents(KIND, 1), None, "{at}");
        }
    }
}
