//! What each rule says of a comparison: dyno's own, and those of its peers on the same rounds.
//!
//! The peers' rules are written from their documentation and sources (each says which), and their
//! statistics are checked against SciPy below.

use dyno_model::catalog::policy::Procedure;
use dyno_model::stats::{self, Variance};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use crate::data::Series;
use crate::method::{self, Smallest};

/// What is said of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Nothing,
    Slower,
    Faster,
}

impl Call {
    /// The call for a change of this sign, if it was found at all.
    pub fn from_change(found: bool, change: f64) -> Self {
        match found {
            false => Self::Nothing,
            true if change > 0.0 => Self::Slower,
            true => Self::Faster,
        }
    }
}

/// A rule: its name, and what it says of all series of a comparison.
pub struct Rule {
    pub name: &'static str,
    /// Effects up to this size are none to the rule.
    pub smallest: Smallest,
    pub calls: fn(&[Series]) -> Vec<Call>,
}

/// Places in [`RULES`] that the aims speak of. The first four are dyno's.
pub const WITH_HISTORY: usize = 0;
pub const WITHOUT_HISTORY: usize = 1;
pub const PAIRED_T: usize = 4;

pub const RULES: &[Rule] = &[
    Rule {
        name: "dyno, with history",
        smallest: Smallest::Zero,
        calls: |series| method::calls(series, true, Smallest::Zero),
    },
    Rule {
        name: "dyno, without history",
        smallest: Smallest::Zero,
        calls: |series| method::calls(series, false, Smallest::Zero),
    },
    Rule {
        name: "dyno, with history, δ 1 %",
        smallest: Smallest::OnePercent,
        calls: |series| method::calls(series, true, Smallest::OnePercent),
    },
    Rule {
        name: "dyno, without, δ 1 %",
        smallest: Smallest::OnePercent,
        calls: |series| method::calls(series, false, Smallest::OnePercent),
    },
    Rule { name: "paired t, BH", smallest: Smallest::Zero, calls: paired_t },
    Rule { name: "Welch (Sightglass)", smallest: Smallest::Zero, calls: welch },
    Rule { name: "Mann-Whitney (benchstat)", smallest: Smallest::Zero, calls: mann_whitney },
    Rule { name: "rustc-perf", smallest: Smallest::Zero, calls: rustc_perf },
    Rule { name: "more than 1 %", smallest: Smallest::Zero, calls: more_than_one_percent },
];

/// The level of the peers' tests, and dyno's false-discovery rate.
const ALPHA: f64 = 0.05;

/// ln(candidate / baseline) of each round.
pub fn log_ratios(rounds: &[(i64, i64)]) -> Vec<f64> {
    rounds.iter().filter_map(|(b, c)| stats::log_ratio(*b, *c).ok()).collect()
}

/// Student's paired t-test on the log ratios, with Benjamini–Hochberg over the series.
fn paired_t(series: &[Series]) -> Vec<Call> {
    let test = |series: &Series| {
        let moments = stats::moments(&log_ratios(&series.rounds)).expect("at least two rounds");
        let variance = Variance {
            value: moments.variance.expect("at least two rounds"),
            df: f64::from(moments.n) - 1.0,
        };
        (moments.mean, stats::estimate(moments.n, moments.mean, variance, 0.0, 0.95).p)
    };
    let (means, p): (Vec<f64>, Vec<f64>) = series.iter().map(test).unzip();
    let q = stats::adjust(&p, Procedure::BenjaminiHochberg);
    q.iter().zip(means).map(|(q, mean)| Call::from_change(*q <= ALPHA, mean)).collect()
}

fn sides(series: &Series) -> (Vec<f64>, Vec<f64>) {
    series.rounds.iter().map(|(b, c)| (*b as f64, *c as f64)).unzip()
}

/// Sightglass: Welch's t on the pooled samples of each side, each series by itself
/// (crates/analysis/src/effect_size.rs).
fn welch(series: &[Series]) -> Vec<Call> {
    let call = |series: &Series| {
        let (baseline, candidate) = sides(series);
        let (change, p) = welch_test(&candidate, &baseline);
        Call::from_change(p < ALPHA, change)
    };
    series.iter().map(call).collect()
}

/// Difference of means and two-sided p, with Welch and Satterthwaite's degrees of freedom.
fn welch_test(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mean_and_error = |values: &[f64]| {
        let moments = stats::moments(values).expect("values");
        (moments.mean, moments.variance.expect("two values") / values.len() as f64)
    };
    let ((mean_a, a_squared), (mean_b, b_squared)) = (mean_and_error(a), mean_and_error(b));
    let (difference, squared) = (mean_a - mean_b, a_squared + b_squared);
    if squared == 0.0 {
        return (difference, if difference == 0.0 { 1.0 } else { 0.0 });
    }
    let part = |squared: f64, n: usize| squared.powi(2) / (n as f64 - 1.0);
    let df = squared.powi(2) / (part(a_squared, a.len()) + part(b_squared, b.len()));
    let t = StudentsT::new(0.0, 1.0, df).expect("degrees of freedom above zero");
    (difference, 2.0 * t.sf(difference.abs() / squared.sqrt()))
}

/// benchstat: the Mann–Whitney U-test of each series by itself; shown is the change of medians
/// (golang.org/x/perf/benchmath).
fn mann_whitney(series: &[Series]) -> Vec<Call> {
    let exact = series.first().map(|s| u_distribution(s.rounds.len(), s.rounds.len()));
    let call = |series: &Series| {
        let (baseline, candidate) = sides(series);
        let p = mann_whitney_test(&candidate, &baseline, exact.as_deref().unwrap_or_default());
        Call::from_change(p < ALPHA, relative_change(series, median))
    };
    series.iter().map(call).collect()
}

/// P(U = u) under no difference, for u from 0 to n·m: the coefficients of the Gaussian binomial
/// (Mann & Whitney 1947).
fn u_distribution(n: usize, m: usize) -> Vec<f64> {
    let mut counts = vec![0.0; n * m + 1];
    counts[0] = 1.0;
    for i in 1..=n {
        for u in (m + i..counts.len()).rev() {
            counts[u] -= counts[u - m - i];
        }
        for u in i..counts.len() {
            counts[u] += counts[u - i];
        }
    }
    let total: f64 = counts.iter().sum();
    counts.iter().map(|count| count / total).collect()
}

/// Two-sided p: exact by `distribution` without ties, else by the normal approximation with
/// corrections for ties and continuity.
fn mann_whitney_test(a: &[f64], b: &[f64], distribution: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    let wins_of = |x: &f64| -> f64 {
        let wins = |y: &f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
        b.iter().map(wins).sum()
    };
    let u: f64 = a.iter().map(wins_of).sum();
    let mut pooled: Vec<f64> = a.iter().chain(b).copied().collect();
    pooled.sort_by(f64::total_cmp);
    let ties: f64 = pooled.chunk_by(|x, y| x == y).map(|tied| tied.len() as f64).map(cubed).sum();
    if ties == 0.0 {
        let at_least = u.max(n * m - u) as usize;
        return (2.0 * distribution[at_least..].iter().sum::<f64>()).min(1.0);
    }
    let size = n + m;
    let variance = n * m / 12.0 * (size + 1.0 - ties / (size * (size - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (u.max(n * m - u) - n * m / 2.0 - 0.5) / variance.sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

/// t³ − t: what a group of t tied values takes from the variance.
fn cubed(tied: f64) -> f64 {
    tied.powi(3) - tied
}

/// The change of a statistic of the candidate against that of the baseline.
fn relative_change(series: &Series, statistic: fn(&[f64]) -> f64) -> f64 {
    let (baseline, candidate) = sides(series);
    statistic(&candidate) / statistic(&baseline) - 1.0
}

/// Linear interpolation between order statistics.
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at * (sorted.len() as f64 - 1.0);
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// rustc-perf: the change of the minima counts from Q3 + 3·IQR of the sizes of the last 30 changes
/// from one past value to the next, and from 0.2 % where there are none (site/src/comparison.rs).
fn rustc_perf(series: &[Series]) -> Vec<Call> {
    let call = |series: &Series| {
        let step = |two: &[i64]| (two[1] as f64 / two[0] as f64 - 1.0).abs();
        let past: Vec<f64> =
            series.other_nights.iter().flat_map(|nights| nights.windows(2)).map(step).collect();
        let past = &past[past.len().saturating_sub(30)..];
        let threshold = match past {
            [] => 0.002,
            past => {
                let (q1, q3) = (quantile(past, 0.25), quantile(past, 0.75));
                q3 + 3.0 * (q3 - q1)
            }
        };
        let change = relative_change(series, minimum);
        Call::from_change(change.abs() >= threshold, change)
    };
    series.iter().map(call).collect()
}

fn more_than_one_percent(series: &[Series]) -> Vec<Call> {
    let call = |series: &Series| {
        let change = relative_change(series, median);
        Call::from_change(change.abs() > 0.01, change)
    };
    series.iter().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    /// What reference.py wrote.
    #[derive(Deserialize)]
    struct Reference {
        two_samples: Vec<TwoSamples>,
        quantiles: Vec<Quantiles>,
    }

    #[derive(Deserialize)]
    struct TwoSamples {
        a: Vec<f64>,
        b: Vec<f64>,
        welch: f64,
        mann_whitney: f64,
    }

    #[derive(Deserialize)]
    struct Quantiles {
        values: Vec<f64>,
        at: f64,
        is: f64,
    }

    #[test]
    fn the_rules_of_the_peers_are_scipys() {
        let reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
        assert!(reference.two_samples.len() >= 20);
        for TwoSamples { a, b, welch, mann_whitney } in reference.two_samples {
            let (_, p) = welch_test(&a, &b);
            assert!((p - welch).abs() <= 1e-9, "Welch {a:?} {b:?}: {p}, not {welch}");
            let p = mann_whitney_test(&a, &b, &u_distribution(a.len(), b.len()));
            assert!((p - mann_whitney).abs() <= 1e-9, "U {a:?} {b:?}: {p}, not {mann_whitney}");
        }
        for Quantiles { values, at, is } in reference.quantiles {
            let got = quantile(&values, at);
            assert!((got - is).abs() <= 1e-12, "{values:?} at {at}: {got}, not {is}");
        }
    }

    /// Rounds, past nights → rustc-perf, more than 1 %.
    #[test]
    fn thresholds() {
        let still = vec![1000; 40];
        let restless: Vec<i64> = (0..40).map(|i| if i % 2 == 0 { 1000 } else { 1100 }).collect();
        for (rounds, nights, rustc, percent) in [
            (vec![(1000, 1005), (1001, 1004)], vec![], Call::Slower, Call::Nothing),
            (vec![(1000, 1001), (1001, 1001)], vec![], Call::Nothing, Call::Nothing),
            (vec![(1000, 1001), (1001, 1001)], still, Call::Slower, Call::Nothing),
            (vec![(1000, 950), (1001, 951)], vec![], Call::Faster, Call::Faster),
            (vec![(1000, 950), (1001, 951)], restless, Call::Nothing, Call::Faster),
        ] {
            let series = [Series {
                rounds,
                truth: 0.0,
                past: vec![],
                other_nights: [nights, vec![]],
                slow_mode: None,
            }];
            assert_eq!(rustc_perf(&series), [rustc], "{series:?}");
            assert_eq!(more_than_one_percent(&series), [percent], "{series:?}");
        }
    }
}
