//! The bucket of a duration: the same function in the kernel and in the agent.
//!
//! Log-linear as HdrHistogram has it, with a lowest discernible value of 1,024 ns and two significant digits: 1.024 us
//! wide buckets up to 262 us, then 128 buckets an octave, so a bucket is at most 0.8 % of its value wide. Bucket for
//! bucket the same as `hdrhistogram::Histogram::new_with_bounds(1024, MAX_NS, 2)`, so counts convert without loss.

/// `log2` of the lowest discernible value in ns.
const UNIT_MAGNITUDE: u32 = 10;
/// `log2` of the number of buckets in the first, linear part.
const SUB_BUCKET_MAGNITUDE: u32 = 8;
/// `log2` of the first value that does not fit.
const MAX_MAGNITUDE: u32 = 37;
const HALF: u64 = 1 << (SUB_BUCKET_MAGNITUDE - 1);

/// The largest duration that has a bucket of its own, in ns (137 s); longer ones go into its bucket.
pub const MAX_NS: u64 = (1 << MAX_MAGNITUDE) - 1;
/// The number of buckets.
pub const BUCKETS: usize = ((MAX_MAGNITUDE - UNIT_MAGNITUDE - SUB_BUCKET_MAGNITUDE + 2) as usize) * HALF as usize;

/// The bucket of a duration of `ns` nanoseconds: always below [`BUCKETS`].
#[inline(always)]
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    let ns = if ns > MAX_NS { MAX_NS } else { ns };
    // Octaves above the linear part.
    let octave = (64 - (ns | ((1 << (UNIT_MAGNITUDE + SUB_BUCKET_MAGNITUDE)) - 1)).leading_zeros())
        - UNIT_MAGNITUDE
        - SUB_BUCKET_MAGNITUDE;
    let within = ns >> (octave + UNIT_MAGNITUDE);
    octave as usize * HALF as usize + within as usize
}

/// The lowest duration of a bucket, in ns: the inverse of [`bucket`].
#[must_use]
pub const fn lowest_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * HALF {
        return bucket << UNIT_MAGNITUDE;
    }
    let octave = bucket / HALF - 1;
    (bucket - octave * HALF) << (octave + UNIT_MAGNITUDE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_those_of_hdrhistogram() {
        let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1024, MAX_NS, 2).unwrap();
        for b in 0..BUCKETS {
            let lowest = lowest_ns(b);
            assert_eq!(bucket(lowest), b);
            assert_eq!(hdr.lowest_equivalent(lowest), lowest, "bucket {b}");
            assert_eq!(bucket(hdr.highest_equivalent(lowest)), b, "bucket {b}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_one_percent_wide(ns in 102_400..MAX_NS) {
            let b = bucket(ns);
            prop_assert!(b < BUCKETS && lowest_ns(b) <= ns);
            prop_assert!(b + 1 == BUCKETS || (lowest_ns(b + 1) - lowest_ns(b)) as f64 <= ns as f64 / 100.0);
        }
    }

    #[test]
    fn the_longest_duration_goes_into_the_last_bucket() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), 0);
    }
}
