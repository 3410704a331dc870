//! The estimate of an effect from interleaved rounds, and the tests on it.
//!
//! For round i, dᵢ = ln(candidateᵢ / baselineᵢ): the two processes ran next to each other, so what
//! drifts slowly cancels. All of this works on d; a fraction comes out at the end as exp(d̄) − 1.
//! Variances carry their degrees of freedom ([`Variance`]), so that a variance that borrows from
//! history and from the peer prior ([`moderate`]) takes the place of the run's own.
//!
//! | input | answer |
//! |---|---|
//! | zero or negative value, other side not the same | the round gives no ratio ([`NoRatio`]) |
//! | equal values, zero included | d = 0 |
//! | one round | a mean, no variance, no estimate |
//! | a round with one side only | left out |
//! | rounds that do not vary | s² is at least what rounding to integers makes ([`rounding_variance`]) |
//! | both sides zero in every round | s² = 0: the interval is a point, p is 0 or 1 |

use std::cell::RefCell;

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};

use crate::catalog::policy::Procedure;

mod exact;
mod gamma;
mod moderate;
mod prior;
pub mod scaling;
mod shares;
mod sign;

pub use exact::{SIGN_FLIP_MAX, sign_flip};
pub use gamma::trigamma;
pub use moderate::{Noise, clip_ratio, moderate, peer_prior, pool_history, pool_within};
pub use prior::PeerPrior;
pub use shares::paired_shares;
pub use sign::at_least;

/// Why rounds give no log ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRatio {
    /// A value is zero or negative where the other side's is not the same.
    NotPositive,
    /// A value, or the ratio of the two, is not a finite number.
    NotFinite,
}

/// ln(candidate / baseline) of one round. Two equal values give 0 whatever they are (a counter
/// that stays at zero did not change); otherwise both must be positive.
pub fn log_ratio(baseline: i64, candidate: i64) -> Result<f64, NoRatio> {
    log_ratio_of(baseline as f64, candidate as f64)
}

/// [`log_ratio`] of values that are no samples, such as medians.
pub fn log_ratio_of(baseline: f64, candidate: f64) -> Result<f64, NoRatio> {
    if !(baseline.is_finite() && candidate.is_finite()) {
        return Err(NoRatio::NotFinite);
    }
    if baseline == candidate {
        return Ok(0.0);
    }
    if baseline <= 0.0 || candidate <= 0.0 {
        return Err(NoRatio::NotPositive);
    }
    let d = (candidate / baseline).ln();
    if d.is_finite() { Ok(d) } else { Err(NoRatio::NotFinite) }
}

/// [`log_ratio_of`], and infinite where one side alone is zero: +∞ where that is the baseline, −∞
/// where it is the candidate. `None` where there is no ratio otherwise.
pub fn log_ratio_or_infinite(baseline: f64, candidate: f64) -> Option<f64> {
    match log_ratio_of(baseline, candidate) {
        Ok(d) => Some(d),
        Err(NoRatio::NotPositive) if baseline == 0.0 && candidate > 0.0 => Some(f64::INFINITY),
        Err(NoRatio::NotPositive) if candidate == 0.0 && baseline > 0.0 => Some(f64::NEG_INFINITY),
        Err(_) => None,
    }
}

/// Number, mean and variance (n − 1) of values; the variance of fewer than two is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moments {
    pub n: u32,
    pub mean: f64,
    pub variance: Option<f64>,
}

/// Moments by Welford's update (Welford 1962), stable for values far from zero. `None` for none.
pub fn moments(values: &[f64]) -> Option<Moments> {
    if values.is_empty() {
        return None;
    }
    let (mut mean, mut squares) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let before = value - mean;
        mean += before / (index as f64 + 1.0);
        squares += before * (value - mean);
    }
    let variance = (values.len() > 1).then(|| squares / (values.len() as f64 - 1.0));
    Some(Moments { n: values.len() as u32, mean, variance })
}

/// Median of values: the mean of the middle two where their number is even. `None` for none.
pub fn median(values: &mut [i64]) -> Option<f64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle] as f64),
        _ => Some((values[middle - 1] as f64 + values[middle] as f64) / 2.0),
    }
}

/// A variance of single rounds' d and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Variance {
    pub value: f64,
    /// Degrees of freedom: n − 1 for a run's own variance, more where others lend theirs.
    pub df: f64,
}

impl Variance {
    /// The noise of a value that is counted, which is none: it is what it is.
    pub const EXACT: Self = Self { value: 0.0, df: f64::INFINITY };
}

/// The effect of one series on the log scale, with all that is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub rounds: u32,
    /// d̄.
    pub mean: f64,
    /// Half-width of the confidence interval of d̄.
    pub half_width: f64,
    /// Two-sided p of |effect| ≤ δ.
    pub p: f64,
}

/// ln(1 + δ): an effect given as a fraction, on the log scale. The same distance serves both
/// directions, so −δ on the log scale is 1/(1+δ) − 1.
pub fn log_effect(fraction: f64) -> f64 {
    fraction.ln_1p()
}

/// The estimate of d̄ over `rounds` rounds with `variance`, tested against δ (`delta`, log scale).
///
/// The test is TREAT (McCarthy & Smyth 2009, Bioinformatics 25(6), eq. 1): under |d| ≤ δ,
/// p = P(T > (|d̄| − δ)/se) + P(T > (|d̄| + δ)/se). With δ = 0 it is the two-sided t-test. A
/// variance of zero (a deterministic counter) makes the interval a point and p 0 or 1.
pub fn estimate(
    rounds: u32,
    mean: f64,
    variance: Variance,
    delta: f64,
    confidence: f64,
) -> Estimate {
    let se = (variance.value / f64::from(rounds)).sqrt();
    if se == 0.0 {
        let p = if mean.abs() > delta { 0.0 } else { 1.0 };
        return Estimate { rounds, mean, half_width: 0.0, p };
    }
    let t = students_t(variance.df);
    let half_width = t_quantile(confidence, variance.df) * se;
    let upper_tail = |x: f64| t.sf(x);
    let p =
        (upper_tail((mean.abs() - delta) / se) + upper_tail((mean.abs() + delta) / se)).min(1.0);
    Estimate { rounds, mean, half_width, p }
}

/// Quantile of Student's t that leaves (1 − `confidence`)/2 on each side.
///
/// The inverse of the incomplete beta function costs more than everything else about a series, and
/// a comparison asks for few distinct degrees of freedom: answers are remembered by thread.
pub fn t_quantile(confidence: f64, df: f64) -> f64 {
    const REMEMBERED: usize = 256;
    thread_local! {
        static KNOWN: RefCell<Vec<(u64, u64, f64)>> = const { RefCell::new(Vec::new()) };
    }
    let (a, b) = (confidence.to_bits(), df.to_bits());
    let place = (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 16 & (REMEMBERED - 1);
    KNOWN.with_borrow_mut(|known| {
        known.resize(REMEMBERED, (0, 0, f64::NAN));
        let (known_a, known_b, value) = known[place];
        if (known_a, known_b) == (a, b) {
            return value;
        }
        let value = quantile(0.5 + confidence / 2.0, df);
        known[place] = (a, b, value);
        value
    })
}

/// The library's inverse is off in the fifth digit at 10⁵ degrees of freedom, and never comes back
/// from 10⁸. From 10⁴ on the expansion of Abramowitz & Stegun 26.7.5 is exact to 10⁻¹².
fn quantile(probability: f64, df: f64) -> f64 {
    const EXPANDED: f64 = 1e4;
    if df < EXPANDED {
        return students_t(df).inverse_cdf(probability);
    }
    let z = Normal::standard().inverse_cdf(probability);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    z + first / df + second / df / df
}

/// Student's t; beyond 10⁶ degrees of freedom it is the normal distribution, in which the library
/// does not lose its digits.
fn students_t(df: f64) -> StudentsT {
    const NORMAL: f64 = 1e6;
    let df = if df > NORMAL { f64::INFINITY } else { df };
    StudentsT::new(0.0, 1.0, df).expect("degrees of freedom are positive")
}

/// No number of rounds that would settle a series is above this.
pub const ROUNDS_CAP: u32 = 10_000;

/// Rounds in all after which a series like this would probably be settled; at least one more than
/// there are, at most [`ROUNDS_CAP`].
///
/// Settled is an interval inside ±δ or outside it, so its half-width must come below the distance
/// of the mean from δ; where the mean is near δ, below δ/2, which is as precise as a policy asks
/// for. With g(n) = (t(n) s/target)², which falls as n grows, the answer is the first n > g(n):
/// bracketed by g itself, then halved.
pub fn rounds_needed(estimate: &Estimate, variance: Variance, delta: f64, confidence: f64) -> u32 {
    const CAP: u32 = ROUNDS_CAP;
    let rounds = estimate.rounds;
    let target = (estimate.mean.abs() - delta).abs().max(delta / 2.0);
    if target <= 0.0 || rounds >= CAP {
        return CAP;
    }
    let borrowed = variance.df - (f64::from(rounds) - 1.0);
    let g = |n: u32| {
        let df = (borrowed + f64::from(n) - 1.0).max(1.0);
        (t_quantile(confidence, df) / target).powi(2) * variance.value
    };
    let is_enough = |n: u32| g(n) < f64::from(n);
    let capped = |x: f64| x.min(f64::from(CAP)) as u32;
    let mut high = capped(g(rounds).floor() + 1.0).max(rounds + 1);
    let mut low = rounds;
    if high >= CAP && !is_enough(CAP) {
        return CAP;
    }
    // Below g(high) no n is enough, since g(n) ≥ g(high) there.
    low = low.max(capped(g(high).floor()).min(high - 1));
    high = high.min(capped(g(low).floor() + 1.0).max(low + 1));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_enough(middle) { high = middle } else { low = middle }
    }
    high.max(rounds + 1).min(CAP)
}

/// The smallest true effect (log scale) that a test at `alpha` against δ would find with the
/// probability `power`: δ + (t₁₋α⸝₂ + t_power) se (Bloom 1995, "Minimum detectable effects",
/// Evaluation Review 19(5); for one series, before q is adjusted).
pub fn detectable(rounds: u32, variance: Variance, delta: f64, alpha: f64, power: f64) -> f64 {
    let se = (variance.value / f64::from(rounds)).sqrt();
    if se == 0.0 {
        return delta;
    }
    delta + (t_quantile(1.0 - alpha, variance.df) + t_quantile(2.0 * power - 1.0, variance.df)) * se
}

/// The variance of d that rounding to whole units makes when a true value is as likely anywhere
/// within its unit: (1/b² + 1/c²)/12 for medians b and c (Sheppard 1898). Without it a page-fault
/// count that happens to repeat would be as certain after two rounds as after a thousand. 0 where
/// a median is 0.
pub fn rounding_variance(baseline: f64, candidate: f64) -> f64 {
    if baseline == 0.0 || candidate == 0.0 {
        return 0.0;
    }
    (baseline.powi(-2) + candidate.powi(-2)) / 12.0
}

/// The variance of a sum of independent parts, each given as (its variance, how well that is
/// known): the degrees of freedom of the whole are (Σv)²/Σ(v²/ν) (Satterthwaite 1946, Biometrics
/// 2(6); Welch 1947, Biometrika 34). Exact where no part varies.
pub fn satterthwaite(parts: impl IntoIterator<Item = (f64, f64)>) -> Variance {
    let add = |(sum, spread): (f64, f64), (v, df): (f64, f64)| (sum + v, spread + v * v / df);
    let (value, spread) = parts.into_iter().fold((0.0, 0.0), add);
    if value > 0.0 && spread > 0.0 {
        Variance { value, df: value * value / spread }
    } else {
        Variance { value, ..Variance::EXACT }
    }
}

/// The effect over a group of series, each weighing the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GeometricMean {
    pub series: u32,
    /// Mean of the d̄: exp(mean) − 1 is the change of the geometric mean.
    pub mean: f64,
    /// Half-width of the confidence interval of `mean`.
    pub half_width: f64,
}

/// The geometric mean of ratios (Fleming & Wallace 1986, "How not to lie with statistics", CACM
/// 29(3)) over series given as (d̄, variance of d, rounds). The interval is that of the measurement
/// of just these series, not of a larger population of benchmarks: var = Σ sᵢ²/nᵢ / k², its degrees
/// of freedom after Satterthwaite 1946 (Biometrics 2(6)). `None` for none.
pub fn geometric_mean(series: &[(f64, Variance, u32)], confidence: f64) -> Option<GeometricMean> {
    if series.is_empty() {
        return None;
    }
    let k = series.len() as f64;
    let mean = series.iter().map(|(mean, ..)| mean).sum::<f64>() / k;
    let squared_error = |(_, variance, n): &(f64, Variance, u32)| variance.value / f64::from(*n);
    let variance = satterthwaite(series.iter().map(|s| (squared_error(s), s.1.df)));
    let half_width = t_quantile(confidence, variance.df) * variance.value.sqrt() / k;
    Some(GeometricMean { series: series.len() as u32, mean, half_width })
}

/// The interval of a share of which `hits` of `of` were seen (Clopper & Pearson 1934, Biometrika
/// 26(4)): at least `confidence`, whatever the true share. (0, 1) for `of` = 0.
pub fn share_interval(hits: u64, of: u64, confidence: f64) -> (f64, f64) {
    let tail = (1.0 - confidence) / 2.0;
    let (x, n) = (hits as f64, of as f64);
    let beta_quantile =
        |a: f64, b: f64, at: f64| Beta::new(a, b).expect("positive").inverse_cdf(at);
    let low = if hits == 0 { 0.0 } else { beta_quantile(x, n - x + 1.0, tail) };
    let high = if hits >= of { 1.0 } else { beta_quantile(x + 1.0, n - x, 1.0 - tail) };
    (low, high)
}

/// q-values: for each p, the smallest false-discovery rate at which it would be a discovery.
/// Benjamini & Hochberg 1995 (J. R. Statist. Soc. B 57(1)); with Benjamini & Yekutieli 2001
/// (Ann. Statist. 29(4)) multiplied by Σ 1/i. Order is kept; ties get equal q.
pub fn adjust(p: &[f64], procedure: Procedure) -> Vec<f64> {
    let m = p.len();
    let factor = match procedure {
        Procedure::BenjaminiHochberg => 1.0,
        Procedure::BenjaminiYekutieli => (1..=m).map(|i| 1.0 / i as f64).sum(),
    };
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut q = vec![1.0; m];
    let mut smallest: f64 = 1.0;
    for (rank, &index) in order.iter().enumerate().rev() {
        smallest = smallest.min(p[index] * factor * m as f64 / (rank as f64 + 1.0));
        q[index] = smallest;
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not within {tolerance} of {b}");
    }

    #[test]
    fn reference_values() {
        // scipy.stats.ttest_1samp([0.01, 0.03, 0.02, 0.05], 0).pvalue = 0.04856685656, and
        // scipy.stats.t.interval(0.95, 3, 0.0275, sem) = (0.00032469116, 0.05467530884).
        let m = moments(&[0.01, 0.03, 0.02, 0.05]).unwrap();
        let variance = Variance { value: m.variance.unwrap(), df: 3.0 };
        let e = estimate(m.n, m.mean, variance, 0.0, 0.95);
        near(e.mean, 0.0275, 1e-12);
        near(e.p, 0.048_566_856_56, 1e-9);
        near(e.half_width, 0.027_175_308_84, 1e-9);
        // statsmodels.stats.multitest.multipletests([.01,.04,.03,.005], method="fdr_bh" /
        // "fdr_by").
        let q = adjust(&[0.01, 0.04, 0.03, 0.005], Procedure::BenjaminiHochberg);
        for (q, expected) in q.iter().zip([0.02, 0.04, 0.04, 0.02]) {
            near(*q, expected, 1e-12);
        }
        let q = adjust(&[0.01, 0.04, 0.03, 0.005], Procedure::BenjaminiYekutieli);
        near(q[0], 0.02 * 25.0 / 12.0, 1e-12);
    }

    #[test]
    fn ends_are_defined() {
        assert_eq!(log_ratio(0, 0), Ok(0.0));
        assert_eq!(log_ratio(0, 5), Err(NoRatio::NotPositive));
        assert_eq!(log_ratio(-1, 5), Err(NoRatio::NotPositive));
        for (baseline, candidate, expected) in [
            (0.0, 5.0, Some(f64::INFINITY)),
            (5.0, 0.0, Some(f64::NEG_INFINITY)),
            (0.0, 0.0, Some(0.0)),
            (2.0, 2.0, Some(0.0)),
            (0.0, -1.0, None),
            (0.0, f64::INFINITY, None),
            (0.0, f64::NAN, None),
        ] {
            let d = log_ratio_or_infinite(baseline, candidate);
            assert_eq!(d, expected, "{baseline} {candidate}");
        }
        assert_eq!(log_ratio(-5, -5), Ok(0.0));
        assert_eq!(log_ratio_of(0.5, 1.0), Ok(2f64.ln()));
        for (baseline, candidate) in
            [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, f64::INFINITY), (1e-300, 1e300)]
        {
            assert_eq!(log_ratio_of(baseline, candidate), Err(NoRatio::NotFinite));
        }
        assert_eq!(moments(&[]), None);
        assert_eq!(moments(&[2.0]).unwrap().variance, None);
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3, 1, 2, 10]), Some(2.5));
        let still = Variance { value: 0.0, df: 2.0 };
        assert_eq!(estimate(3, 0.02, still, 0.01, 0.95).p, 0.0);
        assert_eq!(estimate(3, 0.005, still, 0.01, 0.95).p, 1.0);
        assert!(adjust(&[], Procedure::BenjaminiHochberg).is_empty());
    }

    #[test]
    fn rounds_needed_is_the_first_that_is_enough() {
        let variance = |n: u32| Variance { value: 0.0004, df: f64::from(n) - 1.0 };
        let estimate_at = |n: u32, mean: f64| estimate(n, mean, variance(n), 0.01, 0.95);
        // Mean → the half-width that settles it.
        for (mean, target) in [(0.0, 0.01), (0.009, 0.005), (0.011, 0.005), (0.05, 0.04)] {
            let needed = rounds_needed(&estimate_at(2, mean), variance(2), 0.01, 0.95);
            let half = |n: u32| estimate_at(n, mean).half_width;
            assert!(half(needed) < target, "{mean}: {needed}");
            assert!(needed == 3 || half(needed - 1) >= target, "{mean}: {needed}");
        }
    }

    #[test]
    fn shares_groups_and_what_is_detectable() {
        // scipy.stats.binomtest(7, 200).proportion_ci(method="exact") = (0.014186, 0.070781).
        let (low, high) = share_interval(7, 200, 0.95);
        near(low, 0.014_186, 1e-6);
        near(high, 0.070_781, 1e-6);
        assert_eq!((share_interval(0, 10, 0.95).0, share_interval(10, 10, 0.95).1), (0.0, 1.0));
        assert_eq!(share_interval(0, 0, 0.95), (0.0, 1.0));
        let single = (0.02, Variance { value: 0.0004, df: 3.0 }, 4);
        let alone = geometric_mean(&[single], 0.95).unwrap();
        let same = estimate(4, 0.02, single.1, 0.0, 0.95);
        near(alone.half_width, same.half_width, 1e-12);
        let two = geometric_mean(&[single, single], 0.95).unwrap();
        assert_eq!((two.mean, two.series), (0.02, 2));
        assert!(two.half_width < alone.half_width / 2f64.sqrt());
        assert_eq!(geometric_mean(&[], 0.95), None);
        // A power of one half is found where the mean just reaches the quantile.
        let found = detectable(4, single.1, 0.01, 0.05, 0.5);
        near(found, 0.01 + same.half_width, 1e-12);
        near(rounding_variance(100.0, 100.0), 1e-4 / 6.0, 1e-15);
    }

    proptest! {
        #[test]
        fn adjusting_keeps_order_and_never_shrinks(p in proptest::collection::vec(0.0f64..=1.0, 0..40)) {
            let q = adjust(&p, Procedure::BenjaminiHochberg);
            for i in 0..p.len() {
                prop_assert!(q[i] >= p[i] - 1e-15 && q[i] <= 1.0);
                for j in 0..p.len() {
                    if p[i] < p[j] { prop_assert!(q[i] <= q[j]); }
                }
            }
        }

        #[test]
        fn swapping_sides_negates_the_effect(
            rounds in proptest::collection::vec((1i64..1_000_000, 1i64..1_000_000), 2..12)
        ) {
            let moments_of_rounds = |rounds: &[(i64, i64)]| -> Moments {
                let d: Vec<f64> = rounds.iter().map(|(b, c)| log_ratio(*b, *c).unwrap()).collect();
                moments(&d).unwrap()
            };
            let swapped: Vec<(i64, i64)> = rounds.iter().map(|(b, c)| (*c, *b)).collect();
            let (a, b) = (moments_of_rounds(&rounds), moments_of_rounds(&swapped));
            prop_assert!((a.mean + b.mean).abs() < 1e-9);
            prop_assert!((a.variance.unwrap() - b.variance.unwrap()).abs() < 1e-9);
        }

        #[test]
        fn a_larger_delta_is_never_more_significant(
            mean in -0.2f64..0.2, value in 1e-8f64..0.01, n in 2u32..30, delta in 0.0f64..0.1
        ) {
            let variance = Variance { value, df: f64::from(n) - 1.0 };
            let strict = estimate(n, mean, variance, delta + 0.01, 0.95);
            let loose = estimate(n, mean, variance, delta, 0.95);
            prop_assert!(strict.p >= loose.p - 1e-9);
        }
    }
}
