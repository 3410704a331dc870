//! A variance that borrows: from the same series in past runs, and from the other series of the
//! same metric and host.
//!
//! Three rounds know their variance badly: with two degrees of freedom it is off by a factor of
//! four as often as not, and a t-test pays for that with a quantile of 4.3. But the noise of a
//! series hardly changes from run to run, and series of one metric on one host resemble each
//! other. So, in two steps:
//!
//! 1. **History.** s_p² = (ν_h s_h² + (n−1) s²) / (ν_h + n−1), where s_h² is the pooled within-run
//!    variance of past runs and ν_h its degrees of freedom, of which so many count that ν_h + n−1
//!    reaches the policy's cap: a host that changed is forgotten, and a run that knows its own
//!    variance asks nobody. (With ν_h itself capped, 20 rounds found less with history than
//!    without.)
//! 2. **Peer prior.** A scaled inverse-χ² prior (d₀, s₀²) is fitted over the series by the method of
//!    moments on ln s_p² (Smyth 2004, "Linear models and empirical Bayes methods", SAGMB 3(1),
//!    section 6.2), and s̃² = (d₀ s₀² + ν s_p²) / (d₀ + ν), with d₀ + ν degrees of freedom. Such a
//!    prior knows no quiet series: where peers differ by orders of magnitude it makes the quietest
//!    look noisier than they are. So a log-normal prior with the same two moments stands beside it
//!    ([`super::prior`]).
//!
//! ln s_p² is clipped at the 5 % and 90 % quantiles before the fit, so that a few wild series do
//! not make the peers look diverse (the idea of Phipson et al. 2016, "Robust hyperparameter
//! estimation", Ann. Appl. Stat. 10(2)); the variance that clipping takes from equal series is given
//! back to all. The model errs towards lending too much where a series is noisier than the
//! peers; that error is bounded: s̃² is never below s²/2 for a series with history and never below
//! s² for one without. Where that bound holds, the peer prior was wrong about the series, and its
//! d₀ count by the square of s̃² over the bound, as a part's variance counts in Satterthwaite's
//! degrees of freedom: with all of d₀, three rounds without history found something in 8 of 100
//! comparisons in which nothing differed. What this does to error rates is measured:
//! docs/decisions.md.

use std::cell::RefCell;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use statrs::function::gamma::digamma;

use super::Variance;
use super::gamma::{trigamma, trigamma_inverse};
use super::prior::{PRIOR_DF_MAX, PeerPrior};

/// Share of the series clipped below and above before the prior is fitted.
const CLIPPED: (f64, f64) = (0.05, 0.10);

/// Fewer series than this give no peer prior.
const PEERS_MIN: usize = 3;

/// A variance below this share of the peers' median counts as this much, so that one constant
/// series does not pull ln s² to −∞ (limma's `fitFDist` does the same).
const TINY_SHARE: f64 = 1e-5;

/// Where the variance of a series comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Noise {
    /// The run's own, with n − 1 degrees of freedom.
    pub run: Variance,
    /// Variance of past runs, with the degrees of freedom that count; `None` where none is lent.
    pub history: Option<Variance>,
    /// The run's own and what history lends, together.
    pub pooled: Variance,
    /// The peer prior (s₀², d₀); `None` without peers. Its key in JSON is older than the word.
    #[serde(rename = "crowd")]
    pub peer_prior: Option<Variance>,
    /// What the pooled variance and the peer prior come to, before the floor.
    pub moderated: f64,
    /// No smaller variance is used.
    pub floor: f64,
    /// What the estimate uses.
    pub used: Variance,
    /// The same by the log-normal shape of the peer prior.
    #[serde(skip)]
    pub log_normal: Variance,
}

/// Two variances of one series as one: (ν₁ s₁² + ν₂ s₂²) / (ν₁ + ν₂), within runs, whatever their
/// means.
pub fn pool_within(a: Variance, b: Variance) -> Variance {
    let df = a.df + b.df;
    if df <= 0.0 {
        return a;
    }
    Variance { value: (a.df * a.value + b.df * b.value) / df, df }
}

/// The run's own variance with that of past runs, which fill its degrees of freedom up to `cap`.
pub fn pool_history(run: Variance, history: Option<Variance>, cap: f64) -> Variance {
    history_counted(run, history, cap).map_or(run, |history| pool_within(run, history))
}

/// What of a history counts; `None` where the run needs none.
fn history_counted(run: Variance, history: Option<Variance>, cap: f64) -> Option<Variance> {
    history.map(|h| Variance { df: h.df.min(cap - run.df), ..h }).filter(|h| h.df > 0.0)
}

/// The peer prior of series: s₀² with d₀ degrees of freedom. `None` for fewer than three series
/// with a positive variance.
///
/// With e = ln s² − ψ(ν/2) + ln(ν/2), whose variance is τ² + ψ′(ν/2): ψ′(d₀/2) = τ², and
/// ln s₀² = mean(e) + ψ(d₀/2) − ln(d₀/2). Where e varies no more than chance makes it, d₀ is as good
/// as infinite. Where ν differ, each e is weighted by what its variance comes to (Paule & Mandel
/// 1982, "Consensus values and weighting factors", J. Res. NBS 87(5)): a series of two rounds, which
/// says next to nothing, would drown the others.
pub fn peer_prior(variances: &[Variance]) -> Option<PeerPrior> {
    let is_usable = |v: &&Variance| v.value.is_finite() && v.value > 0.0 && v.df > 0.0;
    let mut values: Vec<f64> = variances.iter().filter(is_usable).map(|v| v.value).collect();
    if values.len() < PEERS_MIN {
        return None;
    }
    let middle = values.len() / 2;
    let median = *values.select_nth_unstable_by(middle, f64::total_cmp).1;
    // ψ and ψ′ are asked for few distinct ν: the last answer is nearly always the next one's.
    let mut last = (f64::NAN, 0.0, 0.0);
    let mut df_sum = 0.0;
    let peers: Vec<LogVariance> = variances
        .iter()
        .filter(is_usable)
        .map(|v| {
            if last.0 != v.df {
                last = (v.df, digamma(v.df / 2.0) - (v.df / 2.0).ln(), trigamma(v.df / 2.0));
            }
            df_sum += v.df;
            let value = v.value.max(TINY_SHARE * median).ln() - last.1;
            LogVariance { value, sampling: last.2 }
        })
        .collect();
    let ratio = clip_ratio(df_sum / peers.len() as f64);
    let (mean, spread) = fit(&peers, ratio);
    let half = trigamma_inverse(spread).unwrap_or(PRIOR_DF_MAX / 2.0).min(PRIOR_DF_MAX / 2.0);
    Some(PeerPrior::new(mean, 2.0 * half))
}

/// e of a series, and the variance ψ′(ν/2) that chance alone gives it.
#[derive(Debug, Clone, Copy)]
struct LogVariance {
    value: f64,
    sampling: f64,
}

/// Mean and variance (τ²) of the true values behind `peers`, clipped; `ratio` of the variance is left
/// where they are.
fn fit(peers: &[LogVariance], ratio: f64) -> (f64, f64) {
    let first = peers[0].sampling;
    let (mean, scatter) = scatter(peers, 0.0);
    if peers.iter().all(|peer| peer.sampling == first) {
        return (mean, first * (scatter / ratio - 1.0));
    }
    if scatter <= ratio {
        return (mean, 0.0);
    }
    let excess = |between: f64| self::scatter(peers, between).1 - ratio;
    let (mut low, mut high) = ((0.0, scatter - ratio), (1.0, excess(1.0)));
    while high.1 > 0.0 {
        low = high;
        high = (4.0 * high.0, excess(4.0 * high.0));
    }
    // The Illinois method (Dowell & Jarratt 1971, BIT 11(2)): secants of which none keeps an end for
    // long. The scatter falls with τ².
    const STEPS: u32 = 60;
    let mut between = high.0;
    for _ in 0..STEPS {
        between = (low.1 * high.0 - high.1 * low.0) / (low.1 - high.1);
        let found = excess(between);
        if found.abs() < 1e-13 || high.0 - low.0 < 1e-14 * high.0 {
            break;
        }
        match found > 0.0 {
            true => (low, high.1) = ((between, found), high.1 / 2.0),
            false => (high, low.1) = ((between, found), low.1 / 2.0),
        }
    }
    (self::scatter(peers, between).0, between)
}

/// The weighted mean of `peers` and their variance as a share of what it should be if τ² is
/// `between`, both of values that are clipped.
fn scatter(peers: &[LogVariance], between: f64) -> (f64, f64) {
    let root = |peer: &LogVariance| (peer.sampling + between).sqrt().recip();
    let weights: f64 = peers.iter().map(|peer| root(peer).powi(2)).sum();
    let mean = peers.iter().map(|peer| root(peer).powi(2) * peer.value).sum::<f64>() / weights;
    let mut residuals: Vec<f64> =
        peers.iter().map(|peer| (peer.value - mean) * root(peer)).collect();
    clip(&mut residuals);
    let shift = peers.iter().zip(&residuals).map(|(p, r)| root(p) * r).sum::<f64>() / weights;
    let square = |(peer, residual): (&LogVariance, &f64)| (residual - shift * root(peer)).powi(2);
    let squares = peers.iter().zip(&residuals).map(square).sum::<f64>();
    (mean + shift, squares / (peers.len() as f64 - 1.0))
}

/// Clips values at the quantiles of [`CLIPPED`] (linear interpolation between order statistics,
/// Hyndman & Fan 1996, type 7).
fn clip(values: &mut [f64]) {
    let mut sorted = values.to_vec();
    let mut quantile = |share: f64| {
        let place = share * (sorted.len() - 1) as f64;
        let (_, below, rest) =
            sorted.select_nth_unstable_by(place.floor() as usize, f64::total_cmp);
        let below = *below;
        let above = rest.iter().copied().reduce(f64::min).filter(|_| place.fract() > 0.0);
        below + above.map_or(0.0, |above| (above - below) * place.fract())
    };
    let (low, high) = (quantile(CLIPPED.0), quantile(1.0 - CLIPPED.1));
    for value in values {
        *value = value.clamp(low, high);
    }
}

/// How much of the variance of ln s² is left where it is clipped, if σ² is the same everywhere: s² then
/// is as χ² with `df` degrees of freedom. Answers are remembered by thread, by whole degrees.
pub fn clip_ratio(df: f64) -> f64 {
    const PLACES: usize = 400;
    const REMEMBERED: usize = 64;
    thread_local! {
        static KNOWN: RefCell<[f64; REMEMBERED]> = const { RefCell::new([f64::NAN; REMEMBERED]) };
    }
    let df = (df.round() as usize).clamp(1, REMEMBERED - 1);
    KNOWN.with_borrow_mut(|known| {
        if known[df].is_nan() {
            let chi_squared = ChiSquared::new(df as f64).expect("degrees of freedom are positive");
            let place = |i: usize| (i as f64 + 0.5) / PLACES as f64;
            let quantile = |i: usize| chi_squared.inverse_cdf(place(i)).ln();
            let mut values: Vec<f64> = (0..PLACES).map(quantile).collect();
            clip(&mut values);
            let mean = values.iter().sum::<f64>() / PLACES as f64;
            let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            known[df] = squares / PLACES as f64 / trigamma(df as f64 / 2.0);
        }
        known[df]
    })
}

/// The variance a series is judged with; `df_all` is the sum of all peers' degrees of
/// freedom, more than which nothing can be known of a variance.
pub fn moderate(
    run: Variance,
    history: Option<Variance>,
    cap: f64,
    peer_prior: Option<PeerPrior>,
    df_all: f64,
) -> Noise {
    let history = history_counted(run, history, cap);
    let pooled = history.map_or(run, |history| pool_within(run, history));
    let floor = if history.is_some() { run.value / 2.0 } else { run.value };
    let used = |moderated: Variance| {
        let agreement =
            if moderated.value < floor { (moderated.value / floor).powi(2) } else { 1.0 };
        let df_lent = (moderated.df - pooled.df).clamp(0.0, df_all) * agreement;
        let df = (pooled.df + df_lent).min(df_all.max(pooled.df));
        Variance { value: moderated.value.max(floor), df }
    };
    let moderated = peer_prior.map_or(pooled, |p| pool_within(p.inverse_chi_squared, pooled));
    let log_normal = used(peer_prior.map_or(pooled, |p| p.log_normal_posterior(pooled)));
    let peer_prior = peer_prior.map(|prior| prior.inverse_chi_squared);
    let (moderated, used) = (moderated.value, used(moderated));
    Noise { run, history, pooled, peer_prior, moderated, floor, used, log_normal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v(value: f64, df: f64) -> Variance {
        Variance { value, df }
    }

    fn prior(value: f64, df: f64) -> PeerPrior {
        PeerPrior::new(value.ln() - digamma(df / 2.0) + (df / 2.0).ln(), df)
    }

    #[test]
    fn what_is_lent_and_what_is_not() {
        let run = v(4.0, 2.0);
        // (what, history, cap, peer prior, df of all, expected)
        for (what, history, cap, peer_prior, df_all, expected) in [
            ("alone", None, 10.0, None, 2.0, v(4.0, 2.0)),
            ("history", Some(v(1.0, 6.0)), 10.0, None, 2.0, v(2.0, 8.0)),
            ("history fills up", Some(v(1.0, 60.0)), 4.0, None, 2.0, v(2.5, 4.0)),
            ("and no further", Some(v(1.0, 60.0)), 2.0, None, 2.0, v(4.0, 2.0)),
            ("half of s² at least", Some(v(0.0, 6.0)), 10.0, None, 2.0, v(2.0, 8.0)),
            ("history of nothing", Some(v(1.0, 0.0)), 10.0, None, 2.0, v(4.0, 2.0)),
            ("peer prior", None, 10.0, Some(prior(7.0, 1.0)), 50.0, v(5.0, 3.0)),
            ("s² at least", None, 10.0, Some(prior(1.0, 1.0)), 50.0, v(4.0, 2.5625)),
            (
                "no history at all",
                Some(v(1.0, 6.0)),
                0.0,
                Some(prior(1.0, 1.0)),
                50.0,
                v(4.0, 2.5625),
            ),
            ("no more than all know", None, 10.0, Some(prior(4.0, 1e6)), 50.0, v(4.0, 50.0)),
        ] {
            let noise = moderate(run, history, cap, peer_prior, df_all);
            assert!((noise.used.value - expected.value).abs() < 1e-12, "{what}: {noise:?}");
            assert_eq!(noise.used.df, expected.df, "{what}");
        }
    }

    #[test]
    fn a_peer_prior_needs_three_that_vary() {
        assert_eq!(peer_prior(&[]), None);
        assert_eq!(peer_prior(&[v(1.0, 2.0), v(2.0, 2.0)]), None);
        assert_eq!(peer_prior(&[v(1.0, 2.0), v(2.0, 2.0), v(0.0, 2.0), v(f64::NAN, 2.0)]), None);
        let alike = peer_prior(&[v(1.0, 2.0), v(1.1, 2.0), v(0.9, 2.0)]).unwrap();
        assert_eq!(alike.inverse_chi_squared.df, PRIOR_DF_MAX);
    }

    proptest! {
        #[test]
        fn never_below_the_floor_and_scale_free(
            values in proptest::collection::vec((1e-8f64..1.0, 1.0f64..20.0), 3..40),
            history in proptest::option::of((1e-8f64..1.0, 0.5f64..50.0)),
            scale in 1e-3f64..1e3,
        ) {
            let fit_scaled = |scale: f64| {
                let scaled: Vec<Variance> = values.iter().map(|(x, df)| v(x * scale, *df)).collect();
                let prior = peer_prior(&scaled);
                let history = history.map(|(x, df)| v(x * scale, df));
                moderate(scaled[0], history, 10.0, prior, scaled.iter().map(|v| v.df).sum())
            };
            let (a, b) = (fit_scaled(1.0), fit_scaled(scale));
            let share = if history.is_some() { 0.5 } else { 1.0 };
            prop_assert!(a.used.value >= share * a.run.value - 1e-15);
            prop_assert!(a.used.df >= a.run.df && a.used.df.is_finite());
            prop_assert!((b.used.value / a.used.value / scale - 1.0).abs() < 1e-6, "{a:?} {b:?}");
        }
    }
}
