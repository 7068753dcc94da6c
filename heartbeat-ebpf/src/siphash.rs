//! SipHash-2-4 (Aumasson, Bernstein, 2012) over whole 64-bit words, for the kernel program and the agent alike.

/// A 128-bit key, as the two words that the algorithm uses: the first and second eight bytes, little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Key {
    k0: u64,
    k1: u64,
}

impl Key {
    /// The key that stands for "no key": it verifies nothing, and a key file that holds it is refused.
    pub const NONE: Self = Self { k0: 0, k1: 0 };

    /// A key from its 16 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self { k0: u64::from_le_bytes([a, b, c, d, e, f, g, h]), k1: u64::from_le_bytes([i, j, k, l, m, n, o, p]) }
    }

    /// A number that tells this key from others without giving it away; 0 for [`Key::NONE`] alone.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn print(self) -> u16 {
        const OF: u64 = u64::from_le_bytes(*b"keyprint");
        if self.is_none() { 0 } else { (siphash_2_4(self, 1, |_| OF) as u16).max(1) }
    }

    /// Whether this is [`Key::NONE`].
    #[inline(always)]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.k0 == 0 && self.k1 == 0
    }
}

/// SipHash-2-4 of `words` words of eight bytes; `word(i)` gives the i-th as it stands in memory, read little-endian.
#[inline(always)]
pub fn siphash_2_4(key: Key, words: usize, word: impl Fn(usize) -> u64) -> u64 {
    let mut v0 = key.k0 ^ 0x736f_6d65_7073_6575;
    let mut v1 = key.k1 ^ 0x646f_7261_6e64_6f6d;
    let mut v2 = key.k0 ^ 0x6c79_6765_6e65_7261;
    let mut v3 = key.k1 ^ 0x7465_6462_7974_6573;
    macro_rules! round {
        () => {
            v0 = v0.wrapping_add(v1);
            v2 = v2.wrapping_add(v3);
            v1 = v1.rotate_left(13) ^ v0;
            v3 = v3.rotate_left(16) ^ v2;
            v0 = v0.rotate_left(32);
            v2 = v2.wrapping_add(v1);
            v0 = v0.wrapping_add(v3);
            v1 = v1.rotate_left(17) ^ v2;
            v3 = v3.rotate_left(21) ^ v0;
            v2 = v2.rotate_left(32);
        };
    }
    let mut i = 0;
    while i < words {
        let m = word(i);
        v3 ^= m;
        round!();
        round!();
        v0 ^= m;
        i += 1;
    }
    let last = (words as u64 * 8) << 56;
    v3 ^= last;
    round!();
    round!();
    v0 ^= last;
    v2 ^= 0xff;
    round!();
    round!();
    round!();
    round!();
    v0 ^ v1 ^ v2 ^ v3
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use proptest::prelude::*;

    const REFERENCE_KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn of_bytes(key: [u8; 16], bytes: &[u8]) -> u64 {
        siphash_2_4(Key::new(key), bytes.len() / 8, |i| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap()))
    }

    /// The vectors of the reference implementation (`vectors_sip64`) for inputs 00 01 02 .. of 0, 8, 16, .. 56 bytes.
    #[test]
    fn the_reference_vectors_come_out() {
        let expected: [[u8; 8]; 8] = [
            [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72],
            [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93],
            [0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f],
            [0x94, 0xaf, 0x49, 0xf6, 0xc6, 0x50, 0xad, 0xb8],
            [0xce, 0x7c, 0xf2, 0x72, 0x2f, 0x51, 0x27, 0x71],
            [0xd0, 0xa7, 0x04, 0x53, 0x6b, 0xa9, 0x3e, 0x0e],
            [0x51, 0xa9, 0xcb, 0x9e, 0xcb, 0xa3, 0x12, 0xe6],
            [0xbd, 0x83, 0x8d, 0x3a, 0xaf, 0xbf, 0x8d, 0xb7],
        ];
        let input: [u8; 56] = core::array::from_fn(|i| i as u8);
        for (words, bytes) in expected.iter().enumerate() {
            assert_eq!(of_bytes(REFERENCE_KEY, &input[..words * 8]), u64::from_le_bytes(*bytes), "{words} words");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_well_kept_crate(key: [u8; 16], words in prop::collection::vec(any::<u64>(), 0..40)) {
            let mut bytes = [0u8; 320];
            for (i, w) in words.iter().enumerate() {
                bytes[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
            }
            let bytes = &bytes[..words.len() * 8];
            let mut theirs = siphasher::sip::SipHasher24::new_with_key(&key);
            theirs.write(bytes);
            prop_assert_eq!(of_bytes(key, bytes), theirs.finish());
        }
    }
}
