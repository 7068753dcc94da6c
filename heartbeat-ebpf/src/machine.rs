//! What Rust's BPF target cannot say by itself: unaligned loads and stores, and atomic words, one instruction each.
//!
//! LLVM's BPF target assumes that memory must be aligned and makes eight loads and shifts of every word; the kernels of
//! x86-64 and arm64 allow unaligned loads from packets. And Rust describes the target as one without compare-and-swap,
//! which the instruction set has since its version 3 (Documentation/bpf/standardization/instruction-set.rst, "Atomic
//! operations"); with "fetch", they are full barriers.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::{self, AcqRel, Relaxed};

macro_rules! loads {
    ($($name:ident: $type:ty = $instruction:literal),*) => {$(
        /// Loads one word, in memory order, from any address and `AT` bytes on: in one instruction, where an offset added before
        /// would take two more.
        ///
        /// # Safety
        /// All bytes of the word must be readable; on BPF the verifier must have seen the bounds check.
        #[inline(always)]
        pub(crate) unsafe fn $name<const AT: usize>(from: *const u8) -> $type {
            #[cfg(target_arch = "bpf")]
            {
                let value: u64;
                // SAFETY: one load from memory that the caller vouches for.
                unsafe {
                    core::arch::asm!($instruction, value = out(reg) value, from = in(reg) from, at = const AT,
                        options(pure, readonly, nostack, preserves_flags));
                    // It fills the register with zeros, so that no mask is needed.
                    core::hint::assert_unchecked(value <= <$type>::MAX as u64);
                }
                value as $type
            }
            #[cfg(not(target_arch = "bpf"))]
            // SAFETY: the caller vouches for the memory.
            unsafe { from.add(AT).cast::<$type>().read_unaligned() }
        }
    )*};
}

loads!(
    load_u16: u16 = "{value} = *(u16 *)({from} + {at})",
    load_u32: u32 = "{value} = *(u32 *)({from} + {at})",
    load_u64: u64 = "{value} = *(u64 *)({from} + {at})"
);

macro_rules! stores {
    ($($name:ident: $type:ty = $instruction:literal),*) => {$(
        /// Stores one word, in memory order, at any address.
        ///
        /// # Safety
        /// All bytes of the word must be writable; on BPF the verifier must have seen the bounds check.
        #[inline(always)]
        pub(crate) unsafe fn $name(at: *mut u8, value: $type) {
            #[cfg(target_arch = "bpf")]
            // SAFETY: one store to memory that the caller vouches for.
            unsafe {
                core::arch::asm!($instruction, value = in(reg) u64::from(value), at = in(reg) at,
                    options(nostack, preserves_flags));
            }
            #[cfg(not(target_arch = "bpf"))]
            // SAFETY: the caller vouches for the memory.
            unsafe { at.cast::<$type>().write_unaligned(value) }
        }
    )*};
}

stores!(
    store_u8: u8 = "*(u8 *)({at} + 0) = {value}",
    store_u16: u16 = "*(u16 *)({at} + 0) = {value}",
    store_u32: u32 = "*(u32 *)({at} + 0) = {value}",
    store_u64: u64 = "*(u64 *)({at} + 0) = {value}"
);

/// The same value, of which the compiler knows nothing: keeps a bounds check in the form in which the verifier follows it.
#[inline(always)]
#[must_use]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a move to itself. (With no instruction at all, the line information would be invalid.)
        unsafe {
            core::arch::asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// A word that kernel and agent share: an atomic, with what BPF can do to one. Relaxed unless it says otherwise.
#[repr(transparent)]
#[derive(Default)]
pub struct Word(AtomicU64);

impl Word {
    /// A word of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Its value.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u64 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: an aligned word; a volatile load is one instruction, which is what a relaxed load means here.
        unsafe {
            self.0.as_ptr().read_volatile()
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.load(Relaxed)
    }

    /// Sets it.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `get`.
        unsafe {
            self.0.as_ptr().write_volatile(value);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(value, Relaxed);
    }

    /// Adds, wrapping.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: an atomic operation on an atomic.
        unsafe {
            core::arch::asm!("lock *(u64 *)({to} + 0) += {value}", to = in(reg) self.0.as_ptr(), value = in(reg) value,
                options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_add(value, Relaxed);
    }

    /// Adds, wrapping, where nobody else writes.
    #[inline(always)]
    pub(crate) fn add_alone(&self, value: u64) {
        self.set(self.get().wrapping_add(value));
    }

    /// Adds, wrapping, as a full barrier.
    #[inline(always)]
    pub(crate) fn add_and_order(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: an atomic operation on an atomic.
        unsafe {
            core::arch::asm!("{value} = atomic_fetch_add((u64 *)({to} + 0), {value})", to = in(reg) self.0.as_ptr(),
                value = inout(reg) value => _, options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_add(value, AcqRel);
    }

    /// Sets bits, as a full barrier.
    #[inline(always)]
    pub fn set_bits(&self, bits: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: an atomic operation on an atomic.
        unsafe {
            core::arch::asm!("{bits} = atomic_fetch_or((u64 *)({at} + 0), {bits})", at = in(reg) self.0.as_ptr(),
                bits = inout(reg) bits => _, options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_or(bits, AcqRel);
    }

    /// Clears bits, as a full barrier.
    #[cfg(not(target_arch = "bpf"))]
    pub fn clear_bits(&self, bits: u64) {
        self.0.fetch_and(!bits, AcqRel);
    }

    /// Replaces `from` by `to`, as a full barrier; whether it was `from`.
    #[inline(always)]
    pub(crate) fn replace(&self, from: u64, to: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        {
            let found: u64;
            // SAFETY: an atomic operation on an atomic.
            unsafe {
                core::arch::asm!("r0 = cmpxchg_64({at} + 0, r0, {to})", at = in(reg) self.0.as_ptr(), to = in(reg) to,
                    inout("r0") from => found, options(nostack, preserves_flags));
            }
            found == from
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }

    /// Its value; what was written before it was, is seen after. For readers outside the kernel.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn get_and_order(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
