//! Exact confidence bounds of rates and of shares.

use statrs::distribution::{Beta, ChiSquared, ContinuousCDF};

/// What a bound is trusted with: it is exceeded by chance in one of twenty samples.
pub const CONFIDENCE: f64 = 0.95;
/// From so many events on, Wilson and Hilferty's approximation of chi-squared is as good as the exact value, and quicker.
const MANY: u64 = 200;
/// The 95 % quantile of the normal distribution.
const Z: f64 = 1.644_853_626_951_472_2;

/// The most events that so many seen are compatible with: the upper end of the one-sided 95 % interval of a Poisson mean,
/// `chi2(0.95; 2 n + 2) / 2` (Garwood 1936). None seen give 3.00.
#[must_use]
pub fn most_events(seen: u64) -> f64 {
    let freedom = 2.0 * (seen as f64 + 1.0);
    if seen > MANY {
        let part = 2.0 / (9.0 * freedom);
        return freedom * (1.0 - part + Z * part.sqrt()).powi(3) / 2.0;
    }
    ChiSquared::new(freedom).map_or(f64::INFINITY, |distribution| distribution.inverse_cdf(CONFIDENCE) / 2.0)
}

/// The largest share that `hits` of `n` are compatible with: the upper end of the one-sided 95 % interval of Clopper and
/// Pearson (1934), `beta(0.95; hits + 1, n - hits)`. 1 where there is nothing to go by.
#[must_use]
pub fn largest_share(hits: u64, n: u64) -> f64 {
    share_at(CONFIDENCE, hits.saturating_add(1), n.saturating_sub(hits)).unwrap_or(1.0)
}

/// The smallest share that `hits` of `n` are compatible with, likewise. 0 where there is nothing to go by.
#[must_use]
pub fn smallest_share(hits: u64, n: u64) -> f64 {
    share_at(1.0 - CONFIDENCE, hits, n.saturating_sub(hits).saturating_add(1)).unwrap_or(0.0)
}

fn share_at(quantile: f64, hits: u64, misses: u64) -> Option<f64> {
    if hits == 0 || misses == 0 {
        return None;
    }
    Beta::new(hits as f64, misses as f64).ok().map(|distribution| distribution.inverse_cdf(quantile))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 0.002 * expected, "{value} is not {expected}");
    }

    /// Tables of the Poisson and the binomial distribution.
    #[test]
    fn the_bounds_are_those_of_the_tables() {
        for (seen, most) in [(0, 2.996), (1, 4.744), (2, 6.296), (5, 10.513), (10, 16.962), (100, 118.08)] {
            close(most_events(seen), most);
        }
        close(largest_share(0, 100), 0.029_513);
        close(largest_share(5, 100), 0.102_253);
        close(smallest_share(5, 100), 0.019_912);
        assert_eq!((largest_share(0, 0), largest_share(7, 7), smallest_share(0, 7)), (1.0, 1.0, 0.0));
    }

    #[test]
    fn the_bound_has_no_step_where_the_approximation_begins_and_is_never_below_what_was_seen() {
        let step = most_events(MANY + 1) - most_events(MANY);
        assert!((0.9..1.2).contains(&step), "{step}");
        assert!((0..400).all(|n| most_events(n) > n as f64 && most_events(n) < most_events(n + 1)));
    }
}
