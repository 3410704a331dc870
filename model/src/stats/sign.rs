//! The sign test, for what has a direction and no size.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The probability of at least `hits` of `trials`, each a hit with the probability `share`
/// (Clopper & Pearson 1934 invert it; with `share` = 1/2 it is the sign test of Dixon & Mood 1946,
/// JASA 41(236), one-sided). 1 for no hits.
pub fn at_least(hits: u32, trials: u32, share: f64) -> f64 {
    if hits == 0 {
        return 1.0;
    }
    let binomial = Binomial::new(share.clamp(0.0, 1.0), u64::from(trials));
    let p = binomial.expect("a share lies between 0 and 1").sf(u64::from(hits) - 1);
    // Of numbers that only a foreign file has, the series above may come out as none.
    if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tails() {
        // scipy.stats.binomtest(hits, trials, share, alternative="greater").pvalue
        for (hits, trials, share, expected) in [
            (0, 0, 0.5, 1.0),
            (0, 7, 0.5, 1.0),
            (6, 6, 0.5, 1.0 / 64.0),
            (5, 6, 0.5, 7.0 / 64.0),
            (24, 25, 0.5, 7.748_603_820_800_781e-7),
            (3, 2, 0.5, 0.0),
            (8, 10, 0.8, 0.677_799_526_4),
        ] {
            let p = at_least(hits, trials, share);
            assert!((p - expected).abs() < 1e-9, "{hits} of {trials}: {p}");
        }
    }
}
