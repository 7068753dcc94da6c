//! A message's frame turned round into the frame of its answer, in place and without growing: addresses and ports change
//! sides, TTL or hop limit are as of new, the message is the answer, and the checksums are right.
//!
//! Only plain frames: what IP options and extension headers say of the way here is not true of the way back. VLAN tags stay.

use crate::{
    echo::Echo,
    frame::Frame,
    headers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_UDP},
    machine::{load_u16, load_u32, load_u64, store_u8, store_u16, store_u32, store_u64},
    notice::Notice,
    siphash::{Key, siphash_2_4},
    wire::{LEN, TAGGED_WORDS, View, WORDS},
};
use core::marker::PhantomData;

/// Length of the UDP datagram in bytes.
const UDP_LEN: u16 = 8 + LEN as u16;
/// TTL and hop limit, as the agent's sockets send.
const HOPS: u8 = 255;

/// What a message is answered with in its own frame.
pub trait Answer {
    /// Gives each word that may be another than 0 to `set`, with its place.
    fn each_word(&self, set: impl FnMut(usize, u64));
}

impl Answer for Echo {
    #[inline(always)]
    fn each_word(&self, set: impl FnMut(usize, u64)) {
        self.each_word(set);
    }
}

impl Answer for Notice {
    #[inline(always)]
    fn each_word(&self, set: impl FnMut(usize, u64)) {
        self.each_word(set);
    }
}

/// A frame that can be turned round.
pub struct ReplyFrame<'a> {
    ethernet: *mut u8,
    ip: *mut u8,
    is_ipv6: bool,
    _memory: PhantomData<&'a mut u8>,
}

impl<'a> ReplyFrame<'a> {
    /// The frame in a buffer.
    #[must_use]
    pub fn of(bytes: &'a mut [u8]) -> Option<Self> {
        let range = bytes.as_mut_ptr_range();
        // SAFETY: the buffer's own bounds, borrowed for as long.
        unsafe { Self::between(range.start, range.end) }
    }

    /// The frame from `start` up to but not including `end`, if it is a plain one with a UDP datagram of a message's length
    /// from one host to another. Nothing is said of ports and of what the message says.
    ///
    /// # Safety
    /// All bytes between must be readable and writable for `'a`.
    #[inline(always)]
    #[must_use]
    pub unsafe fn between(start: *mut u8, end: *mut u8) -> Option<Self> {
        let within = |at: *mut u8, len: usize| (at as usize + len <= end as usize).then_some(at);
        let ethernet = within(start, 14)?;
        // SAFETY: 14 bytes within the frame.
        let (to, from) = unsafe { (*ethernet, *ethernet.add(6)) };
        // From or to a group.
        if (to | from) & 1 != 0 {
            return None;
        }
        // SAFETY: the caller vouches for the memory.
        let (ethertype, offset) = unsafe { Frame::between(start as usize, end as usize) }.network()?;
        let ip = start.wrapping_add(offset);
        let is_ipv6 = match ethertype {
            ETHERTYPE_IPV4 => {
                within(ip, 20 + usize::from(UDP_LEN))?;
                // SAFETY: at least 20 bytes within the frame.
                let (first, len, fragment, protocol, from, udp_len) =
                    unsafe { (*ip, load_u16::<2>(ip), load_u16::<6>(ip), *ip.add(9), *ip.add(12), load_u16::<24>(ip)) };
                // No options, no fragment, from one host (RFC 1122, section 3.2.1.3): not from 0.x, 127.x, 224.x and above.
                if first != 0x45
                    || u16::from_be(len) != 20 + UDP_LEN
                    || u16::from_be(fragment) & 0x3fff != 0
                    || protocol != IPPROTO_UDP
                    || from == 0
                    || from == 127
                    || from >= 224
                    || u16::from_be(udp_len) != UDP_LEN
                {
                    return None;
                }
                false
            }
            ETHERTYPE_IPV6 => {
                within(ip, 40 + usize::from(UDP_LEN))?;
                // SAFETY: at least 48 bytes within the frame.
                let (first, len, next, from, udp_len) =
                    unsafe { (*ip, load_u16::<4>(ip), *ip.add(6), *ip.add(8), load_u16::<44>(ip)) };
                // No extension headers, not from a group (RFC 4291, section 2.7).
                if first >> 4 != 6
                    || u16::from_be(len) != UDP_LEN
                    || next != IPPROTO_UDP
                    || from == 0xff
                    || u16::from_be(udp_len) != UDP_LEN
                {
                    return None;
                }
                true
            }
            _ => return None,
        };
        Some(Self { ethernet, ip, is_ipv6, _memory: PhantomData })
    }

    /// Makes it the frame of `reply`, signed with `key`.
    #[inline(always)]
    pub fn into_reply(self, reply: &impl Answer, key: Key) {
        // SAFETY: `between` has seen that headers and message lie within the frame, of which this is the only user.
        unsafe {
            swap(self.ethernet, self.ethernet.add(6), load_u32::<0>, store_u32);
            swap(self.ethernet.add(4), self.ethernet.add(10), load_u16::<0>, store_u16);
            if self.is_ipv6 {
                let (ip, udp) = (self.ip, self.ip.add(40));
                store_u8(ip.add(7), HOPS);
                swap(ip.add(8), ip.add(24), load_u64::<0>, store_u64);
                swap(ip.add(16), ip.add(32), load_u64::<0>, store_u64);
                swap(udp, udp.add(2), load_u16::<0>, store_u16);
                write(udp.add(8), reply, key);
                store_u16(udp.add(6), ipv6_checksum(ip, udp));
            } else {
                let (ip, udp) = (self.ip, self.ip.add(20));
                renew_ttl(ip);
                swap(ip.add(12), ip.add(16), load_u32::<0>, store_u32);
                swap(udp, udp.add(2), load_u16::<0>, store_u16);
                write(udp.add(8), reply, key);
                // None: the message has a tag (RFC 768).
                store_u16(udp.add(6), 0);
            }
        }
    }
}

/// # Safety
/// `load` and `store` must be allowed at both places.
#[inline(always)]
unsafe fn swap<T>(a: *mut u8, b: *mut u8, load: unsafe fn(*const u8) -> T, store: unsafe fn(*mut u8, T)) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        let (of_a, of_b) = (load(a), load(b));
        store(a, of_b);
        store(b, of_a);
    }
}

/// Writes the message and its tag.
///
/// # Safety
/// [`LEN`] bytes from `at` must be writable.
#[inline(always)]
unsafe fn write(at: *mut u8, reply: &impl Answer, key: Key) {
    let mut i = 0;
    while i < TAGGED_WORDS {
        // SAFETY: the caller vouches for the memory.
        unsafe { store_u64(at.add(i * 8), 0) };
        i += 1;
    }
    // SAFETY: likewise; the places are below TAGGED_WORDS.
    reply.each_word(|i, word| unsafe { store_u64(at.add(i * 8), word.to_be()) });
    // Read back from the frame: an array of the words would not fit on the kernel's stack.
    // SAFETY: likewise.
    let message = unsafe { View::at(at) };
    let tag = siphash_2_4(key, TAGGED_WORDS, |i| message.word(i).to_le());
    // SAFETY: the caller vouches for the memory.
    unsafe { store_u64(at.add(TAGGED_WORDS * 8), tag.to_be()) };
}

/// Sets the TTL of an IPv4 header, and with it the checksum (RFC 1624, equation 3; it swaps addresses by itself).
///
/// # Safety
/// 20 bytes from `ip` must be readable and writable.
#[inline(always)]
unsafe fn renew_ttl(ip: *mut u8) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        let before = load_u16::<8>(ip);
        store_u8(ip.add(8), HOPS);
        let (checksum, after) = (load_u16::<10>(ip), load_u16::<8>(ip));
        store_u16(ip.add(10), !fold(u64::from(!checksum) + u64::from(!before) + u64::from(after)));
    }
}

/// The UDP checksum over IPv6 (RFC 8200, section 8.1), in memory order; the one in the frame is not read.
///
/// # Safety
/// 40 bytes from `ip`, and 8 and a message from `udp`, must be readable.
#[inline(always)]
unsafe fn ipv6_checksum(ip: *const u8, udp: *const u8) -> u16 {
    let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    // The length counts twice: in the pseudo-header and in UDP's own.
    let mut sum = 2 * u64::from(UDP_LEN.to_be()) + u64::from(u16::from(IPPROTO_UDP).to_be());
    // SAFETY: the caller vouches for the memory.
    unsafe {
        sum += u64::from(load_u32::<0>(udp));
        let mut i = 0;
        while i < 4 {
            sum += halves(load_u64::<0>(ip.add(8 + i * 8)));
            i += 1;
        }
        let message = View::at(udp.add(8));
        let mut i = 0;
        while i < WORDS {
            sum += halves(message.word(i));
            i += 1;
        }
    }
    // 0 would say that there is none.
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// The ones' complement sum of a sum's 16-bit words (RFC 1071: in whatever byte order they are).
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests;
