//! The statistics against those of SciPy and of limma. `reference/make.py` and `reference/make.R`
//! wrote the values, once; they say how each comes about.

use dyno_model::catalog::policy::Procedure;
use dyno_model::stats::{self, Variance};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use statrs::function::gamma::digamma;

#[track_caller]
fn near(got: f64, expected: f64, tolerance: f64, what: &impl std::fmt::Debug) {
    let error = (got - expected).abs() / expected.abs().max(1e-300);
    let close = error <= tolerance || (got - expected).abs() <= 1e-13;
    assert!(close, "{got} is not {expected} (off by {error:.1e}) for {what:?}");
}

/// The cases of one section; there must be some.
fn cases<T: DeserializeOwned>(text: &str, section: &str) -> Vec<T> {
    let mut all: Value = serde_json::from_str(text).unwrap();
    let cases: Vec<T> = serde_json::from_value(all[section].take()).unwrap();
    assert!(!cases.is_empty(), "{section}");
    cases
}

fn scipy<T: DeserializeOwned>(section: &str) -> Vec<T> {
    cases(include_str!("reference/values.json"), section)
}

fn limma<T: DeserializeOwned>(section: &str) -> Vec<T> {
    cases(include_str!("reference/limma.json"), section)
}

#[derive(Debug, Deserialize)]
struct Interval {
    d: Vec<f64>,
    confidence: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[test]
fn intervals_and_p_of_the_t_test() {
    for case in scipy::<Interval>("intervals") {
        let moments = stats::moments(&case.d).unwrap();
        let df = f64::from(moments.n) - 1.0;
        let variance = Variance { value: moments.variance.unwrap(), df };
        let estimate = stats::estimate(moments.n, moments.mean, variance, 0.0, case.confidence);
        near(estimate.mean - estimate.half_width, case.low, 1e-8, &case);
        near(estimate.mean + estimate.half_width, case.high, 1e-8, &case);
        near(estimate.p, case.p, 1e-7, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Quantile {
    confidence: f64,
    df: f64,
    is: f64,
}

#[test]
fn quantiles_of_t() {
    for case in scipy::<Quantile>("quantiles") {
        near(stats::t_quantile(case.confidence, case.df), case.is, 1e-9, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Treat {
    rounds: u32,
    mean: f64,
    variance: f64,
    df: f64,
    delta: f64,
    p: f64,
}

#[test]
fn p_against_a_smallest_effect() {
    for case in scipy::<Treat>("treat") {
        let variance = Variance { value: case.variance, df: case.df };
        let estimate = stats::estimate(case.rounds, case.mean, variance, case.delta, 0.95);
        near(estimate.p, case.p, 1e-7, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Adjusted {
    p: Vec<f64>,
    bh: Vec<f64>,
    by: Vec<f64>,
}

#[test]
fn false_discovery_rates() {
    for case in scipy::<Adjusted>("adjusted") {
        for (procedure, expected) in
            [(Procedure::BenjaminiHochberg, &case.bh), (Procedure::BenjaminiYekutieli, &case.by)]
        {
            let q = stats::adjust(&case.p, procedure);
            assert_eq!(q.len(), expected.len());
            q.iter().zip(expected).for_each(|(q, e)| near(*q, *e, 1e-12, &case));
        }
    }
}

#[derive(Debug, Deserialize)]
struct Function {
    x: f64,
    is: f64,
}

#[test]
fn trigamma() {
    for case in scipy::<Function>("trigamma") {
        near(stats::trigamma(case.x), case.is, 1e-12, &case);
    }
}

#[derive(Debug, Deserialize)]
struct PeerPrior {
    variances: Vec<(f64, f64)>,
    value: f64,
    df: f64,
}

#[test]
fn peer_priors() {
    for case in scipy::<PeerPrior>("peer_prior") {
        let variance = |(value, df): &(f64, f64)| Variance { value: *value, df: *df };
        let variances: Vec<Variance> = case.variances.iter().map(variance).collect();
        let prior = stats::peer_prior(&variances).unwrap().inverse_chi_squared;
        near(prior.value, case.value, 1e-9, &case.value);
        near(prior.df, case.df, 1e-7, &case.df);
    }
}

#[derive(Debug, Deserialize)]
struct ClipRatio {
    df: f64,
    is: f64,
}

#[test]
fn clip_ratios() {
    for case in scipy::<ClipRatio>("clip_ratios") {
        near(stats::clip_ratio(case.df), case.is, 1e-9, &case.df);
    }
}

#[derive(Debug, Deserialize)]
struct Prior {
    variances: Vec<f64>,
    df: f64,
    prior_value: f64,
    prior_df: f64,
    moderated: Vec<f64>,
}

#[test]
fn priors_and_moderated_variances_are_limmas() {
    for case in limma::<Prior>("priors") {
        let variance = |value: &f64| Variance { value: *value, df: case.df };
        let variances: Vec<Variance> = case.variances.iter().map(variance).collect();
        // limma clips nothing, and so makes up for nothing: what is made up for is taken away.
        let fitted = stats::peer_prior(&variances).unwrap().inverse_chi_squared;
        let chance = stats::trigamma(case.df / 2.0);
        let observed = (stats::trigamma(fitted.df / 2.0) + chance) * stats::clip_ratio(case.df);
        near(observed - chance, stats::trigamma(case.prior_df / 2.0), 1e-6, &case.prior_df);
        let half = case.prior_df / 2.0;
        let log_mean = case.prior_value.ln() - digamma(half) + half.ln();
        let prior = Some(stats::PeerPrior::new(log_mean, case.prior_df));
        let found = Variance { value: case.prior_value, df: case.prior_df };
        let df_all = case.df * case.variances.len() as f64;
        for (run, expected) in variances.iter().zip(&case.moderated) {
            let used = stats::moderate(*run, None, 10.0, prior, df_all).used;
            // limma has no floor: without history dyno never goes below the run's own.
            near(used.value, expected.max(run.value), 1e-7, run);
            // Where that holds, the prior's degrees of freedom count for less.
            let agreement = (expected / run.value).min(1.0).powi(2);
            near(used.df, found.df * agreement + case.df, 1e-6, run);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Treated {
    mean: Vec<f64>,
    variance: Vec<f64>,
    df: Vec<f64>,
    rounds: u32,
    delta: f64,
    p: Vec<f64>,
    q: Vec<f64>,
}

#[test]
fn treat_is_limmas() {
    for case in limma::<Treated>("treated") {
        let p: Vec<f64> = (0..case.mean.len())
            .map(|i| {
                let variance = Variance { value: case.variance[i], df: case.df[i] };
                stats::estimate(case.rounds, case.mean[i], variance, case.delta, 0.95).p
            })
            .collect();
        let q = stats::adjust(&p, Procedure::BenjaminiHochberg);
        for i in 0..p.len() {
            near(p[i], case.p[i], 1e-7, &(i, case.delta));
            near(q[i], case.q[i], 1e-7, &(i, case.delta));
        }
    }
}

#[derive(Debug, Deserialize)]
struct SignFlip {
    d: Vec<f64>,
    delta: f64,
    p: f64,
}

#[test]
fn sign_flips() {
    for case in scipy::<SignFlip>("sign_flips") {
        near(stats::sign_flip(&case.d, case.delta).unwrap(), case.p, 1e-12, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Detectable {
    rounds: u32,
    variance: f64,
    df: f64,
    delta: f64,
    alpha: f64,
    power: f64,
    is: f64,
}

#[test]
fn smallest_detectable_effects() {
    for case in scipy::<Detectable>("detectable") {
        let variance = Variance { value: case.variance, df: case.df };
        let got = stats::detectable(case.rounds, variance, case.delta, case.alpha, case.power);
        near(got, case.is, 1e-8, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Needed {
    rounds: u32,
    mean: f64,
    variance: f64,
    df: f64,
    delta: f64,
    confidence: f64,
    is: u32,
}

#[test]
fn rounds_still_needed() {
    for case in scipy::<Needed>("rounds_needed") {
        let variance = Variance { value: case.variance, df: case.df };
        let estimate =
            stats::estimate(case.rounds, case.mean, variance, case.delta, case.confidence);
        let got = stats::rounds_needed(&estimate, variance, case.delta, case.confidence);
        assert_eq!(got, case.is, "{case:?}");
    }
}

#[derive(Debug, Deserialize)]
struct Geometric {
    series: Vec<Member>,
    low: f64,
    high: f64,
}

#[derive(Debug, Deserialize)]
struct Member {
    mean: f64,
    variance: f64,
    df: f64,
    rounds: u32,
}

#[test]
fn geometric_means() {
    for case in scipy::<Geometric>("geometric_means") {
        let member = |m: &Member| (m.mean, Variance { value: m.variance, df: m.df }, m.rounds);
        let series: Vec<_> = case.series.iter().map(member).collect();
        let got = stats::geometric_mean(&series, 0.95).unwrap();
        near(got.mean - got.half_width, case.low, 1e-8, &case);
        near(got.mean + got.half_width, case.high, 1e-8, &case);
    }
}

#[derive(Debug, Deserialize)]
struct Share {
    hits: u64,
    of: u64,
    confidence: f64,
    low: f64,
    high: f64,
}

#[test]
fn intervals_of_shares() {
    for case in scipy::<Share>("shares") {
        let (low, high) = stats::share_interval(case.hits, case.of, case.confidence);
        near(low, case.low, 1e-8, &case);
        near(high, case.high, 1e-8, &case);
    }
}
